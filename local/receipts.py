"""The receipt of a run on the terminal: what it cost on AWS, part by part, and what goes on costing."""

import json
import time
from typing import Any

from rich.table import Table

from local.console import columns, plural, say, show
from local.laptop import Cloud

_WHOLE = 1000  # from which on a quantity is told without decimals
_CENT = 0.01  # dollars
_SHARE = 0.01  # of the sum; smaller parts are summed up in one row
_NEWEST = 20  # executions of teardown, among which the one that a stopped run caused is looked for
_POLL_SECONDS = 0.3


def of_stopped(cloud: Cloud, teardown_arn: str, execution_arn: str, seconds: float) -> dict[str, Any]:
    """Return the receipt of a run that was stopped or timed out, which teardown writes; empty if it writes none.

    Args:
        cloud: the cloud on which it ran.
        teardown_arn: the state machine that the end of the run starts.
        execution_arn: the run.
        seconds: how long to wait for it.
    """
    states, deadline = cloud.client("stepfunctions"), time.monotonic() + seconds
    while time.monotonic() < deadline:
        newest = states.list_executions(stateMachineArn=teardown_arn, maxResults=_NEWEST)["executions"]
        for each in newest:
            described = states.describe_execution(executionArn=each["executionArn"])
            about = json.loads(described["input"]).get("detail", {}).get("executionArn")
            if about == execution_arn and described["status"] != "RUNNING":
                receipt: dict[str, Any] = json.loads(described.get("output") or "{}").get("receipt", {})
                return receipt if "lines" in receipt else {}
        time.sleep(_POLL_SECONDS)
    return {}


def show_receipt(receipt: dict[str, Any]) -> None:
    """Print a receipt."""
    least = "at least " if receipt["is_lower_bound"] else ""
    say(f"\nreceipt: this run at AWS's list prices, with this machine's times: {least}${receipt['dollars']:.4f}")
    show(parts(receipt))
    for note in [*receipt["notes"], *receipt.get("open", [])]:
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
        quote = f" (quoted before: {line['quote']})" if line["quote"] else ""
        rows.append((price, line["state"], f"{line['what']}: {quantity(line)}{quote}"))
    if small:
        rows.append((f"${sum(small):.4f}", "", plural(len(small), "smaller part")))
    return columns(rows, right=(0,))


def quantity(line: dict[str, Any]) -> str:
    """Return how much of a part was metered, with its unit."""
    unit = line["unit"] if line["quantity"] == 1 or line["unit"] == "GB" else f"{line['unit']}s"
    amount = line["quantity"]
    return f"{amount:,.0f} {unit}" if amount >= _WHOLE else f"{amount:,.4g} {unit}"


def monthly(receipt: dict[str, Any]) -> Table:
    """Return a table of what goes on costing."""
    return columns([(_a_month(line["dollars_per_month"]), line["what"]) for line in receipt["monthly"]], right=(0,))


def _a_month(dollars: float | None) -> str:
    if dollars is None:
        return "price not known"
    return "under a cent" if 0 < dollars < _CENT / 2 else f"${dollars:,.2f}"
