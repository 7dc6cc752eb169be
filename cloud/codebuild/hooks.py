"""CodeBuild: a build calls a function of ours in place of Docker."""

import logging
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
    """A build fails; the message is what its BUILD phase says."""


def run_builds(work: Callable[[Mapping[str, Any]], None]) -> None:
    """Let a build do something.

    MiniStack hands builds to Docker, and drops what a request overrides of its project.

    Args:
        work: takes CodeBuild's record of the build, overrides included, on the build's own thread;
            raises BuildError.
    """
    start_build = codebuild._start_build
    request: ContextVar[dict[str, Any]] = ContextVar("start_build")

    def starting(data: dict[str, Any]) -> Any:
        token = request.set(data)  # the build's thread gets a copy of this context
        try:
            return start_build(data)
        finally:
            request.reset(token)

    def executing(build_id: str, project: dict[str, Any]) -> None:
        build = codebuild._builds[build_id]
        build["serviceRole"] = project["serviceRole"]
        _override(build, request.get())
        codebuild._record_phase(build, "QUEUED", "SUCCEEDED")
        try:
            work(build)
        except Exception as error:
            if not isinstance(error, BuildError):
                logging.getLogger("kennel.codebuild").exception("build %s failed inside the laptop cloud", build_id)
            outcome, message = "FAILED", str(error)
        else:
            outcome, message = "SUCCEEDED", ""
        if build["buildStatus"] == "IN_PROGRESS":  # else it was stopped meanwhile
            codebuild._record_phase(build, "BUILD", outcome)
            build["phases"][-1]["contexts"] = [{"statusCode": "", "message": message}]
            codebuild._finish_build(build, outcome)

    codebuild.EXECUTE_BUILDS = True
    codebuild._start_build = starting
    codebuild._execute_build = executing


def _override(build: dict[str, Any], request: Mapping[str, Any]) -> None:
    """Put what StartBuild overrides into the build's record, as AWS shows it."""
    source = {"type": request.get("sourceTypeOverride"), "location": request.get("sourceLocationOverride")}
    build["source"] = {**build["source"], **{key: value for key, value in source.items() if value}}
    variables = {each["name"]: each for each in build["environment"].get("environmentVariables", [])}
    variables |= {each["name"]: each for each in request.get("environmentVariablesOverride", [])}
    build["environment"] = {**build["environment"], "environmentVariables": list(variables.values())}
