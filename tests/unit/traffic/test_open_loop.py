"""Sending at given moments, and what is counted of it. Nothing here opens a connection."""

import math
import threading
from pathlib import Path

import pytest

from traffic.open_loop import Sample, Traffic, quantile, windows
from traffic.picture import Column, draw


def test_requests_are_sent_whether_earlier_ones_are_answered_or_not() -> None:
    """The first answer waits for the last request, so a client that waits for answers would never end."""
    last, number, lock = threading.Event(), 0, threading.Lock()

    def send() -> int:
        nonlocal number
        with lock:
            number += 1
            if number == 5:
                last.set()
        last.wait()
        return 200

    with Traffic(send, [0.0, 0.01, 0.02, 0.03, 0.04]) as traffic:
        while not traffic.is_over:
            last.wait(1)
    assert [each.status for each in traffic.samples] == [200] * 5
    assert sorted(each.due for each in traffic.samples) == [0.0, 0.01, 0.02, 0.03, 0.04]
    assert all(each.milliseconds >= 1000 * (0.04 - each.due) for each in traffic.samples)
    assert traffic.num_waiting == 0


def test_what_no_sender_has_started_counts_as_late_and_never_answered() -> None:
    """Two senders wait for their answers, so three of five requests are never sent."""
    begun, end = threading.Semaphore(0), threading.Event()

    def send() -> int:
        begun.release()
        end.wait()
        return 200

    with Traffic(send, [0.0] * 2 + [0.001, 0.002, 0.003], num_senders=2) as traffic:
        begun.acquire()
        begun.acquire()
        while traffic.num_due < 5 or traffic.lateness == 0:
            end.wait(0.01)
        assert (traffic.num_waiting, traffic.is_over) == (5, False)
        traffic._senders.shutdown(wait=False, cancel_futures=True)
        end.set()
    assert sorted(each.status for each in traffic.samples) == [0, 0, 0, 200, 200]
    assert len(traffic.failed) == 3
    assert all(math.isinf(each.milliseconds) and math.isinf(each.late) for each in traffic.failed)


def test_a_failed_request_counts_as_never_answered_in_a_quantile() -> None:
    samples = [Sample(0, milliseconds, 200) for milliseconds in (10, 20, 30, 40, 50, 60, 70, 80, 90)]
    assert quantile(samples, 0.5) == 50
    assert quantile([*samples, Sample(0, 5, 503)], 0.9) == math.inf
    assert quantile([], 0.5) == math.inf


def test_windows_hold_what_was_due_in_them_up_to_the_last_whole_one() -> None:
    """A request that is due at the end of a window belongs to the next; the last one ends at 6 of 7.5 s."""
    samples = [Sample(due, 1, 200) for due in (7.5, 0.0, 1.9, 2.0, 5.0, 6.0)]
    found = [(end, [each.due for each in due]) for end, due in windows(samples, 2)]
    assert found == [(2, [0.0, 1.9]), (4, [2.0]), (6, [5.0])]
    assert windows([], 2) == []


@pytest.mark.parametrize(("ending", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_a_picture_is_drawn_in_the_format_of_its_name(tmp_path: Path, ending: str, magic: bytes) -> None:
    """Also without instances, and with a line that has no point."""
    column = Column("60 s", {"offered": [(0, 2), (60, 2)], "failed": []}, {"p99": [(10, 120.0), (20, 90.0)]})
    other = Column("spike", {"offered": [(0, 2)]}, {"p99": []}, {"in service": [(0, 1), (9, 3)]}, limit_ms=500)
    for columns in ([column], [column, other]):
        assert draw(tmp_path / f"load.{ending}", columns).read_bytes().startswith(magic)
