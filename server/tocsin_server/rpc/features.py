"""What the contract has and this version does not do. It is refused by name, never accepted and left out."""

from collections.abc import Mapping
from typing import Any

from tocsin_server.domain.errors import FeatureNotBuilt

_UNBUILT_FIELDS = frozenset(("deliver_local_time", "batch_key", "escalation", "no_batch"))


def require_built(spec: Mapping[str, Any], path: str) -> None:
    """Raises FeatureNotBuilt with the path of a field that asks for what is not there; `spec` is what is set of it."""
    if not _UNBUILT_FIELDS.isdisjoint(spec):
        raise FeatureNotBuilt(field=path + next(field for field in spec if field in _UNBUILT_FIELDS))
