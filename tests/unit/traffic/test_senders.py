"""How a load's photos are sent: with a key, or signed."""

from types import SimpleNamespace
from typing import Any

import pytest
import urllib3
from botocore.credentials import Credentials

from traffic import senders
from traffic.senders import Answer, signed, with_key


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bytes, dict[str, str]]]:
    """The photos and headers of all requests, each of which is answered."""
    found = list[tuple[bytes, dict[str, str]]]()

    def request(_pool: Any, method: str, url: str, body: bytes, headers: dict[str, str]) -> Any:
        assert method == "POST"
        found.append((body, headers))
        return SimpleNamespace(status=200, data=b"{}")

    monkeypatch.setattr(urllib3.PoolManager, "request", request)
    return found


def test_a_load_of_minutes_is_signed_anew_before_its_signature_is_too_old(
    sent: list[tuple[bytes, dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS takes a signature for five minutes."""
    moments = iter([0.0, 59.0, 61.0, 600.0])
    monkeypatch.setattr(senders.time, "monotonic", lambda: next(moments))
    url = "http://localhost:5599/endpoints/kennel/invocations"
    send = signed(url, Credentials("AKIDEXAMPLE", "secret"), "sagemaker", "us-east-1", [b"photo"])
    assert [send() for _ in range(4)] == [200] * 4
    first, second, third, fourth = (id(headers) for _, headers in sent)
    assert first == second
    assert len({second, third, fourth}) == 3
    assert "Credential=AKIDEXAMPLE/" in sent[0][1]["Authorization"]
    assert "/us-east-1/sagemaker/aws4_request" in sent[0][1]["Authorization"]


def test_each_photo_has_its_own_signature(sent: list[tuple[bytes, dict[str, str]]]) -> None:
    """A signature covers the body's hash."""
    url = "https://x.lambda-url.eu-west-1.on.aws/classify"
    send = signed(url, Credentials("AKIDEXAMPLE", "secret", "token"), "lambda", "eu-west-1", [b"one", b"two"])
    assert [send() for _ in range(4)] == [200] * 4
    assert [photo for photo, _ in sent] == [b"one", b"two"] * 2
    assert sent[0][1] == sent[2][1]
    assert sent[0][1]["Authorization"] != sent[1][1]["Authorization"]
    # checkov:skip=CKV_SECRET_6: the string is the name of a header
    assert sent[0][1]["X-Amz-Security-Token"] == "token"


def test_photos_take_turns_and_answers_are_heard(sent: list[tuple[bytes, dict[str, str]]]) -> None:
    send, heard = with_key("http://localhost/classify", "k", [b"one", b"two", b"three"]), list[Answer]()
    send.heard = heard.append
    assert [send() for _ in range(4)] == [200] * 4
    assert [photo for photo, _ in sent] == [b"one", b"two", b"three", b"one"]
    assert {headers["x-api-key"] for _, headers in sent} == {"k"}
    assert heard == [Answer(200, b"{}")] * 4


def test_a_request_without_an_answer_has_the_status_0(monkeypatch: pytest.MonkeyPatch) -> None:
    def request(*_arguments: Any, **_options: Any) -> Any:
        raise urllib3.exceptions.ProtocolError("connection lost")

    monkeypatch.setattr(urllib3.PoolManager, "request", request)
    assert with_key("http://localhost/classify", "k", [b"photo"])() == 0
