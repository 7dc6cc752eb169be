"""Training jobs of a few lines, for the tests of what waits for them."""

from typing import Any

from tests.integration.laptop import ROLE

IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch:2.13-cpu-amzn2023-sagemaker"
_PROGRAM = """
import json, sys, time
from pathlib import Path
root = Path(__file__).resolve().parents[3]
parameters = json.loads((root / "input/config/hyperparameters.json").read_text())
time.sleep(float(parameters["sleep"]))
if parameters["fail"] == "yes":
    (root / "output/failure").write_text("no dogs")
    sys.exit(1)
"""


def training(s3: Any, name: str, fail: str = "no", sleep: str = "0") -> dict[str, Any]:
    """A request for a job that sleeps, then ends well or not; puts its program into S3."""
    s3.put_object(Bucket="kennel", Key="sfn/launch.py", Body=_PROGRAM.encode())
    source = {"S3DataType": "S3Prefix", "S3Uri": "s3://kennel/sfn/"}
    return {
        "TrainingJobName": name,
        "RoleArn": ROLE,
        "AlgorithmSpecification": {
            "TrainingImage": IMAGE,
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["python3", "/opt/ml/input/data/code/launch.py"],
        },
        "HyperParameters": {"fail": fail, "sleep": sleep},
        "InputDataConfig": [{"ChannelName": "code", "DataSource": {"S3DataSource": source}}],
        "OutputDataConfig": {"S3OutputPath": "s3://kennel/sfn-out"},
        "ResourceConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    }
