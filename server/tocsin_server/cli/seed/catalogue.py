"""What the example tenant has defined: its categories, what it wants for those who have not said, its topics."""

from datetime import timedelta

from tocsin import Category, PreferenceChoice, Preferences, QuietHours, QuietWindow, Throttle
from tocsin.v1.category_service_pb2 import ThrottleOverflow, ThrottleScope
from tocsin.v1.notification_pb2 import Channel, Priority
from tocsin.v1.preference_service_pb2 import QuietAction
from tocsin.values import duration

INBOX, EMAIL = Channel.CHANNEL_INBOX, Channel.CHANNEL_EMAIL
PUSH, SMS, CHAT = Channel.CHANNEL_PUSH, Channel.CHANNEL_SMS, Channel.CHANNEL_CHAT

TOPICS = {
    "teams/engineering": "Engineering",
    "plans/pro": "Customers of the plan Pro",
    "beta": "Who tries new things first",
}
"""Names to show by the names of topics."""


def categories() -> list[Category]:
    """A shop with software of its own, and what its people are told."""
    # Whatever pushes, shares this: more than so many in an hour, and the rest waits.
    push_cap = Throttle(
        scope=ThrottleScope.THROTTLE_SCOPE_CHANNEL,
        max=10,
        window=duration(timedelta(hours=1)),
        overflow=ThrottleOverflow.THROTTLE_OVERFLOW_DEFER,
        channels=[PUSH],
    )
    one_a_day = Throttle(
        scope=ThrottleScope.THROTTLE_SCOPE_CATEGORY,
        max=1,
        window=duration(timedelta(days=1)),
        overflow=ThrottleOverflow.THROTTLE_OVERFLOW_DROP,
        channels=[EMAIL],
    )
    return [
        Category(
            category="security",
            display_name="Security",
            description="Sign-ins from new devices, changed passwords. Nobody can refuse these.",
            channels=[INBOX, EMAIL, PUSH],
            mandatory=True,
            priority=Priority.PRIORITY_URGENT,
        ),
        Category(
            category="incidents",
            display_name="Incidents",
            description="Something is down, and what is done about it.",
            channels=[INBOX, PUSH, SMS],
            priority=Priority.PRIORITY_HIGH,
        ),
        Category(
            category="approvals",
            display_name="Approvals",
            description="Somebody waits for a yes or a no.",
            channels=[INBOX, EMAIL, PUSH, CHAT],
            priority=Priority.PRIORITY_HIGH,
            throttles=[push_cap],
        ),
        Category(
            category="orders",
            display_name="Orders",
            description="Paid, packed, on its way.",
            channels=[INBOX, EMAIL, PUSH],
            throttles=[push_cap],
        ),
        Category(
            category="comments",
            display_name="Comments",
            description="What others say to what is yours.",
            channels=[INBOX, PUSH],
            throttles=[push_cap],
            retention=duration(timedelta(days=30)),
        ),
        Category(
            category="reports",
            display_name="Weekly report",
            description="What happened in the projects.",
            channels=[INBOX, EMAIL],
            priority=Priority.PRIORITY_LOW,
        ),
        Category(
            category="billing",
            display_name="Invoices",
            description="Invoices, receipts, cards that expire.",
            channels=[INBOX, EMAIL],
        ),
        Category(
            category="product-news",
            display_name="Product news",
            description="What is new.",
            channels=[INBOX, EMAIL],
            priority=Priority.PRIORITY_LOW,
            throttles=[one_a_day],
            retention=duration(timedelta(days=14)),
        ),
    ]


def tenant_preferences() -> Preferences:
    """What holds for whoever has not said otherwise: no reports by e-mail, and silence at night."""
    return Preferences(
        choices=[PreferenceChoice(category="reports", channel=EMAIL, allowed=False)],
        quiet_hours=QuietHours(
            windows=[QuietWindow(start_time="22:00", end_time="07:00")],
            action=QuietAction.QUIET_ACTION_DEFER,
        ),
        digest_time="08:00",
    )
