"""Dollars per million predictions, end to end, on five instance types, compared with the usual solution.

    python -m benchmarks cost [--model …] [--trained …] [--photos FOLDER] [--rounds N] [--seconds S]

Measured: requests/s with 8 clients and the milliseconds of a single client, of our server and of the better variant of
FastAPI with eager PyTorch, with photos of 20, 100 and 500 KB; the bytes that the function sends on of each, and the
time of a core that making them smaller takes. ``ONEDNN_MAX_CPU_ISA``, which OpenVINO and PyTorch obey, limits each
process to the instructions that the instance's CPU has. Our server uses the precision that it would choose on that CPU.

Derived: an instance's requests/s, scaled from this machine's cores to the instance's vCPUs as if all were equally fast.
If this CPU lacks what the instance has (AMX), the printed rate is a lower bound. Dollars follow from the price book
(us-east-1) and ``prices.per_million``: every part of a request, at half of those requests/s. Lambda is paid while it
waits for the endpoint.

Assumed: the function takes 5 ms besides waiting and shrinking, and the way between function and endpoint 3 ms. The
usual solution is eager PyTorch with FastAPI on ml.m5.large behind the same function and doors, which sends each photo
on as it is. At hand are small photos, so those of the three sizes are enlarged ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import prices
from benchmarks.client import closed_loop, photo_request
from benchmarks.figures import goal, percentile, rotated, rounded, spreads
from benchmarks.inputs import Inputs, parser, prepare_inputs
from benchmarks.photo_sizes import SizedPhotos, function_shrink, sized_photos, view_of
from benchmarks.servers import System, our_server, peer_servers, print_progress, warmed_up
from dataset.cores import num_cores
from local.home import LocalError
from prices import per_million
from serving.cpu_precision import cpu_kind, precisions_for
from serving.served_artifact import ServedArtifact, write_artifact

LAMBDA_MEGABYTES = per_million.MEGABYTES
_SIZES = tuple(per_million.CALLS)
_GOAL_BYTES, _MOST_DOLLARS = 100_000, 1.40
_HOP_MS = 3.0  # between function and endpoint and back; nobody has measured it on AWS yet
_DAYS = (10_000, 100_000, 1_000_000)
_USUAL = "FastAPI, eager PyTorch"
_USUAL_INSTANCE = "ml.m5.large"


@dataclass(frozen=True)
class InstanceCapacity:
    """An instance type's number of vCPUs, and the best instruction set of its CPU by oneDNN's name."""

    vcpus: int
    isa: str


INSTANCES = {
    "ml.c5.large": InstanceCapacity(2, "AVX512_CORE"),  # Skylake or Cascade Lake; AWS chooses
    "ml.c6i.large": InstanceCapacity(2, "AVX512_CORE_VNNI"),  # Ice Lake
    "ml.c7i.large": InstanceCapacity(2, "AVX512_CORE_AMX"),  # Sapphire Rapids
    "ml.c7i.xlarge": InstanceCapacity(4, "AVX512_CORE_AMX"),
    "ml.m5.large": InstanceCapacity(2, "AVX512_CORE"),
}
# The kind of CPU with each instruction set. AMX cannot be emulated, so a CPU without it is measured as it is instead.
_KINDS = {"AVX512_CORE": "neither AMX nor VNNI", "AVX512_CORE_VNNI": "VNNI", "AVX512_CORE_AMX": cpu_kind()}


@dataclass(frozen=True)
class Speed:
    """A server's speed.

    Attributes:
        requests_per_second: Rate with 8 clients.
        single_client_ms: Median latency of a single client, milliseconds.
    """

    requests_per_second: float
    single_client_ms: float


Rounds = dict[str, dict[int, list[Speed]]]  # by server and size of photo


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    """Measure requests/s, milliseconds and bytes, and derive dollars per million predictions.

    Raises:
        LocalError: An input is missing, a server does not answer, or this is an Arm CPU.
    """
    if cpu_kind() == "Arm":
        raise LocalError("the five instance types have x86 CPUs, which this Arm CPU cannot emulate; use an x86 machine")
    options = parser("cost", __doc__, rounds=3, seconds=3).parse_args(arguments)
    with prepare_inputs(options) as inputs, TemporaryDirectory() as folder:
        shrink = function_shrink(view_of(inputs.artifact.preprocess))
        photos = {size: sized_photos(inputs.photos, size, shrink) for size in _SIZES}
        precisions = {isa: _precision(inputs.artifact, kind) for isa, kind in _KINDS.items()}
        systems = {
            isa: our_server(_only(inputs.artifact, precision, Path(folder, isa)), {"ONEDNN_MAX_CPU_ISA": isa})
            for isa, precision in precisions.items()
        }
        limited = {"ONEDNN_MAX_CPU_ISA": INSTANCES[_USUAL_INSTANCE].isa}
        systems |= {peer.variant: peer for peer in peer_servers(inputs.peer_model, limited)[_USUAL]}
        rounds: Rounds = {name: {size: [] for size in _SIZES} for name in systems}
        for number in range(options.rounds):
            for name in rotated(list(rounds), number):
                sent = {size: each.shrunk if name in precisions else each.sent for size, each in photos.items()}
                speeds = _speeds(systems[name], inputs, sent, options.seconds)
                for size, speed in speeds.items():
                    rounds[name][size].append(speed)
                print_progress(
                    f"round {number + 1}/{options.rounds}  {name:20} "
                    f"{speeds[_GOAL_BYTES].requests_per_second:.1f} requests/s with photos of 100 KB, a single client "
                    f"waits {speeds[_GOAL_BYTES].single_client_ms:.1f} ms"
                )
    return _report(inputs.described, photos, precisions, rounds)


def _report(
    inputs: dict[str, Any], photos: Mapping[int, SizedPhotos], precisions: dict[str, str], rounds: Rounds
) -> dict[str, Any]:
    """Build the report from each round's speeds: ours by instruction set, the usual solution's by variant."""
    measured = {
        name: {size: spreads([asdict(speed) for speed in speeds]) for size, speeds in by_size.items()}
        for name, by_size in rounds.items()
    }
    medians = {
        name: {
            size: Speed(**{figure: values["median"] for figure, values in figures.items()})
            for size, figures in by_size.items()
        }
        for name, by_size in measured.items()
    }
    variants = [name for name in rounds if name not in precisions]
    better = max(variants, key=lambda variant: medians[variant][_GOAL_BYTES].requests_per_second)
    ours = {name: _by_size(name, medians[instance.isa], photos, shrink=True) for name, instance in INSTANCES.items()}
    usual = _by_size(_USUAL_INSTANCE, medians[better], photos, shrink=False)
    cheapest = min(ours, key=lambda name: ours[name][_GOAL_BYTES]["total_function_url"])
    best, peer = ours[cheapest][_GOAL_BYTES], usual[_GOAL_BYTES]
    _print_table(ours, usual)
    serving = _endpoint(cheapest, medians[INSTANCES[cheapest].isa][_GOAL_BYTES])
    return {
        "inputs": inputs,
        "rounds": len(rounds[better][_GOAL_BYTES]),
        "ours": {
            "measured": {
                "photos": {size: _described(each) for size, each in photos.items()},
                **{
                    isa: {"cpu": _KINDS[isa], "precision": precision, **measured[isa]}
                    for isa, precision in precisions.items()
                },
            },
            "derived": ours,
            "cheapest": cheapest,
            "by_day": _by_day(serving, photos[_GOAL_BYTES].call(shrink=True)),
            "idle_a_month": _rounded(per_million.idle(per_million.Standing(cheapest, 1), prices.HOME_REGION)),
        },
        "peers": {
            f"{_USUAL}, on {_USUAL_INSTANCE}": {
                "measured": {"variant": better, **measured[better]},
                "derived": usual,
            }
        },
        "assumed": {
            "load": per_million.HALF,
            "lambda_own_cpu_ms": per_million.OWN_CPU_MS,
            "hop_ms": _HOP_MS,
            "lambda_megabytes": LAMBDA_MEGABYTES,
            "cores_here": num_cores(),
        },
        "limit": {
            "dollars": {door: best["door"][door] for door in per_million.DOORS},
            "what": "an endpoint, a function, photos and logs that cost nothing",
        },
        "ratio": rounded(peer["total_rest_api"] / best["total_rest_api"]),
        "ratio_function_url": rounded(peer["total_function_url"] / best["total_function_url"]),
        "ratio_instances": rounded(peer["instances"] / best["instances"]),
        "goal": {"dollars_by_the_function_url": goal(best["total_function_url"], at_most=_MOST_DOLLARS)},
    }


def _by_size(
    instance_type: str, speeds: Mapping[int, Speed], photos: Mapping[int, SizedPhotos], shrink: bool
) -> dict[int, dict[str, Any]]:
    return {size: dollars(instance_type, speed, photos[size].call(shrink)) for size, speed in speeds.items()}


def dollars(instance_type: str, speed: Speed, call: per_million.Call, cores: int = 0) -> dict[str, Any]:
    """Derive the dollars per million predictions of each part, and the requests/s of the instance.

    Args:
        instance_type: A key of ``INSTANCES``.
        speed: The speed that was measured on this machine.
        call: What a request does.
        cores: Number of cores with which the speed was measured; 0 for those of this machine.

    Returns:
        The parts that both doors have; what only a door has, by its name; and the totals.

    Raises:
        LocalError: The price book lacks a price.
    """
    endpoint = _endpoint(instance_type, speed, cores)
    doors = {door: per_million.parts(endpoint, call, door, region=prices.HOME_REGION) for door in per_million.DOORS}
    names = list(dict.fromkeys(name for parts in doors.values() for name in parts))
    found: dict[str, Any] = {"requests_per_second": rounded(endpoint.rate)}
    for name in names:
        amounts = {door: rounded(_known(parts.get(name, 0.0), name)) for door, parts in doors.items()}
        found[name] = amounts[per_million.REST_API] if len(set(amounts.values())) == 1 else amounts
    totals = {f"total_{door}": per_million.total(parts) for door, parts in doors.items()}
    return found | {name: rounded(_known(amount, name)) for name, amount in totals.items()}


def _known(amount: float | None, what: str) -> float:
    """Return a price that must be known: without it, a part would look free, and its instance type the cheapest.

    Raises:
        LocalError: the price book does not have it.
    """
    if amount is None:
        raise LocalError(f"the price book lacks a price that {what} needs; see docs/prices.md")
    return amount


def _endpoint(instance_type: str, speed: Speed, cores: int = 0) -> per_million.Endpoint:
    rate = speed.requests_per_second * INSTANCES[instance_type].vcpus / (cores or num_cores())
    return per_million.Endpoint(instance_type, rate, speed.single_client_ms + _HOP_MS, max_instances=100)


def _by_day(endpoint: per_million.Endpoint, call: per_million.Call) -> dict[int, dict[str, float]]:
    """Return the dollars of a million predictions for several numbers of requests a day, evenly spread."""
    return {
        requests: {
            door: rounded(
                _known(
                    per_million.total(per_million.on_a_day(endpoint, call, door, requests, region=prices.HOME_REGION)),
                    "a day",
                )
            )
            for door in per_million.DOORS
        }
        for requests in _DAYS
    }


def _described(photos: SizedPhotos) -> dict[str, float]:
    call = photos.call(shrink=True)
    return {"bytes": call.photo_bytes, "shrunk_bytes": call.sent_bytes, "shrink_cpu_ms": rounded(photos.shrink_cpu_ms)}


def _rounded(parts: Mapping[str, float | None]) -> dict[str, float | None]:
    whole = {**parts, "total": per_million.total(parts)}
    return {name: None if amount is None else rounded(amount) for name, amount in whole.items()}


def _precision(artifact: ServedArtifact, kind: str) -> str:
    """Return the precision that our server would choose on a kind of CPU.

    Raises:
        LocalError: The artifact has no precision for it.
    """
    precision = next((name for name in precisions_for(kind) if name in artifact.precisions), None)
    if precision is None:
        raise LocalError(f"the model has no precision for a CPU with {kind}; give --model one with int8 or f32")
    return precision


def _only(artifact: ServedArtifact, precision: str, folder: Path) -> Path:
    """Write the artifact with golden answers in one precision, so that the server computes in it."""
    golden = tuple(
        replace(example, probabilities={precision: example.probabilities[precision]}) for example in artifact.golden
    )
    write_artifact(replace(artifact, golden=golden), folder)
    return folder


def _speeds(system: System, inputs: Inputs, photos: Mapping[int, Sequence[bytes]], seconds: float) -> dict[int, Speed]:
    requests = {size: [photo_request(system.path, photo) for photo in each] for size, each in photos.items()}
    found = {}
    with warmed_up(system, inputs.questions[0], requests[_GOAL_BYTES]) as server:
        for size, each in requests.items():
            rate = closed_loop(server.port, each, seconds).rate
            latencies = closed_loop(server.port, each, seconds / 2, clients=1).latencies
            found[size] = Speed(rate, percentile(latencies, 0.5))
    return found


def _print_table(ours: Mapping[str, Mapping[int, dict[str, Any]]], usual: Mapping[int, dict[str, Any]]) -> None:
    columns = ("requests_per_second", "instances", "data_in", "function_time", "total_rest_api", "total_function_url")
    print_progress("\ndollars per million predictions (derived)\n" + "".join(f"{name:>20}" for name in ("", *columns)))
    for name, by_size in {**ours, f"usual, {_USUAL_INSTANCE}": usual}.items():
        for size, row in by_size.items():
            label = f"{name} {size // 1000} KB"
            print_progress(f"{label:>26}" + "".join(f"{row[column]:>20.2f}" for column in columns)[6:])
