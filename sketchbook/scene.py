"""Paints the scenes behind the dogs, and the light.

A scene is painted out of focus at the picture's final size. The ground starts at `horizon`, in pixels from the top.
"""

from collections.abc import Callable
from functools import lru_cache
from random import Random

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from sketchbook.breeds import Colour

_SKIES: tuple[tuple[Colour, Colour], ...] = (
    ((104, 164, 220), (206, 228, 242)),
    ((150, 176, 200), (222, 226, 228)),
    ((112, 142, 200), (246, 206, 170)),
)


def background(rng: Random, size: int) -> Image.Image:
    """Return a random scene of `size` x `size` pixels."""
    picture = Image.new("RGB", (size, size))
    paint = rng.choice(_SCENES)
    paint(picture, ImageDraw.Draw(picture), rng, size * rng.uniform(0.42, 0.62))
    return picture.filter(ImageFilter.BoxBlur(size * rng.uniform(0.004, 0.012)))


def light(picture: Image.Image, rng: Random) -> Image.Image:
    """Return the picture under a random light: brightness, warmth, the side it comes from, and soft focus.

    The picture has no grain and no crisp edges. With either, an ImageNet backbone takes the dogs for toys: each costs
    5 points of P(dog).
    """
    brightness, warmth = rng.uniform(0.92, 1.16), rng.uniform(-0.05, 0.06)
    gains = (brightness * (1 + warmth), brightness, brightness * (1 - warmth))
    picture = picture.point([min(255, round(v * gain)) for gain in gains for v in range(256)])
    darkest = rng.uniform(185, 255)
    side = Image.linear_gradient("L").reduce(16).point([round(darkest + (255 - darkest) * v / 255) for v in range(256)])
    shade = side.rotate(rng.choice((0, 90, 180, 270))).resize(picture.size).convert("RGB")
    return ImageChops.multiply(picture, shade).filter(ImageFilter.BoxBlur(picture.width * rng.uniform(0.002, 0.0045)))


def shadow(picture: Image.Image, box: tuple[float, float, float, float]) -> None:
    """Darken a soft oval on the ground."""
    left, top, right, bottom = (round(v) for v in box)
    size = (max(8, right - left), max(8, bottom - top))
    picture.paste((24, 22, 30), (left, top), _soft_spot().resize(size))


@lru_cache
def _soft_spot() -> Image.Image:
    return Image.radial_gradient("L").reduce(4).point([max(0, round(150 - v * 1.15)) for v in range(256)])


def _fade(picture: Image.Image, top: float, bottom: float, upper: Colour, lower: Colour) -> None:
    """Fill the rows from `top` to `bottom` with a vertical blend of two colours."""
    box = (0, round(top), picture.width, round(bottom))
    size = (box[2], box[3] - box[1])
    ramp = Image.linear_gradient("L").resize(size)
    picture.paste(Image.composite(Image.new("RGB", size, lower), Image.new("RGB", size, upper), ramp), box)


def _sky(picture: Image.Image, rng: Random, horizon: float) -> None:
    _fade(picture, 0, horizon, *rng.choice(_SKIES))


def _clouds(draw: ImageDraw.ImageDraw, rng: Random, size: int, horizon: float) -> None:
    for _ in range(rng.randint(0, 3)):
        x, y = rng.uniform(0, size), rng.uniform(0, horizon * 0.6)
        for _ in range(5):
            _disc(
                draw,
                x + rng.uniform(-0.1, 0.1) * size,
                y + rng.uniform(-0.02, 0.02) * size,
                size * 0.05,
                (244, 246, 248),
            )


def _disc(draw: ImageDraw.ImageDraw, x: float, y: float, r: float, colour: Colour) -> None:
    draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)


def _strokes(draw: ImageDraw.ImageDraw, rng: Random, size: int, top: float, colours: tuple[Colour, ...]) -> None:
    """Draw blades, ripples or footprints that become larger towards the viewer."""
    for _ in range(180):
        near = rng.random()
        x, y = rng.uniform(0, size), top + near * (size - top)
        long = size * 0.035 * (0.3 + near)
        draw.line(
            (x, y, x + rng.uniform(-0.5, 0.5) * long, y - long),
            fill=rng.choice(colours),
            width=1 + round(near),
        )


def _meadow(picture: Image.Image, draw: ImageDraw.ImageDraw, rng: Random, horizon: float) -> None:
    size = picture.width
    _sky(picture, rng, horizon)
    _clouds(draw, rng, size, horizon)
    for _ in range(rng.randint(2, 6)):
        x, r = rng.uniform(0, size), size * rng.uniform(0.06, 0.16)
        _disc(draw, x, horizon - 0.5 * r, r, (rng.randint(48, 86), rng.randint(100, 130), rng.randint(50, 70)))
    _fade(picture, horizon, size, (128, 164, 84), (84, 132, 58))
    _strokes(draw, rng, size, horizon, ((104, 152, 66), (70, 118, 48), (146, 180, 92)))
    for _ in range(rng.randint(0, 25)):
        colour = rng.choice(((250, 240, 230), (246, 206, 66), (210, 120, 170)))
        _disc(draw, rng.uniform(0, size), rng.uniform(horizon, size), size * 0.007, colour)


def _autumn(picture: Image.Image, draw: ImageDraw.ImageDraw, rng: Random, horizon: float) -> None:
    size = picture.width
    _fade(picture, 0, horizon, (196, 204, 206), (232, 216, 186))
    for _ in range(7):
        x, tall = rng.uniform(0, size), size * rng.uniform(0.2, 0.4)
        draw.rectangle((x - 3, horizon - tall, x + 3, horizon), fill=(92, 66, 50))
        for _ in range(26):
            leaves = rng.choice(((196, 122, 58), (170, 88, 52), (206, 160, 76), (124, 122, 66)))
            _disc(
                draw,
                x + rng.gauss(0, 0.2) * tall,
                horizon - tall + rng.gauss(0, 0.18) * tall,
                0.09 * tall,
                leaves,
            )
    _fade(picture, horizon, size, (150, 128, 84), (122, 98, 62))
    _strokes(draw, rng, size, horizon, ((196, 122, 52), (160, 80, 44), (104, 100, 56)))


def _beach(picture: Image.Image, draw: ImageDraw.ImageDraw, rng: Random, horizon: float) -> None:
    size = picture.width
    sea = horizon - size * rng.uniform(0.1, 0.2)
    _sky(picture, rng, sea)
    _clouds(draw, rng, size, sea)
    _fade(picture, sea, horizon, (52, 116, 160), (116, 184, 196))
    _fade(picture, horizon, size, (226, 204, 160), (204, 174, 126))
    draw.line((0, horizon, size, horizon + rng.uniform(-4, 4)), fill=(244, 246, 244), width=3)
    _strokes(draw, rng, size, horizon, ((212, 186, 140), (232, 212, 172), (196, 168, 122)))


def _snow(picture: Image.Image, draw: ImageDraw.ImageDraw, rng: Random, horizon: float) -> None:
    size = picture.width
    _fade(picture, 0, horizon, (148, 172, 200), (206, 216, 226))
    for _ in range(rng.randint(4, 9)):
        x, tall = rng.uniform(0, size), size * rng.uniform(0.15, 0.34)
        shade = rng.randint(60, 96)
        draw.polygon(
            [(x - tall * 0.24, horizon), (x, horizon - tall), (x + tall * 0.24, horizon)],
            fill=(shade - 16, shade + 14, shade + 8),
        )
    _fade(picture, horizon, size, (212, 222, 234), (188, 202, 222))
    _strokes(draw, rng, size, horizon, ((200, 212, 228), (226, 232, 240)))


def _room(picture: Image.Image, draw: ImageDraw.ImageDraw, rng: Random, horizon: float) -> None:
    size = picture.width
    wall = rng.choice(((206, 190, 164), (158, 178, 178), (186, 160, 158), (128, 146, 168), (206, 204, 198)))
    picture.paste(wall, (0, 0, size, size))
    x, y, w = rng.uniform(-0.1, 0.8) * size, rng.uniform(0, 0.1) * size, rng.uniform(0.2, 0.4) * size
    draw.rectangle((x - 4, y - 4, x + w + 4, y + w * 1.2 + 4), fill=(236, 232, 224))
    draw.rectangle((x, y, x + w, y + w * 1.2), fill=rng.choice(((170, 206, 230), (120, 140, 96), (196, 120, 84))))
    floor = rng.choice(((156, 112, 74), (122, 86, 60), (176, 150, 122)))
    _fade(picture, horizon, size, floor, (floor[0] - 24, floor[1] - 22, floor[2] - 20))
    for board in range(-12, 13):
        draw.line(
            (size / 2 + board * size * 0.09, horizon, size / 2 + board * size * 0.26, size),
            fill=(floor[0] - 30, floor[1] - 28, floor[2] - 24),
        )
    draw.rectangle((0, horizon - 5, size, horizon), fill=(232, 226, 216))
    if rng.random() < 0.6:
        rug = rng.choice(((150, 60, 56), (66, 90, 120), (178, 156, 110)))
        draw.ellipse((size * 0.05, horizon + size * 0.12, size * 0.95, size * 1.1), fill=rug)


def _city(picture: Image.Image, draw: ImageDraw.ImageDraw, rng: Random, horizon: float) -> None:
    size = picture.width
    _fade(picture, 0, horizon, (66, 66, 116), (234, 150, 112))
    x = 0.0
    while x < size:
        width, tall = size * rng.uniform(0.08, 0.2), size * rng.uniform(0.12, 0.4)
        shade = rng.randint(48, 78)
        draw.rectangle((x, horizon - tall, x + width, horizon), fill=(shade, shade, shade + 18))
        for _ in range(9):
            wx, wy = x + rng.uniform(0.1, 0.8) * width, horizon - rng.uniform(0.1, 0.9) * tall
            draw.rectangle((wx, wy, wx + size * 0.012, wy + size * 0.018), fill=(250, 206, 120))
        x += width
    _fade(picture, horizon, size, (112, 106, 116), (86, 82, 94))
    _strokes(draw, rng, size, horizon, ((100, 96, 106), (124, 118, 126)))


_Scene = Callable[[Image.Image, ImageDraw.ImageDraw, Random, float], None]
_SCENES: tuple[_Scene, ...] = (_meadow, _autumn, _beach, _snow, _room, _city)
