"""The command of the function: what it refuses at its start, and that it answers one request after the other."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local.home import ROOT
from serving import function
from serving.bucket import BucketError, ObjectVersion
from serving.function import FunctionSettings, FunctionSettingsError
from serving.runtime_client import Invocation, RuntimeApiError
from serving.served_artifact import pack

SETTINGS = {"KENNEL_ARTIFACT": "s3://kennel/m", "KENNEL_MANIFEST": "0" * 64}
DOCUMENT = b'{"status":200,"body":{}}'


class Lambda:
    """Stands for the Runtime API: it hands out requests, keeps what it is told, and then has no more."""

    def __init__(self, *payloads: bytes) -> None:
        self.payloads = list(payloads)
        self.told: list[tuple[Any, ...]] = []

    def next(self) -> Invocation:
        if not self.payloads:
            raise RuntimeApiError("no more")
        return Invocation("r-1", 2e9, self.payloads.pop(0))

    def respond(self, _: Invocation, document: bytes) -> None:
        self.told.append(("response", document))

    def fail(self, _: Invocation, kind: str, message: str) -> None:
        self.told.append(("error", kind, message))

    def fail_init(self, kind: str, message: str) -> None:
        self.told.append(("init error", kind, message))


class Answering:
    """Stands for the model."""

    def invoke(self, payload: bytes, _: float, request_id: str) -> bytes:
        assert request_id == "r-1"
        if payload == b"broken":
            raise KeyError("secret")
        return DOCUMENT

    def log_figures(self) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Run ``main`` with some requests and variables, and return the exit code and what Lambda was told."""

    def run_main(*payloads: bytes, **variables: str) -> tuple[int, list[tuple[Any, ...]]]:
        api = Lambda(*payloads)
        monkeypatch.setattr(function, "RuntimeClient", lambda _: api)
        for name in ("KENNEL_ARTIFACT", "KENNEL_MANIFEST"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {"AWS_LAMBDA_RUNTIME_API": "here", **variables}.items():
            monkeypatch.setenv(name, value)
        return function.main(), api.told

    yield run_main
    function.gc.enable()
    function.gc.unfreeze()
    function.sys.modules.pop("openvino.tools.ovc", None)


def test_settings_are_read() -> None:
    version = {"KENNEL_ARTIFACT_VERSION": "v1"}
    assert FunctionSettings.of(SETTINGS | version) == (ObjectVersion("s3://kennel/m", "v1"), "0" * 64)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"KENNEL_ARTIFACT": ""}, "KENNEL_ARTIFACT is missing"),
        ({"KENNEL_MANIFEST": ""}, "KENNEL_MANIFEST is ''"),
        ({"KENNEL_MANIFEST": "ABC"}, "KENNEL_MANIFEST is 'ABC'"),
    ],
)
def test_function_needs_an_artifact_and_the_digest_of_its_manifest(variables: dict[str, str], words: str) -> None:
    with pytest.raises(FunctionSettingsError, match=words):
        FunctionSettings.of(SETTINGS | variables)


def test_missing_settings_are_told_as_an_error_of_the_initialization(run: Any, capsys: Any) -> None:
    code, ((what, kind, message),) = run()
    assert (code, what, kind) == (1, "init error", "Model.FunctionSettingsError")
    assert "KENNEL_ARTIFACT is missing" in message
    assert capsys.readouterr().err == f"{message}\n"


def test_bucket_that_does_not_give_the_artifact_is_told(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> bytes:
        raise BucketError("s3://kennel/m: S3 answered 403 AccessDenied")

    monkeypatch.setattr(function, "get", refuse)
    code, told = run(**SETTINGS)
    assert (code, told) == (1, [("init error", "Model.BucketError", "s3://kennel/m: S3 answered 403 AccessDenied")])


def test_another_artifact_than_the_judged_one_is_told(
    run: Any, monkeypatch: pytest.MonkeyPatch, served: Path, tmp_path: Path
) -> None:
    pack(served, tmp_path / "model.tar.gz")
    monkeypatch.setattr(function, "get", lambda *_: (tmp_path / "model.tar.gz").read_bytes())
    code, ((what, kind, message),) = run(**SETTINGS, AWS_SECRET_ACCESS_KEY="secret")
    assert (code, what, kind) == (1, "init error", "Model.ArtifactError")
    assert "AWS_SECRET_ACCESS_KEY" not in os.environ  # Nothing that decodes photos has it.
    digest = hashlib.sha256((served / "manifest.json").read_bytes()).hexdigest()
    assert (
        f"s3://kennel/m: this is not the model that was judged: the SHA-256 of its manifest.json is {digest}" in message
    )


def test_requests_are_answered_until_lambda_has_no_more(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(function, "_load", lambda *_: Answering())
    code, told = run(b"{}", b"broken", b"{}")
    failed = ("error", "Model.KeyError", "The model server failed; see its log.")
    assert (code, told) == (1, [("response", DOCUMENT), failed, ("response", DOCUMENT)])


def test_command_outside_of_lambda_says_what_it_is_for(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.delenv("AWS_LAMBDA_RUNTIME_API", raising=False)
    assert function.main() == 1
    assert "this command is for AWS Lambda" in capsys.readouterr().err


def test_download_starts_before_the_slow_imports_and_the_function_needs_neither_server_nor_converter() -> None:
    code = (
        "import sys, serving.function; early = sorted({'numpy', 'openvino', 'PIL', 'logging'} & sys.modules.keys());"
        "sys.modules['openvino.tools.ovc'] = None; import serving.photo_function, openvino;"
        "print(early, sorted({'starlette', 'uvicorn', 'botocore', 'openvino.tools.ovc.convert', 'asyncio'}"
        " & sys.modules.keys()), hasattr(openvino, 'convert_model'))"
    )
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "[] [] False"
