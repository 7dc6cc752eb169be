"""Asking the prediction API, as any client would."""

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

CONTENT_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}
_AT_ONCE = 4
# A throttled or overloaded API says so; a polite client waits longer each time and asks again.
_PATIENCE = urllib3.Retry(
    total=5,
    backoff_factor=0.1,
    status_forcelist=(429, 503),
    allowed_methods=None,
    raise_on_status=False,
    respect_retry_after_header=False,
)


@dataclass(frozen=True)
class Answer:
    """The API's answer to one file: ``document`` is a prediction or a problem document."""

    file: str
    status: int
    document: dict[str, Any]

    @property
    def ok(self) -> bool:
        """Whether it is a prediction."""
        return self.status == 200

    @property
    def problem(self) -> str:
        """Why it is none."""
        return str(self.document.get("detail") or f"status {self.status}")


class Api:
    """A client of one API; keeps its connections open."""

    def __init__(self, url: str, key: str) -> None:
        self._url, self._key = url, key
        self._pool = urllib3.PoolManager(maxsize=_AT_ONCE, timeout=60, retries=_PATIENCE)

    def classify(self, photo: bytes, content_type: str, name: str = "") -> Answer:
        """Send one photo."""
        headers = {"x-api-key": self._key, "content-type": content_type}
        try:
            answer = self._pool.request("POST", self._url, body=photo, headers=headers)
            return Answer(name, answer.status, json.loads(answer.data))
        except urllib3.exceptions.HTTPError as error:
            return Answer(name, 0, {"detail": f"the API at {self._url} does not answer ({error})"})
        except ValueError:
            return Answer(name, answer.status, {"detail": answer.data[:200].decode(errors="replace")})

    def classify_files(self, files: Iterable[str]) -> Iterator[Answer]:
        """Send files, a few at once; answers come in the files' order."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            yield from pool.map(self._classify_file, files)

    def _classify_file(self, file: str) -> Answer:
        path = Path(file)
        content_type = CONTENT_TYPES.get(path.suffix.lower(), "application/octet-stream")
        try:
            return self.classify(path.read_bytes(), content_type, file)
        except OSError as error:
            return Answer(file, 0, {"detail": f"cannot be read: {error.strerror}"})
