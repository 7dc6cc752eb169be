"""FastAPI with the network that our server uses: ``uvicorn benchmarks.peers.fastapi_openvino:app``.

Compiled with OpenVINO's default settings. Variants: ``/invocations`` on FastAPI's threads, each with an inference
request of its own; ``/invocations-async`` on the event loop.
"""

import threading
from typing import Annotated, Any

import openvino as ov
from fastapi import Body, FastAPI

from benchmarks.peers.answers import FOLDER, answer, pixels

app = FastAPI()
network = ov.Core().compile_model(FOLDER / "network.xml", "CPU")
local = threading.local()
# Infer on one thread first: two threads whose first inferences coincide would deadlock.
network.create_infer_request().infer()


def predict(photo: Annotated[bytes, Body(media_type="image/jpeg")]) -> dict[str, Any]:
    """Answer one photo."""
    if not hasattr(local, "request"):
        local.request = network.create_infer_request()
    logits, dog = local.request.infer([pixels(photo)[None]]).values()
    return answer(logits[0], float(dog[0]))


async def predict_on_the_loop(photo: Annotated[bytes, Body(media_type="image/jpeg")]) -> dict[str, Any]:
    """Answer one photo while the other requests wait."""
    return predict(photo)


app.post("/invocations")(predict)
app.post("/invocations-async")(predict_on_the_loop)
