"""The receipt of a run, recomputed from what the services of the laptop tell, and where it is told."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import prices
from tests.integration.pipeline.kennel import DEPLOYED, Kennel, Rerun, run_local


def execution_of(kennel: Kennel, status: str = "promoted") -> dict[str, Any]:
    """Return the description of the first execution that ended so, with its output as a document."""
    states = kennel.client("stepfunctions")
    found = states.list_executions(stateMachineArn=kennel.outputs()["PipelineArn"])["executions"]
    for each in sorted(found, key=lambda each: each["startDate"]):
        described: dict[str, Any] = states.describe_execution(executionArn=each["executionArn"])
        output = json.loads(described.get("output") or "{}")
        if output.get("status") == status:
            return {**described, "output": output}
    raise AssertionError(f"no run was {status}")


def events_of(kennel: Kennel, arn: str) -> list[dict[str, Any]]:
    """Return the history of an execution."""
    pages = kennel.client("stepfunctions").get_paginator("get_execution_history").paginate(executionArn=arn)
    return [event for page in pages for event in page["events"]]


def moment(events: list[dict[str, Any]], state: str, which: str = "Exited") -> datetime:
    """Return when an execution entered or left a state."""
    key = f"state{which}EventDetails"
    found = [event["timestamp"] for event in events if event.get(key, {}).get("name") == state]
    return datetime.fromisoformat(found[-1].isoformat())


def recomputed(kennel: Kennel) -> float:
    """Return what the first run cost, from the descriptions of its jobs and builds and from its history."""
    execution = execution_of(kennel)
    run, events = execution["output"]["run"], events_of(kennel, execution["executionArn"])
    sagemaker, codebuild = kennel.client("sagemaker"), kennel.client("codebuild")
    job = sagemaker.describe_training_job(TrainingJobName=run["training"]["job_name"])
    hours = job["BillableTimeInSeconds"] * job["ResourceConfig"]["InstanceCount"] / 3600
    volume = prices.known("training/volume") * job["ResourceConfig"]["VolumeSizeInGB"] / 730
    dollars = hours * (prices.known(f"training/{job['ResourceConfig']['InstanceType']}") + volume)
    name = f"{run['evaluation']['job_name']}-0"
    job = sagemaker.describe_processing_job(ProcessingJobName=name)
    cluster = job["ProcessingResources"]["ClusterConfig"]
    hours = (job["ProcessingEndTime"] - job["ProcessingStartTime"]).total_seconds() / 3600
    volume = prices.known("processing/volume") * cluster["VolumeSizeInGB"] / 730
    dollars += hours * (prices.known(f"processing/{cluster['InstanceType']}") + volume)
    ids = codebuild.list_builds_for_project(projectName="kennel-images")["ids"]
    for build in codebuild.batch_get_builds(ids=ids)["builds"]:
        minutes = -(-(build["endTime"] - build["startTime"]).total_seconds() // 60) or 1
        dollars += minutes * prices.known("codebuild/general1.medium")
    hosting = prices.known(f"hosting/{run['endpoint']['instance_type']}") / 3600
    hosting += prices.known("hosting/volume") * 20 / 730 / 3600  # GB, which no service tells
    staging = moment(events, "DeleteStaging") - moment(events, "CreateStaging")
    dollars += staging.total_seconds() * hosting
    dollars += (
        moment(events, "WriteReceipt", "Entered") - moment(events, "CreateProduction")
    ).total_seconds() * hosting
    dollars += sum("stateEnteredEventDetails" in event for event in events) * prices.known("states/transition")
    milliseconds = {"plan": 0.0, "measure": 0.0, "smoke": 0.0, "gate": 0.0, "receipt": 0.0}
    for function in milliseconds:
        memory = kennel.client("lambda").get_function_configuration(FunctionName=f"kennel-{function}")["MemorySize"]
        names = {"smoke": ("Smoke", "SmokeThroughApi"), "receipt": ("WriteReceipt",)}.get(
            function, (function.capitalize(),)
        )
        for state in names:
            spent = (moment(events, state) - moment(events, state, "Entered")).total_seconds()
            dollars += spent * memory / 1024 * prices.known("lambda/gb-second")
    sent = execution["output"]["endpoint"]["scaling"]
    return dollars + (sent["bytes_in"] + sent["bytes_out"]) / 1e9 * prices.known("invoke/in")


def test_a_receipt_agrees_with_what_the_services_tell(kennel: Kennel) -> None:
    receipt = kennel.record["receipt"]
    assert receipt["notes"] == []
    assert not receipt["is_lower_bound"]
    assert receipt["dollars"] == pytest.approx(recomputed(kennel), rel=0.03)


def test_a_receipt_is_in_the_output_the_bucket_the_message_the_record_and_on_the_terminal(kennel: Kennel) -> None:
    execution = execution_of(kennel)
    receipt = execution["output"]["receipt"]
    assert receipt == kennel.record["receipt"]
    bucket = kennel.outputs()["BucketName"]
    body = kennel.client("s3").get_object(Bucket=bucket, Key=f"runs/{receipt['run']}/receipt.json")["Body"].read()
    assert json.loads(body) == receipt
    events = events_of(kennel, execution["executionArn"])
    published = [e["taskScheduledEventDetails"] for e in events if "taskScheduledEventDetails" in e]
    (message,) = [json.loads(e["parameters"])["Message"] for e in published if e["resourceType"] == "sns"]
    assert receipt["text"] in message
    words = f"this run at AWS's list prices, with this machine's times: ${receipt['dollars']:.4f}"
    assert words in " ".join(kennel.output.split())


def test_a_receipt_names_each_part_and_what_goes_on_costing(kennel: Kennel) -> None:
    receipt = kennel.record["receipt"]
    states = {line["state"] for line in receipt["lines"]}
    assert {"BuildTrainingImage", "BuildImages", "Train", "Evaluate", "CreateStaging", "CreateProduction"} <= states
    assert {"Plan", "Gate", "Smoke", "Measure", "SmokeThroughApi", "WriteReceipt", "all states"} <= states
    hour = prices.known("hosting/ml.c7i.large")
    assert receipt["monthly"][0]["dollars_per_month"] == pytest.approx(730 * hour)
    assert not receipt["is_lower_bound_per_month"]  # ECR has told of its images.
    events = events_of(kennel, execution_of(kennel)["executionArn"])
    (counted,) = [line for line in receipt["lines"] if line["item"] == "states/transition"]
    assert counted["quantity"] == sum("stateEnteredEventDetails" in event for event in events)


def test_a_refused_run_has_a_receipt_without_a_training_that_was_reused(kennel: Kennel, rerun: Rerun) -> None:
    receipt = rerun.record["receipt"]
    assert "Evaluate" in {line["state"] for line in receipt["lines"]}
    assert not [line for line in receipt["lines"] if line["item"].startswith(("training/", "codebuild/"))]
    assert "receipt: this run at AWS's list prices" in " ".join(rerun.output.split())


def test_a_run_that_plan_refuses_has_a_receipt_of_almost_nothing(kennel: Kennel, tmp_path: Path) -> None:
    event = tmp_path / "event.json"
    event.write_text('{"min_top1": 2}')
    command = run_local(kennel.home, "run", "--data", str(kennel.photos), "--event", str(event), program=DEPLOYED)
    record = json.loads((kennel.home / "last-run.json").read_text())
    assert (command.returncode, record["status"]) == (1, "failed"), command.stdout + command.stderr
    receipt = record["receipt"]
    assert 0 < receipt["dollars"] < 0.01
    assert {line["state"] for line in receipt["lines"]} == {
        "Plan",
        "ExplainFailure",
        "WriteFailureReceipt",
        "all states",
    }
    body = kennel.client("s3").get_object(
        Bucket=kennel.outputs()["BucketName"], Key=f"runs/{receipt['run']}/receipt.json"
    )
    assert json.loads(body["Body"].read()) == receipt
    assert receipt["monthly"][0]["what"].startswith("the endpoint with 1 ")
