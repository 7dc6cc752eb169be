"""The quote and the question of the proof on an AWS account, before it spends money."""

import pytest

from local.home import LocalError
from proofs.aws_smoke import __main__ as command
from proofs.aws_smoke import quote


def test_quote_is_list_price_times_minutes_or_none_for_unknown_prices() -> None:
    dollars = quote("ml.c7i.large", "ml.m5.large", "us-east-1")
    assert dollars["training, 2 x ml.c7i.large, 10 min"] == pytest.approx(2 * 0.107 / 6)
    assert dollars["evaluation, ml.m5.large, 10 min"] == pytest.approx(0.115 / 6)
    assert dollars["staging, then production, ml.m5.large, 30 min"] == pytest.approx(0.115 / 2)
    assert dollars["building the images, CodeBuild, 15 min"] == pytest.approx(0.15)
    assert quote("ml.p5.48xlarge", "ml.m5.large", "us-east-1")["training, 2 x ml.p5.48xlarge, 10 min"] is None
    ohio = quote("ml.g6.xlarge", "ml.g6.xlarge", "us-east-2")
    assert ohio["staging, then production, ml.g6.xlarge, 30 min"] == pytest.approx(1.1267 / 2)
    assert ohio["building the images, CodeBuild, 15 min"] is None


def test_without_terminal_the_question_is_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_terminal(prompt: str) -> str:
        raise EOFError(prompt)

    monkeypatch.setattr("builtins.input", no_terminal)
    with pytest.raises(LocalError, match="no terminal to confirm on; pass --yes"):
        command._is_confirmed()
