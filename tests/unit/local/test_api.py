"""The client of the prediction API tells a photo by its bytes, and a file that is none by its own words."""

from pathlib import Path
from typing import Any

import pytest

from local.api import Api, ApiAnswer

JPEG, PNG = b"\xff\xd8\xff\xe0 a photo", b"\x89PNG\r\n\x1a\n a photo"


class RecordingApi(Api):
    """Records what it would send."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:9/classify", "key")
        self.sent: list[tuple[bytes, str]] = []

    def classify(self, photo: bytes, content_type: str, name: str = "") -> ApiAnswer:
        self.sent.append((photo, content_type))
        return ApiAnswer(name, 200, {})


@pytest.mark.parametrize("name", ["a.jfif", "b", "C.Jpg", "d.txt", "e.png"])
def test_first_bytes_tell_the_kind_whatever_the_name_says(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(JPEG)
    api = RecordingApi()
    (answer,) = api.classify_files([str(tmp_path / name)])
    assert (answer.ok, api.sent) == (True, [(JPEG, "image/jpeg")])


def test_each_photo_has_its_own_kind(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(PNG)
    api = RecordingApi()
    assert all(answer.ok for answer in api.classify_files([str(tmp_path / "a.jpg")]))
    assert api.sent == [(PNG, "image/png")]


@pytest.mark.parametrize(
    ("content", "status", "problem"),
    [
        (b"", 400, "the file is empty"),
        (b"GIF89a", 415, "is no JPEG, PNG or WebP photo; save it as one of them"),
        (b'{"s3": "uploads/a.jpg"}', 415, "is no JPEG, PNG or WebP photo; save it as one of them"),
    ],
)
def test_file_that_is_no_photo_is_not_sent(tmp_path: Path, content: bytes, status: int, problem: str) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    api = RecordingApi()
    (answer,) = api.classify_files([str(tmp_path / "a.jpg")])
    assert (answer.status, answer.problem, api.sent) == (status, problem, [])


def test_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    answers: list[Any] = list(RecordingApi().classify_files([str(tmp_path / "a.jpg")]))
    assert [(each.status, each.problem) for each in answers] == [(0, "cannot be read: No such file or directory")]
