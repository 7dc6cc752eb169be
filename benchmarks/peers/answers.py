"""The parts that all peers share: preparing a photo, and making the answer."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from training import preprocess

FOLDER = Path(os.environ["PEER_MODEL"])
_MODEL = json.loads((FOLDER / "model.json").read_text())
SPEC = preprocess.TrainingPreprocess(**_MODEL["preprocess"])


def pixels(photo: bytes) -> np.ndarray:
    """Decode a photo's bytes to uint8 RGB ``[S, S, 3]``."""
    return preprocess.pixels(photo, SPEC)


def answer(logits: np.ndarray, dog: float) -> dict[str, Any]:
    """Return the body of an answer from logits ``[C]`` and P(dog)."""
    exponentials = np.exp((logits - logits.max()) / _MODEL["temperature"])
    probabilities = exponentials / exponentials.sum()
    top = [
        {**_MODEL["labels"][i], "probability": round(float(probabilities[i]), 4)}
        for i in np.argsort(-probabilities)[:5]
    ]
    return {
        "model_version": _MODEL["version"],
        **top[0],
        "is_dog": dog >= _MODEL["dog_threshold"],
        "dog_probability": round(dog, 4),
        "top": top,
    }
