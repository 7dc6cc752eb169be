"""The client of the prediction API when no server listens."""

import socket

from local.api import Api


def test_an_api_that_is_gone_is_an_answer_too():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    answer = Api(f"http://127.0.0.1:{port}/classify", "key").classify(b"x", "image/jpeg", "x.jpg")
    assert (answer.status, answer.ok) == (0, False)
    assert "does not answer" in answer.problem
