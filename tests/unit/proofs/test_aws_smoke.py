"""What the proof on an AWS account says before it spends anything."""

import pytest

from proofs.aws_smoke import quote


def test_quote_is_list_price_times_minutes_and_owns_up_to_what_it_does_not_know() -> None:
    known = quote("ml.c7i.large", "ml.m5.large")
    assert known["training, 2 x ml.c7i.large, 10 min"] == pytest.approx(2 * 0.11 / 6)
    assert known["evaluation, ml.m5.large, 10 min"] == pytest.approx(0.115 / 6)
    assert known["staging, then production, ml.m5.large, 30 min"] == pytest.approx(0.115 / 2)
    assert known["building the images, CodeBuild, 15 min"] == pytest.approx(0.15)
    assert quote("ml.p5.48xlarge", "ml.m5.large")["training, 2 x ml.p5.48xlarge, 10 min"] is None
