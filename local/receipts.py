"""The receipt of a run on the terminal: what it cost on AWS, part by part, and what goes on costing."""

from typing import Any

from rich.table import Table

from local.console import columns, say, show

_WHOLE = 1000  # from which on a quantity is told without decimals
_SHARE = 0.01  # of the sum; smaller parts are summed up in one row


def show_receipt(receipt: dict[str, Any]) -> None:
    """Print a receipt."""
    least = "at least " if receipt["is_lower_bound"] else ""
    say(
        f"\nreceipt: on AWS this run would have cost {least}${receipt['dollars']:.4f} (list prices, this cloud's clock)"
    )
    show(parts(receipt))
    for note in receipt["notes"]:
        say(f"  {note}")
    least = "at least " if receipt["is_lower_bound_per_month"] else ""
    say(f"from now on, without a request: {least}${receipt['dollars_per_month']:,.2f} a month")
    show(monthly(receipt))


def parts(receipt: dict[str, Any]) -> Table:
    """Return a table with a row for each part above 1 % of the sum and each without a price, and one for the rest."""
    rows, small = [], list[float]()
    for line in receipt["lines"]:
        dollars = line["dollars"]
        if dollars is not None and dollars < _SHARE * receipt["dollars"]:
            small.append(dollars)
            continue
        price = "price not known" if dollars is None else f"${dollars:.4f}"
        quote = f" (quoted: {line['quote']})" if line["quote"] else ""
        rows.append((price, line["state"], f"{line['what']}: {quantity(line)}{quote}"))
    if small:
        rows.append((f"${sum(small):.4f}", "", f"{len(small)} smaller part{'s' * (len(small) > 1)}"))
    return columns(rows, right=(0,))


def quantity(line: dict[str, Any]) -> str:
    """Return how much of a part was metered, with its unit."""
    unit = line["unit"] if line["quantity"] == 1 or line["unit"].startswith("GB") else f"{line['unit']}s"
    amount = line["quantity"]
    return f"{amount:,.0f} {unit}" if amount >= _WHOLE else f"{amount:,.4g} {unit}"


def monthly(receipt: dict[str, Any]) -> Table:
    """Return a table of what goes on costing."""
    rows = [
        (
            "price not known" if line["dollars_per_month"] is None else f"${line['dollars_per_month']:,.2f}",
            line["what"],
        )
        for line in receipt["monthly"]
    ]
    return columns(rows, right=(0,))
