"""CloudFormation: templates may contain more resource types, and SAM's transform receives the parameters."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from ministack.services import cloudformation
from ministack.services.cloudformation import changesets, engine, handlers, provisioners, stacks
from samtranslator.translator import transform as sam

from cloud.core.emulator import Hooks

HOOKS: Hooks = (
    (cloudformation, ("_stacks",)),
    (changesets, ("_apply_transforms",)),
    (
        engine,
        (
            "_apply_transforms",
            "_transform_parameters",
        ),
    ),
    (handlers, ("_ACTION_HANDLERS", "_apply_transforms")),
    (provisioners, ("_RESOURCE_HANDLERS",)),
    (stacks, ("_runs_on_worker_thread",)),
    (sam, ("transform",)),
)

# The longest names that AWS's resource schemas allow, by type and property.
NAME_LIMITS = {
    ("AWS::ApplicationAutoScaling::ScalingPolicy", "PolicyName"): 256,
    ("AWS::CloudWatch::Alarm", "AlarmName"): 255,
    ("AWS::CloudWatch::Dashboard", "DashboardName"): 255,
    ("AWS::CodeBuild::Project", "Name"): 150,
    ("AWS::Lambda::Function", "FunctionName"): 64,
    ("AWS::Lambda::LayerVersion", "LayerName"): 140,
    ("AWS::Logs::LogGroup", "LogGroupName"): 512,
    ("AWS::SSM::Parameter", "Name"): 1011,
    ("AWS::SageMaker::ModelPackageGroup", "ModelPackageGroupName"): 63,
    ("AWS::Scheduler::ScheduleGroup", "Name"): 64,
    ("AWS::StepFunctions::StateMachine", "StateMachineName"): 80,
}


_SHARED = ("AWS::ApplicationAutoScaling::ScalingPolicy", "AWS::Lambda::LayerVersion")


def add_resource_type(
    kind: str,
    create: Callable[..., Any],
    update: Callable[..., Any],
    delete: Callable[..., Any],
    blocks: bool = False,
) -> None:
    """Let templates contain a resource type.

    Args:
        kind: The resource type, for example ``AWS::SageMaker::ModelPackageGroup``.
        create: ``(logical_id, properties, stack_name) -> (physical_id, attributes)``.
        update: ``(physical_id, old, new, stack_name) -> (physical_id, attributes)``.
        delete: ``(physical_id, properties)``.
        blocks: Whether these may wait, or call services, and so need a thread of their own.
    """
    if blocks:
        is_blocking = stacks._runs_on_worker_thread
        stacks._runs_on_worker_thread = lambda each: each == kind or is_blocking(each)
    provisioners._RESOURCE_HANDLERS[kind] = {"create": create, "update": update, "delete": delete}


def limit_names() -> None:
    """Refuse names that AWS refuses: longer than its schemas allow, or of another stack's resource.

    MiniStack takes any length, and lets two stacks have one resource, which the deletion of either deletes.
    """
    for (kind, key), limit in NAME_LIMITS.items():
        if handlers := provisioners._RESOURCE_HANDLERS.get(kind):
            handlers["create"] = _create_within(handlers["create"], kind, key, limit)
            if "update" in handlers:
                handlers["update"] = _update_within(handlers["update"], kind, key, limit)


def _create_within(create: Callable[..., Any], kind: str, key: str, limit: int) -> Callable[..., Any]:
    def create_within(logical_id: str, properties: dict[str, Any], stack_name: str, *rest: Any, **options: Any) -> Any:
        _check_name(properties, kind, key, limit, stack_name, logical_id)
        return create(logical_id, properties, stack_name, *rest, **options)

    return create_within


def _update_within(update: Callable[..., Any], kind: str, key: str, limit: int) -> Callable[..., Any]:
    def update_within(
        physical_id: str, old: dict[str, Any], new: dict[str, Any], stack_name: str, *logical_id: str
    ) -> Any:
        if new.get(key) != old.get(key):
            _check_name(new, kind, key, limit, stack_name, *logical_id)
        return update(physical_id, old, new, stack_name, *logical_id)

    return update_within


def _check_name(
    properties: dict[str, Any], kind: str, key: str, limit: int, stack_name: str, logical_id: str = ""
) -> None:
    name = str(properties.get(key, ""))
    length = len(name)
    if length > limit:
        raise ValueError(
            f"Properties validation failed for resource {logical_id or name} with message: #/{key}: expected "
            f"maxLength: {limit}, actualLength: {length}"
        )
    # Versions of a layer share its name on AWS, too, and each scaling policy is its target's.
    if name and kind not in _SHARED and (owner := _owner(kind, key, name, stack_name)):
        raise ValueError(f"{name} already exists in stack {owner}")


def _owner(kind: str, key: str, name: str, stack_name: str) -> str:
    """Return the ARN of another stack that has the resource with this name; empty if none has."""
    for stack in cloudformation._stacks.values():
        if stack["StackName"] == stack_name or stack["StackStatus"] == "DELETE_COMPLETE":
            continue
        for resource in stack.get("_resources", {}).values():
            is_there = resource.get("ResourceStatus") not in ("DELETE_COMPLETE", "CREATE_FAILED")
            if resource["ResourceType"] == kind and is_there and resource.get("Properties", {}).get(key) == name:
                return str(stack["StackId"])
    return ""


def describe_stacks() -> None:
    """Let DescribeStacks tell the Description of a stack's template, which MiniStack forgets in change sets."""
    describe = handlers._ACTION_HANDLERS["DescribeStacks"]

    def describe_whole(parameters: Any) -> Any:
        for stack in cloudformation._stacks.values():
            stack["Description"] = stack["_template"].get("Description", "")
        return describe(parameters)

    handlers._ACTION_HANDLERS["DescribeStacks"] = describe_whole


def pass_parameters_to_sam() -> None:
    """Pass a deployment's parameters to SAM's transform, as AWS does; MiniStack passes only their defaults."""
    apply, translate = engine._apply_transforms, sam.transform
    parameters: ContextVar[dict[str, Any]] = ContextVar("parameters")

    def apply_with_parameters(template: dict[str, Any], provided: Any = None, previous: Any = None) -> Any:
        token = parameters.set(engine._transform_parameters(template, provided, previous))
        try:
            return apply(template, provided, previous)
        finally:
            parameters.reset(token)

    changesets._apply_transforms = handlers._apply_transforms = apply_with_parameters
    sam.transform = lambda template, _, policies: translate(template, parameters.get(), policies)
