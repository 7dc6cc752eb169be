"""The load from outside, against a server whose latencies are worked out by hand."""

import _thread
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from benchmarks import load
from local.home import LocalError
from tests.integration.delayed_server import KEY, delayed_server
from tests.integration.door import KEY as DOOR_KEY
from tests.integration.door import open_door


@pytest.fixture
def send(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Send a load with the right key, and return its figures."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/rex.jpg").write_bytes(b"\xff\xd8\xff\xe0 photo")
    monkeypatch.setenv("KENNEL_API_KEY", KEY)

    def send(*arguments: str) -> dict[str, Any]:
        picture = tmp_path / "new" / "load.png"
        return load.measure([*arguments, "--photos", str(tmp_path / "photos"), "--picture", str(picture)])

    return send


def test_latencies_of_a_pause_count_from_the_moment_at_which_requests_were_due(send: Any) -> None:
    """Request n of 120 is due after n / 40 s. Number 40 begins a pause of 2 s, after which all held ones are answered.

    So number n of 40 to 119 takes 3.1 - n / 40 s, which are 0.125 to 2.1 s, and the others 0.1 s. By rank: p50 is the
    20th of these, p90 the 68th, p99 the 79th. A client that waits for answers would tell 0.1 s even for its p90. The
    machine can make latencies only longer.
    """
    with delayed_server(pause_after=41) as server:  # The first request is sent before the load.
        figures = send(server.url, "--constant", "--rate", "40", "--seconds", "3", "--max-failed", "0")
    assert figures["offered"] == figures["sent"] == figures["answered"] == 120
    assert server.num_requests == 121
    assert (figures["by_status"], figures["versions"]) == ({"200": 120}, {"run-1": 120})
    assert figures["p50_ms"] >= 600
    assert figures["p90_ms"] >= 1800
    assert figures["p99_ms"] >= 2075
    assert figures["max_ms"] >= 2100
    assert figures["first_answer_ms"] >= 100
    assert all(goal["met"] for goal in figures["goal"].values())
    assert Path(figures["picture"]).read_bytes().startswith(b"\x89PNG")
    assert "unknown_because" in figures["instances"]
    assert KEY not in json.dumps(figures)


def test_a_load_of_failures_ends_early(send: Any) -> None:
    with delayed_server(statuses=[200, *[200, 500] * 2000]) as server:
        figures = send(server.url, "--constant", "--rate", "200", "--seconds", "20", "--max-failed", "0.3")
    assert "of the last 100 requests failed" in figures["stopped"]
    assert "x 500" in figures["stopped"]
    assert figures["sent"] < 4000
    assert not figures["goal"]["share_sent"]["met"]
    assert not figures["goal"]["share_failed"]["met"]


def test_a_load_that_its_connections_cannot_carry_ends_early(send: Any) -> None:
    """Two connections carry 20 requests/s at 100 ms each; of 200 in a second, 180 are late at its end."""
    with delayed_server() as server:
        figures = send(server.url, "--constant", "--rate", "200", "--seconds", "20", "--connections", "2")
    assert "the client is the bottleneck" in figures["stopped"]
    assert "all its 2 connections" in figures["stopped"]
    assert figures["by_status"]["not sent"] > 100
    assert figures["sent"] < figures["offered"] == 4000


def test_ctrl_c_loses_nothing(send: Any) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # A background job of a shell begins with it ignored.
    with delayed_server() as server:
        server.on_request = lambda number: number == 20 and _thread.interrupt_main()
        figures = send(server.url, "--constant", "--rate", "40", "--seconds", "60")
    assert figures["stopped"] == "stopped by Ctrl-C"
    assert 20 <= figures["answered"] == figures["sent"] < 2400
    assert figures["p50_ms"] >= 100
    assert not figures["goal"]["share_sent"]["met"]


def test_the_prediction_function_is_asked_as_callers_ask_it(send: Any) -> None:
    """The function is the real one, behind a small API Gateway; the endpoint's answer is the test's."""
    with open_door() as door:
        door.prediction = {"model_version": "run-7", "breed": "Beagle"}
        figures = send(f"{door.url}classify", "--key", DOOR_KEY, "--constant", "--rate", "4", "--seconds", "1")
        with pytest.raises(LocalError, match=r"answers 403 \(the header x-api-key contains no key of this API\)"):
            send(f"{door.url}classify", "--key", "wrong")
        with pytest.raises(LocalError, match="perhaps the page's"):
            send(door.url, "--key", DOOR_KEY)
        door.prediction = None
        with pytest.raises(LocalError, match=r"answers 503 .*before a model serves"):
            send(f"{door.url}classify", "--key", DOOR_KEY)
    assert (figures["by_status"], figures["versions"]) == ({"200": 4}, {"run-7": 4})
    assert door.photos == [b"\xff\xd8\xff\xe0 photo"] * 5


def test_a_wrong_key_is_told_before_the_load(send: Any) -> None:
    with delayed_server() as server, pytest.raises(LocalError) as refused:
        send(server.url, "--key", "wrong")
    assert "answers 403 (no such thing); the key is missing or wrong" in str(refused.value)
    assert server.num_requests == 1
