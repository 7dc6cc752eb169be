"""The model as a Lambda function: cold and warm starts, provisioned and reserved concurrency."""

import base64
import json
import re
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from local.home import LocalError
from local.laptop import REGION
from proofs.capstone import by_hand
from proofs.capstone.evidence import Check, Evidence
from proofs.capstone.kennel import Kennel
from proofs.capstone.rows import endpoint

_MEGABYTES, _TIMEOUT = 1769, 30  # MB, with which a function has one core; seconds
_COLD, _WARM = 3, 20
RESERVED, _PROVISIONED, _CALLERS, _FLOOD_SECONDS = 2, 1, 8, 3.0
_SECONDS = 120
_INIT = re.compile(r"Init Duration: ([\d.]+) ms")
_DURATION = re.compile(r"\tDuration: ([\d.]+) ms")
REASON = "ReservedFunctionConcurrentInvocationLimitExceeded"


def collect(kennel: Kennel) -> Evidence:
    """Make a function of the champion, start it cold and warm, keep one warm, and flood a reservation."""
    known, photo = endpoint.golden(kennel)[0]
    event = json.dumps({"photo": base64.b64encode(photo).decode()}).encode()
    with by_hand.role(kennel) as role, _function(kennel, role) as name:
        functions = _once(kennel)
        cold = []
        for start in range(_COLD):
            kennel.progress(f"cold start {start + 1} of {_COLD}")
            _configure(kennel, name, {"KENNEL_COLD_START": str(start)})
            cold.append(_ask(functions, name, "$LATEST", event))
        warm = [_ask(functions, name, "$LATEST", event) for _ in range(_WARM)]
        version = str(functions.publish_version(FunctionName=name)["Version"])
        _await_active(kennel, name, version)
        kennel.progress(f"{_PROVISIONED} environment is kept warm")
        kept_warm = _kept_warm(kennel, functions, name, version, event)
        functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=RESERVED)
        kennel.progress(f"{_CALLERS} callers ask at once, {RESERVED} may")
        flood = _flood(functions, name, version, event)
        after = _ask(functions, name, version, event)
    return {
        "memory_mb": _MEGABYTES,
        "known": known["breed"],
        "cold": cold,
        "warm": warm,
        "kept_warm": kept_warm,
        "provisioned": _PROVISIONED,
        "reserved": RESERVED,
        "callers": _CALLERS,
        "flood": flood,
        "after": after,
    }


def _once(kennel: Kennel) -> Any:
    """Return a client of Lambda that repeats nothing, because a refusal is what is looked for."""
    key = kennel.laptop.root_key
    make: Any = boto3.client
    return make(
        "lambda",
        endpoint_url=kennel.laptop.url,
        region_name=REGION,
        aws_access_key_id=key.id,
        aws_secret_access_key=key.secret,
        config=Config(retries={"total_max_attempts": 1}, proxies={}, max_pool_connections=2 * _CALLERS),
    )


@contextmanager
def _function(kennel: Kennel, role: str) -> Iterator[str]:
    """Make a function from the image and the artifact of the endpoint, and delete it at the end."""
    functions, sagemaker = kennel.client("lambda"), kennel.client("sagemaker")
    serving = sagemaker.describe_endpoint(EndpointName=kennel.deployed.endpoint_name)
    image = serving["ProductionVariants"][0]["DeployedImages"][0]["SpecifiedImage"]
    # The policy of the repository lets functions with such names alone have its images.
    name = f"{kennel.deployed.endpoint_name}-model-{by_hand.NAME}-{time.strftime('%H%M%S')}"
    try:
        functions.create_function(
            FunctionName=name,
            Role=role,
            PackageType="Image",
            Code={"ImageUri": image},
            ImageConfig={"EntryPoint": ["python", "-m", "serving.function"]},
            MemorySize=_MEGABYTES,
            Timeout=_TIMEOUT,
            Environment={"Variables": _variables(kennel)},
        )
        _await_active(kennel, name, "$LATEST")
        yield name
    finally:
        with suppress(ClientError):
            functions.delete_function(FunctionName=name)


def _variables(kennel: Kennel) -> dict[str, str]:
    artifact = kennel.output["run"]["evaluation"]["artifact_uri"]
    return {"KENNEL_ARTIFACT": f"{artifact}/model.tar.gz", "KENNEL_MANIFEST": kennel.output["verdict"]["manifest"]}


def _configure(kennel: Kennel, name: str, more: dict[str, str]) -> None:
    """Change a variable that the model does not read, so that Lambda starts new environments."""
    variables = {"Variables": _variables(kennel) | more}
    kennel.client("lambda").update_function_configuration(FunctionName=name, Environment=variables)
    _await_active(kennel, name, "$LATEST")


def _await_active(kennel: Kennel, name: str, qualifier: str) -> None:
    def is_ready() -> bool:
        found = kennel.client("lambda").get_function_configuration(FunctionName=name, Qualifier=qualifier)
        return (found["State"], found.get("LastUpdateStatus", "Successful")) == ("Active", "Successful")

    kennel.wait(is_ready, "the function", _SECONDS)


def _ask(functions: Any, name: str, qualifier: str, event: bytes) -> dict[str, Any]:
    """Send one photo and return the milliseconds that the caller waited and that Lambda tells, and the answer."""
    began = time.perf_counter()
    answer = functions.invoke(FunctionName=name, Qualifier=qualifier, LogType="Tail", Payload=event)
    document = json.loads(answer["Payload"].read())
    milliseconds = 1e3 * (time.perf_counter() - began)
    tail = base64.b64decode(answer["LogResult"]).decode()
    init, duration = _INIT.search(tail), _DURATION.search(tail)
    return {
        "ms": round(milliseconds, 1),
        "init_ms": float(init[1]) if init else None,
        "duration_ms": float(duration[1]) if duration else None,
        "status": document.get("status"),
        "breed": (document.get("body") or {}).get("breed"),
    }


def _kept_warm(kennel: Kennel, functions: Any, name: str, version: str, event: bytes) -> dict[str, Any]:
    """Keep an environment of a version warm, and return its first answer."""
    functions.put_provisioned_concurrency_config(
        FunctionName=name, Qualifier=version, ProvisionedConcurrentExecutions=_PROVISIONED
    )

    def status() -> str:
        found = functions.get_provisioned_concurrency_config(FunctionName=name, Qualifier=version)
        return str(found["Status"])

    kennel.wait(lambda: status() != "IN_PROGRESS", "the environment that is kept warm", _SECONDS)
    if status() != "READY":
        raise LocalError(f"the provisioned concurrency is {status()}")
    return {"provisioning": "READY", **_ask(functions, name, version, event)}


def _flood(functions: Any, name: str, version: str, event: bytes) -> dict[str, Any]:
    """Let more callers ask at once than are reserved, and count the answers and the reasons of the refusals."""
    counts, lock, end = Counter[str](), threading.Lock(), time.monotonic() + _FLOOD_SECONDS

    def call(_caller: int) -> None:
        while time.monotonic() < end:
            try:
                functions.invoke(FunctionName=name, Qualifier=version, Payload=event)["Payload"].read()
                outcome = "answered"
            except ClientError as error:
                outcome = f"{error.response['ResponseMetadata']['HTTPStatusCode']} {error.response.get('Reason', '')}"
            with lock:
                counts[outcome] += 1

    with ThreadPoolExecutor(_CALLERS) as pool:
        list(pool.map(call, range(_CALLERS)))
    return dict(counts)


def judge(evidence: Evidence) -> list[Check]:
    """Hold cold starts against warm ones, and the flood against the reservation."""
    cold, warm, flood = evidence["cold"], evidence["warm"], evidence["flood"]
    slow, fast = (statistics.median(each["ms"] for each in asked) for asked in (cold, warm))
    first, refused = evidence["kept_warm"], flood.get(f"429 {REASON}", 0)
    answers = [*cold, *warm, first, evidence["after"]]
    return [
        Check(
            f"all {len(answers)} photos were answered with {evidence['known']}",
            all((each["status"], each["breed"]) == (200, evidence["known"]) for each in answers),
        ),
        Check(
            f"a cold start takes {slow:,.0f} ms, a warm one {fast:,.1f} ms (medians)",
            slow > 2 * fast and all(each["init_ms"] for each in cold) and not any(each["init_ms"] for each in warm),
        ),
        Check(
            f"the first caller of an environment that is kept warm waits {first['ms']:,.1f} ms",
            first["provisioning"] == "READY" and first["ms"] < slow / 2,
        ),
        Check(
            f"{evidence['callers']} callers at once, {evidence['reserved']} reserved: {flood.get('answered', 0):,} "
            f"answered, {refused:,} refused with 429 {REASON}",
            evidence["callers"] > evidence["reserved"] and refused > 0 and flood.get("answered", 0) > 0,
        ),
        Check("nothing was refused for another reason", set(flood) <= {"answered", f"429 {REASON}"}),
    ]


def tell(evidence: Evidence) -> list[tuple[str, str]]:
    """Return the figures for people."""
    cold = ", ".join(f"{each['ms']:,.0f}" for each in evidence["cold"])
    inits = ", ".join(f"{each['init_ms']:,.0f}" for each in evidence["cold"])
    warm = sorted(each["ms"] for each in evidence["warm"])
    return [
        ("memory", f"{evidence['memory_mb']:,} MB, one core"),
        ("cold start", f"{cold} ms for the caller, of which {inits} ms of initialization"),
        ("warm", f"{statistics.median(warm):,.1f} ms (median of {len(warm)}), slowest {warm[-1]:,.1f} ms"),
        ("kept warm", f"the first answer in {evidence['kept_warm']['ms']:,.1f} ms, {evidence['provisioned']} kept"),
        ("flood", ", ".join(f"{number:,} × {outcome}" for outcome, number in sorted(evidence["flood"].items()))),
    ]
