"""The usual function: boto3 gets the model while the module is imported, and eager PyTorch computes it."""

import base64
import io
import os
import tarfile
from typing import Any
from urllib.parse import urlsplit

import boto3
import torch

_uri = urlsplit(os.environ["MODEL_URI"])
_archive = boto3.client("s3").get_object(Bucket=_uri.netloc, Key=_uri.path[1:])["Body"].read()
with tarfile.open(fileobj=io.BytesIO(_archive)) as _tar:
    _tar.extractall(os.environ["PEER_MODEL"], filter="data")

from benchmarks.peers.answers import answer, pixels  # noqa: E402
from benchmarks.peers.eager import load, normalized  # noqa: E402

torch.set_num_threads(1)  # Lambda may show more cores than the memory brings.
classifier = load()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer one photo."""
    photo = base64.b64decode(event["photo"])
    with torch.inference_mode():
        logits, dog = classifier(normalized(pixels(photo))[None])
    return answer(logits[0].numpy(), dog.item())
