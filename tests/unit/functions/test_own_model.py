"""Plan with a model that was trained elsewhere."""

import json

import pytest
from botocore.stub import Stubber

from plan import own_model, request
from plan.run import decide_own_model
from shared.contracts import ImageBuild, OwnModel, Request
from shared.errors import RequestError
from shared.s3 import Location

from .test_plan import CHAMPION, DATASET, IMAGES, SETTINGS, client

MODEL = OwnModel(uri="s3://b/TrainedModels/model.pth", etag='"e"', backbone="resnet50")


def parsed(**fields):
    return request.parse({"trained_model": "TrainedModels/model.pth", "backbone": "resnet50"} | fields)


def decided(**fields):
    images = IMAGES.model_copy(
        update={
            "training_build": ImageBuild(targets=["train"], content_hash="1"),
            "serving_build": ImageBuild(targets=["serve"], content_hash="2"),
        }
    )
    return decide_own_model(parsed(**fields), SETTINGS, "x", DATASET, MODEL, images, CHAMPION)


def find(key, backbone="resnet50", listed=None):
    """Look for a file in a bucket that lists these keys."""
    keys = [key] if listed is None else listed
    s3 = client("s3")
    with Stubber(s3) as stub:
        contents = {"Contents": [{"Key": each, "ETag": '"e"'} for each in keys]} if keys else {}
        stub.add_response("list_objects_v2", contents, {"Bucket": "b", "Prefix": key, "MaxKeys": 2})
        described = {"backbone": backbone} if backbone else {}
        return own_model.find(s3, Request(trained_model=key, **described), Location("b", key))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"trained_model": "m.pth"}, "backbone: missing; name the architecture of trained_model, such as resnet50"),
        ({"backbone": "resnet50"}, "backbone: of a trained_model, which is missing; a training takes hyperparameters"),
        (
            {"trained_model": "m.pth", "backbone": "resnet50", "spot": True, "weights": "w.pth"},
            "trained_model: nothing is trained; leave out spot, weights",
        ),
        (
            {"trained_model": "a/model.tar.gz", "backbone": "resnet50"},
            "trained_model: model.tar.gz says it itself; leave out backbone",
        ),
        (
            {"trained_model": "m.pth", "backbone": "resnet50", "preprocess": {"image_sise": 64}},
            r"preprocess.image_sise: unknown field \(did you mean 'image_size'\?\)",
        ),
        (
            {"trained_model": "m.pth", "backbone": "resnet50", "preprocess": {"resize_to": 200}},
            r"preprocess: resize_to \(200\) is below image_size \(224\)",
        ),
        (
            {"trained_model": "m.pth", "backbone": "resnet50", "preprocess": {"std": [0.2, 0.2, 0.0]}},
            r"preprocess: std must be above 0 and at most 1, got \[0.2, 0.2, 0.0\]",
        ),
        *(
            ({"trained_model": "m.pth", "backbone": "resnet50", "preprocess": given}, sentence)
            for given, sentence in [
                ({"mean": [123.675, 116.28, 103.53]}, r"preprocess: mean must be in 0 to 1, .*divide .* by 255"),
                ({"mean": [0.5, -0.1, 0.5]}, "preprocess: mean must be in 0 to 1"),
                ({"mean": [0.5, float("nan"), 0.5]}, "preprocess.mean.1: must be a finite number, not NaN"),
                ({"std": [58.395, 57.12, 57.375]}, r"preprocess: std must be above 0 .*divide .* by 255"),
                ({"std": [0.5, float("inf"), 0.5]}, "preprocess.std.1: must be a finite number, not Infinity"),
                ({"std": [0.5, float("nan"), 0.5]}, "preprocess.std.1: must be a finite number, not NaN"),
            ]
        ),
        ({"trained_model": "m.pth", "backbone": "resnet50", "promote": 1}, "promote: .* leave out backbone, trained"),
    ],
)
def test_fields_that_do_not_fit_together_are_refused(fields, sentence):
    with pytest.raises(RequestError, match=sentence):
        request.parse(fields)


@pytest.mark.parametrize(
    ("key", "backbone", "listed", "sentence"),
    [
        ("TrainedModels/m.pth", "resnet51", None, r"backbone: 'resnet51' is unknown \(did you mean 'resnet\d+'\?\)"),
        ("TrainedModels/m.onnx", "resnet50", None, "trained_model: .*m.onnx must be one file that ends in .pth"),
        ("m.onnx", "resnet50", None, "must be one file that ends in .pth or .* or .bin, or be called model.tar.gz"),
        ("TrainedModels/m.safetensors", "resnet50", None, r"is a file of safetensors; convert it with torch.save\("),
        ("TrainedModels/m.pth", "resnet50", [], "trained_model: s3://b/TrainedModels/m.pth does not exist"),
        (
            "TrainedModels/m.pth",
            "resnet50",
            ["TrainedModels/m.pth", "TrainedModels/m.pth.old"],
            "trained_model: other objects begin with s3://b/TrainedModels/m.pth too",
        ),
    ],
)
def test_file_or_architecture_that_cannot_be_used_is_refused(key, backbone, listed, sentence):
    with pytest.raises(RequestError, match=sentence):
        find(key, backbone, listed)


@pytest.mark.parametrize("backbone", ["resnet18", "vgg16_bn", "squeezenet1_1", "vit_b_16"])
def test_file_in_the_bucket_is_found(backbone):
    assert find("TrainedModels/m.pth", backbone) == OwnModel(
        uri="s3://b/TrainedModels/m.pth", etag='"e"', backbone=backbone
    )


@pytest.mark.parametrize("key", ["m.pt", "a/checkpoint.pth.tar", "checkpoint.tar", "epoch=3.ckpt", "pytorch_model.bin"])
def test_files_have_the_names_that_training_scripts_give_them(key):
    assert find(key, "resnet18").uri == f"s3://b/{key}"


def test_artifact_may_lie_at_the_root_of_the_bucket():
    assert find("model.tar.gz", "").uri == "s3://b/model.tar.gz"


def test_artifact_of_kennels_training_program_needs_no_description():
    assert find("TrainedModels/model.tar.gz", "").backbone == ""
    assert own_model.arguments(Request(trained_model="TrainedModels/model.tar.gz")) == []


def test_nothing_is_trained_and_no_training_image_is_built():
    run = decided()
    assert run.training is None
    assert run.own_model == MODEL
    assert run.images.training_build is None
    assert run.quote.training_per_hour == 0
    assert run.quote.build_minutes > 0  # The image that serves is still missing.
    assert run.evaluation.champion_uri == CHAMPION.artifact_uri


def test_evaluation_is_told_what_the_file_does_not_say():
    given = decided(activation="gelu", preprocess={"image_size": 64, "resize": "squash"}).evaluation.arguments
    *first, described = given
    assert first[:4] == ["--root", "/opt/ml/processing", "--version", decided().id]
    assert first[4] == "--prices"
    assert first[6:] == ["--backbone", "resnet50", "--activation", "gelu", "--preprocess"]
    assert json.loads(described) == {
        "image_size": 64,
        "resize": "squash",
        "resize_to": 64,
        "interpolation": "bilinear",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    }


def test_photos_are_taken_as_torchvisions_transforms_take_them():
    assert json.loads(decided().evaluation.arguments[-1])["resize_to"] == 256
    assert json.loads(decided(preprocess={"image_size": 299}).evaluation.arguments[-1])["resize_to"] == 342


def test_usual_normalizations_are_taken():
    for mean, std in ((0.0, 1.0), (0.5, 0.5), (1.0, 1 / 255)):
        given = json.loads(decided(preprocess={"mean": [mean] * 3, "std": [std] * 3}).evaluation.arguments[-1])
        assert (given["mean"], given["std"]) == ([mean] * 3, [std] * 3)


def test_arguments_fit_sagemakers_length():
    longest = {"mean": [0.12345678901234567] * 3, "std": [0.12345678901234567] * 3, "resize": "shortest_side"}
    assert max(len(each) for each in decided(preprocess=longest).evaluation.arguments) <= 256
