"""The network that the evaluation compiles ahead: equal answers, and a way back where it does not fit."""

import os
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from local.home import ROOT
from serving import compile_ahead, photo_function
from serving.compiled import key
from serving.cpu_precision import PRECISIONS, instruction_sets
from serving.model import ServedModel
from serving.served_artifact import ArtifactError, ServedArtifact

pytestmark = pytest.mark.skipif(
    not instruction_sets() or not hasattr(os, "memfd_create"), reason="only Linux on x86 takes compiled networks"
)


def own_key(artifact: ServedArtifact) -> str:
    return key(ServedModel(artifact).precision, instruction_sets()[-1])


def imports(artifact: ServedArtifact) -> bool:
    return ServedModel(artifact, num_streams=1, import_compiled=True).is_imported


def test_evaluation_compiles_for_its_own_instruction_set(artifact: ServedArtifact) -> None:
    assert own_key(artifact) in artifact.compiled
    assert len(artifact.compiled) == len(instruction_sets())


def test_compiled_network_gives_equal_bits(artifact: ServedArtifact, model: ServedModel) -> None:
    imported = ServedModel(artifact, num_streams=1, import_compiled=True)
    compiled = ServedModel(artifact, num_streams=1)
    assert (imported.is_imported, compiled.is_imported, model.is_imported) == (True, False, False)
    side = artifact.preprocess.image_size
    for seed in range(5):
        image = np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)
        (logits, dog), expected, served = (each.infer(image) for each in (imported, compiled, model))
        assert (logits.tobytes(), dog) == (expected[0].tobytes(), expected[1]) == (served[0].tobytes(), served[1])


@pytest.mark.parametrize("content", [b"damaged", zlib.compress(b"damaged"), None])
def test_damaged_or_missing_network_is_compiled_anew(artifact: ServedArtifact, content: bytes | None) -> None:
    compiled = {} if content is None else {own_key(artifact): content}
    assert not imports(replace(artifact, compiled=compiled))


def test_network_is_compiled_where_the_system_has_no_anonymous_files(
    artifact: ServedArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "memfd_create")
    assert not imports(artifact)


def test_network_for_another_instruction_set_is_not_taken(artifact: ServedArtifact, tmp_path: Path) -> None:
    name, hint = PRECISIONS[ServedModel(artifact).precision]
    (tmp_path / "n.xml").write_bytes(artifact.networks[name].xml)
    (tmp_path / "n.bin").write_bytes(artifact.networks[name].weights)
    found = {}
    for isa in ("SSE41", "DEFAULT"):
        command = (sys.executable, "-m", "serving.compile_ahead", str(tmp_path / "n"), hint, str(tmp_path / isa))
        subprocess.run(command, cwd=ROOT, env={**os.environ, "ONEDNN_MAX_CPU_ISA": isa}, check=True)
        found[isa] = imports(replace(artifact, compiled={own_key(artifact): (tmp_path / isa).read_bytes()}))
    assert found == {"SSE41": False, "DEFAULT": True}


def test_function_drops_a_compiled_network_that_answers_otherwise(
    artifact: ServedArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ServedModel.check_golden

    def check(self: ServedModel) -> None:
        if self.is_imported:
            raise ArtifactError("golden photo of Red setter was answered otherwise")
        real(self)

    monkeypatch.setattr(ServedModel, "check_golden", check)
    assert not photo_function._checked_model(artifact).is_imported
    monkeypatch.setattr(ServedModel, "check_golden", real)
    assert photo_function._checked_model(artifact).is_imported


def test_model_that_answers_otherwise_also_when_compiled_is_refused(
    artifact: ServedArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(self: ServedModel) -> None:
        raise ArtifactError("another answer")

    monkeypatch.setattr(ServedModel, "check_golden", check)
    with pytest.raises(ArtifactError, match="another answer"):
        photo_function._checked_model(artifact)


def test_evaluation_goes_on_without_what_cannot_be_compiled(
    artifact: ServedArtifact, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(compile_ahead.sys, "executable", "/bin/false")
    assert compile_ahead.compile_ahead(artifact) == {}
    assert f"not compiled ahead for {instruction_sets()[-1]}" in capsys.readouterr().err
