"""The oracle must catch every kind of violation, and nothing else."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field

import pytest

from tests.support.oracle import Ack, Counts, Entry, Inbox, Oracle, Rule, Violation, count


def entry(revision: int, name: str, *state: str, sent_by: str | None = None) -> Entry:
    """An entry whose id and request id are `name`."""
    return Entry("ada", revision, name, frozenset(state), name if sent_by is None else sent_by)


A, B, C = entry(1, "a"), entry(2, "b"), entry(3, "c")
A_READ_4 = entry(4, "a", "seen", "read")
SUPPRESSED = Ack("a", "SUPPRESSED", reasons=("the recipient does not want it",))


@dataclass(frozen=True)
class Case:
    """By default, a, b and c were sent to ada and acked; one subscriber received them in order, and they are kept.

    d was sent to ada too, and x to bob; nothing is known of their outcome.
    """

    about: str
    rules: Set[Rule] = frozenset()
    acks: Mapping[str, Ack] = field(default_factory=lambda: {name: Ack(name) for name in "abc"})
    again: Mapping[str, tuple[Ack, bool]] = field(default_factory=dict)
    """Second answers, and whether they were marked as replayed."""
    refused: Mapping[str, str] = field(default_factory=dict)
    marks: tuple[tuple[str, str], ...] = ()
    runs: tuple[tuple[int, tuple[Entry, ...]], ...] = ((0, (A, B, C)),)
    """What came on one stream after another, and the revision from which each was resumed; below 0: after a reset."""
    other_reader: tuple[Entry, ...] | None = None
    kept: tuple[Entry, ...] = (A, B, C)
    floor: int = 0
    counts: Mapping[str, Counts] = field(default_factory=dict)
    streamed: Counts | None = None
    history: Mapping[int, str] = field(default_factory=dict)

    def violations(self) -> list[Violation]:
        oracle = Oracle()
        for name in "abcd":
            oracle.asked(name, "ada")
        oracle.asked("x", "bob")
        for name, ack in self.acks.items():
            oracle.acked(name, ack, replayed=False)
        for name, (ack, replayed) in self.again.items():
            oracle.acked(name, ack, replayed=replayed)
        for name, reason in self.refused.items():
            oracle.refused(name, reason)
        for name, flag in self.marks:
            oracle.marked("ada", name, flag)
        for after, entries in self.runs:
            if after < 0:
                oracle.reset("reader", "ada", "CURSOR_EXPIRED", expected=True)
            else:
                oracle.follows("reader", "ada", after)
            for received in entries:
                oracle.received("reader", received)
        if self.other_reader is not None:
            oracle.follows("other", "ada")
            for received in self.other_reader:
                oracle.received("other", received)
        if self.streamed is not None:
            oracle.counted("reader", "ada", self.streamed)
        ada = Inbox("ada", self.kept, self.floor, self.counts, self.history)
        return oracle.violations([ada, Inbox("bob", ())])


# A later state in place of an earlier one: what subscriber and inbox hold when a was read after c had been sent.
READ = (B, C, A_READ_4)

CASES = [
    Case("all is well"),
    Case("an answer was lost on the way, and the notification came", acks={"a": Ack("a"), "b": Ack("b")}),
    Case("a request failed and left nothing", acks={"a": Ack("a")}, runs=((0, (A,)),), kept=(A,)),
    Case("the same answer again", again={"a": (Ack("a"), True)}),
    Case("a refused request succeeded in the end", refused={"a": "STORAGE_UNAVAILABLE"}),
    # Acked is kept.
    Case("acked and not kept", {Rule.ACK_LOST}, kept=(A, B)),
    Case("acked, and neither kept nor received", {Rule.ACK_LOST}, runs=((0, (A, B)),), kept=(A, B)),
    Case("retracted is kept", kept=(A, B, entry(4, "c", "retracted")),
         runs=((0, (A, B, entry(4, "c", "retracted"))),),
         history={1: "a", 2: "b", 3: "c", 4: "c"}),
    Case("expired has lost its attributes", kept=(A, B, entry(4, "c", "expired", sent_by="")),
         runs=((0, (A, B, C, entry(4, "c", "expired", sent_by=""))),)),
    # Acked is kept until retention removes it.
    Case("removed below the floor", kept=(B, C), floor=1),
    Case("removed above the floor", {Rule.ACK_LOST}, kept=(A, C), floor=1),
    Case("removed above the floor, as it changed again", {Rule.ACK_LOST}, kept=(C,), floor=3,
         runs=((0, (A, B, C, A_READ_4)),)),
    # Suppressed is not stored, and says why.
    Case("suppressed", acks={"a": SUPPRESSED}, runs=(), kept=()),
    Case("suppressed without a reason", {Rule.SUPPRESSED_SILENTLY}, acks={"a": Ack("a", "SUPPRESSED")},
         runs=(), kept=()),
    Case("suppressed and stored", {Rule.SUPPRESSED_STORED}, acks={"a": SUPPRESSED}),
    Case("refused and stored", {Rule.REFUSED_STORED}, acks={}, refused={"a": "STORAGE_UNAVAILABLE"}),
    # One request, one notification, one answer.
    Case("stored twice", {Rule.STORED_TWICE}, runs=((0, (A, B, C, entry(4, "a2", sent_by="a"))),),
         kept=(A, B, C, entry(4, "a2", sent_by="a"))),
    Case("stored under another id than the answer said", {Rule.STORED_TWICE, Rule.ACK_LOST},
         acks={"a": Ack("a0")}),
    Case("another answer", {Rule.REPLAY_DIFFERS}, again={"a": (Ack("a", cursor="other"), True)}),
    Case("another id", {Rule.REPLAY_DIFFERS}, again={"a": (Ack("b"), True)}),
    Case("the same answer, as if it were the first", {Rule.REPLAY_DIFFERS}, again={"a": (Ack("a"), False)}),
    # Nothing else comes.
    Case("never sent", {Rule.NOT_ASKED_FOR}, runs=((0, (A, B, C, entry(4, "z"))),),
         kept=(A, B, C, entry(4, "z"))),
    Case("sent by nobody", {Rule.NOT_ASKED_FOR}, runs=((0, (A, B, C, entry(4, "z", sent_by=""))),),
         kept=(A, B, C, entry(4, "z", sent_by=""))),
    Case("sent to somebody else", {Rule.WRONG_INBOX}, runs=((0, (A, B, C, entry(4, "x"))),),
         kept=(A, B, C, entry(4, "x"))),
    # Received is complete.
    Case("the last one did not come", {Rule.NOT_RECEIVED}, runs=((0, (A, B)),)),
    Case("nothing came", {Rule.NOT_RECEIVED}, runs=((0, ()),)),
    Case("the last change did not come", {Rule.NOT_RECEIVED}, kept=READ),
    Case("one in between did not come", {Rule.NOT_RECEIVED, Rule.SKIPPED}, runs=((0, (A, C)),)),
    Case("one that had not been acked did not come", {Rule.NOT_RECEIVED, Rule.SKIPPED}, acks={},
         runs=((0, (A, C)),)),
    Case("it came in another state than it is kept in", {Rule.NOT_RECEIVED, Rule.REVISION_REUSED},
         kept=(A, B, entry(3, "c", "read"))),
    # What is missing came later.
    Case("a change came late", runs=((0, (B, C, A_READ_4)),), history={1: "a", 2: "b", 3: "c", 4: "a"},
         kept=READ),
    Case("a change came late, as another subscriber shows", runs=((0, (B, C, A_READ_4)),),
         other_reader=(A, B, C, A_READ_4), kept=READ),
    Case("a change came late, on the next stream", runs=((0, (B, C)), (3, (A_READ_4,))),
         other_reader=(A, B, C, A_READ_4), kept=READ),
    Case("a change that nobody saw is missing", {Rule.SKIPPED}, runs=((0, (B, C, A_READ_4)),), kept=READ),
    Case("a change did not come, and its entry came before", {Rule.SKIPPED, Rule.NOT_RECEIVED},
           runs=((0, (A, B, C, entry(5, "b", "seen"))),), kept=(C, A_READ_4, entry(5, "b", "seen")),
         history={1: "a", 2: "b", 3: "c", 4: "a", 5: "b"}),
    # Order.
    Case("swapped", {Rule.OUT_OF_ORDER}, runs=((0, (A, C, B)),)),
    Case("twice on a stream", {Rule.DUPLICATE}, runs=((0, (A, B, B, C)),)),
    # Streams that are resumed.
    Case("resumed", runs=((0, (A,)), (1, (B, C)))),
    Case("resumed at the end", runs=((0, (A, B, C)), (3, ()))),
    Case("resumed from an older cursor", runs=((0, (A, B)), (1, (B, C)))),
    Case("resumed from the beginning", runs=((0, (A, B)), (0, (A, B, C)))),
    Case("begun in the middle", runs=((2, (C,)),)),
    Case("a duplicate after resuming", {Rule.DUPLICATE}, runs=((0, (A, B)), (2, (B, C)))),
    Case("a gap after resuming", {Rule.SKIPPED, Rule.NOT_RECEIVED}, runs=((0, (A,)), (1, (C,)))),
    Case("a gap after resuming from an older cursor", {Rule.SKIPPED}, runs=((0, (A, B)), (1, (C,)))),
    Case("a gap at a stream's end", {Rule.NOT_RECEIVED}, runs=((0, (A, B)), (2, ()))),
    # After a reset the beginning may be gone, and nothing else.
    Case("reset to what is kept", runs=((0, (A,)), (-1, (B, C))), kept=(B, C), floor=1),
    Case("reset, nothing gone", runs=((0, (A, B)), (-1, (A, B, C)))),
    Case("reset with a gap", {Rule.SKIPPED}, runs=((0, (A, B)), (-1, (A, C)))),
    Case("reset past what is kept", {Rule.NOT_RECEIVED}, runs=((-1, (B, C)),)),
    # Revisions.
    Case("a revision given again after a crash", {Rule.REVISION_REUSED, Rule.ACK_LOST},
         runs=((0, (A, B, C)), (2, (entry(3, "d"),))), kept=(A, B, entry(3, "d"))),
    Case("a revision with two states", {Rule.REVISION_REUSED, Rule.NOT_RECEIVED},
         other_reader=(A, entry(2, "b", "seen"), C)),
    Case("a full history", history={1: "a", 2: "b", 3: "c"}),
    Case("a history with a hole", {Rule.REVISION_MISSING}, history={1: "a", 3: "c"}),
    Case("a history that says otherwise", {Rule.REVISION_REUSED}, history={1: "b", 2: "a", 3: "c"}),
    # Marks.
    Case("a mark that holds", marks=(("a", "read"), ("a", "seen")), runs=((0, (A, B, C, A_READ_4)),),
         kept=READ),
    Case("a mark on what is retracted by now", marks=(("c", "seen"), ("c", "retracted")),
         runs=((0, (A, B, C, entry(4, "c", "retracted"))),), kept=(A, B, entry(4, "c", "retracted"))),
    Case("a mark that is lost", {Rule.MARK_LOST}, marks=(("b", "read"),)),
    # Counts.
    Case("true counts", counts={"GetSummary": Counts(3, 3, 3)}, streamed=Counts(3, 3, 3)),
    Case("a false count", {Rule.COUNTS_DRIFTED}, counts={"GetSummary": Counts(2, 3, 3)}),
    Case("a false count on the stream", {Rule.COUNTS_DRIFTED}, streamed=Counts(3, 3, 2)),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.about)
def test_it_finds_what_is_broken(case: Case) -> None:
    found = case.violations()

    assert {violation.rule for violation in found} == case.rules, "\n".join(map(str, found))


def test_a_reset_is_a_violation_unless_it_is_expected() -> None:
    oracle = Oracle()
    oracle.follows("reader", "ada", 7)
    oracle.reset("reader", "ada", "CURSOR_EXPIRED")

    assert [violation.rule for violation in oracle.violations([Inbox("ada", ())])] == [Rule.RESET]


@pytest.mark.parametrize(
    ("entries", "rules"),
    [
        ((A, B), []),
        # To everybody whose inbox is judged.
        ((A,), [Rule.BROADCAST_LOST]),
        ((A, B, entry(3, "b2", sent_by="b")), [Rule.BROADCAST_TWICE]),
        # What was seen of it before it was retracted counts.
        ((A, B, entry(3, "b", "retracted", sent_by="")), []),
    ],
)
def test_a_broadcast_is_in_each_inbox_once(entries: tuple[Entry, ...], rules: list[Rule]) -> None:
    oracle = Oracle()
    oracle.asked("a", "ada")
    oracle.broadcast("b")
    oracle.follows("reader", "ada")
    for received in entries:
        oracle.received("reader", received)
    kept = tuple({each.id: each for each in entries}.values())

    assert [violation.rule for violation in oracle.violations([Inbox("ada", kept)])] == rules


def test_it_does_not_judge_without_the_inbox() -> None:
    oracle = Oracle()
    oracle.asked("a", "ada")

    with pytest.raises(ValueError, match="ada"):
        oracle.violations([])


def test_a_violation_can_be_read() -> None:
    violation = Violation(Rule.MARK_LOST, "ada", "a is not read")

    assert str(violation) == "MARK_LOST ada: an acked mark does not show in the entry: a is not read"


def test_it_knows_how_far_a_reader_is() -> None:
    oracle = Oracle()
    oracle.follows("reader", "ada")
    for received in (A, B, A_READ_4):
        oracle.received("reader", received)
    oracle.counted("reader", "ada", Counts(1, 1, 2))

    assert oracle.entries("reader", "ada") == {"a": A_READ_4, "b": B}
    assert oracle.counts("reader", "ada") == Counts(1, 1, 2)
    assert (oracle.entries("other", "ada"), oracle.counts("other", "ada")) == ({}, None)
    assert oracle.recipients == {"ada"}


@pytest.mark.parametrize(
    ("state", "counts"),
    [
        ((), Counts(unread=1, unseen=1, total=1)),
        (("seen",), Counts(unread=1, unseen=0, total=1)),
        (("seen", "read"), Counts(unread=0, unseen=0, total=1)),
        (("archived",), Counts(unread=0, unseen=0, total=1)),
        (("snoozed",), Counts(unread=0, unseen=0, total=1)),
        (("retracted",), Counts(unread=0, unseen=0, total=0)),
        (("expired", "seen"), Counts(unread=0, unseen=0, total=0)),
        (("interacted",), Counts(unread=1, unseen=1, total=1)),
    ],
)
def test_what_counts(state: tuple[str, ...], counts: Counts) -> None:
    assert count([entry(1, "a", *state)]) == counts
