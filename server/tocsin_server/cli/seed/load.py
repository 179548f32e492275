"""Puts the example tenant into a server.

A request's id is made of the run's name and of what the request says, where it is not safe to repeat by nature: the
same run once more finds everything done, also where it was broken off, and a larger one only adds what is new.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from google.protobuf.message import Message

import tocsin
from tocsin.v1.recipient_service_pb2 import UpsertRecipientItem
from tocsin_server.cli.default_templates import create_missing
from tocsin_server.cli.seed.catalogue import TOPICS, categories, tenant_preferences
from tocsin_server.cli.seed.people import Person, person

ITEMS_PER_MESSAGE = 1_000
BATCHES_UNDER_WAY = 3
"""One is written while the next is read and another is made up."""

OnProgress = Callable[[int], None]
"""Is told how many recipients there are by now."""


@dataclass(slots=True)
class Loaded:
    """What there is afterwards, and how many of the templates are new."""

    created_templates: int = 0
    categories: int = 0
    topics: int = 0
    recipients: int = 0
    preferences: int = 0
    """Recipients who have said something."""
    members: int = 0
    """Of all topics together."""


class Loader:
    """Loads so many recipients, and all that they need, under the name of a run."""

    def __init__(self, client: tocsin.Client, run: str, count: int, on_progress: OnProgress) -> None:
        self._client = client
        self._run = run
        self._count = count
        self._on_progress = on_progress
        self._loaded = Loaded()
        self._members: dict[str, list[str]] = {topic: [] for topic in TOPICS}

    async def load(self) -> Loaded:
        """Raises TocsinError with the first thing that is refused."""
        await self._define()
        numbers = iter(range(self._count))
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(BATCHES_UNDER_WAY):
                    group.create_task(self._recipients(numbers))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        await self._join_topics()
        return self._loaded

    async def _define(self) -> None:
        """What is there before anybody is: choices can only be about categories that are defined."""
        client, loaded = self._client, self._loaded
        loaded.created_templates = len(await create_missing(client))
        for category in categories():
            await client.categories.upsert(category, request_id=self._id(category))
            loaded.categories += 1
        defaults = tenant_preferences()
        await client.preferences.update("", defaults, request_id=self._id(defaults))
        for topic, display_name in TOPICS.items():
            # It may be there from a run that request ids are no longer kept of.
            with suppress(tocsin.AlreadyExistsError):
                await client.topics.create(
                    topic, display_name=display_name, request_id=f"{self._run}:{topic}"
                )
            loaded.topics += 1

    async def _recipients(self, numbers: Iterator[int]) -> None:
        """Takes batches of numbers until there are none left."""
        while people := [person(number) for number in islice(numbers, ITEMS_PER_MESSAGE)]:
            await self._upsert(people)
            said = [each for each in people if each.preferences is not None]
            await asyncio.gather(*map(self._say, said))
            for each in people:
                for topic in each.topics:
                    self._members[topic].append(each.recipient.recipient)
            self._loaded.recipients += len(people)
            self._loaded.preferences += len(said)
            self._on_progress(self._loaded.recipients)

    async def _upsert(self, people: Sequence[Person]) -> None:
        items = [
            UpsertRecipientItem(request_id=self._id(each.recipient), recipient=each.recipient)
            for each in people
        ]
        for outcome in await self._client.recipients.upsert(items):
            if outcome.error is not None:
                raise outcome.error

    async def _say(self, each: Person) -> None:
        assert each.preferences is not None
        recipient = each.recipient.recipient
        request_id = self._id(each.preferences, recipient)
        await self._client.preferences.update(recipient, each.preferences, request_id=request_id)

    async def _join_topics(self) -> None:
        for topic, members in self._members.items():
            await self._client.topics.add_members(topic, members)
            self._loaded.members += len(members)

    def _id(self, message: Message, *about: str) -> str:
        """The id of a request that says this."""
        digest = hashlib.blake2b(message.SerializeToString(deterministic=True), digest_size=16)
        digest.update("\0".join(("", message.DESCRIPTOR.name, *about)).encode())
        return f"{self._run}:{digest.hexdigest()}"
