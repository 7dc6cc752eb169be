"""LitServe with eager PyTorch: ``python -m benchmarks.peers.litserve_eager --port PORT``.

Variants: one or two workers, which share the cores, and single photos or batches.
"""

import argparse
import os
from typing import Annotated, Any

import litserve as ls
import torch
from fastapi import Body
from torch import Tensor

from benchmarks.peers.answers import answer, pixels
from benchmarks.peers.eager import load, normalized


class Breeds(ls.LitAPI):
    """Classifies the breed of a photo."""

    def __init__(self, threads: int, batch: int) -> None:
        super().__init__(api_path="/invocations", max_batch_size=batch, batch_timeout=0.005 if batch > 1 else 0.0)
        self.threads = threads

    def setup(self, device: str) -> None:
        """Load the model. LitServe calls this once per worker."""
        torch.set_num_threads(self.threads)
        self.classifier = load().to(device)

    def decode_request(self, request: Annotated[bytes, Body(media_type="image/jpeg")]) -> Tensor:
        """Return the network's input for a photo."""
        return normalized(pixels(request))

    def predict(self, x: Tensor) -> Tensor:
        """Return logits and P(dog) ``[C + 1]`` of a photo, or ``[B, C + 1]`` of a batch."""
        with torch.inference_mode():
            logits, dog = self.classifier(x if x.ndim == 4 else x[None])
        outputs = torch.cat((logits, dog[:, None]), 1)
        return outputs if x.ndim == 4 else outputs[0]

    def encode_response(self, output: Tensor) -> dict[str, Any]:
        """Return the answer's body."""
        return answer(output[:-1].numpy(), output[-1].item())


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--batch", type=int, default=1)
    options = parser.parse_args()
    api = Breeds(max(1, len(os.sched_getaffinity(0)) // options.workers), options.batch)
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=options.workers)
    server.run(host="127.0.0.1", port=options.port, generate_client_file=False, access_log=False)
