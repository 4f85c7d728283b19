"""The few functions the command and the Python API share."""

from __future__ import annotations

import gc
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from whoseboat import __version__, cards, dataset, engines, manifest, sources
from whoseboat.cards.merging import take_apart
from whoseboat.engines import Engine
from whoseboat.errors import DataError, UsageError
from whoseboat.exclusion import Roots, without
from whoseboat.files import METER, Meter
from whoseboat.folder import whole_folder
from whoseboat.llm.budget import Tally
from whoseboat.llm.settings import LanguageModel
from whoseboat.manifest import Manifest, Selection
from whoseboat.records import Row
from whoseboat.redaction import Redactor
from whoseboat.screening import Item, first, sample, screen
from whoseboat.sources import Reading, Request
from whoseboat.tasks import Task, of_task
from whoseboat.writer import DatasetWriter

if TYPE_CHECKING:
    from whoseboat.inference import Estimate
    from whoseboat.quality.flagging import Flagging

_REPORT_SECONDS = 0.2


@dataclass(slots=True)
class Progress:
    """How far a build is: rows written, rows left behind by reason, requests to a language model.

    `taken` are the rows taken up from the source, finished or not; `share_read` tells how much of the source that is.
    """

    rows: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    tally: Tally = field(default_factory=Tally)
    taken: int = 0
    share_read: Callable[[], float] = lambda: 0.0

    @property
    def read(self) -> int:
        """How many rows of the source have come to their end, one way or the other."""
        return self.rows + self.dropped.total()

    @property
    def expected(self) -> int | None:
        """How many rows there will be, from how much was read so far; None where that is not known."""
        share = self.share_read()
        return round(self.taken / share) if share > 0 else None


@dataclass(frozen=True)
class Built:
    """A dataset folder that was built."""

    path: Path
    manifest: Manifest


class Wanted(TypedDict, total=False):
    """Which pairs are wanted, by keyword; what is left out is as `wanted_of` has it.

    Keys:
        data_dir: a file or directory in the set's published layout; without it the source is read from the Hub.
        repo: Hub dataset `ORG/NAME`, where the source takes one.
        revision: branch, tag or commit there; resolved to a commit and recorded.
        subset: configuration of a Hub dataset (source `table`).
        split: the source's split to read; by default all but its test split, if it has a train split.
        columns: which column holds what, such as `{"prompt": "question"}` (source `table`).
        options: the source's own options, such as `{"tranche": "helpful-base"}`.
        name: what to call the set (source `table`).
        license: the licence of the set, where it does not state one (source `table`).
        limit: how many pairs to take: a random subset, or the first ones where `head` is set.
        head: take the first `limit` pairs and read no further.
        seed: which random subset.
        include_unsafe: keep responses the source labels unsafe, also as targets in `tailoring`.
        max_characters: longer pairs, prompt and both responses together, are dropped (32,000).
        exclude: dataset folders or Hub repos; pairs whose first user turn occurs in one of them are dropped.
        drop_flagged: drop rows that a check of a single row flags: a persona that names a protected attribute, states a
            harmful intent, lacks the form of one or repeats its texts; an e-mail address or telephone number in any
            text. What is flagged by its persona is dropped after `limit` pairs were taken, so fewer may be left.
    """

    data_dir: str | os.PathLike[str] | None
    repo: str | None
    revision: str | None
    subset: str | None
    split: str | None
    columns: Mapping[str, str] | None
    options: Mapping[str, str] | None
    name: str | None
    license: str | None
    limit: int | None
    head: bool
    seed: int
    include_unsafe: bool
    max_characters: int
    exclude: Sequence[str | os.PathLike[str]]
    drop_flagged: bool


def build(
    source: str,
    out: str | os.PathLike[str],
    *,
    engine: str | LanguageModel | None = None,
    personas: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
    task: Task | None = None,
    **wanted: Unpack[Wanted],
) -> Built:
    """Turn a preference set into a dataset folder with personas, complete by itself, that `load_dataset` reads.

    Args:
        source: name of a source, such as `hh-rlhf` or `table`.
        out: the folder to make; it appears whole or not at all.
        engine: what infers the personas: a `LanguageModel`, `contrast`, which uses none, or `published`, which takes
            those of the source. Without it, those of the source where it has any, else `contrast`.
        personas: a table of personas to attach instead of inferring them (see `whoseboat.engines.brought`).
        overwrite: replace a dataset folder that is there; what people wrote into its card outside the generated block,
            and files that are not the folder's own, stay.
        on_progress: called at the start, a few times a second while rows come, and at the end; always with one object.
        task: build only the conversations of one task of several: a part of the set, without a card, which may be
            empty (see `whoseboat.build_in_tasks`, which joins the parts).
        wanted: which pairs: the keywords of `Wanted`.

    Returns:
        The folder and its manifest.

    Raises:
        UsageError: arguments that cannot be right.
        DataError: the input is missing or damaged, or no pair is left.
        HubError: the Hub did not give what was asked for.
        OutputError: the folder, or the journal of a language model's answers, cannot be written.
        WhoseboatError: the endpoint refuses every request, too many rows fail, or the budget is spent. Answers are
            kept: the same call goes on where this one stopped.

    """
    request, selection = wanted_of(**wanted)
    if personas is not None and engine is not None:
        raise UsageError("both an engine and personas were given", expected="one of them")
    chosen = engines.find(engine or ("published" if sources.find(source).has_personas else "contrast"))
    meter = Meter()
    if overwrite:
        take_apart(card_there(Path(out)), str(Path(out) / "README.md"))  # what is wrong is said before the work
    with whole_folder(Path(out), overwrite) as directory, _calm_collector():
        if personas is not None:
            chosen = engines.brought(Path(personas))
        roots = Roots(selection.exclude)
        METER.set(meter)
        reading = sources.read(source, request)
        files = len(reading.provenance.files)
        progress = Progress(tally=chosen.tally, share_read=lambda: meter.share(files))
        told = replace(selection, exclude=tuple(roots.told))
        made = _write_folder(directory, reading, told, chosen, progress, on_progress, roots, task)
        if overwrite:
            made = with_words_of(card_there(Path(out)), directory, made)
    return Built(Path(out), made)


def estimate(source: str, *, engine: LanguageModel, **wanted: Unpack[Wanted]) -> Estimate:
    """Say what a build with a language model would ask and roughly cost, without sending a request.

    Args:
        source: name of a source, such as `hh-rlhf` or `table`.
        engine: the language model.
        wanted: which pairs: the keywords of `Wanted`.

    Raises:
        UsageError: arguments that cannot be right.
        DataError: the input or the prompts are missing or damaged.
        HubError: the Hub did not give what was asked for.

    """
    from whoseboat import inference

    if not isinstance(engine, LanguageModel):
        raise UsageError(
            "an estimate is for a language model", expected="engine=LanguageModel(...)", found=repr(engine)
        )
    request, selection = wanted_of(**wanted)
    reading = sources.read(source, request)
    flagging = _flagging(selection)
    return inference.estimate(engine, _select(reading.pairs, selection, Roots(selection.exclude), Redactor(), flagging))


def card_there(out: Path) -> str:
    """Return the card of the folder that is to be replaced, empty where there is none.

    Raises:
        DataError: it is no UTF-8 text.

    """
    from whoseboat.contents import CARD, Folder, card_of

    return (card_of(Folder(out)) or "") if (out / CARD).is_file() else ""


def with_words_of(card: str, directory: Path, made: Manifest) -> Manifest:
    """Write into a folder's card what people wrote into another one, and return the manifest that goes with it."""
    path = directory / "README.md"
    path.write_text(cards.merge(path.read_text(encoding="utf-8"), None, card), encoding="utf-8")
    made = replace(made, files=manifest.describe_files(directory))
    (directory / manifest.FILE).write_text(made.to_json(), encoding="utf-8")
    return made


@contextmanager
def _calm_collector() -> Iterator[None]:
    """Keep the garbage collector from going through all that was there before, again and again: a tenth of the time."""
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def wanted_of(
    data_dir: str | os.PathLike[str] | None = None,
    repo: str | None = None,
    revision: str | None = None,
    subset: str | None = None,
    split: str | None = None,
    columns: Mapping[str, str] | None = None,
    options: Mapping[str, str] | None = None,
    name: str | None = None,
    license: str | None = None,
    limit: int | None = None,
    head: bool = False,
    seed: int = 0,
    include_unsafe: bool = False,
    max_characters: int = 32_000,
    exclude: Sequence[str | os.PathLike[str]] = (),
    drop_flagged: bool = False,
) -> tuple[Request, Selection]:
    """Return what is asked of the source, and which of its pairs are taken."""
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise UsageError("--limit takes a number of pairs", expected="1 or more", found=repr(limit))
    if head and limit is None:
        raise UsageError("--head says which pairs, but not how many", expected="--limit N --head")
    if not isinstance(max_characters, int) or max_characters < 1:
        raise UsageError("--max-characters takes a number", expected="1 or more", found=repr(max_characters))
    place = Path(data_dir) if data_dir is not None else None
    request = Request(place, repo, revision, subset, split, columns or {}, options or {}, name, license)
    places = tuple(os.fspath(place) for place in exclude)
    return request, Selection(limit, head, seed, max_characters, include_unsafe, places, drop_flagged)


def _write_folder(
    directory: Path,
    reading: Reading,
    selection: Selection,
    engine: Engine,
    progress: Progress,
    on_progress: Callable[[Progress], None] | None,
    roots: Roots,
    task: Task | None = None,
) -> Manifest:
    started = time.monotonic() - (task.seconds if task else 0.0)
    report = _reporter(progress, on_progress)
    redactor = Redactor()
    flagging = _flagging(selection)
    with DatasetWriter(directory, selection.include_unsafe) as writer:
        given = task.pairs if task else None
        to_keep = task if given is None else None  # what was put by for a task is its own
        before = None if engine.name == "brought" else to_keep  # a table of personas is held against all pairs
        items = _select(reading.pairs if given is None else given, selection, roots, redactor, flagging, before)
        rows = engine.infer(_counted(items, progress))
        if to_keep and not before:
            rows = of_task(rows, to_keep)
        for item in flagging.rows(rows) if flagging else rows:
            if isinstance(item, Row):
                writer.add(redactor.row(item))
                progress.rows += 1
            else:
                writer.drop(redactor.drop(item))
                progress.dropped[item.reason] += 1
            report()
    if on_progress:
        on_progress(progress)
    if progress.rows == 0 and task is None:
        raise _nothing_left(progress, reading)
    made = Manifest(
        name=_dataset_name(reading.provenance.name, engine),
        schema_version=dataset.SCHEMA_VERSION,
        code_version=__version__,
        source=reading.provenance,
        selection=selection,
        engine=engine.name,
        uses_language_model=engine.uses_language_model,
        engine_details=engine.about,
        rows=writer.rows(),
        read=progress.read,
        dropped=dict(sorted(progress.dropped.items())),
        languages=dict(sorted(writer.languages.items())),
        kept_from_tailoring=writer.kept_from_tailoring,
        data_digest=f"{writer.digest:064x}",
        built_at=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - started, 3),
        sizes=writer.sizes(),
        lengths=writer.lengths.as_json(),
        filled=writer.filled,
        source_splits=dict(sorted(writer.source_splits.items())),
        redacted=dict(sorted(redactor.counts.items())),
        **_spent(engine, flagging),
    )
    for name, content in engine.files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    if task is None:
        card = cards.dataset_card(made, writer.examples())
        (directory / "README.md").write_text(card, encoding="utf-8")
    made = replace(made, files=manifest.describe_files(directory))
    (directory / manifest.FILE).write_text(made.to_json(), encoding="utf-8")
    return made


def _flagging(selection: Selection) -> Flagging | None:
    """Return the checks that take rows out, where that is wanted."""
    if not selection.drop_flagged:
        return None
    from whoseboat.quality.flagging import Flagging

    return Flagging()


def _select(
    items: Iterable[Item],
    selection: Selection,
    roots: Roots,
    redactor: Redactor,
    flagging: Flagging | None,
    task: Task | None = None,
) -> Iterator[Item]:
    if task and selection.limit is None:
        items = of_task(items, task)
    screened = screen(
        items,
        max_characters=selection.max_characters,
        include_unsafe=selection.include_unsafe,
        redactor=redactor,
    )
    if selection.exclude:
        screened = without(screened, roots)
    if flagging:
        screened = flagging.pairs(screened)  # before anything is drawn, and before a language model is paid
    if selection.limit is None:
        return screened
    drawn = first(screened, selection.limit) if selection.head else sample(screened, selection.limit, selection.seed)
    return of_task(drawn, task) if task else drawn  # all tasks draw the same


def _counted(items: Iterable[Item], progress: Progress) -> Iterator[Item]:
    for item in items:
        progress.taken += 1
        yield item


def _reporter(progress: Progress, on_progress: Callable[[Progress], None] | None) -> Callable[[], None]:
    """Report at once, and return a function that reports when the last time was a while ago."""
    if on_progress is None:
        return lambda: None
    on_progress(progress)
    last = time.monotonic()

    def report() -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _REPORT_SECONDS:
            last = now
            on_progress(progress)

    return report


def _spent(engine: Engine, flagging: Flagging | None) -> dict[str, Any]:
    """Return what a language model took, for the manifest: tokens and cost of every answer in the set."""
    tally = engine.tally
    if not engine.uses_language_model:
        return {}
    return {
        "tokens": {"prompt": tally.used_prompt_tokens, "completion": tally.used_completion_tokens},
        "cost": round(tally.used_cost, 6) if tally.prices else None,
        "requests": {
            "answered": tally.answered,
            "reused": tally.reused,
            "failed": tally.failed,
            "retried": tally.retried,
            "without_token_count": tally.estimated,
            "unusable_samples": tally.unusable_samples,
            **({"flagged_samples": flagging.samples} if flagging else {}),
        },
    }


def _dataset_name(source: str, engine: Engine) -> str:
    """Return the name of the set; one made without a language model says so in its name."""
    return f"{source}-personas" + ("-contrast" if engine.uses_language_model is False else "")


def _nothing_left(progress: Progress, reading: Reading) -> DataError:
    todo = "check that the source and its options fit the files"
    if progress.tally.failed or progress.tally.answered:
        todo = "mend the cause and run the same command again, with --retry-failed for what failed for good"
    elif progress.dropped["unsafe"]:
        todo = "--include-unsafe keeps responses labelled unsafe, for gated or local use"
    elif any(reason.startswith("flagged_") for reason in progress.dropped):
        todo = "without --drop-flagged they are kept; `whoseboat check` then says what was found in them"
    return DataError(
        "no pair is left, so there is nothing to write",
        where=", ".join(reading.provenance.files[:3]) or str(reading.provenance.repo),
        expected="at least one preference pair",
        found=", ".join(f"{count} {reason}" for reason, count in progress.dropped.most_common()) or "no row at all",
        todo=todo,
    )
