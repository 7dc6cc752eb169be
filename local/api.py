"""A client of the prediction API."""

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

from cloud.core.root_key import RootKey
from dataset.photo_bytes import media_type
from local.laptop import REGION

CONTENT_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}
_NUM_CONNECTIONS = 4
# A throttled or overloaded API answers 429 or 503; the client waits longer each time and asks again.
_RETRIES = urllib3.Retry(
    total=5,
    backoff_factor=0.1,
    status_forcelist=(429, 503),
    allowed_methods=None,
    raise_on_status=False,
    respect_retry_after_header=False,
)


@dataclass(frozen=True)
class ApiAnswer:
    """The API's answer to one photo.

    Attributes:
        file: the photo's path.
        status: the HTTP status; 0 when there was no answer. A file that is no photo is not sent, and has the status
            with which the API would refuse it.
        document: a prediction, or a problem document.
        correlation_id: the request's id in the logs; empty if it was not sent.
    """

    file: str
    status: int
    document: dict[str, Any]
    correlation_id: str = ""

    @property
    def ok(self) -> bool:
        """Whether the document is a prediction."""
        return self.status == 200

    @property
    def problem(self) -> str:
        """Why there is no prediction."""
        return str(self.document.get("detail") or f"status {self.status}")


class Api:
    """A client of one API, which keeps its connections open."""

    def __init__(self, url: str, key: str) -> None:
        self._url, self._key = url, key
        self._pool = urllib3.PoolManager(maxsize=_NUM_CONNECTIONS, timeout=60, retries=_RETRIES)

    def classify(self, photo: bytes, content_type: str, name: str = "") -> ApiAnswer:
        """Send one photo; errors of the connection become an answer with status 0."""
        headers = {"x-api-key": self._key, "content-type": content_type}
        try:
            answer = self._pool.request("POST", self._url, body=photo, headers=headers)
            document = json.loads(answer.data)
            named = answer.headers.get("x-correlation-id") or document.get("correlation_id", "")
            return ApiAnswer(name, answer.status, document, named)
        except urllib3.exceptions.HTTPError:
            return ApiAnswer(name, 0, {"detail": f"the API at {self._url} does not answer"})
        except ValueError:
            return ApiAnswer(name, answer.status, {"detail": answer.data[:200].decode(errors="replace")})

    def classify_files(self, files: Iterable[str]) -> Iterator[ApiAnswer]:
        """Send files, a few at a time, and yield the answers in the order of the files."""
        with ThreadPoolExecutor(_NUM_CONNECTIONS) as pool:
            yield from pool.map(self._classify_file, files)

    def _classify_file(self, file: str) -> ApiAnswer:
        try:
            photo = Path(file).read_bytes()
        except OSError as error:
            return ApiAnswer(file, 0, {"detail": f"cannot be read: {error.strerror}"})
        if not photo:
            return ApiAnswer(file, 400, {"detail": "the file is empty"})
        content_type = media_type(photo)  # The file's name says nothing of its content.
        if not content_type:
            return ApiAnswer(file, 415, {"detail": "is no JPEG, PNG or WebP photo; save it as one of them"})
        return self.classify(photo, content_type, file)


def signed_curl(url: str, key: RootKey) -> str:
    """Return the command by which curl asks a function of the laptop cloud by its own URL about a photo.

    Args:
        url: the function's.
        key: the access key that signs.
    """
    return (
        f"curl {url}classify --aws-sigv4 aws:amz:{REGION}:lambda \\\n"
        f"  --user {key.id}:{key.secret} \\\n"
        "  -H 'content-type: image/jpeg' --data-binary @photo.jpg"
    )
