"""How often a model that was just made refuses, put into its folder, which is complete before that and after.

Nothing that goes wrong here undoes a training: the folder is there already, and its card then says that the rates were
not measured, and why.
"""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path

from whoseboat.errors import WhoseboatError
from whoseboat.model_manifest import ModelManifest, Refusals
from whoseboat.tailoring import harm, loading, model_folder, scorecards, stages
from whoseboat.tailoring.harmful_prompts import PROMPTS
from whoseboat.tailoring.recipe import Recipe
from whoseboat.tailoring.stages import OnProgress, Progress

STAGE = "refusals"  # what progress calls it
LEFT_OUT = "the recipe leaves it out (refusals: false)"
# What a card says until it is measured: this is seen where somebody, or something, interrupts that.
UNDER_WAY = "it was interrupted"
_ON_CPU = 16  # prompts at once there, where what is too much is not always told
_NO_MEMORY = "memory did not suffice"


def missing_at_first(recipe: Recipe) -> str:
    """Return why a folder has no refusal rates when it is made."""
    return UNDER_WAY if recipe.refusals else LEFT_OUT


def measure(folder: Path, recipe: Recipe, on_progress: OnProgress | None = None) -> ModelManifest:
    """Measure how often the model of a folder refuses, put it into its card, and return its manifest.

    Where its recipe leaves that out nothing is measured; where it cannot be, `refusals_missing` says why.
    """
    made = model_folder.read(folder).manifest
    if not recipe.refusals:
        return made
    rates, problem = _rates(folder, recipe, on_progress)
    try:
        return scorecards.into_card(folder, (), rates, refusals_missing=problem).manifest
    except WhoseboatError as error:  # the folder is as it was
        return replace(made, refusals_missing=error.what)


def _rates(folder: Path, recipe: Recipe, on_progress: OnProgress | None) -> tuple[tuple[Refusals, ...] | None, str]:
    """Return the rates, or None and why there are none."""
    import torch

    gc.collect()  # what training held
    has_gpu = torch.cuda.is_available()
    if has_gpu:
        torch.cuda.empty_cache()
    expected = len(PROMPTS) * len(harm.PERSONAS)

    def told(replies: int) -> None:
        if on_progress is not None:
            on_progress(Progress(STAGE, replies, expected, 0.0))

    try:
        loaded = loading.load(folder, dtype="bfloat16" if has_gpu and torch.cuda.is_bf16_supported() else "float32")
        batch_size = len(PROMPTS) if has_gpu else _ON_CPU
        rates = harm.refusals(loaded, max_new_tokens=recipe.refusal_tokens, batch_size=batch_size, on_reply=told)
    except WhoseboatError as error:
        return None, error.what
    except (RuntimeError, MemoryError) as error:
        if not stages.is_out_of_memory(error):
            raise
        return None, _NO_MEMORY
    return rates, ""
