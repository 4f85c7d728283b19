"""A dataset folder without some of its rows."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from whoseboat import dataset
from whoseboat.contents import CARD, Folder, Owned, manifest_of
from whoseboat.dataset import Record
from whoseboat.errors import DataError
from whoseboat.hub.repos import RepoState
from whoseboat.manifest import CHECKS, Manifest, describe_files
from whoseboat.releases.artefacts import Artefact, DatasetArtefact
from whoseboat.releases.ground import taken_down_in
from whoseboat.releases.rows import records, shards, split_of
from whoseboat.writer import DatasetWriter

_DROPPED = "dropped.parquet"
_STAGE, _REASON = "takedown", "taken_down"


@contextmanager
def without_taken_down(artefact: Artefact, present: RepoState | None) -> Iterator[Artefact]:
    """Give the folder as it may be released: without rows that were taken out of an earlier release for good."""
    stated = manifest_of(present) if present is not None else None
    ids = taken_down_in(stated, present.where) if present is not None and stated else frozenset()
    if not isinstance(artefact, DatasetArtefact) or not ids or not _has_any(artefact, ids):
        yield artefact
        return
    with tempfile.TemporaryDirectory(prefix="whoseboat-") as directory:
        made = without(artefact.folder, artefact.manifest, ids, Path(directory))
        yield DatasetArtefact.of(Path(directory), made)


def _has_any(artefact: DatasetArtefact, ids: Collection[str]) -> bool:
    """Say whether any of these rows is in a folder; what is said of one that was dropped counts as well."""
    return any(
        record["id"] in ids and (name != _DROPPED or record["detail"])
        for name in artefact.files
        if name.startswith("pairs/") or name == _DROPPED
        for batch in records(artefact.folder, name, ["id", "detail"] if name == _DROPPED else ["id"])
        for record in batch
    )


def without(folder: Folder, stated: Manifest, ids: Collection[str], out: Path) -> Manifest:
    """Write a dataset folder again without some rows, and return its manifest. Memory does not grow with the rows.

    What is left keeps its bytes as far as content-defined chunks allow. `dropped.parquet` names the ids that went, and
    says no more of them. What checks found is left out: it was found of other rows.

    Raises:
        DataError: a file is no whole Parquet file, or no row would be left.

    """
    out.mkdir(parents=True, exist_ok=True)
    with DatasetWriter(out, stated.selection.include_unsafe) as writer:
        gone = _write_others(Owned(folder, {"files": stated.files}), writer, ids)
        dropped = _drop_again(folder, writer, ids, gone)
        if not writer.rows().get("pairs"):
            raise DataError("no row would be left", where=folder.where, todo="delete the repo on the Hub instead")
    tailored = sum(writer.rows().get("tailoring", {}).values()) // 2
    for name in folder.files & {*stated.files, CARD}:
        if name != CHECKS and not name.endswith(".parquet") and not name.startswith("assets/"):
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_bytes(folder.read(name))
    made = replace(
        stated,
        rows=writer.rows(),
        dropped=dict(sorted(dropped.items())),
        languages=dict(sorted(writer.languages.items())),
        kept_from_tailoring=sum(writer.rows()["pairs"].values()) - tailored,
        data_digest=f"{writer.digest:064x}",
        sizes=writer.sizes(),
        lengths=writer.lengths.as_json(),
        filled=writer.filled,
        source_splits=dict(sorted(writer.source_splits.items())),
        checks=(),
    )
    return replace(made, files=describe_files(out))


def _write_others(folder: Owned, writer: DatasetWriter, ids: Collection[str]) -> set[str]:
    """Write the rows of all configs but those with these ids; return the ids that were there."""
    gone = set()
    for config in dataset.CONFIGS:
        for name in shards(folder, config):
            for batch in records(folder, name):
                gone |= {record["id"] for record in batch if config == "pairs" and record["id"] in ids}
                left = [record for record in batch if not _names_any(record, ids)]
                writer.add_records(config, split_of(name), left)
    return gone


def _names_any(record: Record, ids: Collection[str]) -> bool:
    """Say whether a row is of one of these pairs, or has the personas of one as those of a donor."""
    return record["id"] in ids or record.get("donor_id") in ids


def _drop_again(folder: Folder, writer: DatasetWriter, ids: Collection[str], gone: Collection[str]) -> Counter[str]:
    """Write what was dropped before, and what goes now; return the numbers by reason."""
    counts: Counter[str] = Counter()
    for batch in records(folder, _DROPPED) if _DROPPED in folder.files else ():
        for record in batch:
            counts[record["reason"]] += 1
            writer.add_dropped(record | {"detail": ""} if record["id"] in ids else record)
    for id_ in sorted(gone):
        counts[_REASON] += 1
        writer.add_dropped(_taken(id_))
    return counts


def _taken(id_: str) -> Record:
    return {"id": id_, "file": "", "line": 0, "stage": _STAGE, "reason": _REASON, "detail": ""}
