"""Ask AWS's Price List API for the prices of the book, and write those that it answers.

    python -m prices refresh [REGION …|--all] [--check]

It needs the right ``pricing:GetProducts`` and costs nothing. The ids are those that the book has for us-east-1, in
whichever region. A price that AWS does not answer, answers several times or answers more than five times as high or as
low stays as it was, with its date, and is named. The book is replaced as a whole or not at all.
"""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
)
from botocore.loaders import Loader
from botocore.regions import EndpointResolver

from prices import HOME_REGION, here
from prices.price_list import Listed, queries, read_products

SOURCE = "price-list"
_ENDPOINTS = ("us-east-1", "eu-central-1", "ap-south-1")  # the regions that have the Price List API
_RIGHT = "pricing:GetProducts"
_MOST_TIMES = 5  # A price that changes by more is probably one for another unit.
_DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}
_BAD_KEYS = {
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationTokenException",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}


class RefreshError(RuntimeError):
    """The price list could not be asked, or the book not be written; the message says what to do."""


@dataclass
class Refreshed:
    """What a refresh found in one region.

    Attributes:
        region: an AWS region.
        entries: the region's new entries of the book.
        changes: id, the price in the book (None for a new one), and the listed one.
        confirmed: the number of prices that are as they were.
        left: a sentence for each price that stays as it is.
    """

    region: str
    entries: dict[str, Any]
    changes: list[tuple[str, float | None, float]] = field(default_factory=list)
    confirmed: int = 0
    left: list[str] = field(default_factory=list)


def known_regions() -> list[str]:
    """Return the regions that have SageMaker, as botocore knows them, whatever the settings of the AWS tools are."""
    endpoints = EndpointResolver(Loader().load_data("endpoints"))
    return sorted(endpoints.get_available_endpoints("api.sagemaker"))


def ask(region: str, today: date) -> tuple[dict[str, Listed], dict[str, list[Listed]]]:
    """Return what the price list has of a region: prices by id, and the ids with several different ones.

    Raises:
        RefreshError: AWS could not be asked.
    """
    listed: dict[str, Listed] = {}
    unclear: dict[str, list[Listed]] = {}
    try:
        pages = _client().get_paginator("get_products")
        for (service, filters, region_field), offers in queries().items():
            asked = [*filters, (region_field, region)] if region_field else filters
            answer = pages.paginate(
                ServiceCode=service,
                FormatVersion="aws_v1",
                Filters=[{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in asked],
            )
            found, several = read_products(_texts(answer), offers, today)
            listed |= found
            unclear |= several
    except (BotoCoreError, ClientError) as error:
        raise RefreshError(_sentence(error)) from error
    return listed, unclear


def merged(
    book: dict[str, Any], region: str, listed: dict[str, Listed], unclear: Iterable[str], today: date
) -> Refreshed:
    """Return a region's entries with the listed prices in them."""
    units, old = book["regions"][HOME_REGION], book["regions"].get(region, {})
    several = set(unclear)
    found = Refreshed(region, {})
    for item, model in units.items():
        entry, price = old.get(item), listed.get(item)
        compared = (entry or model)["dollars"]
        if price and compared / _MOST_TIMES < price.dollars < compared * _MOST_TIMES:
            found.entries[item] = _entry(price, model["unit"], today)
            if entry and entry["dollars"] == price.dollars:
                found.confirmed += 1
            else:
                found.changes.append((item, entry and entry["dollars"], price.dollars))
            continue
        if entry:
            found.entries[item] = entry
        if price:
            found.left.append(
                f"{item}: AWS lists {price.dollars:g} for one {price.unit}, far from {compared:g} for one "
                f"{model['unit']}; look at it and write it into the book yourself"
            )
        elif item in several:
            found.left.append(f"{item}: AWS lists several prices; prices/catalogue.py must say more closely which")
        elif entry:
            found.left.append(f"{item}: AWS lists none")
    found.entries |= {item: entry for item, entry in old.items() if item not in units}
    return found


def write(book: dict[str, Any], path: Path) -> None:
    """Replace the book, with one line for each price.

    Raises:
        RefreshError: it cannot be written.
    """
    words, temporary = text(book), path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(words)
        temporary.chmod(path.stat().st_mode & 0o777)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RefreshError(f"{path} was not written ({error.strerror}); it is as it was") from error


def text(book: dict[str, Any]) -> str:
    """Return the book as it lies in its file."""
    sources = ",\n".join(f"  {json.dumps(name)}: {json.dumps(words)}" for name, words in book["sources"].items())
    regions = ",\n".join(
        f"  {json.dumps(region)}: {{\n"
        + ",\n".join(f"   {json.dumps(item)}: {json.dumps(entry)}" for item, entry in entries.items())
        + "\n  }"
        for region, entries in book["regions"].items()
    )
    shares = ",\n".join(f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in book["shares"].items())
    parts = {"sources": sources, "shares": shares, "regions": regions}
    words = "".join(f',\n "{name}": {{\n{lines}\n }}' for name, lines in parts.items())
    return f'{{\n "about": {json.dumps(book["about"])}{words}\n}}\n'


def _entry(price: Listed, unit: str, today: date) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "dollars": price.dollars,
        "unit": unit,
        "read": today.isoformat(),
        "source": SOURCE,
    }
    return entry | ({"then": [list(tier) for tier in price.then]} if price.then else {})


def _client() -> Any:
    address = os.environ.get("AWS_ENDPOINT_URL")
    if address and not os.environ.get("AWS_ENDPOINT_URL_PRICING"):
        raise RefreshError(
            f"AWS_ENDPOINT_URL is set ({address}), and the laptop cloud has no price list; unset it and ask AWS with "
            "the credentials of an account"
        )
    near = next((region for region in _ENDPOINTS if region[:2] == here()[:2]), _ENDPOINTS[0])
    return boto3.session.Session().client("pricing", region_name=near)


def _texts(pages: Iterable[dict[str, Any]]) -> Iterator[str]:
    for page in pages:
        yield from page["PriceList"]


def _sentence(error: Exception) -> str:
    if isinstance(error, ClientError):
        code = error.response["Error"]["Code"]
        if code in _DENIED:
            return f"these credentials lack the right {_RIGHT} (on *), without which nobody may read the price list"
        if code in _BAD_KEYS:
            return f"AWS does not accept these credentials ({code}); renew them, for example with aws sso login"
        return f"the Price List API answered {code}: {error.response['Error'].get('Message', '')}"
    if isinstance(error, NoCredentialsError | PartialCredentialsError | CredentialRetrievalError | ProfileNotFound):
        return f"no credentials of an AWS account were found ({error}); any account with {_RIGHT} will do"
    if isinstance(error, NoRegionError):
        return f"no region is set ({error})"
    return f"the Price List API could not be asked ({error})"
