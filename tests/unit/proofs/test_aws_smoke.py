"""The proof on an AWS account: its quote and its question before it spends money, and its end when it is stopped."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from local.home import LocalError
from proofs.aws_smoke import __main__ as command
from proofs.aws_smoke import quote
from proofs.aws_smoke.account import Account, Options
from proofs.aws_smoke.results import ResultTable

ACCOUNT = Account("us-east-1", "000000000000", "arn:aws:iam::000000000000:root", "")
OPTIONS = Options(yes=True, keep=False, training_instance_type="ml.c7i.large", serving_instance_type="ml.c7i.large")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The file of the record of a proof on an account in which nothing is done."""
    monkeypatch.setattr(command, "find_account", lambda: ACCOUNT)
    monkeypatch.setattr(command, "RECORD", tmp_path / "aws-smoke.json")
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield tmp_path / "aws-smoke.json"
    for number, handler in before.items():
        signal.signal(number, handler)


def stop(account: Account, name: str, options: Options, table: ResultTable) -> NoReturn:
    """Stand for the steps of the proof, during one of which somebody presses Ctrl-C."""
    with table.row("a run is promoted"):
        raise KeyboardInterrupt


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


def test_ctrl_c_deletes_the_stack_whatever_signal_comes_then(monkeypatch: pytest.MonkeyPatch, record: Path) -> None:
    deleted: list[tuple[str, set[Any]]] = []

    def clean_up(account: Account, name: str, table: ResultTable) -> list[str]:
        deleted.append((name, {signal.getsignal(number) for number in SIGNALS}))
        with table.row("nothing is left"):
            return []

    monkeypatch.setattr(command, "prove", stop)
    monkeypatch.setattr(command, "clean_up", clean_up)
    assert command.smoke(OPTIONS) == 130
    written = json.loads(record.read_text())
    assert deleted == [(written["stack"], {signal.SIG_IGN})]
    assert (written["exit_code"], written["left"]) == (130, [])
    results = {row["what"]: row["result"] for row in written["rows"]}
    assert results == {"a run is promoted": "failed", "nothing is left": "proven"}


def test_what_is_left_after_ctrl_c_is_told_with_the_commands_that_delete_it(
    monkeypatch: pytest.MonkeyPatch, record: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def clean_up(account: Account, name: str, table: ResultTable) -> list[str]:
        raise LocalError("teardown: the service does not answer")

    monkeypatch.setattr(command, "prove", stop)
    monkeypatch.setattr(command, "clean_up", clean_up)
    assert command.smoke(OPTIONS) == 2
    written = json.loads(record.read_text())
    assert written["left"] == [f"stack {written['stack']}"]
    printed = capsys.readouterr()
    assert "teardown: the service does not answer" in printed.err
    assert f"sam delete --stack-name {written['stack']} --region us-east-1 --no-prompts" in printed.out
