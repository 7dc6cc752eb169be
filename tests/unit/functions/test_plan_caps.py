"""What the stack's parameters let a request ask for at most."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from plan import caps, request
from shared.contracts import Limits, Request
from shared.errors import RequestError
from tests.unit.functions.test_plan import SETTINGS

FORBIDDEN = [
    (
        {"allowed_training_types": "ml.c7i.*,ml.m7i.large"},
        {"training_instance_type": "ml.p5.48xlarge"},
        "ml.p5.48xlarge",
    ),
    ({"allowed_training_types": "ml.m7i.*"}, {}, "training_instance_type: ml.c7i.xlarge is none of the types"),
    ({"allowed_training_types": "ml.m7i.*"}, {"train_on": "ec2"}, "training_instance_type: ml.c7i.xlarge is none of"),
    (
        {"allowed_serving_types": "ml.c7i.large"},
        {"serving_instance_type": "ml.c7i.xlarge"},
        "serving_instance_type: ml",
    ),
    ({"allowed_serving_types": "ml.m7i.*"}, {"promote": 1}, "serving_instance_type: ml.c7i.large is none of the types"),
    (
        {"max_training_instances": "4"},
        {"training_instance_count": 5},
        "training_instance_count: 5 is above the stack's",
    ),
    ({"max_training_instances": "1"}, {}, "training_instance_count: 2 is above the stack's MaxTrainingInstances, 1"),
    ({"max_serving_instances": "4"}, {"max_instances": 5}, "max_instances: 5 is above the stack's MaxServingInstances"),
    ({"max_serving_instances": "4"}, {"promote": 2, "max_instances": 5}, "max_instances: 5 is above the stack's"),
    (
        {"max_serving_instances": "1"},
        {"min_instances": 2},
        "min_instances: 2 is above the stack's MaxServingInstances, 1",
    ),
    (
        {"max_ec2_vcpus": "2"},
        {"train_on": "ec2"},
        "train_on: the machine has 4 vCPUs, and the stack's MaxEc2Vcpus is 2",
    ),
    (
        {"max_lease_hours": "100"},
        {"lease_hours": 100.5},
        "lease_hours: 100.5 hours, and the stack's MaxLeaseHours is 100",
    ),
    ({"max_lease_hours": "100"}, {"lease_hours": 0}, "lease_hours: an endpoint that stays, and the stack's"),
    ({"max_lease_hours": "100"}, {"promote": 1, "lease_hours": 0}, "lease_hours: an endpoint that stays"),
    ({"max_lease_hours": "24"}, {}, "lease_hours: 72 hours, and the stack's MaxLeaseHours is 24"),
    ({"gate_bounds": "min_top1=0.8"}, {"min_top1": 0}, "min_top1: 0.0 is looser than the stack's GateBounds, 0.8"),
    ({"gate_bounds": "max_top1_loss=0.02"}, {"max_top1_loss": 0.5}, "max_top1_loss: 0.5 is looser than the stack's"),
    ({"gate_bounds": "min_rejected=0.9"}, {"min_rejected": 0.5}, "min_rejected: 0.5 is looser than the stack's"),
    ({"gate_bounds": "min_top=0.8"}, {}, r"GateBounds has 'min_top=0\.8'; it takes NAME=NUMBER for min_top1, "),
    ({"gate_bounds": "min_top1=high"}, {}, "GateBounds has 'min_top1=high'"),
    ({"gate_bounds": "drop_breeds=1"}, {}, "GateBounds has 'drop_breeds=1'"),
]


@pytest.mark.parametrize(("stack", "fields", "sentence"), FORBIDDEN)
def test_more_than_the_stack_allows_is_refused_with_a_sentence(stack, fields, sentence):
    with pytest.raises(RequestError, match=sentence):
        caps.apply(request.parse(fields), replace(SETTINGS, **stack))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"training_instance_type": "ml.p5.48xlarge", "training_instance_count": 100, "max_instances": 100},
        {"lease_hours": 0, "min_top1": 0, "max_top1_loss": 0.99, "max_latency_ms": 1e9},
        {"promote": 3, "lease_hours": 8760},
        {"train_on": "ec2"},
        {"tune": {"where": "jobs", "trials": 64}},
    ],
)
def test_the_defaults_of_the_stack_refuse_nothing_and_change_nothing(fields):
    asked = request.parse(fields)
    assert caps.apply(asked, SETTINGS) == asked
    assert caps.apply(asked, SETTINGS).model_fields_set == asked.model_fields_set


def test_all_that_is_too_much_is_named_at_once():
    stack = replace(SETTINGS, max_training_instances="1", max_lease_hours="1", allowed_serving_types="ml.x")
    with pytest.raises(RequestError) as error:
        caps.apply(Request(lease_hours=2), stack)
    assert [part.partition(":")[0] for part in str(error.value).split("; ")] == [
        "training_instance_count",
        "serving_instance_type",
        "lease_hours",
    ]


def test_a_request_that_sets_nothing_gets_the_stricter_of_bound_and_default():
    stack = replace(SETTINGS, gate_bounds="min_top1=0.8 max_top1_loss=0.5 min_rejected=0.9 max_slowdown=1.5")
    bounded = caps.apply(Request(max_slowdown=1.2), stack)
    assert (bounded.min_top1, bounded.max_top1_loss, bounded.min_rejected) == (0.8, Limits().max_top1_loss, 0.9)
    assert bounded.max_slowdown == 1.2
    assert bounded.model_fields_set == {"max_slowdown"}
    assert caps.apply(Request(), replace(SETTINGS, max_serving_instances="1")).max_instances == 1


def test_instances_of_a_search_count_together():
    run = SimpleNamespace(
        training=SimpleNamespace(instance_count=2), tuning=SimpleNamespace(where="jobs", trials=64, max_parallel=10)
    )
    caps.check_search(run, replace(SETTINGS, max_training_instances="20"))
    with pytest.raises(RequestError, match=r"tune\.max_parallel: 10 training jobs of 2 instance\(s\) at once are more"):
        caps.check_search(run, replace(SETTINGS, max_training_instances="19"))
    run.tuning.where = "inside"
    caps.check_search(run, replace(SETTINGS, max_training_instances="2"))
