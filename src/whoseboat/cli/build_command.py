"""`whoseboat build`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whoseboat.cli.arguments import assignments, interruptible, parameters, repo_and_revision
from whoseboat.cli.progress import build_progress
from whoseboat.cli.tasks import InTasks, show_launched
from whoseboat.errors import UsageError, printable, unknown
from whoseboat.llm.settings import LanguageModel

if TYPE_CHECKING:
    from whoseboat.inference import Estimate
    from whoseboat.manifest import Manifest
    from whoseboat.pipeline import Built

# Above this share of malformed rows it is more likely that they are read wrongly than that they are wrong.
_MANY_MALFORMED = 0.1
# Of a fault only so much is shown.
_LONGEST_DETAIL = 300
_FAULTS_SHOWN = 3


def build(
    source: Annotated[str, typer.Argument(help="The preference set, as `whoseboat sources` lists them.")],
    out: Annotated[Path, typer.Option(help="The dataset folder to make.")],
    data_dir: Annotated[
        Path | None, typer.Option(help="Read files on disk: a file, or a directory in the set's own layout.")
    ] = None,
    from_: Annotated[
        str | None, typer.Option("--from", help="Read a Hub dataset: ORG/NAME or ORG/NAME@REVISION.")
    ] = None,
    subset: Annotated[str | None, typer.Option(help="Configuration of the Hub dataset.")] = None,
    split: Annotated[str | None, typer.Option(help="Split of the source to read.")] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            help="Source table: prompt=COLUMN,chosen=COLUMN,rejected=COLUMN; or first=, second= and winner= "
            "(1/2, a/b, tie) for the responses; also language=, strength=, chosen_safe= and rejected_safe=."
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            help="An option of the source, KEY=VALUE, may be repeated: tranche=helpful-base,... (hh-rlhf); "
            "language=en, winner=0/1 (its values for first and second), domain=forum (table)."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="What to call the set.")] = None,
    license: Annotated[str | None, typer.Option(help="The licence of the set.")] = None,
    limit: Annotated[int | None, typer.Option(help="Take this many pairs: a random subset.")] = None,
    head: Annotated[bool, typer.Option("--head", help="With --limit: take the first pairs instead.")] = False,
    seed: Annotated[int, typer.Option(help="Which random subset.")] = 0,
    engine: Annotated[
        str | None,
        typer.Option(
            help="What infers the personas: contrast (no language model), openai (any such endpoint), openai-batch; "
            "or published (those of the source)."
        ),
    ] = None,
    personas: Annotated[
        Path | None,
        typer.Option(help="Attach personas from this table instead: chosen_persona, rejected_persona, and id or row."),
    ] = None,
    include_unsafe: Annotated[
        bool,
        typer.Option(
            "--include-unsafe", help="Keep responses labelled unsafe, also as targets; for gated or local use."
        ),
    ] = False,
    max_characters: Annotated[
        int, typer.Option(help="Drop pairs longer than this, prompt and responses together.")
    ] = 32_000,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            help="Drop pairs whose first user turn occurs in this dataset folder or Hub repo; may be repeated."
        ),
    ] = None,
    drop_flagged: Annotated[
        bool,
        typer.Option(
            "--drop-flagged",
            help="Drop rows whose personas name a protected attribute, state a harmful intent, lack the form of one or "
            "repeat their texts, and rows with an e-mail address or telephone number.",
        ),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a dataset folder that is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
    model: Annotated[
        str | None, typer.Option(help="The language model, as the endpoint calls it; chooses engine openai.")
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(help="The endpoint up to /v1.  [default: OPENAI_BASE_URL, else OpenAI's]")
    ] = None,
    serve: Annotated[
        str | None,
        typer.Option(
            help='In place of an endpoint: a command that starts a server of the model for this run, "vllm serve M"; '
            "a free port is added, or stands for {port}."
        ),
    ] = None,
    serve_wait: Annotated[float, typer.Option(help="Seconds until that server has to be healthy.")] = 1800.0,
    parameter: Annotated[
        list[str] | None, typer.Option(help="Sent with every request, KEY=VALUE: temperature=0.7; may be repeated.")
    ] = None,
    prompts: Annotated[Path | None, typer.Option(help="Directory of templates and examples of your own.")] = None,
    samples: Annotated[int, typer.Option(help="Personas per side; further ones go to a config of their own.")] = 1,
    concurrency: Annotated[int, typer.Option(help="The most requests at once.")] = 64,
    deadline: Annotated[float, typer.Option(help="Seconds an attempt may take in all.")] = 120.0,
    max_attempts: Annotated[int, typer.Option(help="How often a request is sent before its row fails.")] = 5,
    max_failure_rate: Annotated[float, typer.Option(help="The share of failed rows that stops the run.")] = 0.1,
    max_cost: Annotated[float | None, typer.Option(help="Dollars this run may spend.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Tokens this run may use.")] = None,
    price_in: Annotated[float | None, typer.Option(help="Dollars per million prompt tokens.")] = None,
    price_out: Annotated[float | None, typer.Option(help="Dollars per million completion tokens.")] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Ask again what failed in an earlier run.")
    ] = False,
    cache_dir: Annotated[
        Path | None, typer.Option(help="Where answers are kept.  [default: XDG_CACHE_HOME/whoseboat]")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be asked and what it would cost; send nothing.")
    ] = False,
    tasks: Annotated[
        int | None, typer.Option(help="Cut the build into this many tasks; the same set comes out of any number.")
    ] = None,
    executor: Annotated[
        str | None, typer.Option(help="Where tasks run: local, slurm, ray or jobs.  [default: local]")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="The most tasks at once.")] = None,
    executor_config: Annotated[
        Path | None, typer.Option(help="Settings of the executor, a YAML file: partition, time, cpus_per_task, ...")
    ] = None,
    shared: Annotated[
        str | None,
        typer.Option(help="A folder all tasks see, a path or hf://, s3://, ...  [default: a hidden one beside --out]"),
    ] = None,
) -> None:
    """Turn a preference set into a dataset folder with inferred personas."""
    from whoseboat import pipeline

    repo, revision = repo_and_revision(from_)
    chosen = _engine(
        engine,
        model,
        base_url=base_url,
        serve=serve,
        serve_wait=serve_wait,
        parameters=parameters(parameter or []),
        prompts=prompts,
        samples=samples,
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
    wanted: pipeline.Wanted = {
        "data_dir": data_dir,
        "repo": repo,
        "revision": revision,
        "subset": subset,
        "split": split,
        "columns": assignments("--columns", [part for given in columns or [] for part in given.split(",")]),
        "options": assignments("--option", option or []),
        "name": name,
        "license": license,
        "limit": limit,
        "head": head,
        "seed": seed,
        "include_unsafe": include_unsafe,
        "max_characters": max_characters,
        "exclude": exclude or [],
        "drop_flagged": drop_flagged,
    }
    in_tasks = InTasks(tasks, executor, workers, executor_config, shared)
    _warn_of_licence(license)
    with interruptible():
        if dry_run:
            if not isinstance(chosen, LanguageModel):
                raise UsageError("--dry-run says what a language model would be asked", todo="name one: --model M")
            show_estimate(pipeline.estimate(source, engine=chosen, **wanted), chosen, as_json)
            return
        if tasks is not None:
            made = in_tasks.build(source, out, engine=chosen, personas=personas, overwrite=overwrite, wanted=wanted)
            if not isinstance(made, pipeline.Built):
                show_launched(made, as_json)
                return
            built = made
        else:
            with build_progress() as on_progress:
                built = pipeline.build(
                    source,
                    out,
                    engine=chosen,
                    personas=personas,
                    overwrite=overwrite,
                    on_progress=on_progress,
                    **wanted,
                )
    if as_json:
        typer.echo(json.dumps({"path": str(built.path), **asdict(built.manifest)}))
        _warn_of_malformed(built)
    else:
        show_built(built)


def _engine(engine: str | None, model: str | None, **settings: Any) -> str | LanguageModel | None:  # noqa: ANN401 - of many types
    """Return the engine asked for; settings of a language model without one are refused."""
    from whoseboat import engines

    if engine is not None and engine not in engines.NAMES:
        raise unknown("engine", engine, engines.NAMES)
    if model is not None:
        if engine not in (None, "openai", "openai-batch"):
            raise UsageError(f"engine {engine!r} takes no --model", found=model)
        return LanguageModel(model, batch=engine == "openai-batch", **settings)
    defaults = {setting.name: setting.default for setting in fields(LanguageModel)} | {"parameters": {}}
    stray = [f"--{name.replace('_', '-')}" for name, value in settings.items() if value != defaults[name]]
    if stray:
        raise UsageError(f"{', '.join(stray)}: of use with a language model only", todo="name one: --model M")
    return engine


def show_estimate(found: Estimate, model: LanguageModel, as_json: bool) -> None:
    """Say what a run would ask, and what that would cost."""
    if as_json:
        typer.echo(json.dumps(asdict(found)))
        return
    failed = f", {found.failed:,} failed earlier (--retry-failed asks them again)" if found.failed else ""
    typer.echo(
        f"{found.pairs:,} pairs: {found.requests:,} requests to send, {found.answered:,} answered already{failed}"
    )
    typer.echo(f"about {found.prompt_tokens:,} prompt and {found.completion_tokens:,} completion tokens (estimated)")
    for line in _costs(found, model):
        typer.echo(line)
    if model.batch and found.cost is not None:
        typer.echo("at the prices of single requests; where batches have others, give them")
    if model.max_cost is not None and found.cost is not None and found.cost > model.max_cost:
        typer.echo(f"--max-cost {model.max_cost} would stop it before its end")
    typer.echo("nothing was sent; requests asked again come on top")


def _costs(found: Estimate, model: LanguageModel) -> Iterator[str]:
    """Say what a run would cost; of a model that thinks, that this is not all."""
    thinking = ""
    if found.cost_of_thinking:
        thinking = f"; ${found.cost_of_thinking:,.2f} more for every 100 tokens it thinks for a request"
    if found.cost is None:
        yield "no price known: --price-in and --price-out"
    elif model.thinks:
        yield f"at least ${found.cost:,.2f}, without thinking{thinking}"
    else:
        yield f"about ${found.cost:,.2f}"
    if model.thinks:
        yield f"how long {model.public_name} thinks is not known before; a trial with --limit 20 tells"
    else:
        yield f"if the model thinks before it answers, that comes on top{thinking}"


def show_built(built: Built) -> None:
    """Show what is in a folder that was built."""
    from rich.console import Console
    from rich.table import Table

    manifest = built.manifest
    typer.echo(printable(manifest.name))  # a title of the table would be filled up with blanks
    table = Table()
    for column in ("config", "train", "validation", "test"):
        table.add_column(column, justify="left" if column == "config" else "right")
    for config, splits in manifest.rows.items():
        table.add_row(config, *(f"{count:,}" for count in splits.values()))
    Console().print(table)
    for line in _remarks(built):
        typer.echo(line)
    _warn_of_malformed(built)


def _warn_of_licence(stated: str | None) -> None:
    """Warn of a licence that holds up a release, before hours go into a set that is to be one."""
    from whoseboat.licences import of_dataset

    if stated is None:
        return
    try:
        of_dataset(stated, None)
    except UsageError as error:
        _warn(f"--license {stated!r} will hold up a release: {error.found or error.what}", todo=error.todo)


def _warn_of_malformed(built: Built) -> None:
    malformed, read = built.manifest.dropped.get("malformed", 0), built.manifest.read
    if malformed > _MANY_MALFORMED * read:
        _warn(
            f"{malformed:,} of {read:,} rows are malformed ({malformed / read:.0%})",
            todo="check --columns and the options of the source",
        )


def _warn(what: str, todo: str) -> None:
    typer.echo(f"whoseboat: warning: {printable(what)}\n  what to do: {printable(todo)}", err=True)


def _remarks(built: Built) -> Iterator[str]:
    """Say what a user should know of a folder that was built."""
    manifest = built.manifest
    dropped = ", ".join(f"{count:,} {reason}" for reason, count in manifest.dropped.items()) or "nothing"
    yield f"dropped: {dropped} (of {manifest.read:,} rows read)"
    yield from _first_faults(built)
    if manifest.redacted:
        found = ", ".join(f"{count:,} {kind}" for kind, count in manifest.redacted.items())
        yield f"taken out of texts, since they look like keys or tokens: {found}"
    if "tailoring" not in manifest.rows:
        yield "there is no config tailoring: every pair is from red-team prompts"
    elif manifest.kept_from_tailoring:
        yield f"in pairs only, kept out of tailoring by the safety gate: {manifest.kept_from_tailoring:,}"
    if manifest.source.only_test:
        yield "all rows are of the source's own test files: do not test on those what you train on this"
    if manifest.uses_language_model is False:
        yield "personas by an offline heuristic; no language model was used"
    elif manifest.uses_language_model:
        yield _spent(manifest)
    yield f"written to {built.path}; load it: load_dataset({str(built.path)!r})"


def _first_faults(built: Built) -> Iterator[str]:
    """Show the first row of each kind of fault: those that are malformed, and those a language model gave nothing for.

    Other rows were left behind by a rule: of them the counts say all.
    """
    import pyarrow.dataset

    path = built.path / "dropped.parquet"
    if not path.exists():
        return
    rows, column = pyarrow.dataset.dataset(path), pyarrow.dataset.field
    is_fault = (column("reason") == "malformed") | (column("stage") == "infer")
    shown = 0
    for reason in sorted(built.manifest.dropped, key=lambda reason: -built.manifest.dropped[reason]):
        first = rows.head(1, filter=is_fault & (column("reason") == reason)).to_pylist()
        if first and shown < _FAULTS_SHOWN:
            shown += 1
            detail = printable(first[0]["detail"])[:_LONGEST_DETAIL]
            yield f"  the first {reason}: {printable(first[0]['file'])}, line {first[0]['line']}: {detail}"
    if shown:
        yield f"  every row that was left behind, and why: {path}"


def _spent(manifest: Manifest) -> str:
    """Say which language model inferred the personas, and what that took."""
    requests, tokens = manifest.requests, manifest.tokens
    counts = {
        "kept from earlier runs": requests.get("reused", 0),
        "failed": requests.get("failed", 0),
        "sent again": requests.get("retried", 0),
    }
    parts = [f"{requests.get('answered', 0):,} requests answered"]
    parts += [f"{count:,} {what}" for what, count in counts.items() if count]
    guessed = requests.get("without_token_count", 0)
    estimated = f" (estimated for {guessed:,} answers)" if guessed else ""
    cost = "no price known" if manifest.cost is None else f"${manifest.cost:,.2f}"
    return (
        f"personas by {printable(manifest.engine)}: {', '.join(parts)}; the answers took {tokens['prompt']:,} prompt "
        f"and {tokens['completion']:,} completion tokens{estimated}, {cost}"
    )
