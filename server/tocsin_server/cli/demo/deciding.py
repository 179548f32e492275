"""What a recipient wants, the plan that follows from it, and a Send that does what the plan said."""

import asyncio
from datetime import UTC, datetime, timedelta

from rich.padding import Padding
from rich.text import Text

import tocsin
from tocsin.v1.notification_pb2 import Channel
from tocsin.v1.notification_service_pb2 import DeliveryState, GetNotificationResponse
from tocsin_server.cli.demo.arrivals import PATIENCE_S
from tocsin_server.cli.demo.content import approval
from tocsin_server.cli.demo.sending import RECIPIENT
from tocsin_server.cli.demo.server import DemoServer
from tocsin_server.cli.demo.telling import head, seen
from tocsin_server.cli.failures import Failure
from tocsin_server.cli.notification import deliveries
from tocsin_server.cli.output import Output
from tocsin_server.cli.plan import channels, decisions

_POLL_S = 0.02
_EMAIL, _PUSH, _CHAT = Channel.CHANNEL_EMAIL, Channel.CHANNEL_PUSH, Channel.CHANNEL_CHAT


async def say_what_is_wanted(out: Output, client: tocsin.Client) -> None:
    """A profile with addresses, a choice, and quiet hours that hold now."""
    head(out, f"What {RECIPIENT} wants", "her language is German; no approvals by e-mail; and now she sleeps")
    addresses = {
        _EMAIL: "ada@example.com",
        _PUSH: "device-of-ada",
        _CHAT: "https://chat.example.com/people/ada",
    }
    profile = tocsin.Recipient(
        recipient=RECIPIENT,
        locale="de",
        time_zone="UTC",
        addresses=[tocsin.Address(channel=channel, value=value) for channel, value in addresses.items()],
    )
    (outcome,) = await client.recipients.upsert([profile])
    if outcome.error is not None:
        raise outcome.error
    now = datetime.now(UTC)  # noqa: TID251 (a command line is where `now` comes from)
    start, end = (f"{now + timedelta(hours=hours):%H:%M}" for hours in (-2, 6))
    quiet = tocsin.QuietHours(windows=[tocsin.QuietWindow(start_time=start, end_time=end)])
    await client.preferences.update(RECIPIENT, tocsin.Preferences(quiet_hours=quiet))
    await client.preferences.deny(RECIPIENT, category="approvals", channel="email")
    seen(out, f"tocsin prefs deny {RECIPIENT} --category approvals --channel email")
    seen(out, f"tocsin prefs quiet {RECIPIENT} --window {start}-{end}")


async def plan(out: Output, client: tocsin.Client) -> tocsin.PlanSendResponse:
    """What Send would do, and which rule of whom decides. Raises Failure if it would be something else."""
    head(out, "The plan", "what Send would do with an approval that goes out everywhere, and why")
    found = await client.plan(approval(RECIPIENT))
    out.console.print(channels(found), Text(), decisions(found), sep="\n")
    going = [delivery.channel for delivery in found.deliveries]
    if not found.enters_inbox or going != [_PUSH, _CHAT]:
        raise Failure(f"The plan goes to channels {going}.")
    why = {(each.channel, each.layer, each.key) for each in found.decisions}
    if why != {(_EMAIL, "recipient", "approvals EMAIL"), (_PUSH, "recipient", "quiet_hours")}:
        raise Failure(f"The plan is explained by {why}.")
    seen(out, "the preference keeps e-mail back, quiet hours hold the push; nothing was written")
    return found


async def send_as_planned(
    out: Output, client: tocsin.Client, server: DemoServer, planned: tocsin.PlanSendResponse
) -> None:
    """The Send itself, from a template, and what its provider makes of it. Raises Failure if it is not as planned."""
    head(out, "Sent", "the same from the template `approval`, which is in two languages")
    result = await client.send(approval(RECIPIENT))
    if list(result.decisions) != list(planned.decisions):
        raise Failure("What was decided is not what the plan said.")
    found = await _until_sent(client, result.notification_id)
    if found.notification.content != planned.content:
        raise Failure("What is shown is not what the plan said.")
    seen(out, f"“{found.notification.content.interactive.title}”")
    out.console.print(deliveries(found))
    would = next(
        line
        for line in server.log_lines()
        if line.get("notification_id") == result.notification_id and "text" in line
    )
    seen(out, f"by {would['channel'].lower()} the provider `log` would have sent:")
    out.console.print(Padding(Text(would["text"], style="cyan"), (0, 0, 0, 6), expand=False))


async def _until_sent(client: tocsin.Client, notification_id: str) -> GetNotificationResponse:
    """The notification, once its provider has taken what is due. Raises Failure if that does not happen."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                found = await client.notifications.get(notification_id)
                if any(each.state == DeliveryState.DELIVERY_STATE_SENT for each in found.deliveries):
                    return found
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        raise Failure(f"Nothing went out in {PATIENCE_S:g} s.") from None
