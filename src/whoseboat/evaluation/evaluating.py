"""Models compared with a baseline, from files of their generations to a folder with figures, verdicts and plots.

```
evaluation.json    inputs, rules, judge, and the figures of every model against the baseline
verdicts.parquet   every verdict: a row per case, model, question and order
comparison.md      the figures as tables
plots/*.png        win, tie and loss by side; ΔPQ; length against net
prompts/           the judge's templates
manifest.json      what the folder is, and which files belong to it
```

The folder appears whole or not at all. What a language model answered is in its journal: the same call after an
interruption asks nothing twice.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict, Unpack

from whoseboat import __version__, manifest
from whoseboat import judge as judges
from whoseboat.errors import DataError, UsageError, unknown
from whoseboat.evaluation import plots, table
from whoseboat.evaluation.cases import read_cases
from whoseboat.evaluation.faults import FAULTS, RULES, Fault, faults_of
from whoseboat.evaluation.generations import Generations, read_generations
from whoseboat.evaluation.judging import Progress, VerdictFile, asked_about, judge_all
from whoseboat.evaluation.pairing import Asked, Matched, Pairing, limited, pair_up
from whoseboat.evaluation.results import MOST_UNREADABLE, between_models, results
from whoseboat.folder import whole_folder
from whoseboat.judge import PAIR_QUESTIONS, Estimate, Form, Judge, PairQuestion
from whoseboat.judge.questions import ABOUT_A_PERSONA
from whoseboat.llm.settings import LanguageModel

SCHEMA_VERSION = "1.0.0"
KIND = "evaluation"
_LONGEST_NAME = 100
# So much of a reply that could not be read is shown.
_MOST_SHOWN = 200
# Kinds of personas that are another pair's.
_NOT_ITS_OWN = frozenset({"retrieved", "shuffled"})

PathLike = str | os.PathLike[str]
Files = PathLike | Sequence[PathLike]


class Settings(TypedDict, total=False):
    """How models are compared, by keyword.

    Keys:
        baseline: the model the others are compared with; without it the first.
        questions: of `quality` (no persona is shown), `serves` and `picks`; without them quality and serves, and serves
            alone for the offline reader, which reads nothing else.
        form: `choice` or `rubric`, for judges that are language models.
        certainty: ask the judge how sure it is.
        prompts: a directory of templates of one's own.
        cases: a dataset folder; then cases are its pairs, judged by its personas.
        group: a column of the records, or of the cases, whose values are groups; without it the sides are.
        cluster: a column of the records, or of the cases, that tells independent cases apart, such as `user_id`, in
            place of the conversation's first user turn.
        leave_out: `truncated`, `empty`, `repeating`: leave out cases of which either response is; without it none is.
        limit: judge so many cases of each model: a random subset.
        seed: which random subset.
        max_unreadable_rate: where a larger share of the cases asked could not be read, half unless told, the figure is
            withheld from tables and plots, and `Evaluated.unreadable` says so.
    """

    baseline: str | None
    questions: Sequence[str] | None
    form: Form
    certainty: bool
    prompts: PathLike | None
    cases: PathLike | None
    group: str | None
    cluster: str | None
    leave_out: Sequence[str]
    limit: int | None
    seed: int
    max_unreadable_rate: float


@dataclass(frozen=True)
class Evaluated:
    """A folder that was made, and what its `evaluation.json` holds."""

    path: Path
    evaluation: Mapping[str, Any]

    @property
    def unreadable(self) -> list[str]:
        """Of which model and question too much could not be read for any figure, in sentences; mostly none."""
        found: list[str] = self.evaluation["unreadable"]
        return found


@dataclass(frozen=True)
class _Prepared:
    """All that is known before anybody is asked."""

    judge: Judge
    questions: tuple[PairQuestion, ...]
    baseline: Generations
    models: tuple[Generations, ...]
    pairings: Mapping[str, Pairing]
    left_out: Mapping[str, Mapping[str, int]]
    cases: Mapping[str, list[Matched]]
    engines: frozenset[str]
    settings: Settings


def evaluate(
    generations: Mapping[str, Files],
    out: PathLike,
    *,
    judge: str | LanguageModel,
    overwrite: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
    **settings: Unpack[Settings],
) -> Evaluated:
    """Compare models with a baseline by the verdicts of a judge on their generations.

    All generations are held in memory: 400,000 in files of 290 MB took 0.8 GB, and a minute beside what a judge takes.

    Args:
        generations: by the name of each model its file, or files; two models or more.
        out: the folder to make.
        judge: who judges: a language model, or `contrast-reader`, of which no model is ranked. There is no default.
        overwrite: replace a folder of ours that is there.
        on_progress: called a few times a second while verdicts come.
        settings: see `Settings`.

    Raises:
        UsageError: something that cannot be right, such as a model compared with itself.
        DataError: a file is not what it should be, or nothing in the files belongs together.
        OutputError: the folder cannot be written.
        WhoseboatError: the judge cannot be asked, too many requests fail, or the budget is spent.

    """
    prepared = _prepare(generations, judge, settings)
    with whole_folder(Path(out), overwrite) as folder:
        with VerdictFile(folder / "verdicts.parquet", prepared.baseline.model) as verdicts:
            answers = judge_all(prepared.judge, prepared.questions, prepared.cases, verdicts, on_progress)
        models = [of.model for of in prepared.models]
        figures = results(
            answers,
            models,
            prepared.questions,
            has_groups=settings.get("group") is not None,
            may_rank=prepared.judge.may_rank_models,
            most_unreadable=settings.get("max_unreadable_rate", MOST_UNREADABLE),
        )
        may_rank = prepared.judge.may_rank_models
        differences = between_models(answers, models, prepared.questions, figures) if may_rank else []
        evaluation = _write_json(folder / "evaluation.json", _evaluation(prepared, figures, differences))
        (folder / "comparison.md").write_text(table.comparison(evaluation), encoding="utf-8")
        plots.draw_all(folder / "plots", evaluation, answers)
        _write_files(folder, prepared.judge.files(*prepared.questions))
        about = {"schema_version": SCHEMA_VERSION, "code_version": __version__, "kind": KIND}
        _write_json(folder / manifest.FILE, {**about, "files": manifest.describe_files(folder)})
    return Evaluated(Path(out), evaluation)


def estimate_evaluation(
    generations: Mapping[str, Files], *, judge: str | LanguageModel, **settings: Unpack[Settings]
) -> Estimate:
    """Count the requests `evaluate` would send, without sending one; arguments and errors are as there.

    Where the same request serves several models it is counted for each.
    """
    prepared = _prepare(generations, judge, settings)
    found = []
    for question in prepared.questions:
        wanted = (one.case for _, one in asked_about(prepared.cases, question) if not one.is_same)
        found.append(prepared.judge.estimate(wanted, question))
    costs = [one.cost for one in found]
    return Estimate(
        sum(one.cases for one in found),
        sum(one.requests for one in found),
        sum(one.answered for one in found),
        sum(one.failed for one in found),
        sum(one.prompt_tokens for one in found),
        sum(one.completion_tokens for one in found),
        None if None in costs else sum(cost for cost in costs if cost is not None),
    )


def _prepare(generations: Mapping[str, Files], judge: str | LanguageModel, settings: Settings) -> _Prepared:
    baseline = _baseline(generations, settings.get("baseline"))
    leave_out = _known_faults(settings.get("leave_out", ()))
    _check_numbers(settings)
    found = judges.find(
        judge,
        form=settings.get("form", "choice"),
        certainty=settings.get("certainty", False),
        prompts=None if settings.get("prompts") is None else Path(settings["prompts"]),  # type: ignore[arg-type]
    )
    questions = _questions(found, settings.get("questions"))
    group, cluster = settings.get("group"), settings.get("cluster")
    read = {name: read_generations(name, _paths(files), group, cluster) for name, files in generations.items()}
    _check_not_itself(read.values())
    asked = _asked(settings.get("cases"), read.values(), group, cluster)
    models = tuple(of for name, of in read.items() if name != baseline)
    pairings, cases, left_out = {}, {}, {}
    for of in models:
        pairings[of.model] = pair_up(of, read[baseline], asked)
        kept, left_out[of.model] = _without_faults(pairings[of.model], leave_out, of, read[baseline])
        cases[of.model] = limited(kept, settings.get("limit"), settings.get("seed", 0)).cases
    prepared = _Prepared(
        found,
        questions,
        read[baseline],
        models,
        pairings,
        left_out,
        cases,
        frozenset(one.engine for one in asked if one.engine),
        settings,
    )
    _check_cases(prepared)
    return prepared


def _baseline(generations: Mapping[str, Files], named: str | None) -> str:
    if len(generations) < 2:
        several = [name for name, of in generations.items() if not isinstance(of, str | os.PathLike) and len(of) > 1]
        raise UsageError(
            "one model alone cannot be compared",
            expected="two or more: BASELINE=FILE MODEL=FILE",
            found=f"{several[0]!r} alone, of several files" if several else "",
            todo="give each model a name of its own: a name given again adds a file to that model" if several else "",
        )
    for name in generations:
        if not name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME:
            raise UsageError(
                "a model's name that is none", expected=f"1 to {_LONGEST_NAME} printable characters", found=repr(name)
            )
    if named is not None and named not in generations:
        raise unknown("baseline", named, generations)
    return named if named is not None else next(iter(generations))


def _known_faults(given: Iterable[str]) -> tuple[Fault, ...]:
    wanted = set(given)
    for name in wanted:
        if name not in FAULTS:
            raise unknown("kind of generation to leave out", name, FAULTS)
    return tuple(fault for fault in FAULTS if fault in wanted)


def _check_numbers(settings: Settings) -> None:
    limit = settings.get("limit")
    if limit is not None and limit < 1:
        raise UsageError("--limit is out of range", expected="1 or more", found=str(limit))
    rate = settings.get("max_unreadable_rate", MOST_UNREADABLE)
    if not 0 <= rate <= 1:
        raise UsageError("--max-unreadable-rate is out of range", expected="0 to 1", found=str(rate))


def _questions(judge: Judge, given: Sequence[str] | None) -> tuple[PairQuestion, ...]:
    """Return the questions in one order, those of a judge where none is named."""
    if given is None:
        return ("quality", "serves") if judge.may_rank_models else ("serves",)
    wanted = set(given)
    for name in wanted:
        if name not in PAIR_QUESTIONS:
            raise unknown("question", name, PAIR_QUESTIONS)
    if not wanted:
        raise UsageError("no question was named", expected=", ".join(PAIR_QUESTIONS))
    if not judge.may_rank_models and not wanted <= ABOUT_A_PERSONA:
        raise UsageError(
            f"{judge.name} reads personas; quality has none", todo="ask serves or picks, or name a language model"
        )
    return tuple(question for question in PAIR_QUESTIONS if question in wanted)


def _paths(files: Files) -> list[Path]:
    return [Path(files)] if isinstance(files, str | os.PathLike) else [Path(file) for file in files]


def _check_not_itself(read: Iterable[Generations]) -> None:
    """Refuse two models whose files are the same."""
    seen: dict[frozenset[str], str] = {}
    for of in read:
        digests = frozenset(file.sha256 for file in of.files)
        if digests in seen:
            raise UsageError(
                "a model is compared with itself",
                where=f"{seen[digests]} and {of.model}",
                found="the same file, byte by byte",
                todo="name two different ones",
            )
        seen[digests] = of.model


def _asked(folder: PathLike | None, read: Iterable[Generations], group: str | None, cluster: str | None) -> list[Asked]:
    if folder is None:
        return []
    rows = [row for of in read for row in of.rows]
    has_ids = all(row.id is not None for row in rows)
    ids = {row.id for row in rows if row.id is not None} if has_ids else None
    return read_cases(Path(folder), ids, group, cluster)


def _without_faults(
    pairing: Pairing, leave_out: Sequence[Fault], model: Generations, baseline: Generations
) -> tuple[Pairing, dict[str, int]]:
    """Return a pairing without cases of which either response is at fault, and how many each rule met."""
    if "truncated" in leave_out:
        for of in (model, baseline):
            if all(row.finish is None for row in of.rows):
                raise DataError(
                    "nothing says which generations were cut off",
                    where=of.model,
                    expected="a column finish (or finish_reason)",
                    todo="leave truncated out of --leave-out",
                )
    counts: dict[str, int] = {fault: sum(fault in one.faults for one in pairing.cases) for fault in leave_out}
    kept = [one for one in pairing.cases if not one.faults.intersection(leave_out)]
    if not kept:
        raise DataError(
            "every case was left out",
            where=f"{model.model}, {baseline.model}",
            found=", ".join(f"{count} {fault}" for fault, count in counts.items()),
            todo="leave out less",
        )
    return replace(pairing, cases=kept), counts


def _check_cases(prepared: _Prepared) -> None:
    """Refuse models whose responses are all the same, and personas that are not there.

    Raises:
        DataError: one of these.

    """
    for model, cases in prepared.cases.items():
        if all(one.is_same for one in cases):
            raise DataError(
                "a model is compared with itself",
                where=f"{prepared.baseline.model} and {model}",
                found=f"{len(cases)} cases, the same response in each",
                todo="name generations of two different models",
            )
        group = prepared.settings.get("group")
        if group is not None and all(one.group is None for one in cases):
            raise DataError(
                "no case has a group",
                where=f"{prepared.baseline.model} and {model}",
                expected=f"a column {group!r} in the records of either model, or in the dataset given as --cases",
            )
        about = [question for question in prepared.questions if question in ABOUT_A_PERSONA]
        if about and not any(one.case.persona for one in cases):
            raise DataError(
                "no persona to judge by",
                where=f"{prepared.baseline.model} and {model}",
                expected=f"a persona in the records of either model, for {' and '.join(about)}",
                todo="name the dataset they were made of: --cases FOLDER; or ask for --questions quality",
            )


def _evaluation(
    prepared: _Prepared, figures: Mapping[str, Any], between: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    settings, judge = prepared.settings, prepared.judge
    label = judges.judge_label(judge, prepared.engines or "contrast")
    return {
        "schema_version": SCHEMA_VERSION,
        "code_version": __version__,
        "date": datetime.now(UTC).date().isoformat(),
        "baseline": prepared.baseline.model,
        "judge": {"label": label, **judge.about(*prepared.questions)},
        "questions": list(prepared.questions),
        "persona_engines": sorted(prepared.engines),
        "rules": {
            "faults": dict(RULES),
            "between_models": "net of the first less net of the second, over the cases that both have",
            "left_out": list(_known_faults(settings.get("leave_out", ()))),
            "limit": settings.get("limit"),
            "seed": settings.get("seed", 0),
            "group": settings.get("group"),
            "cluster": settings.get("cluster"),
            "cases": settings.get("cases") is not None,
            "max_unreadable_rate": settings.get("max_unreadable_rate", MOST_UNREADABLE),
            "same_response": "responses that are the same text are a tie; the judge is not asked",
            "holm": "over the models, for each question by itself",
            "length": "in characters, the model's less the baseline's",
            "delta_pq": "over the cases that were judged by quality and by persona",
        },
        "inputs": {of.model: _input(of) for of in (prepared.baseline, *prepared.models)},
        "models": {model: {**_cases(prepared, model), **figures[model]} for model in figures},
        "between_models": between,
        "unreadable": _unreadable(figures),
        "problems": _problems(prepared),
    }


def _input(of: Generations) -> dict[str, Any]:
    faults = [faults_of(row.response, row.finish) for row in of.rows]
    stated = sum(row.finish is not None for row in of.rows)
    return {
        "files": [asdict(file) for file in of.files],
        "rows": len(of.rows),
        "persona_kinds": dict(sorted(Counter(row.kind for row in of.rows if row.kind).items())),
        "finish_stated": stated,
        **{fault: sum(fault in found for found in faults) for fault in FAULTS},
        "mean_characters": round(sum(len(row.response) for row in of.rows) / len(of.rows), 1),
    }


def _cases(prepared: _Prepared, model: str) -> dict[str, Any]:
    cases = prepared.cases[model]
    return {
        "pairing": prepared.pairings[model].to_dict(),
        "left_out": dict(prepared.left_out[model]),
        "cases": len(cases),
        "roots": len({one.case.root for one in cases}),
        "without_persona": sum(not one.case.persona for one in cases),
        "without_side": sum(one.side is None for one in cases),
        "same_response": sum(one.is_same for one in cases),
    }


def _problems(prepared: _Prepared) -> list[str]:
    """Say in sentences what a reader of the figures should know of the files."""
    found = []
    for model, pairing in prepared.pairings.items():
        pair = f"{model} and {prepared.baseline.model}"
        for what, counts in (
            ("of the same response once more", pairing.duplicates),
            ("of another response to the same prompt, one of which counts", pairing.conflicting),
            ("without a partner", pairing.unmatched),
            ("that may belong to several cases", pairing.ambiguous),
        ):
            found += [f"{pair}: {_counted(count, 'record')} {what} in {of}" for of, count in counts.items() if count]
        if pairing.other_prompt:
            found.append(f"{pair}: {_counted(pairing.other_prompt, 'pair')} of one id whose prompts differ, left out")
        lacking = sum(not one.case.persona for one in prepared.cases[model])
        if lacking and ABOUT_A_PERSONA.intersection(prepared.questions):
            found.append(f"{pair}: {_counted(lacking, 'case')} without a persona, judged by quality alone if at all")
    all_models = (prepared.baseline, *prepared.models)
    for of in all_models:
        strange = (
            sorted({row.kind for row in of.rows if row.kind in _NOT_ITS_OWN})
            if not prepared.settings.get("cases")
            else []
        )
        if strange:
            found.append(f"{of.model} was told {' and '.join(strange)} personas, and is judged by these")
    unstated = {of.model: sum(row.finish is None for row in of.rows) for of in all_models}
    if any(unstated.values()):
        of_each = " and ".join(f"{_counted(count, 'record')} of {model}" for model, count in unstated.items() if count)
        found.append(f"nothing says whether {of_each} were cut off: no column finish (or finish_reason)")
    return found


def _unreadable(figures: Mapping[str, Any]) -> list[str]:
    """Say of which questions too much could not be read, and what the judge said first."""
    found = []
    for model, of in figures.items():
        for question, one in of["questions"].items():
            if one["withheld"] and one["asked"]:
                missing = f"{one['counts']['missing']:,} of {one['asked']:,} cases asked"
                said = one["first_unreadable"][:_MOST_SHOWN]
                found.append(f"{model}, {question}: {missing} could not be read, so there is no figure; first: {said}")
    return found


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _write_json(path: Path, value: Mapping[str, Any]) -> dict[str, Any]:
    """Write a file, and return what it holds as it will be read again."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def _write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
