"""From the float network to one of 8-bit integers, by NNCF's post-training quantization.

Only the evaluation imports it: NNCF and what it brings are not in the serving image.
"""

import logging
import os
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout

import nncf
import numpy as np
import openvino as ov

from serving.export import as_network
from serving.model import last_line
from serving.served_artifact import OpenVinoNetwork

_LAYERS = {"Convolution", "GroupConvolution", "MatMul"}


class QuantizationError(ValueError):
    """NNCF cannot make an int8 network of this one; the message says why."""


def quantize(network: OpenVinoNetwork, images: Sequence[np.ndarray], zero_points: bool = False) -> OpenVinoNetwork:
    """Quantize weights and activations to 8 bits.

    Args:
        network: the float network.
        images: uint8 RGB ``[S, S, 3]`` each; they show the ranges of the activations.
        zero_points: let the range of each layer's activations lie unevenly around zero: nearer to the float
            network, and slower.

    Raises:
        QuantizationError: a network without a layer to quantize, or one that NNCF fails on.
    """
    nncf.set_log_level(logging.ERROR)
    try:
        model = ov.Core().read_model(network.xml, network.weights)
        if not any(operation.get_type_name() in _LAYERS for operation in model.get_ops()):
            raise QuantizationError("the network has no convolution and no linear layer to quantize")
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):  # progress bars
            quantized = nncf.quantize(
                model,
                nncf.Dataset([image[None] for image in images]),
                subset_size=len(images),
                preset=nncf.QuantizationPreset.MIXED if zero_points else nncf.QuantizationPreset.PERFORMANCE,
                fast_bias_correction=False,
                advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
            )
    except QuantizationError:
        raise
    except Exception as error:  # NNCF and OpenVINO raise many unrelated types
        raise QuantizationError(f"NNCF cannot quantize the network ({last_line(error)})") from error
    return as_network(quantized)
