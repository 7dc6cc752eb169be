"""Makes one drawing: a dog or another thing in a scene, framed as a photographer would frame it."""

from random import Random

from PIL import Image

from sketchbook import scene
from sketchbook.anatomy import dog
from sketchbook.breeds import BREEDS
from sketchbook.geometry import bounds
from sketchbook.painter import Frame, Painter
from sketchbook.part import Subject
from sketchbook.pose import any_pose
from sketchbook.things import THINGS

_OVERSAMPLING = 2  # A drawing is made twice as large and scaled down, which smooths its edges.
_CLOSE_UPS = 0.12  # the share of pictures that show only the head and the chest


def draw(name: str, seed: int, size: int = 256) -> Image.Image:
    """Draw one dog or thing; the same arguments give the same picture.

    Args:
        name: a breed in `BREEDS` or a thing in `THINGS`.
        seed: any integer; it determines pose, scene and light.
        size: side of the square picture in pixels.

    Returns:
        An RGB picture.

    Raises:
        ValueError: there is no such breed or thing.
    """
    if name not in BREEDS and name not in THINGS:
        raise ValueError(f"sketchbook: no breed or thing '{name}'; it has {', '.join((*BREEDS, *THINGS))}")
    rng = Random(f"{name} {seed}")
    side = size * _OVERSAMPLING
    picture = scene.background(rng, size).resize((side, side), Image.Resampling.NEAREST)
    subject = dog(BREEDS[name], any_pose(rng), rng) if name in BREEDS else Subject(THINGS[name](rng))
    frame = _framing(subject, side, rng)
    scene.shadow(picture, _footprint(subject, frame))
    painter = Painter(picture, frame, rng)
    for part in (*subject.body, *subject.head):
        painter.paint(part)
    return scene.light(picture.reduce(_OVERSAMPLING), rng)


def _framing(subject: Subject, side: int, rng: Random) -> Frame:
    """Return the frame in which the subject, or in a close-up its head, fills a random share of the picture."""
    close_up = bool(subject.head) and rng.random() < _CLOSE_UPS
    parts = subject.head if close_up else [*subject.body, *subject.head]
    left, bottom, right, top = bounds([outline for part in parts for outline in part.shape])
    share = rng.uniform(0.50, 0.64) if close_up else rng.uniform(0.74, 0.95)
    unit = share * side / max(right - left, top - bottom)
    free = side - unit * (top - bottom)
    scale = unit if rng.random() < 0.5 else -unit
    middle = (0.5 + rng.uniform(-0.5, 0.5) * (1 - share)) * side
    x = middle - scale * (left + right) / 2
    if close_up:
        ground = rng.uniform(0.2, 0.6) * free + unit * top
    else:
        ground = max(0.74 * side, 0.98 * side - rng.uniform(0.0, 0.5) * free)
    return Frame(scale, x, ground)


def _footprint(subject: Subject, frame: Frame) -> tuple[float, float, float, float]:
    """Return the box of the subject's shadow: left, top, right, bottom in pixels."""
    left, _, right, _ = bounds([outline for part in subject.body for outline in part.shape])
    low, high = sorted(frame.x + frame.scale * edge for edge in (left, right))
    return low, frame.ground - 0.12 * frame.unit, high, frame.ground + 0.10 * frame.unit
