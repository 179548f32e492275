"""Connections to a real server: none stays open."""

from tests.support.valkey import Valkey
from tests.support.waiting import eventually
from tocsin_server.bus.address import RedisAddress
from tocsin_server.bus.connections import Connections


async def connected(server: Valkey) -> int:
    """How many clients the server has, but for who asks."""
    async with server.client() as client:
        return len(await client.client_list()) - 1


async def test_what_is_closed_before_it_is_used_leaves_nothing_open(server: Valkey) -> None:
    """As when a server is stopped the moment it has begun."""

    async def nobody() -> bool:
        return not await connected(server)

    connections = Connections(RedisAddress.parse(server.url))
    links = await connections.links()
    await links.connect()
    assert await connected(server)
    await links.close()
    await connections.close()
    await eventually(nobody, "the connections to be closed")
