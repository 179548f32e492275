"""Reads Liquid: from text to the syntax tree of python-liquid, in bounded time.

The library's patterns go back and forth over what is not closed, so a text is looked over once before it is given to
them. Of its tags only those that are listed are known; there are no includes, and no loader to include from.
"""

import re
from collections.abc import Sequence
from typing import Any

from liquid import Environment
from liquid.ast import Node
from liquid.builtin import content, illegal, output
from liquid.builtin.expressions import FilteredExpression
from liquid.builtin.tags import (
    assign_tag,
    capture_tag,
    case_tag,
    comment_tag,
    echo_tag,
    for_tag,
    if_tag,
    inline_comment_tag,
    unless_tag,
)
from liquid.exceptions import LiquidError
from liquid.expression import Expression
from liquid.token import Token

MAX_MARKUPS = 1_000
"""Of `{{ … }}` and `{% … %}` in one body: reading one takes up to 50 µs."""

MAX_MARKUP_CHARS = 1_000
"""Between two braces."""

MAX_NESTING = 16
"""Of blocks in one another."""

_OPENING = re.compile(r"\{[{%]")
# What the library would try over and over: runs of spaces, and names that do not end.
_UNEVEN = re.compile(r"\{[{%]-?(?:\s{33}|\s*\w{65})")
_NAME = re.compile(r"\{%-?\s*(\w*)")
_ENDRAW = re.compile(r"\{%-?\s*endraw\s*-?%\}")
_RAW = re.compile(r"\{%-?\s*raw\s*-?%\}")


class Problem(Exception):
    """Something in a text cannot be read."""

    def __init__(self, message: str, line: int = 1) -> None:
        self.message = message
        self.line = line
        super().__init__(message)

    @property
    def description(self) -> str:
        """What is wrong, and where."""
        return f"line {self.line}: {self.message}"


class _Environment(Environment):
    block_nesting_limit = MAX_NESTING

    def setup_tags_and_filters(self, *, extra: bool = False) -> None:
        for tag in (
            content.Literal,
            output.Output,
            illegal.Illegal,
            assign_tag.AssignTag,
            capture_tag.CaptureTag,
            case_tag.CaseTag,
            comment_tag.CommentTag,
            echo_tag.EchoTag,
            for_tag.ForTag,
            for_tag.BreakTag,
            for_tag.ContinueTag,
            if_tag.IfTag,
            inline_comment_tag.InlineCommentTag,
            unless_tag.UnlessTag,
        ):
            self.add_tag(tag)


def markups_in(source: str) -> int:
    """How many tags and variables a text has, as far as braces tell."""
    return sum(1 for _ in _OPENING.finditer(source))


class Reader:
    """Reads texts, expressions and conditions. Every method raises Problem."""

    def __init__(self) -> None:
        self._environment = _Environment()

    def text(self, source: str) -> Sequence[Node]:
        """The nodes of a text."""
        _look_over(source)
        try:
            return self._environment.from_string(source).nodes
        except LiquidError as error:
            raise Problem(_said(error), line_of(error.token)) from None

    def expression(self, source: str) -> Expression:
        """What stands between `{{` and `}}`."""
        node = self._one("{{ " + source + " }}")
        found: Expression | None = getattr(node, "expression", None)
        if found is None:
            raise Problem("must be one expression, without braces")
        return found

    def condition(self, source: str) -> Expression:
        """What stands after `if`."""
        node = self._one("{% if " + source + " %}{% endif %}")
        found: Expression | None = getattr(node, "condition", None)
        if found is None:
            raise Problem("must be one condition, without braces")
        return found

    def _one(self, source: str) -> Node | None:
        nodes = self.text(source)
        return nodes[0] if len(nodes) == 1 else None


def line_of(token: Token | None) -> int:
    """The line of a text that a token stands in, from 1."""
    return 1 if token is None or token.start_index < 0 else token.source.count("\n", 0, token.start_index) + 1


def _said(error: LiquidError) -> str:
    return str(error.message or "cannot be read")[:200]


def _look_over(source: str) -> None:
    """Raises Problem unless every markup is closed, short and one of not too many."""

    def problem(message: str, at: int) -> Problem:
        return Problem(message, source.count("\n", 0, at) + 1)

    uneven = _UNEVEN.search(source)
    if uneven is not None:
        raise problem("a tag begins with too many spaces, or with a name that is too long", uneven.start())
    if markups_in(source) > MAX_MARKUPS:
        raise problem(f"has more than {MAX_MARKUPS:,} tags and variables", 0)
    place = 0
    while (opening := _OPENING.search(source, place)) is not None:
        start = opening.start()
        closing = "}}" if source[start + 1] == "{" else "%}"
        # From the brace on: what is closed nowhere near is not looked for to the end.
        end = source.find(closing, start + 2, start + 4 + MAX_MARKUP_CHARS)
        if end < 0:
            raise problem(
                f"`{source[start : start + 2]}` is not closed within {MAX_MARKUP_CHARS} characters", start
            )
        place = end + 2
        named = _NAME.match(source, start)
        if named is not None and named[1] == "doc":
            raise problem("unknown tag `doc`", start)
        if named is not None and named[1] == "raw":
            if _RAW.match(source, start) is None:
                raise problem("`raw` takes nothing", start)
            raw_end = _ENDRAW.search(source, place)
            if raw_end is None:
                raise problem("`raw` is not closed", start)
            place = raw_end.end()


def literal(expression: Any) -> Any:
    """An expression without filters, where it is one of output; the expression itself otherwise."""
    if isinstance(expression, FilteredExpression) and not expression.filters:
        return expression.left
    return expression
