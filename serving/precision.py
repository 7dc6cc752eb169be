"""In which precision the network is computed on which CPU.

An artifact holds up to two networks: ``float``, which OpenVINO computes in fp32 or in bf16, and ``int8``, which
NNCF quantized. Milliseconds per photo of the default backbone, one thread of two streams:

    =====================================  =====  =====  =====
    CPU                                     fp32   bf16   int8
    =====================================  =====  =====  =====
    AMX (Sapphire Rapids, 224 pixels)        3.8    2.4    2.3
    AVX-512 with VNNI and bf16 (Zen 4)      12.3    7.1    5.0
    the same with VNNI only                 13.2   34.9    5.9
    the same without both                   12.2   33.9    8.0
    the same with AVX2 only                 15.6      -   10.6
    =====================================  =====  =====  =====

(The last three by ``ONEDNN_MAX_CPU_ISA``; the rows do not compare with the first, of another machine.)
"""

import platform
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple


class Precision(NamedTuple):
    """A way to compute the model.

    network: which of the artifact's networks.
    hint: OpenVINO's ``INFERENCE_PRECISION_HINT`` for what is not quantized.
    """

    network: str
    hint: str


# int8 leaves fp32 between its quantized layers: bf16 there is no faster, and would answer otherwise on other CPUs.
PRECISIONS = {
    "int8": Precision("int8", "f32"),
    "bf16": Precision("float", "bf16"),
    "f32": Precision("float", "f32"),
}
# Fastest first. With AMX bf16 is as fast as int8, and nearer to what was trained.
_ORDER = {
    "AMX": ("bf16", "int8", "f32"),
    "VNNI and bf16": ("int8", "bf16", "f32"),
    "VNNI": ("int8", "f32"),
    "neither AMX nor VNNI": ("int8", "f32"),
    "Arm": ("f32",),
}


def cpu_kind() -> str:
    """What this machine's CPU multiplies matrices with, as ``precisions_for`` knows it."""
    if platform.machine().lower() in ("arm64", "aarch64"):
        return "Arm"
    flags = _flags()
    if {"amx_bf16", "amx_int8"} <= flags:
        return "AMX"
    if flags & {"avx512_vnni", "avx_vnni"}:
        return "VNNI and bf16" if "avx512_bf16" in flags else "VNNI"
    return "neither AMX nor VNNI"


def _flags() -> set[str]:
    """The CPU's flags as Linux tells them; none where there is no such file (an Intel Mac)."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return set(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), ()))


def precisions_for(kind: str) -> tuple[str, ...]:
    """The precisions that such a CPU computes itself, the fastest first."""
    return _ORDER[kind]


def choose(offered: Collection[str]) -> str:
    """The fastest of the offered precisions on this CPU; ``f32``, which every CPU computes, if it has none."""
    return next((name for name in precisions_for(cpu_kind()) if name in offered), "f32")
