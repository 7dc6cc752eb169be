"""A stack in an account in which nobody may create roles."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from networks.torchvision_import import torchvision_models
from tests.integration.pipeline.kennel import Kennel, policy_document
from training.files import to_bytes

BACKBONE = "shufflenet_v2_x0_5"  # The smallest network of torchvision.


@pytest.mark.slow
def test_one_existing_role_does_everything(bare: Kennel) -> None:
    """The stack creates no roles, and a run with uploaded weights is promoted."""
    iam = bare.client("iam")
    names = ("lambda", "states", "sagemaker", "codebuild", "events", "scheduler")
    services = [f"{name}.amazonaws.com" for name in names]
    trust = {"Effect": "Allow", "Principal": {"Service": services}, "Action": "sts:AssumeRole"}
    role = iam.create_role(RoleName="LabRole", AssumeRolePolicyDocument=policy_document(trust))["Role"]["Arn"]
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    iam.put_role_policy(RoleName="LabRole", PolicyName="lab", PolicyDocument=policy_document(everything))
    before = {role["RoleName"] for role in iam.list_roles()["Roles"]}
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    subprocess.run(
        [
            *(str(Path(sys.executable).parent / "sam"), "deploy", "--stack-name", "lab", "--resolve-s3"),
            *("--template-file", str(bare.home / "build" / "template.yaml")),
            *("--capabilities", "CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"),
            *("--parameter-overrides", f"PythonRuntime=python{version}", "EndpointName=lab", f"RoleArn={role}"),
        ],
        env=bare.laptop.environment(),
        check=True,
        timeout=300,
    )
    assert {role["RoleName"] for role in iam.list_roles()["Roles"]} == before
    # Nothing of a training on EC2 exists without subnets, and Plan says so before it does anything.
    environments = bare.client("batch").describe_compute_environments()["computeEnvironments"]
    assert not [each for each in environments if each["computeEnvironmentName"].endswith("-lab")]
    refused = bare.finish(bare.start({"train_on": "ec2"}, stack="lab"))
    assert refused["status"] == "FAILED"
    assert "the stack has no subnets for EC2" in refused["cause"]
    archive = shutil.make_archive(str(bare.home / "lab"), "zip", bare.photos)
    bucket = bare.outputs("lab")["BucketName"]
    bare.client("s3").upload_file(archive, bucket, "dataset.zip")
    bare.client("s3").put_object(Bucket=bucket, Key="TrainedModels/shufflenet.pth", Body=random_weights(BACKBONE))
    hyperparameters = {"backbone": BACKBONE, "learning_rate": 0.03, "pull": 0, "epochs": 100}
    request = {"dataset": "dataset.zip", "weights": "TrainedModels/shufflenet.pth", "hyperparameters": hyperparameters}
    execution = bare.finish(bare.start(request | {"min_top1": 0}, stack="lab"))
    assert execution["status"] == "SUCCEEDED", execution["cause"]
    assert json.loads(execution["output"])["status"] == "promoted"
    assert bare.finish(bare.start({"everything": True}, "TeardownArn", stack="lab"))["status"] == "SUCCEEDED"
    assert "lab" not in bare.endpoints()


def random_weights(name: str) -> bytes:
    """Return the state dict of a torchvision network that was not trained but tells photos apart."""
    torch.manual_seed(0)
    network = torchvision_models().get_model(name)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # Its statistics become those of the one batch below.
    with torch.no_grad():
        network(torch.nn.functional.interpolate(torch.randn(16, 3, 8, 8), (128, 128), mode="bilinear"))
    return to_bytes(network.state_dict())
