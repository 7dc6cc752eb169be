"""Processing jobs of the laptop cloud: inputs, outputs, environment, messages."""

import json
import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.integration.laptop import IMAGE, ROLE, Cloud, eventually

PROGRAM = """
import json, os, sys
from pathlib import Path
inputs, outputs = Path(sys.argv[1]), Path(sys.argv[2])
import serving  # The code of the image must be on the Python path.
print("reading", flush=True)
photo = (inputs / "dataset/train/a.txt").read_text()
if photo == "bad":
    (outputs.parents[1] / "output/message").write_text("the photo is bad")
    sys.exit("the photo is bad")
(outputs / "nested").mkdir()
config = json.loads((outputs.parents[1] / "config/resourceconfig.json").read_text())
(outputs / "nested/report.json").write_text(json.dumps({
    "photo": photo, "model": (inputs / "model/model.tar.gz").read_text(), "hosts": config["hosts"],
    "threads": os.environ["OMP_NUM_THREADS"], "mode": os.environ["MODE"]}))
"""


def job(photo: str, s3: Any) -> dict[str, Any]:
    prefix = f"processing/{uuid.uuid4().hex[:6]}"
    s3.put_object(Bucket="kennel", Key=f"{prefix}/data/train/a.txt", Body=photo.encode())
    s3.put_object(Bucket="kennel", Key=f"{prefix}/model.tar.gz", Body=b"archive")
    s3.put_object(Bucket="kennel", Key=f"{prefix}/code/job.py", Body=PROGRAM.encode())
    return {
        "ProcessingJobName": prefix.replace("/", "-"),
        "RoleArn": ROLE,
        "AppSpecification": {
            "ImageUri": IMAGE,
            "ContainerEntrypoint": ["python3", "/opt/ml/processing/input/code/job.py"],
            "ContainerArguments": ["/opt/ml/processing/input", "/opt/ml/processing/output"],
        },
        "Environment": {"MODE": "exact"},
        "ProcessingInputs": [
            _input("code", f"s3://kennel/{prefix}/code/"),
            _input("dataset", f"s3://kennel/{prefix}/data"),
            _input("model", f"s3://kennel/{prefix}/model.tar.gz"),
        ],
        "ProcessingOutputConfig": {
            "Outputs": [
                {
                    "OutputName": "report",
                    "S3Output": {
                        "S3Uri": f"s3://kennel/{prefix}/out",
                        "LocalPath": "/opt/ml/processing/output",
                        "S3UploadMode": "EndOfJob",
                    },
                }
            ]
        },
        "ProcessingResources": {
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 10}
        },
    }


def _input(name: str, uri: str) -> dict[str, Any]:
    source = {"S3Uri": uri, "LocalPath": f"/opt/ml/processing/input/{name}", "S3DataType": "S3Prefix"}
    return {"InputName": name, "S3Input": source | {"S3InputMode": "File"}}


def ended(sagemaker: Any, name: str) -> dict[str, Any]:
    """Return a job's description once it has ended."""
    return eventually(
        lambda: sagemaker.describe_processing_job(ProcessingJobName=name),
        lambda description: description["ProcessingJobStatus"] in ("Completed", "Failed", "Stopped"),
    )


def test_inputs_are_downloaded_and_outputs_uploaded(cloud: Cloud, sagemaker: Any, s3: Any) -> None:
    request = job("a beagle", s3)
    sagemaker.create_processing_job(**request)
    done = ended(sagemaker, request["ProcessingJobName"])
    assert done["ProcessingJobStatus"] == "Completed", done
    key = request["ProcessingOutputConfig"]["Outputs"][0]["S3Output"]["S3Uri"].removeprefix("s3://kennel/")
    report = json.loads(s3.get_object(Bucket="kennel", Key=f"{key}/nested/report.json")["Body"].read())
    assert (report["photo"], report["model"], report["mode"]) == ("a beagle", "archive", "exact")
    assert report["hosts"] == ["algo-1"]
    assert int(report["threads"]) >= 1
    logs, group = cloud.client("logs"), "/aws/sagemaker/ProcessingJobs"
    prefix = f"{request['ProcessingJobName']}/"
    (stream,) = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=prefix)["logStreams"]
    events = logs.get_log_events(logGroupName=group, logStreamName=stream["logStreamName"])["events"]
    assert [each["message"] for each in events] == ["reading"]


def test_a_failed_job_gives_its_message_and_uploads_nothing(sagemaker: Any, s3: Any) -> None:
    request = job("bad", s3)
    sagemaker.create_processing_job(**request)
    done = ended(sagemaker, request["ProcessingJobName"])
    assert done["ProcessingJobStatus"] == "Failed"
    assert done["ExitMessage"] == "the photo is bad"
    assert done["FailureReason"].startswith("AlgorithmError: ")


def test_a_processing_job_can_be_stopped(sagemaker: Any, s3: Any) -> None:
    request = job("slow", s3)
    # Process 1 of a container gets only signals that it handles.
    request["AppSpecification"]["ContainerEntrypoint"] = ["bash", "-c", "trap exit TERM; sleep 60 & wait"]
    del request["AppSpecification"]["ContainerArguments"]
    sagemaker.create_processing_job(**request)
    sagemaker.stop_processing_job(ProcessingJobName=request["ProcessingJobName"])
    assert ended(sagemaker, request["ProcessingJobName"])["ProcessingJobStatus"] == "Stopped"
    stopped = sagemaker.list_processing_jobs(StatusEquals="Stopped")["ProcessingJobSummaries"]
    assert request["ProcessingJobName"] in [each["ProcessingJobName"] for each in stopped]


def test_paths_outside_the_tree_are_refused(sagemaker: Any, s3: Any) -> None:
    request = job("anything", s3)
    request["ProcessingInputs"][0]["S3Input"]["LocalPath"] = "/etc"
    with pytest.raises(ClientError, match="LocalPath must begin with /opt/ml/processing/"):
        sagemaker.create_processing_job(**request)
    with pytest.raises(ClientError, match="Could not find requested job"):
        sagemaker.describe_processing_job(ProcessingJobName="nobody")


def test_an_image_of_aws_runs_the_command_of_the_request(sagemaker: Any, s3: Any) -> None:
    request = job("a beagle", s3)
    specification = request["AppSpecification"]
    specification["ImageUri"] = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.4-2"
    command = ["/bin/bash", "-c", "cat /opt/ml/processing/input/dataset/train/a.txt > /opt/ml/processing/output/said"]
    specification |= {"ContainerEntrypoint": command, "ContainerArguments": ["bash"]}
    with pytest.raises(ClientError, match="ContainerEntrypoint is missing; the laptop cloud needs it"):
        sagemaker.create_processing_job(
            **{**request, "AppSpecification": {"ImageUri": specification["ImageUri"]}},
        )
    sagemaker.create_processing_job(**request)
    assert ended(sagemaker, request["ProcessingJobName"])["ProcessingJobStatus"] == "Completed"
    key = request["ProcessingOutputConfig"]["Outputs"][0]["S3Output"]["S3Uri"].removeprefix("s3://kennel/")
    assert s3.get_object(Bucket="kennel", Key=f"{key}/said")["Body"].read() == b"a beagle"
