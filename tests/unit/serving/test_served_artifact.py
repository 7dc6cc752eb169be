import hashlib
import io
import json
import random
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from serving.served_artifact import (
    ArtifactError,
    OpenVinoNetwork,
    ServedArtifact,
    archived_files,
    load_artifact,
    pack,
    read_artifact,
    unpack,
    write_artifact,
)

from .conftest import SPEC


@pytest.fixture
def folder(served: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(served, tmp_path / "copy"))


def test_artifact_survives_writing_and_loading(artifact: ServedArtifact, tmp_path: Path) -> None:
    write_artifact(artifact, tmp_path)
    assert load_artifact(tmp_path) == artifact


def test_digest_is_that_of_the_first_release(artifact: ServedArtifact) -> None:
    """Measurements that an older release stored are found by the digest."""
    networks = {"int8": OpenVinoNetwork(b"c", b"d"), "float": OpenVinoNetwork(b"a", b"b")}
    hashed = (
        b"abcdPreprocess(image_size=32, resize='squash', resize_to=32, interpolation='bilinear', jpeg_oversampling=0, "
        b"mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), color='RGB', exif_orientation=True)"
    )
    digest = replace(artifact, networks=networks, preprocess=SPEC).digest
    assert digest == hashlib.sha256(hashed).hexdigest()[:16] == "3e8bd2e7ffbf0c67"


def test_changed_file_is_refused(folder: Path) -> None:
    weights = bytearray((folder / "float.bin").read_bytes())
    weights[0] ^= 1
    (folder / "float.bin").write_bytes(weights)
    with pytest.raises(ArtifactError, match=r"float\.bin is not the file that was exported"):
        load_artifact(folder)


def test_truncated_file_is_refused(folder: Path) -> None:
    path = folder / "float.xml"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ArtifactError, match=r"float\.xml"):
        load_artifact(folder)


@pytest.mark.parametrize("name", ["float.bin", "labels.json", "golden/golden.json", "manifest.json"])
def test_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=name):
        load_artifact(folder)


def test_file_left_out_of_the_manifest_is_missing(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["sha256"]["calibration.json"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=r"calibration.json"):
        load_artifact(folder)


@pytest.mark.parametrize(
    "change", [{"temperature": 0}, {"temperature": "nan"}, {"dog_threshold": 2}, {"temperature": None}]
)
def test_invalid_calibration_is_refused(artifact: ServedArtifact, tmp_path: Path, change: dict[str, object]) -> None:
    write_artifact(replace(artifact, calibration=replace(artifact.calibration, **change)), tmp_path)  # type: ignore[arg-type]
    with pytest.raises(ArtifactError, match=r"float|calibration\.json"):
        load_artifact(tmp_path)


def test_artifact_without_golden_photos_is_refused(artifact: ServedArtifact, tmp_path: Path) -> None:
    write_artifact(replace(artifact, golden=()), tmp_path)
    with pytest.raises(ArtifactError, match=r"golden\.json contains no photo"):
        load_artifact(tmp_path)


@pytest.mark.parametrize("manifest", ["", "[]", '{"sha256": 3}', '{"sha256": [1]}', "{}"])
def test_damaged_manifest_is_refused(folder: Path, manifest: str) -> None:
    (folder / "manifest.json").write_text(manifest)
    with pytest.raises(ArtifactError, match=r"damaged"):
        load_artifact(folder)


def test_only_the_artifact_that_was_judged_is_read(artifact: ServedArtifact, served: Path, tmp_path: Path) -> None:
    """A consistent artifact with other bytes is another artifact, whatever its own manifest says."""
    judged = hashlib.sha256((served / "manifest.json").read_bytes()).hexdigest()
    assert load_artifact(served, judged).manifest == judged == artifact.manifest
    write_artifact(replace(artifact, calibration=replace(artifact.calibration, temperature=9)), tmp_path)
    assert load_artifact(tmp_path).calibration.temperature == 9
    with pytest.raises(ArtifactError, match=rf"this is not the model that was judged: .* the judged one {judged}"):
        load_artifact(tmp_path, judged)


def test_manifest_cannot_reach_outside(folder: Path) -> None:
    (folder / "manifest.json").write_text(json.dumps({"sha256": {"../secret": "00"}}))
    with pytest.raises(ArtifactError, match=r"outside"):
        load_artifact(folder)


def test_equal_folders_pack_to_equal_bytes(served: Path, folder: Path, tmp_path: Path) -> None:
    pack(served, tmp_path / "a.tar.gz")
    pack(folder, tmp_path / "b.tar.gz")
    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "b.tar.gz").read_bytes()
    with tarfile.open(tmp_path / "a.tar.gz") as tar:
        assert {"float.xml", "golden/golden.json"} <= set(tar.getnames())


def test_archive_that_reaches_outside_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "bad.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo("../escaped")
        member.size = 3
        tar.addfile(member, io.BytesIO(b"bad"))
    with pytest.raises(ArtifactError, match=r"bad.tar.gz"):
        unpack(tmp_path / "bad.tar.gz", tmp_path / "inside")
    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize(
    ("kind", "name"),
    [(tarfile.SYMTYPE, "labels.json"), (tarfile.LNKTYPE, "labels.json"), (tarfile.FIFOTYPE, "pipe")]
    + [(tarfile.REGTYPE, name) for name in ("/tmp/escaped", "golden/../../escaped")],
)
def test_archive_with_anything_but_files_of_its_own_folder_is_refused(tmp_path: Path, kind: bytes, name: str) -> None:
    with tarfile.open(tmp_path / "bad.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "/etc/passwd"
        tar.addfile(member)
    with pytest.raises(ArtifactError, match=rf"bad.tar.gz: not a model archive: '{name}'"):
        unpack(tmp_path / "bad.tar.gz", tmp_path / "inside")
    assert not [path for path in tmp_path.rglob("*") if path.name in ("escaped", "labels.json", "pipe")]


def test_archive_garbled_inside_a_member_is_refused(tmp_path: Path) -> None:
    (tmp_path / "noise.bin").write_bytes(random.Random(0).randbytes(100_000))
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "noise.bin", "noise.bin")
    (tmp_path / "a.tar.gz").write_bytes((tmp_path / "a.tar.gz").read_bytes()[:50_000] + bytes(50_000))
    with pytest.raises(ArtifactError, match=r"not a readable model archive"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "inside")


def test_truncated_archive_is_refused(served: Path, tmp_path: Path) -> None:
    pack(served, tmp_path / "a.tar.gz")
    (tmp_path / "a.tar.gz").write_bytes((tmp_path / "a.tar.gz").read_bytes()[:500])
    with pytest.raises(ArtifactError, match=r"not a readable model archive"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "inside")


def test_artifact_in_memory_is_that_of_its_folder(served: Path, artifact: ServedArtifact, tmp_path: Path) -> None:
    pack(served, tmp_path / "a.tar.gz")
    files = archived_files((tmp_path / "a.tar.gz").read_bytes(), "s3://kennel/m")
    read = read_artifact(files, "s3://kennel/m", artifact.manifest)
    assert read == artifact
    assert read.manifest == artifact.manifest
    for name, words in (("manifest.json", "is this a served model"), ("float.bin", "float.bin is missing")):
        rest = {other: content for other, content in files.items() if other != name}
        with pytest.raises(ArtifactError, match=f"s3://kennel/m: .*{words}"):
            read_artifact(rest, "s3://kennel/m", artifact.manifest)
    with pytest.raises(ArtifactError, match=r"float.bin is not the file that was exported"):
        read_artifact({**files, "float.bin": b"other"}, "s3://kennel/m", artifact.manifest)


def test_archive_in_memory_with_a_file_outside_is_refused() -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("../escaped"))
    with pytest.raises(ArtifactError, match=r"s3://kennel/m: not a model archive: '../escaped'"):
        archived_files(archive.getvalue(), "s3://kennel/m")
