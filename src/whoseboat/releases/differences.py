"""How two releases, or folders, differ: rows, personas, schema, files, card."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from whoseboat import cards
from whoseboat.contents import Contents, Owned, card_of, found_at, manifest_of
from whoseboat.errors import DataError
from whoseboat.releases.artefacts import OF_RELEASES, card_as_released
from whoseboat.releases.rows import RowChanges, row_changes, schema_changes

_CARD_LINES = 60
_SHOWN = 100


@dataclass(frozen=True)
class Difference:
    """What differs between two places; empty where nothing does.

    `rows` are of datasets only. `figures` are numbers in the manifests that are not the same, by name; `files` are the
    names of other files that were added, removed or changed; `card` is a unified diff.
    """

    before: str
    after: str
    versions: tuple[str | None, str | None] = (None, None)
    rows: RowChanges = field(default_factory=RowChanges)
    schema: tuple[str, ...] = ()
    figures: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    card: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Say whether anything differs."""
        return bool(self.rows or self.schema or self.figures or self.files or self.card)

    def in_words(self) -> Iterator[str]:
        """Say in lines what differs; text from data is as it is there."""
        yield from self.schema
        yield from self.rows.in_words()
        for kind, ids in self.rows.some.items():
            yield f"  {kind.replace('_', ' ')}, for example: {', '.join(ids)}"
        for name, (old, new) in self.figures.items():
            yield f"{name}: {_in_words(old)} -> {_in_words(new)}"
        for name, how in self.files.items():
            yield f"{name} {how}"
        if self.card:
            changed = sum(line[:1] in "+-" and not line.startswith(("+++", "---")) for line in self.card)
            yield f"the card, {changed} lines:"
            yield from self.card[:_CARD_LINES]
            if len(self.card) > _CARD_LINES:
                yield f"  ... and {len(self.card) - _CARD_LINES} lines more"


def diff(before: str, after: str) -> Difference:
    """Compare two releases or folders: each a folder, or `ORG/NAME[@REVISION]`.

    Raises:
        UsageError: one is neither.
        DataError: one is not of ours, or they are not of one kind.
        HubError: one cannot be read.

    """
    return difference(found_at(before), found_at(after))


def difference(before: Contents, after: Contents) -> Difference:
    """Compare what two places hold.

    Raises:
        DataError: one is not of ours, or they are not of one kind.
        HubError: one cannot be read.

    """
    old, new = _manifest(before), _manifest(after)
    kinds = old.get("kind", "dataset"), new.get("kind", "dataset")
    if kinds[0] != kinds[1]:
        raise DataError(
            "two things of different kinds cannot be compared",
            where=f"{before.where}, {after.where}",
            expected="two datasets, two models or two metrics",
            found=f"{kinds[0]} and {kinds[1]}",
        )
    is_dataset = kinds[0] == "dataset"
    old_rows, new_rows = Owned(before, old), Owned(after, new)
    return Difference(
        before.where,
        after.where,
        versions=(old.get("version"), new.get("version")),
        rows=row_changes(old_rows, new_rows) if is_dataset else RowChanges(),
        schema=tuple(one.words for one in schema_changes(old_rows, new_rows)) if is_dataset else (),
        figures=dict(_figures(old, new)),
        files=dict(_files(_comparable(old, new), _comparable(new, old), with_rows=not is_dataset)),
        card=card_diff(_card(before, old, new), _card(after, new, old), before.where, after.where),
    )


def _comparable(stated: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the files of one of two places without those that only releases have, where the other is none."""
    both = bool(stated.get("version")) == bool(other.get("version"))
    return {name: about for name, about in stated["files"].items() if both or name not in OF_RELEASES}


def _card(contents: Contents, stated: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Return the card of one of two places; that of a folder, beside a release, as it would be of that release.

    Raises:
        DataError: a manifest lacks what it should have.
        HubError: it cannot be read.

    """
    card = card_of(contents) or ""
    if stated.get("version") or not other.get("version") or stated.get("kind", "dataset") == "space":
        return card
    return cards.merge(card_as_released(contents, stated, other), None, card)


def card_diff(old: str, new: str, before: str, after: str) -> tuple[str, ...]:
    """Return the unified diff of two cards, without line ends, and without what follows from the files in the YAML."""
    names = f"{before} README.md", f"{after} README.md"
    return tuple(difflib.unified_diff(_worth_telling(old), _worth_telling(new), *names, n=1, lineterm=""))


def _worth_telling(card: str) -> list[str]:
    """Return the lines of a card but those of `configs` and `dataset_info` in its YAML."""
    lines = card.splitlines()
    end = lines.index("---", 1) if lines[:1] == ["---"] and "---" in lines[1:] else 0
    told, skipped = [], False
    for line in lines[:end]:
        skipped = line.startswith(("configs:", "dataset_info:")) or (skipped and line.startswith((" ", "-")))
        told += [] if skipped else [line]
    return told + lines[end:]


def _manifest(contents: Contents) -> Mapping[str, Any]:
    found = manifest_of(contents)
    if found is None:
        raise DataError("not a folder or release of ours", where=contents.where, expected="a file manifest.json")
    return found


def _figures(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Yield the facts in which two manifests differ, and that are worth telling: not dates, lengths or hashes."""
    names = ("schema_version", "engine", "engine_details", "base_model", "base_revision", "method", "template_text")
    for name in names:
        said = name.replace("_", " ")
        before, after = _flat(old.get(name), said), _flat(new.get(name), said)
        for key in sorted(before.keys() | after.keys()):
            if before.get(key) != after.get(key):
                yield key, (before.get(key), after.get(key))
    for name in ("rows", "dropped", "redacted", "source"):
        before, after = _flat(old.get(name), name), _flat(new.get(name), name)
        nothing = None if name == "source" else 0
        for key in sorted(before.keys() | after.keys()):
            if before.get(key, nothing) != after.get(key, nothing):
                yield key, (before.get(key, nothing), after.get(key, nothing))


def _flat(value: object, name: str) -> dict[str, Any]:
    """Return what is in an object of a manifest by the names on the way there: `rows pairs train`."""
    if not isinstance(value, dict):
        return {} if value is None else {name: value}
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found |= _flat(inner, f"{name} {key}")
    return found


def _in_words(value: object) -> str:
    """Return a value of a manifest for a reader, not too long."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else "none" if value is None else str(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _files(
    old: Mapping[str, Mapping[str, Any]], new: Mapping[str, Mapping[str, Any]], *, with_rows: bool
) -> Iterator[tuple[str, str]]:
    for name in sorted(old.keys() | new.keys()):
        if name == "README.md" or (name.endswith(".parquet") and not with_rows):
            continue
        before, after = old.get(name, {}).get("sha256"), new.get(name, {}).get("sha256")
        if before != after:
            yield name, "added" if before is None else "removed" if after is None else "changed"
