"""The personas a model is tried with, pair by pair, and where each comes from.

| kind | whose persona | per pair |
|---|---|---|
| `true` | the pair's own, inferred from it | one for each side |
| `retrieved` | those of the training pair with the most similar prompt | one for each side |
| `shuffled` | another pair's of the same set and side: the control | one for each side |
| `system` | one sentence for the whole set, ours or yours | one |
| `human` | what a person wrote, from a table | as many as were written |
| `none` | nobody's | one |
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from whoseboat.errors import DataError, UsageError, unknown
from whoseboat.files import LocalFile, records
from whoseboat.records import Domain, Message, Side
from whoseboat.tailoring.refusals import Refusals
from whoseboat.tailoring.sets import TailoringPair
from whoseboat.tailoring.templates import as_one_text

Kind = Literal["true", "retrieved", "shuffled", "system", "human", "none"]
SIDES: tuple[Side, ...] = ("chosen", "rejected")

# One neutral sentence for each kind of conversation: what anybody who asks such things would like.
SYSTEM_PERSONAS: Mapping[Domain, str] = {
    "advice": "The user has an everyday question and would like an answer that is clear, correct and safe to follow.",
    "dialogue": "The user is talking with an assistant and would like a reply that helps with what was asked.",
    "forum": "The user has put a question to a forum and would like an answer from somebody who knows the matter.",
    "mnemonic": "The user is learning vocabulary and would like a mnemonic that makes a word easy to remember.",
}


@dataclass(frozen=True, slots=True)
class Given:
    """A pair with the persona a model is given for it.

    `side` is the side the persona stands for; None where it stands for none. `origin` says where it comes from: the id
    of the pair it was inferred from, file and line of a table, or what the sentence is for.
    """

    pair: TailoringPair
    kind: Kind
    side: Side | None
    persona: str | None
    origin: str


def give(
    pairs: Iterable[TailoringPair],
    kind: Kind,
    *,
    sides: Sequence[Side] = SIDES,
    system: str | None = None,
    human: HumanPersonas | None = None,
    seed: int = 0,
    refusals: Refusals | None = None,
) -> Iterator[Given]:
    """Yield pairs with the personas of a kind; those that there is none for are counted in `refusals`.

    All but `shuffled`, which holds all pairs, take them one by one.

    Args:
        pairs: the pairs a model is tried with.
        kind: which personas.
        sides: which sides, for the kinds that have them.
        system: the sentence for `system`, instead of ours for the kind of conversation.
        human: the table for `human`.
        seed: for `shuffled`.
        refusals: where to count.

    Raises:
        UsageError: no such kind or side, or a kind without what it needs.
        DataError: no pair has a persona of the kind.

    """
    if kind not in get_args(Kind):
        raise unknown("kind of personas", str(kind), get_args(Kind))
    if not sides or any(side not in SIDES for side in sides):
        raise UsageError("no side of a pair", expected=" or ".join(SIDES), found=repr(list(sides)))
    if (kind == "human") != (human is not None):
        raise UsageError("a table of personas goes with the kind human", expected="both, or neither")
    if system is not None and (kind != "system" or not system.strip()):
        raise UsageError("a sentence for all goes with the kind system, and is not empty", found=repr(system))
    refused = Refusals() if refusals is None else refusals
    found: Iterator[Given]
    if kind == "shuffled":
        found = _shuffled(pairs, sides, seed, refused)
    elif human is not None:
        found = _human(pairs, human, refused)
    else:
        found = (one for pair in pairs for one in _of_pair(pair, kind, sides, system, refused))
    return _some(found, kind, refused)


def _some(found: Iterator[Given], kind: Kind, refused: Refusals) -> Iterator[Given]:
    is_empty = True
    for one in found:
        is_empty = False
        yield one
    if is_empty:
        todo = {
            "retrieved": "add the config retrieved to the set (whoseboat.tailoring.retrieval.add_retrieved)",
            "shuffled": "take more pairs: a larger set, or another split (--split)",
            "human": "check that the table's ids or prompts are those of the set",
        }
        raise DataError(
            f"no pair has a persona of the kind {kind!r}",
            found=refused.in_words() or "no pair at all",
            todo=todo.get(kind, ""),
        )


def _of_pair(
    pair: TailoringPair, kind: Kind, sides: Sequence[Side], system: str | None, refused: Refusals
) -> Iterator[Given]:
    if kind == "none":
        yield Given(pair, kind, None, None, "")
    elif kind == "system":
        origin = "given for all" if system else f"for all of the kind {pair.family}"
        yield Given(pair, kind, None, system or SYSTEM_PERSONAS[pair.family], origin)
    elif kind == "true":
        yield from (Given(pair, kind, side, pair.persona(side), pair.id) for side in sides)
    elif pair.retrieved is None:
        refused.add("no_retrieved", f"id {pair.id}")
    else:
        personas = {"chosen": pair.retrieved.chosen_persona, "rejected": pair.retrieved.rejected_persona}
        yield from (Given(pair, kind, side, personas[side], pair.retrieved.donor_id) for side in sides)


# ---- shuffled


def _shuffled(pairs: Iterable[TailoringPair], sides: Sequence[Side], seed: int, refused: Refusals) -> Iterator[Given]:
    held = list(pairs)
    donors = {pair.id: donor for pair, donor in shuffled(held, seed)}
    for pair in held:
        donor = donors.get(pair.id)
        if donor is None:
            refused.add("no_donor", f"id {pair.id}")
        else:
            yield from (Given(pair, "shuffled", side, donor.persona(side), donor.id) for side in sides)


def shuffled(pairs: Iterable[TailoringPair], seed: int = 0) -> list[tuple[TailoringPair, TailoringPair]]:
    """Return each pair with the one whose personas it gets: of the same set, never of the same conversation.

    Within a set every donor gives once. Which one depends on the seed, not on the order of the pairs. Where more than
    half of a set's pairs are of one conversation, as many of them as cannot have a donor are left out.
    """
    sets: dict[str, list[TailoringPair]] = {}
    for pair in pairs:
        sets.setdefault(pair.source, []).append(pair)
    return [both for source in sorted(sets) for both in _within(sets[source], seed)]


def _within(pairs: list[TailoringPair], seed: int) -> list[tuple[TailoringPair, TailoringPair]]:
    """Shuffle one set: conversations side by side in a random order, then everyone gets from as far on as the largest.

    So no step ends in the conversation it began in, as long as the largest is at most half of all.
    """
    of_root: dict[str, list[TailoringPair]] = {}
    for pair in sorted(pairs, key=lambda pair: _draw(seed, pair.id)):
        of_root.setdefault(pair.root, []).append(pair)
    largest = max(of_root, key=lambda root: (len(of_root[root]), root))
    others = len(pairs) - len(of_root[largest])
    of_root[largest] = of_root[largest][:others]
    step = max(map(len, of_root.values()))
    order = [pair for root in sorted(of_root, key=lambda root: _draw(seed, root)) for pair in of_root[root]]
    return [(pair, order[(at + step) % len(order)]) for at, pair in enumerate(order)]


def _draw(seed: int, text: str) -> bytes:
    return hashlib.blake2b(f"shuffled\0{seed}\0{text}".encode(errors="replace"), digest_size=16).digest()


# ---- human


@dataclass(frozen=True)
class HumanPersonas:
    """Personas that people wrote, by the id of the pair or by the prompt; each with file and line."""

    by_id: Mapping[str, list[tuple[str, str]]]
    by_prompt: Mapping[str, list[tuple[str, str]]]

    def of(self, pair: TailoringPair) -> list[tuple[str, str]]:
        """Return the personas for a pair, each with where it stands."""
        found = [*self.by_id.get(pair.id, ())]
        for key in dict.fromkeys((_squeezed(as_one_text(pair.prompt)), _squeezed(pair.prompt[-1].content))):
            found += self.by_prompt.get(key, ())
        return list(dict.fromkeys(found))


def read_human(path: Path) -> HumanPersonas:
    """Read personas that people wrote, all into memory.

    Args:
        path: a CSV or JSONL file with the columns `persona`, and `id` (of a pair) or `prompt`: its last turn, or all of
            it as `whoseboat.to_text` makes it, whatever its white space; or a list of messages.

    Raises:
        DataError: the file is not there or damaged, a column is missing, or a row has no persona or nothing that says
            which pair it is for.

    """
    if not path.is_file():
        raise DataError("no such file", where=str(path), expected="a CSV or JSONL file with personas")
    by_id: dict[str, list[tuple[str, str]]] = {}
    by_prompt: dict[str, list[tuple[str, str]]] = {}
    file = LocalFile(path.name, path)
    for line, record in records(file, ("id", "prompt", "persona")):
        where = f"{file}, line {line}"
        persona = _text(record, "persona", where)
        if not persona:
            raise DataError(
                "a row without a persona",
                where=where,
                expected="columns persona, and id or prompt",
                found=", ".join(map(str, record)) or "no column at all",
            )
        entry = (persona, f"{path.name}, line {line}")
        id_, prompt = _text(record, "id", where), _prompt(record.get("prompt"), where)
        if id_:
            by_id.setdefault(id_, []).append(entry)
        elif prompt:
            by_prompt.setdefault(prompt, []).append(entry)
        else:
            raise DataError(
                "a row that does not say which pair it is for",
                where=where,
                expected="the id of a pair, or its prompt",
                found=", ".join(map(str, record)),
            )
    if not by_id and not by_prompt:
        raise DataError("no row in the file", where=str(path), expected="columns persona, and id or prompt")
    return HumanPersonas(by_id, by_prompt)


def _human(pairs: Iterable[TailoringPair], human: HumanPersonas, refused: Refusals) -> Iterator[Given]:
    for pair in pairs:
        written = human.of(pair)
        if not written:
            refused.add("no_human_persona", f"id {pair.id}")
        yield from (Given(pair, "human", None, persona, origin) for persona, origin in written)


def _text(record: Mapping[str, Any], name: str, where: str) -> str:
    value = record.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(f"column {name!r} holds no text", where=where, expected="text", found=repr(value)[:80])
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"column {name!r} holds half a character", where=where, found=repr(value)[:80]) from error
    return value.strip()


def _prompt(value: object, where: str) -> str:
    """Return a prompt as it is compared."""
    if value is None or isinstance(value, str):
        return _squeezed(value or "")
    try:
        turns = [Message(turn["role"], str(turn["content"])) for turn in value]  # type: ignore[attr-defined]  # tried
    except (TypeError, KeyError) as error:
        raise DataError(
            "a prompt that is none",
            where=where,
            expected="text, or a list of {role, content}",
            found=repr(value)[:80],
        ) from error
    return _squeezed(as_one_text(turns))


def _squeezed(text: str) -> str:
    return " ".join(text.split())
