"""``python -m serving.function``: answer photos as an AWS Lambda function from the server's image.

Lambda starts the image with this command instead of its own (``ImageConfig``: EntryPoint). The variables are

KENNEL_ARTIFACT          s3://BUCKET/KEY of the served artifact, a model.tar.gz
KENNEL_ARTIFACT_VERSION  that object's version; without it, the newest one
KENNEL_MANIFEST          the SHA-256 of manifest.json of the artifact that was judged; every other one is refused

The artifact is got from S3 while the packages are imported. The golden photos are answered before the first request is
asked for. Nothing listens on the network. Events and answers are those of ``serving.photo_function``.
"""

import gc
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, NamedTuple

from serving.bucket import ObjectVersion, get
from serving.runtime_client import RuntimeApiError, RuntimeClient

if TYPE_CHECKING:
    from serving.photo_function import PhotoFunction

_CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class FunctionSettingsError(Exception):
    """A variable of the function is missing or has a value that cannot be right."""


class FunctionSettings(NamedTuple):
    """The function's own variables.

    Attributes:
        artifact: The served artifact in S3.
        manifest: The SHA-256 that its manifest must have, hexadecimal.
    """

    artifact: ObjectVersion
    manifest: str

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "FunctionSettings":
        """Read the variables.

        Raises:
            FunctionSettingsError: One is missing or wrong.
        """
        uri, manifest = environment.get("KENNEL_ARTIFACT", ""), environment.get("KENNEL_MANIFEST", "")
        if not uri:
            raise FunctionSettingsError(
                "the variable KENNEL_ARTIFACT is missing; give it the artifact's s3://BUCKET/KEY"
            )
        if not _SHA256.fullmatch(manifest):
            raise FunctionSettingsError(
                f"the variable KENNEL_MANIFEST is '{manifest}'; "
                "give it the SHA-256 of manifest.json of the artifact that was judged"
            )
        return cls(ObjectVersion(uri, environment.get("KENNEL_ARTIFACT_VERSION", "")), manifest)


class _Download(threading.Thread):
    """Gets the artifact while another thread imports packages."""

    def __init__(self, wanted: ObjectVersion, environment: Mapping[str, str]) -> None:
        super().__init__(name="download", daemon=True)
        self._wanted, self._environment = wanted, environment
        self._content = b""
        self._error: BaseException | None = None

    def run(self) -> None:
        """Get it."""
        try:
            self._content = get(self._wanted, self._environment)
        except BaseException as error:
            self._error = error

    def result(self) -> bytes:
        """Wait for the content and return it.

        Raises:
            BucketError: It cannot be had.
        """
        self.join()
        if self._error:
            raise self._error
        return self._content


def main() -> int:
    """Load the model, check its answers to the golden photos, then answer requests until Lambda ends the process.

    Returns:
        The exit code, 1: the function cannot be initialized, or Lambda takes no answers.
    """
    address = os.environ.get("AWS_LAMBDA_RUNTIME_API")
    if not address:
        print("the variable AWS_LAMBDA_RUNTIME_API is missing: this command is for AWS Lambda", file=sys.stderr)
        return 1
    client = RuntimeClient(address)
    try:
        function = _load(os.environ, time.perf_counter())
    except Exception as error:
        is_ours = type(error).__module__.startswith("serving.")  # Its message says what is wrong.
        print(error if is_ours else traceback.format_exc(), file=sys.stderr, flush=True)
        client.fail_init(f"Model.{type(error).__name__}", str(error))
        return 1
    try:
        while True:
            _answer_next(client, function)
    except RuntimeApiError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        function.close()


def _load(environment: MutableMapping[str, str], started: float) -> "PhotoFunction":
    """Return the model, ready to answer, and remove the credentials, which are not needed any more.

    Raises:
        FunctionSettingsError, BucketError, ArtifactError: The function cannot answer with this model.
    """
    gc.disable()  # Imports leave no garbage.
    settings = FunctionSettings.of(environment)
    download = _Download(settings.artifact, dict(environment))
    download.start()
    # OpenVINO does without its converter if that cannot be imported, which takes a third of the import's time.
    sys.modules["openvino.tools.ovc"] = None  # type: ignore[assignment]
    from serving.photo_function import PhotoFunction

    archive = download.result()
    for name in _CREDENTIALS:  # The process that decodes callers' photos inherits the variables.
        environment.pop(name, None)
    function = PhotoFunction(archive, str(settings.artifact), settings.manifest)
    gc.freeze()  # Exclude everything loaded so far from later collections.
    gc.enable()
    function.log_loaded(time.perf_counter() - started)
    return function


def _answer_next(client: RuntimeClient, function: "PhotoFunction") -> None:
    """Wait for a request and answer it."""
    invocation = client.next()
    try:
        answer = function.invoke(invocation.payload, invocation.seconds_left, invocation.id)
    except Exception as error:  # It is logged; Lambda counts it among the function's errors.
        client.fail(invocation, f"Model.{type(error).__name__}", "The model server failed; see its log.")
    else:
        client.respond(invocation, answer)
    function.log_figures()


if __name__ == "__main__":
    sys.exit(main())
