"""The client of the prediction API when no server listens."""

import socket

import pytest

from local import api


def test_an_api_that_is_gone_is_an_answer_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "_RETRIES", api._RETRIES.new(backoff_factor=0))  # It asks as often, but does not wait.
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    answer = api.Api(f"http://127.0.0.1:{port}/classify", "key").classify(b"x", "image/jpeg", "x.jpg")
    assert (answer.status, answer.ok) == (0, False)
    assert "does not answer" in answer.problem
