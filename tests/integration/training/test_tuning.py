"""A search inside the training program: over two ranks, interrupted, and its winner trained again elsewhere."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from training import train

REPOSITORY = Path(__file__).parents[3]
SEARCH = {
    "trials": 6,
    "max_parallel": 3,
    "ranges": {
        "learning_rate": {"min": 1e-4, "max": 0.1, "scale": "log"},
        "epochs": {"min": 3, "max": 9},
        "backbone": ["efficientnet_lite0", "efficientnet_lite2"],
    },
}


def command(data: Path, folder: Path, hyperparameters: dict[str, Any]) -> list[str]:
    options = [
        "--data",
        str(data),
        "--model-dir",
        str(folder / "model"),
        "--checkpoint-dir",
        str(folder / "checkpoints"),
    ]
    return [*options, "--hyperparameters", json.dumps(hyperparameters)]


def two_ranks(port: int, arguments: list[str]) -> str:
    """Run the training program as two ranks, and return the log of the first."""
    variables = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "PYTHONPATH": str(REPOSITORY)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "training.train", *arguments],
            env={**os.environ, **variables, "RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    logs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    return logs[0]


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / "model" / f"{name}.json").read_text())


def figures(tuned: dict[str, Any]) -> list[Any]:
    names = ("trial", "hyperparameters", "compared_after", "valid_top1", "valid_loss", "ended")
    return [[each[name] for name in names] for each in tuned["trials"]]


def test_a_search_needs_no_test_photos_and_its_winner_can_be_trained_again_to_the_same_bits(
    tmp_path: Path, dataset: Path, free_port: int
) -> None:
    for file in (dataset / "test").rglob("*.png"):
        file.write_bytes(b"no photo")  # Whoever read them would find out.
    log = two_ranks(free_port, command(dataset, tmp_path / "two", {"tune": json.dumps(SEARCH)}))
    tuned = read(tmp_path / "two", "tuned")
    assert len(tuned["trials"]) == 6
    assert {each["hyperparameters"]["backbone"] for each in tuned["trials"]} == {
        "efficientnet_lite0",
        "efficientnet_lite2",
    }
    assert "trial=6/6 " in log
    assert tuned["gain"]["photos"] == 6
    assert read(tmp_path / "two", "training")["hyperparameters"]["backbone"] in log

    # The trials are the same with one rank. So is the winner, where it is trained by as many ranks.
    assert train.main(command(dataset, tmp_path / "one", {"tune": json.dumps(SEARCH)})) == 0
    one = read(tmp_path / "one", "tuned")
    assert figures(one) == figures(tuned)
    assert one["finalists"][0]["valid_loss"] == tuned["finalists"][0]["valid_loss"]
    assert one["train_again"]["processes"] == 1
    assert train.main(command(dataset, tmp_path / "again", one["train_again"]["hyperparameters"])) == 0
    checksums = [read(tmp_path / folder, "ddp")["parameter_checksums"] for folder in ("one", "again")]
    assert checksums[0] == checksums[1]


def test_mistakes_in_a_search_are_sentences(tmp_path: Path, dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refusal(tune: dict[str, Any], **fixed: Any) -> str:
        assert train.main(command(dataset, tmp_path, {"tune": json.dumps(tune), **fixed})) == 1
        last: str = capsys.readouterr().err.splitlines()[-1]
        return last

    assert "'learning_rat' is unknown (did you mean 'learning_rate'?)" in refusal({"ranges": {"learning_rat": [1]}})
    assert refusal({}, mode="full").startswith("tune: inside a training only mode head is searched")
    assert "used up before the first trial was finished" in refusal({"minutes": 1e-6})
    assert not (tmp_path / "model").exists()
