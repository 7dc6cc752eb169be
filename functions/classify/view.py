"""What a model uses of a photo. It stands alone because the function starts without what shrinks photos."""

from typing import NamedTuple


class View(NamedTuple):
    """What a model uses of a photo, as its answers say it.

    Attributes:
        shortest_side: pixels of the shorter side; 0 if that is not known.
        central_square: whether it uses nothing outside of the square in the middle.
    """

    shortest_side: int = 0
    central_square: bool = False

    def has_all_of(self, other: "View") -> bool:
        """Whether a photo that was made for this view has what another, which is known, uses."""
        is_wide_enough = other.central_square or not self.central_square
        return 0 < other.shortest_side <= self.shortest_side and is_wide_enough
