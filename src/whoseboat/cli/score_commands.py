"""`whoseboat score`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from whoseboat.cli.arguments import interruptible
from whoseboat.cli.progress import Pace
from whoseboat.cli.tables import print_table, tell_of_few
from whoseboat.cli.train_commands import _needed, _quiet
from whoseboat.errors import UsageError, printable

if TYPE_CHECKING:
    from whoseboat.model_manifest import Refusals, Result, Template
    from whoseboat.tailoring.inference_personas import Kind
    from whoseboat.tailoring.loading import Dtype
    from whoseboat.tailoring.scoring import Progress, Scores


def score(
    model: Annotated[
        str, typer.Argument(help="A model folder, or any other causal language model; or ORG/NAME of one on the Hub.")
    ],
    dataset: Annotated[str, typer.Argument(help="The set: a folder, or ORG/NAME[@REVISION].")],
    split: Annotated[str, typer.Option(help="Which pairs.")] = "test",
    reference: Annotated[
        str | None,
        typer.Option(
            help="What rewards are measured from: a folder or ORG/NAME; for DPO the model it started from.  "
            "[default: of an adapter its base, else no rewards]"
        ),
    ] = None,
    personas: Annotated[
        str, typer.Option(help="Of true, shuffled, retrieved, system, none, with commas.")
    ] = "true,shuffled",
    template: Annotated[
        str | None,
        typer.Option(help="chat or plain, for a model that is no folder of ours.  [default: chat where it has one]"),
    ] = None,
    config: Annotated[str | None, typer.Option(help="Of the paper's layout, the config.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Take this many pairs, the first ones.")] = None,
    seed: Annotated[int, typer.Option(help="Of shuffling.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows computed at once.")] = 8,
    max_length: Annotated[
        int | None,
        typer.Option(min=1, help="The most tokens of a row; longer ones are left out.  [default: the model's]"),
    ] = None,
    beta: Annotated[float | None, typer.Option(help="Of the reward.  [default: that of DPO's recipe, else 1]")] = None,
    dtype: Annotated[str, typer.Option(help="float32, or bfloat16: quicker, and coarser.")] = "float32",
    out: Annotated[
        Path | None,
        typer.Option(
            help="The JSON file to write; the scores go beside it, as NAME.parquet.  [default: scores-MODEL.json]"
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the files that are there.")] = False,
    refusals: Annotated[
        bool | None,
        typer.Option(
            "--refusals/--no-refusals",
            help="Measure how often it refuses harmful requests.  [default: with --into-card]",
        ),
    ] = None,
    into_card: Annotated[
        bool, typer.Option("--into-card", help="Put the figures into the model folder's manifest and card.")
    ] = False,
    evaluation: Annotated[
        Path | None,
        typer.Option(help="Score nothing: take the model's figures out of this folder of `whoseboat evaluate`."),
    ] = None,
    called: Annotated[
        str | None,
        typer.Option("--as", help="What that evaluation calls the model.  [default: told by its generations]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the JSON file.")] = False,
) -> None:
    """Score the pairs of a set by a model's own likelihoods: whether it ranks responses by the persona.

    Ranking is not generation: nothing of this says what the model writes.
    """
    _quiet()
    with interruptible(), _needed():
        from whoseboat.tailoring import harm, loading, references, scorecards, scoring

        if evaluation is not None:
            _take_evaluation(model, evaluation, dataset, split, config, called, into_card, as_json)
            return
        if called is not None:
            raise UsageError("--as names a model of an evaluation", todo="name one: --evaluation FOLDER")
        kinds = cast("list[Kind]", [name.strip() for name in personas.split(",") if name.strip()])
        out = scoring.check_free(out or _named_after(model), overwrite=overwrite)
        if into_card:
            _check_folder(model)
        found = scoring.open_set(dataset, split=split, personas=kinds, config=config)
        loaded = loading.load(
            model,
            reference=reference,
            template=cast("Template | None", template),
            dtype=cast("Dtype", dtype),
        )
        told = loaded.reference.name if loaded.reference else ""
        doubt = references.doubt(loaded.made, reference, told) if reference is not None else ""
        if doubt:
            typer.echo(f"whoseboat: {printable(doubt)}; figures by reward are measured from it all the same", err=True)
        scores = scoring.score(
            loaded,
            found,
            split=split,
            personas=kinds,
            config=config,
            limit=limit,
            seed=seed,
            batch_size=batch_size,
            max_length=max_length,
            beta=beta,
            reference_doubt=doubt,
            on_progress=_counted(),
        )
        wanted = into_card if refusals is None else refusals
        rates = harm.refusals(loaded, batch_size=batch_size) if wanted else None
        more = {} if rates is None else {"refusals": [asdict(rate) for rate in rates]}
        scores.write(out, overwrite=overwrite, more=more)
        if into_card:
            scorecards.into_card(model, scores.results(), rates)
    if as_json:
        typer.echo(out.read_text(encoding="utf-8"), nl=False)
    else:
        _show(scores, rates or (), out)
        if into_card:
            typer.echo(f"{model}: in manifest and card")


def _named_after(model: str) -> Path:
    """Return the file of figures of a model: its folder's name, or its repo's, is in the file's."""
    path = Path(model)
    name = path.resolve().name if path.exists() else model.partition("@")[0].rpartition("/")[2]
    safe = re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip("-.")
    return Path(f"scores-{safe}.json" if safe else "scores.json")


def _check_folder(model: str) -> None:
    """See that figures can go into a model's card, before there is work that could be lost."""
    from whoseboat.manifest import FILE
    from whoseboat.tailoring import model_folder

    if not (Path(model) / FILE).is_file():
        raise UsageError(
            "--into-card takes a model folder of ours, on this machine",
            expected=f"a folder as `whoseboat train` makes it, with {FILE}",
            found=model,
        )
    model_folder.read(model)


def _take_evaluation(
    model: str,
    evaluation: Path,
    dataset: str,
    split: str,
    config: str | None,
    called: str | None,
    into_card: bool,
    as_json: bool,
) -> None:
    """Show the figures that an evaluation has of a model, and put them into its card where that is wanted."""
    from whoseboat.tailoring import evaluations, model_folder, pairs, scorecards

    made = model_folder.read(model).manifest
    on = pairs.load(dataset, config=config).trained_on
    results = evaluations.results_of(evaluation, made, on, split=split, called=called)
    if into_card:
        scorecards.into_card(model, results)
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in results], ensure_ascii=False))
        return
    against = f" against {printable(results[0].against)}" if results[0].against else ""
    typer.echo(f"{printable(made.name)}{against}, judged by {printable(results[0].judge)}")
    _show_results(results)
    typer.echo(f"{model}: {'in manifest and card' if into_card else 'to put them into its card: --into-card'}")


def _counted() -> Callable[[Progress], None]:
    pace = Pace()

    def show(progress: Progress) -> None:
        done = progress.scored + progress.left_out
        if not pace.is_due(done, progress.expected):
            return
        told = f"{done:,} of {progress.expected:,} pairs, at {progress.kind} personas: {progress.left_out:,} left out"
        typer.echo(", ".join(filter(None, [told, pace.left(done, progress.expected)])), err=True)

    return show


def _show(scores: Scores, rates: tuple[Refusals, ...], out: Path) -> None:
    compared = (
        f"rewards measured from {printable(scores.reference)}"
        if scores.reference
        else "no reference, so no implicit rewards, log-probabilities alone"
    )
    typer.echo(f"{printable(scores.model)}: {scores.pairs:,} pairs; {compared}")
    _show_results(scores.results())
    for rate in rates:
        told = f"{rate.rate:.3f} ({rate.low:.3f} to {rate.high:.3f}), n {rate.n:,}"
        typer.echo(f"  refuses harmful requests, persona {printable(rate.persona)}: {told}")
    for kind, refused in scores.left_out.items():
        if refused.counts:
            typer.echo(f"  left out of {kind} personas: {printable(refused.in_words())}")
    typer.echo(f"written: {out}, all figures; {out.with_suffix('.parquet')}, all scores; ranking is not generation")


def _show_results(results: Sequence[Result]) -> None:
    from whoseboat.cards.results import given, in_words

    rows = [(in_words(one.name), given(one), _value(one), f"{one.n:,}") for one in results]
    print_table(("figure", "personas", "value", "n"), rows)
    tell_of_few(rows)
    for note in dict.fromkeys(one.note for one in results if one.value is None and one.note):
        typer.echo(f"none: {printable(note)}")


def _value(one: Result) -> str:
    from whoseboat.cards.results import is_of_few

    if one.value is None:
        return "none"
    if one.low is None or one.high is None:
        return f"{one.value:z.3f}"
    return f"{one.value:z.3f} [{one.low:z.3f}, {one.high:z.3f}]" + ("*" if is_of_few(one) else "")
