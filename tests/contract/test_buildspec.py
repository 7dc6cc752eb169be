"""The buildspec of the images, run by bash with stand-ins for ``aws`` and ``docker`` that record their calls."""

import os
import re
import subprocess
from itertools import chain
from pathlib import Path

import pytest
import yaml

from tests.contract.conftest import states_of

DOCKERS = "application/vnd.docker.distribution.manifest.v2+json"
REPOSITORY = "000000000000.dkr.ecr.us-east-1.amazonaws.com/kennel-images"
STAND_IN = """#!/bin/bash
echo "$(basename "$0") $*" >> "$CALLS"
case "$(basename "$0") $*" in
  "aws ecr describe-images"*) for tag in $THERE; do [[ "$*" == *"imageTag=$tag" ]] && exit 0; done; exit 254;;
  "aws ecr batch-get-image"*imageManifestMediaType*) echo "$KIND";;
  "aws ecr batch-get-image"*) echo '{"schemaVersion": 2}';;
  "docker buildx"*) exit "$BUILD_CODE";;
esac
"""


@pytest.fixture
def build(template, tmp_path):
    """Return a function that runs the build and returns its exit code and its calls."""
    (commands,) = yaml.safe_load(template["Resources"]["ImageBuilder"]["Properties"]["Source"]["BuildSpec"])["phases"][
        "build"
    ]["commands"]
    for name in ("aws", "docker"):
        (tmp_path / name).write_text(STAND_IN)
        (tmp_path / name).chmod(0o755)

    def run(there="", kind=DOCKERS, build_code=0):
        calls: Path = tmp_path / "calls"
        calls.write_text("")
        ended = subprocess.run(
            ["bash", "-c", commands],
            env={
                "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
                "REPOSITORY": REPOSITORY,
                "BASE_IMAGE": "python:3.11",
                "CONTENT_HASH": "12ab",
                "TRAINING_DEVICE": "cpu",
                "TARGETS": "evaluate serve",
                "CODEBUILD_BUILD_ID": "kennel-images:77",
                "CALLS": str(calls),
                "THERE": there,
                "KIND": kind,
                "BUILD_CODE": str(build_code),
            },
            check=False,
            capture_output=True,
            timeout=30,
        )
        return ended.returncode, calls.read_text()

    return run


def test_each_target_is_built_and_pushed(build):
    code, calls = build()
    assert code == 0
    assert "docker login --username AWS --password-stdin 000000000000.dkr.ecr.us-east-1.amazonaws.com\n" in calls
    for target in ("evaluate", "serve"):
        command = re.search(rf"^docker buildx build .*--target {target} .*\.$", calls, re.M)
        assert "--file serving/Dockerfile" in command.group()
        assert " --build-arg BASE_IMAGE=python:3.11 " in command.group()
        assert " --build-arg CONTENT_HASH=12ab " in command.group()
        assert " --build-arg TRAINING_DEVICE=cpu " in command.group()
        # SageMaker takes Docker's own manifests only, and no index with attestations.
        assert " --provenance=false --sbom=false " in command.group()
        output = f"type=image,name={REPOSITORY}:trial-{target}-12ab-77,oci-mediatypes=false,push=true"
        assert f" --output {output} " in command.group()
        tagged = (
            f'aws ecr put-image --repository-name kennel-images --image-tag {target}-12ab --image-manifest {{"schema'
        )
        assert tagged in calls


def test_existing_tag_is_neither_built_nor_pushed(build):
    code, calls = build(there="evaluate-12ab")
    assert code == 0
    assert "evaluate-12ab\n" not in calls.replace("imageTag=evaluate-12ab\n", "")
    assert f"name={REPOSITORY}:trial-serve-12ab-77,oci-mediatypes=false,push=true" in calls
    assert "--image-tag evaluate-12ab" not in calls


def test_manifest_that_sagemaker_refuses_fails_the_build_and_leaves_no_tag(build):
    code, calls = build(kind="application/vnd.oci.image.manifest.v1+json")
    assert code == 1
    assert "put-image" not in calls
    assert "--target serve" not in calls


def test_builder_can_neither_delete_nor_move_a_tag(template):
    """What a run named by its tag stays what it was, also for whoever controls the builder."""
    [policy] = template["Resources"]["ImageBuilderRole"]["Properties"]["Policies"]
    statements = policy["PolicyDocument"]["Statement"]
    actions = set(
        chain.from_iterable(
            [each["Action"]] if isinstance(each["Action"], str) else each["Action"] for each in statements
        )
    )
    assert "ecr:PutImage" in actions
    assert not [action for action in actions if "Delete" in action or action.endswith("*")]
    assert "ecr:PutImageTagMutability" not in actions
    assert template["Resources"]["Images"]["Properties"]["ImageTagMutability"] == "IMMUTABLE"


def test_failed_build_pushes_nothing(build):
    code, calls = build(build_code=1)
    assert code == 1
    assert "--target serve" not in calls
    assert "batch-get-image" not in calls


def test_a_build_overrides_the_location_of_the_source_alone(template, machines):
    """With an override of the type, CodeBuild's documents do not promise that the project's buildspec holds."""
    source = template["Resources"]["ImageBuilder"]["Properties"]["Source"]
    assert source["Type"] == "S3"
    assert source["Location"]["Fn::Sub"].endswith(".zip")
    builds = [state["Arguments"] for name, state in states_of(machines["pipeline"]) if name.startswith("Build")]
    assert [arguments.keys() for arguments in builds] == [
        {"ProjectName", "SourceLocationOverride", "SourceVersion", "EnvironmentVariablesOverride"}
    ] * 2
