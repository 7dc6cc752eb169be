"""Sends invalid and hostile requests to the API. Each must be answered, and each error must say what is wrong."""

import http.client
import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from proofs.drills.drill_cloud import DrillCloud
from proofs.drills.fleet import Fleet
from proofs.drills.probes import CANARY, Probe, ProbeGenerator
from proofs.promises import Report

_NUM_REQUESTS = 10_000
_NUM_SENDERS = 8
_QUOTA = 3  # requests/day
_MAX_FAULTS = 5  # in the report
_TIMEOUT_SECONDS = 60
_PROBLEM_FIELDS = ("title", "detail", "correlation_id")
_INTERNALS = (b"Traceback", b"botocore", b"arn:aws", b"/opt/", b"/var/task")


@dataclass(frozen=True)
class FuzzAnswer:
    """The answer to one request.

    Attributes:
        status: the HTTP status; 0 when no answer came.
        headers: by their names in lower case.
        body: the bytes of the answer.
    """

    status: int
    headers: dict[str, str]
    body: bytes

    def fault(self, probe: Probe) -> str:
        """Return in words what is wrong with the answer; empty when nothing is."""
        if any(word in self.body for word in _INTERNALS):
            return "reveals internals"
        if self.status == 503:
            return "" if self.headers.get("retry-after") else "503 without Retry-After"
        if self.status not in probe.statuses:
            return f"status {self.status}"
        if self.status < 400 or probe.method == "HEAD":
            return ""
        if self.headers.get("content-type") != "application/problem+json":
            return f"content type {self.headers.get('content-type')}"
        try:
            problem = json.loads(self.body)
        except ValueError:
            return "not JSON"
        complete = all(isinstance(problem.get(name), str) and problem[name] for name in _PROBLEM_FIELDS)
        return "" if complete and problem.get("status", self.status) == self.status else "not a problem document"


def fuzz_api(cloud: DrillCloud, report: Report, count: int = _NUM_REQUESTS) -> None:
    """Send generated requests to every route. The seed is fixed, so a failure can be repeated."""
    fleet = Fleet(cloud)
    with _forbidden_objects(cloud) as forbidden, temporary_key(cloud, "fuzz") as key:
        generator = ProbeGenerator(cloud.deployed, cloud.photo, forbidden, random.Random(0))
        probes = [generator.probe() for _ in range(count)]
        report.log(f"{len(probes):,} requests of {len({probe.kind for probe in probes})} kinds")
        started = time.monotonic()
        answers = _send_all(cloud, probes, key, report)
        seconds = time.monotonic() - started
    pairs = list(zip(probes, answers, strict=True))
    with temporary_key(cloud, "fuzz-quota", quota=_QUOTA) as limited_key:
        document = Probe("quota", "GET", "/openapi.json", frozenset({200, 429}))
        quota_statuses = [_send(cloud, document, limited_key).status for _ in range(_QUOTA + 1)]
    secrets = (CANARY, key, limited_key, cloud.deployed.api_key)
    leaked = [word for word in secrets if _is_logged(cloud, word)]
    report.figures = _figures(pairs, seconds)
    _check_answers(report, pairs)
    report.promise(f"a key with a quota of {_QUOTA} gets no more", quota_statuses == [200] * _QUOTA + [429])
    report.promise("no log contains a key or content of a request", not leaked)
    report.promise("no instance died", fleet.num_died() == 0)


def _figures(pairs: Sequence[tuple[Probe, FuzzAnswer]], seconds: float) -> dict[str, Any]:
    faults = [(probe, answer, fault) for probe, answer in pairs if (fault := answer.fault(probe))]
    return {
        "requests": len(pairs),
        "requests_per_second": round(len(pairs) / seconds, 1),
        "statuses": dict(sorted(Counter(answer.status for _, answer in pairs).items())),
        "kinds": {
            kind: dict(sorted(Counter(answer.status for probe, answer in pairs if probe.kind == kind).items()))
            for kind in sorted({probe.kind for probe, _ in pairs})
        },
        "faults": [
            {"fault": fault, "request": f"{probe.kind}: {probe.method} {probe.path[:120]}"}
            | {"sent": repr(probe.body[:120]), "said": repr(answer.body[:200])}
            for probe, answer, fault in faults[:_MAX_FAULTS]
        ],
    }


def _check_answers(report: Report, pairs: Sequence[tuple[Probe, FuzzAnswer]]) -> None:
    def statuses(kind: str) -> list[int]:
        return [answer.status for probe, answer in pairs if probe.kind == kind]

    faultless = not any(answer.fault(probe) for probe, answer in pairs)
    report.promise("every request was answered", all(answer.status for _, answer in pairs))
    report.promise("no 5xx except 503 with Retry-After", not any(a.status >= 500 and a.fault(p) for p, a in pairs))
    report.promise("every error is a problem document, and no answer reveals internals", faultless)
    s3_tricks, without_key = statuses("s3 trick"), statuses("no key")
    report.promise("no forbidden object in S3 was classified", bool(s3_tricks) and 200 not in s3_tricks)
    report.promise("every request without a valid key got 403", bool(without_key) and set(without_key) == {403})
    report.promise("good photos were classified meanwhile", all(status == 200 for status in statuses("good photo")))


def _send_all(cloud: DrillCloud, probes: list[Probe], key: str, report: Report) -> list[FuzzAnswer]:
    answers = []
    with ThreadPoolExecutor(_NUM_SENDERS) as pool:
        for answer in pool.map(lambda probe: _send(cloud, probe, key), probes):
            answers.append(answer)
            if len(answers) % 1000 == 0:
                report.log(f"{len(answers):,} of {len(probes):,} answered")
    return answers


def _send(cloud: DrillCloud, probe: Probe, key: str) -> FuzzAnswer:
    """Send a request by http.client, because clients of a higher level would correct its path and its headers."""
    api = urlsplit(cloud.deployed.api_url.removesuffix("/classify"))
    connection = http.client.HTTPConnection(str(api.hostname), api.port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.putrequest(probe.method, api.path + probe.path, skip_accept_encoding=True)
        for name, value in {"content-length": str(len(probe.body)), "x-api-key": key, **probe.headers}.items():
            connection.putheader(name, value.encode("latin-1"))
        connection.endheaders(probe.body)
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return FuzzAnswer(response.status, headers, response.read())
    except (OSError, http.client.HTTPException) as error:
        return FuzzAnswer(0, {}, repr(error).encode())
    finally:
        connection.close()


@contextmanager
def _forbidden_objects(cloud: DrillCloud) -> Iterator[list[str]]:
    """Yield URIs of a photo in another bucket, of the champion's artifact, and of an object that does not exist."""
    s3, own, other = cloud.client("s3"), cloud.deployed.bucket, f"{cloud.deployed.bucket}-other"
    champion = cloud.champion()
    assert champion
    s3.create_bucket(Bucket=other)
    try:
        s3.put_object(Bucket=other, Key="rex.jpg", Body=cloud.photo)
        yield [f"s3://{other}/rex.jpg", f"{champion['artifact_uri']}", f"s3://{own}/{CANARY}"]
    finally:
        s3.delete_object(Bucket=other, Key="rex.jpg")
        s3.delete_bucket(Bucket=other)


@contextmanager
def temporary_key(cloud: DrillCloud, name: str, quota: int | None = None) -> Iterator[str]:
    """Create a key of the API with a usage plan that does not throttle.

    Args:
        cloud: its API gets the key.
        name: of the key and the plan.
        quota: requests per day; None for no limit.
    """
    apigateway = cloud.client("apigateway")
    api_id = urlsplit(cloud.deployed.api_url).path.split("/")[2]
    plan = {"quota": {"limit": quota, "period": "DAY"}} if quota else {}
    plan_id = apigateway.create_usage_plan(name=name, apiStages=[{"apiId": api_id, "stage": "v1"}], **plan)["id"]
    key = apigateway.create_api_key(name=name, enabled=True)
    apigateway.create_usage_plan_key(usagePlanId=plan_id, keyId=key["id"], keyType="API_KEY")
    try:
        yield str(key["value"])
    finally:
        apigateway.delete_api_key(apiKey=key["id"])
        apigateway.update_usage_plan(
            usagePlanId=plan_id, patchOperations=[{"op": "remove", "path": "/apiStages", "value": f"{api_id}:v1"}]
        )
        apigateway.delete_usage_plan(usagePlanId=plan_id)


def _is_logged(cloud: DrillCloud, word: str) -> bool:
    """Whether a log of the laptop cloud contains a word."""
    logs = cloud.client("logs")
    groups = [
        group["logGroupName"]
        for page in logs.get_paginator("describe_log_groups").paginate()
        for group in page["logGroups"]
    ]
    return any(
        word in event["message"]
        for group in groups
        for page in logs.get_paginator("filter_log_events").paginate(logGroupName=group)
        for event in page["events"]
    )
