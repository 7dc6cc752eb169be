"""The attackers beside honest photos: which photos they send, and that they send until they are told to end."""

import asyncio
import threading
import time
from contextlib import suppress

import pytest

from benchmarks import beside_attackers as beside
from benchmarks import forged_photos as forged
from benchmarks.client import _NullServer
from serving.preprocess import ServingPreprocess, open_photo

SPEC = ServingPreprocess(256, "shortest_side", 256, "bilinear", 2, (0.5,) * 3, (0.5,) * 3, "RGB", True)


def test_worst_photos_are_accepted_and_the_largest_of_each_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = ("png_flat_alpha", "jpeg_flat", "webp_many_tables")
    monkeypatch.setattr(beside, "KINDS", {kind: beside.KINDS[kind] for kind in kinds})
    worst = beside.worst_of_each_kind(SPEC)
    assert worst.keys() == {
        *("png_flat_alpha, quick", "png_flat_alpha, medium", "png_flat_alpha, costly", "png_flat_alpha, large"),
        *("jpeg_flat, quick", "jpeg_flat, medium", "jpeg_flat, costly"),
        *("webp_many_tables, costly", "webp_many_tables, large"),
    }
    for name, photo in worst.items():
        opened = open_photo(photo, SPEC)
        assert len(photo) <= 4_500_000
        slow = "large" if opened.is_large else "medium" if opened.estimated_ms <= 30 else "costly"
        assert name.endswith("quick" if opened.is_quick else slow)
    assert open_photo(worst["png_flat_alpha, large"], SPEC).image.size == (4000, 4000)


def test_attackers_send_until_they_are_told_to_end() -> None:
    started, loops = threading.Event(), []
    ports = []

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(_NullServer, "127.0.0.1", 0)
        ports.append(server.sockets[0].getsockname()[1])
        loops.append(asyncio.get_running_loop())
        started.set()
        async with server:
            await server.serve_forever()

    def run() -> None:
        with suppress(asyncio.CancelledError):
            asyncio.run(serve())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(30)
    with beside._attackers(ports[0], [forged.jpeg(9, 9)], 100) as statuses:
        time.sleep(1)
    assert set(statuses) == {200}
    assert 20 <= len(statuses) <= 400  # A hundred a second, from half a second before the start on.
    loops[0].call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loops[0])])
    thread.join(30)
