"""Conversion of a trained network to the OpenVINO network that is served.

Of the modules of ``serving``, only this one and those of models that were trained elsewhere import torch. Normalization
becomes part of the network, which then takes decoded uint8 pixels ``[1, S, S, 3]``; weights are stored as fp16.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import openvino as ov
import torch
from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder
from openvino.preprocess import PrePostProcessor
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

from serving.model import softmax
from serving.preprocess import ServingPreprocess
from serving.served_artifact import OpenVinoNetwork

# torch only traces and answers a few photos here. More threads of torch would compete with OpenVINO's for the cores.
torch.set_num_threads(1)


class ExportError(ValueError):
    """OpenVINO cannot take over the network; the message says why."""


def export(classifier: nn.Module, spec: ServingPreprocess) -> OpenVinoNetwork:
    """Convert a trained network to OpenVINO.

    Args:
        classifier: It maps normalized float32 ``[B, 3, S, S]`` to logits ``[B, C]`` and P(dog) ``[B]``, in eval mode.
        spec: The specification, with the side of the input and the normalization.

    Returns:
        The network, which takes uint8 ``[1, S, S, 3]``.

    Raises:
        ExportError: OpenVINO has no conversion for an operation of the network.
    """
    example = torch.zeros(1, 3, spec.image_size, spec.image_size)
    try:
        # convert_model on the network itself would export it first, twice, for any batch size.
        # See "One make_fx trace and OpenVINO's FX decoder" in docs/decisions/evaluation-and-gate.md.
        with torch.no_grad():
            traced = make_fx(classifier)(example)
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


def torch_probabilities(classifier: nn.Module, images: Sequence[np.ndarray], spec: ServingPreprocess) -> np.ndarray:
    """Compute the trained network's own answers, to compare the exported network with.

    Args:
        classifier: The trained network.
        images: Arrays uint8 RGB ``[S, S, 3]``.
        spec: The specification, with the normalization.

    Returns:
        Probabilities ``[N, C]``, not calibrated.
    """
    mean, std = (np.asarray(values, dtype=np.float32) for values in (spec.mean, spec.std))
    batch = (np.stack(images).astype(np.float32) / 255 - mean) / std
    with torch.inference_mode():
        logits, _ = classifier(torch.from_numpy(batch.transpose(0, 3, 1, 2).copy()))
    return softmax(logits.numpy())
