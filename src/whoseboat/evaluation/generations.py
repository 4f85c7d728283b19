"""Generations of a model: records of JSONL, JSON, CSV and Parquet files, whoever wrote them.

```
response       what the model said: text, or messages of which the last counts
prompt         the conversation it answered: text or messages; may be left out where cases are given by id
id, side       which pair of a dataset it belongs to, and whose persona: chosen or rejected; each may be left out
persona        for whom; left out for a model that is told none
finish         how it ended: stop, length (cut off), ...; also finish_reason
persona_kind   where the persona came from, as `whoseboat generate` has it: true, retrieved, shuffled, ...
```

A record with neither `id`, `side` nor `persona` may be of the layout that the paper published
(`whoseboat.evaluation.paper`). A persona that stands in the prompt as well, as a system message or a sentence of the
user's, is taken out of it: a judge of quality must not see it. Halves of surrogate pairs, as cut-off replies may have,
become replacement characters.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from whoseboat.errors import DataError
from whoseboat.evaluation import paper
from whoseboat.files import LocalFile, columns_at, local_files, records
from whoseboat.records import Message, Side

Finish = Literal["stop", "length"]

COLUMNS = ("id", "side", "prompt", "persona", "persona_kind", "response", "finish", "finish_reason")
# How endpoints and libraries call a reply that was cut off.
_CUT_OFF = frozenset({"length", "max_tokens", "max_new_tokens", "max_output_tokens", "cut_off", "truncated"})
_ROLES = frozenset({"system", "user", "assistant"})
_FIRST_PERSON = re.compile(r"\b(?:I|my|me)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Generation:
    """One response of a model; `finish` is None where nobody says how it ended, `where` names file and line.

    `group` and `cluster` are values of the columns that groups and independent cases are told by, where such were
    named; `kind` says where the persona came from.
    """

    response: str
    prompt: tuple[Message, ...] = ()
    id: str | None = None
    side: Side | None = None
    persona: str | None = None
    finish: Finish | None = None
    group: str | None = None
    cluster: str | None = None
    where: str = ""
    kind: str | None = None

    @property
    def text(self) -> str:
        """The prompt without regard to white space: what tells prompts apart."""
        return key_of(self.prompt)


@dataclass(frozen=True, slots=True)
class File:
    """A file that was read: its name without the path, what is in it, and in which layout."""

    name: str
    sha256: str
    bytes: int
    rows: int
    layout: Literal["records", "paper"]


@dataclass(frozen=True)
class Generations:
    """All generations of one model, in no particular order."""

    model: str
    files: tuple[File, ...]
    rows: list[Generation] = field(repr=False)


def key_of(prompt: Sequence[Message]) -> str:
    """Return a prompt as a text that is the same wherever only white space differs."""
    return "\0".join(f"{message.role}:{squeezed(message.content)}" for message in prompt)


def squeezed(text: str) -> str:
    """Return a text with every run of white space as one blank."""
    return " ".join(text.split())


def read_generations(
    model: str, paths: Iterable[Path], group: str | None = None, cluster: str | None = None
) -> Generations:
    """Read the generations of a model, all of them into memory: their texts, and a kilobyte for each.

    Args:
        model: what the model is called.
        paths: its files, or directories of such.
        group: a column whose values are groups, if any.
        cluster: a column whose values tell independent cases apart, if any.

    Raises:
        DataError: a file is not there, or a record is none of a generation.

    """
    files: list[File] = []
    rows: list[Generation] = []
    for path in paths:
        for found in _files(path):
            file = _read(found, rows, group, cluster)
            if file.sha256 in (other.sha256 for other in files):
                raise DataError("the same file twice for one model", where=f"{model}={path}", todo="name it once")
            files.append(file)
    return Generations(model, tuple(files), rows)


def _files(path: Path) -> list[LocalFile]:
    if not path.exists():
        raise DataError(
            "no such file or directory",
            where=str(path),
            expected="a file with generations of a model",
            todo="check the path in MODEL=PATH",
        )
    return local_files(path)


def _read(file: LocalFile, rows: list[Generation], group: str | None, cluster: str | None) -> File:
    with file.path.open("rb") as raw:
        digest = hashlib.file_digest(raw, "sha256").hexdigest()
    before = len(rows)
    is_paper = False
    wanted = (*COLUMNS, *(name for name in (group, cluster) if name))
    for line, record in records(_as_it_is(file), wanted):
        where = f"{file}, line {line}"
        if len(rows) == before:
            _check_columns(record, columns_at(file, line))
            is_paper = paper.is_of_paper(record)
        rows.append(_of_paper(record, file.name, where) if is_paper else _generation(record, where, group, cluster))
    if len(rows) == before:
        raise DataError("no record in the file", where=str(file), expected="one for each generation")
    layout: Literal["records", "paper"] = "paper" if is_paper else "records"
    return File(Path(file.name).name, digest, file.path.stat().st_size, len(rows) - before, layout)


def _as_it_is(file: LocalFile) -> LocalFile:
    """Return a file under a name that says what is in it: the paper's `.jsonl` files hold one JSON array."""
    if not file.name.endswith((".jsonl", ".ndjson")):
        return file
    with file.path.open("rb") as raw:
        start = raw.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()
    return LocalFile(f"{file.name}.json", file.path) if start.startswith(b"[") else file


def _check_columns(record: Mapping[str, Any], where: str) -> None:
    missing = [] if "response" in record else ["response"]
    if "prompt" not in record and "id" not in record:
        missing.append("prompt (or id)")
    if missing:
        raise DataError(
            f"a record without {', '.join(missing)}",
            where=where,
            expected=f"columns {', '.join(COLUMNS)}; response, and id or prompt, must be there",
            found=", ".join(map(str, record)) or "an empty record",
            todo="rename the columns, or name the file that has them",
        )


def _of_paper(record: Mapping[str, Any], name: str, where: str) -> Generation:
    try:
        found = paper.parse(record)
    except ValueError as error:
        raise DataError(
            "a record that is not of the layout of those before it",
            where=where,
            expected="a prompt of lines 'Prompt:', 'Persona:' (may be left out) and 'Response:'",
            found=str(error),
        ) from error
    return Generation(found.response, found.prompt, None, paper.side_of(name), found.persona, found.finish, None, where)


def _generation(record: Mapping[str, Any], where: str, group: str | None, cluster: str | None) -> Generation:
    side = _text(record, "side", where) or None
    if side not in ("chosen", "rejected", None):
        raise DataError("a side that is none", where=where, expected="chosen, rejected or nothing", found=side[:60])
    persona = (_text(record, "persona", where) or "").strip() or None
    prompt = _messages(record.get("prompt"), where)
    ended = _text(record, "finish", where) or _text(record, "finish_reason", where)
    number, label = (record.get(name) if name else None for name in (group, cluster))
    return Generation(
        response=_response(record.get("response"), where),
        prompt=without_persona(prompt, persona),
        id=_name(record.get("id")),
        side=side,  # type: ignore[arg-type]  # checked above
        persona=persona,
        finish=None if not ended else "length" if ended.strip().lower() in _CUT_OFF else "stop",
        group=None if number is None else clean(str(number)),
        cluster=None if label is None else clean(str(label)),
        where=where,
        kind=_text(record, "persona_kind", where),
    )


def _name(value: object) -> str | None:
    """Return an id as text: CSV files have numbers as text, Parquet files as numbers."""
    return None if value is None or value == "" else clean(str(value))


def _text(record: Mapping[str, Any], name: str, where: str) -> str | None:
    value = record.get(name)
    if value is None or isinstance(value, str):
        return clean(value) if value else None
    raise DataError(f"column {name!r} holds no text", where=where, expected="text", found=repr(value)[:80])


def _response(value: object, where: str) -> str:
    """Return what was said; nothing is an empty response."""
    if value is None:
        return ""
    if isinstance(value, str):
        return clean(value).strip()
    messages = _messages(value, where)
    return messages[-1].content.strip() if messages else ""


def _messages(value: object, where: str) -> tuple[Message, ...]:
    """Return a conversation: a list of messages, also as JSON text as in CSV files; other text is the user's turn."""
    if isinstance(value, str):
        value = _as_list(value)
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        return (Message("user", clean(value).strip()),)
    turns = value if isinstance(value, list) else []
    if not turns or not all(_is_turn(turn) for turn in turns):
        raise DataError(
            "a conversation that is none",
            where=where,
            expected="text, or a list of {role, content} with the roles system, user and assistant",
            found=repr(value)[:80],
        )
    return tuple(Message(turn["role"], clean(turn["content"])) for turn in turns)


def _as_list(text: str) -> object:
    if not text.lstrip().startswith("[{"):
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text  # text that begins like one
    return value if isinstance(value, list) and value and all(_is_turn(turn) for turn in value) else text


def _is_turn(turn: object) -> bool:
    return isinstance(turn, Mapping) and turn.get("role") in _ROLES and isinstance(turn.get("content"), str)


def without_persona(prompt: tuple[Message, ...], persona: str | None) -> tuple[Message, ...]:
    r"""Return a prompt without the persona: as `whoseboat` puts it into the system message, or as a user would say it.

    >>> told = (Message("system", "Be kind.\n\nThe user is old."), Message("user", "Hi. I am old."))
    >>> [message.content for message in without_persona(told, "The user is old.")]
    ['Be kind.', 'Hi.']
    """
    if not persona or not prompt:
        return prompt
    found = (replace(message, content=_without(message, persona)) for message in prompt)
    return tuple(message for message in found if message.content or message.role != "system")


def _without(message: Message, persona: str) -> str:
    """Return what a message says without the persona at its end or beginning; a turn of a user keeps some text."""
    text = message.content.strip()
    if message.role == "assistant":
        return message.content
    for form in _forms(persona, text):
        before, after = text.removesuffix(form), text.removeprefix(form)
        if len(before) < len(text) and (before[-1:].isspace() or (not before and message.role == "system")):
            return before.rstrip()
        if len(after) < len(text) and after[:1].isspace():
            return after.lstrip()
    return message.content


def _forms(persona: str, text: str) -> Iterator[str]:
    """Yield a persona as it may stand in a text: as it is, and in the first person where the text has one."""
    yield persona
    if _FIRST_PERSON.search(text):
        from whoseboat.rewriting import first_person

        yield paper.first_person(persona)
        yield first_person(persona)


def clean(text: str) -> str:
    """Return a text that any file can store."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


Known = Mapping[str, tuple[tuple[Message, ...], str]]


def resolved(rows: Iterable[Generation], known: Callable[[], Known], prompts: Iterable[str]) -> list[Generation]:
    """Return generations with their personas, where these stand in the prompt as a sentence of the user's.

    Args:
        rows: generations.
        known: makes the table of prompts with such a sentence, by `key_of`, to the prompt without it and the persona;
            made only where it is needed.
        prompts: what is known to be a prompt without any, by `key_of`.

    """
    plain, table = frozenset(prompts), None
    found = []
    for row in rows:
        if row.persona is None and row.prompt and row.text not in plain:
            table = known() if table is None else table
            told = table.get(row.text) or paper.guessed(row.prompt)
            row = replace(row, prompt=told[0], persona=told[1]) if told else row
        found.append(row)
    return found
