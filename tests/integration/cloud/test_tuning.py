"""Hyperparameter tuning jobs of the laptop cloud: real training jobs, their logs, early ends, stops and lists."""

import io
import json
import tarfile
import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cloud.core import processes
from tests.integration.laptop import IMAGE, ROLE, Cloud, eventually
from tests.integration.training_jobs import IMAGE as AWS_IMAGE

_PROGRAM = """
import json, signal, sys, time
from pathlib import Path
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # Nothing else would end process 1 of a container early.
root = Path(__file__).resolve().parents[3]
parameters = json.loads((root / "input/config/hyperparameters.json").read_text())
assert parameters["_tuning_objective_metric"] == "top1", parameters
(root / "model/parameters.json").write_text(json.dumps(parameters))
if parameters.get("fail") == "yes":
    (root / "output/failure").write_text("no dogs")
    sys.exit(1)
for epoch in range(1, int(parameters["epochs"]) + 1):
    if parameters.get("silent") != "yes":
        print(f"epoch={epoch} top1={float(parameters['x']) * epoch:.4f}", flush=True)
    time.sleep(float(parameters.get("sleep", "0")))
"""


@pytest.fixture(scope="module", autouse=True)
def code(s3: Any) -> None:
    s3.put_object(Bucket="kennel", Key="tuning/launch.py", Body=_PROGRAM.encode())


def tuning(values: tuple[str, ...] = ("0.1", "0.4", "0.2"), **static: str) -> dict[str, Any]:
    """A request that tries these values of x, two at a time; the metric is x * epoch."""
    source = {"S3DataType": "S3Prefix", "S3Uri": "s3://kennel/tuning/"}
    return {
        "HyperParameterTuningJobName": f"tune-{uuid.uuid4().hex[:8]}",
        "HyperParameterTuningJobConfig": {
            "Strategy": "Grid",
            "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "top1"},
            "ResourceLimits": {"MaxParallelTrainingJobs": min(2, len(values))},
            "ParameterRanges": {"CategoricalParameterRanges": [{"Name": "x", "Values": list(values)}]},
        },
        "TrainingJobDefinition": {
            "AlgorithmSpecification": {
                "TrainingImage": IMAGE,
                "TrainingInputMode": "File",
                "MetricDefinitions": [{"Name": "top1", "Regex": "top1=([0-9.]+)"}],
            },
            "RoleArn": ROLE,
            "StaticHyperParameters": {"epochs": "2", **static},
            "InputDataConfig": [{"ChannelName": "code", "DataSource": {"S3DataSource": source}}],
            "OutputDataConfig": {"S3OutputPath": "s3://kennel/tuning-out"},
            "ResourceConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        },
        "Tags": [{"Key": "run", "Value": "1"}],
    }


def start(sagemaker: Any, request: dict[str, Any]) -> str:
    sagemaker.create_hyper_parameter_tuning_job(**request)
    return str(request["HyperParameterTuningJobName"])


def ended(sagemaker: Any, name: str) -> dict[str, Any]:
    return eventually(
        lambda: sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name),
        lambda description: description["HyperParameterTuningJobStatus"] in ("Completed", "Failed", "Stopped"),
    )


def trials(sagemaker: Any, name: str, **options: Any) -> list[dict[str, Any]]:
    pages = sagemaker.get_paginator("list_training_jobs_for_hyper_parameter_tuning_job").paginate(
        HyperParameterTuningJobName=name, **options
    )
    return [each for page in pages for each in page["TrainingJobSummaries"]]


def test_the_best_of_all_combinations_is_found_from_the_logs(sagemaker: Any, s3: Any) -> None:
    request = tuning()
    name = start(sagemaker, request)
    done = ended(sagemaker, name)
    assert done["HyperParameterTuningJobStatus"] == "Completed", done.get("FailureReason")
    arn = f"arn:aws:sagemaker:us-east-1:000000000000:hyper-parameter-tuning-job/{name}"
    assert done["HyperParameterTuningJobArn"] == arn
    counters = {"Completed": 3, "InProgress": 0, "RetryableError": 0, "NonRetryableError": 0, "Stopped": 0}
    assert done["TrainingJobStatusCounters"] == counters
    assert done["ObjectiveStatusCounters"] == {"Succeeded": 3, "Pending": 0, "Failed": 0}
    best = done["BestTrainingJob"]
    assert best["TunedHyperParameters"] == {"x": "0.4"}
    # The last match counts: twice 0.4, the value of the second epoch.
    assert best["FinalHyperParameterTuningJobObjectiveMetric"] == {
        "MetricName": "top1",
        "Value": pytest.approx(0.8),
    }
    assert done["TrainingJobDefinition"]["StaticHyperParameters"]["_tuning_objective_metric"] == "top1"

    listed = trials(sagemaker, name, SortBy="FinalObjectiveMetricValue", SortOrder="Descending", MaxResults=2)
    assert [each["TunedHyperParameters"]["x"] for each in listed] == ["0.4", "0.2", "0.1"]
    assert [each["TrainingJobName"][: len(name) + 4] for each in trials(sagemaker, name)] == [
        f"{name}-00{number}" for number in (1, 2, 3)
    ]
    job = sagemaker.describe_training_job(TrainingJobName=best["TrainingJobName"])
    assert job["TuningJobArn"] == arn
    assert job["HyperParameters"] == {"epochs": "2", "x": "0.4", "_tuning_objective_metric": "top1"}
    assert sagemaker.list_tags(ResourceArn=job["TrainingJobArn"])["Tags"] == [{"Key": "run", "Value": "1"}]
    assert s3.head_object(Bucket="kennel", Key=job["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("s3://kennel/"))
    listed = sagemaker.list_hyper_parameter_tuning_jobs(NameContains=name)["HyperParameterTuningJobSummaries"]
    assert [(each["Strategy"], each["HyperParameterTuningJobStatus"]) for each in listed] == [("Grid", "Completed")]

    with pytest.raises(sagemaker.exceptions.ResourceInUse):
        sagemaker.create_hyper_parameter_tuning_job(**{**request, "HyperParameterTuningJobName": name.upper()})
    child = tuning(("0.3", "0.4"))
    child["WarmStartConfig"] = {
        "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": name}],
        "WarmStartType": "IdenticalDataAndAlgorithm",
    }
    child["TrainingJobDefinition"]["StaticHyperParameters"]["epochs"] = "1"
    warm = ended(sagemaker, start(sagemaker, child))
    assert warm["BestTrainingJob"]["TunedHyperParameters"] == {"x": "0.4"}
    assert warm["OverallBestTrainingJob"]["TuningJobName"] == name
    assert warm["OverallBestTrainingJob"]["TrainingJobName"] == best["TrainingJobName"]

    sagemaker.delete_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    with pytest.raises(sagemaker.exceptions.ResourceNotFound):
        sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    assert sagemaker.describe_training_job(TrainingJobName=best["TrainingJobName"])


@pytest.mark.parametrize(
    ("static", "reason"),
    [
        ({"fail": "yes"}, "No training job succeeded after 5 attempts."),
        ({"silent": "yes"}, "No objective metrics found after running 5 training jobs."),
    ],
)
def test_five_attempts_without_an_objective_are_enough(sagemaker: Any, static: dict[str, str], reason: str) -> None:
    request = tuning(tuple(str(number) for number in range(1, 9)), **static)
    done = ended(sagemaker, start(sagemaker, request))
    assert done["HyperParameterTuningJobStatus"] == "Failed"
    assert done["FailureReason"].startswith(reason)
    assert 5 <= done["ObjectiveStatusCounters"]["Failed"] <= 6  # A sixth may have run beside the fifth.
    assert "BestTrainingJob" not in done


def test_a_target_ends_the_tuning_job(sagemaker: Any) -> None:
    request = tuning(tuple(str(number) for number in range(1, 9)))
    config = request["HyperParameterTuningJobConfig"]
    config["TuningJobCompletionCriteria"] = {"TargetObjectiveMetricValue": 2.0}
    done = ended(sagemaker, start(sagemaker, request))
    assert done["HyperParameterTuningJobStatus"] == "Completed"
    assert sum(done["TrainingJobStatusCounters"].values()) <= 4
    assert done["BestTrainingJob"]["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] >= 2


def test_early_stopping_ends_a_training_job_that_is_worse_than_the_median(sagemaker: Any) -> None:
    request = tuning(("1", "0.1"), epochs="20", sleep="0.1")
    config = request["HyperParameterTuningJobConfig"]
    config["ResourceLimits"]["MaxParallelTrainingJobs"] = 1
    config["TrainingJobEarlyStoppingType"] = "Auto"
    name = start(sagemaker, request)
    done = ended(sagemaker, name)
    assert done["TrainingJobStatusCounters"] | {"Completed": 1, "Stopped": 1} == done["TrainingJobStatusCounters"]
    stopped = next(each for each in trials(sagemaker, name) if each["TrainingJobStatus"] == "Stopped")
    assert stopped["TunedHyperParameters"] == {"x": "0.1"}
    assert stopped["ObjectiveStatus"] == "Succeeded"
    assert stopped["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] < 2  # 20 epochs would reach 2.


def test_a_stop_stops_the_training_jobs_and_starts_no_other(cloud: Cloud, sagemaker: Any) -> None:
    name = start(sagemaker, tuning(sleep="60"))
    eventually(lambda: len(trials(sagemaker, name, StatusEquals="InProgress")), lambda count: count == 2)
    with pytest.raises(ClientError, match="is in status InProgress; stop it first"):
        sagemaker.delete_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    done = ended(sagemaker, name)
    assert done["HyperParameterTuningJobStatus"] == "Stopped"
    assert done["TrainingJobStatusCounters"]["Stopped"] == 2
    assert len(trials(sagemaker, name)) == 2
    assert not processes.marked(f"cloud-{cloud.process.pid}/training-jobs/{name}")
    with pytest.raises(ClientError, match="is in status Stopped"):
        sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)


def test_requests_that_cannot_run_are_refused_at_once(cloud: Cloud, sagemaker: Any) -> None:
    request = tuning()
    request["TrainingJobDefinition"]["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"] = "s3://kennel/none/"
    with pytest.raises(ClientError, match="No S3 objects found under S3 URL"):
        start(sagemaker, request)
    request = tuning()
    request["TrainingJobDefinition"]["ResourceConfig"]["InstanceCount"] = 20
    with pytest.raises(sagemaker.exceptions.ResourceLimitExceeded, match="request delta of 40 Instances"):
        start(sagemaker, request)
    with pytest.raises(sagemaker.exceptions.ResourceNotFound, match="nowhere"):
        sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName="nowhere")
    statement = {"Effect": "Allow", "Action": "sagemaker:*", "Resource": "*"}
    powerless = cloud.client("sagemaker", role=cloud.make_role(f"tuner-{uuid.uuid4().hex[:6]}", statement))
    with pytest.raises(ClientError, match=r"not authorized to perform: iam:PassRole on resource: \S+role/job"):
        start(powerless, tuning())


def test_a_state_machine_waits_for_the_best_and_stops_what_it_leaves(cloud: Cloud, sagemaker: Any) -> None:
    states = cloud.client("stepfunctions")

    def run(request: dict[str, Any]) -> str:
        task = {
            "Type": "Task",
            "Resource": "arn:aws:states:::sagemaker:createHyperParameterTuningJob.sync",
            "Arguments": request,
            "End": True,
        }
        definition = {"QueryLanguage": "JSONata", "StartAt": "Tune", "States": {"Tune": task}}
        name = request["HyperParameterTuningJobName"]
        machine = states.create_state_machine(name=name, definition=json.dumps(definition), roleArn=ROLE)
        return str(states.start_execution(stateMachineArn=machine["stateMachineArn"])["executionArn"])

    execution = run(tuning())
    done = eventually(
        lambda: states.describe_execution(executionArn=execution), lambda answer: answer["status"] != "RUNNING"
    )
    assert done["status"] == "SUCCEEDED", done.get("cause")
    output = json.loads(done["output"])
    assert output["BestTrainingJob"]["TunedHyperParameters"] == {"x": "0.4"}
    assert output["TrainingJobStatusCounters"]["Completed"] == 3
    assert isinstance(output["HyperParameterTuningEndTime"], int)

    request = tuning(sleep="60")
    execution, name = run(request), request["HyperParameterTuningJobName"]
    eventually(
        lambda: sagemaker.list_hyper_parameter_tuning_jobs(NameContains=name)["HyperParameterTuningJobSummaries"], bool
    )
    states.stop_execution(executionArn=execution)
    assert ended(sagemaker, name)["HyperParameterTuningJobStatus"] == "Stopped"


_SCRIPT = """
import argparse, json, os
parser = argparse.ArgumentParser()
parser.add_argument("-x", type=float)  # The toolkit gives names of one letter so.
parser.add_argument("--epochs", type=int)
options = parser.parse_args()
assert os.getcwd() == "/opt/ml/code" or not os.path.isdir("/opt/ml/code"), os.getcwd()
assert os.listdir(os.environ["SM_CHANNEL_SM_DRIVERS"]) == ["sm_train.sh"]
assert json.loads(os.environ["SM_HPS"]) == {"epochs": options.epochs, "x": options.x}
import helper
print(f"top1={helper.double(options.x)}")
with open(os.path.join(os.environ["SM_MODEL_DIR"], "weights"), "w") as file:
    file.write("weights")
"""


def test_a_script_in_an_archive_is_run_as_in_awss_image(cloud: Cloud, sagemaker: Any, s3: Any) -> None:
    """The request has the form of HyperparameterTuner in the SageMaker Python SDK 3.27, which cannot name a command."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, text in (("train.py", _SCRIPT), ("helper.py", "def double(x):\n    return 2 * x\n")):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    s3.put_object(Bucket="kennel", Key="sdk/sourcedir.tar.gz", Body=archive.getvalue())
    s3.put_object(Bucket="kennel", Key="sdk/sm_drivers/sm_train.sh", Body=b"exit 1")
    request = tuning(("0.1", "0.3"))
    definition = request["TrainingJobDefinition"]
    definition["AlgorithmSpecification"]["TrainingImage"] = AWS_IMAGE
    definition["StaticHyperParameters"] |= {
        "sagemaker_program": "train.py",
        "sagemaker_submit_directory": "s3://kennel/sdk/sourcedir.tar.gz",
    }
    source = {
        "S3DataType": "S3Prefix",
        "S3Uri": "s3://kennel/sdk/sm_drivers",
        "S3DataDistributionType": "FullyReplicated",
    }
    definition["InputDataConfig"] = [{"ChannelName": "sm_drivers", "DataSource": {"S3DataSource": source}}]
    done = ended(sagemaker, start(sagemaker, request))
    log = [file.read_text() for file in cloud.home.glob(f"training-jobs/{done['HyperParameterTuningJobName']}-*/*.log")]
    assert done["HyperParameterTuningJobStatus"] == "Completed", log
    assert done["BestTrainingJob"]["TunedHyperParameters"] == {"x": "0.3"}
    assert done["BestTrainingJob"]["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] == pytest.approx(0.6)

    definition["StaticHyperParameters"]["sagemaker_program"] = "other.py"
    request["HyperParameterTuningJobName"] += "-2"
    failed = start(sagemaker, request)
    assert ended(sagemaker, failed)["HyperParameterTuningJobStatus"] == "Failed"
    reason = trials(sagemaker, failed)[0]["FailureReason"]
    assert reason == "ClientError: s3://kennel/sdk/sourcedir.tar.gz has no other.py, which sagemaker_program names"
