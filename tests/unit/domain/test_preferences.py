"""Who wins: mandatory categories, the recipient's choices, the tenant's default."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin_server.domain.category import Category
from tocsin_server.domain.errors import CategoryMandatory, CategoryNotFound, LimitReached, TocsinError
from tocsin_server.domain.notification import Channel, Rule
from tocsin_server.domain.preferences import (
    MAX_CHOICES,
    NO_PREFERENCES,
    PREFERENCE_FIELDS,
    Choice,
    Preferences,
    PreferencesChange,
    changed,
    check_allowed,
    chosen,
    effective_digest_time,
    effective_quiet_hours,
    resolve,
)
from tocsin_server.domain.quiet_hours import QuietHours, QuietWindow
from tocsin_server.domain.value import replace

EMAIL, PUSH = Channel.EMAIL, Channel.PUSH
ORDERS = Category("orders")
NEVER = QuietHours()


def said(**choices: bool) -> Preferences:
    """Preferences by what they are about: `orders_EMAIL`, `orders`, `EMAIL`, `everything`."""
    places = {
        "orders_EMAIL": ("orders", EMAIL),
        "orders_PUSH": ("orders", PUSH),
        "orders": ("orders", None),
        "news": ("news", None),
        "news_EMAIL": ("news", EMAIL),
        "EMAIL": ("", EMAIL),
        "PUSH": ("", PUSH),
        "everything": ("", None),
    }
    return Preferences(chosen((), (Choice(allowed, *places[name]) for name, allowed in choices.items())))


@pytest.mark.parametrize(
    ("own", "default", "allowed", "layer", "key"),
    [
        (said(), said(), True, "default", ""),  # nobody says anything
        # Each of the recipient's, alone.
        (said(orders_EMAIL=False), said(), False, "recipient", "orders EMAIL"),
        (said(orders=False), said(), False, "recipient", "orders *"),
        (said(EMAIL=False), said(), False, "recipient", "* EMAIL"),
        (said(everything=False), said(), False, "recipient", "* *"),
        # Each of the tenant's, alone.
        (said(), said(orders_EMAIL=False), False, "tenant", "orders EMAIL"),
        (said(), said(orders=False), False, "tenant", "orders *"),
        (said(), said(EMAIL=False), False, "tenant", "* EMAIL"),
        (said(), said(everything=False), False, "tenant", "* *"),
        # Each before those that come after it.
        (said(orders_EMAIL=True, orders=False, EMAIL=False), said(), True, "recipient", "orders EMAIL"),
        (said(orders=True, EMAIL=False, everything=False), said(), True, "recipient", "orders *"),
        (said(EMAIL=True, everything=False), said(), True, "recipient", "* EMAIL"),
        (
            said(everything=True),
            said(orders_EMAIL=False),
            True,
            "recipient",
            "* *",
        ),  # the whole layer goes first
        (said(), said(orders_EMAIL=True, orders=False), True, "tenant", "orders EMAIL"),
        (said(), said(orders=True, EMAIL=False), True, "tenant", "orders *"),
        (said(), said(EMAIL=True, everything=False), True, "tenant", "* EMAIL"),
        # To allow is to have said something.
        (said(EMAIL=True), said(everything=False), True, "recipient", "* EMAIL"),
        # What is about other categories and channels does not count.
        (said(news=False, news_EMAIL=False, PUSH=False, orders_PUSH=False), said(), True, "default", ""),
        (said(news=False, PUSH=False), said(EMAIL=False), False, "tenant", "* EMAIL"),
    ],
)
def test_the_first_that_is_set_wins(
    own: Preferences, default: Preferences, allowed: bool, layer: str, key: str
) -> None:
    verdict = resolve(ORDERS, EMAIL, own, default)
    assert (verdict.allowed, verdict.rule, verdict.layer, verdict.key) == (
        allowed,
        Rule.PREFERENCE,
        layer,
        key,
    )


@pytest.mark.parametrize("own", [said(), said(everything=False), said(EMAIL=False)])
@pytest.mark.parametrize("default", [said(), said(everything=False)])
def test_nobody_denies_a_mandatory_category(own: Preferences, default: Preferences) -> None:
    verdict = resolve(Category("orders", mandatory=True), EMAIL, own, default)
    assert (verdict.allowed, verdict.rule) == (True, Rule.MANDATORY)
    assert (verdict.layer, verdict.key) == ("category", "orders")


@pytest.mark.parametrize(
    ("own", "default", "text"),
    [
        (said(), said(), "No preference denies it."),
        (said(orders_EMAIL=False), said(), "The recipient denies orders on EMAIL."),
        (said(orders=True), said(), "The recipient allows orders."),
        (said(), said(EMAIL=False), "The tenant's default denies everything on EMAIL."),
        (said(), said(everything=False), "The tenant's default denies everything."),
    ],
)
def test_a_verdict_explains_itself(own: Preferences, default: Preferences, text: str) -> None:
    assert resolve(ORDERS, EMAIL, own, default).text == text


CATEGORIES = ["orders", "orders.shipped", "news", "a", "z"]
layers = st.lists(
    st.builds(
        Choice,
        st.booleans(),
        st.sampled_from(["", *CATEGORIES]),
        st.one_of(st.none(), st.sampled_from(Channel)),
    ),
    max_size=20,
).map(lambda choices: Preferences(chosen((), choices)))


@given(layers, layers, st.sampled_from(CATEGORIES), st.sampled_from(Channel), st.booleans())
def test_the_rule_as_it_is_written(
    own: Preferences, default: Preferences, category: str, channel: Channel, mandatory: bool
) -> None:
    expected = mandatory or next(
        (
            choice.allowed
            for layer in (own, default)
            for about in ((category, channel), (category, None), ("", channel), ("", None))
            for choice in layer.choices
            if (choice.category, choice.channel) == about
        ),
        True,
    )
    assert resolve(Category(category, mandatory=mandatory), channel, own, default).allowed is expected


def test_choices_are_put_beside_each_other_or_in_each_others_place() -> None:
    before = chosen((), [Choice(False, "orders", EMAIL), Choice(False, "", PUSH), Choice(True, "news")])
    assert [choice.place for choice in before] == [("", PUSH), ("news", 0), ("orders", EMAIL)]  # sorted
    after = chosen(before, [Choice(True, "orders", EMAIL), Choice(False)], removed=[("news", 0), ("none", 0)])
    assert after == (Choice(False), Choice(False, "", PUSH), Choice(True, "orders", EMAIL))
    assert chosen(before, [Choice(False, "news")], removed=[("news", 0)])[1] == Choice(False, "news")  # both


BEFORE = Preferences((Choice(False), Choice(True, "orders")), NEVER, "08:00")


@pytest.mark.parametrize(
    ("change", "after"),
    [
        (PreferencesChange(), BEFORE),  # nothing
        (PreferencesChange(Preferences(digest_time="09:00")), BEFORE),  # values that are not named
        (PreferencesChange(fields=frozenset({"digest_time"})), replace(BEFORE, digest_time="")),
        (PreferencesChange(fields=frozenset({"quiet_hours"})), replace(BEFORE, quiet_hours=None)),
        (PreferencesChange(fields=PREFERENCE_FIELDS), NO_PREFERENCES),
        (PreferencesChange(removed=(("", 0),)), replace(BEFORE, choices=(Choice(True, "orders"),))),
        (  # set whole first, then removed, then made
            PreferencesChange(
                Preferences((Choice(True), Choice(True, "", PUSH))),
                frozenset({"choices"}),
                (("", 0), ("", PUSH)),
                (Choice(False, "", PUSH),),
            ),
            replace(BEFORE, choices=(Choice(False, "", PUSH),)),
        ),
    ],
)
def test_what_becomes_of_a_layer(change: PreferencesChange, after: Preferences) -> None:
    assert changed(BEFORE, change) == after


def test_a_layer_has_so_many_choices() -> None:
    many = tuple(Choice(True, f"c{number:04}") for number in range(MAX_CHOICES))
    full = changed(NO_PREFERENCES, PreferencesChange(made=many))
    assert len(full.choices) == MAX_CHOICES
    assert changed(full, PreferencesChange(made=(Choice(False, "c0000"),))).choices[0].allowed is False
    with pytest.raises(LimitReached):
        changed(full, PreferencesChange(made=(Choice(False),)))


SECURITY = Category("security", mandatory=True)
DEFINED = {"orders": ORDERS, "security": SECURITY}


@pytest.mark.parametrize(
    ("before", "after", "undefined", "refused"),
    [
        ((), (Choice(False, "orders"),), False, None),
        ((), (Choice(False),), False, None),  # in general: mandatory ones are none of it
        ((), (Choice(False, "", EMAIL),), False, None),
        ((), (Choice(True, "security"),), False, None),  # to allow what is mandatory says nothing new
        ((), (Choice(False, "security"),), False, CategoryMandatory),
        ((), (Choice(False, "security", EMAIL),), False, CategoryMandatory),
        ((), (Choice(False, "security", EMAIL),), True, CategoryMandatory),
        ((Choice(False, "security"),), (Choice(False, "security"),), False, None),  # it has become so since
        ((Choice(False, "security"),), (Choice(False, "security", EMAIL),), False, CategoryMandatory),
        ((), (Choice(False, "news"),), False, CategoryNotFound),
        ((), (Choice(True, "news"),), False, CategoryNotFound),
        ((), (Choice(False, "news"),), True, None),
        ((Choice(False, "news"),), (Choice(False, "news"),), False, None),  # it was deleted since
        ((Choice(False, "news"),), (Choice(True, "news"),), False, CategoryNotFound),
    ],
)
def test_what_may_be_written(
    before: tuple[Choice, ...],
    after: tuple[Choice, ...],
    undefined: bool,
    refused: type[TocsinError] | None,
) -> None:
    layers = Preferences(before), Preferences(after)
    if refused is None:
        check_allowed(*layers, DEFINED, undefined=undefined)
    else:
        with pytest.raises(refused):
            check_allowed(*layers, DEFINED, undefined=undefined)


NIGHTS = QuietHours((QuietWindow((1, 2, 3, 4, 5, 6, 7), 1320, 420),))


@pytest.mark.parametrize(
    ("own", "default", "effective"),
    [
        (None, None, None),
        (None, NIGHTS, NIGHTS),  # not said: the tenant's
        (NIGHTS, None, NIGHTS),
        (NEVER, NIGHTS, NEVER),  # no windows: never, whatever the tenant says
        (NIGHTS, NEVER, NIGHTS),
    ],
)
def test_whose_quiet_hours_hold(
    own: QuietHours | None, default: QuietHours | None, effective: QuietHours | None
) -> None:
    layers = Preferences(quiet_hours=own), Preferences(quiet_hours=default)
    assert effective_quiet_hours(*layers) is effective
    assert effective_quiet_hours(NO_PREFERENCES, NO_PREFERENCES) is None


@pytest.mark.parametrize(
    ("own", "default", "effective"),
    [("", "", ""), ("", "08:00", "08:00"), ("09:00", "", "09:00"), ("09:00", "08:00", "09:00")],
)
def test_whose_digest_time_holds(own: str, default: str, effective: str) -> None:
    layers = Preferences(digest_time=own), Preferences(digest_time=default)
    assert effective_digest_time(*layers) == effective
