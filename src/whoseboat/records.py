"""The records that cross module borders: small, frozen, plain."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

Role = Literal["system", "user", "assistant"]
Side = Literal["chosen", "rejected"]
# What kind of conversation a pair is of; it says which worked examples a language model is shown.
Domain = Literal["advice", "dialogue", "forum", "mnemonic"]
DOMAINS: tuple[Domain, ...] = ("advice", "dialogue", "forum", "mnemonic")

# What a source says of the safety of a pair's responses:
#   "unlabelled"  it says nothing
#   "safe"        both responses are labelled safe
#   "unsafe"      at least one is labelled unsafe
#   "red-team"    the prompts were written to draw unsafe responses; or responses are labelled, but not both of these
Safety = Literal["unlabelled", "safe", "unsafe", "red-team"]

# Codes of three letters for languages that have one of two (ISO 639-2 and -3 to ISO 639-1).
_TWO_LETTERS: dict[str, str] = dict(
    re.findall(
        r"(\w+):(\w+)",
        "ara:ar ben:bn bul:bg cat:ca ces:cs cze:cs dan:da deu:de ger:de ell:el gre:el eng:en est:et fas:fa per:fa "
        "fin:fi fra:fr fre:fr heb:he hin:hi hrv:hr hun:hu ind:id ita:it jpn:ja kor:ko lav:lv lit:lt msa:ms may:ms "
        "nld:nl dut:nl nor:no pol:pl por:pt ron:ro rum:ro rus:ru slk:sk slo:sk slv:sl spa:es srp:sr swa:sw swe:sv "
        "tam:ta tel:te tha:th tur:tr ukr:uk urd:ur vie:vi zho:zh chi:zh cmn:zh",
    )
)
_LANGUAGE = re.compile(r"([a-z]{2,3})(?:[-_][a-z0-9]{2,8})*", re.ASCII | re.IGNORECASE)
# What has no place in one line of text: control characters, separators of lines, lone surrogates.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def language_code(stated: str) -> str:
    """Return the language of a code as ISO 639-1, or 639-3 where that has none; script and region are left out.

    >>> language_code("en_US"), language_code("EN"), language_code("eng"), language_code("zh-Hant")
    ('en', 'en', 'en', 'zh')

    Raises:
        ValueError: it is no such code.

    """
    match = _LANGUAGE.fullmatch(stated.strip())
    if match is None:
        raise ValueError(f"expected a language code such as en, found {stated!r:.40}")
    code = match[1].lower()
    return _TWO_LETTERS.get(code, code)


def one_line(text: str) -> str:
    """Return a text that any file can store and that stays on one line: what cannot be shown becomes a mark."""
    return _UNPRINTABLE.sub(lambda match: " " if match.group() in "\t\n\r" else "\ufffd", text)


class EmptyPromptError(ValueError):
    """A prompt in which the user says nothing."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a row stood in its source.

    `line` counts from 1 as an editor does (the line of a JSONL or CSV file, else the number of the record);
    `row` counts records from 0 within `split`. Characters of a name that no file can store are replaced.
    """

    file: str
    line: int
    split: str | None = None
    row: int | None = None

    def __post_init__(self) -> None:
        if not self.file.isprintable():
            object.__setattr__(self, "file", one_line(self.file))
        if self.split is not None and not self.split.isprintable():
            object.__setattr__(self, "split", one_line(self.split))


@dataclass(frozen=True, slots=True)
class Reason:
    """Words of a person about a choice or about themselves, as the source publishes them.

    `kind` is `choice` (why this response) or `self-description` (who chose); `by` is the pseudonym of the person.
    """

    kind: Literal["choice", "self-description"]
    text: str
    by: str | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """A preference pair: a conversation that ends with the user's turn, and two replies to it.

    `id` is a hash of the content alone, so it is the same wherever and whenever the pair is read. `strength` says
    how strongly the chosen reply was preferred, on the source's own scale. `personas` are those the source publishes
    itself, chosen side first. `language` is kept as `language_code` has
    it.

    Raises:
        ValueError: the prompt does not end with a user's turn, or the language is no code.
        EmptyPromptError: the user's turns hold nothing but white space; a ValueError too.
        UnicodeEncodeError: a text holds a lone surrogate, which no file can store.

    """

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    origin: Origin
    language: str | None = None
    strength: float | None = None
    user_id: str | None = None
    safety: Safety = "unlabelled"
    domain: Domain = "advice"
    reasons: tuple[Reason, ...] = ()
    personas: tuple[str, str] | None = None
    id: str = field(init=False)

    def __post_init__(self) -> None:
        if not self.prompt or self.prompt[-1].role != "user":
            raise ValueError("the prompt does not end with a user's turn")
        if not any(message.role == "user" and message.content.strip() for message in self.prompt):
            raise EmptyPromptError("the prompt is empty")
        if self.language is not None and self.language != "en":
            object.__setattr__(self, "language", language_code(self.language))
        content = [[message.role, message.content] for message in self.prompt]
        object.__setattr__(self, "id", _hash_of([content, self.chosen, self.rejected]))

    @property
    def root(self) -> str:
        """The first user turn, normalised: what all pairs of one conversation have in common."""
        first = next(message.content for message in self.prompt if message.role == "user")
        return root_of(first)

    def characters(self) -> int:
        """Return the length of the prompt and both responses together."""
        return len(self.chosen) + len(self.rejected) + sum(len(message.content) for message in self.prompt)


def root_of(first_user_turn: str) -> str:
    """Return what tells conversations apart: the first user turn without regard to case, width and white space."""
    return " ".join(unicodedata.normalize("NFKC", first_user_turn).casefold().split())


def _hash_of(texts: list[Any]) -> str:
    """Hash texts as JSON, which keeps them apart.

    Raises:
        UnicodeEncodeError: one holds a lone surrogate.

    """
    try:
        data = orjson.dumps(texts)
    except TypeError:
        data = json.dumps(texts, ensure_ascii=False, separators=(",", ":")).encode()  # raises, and says where
    return hashlib.blake2b(data, digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Persona:
    """One sentence about a user who would prefer one response over another: a hypothesis, not a person.

    Raises:
        UnicodeEncodeError: a text holds a lone surrogate, which no file can store.

    """

    text: str
    engine: str

    def __post_init__(self) -> None:
        self.text.encode()
        self.engine.encode()


@dataclass(frozen=True, slots=True)
class Row:
    """A pair with its two inferred personas: a row of the published dataset.

    `further` are more samples of both personas, chosen side first, where more than one was asked for.
    """

    pair: Pair
    chosen_persona: Persona
    rejected_persona: Persona
    further: tuple[tuple[Persona, Persona], ...] = ()


@dataclass(frozen=True, slots=True)
class Drop:
    """What did not become a row, where it stood, and why.

    `stage` is where it was left behind (`read`, `screen`, `sample`, `infer`, `check`); `reason` is one of a few fixed
    words, `detail` says more in a sentence, on one line.
    """

    origin: Origin
    stage: str
    reason: str
    detail: str = ""
    id: str | None = None

    def __post_init__(self) -> None:
        if not self.detail.isprintable():
            object.__setattr__(self, "detail", one_line(self.detail))
