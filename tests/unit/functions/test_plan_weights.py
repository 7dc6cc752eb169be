"""The weights that train: the stack's by their content, or the request's file."""

import hashlib

import pytest

from plan import weights
from plan.run import decide
from plan.weights import Weights
from shared.contracts import Request
from shared.errors import RequestError
from shared.s3 import Location
from tests.unit.functions.buckets import VersionedBucket
from tests.unit.functions.test_plan import DATASET, IMAGES, SETTINGS, WEIGHTS


def bucket_of(*keys):
    """Return a bucket with a small object at each key."""
    return VersionedBucket({key: f"bytes of {key}".encode() for key in keys})


@pytest.fixture
def layer(tmp_path):
    (tmp_path / "weights").mkdir()
    for name in ("efficientnet_lite0", "efficientnet_lite2"):
        (tmp_path / f"weights/{name}.pth").write_text(name)
    return tmp_path


def test_embedded_weights_are_uploaded_once_per_content(layer):
    s3 = bucket_of()
    # printf efficientnet_lite2 | sha256sum
    uri = "s3://b/weights/efficientnet_lite2-6b04f0ae462b93b2.pth"
    assert weights.prepare(s3, "b", ["efficientnet_lite2"], None, layer).uri == uri
    assert weights.prepare(s3, "b", ["efficientnet_lite2"], None, layer).uri == uri
    assert s3.uploads == 1
    (layer / "weights/efficientnet_lite2.pth").write_text("changed")
    assert weights.prepare(s3, "b", ["efficientnet_lite2"], None, layer).uri != uri


def test_embedded_weights_are_known_by_their_content_and_not_by_their_name(layer):
    """A file that somebody put below the name beforehand is overwritten; an equal one of an earlier release stays."""
    key, content = "weights/efficientnet_lite2-6b04f0ae462b93b2.pth", b"efficientnet_lite2"
    s3 = VersionedBucket({key: b"another network"})
    found = weights.prepare(s3, "b", ["efficientnet_lite2"], None, layer)
    assert s3.versions[key][-1][0] == content
    assert found.sha256 == hashlib.sha256(content).hexdigest()
    earlier = VersionedBucket({key: content})
    assert weights.prepare(earlier, "b", ["efficientnet_lite2"], None, layer) == found
    assert earlier.uploads == 0


def test_one_file_more_in_the_folder_of_several_backbones_is_refused(layer):
    names, s3 = ["efficientnet_lite0", "efficientnet_lite2"], bucket_of()
    folder = weights.prepare(s3, "b", names, None, layer).uri.removeprefix("s3://b/")
    s3.put_object(Key=f"{folder}/efficientnet_lite1.pth", Body=b"")
    with pytest.raises(RequestError, match=r"has files that no run put there: efficientnet_lite1\.pth; delete"):
        weights.prepare(s3, "b", names, None, layer)


def test_the_training_gets_the_digest_of_its_weights_which_changes_no_key():
    known = decide(Request(), SETTINGS, "x", DATASET, WEIGHTS._replace(sha256="ab"), IMAGES, None).training
    assert known.hyperparameters == {"weights_sha256": "ab"}
    assert known.key == decide(Request(), SETTINGS, "x", DATASET, WEIGHTS, IMAGES, None).training.key


def test_several_backbones_have_a_folder_with_a_file_for_each(layer):
    s3 = bucket_of()
    found = weights.prepare(s3, "b", ["efficientnet_lite2", "efficientnet_lite0"], None, layer)
    folder = found.uri.removeprefix("s3://b/")
    assert set(s3.versions) == {f"{folder}/efficientnet_lite0.pth", f"{folder}/efficientnet_lite2.pth"}
    assert weights.prepare(s3, "b", ["efficientnet_lite0", "efficientnet_lite2"], None, layer) == found
    assert s3.uploads == 2
    (layer / "weights/efficientnet_lite0.pth").write_text("changed")
    assert weights.prepare(s3, "b", ["efficientnet_lite0", "efficientnet_lite2"], None, layer).uri != found.uri
    with pytest.raises(RequestError, match=r"weights: missing; .* no weights for resnet50"):
        weights.prepare(s3, "b", ["efficientnet_lite0", "resnet50"], None, layer)


def test_embedded_weights_with_a_sibling_are_refused(layer):
    key = "weights/efficientnet_lite2-6b04f0ae462b93b2.pth"
    s3 = VersionedBucket({key: b"efficientnet_lite2", f"{key}.bak": b""})
    with pytest.raises(RequestError, match=r"weights: other objects begin with s3://b/weights/.* too; rename"):
        weights.prepare(s3, "b", ["efficientnet_lite2"], None, layer)


def test_backbone_is_accepted_in_quotes_as_training_does(layer):
    s3 = bucket_of("w.pth")
    assert weights.prepare(s3, "b", ['"resnet50"'], Location("b", "w.pth"), layer).uri == "s3://b/w.pth"


def test_weights_of_the_request_are_used_without_an_upload(layer):
    s3 = bucket_of("mine/resnet50.safetensors")
    file = Location("b", "mine/resnet50.safetensors")
    # printf 'bytes of mine/resnet50.safetensors' | sha256sum
    digest = "9c94fc0fdd3ac35ed195c1d8a93815ad03efae5f3ac8d4585fa270a9337bcc24"
    expected = Weights("s3://b/mine/resnet50.safetensors", "of mine/resnet50.safetensors", digest)
    assert weights.prepare(s3, "b", ["resnet50"], file, layer) == expected
    assert s3.uploads == 0


@pytest.mark.parametrize(
    ("backbone", "key", "sentence"),
    [
        ("efficientnet_lite1", None, r"hyperparameters.backbone: 'efficientnet_lite1' is unknown \(did you mean 'eff"),
        ("restnet50", "w.pth", r"hyperparameters.backbone: 'restnet50' is unknown \(did you mean 'resnet50'\?\)"),
        (
            "zzz",
            None,
            "hyperparameters.backbone: 'zzz' is unknown .efficientnet_lite0, efficientnet_lite2 and torchvision's",
        ),
        (
            "resnet50",
            None,
            "weights: missing; .* no weights for resnet50, only for efficientnet_lite0 and efficientnet_lite2",
        ),
        ("resnet50", "w.zip", "weights: s3://b/w.zip must be one file that ends in .pth or .safetensors"),
        ("resnet50", "none.pth", "weights: s3://b/none.pth does not exist"),
        ("resnet50", "two.pth", "weights: other objects begin with s3://b/two.pth too; rename"),
    ],
)
def test_backbone_without_its_weights_is_refused(layer, backbone, key, sentence):
    s3 = bucket_of("w.pth", "w.zip", "two.pth", "two.pth.bak")
    with pytest.raises(RequestError, match=sentence):
        weights.prepare(s3, "b", [backbone], Location("b", key) if key else None, layer)


@pytest.mark.parametrize(
    ("backbone", "sentence"),
    [
        ("EfficientNet_Lite0", "'EfficientNet_Lite0' is unknown (did you mean 'efficientnet_lite0'?)"),
        (
            "resnet50",
            "the stack has no weights for resnet50, only for efficientnet_lite0 and efficientnet_lite2; search",
        ),
    ],
)
def test_a_backbone_of_a_search_is_named_where_it_stands(layer, backbone, sentence):
    with pytest.raises(RequestError) as error:
        weights.prepare(bucket_of(), "b", ["efficientnet_lite0", backbone], None, layer, field="tune.ranges.backbone")
    assert str(error.value).startswith(f"tune.ranges.backbone: {sentence}")
