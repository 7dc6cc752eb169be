"""Open-loop load against a deployed API, on AWS or on the laptop: latencies by stage, statuses, versions, instances.

    python -m benchmarks load [URL] [--stages 60s@2,120s@20,60s@2] [--photos FOLDER] …

Requests are sent at random moments (Poisson) or at equal distances, whether earlier ones are answered or not, and each
latency counts from the moment at which its request had to be sent. Without URL the laptop cloud's own API is asked.
The key is read from the variable KENNEL_API_KEY, or given by --key; a function's URL needs AWS credentials instead.
Before anything leaves this machine, the command says what it sends and what that costs, and asks.
"""

import argparse
import json
import math
import re
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import urllib3

from benchmarks import load_cost
from benchmarks.figures import rounded
from benchmarks.load_run import Load, Plan, version_of
from benchmarks.load_target import (
    EndpointWatch,
    Target,
    client_of,
    environment_key,
    own_api,
    sender_to,
    target_of,
)
from dataset.photo_bytes import media_type
from local.console import columns, say, show
from local.data import sketches
from local.home import HOME, LocalError, file_error
from prices import per_million
from traffic.arrivals import Stage, constant_moments, poisson_moments
from traffic.picture import draw
from traffic.senders import Answer, Sender

_MAX_PHOTOS = 100
_MAX_CONNECTIONS = 2_000
_MAX_PHOTO_BYTES = 4_500_000  # of the API (docs/api.md)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(s|m|min)?@(\d+(?:\.\d+)?)")


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    """Send a load and return what came of it.

    Raises:
        LocalError: an option is wrong, nobody agreed to the price, or the API does not answer as it should.
    """
    options = _parser().parse_args(arguments)
    url, key = (options.url, options.key or environment_key()) if options.url else own_api()
    target, stages = target_of(url), _stages(options)
    _check_bounds(options, stages, math.ceil(sum(stage.seconds * stage.rate for stage in stages)))
    moments = constant_moments(stages) if options.constant else poisson_moments(stages, options.seed)
    _check_bounds(options, stages, len(moments))
    photos = _photos(options.photos)
    options.picture.parent.mkdir(parents=True, exist_ok=True)
    sender = sender_to(target, key, photos, options.connections)
    watch = EndpointWatch(client_of(target), options.endpoint)
    plan = Plan(target, stages, moments, round(sum(map(len, photos)) / len(photos)), watch.fleet())
    quoted = {} if target.is_here else _quote(plan)
    if quoted:
        _announce(plan, quoted, watch)
        if not options.yes:
            _confirm()
    first = _first_answer(sender, target)
    load = Load(plan, sender, watch, options.connections, options.max_failed)
    load.run()
    return {
        "url": target.url,
        "door": target.door,
        "arrivals": "constant" if options.constant else f"Poisson, seed {options.seed}",
        "photos": {"number": len(photos), "mean_bytes": plan.photo_bytes},
        "quoted_dollars": {words: None if amount is None else rounded(amount) for words, amount in quoted.items()},
        "first_answer_ms": first,
        **load.figures(),
        "picture": _drawn(options.picture, load),
    }


def _drawn(path: Path, load: Load) -> str | None:
    """Draw the picture and return its path; without one the figures must not be lost."""
    try:
        draw(path, [load.column()])
    except OSError as error:
        say(file_error(error))
        return None
    say(f"the picture: {path}")
    return str(path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks load",
        description=(__doc__ or "").partition("\n\n")[0],
        epilog=(__doc__ or "").rpartition("\n\n")[2],
    )
    parser.add_argument(
        "url", nargs="?", metavar="URL", help="of the API or the function (default: the laptop cloud's)"
    )
    parser.add_argument("--key", default="", help="the API's key (default: the variable KENNEL_API_KEY)")
    parser.add_argument("--stages", metavar="SECONDS@RATE,…", help="such as 60s@2,120s@20,60s@2; 5m@0 is a pause")
    parser.add_argument("--rate", type=float, default=2, help="requests/s of the only stage (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=30, help="length of the only stage (default: %(default)s)")
    parser.add_argument("--constant", action="store_true", help="send at equal distances instead of random moments")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments (default: %(default)s)")
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="photos to send in turn (default: drawn dogs)")
    parser.add_argument(
        "--connections", type=int, default=256, help="requests that may wait at once (default: %(default)s)"
    )
    parser.add_argument("--max-requests", type=int, default=10_000, help="bound of the count (default: %(default)s)")
    parser.add_argument("--max-seconds", type=float, default=900, help="bound of the time (default: %(default)s)")
    parser.add_argument(
        "--max-failed",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="of failures, ends the load (default: %(default)s)",
    )
    parser.add_argument("--endpoint", default="kennel", help="whose instances are counted (default: %(default)s)")
    parser.add_argument("--picture", type=Path, default=HOME / "load.png", help="PNG or SVG (default: %(default)s)")
    parser.add_argument("--yes", action="store_true", help="send without asking")
    return parser


def _stages(options: argparse.Namespace) -> list[Stage]:
    for name in ("rate", "seconds", "connections", "max_failed"):
        if not (0 < getattr(options, name) < math.inf or (name == "max_failed" and options.max_failed == 0)):
            raise LocalError(f"--{name.replace('_', '-')} must be a number above 0")
    if options.connections > _MAX_CONNECTIONS:
        raise LocalError(f"--connections: at most {_MAX_CONNECTIONS}, because each has a thread")
    if options.picture.suffix.lower() not in (".png", ".svg"):
        raise LocalError(f"--picture {options.picture}: the file's name must end with .png or .svg")
    return parse_stages(options.stages) if options.stages else [Stage(options.seconds, options.rate)]


def parse_stages(text: str) -> list[Stage]:
    """Return the stages that a text names, such as ``60s@2,2m@20``.

    Raises:
        LocalError: it names none.
    """
    stages = []
    for part in text.replace(" ", "").split(","):
        found = _DURATION.fullmatch(part)
        if not found or not float(found[1]):
            raise LocalError(f"--stages: '{part}' must be SECONDS@RATE, such as 60s@2 or 2m@0.5")
        stages.append(Stage(float(found[1]) * (60 if found[2] in ("m", "min") else 1), float(found[3])))
    if not any(stage.rate for stage in stages):
        raise LocalError("--stages: at least one rate must be above 0")
    return stages


def _check_bounds(options: argparse.Namespace, stages: Sequence[Stage], num_requests: int) -> None:
    seconds = sum(stage.seconds for stage in stages)
    if num_requests > options.max_requests:
        raise LocalError(
            f"these stages send {num_requests:,} requests, more than --max-requests {options.max_requests:,}; lower "
            f"rate or time, or give --max-requests {num_requests}"
        )
    if seconds > options.max_seconds:
        raise LocalError(
            f"these stages take {seconds:g} s, more than --max-seconds {options.max_seconds:g}; shorten them, or give "
            f"--max-seconds {math.ceil(seconds)}"
        )
    if not num_requests:
        raise LocalError("these stages send no request; give a higher rate or more seconds")


def _photos(folder: Path | None) -> list[bytes]:
    folder = folder or sketches() / "test"
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    photos = list[bytes]()
    for file in files:
        if len(photos) == _MAX_PHOTOS:
            break
        photo = file.read_bytes()
        if media_type(photo):
            if len(photo) > _MAX_PHOTO_BYTES:
                raise LocalError(f"{file} has {len(photo) / 1e6:.1f} MB, and the API takes 4.5 MB at most")
            photos.append(photo)
    if not photos:
        raise LocalError(f"{folder} contains no JPEG, PNG or WebP photo; give --photos another folder")
    return photos


def _quote(plan: Plan) -> dict[str, float | None]:
    number, target = len(plan.moments) + 1, plan.target
    return load_cost.quote(target.door, number, plan.seconds, plan.photo_bytes, plan.fleet, target.region)


def _announce(plan: Plan, parts: Mapping[str, float | None], watch: EndpointWatch) -> None:
    number = len(plan.moments) + 1
    say(f"To {plan.target.url}, which is not this machine, this sends")
    say(
        f"{number:,} requests with {number * plan.photo_bytes / 1e6:,.1f} MB of photos "
        f"({plan.photo_bytes / 1e3:,.1f} KB each): one first, then {plan.in_words()}."
    )
    say(f"At AWS's list prices of {plan.target.region} it costs about (the part of the function is estimated):")
    total = "in total, and what the price book lacks besides" if None in parts.values() else "in total"
    rows = [*parts.items(), (total, sum(filter(None, parts.values())))]
    show(columns([(_dollars(amount), words) for words, amount in rows], right=(0,)))
    if not plan.fleet:
        say(
            f"Not counted is what answers behind it: the instances of '{watch.endpoint}' cannot be read "
            f"({watch.problem}). Each one that scaling adds costs by the hour until twenty minutes after the load; "
            "what a model's function costs instead, docs/aws.md tells."
        )
    say("The requests count against the key's rate and its quota of the day.")


def _dollars(amount: float | None) -> str:
    if amount is None:
        return "unknown"
    return f"${amount:.4f}" if amount >= 0.0001 else "< $0.0001"


def _confirm() -> None:
    if not sys.stdin or not sys.stdin.isatty():
        raise LocalError("nothing was sent: there is no terminal to ask on; give --yes if this is meant")
    if input("Go on? [y/N] ").strip().lower() not in ("y", "yes"):
        raise LocalError("nothing was sent")


def _first_answer(sender: Sender, target: Target) -> float:
    """Send one photo, so that a wrong key or address is told before the load, and return the milliseconds it took.

    Raises:
        LocalError: the answer is no prediction.
    """
    begin = time.monotonic()
    try:
        answer = sender.ask()
    except urllib3.exceptions.HTTPError as error:
        raise LocalError(f"{target.url} does not answer ({_reason(error)})") from None
    if version_of(answer):
        return rounded(1e3 * (time.monotonic() - begin))
    raise LocalError(f"{target.url} answers {answer.status}{_detail(answer)}{_advice(answer.status, target)}")


def _reason(error: Exception) -> str:
    """Return what urllib3 says, without the object that it names first."""
    return re.sub(r"^(<[^>]*>|\w+\(.*?\)): ?", "", str(error)).strip() or type(error).__name__


def _detail(answer: Answer) -> str:
    try:
        document = json.loads(answer.body)
        said = document.get("detail") or document.get("message") or document.get("Message")
    except (ValueError, AttributeError):
        said = None
    return f" ({said})" if said else ""


def _advice(status: int, target: Target) -> str:
    by_url = target.door == per_million.FUNCTION_URL
    return {
        200: ", but no prediction; is this the address of Kennel's API?",
        401: "; people sign in at this stack, so no key opens it: give the function's URL and AWS credentials",
        403: "; the credentials lack a right, or the signature is not theirs (docs/api.md says who may use this URL)"
        if by_url
        else "; the key is missing or wrong, or the address is not this stack's",
        404: "; is this the output ApiUrl of the stack, or its FunctionUrl?",
        429: "; the key has used up its rate or its requests of the day",
        503: "; nothing can be measured before a model serves",
    }.get(status, "; nothing can be measured before one photo is answered")
