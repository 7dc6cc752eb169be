"""The check that MiniStack has everything that the rooms' hooks use; it runs once, at the start."""

from types import ModuleType

from cloud.apigateway import hooks as apigateway
from cloud.cloudformation import hooks as cloudformation
from cloud.cloudwatch import hooks as cloudwatch
from cloud.codebuild import hooks as codebuild
from cloud.core import emulator
from cloud.events import hooks as events
from cloud.iam import hooks as iam
from cloud.kms import hooks as kms
from cloud.lambdas import hooks as lambdas
from cloud.logs import hooks as logs
from cloud.s3 import hooks as s3
from cloud.sns import hooks as sns
from cloud.stepfunctions import hooks as stepfunctions

PLUGGED: tuple[ModuleType, ...] = (
    *(emulator, apigateway, cloudformation, cloudwatch, codebuild, events, iam, kms, lambdas, logs, s3, sns),
    stepfunctions,
)


def check() -> None:
    """Raises HookMissingError: the installed MiniStack lacks names that the hooks use; the message lists them."""
    emulator.check_hooks(tuple(hook for module in PLUGGED for hook in module.HOOKS))
