"""A stand-in for Lambda's runtime: it imports a handler in this interpreter and passes events to it.

    python -S benchmarks/lambda_runtime.py MODULE REQUESTS BYTES < EVENT

It prints JSON on stderr, because stdout is the handler's log: the CPU seconds of the import and of the first request;
the milliseconds of warm requests and of direct calls of the endpoint, which take turns; the CPU time of the warm
requests, and the memory.
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
    """Measure a handler.

    Args:
        module: Module with the function ``handler``.
        requests: Number of warm requests.
        size: Size of the photo in bytes. It begins as a JPEG and goes on at random, because the server does not look
            at it.
    """
    photo = b"\xff\xd8\xff" + os.urandom(size - 3)
    event = json.load(sys.stdin) | {"body": base64.b64encode(photo).decode()}
    began = time.process_time()
    handler = importlib.import_module(module).handler
    imported = time.process_time()
    status = handler(event, _CONTEXT)["statusCode"]
    answered = time.process_time()
    assert status == 200, status
    return {"import": imported - began, "first": answered - imported, **_warm(handler, event, photo, requests)}


def _warm(handler: Any, event: dict[str, Any], photo: bytes, requests: int) -> dict[str, Any]:
    """Measure warm requests and direct calls, in an order that changes with each request, and the peak memory."""
    import boto3

    runtime = boto3.client("sagemaker-runtime")
    cpu: list[float] = []

    def handle() -> None:
        began = time.process_time()
        handler(event, _CONTEXT)
        cpu.append((time.process_time() - began) * 1e3)

    def invoke_endpoint() -> None:
        answer = runtime.invoke_endpoint(EndpointName=os.environ["ENDPOINT_NAME"], Body=photo, ContentType="image/jpeg")
        answer["Body"].read()

    def milliseconds(call: Callable[[], None]) -> float:
        began = time.perf_counter()
        call()
        return (time.perf_counter() - began) * 1e3

    handled: list[float] = []
    direct: list[float] = []
    turns = [(handle, handled), (invoke_endpoint, direct)]
    for _ in range(requests):
        for call, times in turns:
            times.append(milliseconds(call))
        turns.reverse()
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"handler_ms": handled, "direct_ms": direct, "handler_cpu_ms": cpu, "mebibytes": kibibytes / 1024}


if __name__ == "__main__":
    json.dump(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])), sys.stderr)
