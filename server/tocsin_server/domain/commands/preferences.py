"""What is decided by: categories, and what recipients want of them."""

from tocsin_server.domain.category import Category
from tocsin_server.domain.commands.command import Command
from tocsin_server.domain.preferences import Preferences, PreferencesChange
from tocsin_server.domain.value import Value


class UpsertCategory(Command[Category], frozen=True, kw_only=True):
    """Defines a category or changes it; `fields` are those of it that are set. Raises LimitReached."""

    category: Category
    fields: frozenset[str]


class DeleteCategory(Command[Category], frozen=True, kw_only=True):
    """The category is defined no longer; the receipt says what it was. Raises CategoryNotFound."""

    name: str


class PreferencesReceipt(Value, frozen=True):
    """One layer of preferences as it is now."""

    recipient: str
    """Empty: the tenant's default."""
    preferences: Preferences


class ChangePreferences(Command[PreferencesReceipt], frozen=True, kw_only=True):
    """Changes what a recipient wants, who is created if need be.

    Raises QuotaExceeded, LimitReached, CategoryNotFound, CategoryMandatory.
    """

    recipient: str
    change: PreferencesChange
    undefined: bool = False
    """Choices may be about categories that are not defined."""


class ChangeDefaultPreferences(Command[PreferencesReceipt], frozen=True, kw_only=True):
    """Changes the tenant's default. Raises LimitReached, CategoryNotFound, CategoryMandatory."""

    change: PreferencesChange
