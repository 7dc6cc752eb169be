"""AWS Batch's API, which is REST with JSON: each operation has a path of its own."""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cloud.batch.jobs import Jobs
from cloud.batch.resources import Resources
from cloud.core import emulator, members
from cloud.core.protocol import ApiError, JsonApi, Request, Response
from cloud.ecr.images import Images

log = logging.getLogger("kennel.batch")


class BatchApi:
    """Batch.

    Args:
        home: Folder for the jobs.
        images: The images in ECR.
        role_of: Returns the ARN of the role behind an instance profile; see ``Resources``.
        authorize: Called with (headers, service, operation, request) for each request over HTTP; raises ApiError when
            the caller lacks the permission.
    """

    def __init__(
        self,
        home: Path,
        images: Images,
        role_of: Callable[[str], str],
        authorize: Callable[[Mapping[str, str], str, str, Request], None],
    ) -> None:
        model = emulator.service_model("batch")
        resources = Resources(emulator.scope, role_of)
        jobs = Jobs(resources, images, home)
        operations = {**resources.table(), **jobs.table()}
        self._api = JsonApi(model, operations, members.read("batch"), authorize=authorize)
        paths = {model.operation_model(name).http["requestUri"]: name for name in model.operation_names}
        self._operations = {path.lower(): name for path, name in paths.items() if "{" not in path}

    def call(self, operation: str, request: Request, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Check a request, carry it out and return the answer; see ``JsonApi.call``.

        Raises:
            ApiError: AWS would refuse the request; Batch calls every wrong one a ClientException.
        """
        try:
            return self._api.call(operation, request, headers)
        except ApiError as error:
            if error.code == "ValidationException":
                raise ApiError("ClientException", f"Error executing request, Exception : {error.message}") from None
            raise

    async def handle_request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, _query: Any
    ) -> Response:
        """Answer an HTTP request. MiniStack requires this signature of a service's handler."""
        operation = self._operations.get(path.rstrip("/").lower(), f"{method} {path}")
        try:
            # An operation may wait for S3, which answers on the event loop, so it must not run there itself.
            answer = await asyncio.to_thread(self.call, operation, json.loads(body or b"{}"), headers)
        except ApiError as error:
            denied = error.code == "AccessDeniedException"
            return _respond(403 if denied else 400, {"message": error.message}, error.code)
        except ValueError as error:
            return _respond(400, {"message": str(error)}, "SerializationException")
        except Exception as error:
            log.exception("%s failed", operation)
            return _respond(500, {"message": f"{type(error).__name__}: {error}"}, "ServerException")
        return _respond(200, answer)


def _respond(status: int, document: Mapping[str, Any], error: str = "") -> Response:
    headers = {"Content-Type": "application/json"}
    if error:
        headers["x-amzn-ErrorType"] = error
    return status, headers, json.dumps(document).encode()
