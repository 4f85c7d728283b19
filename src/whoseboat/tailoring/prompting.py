"""How one model is told a persona, and how it is told none.

A model that was trained on personas gets them where they stood in training, and none by the same text without that
place. A model that was trained without them is told by its user, in the first person, behind what is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from whoseboat.errors import DataError
from whoseboat.model_manifest import PersonasOf, Template
from whoseboat.records import Message
from whoseboat.rewriting import first_person
from whoseboat.tailoring.settings import TailoringRow
from whoseboat.tailoring.templates import Renderer, Tokenizer

_LINE, _SLOT = "\nPersona: {persona}", "{persona}"


class Prompts:
    """The prompts of one model, with a persona and without.

    Args:
        tokenizer: the model's.
        template: `chat` or `plain`.
        personas: what the model was trained with; `none`: its user tells it personas.
        template_text: the exact text, where a manifest states it (`whoseboat.model_manifest.ModelManifest`).

    Raises:
        UsageError: there is no such template or setting.
        DataError: the template cannot be used with this tokenizer.

    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: Template,
        personas: PersonasOf,
        template_text: str | None = None,
    ) -> None:
        self._tokenizer, self._template, self._personas, self._text = tokenizer, template, personas, template_text

    @property
    def template(self) -> Template:
        """`chat` or `plain`."""
        return self._template

    @cached_property
    def known(self) -> Renderer:
        """One of both, whichever this template can be: for what does not depend on personas."""
        try:
            return self.usual
        except DataError:
            return self.without

    @cached_property
    def usual(self) -> Renderer:
        """What renders as the model was trained."""
        renderer = Renderer(self._tokenizer, self._template, self._personas)
        if self._text is not None:
            renderer.template_text = self._text
        return renderer

    @cached_property
    def without(self) -> Renderer:
        """What renders without a persona."""
        if self._personas == "none":
            return self.usual
        renderer = Renderer(self._tokenizer, self._template, "none")
        if self._text is not None:
            renderer.template_text = without_persona(self._text)
        return renderer

    def row_ids(
        self, prompt: Sequence[Message], persona: str | None, preferred: str, other: str
    ) -> tuple[list[int], list[int], list[int]]:
        """Return the tokens of a prompt and of two replies, each with its end.

        Raises:
            RefusedText: a text holds a control token, or the chat template does not take the conversation.

        """
        renderer, turns, told = self._told(prompt, persona)
        row = renderer.row(TailoringRow("", "", "chosen", turns, told, preferred, other))
        ids = renderer.prompt_ids(row.prompt)
        one, two = (renderer.completion_ids(row.prompt, ids, reply) for reply in (row.preferred, row.other))
        return ids, one, two

    def prompt_ids(self, prompt: Sequence[Message], persona: str | None) -> list[int]:
        """Return the tokens of a prompt up to where the reply begins.

        Raises:
            RefusedText: a text holds a control token, or the chat template does not take the conversation.

        """
        renderer, turns, told = self._told(prompt, persona)
        return renderer.prompt_ids(renderer.prompt(turns, told))

    def _told(self, prompt: Sequence[Message], persona: str | None) -> tuple[Renderer, tuple[Message, ...], str | None]:
        if persona is None:
            return self.without, tuple(prompt), None
        if self._personas == "none":
            return self.without, told_by_user(prompt, persona), None
        return self.usual, tuple(prompt), persona


def told_by_user(prompt: Sequence[Message], persona: str) -> tuple[Message, ...]:
    """Return a prompt with a persona behind its last turn, as its user would say it."""
    *before, last = prompt
    return (*before, replace(last, content=f"{last.content} {first_person(persona)}"))


def without_persona(template_text: str) -> str:
    r"""Return the text of a template without the place of the persona; examples in it stay.

    >>> without_persona("Prompt: {prompt}\nPersona: {persona}\nResponse:")
    'Prompt: {prompt}\nResponse:'
    """
    if _LINE in template_text:
        return template_text.replace(_LINE, "")
    return template_text.replace(_SLOT, "").rstrip()
