"""The images of a run: the context, what decides their content, which are built, and what that costs."""

import io
import zipfile
from dataclasses import replace
from types import SimpleNamespace

import pytest
from botocore.stub import Stubber

from plan import code, images
from plan.run import decide
from shared.contracts import ImageBuild, Request
from tests.unit.functions.test_plan import DATASET, SETTINGS, WEIGHTS, client

CONTEXT = ("serving/Dockerfile", "serving/server.py", "training/launch.py", "dataset/__init__.py")


@pytest.fixture
def context(tmp_path):
    for name in CONTEXT:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "dataset/__pycache__").mkdir()
    (tmp_path / "dataset/__pycache__/x.pyc").touch()
    return tmp_path


def test_context_of_the_images_is_one_zip_named_by_its_content_hash(context):
    put = {}
    s3 = SimpleNamespace(
        list_objects_v2=lambda Prefix, **_: {"KeyCount": int(Prefix in put)},
        put_object=lambda Key, Body, **_: put.update({Key: Body}),
    )
    key = code.upload_context(s3, "b", context)
    with zipfile.ZipFile(io.BytesIO(put[key])) as archive:
        assert sorted(archive.namelist()) == sorted(CONTEXT)
        assert {entry.external_attr >> 16 for entry in archive.infolist()} == {0o644}
    assert code.upload_context(s3, "b", context) == key
    assert len(put) == 1
    (context / "serving/server.py").write_text("changed")
    assert code.upload_context(s3, "b", context) != key


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("serving/server.py", {"evaluate", "serve"}),  # A change of the server does not train anew.
        ("training/launch.py", {"train"}),
        ("dataset/__init__.py", {"train", "evaluate", "serve"}),
        ("serving/Dockerfile", {"train", "evaluate", "serve"}),
    ],
)
def test_hash_of_an_image_changes_with_its_own_content(context, name, changed):
    before = {target: code.content_hash(target, "python:3.11", layer=context) for target in code.CONTENT}
    assert before == {target: code.content_hash(target, "python:3.11", layer=context) for target in code.CONTENT}
    assert all(code.content_hash(target, "python:3.12", layer=context) != before[target] for target in before)
    (context / name).write_text("changed")
    after = {target: code.content_hash(target, "python:3.11", layer=context) for target in code.CONTENT}
    assert {target for target in before if after[target] != before[target]} == changed


HASHES = {"train": "aaaa", "evaluate": "bbbb", "serve": "bbbb"}
REPOSITORY = SETTINGS.image_repository


@pytest.fixture
def prepared(monkeypatch):
    """Return a function that calls ``images.prepare`` for a repository with these tags."""
    monkeypatch.setattr(images, "content_hash", lambda target, *_: HASHES[target])
    monkeypatch.setattr(images, "upload_context", lambda *_: "images/0123.zip")

    def prepare(*there, asks=(), **parameters):
        ecr = client("ecr")
        with Stubber(ecr) as stub:
            if asks:
                found = [{"imageId": {"imageTag": tag, "imageDigest": f"sha256:of-{tag}"}} for tag in there]
                ids = [{"imageTag": tag} for tag in asks]
                stub.add_response("batch_get_image", {"images": found}, {"repositoryName": "kennel", "imageIds": ids})
            plan = images.prepare(None, ecr, replace(SETTINGS, **parameters))
            stub.assert_no_pending_responses()
        return plan

    return prepare


ALL = ("train-aaaa", "evaluate-bbbb", "serve-bbbb")


def test_missing_images_are_built_in_two_builds(prepared):
    plan = prepared(asks=ALL)
    assert plan.training_build == ImageBuild(targets=["train"], content_hash="aaaa")
    assert plan.serving_build == ImageBuild(targets=["evaluate", "serve"], content_hash="bbbb")
    assert (plan.context, plan.train_content) == ("b/images/0123.zip", "aaaa")
    assert (plan.train, plan.serve) == (f"{REPOSITORY}:train-aaaa", f"{REPOSITORY}:serve-bbbb")
    quote = decide(Request(), SETTINGS, "x", DATASET, WEIGHTS, plan, None).quote
    # 3 + 4 + 2 minutes at one cent; 0.35 + 0.31 + 0.14 GB at ten cents.
    assert (quote.build_minutes, quote.build, quote.images_per_month) == (9, 0.09, 0.08)


def test_images_that_exist_are_not_built_and_training_names_its_digest(prepared):
    plan = prepared(*ALL, asks=ALL)
    assert (plan.training_build, plan.serving_build, plan.context) == (None, None, "")
    assert plan.train == f"{REPOSITORY}@sha256:of-train-aaaa"
    assert plan.train_content == "aaaa"
    one = prepared("train-aaaa", "serve-bbbb", asks=ALL)
    assert one.serving_build == ImageBuild(targets=["evaluate"], content_hash="bbbb")
    quote = decide(Request(), SETTINGS, "x", DATASET, WEIGHTS, one, None).quote
    assert (quote.build_minutes, quote.build, quote.images_per_month) == (4, 0.04, 0.031)


def test_images_of_the_stacks_parameters_are_neither_built_nor_looked_for(prepared):
    one = prepared(asks=("train-aaaa", "evaluate-bbbb"), serving_image="mine:1")
    assert (one.serving_build.targets, one.serve) == (["evaluate"], "mine:1")
    none = prepared(training_image="mine:0", serving_image="mine:1", evaluation_image="mine:2")
    assert (none.training_build, none.serving_build, none.context) == (None, None, "")
    assert (none.train, none.train_content, none.evaluate) == ("mine:0", "mine:0", "mine:2")
