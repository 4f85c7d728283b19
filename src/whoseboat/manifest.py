"""`manifest.json`: what a folder of ours is, how it came about, which files belong to it, and its releases."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from whoseboat.errors import DataError
from whoseboat.sources import Provenance
from whoseboat.versions import Release

FILE = "manifest.json"
# What checks write into a dataset folder.
CHECKS_TABLE, CHECKS = "checks.parquet", "checks.json"


@dataclass(frozen=True)
class Selection:
    """Which of the source's pairs were wanted."""

    limit: int | None = None
    head: bool = False
    seed: int = 0
    max_characters: int = 32_000
    include_unsafe: bool = False
    exclude: tuple[str, ...] = ()
    drop_flagged: bool = False


@dataclass(frozen=True, slots=True)
class SplitSize:
    """One split of one config: rows, bytes in Arrow memory, bytes on disk."""

    rows: int
    memory_bytes: int
    disk_bytes: int


@dataclass(frozen=True)
class Manifest:
    """Everything that is to be known of a dataset folder. Dates, seconds and cost do not make two datasets differ.

    `lengths` is as `whoseboat.lengths.Lengths.as_json` has it; `checks` are figures on the personas (`name`, `side`,
    `value`, `low`, `high`, `n`, `judge`, `note`). What only a release has: `version`, `repo`, `licence`, `releases`
    (the newest first), and `taken_down`, the ids of rows that were removed and do not come back.
    """

    name: str
    schema_version: str
    code_version: str
    source: Provenance
    selection: Selection
    engine: str
    uses_language_model: bool | None
    engine_details: Mapping[str, Any]
    rows: Mapping[str, Mapping[str, int]]  # by config, then split
    read: int
    dropped: Mapping[str, int]  # by reason
    languages: Mapping[str, int]  # rows of `pairs` by language, "unknown" where the source does not say
    kept_from_tailoring: int  # rows of `pairs` that the safety gate keeps out of `tailoring`
    data_digest: str
    built_at: str
    seconds: float
    tokens: Mapping[str, int] = field(default_factory=lambda: {"prompt": 0, "completion": 0})
    cost: float | None = None  # dollars; None where nothing was paid or no price is known
    requests: Mapping[str, int] = field(default_factory=dict)  # to a language model: answered, reused, failed, ...
    sizes: Mapping[str, Mapping[str, SplitSize]] = field(default_factory=dict)  # by config, then split that has rows
    lengths: Mapping[str, Any] = field(default_factory=dict)
    filled: Mapping[str, int] = field(
        default_factory=dict
    )  # rows of `pairs` with a value, by column that may have none
    source_splits: Mapping[str, int] = field(default_factory=dict)  # rows of `pairs` by the source's split or part
    redacted: Mapping[str, int] = field(default_factory=dict)  # texts like keys and tokens taken out, by kind
    checks: tuple[Mapping[str, Any], ...] = ()
    kind: str = "dataset"
    version: str | None = None
    repo: str | None = None
    licence: Mapping[str, Any] | None = None
    releases: tuple[Release, ...] = ()
    taken_down: tuple[str, ...] = ()
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, stated: Mapping[str, Any], where: str = FILE) -> Manifest:
        """Return the manifest of a dataset folder from what its file states; what is not known here is left out.

        Raises:
            DataError: it is not that of a dataset, or lacks what one has.

        """
        if stated.get("kind", "dataset") != "dataset":
            raise DataError(
                "not the manifest of a dataset",
                where=where,
                expected="a dataset folder, as `whoseboat build` makes them",
                found=str(stated["kind"]),
                todo="name the folder or repo of a dataset",
            )
        try:
            known = {item.name: stated[item.name] for item in fields(cls) if item.name in stated}
            about = stated["source"]
            source = {item.name: about[item.name] for item in fields(Provenance) if item.name in about}
            source["languages"] = tuple(source.get("languages", ()))
            sizes = stated.get("sizes", {}).items()
            known |= {
                "source": Provenance(**source),
                "selection": Selection(**stated["selection"] | {"exclude": tuple(stated["selection"]["exclude"])}),
                "sizes": {
                    config: {split: SplitSize(**size) for split, size in splits.items()} for config, splits in sizes
                },
                "checks": tuple(stated.get("checks", ())),
                "releases": tuple(map(Release.of, stated.get("releases", ()))),
                "taken_down": tuple(stated.get("taken_down", ())),
            }
            return cls(**known)
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(
                "the manifest lacks what that of a dataset has", where=where, found=f"{type(error).__name__}: {error}"
            ) from error

    def to_json(self) -> str:
        """Return the text of the file."""
        return as_text(self)


def as_text(manifest: Any) -> str:  # noqa: ANN401 - any dataclass
    """Return the text of a manifest's file; halves of surrogate pairs, as in names that are no UTF-8, are escaped."""
    text = json.dumps(asdict(manifest), indent=2, ensure_ascii=False) + "\n"
    return re.sub("[\ud800-\udfff]", lambda half: f"\\u{ord(half.group()):04x}", text)


def describe_files(directory: Path) -> dict[str, dict[str, Any]]:
    """Return size and SHA-256 of every file below a directory but the manifest itself, by its path there."""
    described = {}
    for path in sorted(entry for entry in directory.rglob("*") if entry.is_file() and entry != directory / FILE):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        described[path.relative_to(directory).as_posix()] = {"bytes": path.stat().st_size, "sha256": digest}
    return described


def read_manifest(directory: Path) -> dict[str, Any]:
    """Return the manifest of a folder of ours as plain data.

    Raises:
        DataError: there is none, or it is not one of ours.

    """
    path = directory / FILE
    try:
        content = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise DataError(
            "not a folder of ours",
            where=str(directory),
            expected=f"a file {FILE}",
            found="" if directory.exists() else "nothing at this path",
            todo="check the path, or make the folder first: whoseboat build, whoseboat train",
        ) from error
    return parsed(content, str(path))


def parsed(content: bytes, where: str) -> dict[str, Any]:
    """Return the manifest of ours that a file holds as plain data.

    Raises:
        DataError: it is none.

    """
    try:
        manifest = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(
            "the manifest is no JSON",
            where=where,
            found=str(error),
            todo="fetch the folder again, or make it anew: a manifest is not to be written by hand",
        ) from error
    if not _is_ours(manifest):
        raise DataError(
            "the manifest is not one of ours",
            where=where,
            expected="an object with schema_version, code_version, and files by name with their sha256",
        )
    ours: dict[str, Any] = manifest
    return ours


def _is_ours(manifest: object) -> bool:
    """Say whether this is a manifest of ours; browser extensions and others have a `manifest.json` as well."""
    if not isinstance(manifest, dict):
        return False
    versions, files = [manifest.get(key) for key in ("schema_version", "code_version")], manifest.get("files")
    return (
        all(isinstance(version, str) for version in versions)
        and isinstance(files, dict)
        and all(isinstance(about, dict) and "sha256" in about for about in files.values())
    )
