"""`buf curl`, which learns the contract from the server's reflection."""

import json
import sys
from pathlib import Path
from typing import Any

from tests.support.commands import listening_to, output_of
from tests.support.processes import ServerProcess, Servers

BUF = Path(sys.executable).with_name("buf")


def curl(server: ServerProcess, method: str, request: dict[str, Any]) -> tuple[str | Path, ...]:
    options = ("--protocol", "grpc", "--http2-prior-knowledge", "--data", json.dumps(request))
    return (BUF, "curl", *options, f"http://{server.address}/tocsin.v1.{method}")


async def test_send_subscribe_and_status_through_reflection(servers: Servers) -> None:
    server = await servers.start({"TOCSIN_DRAIN_DELAY": "0"})
    card = {"card": {"title": "Order 4711", "fields": [{"label": "Total", "value": "120 €"}]}}
    spec = {"recipient": "ada", "category": "orders", "content": card, "priority": "PRIORITY_HIGH"}

    sent = json.loads(await output_of(*curl(server, "NotificationService/Send", {"notification": spec})))
    assert sent["result"]["disposition"] == "DISPOSITION_STORED"

    position = {"recipients": [{"recipient": "ada"}], "start": "START_BEGINNING"}
    async with listening_to(*curl(server, "InboxService/Subscribe", position)) as output:
        events = await first_events(output)
    assert events[0]["notification"]["id"] == sent["result"]["notificationId"]
    assert events[0]["notification"]["content"]["card"] == card["card"]

    status = json.loads(await output_of(*curl(server, "SystemService/GetStatus", {})))
    assert {part["name"] for part in status["components"]} >= {"storage", "timers"}


async def test_reflection_lists_every_service(servers: Servers) -> None:
    server = await servers.start({"TOCSIN_DRAIN_DELAY": "0"})
    url = f"http://{server.address}"
    listed = await output_of(
        BUF, "curl", "--protocol", "grpc", "--http2-prior-knowledge", "--list-services", url
    )
    assert set(listed.split()) >= {
        f"tocsin.v1.{name}Service" for name in ("Notification", "Inbox", "Recipient", "Tenant", "System")
    }


async def first_events(output: Any) -> list[dict[str, Any]]:
    """The events of the first message that has some. Messages are JSON documents over several lines."""
    text, decoder = "", json.JSONDecoder()
    while line := await output.readline():
        text += line.decode()
        try:
            message, end = decoder.raw_decode(text.lstrip())
        except ValueError:
            continue
        text = text.lstrip()[end:]
        if message.get("events"):
            return list(message["events"])
    raise AssertionError(f"the stream ended: {text}")
