"""FastAPI with eager PyTorch: ``uvicorn benchmarks.peers.fastapi_eager:app``.

Variants: ``/invocations`` on FastAPI's threads, ``/invocations-async`` on the event loop.
"""

from typing import Annotated, Any

import torch
from fastapi import Body, FastAPI

from benchmarks.peers.answers import answer, pixels
from benchmarks.peers.eager import load, normalized

app = FastAPI()
classifier = load()


def predict(photo: Annotated[bytes, Body(media_type="image/jpeg")]) -> dict[str, Any]:
    """Answer one photo."""
    with torch.inference_mode():
        logits, dog = classifier(normalized(pixels(photo))[None])
    return answer(logits[0].numpy(), dog.item())


async def predict_on_the_loop(photo: Annotated[bytes, Body(media_type="image/jpeg")]) -> dict[str, Any]:
    """Answer one photo while the other requests wait."""
    return predict(photo)


app.post("/invocations")(predict)
app.post("/invocations-async")(predict_on_the_loop)
