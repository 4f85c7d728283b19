"""Writes the Parquet files of a dataset folder as rows come, and keeps the figures its card and manifest tell."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import TracebackType

from whoseboat import dataset
from whoseboat.dataset import Record
from whoseboat.lengths import Lengths
from whoseboat.manifest import SplitSize
from whoseboat.records import Drop, Row
from whoseboat.shards import ShardWriter

_EXAMPLES = 20
_ONE_FILE = 1 << 62


class DatasetWriter:
    """Writes rows to `CONFIG/SPLIT-*.parquet` and drops to `dropped.parquet`; use it as a context manager.

    A config or split without any row is not written: `load_dataset` takes no empty split. Memory does not grow with the
    number of rows.
    """

    def __init__(self, directory: Path, include_unsafe: bool) -> None:
        self.languages: Counter[str] = Counter()
        self.digest = 0
        self.kept_from_tailoring = 0
        self.lengths = Lengths()
        self.filled = dict.fromkeys(("language", "strength", "user_id"), 0)
        self.source_splits: Counter[str] = Counter()
        self._directory, self._include_unsafe = directory, include_unsafe
        self._examples: list[Record] = []
        self._shards = {
            (config, split): ShardWriter(directory / config, split, columns)
            for config, columns in dataset.CONFIGS.items()
            for split in dataset.SPLITS
        }
        self._dropped = ShardWriter(directory, "dropped", dataset.DROPPED, shard_bytes=_ONE_FILE)

    def add(self, row: Row) -> None:
        """Add a row to its split: one record of `pairs`, two of `tailoring` unless the safety gate keeps it out."""
        split = dataset.split_of_root(row.pair.root)
        record = dataset.pairs_record(row)
        self.add_records("pairs", split, [record])
        if dataset.may_tailor(row.pair, self._include_unsafe):
            self.add_records("tailoring", split, dataset.tailoring_records(row))
        else:
            self.kept_from_tailoring += 1
        if row.further:
            self.add_records("samples", split, dataset.samples_records(row))
        if row.pair.reasons:
            self.add_records("reasons", split, dataset.reasons_records(row))
        self._consider_as_example(record)

    def add_records(self, config: str, split: str, records: list[Record]) -> None:
        """Add records of a config as they are."""
        shard = self._shards[config, split]
        for record in records:
            shard.write(record)
            self.digest += dataset.digest_of(config, record, split)
        self.digest %= 2**256
        if config == "pairs":
            for record in records:
                self._count(record)

    def _count(self, record: Record) -> None:
        """Count what the card tells of a row of `pairs`."""
        self.languages[record["language"] or "unknown"] += 1
        self.source_splits[record["source_split"] or "unknown"] += 1
        self.lengths.add(record)
        for column, filled in self.filled.items():
            if record[column] is not None:
                self.filled[column] = filled + 1

    def drop(self, drop: Drop) -> None:
        """Add what did not become a row."""
        self.add_dropped(
            {
                "id": drop.id,
                "file": drop.origin.file,
                "line": drop.origin.line,
                "stage": drop.stage,
                "reason": drop.reason,
                "detail": drop.detail,
            }
        )

    def add_dropped(self, record: Record) -> None:
        """Add a record of `dropped.parquet` as it is."""
        self._dropped.write(record)

    def rows(self) -> dict[str, dict[str, int]]:
        """Return the number of rows by config and split; configs without any row are left out, splits are not."""
        return {
            config: {split: self._shards[config, split].rows for split in dataset.SPLITS} for config in self._configs()
        }

    def sizes(self) -> dict[str, dict[str, SplitSize]]:
        """Return rows and bytes of the configs and splits that have rows, once everything is written."""
        return {
            config: {split: _size(self._shards[config, split]) for split in self._splits(config)}
            for config in self._configs()
        }

    def examples(self) -> list[Record]:
        """Return twenty rows of `pairs` (fewer where there are no more): those with the smallest ids.

        An id is a hash, so these are as good as random, and the same from one release to the next.
        """
        return self._examples

    def _consider_as_example(self, record: Record) -> None:
        if len(self._examples) < _EXAMPLES or record["id"] < self._examples[-1]["id"]:
            self._examples = sorted([*self._examples, record], key=lambda one: str(one["id"]))[:_EXAMPLES]

    def _configs(self) -> list[str]:
        return [config for config in dataset.CONFIGS if self._splits(config)]

    def _splits(self, config: str) -> list[str]:
        return [split for split in dataset.SPLITS if self._shards[config, split].rows]

    def _close(self) -> None:
        for config in self._configs():
            for split in self._splits(config):
                self._shards[config, split].close()
        self._dropped.close()
        self._dropped.files[0].rename(self._directory / "dropped.parquet")

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._close()
            return
        for writer in (*self._shards.values(), self._dropped):
            writer.abandon()


def _size(writer: ShardWriter) -> SplitSize:
    return SplitSize(writer.rows, writer.memory_bytes, sum(file.stat().st_size for file in writer.files))
