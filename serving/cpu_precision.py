"""In which precision the network is computed on which CPU.

An artifact holds up to two networks: ``float``, which OpenVINO computes in f32 or in bf16, and ``int8``, which
NNCF quantized. How fast each is on which CPU stands in docs/decisions.md.
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
# The fastest first; but with AMX bf16, which is as fast as int8 there and nearer to what was trained.
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
    """The precisions that such a CPU computes itself, the preferred one first."""
    return _ORDER[kind]


def preferred_precision(offered: Collection[str]) -> str:
    """The preferred of the offered precisions on this CPU; ``f32``, which every CPU computes, if it is none of them."""
    return next((name for name in precisions_for(cpu_kind()) if name in offered), "f32")
