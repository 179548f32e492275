"""The examples of clients/node, run by Node."""

import json
import os

import pytest

from tests.support.commands import listening_to, output_of
from tests.support.node import NODE, Offline, installed_client
from tests.support.processes import Servers


async def test_node_sends_and_subscribes(servers: Servers, pytestconfig: pytest.Config) -> None:
    try:
        client = installed_client(pytestconfig.cache.mkdir("node"))
    except Offline as error:
        pytest.skip(f"the packages of clients/node/package-lock.json cannot be fetched: {error}")
    server = await servers.start({"TOCSIN_DRAIN_DELAY": "0"})
    environment = {**os.environ, "TOCSIN_TARGET": server.address}

    first = json.loads(
        await output_of(NODE, "send.js", "ada", "first", "text", cwd=client, environment=environment)
    )
    assert first["disposition"] == "DISPOSITION_STORED"

    async with listening_to(NODE, "subscribe.js", "ada", cwd=client, environment=environment) as output:
        kept = json.loads(await output.readline())
        assert (kept["id"], kept["content"]["simple"]["title"]) == (first["notificationId"], "first")

        await output_of(NODE, "send.js", "ada", "live", cwd=client, environment=environment)
        assert json.loads(await output.readline())["content"]["simple"]["title"] == "live"

        await server.stop()
        await server.start()
        await output_of(NODE, "send.js", "ada", "after a restart", cwd=client, environment=environment)
        assert json.loads(await output.readline())["content"]["simple"]["title"] == "after a restart"
