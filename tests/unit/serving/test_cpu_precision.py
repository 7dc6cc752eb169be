from pathlib import Path

import pytest

from serving import cpu_precision
from serving.cpu_precision import cpu_kind, precisions_for, preferred_precision


@pytest.mark.parametrize(
    ("machine", "flags", "kind", "preferred"),
    [
        ("x86_64", "avx2 avx512f avx512_vnni avx512_bf16 amx_bf16 amx_int8 amx_tile", "AMX", "bf16"),
        ("x86_64", "avx2 avx512f avx512_vnni avx512_bf16", "VNNI and bf16", "int8"),
        ("x86_64", "avx2 avx512f avx512_vnni", "VNNI", "int8"),
        ("x86_64", "avx2 avx_vnni", "VNNI", "int8"),
        ("AMD64", "avx2 fma", "neither AMX nor VNNI", "int8"),
        ("aarch64", "asimd bf16 i8mm", "Arm", "f32"),
        ("arm64", "", "Arm", "f32"),
    ],
)
def test_cpu_kind_follows_from_the_flags(
    monkeypatch: pytest.MonkeyPatch, machine: str, flags: str, kind: str, preferred: str
) -> None:
    monkeypatch.setattr(cpu_precision.platform, "machine", lambda: machine)
    monkeypatch.setattr(cpu_precision, "_cpu_flags", lambda: set(flags.split()))
    assert cpu_kind() == kind
    assert preferred_precision(precisions_for("VNNI and bf16")) == preferred


@pytest.mark.parametrize(
    ("kind", "offered", "chosen"),
    [
        ("AMX", {"int8", "f32"}, "int8"),
        ("VNNI and bf16", {"bf16", "f32"}, "bf16"),
        ("VNNI", {"bf16", "f32"}, "f32"),  # This CPU would only emulate bf16, six times slower than int8.
        ("Arm", {"int8", "f32"}, "f32"),
        ("VNNI", {"bf16"}, "f32"),  # ServedModel then refuses this artifact.
    ],
)
def test_preferred_precision_is_one_that_is_offered(
    monkeypatch: pytest.MonkeyPatch, kind: str, offered: set[str], chosen: str
) -> None:
    monkeypatch.setattr(cpu_precision, "cpu_kind", lambda: kind)
    assert preferred_precision(offered) == chosen


def test_cpu_without_flags_is_of_the_simplest_kind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cpu_precision.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(cpu_precision, "Path", lambda _name: tmp_path / "missing")  # macOS has no /proc.
    assert cpu_kind() == "neither AMX nor VNNI"


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        ("", []),
        ("avx2", ["AVX2"]),
        ("avx2 avx_vnni", ["AVX2"]),
        ("avx2 avx512f avx512bw avx512dq avx512vl", ["AVX2", "AVX512_CORE"]),
        (
            "avx2 avx512f avx512bw avx512dq avx512vl avx512_vnni avx512_bf16 amx_bf16 amx_int8",
            ["AVX2", "AVX512_CORE", "AVX512_CORE_VNNI", "AVX512_CORE_BF16", "AVX512_CORE_AMX"],
        ),
    ],
)
def test_instruction_sets_are_those_of_the_flags(monkeypatch: pytest.MonkeyPatch, flags: str, names: list[str]) -> None:
    monkeypatch.setattr(cpu_precision, "_cpu_flags", lambda: set(flags.split()))
    assert cpu_precision.instruction_sets() == names


def test_each_instruction_set_names_the_kind_of_its_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_precision.platform, "machine", lambda: "x86_64")
    for name, flags in cpu_precision._ISA_FLAGS.items():
        monkeypatch.setattr(cpu_precision, "_cpu_flags", lambda flags=flags: flags)
        assert cpu_precision.ISA_KINDS[name] == cpu_kind()
