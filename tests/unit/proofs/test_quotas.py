"""The account's quotas are compared with what the proof and later runs need, before anything is built."""

from typing import Any

import pytest

from local.home import LocalError
from proofs.aws_smoke.account import Account, NotCheckedError, Options
from proofs.aws_smoke.concurrency import compare_counts
from proofs.aws_smoke.quotas import check_quotas, compared, largest_memory, wanted_quotas

OPTIONS = Options(True, False, "ml.c7i.large", "ml.m5.large")
ACCOUNT = Account("us-east-1", "123456789012", "arn:aws:iam::123456789012:user/x", "")
ACROSS = [
    f"Number of instances across {each}" for each in ("all training jobs", "all processing jobs", "active endpoints")
]
BUILDS = "Concurrently running builds for Linux/Medium environment"
ENOUGH = {
    "sagemaker": {
        "ml.c7i.large for training job usage": 2.0,
        "ml.c7i.large for spot training job usage": 2.0,
        "ml.m5.large for processing job usage": 1.0,
        "ml.m5.large for endpoint usage": 5.0,
        **dict.fromkeys(ACROSS, 5.0),
    },
    "codebuild": {BUILDS: 2.0},
}


def changed(service: str, name: str, value: float) -> dict[str, dict[str, float]]:
    return ENOUGH | {service: ENOUGH[service] | {name: value}}


def test_an_account_with_enough_is_told_its_quotas() -> None:
    assert compared(wanted_quotas(OPTIONS), ENOUGH) == [
        "2 ml.c7i.large for training job usage",
        f"5 {ACROSS[0]}",
        "2 ml.c7i.large for spot training job usage",
        "1 ml.m5.large for processing job usage",
        f"5 {ACROSS[1]}",
        "5 ml.m5.large for endpoint usage",
        f"5 {ACROSS[2]}",
        f"2 {BUILDS}",
    ]


@pytest.mark.parametrize(
    ("service", "name", "value"),
    [
        ("sagemaker", "ml.c7i.large for training job usage", 1),
        ("sagemaker", "ml.m5.large for processing job usage", 0),
        ("sagemaker", "ml.m5.large for endpoint usage", 4),
        ("sagemaker", ACROSS[0], 1),
        ("sagemaker", ACROSS[1], 0),
        ("sagemaker", ACROSS[2], 4),
        ("codebuild", BUILDS, 0),
    ],
)
def test_a_quota_that_is_too_small_for_the_proof_is_refused(service: str, name: str, value: int) -> None:
    with pytest.raises(LocalError, match=f"the quota '{name}' of {service} is {value} and . are needed; ask for"):
        compared(wanted_quotas(OPTIONS), changed(service, name, value))


@pytest.mark.parametrize(
    ("service", "name", "value", "hint"),
    [
        ("sagemaker", "ml.c7i.large for spot training job usage", 0, "ask for 2 for runs with spot: true"),
        ("codebuild", BUILDS, 1, "ask for 2 for building both images side by side"),
    ],
)
def test_a_quota_that_is_too_small_for_later_runs_is_named(service: str, name: str, value: int, hint: str) -> None:
    (sentence,) = [each for each in compared(wanted_quotas(OPTIONS), changed(service, name, value)) if name in each]
    assert sentence.startswith(f"{value} {name} ({hint}")


def test_an_unlisted_quota_is_not_checked() -> None:
    values = {name: value for name, value in ENOUGH["sagemaker"].items() if "endpoint usage" not in name}
    with pytest.raises(NotCheckedError, match=r"does not list ml\.m5\.large for endpoint usage"):
        compared(wanted_quotas(OPTIONS), ENOUGH | {"sagemaker": values})


class RecordedAccount:
    """Answers for Service Quotas, Lambda and CloudWatch."""

    def __init__(self, concurrency: int = 10, used: int = 0, maxima: tuple[float, ...] = ()) -> None:
        self._concurrency, self._used, self._maxima = concurrency, used, maxima

    def get_paginator(self, _operation: str) -> "RecordedAccount":
        return self

    def paginate(self, ServiceCode: str) -> list[dict[str, Any]]:
        return [{"Quotas": [{"QuotaName": name, "Value": value} for name, value in ENOUGH[ServiceCode].items()]}]

    def get_account_settings(self) -> dict[str, Any]:
        limits = {"UnreservedConcurrentExecutions": self._concurrency, "TotalCodeSize": 80_530_636_800}
        return {"AccountLimit": limits, "AccountUsage": {"TotalCodeSize": self._used}}

    def get_metric_statistics(self, **request: Any) -> dict[str, Any]:
        assert request["Dimensions"] == [
            {"Name": "EndpointName", "Value": "kennel-x-s"},
            {"Name": "VariantName", "Value": "main"},
        ]
        points = [{"Timestamp": number, "Maximum": value} for number, value in enumerate(self._maxima)]
        return {"Datapoints": points[::-1]}


def asks(monkeypatch: pytest.MonkeyPatch, answers: RecordedAccount) -> None:
    monkeypatch.setattr(Account, "client", lambda _self, _service: answers)


def test_lambdas_limits_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    asks(monkeypatch, RecordedAccount())
    assert "; 10 functions at once; functions of at most " in check_quotas(ACCOUNT, OPTIONS)
    asks(monkeypatch, RecordedAccount(concurrency=4))
    with pytest.raises(LocalError, match="Lambda may run 4 functions at once, and 5 are needed"):
        check_quotas(ACCOUNT, OPTIONS)
    asks(monkeypatch, RecordedAccount(used=80_400_000_000))
    with pytest.raises(LocalError, match="Lambda has room for 131 MB of code, and 500 are needed"):
        check_quotas(ACCOUNT, OPTIONS)


def test_the_largest_function_is_found_in_the_template() -> None:
    assert 1024 < largest_memory() <= 10_240


def test_cloudwatch_s_counts_stand_beside_measure_s(monkeypatch: pytest.MonkeyPatch) -> None:
    asks(monkeypatch, RecordedAccount(maxima=(0.0, 3.0, 9.0, 4.0)))
    output = {
        "run": {"endpoint": {"staging_name": "kennel-x-s", "variant": "main"}},
        "endpoint": {"scaling": {"measurement": {"concurrency": 3, "rate_per_second": 41.25}}},
    }
    assert compare_counts(ACCOUNT, output) == (
        "Measure, at the end, 3 at 41.2 requests/s; CloudWatch, the maximum of each 10 s in turn, 3, 9, 4"
    )


def test_without_data_of_staging_nothing_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    asks(monkeypatch, RecordedAccount())
    laptop = Account("us-east-1", "000000000000", "arn:aws:iam::000000000000:root", "http://127.0.0.1:4566")
    output = {
        "run": {"endpoint": {"staging_name": "kennel-x-s", "variant": "main"}},
        "endpoint": {"scaling": {"measurement": {"concurrency": 3, "rate_per_second": 41.25}}},
    }
    with pytest.raises(NotCheckedError, match="CloudWatch has no ConcurrentRequestsPerModel of kennel-x-s"):
        compare_counts(laptop, output)
