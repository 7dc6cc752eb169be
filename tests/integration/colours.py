"""A model that names the strongest colour of a photo, and the model server with it."""

import io
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset8 as ops
from PIL import Image

from cloud.core.processes import free_port
from local.home import ROOT
from serving.preprocess import ServingPreprocess
from serving.served_artifact import (
    Calibration,
    Card,
    GoldenExample,
    Label,
    OpenVinoNetwork,
    ServedArtifact,
    write_artifact,
)

SPEC = ServingPreprocess(32, "squash", 32, "bilinear", 2, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "RGB", True)
LABELS = (Label("001.Red", "Red"), Label("002.Green", "Green"), Label("003.Blue", "Blue"))


def photo(colour):
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), colour).save(buffer, "PNG")
    return buffer.getvalue()


def network(folder):
    """A network whose logits are the mean of each channel divided by 16: a pure colour leads by 15.9. P(dog) is 0.5."""
    pixels = ops.parameter([1, 32, 32, 3], np.uint8)
    means = ops.reduce_mean(ops.convert(pixels, np.float32), ops.constant([1, 2]), keep_dims=False)
    logits = ops.divide(means, ops.constant(np.float32(16)))
    dog = ops.sigmoid(ops.reduce_sum(ops.multiply(logits, ops.constant(np.float32(0))), ops.constant([1])))
    ov.save_model(ov.Model([logits, dog], [pixels]), folder / "net.xml")
    return OpenVinoNetwork((folder / "net.xml").read_bytes(), (folder / "net.bin").read_bytes())


def coloured_artifact(folder):
    """A model that names the strongest colour. The softmax of (15.9, 0, 0) gives it a probability close to 1."""
    golden = GoldenExample(photo("red"), "001.Red", "Red", {"int8": 1.0, "bf16": 1.0, "f32": 1.0})
    card = Card("colours-1", "none", 3, 1.0, "2026-01-01T00:00:00+00:00")
    return ServedArtifact({"float": network(folder)}, LABELS, SPEC, Calibration(), card, (golden,))


class Server:
    """``python -m serving`` on a port of its own."""

    def __init__(self, artifact: ServedArtifact, folder: Path) -> None:
        write_artifact(artifact, folder)
        self.port = free_port()
        options = ("--model-dir", str(folder), "--host", "127.0.0.1", "--port", str(self.port))
        command = [sys.executable, "-m", "serving", "serve", *options]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "CI": "true"}, **streams)

    def connect(self):
        while self.process.poll() is None:
            try:
                return socket.create_connection(("127.0.0.1", self.port), timeout=300)
            except ConnectionRefusedError:
                time.sleep(0.02)
        raise AssertionError(self.process.communicate())

    def listens(self):
        with socket.socket() as caller:
            return caller.connect_ex(("127.0.0.1", self.port)) == 0


def request(body):
    head = f"POST /invocations HTTP/1.1\r\nHost: here\r\nContent-Type: image/png\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body
