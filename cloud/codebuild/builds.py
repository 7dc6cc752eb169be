"""Build images from a zip in S3, without a container engine.

MiniStack stores projects and builds; this module carries a build out. It does not run the buildspec, because the
buildspec's commands need Docker. It does what they do: for each target in ``$TARGETS`` whose tag is not in ECR yet, it
builds the Dockerfile's target and pushes it. ``tests/contract/test_buildspec.py`` runs the buildspec's commands with
stand-ins for Docker and AWS.
"""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cloud.codebuild import hooks
from cloud.core.uris import S3Uri, StorageError
from cloud.ecr.images import ImageError, Images
from cloud.iam import authorization, permissions
from cloud.logs.streams import LogStream
from cloud.s3 import objects

DOCKERFILE = "serving/Dockerfile"
_VARIABLES = ("REPOSITORY", "TARGETS", "CONTENT_HASH")


def install(images: Images, home: Path) -> None:
    """Let CodeBuild's StartBuild build images.

    Args:
        images: The images of this machine.
        home: Folder for the builds' log file.
    """
    hooks.run_builds(lambda build: _build(images, home, build))


def _build(images: Images, home: Path, build: Mapping[str, Any]) -> None:
    """Carry out one build. It runs on a thread of its own.

    Args:
        images: The images of this machine.
        home: Folder for the builds' log file.
        build: CodeBuild's record of the build, with the source and environment that StartBuild has overridden.

    Raises:
        hooks.BuildError: The build failed.
    """
    try:
        session = f"AWSCodeBuild-{build['id'].rpartition(':')[2]}"
        caller = authorization.assume(build["serviceRole"], permissions.CODEBUILD, session)
    except authorization.DeniedError as error:
        raise hooks.BuildError(str(error)) from None
    declared = build["environment"].get("environmentVariables", [])
    variables = {variable["name"]: variable["value"] for variable in declared}
    kinds = {variable.get("type", "PLAINTEXT") for variable in declared} - {"PLAINTEXT"}
    group, stream = f"/aws/codebuild/{build['projectName']}", build["id"].partition(":")[2]
    log = LogStream(group, stream, home / "builds.log", caller)
    try:
        if kinds:
            raise ImageError(f"the laptop cloud has environment variables of type PLAINTEXT only, not {kinds.pop()}")
        for name in _VARIABLES:
            if name not in variables:
                raise ImageError(f"environment variable {name} is not set")
        with tempfile.TemporaryDirectory() as folder:
            context = Path(folder, "context")
            _fetch(build, Path(folder, "context.zip"), context, caller)
            for target in variables["TARGETS"].split():
                if build["buildStatus"] != "IN_PROGRESS":
                    log.write(f"stopped before {target}")
                    return
                uri = f"{variables['REPOSITORY']}:{target}-{variables['CONTENT_HASH']}"
                authorization.authorize(caller, permissions.push(uri))
                if images.has(uri):
                    log.write(f"{uri} is there already")
                    continue
                digest = images.push(context, context / DOCKERFILE, target, variables, uri)
                log.write(f"pushed {uri} {digest}")
    except (authorization.DeniedError, ImageError, StorageError, shutil.ReadError) as error:
        log.write(str(error))
        raise hooks.BuildError(str(error)) from None
    finally:
        log.close()


def _fetch(build: Mapping[str, Any], archive: Path, context: Path, caller: str) -> None:
    source = build["source"]
    if source.get("type") != "S3" or not source.get("location", "").endswith(".zip"):
        raise ImageError(f"the laptop cloud builds from a zip in S3, not from {source}")
    objects.download(S3Uri.parse(f"s3://{source['location']}"), archive, caller, build.get("sourceVersion", ""))
    shutil.unpack_archive(archive, context, "zip")
