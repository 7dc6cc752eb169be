"""The images of a run: the context, what decides their content, which are built, and what that costs."""

import base64
import hashlib
import io
import zipfile
from dataclasses import replace
from types import SimpleNamespace

import pytest
from botocore.stub import Stubber

from plan import code, images
from plan.run import decide
from shared.contracts import ImageBuild, Request
from shared.errors import RequestError
from tests.unit.functions.buckets import VersionedBucket
from tests.unit.functions.test_plan import DATASET, SETTINGS, WEIGHTS, client

CONTEXT = ("serving/Dockerfile", "serving/server.py", "training/launch.py", "networks/lite.py", "dataset/__init__.py")


@pytest.fixture
def context(tmp_path):
    for name in CONTEXT:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "dataset/__pycache__").mkdir()
    (tmp_path / "dataset/__pycache__/x.pyc").touch()
    return tmp_path


def test_context_of_the_images_is_one_zip_named_by_its_content_hash(context):
    s3 = VersionedBucket()
    key, version = code.upload_context(s3, "b", context)
    with zipfile.ZipFile(io.BytesIO(s3.versions[key][0][0])) as archive:
        assert sorted(archive.namelist()) == sorted(CONTEXT)
        assert {entry.external_attr >> 16 for entry in archive.infolist()} == {0o644}
    assert code.upload_context(s3, "b", context) == (key, version) == (key, "v0")
    assert (s3.uploads, s3.reads) == (1, 0)  # S3 knows the digest, so nothing is read.
    (context / "serving/server.py").write_text("changed")
    assert code.upload_context(s3, "b", context)[0] != key


@pytest.mark.parametrize("known", [True, False])
def test_another_zip_below_the_name_of_the_context_is_overwritten(context, known):
    """Whoever knows the public code knows the name, and a privileged build would run what lies there."""
    mine = VersionedBucket()
    key, _ = code.upload_context(mine, "b", context)
    foreign = VersionedBucket()
    content = b"foreign"
    checksum = base64.b64encode(hashlib.sha256(content).digest()).decode() if known else None
    foreign.put_object(Key=key, Body=content, ChecksumSHA256=checksum)
    assert code.upload_context(foreign, "b", context) == (key, "v1")
    assert foreign.versions[key][1] == mine.versions[key][0]
    foreign.put_object(Key=key, Body=content)  # after Plan: the build reads v1
    assert code.upload_context(foreign, "b", context) == (key, "v3")


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("serving/server.py", {"evaluate", "serve"}),  # A change of the server does not train anew.
        ("training/launch.py", {"train"}),
        ("dataset/__init__.py", {"train", "evaluate", "serve"}),
        ("networks/lite.py", {"train", "evaluate", "serve"}),
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
    monkeypatch.setattr(images, "upload_context", lambda *_: ("images/0123.zip", "v7"))
    monkeypatch.setattr(images, "_lay_bills", lambda *_: None)

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
    assert (plan.context, plan.context_version, plan.train_content) == ("b/images/0123.zip", "v7", "aaaa")
    assert (plan.train, plan.serve) == (f"{REPOSITORY}:train-aaaa", f"{REPOSITORY}:serve-bbbb")
    quote = decide(Request(), SETTINGS, "x", DATASET, WEIGHTS, plan, None).quote
    # 3 + 4 + 2 minutes at one cent; 0.35 + 0.31 + 0.14 GB at ten cents.
    assert (quote.build_minutes, quote.build, quote.images_per_month) == (9, 0.09, 0.08)


def test_images_that_exist_are_not_built_and_are_named_by_their_digests(prepared):
    plan = prepared(*ALL, asks=ALL)
    assert (plan.training_build, plan.serving_build, plan.context) == (None, None, "")
    uris = {target: f"{REPOSITORY}@sha256:of-{target}-{HASHES[target]}" for target in HASHES}
    assert {"train": plan.train, "evaluate": plan.evaluate, "serve": plan.serve} == uris
    assert plan.train_content == "aaaa"
    one = prepared("train-aaaa", "serve-bbbb", asks=ALL)
    assert one.serving_build == ImageBuild(targets=["evaluate"], content_hash="bbbb")
    quote = decide(Request(), SETTINGS, "x", DATASET, WEIGHTS, one, None).quote
    assert (quote.build_minutes, quote.build, quote.images_per_month) == (4, 0.04, 0.031)


def test_images_of_the_stacks_parameters_are_neither_built_nor_looked_for(prepared):
    one = prepared(asks=("train-aaaa", "evaluate-bbbb"), serving_image="mine:1")
    assert (one.serving_build.targets, one.serve) == (["evaluate"], "mine:1")
    pinned = "1.dkr.ecr.r.amazonaws.com/mine@sha256:1"
    assert prepared(asks=("train-aaaa", "evaluate-bbbb"), serving_image=pinned).serve == pinned
    none = prepared(training_image="mine:0", serving_image="mine:1", evaluation_image="mine:2")
    assert (none.training_build, none.serving_build, none.context) == (None, None, "")
    assert (none.train, none.train_content, none.evaluate) == ("mine:0", "mine:0", "mine:2")


def test_images_that_are_built_together_have_one_hash():
    """A build takes one hash for all of its targets."""
    assert code.CONTENT["evaluate"] == code.CONTENT["serve"]


def test_a_tag_of_the_stacks_parameters_is_looked_up_once(monkeypatch):
    """A tag that moves later changes neither a job nor a model of the run."""
    monkeypatch.setattr(images, "content_hash", lambda target, *_: HASHES[target])
    registry, ecr = "1.dkr.ecr.r.amazonaws.com", client("ecr")
    names = {"training_image": "train:1", "evaluation_image": "evaluate", "serving_image": "team/s:2"}
    settings = replace(SETTINGS, **{field: f"{registry}/{name}" for field, name in names.items()})
    with Stubber(ecr) as stub:
        for name, tag in (("train", "1"), ("evaluate", "latest"), ("team/s", "2")):
            found = [{"imageId": {"imageTag": tag, "imageDigest": f"sha256:of-{name}"}}]
            stub.add_response(
                "batch_get_image", {"images": found}, {"repositoryName": name, "imageIds": [{"imageTag": tag}]}
            )
        plan = images.prepare(None, ecr, settings)
        assert plan.train == plan.train_content == f"{registry}/train@sha256:of-train"
        assert (plan.evaluate, plan.serve) == (
            f"{registry}/evaluate@sha256:of-evaluate",
            f"{registry}/team/s@sha256:of-team/s",
        )
        stub.add_response("batch_get_image", {"images": []})
        with pytest.raises(RequestError, match=r"TrainingImage is .*/train:1, and its repository has no image"):
            images.prepare(None, ecr, settings)


def test_a_patched_base_is_built_anew_and_the_builds_take_that_very_one(monkeypatch):
    """The tag of the base stays the same; its registry says which image it is now."""
    monkeypatch.setattr(images, "upload_context", lambda *_: ("images/0123.zip", "v7"))
    monkeypatch.setattr(images, "_lay_bills", lambda *_: None)
    monkeypatch.setattr(images, "content_hash", lambda target, *arguments: f"{target}{'-'.join(arguments)}")
    plans = []
    for digest in ("sha256:old", "sha256:new"):
        monkeypatch.setattr(images.base_image, "pinned", lambda name, digest=digest: f"{name}@{digest}")
        ecr = SimpleNamespace(batch_get_image=lambda **_: {"images": []})
        plans.append(images.prepare(None, ecr, replace(SETTINGS, base_image="python:3.11")))
    old, new = plans
    assert (old.base, new.base) == ("python:3.11@sha256:old", "python:3.11@sha256:new")
    for each in (old, new):
        assert each.base in each.train_content
        assert each.base in each.serving_build.content_hash
    assert len({old.train, new.train, old.serve, new.serve, old.evaluate, new.evaluate}) == 6


def test_no_registry_is_asked_where_nothing_is_built(monkeypatch):
    monkeypatch.setattr(images.base_image, "pinned", lambda _: pytest.fail("asked"))
    given = {"training_image": "mine:0", "serving_image": "mine:1", "evaluation_image": "mine:2"}
    assert images.prepare(None, None, replace(SETTINGS, base_image="python:3.11", **given)).base == "python:3.11"
