"""`whoseboat train`, `whoseboat merge` and `whoseboat generate`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from whoseboat.cli.arguments import interruptible, parameters
from whoseboat.errors import UsageError, WhoseboatError, printable, unknown
from whoseboat.llm.settings import LanguageModel

if TYPE_CHECKING:
    from whoseboat.model_manifest import ModelManifest
    from whoseboat.recipes import ModelsRecipe
    from whoseboat.records import Side
    from whoseboat.tailoring import generation, stages
    from whoseboat.tailoring.inference_personas import Kind
    from whoseboat.tailoring.recipe import Recipe
    from whoseboat.tailoring.training import GridModel

_EVERY_SECONDS = 5.0
_LIBRARIES = frozenset({"torch", "transformers", "trl", "peft", "accelerate"})
# What --personas takes, as the kind of personas and the sides.
_PERSONAS: dict[str, tuple[str, tuple[str, ...]]] = {
    "true": ("true", ("chosen", "rejected")),
    "chosen": ("true", ("chosen",)),
    "rejected": ("true", ("rejected",)),
    "retrieved": ("retrieved", ("chosen", "rejected")),
    "shuffled": ("shuffled", ("chosen", "rejected")),
    "system": ("system", ("chosen", "rejected")),
    "human": ("human", ("chosen", "rejected")),
    "none": ("none", ("chosen", "rejected")),
}


def train(
    recipe: Annotated[
        str | None,
        typer.Argument(help="A YAML file, or a recipe of ours: paper, fixed, laptop.  [default: with --smoke fixed]"),
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE...]", help="In place of what the recipe says.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The model folder to make; its name is the model's.")] = None,
    data: Annotated[
        str | None,
        typer.Option(help="The set: a folder, or ORG/NAME[@REVISION].  [default: the recipe's; with --smoke a sample]"),
    ] = None,
    grid: Annotated[
        bool, typer.Option("--grid", help="All methods with all kinds of personas: --out is the directory for them.")
    ] = False,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="The whole grid on a tiny random model, to see that it works.")
    ] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew where a run was killed.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model folder that is there.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Print the recipe as it would be used; train nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest.")] = False,
) -> None:
    """Train a model that tailors what it says to a persona; a killed run goes on where it stopped."""
    from whoseboat.tailoring import recipe as recipes

    if smoke and recipe is not None and "=" in recipe and not Path(recipe).is_file():
        changes, recipe = [recipe, *(changes or ())], None
    if recipe is None and not smoke:
        raise UsageError("no recipe was named", expected=f"a YAML file, or one of {', '.join(recipes.shipped())}")
    found = recipes.load(recipe or "fixed", changes or (), data=data)
    if show:
        typer.echo(found.to_yaml(), nl=False)
        return
    if out is None:
        raise UsageError("no folder to make was named", todo="name one: --out DIRECTORY")
    if (grid or smoke) and overwrite:
        raise UsageError("a grid replaces no models", todo="remove those that are to be trained again")
    _quiet()
    with interruptible(), _needed():
        from whoseboat.tailoring import training

        if smoke:
            _show_overview(training.smoke(found, out, data=data, on_progress=_shown(), on_model=_show_model))
        elif grid:
            _show_overview(training.train_grid(found, out, on_progress=_shown(), on_model=_show_model))
        else:
            done = training.train(found, out, resume=not restart, overwrite=overwrite, on_progress=_shown())
            if _is_main():
                _show_trained(done.path, done.manifest, done.best_step, done.refused, as_json)
                _warn_of_refusals(done.manifest)


def merge(
    folder: Annotated[Path, typer.Argument(help="A model folder whose weights are an adapter.")],
    out: Annotated[Path, typer.Option(help="The folder to make.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model folder that is there.")] = False,
) -> None:
    """Merge an adapter into its base, as a folder that loads by itself."""
    _quiet()
    with interruptible(), _needed():
        from whoseboat.tailoring import merging

        done = merging.merge(folder, out, overwrite=overwrite, on_progress=_shown())
    typer.echo(f"{done.path}: merged into {printable(done.manifest.base_model)}")
    _show_refusals(done.manifest)
    _warn_of_refusals(done.manifest)


def generate(
    model: Annotated[
        str,
        typer.Argument(
            help="A model folder, any other causal language model (the untuned baseline), or ORG/NAME of one on the "
            "Hub; with --base-url a model there."
        ),
    ],
    data: Annotated[str, typer.Option(help="The set: a folder, or ORG/NAME[@REVISION].")],
    out: Annotated[Path, typer.Option(help="The JSONL file to write; what stands there is not asked again.")],
    personas: Annotated[
        str,
        typer.Option(
            help="Whose: true (of both sides), chosen, rejected, retrieved, shuffled, none, system[=SENTENCE], "
            "human=FILE."
        ),
    ] = "true",
    split: Annotated[str, typer.Option(help="Which prompts.")] = "test",
    config: Annotated[str | None, typer.Option(help="Of the paper's layout, the config.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Take this many pairs, the first ones.")] = None,
    seed: Annotated[int, typer.Option(help="Of shuffling.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Prompts answered at once.")] = 8,
    max_new_tokens: Annotated[int | None, typer.Option(help="Of a response.  [default: the model's]")] = None,
    base_url: Annotated[
        str | None, typer.Option(help="Ask an endpoint, up to /v1, that serves MODEL.  [default: the folder itself]")
    ] = None,
    parameter: Annotated[
        list[str] | None, typer.Option(help="Sent with every request, KEY=VALUE: temperature=0; may be repeated.")
    ] = None,
    batch: Annotated[bool, typer.Option("--batch", help="Ask through the Batch API: cheaper, within a day.")] = False,
    concurrency: Annotated[int, typer.Option(help="The most requests at once.")] = 64,
    max_cost: Annotated[float | None, typer.Option(help="Dollars this run may spend.")] = None,
    price_in: Annotated[float | None, typer.Option(help="Dollars per million prompt tokens.")] = None,
    price_out: Annotated[float | None, typer.Option(help="Dollars per million completion tokens.")] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Ask again what failed in an earlier run.")
    ] = False,
    cache_dir: Annotated[
        Path | None, typer.Option(help="Where answers are kept.  [default: XDG_CACHE_HOME/whoseboat]")
    ] = None,
) -> None:
    """Have a model answer the prompts of a set for personas, as a file that `whoseboat evaluate` reads."""
    kind, sides, value = _personas(personas)
    _quiet()
    with interruptible(), _needed(base_url is None):
        from whoseboat.tailoring import generation, inference_personas, pairs
        from whoseboat.tailoring.refusals import Refusals

        asked: str | LanguageModel = model
        if base_url is not None:
            asked = LanguageModel(
                model,
                base_url=base_url,
                parameters=parameters(parameter or []),
                batch=batch,
                concurrency=concurrency,
                max_cost=max_cost,
                price_in=price_in,
                price_out=price_out,
                retry_failed=retry_failed,
                cache_dir=cache_dir,
            )
        elif parameter or batch:
            raise UsageError("--parameter and --batch are for endpoints", todo="name one: --base-url URL")
        refused = Refusals()
        found = pairs.load(data, config=config).pairs(split, refused)
        cases = inference_personas.give(
            _first(found, limit),
            cast("Kind", kind),
            sides=cast("tuple[Side, ...]", sides),
            system=value if kind == "system" else None,
            human=inference_personas.read_human(Path(value)) if kind == "human" and value else None,
            seed=seed,
            refusals=refused,
        )
        decoding = None if base_url else generation.Decoding(batch_size, max_new_tokens)
        done = generation.generate(asked, cases, out, decoding=decoding, on_progress=_counted())
    _show_generated(done, refused)


def train_references(models: ModelsRecipe, data: str, out: Path, recipe: str, limit: int | None) -> None:
    """Train the reference models that a recipe of `builders/` pins, and show how it goes."""
    _quiet()
    with _needed():
        from whoseboat.tailoring import training

        training.train_references(
            models, data, out, recipe=recipe, limit=limit, on_progress=_shown(), on_model=_show_model
        )


def _is_main() -> bool:
    """Say whether this is the first process of a run, the one that speaks."""
    return os.environ.get("RANK", "0") == "0"


def _first(found: Any, limit: int | None) -> Any:  # noqa: ANN401 - an iterator of pairs
    from itertools import islice

    return islice(found, limit)


def _personas(given: str) -> tuple[str, tuple[str, ...], str | None]:
    """Read KIND or KIND=VALUE."""
    kind, _, value = given.partition("=")
    if kind not in _PERSONAS:
        raise unknown("kind of personas", kind, _PERSONAS)
    if value and kind not in ("system", "human"):
        raise UsageError(f"--personas {kind} takes no value", found=given)
    if kind == "human" and not value:
        raise UsageError("--personas human names no table", expected="--personas human=FILE (CSV or JSONL)")
    return *_PERSONAS[kind], value or None


@contextmanager
def _needed(is_needed: bool = True) -> Iterator[None]:
    """Say which extra is missing where its libraries are not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        if not is_needed or (error.name or "").partition(".")[0] not in _LIBRARIES:
            raise
        raise WhoseboatError(
            "the libraries for training are not installed",
            found=f"no {error.name}",
            todo="install the extra `train` of whoseboat, from its checkout: pip install '.[train]'",
        ) from error


def _quiet() -> None:
    """Keep the libraries from drawing bars of their own."""
    for name in ("TQDM_DISABLE", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def _shown() -> Callable[[stages.Progress], None]:
    """Return what shows how training goes: a line now and then, and each validation."""
    last = 0.0

    def show(progress: stages.Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _EVERY_SECONDS and progress.validation_loss is None and progress.step < progress.steps:
            return
        last = now
        if progress.stage == "refusals":
            typer.echo(f"refusals: {progress.step:,} of {progress.steps:,} replies", err=True)
            return
        parts = [f"{progress.stage}: step {progress.step:,} of {progress.steps:,}", f"epoch {progress.epoch:.2f}"]
        parts += [f"loss {progress.loss:.4f}"] if progress.loss is not None else []
        parts += [f"validation {progress.validation_loss:.4f}"] if progress.validation_loss is not None else []
        typer.echo(", ".join(parts), err=True)

    return show


def _counted() -> Callable[[generation.Progress], None]:
    last = time.monotonic()

    def show(progress: generation.Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= _EVERY_SECONDS:
            last = time.monotonic()
            counts = f"{progress.reused:,} there already, {progress.failed:,} failed"
            typer.echo(f"{progress.written:,} responses written, {counts}", err=True)

    return show


def _show_model(model: GridModel) -> None:
    if _is_main():
        recipe: Recipe = model.recipe
        how = "was there" if model.was_there else "done"
        typer.echo(f"{model.path}: {how} ({recipe.method}, personas {recipe.personas})")
        if not model.was_there:
            _warn_of_refusals(model.manifest)


def _show_overview(models: Sequence[GridModel]) -> None:
    """Print a line for each model of a grid: what it took, how its loss went, how often it refuses."""
    if not _is_main():
        return
    rows = [("model", "trained", "loss", "refuses")]
    for model in models:
        made, took = model.manifest, model.manifest.training
        trained = f"{took.rows:,} rows, {took.steps:,} steps, {took.seconds:.0f} s" if took else "nothing: a prompt"
        known = took is not None and took.first_loss is not None and took.last_loss is not None
        loss = f"{took.first_loss:.3f} to {took.last_loss:.3f}" if took is not None and known else ""
        refuses = next((f"{one.rate:.2f}" for one in made.refusals if one.persona == "none"), "not measured")
        rows.append((printable(model.path.name), trained, loss, refuses))
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    typer.echo("refuses: the share of 40 harmful requests, asked without a persona; with personas: in its card")


def _show_trained(path: Path, made: ModelManifest, best: int | None, refused: Mapping[str, int], as_json: bool) -> None:
    if as_json:
        typer.echo(made.to_json(), nl=False)
        return
    typer.echo(f"{path}: {made.method}, personas {made.personas}, {made.relation} of {printable(made.base_model)}")
    for stage, took in (("sft", made.sft_training), (made.method, made.training)):
        if took is not None:
            typer.echo(
                f"{stage}: {took.rows:,} rows, {took.cut:,} cut, {took.dropped:,} dropped as too long; "
                f"{took.steps:,} steps in {took.seconds:,.0f} s"
            )
    if made.training is not None:
        kept = f"best by validation: step {best:,}" if best is not None else "no validation: the last weights are kept"
        typer.echo(kept)
    if refused:
        typer.echo("left out: " + ", ".join(f"{count:,} {reason}" for reason, count in sorted(refused.items())))
    _show_refusals(made)


def _show_refusals(made: ModelManifest) -> None:
    if made.refusals:
        told = ", ".join(
            f"{one.rate:.2f} " + ("without a persona" if one.persona == "none" else f"as {printable(one.persona)}")
            for one in made.refusals
        )
        typer.echo(f"refuses harmful requests: {told} (n {made.refusals[0].n} each; intervals are in its card)")


def _warn_of_refusals(made: ModelManifest) -> None:
    """Say that refusals were to be measured and are not; the model is there all the same."""
    from whoseboat.tailoring.measuring import LEFT_OUT

    if made.refusals_missing not in ("", LEFT_OUT):
        typer.echo(
            f"whoseboat: {printable(made.name)} is complete, but how often it refuses was not measured: "
            f"{printable(made.refusals_missing)}; its card says so. "
            "To measure it: whoseboat score MODEL SET --into-card",
            err=True,
        )


def _show_generated(done: generation.Generated, refused: Any) -> None:  # noqa: ANN401 - refusals
    typer.echo(
        f"{done.path}: {done.rows:,} responses of {printable(done.model)}, {done.reused:,} of them there already; "
        f"{done.cut_off:,} cut off"
    )
    for told, what in ((refused, "not asked"), (done.refusals, "without a response")):
        if told.counts:
            typer.echo(f"{what}: {printable(told.in_words())}")
