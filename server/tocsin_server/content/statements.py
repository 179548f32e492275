"""Texts as functions of a rendering: what stands between the expressions, and when and how often."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from liquid.ast import BlockNode, ConditionalBlockNode, Node
from liquid.builtin.content import ContentNode
from liquid.builtin.output import OutputNode
from liquid.builtin.tags.assign_tag import AssignNode
from liquid.builtin.tags.capture_tag import CaptureNode
from liquid.builtin.tags.case_tag import CaseNode, MultiExpressionBlockNode
from liquid.builtin.tags.comment_tag import CommentNode
from liquid.builtin.tags.echo_tag import EchoNode
from liquid.builtin.tags.for_tag import BreakNode, ContinueNode, ForNode
from liquid.builtin.tags.if_tag import IfNode
from liquid.builtin.tags.inline_comment_tag import InlineCommentNode
from liquid.builtin.tags.unless_tag import UnlessNode

from tocsin_server.content.expressions import Evaluate, Expressions
from tocsin_server.content.run import Missing, Run, Unrenderable
from tocsin_server.content.source import Problem, line_of, literal
from tocsin_server.content.values import Markup, kind_name, text, to_whole

Write = Callable[[str], None]
Statement = Callable[[Run, Write], "str | None"]
"""Writes; gives `_BREAK` or `_CONTINUE` where it ends what it stands in."""

_BREAK, _CONTINUE = "break", "continue"


class Statements:
    """Compiles one text."""

    def __init__(self, expressions: Expressions, *, as_html: bool) -> None:
        self._expressions = expressions
        self._as_html = as_html
        self._loops = 0

    def text(self, nodes: Sequence[Node]) -> Callable[[Run], str]:
        """A function that gives the text. Raises Problem."""
        block = self._block(nodes)

        def rendered(run: Run) -> str:
            parts: list[str] = []
            block(run, parts.append)
            return "".join(parts)

        return rendered

    def _block(self, nodes: Sequence[Node]) -> Statement:
        outside = self._expressions.cost
        self._expressions.cost = 0
        statements: list[Statement] = []
        for node in nodes:
            statement = self._statement(node)
            if statement is not None:
                statements.append(statement)
        steps = len(statements) + self._expressions.cost
        self._expressions.cost = outside
        if len(statements) == 1:
            return _single(statements[0], steps)

        def block(run: Run, write: Write) -> str | None:
            run.spend(steps)
            for statement in statements:
                ended = statement(run, write)
                if ended is not None:
                    return ended
            return None

        return block

    def _statement(self, node: Node) -> Statement | None:
        if isinstance(node, (CommentNode, InlineCommentNode)):
            return None
        compile = _COMPILERS.get(type(node))
        if compile is None:
            raise Problem("cannot be used here", line_of(node.token))
        return compile(self, node)

    def _content(self, node: ContentNode) -> Statement:
        content = node.text

        def write_content(run: Run, write: Write) -> None:
            run.reserve(len(content))
            write(content)

        return write_content

    def _output(self, node: OutputNode) -> Statement:
        value = self._expressions.compile(literal(node.expression))
        as_html = self._as_html

        def write_output(run: Run, write: Write) -> None:
            printed = text(run, value(run))
            if as_html and not isinstance(printed, Markup):
                printed = escape(printed)
            run.reserve(len(printed))
            write(printed)

        return write_output

    def _assign(self, node: AssignNode) -> Statement:
        value, name = self._expressions.compile(literal(node.expression)), str(node.name)
        self._define(name, line_of(node.token))

        def assign(run: Run, write: Write) -> None:
            run.scope[name] = value(run)

        return assign

    def _capture(self, node: CaptureNode) -> Statement:
        block, name = self._block(node.block.nodes), str(node.name)
        self._define(name, line_of(node.token))
        as_html = self._as_html

        def capture(run: Run, write: Write) -> str | None:
            parts: list[str] = []
            ended = block(run, parts.append)
            run.reserve(sum(map(len, parts)))
            captured = "".join(parts)
            run.scope[name] = Markup(captured) if as_html else captured
            return ended

        return capture

    def _define(self, name: str, line: int) -> None:
        if name in RESERVED:
            raise Problem(f"`{name}` cannot be assigned", line)
        self._expressions.define(name)

    # --- choices ------------------------------------------------------------------------------------------------------

    def _if(self, node: IfNode | UnlessNode) -> Statement:
        first = self._expressions.condition(node.condition)
        unless = isinstance(node, UnlessNode)
        branches = [
            ((lambda run: not first(run)) if unless else first, self._block(node.consequence.nodes)),
            *(self._branch(alternative) for alternative in node.alternatives),
        ]
        return _chosen(branches, self._optional(node.default))

    def _branch(self, node: ConditionalBlockNode) -> tuple[Evaluate, Statement]:
        return self._expressions.condition(node.expression), self._block(node.block.nodes)

    def _case(self, node: CaseNode) -> Statement:
        branches: list[tuple[Evaluate, Statement]] = []
        default: Statement | None = None
        for block in node.blocks:
            if isinstance(block, MultiExpressionBlockNode):
                wanted = [
                    self._expressions.equality(node.expression, one) for one in block.expression.expressions
                ]
                branches.append((_any_of(wanted), self._block(block.block.nodes)))
            elif default is None:
                default = self._optional(block)
            else:
                raise Problem("`case` has one `else`", line_of(block.token))
        return _chosen(branches, default)

    def _optional(self, block: BlockNode | None) -> Statement | None:
        return None if block is None else self._block(block.nodes)

    # --- loops --------------------------------------------------------------------------------------------------------

    def _for(self, node: ForNode) -> Statement:
        expressions, loop = self._expressions, node.expression
        items = expressions.compile(loop.iterable)
        limit = None if loop.limit is None else expressions.compile(loop.limit)
        offset = None if loop.offset is None else expressions.compile(loop.offset)
        name, backwards = str(loop.identifier), loop.reversed
        if name in RESERVED or name == "forloop":
            raise Problem(f"`{name}` cannot be a loop's variable", line_of(node.token))
        expressions.define(name, expressions.items_of(loop.iterable))
        expressions.define("forloop")
        self._loops += 1
        body = self._block(node.block.nodes)
        self._loops -= 1
        default = self._optional(node.default)

        def repeat(run: Run, write: Write) -> str | None:
            found = looped(run, items(run), noted=default is None)
            if offset is not None:
                found = found[max(to_whole(offset(run)), 0) :]
            if limit is not None:
                found = found[: max(to_whole(limit(run)), 0)]
            if not found:
                return default(run, write) if default is not None else None
            outside = {key: run.scope[key] for key in (name, "forloop") if key in run.scope}
            for index, one in enumerate(reversed(found) if backwards else found):
                run.spend(2)
                run.scope[name] = one
                run.scope["forloop"] = forloop(index, len(found))
                if body(run, write) == _BREAK:
                    break
            del run.scope[name], run.scope["forloop"]
            run.scope |= outside
            return None

        return repeat

    def _break(self, node: BreakNode | ContinueNode) -> Statement:
        if not self._loops:
            raise Problem("`break` and `continue` stand in a `for`", line_of(node.token))
        ended = _BREAK if isinstance(node, BreakNode) else _CONTINUE
        return lambda run, write: ended


RESERVED = frozenset(("data", "recipient", "actor", "category", "attributes", "now"))
"""The variables that there are from the start."""

_COMPILERS: Mapping[type[Node], Callable[[Statements, Any], Statement]] = {
    ContentNode: Statements._content,
    OutputNode: Statements._output,
    EchoNode: Statements._output,
    AssignNode: Statements._assign,
    CaptureNode: Statements._capture,
    IfNode: Statements._if,
    UnlessNode: Statements._if,
    CaseNode: Statements._case,
    ForNode: Statements._for,
    BreakNode: Statements._break,
    ContinueNode: Statements._break,
}


def looped(run: Run, value: Any, *, noted: bool) -> list[Any]:
    """What is gone through for a value: its items. What is missing has none, and is reported if it is to be noted.

    Raises Unrenderable.
    """
    if isinstance(value, Missing):
        if noted:
            run.lacks(value)
        return []
    if isinstance(value, list):
        run.look_at(value)
        return value
    if value is None or value == "":
        return []
    raise Unrenderable(f"{kind_name(value)} is not a list")


def forloop(index: int, length: int) -> dict[str, Any]:
    """What a loop says of itself."""
    return {
        "index": index + 1,
        "index0": index,
        "rindex": length - index,
        "rindex0": length - index - 1,
        "first": index == 0,
        "last": index == length - 1,
        "length": length,
    }


def _single(statement: Statement, steps: int) -> Statement:
    def single(run: Run, write: Write) -> str | None:
        run.spend(steps)
        return statement(run, write)

    return single


def _chosen(branches: Sequence[tuple[Evaluate, Statement]], default: Statement | None) -> Statement:
    def choose(run: Run, write: Write) -> str | None:
        for condition, block in branches:
            if condition(run):
                return block(run, write)
        return default(run, write) if default is not None else None

    return choose


def _any_of(conditions: Sequence[Evaluate]) -> Evaluate:
    return lambda run: any(condition(run) for condition in conditions)
