"""The report of a drill: it holds only if every promise held each time."""

from proofs.promises import Report


def test_report_without_promises_does_not_hold() -> None:
    assert not Report("update").held


def test_broken_promise_stays_broken() -> None:
    report = Report("update")
    report.promise("the lock is free", False)
    report.promise("the lock is free", True)
    assert not report.held


def test_included_promises_do_not_hide_broken_ones() -> None:
    proof, first, second = Report("proof"), Report("bad_smoke"), Report("double_start")
    first.promise("the lock is free", False)
    second.promise("the lock is free", True)
    second.promise("the first run succeeds", True)
    proof.include_promises(first)
    proof.include_promises(second)
    assert proof.promises == {"the lock is free": False, "the first run succeeds": True}
