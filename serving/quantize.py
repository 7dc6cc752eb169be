"""Quantization of the float network to 8-bit integers, by NNCF's post-training quantization.

Only the evaluation imports this module: the serving image contains neither NNCF nor the packages that NNCF needs.
See "int8 by NNCF with full bias correction" in docs/decisions/evaluation-and-gate.md.
"""

import logging
import os
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout

import nncf
import numpy as np
import openvino as ov

from serving.export import to_openvino_network
from serving.model import last_line
from serving.served_artifact import OpenVinoNetwork

_QUANTIZABLE = {"Convolution", "GroupConvolution", "MatMul"}


class QuantizationError(ValueError):
    """NNCF cannot make an int8 network of a network; the message says why."""


def quantize(
    network: OpenVinoNetwork, images: Sequence[np.ndarray], asymmetric_activations: bool = False
) -> OpenVinoNetwork:
    """Quantize weights and activations to 8 bits.

    Args:
        network: The float network.
        images: Arrays uint8 RGB ``[S, S, 3]``, from which NNCF learns the ranges of the activations.
        asymmetric_activations: Allow ranges of activations that are not symmetric around zero. This is closer to the
            float network, and slower, because the layers then have zero points.
            See "A second try with the MIXED preset" in docs/decisions/evaluation-and-gate.md.

    Returns:
        The int8 network.

    Raises:
        QuantizationError: The network has no layer to quantize, or NNCF fails.
    """
    nncf.set_log_level(logging.ERROR)
    mixed, symmetric = nncf.QuantizationPreset.MIXED, nncf.QuantizationPreset.PERFORMANCE
    try:
        model = ov.Core().read_model(network.xml, network.weights)
        if not any(operation.get_type_name() in _QUANTIZABLE for operation in model.get_ops()):
            raise QuantizationError("the network has no convolution and no linear layer to quantize")
        # NNCF draws progress bars, which would fill the log.
        with open(os.devnull, "w") as devnull, redirect_stdout(devnull), redirect_stderr(devnull):
            quantized = nncf.quantize(
                model,
                nncf.Dataset([image[None] for image in images]),
                subset_size=len(images),
                preset=mixed if asymmetric_activations else symmetric,
                fast_bias_correction=False,
                # See "overflow_fix in all layers" in docs/decisions/evaluation-and-gate.md.
                advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
            )
    except QuantizationError:
        raise
    except Exception as error:  # NNCF and OpenVINO raise many unrelated types.
        raise QuantizationError(f"NNCF cannot quantize the network ({last_line(error)})") from error
    return to_openvino_network(quantized)
