"""Builds a posed dog from parts, ordered from the farthest to the nearest. Lengths are in dog units."""

from dataclasses import replace
from math import cos, radians, sin
from random import Random

from sketchbook.breeds import Breed, Colour
from sketchbook.face import head
from sketchbook.geometry import Shape, Spine, band, bounds, oval, stretch, tube, tufted
from sketchbook.part import BodyPart, Subject
from sketchbook.pose import Pose, Skeleton, skeleton

_COLLARS: tuple[Colour, ...] = ((196, 48, 44), (40, 92, 168), (52, 128, 76), (228, 168, 40), (120, 60, 140))


def dog(breed: Breed, pose: Pose, rng: Random) -> Subject:
    """Return all parts of a dog of the breed in the pose."""
    bones = skeleton(breed, pose)
    legs = [_leg(breed, spine, far, bones.facing, rng) for spine, far in bones.legs]
    body = [leg for leg in legs if leg.far]
    body += _tail(breed, bones, pose, rng)
    body.append(_trunk(breed, bones, rng))
    body += [leg for leg in legs if not leg.far]
    if breed.clipped:
        body += _pompons(breed, bones, rng)
    if rng.random() < 0.6:
        body.append(_collar(bones, rng.choice(_COLLARS)))
    return Subject(body, head(breed, bones.head, pose, rng))


def _trunk(breed: Breed, bones: Skeleton, rng: Random) -> BodyPart:
    """Return body and neck in one piece, with saddle, belly and bib."""
    coat, marks = breed.coat, []
    if coat.saddle and bones.facing:
        marks.append((tube(bones.back), coat.saddle))
    elif coat.saddle:
        marks.append((tube(band(bones.back, 0.55, 0.66)), coat.saddle))
        marks.append((tube(band(bones.neck, 0.6, 0.5)), coat.saddle))
    if coat.belly and bones.facing:
        marks.append((tube(band(bones.back, 0.0, 0.62)), coat.belly))
        marks.append((tube(band(bones.neck, 0.0, 0.7)), coat.belly))
    elif coat.belly:
        marks.append((tube(band(bones.back, -0.85, 0.45)), coat.belly))
        marks.append((tube(band(bones.neck, -0.75, 0.62)), coat.belly))
        x, y, r = bones.back[-1]
        marks.append(([oval(x + 0.7 * r, y, 0.5 * r, 0.9 * r)], coat.belly))
    return _furry(breed, tube(bones.back) + tube(bones.neck), marks, rng)


def _leg(breed: Breed, spine: Spine, far: bool, facing: bool, rng: Random) -> BodyPart:
    marks = []
    if breed.coat.socks:
        marks.append((tube(stretch(spine, 1 - breed.coat.sock_height, 1.0)), breed.coat.socks))
    part = _furry(breed, tube(spine), marks, rng, fluff=0.4)
    # Seen from the front, the forelegs start at the chest and have its colour.
    colour = breed.coat.belly if breed.coat.belly and facing and not far else part.colour
    return replace(part, colour=colour, fade=0.35, far=far)


def _tail(breed: Breed, bones: Skeleton, pose: Pose, rng: Random) -> list[BodyPart]:
    tail, coat = breed.tail, breed.coat
    steps = 8
    x, y = bones.tail_root
    angle = bones.tail_angle - radians(tail.rise + 14 * pose.wag) * (-1 if bones.facing else 1)
    turn = radians(tail.bend + 10 * pose.wag) / steps * (1 if bones.facing else -1)
    spine: Spine = []
    for i in range(steps + 1):
        taper = 1.0 - 0.55 * i / steps
        bush = tail.plume * 0.75 * sin(3.0 * i / steps)
        spine.append((x, max(y, tail.width), tail.width * taper + bush))
        x, y = x + tail.length / steps * cos(angle), y + tail.length / steps * sin(angle)
        angle += turn
    tip = [(tube(stretch(spine, 0.62, 1.0)), coat.tail_tip)] if coat.tail_tip else []
    parts = [_furry(breed, tube(spine), tip, rng, fluff=1.0 + 4 * tail.plume)]
    if tail.pompon:
        parts.append(_ball(breed, spine[-1][0], spine[-1][1], tail.pompon, rng))
    return parts


def _pompons(breed: Breed, bones: Skeleton, rng: Random) -> list[BodyPart]:
    """Return the mane and the bracelets of a clipped poodle."""
    x, y, r = bones.back[-1]
    mane = _ball(breed, x - 0.1 * r, y + 0.15 * r, 1.35 * r, rng)
    bracelets = []
    for spine, far in bones.legs:
        ankle = stretch(spine, 0.72, 0.9)
        middle = ankle[len(ankle) // 2]
        ball = _ball(breed, middle[0], max(middle[1], 0.16), 0.13, rng)
        bracelets.append(replace(ball, far=far))
    return [*bracelets, mane]


def _ball(breed: Breed, x: float, y: float, radius: float, rng: Random) -> BodyPart:
    curls = [
        oval(x + 0.72 * radius * cos(turn), y + 0.72 * radius * sin(turn), 0.36 * radius, 0.36 * radius)
        for turn in (radians(36 * i + rng.uniform(-8, 8)) for i in range(10))
    ]
    return BodyPart([oval(x, y, 0.9 * radius, 0.9 * radius), *curls], breed.coat.body, texture="curly")


def _collar(bones: Skeleton, colour: Colour) -> BodyPart:
    neck = stretch(bones.neck, 0.42, 0.5)
    (x0, y0, r), (x1, y1, _) = neck[0], neck[-1]
    across = (-(y1 - y0), x1 - x0)
    length = (across[0] ** 2 + across[1] ** 2) ** 0.5
    dx, dy = across[0] / length * r, across[1] / length * r
    sag = 0.12 * r
    strap: Spine = [(x0 - dx, y0 - dy, 0.035), (x0 + sag, y0 - sag, 0.035), (x0 + dx, y0 + dy, 0.035)]
    return BodyPart(tube(strap), colour, texture="short")


def _furry(breed: Breed, shape: Shape, marks: list[tuple[Shape, Colour]], rng: Random, fluff: float = 1.0) -> BodyPart:
    """Return a part in the breed's coat, with tufts and spots if the breed has them."""
    coat = breed.coat
    if coat.spots:
        marks = [*marks, (_spots(shape, rng), coat.spots)]
    if coat.fluff:
        shape = [tufted(outline, coat.fluff * fluff, rng) for outline in shape[:1]] + shape[1:]
    return BodyPart(shape, coat.body, marks, coat.texture)


def _spots(shape: Shape, rng: Random) -> Shape:
    left, bottom, right, top = bounds(shape)
    number = int((right - left) * (top - bottom) * 42) + 2
    return [
        oval(rng.uniform(left, right), rng.uniform(bottom, top), *_spot_radii(rng), corners=9) for _ in range(number)
    ]


def _spot_radii(rng: Random) -> tuple[float, float]:
    radius = rng.uniform(0.018, 0.05)
    return radius, radius * rng.uniform(0.75, 1.25)
