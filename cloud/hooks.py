"""Check at the start that MiniStack has every name that the rooms' hooks use."""

from types import ModuleType

from cloud.apigateway import hooks as apigateway
from cloud.cloudformation import hooks as cloudformation
from cloud.cloudwatch import hooks as cloudwatch
from cloud.codebuild import hooks as codebuild
from cloud.cognito import hooks as cognito
from cloud.core import emulator
from cloud.events import hooks as events
from cloud.iam import hooks as iam
from cloud.kms import hooks as kms
from cloud.lambda_images import hooks as lambda_images
from cloud.lambda_states import hooks as lambda_states
from cloud.lambdas import hooks as lambdas
from cloud.logs import hooks as logs
from cloud.s3 import hooks as s3
from cloud.sns import hooks as sns
from cloud.stepfunctions import hooks as stepfunctions

MODULES: tuple[ModuleType, ...] = (
    *(emulator, apigateway, cloudformation, cloudwatch, codebuild, events, iam, kms, lambdas, logs, s3, sns),
    *(cognito, lambda_images, lambda_states, stepfunctions),
)


def check() -> None:
    """Check the names that all hooks use.

    Raises:
        HookMissingError: The installed MiniStack lacks some of them; the message lists them.
    """
    emulator.check_hooks(tuple(hook for module in MODULES for hook in module.HOOKS))
