"""The relay through which functions in containers reach the laptop cloud; the tests need no container."""

import asyncio
import sys

import pytest

from local import invoke


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all addresses of 127.0.0.0/8")
def test_relay_connects_its_address_with_loopback_both_ways():
    async def talk():
        async def shout(reader, writer):
            writer.write((await reader.readline()).upper())
            writer.close()

        async with await asyncio.start_server(shout, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            async with await invoke._relay("127.0.0.2", port):
                reader, writer = await asyncio.open_connection("127.0.0.2", port)
                writer.write(b"beagle\n")
                answer = await reader.read()
                writer.close()
                return answer

    assert asyncio.run(talk()) == b"BEAGLE\n"


def test_address_of_another_machine_needs_no_relay():
    assert asyncio.run(invoke._relay("192.0.2.1", 4566)) is None
