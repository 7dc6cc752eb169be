"""Things that are not dogs, for the folder ``other/``. Each has a few random shapes and stands on y = 0."""

from collections.abc import Callable, Mapping
from math import cos, pi, radians, sin
from random import Random

from sketchbook.breeds import Colour
from sketchbook.geometry import Outline, Point, Shape, Spine, blob, oval, tube
from sketchbook.part import BodyPart

_BLACK: Colour = (34, 30, 34)
_WHITE: Colour = (246, 244, 238)
_GLASS: Colour = (176, 208, 226)
_WOOD: Colour = (112, 80, 54)
_PAINTS: tuple[Colour, ...] = ((206, 56, 50), (46, 106, 178), (240, 186, 52), (62, 142, 92), (232, 126, 60), _WHITE)
_PLUMAGES: tuple[tuple[Colour, Colour], ...] = (  # back and breast
    ((70, 112, 170), (222, 142, 86)),
    ((196, 52, 46), (206, 84, 66)),
    ((228, 190, 62), (240, 214, 110)),
    ((108, 92, 76), (214, 84, 48)),
    ((58, 64, 76), (236, 234, 228)),
)
_CATS: tuple[tuple[Colour, Colour | None], ...] = (  # coat and stripes
    ((216, 140, 72), (168, 92, 40)),
    ((142, 138, 134), (82, 78, 78)),
    ((176, 146, 112), (104, 80, 60)),
    ((52, 48, 52), None),
    ((238, 232, 224), None),
)


def _ball(rng: Random) -> list[BodyPart]:
    """Return a beach ball of six panels, which meet in a white cap."""
    x, y = rng.uniform(-0.2, 0.2), 0.5 + rng.uniform(0.05, 0.25)
    start, paints = rng.uniform(0, pi / 3), rng.sample(_PAINTS[:-1], 3)
    panels: list[tuple[Shape, Colour]] = []
    for panel in range(6):
        turns = [start + pi / 3 * (panel + step / 4) for step in range(5)]
        rim = [(cos(turn), 0.5 + sin(turn)) for turn in turns]
        panels.append(([[(x, y), *rim]], _WHITE if panel % 2 else paints[panel // 2]))
    cap: tuple[Shape, Colour] = ([oval(x, y, 0.07, 0.06)], _WHITE)
    return [BodyPart([oval(0, 0.5, 0.5, 0.5, corners=40)], _WHITE, [*panels, cap], "smooth")]


def _bird(rng: Random) -> list[BodyPart]:
    """Return a songbird in profile: long tail, folded wing, pointed beak, thin legs."""
    back, breast = rng.choice(_PLUMAGES)
    wing = _darker(back)
    lift = rng.uniform(-0.06, 0.14)
    head = (0.34, 0.86 + lift / 2)
    body = blob((-0.52, 0.46), (-0.1, 0.72), (0.2, 0.84), (0.5, 0.62), (0.4, 0.36), (0.1, 0.22), (-0.26, 0.28))
    legs = [tube([(x, 0.3, 0.016), (x + 0.05, 0.02, 0.016), (x + 0.15, 0.015, 0.014)]) for x in (0.02, 0.16)]
    tail = tube([(-0.35, 0.46, 0.1), (-0.8, 0.42 + lift, 0.08), (-1.1, 0.4 + 1.5 * lift, 0.07)])
    beak = [(head[0] + 0.18, head[1] + 0.06), (head[0] + 0.42, head[1] - 0.01), (head[0] + 0.18, head[1] - 0.06)]
    return [
        BodyPart([outline for leg in legs for outline in leg], (96, 70, 54)),
        BodyPart(tail, wing, texture="smooth"),
        BodyPart([beak], (226, 168, 58)),
        BodyPart([body, oval(*head, 0.23, 0.21)], back, [([oval(0.5, 0.5, 0.36, 0.36)], breast)], "smooth"),
        BodyPart([blob((0.26, 0.66), (-0.06, 0.68), (-0.62, 0.4), (-0.2, 0.36), (0.16, 0.44))], wing, texture="smooth"),
        *_eye(head[0] + 0.08, head[1] + 0.05, 0.035),
    ]


def _car(rng: Random) -> list[BodyPart]:
    """Return a car from the side: a saloon or a hatchback."""
    paint, tail = rng.choice(_PAINTS), rng.choice((-0.62, -0.95))
    nose, roof = rng.uniform(0.98, 1.14), rng.uniform(0.78, 0.9)
    hull = [(-1.1, 0.2), (-1.12, 0.5), (tail - 0.05, 0.56), (0.55, 0.54), (nose, 0.44), (nose + 0.03, 0.2)]
    cabin = [(tail, 0.52), (-0.52, roof), (0.2, roof), (0.62, 0.52)]
    panes = [
        [(tail + 0.13, 0.55), (-0.48, roof - 0.06), (-0.16, roof - 0.06), (-0.16, 0.55)],
        [(-0.1, 0.55), (-0.1, roof - 0.06), (0.17, roof - 0.06), (0.48, 0.55)],
    ]
    seams = [_line((-0.13, 0.24), (-0.13, 0.54)), _line((0.5, 0.3), (0.52, 0.54)), _line((-0.34, 0.46), (-0.24, 0.46))]
    lamps: list[tuple[Shape, Colour]] = [
        ([oval(nose - 0.04, 0.38, 0.08, 0.05)], (255, 244, 196)),
        ([oval(-1.1, 0.44, 0.06, 0.06)], (168, 24, 28)),
    ]
    parts = [BodyPart([hull, cabin], paint, [(panes, _GLASS), (seams, _BLACK), *lamps], "smooth")]
    for x in (-0.66, 0.66):
        parts.append(BodyPart([oval(x, 0.2, 0.2, 0.2, corners=28)], _BLACK))
        parts.append(BodyPart([oval(x, 0.2, 0.11, 0.11)], (190, 192, 196)))
    return parts


def _cat(rng: Random) -> list[BodyPart]:
    """Return a sitting cat that looks at the viewer, with its tail around it."""
    coat, stripes = rng.choice(_CATS)
    lean = rng.uniform(-0.08, 0.08)
    x, y = lean, 1.12
    tail: Spine = [(0.3, 0.12, 0.1), (0.62, 0.16, 0.09), (0.74, 0.4, 0.08), (0.62, 0.62 + rng.uniform(0, 0.2), 0.07)]
    trunk: Spine = [(0.0, 0.34, 0.38), (0.0, 0.62, 0.3), (lean, 0.95, 0.2)]
    paws: list[Spine] = [[(s * 0.12, 0.66, 0.11), (s * 0.13, 0.3, 0.09), (s * 0.14, 0.07, 0.1)] for s in (-1, 1)]
    bars = [_line((s * 0.5, h), (s * 0.2, h - 0.05), 0.03) for s in (-1, 1) for h in (0.3, 0.46, 0.62, 0.78)]
    brow = [_line((x + d, y + 0.16), (x + 1.4 * d, y + 0.4), 0.02) for d in (-0.09, 0.0, 0.09)]
    rings = [oval(cx, cy, 0.14, 0.035, 0.4) for cx, cy, _ in tail[1:]]

    def furry(shape: Shape, *marks: Shape) -> BodyPart:
        return BodyPart(shape, coat, [(mark, stripes) for mark in marks if stripes], "short")

    parts = [furry(tube(tail), rings), furry(tube(trunk), bars), *(furry(tube(paw)) for paw in paws)]
    for s in (-1, 1):
        ear = [(x + s * 0.34, y + 0.08), (x + s * 0.32, y + 0.52), (x + s * 0.04, y + 0.26)]
        inner = [(x + s * 0.28, y + 0.16), (x + s * 0.28, y + 0.42), (x + s * 0.12, y + 0.26)]
        parts += [furry([ear]), BodyPart([inner], (222, 160, 152))]
    cheeks = [oval(x + s * 0.16, y - 0.1, 0.22, 0.17) for s in (-1, 1)]
    parts.append(furry([oval(x, y, 0.36, 0.31, corners=28), *cheeks], brow))
    parts.append(BodyPart([oval(x + s * 0.07, y - 0.13, 0.085, 0.065) for s in (-1, 1)], _WHITE))
    for s in (-1, 1):
        parts.append(BodyPart([oval(x + s * 0.15, y + 0.05, 0.085, 0.075, -s * 0.3)], (176, 196, 82)))
        parts.append(BodyPart([oval(x + s * 0.15, y + 0.05, 0.018, 0.065)], _BLACK))
        whiskers = [_line((x + s * 0.12, y - 0.1 - h), (x + s * 0.6, y - 0.04 - 3 * h), 0.005) for h in (0, 0.03, 0.06)]
        parts.append(BodyPart(whiskers, _WHITE))
    return [*parts, BodyPart([[(x - 0.045, y - 0.05), (x + 0.045, y - 0.05), (x, y - 0.1)]], (206, 110, 112))]


def _cup(rng: Random) -> list[BodyPart]:
    """Return a mug of coffee or tea with a handle and a band."""
    paint, band = rng.sample(_PAINTS, 2)
    waist, height = rng.uniform(0.3, 0.42), rng.uniform(0.75, 1.0)
    side = [(0.42, height), (waist + 0.06, 0.4), (waist, 0.06), (waist * 0.8, 0.0)]
    wall = [*side, *((-x, y) for x, y in side[::-1])]
    low, high = 0.45 * height, 0.62 * height
    ring = tube([(x, y * height, 0.05) for x, y in ((0.36, 0.8), (0.7, 0.72), (0.66, 0.36), (0.3, 0.25))])
    return [
        BodyPart(ring, paint, texture="smooth"),
        BodyPart([wall], paint, [([[(-1, low), (-1, high), (1, high), (1, low)]], band)], "smooth"),
        BodyPart([oval(0, height, 0.42, 0.1, corners=32)], _WHITE),
        BodyPart([oval(0, height - 0.02, 0.36, 0.075, corners=32)], rng.choice(((84, 52, 34), (176, 106, 50)))),
    ]


def _fish(rng: Random) -> list[BodyPart]:
    """Return a goldfish in a bowl of water."""
    scales = rng.choice(((238, 120, 40), (246, 168, 52), (218, 74, 48)))
    x, y = rng.uniform(-0.12, 0.12), rng.uniform(0.42, 0.56)
    tail = blob((x - 0.18, y), (x - 0.46, y + 0.2), (x - 0.38, y), (x - 0.46, y - 0.2))
    fin = blob((x - 0.14, y + 0.1), (x - 0.06, y + 0.26), (x + 0.14, y + 0.12))
    weed = [tube([(wx, 0.12, 0.02), (wx + 0.05, 0.3, 0.03), (wx - 0.03, 0.55, 0.015)]) for wx in (-0.42, 0.4, 0.48)]
    water: list[tuple[Shape, Colour]] = [
        ([oval(0, 0.78, 0.56, 0.07, corners=28)], (198, 228, 236)),
        ([oval(0, 0.0, 0.5, 0.16)], (206, 184, 140)),
        ([outline for stalk in weed for outline in stalk], (70, 130, 74)),
    ]
    bowl = BodyPart([oval(0, 0.55, 0.64, 0.55, corners=40)], (128, 186, 208), water, "smooth")
    upper = [(x + 0.3, y), (x + 0.14, y + 0.14), (x - 0.1, y + 0.11)]
    body = blob(*upper, (x - 0.24, y), (x - 0.1, y - 0.11), (x + 0.14, y - 0.13))
    glint = BodyPart([blob((-0.5, 0.6), (-0.42, 0.82), (-0.44, 0.6), (-0.44, 0.42))], (226, 240, 244))
    rim = BodyPart(
        tube([(-0.42, 0.98, 0.03), (0.0, 0.95, 0.03), (0.42, 0.98, 0.03)]), (210, 230, 236), texture="smooth"
    )
    fish = [BodyPart([tail, fin], scales), BodyPart([body], scales, texture="smooth"), *_eye(x + 0.19, y + 0.03, 0.03)]
    return [bowl, *fish, glint, rim]


def _house(rng: Random) -> list[BodyPart]:
    """Return a house from the front: a gabled roof, a chimney, a door and two windows."""
    wall = rng.choice(((238, 226, 200), (206, 132, 100), (188, 204, 210), (240, 206, 132)))
    roof = rng.choice(((156, 66, 50), (92, 84, 92), (120, 74, 52)))
    wide, tall, peak = rng.uniform(0.6, 0.85), rng.uniform(0.6, 0.8), rng.uniform(0.42, 0.62)
    door, *windows = rng.sample((-0.5 * wide, 0.0, 0.5 * wide), 3)
    marks: list[tuple[Shape, Colour]] = [([_box(door - 0.11, 0, 0.22, 0.42)], rng.choice(_PAINTS[:-1]))]
    for x in windows:
        left, low = x - 0.12, 0.7 * tall - 0.26
        bars = [_box(left + 0.11, low, 0.02, 0.26), _box(left, low + 0.12, 0.24, 0.02)]
        frame, pane = _box(left - 0.03, low - 0.03, 0.3, 0.32), _box(left, low, 0.24, 0.26)
        marks += [([frame], _WHITE), ([pane], _GLASS), (bars, _WHITE)]
    rows = [_line((-2, tall + h), (2, tall + h), 0.008) for h in (0.1, 0.2, 0.3, 0.4, 0.5)]
    gable = [(-wide - 0.14, tall - 0.06), (0.0, tall + peak), (wide + 0.14, tall - 0.06)]
    return [
        BodyPart([_box(0.45 * wide, tall, 0.16, 0.9 * peak)], (150, 80, 64), texture="smooth"),
        BodyPart([_box(-wide, 0, 2 * wide, tall)], wall, marks, "smooth"),
        BodyPart([gable], roof, [(rows, _darker(roof))], "smooth"),
    ]


def _tree(rng: Random) -> list[BodyPart]:
    """Return a tree: a fir of four tiers, or a round crown, with or without fruit."""
    green = (rng.randint(44, 96), rng.randint(104, 140), rng.randint(44, 70))
    if rng.random() < 0.4:
        tiers = [
            BodyPart(
                [[(-w, y), (-0.4 * w, y + 0.3), (0.0, y + 0.62), (0.4 * w, y + 0.3), (w, y)]], green, texture="long"
            )
            for w, y in ((0.62, 0.2), (0.52, 0.55), (0.4, 0.9), (0.27, 1.22))
        ]
        return [BodyPart([_box(-0.08, 0, 0.16, 0.4)], _WOOD, texture="short"), *tiers]
    trunk = tube([(0.0, 0.13, 0.13), (rng.uniform(-0.06, 0.06), 0.5, 0.08), (0.0, 0.95, 0.07)])
    boughs = [tube([(0.0, 0.6, 0.05), (s * 0.3, 0.95, 0.03)]) for s in (-1, 1)]
    crown = [oval(0, 1.2, 0.5, 0.42)]
    for turn in range(0, 360, 40):
        crown.append(oval(0.45 * cos(radians(turn)), 1.2 + 0.36 * sin(radians(turn)), rng.uniform(0.2, 0.28), 0.22))
    fruit = [oval(rng.uniform(-0.55, 0.55), rng.uniform(0.9, 1.5), 0.045, 0.045) for _ in range(rng.choice((0, 14)))]
    wood = [outline for limb in (trunk, *boughs) for outline in limb]
    return [BodyPart(wood, _WOOD, texture="short"), BodyPart(crown, green, [(fruit, (200, 44, 40))], "curly")]


def _darker(colour: Colour) -> Colour:
    red, green, blue = colour
    return red * 3 // 4, green * 3 // 4, blue * 3 // 4


def _eye(x: float, y: float, radius: float) -> list[BodyPart]:
    """Return a round dark eye with a glint."""
    glint = oval(x + 0.3 * radius, y + 0.4 * radius, 0.35 * radius, 0.35 * radius, corners=8)
    return [BodyPart([oval(x, y, radius, radius)], _BLACK), BodyPart([glint], _WHITE)]


def _line(start: Point, end: Point, radius: float = 0.012) -> Outline:
    """Return a straight stroke with blunt ends."""
    return tube([(*start, radius), (*end, radius)])[0]


def _box(left: float, bottom: float, width: float, height: float) -> Outline:
    return [(left, bottom), (left, bottom + height), (left + width, bottom + height), (left + width, bottom)]


THINGS: Mapping[str, Callable[[Random], list[BodyPart]]] = {
    "ball": _ball,
    "bird": _bird,
    "car": _car,
    "cat": _cat,
    "cup": _cup,
    "fish": _fish,
    "house": _house,
    "tree": _tree,
}
