"""Check that the instance types of a request exist, by the lists in SageMaker's own API model."""

from typing import TYPE_CHECKING

from plan.weights import closest
from shared.contracts import Request
from shared.errors import RequestError

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

# Each use of an instance type, and the shape of SageMaker's API that lists the types for it.
_TRAINING = {"trains": "TrainingInstanceType"}
_SERVING = {"serves": "ProductionVariantInstanceType", "evaluates": "ProcessingInstanceType"}


def check(sagemaker: "SageMakerClient", request: Request) -> None:
    """Refuse instance types that SageMaker does not have for what they would do.

    The lists are as old as the SDK of the function's runtime. A type that is newer may be the stack's parameter, which
    is not checked here.

    Raises:
        RequestError: there is no such instance type; the message names every wrong field.
    """
    serving = dict(list(_SERVING.items())[:1]) if request.promote is not None else _SERVING  # Nothing is evaluated.
    uses = {
        "training_instance_type": (request.training_instance_type, _TRAINING),
        "serving_instance_type": (request.serving_instance_type, serving),
    }
    problems = []
    for field, (instance_type, shapes) in uses.items():
        for use, shape in shapes.items():
            known: list[str] = sagemaker.meta.service_model.shape_for(shape).enum  # type: ignore[attr-defined]
            if instance_type and instance_type not in known:
                hint = closest(instance_type, known)
                problems.append(
                    f"{field}: no {instance_type} {use} on SageMaker ({hint or 'such as ml.c7i.xlarge'}); a type that "
                    f"is newer than this list can be the stack's {field.title().replace('_', '')}"
                )
                break
    if problems:
        raise RequestError("; ".join(problems))
