"""Whatever is written in a template, and whatever its data are: it is rendered, or refused with a documented error."""

from contextlib import suppress
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tocsin_server.content.filters import FILTERS
from tocsin_server.content.renderer import LiquidRenderer
from tocsin_server.domain.content import Content, ListContent, ListItem
from tocsin_server.domain.errors import TemplateDataInvalid, TemplateInvalid, TemplateLimitExceeded
from tocsin_server.domain.notification import Channel
from tocsin_server.domain.template import (
    RecipientView,
    RenderFacts,
    TemplateBody,
    TemplateChannel,
    TemplateDefinition,
    TemplateElement,
    TemplateValue,
)

RENDERER = LiquidRenderer()

NAMES = st.sampled_from(["a", "b", "c", "size", "first", "items", "__class__", "limit"])

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(
        [
            "2027-01-15",
            "2027-01-15T12:00:00+14:00",
            "0001-01-01T00:00:00Z",
            "0001-01-01",
            "9999-12-31T23:59",
            "now",
            "EUR",
            "1e3",
            "nan",
            "1e-300",
            1e308,
            2**53 + 2,
        ]
    )
)

VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)

DATA = st.dictionaries(NAMES, VALUES, max_size=6)

LITERALS = st.sampled_from(
    [
        "1",
        "-2.5",
        "0",
        "'x'",
        '""',
        "true",
        "nil",
        "empty",
        "blank",
        "(1..3)",
        "(data.a..data.b)",
        "'medium'",
        "'EUR'",
    ]
)

PATHS = st.builds(
    lambda root, names: root + "".join(names),
    st.sampled_from(["data", "data", "data", "recipient", "actor", "now", "x", "i"]),
    st.lists(
        st.builds(lambda name: f".{name}", NAMES) | st.sampled_from(["[0]", "[-1]", "['a']", "[data.a]"]),
        max_size=3,
    ),
)

OPERANDS = LITERALS | PATHS

CALLS = st.builds(
    lambda name, arguments: f" | {name}" + (": " + ", ".join(arguments) if arguments else ""),
    st.sampled_from(sorted(FILTERS)),
    st.lists(OPERANDS | st.builds(lambda value: f"other: {value}", OPERANDS), max_size=2),
)

EXPRESSIONS = st.builds(lambda start, calls: start + "".join(calls), OPERANDS, st.lists(CALLS, max_size=3))

CONDITIONS = st.builds(
    lambda left, operator, right: f"{left} {operator} {right}",
    OPERANDS,
    st.sampled_from(["==", "!=", "<", ">", "<=", ">=", "contains", "and", "or"]),
    OPERANDS,
)

BLOCKS = st.recursive(
    st.builds(lambda value: "{{ " + value + " }}", EXPRESSIONS)
    | st.builds(lambda value: "{% assign x = " + value + " %}", EXPRESSIONS)
    | st.sampled_from(["{% break %}", "{% continue %}", "text", "{% raw %}{{{% endraw %}", "<a href='"])
    | st.text(alphabet="{}%|'\" .abx-", max_size=12),
    lambda inner: st.builds(lambda one, other: one + other, inner, inner)
    | st.builds(lambda test, block: "{% if " + test + " %}" + block + "{% endif %}", CONDITIONS, inner)
    | st.builds(lambda test, block: "{% unless " + test + " %}" + block + "{% endunless %}", CONDITIONS, inner)
    | st.builds(lambda items, block: "{% for i in " + items + " %}" + block + "{% endfor %}", OPERANDS, inner)
    | st.builds(lambda one, block: "{% case data.a %}{% when " + one + " %}" + block + "{% endcase %}", OPERANDS, inner)
    | st.builds(lambda block: "{% capture x %}" + block + "{% endcapture %}", inner),
    max_leaves=6,
)  # fmt: skip

FACTS = st.builds(
    lambda locale, zone: RenderFacts(RecipientView("ada", locale, zone, {"a": "1"})),
    st.sampled_from(["", "en", "de-AT", "ar", "hi", "zh-Hant-TW", "xx-y", "pl"]),
    st.sampled_from(["", "Pacific/Apia", "America/St_Johns", "no zone"]),
)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(BLOCKS, EXPRESSIONS, CONDITIONS, BLOCKS, st.booleans(), DATA, FACTS)
def test_a_template_is_rendered_or_refused(
    source: str,
    each: str,
    when: str,
    value: str,
    lenient: bool,
    data: dict[str, Any],
    facts: RenderFacts,
) -> None:
    body = TemplateBody(
        "",
        Content(ListContent("t", (ListItem(source, value=value),))),
        (TemplateElement("list.items[0]", each, when=when),),
        (TemplateValue("list.total_count", value),),
        (TemplateChannel(Channel.EMAIL, subject=source, html=source),),
    )
    with suppress(TemplateInvalid, TemplateDataInvalid, TemplateLimitExceeded):
        prepared = RENDERER.prepared(TemplateDefinition((body,), lenient))
        compiled = RENDERER.compiled(prepared)
        shown = compiled.render(data, facts, 1_800_000_000_000_000)
        # The same once more: nothing is left behind.
        assert compiled.render(data, facts, 1_800_000_000_000_000) == shown


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="{}%|'\"[]().,:-= \nabdt0_", max_size=60), DATA)
def test_any_text_is_rendered_or_refused(source: str, data: dict[str, Any]) -> None:
    body = TemplateBody("", Content(ListContent(source)))
    with suppress(TemplateInvalid, TemplateDataInvalid, TemplateLimitExceeded):
        compiled = RENDERER.compiled(RENDERER.prepared(TemplateDefinition((body,))))
        compiled.render(data, RenderFacts(), 0)
