"""Paints parts on a picture: colour, markings, fur, and light that makes them look round."""

from functools import lru_cache
from math import cos, pi, sin
from random import Random
from typing import NamedTuple

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from sketchbook.geometry import Outline, bounds
from sketchbook.part import BodyPart

_TILE = 700  # side of a fur tile in pixels; larger than any part of a 256-pixel drawing at twice its size
_SHADOW, _GLOW = (8, 6, 22), (255, 252, 244)  # Fur is blended with these colours in the shade and in the light.
# Tables for Image.point: one value for each of 0 to 255.
_AMBIENT = [min(255, round(40 + v * 0.92)) for v in range(256)]
_DIMMED = [round(v * 0.6) for v in range(256)]  # the far side of the dog


class Frame(NamedTuple):
    """The position and the size of a subject in a picture.

    Attributes:
        scale: pixels per dog unit; a negative scale mirrors the subject.
        x: column of the subject's origin in pixels.
        ground: row of the subject's origin in pixels.
    """

    scale: float
    x: float
    ground: float

    @property
    def unit(self) -> float:
        """Pixels per dog unit."""
        return abs(self.scale)


class Painter:
    """Paints parts on a picture. The parts are in dog units."""

    def __init__(self, picture: Image.Image, frame: Frame, rng: Random) -> None:
        self._picture, self._frame, self._rng = picture, frame, rng
        self._unit = frame.unit

    def _pixels(self, outline: Outline) -> Outline:
        scale, left, ground = self._frame
        unit = self._unit
        return [(left + scale * x, ground - unit * y) for x, y in outline]

    def paint(self, part: BodyPart) -> None:
        """Paint one part over the picture."""
        shape = [self._pixels(outline) for outline in part.shape]
        if part.texture is None and not part.marks:
            draw = ImageDraw.Draw(self._picture)
            for outline in shape:
                draw.polygon(outline, fill=part.colour)
            return
        box = self._box(shape)
        if box is None:
            return
        left, top, right, bottom = box
        size = (right - left, bottom - top)
        mask = Image.new("L", size)
        _fill(mask, shape, left, top, 255)
        layer = Image.new("RGB", size, part.colour)
        for mark, colour in part.marks:
            _fill(layer, [self._pixels(outline) for outline in mark], left, top, colour)
        if part.texture is not None:
            layer = self._lit(layer, mask, part)
        if part.fade:
            mask = ImageChops.multiply(mask, _fade(size, part.fade))
        self._picture.paste(layer, box, mask)

    def _box(self, shape: list[Outline]) -> tuple[int, int, int, int] | None:
        """Return the part's box in pixels, cut to the picture, or None if the part is outside."""
        left, top, right, bottom = bounds(shape)
        box = (
            max(0, int(left)), max(0, int(top)),
            min(self._picture.width, int(right) + 2), min(self._picture.height, int(bottom) + 2),
        )  # fmt: skip
        return box if box[0] < box[2] and box[1] < box[3] else None

    def _lit(self, layer: Image.Image, mask: Image.Image, part: BodyPart) -> Image.Image:
        """Return the layer with fur, if the part has any, and with light from above."""
        light = self._roundness(mask)
        if part.texture != "smooth":
            light = ImageChops.multiply(light, self._fur(part.texture or "short", mask.size))
        if part.far:
            light = light.point(_DIMMED)
        shaded = Image.blend(layer, Image.new("RGB", layer.size, _SHADOW), 0.46)
        lit = Image.blend(layer, Image.new("RGB", layer.size, _GLOW), 0.12)
        return Image.composite(lit, shaded, light)

    def _roundness(self, mask: Image.Image) -> Image.Image:
        """Return the light on each pixel of a rounded shape: little along its edge, least at the bottom."""
        small = mask.reduce(4)
        radius = max(1.0, 0.030 * self._unit / 4 * 2)
        shape = ImageChops.multiply(small.filter(ImageFilter.BoxBlur(radius)), small)
        raised = Image.new("L", shape.size)
        raised.paste(shape, (0, -round(radius * 0.8)))
        depth = Image.blend(shape, raised, 0.65).filter(ImageFilter.BoxBlur(radius * 0.5))
        return depth.point(_AMBIENT).resize(mask.size, Image.Resampling.BILINEAR)

    def _fur(self, texture: str, size: tuple[int, int]) -> Image.Image:
        x = self._rng.randrange(max(1, _TILE - size[0]))
        y = self._rng.randrange(max(1, _TILE - size[1]))
        return _fur_tile(texture).crop((x, y, x + size[0], y + size[1]))


def _fill(image: Image.Image, shape: list[Outline], left: int, top: int, colour: int | tuple[int, int, int]) -> None:
    draw = ImageDraw.Draw(image)
    for outline in shape:
        draw.polygon([(x - left, y - top) for x, y in outline], fill=colour)


def _fade(size: tuple[int, int], share: float) -> Image.Image:
    """Return a mask that fades in from the top over a share of the height."""
    return _ramp(share).resize(size)


@lru_cache
def _ramp(share: float) -> Image.Image:
    return Image.linear_gradient("L").point([min(255, round(v / share)) for v in range(256)])


@lru_cache
def _fur_tile(texture: str) -> Image.Image:
    """Return a grey patch of fur: curls, or strokes of hair that point down and back.

    With less contrast an ImageNet backbone takes the dogs for teddy bears.
    """
    rng = Random(texture)
    tile = Image.new("L", (_TILE, _TILE), 180)
    draw = ImageDraw.Draw(tile)
    length = 16 if texture == "long" else 9
    for _ in range(16000):
        x, y, shade = rng.uniform(-9, _TILE), rng.uniform(-9, _TILE), rng.randint(60, 255)
        if texture == "curly":
            radius, start = rng.uniform(3, 7), rng.uniform(0, 360)
            draw.arc((x - radius, y - radius, x + radius, y + radius), start, start + 230, fill=shade, width=2)
        else:
            angle = rng.gauss(0.3 * pi, 0.3)
            draw.line((x, y, x + length * cos(angle), y + length * sin(angle)), fill=shade, width=2)
    return tile.filter(ImageFilter.BoxBlur(0.4))
