"""Requests that nobody should send, at the prediction API: each is answered, and a refusal says what is wrong."""

import http.client
import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from proofs.drills.report import Report
from proofs.drills.stage import Stage
from proofs.drills.strange import CANARY, Probe, Stranger

_REQUESTS = 10_000
_AT_ONCE = 8
_QUOTA = 3
_SHOWN = 5  # broken answers in the report
_TIMEOUT_SECONDS = 60
_TOLD = ("title", "detail", "correlation_id")
_LEAKS = (b"Traceback", b"botocore", b"arn:aws", b"/opt/", b"/var/task")


@dataclass(frozen=True)
class Answer:
    """Status, headers by their lower-case names, and body."""

    status: int
    headers: dict[str, str]
    body: bytes

    def fault(self, probe: Probe) -> str:
        """What is wrong with it, in words; empty when nothing is."""
        if any(leak in self.body for leak in _LEAKS):
            return "tells of the inside"
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
            return "no JSON"
        told = all(
            isinstance(problem.get(name), str) and problem[name] for name in ("title", "detail", "correlation_id")
        )
        return "" if told and problem.get("status", self.status) == self.status else "no problem document"


def fuzz_api(stage: Stage, report: Report, count: int = _REQUESTS) -> None:
    """Generated requests at every route; the seed is fixed, so that what broke once breaks again."""
    processes = stage.processes()
    with _things_to_steal(stage) as forbidden, _key(stage, "fuzz") as key:
        stranger = Stranger(stage.deployed, stage.photo, forbidden, random.Random(0))
        probes = [stranger.probe() for _ in range(count)]
        report.say(f"{len(probes):,} requests of {len({probe.kind for probe in probes})} kinds")
        began = time.monotonic()
        answers = _ask_all(stage, probes, key, report)
        seconds = time.monotonic() - began
    pairs = list(zip(probes, answers, strict=True))
    faults = [(probe, answer, fault) for probe, answer in pairs if (fault := answer.fault(probe))]
    with _key(stage, "fuzz-quota", quota=_QUOTA) as short:
        document = Probe("quota", "GET", "/openapi.json", frozenset({200, 429}))
        asked = [_ask(stage, document, short).status for _ in range(_QUOTA + 1)]
    known = [word for word in (CANARY, key, short, stage.deployed.api_key) if _is_logged(stage, word)]
    report.figures = {
        "requests": len(pairs),
        "requests_per_second": round(len(pairs) / seconds, 1),
        "statuses": dict(sorted(Counter(answer.status for answer in answers).items())),
        "kinds": {
            kind: dict(sorted(Counter(answer.status for probe, answer in pairs if probe.kind == kind).items()))
            for kind in sorted({probe.kind for probe in probes})
        },
        "faults": [
            {"fault": fault, "request": f"{probe.kind}: {probe.method} {probe.path[:120]}"}
            | {"sent": repr(probe.body[:120]), "said": repr(answer.body[:200])}
            for probe, answer, fault in faults[:_SHOWN]
        ],
    }
    report.promise("every request was answered", all(answer.status for answer in answers))
    report.promise("no 5xx but 503 with Retry-After", not any(a.status >= 500 and a.fault(p) for p, a in pairs))
    report.promise("every error is a problem document, and nothing tells of the inside", not faults)
    of_s3 = [answer.status for probe, answer in pairs if probe.kind == "s3 trick"]
    report.promise("no trick on s3 got an answer", bool(of_s3) and 200 not in of_s3)
    without = [answer.status for probe, answer in pairs if probe.kind == "no key"]
    report.promise("without a key there is nothing but 403", bool(without) and set(without) == {403})
    report.promise("good photos were named meanwhile", all(a.status == 200 for p, a in pairs if p.kind == "good photo"))
    report.promise(f"a key of {_QUOTA} requests a day gets no more", asked == [200] * _QUOTA + [429])
    report.promise("no log knows a key or what was sent", not known)
    report.promise("no instance died", stage.processes() == processes)


def _ask_all(stage: Stage, probes: list[Probe], key: str, report: Report) -> list[Answer]:
    answers = []
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for answer in pool.map(lambda probe: _ask(stage, probe, key), probes):
            answers.append(answer)
            if len(answers) % 1000 == 0:
                report.say(f"{len(answers):,} of {len(probes):,} answered")
    return answers


def _ask(stage: Stage, probe: Probe, key: str) -> Answer:
    """Send it as it is: clients of a higher kind tidy paths and headers up. Status 0 when no answer came."""
    api = urlsplit(stage.deployed.api_url.removesuffix("/classify"))
    connection = http.client.HTTPConnection(str(api.hostname), api.port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.putrequest(probe.method, api.path + probe.path, skip_accept_encoding=True)
        for name, value in {"content-length": str(len(probe.body)), "x-api-key": key, **probe.headers}.items():
            connection.putheader(name, value.encode("latin-1"))
        connection.endheaders(probe.body)
        answer = connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, headers, answer.read())
    except (OSError, http.client.HTTPException) as error:
        return Answer(0, {}, repr(error).encode())
    finally:
        connection.close()


@contextmanager
def _things_to_steal(stage: Stage) -> Iterator[list[str]]:
    """A photo in another bucket, and in the stack's own what is no photo, under names that tempt."""
    s3, own, other = stage.laptop.client("s3"), stage.deployed.bucket, f"{stage.deployed.bucket}-other"
    champion = stage.champion()
    assert champion
    s3.create_bucket(Bucket=other)
    try:
        s3.put_object(Bucket=other, Key="rex.jpg", Body=stage.photo)
        yield [f"s3://{other}/rex.jpg", f"{champion['artifact_uri']}", f"s3://{own}/{CANARY}"]
    finally:
        s3.delete_object(Bucket=other, Key="rex.jpg")
        s3.delete_bucket(Bucket=other)


@contextmanager
def _key(stage: Stage, name: str, quota: int | None = None) -> Iterator[str]:
    """A key of the API with a plan of its own, which throttles nothing."""
    apigateway = stage.laptop.client("apigateway")
    api = urlsplit(stage.deployed.api_url).path.split("/")[2]
    plan = {"quota": {"limit": quota, "period": "DAY"}} if quota else {}
    plan_id = apigateway.create_usage_plan(name=name, apiStages=[{"apiId": api, "stage": "v1"}], **plan)["id"]
    key = apigateway.create_api_key(name=name, enabled=True)
    apigateway.create_usage_plan_key(usagePlanId=plan_id, keyId=key["id"], keyType="API_KEY")
    try:
        yield str(key["value"])
    finally:
        apigateway.delete_api_key(apiKey=key["id"])
        apigateway.update_usage_plan(
            usagePlanId=plan_id, patchOperations=[{"op": "remove", "path": "/apiStages", "value": f"{api}:v1"}]
        )
        apigateway.delete_usage_plan(usagePlanId=plan_id)


def _is_logged(stage: Stage, word: str) -> bool:
    """Whether any of the laptop cloud's logs holds it."""
    logs = stage.laptop.client("logs")
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
