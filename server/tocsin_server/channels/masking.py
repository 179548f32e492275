"""Addresses as logs may show them: enough to tell that it was the right one, too little to write to it."""

from urllib.parse import urlsplit

_SHOWN_CHARS = 2


def masked(address: str) -> str:
    """Of a mail address the first character and the domain, of a URL the host, of anything else the last characters."""
    if "://" in address:
        try:
            parts = urlsplit(address)
        except ValueError:
            return "…"
        return f"{parts.scheme}://{parts.hostname or ''}/…"
    name, at, domain = address.rpartition("@")
    if at:
        return f"{name[:1]}…@{domain}"
    return f"…{address[-_SHOWN_CHARS:]}" if len(address) > 2 * _SHOWN_CHARS else "…"
