"""How notifications look in a terminal."""

from rich.text import Text

from tocsin.v1.notification_pb2 import Channel, Decision, DecisionRule, Disposition, Notification
from tocsin.v1.notification_service_pb2 import PlanSendResponse, SendResult
from tocsin.values import enum_name
from tocsin_server.cli.output import instant

_MARKS = {
    "seen": "seen",
    "read": "read",
    "archived": "archived",
    "retracted": "retracted",
    "expired": "expired",
}


def title(notification: Notification) -> str:
    """The one line that every kind of content has; why there is none, where the content is gone."""
    kind = notification.content.WhichOneof("kind")
    if kind is None:
        return "(expired)" if notification.state.expired else "(withdrawn)"
    text: str = getattr(notification.content, kind).title
    return text


def state(notification: Notification) -> str:
    """What became of an entry, in words."""
    words = [word for name, word in _MARKS.items() if getattr(notification.state, name)]
    if "read" in words:
        words.remove("seen")
    if notification.state.HasField("snoozed_until"):
        words.append(f"snoozed until {instant(notification.state.snoozed_until)}")
    return ", ".join(words) or "new"


def line(notification: Notification) -> Text:
    """An entry as one line of a live tail."""
    kind = notification.content.WhichOneof("kind") or "–"
    return Text.assemble(
        (instant(notification.create_time), "dim"),
        "  ",
        (notification.recipient, "cyan"),
        " ",
        (f"#{notification.revision}", "dim"),
        "  ",
        (title(notification), "bold" if not notification.state.read else ""),
        "  ",
        (f"{notification.category} · {kind.replace('_', ' ')} · {state(notification)}", "dim"),
    )


def disposition(result: SendResult | PlanSendResponse) -> str:
    """What became of what was sent, or would: stored, scheduled, batched, suppressed."""
    return enum_name(Disposition, result.disposition).lower()


def channel(channel: Channel.ValueType) -> str:
    """A channel's name; empty where none is meant."""
    return enum_name(Channel, channel).lower() if channel else ""


def rule(decision: Decision) -> str:
    """The kind of rule that decided, in words."""
    return enum_name(DecisionRule, decision.rule).lower().replace("_", " ")
