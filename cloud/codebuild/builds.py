"""CodeBuild: builds of images from a zip in S3, without a container engine.

MiniStack keeps projects and builds; what a build does is ours. The buildspec is not run, for its commands
need Docker: for each of ``$TARGETS`` whose tag ECR lacks, the Dockerfile's target is built and pushed, which
is what those commands do (``tests/contract/test_buildspec.py`` runs them with stand-ins for Docker and AWS).
"""

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cloud.codebuild import hooks
from cloud.core import emulator
from cloud.core.uris import S3Uri, StorageError
from cloud.ecr.images import ImageError, Images
from cloud.iam import authorization, permissions
from cloud.logs.streams import LogStream
from cloud.s3 import objects
from cloud.stepfunctions import hooks as stepfunctions_hooks
from cloud.stepfunctions.executions import Part, StatesError

DOCKERFILE = "serving/Dockerfile"
_TASK = "arn:aws:states:::codebuild:"
_POLL_SECONDS = 0.1
_VARIABLES = ("REPOSITORY", "TARGETS", "CONTENT_HASH")


def install(images: Images, home: Path) -> None:
    """Let CodeBuild's StartBuild build images, for state machines as well."""
    hooks.run_builds(lambda build: _build(images, home, build))
    stepfunctions_hooks.add_task(_TASK, _task)


def _build(images: Images, home: Path, build: Mapping[str, Any]) -> None:
    """Do one build, on a thread of its own.

    Args:
        build: CodeBuild's record of it, with source and environment as overridden.

    Raises:
        hooks.BuildError: it failed.
    """
    try:
        session = f"AWSCodeBuild-{build['id'].rpartition(':')[2]}"
        caller = authorization.assume(build["serviceRole"], permissions.CODEBUILD, session)
    except authorization.DeniedError as error:
        raise hooks.BuildError(str(error)) from None
    variables = {each["name"]: each["value"] for each in build["environment"].get("environmentVariables", [])}
    group, stream = f"/aws/codebuild/{build['projectName']}", build["id"].partition(":")[2]
    log = LogStream(group, stream, home / "builds.log", caller)
    try:
        for name in _VARIABLES:
            if name not in variables:
                raise ImageError(f"environment variable {name} is not set")
        with tempfile.TemporaryDirectory() as folder:
            context = Path(folder, "context")
            _fetch(build["source"], Path(folder, "context.zip"), context, caller)
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


def _task(_resource: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """``codebuild:startBuild.sync``: start, wait, and stop it when nobody waits any more."""
    build = _call("StartBuild", _renamed(arguments, str.lower))["build"]
    while build["buildStatus"] == "IN_PROGRESS":
        if Part.current_is_over():
            _call("StopBuild", {"id": build["id"]})
            raise SystemExit
        time.sleep(_POLL_SECONDS)
        build = _call("BatchGetBuilds", {"ids": [build["id"]]})["builds"][0]
    answer: dict[str, Any] = _renamed({"build": build}, str.upper)
    if build["buildStatus"] != "SUCCEEDED":
        raise StatesError("States.TaskFailed", json.dumps(answer))
    return answer


def _call(operation: str, request: Mapping[str, Any]) -> Any:
    try:
        return emulator.call_json("codebuild", f"CodeBuild_20161006.{operation}", request)
    except emulator.CallError as error:
        raise StatesError("CodeBuild.AWSCodeBuildException", str(error)) from None


def _renamed(value: Any, case: Callable[[str], str]) -> Any:
    """Members by another case of their first letter: Step Functions writes them large, CodeBuild small."""
    if isinstance(value, dict):
        return {case(name[:1]) + name[1:]: _renamed(item, case) for name, item in value.items()}
    return [_renamed(item, case) for item in value] if isinstance(value, list) else value


def _fetch(source: Mapping[str, Any], archive: Path, context: Path, caller: str) -> None:
    if source.get("type") != "S3" or not source.get("location", "").endswith(".zip"):
        raise ImageError(f"the laptop cloud builds from a zip in S3, not from {source}")
    objects.download(S3Uri.parse(f"s3://{source['location']}"), archive, caller)
    shutil.unpack_archive(archive, context, "zip")
