"""`whoseboat evaluate` and `whoseboat power`."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from whoseboat.cli import judges
from whoseboat.cli.arguments import interruptible, listed, parameters
from whoseboat.cli.tables import print_table
from whoseboat.errors import UsageError, printable
from whoseboat.llm.settings import LanguageModel

if TYPE_CHECKING:
    from whoseboat.evaluation.evaluating import Evaluated, Settings
    from whoseboat.evaluation.judging import Progress
    from whoseboat.judge import Estimate, Form
    from whoseboat.metric import Study

_LOG_EVERY_SECONDS = 5.0
# Numbers of pairs of which is said what they can show, where none is given.
_COMMON = (100, 300, 1_000, 3_000)


def evaluate(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME=FILE...",
            help="Generations of each model: JSONL, JSON, CSV, Parquet, or a directory; a name given again adds files.",
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="The folder to make.")] = None,
    baseline: Annotated[
        str | None, typer.Option(help="What the others are compared with.  [default: the first]")
    ] = None,
    judge_model: Annotated[
        str | None, typer.Option(help="The language model that judges; there is no default.")
    ] = None,
    judge: Annotated[
        str | None, typer.Option(help="contrast-reader: the offline reader of personas; no model is ranked by it.")
    ] = None,
    judge_base_url: judges.BaseUrl = None,
    questions: Annotated[
        str | None,
        typer.Option(help="Of quality, serves, picks, with commas.  [default: quality,serves; the reader: serves]"),
    ] = None,
    form: judges.TheForm = "choice",
    certainty: judges.Certainty = False,
    prompts: judges.Prompts = None,
    cases: Annotated[
        Path | None, typer.Option(help="Judge by prompts and personas of this dataset folder, paired by id.")
    ] = None,
    group: Annotated[str | None, typer.Option(help="Column that groups are told by.  [default: the sides]")] = None,
    cluster: Annotated[
        str | None,
        typer.Option(help="Column that tells independent cases apart: user_id.  [default: the conversations]"),
    ] = None,
    leave_out: Annotated[
        str | None,
        typer.Option(help="Leave out cases of which either response is: truncated,empty,repeating.  [default: none]"),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Judge this many cases of each model: a random subset.")] = None,
    seed: Annotated[int, typer.Option(help="Which random subset.")] = 0,
    batch: judges.Batch = False,
    parameter: judges.Parameter = None,
    concurrency: judges.Concurrency = 64,
    deadline: judges.Deadline = 120.0,
    max_attempts: judges.MaxAttempts = 5,
    max_failure_rate: judges.MaxFailureRate = 0.1,
    max_unreadable_rate: Annotated[
        float,
        typer.Option(help="Above this share of unreadable among cases asked there is no figure, and exit code 1."),
    ] = 0.5,
    max_cost: judges.MaxCost = None,
    max_tokens: judges.MaxTokens = None,
    price_in: judges.PriceIn = None,
    price_out: judges.PriceOut = None,
    retry_failed: judges.RetryFailed = False,
    cache_dir: judges.CacheDir = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an evaluation that is there.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be asked and what it would cost; send nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print evaluation.json.")] = False,
) -> None:
    """Compare the generations of models with those of a baseline, by quality and by persona."""
    from whoseboat.evaluation import evaluating

    chosen = judges.chosen(
        judge,
        judge_model,
        base_url=judge_base_url,
        batch=batch,
        parameters=parameters(parameter or []),
        concurrency=concurrency,
        deadline=deadline,
        max_attempts=max_attempts,
        max_failure_rate=max_failure_rate,
        max_cost=max_cost,
        max_tokens=max_tokens,
        price_in=price_in,
        price_out=price_out,
        retry_failed=retry_failed,
        cache_dir=cache_dir,
    )
    settings: Settings = {
        "baseline": baseline,
        "questions": None if questions is None else listed(questions),
        "form": cast("Form", form),
        "certainty": certainty,
        "prompts": prompts,
        "cases": cases,
        "group": group,
        "cluster": cluster,
        "leave_out": listed(leave_out),
        "limit": limit,
        "seed": seed,
        "max_unreadable_rate": max_unreadable_rate,
    }
    files = _files(models)
    with interruptible():
        if dry_run:
            _show_estimate(evaluating.estimate_evaluation(files, judge=chosen, **settings), chosen, as_json)
            return
        if out is None:
            raise UsageError("no folder to make was named", todo="name one: --out DIRECTORY")
        with _progress() as on_progress:
            done = evaluating.evaluate(
                files, out, judge=chosen, overwrite=overwrite, on_progress=on_progress, **settings
            )
    if as_json:
        typer.echo(json.dumps(done.evaluation, ensure_ascii=False))
    else:
        _show(done)
    for sentence in done.unreadable:
        typer.echo(f"whoseboat: not readable enough: {printable(sentence)}", err=True)
    if done.unreadable:
        raise typer.Exit(1)


def power(
    net: Annotated[float | None, typer.Option(help="The net to be found: wins less losses over all, -1 to 1.")] = None,
    pairs: Annotated[int | None, typer.Option(help="How many pairs there are: which net they can show.")] = None,
    power_: Annotated[float, typer.Option("--power", help="The chance to find it if it is there.")] = 0.8,
    significance: Annotated[float, typer.Option(help="The chance to find one that is not there.")] = 0.05,
    ties: Annotated[float, typer.Option(help="The share of ties among pairs that can be read.")] = 0.3,
    missing: Annotated[float, typer.Option(help="The share of pairs that cannot be read.")] = 0.0,
    cluster_size: Annotated[float, typer.Option(help="Pairs per conversation (or user), on average.")] = 1.0,
    size_spread: Annotated[float, typer.Option(help="Standard deviation of these sizes over their mean.")] = 0.0,
    dependence: Annotated[
        float | None,
        typer.Option(
            help="How alike two pairs of one conversation come out, 0 to 1.  [default: 1, the careful end, where there "
            "are several to one]"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Say how many pairs a difference needs, and which difference a number of pairs can show."""
    from whoseboat.metric import Study, detectable_net, pairs_needed

    if net is None and pairs is None:
        raise UsageError("nothing was asked", expected="--net DIFFERENCE, --pairs NUMBER, or both")
    assumed = dependence if dependence is not None else float(cluster_size > 1 or size_spread > 0)
    if net is not None and 0 <= ties < 1 and not 0 < abs(net) <= 1 - ties + 1e-12:
        raise UsageError(
            "--net is out of range",
            expected=f"from {ties - 1:g} to {1 - ties:g}, and not 0: {ties:.0%} of pairs tie (--ties), and a net is "
            "wins less losses over all pairs",
            found=f"{net:g}",
        )
    try:
        study = Study(ties, missing, cluster_size, size_spread, assumed, power_, significance)
        needed = None if net is None else pairs_needed(net, study)
        shown = None if pairs is None else detectable_net(pairs, study)
    except ValueError as error:
        raise UsageError("these figures do not go together", found=str(error)) from error
    if as_json:
        found = {"net": net, "needed": needed.to_dict() if needed else None, "pairs": pairs, "detectable_net": shown}
        typer.echo(json.dumps({**found, "study": asdict(study)}))
        return
    if net is not None and needed is not None:
        typer.echo(
            f"To tell a net of {net:+g} from 0 takes {needed.pairs:,} pairs from {needed.clusters:,} conversations: "
            f"{2 * needed.pairs:,} verdicts to a question (both orders)."
        )
    for number in _COMMON if pairs is None else (pairs,):
        typer.echo(f"{number:,} pairs show {_detectable(number, study)}.")
    for line in _assumed(study, dependence is None):
        typer.echo(line)


def _detectable(pairs: int, study: Study) -> str:
    from whoseboat.metric import detectable_net

    found = detectable_net(pairs, study)
    return "no net of any size" if found is None else f"a net of {found:.3f} or more"


def _assumed(study: Study, is_default: bool) -> Iterator[str]:
    yield (
        f"Assumed: {study.ties:.0%} of pairs tie, {study.missing:.0%} cannot be read, it is found with a chance of "
        f"{study.power:.0%}, and one that is not there with {study.significance:.0%} (two-sided)."
    )
    if study.design_effect != 1:
        alike = f"whose outcomes correlate by {study.dependence:g}"
        if is_default:
            alike = "taken to come out all alike, the careful end, since --dependence was not given"
        yield (
            f"{study.cluster_size:g} pairs to a conversation, {alike}: {study.design_effect:.2f} times the pairs it "
            "would take if each had a conversation of its own."
        )


def _files(given: list[str]) -> Mapping[str, list[str]]:
    """Read NAME=FILE; a name given more than once has several files."""
    found: dict[str, list[str]] = {}
    for text in given:
        name, separator, file = text.partition("=")
        if not separator or not name.strip() or not file:
            raise UsageError("a model is given as NAME=FILE", expected="base=base.jsonl tuned=tuned.jsonl", found=text)
        found.setdefault(name.strip(), []).append(file)
    return found


@contextmanager
def _progress() -> Iterator[Callable[[Progress], None]]:
    """Show on standard error how an evaluation goes, a line now and then."""
    shown: list[Progress] = []
    ended, started = threading.Event(), time.monotonic()

    def log() -> None:
        while not ended.wait(_LOG_EVERY_SECONDS):
            if shown:
                typer.echo(_line(shown[-1], time.monotonic() - started), err=True)

    def note(progress: Progress) -> None:
        shown[:] = [progress]

    thread = threading.Thread(target=log, name="progress", daemon=True)
    thread.start()
    try:
        yield note
    finally:
        ended.set()
        thread.join()


def _line(progress: Progress, seconds: float) -> str:
    tally = progress.tally
    parts = [f"{progress.cases:,} of {progress.expected:,} cases judged", f"{tally.answered:,} answered"]
    numbers = (("unreadable", progress.unreadable), ("failed", progress.failed), ("reused", tally.reused))
    parts += [f"{count:,} {name}" for name, count in numbers if count]
    parts += [f"{tally.answered / max(seconds, 1e-9):,.0f} requests/s", f"{tally.tokens:,} tokens"]
    parts += [f"${tally.cost:,.2f}"] if tally.prices else []
    return ", ".join([*parts, *([tally.note] if tally.note else [])])


def _show_estimate(found: Estimate, judge: str | LanguageModel, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(asdict(found)))
        return
    failed = f", {found.failed:,} failed earlier (--retry-failed asks them again)" if found.failed else ""
    typer.echo(
        f"{found.cases:,} comparisons: {found.requests:,} requests to send, {found.answered:,} answered already{failed}"
    )
    if isinstance(judge, LanguageModel):
        typer.echo(
            f"about {found.prompt_tokens:,} prompt and {found.completion_tokens:,} completion tokens (estimated)"
        )
        typer.echo(
            f"about ${found.cost:,.2f}" if found.cost is not None else "no price known: --price-in and --price-out"
        )
    typer.echo("nothing was sent; thinking of a model and requests asked again come on top")


def _show(done: Evaluated) -> None:
    """Print the figures with what they rest on; names are those of the user, and responses never show."""
    from whoseboat.evaluation.table import NO_RANKING
    from whoseboat.metric.figures import FEWEST_CLUSTERS

    found = done.evaluation
    judge = found["judge"]
    typer.echo(printable(f"against {found['baseline']}, judged by {judge['label']} in both orders"))
    if not judge["may_rank_models"]:
        typer.echo(f"no ranking. {NO_RANKING}")
    rows = list(_rows(found))
    print_table(("model", "", "asked", "missing", "net", "if missing"), rows)
    typer.echo("net: wins less losses over all that was read, with its interval of 95 %")
    typer.echo("asked: cases whose responses differ; where they are the same text it is a tie")
    if any("*" in cell for row in rows for cell in row):
        typer.echo(f"* fewer than {FEWEST_CLUSTERS} conversations: too few for the interval to be trusted")
    print_table(("model", "", "takes the first", "slope of length"), list(_preferences(found)))
    typer.echo("takes the first: preference for the response shown first, from -1 to 1")
    typer.echo("slope of length: above 0 where the longer response is preferred")
    for problem in found["problems"]:
        typer.echo(printable(problem))
    typer.echo(f"written to {printable(str(done.path))}: comparison.md, evaluation.json, verdicts.parquet, plots")


def _rows(found: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield a row per model and question, and one of its ΔPQ."""
    for model, of in found["models"].items():
        for question, one in of["questions"].items():
            counts, net = one["counts"], one["net"]
            bounds = f"{net['worst']:+.2f} to {net['best']:+.2f}" if counts["missing"] else ""
            asked = f"{one['asked']:,} of {counts['pairs']:,}"
            yield model, question, asked, f"{counts['missing']:,}", _figure(net, one["withheld"]), bounds
        delta = of["delta_pq"]
        if delta:
            yield model, "ΔPQ (net)", "", "", _figure(delta["net"]["figure"], delta["withheld"]), ""


def _preferences(found: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield a row per model and question: what the judge goes by, beside what it was asked."""
    for model, of in found["models"].items():
        for question, one in of["questions"].items():
            figures = (one["position_bias"], one["at_equal_length"]["slope"])
            yield model, question, *(_figure(figure, one["withheld"]) for figure in figures)


def _figure(figure: Mapping[str, Any] | None, withheld: str = "") -> str:
    if withheld:
        return withheld.partition(":")[0]
    if figure is None or figure["value"] is None:
        return "none"
    few = "*" if figure["note"] else ""
    interval = "" if figure["low"] is None else f" [{figure['low']:+.2f}, {figure['high']:+.2f}]{few}"
    return f"{figure['value']:+.2f}{interval}"
