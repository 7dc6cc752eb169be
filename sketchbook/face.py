"""Builds the head. The skull is a sphere; when it turns, the parts of the face move on it.

In this module lengths are in skull radii, measured from the centre of the skull. A point on the sphere has an azimuth
(0 is the middle of the face, positive angles are on its left side) and an elevation, both in degrees.
"""

from dataclasses import replace
from math import cos, pi, radians, sin
from random import Random

from sketchbook.breeds import Breed, Colour
from sketchbook.geometry import Outline, Point, Shape, Spine, blob, oval, tube, tufted, turned
from sketchbook.part import BodyPart
from sketchbook.pose import Pose

_NOSE: Colour = (34, 28, 30)
_TONGUE: Colour = (226, 110, 122)
_MOUTH: Colour = (70, 32, 36)
_INNER_EAR: Colour = (206, 150, 138)
_SIDES = (-1, 1)


def head(breed: Breed, centre: Point, pose: Pose, rng: Random) -> list[BodyPart]:
    """Return the head's parts around `centre`, ordered from back to front, in dog units."""
    face = _Face(breed, pose)
    behind = [part for side in _SIDES if (part := face.ear(side, behind=True, rng=rng))]
    before = [part for side in _SIDES if (part := face.ear(side, behind=False, rng=rng))]
    parts = [*behind, face.skull(rng), *face.eyes(), *face.muzzle(pose.panting), *before]
    if breed.clipped:
        parts.append(face.topknot())
    return [_in_dog_units(part, breed.head, centre, pose.tilt) for part in parts]


def _in_dog_units(part: BodyPart, radius: float, centre: Point, tilt: float) -> BodyPart:
    def convert(shape: Shape) -> Shape:
        return [turned(outline, tilt, radius, *centre) for outline in shape]

    marks = [(convert(shape), colour) for shape, colour in part.marks]
    return replace(part, shape=convert(part.shape), marks=marks)


class _Face:
    """A turned head, whose methods return its parts."""

    def __init__(self, breed: Breed, pose: Pose) -> None:
        self._breed = breed
        self._coat = breed.coat
        self._colour = breed.coat.head or breed.coat.body
        self._yaw = pose.yaw

    def _at(self, azimuth: float, elevation: float, reach: float = 1.0) -> Point:
        """Return where a point appears that is `reach` radii from the centre of the skull."""
        turn = max(-pi / 2, min(pi / 2, self._yaw + radians(azimuth)))
        return reach * sin(turn) * cos(radians(elevation)), reach * sin(radians(elevation))

    def _facing(self, azimuth: float) -> float:
        """Return 1 for a point that faces the viewer, 0 at the edge of the skull, and less than 0 behind it."""
        return cos(self._yaw + radians(azimuth))

    def skull(self, rng: Random) -> BodyPart:
        """Return skull and cheeks with their markings."""
        corners = [(0.0, 0.95), (0.72, 0.66), (1.0, 0.0), (0.82, -0.55), (0.0, -0.9)]
        outline = blob(*corners, *((-x, y) for x, y in corners[3:0:-1]))
        shape = [tufted(outline, self._tuft(), rng)] if self._coat.fluff else [outline]
        return BodyPart(shape, self._colour, self._markings(rng), self._coat.texture)

    def _markings(self, rng: Random) -> list[tuple[Shape, Colour]]:
        coat = self._coat
        x, y = self._at(0, -30)
        spots = [oval(rng.uniform(-0.9, 0.9), rng.uniform(-0.2, 0.9), 0.09, 0.08) for _ in range(9)]
        markings: list[tuple[Shape, Colour | None]] = [
            ([self._cap()], coat.cap),
            ([oval(x * 0.95, y - 0.06, 0.66, 0.5)], coat.mask),
            ([self._blaze()], coat.blaze),
            ([oval(*self._eye(side), 0.30, 0.30) for side in _SIDES], coat.eye_patch),
            (spots, coat.spots),
            ([oval(*self._at(side * 24, 36), 0.14, 0.11) for side in _SIDES], coat.brows),
        ]
        return [(shape, colour) for shape, colour in markings if colour]

    def _cap(self) -> Outline:
        """Return a husky's dark cap, which has a peak between the eyes."""
        rim = [(-88, -25), (-52, 12), (-30, 34), (-12, 30), (0, 4), (12, 30), (30, 34), (52, 12), (88, -25)]
        return [*(self._at(*angles) for angles in rim), (1.3, 0.4), (0.8, 1.3), (-0.8, 1.3), (-1.3, 0.4)]

    def _blaze(self) -> Outline:
        edge = [(-14, -12), (-7, 20), (-5, 45), (-3, 64), (3, 64), (5, 45), (7, 20), (14, -12)]
        return blob(*(self._at(*angles) for angles in edge))

    def _eye(self, side: int) -> Point:
        return self._at(side * 27, 9)

    def eyes(self) -> list[BodyPart]:
        """Return the visible eyes with iris, pupil, lid and glint."""
        parts = []
        for side in _SIDES:
            facing = self._facing(side * 27)
            if facing < 0.17:
                continue
            x, y = self._eye(side)
            wide = 0.155 * (0.5 + 0.5 * facing)
            parts += [
                BodyPart([oval(x, y, wide * 1.28, 0.195)], (30, 24, 26)),
                BodyPart([oval(x, y, wide, 0.155)], self._breed.eyes),
                BodyPart([oval(x + 0.02, y, wide * 0.62, 0.10)], (16, 12, 14)),
                BodyPart([oval(x + 0.05, y + 0.065, 0.045, 0.045, corners=10)], (255, 255, 255)),
            ]
        return parts

    def muzzle(self, panting: bool) -> list[BodyPart]:
        """Return muzzle, mouth, tongue and nose."""
        tip = self._tip()
        parts = self._tongue(tip) if panting else []
        colour = self._coat.mask or self._colour
        snout = BodyPart(tube(self._snout(tip)), colour, self._bridge(tip), self._coat.texture)
        lips = BodyPart([line for side in _SIDES for line in self._lip(tip, side)], _MOUTH)
        return [*parts, snout, lips, *self._nose(tip)]

    def _tip(self) -> Point:
        """Return the end of the muzzle: far from the skull in profile, close to it from the front."""
        reach = 0.72 + self._breed.muzzle
        return sin(self._yaw) * reach, -0.36 - 0.16 * self._breed.muzzle * cos(self._yaw)

    def _snout(self, tip: Point) -> Spine:
        depth = self._breed.muzzle_depth
        base = (sin(self._yaw) * 0.5, -0.26)
        middle = ((base[0] + tip[0]) / 2, (base[1] + tip[1]) / 2 - 0.02)
        return [(*base, 0.52), (*middle, 0.5 * (0.5 + depth)), (*tip, depth)]

    def _bridge(self, tip: Point) -> list[tuple[Shape, Colour]]:
        """Return the black bridge of the muzzle of black and tan dogs, whose mask covers only its sides."""
        if not (self._coat.mask and self._coat.brows and not self._coat.head):
            return []
        base = (sin(self._yaw) * 0.5, 0.08)
        return [(tube([(*base, 0.26), (tip[0], tip[1] + 0.24, 0.16)]), self._colour)]

    def _lip(self, tip: Point, side: int) -> Shape:
        """Return one half of the mouth, from below the nose to the corner."""
        if self._facing(side * 38) < 0.1:
            return []
        depth = self._breed.muzzle_depth
        middle = (tip[0], tip[1] - 0.55 * depth)
        corner = (sin(self._yaw + radians(side * 40)) * 0.72, -0.52)
        dip = ((middle[0] + corner[0]) / 2, min(middle[1], corner[1]) - 0.12)
        return tube([(*tip, 0.022), (*middle, 0.026), (*dip, 0.03), (*corner, 0.022)])

    def _tongue(self, tip: Point) -> list[BodyPart]:
        x, y = tip[0] * 0.86, tip[1] - self._breed.muzzle_depth
        jaw = oval(x, y + 0.06, 0.30, 0.26)
        tongue = tube([(x, y, 0.15), (x + 0.02, y - 0.16, 0.16), (x + 0.03, y - 0.26, 0.13)])
        crease = tube([(x, y, 0.014), (x + 0.02, y - 0.2, 0.014)])
        return [BodyPart([jaw], _MOUTH), BodyPart(tongue, _TONGUE, marks=[(crease, (196, 84, 98))], texture="short")]

    def _nose(self, tip: Point) -> list[BodyPart]:
        x = tip[0] + sin(self._yaw) * self._breed.muzzle_depth * 0.62
        y = tip[1] + 0.42 * self._breed.muzzle_depth
        wide = 0.12 + 0.10 * cos(self._yaw)
        edge = [
            (0.0, 0.13),
            (wide, 0.08),
            (wide * 0.7, -0.08),
            (0.0, -0.13),
            (-wide * 0.7, -0.08),
            (-wide, 0.08),
        ]
        nose = _moved(edge, x, y)
        return [BodyPart([nose], _NOSE), BodyPart([oval(x - 0.04, y + 0.06, 0.06, 0.03)], (150, 140, 144))]

    def ear(self, side: int, behind: bool, rng: Random) -> BodyPart | None:
        """Return the ear of one side if it is behind the skull, or in front of it if `behind` is False; else None."""
        pricked = self._breed.ears.kind == "pricked"
        if behind != (pricked or self._facing(side * 80) < -0.35):
            return None
        if pricked:
            return self._pricked(side)
        ear = self._hanging(side)
        if self._coat.fluff:
            ear = replace(ear, shape=[tufted(ear.shape[0], self._tuft(), rng)])
        return ear

    def _pricked(self, side: int) -> BodyPart:
        x, y = self._at(side * 46, 48, 0.95)
        w, h = self._breed.ears.width * self._ear_turn(side), self._breed.ears.length
        lean = side * 0.22
        outer = [(-w, -0.35), (-w * 0.8, h * 0.35), (lean, h), (w * 0.8, h * 0.35), (w, -0.35)]
        inner = [
            (-w / 2, -0.1),
            (-w * 0.4, h * 0.35),
            (lean * 0.9, h * 0.78),
            (w * 0.4, h * 0.35),
            (w / 2, -0.1),
        ]
        shape = [_moved(outer, x, y)]
        return BodyPart(shape, self._ear_colour, [([_moved(inner, x, y)], _INNER_EAR)], self._coat.texture)

    def _hanging(self, side: int) -> BodyPart:
        """Return a floppy ear, which hangs beside the cheek, or a button ear, a flap that ends above the eye."""
        w, h = self._breed.ears.width, self._breed.ears.length
        if self._breed.ears.kind == "floppy":
            x, y = self._at(side * 80, 36)
            edge = [(-0.2, 0.14), (0.12, 0.12), (w * 0.75, -h * 0.4), (w * 0.6, -h * 0.9), (0.1, -h)]
            edge += [(-w * 0.45, -h * 0.7), (-0.3, -h * 0.25)]
        else:
            x, y = self._at(side * 52, 42)
            w *= self._ear_turn(side)
            edge = [(-w * 0.9, 0.2), (w / 2, 0.16), (w, -h * 0.4), (w / 2, -h), (-w * 0.1, -h * 0.7)]
        out = -1 if x < 0 else 1
        outline = _moved([(out * px, py) for px, py in edge], x, y)
        return BodyPart([outline], self._ear_colour, texture=self._coat.texture)

    def _ear_turn(self, side: int) -> float:
        """Return the visible share of an ear's width."""
        return max(0.45, abs(cos(self._yaw * 0.9 + radians(side * 20))))

    @property
    def _ear_colour(self) -> Colour:
        return self._coat.ears or self._coat.body

    def _tuft(self) -> float:
        """Return the length of the tufts in skull radii."""
        return 0.8 * self._coat.fluff / self._breed.head

    def topknot(self) -> BodyPart:
        """Return the hair on top of a poodle's head."""
        curls = [oval(0.62 * cos(radians(a)), 0.85 + 0.42 * sin(radians(a)), 0.34, 0.34) for a in range(0, 360, 40)]
        return BodyPart([oval(0, 0.85, 0.7, 0.5), *curls], self._coat.body, texture="curly")


def _moved(corners: list[Point], x: float, y: float) -> Outline:
    """Return a smooth outline through the corners, moved to (x, y)."""
    return blob(*((x + px, y + py) for px, py in corners))
