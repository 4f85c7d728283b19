"""How a published preference set is read: its files, on the Hub or on disk, record by record, to pairs by its rule."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

from whoseboat.compact import CompactMap
from whoseboat.errors import DataError, OutputError
from whoseboat.files import DataFile, Record, columns_at, records
from whoseboat.records import Drop, EmptyPromptError, Message, Origin, Pair, Reason, language_code
from whoseboat.sources import (
    UNKNOWN,
    ByFile,
    Option,
    Provenance,
    Reading,
    Request,
    Source,
    chosen_options,
    find_files,
    hold_out_test,
    of_names,
    part_names,
)

# The records of a set with where each stood, and the options; out come pairs and drops, at least one for each record.
Records = Iterator[tuple[Record, Origin]]
ToPairs = Callable[[Records, Mapping[str, str]], Iterator[Pair | Drop]]

_SHORTEST_KEY = 32
CAP = Option("cap", "the most pairs of one prompt: the first so many, in the order of the files; 0: all", "8")


def read_published(
    source: Source,
    request: Request,
    to_pairs: ToPairs,
    required: Iterable[str],
    *,
    optional: Iterable[str] = (),
    is_wanted: Callable[[DataFile, Mapping[str, str]], bool] = lambda file, options: True,
    part_of: Callable[[DataFile], str] | None = None,
) -> Reading:
    """Open a published set whose rule is in `to_pairs`.

    Args:
        source: what is known of the set.
        request: what is asked of it.
        to_pairs: its rule.
        required: columns every record has; where one is missing, the set has changed, and nothing is read.
        optional: further columns that are read where they are there.
        is_wanted: which of the files are of the set, with the options given.
        part_of: how the part a file holds is called in `source_split`; by default its name without suffixes.

    Raises:
        DataError: there is no file of the set, or a file is not what it should be.
        HubError: the Hub did not give what was asked for.

    """
    options = chosen_options(source.options, request)
    is_the_set = request.repo in (None, source.repo)
    found, state = find_files(request, source.repo, source.revision if is_the_set else None)
    of_set = [file for file in found if is_wanted(file, options)]
    files, held_out = hold_out_test(of_set, request.split)
    if not files:
        split = f" of split {request.split!r}" if request.split and of_set else ""
        raise DataError(
            f"no file{split} of source {source.name!r}",
            where=str(request.data_dir or (state and state.repo)),
            expected=source.files or "the files of the set as they are published",
            found=", ".join(file.name for file in found[:5]),
            todo="check the path, the split and the options of the source",
        )
    stated = state.license if state is not None else None
    provenance = Provenance(
        source=source.name,
        name=source.name,
        title=source.title,
        pair_rule=source.about,
        repo=state.repo if state else source.repo or None,
        revision=state.commit if state else None,
        files=tuple(file.name for file in files),
        held_out=tuple(file.name for file in held_out),
        license=request.license or stated or (source.license if is_the_set else UNKNOWN),
        license_known_from="user" if request.license else _known_from(source, stated, is_the_set),
        languages=source.languages,
        split=request.split,
        options=options,
        citation=source.citation,
        safety_rule=source.safety,
        is_test_set=source.only_test,
        mixture_of=source.mixture_of,
        personas_about=source.personas_about,
        reasons_license=source.reasons_license,
        reasons_about=source.reasons_about,
    )
    parts = part_names(files, part_of)

    def opened(some: Iterable[DataFile]) -> Records:
        return _records(some, list(required), list(optional), parts, source)

    def read(names: Collection[str]) -> Iterator[Pair | Drop]:
        return to_pairs(opened(of_names(files, names)), {**options, "cap": "0"})

    def across(pairs: Iterable[Pair | Drop]) -> Iterator[Pair | Drop]:
        return capped(pairs, options, by_user=source.cap_by_user) if "cap" in options else iter(pairs)

    by_file = ByFile(tuple(file.name for file in files), read, across) if source.by_record else None
    return Reading(provenance, to_pairs(opened(files), options), by_file)


def capped(pairs: Iterable[Pair | Drop], options: Mapping[str, str], *, by_user: bool = False) -> Iterator[Pair | Drop]:
    """Drop the pairs of a prompt, all its turns, beyond its cap; 16 bytes of memory a prompt and a pair.

    With `by_user` it is a cap for each user of a prompt: where many people judge one prompt, all of them count. Pairs
    that will be dropped anyway, as duplicates or since they say nothing, do not use the cap up; unsafe ones have one
    of their own.

    Raises:
        DataError: the option `cap` is no number.

    """
    if not options["cap"].isdecimal():
        raise DataError("option 'cap' is no number", expected="0 or more", found=options["cap"])
    cap = int(options["cap"])
    counts, seen = CompactMap(), CompactMap()
    for item in pairs:
        if isinstance(item, Drop) or not cap or _says_nothing(item) or int(item.id[:16], 16) in seen:
            yield item
            continue
        turns = "\0".join(message.content for message in item.prompt)
        counted = f"{turns}\0{item.user_id if by_user else ''}\0{item.safety == 'unsafe'}"
        key = int.from_bytes(hashlib.blake2b(counted.encode(), digest_size=8).digest())
        count = counts.get(key) or 0
        if count < cap:
            counts.put(key, count + 1, instead=True)
            seen.put(int(item.id[:16], 16), 0)
            yield item
        else:
            whose = " and user" if by_user else ""
            yield Drop(item.origin, "read", "over_cap", f"more than {cap} pairs of one prompt{whose}", item.id)


def _says_nothing(pair: Pair) -> bool:
    chosen, rejected = pair.chosen.strip(), pair.rejected.strip()
    return not chosen or not rejected or chosen == rejected


def conversation(turns: object) -> list[Message]:
    """Return the messages of a list of turns `{role, content}`, texts stripped, turns of one speaker in a row joined.

    Raises:
        ValueError: it is no such list.

    """
    if not isinstance(turns, list) or not turns:
        raise ValueError("expected a list of turns {role, content}")
    messages: list[Message] = []
    for turn in turns:
        role, text = (turn.get("role"), turn.get("content")) if isinstance(turn, dict) else (None, None)
        if role not in ("system", "user", "assistant") or not isinstance(text, str):
            raise ValueError("a turn whose role is not system, user or assistant, or whose content is no text")
        if messages and messages[-1].role == role:
            text = f"{messages.pop().content}\n\n{text.strip()}"
        elif messages and role == "system":
            raise ValueError("a system turn that is not the first")
        messages.append(Message(role, text.strip()))
    return messages


def refused(origin: Origin, error: ValueError) -> Drop:
    """Return the drop for a row that makes no `Pair`."""
    reason = "empty_prompt" if isinstance(error, EmptyPromptError) else "malformed"
    return Drop(origin, "read", reason, str(error))


def words(kind: Literal["choice", "self-description"], text: object, by: str | None = None) -> tuple[Reason, ...]:
    """Return a person's words as one reason; none where they are empty, no text, or hold what no file can store."""
    if not isinstance(text, str) or not text.strip():
        return ()
    try:
        text.encode()
    except UnicodeEncodeError:
        return ()
    return (Reason(kind, text.strip(), by),)


def language_of(stated: object) -> str | None:
    """Return the language of a code a row states, None where it is no such code."""
    try:
        return language_code(stated) if isinstance(stated, str) else None
    except ValueError:
        return None


class Pseudonyms:
    """Names for users that tell them apart and tell nothing else: a keyed hash.

    The key is in `WHOSEBOAT_PSEUDONYM_KEY`, else in a file of this user's, made at random when it is first needed. So a
    release built again has the same pseudonyms, and nobody without the key can try who is behind one.

    Raises:
        OutputError: the key cannot be kept.

    """

    def __init__(self, source: str) -> None:
        self._key, self._source = hashlib.blake2b(_pseudonym_key()).digest(), source

    def of(self, user: object) -> str | None:
        """Return the pseudonym of a user of this source, None where none is named."""
        if user is None or user == "":
            return None
        return hashlib.blake2b(
            f"{self._source}\0{user}".encode(errors="replace"), digest_size=8, key=self._key
        ).hexdigest()


def _pseudonym_key() -> bytes:
    given = os.environ.get("WHOSEBOAT_PSEUDONYM_KEY")
    if given:
        return os.fsencode(given)
    home = os.environ.get("XDG_CONFIG_HOME")
    path = Path(home or "~/.config") / "whoseboat" / "pseudonym.key"
    try:
        path = path.expanduser()
        key = path.read_bytes() if path.exists() else _new_key(path)
    except (OSError, RuntimeError) as error:
        raise OutputError(
            "the key of pseudonyms cannot be kept",
            where=str(path),
            found=str(error),
            todo="set WHOSEBOAT_PSEUDONYM_KEY to a secret of your own",
        ) from error
    if len(key) < _SHORTEST_KEY:
        raise OutputError(
            "the key of pseudonyms is too short to hide anybody",
            where=str(path),
            expected=f"{_SHORTEST_KEY} characters or more",
            found=str(len(key)),
            todo="remove the file, and a new one is made; pseudonyms will be others then",
        )
    return key


def _new_key(path: Path) -> bytes:
    """Make a key, whole or not at all; where another process was quicker, take its."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
        with suppress(FileExistsError):
            os.link(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path.read_bytes()


def _known_from(source: Source, stated: str | None, is_the_set: bool) -> str:
    """Return where the licence is known from: a card only if one was read just now."""
    if stated:
        return "card"
    if not is_the_set or source.license == UNKNOWN:
        return UNKNOWN
    return "source documentation" if source.license_known_from == "card" else source.license_known_from


def _records(
    files: Iterable[DataFile],
    required: list[str],
    optional: list[str],
    parts: Mapping[str, str],
    source: Source,
) -> Records:
    for file in files:
        for row, (line, record) in enumerate(records(file, [*required, *optional])):
            if row == 0:
                _check_columns(record, required, columns_at(file, line), source)
            yield record, Origin(file.name, line, parts[file.name], row)


def _check_columns(record: Record, required: list[str], where: str, source: Source) -> None:
    missing = [name for name in required if name not in record]
    if missing:
        raise DataError(
            f"the file has not the columns of source {source.name!r}: {', '.join(missing)}",
            where=where,
            expected=", ".join(required),
            found=", ".join(record) or "no column at all",
            todo="check that these are the set's files; where the set has changed, read it as source table",
        )
