"""`tocsin migrate` and `epoch`: what is done to a database while no server has it open."""

from pathlib import Path

import tocsin
from tests.integration.cli.conftest import Cli
from tests.support.processes import Servers


async def test_the_schema_goes_up_and_down(alone: Cli, tmp_path: Path) -> None:
    database = ("--database", str(tmp_path / "new.db"))
    assert "There is no database" in (await alone("migrate", "status", *database, code=1)).err
    applied = (await alone("migrate", "up", *database, "--json")).json["applied"]
    assert applied[0] == "0001_backbone"
    assert (await alone("migrate", "up", *database)).out == "nothing to do\n"
    (first, *_) = (await alone("migrate", "status", *database, "--json")).json["migrations"]
    assert first["name"] == "0001_backbone"
    assert first["appliedTime"]
    assert "reverted" in (await alone("migrate", "down", *database, "--yes")).out
    assert "pending" in (await alone("migrate", "status", *database)).out


async def test_a_running_servers_database_is_left_alone(alone: Cli, servers: Servers) -> None:
    server = await servers.start({"TOCSIN_DRAIN_DELAY": "0"})
    for command in (
        ("migrate", "up"),
        ("migrate", "down", "--yes"),
        ("migrate", "status"),
        ("epoch", "bump", "--yes"),
    ):
        refused = await alone(*command, "--database", str(server.database), code=1)
        assert f"is in use by process {server.pid}" in refused.err


async def test_after_a_new_epoch_old_cursors_start_anew(alone: Cli, servers: Servers) -> None:
    server = await servers.start({"TOCSIN_DRAIN_DELAY": "0"})
    async with tocsin.connect(server.address) as client:
        cursor = (await client.send(recipient="ada", category="c", content=("t", ""))).cursor
        before = (await client.system.status()).epoch
    await server.stop()

    bumped = (await alone("epoch", "bump", "--yes", "--database", str(server.database), "--json")).json[
        "epoch"
    ]

    await server.start()
    async with (
        tocsin.connect(server.address) as client,
        client.subscribe({"ada": cursor}, start="beginning") as events,
    ):
        assert before != bumped == (await client.system.status()).epoch
        reset, entry = await anext(events), await anext(events)
    assert isinstance(reset, tocsin.ResetHappened)
    assert reset.reason == "INCARNATION_CHANGED"
    assert isinstance(entry, tocsin.Entry)


async def test_after_a_new_epoch_named_consumers_start_anew(alone: Cli, servers: Servers) -> None:
    server = await servers.start({"TOCSIN_DRAIN_DELAY": "0"})
    async with tocsin.connect(server.address) as client:
        await client.send(recipient="ada", category="c", content=("t", ""))
        async with client.subscribe("ada", consumer="bot", start="beginning") as events:
            events.ack(await anext(events))
            await events.flush()
    await server.stop()

    await alone("epoch", "bump", "--yes", "--database", str(server.database))

    await server.start()
    async with (
        tocsin.connect(server.address) as client,
        client.subscribe("ada", consumer="bot", start="beginning") as events,
    ):
        reset, entry = await anext(events), await anext(events)
    assert isinstance(reset, tocsin.ResetHappened)
    assert reset.reason == "INCARNATION_CHANGED"
    assert isinstance(entry, tocsin.Entry)


async def test_without_a_database_there_is_no_epoch(alone: Cli, tmp_path: Path) -> None:
    missing = tmp_path / "missing.db"
    assert (
        "There is no database"
        in (await alone("epoch", "bump", "--yes", "--database", str(missing), code=1)).err
    )
