"""A model's ``model.tar.gz``, unpacked into a folder of this machine."""

import hashlib
import shutil
import tarfile
import tempfile
import threading
import weakref
import zlib
from pathlib import Path

from cloud.core import archives, containers
from cloud.core.uris import S3Uri, StorageError
from cloud.s3 import objects


class ModelData:
    """The data of one model, which is deleted when the last variant that uses it is gone.

    Whatever is at the URI when an instance starts is what this instance gets, as on AWS.

    Args:
        uri: S3 URI of the archive.
        folder: each content that the archive has had is unpacked into a folder of its own in it.
    """

    def __init__(self, uri: str, folder: Path) -> None:
        self.uri = uri
        self._folder = folder
        self._lock = threading.Lock()
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)

    def folder(self, caller: str) -> Path:
        """Download the archive, unpack it if its content is new, and return the folder that replaces ``/opt/ml/model``.

        Args:
            caller: access key of the model's role.

        Raises:
            StorageError: the object does not exist, is no archive, or has members outside its own folder.
        """
        with self._lock:
            self._folder.mkdir(parents=True, exist_ok=True)
            # Unpack into a scratch folder and rename it, because a folder that exists counts as unpacked.
            with tempfile.TemporaryDirectory(dir=self._folder) as scratch:
                archive = Path(scratch, "model.tar.gz")
                objects.download(S3Uri.parse(self.uri), archive, caller)
                folder = self._folder / hashlib.sha256(archive.read_bytes()).hexdigest()[:16]
                if not folder.exists():
                    self._unpack(archive, Path(scratch, "model")).rename(folder)
        return folder

    def _unpack(self, archive: Path, unpacked: Path) -> Path:
        unpacked.mkdir()
        try:
            archives.unpack(archive, unpacked)
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise StorageError(
                f'Failed to extract model data archive for container "container_1" from URL "{self.uri}". '
                "Please ensure that the object located at the URL is a valid tar.gz archive."
            ) from error
        containers.open_up(unpacked)
        return unpacked
