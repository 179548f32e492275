"""What recipients, and tenants for them, want: which categories on which channels, and when to be left alone."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping

from tocsin_server.domain.category import Category
from tocsin_server.domain.errors import CategoryMandatory, CategoryNotFound, LimitReached
from tocsin_server.domain.notification import Channel, Rule
from tocsin_server.domain.quiet_hours import QuietHours
from tocsin_server.domain.value import Value, field_names, replace

MAX_CHOICES = 1_000

Place = tuple[str, int]
"""What a choice is about: a category, or nothing for every one, and a channel's number, or 0 for every one."""

ANY = "*"
"""What a key says for every category, or for every channel."""


class Choice(Value, frozen=True):
    """Allows or denies a category on a channel; without a category or a channel it says so for all of them."""

    allowed: bool
    category: str = ""
    """Empty: of every category."""
    channel: Channel | None = None
    """None: on every channel."""

    @property
    def place(self) -> Place:
        """What it is about, which is unique within a layer and what choices are sorted by."""
        return (self.category, self.channel or 0)


class Preferences(Value, frozen=True):
    """One layer of preferences: a recipient's own, or the tenant's default."""

    choices: tuple[Choice, ...] = ()
    """At most one for each category and channel, sorted by both; at most MAX_CHOICES."""
    quiet_hours: QuietHours | None = None
    """None: not said, so that the layer below decides."""
    digest_time: str = ""
    """HH:MM, the recipient's own time of day for digests; empty: not said."""


NO_PREFERENCES = Preferences()

PREFERENCE_FIELDS = frozenset(field_names(Preferences))


class PreferencesChange(Value, frozen=True):
    """What becomes of one layer: some fields are set whole, then single choices are removed, then others made."""

    values: Preferences = NO_PREFERENCES
    fields: frozenset[str] = frozenset()
    """Which fields of the values are set."""
    removed: tuple[Place, ...] = ()
    made: tuple[Choice, ...] = ()

    @property
    def choices(self) -> tuple[Choice, ...]:
        """Every choice that the change may bring in."""
        return (*self.values.choices, *self.made) if "choices" in self.fields else self.made


class Verdict(Value, frozen=True):
    """Whether a category may use a channel, and what decided that."""

    allowed: bool
    rule: Rule
    """PREFERENCE or MANDATORY."""
    layer: str
    """category (it is mandatory), recipient, tenant, or default where nobody has said anything."""
    key: str
    """The category and the channel of the choice that won, `*` where it names none: `orders EMAIL`, `orders *`,
    `* EMAIL`, `* *`. The category's name where that is mandatory; empty by default."""
    text: str
    """One sentence for people."""


BY_DEFAULT = Verdict(True, Rule.PREFERENCE, "default", "", "No preference denies it.")


def resolve(category: Category, channel: Channel, own: Preferences, defaults: Preferences) -> Verdict:
    """Whether a recipient gets a category on a channel.

    The first that is set wins: the category is mandatory; the recipient's choice for the category on the channel, for
    the category, for the channel, in general; the tenant's default in the same order; otherwise it is allowed.
    """
    if category.mandatory:
        return Verdict(True, Rule.MANDATORY, "category", category.name, "The category is mandatory.")
    for layer, preferences in (("recipient", own), ("tenant", defaults)):
        if preferences.choices:
            choice = _deciding(preferences.choices, category.name, channel)
            if choice is not None:
                return _said_by(layer, choice)
    return BY_DEFAULT


def chosen(
    choices: Iterable[Choice], made: Iterable[Choice], removed: Iterable[Place] = ()
) -> tuple[Choice, ...]:
    """The choices after some were removed and others put in their place or beside them."""
    by_place = {choice.place: choice for choice in choices}
    for place in removed:
        by_place.pop(place, None)
    by_place.update((choice.place, choice) for choice in made)
    return tuple(by_place[place] for place in sorted(by_place))


def changed(before: Preferences, change: PreferencesChange) -> Preferences:
    """The layer afterwards. Raises LimitReached."""
    after = replace(before, **{name: getattr(change.values, name) for name in change.fields})
    choices = chosen(after.choices, change.made, change.removed)
    if len(choices) > MAX_CHOICES:
        raise LimitReached(f"Preferences hold at most {MAX_CHOICES} choices.", limit=MAX_CHOICES)
    return replace(after, choices=choices)


def check_allowed(
    before: Preferences, after: Preferences, defined: Mapping[str, Category], *, undefined: bool = False
) -> None:
    """Raises CategoryNotFound or CategoryMandatory for a choice that must not be written.

    One that was there before may stay: the category may have been deleted, or become mandatory, since. `defined` has
    those of the new ones' categories that are defined; with `undefined` they need not be.
    """
    known = set(before.choices)
    for choice in after.choices:
        if not choice.category or choice in known:
            continue
        category = defined.get(choice.category)
        if category is None and not undefined:
            raise CategoryNotFound(category=choice.category)
        if category is not None and category.mandatory and not choice.allowed:
            raise CategoryMandatory(category=choice.category)


def effective_quiet_hours(own: Preferences, defaults: Preferences) -> QuietHours | None:
    """The recipient's where they say any, windows or none; else the tenant's."""
    return defaults.quiet_hours if own.quiet_hours is None else own.quiet_hours


def effective_digest_time(own: Preferences, defaults: Preferences) -> str:
    """The recipient's where they say any; else the tenant's; empty: nobody says any."""
    return own.digest_time or defaults.digest_time


def _deciding(choices: tuple[Choice, ...], category: str, channel: Channel) -> Choice | None:
    for place in ((category, channel), (category, 0), ("", channel), ("", 0)):
        index = bisect_left(choices, place, key=_place)
        if index < len(choices) and choices[index].place == place:
            return choices[index]
    return None


def _place(choice: Choice) -> tuple[str, int]:
    return choice.place


def _said_by(layer: str, choice: Choice) -> Verdict:
    channel = ANY if choice.channel is None else choice.channel.name
    who = "The recipient" if layer == "recipient" else "The tenant's default"
    what = choice.category or "everything"
    where = "" if choice.channel is None else f" on {channel}"
    return Verdict(
        choice.allowed,
        Rule.PREFERENCE,
        layer,
        f"{choice.category or ANY} {channel}",
        f"{who} {'allows' if choice.allowed else 'denies'} {what}{where}.",
    )
