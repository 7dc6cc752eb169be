"""Read products of AWS's Price List API: which price of the book each has, and its tiers."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any

from prices.catalogue import CATALOGUE, Offer


@dataclass(frozen=True)
class Listed:
    """A price as the price list has it.

    Attributes:
        dollars: for one unit of the first tier that is paid.
        unit: the price list's name of the unit.
        then: the tiers after it: from how many units of a month on, and the dollars for one unit there.
    """

    dollars: float
    unit: str
    then: tuple[tuple[float, float], ...] = ()


def queries() -> dict[tuple[str, tuple[tuple[str, str], ...], str], dict[str, Offer]]:
    """Return what has to be asked: service code, filters and the region's field, each with the offers in its answer."""
    found: dict[tuple[str, tuple[tuple[str, str], ...], str], dict[str, Offer]] = {}
    for item, offer in CATALOGUE.items():
        found.setdefault((offer.service, offer.filters, offer.region_field), {})[item] = offer
    return found


def read_products(
    texts: Iterable[str], offers: dict[str, Offer], today: date
) -> tuple[dict[str, Listed], dict[str, list[Listed]]]:
    """Return the prices in an answer of GetProducts, and the ids for which it has several different ones.

    Args:
        texts: the answer's ``PriceList``: a JSON document of the format aws_v1 for each product.
        offers: the offers of the book that may be among them, by id.
        today: the day for which the price is wanted.
    """
    listed: dict[str, list[Listed]] = {}
    for text in texts:
        document = json.loads(text)
        price = _on_demand(document, today)
        if price is None:
            continue
        product = document["product"]
        attributes = {"productFamily": product.get("productFamily", ""), **product.get("attributes", {})}
        for item, offer in offers.items():
            kind = offer.instance_type(attributes)
            if kind is not None and price not in (rows := listed.setdefault(item.replace("*", kind), [])):
                rows.append(price)
    unclear = {item: rows for item, rows in listed.items() if len(rows) > 1}
    return {item: rows[0] for item, rows in listed.items() if len(rows) == 1}, unclear


def _on_demand(document: dict[str, Any], today: date) -> Listed | None:
    """Return a product's price on demand; None if it has none in dollars, or is free.

    A product may have several terms: one that holds now, and one that begins later. The latest that has begun holds.
    A free tier is listed as a first tier of no dollars, and is passed over.
    """
    terms = document.get("terms", {}).get("OnDemand", {}).values()
    begun = [term for term in terms if _day(term) <= today]
    if not begun:
        return None
    dimensions = max(begun, key=_day)["priceDimensions"].values()
    tiers = sorted(
        (float(each.get("beginRange") or 0), float(each["pricePerUnit"]["USD"]), str(each["unit"]))
        for each in dimensions
        if "USD" in each["pricePerUnit"]
    )
    paid = [tier for tier in tiers if tier[1] > 0]
    if not paid:
        return None
    _, dollars, unit = paid[0]
    return Listed(dollars, unit, tuple((begin, each) for begin, each, _ in paid[1:]))


def _day(term: dict[str, Any]) -> date:
    return date.fromisoformat(term.get("effectiveDate", "1970-01-01")[:10])
