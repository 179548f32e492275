"""Throttles: at most so many interruptions in any span of time.

A throttle looks at due times, not at when something was accepted: what is deferred counts where it is deferred to.
Spans are half-open: what comes exactly one window later is not in the same one. Exactness is the caller's: slots are
loaded and taken under the recipient's lock.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from tocsin_server.domain.category import Overflow, Throttle, ThrottleScope
from tocsin_server.domain.notification import Channel, Decision, Outcome, Rule
from tocsin_server.domain.time import Micros
from tocsin_server.domain.value import Value

MAX_DEFERRED = 1_000
"""How many of a recipient's notifications one throttle keeps waiting: each that comes looks at all of them, while
everyone else's waits."""


class Slot(NamedTuple):
    """An interrupting channel of a notification that was let through."""

    due_time: Micros
    notification_id: bytes
    channel: Channel
    category: str


class Throttled(Value, frozen=True):
    """What throttles leave of the channels of a notification."""

    due_times: dict[Channel, Micros]
    """Those that are let through, and from when on."""
    decisions: tuple[Decision, ...]


def first_free(taken: Sequence[Micros], most: int, window: Micros, at: Micros) -> Micros:
    """The first instant from `at` on at which one more makes no half-open span of `window` hold more than `most`.

    `taken`, in rising order, holds at most `most` in any span.
    """
    for first, last in zip(taken, taken[most - 1 :], strict=False):
        # Where these are all that a span can take, one more is too many wherever a span reaches it and all of them.
        if last - first < window and last - window < at < first + window:
            at = first + window
    return at


def throttle(
    throttles: Iterable[Throttle], category: str, due_times: Mapping[Channel, Micros], slots: Sequence[Slot]
) -> Throttled:
    """Lets channels through, drops or defers them, so that every throttle holds.

    `slots` are those of the recipient, but for the notification's own, that are due later than the longest window ago.
    """
    left = dict(due_times)
    decided: dict[tuple[Throttle, Channel], Decision] = {}
    changed = True
    # What one throttle defers may meet another there. Due times only rise, to ends of windows, of which there are
    # finitely many.
    while changed:
        changed = False
        for limit in throttles:
            for channels, taken in _counted(limit, category, left, slots):
                at = min(left[channel] for channel in channels)
                free = first_free(taken, limit.max, limit.window, at)
                if free == at:
                    continue
                changed = True
                until = free if _defers(limit, taken, at) else None
                for channel in channels:
                    if until is not None:
                        left[channel] = max(left[channel], until)
                    else:
                        del left[channel]
                    decided[limit, channel] = _decision(limit, category, channel, until)
    return Throttled(left, tuple(decided.values()))


def _counted(
    limit: Throttle, category: str, due_times: Mapping[Channel, Micros], slots: Sequence[Slot]
) -> list[tuple[list[Channel], list[Micros]]]:
    """The channels that stand or fall together, and the due times that they are counted with."""
    concerned = [channel for channel in due_times if channel in limit.channels]
    if not concerned:
        return []
    if limit.scope is ThrottleScope.CHANNEL:
        return [
            ([channel], sorted(slot.due_time for slot in slots if slot.channel == channel))
            for channel in concerned
        ]
    # A notification counts once, however many channels it goes out on.
    earliest: dict[bytes, Micros] = {}
    for slot in slots:
        if slot.channel in limit.channels and (
            limit.scope is ThrottleScope.RECIPIENT or slot.category == category
        ):
            known = earliest.get(slot.notification_id, slot.due_time)
            earliest[slot.notification_id] = min(known, slot.due_time)
    return [(concerned, sorted(earliest.values()))]


def _defers(limit: Throttle, taken: Sequence[Micros], at: Micros) -> bool:
    waiting = len(taken) - bisect_right(taken, at)
    return limit.overflow is Overflow.DEFER and waiting < MAX_DEFERRED


def _decision(limit: Throttle, category: str, channel: Channel, until: Micros | None) -> Decision:
    span = f"{limit.max} in {limit.window / 1_000_000:g} s"
    whose = {
        ThrottleScope.CATEGORY: "of this category",
        ThrottleScope.RECIPIENT: "of any category",
        ThrottleScope.CHANNEL: "on this channel",
    }[limit.scope]
    text = f"The recipient has had {span} {whose}"
    if until is not None:
        text += ": kept until there is room."
    elif limit.overflow is Overflow.DEFER:
        text += f", and {MAX_DEFERRED:,} wait for room already."
    else:
        text += "."
    return Decision(
        Rule.THROTTLE,
        "category",
        f"{category}/{limit.scope.name.lower()}",
        Outcome.SUPPRESSED if until is None else Outcome.DEFERRED,
        text,
        channel,
        until,
    )
