"""What the painter paints: one piece of a dog or of another thing, with its markings."""

from dataclasses import dataclass, field

from sketchbook.breeds import Colour
from sketchbook.geometry import Shape


@dataclass(frozen=True)
class Part:
    """A shape in one colour with marks clipped to it.

    marks: (shape, colour), painted in order. texture: see Coat; "smooth" has no hair, and None leaves the part flat
    and unshaded.
    fade: share of the height over which the part fades in from its top, so that a leg grows out of the body.
    far: on the side of the dog that the light does not reach.
    """

    shape: Shape
    colour: Colour
    marks: list[tuple[Shape, Colour]] = field(default_factory=list)
    texture: str | None = None
    fade: float = 0.0
    far: bool = False


@dataclass(frozen=True)
class Subject:
    """What a drawing shows, each list from back to front: the body, then the head, which fills a close-up."""

    body: list[Part]
    head: list[Part] = field(default_factory=list)
