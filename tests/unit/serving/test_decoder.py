"""The process that decodes costly photos: what it answers, and what ends it."""

import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from benchmarks import forged_photos as forged
from serving import decoder as module
from serving.decoder import Decoder, DecoderError, DecoderTimeoutError
from serving.preprocess import PhotoError, PhotoTooLargeError, UnsupportedPhotoError, pixels

from .conftest import SPEC, encoded

PHOTO = encoded(Image.fromarray(np.random.default_rng(3).integers(0, 256, (90, 70, 3), np.uint8)))
SLOW = forged.flat_png(3900, 4000, 6)  # takes some 0.3 s


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    decoder = Decoder(SPEC)
    yield decoder
    decoder.close()


def test_pixels_are_those_of_the_server_itself(decoder: Decoder) -> None:
    for spec in (SPEC, replace(SPEC, image_size=100, resize_to=120, resize="shortest_side", jpeg_oversampling=2)):
        other = Decoder(spec)
        for photo in (PHOTO, encoded(Image.new("RGBA", (50, 40), (9, 8, 7, 6)), "PNG"), PHOTO + bytes(5_000_000)):
            assert np.array_equal(other.pixels(photo, 60), pixels(photo, spec))
        other.close()


@pytest.mark.parametrize(
    ("photo", "kind", "words"),
    [
        (b"", PhotoError, "no body"),
        (PHOTO[:200], PhotoError, "damaged or incomplete"),
        (b"GIF89a", UnsupportedPhotoError, "not a JPEG"),
        (forged.flat_png(4100, 4000), PhotoTooLargeError, "at most 16 megapixels of a PNG"),
    ],
)
def test_errors_are_those_of_the_server_itself(
    decoder: Decoder, photo: bytes, kind: type[PhotoError], words: str
) -> None:
    with pytest.raises(PhotoError, match=words) as caught:
        decoder.pixels(photo, 60)
    assert type(caught.value) is kind
    assert decoder.pixels(PHOTO, 60).shape == (32, 32, 3)


def test_photo_that_takes_too_much_cpu_time_is_refused_and_the_next_one_is_decoded() -> None:
    decoder = Decoder(SPEC, cpu_seconds=0.05)
    for _ in range(2):
        with pytest.raises(PhotoTooLargeError, match="takes too long to decode"):
            decoder.pixels(SLOW, 60)
        assert np.array_equal(decoder.pixels(PHOTO, 60), pixels(PHOTO, SPEC))
    decoder.close()


def test_cpu_time_counts_for_each_photo_alone() -> None:
    decoder = Decoder(SPEC, cpu_seconds=0.5)
    for _ in range(40):  # together more than half a second
        assert decoder.pixels(forged.flat_png(1000, 1000), 60).shape == (32, 32, 3)
    decoder.close()


def test_process_that_is_too_late_is_killed(decoder: Decoder) -> None:
    decoder.pixels(PHOTO, 60)
    begun = time.perf_counter()
    with pytest.raises(DecoderTimeoutError):
        decoder.pixels(SLOW, 0.02)
    assert time.perf_counter() - begun < 2
    assert np.array_equal(decoder.pixels(PHOTO, 60), pixels(PHOTO, SPEC))


def test_photo_that_crashes_its_decoder_is_refused(decoder: Decoder) -> None:
    decoder.pixels(PHOTO, 60)
    process = decoder._process
    assert process is not None
    threading.Timer(0.1, os.kill, (process.pid, signal.SIGSEGV)).start()
    with pytest.raises(PhotoError, match="makes its decoder fail"):
        decoder.pixels(SLOW, 60)
    assert np.array_equal(decoder.pixels(PHOTO, 60), pixels(PHOTO, SPEC))


def test_process_that_ended_between_two_photos_is_started_again(decoder: Decoder) -> None:
    decoder.pixels(PHOTO, 60)
    assert decoder._process is not None
    decoder._process.kill()
    decoder._process.wait()
    assert np.array_equal(decoder.pixels(PHOTO, 60), pixels(PHOTO, SPEC))


def test_process_ends_with_its_input_and_has_a_low_priority(decoder: Decoder) -> None:
    decoder.pixels(PHOTO, 60)
    process = decoder._process
    assert process is not None
    assert process.stdin is not None
    assert os.getpriority(os.PRIO_PROCESS, process.pid) >= min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)
    assert os.getsid(process.pid) == os.getsid(0)
    process.send_signal(signal.SIGTERM)  # The server finishes its photos first.
    assert decoder.pixels(PHOTO, 60).shape == (32, 32, 3)
    process.stdin.close()
    assert process.wait(30) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="macOS has no such limit")
def test_memory_of_the_process_is_limited(decoder: Decoder) -> None:
    decoder.pixels(PHOTO, 60)
    assert decoder._process is not None
    assert resource.prlimit(decoder._process.pid, resource.RLIMIT_AS) == (2_000_000_000, 2_000_000_000)


def test_process_that_does_not_start_is_no_fault_of_the_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.sys, "executable", "/bin/false")
    with pytest.raises(DecoderError):
        Decoder(SPEC).pixels(PHOTO, 60)
