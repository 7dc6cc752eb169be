"""The quotas of the laptop's account."""

import pytest

from cloud.core import quotas


def test_quotas_are_read_by_name() -> None:
    text = "function memory=10240, ml.c7i.large for endpoint usage=2"
    assert quotas.read_quotas(text) == {"function memory": 10240, "ml.c7i.large for endpoint usage": 2}
    assert quotas.read_quotas("") == {}
    text = "Running On-Demand Standard (A, C, D) instances=4,ml.c7i.large for endpoint usage = 2,"
    assert quotas.read_quotas(text) == {
        "Running On-Demand Standard (A, C, D) instances": 4,
        "ml.c7i.large for endpoint usage": 2,
    }


@pytest.mark.parametrize("text", ["3", "memory=", "memory=many", "=2", "memory=-1"])
def test_text_that_is_no_quota_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="is no quota; give names and whole numbers, such as 'function memory=10240"):
        quotas.read_quotas(text)


def test_new_account_has_functions_of_at_most_3008_mb() -> None:
    assert quotas.quota(quotas.FUNCTION_MEMORY) == 3008
