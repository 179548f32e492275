"""One command, one answer."""

import asyncio

from tocsin_server.domain.commands import Answer, Command, Recall, Receipt, RequestKey, RequestSpace
from tocsin_server.domain.errors import NotFound, QueueFull, StorageUnavailable, TocsinError
from tocsin_server.service.ports import Codec, Writer

STORAGE_RETRY_SECONDS = 0.5
"""What waits for storage asks again after so long."""


async def answered(writer: Writer, command: Command[Receipt], deadline: float | None) -> Answer[Receipt]:
    """Submits a command. Raises what it failed with."""
    (answer,) = await writer.submit((command,), deadline=deadline)
    if isinstance(answer, TocsinError):
        raise answer
    return answer


async def taken(writer: Writer, command: Command[Receipt]) -> None:
    """Submits a command of somebody who is not answered, and so would not repeat it, until storage has taken it. Raises
    what else it failed with."""
    while True:
        try:
            await answered(writer, command, None)
        except (StorageUnavailable, QueueFull):
            await asyncio.sleep(STORAGE_RETRY_SECONDS)
        else:
            return


async def recalled(
    writer: Writer, tenant: str, request: RequestKey | None, deadline: float | None
) -> Answer[Receipt] | None:
    """The first answer of a request that was committed before; None: it was not. Raises RequestIdReused.

    For checks that are made before a command is submitted: what was right when it was done may be wrong by now.
    """
    if request is None:
        return None
    command: Recall[Receipt] = Recall(tenant=tenant, request=request)
    (answer,) = await writer.submit((command,), deadline=deadline)
    if isinstance(answer, NotFound):
        return None
    if isinstance(answer, TocsinError):
        raise answer
    return answer


def request_key(codec: Codec, space: RequestSpace, request_id: str, asked: object) -> RequestKey | None:
    """The key of a request and what it asks for; None for one without an id, which cannot be repeated safely."""
    return RequestKey(space, request_id, codec.fingerprint(asked)) if request_id else None
