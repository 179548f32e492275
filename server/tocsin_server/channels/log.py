"""The provider `log`: takes everything, sends nothing, and shows in the log what would have been sent.

At level info a line tells of each delivery, with the address masked and with sizes in the place of texts: what people
are told is not for logs. To see that too, as on a developer's own machine, is asked for with level debug: there, and
for the channels that `log_channels` names, another line has the texts.
"""

import structlog

from tocsin_server.channels.masking import masked
from tocsin_server.domain.delivery import OutgoingMessage, Sent
from tocsin_server.domain.ids import format_id

log = structlog.get_logger(__name__)


class LogProvider:
    """Implements `ports.Provider`."""

    name = "log"

    async def send(self, message: OutgoingMessage) -> Sent:
        """See `ports.Provider`. Never fails."""
        body = message.body
        line = log.bind(
            channel=message.channel.name,
            address=masked(message.address),
            tenant=message.tenant,
            notification_id=format_id(message.notification_id),
            idempotency_key=message.idempotency_key,
            attempt=message.attempt,
        )
        line.info(
            "a delivery would be sent",
            subject_chars=len(body.subject or body.title),
            text_chars=len(body.text),
            html_chars=len(body.html),
        )
        line.debug(
            "the delivery's text",
            subject=body.subject or body.title,
            text=body.text,
            from_name=body.from_name,
            sound=body.sound,
        )
        return Sent()
