import pytest

from training.imagenet_dogs import DOG_ROWS, imagenet_row


@pytest.mark.parametrize(
    ("label", "row"),
    [
        ("001.Affenpinscher", 252),
        ("071.German_shepherd_dog", 235),
        ("085.German_shepherd", 235),
        ("n02106662-German_shepherd", 235),
        ("n02106662", 235),
        ("038.Wire_haired_fox_terrier", 188),
        ("068.Flat-coated_retriever", 205),
        ("057.Dalmatian", 251),
        ("118.Dingo", 273),
        ("120.African_hunting_dog", 275),
        ("golden retriever", 207),
        ("006.American_eskimo_dog", None),
        ("056.Dachshund", None),
        ("cat", None),
    ],
)
def test_class_folder_finds_its_imagenet_row(label: str, row: int | None) -> None:
    assert imagenet_row(label) == row


def test_dog_rows_are_the_breeds_and_the_wild_dogs_without_wolves() -> None:
    assert (*range(151, 269), 273, 274, 275) == DOG_ROWS
