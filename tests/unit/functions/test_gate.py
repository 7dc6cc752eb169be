"""The gate's decisions, worked out by hand."""

import pytest

from gate.verdict import decide
from shared.contracts import Evaluation
from shared.errors import DistributionError


def evaluation(top1=0.9, champion=None, leaked=(), **ddp):
    def scores(value):
        return {"top1": value, "top5": 1.0, "num_photos": 200, "latency_ms": 4.0, "per_breed": []}

    proof = {
        "world_size": 2,
        "num_train": 100,
        "steps": 9,
        "samples_per_rank": [50, 50],
        "parameter_checksums": ["a", "a"],
    }
    return Evaluation.model_validate(
        {
            "challenger": scores(top1),
            "champion": None if champion is None else scores(champion),
            "leaked": list(leaked),
            "ddp": proof | {"in_sync": True} | ddp,
        }
    )


def test_first_model_above_the_floor_is_promoted():
    verdict = decide(evaluation(0.9), 0.5, 2)
    assert verdict.decision == "promote"
    assert "90.0%" in verdict.reason
    assert verdict.champion_top1 is None


@pytest.mark.parametrize(
    ("case", "floor", "words"),
    [
        (evaluation(0.49), 0.5, "below the floor of 50.0%"),
        (evaluation(0.88, champion=0.9), 0.5, "below the champion's 90.0%"),
        (
            evaluation(0.9, leaked=[{"photo": "test/a/1.jpg", "also": "train/a/9.jpg"}]),
            0.5,
            "test/a/1.jpg is also train/a/9.jpg",
        ),
    ],
)
def test_challenger_is_refused_with_the_reason(case, floor, words):
    verdict = decide(case, floor, 2)
    assert verdict.decision == "refuse"
    assert words in verdict.reason


def test_challenger_within_the_tolerance_of_the_champion_is_promoted():
    assert decide(evaluation(0.895, champion=0.9), 0.5, 2).decision == "promote"


@pytest.mark.parametrize(
    ("ddp", "words"),
    [
        ({"in_sync": False}, "different parameters"),
        ({"parameter_checksums": ["a", "b"]}, "different parameters"),
        ({"world_size": 1, "parameter_checksums": ["a"], "samples_per_rank": [100]}, "only 1 rank"),
        ({"samples_per_rank": [100, 100]}, "saw 200 photos"),
    ],
)
def test_ranks_that_trained_apart_fail_the_run(ddp, words):
    with pytest.raises(DistributionError, match=words):
        decide(evaluation(**ddp), 0.5, 2)


def test_a_model_without_a_step_may_have_seen_no_photo():
    assert decide(evaluation(steps=0, samples_per_rank=[]), 0.5, 2).decision == "promote"
