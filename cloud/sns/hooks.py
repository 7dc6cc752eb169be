"""SNS: topics are encrypted as templates ask, and only their owner may publish."""

import json
from typing import Any

from ministack.services import sns
from ministack.services.cloudformation import provisioners

from cloud.core.emulator import Hooks

HOOKS: Hooks = (
    (sns, ("_topic_by_arn_any_scope",)),
    (provisioners, ("_RESOURCE_HANDLERS",)),
)


def complete_topics() -> None:
    """Let templates' topics be encrypted as they ask, and give topics AWS's default policy.

    MiniStack's CloudFormation drops KmsMasterKeyId and gives topics a policy that lets everybody publish.
    """
    topic = provisioners._RESOURCE_HANDLERS["AWS::SNS::Topic"]
    create, update = topic["create"], topic["update"]

    def attributes_of(made: tuple[str, Any]) -> dict[str, str]:
        attributes: dict[str, str] = sns._topic_by_arn_any_scope(made[0])["attributes"]
        return attributes

    def creating(logical_id: str, properties: dict[str, Any], stack_name: str) -> Any:
        made = create(logical_id, properties, stack_name)
        attributes = attributes_of(made)
        policy = json.loads(attributes["Policy"])
        policy["Statement"][0]["Condition"] = {"StringEquals": {"AWS:SourceOwner": attributes["Owner"]}}
        attributes |= {"Policy": json.dumps(policy), "KmsMasterKeyId": properties.get("KmsMasterKeyId", "")}
        return made

    def updating(physical_id: str, old: Any, new: dict[str, Any], *rest: Any, **names: Any) -> Any:
        made = update(physical_id, old, new, *rest, **names)
        attributes_of(made)["KmsMasterKeyId"] = new.get("KmsMasterKeyId", "")
        return made

    topic |= {"create": creating, "update": updating}
