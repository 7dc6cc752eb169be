"""S3 URIs, and the paths of a prefix's objects below their folder."""

import pytest

from cloud.core.uris import S3Uri, StorageError, relative_path


def test_uri_is_parsed_and_written() -> None:
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
        ("sets/da", "sets/data/a.jpg", "data/a.jpg"),  # A prefix is not a folder; it may end within a name.
    ],
)
def test_objects_land_below_the_folder(prefix: str, key: str, path: str) -> None:
    assert relative_path(prefix, key) == path
