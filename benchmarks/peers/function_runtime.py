"""``python -m benchmarks.peers.function_runtime MODULE``: a runtime for a handler, as small as AWS's page has it.

It stands for AWS's own runtime interface client, which does the same and more.
"""

import http.client
import importlib
import json
import os
import sys


def main(module: str) -> None:
    """Import the handler, and answer events until the process ends."""
    handler = importlib.import_module(module).handler
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    base = "/2018-06-01/runtime/invocation"
    while True:
        connection.request("GET", f"{base}/next")
        response = connection.getresponse()
        event, request_id = json.loads(response.read()), response.headers["Lambda-Runtime-Aws-Request-Id"]
        connection.request("POST", f"{base}/{request_id}/response", json.dumps(handler(event, None)).encode())
        connection.getresponse().read()


if __name__ == "__main__":
    main(sys.argv[1])
