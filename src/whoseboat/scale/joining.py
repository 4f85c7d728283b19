"""Parts of a set joined: the dataset folders that tasks made become one, as a build of one piece would have made it.

Rows are not read: Parquet files are put beside each other under new names, numbers are added up, and the digest of the
set is the sum of those of its parts. Rows stand in the order of the tasks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from whoseboat import cards, dataset, manifest
from whoseboat.contents import CARD, Folder, Owned
from whoseboat.errors import DataError
from whoseboat.folder import link
from whoseboat.llm.settings import Prices
from whoseboat.manifest import Manifest, SplitSize
from whoseboat.releases.rows import examples

_DROPPED = "dropped.parquet"
_ROWS_AT_ONCE = 10_000
# Numbers that are added up; of these, counts by a word are told in the order of the words.
_COUNTED = ("dropped", "languages", "source_splits", "redacted")
_ADDED = (*_COUNTED, "rows", "lengths", "filled", "tokens", "requests")
# What all parts of one set have in common.
_SHARED = ("name", "schema_version", "code_version", "source", "selection", "engine", "uses_language_model")


def join(parts: Sequence[tuple[Path, Manifest]], out: Path) -> Manifest:
    """Write the set that parts make up into an empty directory, and return its manifest.

    Args:
        parts: the folder of each task with its manifest, in the order of the tasks.
        out: where the set is written; files are linked where the disk allows it, else copied.

    Raises:
        DataError: the parts are not of one set, or there is no row in any.

    """
    _check_alike([made for _, made in parts])
    made = _added([made for _, made in parts])
    if not made.rows.get("pairs"):
        raise DataError(
            "no pair is left in any task, so there is nothing to write",
            expected="at least one preference pair",
            found=", ".join(f"{count} {reason}" for reason, count in made.dropped.items()) or "no row at all",
            todo="check that the source and its options fit the files",
        )
    shards = dict(_shards(parts))
    for name, path in shards.items():
        link(path, out / name)
    _join_dropped([folder for folder, _ in parts], out)
    for name in _texts(*parts[0]):
        link(parts[0][0] / name, out / name)
    shown = examples(Owned(Folder(out), {"files": dict.fromkeys(shards)}))
    (out / CARD).write_text(cards.dataset_card(made, shown), encoding="utf-8")
    made = replace(made, files=manifest.describe_files(out))
    (out / manifest.FILE).write_text(made.to_json(), encoding="utf-8")
    return made


def _check_alike(parts: Sequence[Manifest]) -> None:
    first = parts[0]
    for number, part in enumerate(parts):
        for name in _SHARED:
            if getattr(part, name) != getattr(first, name):
                raise DataError(
                    f"two tasks did not build the same set: {name} differs",
                    where=f"tasks 0 and {number}",
                    expected=str(getattr(first, name))[:200],
                    found=str(getattr(part, name))[:200],
                    todo="build all tasks by the same command and version, into a new folder",
                )


def _added(parts: Sequence[Manifest]) -> Manifest:
    """Return the manifest of all parts together; seconds are those of all tasks, one after the other."""
    first = parts[0]
    sums: dict[str, Any] = {name: _sum([getattr(part, name) for part in parts]) for name in _ADDED}
    sums |= {name: dict(sorted(sums[name].items())) for name in _COUNTED}
    return replace(
        first,
        **{**sums, "rows": _by_config(sums["rows"]), "sizes": _sizes(parts)},
        read=sum(part.read for part in parts),
        kept_from_tailoring=sum(part.kept_from_tailoring for part in parts),
        data_digest=f"{sum(int(part.data_digest, 16) for part in parts) % 2**256:064x}",
        built_at=max(part.built_at for part in parts),
        seconds=round(sum(part.seconds for part in parts), 3),
        cost=_cost(first, sums["tokens"]),
        files={},
    )


def _cost(part: Manifest, tokens: Mapping[str, int]) -> float | None:
    """Return the dollars of all tokens at the price that is told of the engine."""
    prices = part.engine_details.get("dollars_per_million_tokens")
    return round(Prices(**prices).cost(tokens["prompt"], tokens["completion"]), 6) if prices else None


def _sum(values: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Add up numbers that stand at the same place of nested mappings; names that are numbers come in their order."""
    names = list(dict.fromkeys(name for value in values for name in value))
    with suppress(ValueError):
        names.sort(key=float)
    found: dict[str, Any] = {}
    for name in names:
        there = [value[name] for value in values if name in value]
        found[name] = _sum(there) if isinstance(there[0], Mapping) else sum(there)
    return found


def _by_config(found: Mapping[str, Any]) -> dict[str, Any]:
    return {config: found[config] for config in dataset.CONFIGS if config in found}


def _sizes(parts: Sequence[Manifest]) -> dict[str, dict[str, SplitSize]]:
    plain = [
        {config: {split: asdict(size) for split, size in splits.items()} for config, splits in part.sizes.items()}
        for part in parts
    ]
    return {
        config: {split: SplitSize(**splits[split]) for split in dataset.SPLITS if split in splits}
        for config, splits in _by_config(_sum(plain)).items()
    }


# ---- files


def _shards(parts: Sequence[tuple[Path, Manifest]]) -> Iterator[tuple[str, Path]]:
    """Yield the Parquet files of all configs and splits, by their names in the set: numbered through all parts."""
    for config in dataset.CONFIGS:
        for split in dataset.SPLITS:
            found = [path for folder, _ in parts for path in sorted(folder.glob(f"{config}/{split}-*.parquet"))]
            for number, path in enumerate(found):
                yield f"{config}/{split}-{number:05d}-of-{len(found):05d}.parquet", path


def _join_dropped(folders: Sequence[Path], out: Path) -> None:
    """Put what was dropped into one file, a batch of rows at a time."""
    import pyarrow.parquet as pq

    schema = dataset.arrow_schema(dataset.DROPPED)
    with pq.ParquetWriter(out / _DROPPED, schema, compression="zstd", write_page_index=True) as writer:
        for folder in folders:
            with pq.ParquetFile(folder / _DROPPED) as part:
                for batch in part.iter_batches(_ROWS_AT_ONCE):
                    writer.write_batch(batch.cast(schema))


def _texts(folder: Path, made: Manifest) -> list[str]:
    """Return the names of further files of a part, such as the prompts used; they are the same in all."""
    return [name for name in made.files if name != CARD and not name.endswith(".parquet")]
