import hashlib
import itertools
import json
import os
import pickle
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from dataset.reading import Reading
from serving import evaluate
from serving.served_artifact import ServedArtifact, load_artifact, pack, unpack, write_artifact
from shared.evaluation import Evaluated, Evaluation

from .conftest import COLOURS, encoded, photo, sealed, write_trained


def run(root: Path) -> int:
    return evaluate.main(["--root", str(root), "--version", "colours-2"])


def report_of(root: Path) -> dict[str, object]:
    report: dict[str, object] = json.loads((root / "output" / "report" / "evaluation.json").read_text())
    return report


def failure(root: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Run the job, which must fail, and return its one sentence."""
    message = root.parent / "output" / "message"
    assert run(root) == 1
    sentence = capsys.readouterr().err.splitlines()[-1]
    assert message.read_text() == sentence
    return sentence


def test_report_has_the_figures_of_the_challenger(evaluated: Path) -> None:
    report = report_of(evaluated)
    assert (report["schema"], report["version"], report["champion"]) == (1, "colours-1", None)
    assert report["leaked"] == report["unreadable"] == []
    assert report["ddp"]["parameter_checksums"] == ["0123456789abcdef"]
    challenger = report["challenger"]
    assert isinstance(challenger, dict)
    assert (challenger["top1"], challenger["top5"], challenger["num_photos"]) == (1.0, 1.0, 15)
    assert challenger["valid_top1"] == 1.0
    assert challenger["top1_interval"] == pytest.approx([0.7961, 1.0], abs=1e-4)  # Wilson's for 15 of 15
    assert challenger["most_confused"] == []
    assert 0 < challenger["latency"]["model"]["p50"] < challenger["latency"]["both"]["p95"]
    assert challenger["photos_per_s"] > 0
    assert [b["num_photos"] for b in challenger["per_breed"]] == [5, 5, 5]


def test_report_is_valid_for_the_gate(evaluated: Path) -> None:
    report = Evaluation.model_validate(report_of(evaluated))
    assert report.challenger.num_photos == 15
    assert report.challenger.latency_p95_ms > 0
    assert report.challenger.size > 1000
    assert report.challenger.rejected is None
    assert (report.challenger.calibration_error, report.challenger.calibration_chance) < (0.2, 0.2)
    assert report.ddp.world_size >= 1


def test_export_agrees_with_the_trained_program(evaluated: Path) -> None:
    parity = report_of(evaluated)["parity"]
    assert isinstance(parity, dict)
    assert parity["photos"] == 8
    assert parity["max_probability_difference"] < 0.005


def test_artifact_carries_its_card_and_golden_photos(evaluated: Path, artifact: ServedArtifact) -> None:
    assert (artifact.card.version, artifact.card.backbone, artifact.card.classes) == (
        "colours-1",
        "colours",
        3,
    )
    assert [g.class_id for g in artifact.golden] == list(COLOURS)
    copies = json.loads((evaluated / "output/report/golden/golden.json").read_text())
    assert (evaluated / "output/report/golden" / copies[1]["photo"]).read_bytes() == artifact.golden[1].photo


def test_progress_and_summary_lines(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root) == 0
    out = capsys.readouterr().out
    assert "evaluate validation 18/18 photos_per_s=" in out
    assert "evaluate challenger 15/15 photos_per_s=" in out
    assert "challenger top1=1.0000 top5=1.0000 photos=15 precision=" in out


def test_photos_without_a_dog_are_judged_apart(root: Path) -> None:
    # P(dog) of the colour network is the brightness, so the black photo is rejected and the white one is accepted.
    other = root / "input" / "dataset" / "other" / "things"
    other.mkdir(parents=True)
    for name, grey in (("black", 0), ("white", 255)):
        (other / f"{name}.png").write_bytes(photo((grey, grey, grey), 1, "PNG"))
    (other / "broken.png").write_bytes(b"no photo")
    assert run(root) == 0
    challenger = report_of(root)["challenger"]
    assert isinstance(challenger, dict)
    assert challenger["num_photos"] == 15
    assert challenger["dogs"]["accepted"]["num_photos"] == 15
    assert challenger["dogs"]["rejected"] == {
        "share": 0.5,
        "interval": pytest.approx([0.0945, 0.9055], abs=1e-4),
        "num_photos": 2,
    }
    assert report_of(root)["unreadable"] == [
        {"photo": "other/things/broken.png", "reason": "is no picture of a known kind"}
    ]


def test_champion_is_judged_on_the_same_photos_by_class(root: Path, artifact: ServedArtifact, tmp_path: Path) -> None:
    # This champion gives red photos a class that the dataset does not have.
    labels = (replace(artifact.labels[0], id="009.Old_setter"), *artifact.labels[1:])
    write_artifact(replace(artifact, labels=labels, golden=artifact.golden[1:]), tmp_path / "champion")
    pack(tmp_path / "champion", root / "input" / "champion" / "model.tar.gz")
    assert run(root) == 0
    champion = report_of(root)["champion"]
    assert isinstance(champion, dict)
    assert champion["top1"] == pytest.approx(2 / 3)
    assert [b["recall"] for b in champion["per_breed"]] == [0.0, 1.0, 1.0]
    comparison = report_of(root)["comparison"]
    assert isinstance(comparison, dict)
    assert (comparison["num_photos"], comparison["unknown_to_champion"]) == (10, 1)
    assert (comparison["only_challenger"], comparison["only_champion"], comparison["difference"]) == (0, 0, 0.0)
    assert [b["breed"] for b in comparison["per_breed"]] == ["Green hound", "Blue terrier"]
    assert 0.2 < comparison["slowdown"] < 5  # Both models have the same network.
    changed = Evaluation.model_validate(report_of(root)).changed_breeds
    assert changed is not None
    assert ([b.label for b in changed.lost], [b.label for b in changed.new]) == (["009.Old_setter"], ["001.Red_setter"])
    parsed = Evaluation.model_validate(report_of(root)).comparison
    assert parsed is not None
    assert parsed.num_photos == 10


def test_champion_of_other_breeds_is_not_compared(root: Path, artifact: ServedArtifact, tmp_path: Path) -> None:
    labels = tuple(replace(label, id=f"9{label.id}") for label in artifact.labels)
    golden = tuple(replace(example, class_id=f"9{example.class_id}") for example in artifact.golden)
    write_artifact(replace(artifact, labels=labels, golden=golden), tmp_path / "champion")
    pack(tmp_path / "champion", root / "input" / "champion" / "model.tar.gz")
    assert run(root) == 0
    report = report_of(root)
    assert (report["champion"]["top1"], report["comparison"]) == (0.0, None)  # type: ignore[index]
    assert "knows none of these breeds" in (root / "output" / "report" / "card.html").read_text()


def test_golden_photos_are_within_the_servers_size_limit(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (root / "input/dataset/valid/001.Red_setter").iterdir():
        path.write_bytes(path.read_bytes() + bytes(10_000))  # Decoders stop at the end of the picture.
    monkeypatch.setattr("serving.challenger.MAX_BYTES", 10_000)
    assert run(root) == 0
    golden = json.loads((root / "output/report/golden/golden.json").read_text())
    assert [g["class"] for g in golden] == ["002.Green_hound", "003.Blue_terrier"]


def test_golden_photos_do_not_say_where_they_were_taken(root: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "48.8584 N, 2.2945 E"
    for path in (root / "input/dataset/valid").rglob("*.jpg"):
        photo = path.read_bytes()
        content = b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0")
        path.write_bytes(photo[:2] + b"\xff\xe1" + (len(content) + 2).to_bytes(2, "big") + content + photo[2:])
        assert b"48.8584 N" in path.read_bytes()
    assert run(root) == 0
    golden = list((root / "output/report/golden").glob("*.jpg"))
    unpack(root / "output/artifact/model.tar.gz", root / "unpacked")
    served = list((root / "unpacked/golden").glob("*.jpg"))
    assert len(golden) == len(served) == len(COLOURS)
    assert not [path for path in (*golden, *served) if b"48.8584 N" in path.read_bytes()]


def test_photos_in_formats_that_the_server_refuses_are_judged_and_become_golden_pngs(root: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    data = root / "input" / "dataset"
    kinds = itertools.cycle({"HEIF": ".heic", "AVIF": ".avif", "BMP": ".bmp", "GIF": ".jpg", "TIFF": ".tif"}.items())
    for path, (kind, suffix) in zip(sorted(data.rglob("*.jpg")), kinds, strict=False):
        content = encoded(Image.open(path), kind)
        path.unlink()
        path.with_suffix(suffix).write_bytes(content)
    first = next((data / "valid/002.Green_hound").iterdir())
    shutil.copy(first, data / "test/002.Green_hound" / f"copy{first.suffix}")
    (data / "other").mkdir()
    (data / "other/black.bmp").write_bytes(photo((0, 0, 0), 1, "BMP"))
    write_trained(root.parent / "trained", data).replace(root / "input/model/model.tar.gz")
    assert run(root) == 0
    report = report_of(root)
    assert report["unreadable"] == []
    assert [leak["photo"] for leak in report["leaked"]] == [f"test/002.Green_hound/copy{first.suffix}"]
    assert (report["challenger"]["top1"], report["challenger"]["num_photos"]) == (1.0, 16)
    assert report["challenger"]["dogs"]["rejected"]["share"] == 1.0
    golden = json.loads((root / "output/report/golden/golden.json").read_text())
    assert [Path(item["photo"]).suffix for item in golden] == [".png"] * 3


def test_report_judges_the_model_in_the_archive(root: Path, tmp_path: Path) -> None:
    assert run(root) == 0
    unpack(root / "output" / "artifact" / "model.tar.gz", tmp_path / "again")
    assert load_artifact(tmp_path / "again").card.version == report_of(root)["version"]


def test_photo_in_two_splits_is_reported(root: Path) -> None:
    data = root / "input" / "dataset"
    shutil.copy(data / "train/002.Green_hound/1.jpg", data / "test/002.Green_hound/copy.jpg")
    assert run(root) == 0
    assert report_of(root)["leaked"] == [
        {"photo": "test/002.Green_hound/copy.jpg", "also": "train/002.Green_hound/1.jpg"}
    ]


def test_photos_are_left_out_as_the_run_says(root: Path) -> None:
    data = root / "input" / "dataset"
    shutil.copy(data / "train/002.Green_hound/1.jpg", data / "test/002.Green_hound/copy.jpg")
    evaluate.evaluate(root, "v", reading=Reading(drop_leaks=True))
    report = report_of(root)
    assert report["leaked"] == []
    assert [(each["count"], each["classes"]) for each in report["left_out_counts"]] == [(1, {"002.Green_hound": 1})]
    assert isinstance(report["challenger"], dict)
    assert report["challenger"]["num_photos"] == 15


def test_unreadable_photos_of_all_splits_are_counted_by_reason_and_class(root: Path, tmp_path: Path) -> None:
    data = root / "input" / "dataset"
    setter = photo(COLOURS["001.Red_setter"], 1)
    (data / "test/001.Red_setter/0.jpg").write_bytes(b"%PDF-")
    (data / "valid/001.Red_setter/0.jpg").write_bytes(setter[: len(setter) // 2])
    (data / "other").mkdir()
    (data / "other/x.jpg").write_bytes(b"%PDF-")
    (data / "test/001.Red_setter/x.psd").write_bytes(b"")
    of_training = {"train/002.Green_hound/0.jpg": "is a PDF"}
    document = json.loads((tmp_path / "trained/data.json").read_text())
    document["splits"] = {"train": {"photos": 8, "unreadable": of_training}}
    (tmp_path / "trained/data.json").write_text(json.dumps(document))
    sealed(tmp_path / "trained").replace(root / "input" / "model" / "model.tar.gz")
    assert run(root) == 0
    report = report_of(root)
    assert report["unreadable"] == [
        {"photo": "train/002.Green_hound/0.jpg", "reason": "is a PDF"},
        {"photo": "valid/001.Red_setter/0.jpg", "reason": "ends too early"},
        {"photo": "test/001.Red_setter/0.jpg", "reason": "is a PDF"},
        {"photo": "other/x.jpg", "reason": "is a PDF"},
    ]
    assert report["unreadable_counts"] == [
        {
            "reason": "is a PDF",
            "count": 3,
            "splits": {"train": 1, "test": 1, "other": 1},
            "classes": {"001.Red_setter": 1, "002.Green_hound": 1},
        },
        {"reason": "ends too early", "count": 1, "splits": {"valid": 1}, "classes": {"001.Red_setter": 1}},
    ]
    assert [(each["count"], each["classes"]) for each in report["left_out_counts"]] == [(1, {"001.Red_setter": 1})]
    card = (root / "output/report/card.html").read_text()
    assert "is a PDF: 3 (train 1, test 1, other 1; 001.Red_setter 1, 002.Green_hound 1); ends too early: 1" in card
    assert isinstance(report["challenger"], dict)
    assert report["challenger"]["num_photos"] == 14


@pytest.mark.parametrize("split", ["valid", "test"])
def test_class_left_without_readable_photos_fails(root: Path, split: str, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (root / "input" / "dataset" / split / "003.Blue_terrier").iterdir():
        path.write_bytes(b"no photo")
    sentence = failure(root, capsys)
    assert f"class '003.Blue_terrier' has 0 photos in {split}/" in sentence
    assert f"{split}/003.Blue_terrier/0.jpg" in sentence
    assert '{"drop_breeds": ["003.Blue_terrier"]}' in sentence


def test_missing_model_fails_with_a_sentence(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "input" / "model" / "model.tar.gz").unlink()
    assert "the trained model is missing" in failure(root, capsys)


def test_damaged_model_fails_with_a_sentence(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = root / "input" / "model" / "model.tar.gz"
    archive.write_bytes(archive.read_bytes()[:300])
    assert "not a readable model archive" in failure(root, capsys)


class Hostile:
    """Unpickling it creates a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, (f"touch {self.trace}",))


@pytest.mark.parametrize("name", ["model.pt2", "weights.pth", "extra.pkl"])
def test_pickle_beside_the_trained_tensors_is_refused_by_name_and_runs_nothing(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    torch.save(Hostile(tmp_path / "ran"), tmp_path / "trained" / name)
    sealed(tmp_path / "trained").replace(root / "input" / "model" / "model.tar.gz")
    assert f"holds {name}, which can run code when it is loaded, so it was not loaded" in failure(root, capsys)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("write", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_pickle_in_the_place_of_the_trained_tensors_is_refused_and_runs_nothing(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], write: Callable[[object, Path], None]
) -> None:
    write(Hostile(tmp_path / "ran"), tmp_path / "trained" / "model.safetensors")
    training = tmp_path / "trained" / "training.json"  # The file of tensors is read for a real architecture.
    training.write_text(json.dumps(json.loads(training.read_text()) | {"backbone": "efficientnet_lite0"}))
    sealed(tmp_path / "trained").replace(root / "input" / "model" / "model.tar.gz")
    assert "model.safetensors is no file of safetensors, so it was not loaded" in failure(root, capsys)
    assert not (tmp_path / "ran").exists()


def test_program_of_an_earlier_release_is_refused_with_what_to_do(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (tmp_path / "trained").glob("m*"):  # An earlier release wrote neither tensors nor manifest.
        path.unlink()
    (tmp_path / "trained" / "model.pt2").write_bytes(b"PK")
    pack(tmp_path / "trained", root / "input" / "model" / "model.tar.gz")
    sentence = failure(root, capsys)
    assert "holds model.pt2" in sentence
    assert "train it again with this release" in sentence


@pytest.mark.parametrize("name", ["model.safetensors", "training.json", "data.json", "ddp.json"])
def test_changed_file_of_the_trained_model_is_named(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / "trained" / name).write_bytes(b"{}")
    pack(tmp_path / "trained", root / "input" / "model" / "model.tar.gz")
    assert f"{name} is not the file that was exported (SHA-256 differs)" in failure(root, capsys)


def test_trained_model_without_tensors_is_refused(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "trained" / "model.safetensors").unlink()
    sealed(tmp_path / "trained").replace(root / "input" / "model" / "model.tar.gz")
    assert "not an artifact of the training job (model.safetensors is missing)" in failure(root, capsys)


def test_job_tells_sagemaker_the_digest_of_its_report_and_the_report_that_of_the_artifact(root: Path) -> None:
    assert run(root) == 0
    message = Evaluated.model_validate_json((root.parent / "output" / "message").read_text())
    report = (root / "output" / "report" / "evaluation.json").read_bytes()
    assert message.report_sha256 == hashlib.sha256(report).hexdigest()
    with tarfile.open(root / "output" / "artifact" / "model.tar.gz") as tar:
        manifest = tar.extractfile("manifest.json")
        assert manifest
        assert json.loads(report)["manifest_sha256"] == hashlib.sha256(manifest.read()).hexdigest()
    with tarfile.open(root / "input" / "model" / "model.tar.gz") as tar:
        manifest = tar.extractfile("manifest.json")
        assert manifest
        assert json.loads(report)["trained_sha256"] == hashlib.sha256(manifest.read()).hexdigest()


def test_champion_that_is_not_the_judged_one_is_refused(
    root: Path, artifact: ServedArtifact, served: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    champion = root / "input" / "champion" / "model.tar.gz"
    pack(served, champion)
    command = ["--root", str(root), "--version", "colours-2", "--champion-manifest", artifact.manifest]
    assert evaluate.main(command) == 0
    write_artifact(replace(artifact, golden=artifact.golden[1:]), tmp_path / "another")
    pack(tmp_path / "another", champion)
    assert evaluate.main(command) == 1
    assert "this is not the model that was judged" in capsys.readouterr().err


def test_damaged_champion_fails_before_a_challenger_is_made(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "input" / "champion").mkdir()
    (root / "input" / "champion" / "model.tar.gz").write_bytes(b"no archive")
    assert run(root) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("the champion cannot be judged (")
    assert "champion/model.tar.gz: not a readable model archive" in output.err
    assert output.err.endswith("; run teardown to remove it, then run again\n")


def test_champion_with_other_golden_answers_fails_with_a_sentence(
    root: Path, artifact: ServedArtifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tuple(reversed(artifact.labels))
    write_artifact(replace(artifact, labels=labels), tmp_path / "champion")
    pack(tmp_path / "champion", root / "input" / "champion" / "model.tar.gz")
    assert failure(root, capsys).startswith("the champion cannot be judged (golden photo of Red setter")


def test_model_of_other_classes_fails_with_a_sentence(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classes = ["001.Red_setter", "002.Green_hound", "004.Other"]
    archive = write_trained(tmp_path / "other" / "trained", root / "input" / "dataset", classes)
    archive.replace(root / "input" / "model" / "model.tar.gz")
    assert "trained without the classes 003.Blue_terrier" in failure(root, capsys)
