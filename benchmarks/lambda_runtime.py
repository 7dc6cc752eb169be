"""What Lambda's runtime does with a handler, in the interpreter that it is given: imports it and hands it events.

    python -S benchmarks/lambda_runtime.py MODULE REQUESTS BYTES < EVENT

Prints on stderr, for stdout is the handler's log: CPU seconds of the import and of the first request; milliseconds of
warm requests and of direct calls of the endpoint in turns; CPU of the former, and memory.
"""

import base64
import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

_CONTEXT = SimpleNamespace(
    function_name="classify",
    memory_limit_in_mb=1024,
    invoked_function_arn="arn:aws:lambda:us-east-1:000000000000:function:classify:live",
    aws_request_id="00000000-0000-0000-0000-000000000000",
    get_remaining_time_in_millis=lambda: 28_000,
)


def main(module: str, requests: int, size: int) -> dict[str, Any]:
    """The times.

    Args:
        module: its ``handler`` is asked.
        requests: how many are warm.
        size: of the photo, in bytes; its content means nothing to the server.
    """
    photo = os.urandom(size)
    event = json.load(sys.stdin) | {"body": base64.b64encode(photo).decode()}
    began = time.process_time()
    handler = importlib.import_module(module).handler
    imported = time.process_time()
    status = handler(event, _CONTEXT)["statusCode"]
    answered = time.process_time()
    assert status == 200, status
    return {"import": imported - began, "first": answered - imported, **_warm(handler, event, photo, requests)}


def _warm(handler: Any, event: dict[str, Any], photo: bytes, requests: int) -> dict[str, Any]:
    """Milliseconds of each, in an order that changes with each request; the handler's CPU; the most memory."""
    import boto3

    runtime = boto3.client("sagemaker-runtime")
    cpu: list[float] = []

    def handle() -> None:
        began = time.process_time()
        handler(event, _CONTEXT)
        cpu.append((time.process_time() - began) * 1e3)

    def ask() -> None:
        answer = runtime.invoke_endpoint(EndpointName=os.environ["ENDPOINT_NAME"], Body=photo, ContentType="image/jpeg")
        answer["Body"].read()

    def milliseconds(call: Callable[[], None]) -> float:
        began = time.perf_counter()
        call()
        return (time.perf_counter() - began) * 1e3

    handled: list[float] = []
    direct: list[float] = []
    turns = [(handle, handled), (ask, direct)]
    for _ in range(requests):
        for call, taken in turns:
            taken.append(milliseconds(call))
        turns.reverse()
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"handler_ms": handled, "direct_ms": direct, "handler_cpu_ms": cpu, "mebibytes": kibibytes / 1024}


if __name__ == "__main__":
    json.dump(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])), sys.stderr)
