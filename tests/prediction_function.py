"""The prediction function's modules, which read their settings when they are imported."""

import gc
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import pytest

from classify.settings import ClassifySettings

ENVIRONMENT = {
    "ENDPOINT_NAME": "dogs",
    "BUCKET": "kennel-bucket",
    "ALLOWED_ORIGIN": "none",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "x",
    "AWS_SECRET_ACCESS_KEY": "x",
    "POWERTOOLS_SERVICE_NAME": "kennel",
    "POWERTOOLS_METRICS_NAMESPACE": "Kennel",
}


@contextmanager
def imported(name: str) -> Iterator[tuple[ModuleType, pytest.MonkeyPatch]]:
    """A module of ``classify`` with ``ENVIRONMENT``, whoever imported it first; and what patches it until the end."""
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in ENVIRONMENT.items():
            patch.setenv(variable, value)
        module = importlib.import_module(name)
        gc.unfreeze()  # what the tests had loaded
        patch.setattr(importlib.import_module("classify.routes"), "settings", ClassifySettings.from_environment())
        yield module, patch
