"""CodeBuild: a build calls a function of the laptop cloud instead of Docker."""

import logging
import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

from ministack.services import codebuild

from cloud.core.emulator import Hooks

HOOKS: Hooks = (
    (
        codebuild,
        (
            "EXECUTE_BUILDS",
            "_builds",
            "_execute_build",
            "_finish_build",
            "_record_phase",
            "_start_build",
        ),
    ),
)


class BuildError(Exception):
    """A build failed; the message becomes the message of its BUILD phase."""


def run_builds(work: Callable[[Mapping[str, Any]], None]) -> None:
    """Let ``work`` carry out each build.

    MiniStack passes builds to Docker, and ignores the project's members that a request overrides.

    Args:
        work: Called on the build's own thread with CodeBuild's record of the build, overrides included; raises
            BuildError when the build fails.
    """
    start_build = codebuild._start_build
    request: ContextVar[tuple[dict[str, Any], threading.Event]] = ContextVar("start_build")

    def start_with_overrides(data: dict[str, Any]) -> Any:
        answered = threading.Event()
        token = request.set((data, answered))  # The build's thread gets a copy of this context.
        try:
            return start_build(data)
        finally:
            request.reset(token)
            answered.set()

    def execute_build(build_id: str, project: dict[str, Any]) -> None:
        overrides, answered = request.get()
        answered.wait()  # The answer of StartBuild always describes a build that is in progress.
        build = codebuild._builds[build_id]
        build["serviceRole"] = project["serviceRole"]
        _override(build, overrides)
        codebuild._record_phase(build, "QUEUED", "SUCCEEDED")
        try:
            work(build)
        except Exception as error:
            if not isinstance(error, BuildError):
                logging.getLogger("kennel.codebuild").exception("build %s failed inside the laptop cloud", build_id)
            outcome, message = "FAILED", str(error)
        else:
            outcome, message = "SUCCEEDED", ""
        if build["buildStatus"] == "IN_PROGRESS":  # StopBuild may have ended it before.
            codebuild._record_phase(build, "BUILD", outcome)
            build["phases"][-1]["contexts"] = [{"statusCode": "", "message": message}]
            codebuild._finish_build(build, outcome)

    codebuild.EXECUTE_BUILDS = True
    codebuild._start_build = start_with_overrides
    codebuild._execute_build = execute_build


def _override(build: dict[str, Any], request: Mapping[str, Any]) -> None:
    """Put the members that StartBuild overrides into the build's record, where AWS shows them too."""
    source = {"type": request.get("sourceTypeOverride"), "location": request.get("sourceLocationOverride")}
    build["source"] = {**build["source"], **{key: value for key, value in source.items() if value}}
    build["sourceVersion"] = request.get("sourceVersion", "")
    variables = {variable["name"]: variable for variable in build["environment"].get("environmentVariables", [])}
    variables |= {variable["name"]: variable for variable in request.get("environmentVariablesOverride", [])}
    build["environment"] = {**build["environment"], "environmentVariables": list(variables.values())}
