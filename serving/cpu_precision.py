"""The decision in which precision this CPU computes the network.

An artifact contains up to two networks: ``float``, which OpenVINO computes in f32 or in bf16, and ``int8``, which
NNCF quantized. See "The kind of CPU decides the precision" in docs/decisions/serving.md.
"""

import platform
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple


class Precision(NamedTuple):
    """A way to compute the model.

    Attributes:
        network: Name of the artifact's network that is computed.
        hint: OpenVINO's ``INFERENCE_PRECISION_HINT``, which applies to the layers that are not quantized.
    """

    network: str
    hint: str


# The int8 network keeps fp32 between its quantized layers. bf16 there would be no faster, and would give other
# answers on other CPUs.
PRECISIONS = {
    "int8": Precision("int8", "f32"),
    "bf16": Precision("float", "bf16"),
    "f32": Precision("float", "f32"),
}
# The fastest precision comes first. The exception is AMX, where bf16 is as fast as int8 and closer to the training.
_PREFERENCES = {
    "AMX": ("bf16", "int8", "f32"),
    "VNNI and bf16": ("int8", "bf16", "f32"),
    "VNNI": ("int8", "f32"),
    "neither AMX nor VNNI": ("int8", "f32"),
    "Arm": ("f32",),
}
# oneDNN's names of instruction sets (ONEDNN_MAX_CPU_ISA), the least first: the flags of a CPU that has it, and the kind
# of such a CPU.
_AVX512 = {"avx2", "avx512f", "avx512bw", "avx512dq", "avx512vl"}
_ISA_FLAGS = {
    "AVX2": {"avx2"},
    "AVX512_CORE": _AVX512,
    "AVX512_CORE_VNNI": _AVX512 | {"avx512_vnni"},
    "AVX512_CORE_BF16": _AVX512 | {"avx512_vnni", "avx512_bf16"},
    "AVX512_CORE_AMX": _AVX512 | {"avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8"},
}
ISA_KINDS = {
    "AVX2": "neither AMX nor VNNI",
    "AVX512_CORE": "neither AMX nor VNNI",
    "AVX512_CORE_VNNI": "VNNI",
    "AVX512_CORE_BF16": "VNNI and bf16",
    "AVX512_CORE_AMX": "AMX",
}


def instruction_sets() -> list[str]:
    """Return the instruction sets of this CPU, keys of ``ISA_KINDS``, the greatest last; none of a CPU of Arm."""
    flags = _cpu_flags()
    return [name for name, needed in _ISA_FLAGS.items() if needed <= flags]


def cpu_kind() -> str:
    """Return the kind of this machine's CPU, a key of ``_PREFERENCES``, by its instructions for matrix products."""
    if platform.machine().lower() in ("arm64", "aarch64"):
        return "Arm"
    flags = _cpu_flags()
    if {"amx_bf16", "amx_int8"} <= flags:
        return "AMX"
    if flags & {"avx512_vnni", "avx_vnni"}:
        return "VNNI and bf16" if "avx512_bf16" in flags else "VNNI"
    return "neither AMX nor VNNI"


def _cpu_flags() -> set[str]:
    """Return the CPU's flags from ``/proc/cpuinfo``; none where that file does not exist (an Intel Mac)."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return set(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), ()))


def precisions_for(kind: str) -> tuple[str, ...]:
    """Return the precisions that a kind of CPU computes in hardware, the preferred one first."""
    return _PREFERENCES[kind]


def preferred_precision(offered: Collection[str]) -> str:
    """Return the first of this CPU's precisions that is offered; ``f32``, which every CPU computes, if none is."""
    return next((name for name in precisions_for(cpu_kind()) if name in offered), "f32")
