"""Expressions of the syntax tree as functions of a rendering.

python-liquid reads the language; what it means is decided here, a function a node, so that every step can be counted,
and no node does what this module does not know.
"""

from collections.abc import Callable, Mapping
from typing import Any

from liquid.builtin.expressions import (
    BooleanExpression,
    FilteredExpression,
    KeywordArgument,
    Nil,
    Path,
    StringLiteral,
)
from liquid.builtin.expressions.filtered import Filter as FilterCall
from liquid.builtin.expressions.logical import (
    ContainsExpression,
    EqExpression,
    GeExpression,
    GtExpression,
    LeExpression,
    LogicalAndExpression,
    LogicalOrExpression,
    LtExpression,
    NeExpression,
)
from liquid.builtin.expressions.primitive import (
    Blank,
    Empty,
    FalseLiteral,
    FloatLiteral,
    IntegerLiteral,
    RangeLiteral,
    TrueLiteral,
)
from liquid.expression import Expression

from tocsin_server.content.filters import FILTERS, Filter
from tocsin_server.content.run import Missing, Run
from tocsin_server.content.source import Problem, line_of
from tocsin_server.content.values import ABSENT, MAX_NUMBER, contains, equal, item, less, to_whole, truthy

Evaluate = Callable[[Run], Any]

MAX_DEPTH = 24
"""Of expressions in one another."""

_NO_OPTIONS: Mapping[str, Any] = {}

_CONSTANTS: Mapping[type[Expression], Any] = {Nil: None, TrueLiteral: True, FalseLiteral: False}


class Expressions:
    """Compiles the expressions of one text, and notes what they use."""

    def __init__(self, names: frozenset[str], aliases: Mapping[str, str]) -> None:
        """`names` are the variables that there are; `aliases` what some of them stand for, in messages."""
        self._names = set(names)
        self._aliases = dict(aliases)
        self._depth = 0
        self.used: set[str] = set()
        """The names of variables."""
        self.zoned = False
        """Whether the time zone matters."""
        self.cost = 0
        """How many steps the expressions that were compiled take, each once."""

    def define(self, name: str, alias: str = "") -> None:
        """There is a variable of this name from now on."""
        self._names.add(name)
        if alias:
            self._aliases[name] = alias

    def called(self, name: str) -> str:
        """What a variable stands for, in messages."""
        return self._aliases.get(name, name)

    def items_of(self, expression: Expression) -> str:
        """What each item of a list stands for, in messages; empty where there is no name for it."""
        if not isinstance(expression, Path) or any(isinstance(one, Path) for one in expression.path):
            return ""
        root, *segments = expression.path
        return self.called(str(root)) + "".join(map(_segment_text, segments)) + "[]"

    def compile(self, expression: Expression) -> Evaluate:
        """A function that gives the expression's value. Raises Problem."""
        self.cost += 1
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Problem("expressions stand too deep in one another", line_of(expression.token))
        try:
            compile = _COMPILERS.get(type(expression))
            if compile is None:
                raise Problem("cannot be used here", line_of(expression.token))
            return compile(self, expression)
        finally:
            self._depth -= 1

    def condition(self, expression: Expression) -> Evaluate:
        """As `compile`, for what is true or false."""
        value = self.compile(expression)
        return lambda run: truthy(value(run))

    # --- what there is ------------------------------------------------------------------------------------------------

    def _constant(self, expression: Expression) -> Evaluate:
        value = _CONSTANTS[type(expression)]
        return lambda run: value

    def _string(self, expression: StringLiteral) -> Evaluate:
        value = expression.value
        return lambda run: value

    def _number(self, expression: IntegerLiteral | FloatLiteral) -> Evaluate:
        if abs(expression.value) > MAX_NUMBER:
            raise Problem("a number is too large", line_of(expression.token))
        # As it is written: 2.0 divides otherwise than 2 does.
        value = expression.value
        return lambda run: value

    def _range(self, expression: RangeLiteral) -> Evaluate:
        start, stop = self.compile(expression.start), self.compile(expression.stop)

        def between(run: Run) -> Any:
            first, last = to_whole(start(run)), to_whole(stop(run))
            run.look_at(max(last - first + 1, 0))
            return list(range(first, last + 1))

        return between

    def _path(self, expression: Path) -> Evaluate:
        root, *segments = expression.path
        if not isinstance(root, str):
            raise Problem("a variable begins with its name", line_of(expression.token))
        if root not in self._names:
            hint = f"; what a sender gives is in `data`: `data.{root}`" if "data" in self._names else ""
            raise Problem(f"unknown variable `{root}`{hint}", line_of(expression.token))
        self.used.add(root)
        self.cost += len(segments)
        if any(isinstance(segment, Path) for segment in segments):
            return self._computed_path(root, segments)
        name = self.called(root) + "".join(map(_segment_text, segments))
        if not segments:
            return lambda run: run.scope.get(root) if root in run.scope else Missing(name)
        keys: list[Any] = segments

        def found(run: Run) -> Any:
            value = run.scope.get(root)
            for key in keys:
                value = item(value, key)
                if value is ABSENT:
                    return Missing(name)
            return value

        return found

    def _computed_path(self, root: str, segments: list[Any]) -> Evaluate:
        keys = [
            self.compile(segment) if isinstance(segment, Path) else _always(segment) for segment in segments
        ]
        start = self.called(root)

        def found(run: Run) -> Any:
            value, name = run.scope.get(root), start
            for key in keys:
                at = key(run)
                if isinstance(at, Missing):
                    return at
                name += _segment_text(at) if isinstance(at, (str, int)) else "[?]"
                value = item(value, at)
                if value is ABSENT:
                    return Missing(name[:200])
            return value

        return found

    # --- filters ------------------------------------------------------------------------------------------------------

    def _filtered(self, expression: FilteredExpression) -> Evaluate:
        value = self.compile(expression.left)
        for call in expression.filters or ():
            value = self._filter(value, call)
        return value

    def _filter(self, left: Evaluate, call: FilterCall) -> Evaluate:
        line = line_of(call.token)
        filter = FILTERS.get(call.name)
        if filter is None:
            raise Problem(f"unknown filter `{call.name}`", line)
        plain = [argument for argument in call.args if not isinstance(argument, KeywordArgument)]
        named = {
            argument.name: argument.value for argument in call.args if isinstance(argument, KeywordArgument)
        }
        _check_arguments(filter, call.name, len(plain), named, line)
        self.cost += 2
        self.zoned |= filter.zoned
        arguments = [self.compile(argument.value) for argument in plain]
        options = {name: self.compile(value) for name, value in named.items()}
        apply, takes_missing = filter.apply, filter.takes_missing

        def filtered(run: Run) -> Any:
            value = left(run)
            given = [argument(run) for argument in arguments]
            chosen = {name: option(run) for name, option in options.items()} if options else _NO_OPTIONS
            if not takes_missing:
                # Nothing comes of it, and all that is missing is to be found, not only the first.
                lacking = [one for one in (value, *given, *chosen.values()) if isinstance(one, Missing)]
                if lacking:
                    for one in lacking:
                        run.lacks(one)
                    return lacking[0]
            return apply(run, value, *given, **chosen)

        return filtered

    # --- conditions ---------------------------------------------------------------------------------------------------

    def _boolean(self, expression: BooleanExpression) -> Evaluate:
        return self.compile(expression.expression)

    def _and(self, expression: LogicalAndExpression) -> Evaluate:
        left, right = self.condition(expression.left), self.condition(expression.right)
        return lambda run: left(run) and right(run)

    def _or(self, expression: LogicalOrExpression) -> Evaluate:
        left, right = self.condition(expression.left), self.condition(expression.right)
        return lambda run: left(run) or right(run)

    def _equal(self, expression: EqExpression) -> Evaluate:
        return self.equality(expression.left, expression.right)

    def _unequal(self, expression: NeExpression) -> Evaluate:
        same = self.equality(expression.left, expression.right)
        return lambda run: not same(run)

    def equality(self, left: Expression, right: Expression) -> Evaluate:
        """Whether two expressions have the same value."""
        if isinstance(left, (Empty, Blank)):
            left, right = right, left
        if isinstance(right, (Empty, Blank)):
            value, is_blank = self.compile(left), isinstance(right, Blank)
            return lambda run: _empty(value(run), is_blank)
        one, other = self.compile(left), self.compile(right)
        return lambda run: equal(run, one(run), other(run))

    def _less(self, expression: LtExpression | LeExpression) -> Evaluate:
        return self._ordered(expression.left, expression.right, isinstance(expression, LeExpression))

    def _greater(self, expression: GtExpression | GeExpression) -> Evaluate:
        return self._ordered(expression.right, expression.left, isinstance(expression, GeExpression))

    def _ordered(self, smaller: Expression, larger: Expression, or_equal: bool) -> Evaluate:
        one, other = self.compile(smaller), self.compile(larger)
        return lambda run: less(one(run), other(run), or_equal=or_equal)

    def _contains(self, expression: ContainsExpression) -> Evaluate:
        whole, part = self.compile(expression.left), self.compile(expression.right)
        return lambda run: contains(run, whole(run), part(run))


_COMPILERS: Mapping[type[Expression], Callable[[Expressions, Any], Evaluate]] = {
    Nil: Expressions._constant,
    TrueLiteral: Expressions._constant,
    FalseLiteral: Expressions._constant,
    StringLiteral: Expressions._string,
    IntegerLiteral: Expressions._number,
    FloatLiteral: Expressions._number,
    RangeLiteral: Expressions._range,
    Path: Expressions._path,
    FilteredExpression: Expressions._filtered,
    BooleanExpression: Expressions._boolean,
    LogicalAndExpression: Expressions._and,
    LogicalOrExpression: Expressions._or,
    EqExpression: Expressions._equal,
    NeExpression: Expressions._unequal,
    LtExpression: Expressions._less,
    LeExpression: Expressions._less,
    GtExpression: Expressions._greater,
    GeExpression: Expressions._greater,
    ContainsExpression: Expressions._contains,
}


def _always(value: Any) -> Evaluate:
    return lambda run: value


def _segment_text(segment: Any) -> str:
    return f"[{segment}]" if isinstance(segment, int) else f".{segment}"


def _empty(value: Any, is_blank: bool) -> bool:
    if isinstance(value, str):
        return not value or (is_blank and value.isspace())
    return (isinstance(value, (list, dict)) and not value) or (is_blank and not truthy(value))


def _check_arguments(
    filter: Filter, name: str, count: int, named: Mapping[str, Expression], line: int
) -> None:
    if not filter.least <= count <= filter.most:
        wanted = str(filter.least) if filter.least == filter.most else f"{filter.least} to {filter.most}"
        raise Problem(f"filter `{name}` takes {wanted} arguments, not {count}", line)
    for option in named:
        if option not in filter.options:
            raise Problem(f"filter `{name}` has no `{option}`", line)
