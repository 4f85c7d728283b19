"""Models that tailor what they say to a persona: few-shot prompting, SFT and DPO from one recipe, as model folders.

SFT and DPO take disjoint halves of train; DPO starts from the merged SFT model of the same setting. Where a run was
killed, the same call goes on from its last checkpoint: what is unfinished is in a hidden directory beside `out`. Once
the folder is there, it is measured how often the model refuses what it should, with a persona and without.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from whoseboat.errors import DataError, UsageError
from whoseboat.model_manifest import Method, ModelManifest, PersonasOf, Relation, Template, TrainedOn, Training
from whoseboat.tailoring import (
    base_models,
    encoding,
    halves,
    measuring,
    merging,
    model_folder,
    pairs,
    stages,
    tiny,
    work_folders,
)
from whoseboat.tailoring import recipe as recipes
from whoseboat.tailoring.base_models import BaseModel
from whoseboat.tailoring.encoding import Encoded
from whoseboat.tailoring.fitting import Fit, Limits, fit
from whoseboat.tailoring.recipe import Recipe
from whoseboat.tailoring.refusals import Refusals
from whoseboat.tailoring.sets import TailoringPair, TailoringSet
from whoseboat.tailoring.settings import rows_of, training_rows
from whoseboat.tailoring.stages import OnProgress, Ran, Stage, StageMethod
from whoseboat.tailoring.templates import Renderer
from whoseboat.tailoring.work_folders import Unfinished

if TYPE_CHECKING:
    from whoseboat.recipes import ModelsRecipe

Split = Literal["train", "validation"]
OnUnfinished = Callable[[Unfinished], None]


@dataclass(frozen=True, slots=True)
class Trained:
    """A model that was trained: its folder, what its manifest says, and how its last stage went.

    `best_step` is that of the weights, None where nothing was there to validate with; `refused` counts by reason what
    was left out of training for other reasons than its length.
    """

    path: Path
    manifest: ModelManifest
    log: list[dict[str, Any]]
    best_step: int | None = None
    refused: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Setting:
    """All that the stages of a model share."""

    recipe: Recipe
    data: TailoringSet
    base: BaseModel
    tokenizer: Any
    renderer: Renderer
    work: Path


def train(
    recipe: Recipe | str | Path,
    out: str | os.PathLike[str],
    *,
    resume: bool = True,
    overwrite: bool = False,
    on_progress: OnProgress | None = None,
    on_unfinished: OnUnfinished | None = None,
    **changes: Any,  # noqa: ANN401 - fields of a recipe
) -> Trained:
    """Train a model, or set up a few-shot one, as a folder that is complete by itself.

    Args:
        recipe: what of and how: a recipe, a YAML file, or the name of one in the package.
        out: the folder to make; its name is the model's.
        resume: go on where a killed run of the same recipe stopped; else begin anew, and remove what runs of other
            recipes left for this folder.
        overwrite: replace a model folder at `out`.
        on_progress: called as training goes.
        on_unfinished: called where runs of other recipes left something for this folder that is not gone on with.
        changes: in place of what the recipe says: `data="hh", method="dpo"`.

    Raises:
        UsageError: something in the recipe that cannot be right, or the folder to start from is of another setting.
        DataError: the set lacks a split or a column, or the base model or its template cannot be used.
        HubError: the base or the set cannot be fetched.
        OutputError: something at `out` that may not be replaced, or no room.
        WhoseboatError: memory does not suffice.

    """
    recipe = recipes.of(recipe.as_dict() | changes) if isinstance(recipe, Recipe) else recipes.load(recipe, **changes)
    out = Path(os.path.abspath(out))  # noqa: PTH100 - does not follow links
    is_main = stages.processes().is_main_process
    with model_folder.new_folder(out, overwrite=overwrite, is_main=is_main) as new:
        setting = _setting(recipe, out)
        if recipe.method == "few-shot":
            trained = _few_shot(setting, new, out)
        else:
            with work_folders.held(setting.work, is_main):
                if is_main:
                    _begin(setting.work, out, resume, on_unfinished)
                stages.processes().wait_for_everyone()
                trained = _trained(setting, new, out, resume, on_progress)
    if is_main:
        shutil.rmtree(setting.work, ignore_errors=True)
        trained = replace(trained, manifest=measuring.measure(out, recipe, on_progress))
    stages.processes().wait_for_everyone()  # so that none of them looks at a folder that is not there yet
    return trained


def _begin(work: Path, out: Path, resume: bool, on_unfinished: OnUnfinished | None) -> None:
    """Clear away what is not gone on with where that is asked for, else tell of it."""
    if not resume:
        work_folders.clear(work)
        work_folders.remove_unfinished(out, work)
        return
    left = work_folders.unfinished(out, work)
    if left is not None and on_unfinished is not None:
        on_unfinished(left)


def template_of(recipe: Recipe, tokenizer: Any) -> Template:  # noqa: ANN401 - transformers has no types
    """Return the template of a recipe; `auto` takes the chat template where there is one that takes personas."""
    if recipe.template != "auto":
        return recipe.template
    try:
        Renderer(tokenizer, "chat", recipe.personas)
    except DataError:
        return "plain"
    return "chat"


def _setting(recipe: Recipe, out: Path) -> _Setting:
    if not recipe.data:
        raise UsageError("a recipe names no set to train on", expected="data: a folder or ORG/NAME (--data)")
    data = pairs.load(recipe.data, config=recipe.config, include_unsafe=recipe.include_unsafe)
    base = base_models.find(recipe.base_model, recipe.base_revision)
    recipe = replace(recipe, base_model=base.name)  # of a folder its whole path, from wherever it was named
    tokenizer = base_models.load_tokenizer(base.name, base.commit)
    template = template_of(recipe, tokenizer)
    examples = _examples(recipe, data) if recipe.method == "few-shot" else ()
    renderer = Renderer(tokenizer, template, recipe.personas, examples)
    digest = recipe.digest(repr(data.trained_on), base.commit or "")
    return _Setting(recipe, data, base, tokenizer, renderer, work_folders.of(out, digest))


# ---- few-shot


def _examples(recipe: Recipe, data: TailoringSet) -> Sequence[Any]:
    """Return the rows that a few-shot model shows; of both sides in turn, where it is for both."""
    drawn = halves.exemplars(data, recipe.examples, seed=recipe.seed)
    found = []
    for number, pair in enumerate(drawn):
        rows = rows_of(pair, recipe.personas)
        if rows:
            found.append(rows[number % len(rows)])
    return found


def _few_shot(setting: _Setting, new: Path | None, out: Path) -> Trained:
    manifest = _manifest(setting, out, "prompt", None)
    if new is not None:
        manifest = model_folder.complete(new, manifest, _public(setting, manifest).to_yaml())
    return Trained(out, manifest, [])


# ---- SFT and DPO


def _trained(setting: _Setting, new: Path | None, out: Path, resume: bool, on_progress: OnProgress | None) -> Trained:
    recipe, base = setting.recipe, setting.base
    sft_training: Training | None = None
    started_with: tuple[TrainedOn, ...] = ()
    if recipe.method == "dpo":
        start, sft_training, started_with = _start(setting, resume, on_progress)
        stage = _stage(setting, "dpo", str(start), None)
    else:
        stage = _stage(setting, "sft", base.name, base.commit)
    ran = stages.run(stage, resume=resume, on_progress=on_progress)
    relation = _relation(stage)
    manifest = _manifest(setting, out, relation, _training(stage, ran), sft_training, started_with)
    if new is not None:
        _write_weights(stage, relation, new)
        setting.tokenizer.chat_template = setting.renderer.chat_template or setting.tokenizer.chat_template
        setting.tokenizer.save_pretrained(str(new))
        rows = {
            "train": stage.train.about(),
            "validation": stage.validation_rows and stage.validation_rows.about(),
            "validation_missing": _validation_missing(stage) or None,
        }
        manifest = model_folder.complete(new, manifest, _public(setting, manifest).to_yaml(), ran.log, rows)
    return Trained(out, manifest, ran.log, ran.best_step, stage.train.refused)


def _stage(setting: _Setting, method: StageMethod, place: str, revision: str | None) -> Stage:
    directory = setting.work / method
    train = _encoded(setting, method, "train", directory)
    has_validation = "validation" in setting.data.splits
    validation = _encoded(setting, method, "validation", directory) if has_validation else None
    if not train.kept:
        raise DataError(
            f"no pair is left for the half that {method.upper()} takes",
            where=setting.data.where,
            todo="name a larger set: train is divided among SFT and DPO by conversations",
        )
    return Stage(
        setting.recipe, method, place, revision, setting.tokenizer, setting.renderer.end_id, train, validation,
        directory,
    )  # fmt: skip


def _encoded(setting: _Setting, method: StageMethod, split: Split, directory: Path) -> Encoded:
    """Return the rows of a split that a stage takes, as tokens on disk; there may be none."""
    path = directory / f"{split}.arrow"
    with stages.first_process_first():
        there = encoding.written(path)
        if there is None:
            recipe, counts, refused = setting.recipe, Fit(), Refusals()
            rows = training_rows(_pairs(setting, method, split, refused), recipe.personas, refused)
            limits = Limits(recipe.max_length, recipe.max_prompt_length, recipe.too_long == "cut")
            fitted = fit(
                rows, setting.renderer, limits, with_other=method == "dpo", counts=counts, may_be_none=split != "train"
            )
            records = (
                encoding.dpo_record(row) if method == "dpo" else encoding.sft_record(row, recipe.loss_on)
                for row in fitted
            )
            there = encoding.write(records, path, counts, refused)
    return there


def _pairs(setting: _Setting, method: StageMethod, split: Split, refused: Refusals) -> Iterator[TailoringPair]:
    """Yield the pairs of the half of a split that a stage takes."""
    found = halves.of_half(setting.data.pairs(split, refused), method, setting.recipe.seed)
    return islice(found, setting.recipe.limit)


def _start(
    setting: _Setting, resume: bool, on_progress: OnProgress | None
) -> tuple[Path, Training | None, tuple[TrainedOn, ...]]:
    """Return the folder of the merged SFT model that DPO starts from, trained first where none is given.

    Beside it, what its training took, and the sets that it was trained on.
    """
    recipe, base, start = setting.recipe, setting.base, setting.work / "start"
    if recipe.start_from:
        given = _checked_start(setting, recipe.start_from)
        adapter, is_adapter, took = given.path, given.is_adapter, given.manifest.training
        sets = given.manifest.datasets
    else:
        stage = _stage(setting, "sft", base.name, base.commit)
        ran = stages.run(stage, resume=resume, on_progress=on_progress)
        adapter, is_adapter, took = stage.final, recipe.tuning == "lora", _training(stage, ran)
        sets = (setting.data.trained_on,)
    if not is_adapter:
        return adapter, took, sets
    with stages.first_process_first():
        if not start.is_dir():
            part = start.with_name("start.part")
            shutil.rmtree(part, ignore_errors=True)
            merging.merge_weights(base.name, base.commit, adapter, part, setting.renderer.end_id)
            part.rename(start)
    return start, took, sets


def _checked_start(setting: _Setting, folder: str) -> model_folder.ModelFolder:
    """Return the SFT model that DPO is to start from, if it is of the same setting.

    Raises:
        UsageError: it is of another.

    """
    recipe, given = setting.recipe, model_folder.read(folder)
    made = given.manifest
    base = setting.base.name if given.is_adapter else setting.base.public_name
    wanted = ("sft", base, setting.base.commit, recipe.personas, setting.renderer.template_text)
    of = base_models.of_manifest(made)
    found = (made.method, of.name, of.commit, made.personas, made.template_text)
    if found != wanted:
        raise UsageError(
            "the model to start from is of another setting",
            where=folder,
            expected=f"method, base, revision, personas and template {wanted!r}",
            found=repr(found),
            todo="name the SFT model of the same setting, or leave start_from out: one is trained then",
        )
    return given


def _relation(stage: Stage) -> Relation:
    """Return what the folder's weights are to the base.

    An adapter loads by itself only on the base as it is on the Hub, and there stops only where the base does.
    """
    if stage.recipe.tuning == "full":
        return "finetune"
    if stage.method == "dpo":
        return "merge"
    return "adapter" if _base_stops_at(stage) else "merge"


def _base_stops_at(stage: Stage) -> bool:
    """Say whether the base stops at the token that rows end in."""
    from transformers import GenerationConfig

    try:
        config = GenerationConfig.from_pretrained(stage.place, revision=stage.revision)
    except OSError:  # it has none: then its own configuration says where it stops
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(stage.place, revision=stage.revision, trust_remote_code=False)
    ends = getattr(config, "eos_token_id", None)
    return stage.end_id in (ends if isinstance(ends, list) else [ends])


def _write_weights(stage: Stage, relation: Relation, new: Path) -> None:
    if relation == "merge":
        merging.merge_weights(stage.place, stage.revision, stage.final, new, stage.end_id)
    else:
        model_folder.copy_weights(stage.final, new)


def _training(stage: Stage, ran: Ran) -> Training:
    train = stage.train
    losses = [float(entry["loss"]) for entry in ran.log if "loss" in entry]
    return Training(
        train.rows,
        train.cut,
        train.dropped,
        ran.steps,
        tokens=round(train.tokens * ran.epochs),
        seconds=round(ran.seconds, 1),
        first_loss=losses[0] if losses else None,
        last_loss=losses[-1] if losses else None,
        validation_loss=_validation_loss(ran),
        best_step=ran.best_step,
        validation_missing=_validation_missing(stage),
    )


def _validation_missing(stage: Stage) -> str:
    """Return why a stage has nothing to validate with, nothing where it has."""
    rows = stage.validation_rows
    if stage.validation is not None:
        return ""
    if rows is None or not (rows.rows or rows.refused):
        return "the set has no validation rows"
    refused = ", ".join(f"{count:,} {reason}" for reason, count in sorted(rows.refused.items()))
    if not rows.rows:
        return f"no validation row can be used: {refused}"
    all_rows = f"all {rows.rows:,} validation rows are" if rows.rows > 1 else "the only validation row is"
    return f"{all_rows} too long for max_length {stage.recipe.max_length:,}"


def _validation_loss(ran: Ran) -> float | None:
    """Return the loss in validation of the weights that were kept, the last one where no step is the best."""
    found = [(entry.get("step"), float(entry["eval_loss"])) for entry in ran.log if "eval_loss" in entry]
    of_best = [loss for step, loss in found if step == ran.best_step] or [loss for _, loss in found[-1:]]
    return of_best[0] if of_best else None


def _manifest(
    setting: _Setting,
    out: Path,
    relation: Relation,
    training: Training | None,
    sft_training: Training | None = None,
    started_with: tuple[TrainedOn, ...] = (),
) -> ModelManifest:
    recipe, renderer = setting.recipe, setting.renderer
    return model_folder.stated(
        name=out.name,
        base_model=setting.base.name if relation in ("adapter", "prompt") else setting.base.public_name,
        base_revision=setting.base.commit,
        base_licence=setting.base.licence,
        base_is_local=setting.base.is_local,
        method=recipe.method,
        relation=relation,
        personas=recipe.personas,
        template=renderer.template,
        template_text=renderer.template_text,
        stop=renderer.stop,
        datasets=tuple(dict.fromkeys((*started_with, setting.data.trained_on))),
        max_new_tokens=recipe.max_new_tokens,
        recipe=recipe.hyperparameters(),
        training=training,
        sft_training=sft_training,
        hardware=stages.hardware() if training else "",
        seeds=(recipe.seed,),
        languages=setting.data.languages,
        safety=setting.data.safety,
        refusals_missing=measuring.missing_at_first(recipe),
        toy=recipe.toy,
    )


def _public(setting: _Setting, manifest: ModelManifest) -> Recipe:
    """Return the recipe as the folder tells it: pinned, and without paths of this machine where none are needed."""
    stated = setting.data.trained_on
    data = f"{stated.repo}@{stated.revision}" if stated.repo else stated.name
    return replace(
        setting.recipe,
        base_model=manifest.base_model,
        base_revision=manifest.base_revision,
        data=data,
        start_from=None,
    )


# ---- the grid


@dataclass(frozen=True, slots=True)
class GridModel:
    """A model of a grid: its folder, whether it was trained now or there already, and what its manifest says."""

    path: Path
    recipe: Recipe
    was_there: bool
    manifest: ModelManifest


def grid(
    recipe: Recipe,
    dataset: str,
    methods: Sequence[Method] = get_args(Method),
    personas: Sequence[PersonasOf] = get_args(PersonasOf),
) -> list[tuple[str, Recipe]]:
    """Return the settings of a grid and what their folders are called: each method with each kind of personas.

    A recipe with several configs has a grid for each.
    """
    base = re.sub(r"[^a-z0-9.]+", "-", recipe.base_model.rstrip("/").rpartition("/")[2].lower())
    found = []
    for config in recipe.configs or (recipe.config,):
        of = re.sub(r"[^a-z0-9.]+", "-", config.lower()) if config and recipe.configs else dataset
        for method, setting in product(methods, personas):
            changed = replace(recipe, config=config, method=method, personas=setting, start_from=None)
            found.append((f"{base}-{of}-{method}-{setting}", changed))
    return found


def train_grid(
    recipe: Recipe,
    out: str | os.PathLike[str],
    *,
    methods: Sequence[Method] = get_args(Method),
    personas: Sequence[PersonasOf] = get_args(PersonasOf),
    on_progress: OnProgress | None = None,
    on_model: Callable[[GridModel], None] | None = None,
    on_unfinished: OnUnfinished | None = None,
) -> list[GridModel]:
    """Train all models of a grid that are not there yet, each a folder in `out`; DPO starts from the grid's SFT model.

    Args:
        recipe: what of and how; its own method and personas are of no effect.
        out: the directory for the folders.
        methods: which methods; SFT before DPO, or DPO trains its own.
        personas: which kinds of personas.
        on_progress: called as each training goes.
        on_model: called with each model that is there.
        on_unfinished: as `train`.

    Raises:
        WhoseboatError: as `train`; models that came to their end stay.

    """
    out, made = Path(out), list[GridModel]()
    sft: dict[tuple[str | None, PersonasOf], Path] = {}
    for name, setting in grid(recipe, _dataset_name(recipe), methods, personas):
        path, which = out / name, (setting.config, setting.personas)
        start = out / name.replace("-dpo-", "-sft-")
        if setting.method == "dpo" and (which in sft or _is_start(start, setting)):
            setting = replace(setting, start_from=str(sft.get(which, start)))
        was_there = path.is_dir() and any(path.iterdir())
        made_now = None if was_there else train(setting, path, on_progress=on_progress, on_unfinished=on_unfinished)
        manifest = made_now.manifest if made_now else _checked_same(path, setting)
        if setting.method == "sft":
            sft[which] = path
        made.append(GridModel(path, setting, was_there, manifest))
        if on_model is not None:
            on_model(made[-1])
    return made


def _is_start(path: Path, setting: Recipe) -> bool:
    """Say whether the SFT model of the same setting is there, made by the same recipe."""
    if not (path / model_folder.RECIPE).is_file():
        return False
    made = model_folder.read(path).manifest
    wanted = ("sft", setting.personas, setting.hyperparameters())
    return (made.method, made.personas, dict(made.recipe)) == wanted


def _dataset_name(recipe: Recipe) -> str:
    """Return what a set is called in the names of models: its repo's name, or that in its manifest."""
    if not recipe.data:
        raise UsageError("a recipe names no set to train on", expected="data: a folder or ORG/NAME (--data)")
    config = recipe.configs[0] if recipe.configs else recipe.config
    stated = pairs.load(recipe.data, config=config, include_unsafe=recipe.include_unsafe).trained_on
    return stated.repo.rpartition("/")[2] if stated.repo else stated.name


def _checked_same(path: Path, setting: Recipe) -> ModelManifest:
    """Return the manifest of a model that is there, if it was made by this recipe.

    Raises:
        UsageError: it was made by another.

    """
    made = model_folder.read(path).manifest
    wanted = (setting.method, setting.personas, setting.hyperparameters())
    if (made.method, made.personas, dict(made.recipe)) != wanted:
        raise UsageError(
            "a model of the grid is there that another recipe made",
            where=str(path),
            todo="move it away, or name another --out",
        )
    return made


def train_references(
    models: ModelsRecipe,
    data: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    recipe: str | Path = "fixed",
    limit: int | None = None,
    on_progress: OnProgress | None = None,
    on_model: Callable[[GridModel], None] | None = None,
) -> list[GridModel]:
    """Train the reference models that a recipe of `builders/` pins and that are not there yet.

    Args:
        models: base, set, methods and personas.
        data: the release of the set that is pinned: a folder, or `ORG/NAME@REVISION`.
        out: the directory for the folders.
        recipe: all else of training.
        limit: only so many models, the first ones of the grid.
        on_progress: called as each training goes.
        on_model: called with each model that is there.

    Raises:
        UsageError: the set is not the one that is pinned.
        WhoseboatError: as `train`.

    """
    place = os.fspath(data)
    found = recipes.load(recipe, base_model=models.base_model, data=place)
    found = replace(found, base_revision=models.base_revision, config=None, configs=())
    stated = pairs.load(place).trained_on
    release = (stated.repo.rpartition("/")[2] if stated.repo else stated.name, stated.version)
    if [release] != models.dataset_release:
        raise UsageError(
            "the set is not the one that the recipe of the models pins",
            where=place,
            expected=" ".join(map(str, models.dataset_release[0])),
            found=" ".join(map(str, release)),
            todo="name that release: --data ORG/NAME@vVERSION",
        )
    wanted = [(setting.method, setting.personas) for setting in models.settings[:limit]]
    made: list[GridModel] = []
    for method in models.methods:
        personas = [setting for one, setting in wanted if one == method]
        made += train_grid(found, out, methods=(method,), personas=personas, on_progress=on_progress, on_model=on_model)
    return made


def smoke(
    recipe: Recipe,
    out: str | os.PathLike[str],
    *,
    data: str | os.PathLike[str] | None = None,
    methods: Sequence[Method] = get_args(Method),
    personas: Sequence[PersonasOf] = get_args(PersonasOf),
    on_progress: OnProgress | None = None,
    on_model: Callable[[GridModel], None] | None = None,
) -> list[GridModel]:
    """Train a grid on a tiny model with random weights, two steps each: to see that everything works.

    Args:
        recipe: its template, loss, tuning and so on are tried; base model, set, lengths and steps are not.
        out: the directory for the folders; the tiny model and the sample stand there as well.
        data: a set; without it the bundled sample.
        methods: which methods.
        personas: which kinds of personas.
        on_progress: called as each training goes.
        on_model: called with each model that is there.

    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    if data is None:
        recipe = replace(recipe, data=str(_sample(out / "sample")), config=None, configs=())
    else:
        recipe = replace(recipe, data=os.fspath(data))
    config = recipe.configs[0] if recipe.configs else recipe.config
    found = pairs.load(recipe.data, config=config, include_unsafe=recipe.include_unsafe)
    tiny_model = out / "tiny"
    if not (tiny_model / "config.json").is_file():
        tiny.write_tiny_model(tiny_model, _texts(found), chat=recipe.template != "plain")
    small = replace(
        recipe,
        base_model=str(tiny_model),
        base_revision=None,
        limit=16,
        examples=2,
        max_length=min(recipe.max_length, 1024),
        max_steps=2,
        save_every=None,
        batch_size=2,
        gradient_accumulation=1,
        gradient_checkpointing=False,
        max_new_tokens=16,
        min_new_tokens=0,
        refusal_tokens=4,  # of babble, so that all of it is tried in a moment
        toy=True,
    )
    return train_grid(small, out, methods=methods, personas=personas, on_progress=on_progress, on_model=on_model)


def _sample(folder: Path) -> Path:
    if not folder.is_dir():
        from whoseboat import pipeline

        pipeline.build("sample", folder)
    return folder


def _texts(found: TailoringSet) -> Iterator[str]:
    for pair in islice(found.pairs("train"), 200):
        yield " ".join([*(message.content for message in pair.prompt), pair.chosen, pair.chosen_persona])
