"""Requests for training jobs: of a short program, for tests of the cloud, and of the real training program."""

import shutil
import uuid
from pathlib import Path
from typing import Any

from sketchbook import BREEDS, write
from tests.integration.laptop import IMAGE as OWN_IMAGE
from tests.integration.laptop import ROLE, ROOT
from training.weights import packaged_weights

IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch:2.13-cpu-amzn2023-sagemaker"
_PROGRAM = """
import json, signal, sys, time
from pathlib import Path
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # Nothing else would end process 1 of a container early.
root = Path(__file__).resolve().parents[3]
parameters = json.loads((root / "input/config/hyperparameters.json").read_text())
time.sleep(float(parameters["sleep"]))
if parameters["fail"] == "yes":
    (root / "output/failure").write_text("no dogs")
    sys.exit(1)
(root / "model/model.txt").write_text("weights")
"""


_BREEDS = {name: BREEDS[name] for name in ("Dalmatian", "Doberman", "Samoyed")}
_COUNTS = {"train": 12, "valid": 6, "test": 1}


def training(s3: Any, name: str, fail: str = "no", sleep: str = "0") -> dict[str, Any]:
    """Upload a short program and return the request for a job that sleeps, and then succeeds or fails."""
    s3.put_object(Bucket="kennel", Key="sfn/launch.py", Body=_PROGRAM.encode())
    source = {"S3DataType": "S3Prefix", "S3Uri": "s3://kennel/sfn/"}
    return {
        "TrainingJobName": name,
        "RoleArn": ROLE,
        "AlgorithmSpecification": {"TrainingImage": OWN_IMAGE, "TrainingInputMode": "File"},
        "HyperParameters": {"fail": fail, "sleep": sleep},
        "InputDataConfig": [{"ChannelName": "code", "DataSource": {"S3DataSource": source}}],
        "OutputDataConfig": {"S3OutputPath": "s3://kennel/sfn-out"},
        "ResourceConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    }


def put_program(s3: Any, folder: Path) -> None:
    """Upload the training program, drawings of three breeds and a backbone, as the state Plan does."""
    photos = write(folder / "drawings", seed=5, counts=_COUNTS, breeds=_BREEDS, size=160)
    archive = shutil.make_archive(str(folder / "drawings"), "zip", photos)
    weights = packaged_weights("efficientnet_lite2")
    assert weights
    code = [file for package in ("training", "networks", "dataset") for file in (ROOT / package).glob("*.py")]
    for key, file in {
        "dataset/drawings.zip": Path(archive),
        f"weights/{weights.name}": weights,
        **{f"code/{file.relative_to(ROOT)}": file for file in code},
    }.items():
        s3.upload_file(str(file), "kennel", f"program/{key}")


def program(name: str, **hyperparameters: str) -> dict[str, Any]:
    """Return the request for a job of the real program on two hosts; its unique name also names its checkpoints."""
    name = f"{name}-{uuid.uuid4().hex[:6]}"
    channels = [
        {"ChannelName": channel, "DataSource": {"S3DataSource": _prefix(f"program/{channel}/")}}
        for channel in ("code", "dataset", "weights")
    ]
    return {
        "TrainingJobName": name,
        "RoleArn": ROLE,
        "AlgorithmSpecification": {
            "TrainingImage": IMAGE,
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["python3", "/opt/ml/input/data/code/training/launch.py", "--root", "/opt/ml"],
        },
        "HyperParameters": hyperparameters,
        "InputDataConfig": channels,
        "OutputDataConfig": {"S3OutputPath": "s3://kennel/runs"},
        "CheckpointConfig": {"S3Uri": f"s3://kennel/kept/{name}"},
        "ResourceConfig": {"InstanceCount": 2, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 900},
    }


def _prefix(key: str) -> dict[str, str]:
    return {"S3DataType": "S3Prefix", "S3Uri": f"s3://kennel/{key}", "S3DataDistributionType": "FullyReplicated"}
