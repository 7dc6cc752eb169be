import pytest

from benchmarks import inputs
from local.home import LocalError


def test_photos_are_spread_over_the_whole_folder(tmp_path):
    for number in range(600):
        path = tmp_path / f"{number // 100}" / f"{number:03}.JPEG"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "notes.txt").touch()
    names = [path.stem for path in inputs._photos(tmp_path)]
    assert names == [f"{number:03}" for number in range(0, 600, 2)]


def test_folder_without_a_jpeg_is_refused(tmp_path):
    with pytest.raises(LocalError, match="contains no JPEG"):
        inputs._photos(tmp_path)


def test_benchmark_without_peers_takes_neither_rounds_nor_a_trained_model():
    alone, with_peers = inputs.parser("a", "A."), inputs.parser("b", "B.", rounds=5)
    assert set(vars(alone.parse_args([]))) == {"model", "photos"}
    assert set(vars(with_peers.parse_args([]))) == {"model", "photos", "trained", "rounds"}


def test_artifact_in_a_folder_is_used_in_place(tmp_path):
    assert inputs.served_model(tmp_path, tmp_path / "unpacked") == tmp_path
