"""Preferences: ChangePreferences and ChangeDefaultPreferences."""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import msgpack

from tocsin_server.domain.category import Category
from tocsin_server.domain.commands import ChangeDefaultPreferences, ChangePreferences, PreferencesReceipt
from tocsin_server.domain.errors import TocsinError
from tocsin_server.domain.ids import recipient_part
from tocsin_server.domain.preferences import (
    NO_PREFERENCES,
    Preferences,
    PreferencesChange,
    changed,
    check_allowed,
)
from tocsin_server.store.categories import categories_named
from tocsin_server.store.policies import locked_defaults
from tocsin_server.store.recipients import classes_of, new_version, preferences_of
from tocsin_server.store.sql import Blob, Insert, Select
from tocsin_server.store.transaction import EMPTY_PROFILE, InboxKey, Transaction

_SELECT_SAID = Select(
    ("recipient", Blob("preferences")),
    "FROM recipients WHERE tenant = ? AND preferences IS NOT NULL AND recipient {in_keys}",
)

_SET = Insert(
    "recipients",
    ("tenant", "recipient", "profile", "preferences", "create_time", "update_time", "id_part", "class_id"),
    """
    ON CONFLICT (tenant, recipient) DO UPDATE SET preferences = excluded.preferences, class_id = excluded.class_id""",
)

_SET_DEFAULTS = "UPDATE tenant_policies SET preferences = ? WHERE tenant = ?"


def change_preferences(
    transaction: Transaction, commands: Sequence[ChangePreferences]
) -> list[PreferencesReceipt | TocsinError]:
    """Applies each command in turn, and writes each recipient that changed once."""
    by_tenant: dict[str, list[ChangePreferences]] = {}
    for command in commands:
        by_tenant.setdefault(command.tenant, []).append(command)
    transaction.lock_inboxes((command.tenant, command.recipient) for command in commands)
    defined = {
        tenant: _named(transaction, tenant, (each.change for each in own))
        for tenant, own in by_tenant.items()
    }
    said = {
        (tenant, recipient): preferences_of(stored)
        for tenant, own in by_tenant.items()
        for recipient, stored in transaction.connection.select_in(
            _SELECT_SAID, (tenant,), [command.recipient for command in own]
        )
    }
    written: dict[InboxKey, Preferences] = {}
    outcomes: list[PreferencesReceipt | TocsinError] = []
    for command in commands:
        place = (command.tenant, command.recipient)
        before = said.get(place, NO_PREFERENCES)
        try:
            after = changed(before, command.change)
            check_allowed(before, after, defined[command.tenant], undefined=command.undefined)
            if after != before:
                if transaction.inbox(*place) is None:
                    transaction.keep(transaction.new_inbox(*place))
                new_version(transaction, *place)
                said[place] = written[place] = after
        except TocsinError as error:
            outcomes.append(error)
        else:
            outcomes.append(PreferencesReceipt(command.recipient, after))
    _write(transaction, written)
    return outcomes


def _write(transaction: Transaction, written: Mapping[InboxKey, Preferences]) -> None:
    by_tenant: dict[str, dict[str, Preferences]] = {}
    for (tenant, recipient), preferences in written.items():
        by_tenant.setdefault(tenant, {})[recipient] = preferences
    now = transaction.now
    for tenant, own in by_tenant.items():
        classes = classes_of(transaction, tenant, own)
        rows = [
            (
                *(tenant, recipient, EMPTY_PROFILE, msgpack.encode(preferences), now, now),
                recipient_part(tenant, recipient),
                classes[recipient],
            )
            for recipient, preferences in own.items()
        ]
        transaction.connection.insert(_SET, rows)


def change_defaults(
    transaction: Transaction, commands: Sequence[ChangeDefaultPreferences]
) -> list[PreferencesReceipt | TocsinError]:
    """Applies each command in turn."""
    return [_change_defaults(transaction, command) for command in commands]


def _change_defaults(
    transaction: Transaction, command: ChangeDefaultPreferences
) -> PreferencesReceipt | TocsinError:
    before = locked_defaults(transaction, command.tenant)
    try:
        after = changed(before, command.change)
        check_allowed(before, after, _named(transaction, command.tenant, (command.change,)))
    except TocsinError as error:
        return error
    if after != before:
        transaction.connection.execute(_SET_DEFAULTS, (msgpack.encode(after), command.tenant))
        transaction.policy_changed(command.tenant)
    return PreferencesReceipt("", after)


def _named(
    transaction: Transaction, tenant: str, changes: Iterable[PreferencesChange]
) -> Mapping[str, Category]:
    """Those of the categories that the changes name that are defined."""
    names = {choice.category for change in changes for choice in change.choices if choice.category}
    return categories_named(transaction.connection, tenant, sorted(names))
