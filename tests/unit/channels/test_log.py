"""The provider `log`: what it tells, and what it keeps to itself."""

import io
import json

import pytest

from tocsin_server import logs
from tocsin_server.channels.log import LogProvider
from tocsin_server.channels.masking import masked
from tocsin_server.domain.bodies import ChannelBody
from tocsin_server.domain.content import Content, SimpleContent
from tocsin_server.domain.delivery import OutgoingMessage, Sent
from tocsin_server.domain.notification import Channel

MESSAGE = OutgoingMessage(
    "acme",
    b"n" * 16,
    Channel.EMAIL,
    "ada@example.com",
    ChannelBody(Channel.EMAIL, "Your code", "It is 1234", "<p>It is 1234</p>", from_name="Shop"),
    Content(SimpleContent("Your code", "It is 1234")),
    "key",
    2,
    None,
    "",
)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("ada@example.com", "a…@example.com"),
        ("@example.com", "…@example.com"),
        ("+4915112345678", "…78"),
        ("1234", "…"),  # so short that its end would be most of it
        ("https://user:secret@hooks.example/T0/B0/token", "https://hooks.example/…"),
        ("https://[broken", "…"),
    ],
)
def test_an_address_is_masked(address: str, shown: str) -> None:
    assert masked(address) == shown


@pytest.mark.parametrize("level", ["info", "debug"])
async def test_texts_are_told_only_to_who_asks_for_them(level: str) -> None:
    stream = io.StringIO()
    logs.configure("json", level, stream=stream)
    assert await LogProvider().send(MESSAGE) == Sent()
    told, *more = map(json.loads, stream.getvalue().splitlines())
    assert told["event"] == "a delivery would be sent"
    assert (told["channel"], told["address"], told["attempt"]) == ("EMAIL", "a…@example.com", 2)
    assert (told["idempotency_key"], told["subject_chars"], told["text_chars"]) == ("key", 9, 10)
    assert "1234" not in json.dumps(told)
    assert [(line["subject"], line["text"], line["from_name"], line["sound"]) for line in more] == (
        [("Your code", "It is 1234", "Shop", "")] if level == "debug" else []
    )
    assert "ada@example.com" not in stream.getvalue()
