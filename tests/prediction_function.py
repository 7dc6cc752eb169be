"""Import the modules of the prediction function, which read their settings at import."""

import gc
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import pytest

from classify.settings import ClassifySettings

ENVIRONMENT = {
    "ENDPOINT_NAME": "dogs",
    "MODEL_FUNCTION": "dogs-model",
    "HOSTING": "instances",
    "HOSTING_PARAMETER": "/dogs/hosting",
    "BUCKET": "kennel-bucket",
    "ALLOWED_ORIGIN": "none",
    "SHRINK_PHOTOS": "auto",
    "CHAMPION_PARAMETER": "/kennel/champion",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "x",
    "AWS_SECRET_ACCESS_KEY": "x",
    "POWERTOOLS_SERVICE_NAME": "kennel",
    "POWERTOOLS_METRICS_NAMESPACE": "Kennel",
}


@contextmanager
def imported(name: str) -> Iterator[tuple[ModuleType, pytest.MonkeyPatch]]:
    """Yield a module of the API with the settings of ``ENVIRONMENT``, and a patch that is undone at the end.

    The settings are replaced, because another test may have imported the module before.
    """
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in ENVIRONMENT.items():
            patch.setenv(variable, value)
        module = importlib.import_module(name)
        gc.unfreeze()  # The import froze everything that the tests had loaded.
        routes, hosting = importlib.import_module("classify.routes"), importlib.import_module("classify.hosting")
        settings = ClassifySettings.from_environment()
        patch.setattr(routes, "settings", settings)
        patch.setattr(routes, "hosting", hosting.hosting_of(settings, routes.session))
        yield module, patch
