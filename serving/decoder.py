"""Decoding of photos in a process of its own, which may be killed while the server goes on.

A decoder that works too long on a photo cannot be interrupted inside a thread. So photos that may be costly are decoded
by a child process (``python -m serving.decoder``). The kernel ends it when it has used too much CPU time, and refuses
it more memory than it may have; the next photo gets a new one. It has a lower priority than the threads that answer
usual photos.
See "Costly photos are decoded in processes of their own" in docs/decisions/serving.md.
"""

import json
import os
import resource
import signal
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO

import numpy as np

from serving.preprocess import PhotoError, PhotoTooLargeError, ServingPreprocess, UnsupportedPhotoError, pixels

CPU_SECONDS = 3.0  # The worst photo that is accepted takes a third of it, see `python -m benchmarks hostile`.
_MAX_BYTES = 2_000_000_000  # of address space; the worst photo takes 0.6 GB
_NICENESS = 10
_READY = b"ready"
_LENGTH = struct.Struct(">I")
_HEAD = struct.Struct(">BI")  # whether the photo was refused, and the number of bytes that follow
_ERRORS = {error.code: error for error in (PhotoError, PhotoTooLargeError, UnsupportedPhotoError)}
# Each thread of OpenBLAS would take address space. The others give the memory of large photos back to the system.
_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(2 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(16 << 20),
}
_FOLDER = Path(__file__).parents[1]


class DecoderError(Exception):
    """The child process cannot be started, which no photo is the cause of."""


class DecoderTimeoutError(Exception):
    """The child process did not get enough of the cores to finish in time; another attempt may succeed."""


class Decoder:
    """A child process that decodes one photo at a time. It is started for the first photo, and again after its end.

    Args:
        spec: How a photo becomes the network's input.
        cpu_seconds: Seconds of CPU that a photo may take.
    """

    def __init__(self, spec: ServingPreprocess, cpu_seconds: float = CPU_SECONDS) -> None:
        self._arguments = (json.dumps(asdict(spec)), str(cpu_seconds))
        self._shape = (spec.image_size, spec.image_size, 3)
        self._process: subprocess.Popen[bytes] | None = None

    def pixels(self, photo: bytes, seconds: float) -> np.ndarray:
        """Decode a photo's bytes and resize it to the network's input.

        Args:
            photo: The photo.
            seconds: Seconds after which the process is killed.

        Returns:
            uint8 RGB ``[image_size, image_size, 3]``, read-only.

        Raises:
            PhotoError: The photo is damaged or too large, or took more CPU time than a photo may take.
            DecoderTimeoutError: The seconds are over.
            DecoderError: The process cannot be started.
        """
        process = self._running()
        late = threading.Event()

        def kill() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(max(0.0, seconds), kill)
        timer.start()
        try:
            refused, content = _exchange(process, photo)
        except (OSError, EOFError) as error:
            raise self._why_it_ended(late.is_set()) from error
        finally:
            timer.cancel()
        if refused:
            document = json.loads(content)
            raise _ERRORS[document["code"]](document["message"])
        return np.frombuffer(content, np.uint8).reshape(self._shape)

    def close(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._forget()

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is not None and self._process.poll() is not None:  # killed from outside, or when it was late
            self._forget()
        if self._process is None:
            # It stays in the server's session: niceness counts between the processes of one session.
            process = subprocess.Popen(
                (sys.executable, "-m", "serving.decoder", *self._arguments),
                cwd=_FOLDER,
                env={**os.environ, **_ENVIRONMENT},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            self._process = process
            if process.stdout is None or process.stdout.read(len(_READY)) != _READY:
                self.close()
                raise DecoderError("the process that decodes costly photos does not start; its error is above")
        return self._process

    def _forget(self) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):  # what could not be sent
                pipe.close()  # type: ignore[union-attr]
        return process.wait()

    def _why_it_ended(self, late: bool) -> Exception:
        if self._process is not None:
            self._process.kill()  # It may have closed its pipe and still be ending.
        number = -self._forget()
        if number == signal.SIGPROF:
            return PhotoTooLargeError("The image takes too long to decode; save it again, or send a smaller one.")
        if late:
            return DecoderTimeoutError()
        return PhotoError("The image makes its decoder fail; save it again.")


def _exchange(process: "subprocess.Popen[bytes]", photo: bytes) -> tuple[bool, bytes]:
    """Send a photo to the process and return its answer.

    Raises:
        OSError, EOFError: The process ended.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(_LENGTH.pack(len(photo)))
    process.stdin.write(photo)
    process.stdin.flush()
    refused, length = _HEAD.unpack(_read(process.stdout, _HEAD.size))
    return bool(refused), _read(process.stdout, length)


def _read(file: IO[bytes], length: int) -> bytes:
    content = file.read(length)
    if len(content) < length:
        raise EOFError("the other process ended")
    return content


def main(specification: str, cpu_seconds: str) -> None:
    """Decode the photos that arrive on the standard input until it ends."""
    spec = ServingPreprocess.from_json(json.loads(specification))
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # What a library prints must not come between the answers.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # The server finishes its photos first; its end ends the input.
    os.nice(_NICENESS)
    with suppress(ValueError, OSError):  # macOS has no such limit.
        resource.setrlimit(resource.RLIMIT_AS, (_MAX_BYTES, _MAX_BYTES))
    answers.write(_READY)
    answers.flush()
    with suppress(EOFError, BrokenPipeError):
        while True:
            photo = _read(sys.stdin.buffer, _LENGTH.unpack(_read(sys.stdin.buffer, _LENGTH.size))[0])
            answers.write(_answer(photo, spec, float(cpu_seconds)))
            answers.flush()


def _answer(photo: bytes, spec: ServingPreprocess, cpu_seconds: float) -> bytes:
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds)  # The kernel's signal ends the process, whatever it is doing.
    try:
        refused, content = False, pixels(photo, spec).tobytes()
    except PhotoError as error:
        refused, content = True, json.dumps({"code": error.code, "message": str(error)}).encode()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return _HEAD.pack(refused, len(content)) + content


if __name__ == "__main__":
    main(*sys.argv[1:])
