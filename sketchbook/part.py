"""The parts of a dog or of another thing, which the painter paints."""

from dataclasses import dataclass, field

from sketchbook.breeds import Colour
from sketchbook.geometry import Shape


@dataclass(frozen=True)
class BodyPart:
    """A shape in one colour, with marks that are clipped to it.

    Attributes:
        shape: outlines in dog units.
        colour: of everything that no mark covers.
        marks: shapes with their colours, painted in order.
        texture: as in Coat; "smooth" has no hair, and None has neither hair nor shading.
        fade: the share of the height over which the part fades in from its top. It makes legs merge into the body.
        far: whether the part is on the far side of the dog, which gets less light.
    """

    shape: Shape
    colour: Colour
    marks: list[tuple[Shape, Colour]] = field(default_factory=list)
    texture: str | None = None
    fade: float = 0.0
    far: bool = False


@dataclass(frozen=True)
class Subject:
    """The dog or thing of a drawing. Both lists are ordered from back to front; a close-up frames the head."""

    body: list[BodyPart]
    head: list[BodyPart] = field(default_factory=list)
