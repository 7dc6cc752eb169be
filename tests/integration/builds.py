"""Builds of images by the laptop cloud's CodeBuild, from files given as text."""

import io
import uuid
import zipfile
from typing import Any

from tests.integration.laptop import REPOSITORY, Cloud, eventually


def start(cloud: Cloud, files: dict[str, str], **variables: str) -> dict[str, Any]:
    context = io.BytesIO()
    with zipfile.ZipFile(context, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    key = f"{uuid.uuid4().hex}.zip"
    cloud.client("s3").put_object(Bucket="contexts", Key=key, Body=context.getvalue())
    started: dict[str, Any] = cloud.client("codebuild").start_build(
        projectName="images",
        sourceTypeOverride="S3",
        sourceLocationOverride=f"contexts/{key}",
        environmentVariablesOverride=[{"name": name, "value": value} for name, value in variables.items()],
    )["build"]
    assert started["buildStatus"] == "IN_PROGRESS"
    return started


def build(cloud: Cloud, files: dict[str, str], targets: str, content_hash: str) -> dict[str, Any]:
    variables = {"REPOSITORY": REPOSITORY, "TARGETS": targets, "CONTENT_HASH": content_hash}
    return ended_build(cloud, start(cloud, files, **variables))


def ended_build(cloud: Cloud, started: dict[str, Any]) -> dict[str, Any]:
    codebuild = cloud.client("codebuild")
    return eventually(
        lambda: dict(codebuild.batch_get_builds(ids=[started["id"]])["builds"][0]),
        lambda build: bool(build["buildStatus"] != "IN_PROGRESS"),
    )
