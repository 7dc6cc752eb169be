"""Values that the time scale accepts and refuses."""

import pytest

from cloud.core.clock import read_scale


@pytest.mark.parametrize(("text", "scale"), [("1", 1.0), ("60", 60.0), ("0.5", 0.5)])
def test_time_scale_is_a_number_above_zero(text: str, scale: float) -> None:
    assert read_scale(text) == scale


@pytest.mark.parametrize("text", ["fast", "", "0", "-2", "inf", "nan"])
def test_another_time_scale_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(ValueError, match=f"^KENNEL_TIME_SCALE is '{text}'; give a number above 0"):
        read_scale(text)
