"""PreferenceService: layers of preferences, changes of them, and what follows from both layers."""

from tocsin.v1 import notification_pb2
from tocsin.v1 import preference_service_pb2 as pb
from tocsin_server.domain.errors import FeatureNotBuilt
from tocsin_server.domain.notification import Channel
from tocsin_server.domain.preferences import (
    PREFERENCE_FIELDS,
    Choice,
    Place,
    Preferences,
    PreferencesChange,
    chosen,
)
from tocsin_server.domain.quiet_hours import QuietAction, QuietHours, QuietWindow
from tocsin_server.domain.unsubscribe import Subscription
from tocsin_server.rpc.convert.times import timestamp
from tocsin_server.service.preferences import Cell, Resolution

_EVERY_DAY = (1, 2, 3, 4, 5, 6, 7)


def change_from(request: pb.UpdatePreferencesRequest) -> PreferencesChange:
    """A checked change. Raises FeatureNotBuilt."""
    all_fields = PREFERENCE_FIELDS if request.HasField("preferences") else frozenset[str]()
    return PreferencesChange(
        _preferences(request.preferences),
        frozenset(request.update_mask.paths) or all_fields,
        tuple(map(_place, request.clear_choices)),
        chosen((), map(_choice, request.set_choices)),
    )


def subscription_from(request: pb.CreateUnsubscribeTokenRequest, tenant: str) -> Subscription:
    """What a token is to be about."""
    return Subscription(tenant, request.recipient, request.category, Channel(request.channel))


def preferences_message(preferences: Preferences) -> pb.Preferences:
    """One layer."""
    quiet_hours = preferences.quiet_hours
    return pb.Preferences(
        choices=map(_choice_message, preferences.choices),
        quiet_hours=None if quiet_hours is None else _quiet_hours_message(quiet_hours),
        digest_time=preferences.digest_time,
    )


def resolution_message(resolution: Resolution) -> pb.ResolvePreferencesResponse:
    """What holds for a recipient."""
    quiet_hours = resolution.quiet_hours
    return pb.ResolvePreferencesResponse(
        preferences=map(_cell_message, resolution.cells),
        quiet_hours=None if quiet_hours is None else _quiet_hours_message(quiet_hours),
        quiet_hours_layer=resolution.quiet_hours_layer,
        quiet_until=timestamp(resolution.quiet_until),
        digest_time=resolution.digest_time,
        digest_time_layer=resolution.digest_time_layer,
        time_zone=resolution.time_zone,
    )


def unsubscribe_message(subscription: Subscription, *, replayed: bool) -> pb.UnsubscribeResponse:
    """What was left."""
    return pb.UnsubscribeResponse(
        recipient=subscription.recipient,
        category=subscription.category,
        channel=notification_pb2.Channel.ValueType(subscription.channel),
        replayed=replayed,
    )


def _preferences(message: pb.Preferences) -> Preferences:
    quiet_hours = _quiet_hours(message.quiet_hours) if message.HasField("quiet_hours") else None
    return Preferences(chosen((), map(_choice, message.choices)), quiet_hours, message.digest_time)


def _choice(message: pb.PreferenceChoice) -> Choice:
    return Choice(message.allowed, message.category, Channel(message.channel) if message.channel else None)


def _place(message: pb.PreferenceKey) -> Place:
    return (message.category, message.channel)


def _choice_message(choice: Choice) -> pb.PreferenceChoice:
    return pb.PreferenceChoice(
        category=choice.category,
        channel=notification_pb2.Channel.ValueType(choice.channel or 0),
        allowed=choice.allowed,
    )


def _quiet_hours(message: pb.QuietHours) -> QuietHours:
    action = QuietAction(message.action or QuietAction.DEFER)
    if action is QuietAction.BATCH:
        raise FeatureNotBuilt(field="preferences.quiet_hours.action")
    return QuietHours(tuple(map(_window, message.windows)), action, message.email)


def _window(message: pb.QuietWindow) -> QuietWindow:
    return QuietWindow(
        tuple(sorted(message.days)) or _EVERY_DAY, _minutes(message.start_time), _minutes(message.end_time)
    )


def _quiet_hours_message(hours: QuietHours) -> pb.QuietHours:
    return pb.QuietHours(
        windows=map(_window_message, hours.windows),
        action=pb.QuietAction.ValueType(hours.action),
        email=hours.email,
    )


def _window_message(window: QuietWindow) -> pb.QuietWindow:
    return pb.QuietWindow(
        days=map(pb.Weekday.ValueType, window.days),
        start_time=_clock_time(window.start),
        end_time=_clock_time(window.end),
    )


def _cell_message(cell: Cell) -> pb.ResolvedPreference:
    verdict = cell.verdict
    return pb.ResolvedPreference(
        category=cell.category,
        channel=notification_pb2.Channel.ValueType(cell.channel),
        allowed=verdict.allowed,
        rule=notification_pb2.DecisionRule.ValueType(verdict.rule),
        layer=verdict.layer,
        key=verdict.key,
        text=verdict.text,
    )


def _minutes(clock_time: str) -> int:
    """After midnight, from HH:MM."""
    hours, _, minutes = clock_time.partition(":")
    return 60 * int(hours) + int(minutes)


def _clock_time(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"
