"""The way in: connections that are subscribed to what is followed here, and watched by a heartbeat of our own.

redis-py never looks whether a PING is answered, and a network may drop everything in silence. So each connection hears
us say something to ourselves every second, and when it has heard nothing at all for two of these, it is given up.
"""

import asyncio
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterator
from typing import Any

from redis.asyncio.client import PubSub

from tocsin_server.bus.backoff import backoff_seconds
from tocsin_server.bus.channels import (
    EVERYONE,
    heartbeat_channel,
    instance_channel,
    number_of,
    recipient_channel,
    recipient_number,
    recipient_of,
)
from tocsin_server.bus.connections import FAILURES, Connections, Links
from tocsin_server.bus.messages import Heartbeat, encode

HEARTBEAT_SECONDS = 1.0
MISSED_HEARTBEATS = 2
LATE_SECONDS = 0.05
CHANNELS_PER_SUBSCRIBE = 500
MESSAGES_PER_TURN = 64
"""So many are taken from a connection that has them ready before others have a turn."""

Key = tuple[str, str]
"""Tenant and recipient."""


class Broken(Exception):
    """A connection that gives no error, but does not do what it must."""


class Subscriber:
    """Run `run` as a task. It is not healthy until every subscription is in effect."""

    def __init__(
        self,
        connections: Connections,
        instance: str,
        *,
        on_message: Callable[[str, bytes], None],
        on_confirmed: Callable[[Key], None],
        on_health: Callable[[str], None],
    ) -> None:
        """`on_message` gets (channel, data), `on_health` what is wrong, or nothing when nothing is."""
        self._connections = connections
        self._instance = instance
        self._on_message = on_message
        self._on_confirmed = on_confirmed
        self._on_health = on_health
        self._wanted: set[Key] = set()
        self._changed: dict[Key, None] = {}
        self._keeps_up = False
        """What changes is subscribed to, or left, as it comes; a life begins with all that is wanted then."""
        self._wake = asyncio.Event()
        self.healthy = False

    @property
    def wanted(self) -> Container[Key]:
        """Whose channels are subscribed to, or about to be."""
        return self._wanted

    def follow(self, key: Key) -> None:
        """Subscribes soon."""
        self._wanted.add(key)
        self._note(key)

    def unfollow(self, key: Key) -> None:
        """Unsubscribes soon."""
        self._wanted.discard(key)
        self._note(key)

    def _note(self, key: Key) -> None:
        if self._keeps_up:
            self._changed[key] = None
            self._wake.set()

    async def run(self) -> None:
        """Keeps the connections up, for ever."""
        failures = 0
        while True:
            detail = await self._live()
            failures = 1 if self.healthy else failures + 1
            self.healthy = False
            self._on_health(detail)
            await asyncio.sleep(backoff_seconds(failures, random.random()))  # noqa: S311  # jitter, not a secret

    async def _live(self) -> str:
        """One life of the connections; what ended it."""
        links = Links((), ())
        tasks: list[asyncio.Task[None]] = []
        try:
            links = await self._connections.links()
            await links.connect()
            life = _Life(links)
            reading = [self._read(life, index) for index in range(len(links.pubsubs))]
            tending = (self._subscribe(life), self._beat(life), self._watch(life))
            tasks += map(asyncio.create_task, (*tending, *reading))
            # Not a group: one that is cancelled while a task fails would tell of the failure alone.
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            ended.pop().result()
        except (*FAILURES, Broken) as error:
            return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        finally:
            self._keeps_up = False
            self._changed.clear()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await links.close()
        return "it has ended"

    # --- out ----------------------------------------------------------------------------------------------------------

    async def _subscribe(self, life: "_Life") -> None:
        """Subscribes to all that is followed, then to what is our own, and from then on keeps up with what changes."""
        self._keeps_up = True
        subscribed = set(self._wanted)
        for pubsub, channels in self._batches(life, subscribed):
            await self._connections.subscribe(pubsub, channels)
            await asyncio.sleep(0)
        # The heartbeat last on each connection: who hears it hears all that was subscribed to before it.
        for channel in (EVERYONE, instance_channel(self._instance), *self._heartbeats(life)):
            pubsub = life.links.pubsubs[life.links.by_number[number_of(channel)]]
            await self._connections.subscribe(pubsub, [channel])
        while True:
            await self._wake.wait()
            self._wake.clear()
            changed, self._changed = self._changed.keys(), {}
            added = {key for key in changed if key in self._wanted and key not in subscribed}
            removed = {key for key in changed if key not in self._wanted and key in subscribed}
            subscribed |= added
            subscribed -= removed
            for pubsub, channels in self._batches(life, added):
                await self._connections.subscribe(pubsub, channels)
                await asyncio.sleep(0)
            for pubsub, channels in self._batches(life, removed):
                life.leaving.update(channels)
                await self._connections.unsubscribe(pubsub, channels)
                await asyncio.sleep(0)

    def _batches(self, life: "_Life", keys: set[Key]) -> Iterator[tuple[PubSub, list[str]]]:
        """Channels and who carries them, on a cluster of one number at a time."""
        by_number: dict[int, list[Key]] = {0: list(keys)}
        if self._connections.sharded:
            by_number = defaultdict(list)
            for key in keys:
                by_number[recipient_number(*key)].append(key)
        for number, numbered in by_number.items():
            pubsub = life.links.pubsubs[life.links.by_number[number]]
            for start in range(0, len(numbered), CHANNELS_PER_SUBSCRIBE):
                batch = numbered[start : start + CHANNELS_PER_SUBSCRIBE]
                yield pubsub, [recipient_channel(*key) for key in batch]

    async def _beat(self, life: "_Life") -> None:
        """Talks to ourselves on every connection."""
        channels = self._heartbeats(life)
        while True:
            beat = encode(Heartbeat(time.monotonic()))
            await self._connections.publish([(channel, beat) for channel in channels])
            # Until it is healthy, sooner: the first one may have been said before its channel was subscribed to.
            await asyncio.sleep(HEARTBEAT_SECONDS if self.healthy else HEARTBEAT_SECONDS / 10)

    def _heartbeats(self, life: "_Life") -> list[str]:
        """A channel of ours for each connection."""
        indexes = range(len(life.links.pubsubs))
        return [heartbeat_channel(life.links.number_of(index), self._instance) for index in indexes]

    # --- in -----------------------------------------------------------------------------------------------------------

    async def _read(self, life: "_Life", index: int) -> None:
        pubsub = life.links.pubsubs[index]
        count = 0
        while True:
            # With a timeout each would take twice as long.
            message = await pubsub.get_message(ignore_subscribe_messages=False, timeout=None)
            life.heard_at[index] = time.monotonic()
            if message is not None:
                self._take(life, index, message)
            count += 1
            if not count % MESSAGES_PER_TURN:
                await asyncio.sleep(0)

    async def _watch(self, life: "_Life") -> None:
        """Ends when some connection hears nothing any more."""
        patience = MISSED_HEARTBEATS * HEARTBEAT_SECONDS
        late = False
        while True:
            silence = time.monotonic() - min(life.heard_at)
            if silence <= patience:
                late = False
                await asyncio.sleep(patience - silence)
            elif not late:
                # Should this process have stood still, there is something to read that came in time.
                late = True
                await asyncio.sleep(LATE_SECONDS)
            else:
                raise Broken(f"nothing was heard for {patience:g} s")

    def _take(self, life: "_Life", index: int, message: dict[str, Any]) -> None:
        kind, channel = message["type"], message["channel"].decode()
        if kind in ("message", "smessage"):
            if channel.startswith("h:"):
                self._heard(life, index)
            self._on_message(channel, message["data"])
            return
        key = recipient_of(channel)
        if kind in ("subscribe", "ssubscribe"):
            if key is not None:
                self._on_confirmed(key)
        elif life.leaving[channel] > 1:
            life.leaving[channel] -= 1
        elif channel in life.leaving:
            del life.leaving[channel]
        else:
            # A node of a cluster gives up what it no longer owns.
            raise Broken(f"{kind} that nobody asked for")

    def _heard(self, life: "_Life", index: int) -> None:
        life.heard[index] = True
        if not self.healthy and all(life.heard):
            self.healthy = True
            self._on_health("")


class _Life:
    """One set of connections and what has come by them."""

    def __init__(self, links: Links) -> None:
        self.links = links
        self.heard = [False] * len(links.pubsubs)
        """Which of them have heard a heartbeat."""
        self.heard_at = [time.monotonic()] * len(links.pubsubs)
        """When each last heard anything, by the monotonic clock, in seconds."""
        self.leaving: Counter[str] = Counter()
        """Channels that are being unsubscribed from, and how often: one may be left, joined and left again."""
