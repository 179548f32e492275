"""From what a template says to functions of a rendering, field by field.

A body is a content whose texts are Liquid. Its values are walked once: what has no Liquid in it stays as it is, the
rest becomes a function that makes the same kind of value.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from tocsin_server.content.expressions import Evaluate, Expressions
from tocsin_server.content.fields import FIELD_TYPES, MAX_ELEMENTS, field_value
from tocsin_server.content.markup import check_places, check_static
from tocsin_server.content.run import Run, Unrenderable
from tocsin_server.content.source import MAX_MARKUPS, Problem, Reader, literal, markups_in
from tocsin_server.content.statements import RESERVED, Statements, forloop, looped
from tocsin_server.domain.content import (
    CardContent,
    ContentKind,
    InteractiveContent,
    ListContent,
    RichMediaContent,
    SimpleContent,
    TimelineContent,
)
from tocsin_server.domain.errors import Violation
from tocsin_server.domain.template import TemplateBody, TemplateElement
from tocsin_server.domain.value import Value, field_names

KIND_FIELDS: Mapping[type[ContentKind], str] = {
    SimpleContent: "simple",
    RichMediaContent: "rich_media",
    InteractiveContent: "interactive",
    CardContent: "card",
    ListContent: "list",
    TimelineContent: "timeline",
}
"""The kinds by the names that they have in the contract."""

Compiled = TypeVar("Compiled")

_MAX_PROBLEMS = 20


class FieldError(Exception):
    """A field of a body cannot be rendered with these data."""

    def __init__(self, path: str, message: str) -> None:
        self.path = path
        self.message = message
        super().__init__(message)


class Compiler:
    """Compiles one body, and collects what is wrong with it."""

    def __init__(self, reader: Reader, body: TemplateBody) -> None:
        self._reader = reader
        self._elements = {element.path: element for element in body.elements}
        self._values = {value.path: value.value for value in body.values}
        self._names = RESERVED
        self._aliases: dict[str, str] = {}
        self._markups = 0
        self.problems: list[Violation] = []
        """Fields as `content.simple.title`."""
        self.used: set[str] = set()
        self.zoned = False

    def content(self, kind: ContentKind) -> Evaluate:
        """A function that gives the content's kind."""
        maker = self._value(kind, KIND_FIELDS[type(kind)])
        for path in (*self._elements, *self._values):
            self._problem("content", f"has no `{path}`, or it is named twice")
        return maker

    def text(self, source: str, path: str, *, as_html: bool = False) -> Evaluate:
        """A function that gives a text, without the spaces around it. What is not Liquid stays as it is."""
        if as_html:
            self._tried(path, lambda: check_static(source))
        markups = markups_in(source)
        if not markups:
            return lambda run: source
        self._markups += markups
        if self._markups > MAX_MARKUPS:
            self._problem(path, f"is where the body has more than {MAX_MARKUPS:,} tags and variables")
            return _nothing
        expressions = Expressions(self._names, self._aliases)
        statements = Statements(expressions, as_html=as_html)
        render = self._tried(path, lambda: statements.text(self._reader.text(source)))
        if as_html and render is not None:
            self._tried(path, lambda: check_places(source))
        self._note(expressions)
        return _nothing if render is None else _alone(path, render)

    # --- values -------------------------------------------------------------------------------------------------------

    def _value(self, value: Any, path: str) -> Evaluate:
        if isinstance(value, Value):
            return self._record(value, path)
        if isinstance(value, tuple):
            return self._list(value, path)
        if path in self._values:
            return self._converted(value, path)
        if isinstance(value, str):
            return self.text(value, f"content.{path}")
        return lambda run: value

    def _record(self, value: Value, path: str) -> Evaluate:
        make = type(value)
        makers = [self._value(getattr(value, name), f"{path}.{name}") for name in field_names(make)]
        return lambda run: make(*[maker(run) for maker in makers])

    def _converted(self, kept: Any, path: str) -> Evaluate:
        name = path.rpartition(".")[2]
        if name not in FIELD_TYPES:
            self._problem("content", f"`{path}` is text, which is Liquid itself")
        rendered = self.text(self._values.pop(path), f"values.{path}")

        def converted(run: Run) -> Any:
            said = rendered(run)
            if not said:
                return kept
            try:
                return field_value(run, name, said)
            except Unrenderable as error:
                raise FieldError(f"content.{path}", str(error)) from None

        return converted

    # --- lists --------------------------------------------------------------------------------------------------------

    def _list(self, values: tuple[Any, ...], path: str) -> Evaluate:
        makers = [self._element(value, f"{path}[{index}]") for index, value in enumerate(values)]
        return lambda run: tuple([one for maker in makers for one in maker(run)])

    def _element(self, value: Any, path: str) -> Callable[[Run], list[Any]]:
        element = self._elements.pop(path, None)
        if element is None:
            maker = self._value(value, path)
            return lambda run: [maker(run)]
        place = f"elements.{path}"
        if element.variable in RESERVED or element.variable == "forloop":
            self._problem(place, f"`{element.variable}` cannot be the variable")
        items = self._each(element, place) if element.each else None
        names, aliases = self._names, self._aliases
        if items is not None:
            self._names = names | {element.variable, "forloop"}
            self._aliases = aliases | {element.variable: items[1]} if items[1] else aliases
        when = self._when(element, place) if element.when else None
        maker = self._value(value, path)
        self._names, self._aliases = names, aliases
        if items is None:
            return lambda run: [maker(run)] if when is None or when(run) else []
        return _repeated(items[0], when, maker, element, place)

    def _each(self, element: TemplateElement, path: str) -> tuple[Evaluate, str]:
        """The items, and what each is called in messages."""
        expressions = Expressions(self._names, self._aliases)

        def compile() -> tuple[Evaluate, str]:
            expression = literal(self._reader.expression(element.each))
            return expressions.compile(expression), expressions.items_of(expression)

        compiled = self._tried(path, compile)
        self._note(expressions)
        return compiled or (_nothing, "")

    def _when(self, element: TemplateElement, path: str) -> Evaluate | None:
        expressions = Expressions(self._names, self._aliases)
        compiled = self._tried(path, lambda: expressions.condition(self._reader.condition(element.when)))
        self._note(expressions)
        return compiled

    # --- notes --------------------------------------------------------------------------------------------------------

    def _note(self, expressions: Expressions) -> None:
        self.used |= expressions.used
        self.zoned |= expressions.zoned

    def _problem(self, path: str, description: str) -> None:
        if len(self.problems) < _MAX_PROBLEMS:
            self.problems.append(Violation(path, description))

    def _tried(self, path: str, compile: Callable[[], Compiled]) -> Compiled | None:
        """What is compiled; None, and the problem noted, where it cannot be."""
        try:
            return compile()
        except Problem as problem:
            self._problem(path, problem.description)
            return None


def _nothing(run: Run) -> str:
    return ""


def _alone(path: str, render: Callable[[Run], str]) -> Evaluate:
    """A text whose assignments are its own."""

    def rendered(run: Run) -> str:
        shared = run.scope
        run.scope = shared.copy()
        try:
            return render(run).strip()
        except Unrenderable as error:
            raise FieldError(path, str(error)) from None
        finally:
            run.scope = shared

    return rendered


def _repeated(
    items: Evaluate, when: Evaluate | None, maker: Evaluate, element: TemplateElement, path: str
) -> Callable[[Run], list[Any]]:
    name = element.path.rpartition(".")[2].partition("[")[0]
    limit = min(element.limit or MAX_ELEMENTS.get(name, 0), MAX_ELEMENTS.get(name, 0))

    def repeated(run: Run) -> list[Any]:
        outside = run.scope
        made: list[Any] = []
        try:
            found = looped(run, items(run), noted=True)
            for index, one in enumerate(found):
                if len(made) == limit:
                    break
                run.spend(2)
                run.scope = outside | {element.variable: one, "forloop": forloop(index, len(found))}
                if when is None or when(run):
                    made.append(maker(run))
        except Unrenderable as error:
            raise FieldError(path, str(error)) from None
        finally:
            run.scope = outside
        return made

    return repeated
