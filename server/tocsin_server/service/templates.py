"""Templates: kept in versions, rendered for a Send and for a preview by the same function."""

import asyncio
from dataclasses import dataclass

from tocsin_server.domain.access import Principal
from tocsin_server.domain.bodies import ChannelBody
from tocsin_server.domain.commands import (
    ActivateTemplateVersion,
    Answer,
    CreateTemplateVersion,
    RequestSpace,
    ShownContent,
    TemplateReceipt,
)
from tocsin_server.domain.errors import (
    InvalidFields,
    TemplateDataInvalid,
    TemplateInvalid,
    TemplateNotFound,
    TemplateVersionNotFound,
    Violation,
)
from tocsin_server.domain.notification import NotificationSpec, TemplateRef
from tocsin_server.domain.recipient import RecipientFacts
from tocsin_server.domain.template import (
    Data,
    RecipientView,
    RenderFacts,
    StoredVersion,
    Template,
    TemplateDefinition,
)
from tocsin_server.domain.time import Micros
from tocsin_server.domain.value import Value
from tocsin_server.service.paging import Page, PageTokens, effective_page_size
from tocsin_server.service.ports import Clock, Codec, CompiledTemplate, Renderer, TemplateReader, Writer
from tocsin_server.service.submitting import answered, request_key
from tocsin_server.service.template_cache import TemplateCache


class RenderedTemplate(Value, frozen=True):
    """What a recipient is shown."""

    version: int
    """0 for one that is not stored."""
    locale: str
    """Of the body that was chosen."""
    content: bytes
    """The notification's encoded field `content`, with its plain text."""
    bodies: tuple[ChannelBody, ...]
    personal: bool
    """Others of this locale are shown something else."""
    zoned: bool
    """Others in another time zone are."""


@dataclass(frozen=True, slots=True)
class TemplateDetails:
    """A template, one of its versions whole, and (number, create time) of all, newest first."""

    template: Template
    version: StoredVersion
    versions: list[tuple[int, Micros]]


class Templates:
    """What is done with templates."""

    def __init__(
        self,
        writer: Writer,
        reader: TemplateReader,
        renderer: Renderer,
        codec: Codec,
        page_tokens: PageTokens,
        clock: Clock,
        cache: TemplateCache,
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._renderer = renderer
        self._codec = codec
        self._page_tokens = page_tokens
        self._clock = clock
        self._cache = cache

    # --- versions -----------------------------------------------------------------------------------------------------

    async def create_version(
        self,
        principal: Principal,
        request_id: str,
        name: str,
        definition: TemplateDefinition,
        *,
        activate: bool,
        deadline: float | None = None,
    ) -> Answer[TemplateReceipt]:
        """Raises TemplateInvalid with fields from `definition` on, FeatureNotBuilt, TemplateLimitExceeded."""
        asked = (name, definition, activate)
        key = request_key(self._codec, RequestSpace.CREATE_TEMPLATE_VERSION, request_id, asked)
        command = CreateTemplateVersion(
            tenant=principal.tenant,
            request=key,
            name=name,
            definition=self._codec.encode_definition(await self._prepared(definition)),
            activate=activate,
        )
        answer = await answered(self._writer, command, deadline)
        self._cache.changed(principal.tenant, answer.receipt.template)
        return answer

    async def activate(
        self, principal: Principal, request_id: str, name: str, version: int, *, deadline: float | None = None
    ) -> Answer[Template]:
        """Raises TemplateNotFound, TemplateVersionNotFound."""
        key = request_key(self._codec, RequestSpace.ACTIVATE_TEMPLATE_VERSION, request_id, (name, version))
        command = ActivateTemplateVersion(tenant=principal.tenant, request=key, name=name, version=version)
        answer = await answered(self._writer, command, deadline)
        self._cache.changed(principal.tenant, answer.receipt)
        return answer

    async def get(self, principal: Principal, name: str, version: int) -> TemplateDetails:
        """With a version; 0: the active one, the newest where none is.

        Raises TemplateNotFound, TemplateVersionNotFound.
        """
        template = await self._reader.template(principal.tenant, name)
        if template is None:
            raise TemplateNotFound(template=name)
        number = version or template.active_version or template.latest_version
        stored = await self._reader.template_version(principal.tenant, name, number)
        if stored is None:
            raise TemplateVersionNotFound(template=name, version=number)
        versions = await self._reader.template_versions(principal.tenant, name)
        return TemplateDetails(template, stored, versions)

    async def list(self, principal: Principal, page_size: int, page_token: str) -> Page[Template]:
        """By name. Raises PageTokenInvalid."""
        size = effective_page_size(page_size)
        after = self._page_tokens.open("templates", principal.tenant, page_token)
        found = await self._reader.templates(principal.tenant, after or "", size + 1)
        page = found[:size]
        more = len(found) > size
        token = self._page_tokens.seal("templates", principal.tenant, page[-1].name) if more else ""
        return Page(page, token)

    # --- rendering ----------------------------------------------------------------------------------------------------

    async def rendered(
        self, tenant: str, ref: TemplateRef, facts: RenderFacts, now: Micros, path: str = "template."
    ) -> RenderedTemplate:
        """What a recipient is shown. Does not give way to others where the version was rendered lately.

        `path` is what leads to the reference's fields in the request. Raises TemplateNotFound, TemplateVersionNotFound,
        TemplateDataInvalid, TemplateLimitExceeded, StorageUnavailable.
        """
        number, compiled = await self._cache.find(tenant, ref.name, ref.version)
        if not self._renderer.has_locale(facts.recipient.locale):
            await asyncio.to_thread(self._renderer.read_locale, facts.recipient.locale)
        return self._shown(number, compiled, ref.data, facts, now, path, template=ref.name, version=number)

    async def shown(
        self, tenant: str, spec: NotificationSpec, recipient: RecipientFacts, now: Micros
    ) -> ShownContent:
        """What a spec that names a template shows to its recipient. Raises what `rendered` does."""
        assert spec.template is not None
        profile = recipient.profile
        view = RecipientView(spec.recipient, profile.locale, profile.time_zone, profile.attributes)
        facts = RenderFacts(view, spec.category, spec.actor, spec.attributes)
        rendered = await self.rendered(tenant, spec.template, facts, now, "notification.template.")
        return ShownContent(rendered.content, rendered.bodies)

    async def version(self, tenant: str, ref: TemplateRef) -> int:
        """The number of the version that is rendered; 0: there is none. Raises StorageUnavailable."""
        try:
            return (await self._cache.find(tenant, ref.name, ref.version))[0]
        except (TemplateNotFound, TemplateVersionNotFound):
            return 0

    async def depends(self, tenant: str, ref: TemplateRef, locale: str) -> tuple[bool, bool]:
        """Whether what a locale's recipients are shown depends on who they are, and on their time zone.

        Raises TemplateNotFound, TemplateVersionNotFound, StorageUnavailable.
        """
        _, compiled = await self._cache.find(tenant, ref.name, ref.version)
        return compiled.personal(locale), compiled.zoned(locale)

    async def preview(
        self, principal: Principal, source: TemplateRef | TemplateDefinition, data: Data, facts: RenderFacts
    ) -> RenderedTemplate:
        """What `rendered` would give, now; `data` are those of a definition.

        Raises what `rendered` does, TemplateInvalid, FeatureNotBuilt.
        """
        now = self._clock.now()
        if isinstance(source, TemplateRef):
            return await self.rendered(principal.tenant, source, facts, now)
        compiled = self._renderer.compiled(await self._prepared(source))
        return self._shown(0, compiled, data, facts, now, "")

    def _shown(
        self,
        number: int,
        compiled: CompiledTemplate,
        data: Data,
        facts: RenderFacts,
        now: Micros,
        path: str,
        **metadata: object,
    ) -> RenderedTemplate:
        try:
            rendered = compiled.render(data, facts, now)
            content = self._codec.encode_content(rendered.content)
        except InvalidFields as error:
            violations = [_placed(violation, path) for violation in error.violations]
            raise TemplateDataInvalid(violations, **metadata) from None
        locale = facts.recipient.locale
        return RenderedTemplate(
            number,
            rendered.locale,
            content,
            rendered.bodies,
            compiled.personal(locale),
            compiled.zoned(locale),
        )

    async def _prepared(self, definition: TemplateDefinition) -> TemplateDefinition:
        try:
            return await asyncio.to_thread(self._renderer.prepared, definition)
        except TemplateInvalid as error:
            raise TemplateInvalid(
                [
                    Violation(f"definition.{violation.field}", violation.description)
                    for violation in error.violations
                ]
            ) from None


def _placed(violation: Violation, path: str) -> Violation:
    """A variable of the data is a field of the request; what is wrong with the content has no other place."""
    if violation.field.startswith("data."):
        return Violation(path + violation.field, violation.description)
    return violation
