"""The benchmark of the model as a function: what it derives, and its goals."""

import os

import pytest

from benchmarks import function, hosted
from prices import per_million

COLD = [
    {"seconds": 1.2, "cpu_seconds": 1.0},
    {"seconds": 1.4, "cpu_seconds": 1.1},
    {"seconds": 9.0, "cpu_seconds": 1.2},
]
SECOND = 0.0000166667  # dollars of a GB-second on x86 in us-east-1
WARM = {"p50_ms": 12.0, "p99_ms": 20.0, "mean_ms": 13.2, "mebibytes": 400.0}


def report(**changed):
    cold = dict.fromkeys(("ours", "eager PyTorch, boto3", "bare", "ours, files in the page cache"), COLD)
    warm = dict.fromkeys(("ours", "ours by its URL", "eager PyTorch, boto3", "bare", "alone"), WARM)
    return function._report({}, 3, cold, warm | changed)


def test_goals_are_judged_by_medians():
    goals = report(alone={**WARM, "p50_ms": 10.0})["goal"]
    assert (goals["cold_seconds"]["measured"], goals["cold_seconds"]["met"]) == (1.4, True)
    assert (goals["warm_p50_over_alone"]["measured"], goals["warm_p50_over_alone"]["met"]) == (1.2, True)
    assert goals["idle_dollars"] == {"at_most": 0, "measured": 0.0, "met": True}
    assert not report(ours={**WARM, "mebibytes": 1800.0})["goal"]["mebibytes"]["met"]
    assert not report(alone={**WARM, "p50_ms": 9.0})["goal"]["warm_p50_over_alone"]["met"]
    assert goals["dollars_by_the_iam_door"]["met"]
    assert not report(**{"ours by its URL": {**WARM, "mean_ms": 60.0}})["goal"]["dollars_by_the_iam_door"]["met"]


def test_dollars_by_its_own_url_are_those_of_one_function():
    """By hand: 14 ms of 1,769 MB (13.2, whole ones) and a request; the log's line has 426 bytes with CloudWatch's."""
    found = function.derived(per_million.ModelFunction(1769, 13.2, 3.0, 0.0, 0.0), "")
    assert found.keys() == {"model_time", "model_requests", "transfer", "logs", "total"}
    assert found["model_time"] == pytest.approx(1e6 * 0.014 * 1769 / 1024 * SECOND, rel=1e-3)
    assert found["model_requests"] == 0.2
    assert found["logs"] == pytest.approx(0.426 * (0.50 + 0.03 * 0.15), rel=1e-2)
    assert found["total"] == pytest.approx(sum(found.values()) - found["total"], abs=2e-3)


def test_dollars_behind_classify_are_those_of_both_functions():
    """By hand: 14 ms of 1,769 MB; of 512 MB 20 ms, 13.2 + 3 + 3 for 3 of a core, in whole ones; both requests."""
    found = function.derived(per_million.ModelFunction(1769, 13.2, 3.0, 0.0, 0.0), per_million.FUNCTION_URL)
    assert found["model_time"] == pytest.approx(1e6 * 0.014 * 1769 / 1024 * SECOND, rel=1e-3)
    assert found["function_time"] == pytest.approx(1e6 * 0.020 * 0.5 * SECOND, rel=1e-3)
    assert found["model_requests"] == found["function_requests"] == 0.2
    assert not {"data_in", "data_out", "instances", "volume"} & found.keys()


def test_cold_starts_are_billed_to_both_functions():
    hosts = (per_million.ModelFunction(1769, 13.0, 3.0, 0.01, ms) for ms in (0.0, 2000.0))
    warm, cold = (function.derived(host, per_million.FUNCTION_URL) for host in hosts)
    assert cold["model_time"] - warm["model_time"] == pytest.approx(1e6 * 0.020 * 1769 / 1024 * SECOND, rel=1e-2)
    assert cold["function_time"] - warm["function_time"] == pytest.approx(1e6 * 0.020 * 0.5 * SECOND, rel=1e-2)


def test_class_is_read_from_our_answers_and_the_peers():
    assert function.class_of({"status": 200, "body": {"class": "001.Red"}}) == "001.Red"
    assert function.class_of({"class": "001.Red"}) == "001.Red"
    assert function.class_of({"status": 413, "body": {"error": {}}}) == ""


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="only Linux has posix_fadvise")
def test_files_of_a_package_are_found_and_can_be_dropped():
    files = hosted.files_of(("serving",))
    names = {path.name for path in files}
    assert {"function.py", "os.py"} <= names
    hosted.drop_from_page_cache(files[:20])
