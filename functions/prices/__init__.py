"""The one price book: what AWS charges for each unit of what Kennel uses, by region, with date and source.

``book.json`` has the prices. Its ids are ``<service>/<what>``, such as ``hosting/ml.c7i.large``. Everything that prints
or computes a price asks here, and a price that the book does not have is None, never a guess. ``docs/prices.md`` says
how the book is kept, and ``python -m prices`` reads and refreshes it.

This package lies with the functions, because each function's archive is made of that folder; other folders import it as
``prices``, too. What a function imports of it needs the standard library only.
"""

import json
import os
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

BOOK = Path(__file__).with_name("book.json")
HOME_REGION = "us-east-1"  # whose prices the documents tell


@dataclass(frozen=True)
class Price:
    """What one unit costs.

    Attributes:
        dollars: US dollars for one unit of the first tier that is paid, without taxes and free tiers.
        unit: what is counted, in the singular, such as ``hour``, ``GB`` or ``request``.
        read: the day on which the source read this price from AWS; where it names none, on which we read the source.
        source: where it was read.
        estimated: whether it is our own estimate instead of a listed price.
        then: the tiers that follow within one month: from how many units on, and the dollars for one unit there.
        agreeing: the sources that give the same price.
    """

    dollars: float
    unit: str
    read: date
    source: str
    estimated: bool = False
    then: tuple[tuple[float, float], ...] = ()
    agreeing: tuple[str, ...] = ()

    def of(self, quantity: float) -> float:
        """Return the dollars for a quantity that is used within one month."""
        total, begin, each = 0.0, 0.0, self.dollars
        for units, dollars_there in self.then:
            if quantity <= units:
                break
            total += (units - begin) * each
            begin, each = units, dollars_there
        return total + (quantity - begin) * each


def find(item: str, region: str = "") -> Price | None:
    """Return the price of an item; None if the book does not have it for this region.

    Args:
        item: the id in the book, such as ``hosting/ml.c7i.large``.
        region: an AWS region; empty for the one in which this program runs, else that of the documents.
    """
    entry = _book()["regions"].get(region or here(), {}).get(item)
    if entry is None:
        return None
    sources = _book()["sources"]
    return Price(
        entry["dollars"],
        entry["unit"],
        date.fromisoformat(entry["read"]),
        sources[entry["source"]],
        entry.get("estimated", False),
        tuple((units, each) for units, each in entry.get("then", ())),
        tuple(sources[each] for each in entry.get("also", ())),
    )


def dollars(item: str, quantity: float = 1, region: str = "") -> float | None:
    """Return the price of a quantity of an item, in US dollars; None if its price is not known.

    Args:
        item: the id in the book.
        quantity: how many units within one month.
        region: as in ``find``.
    """
    price = find(item, region)
    return None if price is None else price.of(quantity)


def known(item: str, quantity: float = 1, region: str = "") -> float:
    """Return the same as ``dollars`` for an item that the book must have.

    Raises:
        KeyError: the book does not have it.
    """
    amount = dollars(item, quantity, region)
    if amount is None:
        raise KeyError(f"the price book has no price of {item} in {region or here()}")
    return amount


def spot_share() -> float:
    """Return the share of EC2's price on demand that spot capacity costs. AWS lists none, so it is our own estimate."""
    share: float = _book()["shares"]["ec2/spot"]["share"]
    return share


def items(service: str, region: str = "") -> list[str]:
    """Return the ids of all prices of a service, such as ``hosting``, without the service's name."""
    begin = f"{service}/"
    return [each.removeprefix(begin) for each in _book()["regions"].get(region or here(), {}) if each.startswith(begin)]


def regions() -> list[str]:
    """Return the regions of which the book has at least one price."""
    return list(_book()["regions"])


def here() -> str:
    """Return the region in which this program runs, which a function's is its stack's; else that of the documents."""
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or HOME_REGION


@cache
def _book() -> dict[str, Any]:
    book: dict[str, Any] = json.loads(BOOK.read_text())
    return book
