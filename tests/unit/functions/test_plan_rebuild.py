"""A run that only rebuilds: it ends before anything costs unless a model serves and an image is new."""

import importlib
from types import SimpleNamespace

import pytest

from shared.contracts import ImageBuild
from shared.errors import NothingToRebuildError
from tests.unit.functions.test_plan import IMAGES, SETTINGS, WEIGHTS

NEW = ImageBuild(targets=["serve"], content_hash="12ab")


@pytest.fixture
def plan(monkeypatch):
    """Return a function that plans a run; it returns the champion with which the run went on."""
    for name, value in vars(SETTINGS).items():
        monkeypatch.setenv(name.upper(), value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    app = importlib.import_module("plan.app")
    monkeypatch.setattr(app.lock, "take", lambda *_: "")
    for module, name in ((app.stack, "check_alarms"), (app.stack, "check_key"), (app.instances, "check")):
        monkeypatch.setattr(module, name, lambda *_: None)
    monkeypatch.setattr(app.weights, "prepare", lambda *_, **__: WEIGHTS)
    monkeypatch.setattr(app, "_dataset", lambda *_: None)

    def run(request, champion, **builds):
        released, decided = [], []
        monkeypatch.setattr(app.lock, "release", lambda *_: released.append(True))
        monkeypatch.setattr(app, "agreement", SimpleNamespace(champion=lambda _: champion))
        monkeypatch.setattr(app.images, "prepare", lambda *_: IMAGES.model_copy(update={"base": "python@new"} | builds))

        def decide(*arguments):
            decided.append(arguments[-1])
            raise StopIteration

        monkeypatch.setattr(app, "decide", decide)
        try:
            app.plan(request, "arn:mine", "x")
        except StopIteration:
            return decided
        finally:
            assert released
        return None

    return run


def test_nothing_is_rebuilt_where_no_model_serves(plan):
    with pytest.raises(NothingToRebuildError, match="no model serves"):
        plan({"rebuild": True}, None, serving_build=NEW)
    assert plan({}, None, serving_build=NEW) == [None]


def test_nothing_is_rebuilt_where_the_images_are_the_newest(plan):
    with pytest.raises(NothingToRebuildError, match="the images are built on python@new already"):
        plan({"rebuild": True}, "champion")
    assert plan({}, "champion") == ["champion"]


@pytest.mark.parametrize("build", ["training_build", "serving_build"])
def test_a_new_image_is_built_and_judged_against_the_champion(plan, build):
    assert plan({"rebuild": True}, "champion", **{build: NEW}) == ["champion"]
