"""What makes something to show of a template."""

from typing import Protocol

from tocsin_server.domain.template import Data, Rendered, RenderFacts, TemplateDefinition
from tocsin_server.domain.time import Micros


class CompiledTemplate(Protocol):
    """A version that is ready to be rendered. Reads no clock, does no input or output.

    What one rendering may do is bounded, in steps and in characters, so that it takes at most about 50 ms and a few
    megabytes, whatever the version and the data are.
    """

    def personal(self, locale: str) -> bool:
        """Whether what a locale's recipients are shown depends on who they are: the variable `recipient` is used."""

    def zoned(self, locale: str) -> bool:
        """Whether it depends on their time zone."""

    def render(self, data: Data, facts: RenderFacts, now: Micros) -> Rendered:
        """What the recipient is shown; the rules of content are not checked.

        Raises TemplateDataInvalid, whose fields are variables (`data.order.number`) where they are missing, all of
        them, and else fields of the body (`content.simple.title`); TemplateLimitExceeded.
        """


class Renderer(Protocol):
    """Makes definitions ready. The same definition gives the same on every replica."""

    def prepared(self, definition: TemplateDefinition) -> TemplateDefinition:
        """The definition as it is kept: read once, every MJML made into HTML. May take 100 ms; not for the event loop.

        Raises TemplateInvalid, whose fields begin at the definition: `bodies[0].content.simple.title`; FeatureNotBuilt
        where there is MJML and no library for it.
        """

    def compiled(self, definition: TemplateDefinition) -> CompiledTemplate:
        """One that `prepared` gave; never fails."""

    def has_locale(self, locale: str) -> bool:
        """Whether what is known of a locale has been read."""

    def read_locale(self, locale: str) -> None:
        """Reads it, from files. May take 200 ms; not for the event loop."""
