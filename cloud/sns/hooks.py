"""SNS: topics are encrypted as templates ask, and only their owner may publish to them."""

import json
from typing import Any

from ministack.services import sns
from ministack.services.cloudformation import provisioners

from cloud.core.emulator import Hooks, scope

HOOKS: Hooks = (
    (sns, ("_topic_by_arn_any_scope", "topic_policy_allows")),
    (provisioners, ("_RESOURCE_HANDLERS",)),
)


def complete_topics() -> None:
    """Encrypt topics as their templates ask, and give topics AWS's default policy.

    MiniStack's CloudFormation ignores KmsMasterKeyId, and gives topics a policy that lets everybody publish.
    """
    handlers = provisioners._RESOURCE_HANDLERS["AWS::SNS::Topic"]
    create, update = handlers["create"], handlers["update"]

    def attributes_of(topic: tuple[str, Any]) -> dict[str, str]:
        attributes: dict[str, str] = sns._topic_by_arn_any_scope(topic[0])["attributes"]
        return attributes

    def create_complete(logical_id: str, properties: dict[str, Any], stack_name: str) -> Any:
        topic = create(logical_id, properties, stack_name)
        attributes = attributes_of(topic)
        policy = json.loads(attributes["Policy"])
        policy["Statement"][0]["Condition"] = {"StringEquals": {"AWS:SourceOwner": attributes["Owner"]}}
        attributes |= {"Policy": json.dumps(policy), "KmsMasterKeyId": properties.get("KmsMasterKeyId", "")}
        return topic

    def update_key(physical_id: str, old: Any, new: dict[str, Any], *rest: Any, **options: Any) -> Any:
        topic = update(physical_id, old, new, *rest, **options)
        attributes_of(topic)["KmsMasterKeyId"] = new.get("KmsMasterKeyId", "")
        return topic

    handlers |= {"create": create_complete, "update": update_key}


def lets_service_publish(topic: str, service: str, source: str) -> bool:
    """Return whether a topic's own policy lets an AWS service publish for a resource of the account.

    Args:
        topic: ARN of the topic.
        service: The service, for example ``cloudwatch.amazonaws.com``.
        source: ARN of the resource for which it publishes.
    """
    return bool(sns.topic_policy_allows(topic, service, source, scope()[1]))
