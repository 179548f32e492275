"""Names of channels.

Each has a number in braces, of 1,024: on a cluster it is what the name is hashed by, so that all channels of one number
are in one slot and can be subscribed to with one command.
"""

from zlib import crc32

from tocsin_server.domain.ids import recipient_hash

NUMBERS = 1_024

EVERYONE = "e:{0}"
"""The channel that every replica reads."""


def recipient_number(tenant: str, recipient: str) -> int:
    """The number of a recipient's channel, the same in every process and every version."""
    return recipient_hash(tenant, recipient) % NUMBERS


def recipient_channel(tenant: str, recipient: str) -> str:
    """What concerns one inbox; read by replicas that have a session for it."""
    return f"t:{{{recipient_number(tenant, recipient)}}}:{tenant}:{recipient}"


def recipient_of(channel: str) -> tuple[str, str] | None:
    """The tenant and the recipient of a recipient's channel; None for another one. A tenant's name has no colon."""
    if not channel.startswith("t:"):
        return None
    _, _, tenant, recipient = channel.split(":", 3)
    return tenant, recipient


def number_of(channel: str) -> int:
    """Its number."""
    return int(channel[channel.index("{") + 1 : channel.index("}")])


def instance_channel(instance: str) -> str:
    """What is said to one replica."""
    return f"i:{{{crc32(instance.encode()) % NUMBERS}}}:{instance}"


def heartbeat_channel(number: int, instance: str) -> str:
    """What a replica says to itself, on the connection that carries the number."""
    return f"h:{{{number}}}:{instance}"
