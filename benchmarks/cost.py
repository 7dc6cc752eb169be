"""Dollars per million predictions, end to end, on five instance types, compared with the usual solution.

    python -m benchmarks cost [--model …] [--trained …] [--photos FOLDER] [--rounds N] [--seconds S]

Measured: requests/s with 8 clients and the milliseconds of a single client, of our server and of the better variant of
FastAPI with eager PyTorch. ``ONEDNN_MAX_CPU_ISA``, which OpenVINO and PyTorch obey, limits each process to the
instructions that the instance's CPU has. Our server uses the precision that it would choose on that CPU.

Derived: an instance's requests/s, scaled from this machine's cores to the instance's vCPUs as if all were equally fast.
If this CPU lacks what the instance has (AMX), the printed rate is a lower bound. Dollars follow from list prices of
us-east-1 at 70 % of those requests/s. Lambda is paid while it waits for the endpoint.

Assumed: the function takes 5 ms besides that wait. Data transfer and logs are not counted, because they are the same
for both. The usual solution is eager PyTorch with FastAPI on ml.m5.large, with the same Lambda and the same doors (the
REST API and the function URL).
"""

import runpy
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.client import closed_loop
from benchmarks.figures import percentile, rotated, rounded, spreads
from benchmarks.inputs import Inputs, parser, prepare_inputs
from benchmarks.servers import System, our_server, peer_servers, print_progress, warmed_up
from local.home import ROOT, LocalError
from serving.cpu_precision import cpu_kind, precisions_for
from serving.model import num_cores
from serving.served_artifact import ServedArtifact, write_artifact

# The file is run instead of imported, because an import from here would load the module under a second name.
PER_HOUR: dict[str, float] = runpy.run_path(str(ROOT / "functions/shared/prices.py"))["PER_HOUR"]
_UTILIZATION = 0.7
_MILLION = 1_000_000
# Lambda on x86, as in the template: dollars per GB-second and per million requests. Read 2026-11-23.
LAMBDA_MEGABYTES = 1024
_LAMBDA_PER_GB_SECOND = 0.0000166667
_LAMBDA_PER_MILLION = 0.20
_LAMBDA_OWN_MS = 5.0  # 3 ms of CPU, as `lambda_handler` measures, at the share of a core that this memory brings
_DOORS_PER_MILLION = {"rest_api": 3.50, "function_url": 0.0}
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


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    """Measure requests/s and milliseconds, and derive dollars per million predictions.

    Raises:
        LocalError: An input is missing, a server does not answer, or this is an Arm CPU.
    """
    if cpu_kind() == "Arm":
        raise LocalError("the five instance types have x86 CPUs, which this Arm CPU cannot emulate; use an x86 machine")
    options = parser("cost", __doc__, rounds=5, seconds=4).parse_args(arguments)
    with prepare_inputs(options) as inputs, TemporaryDirectory() as folder:
        precisions = {isa: _precision(inputs.artifact, kind) for isa, kind in _KINDS.items()}
        systems = {
            isa: our_server(_only(inputs.artifact, precision, Path(folder, isa)), {"ONEDNN_MAX_CPU_ISA": isa})
            for isa, precision in precisions.items()
        }
        limited = {"ONEDNN_MAX_CPU_ISA": INSTANCES[_USUAL_INSTANCE].isa}
        systems |= {peer.variant: peer for peer in peer_servers(inputs.peer_model, limited)[_USUAL]}
        rounds: dict[str, list[Speed]] = {name: [] for name in systems}
        for number in range(options.rounds):
            for name in rotated(list(rounds), number):
                rounds[name].append(_speed(systems[name], inputs, options.seconds))
                speed = rounds[name][-1]
                print_progress(
                    f"round {number + 1}/{options.rounds}  {name:20} {speed.requests_per_second:.1f} requests/s, "
                    f"a single client waits {speed.single_client_ms:.1f} ms"
                )
    return _report(inputs.described, precisions, rounds)


def _report(inputs: dict[str, Any], precisions: dict[str, str], rounds: dict[str, list[Speed]]) -> dict[str, Any]:
    """Build the report from each round's speeds: ours by instruction set, the usual solution's by variant."""
    measured = {name: spreads([asdict(speed) for speed in speeds]) for name, speeds in rounds.items()}
    medians = {
        name: Speed(**{figure: values["median"] for figure, values in figures.items()})
        for name, figures in measured.items()
    }
    variants = [name for name in rounds if name not in precisions]
    better = max(variants, key=lambda variant: medians[variant].requests_per_second)
    cores = num_cores()
    derived = {name: dollars(name, medians[instance.isa], cores) for name, instance in INSTANCES.items()}
    usual = dollars(_USUAL_INSTANCE, medians[better], cores)
    cheapest = min(derived, key=lambda name: derived[name]["endpoint"])
    _print_table(derived, usual)
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
    """Derive the dollars per million predictions of each part, and the requests/s of the instance.

    Args:
        instance_type: A key of ``INSTANCES``.
        speed: The speed that was measured on this machine.
        cores: Number of cores of this machine.
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


def _speed(system: System, inputs: Inputs, seconds: float) -> Speed:
    requests = inputs.requests(system.path)
    with warmed_up(system, inputs.questions[0], requests) as server:
        rate = closed_loop(server.port, requests, seconds).rate
        latencies = closed_loop(server.port, requests, seconds / 2, clients=1).latencies
    return Speed(rate, percentile(latencies, 0.5))


def _print_table(derived: dict[str, dict[str, float]], usual: dict[str, float]) -> None:
    columns = ("requests_per_second", "endpoint", "lambda", "total_rest_api", "total_function_url")
    print_progress("\ndollars per million predictions (derived)\n" + "".join(f"{name:>20}" for name in ("", *columns)))
    for name, row in {**derived, f"usual, {_USUAL_INSTANCE}": usual}.items():
        print_progress(f"{name:>20}" + "".join(f"{row[column]:>20.2f}" for column in columns))
