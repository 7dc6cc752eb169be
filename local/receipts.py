"""The receipt of a run on the terminal: what it cost on AWS, part by part, and what goes on costing."""

import json
import time
from typing import Any

from rich.table import Table

from local.console import columns, say, show
from local.laptop import Cloud

_WHOLE = 1000  # from which on a quantity is told without decimals
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
    say(
        f"\nreceipt: on AWS this run would have cost {least}${receipt['dollars']:.4f} (list prices, this cloud's clock)"
    )
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
