"""The oracle: records what was promised and what arrived, and judges whether the guarantees held.

While a test breaks things, the oracle is told of every request, every answer and everything that any subscriber
received. When all is healed and all subscribers have caught up, the test reads the inboxes and asks for the violations.
The oracle knows nothing of gRPC: tests/support/load.py feeds it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from enum import StrEnum

STORED = "STORED"
SUPPRESSED = "SUPPRESSED"
UNCOUNTED = frozenset({"retracted", "expired"})
HIDDEN = UNCOUNTED | {"archived", "snoozed"}


class Rule(StrEnum):
    """What can be violated."""

    ACK_LOST = "an acked notification is not in its inbox"
    MARK_LOST = "an acked mark does not show in the entry"
    REFUSED_STORED = "a notification was refused, and stored all the same"
    SUPPRESSED_STORED = "a notification was suppressed, and stored all the same"
    SUPPRESSED_SILENTLY = "a notification was suppressed without a reason"
    STORED_TWICE = "one request made two notifications"
    REPLAY_DIFFERS = "a request that was answered before got another answer"
    BROADCAST_LOST = "a broadcast is not in the inbox of somebody whom it was for"
    BROADCAST_TWICE = "a broadcast is in an inbox more than once"
    NOT_ASKED_FOR = "a notification came that nobody sent"
    WRONG_INBOX = "a notification came to another recipient than it was sent to"
    NOT_RECEIVED = "a subscriber has caught up, and lacks an entry or its latest state"
    SKIPPED = "a change was skipped, and its entry did not come later"
    DUPLICATE = "a change came again, on the same stream or after it had been resumed past"
    OUT_OF_ORDER = "a change came after a later one"
    REVISION_REUSED = "one revision stands for two different changes"
    REVISION_MISSING = "the counter passed over a revision"
    RESET = "a position was reset that should have been kept"
    COUNTS_DRIFTED = "counts differ from a recount"


@dataclass(frozen=True)
class Violation:
    """One broken promise, in words."""

    rule: Rule
    recipient: str
    detail: str

    def __str__(self) -> str:
        return f"{self.rule.name} {self.recipient}: {self.rule}: {self.detail}"


@dataclass(frozen=True)
class Entry:
    """An entry at one revision, as somebody saw it."""

    recipient: str
    revision: int
    id: str
    state: frozenset[str] = frozenset()
    """Which of seen, read, archived, snoozed, retracted, expired, interacted hold."""
    request_id: str = ""
    """The request that sent it, which senders put into the notification's attributes; empty if they are gone."""


@dataclass(frozen=True)
class Ack:
    """The answer to a request to send, without whether it was the first of its kind."""

    notification_id: str
    disposition: str = STORED
    cursor: str = ""
    reasons: tuple[str, ...] = ()
    """Why it was suppressed, deferred or batched."""


@dataclass(frozen=True)
class Counts:
    """Counts of an inbox."""

    unread: int = 0
    unseen: int = 0
    total: int = 0


@dataclass(frozen=True)
class Inbox:
    """An inbox as it can be read when nothing changes any more."""

    recipient: str
    entries: tuple[Entry, ...]
    """Everything that is kept."""
    floor: int = 0
    """Retention has removed what changed last at or below this revision."""
    counts: Mapping[str, Counts] = field(default_factory=dict)
    """The server's counts, by where they were read."""
    history: Mapping[int, str] = field(default_factory=dict)
    """The entry that took each revision, by the notifications' timelines; empty: not known."""


@dataclass
class Request:
    """A request to send one notification, and what became of it."""

    recipient: str
    ack: Ack | None = None
    refusal: str = ""


@dataclass
class Run:
    """What came on one stream, for one recipient, from one position on."""

    after: int
    """Everything up to this revision was received before; 0: nothing was, or a reset made it void."""
    contiguous: bool = True
    """False after a reset: what lies between `after` and the first change may be gone."""
    entries: list[Entry] = field(default_factory=list)


class Oracle:
    """Everything that was recorded."""

    def __init__(self) -> None:
        self._requests: dict[str, Request] = {}
        self._broadcasts: set[str] = set()
        self._marks: list[tuple[str, str, str]] = []
        self._runs: defaultdict[tuple[str, str], list[Run]] = defaultdict(list)
        self._counts: dict[tuple[str, str], Counts] = {}
        self._at_once: list[Violation] = []

    def asked(self, request_id: str, recipient: str) -> None:
        """A notification is about to be sent; its outcome is not known from here on."""
        self._requests.setdefault(request_id, Request(recipient))

    def acked(self, request_id: str, ack: Ack, *, replayed: bool) -> None:
        """A notification was answered with OK, for the first time or once more."""
        request = self._requests[request_id]
        first = request.ack
        if first is None:
            request.ack = ack
        elif ack != first:
            self._violated(Rule.REPLAY_DIFFERS, request.recipient, f"{request_id}: first {first}, then {ack}")
        elif not replayed:
            self._violated(Rule.REPLAY_DIFFERS, request.recipient, f"{request_id}: not marked as replayed")

    def refused(self, request_id: str, reason: str) -> None:
        """A notification was refused in a way that promises that nothing was written."""
        self._requests[request_id].refusal = reason

    def broadcast(self, request_id: str) -> None:
        """A broadcast is made to all whose inboxes are judged, and has been carried out by then."""
        self._broadcasts.add(request_id)

    def marked(self, recipient: str, notification_id: str, flag: str) -> None:
        """A mark was answered with OK, which nothing takes back."""
        self._marks.append((recipient, notification_id, flag))

    def follows(self, reader: str, recipient: str, after: int = 0) -> None:
        """A subscriber begins, or begins again from a cursor at which the last revision it had was `after`."""
        self._runs[reader, recipient].append(Run(after))

    def received(self, reader: str, entry: Entry) -> None:
        """A subscriber received a change."""
        self._runs[reader, entry.recipient][-1].entries.append(entry)

    def counted(self, reader: str, recipient: str, counts: Counts) -> None:
        """A subscriber received counts."""
        self._counts[reader, recipient] = counts

    def reset(self, reader: str, recipient: str, reason: str, *, expected: bool = False) -> None:
        """A subscriber's position became void, and the stream goes on from the beginning of what is kept."""
        if not expected:
            self._violated(Rule.RESET, recipient, f"{reader} was reset: {reason}")
        self._runs[reader, recipient].append(Run(after=0, contiguous=False))

    def was_reset(self, reader: str, recipient: str) -> bool:
        """Whether a subscriber's position became void."""
        return not all(run.contiguous for run in self._runs[reader, recipient])

    @property
    def ack_count(self) -> int:
        """How many notifications were answered with OK so far."""
        return sum(request.ack is not None for request in self._requests.values())

    @property
    def recipients(self) -> Set[str]:
        """Everybody to whom something was sent, or whom somebody followed."""
        sent_to = {request.recipient for request in self._requests.values()}
        return sent_to | {recipient for _, recipient in self._runs}

    def entries(self, reader: str, recipient: str) -> Mapping[str, Entry]:
        """The latest that a subscriber has of each entry, by id."""
        return latest_by_id(self._received(reader, recipient))

    def counts(self, reader: str, recipient: str) -> Counts | None:
        """The last counts that a subscriber has received."""
        return self._counts.get((reader, recipient))

    def violations(self, inboxes: Iterable[Inbox]) -> list[Violation]:
        """What was broken, given all inboxes that were sent to. To be asked when every subscriber has caught up."""
        by_recipient = {inbox.recipient: inbox for inbox in inboxes}
        missing = {request.recipient for request in self._requests.values()} - by_recipient.keys()
        if missing:
            raise ValueError(
                f"these were sent to, and cannot be judged without their inboxes: {sorted(missing)}"
            )
        found = [*self._at_once, *self._judge_requests(by_recipient)]
        for inbox in by_recipient.values():
            found += self._judge_broadcasts(inbox)
            found += self._judge_marks(inbox)
            found += self._judge_changes(inbox)
            found += self._judge_counts(inbox)
        for reader, recipient in self._runs:
            if recipient in by_recipient:
                found += self._judge_reader(reader, by_recipient[recipient])
        return list(dict.fromkeys(found))

    def _violated(self, rule: Rule, recipient: str, detail: str) -> None:
        self._at_once.append(Violation(rule, recipient, detail))

    def _received(self, reader: str, recipient: str) -> Iterator[Entry]:
        for run in self._runs.get((reader, recipient), ()):
            yield from run.entries

    def _seen(self, inbox: Inbox) -> list[Entry]:
        """Every entry that anybody saw in an inbox."""
        readers = (reader for reader, recipient in self._runs if recipient == inbox.recipient)
        return [
            *inbox.entries,
            *(entry for reader in readers for entry in self._received(reader, inbox.recipient)),
        ]

    def _judge_requests(self, inboxes: Mapping[str, Inbox]) -> Iterator[Violation]:
        stored: defaultdict[str, set[str]] = defaultdict(set)
        kept = {entry.id for inbox in inboxes.values() for entry in inbox.entries}
        for inbox in inboxes.values():
            seen = self._seen(inbox)
            kept |= {entry.id for entry in latest_by_id(seen).values() if entry.revision <= inbox.floor}
            for entry in seen:
                request = self._requests.get(entry.request_id)
                if entry.request_id in self._broadcasts or (not entry.request_id and entry.state & UNCOUNTED):
                    continue
                elif request is None:
                    yield Violation(Rule.NOT_ASKED_FOR, inbox.recipient, f"{entry}")
                elif request.recipient != inbox.recipient:
                    yield Violation(
                        Rule.WRONG_INBOX, inbox.recipient, f"{entry}, sent to {request.recipient}"
                    )
                else:
                    stored[entry.request_id].add(entry.id)

        for request_id, request in self._requests.items():
            yield from judge_request(request_id, request, stored[request_id], kept)

    def _judge_broadcasts(self, inbox: Inbox) -> Iterator[Violation]:
        seen = self._seen(inbox)
        for request_id in sorted(self._broadcasts):
            ids = {entry.id for entry in seen if entry.request_id == request_id}
            if not ids:
                yield Violation(Rule.BROADCAST_LOST, inbox.recipient, request_id)
            elif len(ids) > 1:
                yield Violation(Rule.BROADCAST_TWICE, inbox.recipient, f"{request_id}: {sorted(ids)}")

    def _judge_marks(self, inbox: Inbox) -> Iterator[Violation]:
        states = {entry.id: entry.state for entry in inbox.entries}
        for recipient, notification_id, flag in self._marks:
            state = states.get(notification_id, frozenset({flag}))
            final = state & UNCOUNTED and flag not in UNCOUNTED  # it cannot be marked any more
            if recipient == inbox.recipient and flag not in state and not final:
                yield Violation(Rule.MARK_LOST, recipient, f"{notification_id} is not {flag}")

    def _judge_changes(self, inbox: Inbox) -> Iterator[Violation]:
        """Every revision stands for one change, and none is left out."""
        changes: dict[int, Entry] = {}
        for entry in self._seen(inbox):
            first = changes.setdefault(entry.revision, entry)
            if first != entry:
                yield Violation(Rule.REVISION_REUSED, inbox.recipient, f"{first} and {entry}")
        for revision, notification_id in inbox.history.items():
            if revision in changes and changes[revision].id != notification_id:
                detail = f"{changes[revision]}, but {notification_id} by its timeline"
                yield Violation(Rule.REVISION_REUSED, inbox.recipient, detail)
        if inbox.history:
            for revision in range(1, max(changes, default=0)):
                if revision not in inbox.history:
                    yield Violation(
                        Rule.REVISION_MISSING, inbox.recipient, f"nothing took revision {revision}"
                    )

    def _judge_counts(self, inbox: Inbox) -> Iterator[Violation]:
        recount = count(inbox.entries)
        streamed = {
            f"the last summary of {reader}": counts
            for (reader, recipient), counts in self._counts.items()
            if recipient == inbox.recipient
        }
        for source, counts in {**inbox.counts, **streamed}.items():
            if counts != recount:
                detail = f"{source} says {counts}, a recount {recount}"
                yield Violation(Rule.COUNTS_DRIFTED, inbox.recipient, detail)

    def _judge_reader(self, reader: str, inbox: Inbox) -> Iterator[Violation]:
        runs = self._runs[reader, inbox.recipient]
        owners = {**inbox.history, **{entry.revision: entry.id for entry in self._seen(inbox)}}

        def violation(rule: Rule, detail: str) -> Violation:
            return Violation(rule, inbox.recipient, f"{reader}: {detail}")

        for number, run in enumerate(runs):
            yield from judge_order(run, violation)
            # From here on: a change that was skipped may come with its entry's next one, on a later stream too.
            later = [entry for later_run in runs[number:] for entry in later_run.entries]
            yield from judge_gaps(run, later, owners, violation)

        start = min(run.after for run in runs)
        latest = latest_by_id(self._received(reader, inbox.recipient))
        for entry in inbox.entries:
            if entry.revision > start and latest.get(entry.id) != entry:
                yield violation(Rule.NOT_RECEIVED, f"{entry}, last received as {latest.get(entry.id)}")


def judge_request(request_id: str, request: Request, stored: set[str], kept: set[str]) -> Iterator[Violation]:
    """One request against the ids that were seen with it, and all ids that inboxes hold or may have let go."""

    def violation(rule: Rule, detail: str) -> Violation:
        return Violation(rule, request.recipient, f"{request_id}: {detail}")

    ack = request.ack
    ids = stored if ack is None or ack.disposition == SUPPRESSED else stored | {ack.notification_id}
    if len(ids) > 1:
        yield violation(Rule.STORED_TWICE, f"{sorted(ids)}")
    if ack is None:
        if request.refusal and stored:
            yield violation(
                Rule.REFUSED_STORED, f"refused with {request.refusal}, stored as {sorted(stored)}"
            )
    elif ack.disposition == STORED and ack.notification_id not in kept:
        yield violation(Rule.ACK_LOST, f"{ack.notification_id}")
    elif ack.disposition == SUPPRESSED:
        if stored:
            yield violation(Rule.SUPPRESSED_STORED, f"{sorted(stored)}")
        if not ack.reasons:
            yield violation(Rule.SUPPRESSED_SILENTLY, f"{ack.notification_id}")


def judge_order(run: Run, violation: Callable[[Rule, str], Violation]) -> Iterator[Violation]:
    """Revisions rise strictly on one stream, from the position that it was resumed at."""
    last = run.after
    received = set()
    for entry in run.entries:
        if entry.revision <= last:
            again = entry.revision in received or entry.revision <= run.after
            rule = Rule.DUPLICATE if again else Rule.OUT_OF_ORDER
            yield violation(rule, f"{entry} after revision {last}")
        received.add(entry.revision)
        last = max(last, entry.revision)


def judge_gaps(
    run: Run, later: Iterable[Entry], owners: Mapping[int, str], violation: Callable[[Rule, str], Violation]
) -> Iterator[Violation]:
    """A revision is missing only where its entry came at a higher one, in this run or in what came `later`."""
    received = {entry.revision for entry in run.entries}
    if not received:
        return
    last = latest_by_id(later)
    begin = run.after + 1 if run.contiguous else min(received)
    for revision in range(begin, max(received)):
        if revision in received:
            continue
        owner = owners.get(revision)
        if owner is None:
            yield violation(Rule.SKIPPED, f"revision {revision}, of an entry that never came")
        elif owner not in last or last[owner].revision < revision:
            yield violation(Rule.SKIPPED, f"revision {revision} of {owner}")


def latest_by_id(entries: Iterable[Entry]) -> dict[str, Entry]:
    """Each entry at its highest revision."""
    return {entry.id: entry for entry in sorted(entries, key=lambda entry: entry.revision)}


def count(entries: Iterable[Entry]) -> Counts:
    """Counts as the contract defines them."""
    counts = Counts()
    for entry in entries:
        shown = not entry.state & HIDDEN
        counts = replace(
            counts,
            unread=counts.unread + (shown and "read" not in entry.state),
            unseen=counts.unseen + (shown and "seen" not in entry.state),
            total=counts.total + (not entry.state & UNCOUNTED),
        )
    return counts
