"""Photos that a dataset has more than once."""

from dataset import Photo
from dataset.duplicates import duplicates


def photo(path):
    split, *label, _ = path.split("/")
    return Photo(path, split, label[0] if split != "other" else "", 1)


def found(**same):
    """Return (splits, classes, repeats) for lists of paths whose photos are equal."""
    digests = {photo(path): name.encode() for name, paths in same.items() for path in paths}
    splits, classes, repeats = duplicates(digests)
    return [tuple(p.path for p in pair) for pair in splits], [tuple(p.path for p in pair) for pair in classes], repeats


def test_different_photos_are_none():
    assert found(a=["train/x/1.jpg"], b=["test/x/1.jpg"]) == ([], [], 0)


def test_a_photo_in_two_splits_is_named_with_the_earlier_one():
    assert found(a=["test/x/1.jpg", "valid/x/2.jpg", "train/y/3.jpg"]) == (
        [("test/x/1.jpg", "train/y/3.jpg"), ("valid/x/2.jpg", "train/y/3.jpg")],
        [],
        0,
    )


def test_a_photo_in_two_classes_is_named():
    assert found(a=["train/y/1.jpg", "train/x/2.jpg"]) == ([], [("train/y/1.jpg", "train/x/2.jpg")], 0)


def test_repeats_within_a_class_are_counted():
    assert found(a=["train/x/1.jpg", "train/x/2.jpg", "train/x/3.jpg"], b=["test/x/1.jpg"]) == ([], [], 2)


def test_photos_of_no_class_are_left_alone():
    assert found(a=["other/x/1.jpg", "test/x/1.jpg", "other/x/2.jpg"]) == ([], [], 0)
