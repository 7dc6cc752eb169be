"""Networks that the evaluation has compiled (``serving.compile_ahead``), so that a function's start need not.

OpenVINO writes its version and the CPU's instruction set into a compiled network and takes it nowhere else. Who finds
none that fits compiles, with equal answers. Weights are not part of it.
See "The network is compiled ahead" in docs/decisions/serving.md.
"""

import io
import os
import zlib
from typing import Any

import openvino as ov

from serving.cpu_precision import PRECISIONS, instruction_sets
from serving.served_artifact import ServedArtifact

WITHOUT_WEIGHTS = {"CACHE_MODE": "OPTIMIZE_SIZE"}


def single_stream(hint: str) -> dict[str, Any]:
    """Return OpenVINO's settings for one photo at a time in one thread, for which compiled networks are made."""
    return {
        "PERFORMANCE_HINT": "THROUGHPUT",
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_PRECISION_HINT": hint,
        "INFERENCE_NUM_THREADS": 1,
    }


def key(precision: str, isa: str) -> str:
    """Return the name under which an artifact has a compiled network."""
    return f"{precision}.{isa}"


def take(core: ov.Core, artifact: ServedArtifact, precision: str) -> ov.CompiledModel | None:
    """Return an artifact's compiled network for one photo at a time; None if it has none that fits this CPU.

    Args:
        core: OpenVINO.
        artifact: The artifact.
        precision: A key of ``PRECISIONS``.
    """
    isas = instruction_sets()
    content = artifact.compiled.get(key(precision, isas[-1])) if isas else None
    if content is None or not hasattr(os, "memfd_create"):
        return None
    name, hint = PRECISIONS[precision]
    # OpenVINO reads the weights from a file; this one has the verified bytes, and only this process sees it.
    descriptor = os.memfd_create("weights")
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(artifact.networks[name].weights)
        settings = single_stream(hint) | WITHOUT_WEIGHTS | {"WEIGHTS_PATH": f"/proc/self/fd/{descriptor}"}
        return core.import_model(io.BytesIO(zlib.decompress(content)), "CPU", settings)
    except (RuntimeError, zlib.error):  # of another version of OpenVINO, or for another CPU
        return None
    finally:
        os.close(descriptor)
