"""What the meter counts from tick to tick: functions that are kept warm, and more jobs than one tick has time for."""

from unittest import mock

import pytest

from meter import jobs, limits, usage
from meter.sums import Observation, advance
from shared.spending import Spending
from tests.unit.functions.test_meter_account import DECEMBER, NOW, at, stubbed


def kept_warm(architecture="x86_64", allocated=3, before=()):
    """What the meter sees of a function with 1 GB of which so many are kept warm; None for one without a number."""
    client, stub = stubbed("lambda")
    asked = {"FunctionName": "k-classify", "Qualifier": "live"}
    if allocated is None:
        stub.add_client_error("get_provisioned_concurrency_config", "ProvisionedConcurrencyConfigNotFoundException")
    else:
        told = {
            "RequestedProvisionedConcurrentExecutions": 5,
            "AllocatedProvisionedConcurrentExecutions": allocated,
            "LastModified": "2026-12-01T08:00:00+0000",
        }
        stub.add_response("get_provisioned_concurrency_config", told, asked)
    names = usage.Names("dogs", "k", "arn:p", (), (), architecture, warm_function="k-classify")
    metered = usage.Usage(mock.Mock(), client, names)
    metered.megabytes["k-classify"] = 1024
    with stub:
        return metered.warm(before)


@pytest.mark.parametrize(("architecture", "price"), [("x86_64", 4.1667e-06), ("arm64", 3.3333e-06)])
def test_functions_that_are_kept_warm_count_from_the_day_of_their_number(architecture, price):
    """NOW is 10:00, and their number was set at 8:00; the month before that cost nothing."""
    found = kept_warm(architecture)
    spent = advance(Spending(), Observation(now=NOW, fleets={}, warm=found))
    assert spent.months["2026-12"]["warm functions"] == pytest.approx(3 * 7200 * price, abs=1e-6)
    assert spent.warm == {"k-classify": 3.0}


def test_functions_that_scale_and_end_count_from_tick_to_tick_with_the_larger_number():
    spent = Spending(at=NOW - 300, warm={"k-classify": 3.0})
    spent = advance(spent, Observation(now=NOW, fleets={}, warm=kept_warm(allocated=7, before=spent.warm)))
    assert spent.months["2026-12"]["warm functions"] == pytest.approx(7 * 300 * 4.1667e-06, abs=1e-6)
    none = usage.Usage(mock.Mock(), mock.Mock(), usage.Names("dogs", "k", "arn:p", (), ())).warm(spent.warm)
    for found in (kept_warm(allocated=None, before=spent.warm), none):  # The parameter is 0 now.
        ended = advance(spent, Observation(now=NOW + 300, fleets={}, warm=found))
        assert ended.months["2026-12"]["warm functions"] == pytest.approx(7 * 600 * 4.1667e-06, abs=1e-6)
        assert ended.warm == {}
        after = advance(ended, Observation(now=NOW + 9000, fleets={}, warm={}))
        assert after.dollars("2026-12") == ended.dollars("2026-12")


def test_price_of_a_warm_function_that_is_not_known_is_told(monkeypatch):
    found = kept_warm()
    monkeypatch.setenv("AWS_REGION", "xx-nowhere-1")
    spent = advance(Spending(), Observation(now=NOW, fleets={}, warm=found))
    assert spent.unpriced == ["lambda/provisioned-gb-second"]


class ManyJobs:
    """SageMaker with more jobs than one tick has time for: each of an hour on one ml.c7i.xlarge, a minute apart."""

    def __init__(self, count):
        self.ends = {f"dogs-{number}": DECEMBER + 7200 + 60 * number for number in range(count)}
        self.asked = []

    def get_paginator(self, operation):
        return mock.Mock(paginate=self.trainings if operation == "list_training_jobs" else lambda **_: [PROCESSING])

    def trainings(self, StatusEquals="", LastModifiedTimeAfter=None, **_):
        found = [] if StatusEquals else [name for name, end in self.ends.items() if at(end) > LastModifiedTimeAfter]
        return [
            {
                "TrainingJobSummaries": [
                    {"TrainingJobName": name, "TrainingEndTime": at(self.ends[name])} for name in found
                ]
            }
        ]

    def describe_training_job(self, TrainingJobName):
        self.asked.append(TrainingJobName)
        end = self.ends[TrainingJobName]
        return {
            "ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 50},
            "TrainingStartTime": at(end - 3600),
            "TrainingEndTime": at(end),
            "BillableTimeInSeconds": 3600,
        }


PROCESSING = {"ProcessingJobSummaries": []}


def test_jobs_for_which_a_tick_has_no_time_are_left_to_the_next_ones_and_said():
    """25 jobs at $1.408: the first three ticks count 10, 20 and 25 of them, no job twice; the fourth finds none."""
    account, spent, told = ManyJobs(25), Spending(), []
    now = DECEMBER + 36_000
    for tick in range(4):
        turns = iter([True] * 10 + [False])
        found = jobs.Jobs(spent.ended_until, now + 300 * tick)
        jobs.on_sagemaker(found, account, "dogs", lambda turns=turns: next(turns))
        seen = Observation(
            found.now, {}, found.ended, found.running, found.until, unpriced=found.unpriced, uncounted=found.uncounted
        )
        spent = advance(spent, seen)
        told.append((round(spent.dollars("2026-12") / 1.408, 3), spent.uncounted, spent.bound))
    assert told == [(10, 15, "at least"), (20, 5, "at least"), (25, 0, "about"), (25, 0, "about")]
    assert len(account.asked) == 25
    assert "15 jobs that have ended are not counted yet" in limits.spent_words(Spending(uncounted=15), 100, now)
    assert "not counted yet" not in limits.spent_words(spent, 100, now)


def test_jobs_that_ended_in_one_second_are_counted_once_although_a_tick_ends_between_them():
    account, spent = ManyJobs(4), Spending()
    account.ends.update({"dogs-1": DECEMBER + 8000.25, "dogs-2": DECEMBER + 8000.5, "dogs-3": DECEMBER + 8000.75})
    for turns in (iter([True, True, False]), iter([True] * 9)):
        found = jobs.Jobs(spent.ended_until, NOW)
        jobs.on_sagemaker(found, account, "dogs", lambda turns=turns: next(turns))
        spent = advance(spent, Observation(NOW, {}, found.ended, found.running, found.until, uncounted=found.uncounted))
        assert spent.months["2026-12"]["jobs"] == pytest.approx(
            1.408 * len(found.ended) if spent.uncounted else 4 * 1.408
        )
    assert spent.months["2026-12"] == {"jobs": pytest.approx(4 * 1.408), "jobs that run": 0}
