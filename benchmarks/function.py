"""The model as a Lambda function: its cold start, its warm answers, and dollars per million, compared with the peer.

    python -m benchmarks function [--model …] [--trained …] [--photos FOLDER] [--rounds N] [--requests N]

Every function is a process on one core, as 1,769 MB of Lambda's memory bring it, and asks a Runtime API on the other
cores for one event after the other. The peer is the usual handler: boto3 gets the same weights, and eager PyTorch
computes them. A bare function answers at once. The limit is decoding and model alone, in one thread.

Cold: the seconds, and the CPU seconds, from the start of a process to its first right answer; each round starts every
function once, in another order. Before each start the kernel is told to forget the files of its packages, of the
standard library and of ours, which it does for those that no other process has mapped. The bucket answers at once, and
an image that Lambda has not cached is not imitated.

Warm: the milliseconds of a request, one at a time; the functions take turns with the same photo. Ours is asked twice:
as the function classify asks it, and as a request to its own URL, which is the IAM door where a function serves.

Derived: dollars by the price book (us-east-1) and ``prices.per_million``, as if a core of Lambda were as fast as one
of this machine: by the function's own URL with everything, which is the goal, and behind the function classify by
classify's URL and by the REST API, where classify is paid while it waits, with photos of 100 KB.
"""

import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import prices
from benchmarks.figures import goal, percentile, rotated, rounded, spreads
from benchmarks.hosted import (
    BUCKET,
    PYTHON,
    HostedFunction,
    bucket,
    drop_from_page_cache,
    files_of,
    running,
)
from benchmarks.inputs import Inputs, parser, prepare_inputs
from benchmarks.servers import print_progress
from local.home import LocalError
from prices import per_million
from serving.served_artifact import pack

MEGABYTES = 1769  # one core
_HOP_MS = 3.0  # from classify to the model's function and back; nobody has measured it on AWS yet
_COLD_SHARE = 0.001  # assumed: one request of a thousand meets a cold start
_MOST_COLD_SHARE = 0.01  # AWS says that cold starts are usually fewer than this
_CALL = per_million.CALLS[100_000]
_OURS, _BY_URL, _EAGER, _BARE, _ALONE = "ours", "ours by its URL", "eager PyTorch, boto3", "bare", "alone"


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    """Measure seconds and milliseconds, and derive dollars.

    Raises:
        LocalError: An input is missing, or a function fails.
    """
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2:
        raise LocalError("this benchmark needs Linux and two cores: one for the function, one for the Runtime API")
    options_parser = parser("function", __doc__, rounds=10)
    options_parser.add_argument("--requests", type=int, default=200, help="warm requests (default %(default)s)")
    options = options_parser.parse_args(arguments)
    with prepare_inputs(options) as inputs, tempfile.TemporaryDirectory() as folder:
        pack(inputs.model, Path(folder, "model.tar.gz"))
        pack(inputs.peer_model, Path(folder, "peer.tar.gz"))
        objects = {name: Path(folder, name).read_bytes() for name in ("model.tar.gz", "peer.tar.gz")}
        functions = _functions(inputs, Path(folder, "peer"))
        with bucket(objects) as environment:
            cold = _cold(functions, environment, inputs, options.rounds)
            warm = _warm(functions, environment, inputs, options.requests)
    return _report({**inputs.described, "requests": options.requests}, options.rounds, cold, warm)


def _functions(inputs: Inputs, folder: Path) -> list[HostedFunction]:
    def peer(name: str, module: str, packages: Sequence[str], **variables: str) -> HostedFunction:
        command = (*PYTHON, "-m", "benchmarks.peers.function_runtime", module)
        return HostedFunction(name, command, variables, tuple(packages))

    ours = {"KENNEL_ARTIFACT": f"s3://{BUCKET}/model.tar.gz", "KENNEL_MANIFEST": inputs.artifact.manifest}
    packages = ("openvino", "numpy", "numpy.libs", "PIL", "pillow.libs", "serving", "dataset")
    eager = ("torch", "numpy", "numpy.libs", "PIL", "pillow.libs", "boto3", "botocore", "s3transfer", "training")
    return [
        HostedFunction(_OURS, (*PYTHON, "-m", "serving.function"), ours, packages),
        peer(
            _EAGER,
            "benchmarks.peers.function_eager",
            eager,
            MODEL_URI=f"s3://{BUCKET}/peer.tar.gz",
            PEER_MODEL=str(folder),
        ),
        peer(_BARE, "benchmarks.peers.function_bare", ()),
        peer(_ALONE, "benchmarks.function_alone", packages, MODEL_FOLDER=str(inputs.model)),
    ]


def class_of(document: Mapping[str, Any]) -> str:
    """Return the class that an answer names, ours or a peer's."""
    return str(document.get("body", document).get("class", ""))


def _cold(
    functions: Sequence[HostedFunction], environment: Mapping[str, str], inputs: Inputs, num_rounds: int
) -> dict[str, list[dict[str, float]]]:
    """Return each function's starts, ours also with all files in the page cache."""
    question = inputs.questions[0]
    files = {function.name: files_of(function.packages) for function in functions}
    starts = [(function.name, function, True) for function in functions if function.name != _ALONE]
    starts.append((f"{_OURS}, files in the page cache", functions[0], False))
    for _, function, _ in starts:  # This writes the bytecode.
        _start(function, {**environment, "PYTHONDONTWRITEBYTECODE": ""}, question.photo)
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name, _, _ in starts}
    for number in range(num_rounds):
        for name, function, drop in rotated(starts, number):
            if drop:
                drop_from_page_cache(files[function.name])
            answered, figures = _start(function, environment, question.photo)
            if function.name != _BARE and answered != question.answer:
                raise LocalError(f"{name} answers {answered} for a photo of {question.answer}")
            rounds[name].append(figures)
            seconds = f"{figures['seconds']:.2f} s, CPU {figures['cpu_seconds']:.2f} s"
            print_progress(f"round {number + 1}/{num_rounds}  {name:34} {seconds}")
    return rounds


def _start(function: HostedFunction, environment: Mapping[str, str], photo: bytes) -> tuple[str, dict[str, float]]:
    began = time.perf_counter()
    with running(function, environment) as process:
        document, _ = process.ask(photo)
        return class_of(document), {"seconds": time.perf_counter() - began, "cpu_seconds": process.cpu_seconds()}


def _warm(
    functions: Sequence[HostedFunction], environment: Mapping[str, str], inputs: Inputs, num_requests: int
) -> dict[str, dict[str, float]]:
    """Return each function's milliseconds, ours also by its URL, and its memory."""
    photos = [path.read_bytes() for path in inputs.photos]
    with ExitStack() as stack:
        processes = {function.name: stack.enter_context(running(function, environment)) for function in functions}
        processes[_BY_URL] = processes[_OURS]
        asks: dict[str, Callable[[bytes], tuple[dict[str, Any], float]]] = {
            name: partial(process.ask, by_url=name == _BY_URL) for name, process in processes.items()
        }
        times: dict[str, list[float]] = {name: [] for name in asks}
        for ask in asks.values():
            for photo in photos[:5]:
                ask(photo)
        for number, photo in enumerate(islice(cycle(photos), num_requests)):
            for name in rotated(list(asks), number):
                document, milliseconds = asks[name](photo)
                times[name].append(document.get("milliseconds", milliseconds))
        return {
            name: {
                "p50_ms": rounded(percentile(values, 0.5)),
                "p99_ms": rounded(percentile(values, 0.99)),
                "mean_ms": rounded(statistics.fmean(values)),
                "mebibytes": rounded(processes[name].peak_bytes() / (1 << 20)),
            }
            for name, values in times.items()
        }


def _report(
    inputs: dict[str, Any],
    rounds: int,
    cold: Mapping[str, Sequence[Mapping[str, float]]],
    warm: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    """Build the report."""
    measured: dict[str, dict[str, Any]] = {name: {"cold": spreads(starts)} for name, starts in cold.items()}
    for name in (_OURS, _EAGER, _BARE):
        measured[name]["warm"] = dict(warm[name])
    ours = measured.pop(_OURS)
    ours["warm_by_its_url"] = dict(warm[_BY_URL])
    ours["cold_with_files_in_the_page_cache"] = measured.pop(f"{_OURS}, files in the page cache")["cold"]
    dollars = _dollars(warm, 1e3 * ours["cold"]["seconds"]["median"])
    _print(ours, dollars)
    return {
        "inputs": {**inputs, "megabytes": MEGABYTES},
        "rounds": rounds,
        "ours": {"measured": ours, "derived": dollars},
        "peers": {name: {"measured": figures} for name, figures in measured.items()},
        "limit": {"warm": dict(warm[_ALONE]), "what": "decoding and model in one thread"},
        "ratio": rounded(measured[_EAGER]["cold"]["seconds"]["median"] / ours["cold"]["seconds"]["median"]),
        "ratio_warm": rounded(warm[_EAGER]["p50_ms"] / warm[_OURS]["p50_ms"]),
        "assumed": {
            "hop_ms": _HOP_MS,
            "cold_share": _COLD_SHARE,
            "more_cold_starts": _MOST_COLD_SHARE,
            "photo_bytes": _CALL.photo_bytes,
            "bucket_ms": 0,
        },
        "goal": {
            "cold_seconds": goal(ours["cold"]["seconds"]["median"], at_most=1.5),
            "warm_p50_over_alone": goal(warm[_OURS]["p50_ms"] / warm[_ALONE]["p50_ms"], at_most=1.3),
            "mebibytes": goal(warm[_OURS]["mebibytes"], at_most=MEGABYTES),
            "dollars_by_the_iam_door": goal(dollars["by_its_url"]["total"], at_most=1.40),
            "idle_dollars": goal(dollars["idle_a_month"], at_most=0),
        },
    }


def _dollars(warm: Mapping[str, Mapping[str, float]], cold_ms: float) -> dict[str, Any]:
    """Derive the dollars of a million answers by each way, and those of a month in which nobody asks."""
    behind = per_million.ModelFunction(MEGABYTES, warm[_OURS]["mean_ms"], _HOP_MS, _COLD_SHARE, cold_ms)
    by_url = replace(behind, answer_ms=warm[_BY_URL]["mean_ms"])
    return {
        "by_its_url": derived(by_url, ""),
        "by_its_url_with_more_cold_starts": derived(replace(by_url, cold_share=_MOST_COLD_SHARE), ""),
        "behind_classify": {door: derived(behind, door) for door in per_million.DOORS},
        "idle_a_month": 0.0,  # Nothing of the function is paid between requests.
    }


def derived(host: per_million.ModelFunction, door: str) -> dict[str, float]:
    """Derive the dollars of each part of a million answers, and their total.

    Args:
        host: The model's function.
        door: See ``per_million.parts_of_function``.

    Raises:
        LocalError: The price book lacks a price.
    """
    parts = per_million.parts_of_function(host, _CALL, door, region=prices.HOME_REGION)
    found = {**parts, "total": per_million.total(parts)}
    if any(amount is None or math.isnan(amount) for amount in found.values()):
        raise LocalError("the price book lacks a price of Lambda; see docs/prices.md")
    return {name: rounded(amount or 0.0) for name, amount in found.items()}


def _print(ours: Mapping[str, Any], dollars: Mapping[str, Any]) -> None:
    cold, warm = ours["cold"], ours["warm_by_its_url"]
    print_progress(
        f"\nmeasured   cold {cold['seconds']['median']:.2f} s (CPU {cold['cpu_seconds']['median']:.2f} s), "
        f"warm by its URL p50 {warm['p50_ms']:.1f} ms, p99 {warm['p99_ms']:.1f} ms, mean {warm['mean_ms']:.1f} ms"
    )
    parts = ", ".join(f"{name} {amount:.2f}" for name, amount in dollars["by_its_url"].items() if name != "total")
    print_progress(f"derived    ${dollars['by_its_url']['total']:.2f} a million by its own URL, the IAM door ({parts})")
    for door, found in dollars["behind_classify"].items():
        print_progress(f"derived    ${found['total']:.2f} behind classify ({door})")
