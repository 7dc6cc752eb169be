"""The training command of docs/machines.md, with an archive like the course's: a folder inside, and a photo cut off."""

import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

from sketchbook import write
from tests.integration.laptop import ROOT

PAGE = (ROOT / "docs" / "machines.md").read_text()


def course_archive(folder: Path) -> Path:
    counts = {"train": 8, "valid": 4, "test": 4}
    photos = write(folder / "photos", seed=5, counts=counts, breeds=("Dalmatian", "Samoyed"), size=96)
    files = sorted(path for path in photos.rglob("*") if path.is_file())
    broken = next(path for path in files if "train" in path.relative_to(photos).parts)
    broken.write_bytes(broken.read_bytes()[: broken.stat().st_size // 2])
    with zipfile.ZipFile(folder / "dogImages.zip", "w") as archive:
        for path in files:
            archive.write(path, Path("dogImages") / path.relative_to(photos))
    return folder / "dogImages.zip"


def test_one_command_trains_on_the_archive_as_it_is(tmp_path: Path) -> None:
    [words] = re.findall(r"-m (training\.train .*?) \\\n", PAGE)
    archive = course_archive(tmp_path)
    command = [sys.executable, "-m", *(word.replace("~", str(tmp_path)) for word in shlex.split(words))]
    assert str(archive) in command
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert re.search(r"1 unreadable photos in train/ left out: \S*train/", done.stdout + done.stderr)
    assert {"model.safetensors", "manifest.json", "labels.json", "training.json"} <= {
        path.name for path in (tmp_path / "TrainedModels").iterdir()
    }


def test_the_files_that_the_page_installs_from_are_there() -> None:
    names = re.findall(r"-r (\S+\.txt)", PAGE)
    assert names
    assert all((ROOT / name).is_file() for name in names)
