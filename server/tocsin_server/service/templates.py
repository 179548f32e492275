"""Templates, rendered."""

from tocsin_server.domain.commands import ShownContent
from tocsin_server.domain.errors import FeatureNotBuilt
from tocsin_server.domain.notification import NotificationSpec
from tocsin_server.domain.recipient import RecipientFacts
from tocsin_server.domain.time import Micros


class Templates:
    """Renders templates."""

    async def shown(
        self, tenant: str, spec: NotificationSpec, recipient: RecipientFacts, now: Micros
    ) -> ShownContent:
        """What a spec's template shows to a recipient."""
        raise FeatureNotBuilt(field="notification.template")
