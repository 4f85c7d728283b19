"""`whoseboat train`, `whoseboat merge` and `whoseboat generate`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict, cast, get_args

import typer

from whoseboat.cli.arguments import interruptible, parameters
from whoseboat.cli.progress import Pace
from whoseboat.errors import UsageError, WhoseboatError, printable, unknown
from whoseboat.llm.settings import LanguageModel

if TYPE_CHECKING:
    from whoseboat.model_manifest import Method, ModelManifest, PersonasOf, Training
    from whoseboat.recipes import ModelsRecipe
    from whoseboat.records import Side
    from whoseboat.tailoring import generation, stages
    from whoseboat.tailoring.inference_personas import Given, Kind
    from whoseboat.tailoring.recipe import Recipe
    from whoseboat.tailoring.training import GridModel
    from whoseboat.tailoring.work_folders import Unfinished

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
        bool,
        typer.Option(
            "--grid",
            help="All methods with all kinds of personas, or those named: method=sft,dpo personas=none,both. "
            "--out is the directory for them.",
        ),
    ] = False,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="The grid on a tiny random model, to see that it works.")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew where a run was killed; what other recipes left goes, too.")
    ] = False,
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
    narrowed: _Grid = {}
    if grid or smoke:
        changes, narrowed = _narrowed(changes or ())
    found = recipes.load(recipe or "fixed", changes or (), data=data)
    if show:
        _show_recipe(found, narrowed if grid or smoke else None)
        return
    if out is None:
        raise UsageError("no folder to make was named", todo="name one: --out DIRECTORY")
    if (grid or smoke) and overwrite:
        raise UsageError("a grid replaces no models", todo="remove those that are to be trained again")
    _quiet()
    with interruptible(), _needed():
        from whoseboat.tailoring import training

        if smoke:
            made = training.smoke(found, out, data=data, on_progress=_Shown(), on_model=_show_model, **narrowed)
            _show_overview(made)
        elif grid:
            made = training.train_grid(
                found, out, on_progress=_Shown(), on_model=_show_model, on_unfinished=_show_unfinished, **narrowed
            )
            _show_overview(made)
        else:
            done = training.train(
                found,
                out,
                resume=not restart,
                overwrite=overwrite,
                on_progress=_Shown(),
                on_unfinished=_show_unfinished,
            )
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

        done = merging.merge(folder, out, overwrite=overwrite, on_progress=_Shown())
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
        generation.check_out(out)
        found = pairs.load(data, config=config)
        human = inference_personas.read_human(Path(value)) if kind == "human" and value else None

        def cases(refused: Refusals) -> Iterator[Given]:
            return inference_personas.give(
                _first(found.pairs(split, refused), limit),
                cast("Kind", kind),
                sides=cast("tuple[Side, ...]", sides),
                system=value if kind == "system" else None,
                human=human,
                seed=seed,
                refusals=refused,
            )

        refused = Refusals()
        done = generation.generate(
            asked,
            cases(refused),
            out,
            asked_of=generation.set_of(found, split),
            expected=sum(1 for _ in cases(Refusals())),  # read twice, so that not all have to be in memory
            decoding=None if base_url else generation.Decoding(batch_size, max_new_tokens),
            on_progress=_counted(),
        )
    _show_generated(done, refused)


def train_references(models: ModelsRecipe, data: str, out: Path, recipe: str, limit: int | None) -> None:
    """Train the reference models that a recipe of `builders/` pins, and show how it goes."""
    _quiet()
    with _needed():
        from whoseboat.tailoring import training

        training.train_references(
            models, data, out, recipe=recipe, limit=limit, on_progress=_Shown(), on_model=_show_model
        )


class _Grid(TypedDict, total=False):
    """Which models of a grid are wanted; what is left out: all."""

    methods: Sequence[Method]
    personas: Sequence[PersonasOf]


def _narrowed(changes: Iterable[str]) -> tuple[list[str], _Grid]:
    """Take methods and kinds of personas of a grid out of the changes to its recipe: `method=sft,dpo personas=both`."""
    from whoseboat.model_manifest import Method, PersonasOf

    kept, found = list[str](), dict[str, list[str]]()
    for change in changes:
        key, _, value = change.partition("=")
        if key.strip() not in ("method", "personas"):
            kept.append(change)
            continue
        known = get_args(Method if key.strip() == "method" else PersonasOf)
        named = [part.strip() for part in value.split(",")]
        for part in named:
            if part not in known:
                raise unknown(f"{key.strip()} in a grid", part, known)
        found[key.strip()] = [one for one in known if one in named]  # SFT before DPO, which starts from it
    names = {"method": "methods", "personas": "personas"}
    return kept, cast("_Grid", {names[key]: values for key, values in found.items()})


def _show_recipe(recipe: Recipe, narrowed: _Grid | None) -> None:
    """Print a recipe; of a grid which models it is for, in place of a method and personas that have no say."""
    from whoseboat.model_manifest import Method, PersonasOf

    lines = recipe.to_yaml().splitlines()
    if narrowed is not None:
        methods, personas = narrowed.get("methods", get_args(Method)), narrowed.get("personas", get_args(PersonasOf))
        typer.echo(f"# a grid: methods {', '.join(methods)}; personas {', '.join(personas)}")
        lines = [line for line in lines if not line.startswith(("method:", "personas:"))]
    typer.echo("\n".join(lines))


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
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # it tells each time that it tries again


class _Shown:
    """Shows how training goes: a line of a stage now and then, with the loss of the last validation, and at the end.

    What is logged at the last step comes in several parts: its line waits for all of them.
    """

    def __init__(self) -> None:
        self._at = ("", 0)
        self._begin()

    def _begin(self) -> None:
        self._pace, self._losses, self._is_over = Pace(), dict[str, float](), False

    def __call__(self, progress: stages.Progress) -> None:
        if progress.stage != self._at[0] or progress.step < self._at[1]:
            self._begin()
        self._at = (progress.stage, progress.step)
        if progress.stage == "refusals":
            self._tell(progress, f"requests for refusal rates answered: {progress.step:,} of {progress.steps:,}")
            return
        new = {"loss": progress.loss, "validation": progress.validation_loss}
        known = {name: loss for name, loss in new.items() if loss is not None}
        self._losses |= known
        if known and progress.step >= progress.steps and not self._is_over:
            return
        told = [f"{progress.stage}: step {progress.step:,} of {progress.steps:,}", f"epoch {progress.epoch:.2f}"]
        self._tell(progress, ", ".join([*told, *(f"{name} {loss:.4f}" for name, loss in self._losses.items())]))

    def _tell(self, progress: stages.Progress, line: str) -> None:
        is_last = progress.step >= progress.steps
        if self._pace.is_due(progress.step, progress.steps) or is_last:
            left = self._pace.left(progress.step, progress.steps)
            typer.echo(", ".join(filter(None, [line, left])), err=True)
        self._is_over = is_last


def _counted() -> Callable[[generation.Progress], None]:
    pace = Pace()

    def show(progress: generation.Progress) -> None:
        done = progress.written + progress.reused + progress.failed
        if not pace.is_due(done, progress.expected):
            return
        of = f" of {progress.expected:,}" if progress.expected is not None else ""
        counts = f"{progress.written:,} written, {progress.reused:,} there already, {progress.failed:,} failed"
        left = pace.left(done, progress.expected)
        typer.echo(", ".join(filter(None, [f"{done:,}{of} responses: {counts}", left])), err=True)

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
        trained = f"{took.kept:,} rows, {took.steps:,} steps, {took.seconds:.0f} s" if took else "nothing: a prompt"
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
                f"{stage}: {took.kept:,} of {took.rows:,} rows are trained on: {took.dropped:,} too long, "
                f"{took.cut:,} cut; {took.steps:,} steps in {took.seconds:,.0f} s"
            )
    if made.training is not None:
        typer.echo(_kept(made.training, best))
    if refused:
        typer.echo("left out: " + ", ".join(f"{count:,} {reason}" for reason, count in sorted(refused.items())))
    _show_refusals(made)


def _kept(took: Training, best: int | None) -> str:
    """Say which weights were kept, and why those."""
    if best is not None:
        return f"best by validation: step {best:,}"
    if took.validation_loss is not None:
        return "validated at the end alone: the last weights are kept"
    return f"no validation ({took.validation_missing or 'nothing to validate with'}): the last weights are kept"


def _show_unfinished(left: Unfinished) -> None:
    names = ", ".join(printable(folder.name) for folder in left.folders)
    typer.echo(
        f"whoseboat: runs of other recipes left {names} beside --out ({left.bytes / 1e6:,.1f} MB): the same command as "
        "then goes on there; otherwise remove it, or add --restart",
        err=True,
    )


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


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _show_generated(done: generation.Generated, refused: Any) -> None:  # noqa: ANN401 - refusals
    typer.echo(
        f"{done.path}: {_number(done.rows, 'response')} of {printable(done.model)}, "
        f"{done.reused:,} of {'it' if done.rows == 1 else 'them'} there already; "
        f"{done.cut_off:,} cut off"
    )
    for told, what in ((refused, "not asked"), (done.refusals, "without a response")):
        if told.counts:
            typer.echo(f"{what}: {printable(told.in_words())}")
