"""Why photos cannot be used: by their bytes, counted, and in sentences."""

import io

import pytest
from PIL import Image

from dataset import DatasetError, listing
from dataset.faults import Unreadable, counted, fault, refuse_empty_classes, sentences
from training import preprocess as training


def encoded(kind, size=(60, 40), **options):
    buffer = io.BytesIO()
    picture = Image.linear_gradient("L").resize(size).convert("RGB")
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("photo", "reason"),
    [
        (b"", "is empty"),
        (encoded("GIF"), ""),  # Training and evaluation read it.
        (b"\xff\x0a" + bytes(20), "is JPEG XL"),
        (b"version https://git-lfs.github.com/spec/v1", "is a pointer of Git LFS"),
        (b"<!DOCTYPE html><html>", "is a web page"),
        (b"words", "is no picture of a known kind"),
        (encoded("JPEG", (9000, 6000)), "has 9000 x 6000 pixels, at most 50 megapixels are taken"),
        (
            encoded("WEBP", (4500, 4000), quality=1, method=0),
            "has 4500 x 4000 pixels, at most 16 megapixels of a WebP are taken",
        ),
        (
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\1\0\0\0\0\1\0",
            "has 65536 x 256 pixels, at most 16 megapixels of a PNG are taken",
        ),
        (b"\xff\xd8\xff", "ends too early"),
    ],
)
def test_a_fault_is_named(photo, reason):
    assert fault(photo) == reason


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0"}),
    ],
)
def test_a_photo_that_ends_too_early_is_told_from_a_whole_one_as_the_decoder_does(kind, options):
    photo = encoded(kind, **options)
    assert fault(photo) == ""
    assert fault(photo + b"what follows the end") == ""
    for length in (len(photo) - 40, len(photo) // 2):
        with pytest.raises(training.UnreadablePhotoError):
            training.decode(photo[:length], training.TrainingPreprocess())
        assert fault(photo[:length]) == "ends too early"


def test_photos_are_counted_by_reason_split_and_class():
    lost = [Unreadable(f"{split}/b/{n}.jpg", "is a GIF") for split in ("train", "test") for n in range(2)]
    lost += [Unreadable("other/cats/1.jpg", "is a GIF"), Unreadable("train/a/1.jpg", "ends too early")]
    assert sentences(counted(lost)) == [
        "is a GIF: 5 (train 2, test 2, other 1; b 4)",
        "ends too early: 1 (train 1; a 1)",
    ]


def test_many_reasons_and_classes_are_summed():
    lost = [Unreadable(f"train/{n}/x.jpg", f"has {n} x 9 pixels") for n in range(10)]
    assert sentences(counted(lost))[-1] == "2 other reasons: 2"
    assert sentences(counted([photo._replace(reason="is a GIF") for photo in lost])) == [
        "is a GIF: 10 (train 10; 0 1, 1 1, 2 1, 3 1, 4 1, and 5 more classes)"
    ]


def test_a_class_without_a_readable_photo_is_refused_with_its_reasons():
    files = listing(
        [(f"{split}/{label}/{n}.jpg", 9) for split in ("train", "valid", "test") for label in "abc" for n in "12"], "x"
    )
    lost = [Unreadable(f"valid/b/{n}.jpg", "is a GIF") for n in "12"]
    refuse_empty_classes(files, lost[:1], "x")
    with pytest.raises(DatasetError) as caught:
        refuse_empty_classes(files, [*lost, Unreadable("train/a/1.jpg", "is empty")], "x")
    assert str(caught.value) == (
        "dataset x: class 'b' has 0 photos in valid/; every class needs at least 1 photo in each split; 3 photos could "
        "not be read: train/a/1.jpg, valid/b/1.jpg, valid/b/2.jpg (is a GIF: 2 (valid 2; b 2); is empty: 1 (train 1; "
        'a 1)); mend them, or leave such classes out by {"drop_breeds": ["b"]} in the execution\'s input'
    )
