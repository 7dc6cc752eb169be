"""What the painter paints: one piece of a dog with its markings."""

from dataclasses import dataclass, field

from local.sketchbook.breeds import Colour
from local.sketchbook.geometry import Shape


@dataclass(frozen=True)
class Part:
    """A shape in one colour with marks clipped to it.

    marks: (shape, colour), painted in order. texture: see Coat; None leaves the part flat and unshaded.
    fade: share of the height over which the part fades in from its top, so that a leg grows out of the body.
    far: on the side of the dog that the light does not reach.
    """

    shape: Shape
    colour: Colour
    marks: list[tuple[Shape, Colour]] = field(default_factory=list)
    texture: str | None = None
    fade: float = 0.0
    far: bool = False
