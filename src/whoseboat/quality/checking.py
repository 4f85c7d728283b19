"""A dataset folder checked: its texts by rule, its personas by a judge; what is found is kept in the folder.

```
checks.parquet   a row per persona (or pair) and check: id, split, side, check, value, is_bad, detail; none where a
                 check did not look, such as at words of another language, or at what a judge was not asked about
checks.json      figures with intervals, tables, who judged, and the digest of the data they are of
```

Card and manifest tell the headline figures; all four files change in one step. What a language model answered is in
its journal: the same call after an interruption asks nothing twice. Rules look at every pair, one after the other, and
memory grows with the different words and personas; the judge is asked about a sample, which is held in memory.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, TypedDict, Unpack

from whoseboat import __version__
from whoseboat import judge as judges
from whoseboat.cards.charts import places
from whoseboat.errors import UsageError, WhoseboatError
from whoseboat.judge import READER, Form, Judge, Question
from whoseboat.judge.progress import reporter
from whoseboat.llm.budget import Tally
from whoseboat.llm.settings import LanguageModel
from whoseboat.manifest import CHECKS, CHECKS_TABLE, Manifest, read_manifest
from whoseboat.quality import accuracy, preference, reasons
from whoseboat.quality.care import Care
from whoseboat.quality.comparison import Comparison, Scored, compare
from whoseboat.quality.findings import Checked, CheckFigure, Finding, TextCheck
from whoseboat.quality.form import Form as FormCheck
from whoseboat.quality.headlines import is_headline
from whoseboat.quality.leakage import Leakage
from whoseboat.quality.pairs import CheckedPair, drawn, read_pairs
from whoseboat.quality.rewritten import rewrite
from whoseboat.quality.saliency import Saliency
from whoseboat.quality.sameness import Sameness
from whoseboat.quality.shortcuts import Shortcuts

SCHEMA_VERSION = "1.0.0"
# Pairs that are judged where no number is given: the offline reader is quick, language models are paid for.
MOST_BY_READER, MOST_BY_MODEL = 20_000, 500
# Where a larger share of the verdicts cannot be read, there are no figures.
MOST_UNREADABLE = 0.5
_ROWS_AT_ONCE = 5_000
_PROMPTS_OF_JUDGES = ("prompts/judge_", "prompts/rubric_")

PathLike = str | os.PathLike[str]


@dataclass(slots=True)
class Progress:
    """How far a check is: what it is at, how many pairs or cases it has been through, and what a judge took.

    `at` is `reading`, then pairs are counted, or the check a judge is asked for, then the cases it was asked about.
    """

    at: str = ""
    done: int = 0
    expected: int | None = None
    tally: Tally = field(default_factory=Tally)


OnProgress = Callable[[Progress], None]


class Settings(TypedDict, total=False):
    """How personas are judged, by keyword.

    Keys:
        sample: the judge is asked about so many pairs, drawn by a hash of their ids (20,000 by the offline reader, 500
            by a language model); rules look at all pairs.
        form: `choice` or `rubric`, for judges that are language models.
        prompts: a directory of templates of one's own.
    """

    sample: int | None
    form: Form
    prompts: PathLike | None


@dataclass(frozen=True)
class CheckedFolder:
    """A folder that was checked, and what its `checks.json` holds."""

    path: Path
    checks: Mapping[str, Any]


@dataclass(frozen=True)
class Checks:
    """The folders that were checked; where there are several, they are compared."""

    folders: tuple[CheckedFolder, ...]
    comparison: Comparison | None = None


def check(
    folders: PathLike | Sequence[PathLike],
    *,
    judge: str | LanguageModel = READER,
    on_progress: OnProgress | None = None,
    **settings: Unpack[Settings],
) -> Checks:
    """Check the personas of a dataset folder, and write what is found into it.

    Args:
        folders: a dataset folder, or several: personas of one set by several models.
        judge: who judges: the offline reader of `contrast`, or a language model.
        on_progress: called a few times a second.
        settings: see `Settings`.

    Raises:
        UsageError: something that cannot be right, or a folder given twice.
        DataError: it is no dataset folder, or a file in it is damaged.
        OutputError: the folder cannot be written; it is as it was then.
        WhoseboatError: the judge cannot be asked, too many requests fail, or the budget is spent.

    """
    paths = _distinct(folders)
    _judge(judge, settings)  # what is wrong is said before the work
    made = [_manifest(path) for path in paths]
    shared = _shared(paths)
    found = [
        _check(path, about, *_judge(judge, settings), shared, on_progress)
        for path, about in zip(paths, made, strict=True)
    ]
    folders_checked = tuple(folder for folder, _ in found)
    if len(found) == 1:
        return Checks(folders_checked)
    return Checks(folders_checked, compare([(folder.checks, scored) for folder, scored in found]))


def estimate_check(
    folders: PathLike | Sequence[PathLike], *, judge: LanguageModel, **settings: Unpack[Settings]
) -> judges.Estimate:
    """Say what checking with a language model would ask and roughly cost, without sending a request.

    Raises:
        UsageError: something that cannot be right.
        DataError: a folder is none of ours, or is damaged.

    """
    asked, limit = _judge(judge, settings)
    estimates = []
    paths = _distinct(folders)
    for path in paths:
        _manifest(path)
    shared = _shared(paths)
    for path in paths:
        pairs = _sample(path, limit, shared)
        for cases, question in (
            *accuracy.questions(pairs),
            *preference.questions(pairs),
            *reasons.questions(path, pairs),
        ):
            estimates.append(asked.estimate(cases, question))
    return _sum(estimates)


def _shared(paths: Sequence[Path]) -> frozenset[str]:
    """Return the ids of the pairs that several folders have in common, which are those that are judged; else none."""
    if len(paths) == 1:
        return frozenset()
    return frozenset.intersection(*(frozenset(pair.id for pair in read_pairs(path)) for path in paths))


def _sample(path: Path, limit: int, among: frozenset[str]) -> list[CheckedPair]:
    """Return the pairs that are judged; where folders are compared, of those that all of them have."""
    return drawn((pair for pair in read_pairs(path) if not among or pair.id in among), limit)


def _sum(estimates: Sequence[judges.Estimate]) -> judges.Estimate:
    names = ("cases", "requests", "answered", "failed", "prompt_tokens", "completion_tokens")
    costs = [one.cost for one in estimates]
    known = [cost for cost in costs if cost is not None]
    return judges.Estimate(
        **{name: sum(getattr(one, name) for one in estimates) for name in names},
        cost=sum(known) if len(known) == len(costs) else None,
    )


def _distinct(folders: PathLike | Sequence[PathLike]) -> list[Path]:
    given = [folders] if isinstance(folders, str | os.PathLike) else list(folders)
    if not given:
        raise UsageError("no folder to check was named", expected="a dataset folder, as `whoseboat build` makes them")
    paths = [Path(folder) for folder in given]
    for path, count in Counter(path.resolve() for path in paths).items():
        if count > 1:
            raise UsageError("a folder was named twice", found=str(path))
    return paths


def _judge(judge: str | LanguageModel, settings: Settings) -> tuple[Judge, int]:
    by_model = isinstance(judge, LanguageModel)
    limit = settings.get("sample")
    if limit is not None and limit < 1:
        raise UsageError("--sample takes a number of pairs", expected="1 or more", found=str(limit))
    prompts = settings.get("prompts")
    found = judges.find(
        judge,
        form=settings.get("form", "choice"),
        prompts=None if prompts is None else Path(prompts),
    )
    return found, limit or (MOST_BY_MODEL if by_model else MOST_BY_READER)


def _manifest(path: Path) -> Manifest:
    return Manifest.of(read_manifest(path), str(path / "manifest.json"))


# ---- one folder


def _check(
    path: Path, made: Manifest, judge: Judge, limit: int, shared: frozenset[str], on_progress: OnProgress | None
) -> tuple[CheckedFolder, Scored]:
    progress = Progress(expected=sum(made.rows.get("pairs", {}).values()))
    with tempfile.TemporaryDirectory(prefix="whoseboat-") as directory, _Table(Path(directory) / CHECKS_TABLE) as table:
        by_rule = _by_rule(path, table, progress, on_progress)
        pairs = _sample(path, limit, shared)
        by_judge = _by_judge(path, pairs, judge, progress, on_progress)
        for one in by_judge:
            table.add(one.findings)
        table.close()
        checked = [*by_judge, *by_rule]
        summary = _summary(made, judge, pairs, checked, table.counts)
        text = json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        told = replace(made, checks=tuple(_in_card(figure) for figure in summary["figures"] if is_headline(figure)))
        prompts = judge.files(*_asked(judge, checked))
        new: dict[str, bytes | Path] = {CHECKS_TABLE: Path(directory) / CHECKS_TABLE, CHECKS: text.encode(), **prompts}
        old = {name for name in made.files if name.startswith(_PROMPTS_OF_JUDGES)} - prompts.keys()
        rewrite(path, told, new, without={*places(), *old})  # what is of the checks before
    scored = Scored.of(path.name, made.engine, pairs, by_judge[0].findings)
    return CheckedFolder(path, summary), scored


def _by_rule(path: Path, table: _Table, progress: Progress, on_progress: OnProgress | None) -> list[Checked]:
    """Show every pair to the checks that ask nobody."""
    checks: tuple[TextCheck, ...] = (
        FormCheck(), Leakage(), Sameness(), Shortcuts(), Saliency(), Care(),
    )  # fmt: skip
    progress.at = "reading"
    report = reporter(on_progress)
    for pair in read_pairs(path):
        for one in checks:
            table.add(one.add(pair))
        progress.done += 1
        report(progress, False)
    found = [one.result() for one in checks]
    for result in found:
        table.add(result.findings)
    report(progress, True)
    return found


def _by_judge(
    path: Path, pairs: Sequence[CheckedPair], judge: Judge, progress: Progress, on_progress: OnProgress | None
) -> list[Checked]:
    """Put the questions about personas to a judge: first how accurate they are."""

    def telling(at: str) -> Callable[[judges.Progress, int], None] | None:
        def tell(of_question: judges.Progress, cases: int) -> None:
            progress.at, progress.done, progress.expected = at, of_question.cases, cases
            progress.tally = of_question.tally
            if on_progress is not None:
                on_progress(progress)

        return tell if on_progress is not None else None

    of_accuracy = accuracy.check(pairs, judge, telling("accuracy"))
    _check_readable(judge, of_accuracy)
    return [
        of_accuracy,
        preference.check(pairs, judge, telling("preference")),
        reasons.check(path, pairs, judge, telling("reasons")),
    ]


def _check_readable(judge: Judge, found: Checked) -> None:
    """Refuse a judge of whom most could not be read: what is left says nothing, and zeros would look like a finding.

    Raises:
        WhoseboatError: it is so; nothing was written, and its answers are kept.

    """
    told: Mapping[str, Mapping[str, int]] = found.tables["accuracy"].get("own", {})
    missing = sum(of_side["missing"] for of_side in told.values())
    asked = sum(of_side[name] for of_side in told.values() for name in ("wins", "ties", "losses", "missing"))
    if missing > MOST_UNREADABLE * asked:
        detail = next((one.detail for one in found.findings if one.detail and one.value is None), "")
        raise WhoseboatError(
            "the judge could not be read",
            where=judge.name,
            expected=f"verdicts on at least {1 - MOST_UNREADABLE:.0%} of the personas",
            found=f"none on {missing:,} of {asked:,}" + (f"; the first: {detail}" if detail else ""),
            todo="name a model that answers as it is asked, or templates of your own (--prompts); "
            "nothing was written, and what was there before is as it was",
        )


def _summary(
    made: Manifest,
    judge: Judge,
    pairs: Sequence[CheckedPair],
    checked: Sequence[Checked],
    counts: Mapping[str, Mapping[str, Mapping[str, int]]],
) -> dict[str, Any]:
    """Return what `checks.json` holds."""
    engines = sorted({pair.persona_engine for pair in pairs})
    return {
        "schema_version": SCHEMA_VERSION,
        "code_version": __version__,
        "data_digest": made.data_digest,
        "name": made.name,
        "engine": made.engine,
        "pairs": sum(made.rows.get("pairs", {}).values()),
        "judged": len(pairs),
        "judge": {"name": judge.name, "label": judges.judge_label(judge, engines), **_about(judge, checked)},
        "figures": [_plain(figure) for one in checked for figure in one.figures],
        "tables": {name: table for one in checked for name, table in one.tables.items()},
        "counts": counts,
    }


def _about(judge: Judge, checked: Sequence[Checked]) -> dict[str, Any]:
    """Return what is told of the judge: how many answers were there before makes no difference."""
    return {name: value for name, value in judge.about(*_asked(judge, checked)).items() if name != "requests"}


def _asked(judge: Judge, checked: Sequence[Checked]) -> list[Question]:
    """Return the questions that were put to the judge."""
    tables = {name: table for one in checked for name, table in one.tables.items()}
    questions: dict[str, Question] = {
        "accuracy": accuracy.QUESTION,
        "preference": preference.QUESTION,
        "reasons": reasons.QUESTION,
    }
    return [question for name, question in questions.items() if "skipped" not in tables.get(name, {"skipped": ""})]


def _plain(figure: CheckFigure) -> dict[str, Any]:
    """Return a figure as plain data; what an interval cannot hold is left out."""
    of = figure.figure.to_dict()
    note = "; ".join(text for text in (figure.note, of.pop("note")) if text)
    about = {name: getattr(figure, name) for name in ("name", "side", "part", "judge")}
    return {**about, "note": note, **{name: _finite(value) for name, value in of.items()}}


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _in_card(figure: Mapping[str, Any]) -> dict[str, Any]:
    """Return a figure as the manifest has it, for the card."""
    name = f"{figure['name']}, {figure['part']}" if figure["part"] else figure["name"]
    return {"name": name} | {key: figure[key] for key in ("side", "value", "low", "high", "n", "judge", "note")}


class _Table:
    """`checks.parquet`, written as findings come; a context manager. `counts` has what was looked at, and what is bad.

    By check, then side: the findings, which is what was `looked_at`, and those that are `bad`.
    """

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        text = pa.string()
        fields = [(name, text) for name in ("id", "split", "side", "check")]
        fields += [("value", pa.float64()), ("is_bad", pa.bool_()), ("detail", text)]
        self._schema, self._pa = pa.schema(fields), pa
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._rows: list[Finding] = []
        self.counts: dict[str, dict[str, dict[str, int]]] = {}

    def add(self, findings: Iterable[Finding]) -> None:
        """Add findings."""
        for finding in findings:
            self._rows.append(finding)
            of_side = self.counts.setdefault(finding.check, {}).setdefault(finding.side, {"looked_at": 0, "bad": 0})
            of_side["looked_at"] += 1
            of_side["bad"] += finding.is_bad
            if len(self._rows) >= _ROWS_AT_ONCE:
                self._flush()

    def close(self) -> None:
        """Write what is left; the file is whole then."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        arrays = [
            self._pa.array([getattr(row, field.name) for row in self._rows], field.type) for field in self._schema
        ]
        self._writer.write_table(self._pa.Table.from_arrays(arrays, schema=self._schema))
        self._rows.clear()

    def __enter__(self) -> _Table:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and self._writer.is_open:
            self._writer.close()
