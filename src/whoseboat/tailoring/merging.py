"""Adapters merged into the weights they were trained on: a model that loads by itself."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whoseboat import hub
from whoseboat.errors import DataError, UsageError
from whoseboat.folder import whole_folder
from whoseboat.tailoring import base_models, model_folder
from whoseboat.tailoring import recipe as recipes
from whoseboat.tailoring.model_folder import ModelFolder

if TYPE_CHECKING:
    from whoseboat.tailoring.stages import OnProgress


def merge(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    on_progress: OnProgress | None = None,
) -> ModelFolder:
    """Merge the adapter of a model folder into its base, as a new folder; how often it refuses is measured anew.

    Args:
        folder: a model folder whose weights are an adapter.
        out: the folder to make.
        overwrite: replace a folder of ours at `out`.
        on_progress: called as it is measured how often the model refuses, unless its recipe leaves that out.

    Raises:
        UsageError: its weights are no adapter.
        DataError: it is no model folder, its weights are damaged, or the base is not there or cannot be loaded.
        HubError: the base cannot be fetched.
        OutputError: something at `out` that may not be replaced.

    """
    from whoseboat.tailoring import measuring  # it loads models, and so needs this module

    found, out = model_folder.read(folder), Path(out)
    made = found.manifest
    if not found.is_adapter:
        todo = "there is nothing to merge: it holds no weights" if made.relation == "prompt" else "it is whole already"
        raise UsageError("the weights are no adapter", where=str(folder), found=f"relation {made.relation}", todo=todo)
    place, revision = base_models.weights_of(found.path, made)
    base = base_models.of_manifest(made).public_name
    recipe = replace(recipes.load(found.path / model_folder.RECIPE), base_model=base)
    with whole_folder(out, overwrite=overwrite) as new:
        tokenizer = base_models.load_tokenizer(found.path)
        merge_weights(place, revision, found.path, new)
        tokenizer.save_pretrained(str(new))
        for name in (model_folder.LOG, model_folder.CURVES, model_folder.ROWS):
            if (found.path / name).is_file():
                (new / "assets").mkdir(exist_ok=True)
                shutil.copyfile(found.path / name, new / name)
        merged = replace(
            made,
            name=out.name,
            base_model=base,
            relation="merge",
            version=None,
            repo=None,
            licence=None,
            releases=(),
            results=(),  # of these weights nothing was measured
            refusals=(),
            refusals_missing=measuring.missing_at_first(recipe),
            evaluated="",
        )
        model_folder.complete(new, merged, recipe.to_yaml())
    return ModelFolder(out, measuring.measure(out, recipe, on_progress))


def merge_weights(base: str, revision: str | None, adapter: Path, out: Path, end_id: int | None = None) -> None:
    """Write the weights of a base with an adapter merged into them, in the precision of the base.

    Args:
        base: the base: a repo of the Hub, or a folder.
        revision: its commit.
        adapter: the folder with the adapter.
        out: where to write.
        end_id: a token that ends generation, beside those the base has.

    Raises:
        DataError: base and adapter do not fit, or one cannot be loaded.
        HubError: the base cannot be fetched.

    """
    model = merged(base, revision, adapter)
    if end_id is not None:
        add_end(model, end_id)
    model.save_pretrained(str(out))


def merged(base: str, revision: str | None, adapter: Path) -> Any:  # noqa: ANN401 - transformers has no types
    """Return a base with an adapter merged into its weights."""
    return with_adapter(base_models.load_model(base, revision, "auto"), adapter).merge_and_unload()


def with_adapter(model: Any, adapter: Path) -> Any:  # noqa: ANN401 - transformers has no types
    """Return a model with an adapter put on it.

    Raises:
        DataError: they do not fit, or the adapter is damaged.

    """
    from peft import PeftModel
    from safetensors import SafetensorError

    try:
        with base_models.calmed():
            return PeftModel.from_pretrained(model, str(adapter))
    except SafetensorError as error:
        raise base_models.unreadable(base_models.damaged(adapter) or adapter, found=hub.first_line(error)) from error
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise DataError(
            "the adapter cannot be put on its base",
            where=str(adapter),
            expected="an adapter of this base, as safetensors",
            found=str(error).splitlines()[0][:300] if str(error) else type(error).__name__,
        ) from error


def ends_of(model: Any) -> list[int]:  # noqa: ANN401 - transformers has no types
    """Return the tokens at which a model stops by itself."""
    ends = model.generation_config.eos_token_id
    return [] if ends is None else [ends] if isinstance(ends, int) else list(ends)


def add_end(model: Any, end_id: int) -> None:  # noqa: ANN401 - transformers has no types
    """Have a model stop at a token, too."""
    ends = ends_of(model)
    if end_id not in ends:
        model.generation_config.eos_token_id = [end_id, *ends]
