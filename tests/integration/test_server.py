"""The model server as a process: which models it refuses, and how it ends."""

import json
import signal
import time
from dataclasses import replace

import pytest

from serving.served_artifact import GoldenExample, OpenVinoNetwork
from tests.integration.colours import LABELS, Server, coloured_artifact, photo, request


@pytest.fixture
def artifact(tmp_path):
    return coloured_artifact(tmp_path)


def test_server_answers_running_requests_before_it_ends(artifact, tmp_path):
    server = Server(artifact, tmp_path / "model")
    with server.connect() as arriving:
        whole = request(photo("blue"))
        arriving.sendall(whole[:-20])
        time.sleep(0.3)  # Let the server receive the head. A shorter wait would test less, but never fail.
        server.process.send_signal(signal.SIGTERM)
        while server.listens():
            time.sleep(0.02)
        arriving.sendall(whole[-20:])
        answer = b"".join(iter(lambda: arriving.recv(65536), b""))
    output, errors = server.process.communicate(timeout=300)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b'"breed":"Blue"' in answer
    assert (server.process.returncode, errors) == (0, "")
    lines = [json.loads(line) for line in output.splitlines()]
    assert [line["event"] for line in lines] == ["loaded", "figures"]
    assert lines[0]["precision"] in ("bf16", "f32")  # The artifact has no int8 network.
    assert lines[1]["Requests"] == 1


WRONG = GoldenExample(photo("red"), "002.Green", "Green", {"f32": 1.0, "bf16": 1.0})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"golden": (WRONG,)}, "computes the model differently"),
        ({"labels": LABELS[:2]}, "do not fit preprocess.json"),
        ({"networks": {"float": OpenVinoNetwork(b"<net/>", b"")}}, "OpenVINO cannot load the network"),
    ],
)
def test_server_refuses_a_model_with_wrong_answers(artifact, tmp_path, change, words):
    server = Server(replace(artifact, **change), tmp_path / "model")
    output, error = server.process.communicate(timeout=300)
    assert server.process.returncode == 1
    assert words in error
    assert error.count("\n") == 1
    assert output == ""
