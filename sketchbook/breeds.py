"""The ten breeds of the sketchbook, as data.

Lengths are in dog units: a Beagle is about one unit high at the withers. Each drawing is scaled to its frame later, so
only proportions matter.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Colour: TypeAlias = tuple[int, int, int]  # sRGB, 0 to 255


@dataclass(frozen=True)
class Ears:
    """The ears of a breed.

    Attributes:
        kind: pricked ears stand up, floppy ears hang, button ears fold forward.
        length: in skull radii.
        width: in skull radii.
    """

    kind: Literal["pricked", "floppy", "button"]
    length: float
    width: float


@dataclass(frozen=True)
class Tail:
    """The tail of a breed, which starts at the rump.

    Attributes:
        length: dog units.
        width: dog units.
        rise: the angle at the rump in degrees; 0 points straight back, positive angles point up and forward.
        bend: the turn from the rump to the tip, degrees.
        plume: length of the fringe, dog units.
        pompon: radius of the ball at the end, dog units.
    """

    length: float
    width: float
    rise: float
    bend: float
    plume: float = 0.0
    pompon: float = 0.0


@dataclass(frozen=True)
class Coat:
    """The hair of a breed, and its colours. A colour that is None means the colour of the `body`.

    Attributes:
        body: colour of everything without another colour.
        texture: the kind of hair.
        fluff: length of the tufts along the edges, dog units.
        head: colour of the skull.
        ears: colour of the ears.
        saddle: colour of the back.
        belly: colour of chest and underside.
        socks: colour of the lower legs.
        sock_height: the share of the leg that the socks cover.
        tail_tip: colour of the end of the tail.
        cap: colour of the top of the head.
        mask: colour of muzzle and lips.
        blaze: colour of the stripe between the eyes.
        brows: colour of a dot above each eye.
        eye_patch: colour around the eyes.
        spots: colour of spots all over the body.
    """

    body: Colour
    texture: Literal["short", "long", "curly"] = "short"
    fluff: float = 0.0
    head: Colour | None = None
    ears: Colour | None = None
    saddle: Colour | None = None
    belly: Colour | None = None
    socks: Colour | None = None
    sock_height: float = 0.5
    tail_tip: Colour | None = None
    cap: Colour | None = None
    mask: Colour | None = None
    blaze: Colour | None = None
    brows: Colour | None = None
    eye_patch: Colour | None = None
    spots: Colour | None = None


@dataclass(frozen=True)
class Breed:
    """The shape and the colours of a breed. Lengths are in dog units unless another unit is named.

    Attributes:
        leg: visible length of the legs below the chest.
        girth: radius of the chest.
        length: distance from shoulder to hip.
        waist: radius of the loin as a share of the girth.
        bone: radius of a foreleg.
        neck: length of the neck.
        head: radius of the skull.
        muzzle: length of the muzzle in skull radii.
        muzzle_depth: radius of the muzzle's end in skull radii.
        ears: shape of the ears.
        tail: shape of the tail.
        coat: hair and colours.
        eyes: colour of the iris.
        clipped: whether the hair is cut as a show poodle's, with pompons.
    """

    leg: float
    girth: float
    length: float
    waist: float
    bone: float
    neck: float
    head: float
    muzzle: float
    muzzle_depth: float
    ears: Ears
    tail: Tail
    coat: Coat
    eyes: Colour = (74, 42, 22)
    clipped: bool = False


_BLACK = (44, 40, 42)
_WHITE = (244, 240, 232)
_TAN = (186, 116, 58)

BREEDS: dict[str, Breed] = {
    "Beagle": Breed(
        leg=0.42, girth=0.27, length=0.92, waist=0.82, bone=0.085, neck=0.26, head=0.26, muzzle=0.62,
        muzzle_depth=0.42,
        ears=Ears("floppy", 1.35, 0.42), tail=Tail(0.55, 0.06, 70, 30),
        coat=Coat(body=(190, 118, 62), head=(196, 124, 66), ears=(160, 90, 44), saddle=_BLACK, belly=_WHITE,
                  socks=_WHITE, sock_height=0.62, tail_tip=_WHITE, mask=_WHITE, blaze=_WHITE),
    ),
    "Dachshund": Breed(
        leg=0.13, girth=0.23, length=1.30, waist=0.86, bone=0.075, neck=0.24, head=0.22, muzzle=1.15,
        muzzle_depth=0.30,
        ears=Ears("floppy", 1.25, 0.44), tail=Tail(0.62, 0.05, 5, 20),
        coat=Coat(body=(146, 72, 34), ears=(112, 52, 26)),
    ),
    "Dalmatian": Breed(
        leg=0.60, girth=0.28, length=0.92, waist=0.72, bone=0.08, neck=0.36, head=0.24, muzzle=0.75,
        muzzle_depth=0.38,
        ears=Ears("floppy", 1.05, 0.40), tail=Tail(0.70, 0.05, -10, 50),
        coat=Coat(body=(246, 244, 240), ears=(60, 54, 54), spots=(38, 36, 38)),
    ),
    "Doberman": Breed(
        leg=0.66, girth=0.27, length=0.88, waist=0.66, bone=0.075, neck=0.42, head=0.22, muzzle=1.0,
        muzzle_depth=0.33,
        ears=Ears("pricked", 1.15, 0.36), tail=Tail(0.14, 0.06, 40, 10),
        coat=Coat(body=(46, 40, 42), belly=None, socks=_TAN, sock_height=0.42, mask=_TAN, brows=_TAN),
    ),
    "Golden_retriever": Breed(
        leg=0.46, girth=0.32, length=0.98, waist=0.90, bone=0.095, neck=0.28, head=0.28, muzzle=0.68,
        muzzle_depth=0.46,
        ears=Ears("floppy", 0.92, 0.40), tail=Tail(0.75, 0.08, 0, 35, plume=0.16),
        coat=Coat(body=(214, 160, 84), texture="long", fluff=0.05, ears=(190, 130, 60),
                  belly=(232, 190, 122)),
    ),
    "Pembroke": Breed(
        leg=0.15, girth=0.27, length=1.02, waist=0.92, bone=0.085, neck=0.24, head=0.27, muzzle=0.66,
        muzzle_depth=0.34,
        ears=Ears("pricked", 1.05, 0.50), tail=Tail(0.10, 0.10, 30, 10, plume=0.04),
        coat=Coat(body=(214, 132, 60), texture="long", fluff=0.03, belly=_WHITE, socks=_WHITE,
                  sock_height=0.6, mask=_WHITE, blaze=_WHITE),
    ),
    "Pug": Breed(
        leg=0.30, girth=0.29, length=0.66, waist=0.86, bone=0.085, neck=0.24, head=0.30, muzzle=0.12,
        muzzle_depth=0.44,
        ears=Ears("button", 0.62, 0.40), tail=Tail(0.95, 0.052, 110, 350),
        coat=Coat(body=(222, 186, 136), ears=(48, 40, 38), mask=(52, 44, 42), eye_patch=(92, 72, 58)),
    ),
    "Samoyed": Breed(
        leg=0.42, girth=0.37, length=0.80, waist=0.95, bone=0.10, neck=0.26, head=0.30, muzzle=0.60,
        muzzle_depth=0.38,
        ears=Ears("pricked", 0.66, 0.42), tail=Tail(0.80, 0.11, 95, 130, plume=0.16),
        coat=Coat(body=(248, 246, 240), texture="long", fluff=0.09),
    ),
    "Siberian_husky": Breed(
        leg=0.52, girth=0.31, length=0.90, waist=0.86, bone=0.09, neck=0.30, head=0.27, muzzle=0.68,
        muzzle_depth=0.37,
        ears=Ears("pricked", 0.80, 0.42), tail=Tail(0.75, 0.09, 50, 90, plume=0.10),
        coat=Coat(body=(122, 124, 132), texture="long", fluff=0.04, head=_WHITE, ears=(84, 86, 94),
                  saddle=(78, 80, 88), belly=_WHITE, socks=_WHITE, sock_height=0.75, tail_tip=_WHITE,
                  cap=(84, 86, 94), mask=_WHITE, brows=_WHITE),
        eyes=(92, 164, 214),
    ),
    "Standard_poodle": Breed(
        leg=0.62, girth=0.24, length=0.76, waist=0.72, bone=0.06, neck=0.36, head=0.21, muzzle=1.10,
        muzzle_depth=0.28,
        ears=Ears("floppy", 1.4, 0.5), tail=Tail(0.42, 0.045, 75, 10, pompon=0.15),
        coat=Coat(body=(112, 78, 58), texture="curly"), clipped=True,
    ),
}  # fmt: skip
