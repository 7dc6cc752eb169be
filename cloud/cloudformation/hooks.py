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
