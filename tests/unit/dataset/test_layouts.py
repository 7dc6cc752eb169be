"""Datasets as people have them: other names of the splits, folders around them, no splits, odd names."""

import unicodedata

import pytest

from dataset import DatasetError, LeftOut, Reason, listing, open_source

CLASSES = ("001.A", "002.B_c")


def files(train="train", valid="valid", test="test", root="", count=2):
    return [
        (f"{root}{split}/{label}/{n}.jpg", 1000 + 7 * n)
        for split in (train, valid, test)
        for label in CLASSES
        for n in range(count)
    ]


def class_folders(count=20, root=""):
    return [(f"{root}{label}/{n}.jpg", 1000 + 7 * n) for label in CLASSES for n in range(count)]


@pytest.mark.parametrize(
    "names",
    [
        {"valid": "val"},
        {"valid": "Validation"},
        {"valid": "dev"},
        {"train": "Training", "valid": "VAL", "test": "Testing"},
    ],
)
def test_other_names_of_the_splits_are_the_splits(names):
    found, expected = listing(files(**names), "x"), listing(files(), "x")
    assert [photo[:4] for photo in found.photos] == [photo[:4] for photo in expected.photos]
    assert sorted(found.file(photo) for photo in found.photos) == sorted(path for path, _ in files(**names))
    assert found.made_splits == ""


def test_two_folders_of_one_split_are_refused():
    with pytest.raises(DatasetError, match="val/, valid/ are the same split"):
        listing([*files(), *files(valid="val")], "x")


@pytest.mark.parametrize("root", ["data/dogImages/", "a/b/c/d/", "train/"])
@pytest.mark.parametrize("beside", [[], [("docs/notes.txt", 1), ("README.md", 1), ("data/cover.jpg", 1)]])
def test_splits_are_found_below_any_folders(root, beside):
    found = listing([*files(root=root), *beside], "x")
    assert (found.prefix, found.counts()) == (root, {"train": 4, "valid": 4, "test": 4})
    assert {file.path for file in found.left_out} == {path.removeprefix(root) for path, _ in beside}


def test_two_datasets_beside_each_other_are_refused_by_name():
    with pytest.raises(DatasetError, match=r"several folders hold photos .*: cats/, dogs/; give one of them"):
        listing([*files(root="dogs/"), *files(root="cats/")], "x")


def test_splits_on_top_come_before_a_copy_below_them():
    found = listing([*files(), *files(root="backup/", count=3)], "x")
    assert found.counts() == {"train": 4, "valid": 4, "test": 4}
    assert {file.reason for file in found.left_out} == {Reason.PLACE}
    assert len(found.left_out) == 18


def test_a_misspelt_split_is_named():
    with pytest.raises(DatasetError, match="no photos in valid/, but in validate/; rename"):
        listing(files(valid="validate"), "x")


@pytest.mark.parametrize("root", ["", "Images/"])
def test_classes_without_splits_are_split_by_class(root):
    found = listing(class_folders(root=root), "x")
    assert found.classes == CLASSES
    assert [[sum(p.label == c for p in found.of(s)) for c in CLASSES] for s in ("train", "valid", "test")] == [
        [16, 16],
        [2, 2],
        [2, 2],
    ]
    assert "32 train, 4 valid, 4 test" in found.made_splits
    assert sorted(found.file(photo) for photo in found.photos) == sorted(path for path, _ in class_folders(root=root))
    again = listing(class_folders(root="elsewhere/")[::-1], "y")
    assert [photo.path for photo in again.photos] == [photo.path for photo in found.photos]


def test_a_split_by_rule_keeps_copies_together():
    copies = [(f"001.A/{name}", size) for n in range(20) for name, size in ((f"d{n}.jpg", 5 + n), (f"e{n}.jpg", 5 + n))]
    named = [(f"002.B/d{n}{end}.jpg", 1000 * n + len(end)) for n in range(20) for end in ("", " (1)", "_copy")]
    found = listing([*copies, *named], "x")
    of = {photo.path.partition("/")[2]: photo.split for photo in found.photos}
    assert all(of[f"001.A/d{n}.jpg"] == of[f"001.A/e{n}.jpg"] for n in range(20))
    assert all(of[f"002.B/d{n}.jpg"] == of[f"002.B/d{n} (1).jpg"] == of[f"002.B/d{n}_copy.jpg"] for n in range(20))
    assert set(of.values()) == {"train", "valid", "test"}


def test_photos_of_one_size_are_split_too():
    found = listing([(f"{label}/dog ({n}).jpg", 10) for label in CLASSES for n in range(10)], "x")
    assert found.counts() == {"train": 16, "valid": 2, "test": 2}


def test_a_missing_split_is_taken_from_train_and_the_others_stay():
    data = [file for file in files(count=9) if not file[0].startswith("valid")]
    found = listing(data, "x")
    assert found.counts() == {"train": 16, "valid": 2, "test": 18}
    assert found.made_splits.startswith("there is no valid/")


def test_too_few_photos_to_split_are_told():
    with pytest.raises(DatasetError, match=r"no photos in valid/, test/, and too few .*class '001.A' has 2"):
        listing(class_folders(count=2), "x")


def test_flat_photos_with_a_list_of_classes_are_refused_by_name():
    with pytest.raises(DatasetError, match=r"photos lie in train/; labels.csv may name the classes"):
        listing([("labels.csv", 9), ("train/1.jpg", 9), ("train/2.jpg", 9)], "x")


def test_a_dataset_of_other_formats_only_says_so():
    with pytest.raises(DatasetError, match="no photos found; 4 pictures that are neither JPEG nor PNG nor WebP"):
        listing([(f"train/{label}/{n}.HEIC", 9) for label in CLASSES for n in "12"], "x")


def test_each_file_that_is_left_out_has_a_reason_a_split_and_a_class():
    odd = ["train/001.A/1.heic", "train/001.A/b.zip", "train/001.A/c.txt", "train/001.A/deep/d.jpg", "e.jpg"]
    found = listing([*files(), *((path, 5) for path in odd), ("train/001.A/x\n.jpg", 5)], "x")
    assert found.left_out == (
        LeftOut("e.jpg", Reason.PLACE),
        LeftOut("train/001.A/1.heic", Reason.FORMAT, "train", "001.A"),
        LeftOut("train/001.A/b.zip", Reason.ARCHIVE, "train", "001.A"),
        LeftOut("train/001.A/c.txt", Reason.NOT_A_PHOTO, "train", "001.A"),
        LeftOut("train/001.A/deep/d.jpg", Reason.PLACE, "train", "001.A"),
        LeftOut("train/001.A/x\\n.jpg", Reason.NAME, "train", "001.A"),
    )


@pytest.mark.parametrize(
    "name", ["1.JPG", "1.jfif", "1.jpe", "1.PNG", "9.41.07\u202fAM.jpg", "\u0633\u06af\u200c\u0647\u0627.webp"]
)
def test_endings_and_names_that_are_photos(name):
    found = listing([*files(), (f"train/001.A/{name}", 5)], "x")
    assert (len(found.photos), found.left_out) == (13, ())


def test_an_accent_has_one_form_in_classes():
    forms = {
        split: unicodedata.normalize(form, "\u00c9pagneul") for split, form in (("train", "NFD"), ("valid", "NFC"))
    }
    data = [
        *(
            (f"{split}/{forms.get(split, forms['valid'])}/{n}.jpg", 9)
            for split in ("train", "valid", "test")
            for n in "12"
        )
    ]
    found = listing([*files(), *data, ("train/\u00c9pagneul/1.jpg", 8)], "x")
    assert found.classes == (*CLASSES, "\u00c9pagneul")
    assert [photo.path for photo in found.of("train")][-3:] == [
        "train/\u00c9pagneul/1.jpg",
        "train/\u00c9pagneul/1~2.jpg",
        "train/\u00c9pagneul/2.jpg",
    ]
    assert len({found.file(photo) for photo in found.photos}) == len(found.photos) == 19


def test_classes_that_differ_in_capitals_or_spaces_are_told():
    with pytest.raises(DatasetError, match=r"'001.A' and '001.a ' differ in capitals or spaces only"):
        listing([*files(), ("train/001.a /1.jpg", 5)], "x")


def test_links_to_folders_are_followed_and_loops_end(tmp_path):
    for path, size in files():
        target = tmp_path / "real" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(bytes(size))
    data = tmp_path / "data"
    (data / "valid").mkdir(parents=True)
    (data / "train").symlink_to(tmp_path / "real" / "train")
    (data / "test").symlink_to("../real/test")
    for label in CLASSES:
        (data / "valid" / label).symlink_to(tmp_path / "real" / "valid" / label)
    (data / "valid" / "001.A" / "loop").symlink_to(data)
    (data / "lost").symlink_to(tmp_path / "nowhere")
    source = open_source(data)
    assert source.listing.counts() == {"train": 4, "valid": 4, "test": 4}
    assert all(len(source.read(photo)) == photo.size for photo in source.listing.photos)


def test_a_class_of_other_formats_only_is_refused_with_what_was_found():
    heic = [(path.replace("1.", "9.").replace(".jpg", ".HEIC"), size) for path, size in files() if "001.A" in path]
    with pytest.raises(DatasetError) as refused:
        listing([*files(), *heic], "x")
    assert (
        "classes without a photo that is read: '009.A' (2 .heic in test/, 2 .heic in train/, 2 .heic in valid/)"
        in str(refused.value)
    )
    assert "photos are .jfif, .jpe, .jpeg, .jpg, .pjp, .pjpeg, .png, .webp" in str(refused.value)


def test_a_split_of_other_formats_only_is_refused_and_not_made_anew():
    found = [(path.replace(".jpg", ".tif") if path.startswith("valid/") else path, size) for path, size in files()]
    with pytest.raises(DatasetError, match=r"'001.A' \(2 .tif in valid/\), '002.B_c' \(2 .tif in valid/\)"):
        listing(found, "x")


def test_a_class_of_other_formats_is_refused_where_there_are_no_splits():
    beside = [("notes/about.txt", 5), ("003.C/0.heic", 7)]
    with pytest.raises(DatasetError, match=r"read: '003.C' \(1 .heic in train/\);"):
        listing([*class_folders(), *beside], "x")
    assert len(listing([*class_folders(), *beside[:1]], "x").classes) == 2


def test_a_class_that_has_photos_beside_other_formats_is_taken():
    found = listing([*files(), ("train/001.A/more.heic", 9)], "x")
    assert found.left_out == (LeftOut("train/001.A/more.heic", Reason.FORMAT, "train", "001.A"),)


def test_a_class_that_is_a_link_in_an_archive_is_refused():
    link = LeftOut("train/003.C", Reason.LINK)
    with pytest.raises(DatasetError, match=r"classes without a photo that is read: .003\.C"):
        listing(files(), "x", [link])
    assert len(listing(files(), "x", [LeftOut("train/cover.jpg", Reason.LINK)]).classes) == 2
