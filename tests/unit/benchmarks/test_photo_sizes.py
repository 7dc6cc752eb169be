import io
import random

import pytest
from PIL import Image

from benchmarks.photo_sizes import SizedPhotos, enlarged, function_shrink, sized_photos
from classify.view import View
from prices import per_million


def photo(side=200, quality=75):
    noise = random.Random(0).randbytes(3 * 50 * 50)
    file = io.BytesIO()
    Image.frombytes("RGB", (50, 50), noise).resize((side, side * 3 // 4)).save(file, "JPEG", quality=quality)
    return file.getvalue()


@pytest.mark.parametrize("size", [20_000, 100_000])
@pytest.mark.parametrize("side", [200, 900])
def test_photos_of_a_size_have_about_so_many_bytes(side, size):
    """Also of one that has more."""
    found = enlarged(photo(side), size)
    assert 0.95 * size <= len(found) <= 1.3 * size
    with Image.open(io.BytesIO(found)) as image:
        assert image.format == "JPEG"
        assert image.width / image.height == pytest.approx(4 / 3, rel=0.05)


def test_photos_are_shrunk_by_the_functions_own_code():
    """It leaves at least the side that the model uses, and no photo grows."""
    shrink = function_shrink(View(64))
    large = enlarged(photo(), 500_000)
    small = shrink(large)
    with Image.open(io.BytesIO(small)) as image:
        assert min(image.size) == 64
    assert len(small) < len(large)
    assert len(shrink(small)) <= len(small)


def test_a_call_has_the_mean_bytes_and_the_time_of_a_core():
    photos = SizedPhotos([bytes(90), bytes(110)], [bytes(20), bytes(30)], 2.0)
    call = photos.call(shrink=True)
    assert (call.photo_bytes, call.sent_bytes) == (100, 25)
    assert call.shrink_cpu_ms == 2.0
    assert photos.call(shrink=False) == per_million.Call(100, 100)


def test_photos_are_made_and_shrunk_one_by_one(tmp_path):
    (tmp_path / "a.jpg").write_bytes(photo())
    found = sized_photos([tmp_path / "a.jpg"], 20_000, lambda each: each[:100])
    assert (len(found.sent), found.shrunk) == (1, [found.sent[0][:100]])
    assert found.shrink_cpu_ms >= 0
