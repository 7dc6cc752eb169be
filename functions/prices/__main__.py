"""The commands for the price book.

    python -m prices show [REGION …]
    python -m prices refresh [REGION …|--all] [--check]
    python -m prices age [--days 90] [--today DATE]

``show`` prints every price with unit, date and source, ``refresh`` asks AWS for them (prices/refresh.py), and ``age``
warns of those that nobody has read for 90 days. ``make check`` calls it. ``--region REGION`` names a region as well.
"""

import argparse
import json
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import prices
from prices.refresh import SOURCE, Refreshed, RefreshError, ask, known_regions, merged, write

_MOST_DIGITS = 5  # of a number of days


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code; what a user can mend is a sentence."""
    parser = argparse.ArgumentParser(prog="python -m prices", description="The price book.")
    commands = parser.add_subparsers(dest="command", required=True)
    show = commands.add_parser("show", help="print every price of a region")
    refresh = commands.add_parser("refresh", help="ask AWS's Price List API and rewrite the book")
    for command in (show, refresh):
        command.add_argument("regions", nargs="*", metavar="REGION", help=f"default: {prices.HOME_REGION}")
        command.add_argument("--region", action="append", default=[], metavar="REGION", help="likewise")
    refresh.add_argument("--all", action="store_true", help="every region that has SageMaker")
    refresh.add_argument("--check", action="store_true", help="show the differences only; write nothing")
    age = commands.add_parser("age", help="warn of prices that are old")
    age.add_argument("--days", type=_days, default=90, help="how old a price may be (default: 90)")
    age.add_argument("--today", type=date.fromisoformat, default=_today(), metavar="YYYY-MM-DD")
    options = parser.parse_args(arguments)
    try:
        if options.command == "age":
            return _age(options.days, options.today)
        named = list(dict.fromkeys([*options.regions, *options.region]))
        if options.command == "show":
            return _show(named or [prices.HOME_REGION])
        if named and options.all:
            refresh.error("--all is every region; name none beside it")
        return _refresh(named or [prices.HOME_REGION], options.all, options.check)
    except RefreshError as error:
        print(f"prices: {error}", file=sys.stderr)
        return 1


def _days(words: str) -> int:
    if not words.isdecimal() or not 0 < len(words) <= _MOST_DIGITS:
        raise argparse.ArgumentTypeError(f"'{words}' is no number of days from 0 to {10**_MOST_DIGITS - 1:,}")
    return int(words)


def _show(regions: Sequence[str]) -> int:
    """Print the regions' prices, and how many each lacks of those that the book has for the region that is whole."""
    book = _read()["regions"]
    if unknown := [region for region in regions if region not in book]:
        _regions_with(unknown)
    for region in regions:
        entries = book.get(region, {})
        if entries:
            header = f"{f'price in {region}':40} {'dollars':12} {'for each':16} {'read on':10}"
            print(f"{header}  sources; the first of them")
        for item, entry in entries.items():
            price = prices.find(item, region)
            assert price
            words = f"{1 + len(price.agreeing)} sources" if price.agreeing else "1 source"
            words = "estimated" if price.estimated else words
            print(f"{item:40} {entry['dollars']:<12g} {entry['unit']:16} {entry['read']}  {words}; {price.source}")
        if lacking := [item for item in book[prices.HOME_REGION] if item not in entries]:
            kinds = Counter(item.partition("/")[0] for item in lacking)
            print(
                f"The book has {len(entries) or 'no'} price{'' if len(entries) == 1 else 's'} of {region}. Of those of "
                f"{prices.HOME_REGION} it lacks {len(lacking)} there: "
                f"{', '.join(f'{number} {kind}' for kind, number in kinds.most_common())}. "
                f"python -m prices refresh {region} asks AWS."
            )
    return 0


def _age(days: int, today: date) -> int:
    """Warn of old prices. Never fail: whoever runs ``make check`` may have no account to ask."""
    reads = {
        (region, item): date.fromisoformat(entry["read"])
        for region, entries in _read()["regions"].items()
        for item, entry in entries.items()
        if not entry.get("estimated")
    }
    old = {each: read for each, read in reads.items() if today - read > timedelta(days=days)}
    if old:
        regions = sorted({region for region, _ in old})
        command = f"python -m prices refresh {' '.join(regions)}"
        print(
            f"Warning: {len(old)} of {len(reads)} prices are older than {days} days, the oldest of "
            f"{min(old.values())}; with an AWS account, {command} reads them again."
        )
    return 0


def _refresh(regions: list[str], every: bool, check: bool) -> int:
    there = _regions_with(regions)
    book, today = _read(), _today()
    found = [
        merged(book, region, *ask(region, today), today) for region in (there if every else dict.fromkeys(regions))
    ]
    for each in found:
        _print(each)
    if check:
        return 0
    for each in found:
        book["regions"][each.region] = each.entries
    book["sources"][SOURCE] = "AWS's Price List API (GetProducts), asked by python -m prices refresh"
    written = [book["shares"], *book["regions"].values()]
    used = {name for entries in written for entry in entries.values() for name in _names(entry)}
    book["sources"] = {name: words for name, words in book["sources"].items() if name in used}
    write(book, prices.BOOK)
    return 0


def _regions_with(wanted: Sequence[str]) -> list[str]:
    """Return the regions that have SageMaker, which those that are wanted must be among.

    Raises:
        RefreshError: one of them is not.
    """
    there = known_regions()
    if unknown := [f"'{region}'" for region in wanted if region not in there]:
        raise RefreshError(f"there is no region {', '.join(unknown)} with SageMaker; there are {', '.join(there)}")
    return there


def _print(found: Refreshed) -> None:
    print(f"{found.region}: {found.confirmed} prices as before, {len(found.changes)} other, {len(found.left)} left")
    for item, old, new in found.changes:
        print(f"  {item}: {'new' if old is None else f'{old:g} ->'} {new:g}")
    for sentence in found.left:
        print(f"  {sentence}")


def _names(entry: dict[str, Any]) -> list[str]:
    return [entry["source"], *entry.get("also", [])]


def _read() -> dict[str, Any]:
    book: dict[str, Any] = json.loads(prices.BOOK.read_text())
    return book


def _today() -> date:
    return datetime.now(UTC).date()


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # A reader such as head ends the program without a traceback.
    sys.exit(main())
