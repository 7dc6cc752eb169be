"""The receipt of a run: what was metered, what it costs, and what goes on costing."""

from typing import Literal

from shared.base import Document


class ReceiptLine(Document):
    """One part of a run.

    Attributes:
        state: the state that needed it.
        what: what was metered, in words.
        item: id of its price in the price book.
        quantity: how much was metered, as AWS bills it.
        unit: the unit of ``quantity``, in the singular.
        dollars: the price of it; None if the book has no price.
        quote: what Plan had quoted for this part, in words; empty if nothing.
        how: ``measured`` by the service that bills it; ``derived`` from times and counts that contain it, so it may be
            a little less; ``estimated`` from a part of it.
    """

    state: str
    what: str
    item: str
    quantity: float
    unit: str
    dollars: float | None
    quote: str = ""
    how: Literal["measured", "derived", "estimated"] = "measured"


class MonthlyLine(Document):
    """What goes on costing.

    Attributes:
        what: in words.
        dollars_per_month: for 730 hours; None if the book has no price.
    """

    what: str
    dollars_per_month: float | None


class Receipt(Document):
    """What a run cost, in US dollars by the price book, without taxes and free tiers.

    Attributes:
        run: id of the run.
        lines: the parts, in the order of the run.
        dollars: the sum of the lines whose price is known.
        is_lower_bound: whether a part is missing: its price is not known, it could not be metered, or it goes on.
        monthly: what goes on costing, line by line.
        dollars_per_month: the sum of these whose price is known.
        is_lower_bound_per_month: whether one of these has no known price.
        notes: what could not be metered, a sentence each.
        open: what had not ended and will have cost more, a sentence each.
        text: the sum, the three largest parts and what goes on costing, in a few lines for a mail.
    """

    run: str
    lines: list[ReceiptLine]
    dollars: float
    is_lower_bound: bool
    monthly: list[MonthlyLine]
    dollars_per_month: float
    is_lower_bound_per_month: bool
    notes: list[str]
    open: list[str]
    text: str
