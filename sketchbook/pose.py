"""Computes the spines of a dog's body from the proportions of its breed and its pose.

The dog looks to the right (+x), and the ground is y = 0. A facing dog sits and looks at the viewer.
"""

from dataclasses import dataclass, field
from math import asin, cos, radians, sin
from random import Random

from sketchbook.breeds import Breed
from sketchbook.geometry import Point, Spine


@dataclass(frozen=True)
class Pose:
    """The differences between two pictures of the same dog.

    Attributes:
        stance: "standing", "sitting", "lying" or "facing".
        yaw: turn of the head towards +x, radians; 0 looks at the viewer.
        tilt: lean of the head, radians.
        stride: swing of the legs, -1 to 1.
        wag: swing of the tail, -1 to 1.
        panting: whether the mouth is open and shows the tongue.
    """

    stance: str
    yaw: float
    tilt: float
    stride: float
    wag: float
    panting: bool


@dataclass
class Skeleton:
    """The spines of one posed dog, in dog units.

    Attributes:
        back: spine from the rump to the chest.
        neck: spine from the body to the head.
        head: centre of the skull.
        tail_root: the point where the tail starts.
        tail_angle: the direction "straight back" at the tail's root, radians.
        legs: for each leg its spine from the body to the toes, and whether it is on the far side of the dog.
        facing: whether the dog looks at the viewer.
    """

    back: Spine
    neck: Spine
    head: Point
    tail_root: Point
    tail_angle: float = radians(180)
    legs: list[tuple[Spine, bool]] = field(default_factory=list)
    facing: bool = False


def any_pose(rng: Random) -> Pose:
    """Return a random pose."""
    stance = rng.choices(("standing", "sitting", "lying", "facing"), (52, 20, 8, 20))[0]
    yaw = rng.uniform(-35, 35) if stance == "facing" else rng.uniform(0, 52)
    return Pose(
        stance=stance,
        yaw=radians(yaw),
        tilt=radians(rng.gauss(0, 6)),
        stride=rng.uniform(-1, 1),
        wag=rng.uniform(-1, 1),
        panting=rng.random() < 0.55,
    )


def skeleton(breed: Breed, pose: Pose) -> Skeleton:
    """Return the spines of a dog of the breed in the pose."""
    return _STANCES[pose.stance](breed, pose)


def _standing(breed: Breed, pose: Pose) -> Skeleton:
    g, half, top = breed.girth, breed.length / 2, breed.leg + 2 * breed.girth
    waist = g * breed.waist
    back = [
        (-half - 0.05, top - 0.86 * g, 0.80 * g),
        (-half * 0.2, top - 0.97 * waist, waist),
        (half * 0.75, top - g, g),
        (half + 0.30 * g, top - 0.92 * g, 0.72 * g),
    ]
    bones = _head_and_neck(breed, (half + 0.2 * g, top - 0.55 * g), radians(58))
    swing = 0.16 * pose.stride * min(1.0, breed.leg * 2.2)
    hip, shoulder = -half - 0.02, half - 0.02
    legs = [
        (_hind_leg(breed, hip + 0.12, -swing), True),
        (_foreleg(breed, shoulder + 0.12, swing), True),
        (_hind_leg(breed, hip, swing), False),
        (_foreleg(breed, shoulder, -swing), False),
    ]
    return Skeleton(back, *bones, tail_root=(-half - 0.72 * g, top - 0.5 * g), legs=legs)


def _sitting(breed: Breed, _: Pose) -> Skeleton:
    g, waist = breed.girth, breed.girth * breed.waist
    rump = (-0.3 * breed.length, 0.95 * g)
    slope = asin(min(0.86, (breed.leg + 1.1 * g - 0.3 * g) / breed.length))
    chest = (rump[0] + 0.8 * breed.length * cos(slope), rump[1] + 0.8 * breed.length * sin(slope))
    middle = ((rump[0] + chest[0]) / 2 - 0.06 * g, (rump[1] + chest[1]) / 2 + 0.06 * g)
    back = [(*rump, 0.93 * g), (*middle, (waist + g) / 2), (*chest, 0.92 * g)]
    bones = _head_and_neck(breed, (chest[0] + 0.1 * g, chest[1] + 0.35 * g), radians(72))
    foot = chest[0] + 0.35 * g
    fore: Spine = [
        (chest[0] + 0.25 * g, chest[1] - 0.2 * g, 0.5 * g),
        (foot, chest[1] * 0.55, 1.3 * breed.bone),
        *_paw(breed, foot),
    ]
    far = [(x + 0.13, y + 0.02, r) for x, y, r in fore]
    legs = [(far, True), (fore, False), (_folded_leg(breed, rump[0]), False)]
    root = (rump[0] - 0.75 * g, 0.45 * g)
    return Skeleton(back, *bones, tail_root=root, tail_angle=radians(172), legs=legs)


def _lying(breed: Breed, _: Pose) -> Skeleton:
    g, half, waist = breed.girth, breed.length / 2, breed.girth * breed.waist
    back = [(-half, 0.85 * g, 0.85 * g), (0.0, waist, waist), (half, 1.05 * g, g)]
    bones = _head_and_neck(breed, (half + 0.2 * g, 1.5 * g), radians(66))
    reach = half + 0.5 * breed.leg + 0.35
    fore: Spine = [
        (half, 0.7 * g, 0.45 * g),
        (half + 0.2, 1.4 * breed.bone, 1.25 * breed.bone),
        (reach, breed.bone, breed.bone),
        (reach + breed.bone, breed.bone, 1.1 * breed.bone),
    ]
    far = [(x + 0.14, y + 0.03, r) for x, y, r in fore]
    legs = [(far, True), (fore, False), (_folded_leg(breed, -half), False)]
    return Skeleton(back, *bones, tail_root=(-half - 0.75 * g, 0.6 * g), legs=legs)


def _facing(breed: Breed, pose: Pose) -> Skeleton:
    g = breed.girth
    height = 0.62 * breed.leg + 1.8 * g
    back = [(0.0, 0.85 * g, 1.12 * g), (0.0, 0.5 * height, 1.05 * g), (0.0, height, 0.80 * g)]
    bones = _head_and_neck(breed, (0.0, height + 0.1 * g), radians(90))
    legs: list[tuple[Spine, bool]] = []
    for side in (-1.0, 1.0):
        legs.append(([(side * 0.8 * g, 0.62 * g, 0.5 * g), *_paw(breed, side * (1.05 * g + 0.02), side)], True))
    for side in (-1.0, 1.0):
        foot = side * (0.40 * g + 0.02 * pose.stride)
        fore = [(side * 0.36 * g, 0.85 * height, 0.42 * g), (foot, 0.45 * height, 1.3 * breed.bone)]
        legs.append((fore + _paw(breed, foot, side * 0.3), False))
    root = (0.8 * g, 0.3 * g)
    return Skeleton(back, *bones, tail_root=root, tail_angle=radians(20), legs=legs, facing=True)


_STANCES = {"standing": _standing, "sitting": _sitting, "lying": _lying, "facing": _facing}


def _head_and_neck(breed: Breed, base: Point, rise: float) -> tuple[Spine, Point]:
    """Return the neck, which starts at `base` at the angle `rise`, and the centre of the head at its end."""
    reach = breed.neck + 0.55 * breed.head
    head = (base[0] + reach * cos(rise), base[1] + reach * sin(rise))
    thick = min(0.85 * breed.girth, 0.95 * breed.head + 2 * breed.coat.fluff)
    middle = ((base[0] + head[0]) / 2 - 0.02, (base[1] + head[1]) / 2)
    return [
        (*base, thick),
        (*middle, 0.66 * breed.head + 0.1 * thick + 0.7 * breed.coat.fluff),
        (*head, 0.62 * breed.head),
    ], head


def _foreleg(breed: Breed, x: float, swing: float) -> Spine:
    return [
        (x, breed.leg + 0.85 * breed.girth, 0.46 * breed.girth),
        (x - 0.03 + 0.2 * swing, breed.leg + 0.05 * breed.girth, 1.45 * breed.bone),
        (x + 0.6 * swing, 0.5 * breed.leg + 0.02, breed.bone),
        *_paw(breed, x + swing),
    ]


def _hind_leg(breed: Breed, x: float, swing: float) -> Spine:
    return [
        (x - 0.02, breed.leg + 1.02 * breed.girth, 0.66 * breed.girth),
        (x + 0.09 + 0.3 * swing, breed.leg + 0.12 * breed.girth, 0.40 * breed.girth),
        (x - 0.20 * breed.leg - 0.02 + 0.6 * swing, 0.42 * breed.leg + 0.04, 0.95 * breed.bone),
        *_paw(breed, x - 0.04 + swing),
    ]


def _folded_leg(breed: Breed, x: float) -> Spine:
    """Return the near hind leg of a dog that sits or lies: thigh, knee, and the foot flat on the ground."""
    g, bone = breed.girth, breed.bone
    return [
        (x + 0.1 * g, 0.95 * g, 0.66 * g),
        (x + 0.7 * g, 0.72 * g, 0.36 * g),
        (x + 0.45 * g, 1.3 * bone, 1.1 * bone),
        (x + 0.45 * g + 0.16 + bone, bone, 1.05 * bone),
    ]


def _paw(breed: Breed, x: float, forward: float = 1.0) -> Spine:
    bone = breed.bone
    return [(x, 1.5 * bone, 0.95 * bone), (x + 0.75 * bone * forward, 1.02 * bone, 1.12 * bone)]
