"""Service Quotas answers with the values that the laptop's services hold, in AWS's shapes and with AWS's codes."""

import re
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator

import quotas
from cloud.core import emulator, members
from cloud.core import quotas as account
from cloud.core.protocol import ApiError, JsonApi
from cloud.sagemaker.endpoints.operations import Endpoints
from cloud.sagemaker.store import Store
from cloud.servicequotas.operations import ServiceQuotas
from tests.unit.cloud.sagemaker.test_endpoint_quotas import MODEL

MODEL_OF_AWS = botocore.session.get_session().get_service_model("service-quotas")
TRAINING = {"ServiceCode": "sagemaker", "QuotaCode": "L-194981EA"}


@pytest.fixture
def api() -> JsonApi:
    table = ServiceQuotas(lambda: ("eu-west-1", "000000000000")).table()
    return JsonApi(MODEL_OF_AWS, table, members.read("servicequotas"))


def ask(api: JsonApi, operation: str, **request: Any) -> dict[str, Any]:
    """Return an answer, which has the shape of botocore's model."""
    answer = api.call(operation, request)
    times = {"Created", "LastUpdated"}
    checked = (
        {name: {k: v for k, v in each.items() if k not in times} for name, each in answer.items()}
        if ("RequestedQuota" in answer)
        else answer
    )
    shape = MODEL_OF_AWS.operation_model(operation).output_shape
    assert not ParamValidator().validate(checked, shape).generate_report()
    return answer


def test_quota_has_the_accounts_value_and_awss_default(api: JsonApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account, "_QUOTAS", {"ml.c7i.xlarge for training job usage": 3})
    assert ask(api, "GetServiceQuota", **TRAINING)["Quota"] == {
        "ServiceCode": "sagemaker",
        "ServiceName": "Amazon SageMaker",
        "QuotaArn": "arn:aws:servicequotas:eu-west-1:000000000000:sagemaker/L-194981EA",
        "QuotaCode": "L-194981EA",
        "QuotaName": "ml.c7i.xlarge for training job usage",
        "Value": 3.0,
        "Unit": "None",
        "Adjustable": True,
        "GlobalQuota": False,
        "QuotaAppliedAtLevel": "ACCOUNT",
    }
    across = {"ServiceCode": "sagemaker", "QuotaCode": "L-00C91CB5"}
    assert ask(api, "GetServiceQuota", **across)["Quota"]["Value"] == 128
    assert ask(api, "GetAWSDefaultServiceQuota", **across)["Quota"]["Value"] == 4


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("GetServiceQuota", {"ServiceCode": "sagemaker", "QuotaCode": "L-00000000"}),
        ("GetServiceQuota", {"ServiceCode": "xray", "QuotaCode": "L-194981EA"}),
        ("GetAWSDefaultServiceQuota", TRAINING),  # Nobody wrote its default down.
        ("ListServiceQuotas", {"ServiceCode": "xray"}),
        ("RequestServiceQuotaIncrease", {"ServiceCode": "sagemaker", "QuotaCode": "L-0", "DesiredValue": 2}),
    ],
)
def test_unknown_quota_is_refused_as_on_aws(api: JsonApi, operation: str, request_: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as refused:
        ask(api, operation, **request_)
    assert refused.value.code == "NoSuchResourceException"


def test_list_has_every_quota_once_on_pages_of_at_most_a_hundred(api: JsonApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account, "_QUOTAS", {"ml.c9x.large for endpoint usage": 5, "function memory": 128})
    names: list[str] = []
    token: dict[str, str] = {}
    while True:
        page = ask(api, "ListServiceQuotas", ServiceCode="sagemaker", **token)
        assert len(page["Quotas"]) <= 100
        names += [each["QuotaName"] for each in page["Quotas"]]
        if "NextToken" not in page:
            break
        token = {"NextToken": page["NextToken"]}
    of_table = [each.name for each in quotas.everything() if each.service == "sagemaker"]
    assert sorted(names) == sorted([*of_table, "ml.c9x.large for endpoint usage"])
    assert len(set(names)) == len(names) > 400
    page = {"NextToken": "x"}
    with pytest.raises(ApiError, match="InvalidPagination"):
        ask(api, "ListServiceQuotas", ServiceCode="sagemaker", **page)


def test_more_is_asked_for_once_and_only_if_it_is_more(api: JsonApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account, "_QUOTAS", {"ml.c7i.xlarge for training job usage": 3})
    with pytest.raises(ApiError, match="IllegalArgumentException"):
        ask(api, "RequestServiceQuotaIncrease", **TRAINING, DesiredValue=3)
    asked = ask(api, "RequestServiceQuotaIncrease", **TRAINING, DesiredValue=4, SupportCaseAllowed=False)
    assert (asked["RequestedQuota"]["Status"], asked["RequestedQuota"]["DesiredValue"]) == ("PENDING", 4)
    with pytest.raises(ApiError, match="ResourceAlreadyExistsException"):
        ask(api, "RequestServiceQuotaIncrease", **TRAINING, DesiredValue=5)
    assert ask(api, "GetServiceQuota", **TRAINING)["Quota"]["Value"] == 3  # Nobody has decided.


def test_sagemaker_refuses_with_the_number_that_service_quotas_tells(
    api: JsonApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emulator, "spawn_thread", lambda *_, **__: None)
    models: Any = type("Models", (), {"find": lambda *_: MODEL, "container": lambda *_: {"Image": "i"}})()
    images: Any = type("Images", (), {"resolve": lambda *_: None})()
    endpoints = Endpoints(Store(lambda: ("eu-west-1", "000000000000")), models, tmp_path, images)
    monkeypatch.setattr(endpoints, "_model_data_of", lambda *_: None)
    for number, limited in enumerate((quotas.of_instances("endpoint", "ml.c7i.large"), quotas.across("endpoint"))):
        monkeypatch.setattr(account, "_QUOTAS", {limited.name: 2})
        quota = ask(api, "GetServiceQuota", ServiceCode=limited.service, QuotaCode=limited.code)["Quota"]
        variant = {"VariantName": "main", "ModelName": "m", "InstanceType": "ml.c7i.large", "InitialInstanceCount": 3}
        endpoints.create_config({"EndpointConfigName": f"c{number}", "ProductionVariants": [variant]})
        with pytest.raises(ApiError) as refused:
            endpoints.create({"EndpointName": "dogs", "EndpointConfigName": f"c{number}"})
        said = re.search(r"'(.*)' is (\d+) Instances", refused.value.message)
        assert said
        assert (said[1], float(said[2])) == (quota["QuotaName"], quota["Value"])
