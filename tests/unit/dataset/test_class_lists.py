"""Lists of classes beside photos, as published datasets ship them."""

import shutil
from pathlib import Path

import pytest

from dataset import DatasetError, Reason, listing, open_source


def kaggle():
    """https://www.kaggle.com/c/dog-breed-identification: labels for train/, none for test/."""
    ids = {f"{breed[0]}{n:02}": breed for breed in ("boston_bull", "dingo") for n in range(20)}
    rows = "".join(f"{key},{breed}\r\n" for key, breed in ids.items())
    return {
        **{f"train/{key}.jpg": key for key in ids},
        **{f"test/{n}.jpg": "?" for n in range(3)},
        "labels.csv": f"id,breed\r\n{rows}",
        "sample_submission.csv": "id,boston_bull,dingo\r\n0,0.5,0.5\r\n",
    }


def pets():
    """https://www.robots.ox.ac.uk/~vgg/data/pets/: the breed is in the photo's name; trimaps are no photos of it."""
    names = [f"{breed}_{n}" for breed in ("Abyssinian", "american_bulldog") for n in range(1, 11)]
    lists = {"trainval": names[:7] + names[10:17], "test": names[7:10] + names[17:]}
    return {
        **{f"images/{name}.jpg": name for name in names},
        **{f"annotations/trimaps/{name}.png": name for name in names},
        "images/Abyssinian_1.mat": "x",
        "annotations/list.txt": "#Image CLASS-ID SPECIES BREED ID\n#ID: 1:37 Class ids\n",
        **{f"annotations/{key}.txt": "".join(f"{name} 1 1 1\n" for name in of) for key, of in lists.items()},
    }


def birds():
    """https://www.vision.caltech.edu/datasets/cub_200_2011/, with its split."""
    images = [f"{label}/{label[4:]}_{n:04}.jpg" for label in ("001.Auk", "002.Wren") for n in range(10)]
    return {
        **{f"CUB/images/{image}": image for image in images},
        "CUB/images.txt": "".join(f"{n} {image}\n" for n, image in enumerate(images, 1)),
        "CUB/image_class_labels.txt": "".join(f"{n} {int(image[:3])}\n" for n, image in enumerate(images, 1)),
        "CUB/classes.txt": "1 001.Auk\n2 002.Wren\n",
        "CUB/train_test_split.txt": "".join(f"{n} {int(n % 10 > 3)}\n" for n in range(1, 21)),
        "attributes.txt": "x",
    }


def write(folder: Path, files):
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(text.encode())
    return folder


def of(files, **more):
    return listing([(path, len(text)) for path, text in files.items()], "x", read=lambda p: files[p].encode(), **more)


@pytest.mark.parametrize("form", ["folder", "zip", "tar", "gztar"])
@pytest.mark.parametrize(
    ("files", "classes", "counts", "test", "note"),
    [
        (kaggle(), ("boston_bull", "dingo"), (32, 4, 4), None, "the classes are those of labels.csv; there are no"),
        (pets(), ("Abyssinian", "american_bulldog"), (12, 2, 6), {"8", "9", "10"}, "; there is no valid/"),
        (birds(), ("001.Auk", "002.Wren"), (10, 2, 8), {"0000", "0001", "0002", "0009"}, "; there is no valid/"),
    ],
    ids=["kaggle", "pets", "birds"],
)
def test_published_lists_name_classes_and_splits(tmp_path, form, files, classes, counts, test, note):
    path = write(tmp_path / "data", files)
    if form != "folder":
        path = Path(shutil.make_archive(str(tmp_path / "x"), form, path))
    source = open_source(path)
    assert source.listing.classes == classes
    assert tuple(source.listing.counts().values()) == counts
    assert note in source.listing.made_splits
    if test:
        assert {Path(photo.path).stem.rpartition("_")[2] for photo in source.listing.of("test")} == test
    for photo in source.listing.photos:
        assert source.read(photo).decode() == files[source.listing.file(photo)]
        assert source.listing.file(photo).endswith(photo.path.rpartition("/")[2])


def test_what_the_list_does_not_name_is_counted_by_reason():
    files = kaggle()
    del files["train/d07.jpg"]
    found = of(files)
    reasons = {reason: [file.path for file in found.left_out if file.reason is reason] for reason in Reason}
    assert reasons[Reason.UNLISTED] == ["test/0.jpg", "test/1.jpg", "test/2.jpg"]
    assert reasons[Reason.MISSING] == ["d07"]
    assert reasons[Reason.NOT_A_PHOTO] == ["labels.csv", "sample_submission.csv"]


@pytest.mark.parametrize(
    ("head", "row"),
    [
        ("\ufeffFileName;Breed", "photos\\{}.png;{}"),
        ("image path\tclass\tnote", "./photos/{}.png\t{}\t"),
        ("x,label,image_id", "1,{1},{0}"),
        ("class_id,filepaths,labels", "3,photos/{}.png,{}"),
    ],
)
def test_tables_are_read_with_their_own_columns_and_separators(head, row):
    ids = {f"{breed[0]}{n}": breed for breed in ("Pug", "Basset d'Artois, grand") for n in range(12)}
    rows = [row.format(key, f'"{breed}"') for key, breed in ids.items()]
    files = {f"photos/{key}.png": key for key in ids} | {"all.csv": "\n".join([head, *rows])}
    found = of(files)
    assert found.classes == ("Basset d'Artois, grand", "Pug")
    assert len(found.photos) == 24


def test_tables_may_name_the_splits():
    splits = ["train", "Validation", "test"]
    by_column = {f"{label}{s}{n}.jpg": (label, splits[s]) for label in "ab" for s in range(3) for n in range(2)}
    rows = "".join(f"{name},{label},{split}\n" for name, (label, split) in by_column.items())
    files = {f"img/{name}": "x" for name in by_column}
    in_one = of({**files, "all.csv": f"image,label,split\n{rows}"})
    in_three = of(
        files
        | {
            f"{split}.csv": "image,label\n" + "".join(f"{n},{la}\n" for n, (la, s) in by_column.items() if s == split)
            for split in splits
        }
    )
    assert in_one.counts() == in_three.counts() == {"train": 4, "valid": 4, "test": 4}
    assert in_one.made_splits == ""
    assert [photo[:4] for photo in in_one.photos] == [photo[:4] for photo in in_three.photos]


def test_folders_of_splits_and_classes_come_before_a_list():
    files = {f"{s}/{c}/{n}.jpg": "x" for s in ("train", "valid", "test") for c in "ab" for n in range(2)}
    found = of(
        {**files, "labels.csv": "id,breed\n0,z\n", "image_class_labels.txt": "1 1\n", "images.txt": "1 a/0.jpg\n"}
    )
    assert found.classes == ("a", "b")
    folders = {f"{c}/{n}.jpg": "x" for c in "ab" for n in range(9)}
    assert of({**folders, "labels.csv": "id,breed\n0,z\n"}).classes == ("a", "b")


def test_equal_names_in_one_class_and_photos_without_a_dog_are_kept():
    files = {f"{camera}/{n}.jpg": "x" for camera in ("one", "train") for n in range(12)} | {"other/tree.jpg": "x"}
    rows = [f"{camera}/{n}.jpg,{'ab'[n % 2]}" for camera in ("one", "train") for n in range(12)]
    files = {f"all/{path}" if not path.startswith("other") else path: text for path, text in files.items()}
    found = of({**files, "all/list.csv": "\n".join(["path,label", *rows])})
    assert found.counts()["other"] == 1
    assert len({photo.path for photo in found.photos}) == len({found.file(photo) for photo in found.photos}) == 25


def test_a_name_that_two_folders_have_means_the_one_of_the_list():
    files = {f"{folder}/{n}.jpg": folder for folder in ("train", "test") for n in range(20)}
    rows = "".join(f"{n},{'ab'[n % 2]}\n" for n in range(20))
    found = of({**files, "train.csv": f"id,label\n{rows}"})
    assert {found.file(photo).split("/")[0] for photo in found.photos} == {"train"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id,breed\n1,a\n1,b\n", "labels.csv names 'pics/1.jpg' twice, as a and as b; keep one"),
        ("id,breed\n1,\n", "labels.csv names no class for 'pics/1.jpg'"),
        ("id,breed\n7,a\n", "labels.csv names no photo of the dataset; its first row means '7'"),
        ("id,breed\n", "labels.csv names no photo of the dataset"),
        ("1,a\n2,b\n", "labels.csv may name the classes, but not in a form that is known"),
        ("id,breed\n2,a\n", "labels.csv names '2', which may be pics/2.jpg or pics/2.png; write their folders"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused_with_a_sentence(text, words):
    files = {"pics/1.jpg": "x", "pics/2.jpg": "x", "pics/2.png": "x", "labels.csv": text}
    with pytest.raises(DatasetError, match=words):
        of(files)


def test_a_list_in_another_encoding_is_refused():
    content = "id,breed\n1,Épagneul\n".encode("cp1252")
    with pytest.raises(DatasetError, match=r"labels.csv is not written in UTF-8; save it as CSV UTF-8"):
        listing([("pics/1.jpg", 1), ("labels.csv", len(content))], "x", read=lambda _: content)


def test_a_list_of_endless_length_is_not_read():
    with pytest.raises(DatasetError, match=r"labels.csv has more than 20,000,000 bytes"):
        listing([("pics/1.jpg", 1), ("labels.csv", 10**9)], "x", read=lambda _: pytest.fail("read"))


def test_photos_right_in_folders_of_splits_are_no_classes():
    with pytest.raises(DatasetError, match="photos lie in test/, train/"):
        listing([(f"{split}/{n}.jpg", n) for split in ("train", "test") for n in range(30)], "x")
