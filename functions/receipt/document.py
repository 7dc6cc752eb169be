"""Put prices on what was metered, and write the receipt."""

import math
from collections.abc import Sequence

import prices
from receipt.meter import Metered
from shared.receipts import MonthlyLine, Receipt, ReceiptLine

_LARGEST = 3  # parts that the mail names


def write(run: str, metered: Sequence[Metered], monthly: Sequence[MonthlyLine], notes: Sequence[str]) -> Receipt:
    """Return the receipt of a run.

    Args:
        run: id of the run.
        metered: its parts.
        monthly: what goes on costing.
        notes: what could not be metered, a sentence each.
    """
    lines = [_line(each) for each in metered]
    costs, burns = [each.dollars for each in lines], [each.dollars_per_month for each in monthly]
    going = [f"Not ended yet: {each.state}: {each.what}, counted until now" for each in metered if each.is_open]
    receipt = Receipt(
        run=run,
        lines=lines,
        dollars=math.fsum(filter(None, costs)),
        is_lower_bound=None in costs or bool(notes) or bool(going),
        monthly=list(monthly),
        dollars_per_month=math.fsum(filter(None, burns)),
        is_lower_bound_per_month=None in burns,
        notes=list(notes),
        open=going,
        text="",
    )
    return receipt.model_copy(update={"text": _text(receipt)})


def _line(metered: Metered) -> ReceiptLine:
    members = metered._asdict()
    del members["is_spot"], members["is_open"]
    return ReceiptLine(**members, dollars=_price(metered))


def _price(metered: Metered) -> float | None:
    """Return the price of a part; None if the book does not have it."""
    dollars = prices.dollars(metered.item, metered.quantity)
    return None if dollars is None else dollars * (prices.spot_share() if metered.is_spot else 1.0)


def _text(receipt: Receipt) -> str:
    """Return the receipt in a few lines."""
    least = "at least " if receipt.is_lower_bound else ""
    lines = [f"This run cost {least}{money(receipt.dollars)} by list prices, without taxes and free tiers."]
    priced = [(each.dollars, each) for each in receipt.lines if each.dollars]
    for dollars, each in sorted(priced, key=lambda pair: -pair[0])[:_LARGEST]:
        quote = f" (quoted before: {each.quote})" if each.quote else ""
        lines.append(f"  {money(dollars)}  {each.state}: {each.what}{quote}")
    lines += [f"  price not known  {each.state}: {each.what}" for each in receipt.lines if each.dollars is None]
    least = "at least " if receipt.is_lower_bound_per_month else ""
    largest = max(receipt.monthly, key=lambda each: each.dollars_per_month or 0, default=None)
    mostly = f", mostly {largest.what}" if largest else ""
    lines.append(f"From now on, {least}{money(receipt.dollars_per_month)} a month without a request{mostly}.")
    return "\n".join([*lines, *receipt.notes, *receipt.open])


def money(dollars: float) -> str:
    """Return an amount with as many digits as tell it: cents, or two digits of what is less than a cent."""
    if dollars >= 0.00995 or not dollars:
        return f"${dollars:,.2f}"
    return f"${dollars:.{1 - math.floor(math.log10(dollars))}f}"
