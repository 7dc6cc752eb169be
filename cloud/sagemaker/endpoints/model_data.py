"""A model's ``model.tar.gz``, unpacked into a folder of this machine."""

import shutil
import tarfile
import tempfile
import threading
import weakref
import zlib
from pathlib import Path

from cloud.core.uris import S3Uri, StorageError
from cloud.s3 import objects


class ModelData:
    """The data of one model; unpacked once at first use, and deleted when the last variant that uses it is gone.

    Args:
        uri: S3 URI of the archive.
        folder: the archive is unpacked into it.
    """

    def __init__(self, uri: str, folder: Path) -> None:
        self.uri = uri
        self._folder = folder
        self._lock = threading.Lock()
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)

    def folder(self, caller: str) -> Path:
        """Return the folder that replaces ``/opt/ml/model``; download and unpack the archive if needed.

        Args:
            caller: access key of the model's role.

        Raises:
            StorageError: the object does not exist, is no archive, or has members outside its own folder.
        """
        with self._lock:
            if not self._folder.exists():
                self._folder.parent.mkdir(parents=True, exist_ok=True)
                # Unpack into a scratch folder and rename it, because a folder that exists counts as unpacked.
                with tempfile.TemporaryDirectory(dir=self._folder.parent) as scratch:
                    self._unpack(Path(scratch), caller).rename(self._folder)
        return self._folder

    def _unpack(self, scratch: Path, caller: str) -> Path:
        archive, unpacked = scratch / "model.tar.gz", scratch / "model"
        objects.download(S3Uri.parse(self.uri), archive, caller)
        unpacked.mkdir()
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(unpacked, filter="data")
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise StorageError(
                f'Failed to extract model data archive for container "container_1" from URL "{self.uri}". '
                "Please ensure that the object located at the URL is a valid tar.gz archive."
            ) from error
        return unpacked
