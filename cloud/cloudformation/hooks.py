"""CloudFormation: more resource types, and SAM's transform sees a deployment's parameters."""

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


def add_resource(kind: str, create: Callable[..., Any], update: Callable[..., Any], delete: Callable[..., Any]) -> None:
    """Let templates hold a resource type.

    Args:
        kind: for example ``AWS::SageMaker::ModelPackageGroup``.
        create: ``(logical_id, properties, stack_name) -> (physical_id, attributes)``.
        update: ``(physical_id, old, new, stack_name) -> (physical_id, attributes)``.
        delete: ``(physical_id, properties)``.
    """
    provisioners._RESOURCE_HANDLERS[kind] = {"create": create, "update": update, "delete": delete}


def tell_sam_the_parameters() -> None:
    """Let SAM's transform know a deployment's parameters, as on AWS; MiniStack lets it see their defaults only."""
    apply, translate = engine._apply_transforms, sam.transform
    given: ContextVar[dict[str, Any]] = ContextVar("parameters")

    def applying(template: dict[str, Any], provided: Any = None, previous: Any = None) -> Any:
        token = given.set(engine._transform_parameters(template, provided, previous))
        try:
            return apply(template, provided, previous)
        finally:
            given.reset(token)

    changesets._apply_transforms = handlers._apply_transforms = applying
    sam.transform = lambda template, _, policies: translate(template, given.get(), policies)
