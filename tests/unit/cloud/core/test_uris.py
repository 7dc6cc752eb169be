"""S3 URIs, and where objects of a prefix land."""

import pytest

from cloud.core.uris import S3Uri, StorageError, relative_path


def test_uri_is_taken_apart_and_put_together() -> None:
    uri = S3Uri.parse("s3://kennel/runs/a")
    assert uri == S3Uri("kennel", "runs/a")
    assert str(uri.child("model.tar.gz")) == "s3://kennel/runs/a/model.tar.gz"
    assert str(S3Uri.parse("s3://kennel/runs/").child("x")) == "s3://kennel/runs/x"
    assert str(S3Uri.parse("s3://kennel").child("x")) == "s3://kennel/x"


@pytest.mark.parametrize("wrong", ["kennel/a", "https://kennel/a", "s3://", "s3:///a"])
def test_uri_of_another_kind_is_refused(wrong: str) -> None:
    with pytest.raises(StorageError, match="is not an S3 URI"):
        S3Uri.parse(wrong)


@pytest.mark.parametrize(
    ("prefix", "key", "path"),
    [
        ("data", "data/train/a.jpg", "train/a.jpg"),
        ("data/", "data/train/a.jpg", "train/a.jpg"),
        ("", "train/a.jpg", "train/a.jpg"),
        ("data/dogs.zip", "data/dogs.zip", "dogs.zip"),
        ("dogs.zip", "dogs.zip", "dogs.zip"),
        ("sets/da", "sets/data/a.jpg", "data/a.jpg"),  # a prefix is no folder: it matches by letters
    ],
)
def test_objects_land_below_the_folder(prefix: str, key: str, path: str) -> None:
    assert relative_path(prefix, key) == path
