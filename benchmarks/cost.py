"""Dollars per million predictions, end to end, on five instance types, beside the usual solution's.

    python -m benchmarks cost [--model …] [--trained …] [--photos FOLDER] [--rounds N] [--seconds S]

Measured: requests/s of our server, and of the better FastAPI with eager PyTorch, with 8 clients, and the milliseconds
of a single client; in a process that uses no more of this CPU than the instance's CPU has (``ONEDNN_MAX_CPU_ISA``,
which OpenVINO and PyTorch obey), with the precision that our server would choose there.

Derived: an instance's requests/s, by its vCPUs over this machine's cores, as if they were equally fast; where this CPU
lacks what the instance has (AMX), what is printed is a floor. Dollars, by list prices of us-east-1 at 70 % of those
requests/s; Lambda is paid while it waits for the endpoint.

Assumed: the function takes 5 ms beside that. Neither data transfer nor logs are counted; they are the same for both.
The usual solution is eager PyTorch behind FastAPI on ml.m5.large and behind the same Lambda and doors.
"""

import runpy
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.client import closed_loop
from benchmarks.figures import percentile, rotated, rounded, spreads
from benchmarks.inputs import Inputs, parser, prepared
from benchmarks.servers import System, ours, peers, say, warmed_up
from local.home import ROOT, LocalError
from serving.cpu_precision import cpu_kind, precisions_for
from serving.model import num_cores
from serving.served_artifact import ServedArtifact, write_artifact

# Run as a file: imported from here, the module would have a second name beside the one that Lambda knows it by.
PER_HOUR: dict[str, float] = runpy.run_path(str(ROOT / "functions/shared/prices.py"))["PER_HOUR"]
_UTILIZATION = 0.7
_MILLION = 1_000_000
# Lambda on x86, as the template has it: dollars per GB-second and per request. Read 2026-11-23.
LAMBDA_MEGABYTES = 1024
_LAMBDA_PER_GB_SECOND = 0.0000166667
_LAMBDA_PER_MILLION = 0.20
_LAMBDA_OWN_MS = 5.0  # 3 ms of CPU, as `lambda_handler` measures, at that memory's share of a core
_DOORS_PER_MILLION = {"rest_api": 3.50, "function_url": 0.0}
_USUAL = "FastAPI, eager PyTorch"
_USUAL_INSTANCE = "ml.m5.large"


@dataclass(frozen=True)
class Instance:
    """An instance type: its vCPUs, and the most that each of its CPUs has, as oneDNN calls it."""

    vcpus: int
    isa: str


INSTANCES = {
    "ml.c5.large": Instance(2, "AVX512_CORE"),  # Skylake or Cascade Lake, as it comes
    "ml.c6i.large": Instance(2, "AVX512_CORE_VNNI"),  # Ice Lake
    "ml.c7i.large": Instance(2, "AVX512_CORE_AMX"),  # Sapphire Rapids
    "ml.c7i.xlarge": Instance(4, "AVX512_CORE_AMX"),
    "ml.m5.large": Instance(2, "AVX512_CORE"),
}
# The kind of CPU with each. AMX can be allowed but not imitated: without it, all that this CPU has is measured instead.
_KINDS = {"AVX512_CORE": "neither AMX nor VNNI", "AVX512_CORE_VNNI": "VNNI", "AVX512_CORE_AMX": cpu_kind()}


@dataclass(frozen=True)
class Speed:
    """requests_per_second: with 8 clients. single_client_ms: the median of one alone."""

    requests_per_second: float
    single_client_ms: float


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    """The figures: dollars per million predictions, requests/s, milliseconds.

    Raises:
        LocalError: something is missing or does not answer, or this is an Arm CPU.
    """
    if cpu_kind() == "Arm":
        raise LocalError("the five instance types have x86 CPUs, which this Arm CPU cannot imitate; use an x86 machine")
    options = parser("cost", __doc__, rounds=5, seconds=4).parse_args(arguments)
    with prepared(options) as given, TemporaryDirectory() as folder:
        precisions = {isa: _precision(given.artifact, kind) for isa, kind in _KINDS.items()}
        systems = {
            isa: ours(_only(given.artifact, precision, Path(folder, isa)), {"ONEDNN_MAX_CPU_ISA": isa})
            for isa, precision in precisions.items()
        }
        limited = {"ONEDNN_MAX_CPU_ISA": INSTANCES[_USUAL_INSTANCE].isa}
        systems |= {each.variant: each for each in peers(given.peer_model, limited)[_USUAL]}
        rounds: dict[str, list[Speed]] = {name: [] for name in systems}
        for number in range(options.rounds):
            for name in rotated(list(rounds), number):
                rounds[name].append(_speed(systems[name], given, options.seconds))
                found = rounds[name][-1]
                say(
                    f"round {number + 1}/{options.rounds}  {name:20} {found.requests_per_second:.1f} requests/s, "
                    f"a single client waits {found.single_client_ms:.1f} ms"
                )
    return _report(given.described, precisions, rounds)


def _report(inputs: dict[str, Any], precisions: dict[str, str], rounds: dict[str, list[Speed]]) -> dict[str, Any]:
    """What comes of the speeds, ours by the abilities of ``precisions``, the usual solution's by variant."""
    measured = {name: spreads([asdict(each) for each in taken]) for name, taken in rounds.items()}
    medians = {
        name: Speed(**{figure: each["median"] for figure, each in taken.items()}) for name, taken in measured.items()
    }
    variants = [name for name in rounds if name not in precisions]
    better = max(variants, key=lambda variant: medians[variant].requests_per_second)
    cores = num_cores()
    derived = {name: dollars(name, medians[instance.isa], cores) for name, instance in INSTANCES.items()}
    usual = dollars(_USUAL_INSTANCE, medians[better], cores)
    cheapest = min(derived, key=lambda name: derived[name]["endpoint"])
    _say_table(derived, usual)
    return {
        "inputs": inputs,
        "rounds": len(rounds[better]),
        "ours": {
            "measured": {
                isa: {"cpu": _KINDS[isa], "precision": precision, **measured[isa]}
                for isa, precision in precisions.items()
            },
            "derived": derived,
            "cheapest": cheapest,
        },
        "peers": {
            f"{_USUAL}, on {_USUAL_INSTANCE}": {
                "measured": {"variant": better, **measured[better]},
                "derived": usual,
            }
        },
        "assumed": {
            "utilization": _UTILIZATION,
            "lambda_own_ms": _LAMBDA_OWN_MS,
            "lambda_megabytes": LAMBDA_MEGABYTES,
            "cores_here": cores,
        },
        "limit": {"dollars": _DOORS_PER_MILLION, "what": "an endpoint and a function that cost nothing"},
        "ratio": rounded(usual["total_rest_api"] / derived[cheapest]["total_rest_api"]),
        "ratio_function_url": rounded(usual["total_function_url"] / derived[cheapest]["total_function_url"]),
        "ratio_endpoint": rounded(usual["endpoint"] / derived[cheapest]["endpoint"]),
        "goal": {},
    }


def dollars(instance_type: str, speed: Speed, cores: int) -> dict[str, float]:
    """Dollars per million predictions of each part, and the requests/s that the instance is derived to answer.

    Args:
        speed: measured with so many cores.
    """
    rate = speed.requests_per_second * INSTANCES[instance_type].vcpus / cores
    endpoint = PER_HOUR[instance_type] / 3600 / (rate * _UTILIZATION) * _MILLION
    seconds = (speed.single_client_ms + _LAMBDA_OWN_MS) / 1e3
    function = _LAMBDA_PER_MILLION + _MILLION * seconds * LAMBDA_MEGABYTES / 1024 * _LAMBDA_PER_GB_SECOND
    parts = {"requests_per_second": rate, "price_per_hour": PER_HOUR[instance_type]}
    parts |= {"endpoint": endpoint, "lambda": function, **_DOORS_PER_MILLION}
    parts |= {f"total_{door}": endpoint + function + fee for door, fee in _DOORS_PER_MILLION.items()}
    return {name: rounded(value) for name, value in parts.items()}


def _precision(artifact: ServedArtifact, kind: str) -> str:
    """What our server would choose on such a CPU.

    Raises:
        LocalError: the artifact has no precision for it.
    """
    found = next((name for name in precisions_for(kind) if name in artifact.precisions), None)
    if found is None:
        raise LocalError(f"the model has no precision for a CPU with {kind}; give --model one with int8 or f32")
    return found


def _only(artifact: ServedArtifact, precision: str, folder: Path) -> Path:
    """The artifact with golden answers in one precision, so that the server computes in it."""
    golden = tuple(
        replace(each, probabilities={n: p for n, p in each.probabilities.items() if n == precision})
        for each in artifact.golden
    )
    write_artifact(replace(artifact, golden=golden), folder)
    return folder


def _speed(system: System, given: Inputs, seconds: float) -> Speed:
    requests = given.requests(system.path)
    with warmed_up(system, given.questions[0], requests) as server:
        rate = closed_loop(server.port, requests, seconds).rate
        alone = closed_loop(server.port, requests, seconds / 2, clients=1).latencies
    return Speed(rate, percentile(alone, 0.5))


def _say_table(derived: dict[str, dict[str, float]], usual: dict[str, float]) -> None:
    columns = ("requests_per_second", "endpoint", "lambda", "total_rest_api", "total_function_url")
    say("\ndollars per million predictions (derived)\n" + "".join(f"{name:>20}" for name in ("", *columns)))
    for name, row in {**derived, f"usual, {_USUAL_INSTANCE}": usual}.items():
        say(f"{name:>20}" + "".join(f"{row[column]:>20.2f}" for column in columns))
