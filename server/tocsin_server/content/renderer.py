"""The renderer: definitions made ready once, and rendered often."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tocsin_server.content.compiling import KIND_FIELDS, Compiler, FieldError
from tocsin_server.content.expressions import Evaluate
from tocsin_server.content.localized import locale_of, read_data
from tocsin_server.content.markup import bad_link, html_of_mjml
from tocsin_server.content.run import Run
from tocsin_server.content.source import Problem, Reader
from tocsin_server.domain.bodies import ChannelBody
from tocsin_server.domain.content import Content
from tocsin_server.domain.errors import FeatureNotBuilt, TemplateDataInvalid, TemplateInvalid, Violation
from tocsin_server.domain.local_time import zone
from tocsin_server.domain.notification import Channel
from tocsin_server.domain.template import (
    Data,
    Rendered,
    RenderFacts,
    TemplateBody,
    TemplateChannel,
    TemplateDefinition,
    locale_chain,
)
from tocsin_server.domain.time import SECOND, Micros
from tocsin_server.domain.value import replace

_MAX_LINE_CHARS = 256
_MAX_PLAIN_CHARS = 16_000
_NO_SUCH_LOCALE = "has no body for this locale, and none for everyone"

_FIELDS_OF_CHANNELS = {
    Channel.EMAIL: {"subject", "text", "html", "mjml"},
    Channel.PUSH: {"title", "text"},
    Channel.SMS: {"text"},
    Channel.WEBHOOK: {"text"},
    Channel.CHAT: {"text"},
}

MAX_LOCALES = 2_000
"""Tags of which it is remembered that their data has been read; there are about 1,100 with data of their own."""


class LiquidRenderer:
    """Implements `service.ports.Renderer`."""

    def __init__(self) -> None:
        self._reader = Reader()
        self._locales: set[str] = set()

    def prepared(self, definition: TemplateDefinition) -> TemplateDefinition:
        """See `ports.Renderer`."""
        problems: list[Violation] = []
        bodies = []
        for index, body in enumerate(definition.bodies):
            path = f"bodies[{index}].channels"
            channels = [
                _with_html(channel, f"{path}[{place}]", problems)
                for place, channel in enumerate(body.channels)
            ]
            bodies.append(replace(body, channels=tuple(channels)))
        ready = replace(definition, bodies=tuple(bodies))
        problems += _mismatches(ready)
        for index, body in enumerate(ready.bodies):
            compiled = _CompiledBody(self._reader, body)
            problems += (
                Violation(f"bodies[{index}].{one.field}", one.description) for one in compiled.problems
            )
        if problems:
            raise TemplateInvalid(problems)
        return ready

    def compiled(self, definition: TemplateDefinition) -> "CompiledTemplate":
        """See `ports.Renderer`."""
        return CompiledTemplate(self._reader, definition)

    def has_locale(self, locale: str) -> bool:
        """See `ports.Renderer`."""
        return locale in self._locales

    def read_locale(self, locale: str) -> None:
        """See `ports.Renderer`."""
        read_data(locale)
        if len(self._locales) >= MAX_LOCALES:
            self._locales.clear()
        self._locales.add(locale)


class CompiledTemplate:
    """Implements `service.ports.CompiledTemplate`. A body is compiled when it is first wanted."""

    def __init__(self, reader: Reader, definition: TemplateDefinition) -> None:
        self._reader = reader
        self._lenient = definition.lenient
        self._bodies = {body.locale.lower(): body for body in definition.bodies}
        self._compiled: dict[str, _CompiledBody] = {}

    def personal(self, locale: str) -> bool:
        """See `ports.CompiledTemplate`."""
        body = self._body(locale)
        return body is not None and body.personal

    def zoned(self, locale: str) -> bool:
        """See `ports.CompiledTemplate`."""
        body = self._body(locale)
        return body is not None and body.zoned

    def render(self, data: Data, facts: RenderFacts, now: Micros) -> Rendered:
        """See `ports.CompiledTemplate`."""
        recipient = facts.recipient
        body = self._body(recipient.locale)
        if body is None:
            raise TemplateDataInvalid([Violation("locale", _NO_SUCH_LOCALE)])
        moment = datetime.fromtimestamp(now / SECOND, UTC)
        locale = recipient.locale or body.locale
        run = Run(_scope(data, facts, moment), locale_of(locale), zone(recipient.time_zone), moment)
        try:
            rendered = body.render(run)
        except FieldError as error:
            raise TemplateDataInvalid([Violation(error.path, error.message)]) from None
        if run.missing and not self._lenient:
            raise TemplateDataInvalid([Violation(name, "is missing") for name in run.missing])
        return rendered

    def _body(self, locale: str) -> "_CompiledBody | None":
        for wanted in locale_chain(locale):
            body = self._bodies.get(wanted)
            if body is not None:
                compiled = self._compiled.get(wanted)
                if compiled is None:
                    compiled = self._compiled[wanted] = _CompiledBody(self._reader, body)
                return compiled
        return None


class _CompiledBody:
    """What is shown in one locale, as functions of a rendering."""

    def __init__(self, reader: Reader, body: TemplateBody) -> None:
        compiler = Compiler(reader, body)
        self.locale = body.locale
        self._kind = compiler.content(body.content.kind)
        self._fallback = compiler.text(body.content.fallback_text, "content.fallback_text")
        self._channels = [
            _compiled_channel(compiler, channel, f"channels[{place}]")
            for place, channel in enumerate(body.channels)
        ]
        self.problems = compiler.problems
        self.personal = "recipient" in compiler.used
        self.zoned = compiler.zoned

    def render(self, run: Run) -> Rendered:
        """Raises FieldError, TemplateLimitExceeded."""
        content = Content(self._kind(run), self._fallback(run))
        return Rendered(self.locale, content, tuple([channel(run) for channel in self._channels]))


def _compiled_channel(
    compiler: Compiler, channel: TemplateChannel, path: str
) -> Callable[[Run], ChannelBody]:
    number = channel.channel
    subject = _one_line(compiler, channel.subject, f"{path}.subject")
    title = _one_line(compiler, channel.title, f"{path}.title")
    plain = _bounded(compiler.text(channel.text, f"{path}.text"), f"{path}.text", _MAX_PLAIN_CHARS)
    page = compiler.text(channel.html, f"{path}.html", as_html=True)

    def rendered(run: Run) -> ChannelBody:
        html = page(run)
        link = bad_link(html) if html else None
        if link is not None:
            raise FieldError(f"{path}.html", f"links to {link!r}")
        return ChannelBody(number, subject(run), plain(run), html, title(run))

    return rendered


def _one_line(compiler: Compiler, source: str, path: str) -> Evaluate:
    """Headers of mails hold no line breaks: what follows one would be a header of its own."""
    text = _bounded(compiler.text(source, path), path, _MAX_LINE_CHARS)
    return lambda run: " ".join(text(run).split())


def _bounded(text: Evaluate, path: str, max_chars: int) -> Evaluate:
    def bounded(run: Run) -> str:
        found: str = text(run)
        if len(found) > max_chars:
            raise FieldError(path, f"must be at most {max_chars} characters")
        return found

    return bounded


def _with_html(channel: TemplateChannel, path: str, problems: list[Violation]) -> TemplateChannel:
    if not channel.mjml:
        return channel
    if channel.html:
        problems.append(Violation(f"{path}.mjml", "must not stand beside `html`"))
        return channel
    try:
        return replace(channel, html=html_of_mjml(channel.mjml))
    except Problem as problem:
        problems.append(Violation(f"{path}.mjml", problem.message))
        return channel
    except ImportError:
        raise FeatureNotBuilt(
            "This server does not know MJML: pip install 'tocsin[mjml]'.", field=f"definition.{path}.mjml"
        ) from None


def _mismatches(definition: TemplateDefinition) -> list[Violation]:
    """What does not fit together: locales, kinds, and fields that a channel does not have."""
    problems = []
    seen = set[str]()
    kind = type(definition.bodies[0].content.kind)
    for index, body in enumerate(definition.bodies):
        path = f"bodies[{index}]"
        if body.locale.lower() in seen:
            problems.append(Violation(f"{path}.locale", "must be distinct"))
        seen.add(body.locale.lower())
        if type(body.content.kind) is not kind:
            problems.append(
                Violation(f"{path}.content", f"must be {KIND_FIELDS[kind]}, as in the first body")
            )
        channels = set[Channel]()
        for place, channel in enumerate(body.channels):
            allowed = _FIELDS_OF_CHANNELS[channel.channel]
            problems += (
                Violation(f"{path}.channels[{place}].{name}", f"{channel.channel.name} has none")
                for name in ("subject", "title", "html", "mjml")
                if getattr(channel, name) and name not in allowed
            )
            if channel.channel in channels:
                problems.append(Violation(f"{path}.channels[{place}].channel", "must be distinct"))
            channels.add(channel.channel)
    return problems


def _scope(data: Data, facts: RenderFacts, now: datetime) -> dict[str, Any]:
    recipient, actor = facts.recipient, facts.actor
    return {
        "data": data,
        "recipient": {
            "key": recipient.key,
            "locale": recipient.locale,
            "time_zone": recipient.time_zone,
            "attributes": recipient.attributes,
        },
        "actor": actor and {"id": actor.id, "name": actor.name, "avatar_url": actor.avatar_url},
        "category": facts.category,
        "attributes": facts.attributes,
        "now": now.isoformat(),
    }
