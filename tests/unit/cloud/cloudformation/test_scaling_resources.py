"""Application Auto Scaling's resources in templates."""

import pytest
from ministack.services.cloudformation import provisioners, stacks

from cloud.cloudformation import scaling_resources
from cloud.core.protocol import ApiError

WHERE = {
    "ResourceId": "function:f:live",
    "ScalableDimension": "lambda:function:ProvisionedConcurrency",
    "ServiceNamespace": "lambda",
}
ID = "function:f:live|lambda:function:ProvisionedConcurrency|lambda"
TARGET, POLICY = (f"AWS::ApplicationAutoScaling::{kind}" for kind in ("ScalableTarget", "ScalingPolicy"))


@pytest.fixture
def asked(monkeypatch):
    """Install the resource types over an API that notes what it is asked, and knows no target named ``gone``."""
    calls = []

    def call(operation, request):
        calls.append((operation, request))
        if "gone" in request["ResourceId"]:
            raise ApiError("ObjectNotFoundException", "No scalable target found")
        return {"PolicyARN": "arn:policy"}

    monkeypatch.setattr(provisioners, "_RESOURCE_HANDLERS", {})
    monkeypatch.setattr(stacks, "_runs_on_worker_thread", stacks._runs_on_worker_thread)
    scaling_resources.install(call)
    return calls


def test_a_target_is_registered_and_known_by_its_id(asked):
    handlers = provisioners._RESOURCE_HANDLERS[TARGET]
    properties = {
        **WHERE,
        "MinCapacity": "1",
        "MaxCapacity": "10",
        "SuspendedState": {"DynamicScalingInSuspended": "true"},
    }
    assert handlers["create"]("T", properties, "stack") == (ID, {"Id": ID})
    suspended = {"DynamicScalingInSuspended": True}
    assert asked == [
        ("RegisterScalableTarget", {**WHERE, "MinCapacity": 1, "MaxCapacity": 10, "SuspendedState": suspended})
    ]
    handlers["delete"](ID, properties)
    assert asked[-1] == ("DeregisterScalableTarget", WHERE)
    handlers["delete"](ID.replace("live", "gone"), properties)  # What is gone already can be deleted.


def test_a_policy_is_put_on_the_target_that_it_names(asked):
    handlers = provisioners._RESOURCE_HANDLERS[POLICY]
    tracking = {"TargetValue": "0.7", "ScaleInCooldown": "60"}
    properties = {
        "PolicyName": "p",
        "PolicyType": "TargetTrackingScaling",
        "ScalingTargetId": ID,
        "TargetTrackingScalingPolicyConfiguration": tracking,
    }
    assert handlers["create"]("P", properties, "stack") == ("arn:policy", {"Arn": "arn:policy"})
    operation, request = asked[0]
    assert (operation, request["ResourceId"]) == ("PutScalingPolicy", "function:f:live")
    assert request["TargetTrackingScalingPolicyConfiguration"] == {"TargetValue": 0.7, "ScaleInCooldown": 60}
    assert "ScalingTargetId" not in request
    handlers["delete"]("arn:policy", properties)
    assert asked[-1] == ("DeleteScalingPolicy", {"PolicyName": "p", **WHERE})


def test_a_refusal_is_the_reason_of_the_resource(asked):
    handlers = provisioners._RESOURCE_HANDLERS[TARGET]
    properties = {**WHERE, "ResourceId": "function:gone:live", "MinCapacity": 1, "MaxCapacity": 2}
    words = r"No scalable target found \(Service: ApplicationAutoScaling, Error Code: ObjectNotFoundException\)"
    with pytest.raises(ValueError, match=words):
        handlers["create"]("T", properties, "stack")
    with pytest.raises(ValueError, match="has no ScheduledActions"):
        handlers["create"]("T", {**properties, "ScheduledActions": [{}]}, "stack")


def test_both_types_have_a_thread_of_their_own(asked):
    assert stacks._runs_on_worker_thread(TARGET)
    assert stacks._runs_on_worker_thread(POLICY)
    assert not stacks._runs_on_worker_thread("AWS::S3::Bucket")
