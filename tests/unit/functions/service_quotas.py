"""A client of Service Quotas that the laptop cloud answers without a socket, and one of SageMaker with endpoints."""

import io
import json
from collections.abc import Callable
from typing import Any

import boto3
import botocore.session
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError

from cloud.core import members
from cloud.core.protocol import ApiError, JsonApi
from cloud.servicequotas.operations import ServiceQuotas
from plan.quota_ask import CONFIG

Answer = Callable[[str, dict[str, Any]], dict[str, Any]]


def laptop() -> Answer:
    """Return what answers an operation and its request as the laptop cloud does."""
    model = botocore.session.get_session().get_service_model("service-quotas")
    table = ServiceQuotas(lambda: ("us-east-1", "000000000000")).table()
    return JsonApi(model, table, members.read("servicequotas")).call


class Asked:
    """The questions that a client was asked: operation and code of the quota, or of the service.

    Args:
        answer: what answers an operation and its request; the laptop cloud by default.
        attempts: how often the client asks again what was refused for a moment.
    """

    def __init__(self, answer: Answer | None = None, attempts: int = 1) -> None:
        self.questions: list[tuple[str, str]] = []
        self._answer = answer or laptop()
        make: Any = boto3.client
        config = CONFIG.merge(Config(retries={"total_max_attempts": attempts, "mode": "standard"}))
        keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x"}
        self.client = make("service-quotas", region_name="us-east-1", config=config, **keys)
        self.client.meta.events.register("before-send.service-quotas.*", self._respond)

    def _respond(self, request: Any, **_: Any) -> AWSResponse:
        operation = request.headers["X-Amz-Target"].decode().rpartition(".")[2]
        asked = json.loads(request.body)
        self.questions.append((operation, asked.get("QuotaCode", asked["ServiceCode"])))
        try:
            status, document = 200, self._answer(operation, asked)
        except ApiError as error:
            status, document = 400, {"__type": error.code, "message": error.message}
        raw: Any = io.BytesIO(json.dumps(document).encode())
        raw.stream = lambda *_, **__: iter([raw.getvalue()])
        return AWSResponse(request.url, status, {"content-type": "application/x-amz-json-1.1"}, raw)


class Endpoints:
    """SageMaker with endpoints of one variant each: number of instances and type, by name.

    It lists the endpoints of ``unlisted`` not, and has no configurations of those of ``without_config``. Those of
    ``shadowed`` have a shadow variant with the same instances.
    """

    def __init__(self, **endpoints: tuple[int, str]) -> None:
        self._endpoints = endpoints
        self.unlisted: set[str] = set()
        self.without_config: set[str] = set()
        self.shadowed: set[str] = set()

    def list_endpoints(self, **_: Any) -> dict[str, Any]:
        return {"Endpoints": [{"EndpointName": name} for name in self._endpoints if name not in self.unlisted]}

    def describe_endpoint(self, EndpointName: str) -> dict[str, Any]:
        count, _ = self._found(EndpointName, "endpoint")
        return {"EndpointConfigName": EndpointName} | self._variants(EndpointName, {"CurrentInstanceCount": count})

    def describe_endpoint_config(self, EndpointConfigName: str) -> dict[str, Any]:
        missing = EndpointConfigName in self.without_config
        _, instance_type = self._found("" if missing else EndpointConfigName, "endpoint configuration")
        return self._variants(EndpointConfigName, {"InstanceType": instance_type})

    def _found(self, name: str, kind: str) -> tuple[int, str]:
        if name not in self._endpoints:
            error: Any = {"Code": "ValidationException", "Message": f"Could not find {kind}"}
            raise ClientError({"Error": error}, "Describe")
        return self._endpoints[name]

    def _variants(self, name: str, member: dict[str, Any]) -> dict[str, Any]:
        shadows = [{"VariantName": "shadow", **member}] if name in self.shadowed else []
        return {"ProductionVariants": [{"VariantName": "main", **member}], "ShadowProductionVariants": shadows}
