"""docs/operations.md names what there is."""

import re
from typing import Any
from zlib import crc32

import pytest

from tests.integration.docs.test_examples import blocks
from tests.support.node import ROOT
from tocsin_server.domain.ids import format_id, notification_id, recipient_hash

PAGE = "docs/operations.md"
TEXT = (ROOT / PAGE).read_text(encoding="utf-8")


def test_metrics_that_are_named_are_those_of_the_server() -> None:
    source = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "server" / "tocsin_server").rglob("*.py")
    )
    # The one of calls has its name from the semantic conventions, the others are files.
    no_metrics = {"rpc.server.call.duration", "tocsin.db", "tocsin.db.commits"}
    named = set(re.findall(r"`((?:tocsin|process|rpc)\.[a-z_.]+)`", TEXT)) - no_metrics
    assert len(named) > 15
    assert not {name for name in named if f'"{name}"' not in source}


@pytest.mark.parametrize("recipient", ["ada", "user-17", "żółw"])
def test_an_id_tells_its_partition_as_shown(recipient: str) -> None:
    (example,) = (block.code for block in blocks(PAGE) if block.language == "python")
    names: dict[str, Any] = {}
    exec(example, names)
    id = notification_id(1_700_000_000_000_000, recipient_hash("acme", recipient), (1 << 50) - 1)
    assert names["partition_bits"](format_id(id)) == crc32(f"acme\0{recipient}".encode()) >> 20
