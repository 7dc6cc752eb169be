"""CloudFormation: templates may contain more resource types, and SAM's transform receives the parameters."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from ministack.services.cloudformation import changesets, engine, handlers, provisioners
from samtranslator.translator import transform as sam

from cloud.core.emulator import Hooks

HOOKS: Hooks = (
    (changesets, ("_apply_transforms",)),
    (
        engine,
        (
            "_apply_transforms",
            "_transform_parameters",
        ),
    ),
    (handlers, ("_apply_transforms",)),
    (provisioners, ("_RESOURCE_HANDLERS",)),
    (sam, ("transform",)),
)

# The longest names that AWS's resource schemas allow, by type and property.
NAME_LIMITS = {
    ("AWS::ApplicationAutoScaling::ScalingPolicy", "PolicyName"): 256,
    ("AWS::CloudWatch::Alarm", "AlarmName"): 255,
    ("AWS::CodeBuild::Project", "Name"): 150,
    ("AWS::Lambda::Function", "FunctionName"): 64,
    ("AWS::Lambda::LayerVersion", "LayerName"): 140,
    ("AWS::Logs::LogGroup", "LogGroupName"): 512,
    ("AWS::SSM::Parameter", "Name"): 1011,
    ("AWS::SageMaker::ModelPackageGroup", "ModelPackageGroupName"): 63,
    ("AWS::Scheduler::ScheduleGroup", "Name"): 64,
    ("AWS::StepFunctions::StateMachine", "StateMachineName"): 80,
}


def add_resource_type(
    kind: str, create: Callable[..., Any], update: Callable[..., Any], delete: Callable[..., Any]
) -> None:
    """Let templates contain a resource type.

    Args:
        kind: The resource type, for example ``AWS::SageMaker::ModelPackageGroup``.
        create: ``(logical_id, properties, stack_name) -> (physical_id, attributes)``.
        update: ``(physical_id, old, new, stack_name) -> (physical_id, attributes)``.
        delete: ``(physical_id, properties)``.
    """
    provisioners._RESOURCE_HANDLERS[kind] = {"create": create, "update": update, "delete": delete}


def limit_names() -> None:
    """Refuse resources whose names are longer than AWS's schemas allow; MiniStack takes any length."""
    for (kind, key), limit in NAME_LIMITS.items():
        if handlers := provisioners._RESOURCE_HANDLERS.get(kind):
            handlers["create"] = _create_within(handlers["create"], key, limit)


def _create_within(create: Callable[..., Any], key: str, limit: int) -> Callable[..., Any]:
    def create_within(logical_id: str, properties: dict[str, Any], *rest: Any, **options: Any) -> Any:
        length = len(str(properties.get(key, "")))
        if length > limit:
            raise ValueError(
                f"Properties validation failed for resource {logical_id} with message: #/{key}: expected maxLength: "
                f"{limit}, actualLength: {length}"
            )
        return create(logical_id, properties, *rest, **options)

    return create_within


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
