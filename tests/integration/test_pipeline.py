"""The pipeline on a laptop cloud of its own: promoted, updated, refused, failed, stopped, torn down.

Runs that need no training of their own name the photos of the first one, whose model they then reuse.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
import schemathesis
import torch
import urllib3
from hypothesis import HealthCheck, given, settings
from playwright.sync_api import expect
from schemathesis.specs.openapi.checks import positive_data_acceptance

from benchmarks import inputs
from dataset import breed_name
from local import laptop, stack
from proofs.drills.__main__ import DRILLS
from proofs.drills.fuzz import fuzz_api
from proofs.drills.report import Report
from proofs.drills.stage import Stage
from proofs.rights.policies import Deployed
from proofs.rights.recording import Recording
from proofs.rights.replay import Replay
from proofs.rights.verdict import named
from sketchbook import BREEDS, write
from tests.integration import function_url
from tests.integration.chromium import chromium
from tests.integration.laptop import eventually
from training.files import to_bytes
from training.torchvision_import import torchvision_models

ROOT = Path(__file__).resolve().parents[2]
BREEDS_USED = {name: BREEDS[name] for name in ("Dalmatian", "Doberman", "Samoyed")}
COUNTS = {"train": 12, "valid": 6, "test": 6}
BACKBONE = "shufflenet_v2_x0_5"  # of torchvision's the smallest
UNHURRIED = list(HealthCheck)  # of which none is to fail a test on a busy machine
DEADLINE = 300  # seconds until a hang is called one; the machine may be busy


@dataclass
class Kennel:
    """A laptop cloud with the stack deployed and one model promoted by ``python -m local run``.

    photos: the folder that it was trained on, two of whose test photos lie under each other's name, so that no model
        names them all rightly. record: what the run wrote. said: what it printed.
    """

    home: Path
    port: int
    photos: Path
    record: dict[str, Any]
    said: str

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=f"http://localhost:{self.port}",
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def local(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return run_local(self.home, *arguments)

    def outputs(self, stack: str = "kennel") -> dict[str, str]:
        found = self.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
        return {output["OutputKey"]: output["OutputValue"] for output in found["Outputs"]}

    def start(self, request: dict[str, Any], machine: str = "PipelineArn", stack: str = "kennel") -> str:
        arn = self.client("stepfunctions").start_execution(
            stateMachineArn=self.outputs(stack)[machine], input=json.dumps(request)
        )["executionArn"]
        return str(arn)

    def finish(self, arn: str) -> dict[str, Any]:
        deadline = time.monotonic() + DEADLINE
        states = self.client("stepfunctions")
        while (ended := states.describe_execution(executionArn=arn))["status"] == "RUNNING":
            assert time.monotonic() < deadline, "the execution did not end"
            time.sleep(0.2)
        return dict(ended)

    def upload(self, key: str, folder: Path) -> str:
        archive = shutil.make_archive(str(self.home / key), "zip", folder)
        self.client("s3").upload_file(archive, self.outputs()["BucketName"], f"datasets/{key}.zip")
        return f"datasets/{key}.zip"

    @property
    def dataset(self) -> str:
        """Where the first run put its photos."""
        found = self.client("s3").list_objects_v2(Bucket=self.outputs()["BucketName"], Prefix="datasets/")["Contents"]
        return str(min(found, key=lambda each: each["LastModified"])["Key"])

    def training_jobs(self) -> set[str]:
        found = self.client("sagemaker").list_training_jobs()["TrainingJobSummaries"]
        return {job["TrainingJobName"] for job in found}

    def stage(self) -> Stage:
        """For drills."""
        cloud = laptop.Laptop(self.port, json.loads((self.home / "cloud.json").read_text())["pid"])
        photo = next((self.photos / "test").rglob("*.jpg")).read_bytes()
        return Stage(cloud, self.home, stack.describe(cloud), photo)

    def champion(self) -> dict[str, Any]:
        value = self.client("ssm").get_parameter(Name="/kennel/champion")["Parameter"]["Value"]
        return {} if value == "none" else json.loads(value)

    def endpoints(self) -> list[str]:
        return [e["EndpointName"] for e in self.client("sagemaker").list_endpoints()["Endpoints"]]

    def is_locked(self) -> bool:
        ssm = self.client("ssm")
        try:
            ssm.get_parameter(Name="/kennel/lock")
        except ssm.exceptions.ParameterNotFound:
            return False
        return True


def swap(one: Path, other: Path) -> None:
    body = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(body)


def run_local(home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "local", *arguments],
        cwd=ROOT,
        env={"KENNEL_TIME_SCALE": "20"} | os.environ | {"KENNEL_HOME": str(home)},  # an update bakes for a minute
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def kennel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kennel]:
    home = tmp_path_factory.mktemp("home")
    photos = write(tmp_path_factory.mktemp("data") / "sketches", seed=5, counts=COUNTS, breeds=BREEDS_USED, size=160)
    swap(*(sorted((photos / "test" / name).iterdir())[0] for name in ("003.Dalmatian", "008.Samoyed")))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    try:
        done = run_local(home, "run", "--data", str(photos), "--port", str(port))
        assert done.returncode == 0, done.stdout + done.stderr
        yield Kennel(home, port, photos, json.loads((home / "last-run.json").read_text()), done.stdout)
    finally:
        assert run_local(home, "down").returncode == 0
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0, "the laptop cloud still listens after down"


def test_first_run_is_promoted_and_recorded(kennel: Kennel) -> None:
    record = kennel.record
    assert record["status"] == "promoted"
    assert record["verdict"]["decision"] == "promote"
    assert {"Train", "Evaluate"} <= {state["name"] for state in record["states"]}
    spent = {state["name"]: state["seconds"] for state in record["states"]}
    assert 0 < spent["Train"] + spent["Evaluate"] < record["seconds"]
    assert 0.5 <= record["evaluation"]["challenger"]["top1"] <= record["evaluation"]["challenger"]["top5"] <= 1
    assert (record["endpoint"]["name"], record["endpoint"]["instances"]) == ("kennel", 1)
    assert record["api"]["url"] in kennel.said
    assert kennel.endpoints() == ["kennel"]
    assert not kennel.is_locked()


def test_endpoint_scales_by_what_was_measured_on_staging(kennel: Kennel) -> None:
    scaling = kennel.record["endpoint"]["scaling"]
    measured = scaling["measurement"]
    assert measured["knee_per_second"] == max(trial["rate"] for trial in measured["trials"] if trial["borne"])
    assert {trial["borne"] for trial in measured["trials"]} == {True, False} or measured["limited_by"] == "sender"
    known = kennel.client("application-autoscaling").describe_scaling_policies(ServiceNamespace="sagemaker")
    policies = {policy["PolicyName"]: policy for policy in known["ScalingPolicies"]}
    tracking = policies["kennel-concurrency"]["TargetTrackingScalingPolicyConfiguration"]
    assert tracking["TargetValue"] == scaling["target_value"] >= 1
    cloudwatch = kennel.client("cloudwatch")
    [burst] = cloudwatch.describe_alarms(AlarmNames=["kennel-burst"])["MetricAlarms"]
    assert burst["Threshold"] == scaling["burst_value"] == 2 * scaling["target_value"]
    assert burst["AlarmActions"] == [policies["kennel-burst"]["PolicyARN"]]


def test_endpoint_is_leased(kennel: Kennel) -> None:
    lease = kennel.client("scheduler").get_schedule(GroupName="kennel", Name="kennel-lease")
    assert lease["StartDate"] - lease["CreationDate"] > timedelta(hours=71)
    assert lease["Target"]["Arn"] == kennel.outputs()["TeardownArn"]
    assert lease["Target"]["Input"] == '{"lease":true}'


def test_an_earlier_version_serves_again_without_training(kennel: Kennel) -> None:
    jobs, before = kennel.training_jobs(), kennel.client("sagemaker").describe_endpoint(EndpointName="kennel")
    done = kennel.local("promote", "--version", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "version 1 is to serve again" in done.stdout
    assert "measured by run" in done.stdout  # not once more
    assert kennel.champion()["model_package_arn"].endswith("/1")
    assert kennel.training_jobs() == jobs
    after = kennel.client("sagemaker").describe_endpoint(EndpointName="kennel")
    assert after["EndpointConfigName"] != before["EndpointConfigName"]
    assert kennel.local("promote", "--version", "99").returncode == 1


def test_rights_are_judged_by_what_was_recorded(kennel: Kennel) -> None:
    deployed = Deployed(kennel.stage().laptop, "kennel")
    replay = Replay(deployed.policies, Recording(kennel.home).asked())
    found = {each[:3]: each.finding for each in named(replay.all_findings(), deployed)}
    training = found["PipelineRole", "RunJobs", "sagemaker:CreateTrainingJob"].by
    assert training
    assert deployed.readable(training.decision.resource) == f"sagemaker:training-job/{kennel.record['trained']['job']}"
    assert found["TrainingRole", "ReadCodePhotosAndWeights", "s3:${Bucket}/*"].needed
    assert found["TrainingRole trust", "#1", "aws:SourceAccount"].needed
    assert found["Key", "TheAccountGovernsItsKeyThroughIam", "kms:*"].needed
    assert found["Bucket", "OnlyOverTls", "aws:SecureTransport"].needed
    assert not found["ContainerPolicy", "WriteContainerLogs", "logs:DescribeLogStreams"].by
    assert not found["StateMachinePolicy", "DeliverLogs", "all of it"].by


def test_training_was_one_model_on_two_instances(kennel: Kennel) -> None:
    job = kennel.client("sagemaker").list_training_jobs()["TrainingJobSummaries"][-1]["TrainingJobName"]
    found = kennel.client("sagemaker").describe_training_job(TrainingJobName=job)
    assert found["ResourceConfig"]["InstanceCount"] == 2
    report = f"runs/{kennel.champion()['run']}/report/evaluation.json"
    body = kennel.client("s3").get_object(Bucket=kennel.outputs()["BucketName"], Key=report)["Body"].read()
    ddp = json.loads(body)["ddp"]
    assert ddp["world_size"] == 2
    assert sum(ddp["samples_per_rank"]) == len(BREEDS_USED) * COUNTS["train"]
    assert len(set(ddp["parameter_checksums"])) == 1


def test_registered_model_leads_to_its_training(
    kennel: Kennel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(laptop, "find", lambda: laptop.Laptop(kennel.port, pid=0))
    with tarfile.open(inputs._of_champion("training", tmp_path / "model.tar.gz")) as archive:
        assert "model.pt2" in archive.getnames()


def test_api_names_breeds(kennel: Kennel) -> None:
    files = sorted(str(path) for path in (kennel.photos / "test").rglob("*.jpg"))
    done = kennel.local("classify", "--json", *files)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["file"] for line in lines] == files
    right = [line["breed"] == breed_name(Path(line["file"]).parent.name) for line in lines]
    assert sum(right) / len(right) == pytest.approx(kennel.record["evaluation"]["challenger"]["top1"], abs=0.001)
    assert lines[0]["top"][0]["breed"] == lines[0]["breed"]
    assert lines[0]["probability"] == pytest.approx(lines[0]["top"][0]["probability"])


@pytest.mark.parametrize(
    ("name", "body", "words"),
    [
        ("corrupt.jpg", b"\xff\xd8\xff\xe0 cut off", "image"),
        ("empty.png", b"", "empty"),
        ("words.txt", b"no photo", "content-type"),
        ("huge.jpg", b"\xff\xd8" + bytes(4_600_000), "bytes"),
    ],
)
def test_api_refuses_what_is_no_photo_with_a_sentence(
    kennel: Kennel, tmp_path: Path, name: str, body: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(body)
    done = kennel.local("classify", "--json", str(tmp_path / name))
    said = json.loads(done.stdout)
    assert done.returncode == 1
    assert 400 <= said["status"] < 500
    assert words in said["error"]


def ask(
    kennel: Kennel, path: str, method: str = "GET", key: str | None = "", body: bytes | None = None, kind: str = ""
) -> tuple[int, dict[str, Any], Any]:
    """Status, document and headers of the REST API's answer; None sends no key, "" the stack's."""
    url = kennel.record["api"]["url"].removesuffix("/classify") + path
    headers = {"content-type": kind} if kind else {}
    if key is not None:
        headers["x-api-key"] = key or kennel.record["api"]["key"]
    answer = urllib3.request(method, url, body=body, headers=headers, retries=False)
    return answer.status, answer.json(), answer.headers


def classify_place(kennel: Kennel, place: str) -> tuple[int, dict[str, Any], Any]:
    return ask(kennel, "/classify", "POST", body=json.dumps({"s3": place}).encode(), kind="application/json")


def test_api_tells_what_it_knows_and_whether_it_serves(kennel: Kennel) -> None:
    assert ask(kennel, "/breeds")[:2] == (200, {"breeds": ["Dalmatian", "Doberman", "Samoyed"]})
    assert ask(kennel, "/health", key=None)[:2] == (200, {"status": "serving"})
    assert set(ask(kennel, "/openapi.json")[1]["paths"]) == {"/classify", "/breeds", "/health", "/openapi.json"}


def test_api_keeps_to_its_document(kennel: Kennel) -> None:
    """Schemathesis asks as the document describes, and as it does not."""
    api = {"base_url": kennel.record["api"]["url"].removesuffix("/classify")}
    api["headers"] = {"x-api-key": kennel.record["api"]["key"]}
    excluded = [positive_data_acceptance]  # no schema can say which bytes are a photo

    def check(case: schemathesis.Case) -> None:
        checked.append(case.operation.label)
        case.call_and_validate(**api, excluded_checks=excluded)

    checked: list[str] = []
    few = settings(
        max_examples=15, deadline=None, derandomize=True, database=None, suppress_health_check=[*HealthCheck]
    )
    for found in schemathesis.openapi.from_dict(ask(kennel, "/openapi.json")[1]).get_all_operations():
        few(given(case=found.ok().as_strategy())(check))()
    assert set(checked) == {"POST /classify", "GET /breeds", "GET /health", "GET /openapi.json"}


def test_function_of_the_api_is_small(kennel: Kennel) -> None:
    found = kennel.client("lambda").get_function_configuration(FunctionName="kennel-classify")
    assert 1_000_000 < found["CodeSize"] < 5_000_000


def test_photo_in_the_bucket_is_named_as_if_it_were_sent(kennel: Kennel) -> None:
    photo, bucket = next((kennel.photos / "test").rglob("*.jpg")).read_bytes(), kennel.outputs()["BucketName"]
    for key in ("uploads/rex.jpg", "uploads/rex.txt"):
        kennel.client("s3").put_object(Bucket=bucket, Key=key, Body=photo)
    sent = ask(kennel, "/classify", "POST", body=photo, kind="image/jpeg")[1]
    assert classify_place(kennel, "uploads/rex.jpg")[:2] == (200, sent)
    assert classify_place(kennel, f"s3://{bucket}/uploads/rex.jpg")[:2] == (200, sent)
    assert classify_place(kennel, "uploads/rex.txt")[0] == 400
    assert classify_place(kennel, "uploads/ida.jpg")[1]["detail"] == "there is no such photo"


@pytest.mark.parametrize(
    ("path", "method", "key", "status"),
    [
        ("/classify", "POST", None, 403),
        ("/classify", "POST", "no-such-key", 403),
        ("/classify/", "POST", None, 403),
        ("/breeds", "GET", None, 403),
        ("/openapi.json", "GET", None, 403),
        ("/elsewhere", "GET", None, 403),
        ("/elsewhere", "GET", "", 404),
        ("/classify", "GET", "", 405),
        ("/", "POST", "", 404),
    ],
)
def test_api_refuses_with_a_problem_document(
    kennel: Kennel, path: str, method: str, key: str | None, status: int
) -> None:
    got, document, headers = ask(kennel, path, method, key)
    assert (got, document["status"], headers["Content-Type"]) == (status, status, "application/problem+json")
    assert document["correlation_id"]


def test_key_beyond_its_quota_is_told_to_wait(kennel: Kennel) -> None:
    gateway, outputs = kennel.client("apigateway"), kennel.outputs()
    key = gateway.create_api_key(name="guest", enabled=True)
    stages = [{"apiId": outputs["ApiId"], "stage": "v1"}]
    plan = gateway.create_usage_plan(name="guests", apiStages=stages, quota={"limit": 1, "period": "DAY"})
    gateway.create_usage_plan_key(usagePlanId=plan["id"], keyId=key["id"], keyType="API_KEY")
    assert ask(kennel, "/breeds", key=key["value"])[0] == 200
    status, document, headers = ask(kennel, "/breeds", key=key["value"])
    assert (status, headers["Retry-After"]) == (429, "3600")
    assert document["detail"] == "the key's requests of today are used up"


def test_endpoints_log_knows_a_refused_photo_by_the_id_that_its_caller_was_told(kennel: Kennel) -> None:
    photo = next((kennel.photos / "test").rglob("*.jpg")).read_bytes()
    status, document, _ = ask(kennel, "/classify", "POST", body=photo[: len(photo) // 2], kind="image/jpeg")
    assert status == 400
    logs, known = kennel.client("logs"), f'"{document["correlation_id"]}"'
    place = {"logGroupName": "/aws/sagemaker/Endpoints/kennel", "filterPattern": known}
    [event] = eventually(lambda: logs.filter_log_events(**place)["events"], bool)
    assert json.loads(event["message"])["error"] == "UnreadableImage"


def test_services_ask_by_the_functions_url_and_sign(kennel: Kennel) -> None:
    url, iam = kennel.outputs()["FunctionUrl"], kennel.client("iam")
    function = "arn:aws:lambda:us-east-1:000000000000:function:kennel-classify:live"
    trust = {"Effect": "Allow", "Principal": {"AWS": "000000000000"}, "Action": "sts:AssumeRole"}
    both = ["lambda:InvokeFunctionUrl", "lambda:InvokeFunction"]
    asked = {}
    for name, actions in {"service": both, "stranger": ["s3:GetObject"]}.items():
        role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=policy(trust))["Role"]["Arn"]
        may = {"Effect": "Allow", "Action": actions, "Resource": function}
        iam.put_role_policy(RoleName=name, PolicyName="may", PolicyDocument=policy(may))
        session = kennel.client("sts").assume_role(RoleArn=role, RoleSessionName=name)["Credentials"]
        client = boto3.client(
            "lambda",
            endpoint_url=f"http://localhost:{kennel.port}",
            region_name="us-east-1",
            aws_access_key_id=session["AccessKeyId"],
            aws_secret_access_key=session["SecretAccessKey"],
            aws_session_token=session["SessionToken"],
        )
        asked[name] = function_url.ask(client, f"{url}breeds")
        photo = next((kennel.photos / "test").rglob("*.jpg")).read_bytes()
        asked[f"{name}'s photo"] = function_url.ask(
            client, f"{url}classify", "POST", photo, **{"Content-Type": "image/jpeg"}
        )
    statuses = {name: status for name, (status, _, _) in asked.items()}
    assert statuses == {"service": 200, "service's photo": 200, "stranger": 403, "stranger's photo": 403}
    assert asked["service"][1] == ask(kennel, "/breeds")[1]
    assert asked["service's photo"][1]["top"]
    assert function_url.ask(kennel.client("lambda"), f"{url}health", signed=False)[0] == 403


def test_page_answers_a_newcomer(kennel: Kennel) -> None:
    opened = time.monotonic()
    with chromium() as browser:
        page = browser.new_page()
        page.goto(kennel.record["api"]["page"])
        page.get_by_role("button", name="A drawn dalmatian").click()
        page.get_by_label("API key", exact=True).fill(kennel.record["api"]["key"])
        page.get_by_role("button", name="Go on").click()
        expect(page.get_by_role("listitem")).to_have_count(len(BREEDS_USED))
        expect(page.get_by_role("listitem").first).to_contain_text("Dalmatian")
    print(f"run {kennel.record['seconds']} s, browser and first answer {time.monotonic() - opened:.1f} s")


def test_second_run_updates_and_compares_with_the_champion(kennel: Kennel) -> None:
    sagemaker = kennel.client("sagemaker")
    before, champion = sagemaker.describe_endpoint(EndpointName="kennel"), kennel.champion()
    wishes = {"hyperparameters": {"backbone": "efficientnet_lite2"}, "max_instances": 3}
    ended = kennel.finish(kennel.start({"dataset": kennel.dataset, **wishes}))
    assert ended["status"] == "SUCCEEDED"
    output = json.loads(ended["output"])
    assert "/weights/efficientnet_lite2-" in output["run"]["training"]["weights_uri"]
    assert output["verdict"]["champion_top1"] == pytest.approx(champion["top1"])  # written with fewer digits
    after = sagemaker.describe_endpoint(EndpointName="kennel")
    assert after["EndpointArn"] == before["EndpointArn"]
    assert after["CreationTime"] == before["CreationTime"]
    assert after["EndpointConfigName"] != before["EndpointConfigName"]
    assert kennel.champion()["run"] == output["run"]["id"]
    assert kennel.endpoints() == ["kennel"]
    target = kennel.client("application-autoscaling").describe_scalable_targets(ServiceNamespace="sagemaker")
    assert [(t["MinCapacity"], t["MaxCapacity"]) for t in target["ScalableTargets"]] == [(1, 3)]


def test_training_of_a_run_that_failed_later_is_taken_up_by_the_next(kennel: Kennel) -> None:
    """Of a run with other hyperparameters than were trained with before; both fail where evaluation begins."""
    request, jobs = {"dataset": kennel.dataset, "hyperparameters": {"epochs": 2}}, kennel.training_jobs()
    with without(kennel, "EvaluationRole", "s3:GetObject"):
        first, second = run_to_failure(kennel, request), run_to_failure(kennel, request)
    assert {"Train", "Evaluate"} <= first
    assert {"ReuseTraining", "Evaluate"} <= second
    assert "Train" not in second
    assert len(kennel.training_jobs() - jobs) == 1


def run_to_failure(kennel: Kennel, request: dict[str, Any]) -> set[str]:
    """The states that a run enters on its way to failure."""
    arn = kennel.start(request)
    assert kennel.finish(arn)["status"] == "FAILED"
    return states_entered(kennel, arn)


def test_photo_in_two_splits_is_refused_and_the_champion_stays(kennel: Kennel, tmp_path: Path) -> None:
    leaky = shutil.copytree(kennel.photos, tmp_path / "leaky")
    source = sorted((leaky / "train" / "003.Dalmatian").iterdir())[0]
    shutil.copy(source, leaky / "test" / "003.Dalmatian" / "copied.jpg")
    champion = kennel.champion()
    ended = kennel.finish(kennel.start({"dataset": kennel.upload("leaky", leaky)}))
    assert ended["status"] == "SUCCEEDED"
    output = json.loads(ended["output"])
    assert output["status"] == "refused"
    assert "test/003.Dalmatian/copied.jpg is also train/003.Dalmatian/" in output["verdict"]["reason"]
    assert kennel.champion() == champion
    assert not kennel.is_locked()


@dataclass
class Again:
    """The first run once more."""

    code: int
    said: str
    record: dict[str, Any]
    num_jobs: int


@pytest.fixture(scope="module")
def again(kennel: Kennel, tmp_path_factory: pytest.TempPathFactory) -> Again:
    """The same photos against a floor of 1.0, which the two swapped ones keep out of reach."""
    event, jobs = tmp_path_factory.mktemp("event") / "event.json", kennel.training_jobs()
    event.write_text('{"min_top1": 1.0}')
    done = kennel.local("run", "--data", str(kennel.photos), "--event", str(event))
    record = json.loads((kennel.home / "last-run.json").read_text())
    return Again(done.returncode, done.stdout + done.stderr, record, len(kennel.training_jobs() - jobs))


def test_refused_run_exits_with_3(again: Again) -> None:
    assert again.code == 3, again.said
    assert "REFUSED" in again.said
    assert "  ✗ floor         top-1 " in again.said
    assert "below the floor of 100.0%" in again.said
    assert again.record["status"] == "refused"


def test_refused_challenger_is_registered_as_rejected_with_its_reason(kennel: Kennel, again: Again) -> None:
    sagemaker = kennel.client("sagemaker")
    rejected = sagemaker.list_model_packages(ModelPackageGroupName="kennel", ModelApprovalStatus="Rejected")
    arns = [package["ModelPackageArn"] for package in rejected["ModelPackageSummaryList"]]
    reasons = [sagemaker.describe_model_package(ModelPackageName=arn)["ApprovalDescription"] for arn in arns]
    assert reasons.count(again.record["verdict"]["reason"]) == 1


def test_same_run_once_more_reuses_the_training_and_says_so(kennel: Kennel, again: Again) -> None:
    assert f"reused  {kennel.record['trained']['job']}\n" in again.said
    assert again.num_jobs == 0
    assert again.record["trained"] == kennel.record["trained"]
    assert again.record["evaluation"]["challenger"]["top1"] == kennel.record["evaluation"]["challenger"]["top1"]
    assert {"Train", "ReuseTraining"} & {state["name"] for state in again.record["states"]} == {"ReuseTraining"}


def test_failed_training_is_compensated(kennel: Kennel) -> None:
    champion = kennel.champion()
    kennel.client("s3").put_object(Bucket=kennel.outputs()["BucketName"], Key="mine/w.pth", Body=b"no weights")
    request = {"dataset": kennel.dataset, "weights": "mine/w.pth"}
    ended = kennel.finish(kennel.start(request | {"hyperparameters": {"backbone": "resnet18"}}))
    assert ended["status"] == "FAILED"
    assert ended["error"] == "States.TaskFailed"
    assert "backbone resnet18: cannot read w.pth" in ended["cause"]
    assert kennel.champion() == champion
    assert kennel.endpoints() == ["kennel"]
    assert not kennel.is_locked()


@contextmanager
def without(kennel: Kennel, role: str, action: str) -> Iterator[None]:
    """Take an action out of a role's statements as deployed, for a while."""
    iam, formation = kennel.client("iam"), kennel.client("cloudformation")
    found = formation.describe_stack_resource(StackName="kennel", LogicalResourceId=role)["StackResourceDetail"]
    (policy,) = iam.list_role_policies(RoleName=found["PhysicalResourceId"])["PolicyNames"]
    place = {"RoleName": found["PhysicalResourceId"], "PolicyName": policy}
    document = iam.get_role_policy(**place)["PolicyDocument"]
    poorer = json.loads(json.dumps(document))
    for statement in poorer["Statement"]:
        listed = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        statement["Action"] = ["sts:GetCallerIdentity" if each == action else each for each in listed]
    assert poorer != document
    iam.put_role_policy(**place, PolicyDocument=json.dumps(poorer))
    try:
        yield
    finally:
        iam.put_role_policy(**place, PolicyDocument=json.dumps(document))


@pytest.mark.parametrize(
    ("role", "action", "last", "never"),
    [
        ("PipelineRole", "iam:PassRole", "Train", "Evaluate"),
        ("TrainingRole", "s3:GetObject", "Train", "Evaluate"),
        ("PipelineRole", "ssm:PutParameter", "Promote", "NotifyResult"),
    ],
)
def test_run_fails_at_the_step_whose_right_is_missing(
    kennel: Kennel, role: str, action: str, last: str, never: str
) -> None:
    champion = kennel.champion()
    with without(kennel, role, action):
        arn = kennel.start({"dataset": kennel.dataset, "reuse": last != "Train"})
        ended = kennel.finish(arn)
    assert ended["status"] == "FAILED"
    assert f"is not authorized to perform: {action} on resource: " in ended["cause"]
    entered = states_entered(kennel, arn)
    assert last in entered
    assert never not in entered
    assert kennel.champion() == champion
    assert kennel.endpoints() == ["kennel"]
    assert not kennel.is_locked()


def states_entered(kennel: Kennel, arn: str) -> set[str]:
    pages = kennel.client("stepfunctions").get_paginator("get_execution_history").paginate(executionArn=arn)
    events = (event for page in pages for event in page["events"])
    return {event["stateEnteredEventDetails"]["name"] for event in events if "stateEnteredEventDetails" in event}


def test_api_answers_nothing_when_its_function_may_not_ask(kennel: Kennel) -> None:
    photo = str(next((kennel.photos / "test").rglob("*.jpg")))
    with without(kennel, "ClassifyFunctionRole", "sagemaker:InvokeEndpoint"):
        assert kennel.local("classify", "--json", photo).returncode == 1
    assert kennel.local("classify", "--json", photo).returncode == 0


def test_update_to_another_instance_type_is_taken_back_with_its_scaling(kennel: Kennel) -> None:
    """The endpoint is updated and scaled anew already when the version cannot be approved."""
    champion, before = kennel.champion(), served(kennel)
    assert before["type"] != "ml.c7i.xlarge"
    with without(kennel, "PipelineRole", "sagemaker:UpdateModelPackage"):
        arn = kennel.start({"promote": 1, "serving_instance_type": "ml.c7i.xlarge", "max_instances": 5})
        ended = kennel.finish(arn)
    assert ended["status"] == "FAILED", ended.get("output")
    changed = {"DeregisterForUpdate", "UpdateProduction", "PutBurstAlarm", "ApproveModel"}
    restored = {"DeregisterForRestore", "RestoreProduction", "RestorePolicies", "RestoreBurstAlarm"}
    assert changed | restored <= states_entered(kennel, arn)
    assert kennel.champion() == champion
    assert served(kennel) == before
    assert kennel.endpoints() == ["kennel"]
    assert not kennel.is_locked()


def served(kennel: Kennel) -> dict[str, Any]:
    """What serves, on what, and how it scales."""
    sagemaker, scaling = kennel.client("sagemaker"), kennel.client("application-autoscaling")
    endpoint = sagemaker.describe_endpoint(EndpointName="kennel")
    config = sagemaker.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
    [target] = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    policies = scaling.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"]
    [alarm] = kennel.client("cloudwatch").describe_alarms(AlarmNames=["kennel-burst"])["MetricAlarms"]
    [started] = [policy["PolicyName"] for policy in policies if [policy["PolicyARN"]] == alarm["AlarmActions"]]
    return {
        "status": endpoint["EndpointStatus"],
        "config": endpoint["EndpointConfigName"],
        "type": config["ProductionVariants"][0]["InstanceType"],
        "range": (target["MinCapacity"], target["MaxCapacity"]),
        "policies": {
            policy["PolicyName"]: policy.get("TargetTrackingScalingPolicyConfiguration")
            or policy["StepScalingPolicyConfiguration"]
            for policy in policies
        },
        "burst": (started, alarm["Threshold"]),
    }


def test_wrong_request_fails_with_every_field_named(kennel: Kennel) -> None:
    ended = kennel.finish(kennel.start({"datset": "x", "min_top1": 7}))
    assert (ended["status"], ended["error"]) == ("FAILED", "RequestError")
    assert "datset" in ended["cause"]
    assert "min_top1" in ended["cause"]
    assert not kennel.is_locked()


def test_missing_dataset_fails_with_its_name(kennel: Kennel) -> None:
    ended = kennel.finish(kennel.start({"dataset": "nothing/here/"}))
    assert (ended["status"], ended["error"]) == ("FAILED", "DatasetError")
    assert "nothing/here/" in ended["cause"]


def test_archive_that_reaches_outside_itself_is_refused(kennel: Kennel, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../outside.jpg", b"x")
    kennel.client("s3").upload_file(str(tmp_path / "evil.zip"), kennel.outputs()["BucketName"], "datasets/evil.zip")
    ended = kennel.finish(kennel.start({"dataset": "datasets/evil.zip"}))
    assert ended["error"] == "DatasetError"
    assert "../outside.jpg" in ended["cause"]


def test_second_run_at_once_is_refused_and_a_stopped_run_leaves_nothing(kennel: Kennel) -> None:
    request = {"dataset": kennel.dataset, "reuse": False}
    first = kennel.start(request)
    wait_for(lambda: any_job(kennel, "InProgress"))
    second = kennel.finish(kennel.start(request))
    assert (second["status"], second["error"]) == ("FAILED", "RunInProgressError")
    assert first in second["cause"]
    kennel.client("stepfunctions").stop_execution(executionArn=first)
    wait_for(lambda: not any_job(kennel, "InProgress") and not any_job(kennel, "Stopping"))
    wait_for(lambda: not kennel.is_locked())
    assert any_job(kennel, "Stopped")
    assert kennel.endpoints() == ["kennel"]


def test_lock_of_a_run_that_is_gone_is_taken_over(kennel: Kennel) -> None:
    gone = kennel.outputs()["PipelineArn"].replace("stateMachine", "execution") + ":gone"
    kennel.client("ssm").put_parameter(Name="/kennel/lock", Value=gone, Type="String")
    ended = kennel.finish(kennel.start({"dataset": "nothing/here/"}))
    assert ended["error"] == "DatasetError"  # it got past the lock
    assert not kennel.is_locked()


def test_ctrl_c_stops_the_run_and_the_champion_serves_on(kennel: Kennel) -> None:
    champion = kennel.champion()
    process = subprocess.Popen(
        [sys.executable, "-m", "local", "run", "--data", str(kennel.photos), "--event", "events/pipeline-anew.json"],
        cwd=ROOT,
        env=os.environ | {"KENNEL_HOME": str(kennel.home)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(lambda: any_job(kennel, "InProgress"))
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode == 130
    assert "what served before still serves" in said
    assert json.loads((kennel.home / "last-run.json").read_text())["status"] == "stopped"
    assert not any_job(kennel, "InProgress")
    assert not any_job(kennel, "Stopping")
    assert not kennel.is_locked()
    assert kennel.endpoints() == ["kennel"]
    assert kennel.champion() == champion


def test_failed_run_exits_with_1_and_says_why(kennel: Kennel, tmp_path: Path) -> None:
    (tmp_path / "event.json").write_text('{"min_top1": 7}')
    done = kennel.local("run", "--data", str(kennel.photos), "--event", str(tmp_path / "event.json"))
    assert done.returncode == 1
    assert "FAILED  RequestError: min_top1" in done.stdout
    assert json.loads((kennel.home / "last-run.json").read_text())["error"]["name"] == "RequestError"


def test_port_in_use_is_a_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run_local(tmp_path, "up", "--port", str(port))
    assert done.returncode == 1
    assert done.stderr.startswith(f"port {port} is in use by another program")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["update", "kill-instance", "bad-smoke", "double-start"])
def test_drill_shows_what_is_promised(kennel: Kennel, name: str) -> None:
    """Instances are as fast as they are here, and fewer requests come than in the drill itself."""
    report = Report(name)
    DRILLS[name](kennel.stage(), report)
    assert report.held, report.document()


def test_drill_of_strange_requests_finds_no_hole(kennel: Kennel) -> None:
    report = Report("fuzz-api")
    fuzz_api(kennel.stage(), report, count=500)
    assert report.held, report.document()


def test_drill_of_teardown_leaves_nothing(kennel: Kennel) -> None:
    report = Report("teardown")
    try:
        DRILLS["teardown"](kennel.stage(), report)
        assert report.held, report.document()
    finally:  # tests may run in any order: put a champion back
        assert kennel.finish(kennel.start({"promote": 1}))["status"] == "SUCCEEDED"


def packages(kennel: Kennel) -> set[str]:
    found = kennel.client("sagemaker").list_model_packages(ModelPackageGroupName="kennel")
    return {package["ModelPackageArn"] for package in found["ModelPackageSummaryList"]}


def any_job(kennel: Kennel, status: str) -> bool:
    found = kennel.client("sagemaker").list_training_jobs(StatusEquals=status)["TrainingJobSummaries"]
    return len(found) > 0


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not happen"
        time.sleep(0.1)


def test_one_existing_role_does_everything(kennel: Kennel) -> None:
    """As in an account that lets nobody make roles: the stack makes none, and a run, of a backbone whose weights it
    is given, is promoted."""
    iam = kennel.client("iam")
    names = ("lambda", "states", "sagemaker", "codebuild", "events", "scheduler")
    services = [f"{name}.amazonaws.com" for name in names]
    trust = {"Effect": "Allow", "Principal": {"Service": services}, "Action": "sts:AssumeRole"}
    role = iam.create_role(RoleName="LabRole", AssumeRolePolicyDocument=policy(trust))["Role"]["Arn"]
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    iam.put_role_policy(RoleName="LabRole", PolicyName="lab", PolicyDocument=policy(everything))
    before = {found["RoleName"] for found in iam.list_roles()["Roles"]}
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    subprocess.run(
        [
            *(str(Path(sys.executable).parent / "sam"), "deploy", "--stack-name", "lab", "--resolve-s3"),
            *("--template-file", str(kennel.home / "build" / "template.yaml")),
            *("--capabilities", "CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"),
            *("--parameter-overrides", f"PythonRuntime=python{version}", "EndpointName=lab", f"RoleArn={role}"),
        ],
        env=os.environ
        | {"AWS_ENDPOINT_URL": f"http://localhost:{kennel.port}", "AWS_DEFAULT_REGION": "us-east-1"}
        | {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "SAM_CLI_TELEMETRY": "0"},
        check=True,
        timeout=120,
    )
    assert {found["RoleName"] for found in iam.list_roles()["Roles"]} == before
    archive = shutil.make_archive(str(kennel.home / "lab"), "zip", kennel.photos)
    bucket = kennel.outputs("lab")["BucketName"]
    kennel.client("s3").upload_file(archive, bucket, "dogs.zip")
    kennel.client("s3").put_object(Bucket=bucket, Key="mine/shufflenet.pth", Body=random_weights(BACKBONE))
    hyperparameters = {"backbone": BACKBONE, "learning_rate": 0.03, "pull": 0, "epochs": 100}
    request = {"dataset": "dogs.zip", "weights": "mine/shufflenet.pth", "hyperparameters": hyperparameters}
    ended = kennel.finish(kennel.start(request | {"min_top1": 0}, stack="lab"))
    assert ended["status"] == "SUCCEEDED", ended["cause"]
    assert json.loads(ended["output"])["status"] == "promoted"
    assert kennel.finish(kennel.start({"everything": True}, "TeardownArn", stack="lab"))["status"] == "SUCCEEDED"
    assert "lab" not in kennel.endpoints()


def random_weights(name: str) -> bytes:
    """State dict of a network of torchvision that tells photos apart, if not breeds."""
    torch.manual_seed(0)
    network = torchvision_models().get_model(name)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # it takes its statistics from the one batch that follows
    with torch.no_grad():
        network(torch.nn.functional.interpolate(torch.randn(16, 3, 8, 8), (128, 128), mode="bilinear"))
    return to_bytes(network.state_dict())


def policy(statement: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})
