"""One version of a function from an image, as it stood when it was asked for."""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

_MIN_STORAGE, _MAX_STORAGE = 512, 10240  # MB
_MAX_TIMEOUT = 900  # seconds
_MODES = ("Runtime", "Handler", "Layers")
_URI = re.compile(r"(?P<registry>[^/@]+)/(?P<repository>[^:@]+)(?::[\w.-]+)?(?:@sha256:[0-9a-f]{64})?")
# A function cannot set these: https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
_RESERVED = {
    *("_HANDLER", "_X_AMZN_TRACE_ID", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_EXECUTION_ENV"),
    *("AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_FUNCTION_VERSION"),
    *("AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME"),
    *("AWS_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    *("AWS_LAMBDA_RUNTIME_API", "LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR"),
}


class FunctionVersion(NamedTuple):
    """What an execution environment is made from.

    Attributes:
        account: The function's account.
        region: The function's region.
        name: The function's name.
        version: A number, or ``$LATEST``.
        revision: Changes whenever code or configuration of the version change.
        image: URI of the image, by its digest.
        entry_point: What replaces the image's ENTRYPOINT; None when nothing does.
        command: What replaces the image's CMD; None when nothing does.
        folder: What replaces the image's WORKDIR; empty when nothing does.
        memory: MB that all processes of an environment may use together.
        timeout: Seconds that a request may take.
        storage: MB of ``/tmp``.
        variables: The function's own variables.
        log_group: Name of its log group.
        role: ARN of its role.
    """

    account: str
    region: str
    name: str
    version: str
    revision: str
    image: str
    entry_point: tuple[str, ...] | None
    command: tuple[str, ...] | None
    folder: str
    memory: int
    timeout: int
    storage: int
    variables: tuple[tuple[str, str], ...]
    log_group: str
    role: str

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "FunctionVersion":
        """Read the configuration of a version, as the API describes it, with ``ImageUri`` beside it."""
        _, _, _, region, account, *_ = config["FunctionArn"].split(":")
        image = config.get("ImageConfigResponse", {}).get("ImageConfig") or {}
        entry_point, command = image.get("EntryPoint"), image.get("Command")
        return cls(
            account=account,
            region=region,
            name=config["FunctionName"],
            version=config.get("Version", "$LATEST"),
            revision=config["RevisionId"],
            image=resolved_uri(config["ImageUri"], f"sha256:{config['CodeSha256']}"),
            entry_point=tuple(entry_point) if entry_point else None,
            command=tuple(command) if command else None,
            folder=image.get("WorkingDirectory") or "",
            memory=int(config.get("MemorySize", 128)),
            timeout=int(config.get("Timeout", 3)),
            storage=int(config.get("EphemeralStorage", {}).get("Size", _MIN_STORAGE)),
            variables=tuple(((config.get("Environment") or {}).get("Variables") or {}).items()),
            log_group=config.get("LoggingConfig", {}).get("LogGroup") or f"/aws/lambda/{config['FunctionName']}",
            role=config["Role"],
        )

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What identifies the version, whatever its revision."""
        return self.account, self.region, self.name, self.version

    def command_line(self, entry_point: Sequence[str], command: Sequence[str]) -> list[str]:
        """Return the words that start the function's process.

        Args:
            entry_point: The image's ENTRYPOINT.
            command: The image's CMD.
        """
        words = self.entry_point if self.entry_point is not None else entry_point
        return [*words, *(self.command if self.command is not None else command)]

    def environment(self, api: str, stream: str, is_provisioned: bool) -> dict[str, str]:
        """Return the variables of the function's process, but for its credentials.

        Args:
            api: Host and port of the Runtime API.
            stream: Name of the log stream.
            is_provisioned: Whether the environment was started before anybody asked for it.
        """
        own = {name: value for name, value in self.variables if name not in _RESERVED}
        return {
            "LAMBDA_TASK_ROOT": "/var/task",
            "LAMBDA_RUNTIME_DIR": "/var/runtime",
            "TZ": ":UTC",
            **own,
            "AWS_LAMBDA_RUNTIME_API": api,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_LAMBDA_FUNCTION_NAME": self.name,
            "AWS_LAMBDA_FUNCTION_VERSION": self.version,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self.memory),
            "AWS_LAMBDA_INITIALIZATION_TYPE": "provisioned-concurrency" if is_provisioned else "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": self.log_group,
            "AWS_LAMBDA_LOG_STREAM_NAME": stream,
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{os.environ['GATEWAY_PORT']}",
        }


def resolved_uri(uri: str, digest: str) -> str:
    """Return the URI of the same repository by a digest, whatever tag or digest the URI has."""
    match = _URI.fullmatch(uri)
    return f"{match['registry']}/{match['repository']}@{digest}" if match else uri


def request_problem(request: Mapping[str, Any], is_image: bool) -> str | None:
    """Return AWS's message if a request to create or configure a function is one that AWS refuses; otherwise None.

    Args:
        request: The request, or the properties in a template.
        is_image: Whether the function is one from an image.
    """
    if is_image and any(request.get(name) for name in _MODES):
        return "Please don't provide Handler or Runtime or Layer when the intended function PackageType is Image."
    if not is_image and request.get("ImageConfig"):
        return "ImageConfig is not supported for functions with PackageType Zip."
    storage = int((request.get("EphemeralStorage") or {}).get("Size", _MIN_STORAGE))
    for member, value, least, most in (
        ("ephemeralStorage.size", storage, _MIN_STORAGE, _MAX_STORAGE),
        ("timeout", int(request.get("Timeout", 3)), 1, _MAX_TIMEOUT),
    ):
        if not least <= value <= most:
            bound = f"less than or equal to {most}" if value > most else f"greater than or equal to {least}"
            return (
                f"1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: "
                f"Member must have value {bound}"
            )
    return None
