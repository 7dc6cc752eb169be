"""Decoding and the model with nothing around them, in one thread: the limit of ``python -m benchmarks function``."""

import base64
import os
import time
from typing import Any

from serving.model import ServedModel
from serving.served_artifact import load_artifact

_model = ServedModel(load_artifact(os.environ["MODEL_FOLDER"]), num_streams=1)


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer the photo's class, and the milliseconds of decoding and model."""
    photo = base64.b64decode(event["photo"])
    began = time.perf_counter()
    prediction = _model.predict(photo)
    milliseconds = (time.perf_counter() - began) * 1e3
    return {"class": prediction.ranking[0][0].id, "milliseconds": milliseconds}
