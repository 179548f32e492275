"""Makes and opens cursors for the store that is open."""

from tocsin_server.domain.cursor import UNFILTERED, Cursor, CursorMint, incarnation_in_epoch, open_cursor
from tocsin_server.service.ports import StoreFacts


class Cursors:
    """Cursors carry an inbox's incarnation as the store's epoch shows it; everything else knows it as it is stored."""

    def __init__(self, facts: StoreFacts) -> None:
        self._key = facts.cursor_key
        self._epoch = facts.epoch

    @property
    def epoch(self) -> bytes:
        """The store's epoch, as far as it is known here."""
        return self._epoch

    def renew(self, epoch: bytes) -> None:
        """The store began a new epoch: every cursor that was made before is of another incarnation now."""
        self._epoch = epoch

    def mint(self, tenant: str, recipient: str, incarnation: bytes, filter: bytes = UNFILTERED) -> CursorMint:
        """Makes cursors for one inbox and filter."""
        return CursorMint(
            self._key, tenant, recipient, incarnation_in_epoch(incarnation, self._epoch), filter
        )

    def token(self, tenant: str, recipient: str, incarnation: bytes, revision: int) -> str:
        """One unfiltered cursor."""
        return self.mint(tenant, recipient, incarnation).token(revision)

    def open(self, tenant: str, recipient: str, token: str) -> Cursor:
        """What a token says. Raises CursorInvalid, CursorMismatch."""
        cursor = open_cursor(self._key, tenant, recipient, token)
        return Cursor(incarnation_in_epoch(cursor.incarnation, self._epoch), cursor.filter, cursor.revision)
