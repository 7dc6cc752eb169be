import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from serving import evaluate
from serving.cpu_precision import cpu_kind, precisions_for
from serving.quantize import QuantizationError, quantize
from serving.served_artifact import OpenVinoNetwork, ServedArtifact, load_artifact, unpack

from .conftest import make_root

pytestmark = pytest.mark.skipif("int8" not in precisions_for(cpu_kind()), reason="this CPU does not compute in int8")


def run(folder: Path, net: str) -> tuple[Path, dict[str, Any]]:
    """Run an evaluation; return the served artifact's folder and the report."""
    root = make_root(folder, net)
    assert evaluate.main(["--root", str(root), "--version", "colours-3"]) == 0
    unpack(root / "output" / "artifact" / "model.tar.gz", folder / "served")
    return folder / "served", json.loads((root / "output" / "report" / "evaluation.json").read_text())


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    return run(tmp_path_factory.mktemp("quantized"), "convolutions")


def row(report: dict[str, Any], precision: str) -> dict[str, Any]:
    return next(row for row in report["precisions"] if row["precision"] == precision)


def test_convolutions_get_an_int8_network_with_golden_answers(quantized: tuple[Path, dict[str, Any]]) -> None:
    artifact = load_artifact(quantized[0])
    assert set(artifact.networks) == {"float", "int8"}
    assert b"FakeQuantize" in artifact.networks["int8"].xml
    assert {"int8", "f32"} <= set(artifact.precisions)
    for golden in artifact.golden:
        assert set(golden.probabilities) == set(precisions_for(cpu_kind()))
        assert golden.probabilities["int8"] == pytest.approx(golden.probabilities["f32"], abs=0.05)


def test_report_says_what_int8_loses_and_whether_it_serves(quantized: tuple[Path, dict[str, Any]]) -> None:
    report = quantized[1]
    assert row(report, "int8")["valid_top1"] == 1.0
    assert row(report, "int8")["used"] == (precisions_for(cpu_kind())[0] == "int8")
    assert "top-1 100.00% on 18 validation photos, f32 100.00%" in row(report, "int8")["why"]
    assert [r["precision"] for r in report["precisions"] if r["used"]] == [report["challenger"]["precision"]]
    assert row(report, "int8")["model_ms"] > 0


@pytest.mark.parametrize("instructions", ["AVX2", "AVX512_CORE"])
def test_golden_answers_hold_on_older_cpus(quantized: tuple[Path, dict[str, Any]], instructions: str) -> None:
    """CPUs without VNNI keep the sum of two products in 16 bits, which may saturate."""
    script = (
        "import sys; from serving.served_artifact import load_artifact; from serving.model import ServedModel\n"
        "for precision in ('int8', 'f32'): ServedModel(load_artifact(sys.argv[1]), precision).check_golden()"
    )
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": instructions, "CI": "true"}
    command = [sys.executable, "-c", script, str(quantized[0])]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr


def test_int8_that_loses_too_much_is_not_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    served, report = run(tmp_path, "brittle")
    assert (
        capsys.readouterr().out.count("quantizing with 12 photos\n") == 2
    )  # once with symmetric activations, once with asymmetric ones
    assert set(load_artifact(served).networks) == {"float"}
    assert row(report, "f32")["valid_top1"] == 1.0
    assert row(report, "int8")["valid_top1"] == pytest.approx(
        1 / 3
    )  # Rounding leaves only the dark channel's weights above 0.
    assert row(report, "int8")["why"] == (
        "not used: top-1 33.33% on 18 validation photos, f32 100.00%, more than 0.5 points lost"
    )
    assert row(report, "int8")["bytes"] is None


def test_network_without_layers_is_not_quantized(artifact: ServedArtifact) -> None:
    with pytest.raises(QuantizationError, match="no convolution and no linear layer"):
        quantize(artifact.networks["float"], [])


def test_damaged_network_is_not_quantized() -> None:
    with pytest.raises(QuantizationError, match="cannot quantize"):
        quantize(OpenVinoNetwork(b"<net>", b""), [])
