"""Conversion of the training artifact's ``model.pt2`` to the OpenVINO network that is served.

No other module of ``serving`` imports torch. Normalization becomes part of the network, which then takes decoded
uint8 pixels ``[1, S, S, 3]``; weights are stored as fp16.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import openvino as ov
import torch
from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder
from openvino.preprocess import PrePostProcessor
from torch.fx.experimental.proxy_tensor import make_fx

from serving.model import softmax
from serving.preprocess import ServingPreprocess
from serving.served_artifact import OpenVinoNetwork

# torch only traces and answers a few photos here. More threads of torch would compete with OpenVINO's for the cores.
torch.set_num_threads(1)


class ExportError(ValueError):
    """``model.pt2`` cannot be exported; the message says why."""


def load_program(path: Path) -> torch.export.ExportedProgram:
    """Load ``model.pt2``.

    Raises:
        ExportError: The file is not a program that torch.export saved.
    """
    try:
        return torch.export.load(path)
    except Exception as error:  # torch raises RuntimeError, KeyError, errors of zipfile and pickle, and others.
        raise ExportError(f"{path.name}: not a program of torch.export ({error})") from error


def export(program: torch.export.ExportedProgram, spec: ServingPreprocess) -> OpenVinoNetwork:
    """Convert a trained program to OpenVINO.

    Args:
        program: A program that takes normalized float32 ``[B, 3, S, S]``.
        spec: The specification, with the side of the input and the normalization.

    Returns:
        The network, which takes uint8 ``[1, S, S, 3]``.

    Raises:
        ExportError: OpenVINO has no conversion for an operation of the network.
    """
    example = torch.zeros(1, 3, spec.image_size, spec.image_size)
    try:
        # convert_model on the program itself would export it again, twice, for any batch size.
        # See "One make_fx trace and OpenVINO's FX decoder" in docs/decisions/evaluation-and-gate.md.
        with torch.no_grad():
            traced = make_fx(program.module(check_guards=False))(example)
            network = ov.convert_model(TorchFXPythonDecoder(traced, dynamic_shapes=False))
    except Exception as error:  # torch's tracer and OpenVINO's front end raise many unrelated types.
        raise ExportError(f"OpenVINO cannot convert the model ({error})") from error
    return to_openvino_network(_with_normalization(network, spec))


def to_openvino_network(model: ov.Model) -> OpenVinoNetwork:
    """Return an OpenVINO model as the files of an artifact, with its float weights stored as fp16."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.xml")
        ov.save_model(model, path, compress_to_fp16=True)
        return OpenVinoNetwork(path.read_bytes(), path.with_suffix(".bin").read_bytes())


def _with_normalization(network: ov.Model, spec: ServingPreprocess) -> ov.Model:
    """Put the conversion from uint8 pixels to normalized floats in front of a network."""
    steps = PrePostProcessor(network)
    image = steps.input(0)
    image.tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    image.model().set_layout(ov.Layout("NCHW"))
    image.preprocess().convert_element_type(ov.Type.f32)
    image.preprocess().mean([255 * m for m in spec.mean]).scale([255 * s for s in spec.std])
    return steps.build()


def program_probabilities(
    program: torch.export.ExportedProgram, images: Sequence[np.ndarray], spec: ServingPreprocess
) -> np.ndarray:
    """Compute the trained program's own answers, to compare the exported network with.

    Args:
        program: The trained program.
        images: Arrays uint8 RGB ``[S, S, 3]``.
        spec: The specification, with the normalization.

    Returns:
        Probabilities ``[N, C]``, not calibrated.
    """
    mean, std = (np.asarray(values, dtype=np.float32) for values in (spec.mean, spec.std))
    batch = (np.stack(images).astype(np.float32) / 255 - mean) / std
    with torch.inference_mode():
        logits, _ = program.module()(torch.from_numpy(batch.transpose(0, 3, 1, 2).copy()))
    return softmax(logits.numpy())
