import subprocess
import sys

import pytest

from training.hyperparameters import HyperparameterError, Hyperparameters, from_strings


def test_strings_of_sagemaker_become_typed_values() -> None:
    settings = from_strings({"epochs": "7", "learning_rate": '"0.01"', "mode": '"head"', "pull": " 1e-2 "})
    assert (settings.epochs, settings.learning_rate, settings.mode, settings.pull) == (7, 0.01, "head", 0.01)
    assert settings.seed == Hyperparameters().seed


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(HyperparameterError) as caught:
        from_strings({"epoch": "3", "seed": "1.5", "learning_rate": "fast", "pull": "-1", "mode": "fool"})
    message = str(caught.value)
    assert "'epoch' is unknown (did you mean 'epochs'?)" in message
    assert "'seed' must be a whole number, not '1.5'" in message
    assert "'learning_rate' must be a number, not 'fast'" in message
    assert "'pull' must be between 0 and 1000, not -1" in message
    assert "'mode' must be auto or head or full, not 'fool'" in message
    assert "valid are mode, backbone, epochs, full_epochs" in message
    assert "\n" not in message


@pytest.mark.parametrize("text", ["nan", "inf", "0"])
def test_learning_rate_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(HyperparameterError, match="'learning_rate' must be between"):
        from_strings({"learning_rate": text})


def test_help_explains_every_hyperparameter() -> None:
    text = subprocess.run(
        [sys.executable, "-m", "training.train", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for name in Hyperparameters.__dataclass_fields__:
        assert f"--{name.replace('_', '-')} " in text
    assert "photos per step, over all ranks" in text
    assert "torchrun --nproc_per_node=2 -m training.train --data dogImages --model-dir TrainedModels" in text
