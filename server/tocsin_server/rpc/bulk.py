"""Items of bulk calls: checked, converted and answered one by one, so that a bad one does not reject its neighbours."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from tocsin_server.domain.errors import TocsinError
from tocsin_server.rpc.validation import Shape

Item = TypeVar("Item", bound=Message)
Request = TypeVar("Request")
Result = TypeVar("Result")

_ITEMS_AT_ONE_GO = 64
"""A millisecond or two of work, after which other calls have their turn."""


@dataclass(frozen=True, slots=True)
class Sifted(Generic[Request]):
    """The items of one message: the good ones, and what is wrong with the others by their place."""

    good: list[Request]
    refused: dict[int, TocsinError]

    def results(self, of_good: Iterable[Result]) -> "list[Result | TocsinError]":
        """One result an item, in the order of the items."""
        remaining = iter(of_good)
        count = len(self.good) + len(self.refused)
        return [self.refused[place] if place in self.refused else next(remaining) for place in range(count)]


async def sift(
    shape: Shape, items: Sequence[Item], convert: Callable[[Item, str], Request]
) -> Sifted[Request]:
    """Checks and converts items; `convert` gets an item and its path, and may raise a TocsinError."""
    sifted: Sifted[Request] = Sifted([], {})
    for place, item in enumerate(items):
        path = f"items[{place}]."
        try:
            shape.check(item, item.SerializeToString(), path)
            sifted.good.append(convert(item, path))
        except TocsinError as error:
            # Its traceback holds this frame, which holds the error: such cycles wait for the garbage collector.
            sifted.refused[place] = error.with_traceback(None)
        if place % _ITEMS_AT_ONE_GO == _ITEMS_AT_ONE_GO - 1:
            await asyncio.sleep(0)
    return sifted
