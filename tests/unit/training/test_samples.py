"""When a head training shows previews."""

import pytest

from training.samples import preview_counts


@pytest.mark.parametrize(
    ("num_train", "counts"),
    [(999, []), (1000, []), (1001, [1000]), (4000, [1000, 2000]), (4001, [1000, 2000, 4000])],
)
def test_previews_come_before_the_last_photo(num_train: int, counts: list[int]) -> None:
    """The end of the feature pass needs no preview, because the training itself follows."""
    assert preview_counts(num_train) == counts
