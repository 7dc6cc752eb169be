"""Datasets as people have them: other names of the splits, folders around them, no splits, odd names."""

import unicodedata
import zipfile

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
    named = [(f"002.B/d{n}{end}.jpg", 1000 * n + len(end) + 1) for n in range(20) for end in ("", " (1)", "_copy")]
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
    with pytest.raises(DatasetError, match="no photos found; 4 pictures in formats that are not read"):
        listing([(f"train/{label}/{n}.JXL", 9) for label in CLASSES for n in "12"], "x")


def test_each_file_that_is_left_out_has_a_reason_a_split_and_a_class():
    odd = ["train/001.A/1.jxl", "train/001.A/b.zip", "train/001.A/c.txt", "train/001.A/deep/d.jpg", "e.jpg"]
    found = listing([*files(), *((path, 5) for path in odd), ("train/001.A/x\n.jpg", 5)], "x")
    assert found.left_out == (
        LeftOut("e.jpg", Reason.PLACE),
        LeftOut("train/001.A/1.jxl", Reason.FORMAT, "train", "001.A"),
        LeftOut("train/001.A/b.zip", Reason.ARCHIVE, "train", "001.A"),
        LeftOut("train/001.A/c.txt", Reason.NOT_A_PHOTO, "train", "001.A"),
        LeftOut("train/001.A/deep/d.jpg", Reason.PLACE, "train", "001.A"),
        LeftOut("train/001.A/x\\n.jpg", Reason.NAME, "train", "001.A"),
    )


@pytest.mark.parametrize(
    "name",
    [
        "1.JPG",
        "1.jfif",
        "1.jpe",
        "1.PNG",
        "1.HEIC",
        "1.avif",
        "1.tif",
        "9.41.07\u202fAM.jpg",
        "\u0633\u06af\u200c\u0647\u0627.webp",
    ],
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
    jxl = [(path.replace("1.", "9.").replace(".jpg", ".JXL"), size) for path, size in files() if "001.A" in path]
    with pytest.raises(DatasetError) as refused:
        listing([*files(), *jxl], "x")
    assert "classes without a photo that is read: '009.A' (2 .jxl in test/, 2 .jxl in train/, 2 .jxl in valid/)" in str(
        refused.value
    )
    assert "photos are .avif, .bmp, .dib, .gif, .heic, .heif, .hif, .jfif, .jpe, " in str(refused.value)


def test_a_split_of_other_formats_only_is_refused_and_not_made_anew():
    found = [(path.replace(".jpg", ".jp2") if path.startswith("valid/") else path, size) for path, size in files()]
    with pytest.raises(DatasetError, match=r"'001.A' \(2 .jp2 in valid/\), '002.B_c' \(2 .jp2 in valid/\)"):
        listing(found, "x")


def test_a_class_of_other_formats_is_refused_where_there_are_no_splits():
    beside = [("notes/about.txt", 5), ("003.C/0.cr2", 7)]
    with pytest.raises(DatasetError, match=r"read: '003.C' \(1 .cr2 in train/\);"):
        listing([*class_folders(), *beside], "x")
    assert len(listing([*class_folders(), *beside[:1]], "x").classes) == 2


def test_a_class_that_has_photos_beside_other_formats_is_taken():
    found = listing([*files(), ("train/001.A/more.jxl", 9)], "x")
    assert found.left_out == (LeftOut("train/001.A/more.jxl", Reason.FORMAT, "train", "001.A"),)


def test_a_class_that_is_a_link_in_an_archive_is_refused():
    link = LeftOut("train/003.C", Reason.LINK)
    with pytest.raises(DatasetError, match=r"classes without a photo that is read: .003\.C"):
        listing(files(), "x", [link])
    assert len(listing(files(), "x", [LeftOut("train/cover.jpg", Reason.LINK)]).classes) == 2


JUNK = [".DS_Store", "Thumbs.db", "desktop.ini", "._0.jpg", "@eaDir/0.jpg"]


def test_what_systems_write_is_no_class_and_no_file(tmp_path):
    junk = [(f"{split}/001.A/{name}", 9) for split in ("train", "valid") for name in JUNK]
    junk += [("__MACOSX/train/001.A/._0.jpg", 9), ("Thumbs.db", 9), ("train/.DS_Store", 9)]
    assert listing([*files(), *junk], "x") == listing(files(), "x")
    for path, size in [*files(), *junk]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(bytes(size))
    found = open_source(tmp_path).listing
    assert (found.classes, found.left_out, len(found.photos)) == (CLASSES, (), 12)


def test_a_class_that_is_empty_in_one_split_is_refused():
    photos = [("train/003.C/0.jpg", 9), ("test/003.C/0.jpg", 9)]
    with pytest.raises(DatasetError, match=r"class '003.C' has 0 photos in valid/; every class needs"):
        listing([*files(), *photos], "x")
    with pytest.raises(DatasetError, match=r"'003.C' \(1 empty folder in valid/\); fill empty folders, or take"):
        listing([*files(), *photos, ("valid/003.C/.DS_Store", 9)], "x")


@pytest.mark.parametrize("splits", [True, False])
def test_an_empty_class_that_drop_breeds_names_is_left_out(splits):
    data = files() if splits else class_folders()
    empty = [LeftOut("train/003.C" if splits else "003.C", Reason.FOLDER)]
    with pytest.raises(DatasetError, match=r"take the folder away or name the class in the input's drop_breeds"):
        listing(data, "x", empty)
    found = listing(data, "x", empty, drop_breeds=["c"])
    assert (found.classes, len(found.photos)) == (CLASSES, len(data))
    assert [(file.reason, file.split, file.label) for file in found.left_out] == [(Reason.DROPPED, "train", "003.C")]


def test_folders_are_no_classes_where_a_list_names_them():
    data = [(f"{split}/{n}.jpg", 9 + n) for split in ("train", "test") for n in range(30)]
    rows = "".join(f"{n},{'ab'[n % 2]}\n" for n in range(30)).encode()
    found = listing(
        [*data, ("labels.csv", 300), ("train/.small/1.jpg", 9)],
        "x",
        [LeftOut("train/empty", Reason.FOLDER)],
        read=lambda _: b"id,breed\n" + rows,
    )
    assert found.classes == ("a", "b")
    assert {file.reason for file in found.left_out} == {Reason.UNLISTED, Reason.NOT_A_PHOTO, Reason.HIDDEN}


def test_an_archive_beside_what_systems_write_is_found(tmp_path):
    with zipfile.ZipFile(tmp_path / "dogs.zip", "w") as archive:
        for path, size in files():
            archive.writestr(path, bytes(size))
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (tmp_path / name).write_bytes(b"x")
    assert open_source(tmp_path).listing.counts() == {"train": 4, "valid": 4, "test": 4}


def test_flat_photos_in_folders_of_splits_have_no_classes():
    flat = [(f"{split}/{n}.jpg", 9) for split in ("train", "test") for n in range(9)]
    with pytest.raises(DatasetError, match=r"layout that is known; photos lie in test/, train/; labels.csv may name"):
        listing([*flat, ("labels.csv", 9)], "x")


@pytest.mark.parametrize("splits", [True, False])
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda path: path.replace(".jpg", ""), "without an ending in train/.*give files without an ending theirs"),
        (lambda path: path.replace("001.A/", "001.A/sub/"), "in folders below it in train/.*right into it, or take"),
        (lambda path: path.replace("001.A/", "001.A/."), "hidden by a dot in train/.*take the dot off the names, or"),
        (lambda path: path.replace("001.A", "001\t"), "with such names in train/.*rename what has control characters"),
    ],
)
def test_a_class_none_of_whose_photos_is_read_is_refused_for_what_is_wrong(splits, change, sentence):
    data = [*(files(count=5) if splits else class_folders())]
    data += [(path.replace("002.B_c", "003.C"), size) for path, size in data if "002.B_c" in path]
    with pytest.raises(DatasetError, match=rf"classes without a photo that is read: '001.*{sentence}") as refused:
        listing([(change(path) if "001.A" in path else path, size) for path, size in data], "x")
    assert "convert" not in str(refused.value) or "ending" in sentence


@pytest.mark.parametrize("splits", [True, False])
def test_a_class_of_empty_photos_is_refused(splits):
    data = files() if splits else class_folders()
    with pytest.raises(DatasetError, match=r"'001.A' \(.*empty in train/.*\); fetch empty files anew, or take"):
        listing([(path, 0 if "001.A" in path else size) for path, size in data], "x")
    found = listing([*data, (data[0][0].replace("0.jpg", "z.jpg"), 0)], "x")
    assert [file.reason for file in found.left_out] == [Reason.EMPTY]
    assert len(found.photos) == len(data)


@pytest.mark.parametrize("splits", [True, False])
def test_empty_folders_and_links_that_lead_nowhere_are_refused_as_classes(tmp_path, splits):
    for path, _ in files(count=5) if splits else class_folders():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"x")
    top = tmp_path / "train" if splits else tmp_path
    (top / CLASSES[0] / "lost.jpg").symlink_to("nowhere")
    (top / CLASSES[0] / "empty").mkdir()
    assert [file.reason for file in open_source(tmp_path).listing.left_out] == [Reason.LINK]
    (top / "003.C").mkdir()
    with pytest.raises(DatasetError, match=r"'003.C' \(1 empty folder in train/\); fill empty folders, or take"):
        open_source(tmp_path)
    (top / "003.C" / ".DS_Store").write_bytes(b"x")
    with pytest.raises(DatasetError, match=r"'003.C' \(1 empty folder in train/\)"):
        open_source(tmp_path)
    (top / "003.C" / "0.jpg").symlink_to("nowhere")
    with pytest.raises(
        DatasetError, match=r"'003.C' \(1 link that leads nowhere in train/\); put the photos themselves"
    ):
        open_source(tmp_path)
    (top / "003.C" / "0.jpg").unlink()
    (top / "003.C" / ".DS_Store").unlink()
    (top / "003.C").rmdir()
    (top / "003.C").symlink_to("nowhere")
    with pytest.raises(DatasetError, match=r"'003.C' \(1 link that leads nowhere in train/\)"):
        open_source(tmp_path)


def test_a_split_that_is_a_link_to_nothing_is_not_made_anew():
    data = [file for file in files(count=9) if not file[0].startswith("valid")]
    with pytest.raises(DatasetError, match="valid is a link that leads nowhere"):
        listing(data, "x", [LeftOut("valid", Reason.LINK)])


def test_folders_of_other_things_beside_classes_are_no_classes():
    beside = [("docs/LICENSE", 5), ("docs/images/logo.png", 5), ("notes/a.txt", 5), (".previews/a/1.jpg", 5)]
    found = listing([*class_folders(), *beside], "x")
    assert found.classes == CLASSES
    assert {file.label for file in found.left_out} == {""}


@pytest.mark.parametrize("other", ["001.a", "001.A "])
def test_two_whole_classes_whose_names_are_alike_are_refused(other):
    data = [*files(), *((path.replace("001.A", other), size) for path, size in files() if "001.A" in path)]
    with pytest.raises(DatasetError, match=rf"'001.A' and '{other}' differ in capitals or spaces only; give them one"):
        listing(data, "x")


@pytest.mark.parametrize(
    ("paths", "sentence"),
    [
        ([f"{s}/{c}/images/0.jpg" for s in ("train", "test") for c in "ab"], "from the folders below a class right"),
        ([f"{s}/{s}/{c}/0.jpg" for s in ("train", "test") for c in "ab"], "test/test/, train/train/ are splits inside"),
        ([f"seg_{s}/{c}/0.jpg" for s in ("train", "test") for c in "ab"], "seg_test/, seg_train/ seem to be splits; "),
        ([f"{c}/{s}/0.jpg" for s in ("train", "test") for c in "ab"], "move a/test/ to test/a/, and the others alike"),
        ([f"Beagle/{n}.jpg" for n in range(9)], r"only 1 class \('Beagle'\); a classifier needs at least 2"),
        ([f"train/{c}/{n}" for c in "ab" for n in range(9)], "no photos found; 18 files without an ending"),
        ([f"train/{c}/0.jpg?w=5" for c in "ab"], r"no photos found; 2 files with the ending '.jpg\?w=5'"),
        (["train.zip", "test.zip"], "no photos found; unpack train.zip, test.zip there, or give one archive alone"),
    ],
)
def test_a_layout_that_is_not_taken_is_named_with_what_to_move(paths, sentence):
    with pytest.raises(DatasetError, match=sentence):
        listing([(path, 9) for path in paths], "x")


def test_spaces_around_the_name_of_a_split_are_no_matter():
    assert listing(files(train="train "), "x").counts() == {"train": 4, "valid": 4, "test": 4}


def test_what_is_done_without_splits_names_other_and_a_folder_called_as_a_split():
    beside = [(f"other/{n}.jpg", 5) for n in range(3)]
    made = listing([*class_folders(), *beside], "s3://b/dogs/train/").made_splits
    assert "3 of no class in other/, which is no class itself" in made
    assert made.endswith(
        "s3://b/dogs/train/ is called as a split is: if others lie beside it, give the folder around them"
    )
    assert "called as a split" not in listing(class_folders(), "s3://b/dogs/").made_splits
