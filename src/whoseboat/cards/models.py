"""The card of a model, and its results in the Hub's form."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from whoseboat.cards.markup import UNNAMED, address_of, as_literal, as_number
from whoseboat.cards.rendering import front_matter, licence_of, licence_yaml, render
from whoseboat.cards.results import FEW, few_in_words, footnotes, given, in_words, is_of_few, kind_of, note_of
from whoseboat.errors import DataError, printable
from whoseboat.model_manifest import ModelManifest, Result, Training

_METHODS = {"few-shot": "few-shot prompting", "sft": "supervised fine-tuning", "dpo": "DPO"}
# What the figures mean, by name.
_FIGURES = {
    "accuracy": "the share of pairs in which the response of the persona's side is ranked higher. Chance is 0.5, but a "
    "model that knows no persona can be above it on one side and below it on the other.",
    "specificity": "accuracy with the true personas less accuracy with personas shuffled within source and side. "
    "0: the persona of the pair is worth no more than anybody's.",
    "flip_accuracy": "the share of pairs in which both personas have the response of their side ranked higher. A model "
    "that takes no notice of personas scores exactly 0.",
    "own_over_shuffled": "net of its own answers for the pairs' personas over its own for shuffled ones, judged by the "
    "pairs' personas. 0: which persona it is told makes no difference that the judge sees.",
    "net": "wins less losses over wins, losses and ties, from -1 to 1. A pair is won or lost if both orders say so.",
    "win_rate": "wins over wins and losses; ties are left out of it, so look at the net as well.",
    "separation": "the mean margin under the chosen side's persona less that under the rejected side's.",
}
# What is scored where figures are by the model's own likelihoods, by how their names begin or end.
_SCORED = {
    "reward_": "*By reward*: the margin is that of the implicit reward of DPO: beta times the log-probability by this "
    "model less that by the reference.",
    "normalised_": "*By likelihood per token*: the margin is that of the log-probability per token, the end of the "
    "reply among them.",
    "_at_equal_length": "*At equal length*: over pairs whose responses differ by no more than 10 % of their tokens.",
}
_MARGIN = "A margin is the chosen response's score less the rejected one's; one of 0 counts half in accuracy."
# Hyperparameters that a method, or a setting of another one, has no use for.
_OF_ADAPTERS = ("lora_rank", "lora_alpha", "lora_dropout", "lora_targets")
_OF_DPO = ("dpo_learning_rate", "beta", "precompute_reference")
_OF_PROMPTS = (
    "config", "include_unsafe", "template", "examples", "max_length", "max_prompt_length", "max_new_tokens",
    "min_new_tokens", "seed",
)  # fmt: skip
# The picture of how training went, where a folder has it.
CURVES = "assets/curves.png"
# Figures that say which of two models is better.
_RANKINGS = frozenset({"net", "net_win", "win_rate", "delta_pq"})
_READER = "contrast"


def model_card(manifest: ModelManifest, *, figure: str | None = None) -> str:
    """Return the card of a model, YAML front matter included.

    Args:
        manifest: what the model is.
        figure: the path of a picture in the repo that is shown.

    Raises:
        DataError: a result ranks models and was judged by the offline reader.

    """
    shown = {result.name for result in manifest.results}
    notes = footnotes(manifest.results)
    return render(
        "whoseboat.model_cards",
        "model.md.jinja",
        {
            "yaml": model_yaml(manifest),
            "title": _title(manifest),
            "manifest": manifest,
            "licence": licence_of(manifest.licence) if manifest.licence else None,
            "method": _METHODS[manifest.method],
            "place": manifest.repo or UNNAMED,
            "revision": f"v{manifest.version}" if manifest.version else None,
            "results": [_row(result, notes) for result in manifest.results],
            "notes": notes,
            "few": few_in_words(manifest.results),
            "figures": [(in_words(name), about) for name, about in _FIGURES.items() if name in map(kind_of, shown)],
            "scored": _scored(shown),
            "recipe": _used(manifest),
            "has_baseline": any(result.against for result in manifest.results),
            "has_reader": any(_by_reader(result) for result in manifest.results),
            "has_intrinsic": any(not result.judge for result in manifest.results),
            "has_shuffled": any(
                result.persona == "shuffled" or kind_of(result.name) in ("specificity", "own_over_shuffled")
                for result in manifest.results
            ),
            "template_text": manifest.template_text,
            "template_literal": as_literal(manifest.template_text),
            "stop_literal": f"[{', '.join(map(as_literal, manifest.stop))}]",
            "figure": figure,
            "stages": _stages(manifest),
            "curves": CURVES if CURVES in manifest.files and manifest.training else None,
            "curves_in_words": _curves_in_words(manifest),
            "key": re.sub(r"[^a-z0-9]+", "-", manifest.name.lower()).strip("-") or "model",
            "address": address_of(manifest.repo, "models") if manifest.repo else "",
            "owner": manifest.repo.partition("/")[0] if manifest.repo else "",
            "year": manifest.releases[0].date[:4] if manifest.releases else "",
        },
    )


def model_yaml(manifest: ModelManifest) -> str:
    """Return the YAML front matter of a model's card.

    Raises:
        DataError: a result ranks models and was judged by the offline reader.

    """
    _refuse_rankings_by_the_reader(manifest)
    repos = list(dict.fromkeys(one.repo for one in manifest.datasets if one.repo))
    names = list(dict.fromkeys(result.name for result in manifest.results if result.value is not None))
    data: dict[str, Any] = licence_yaml(
        manifest.licence,
        manifest.base_licence,
        "" if manifest.base_is_local else address_of(manifest.base_model, "models"),
    )
    if manifest.languages:
        data["language"] = sorted(set(manifest.languages))
    if not manifest.base_is_local:  # a folder's name would be that of somebody's repo
        data["base_model"] = manifest.base_model
        if manifest.relation != "prompt":
            data["base_model_relation"] = manifest.relation
    if repos:
        data["datasets"] = repos
    if names:
        data["metrics"] = names
    data |= {
        "library_name": "peft" if manifest.relation == "adapter" else "transformers",
        "pipeline_tag": "text-generation",
        "tags": [
            "whoseboat",
            "personas",
            "persona-tailoring",
            "personalization",
            manifest.method,
            *(["toy"] if manifest.toy else []),
        ],
    }
    if index := _model_index(manifest):
        data["model-index"] = index
    return front_matter(data)


def eval_results(manifest: ModelManifest) -> dict[str, str]:
    """Return the files of results in the Hub's form, by their path in the repo; only those on a set on the Hub.

    Raises:
        DataError: a result ranks models and was judged by the offline reader.

    """
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    _refuse_rankings_by_the_reader(manifest)
    files: dict[str, list[EvalResultEntry]] = {}
    for result in _on_the_hub(manifest):
        source = (
            {"source_url": address_of(manifest.repo, "models"), "source_name": "Model card"} if manifest.repo else {}
        )
        entry = EvalResultEntry(
            dataset_id=result.dataset,
            task_id=result.config or "default",
            value=result.value,
            dataset_revision=result.revision,
            date=manifest.evaluated or None,
            notes=_notes(result, manifest),
            **source,
        )
        files.setdefault(f".eval_results/{_slug(result)}.yaml", []).append(entry)
    return {name: _dumped(eval_result_entries_to_yaml(entries)) for name, entries in files.items()}


def _dumped(data: object) -> str:
    import yaml

    text: str = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120)
    return text


def _title(manifest: ModelManifest) -> str:
    return printable(" ".join(manifest.name.split())) + (" (toy)" if manifest.toy else "")


def _stages(manifest: ModelManifest) -> list[tuple[str, Training]]:
    """Return what each stage of training took, the first one first, by what it is called."""
    if manifest.training is None:
        return []
    if manifest.method != "dpo":
        return [("Training", manifest.training)]
    before = [("SFT, which DPO started from", manifest.sft_training)] if manifest.sft_training else []
    return [*before, ("DPO", manifest.training)]


def _curves_in_words(manifest: ModelManifest) -> str:
    """Return what the curves show, for those who do not see them."""
    took = manifest.training
    if took is None or took.first_loss is None or took.last_loss is None:
        return ""
    stage = "SFT" if manifest.method == "sft" else "DPO"
    said = f"Loss of {stage} by step: in training {as_number(took.first_loss)} at first"
    said += f" and {as_number(took.last_loss)} at last"
    if took.validation_loss is None:
        return f"{said}; there was no validation: {took.validation_missing or 'nothing was there to validate with'}."
    kept = "the weights kept" + (f", those of step {took.best_step:,}" if took.best_step is not None else "")
    return f"{said}; in validation {as_number(took.validation_loss)} with {kept}."


def _scored(names: Iterable[str]) -> list[str]:
    """Return what figures by likelihood are made of, where there are some."""
    held = list(names)
    said = [text for part, text in _SCORED.items() if any(one.startswith(part) or one.endswith(part) for one in held)]
    return [*said, _MARGIN] if said else []


def _used(manifest: ModelManifest) -> dict[str, Any]:
    """Return the hyperparameters that had a say in the model; the manifest and the recipe's file have all."""
    recipe = dict(manifest.recipe)
    if manifest.method == "few-shot":
        return {name: recipe[name] for name in _OF_PROMPTS if name in recipe}
    unused = {"examples", *(_OF_DPO if manifest.method == "sft" else ())}
    unused |= set(_OF_ADAPTERS if recipe.get("tuning") == "full" else ())
    unused |= {name for name in ("begin_mnemonics", "min_new_tokens", "packing") if not recipe.get(name)}
    return {name: value for name, value in recipe.items() if name not in unused}


def _by_reader(result: Result) -> bool:
    return result.judge.partition("-")[0] == _READER


def _refuse_rankings_by_the_reader(manifest: ModelManifest) -> None:
    for result in manifest.results:
        if _by_reader(result) and (result.against or kind_of(result.name) in _RANKINGS):
            raise DataError(
                "cards refuse model rankings judged by the reader",
                where=f"result {result.name}",
                expected="a language model or people as judge of what compares models",
                found=f"judge {result.judge}" + (f", compared with {result.against}" if result.against else ""),
                todo="judge it with a language model, or leave it out: the reader sees style alone",
            )


def _row(result: Result, notes: Sequence[str] = ()) -> dict[str, str]:
    """Return a result as the card shows it, with the number of its note; texts are escaped there."""
    interval = "no interval"
    if result.low is not None and result.high is not None:
        interval = f"{as_number(result.low)} to {as_number(result.high)}" + (FEW if is_of_few(result) else "")
    counted = f"{result.n:,}"
    if result.clusters is not None:
        counted += f" in {result.clusters:,} groups"
    if result.missing:
        counted += f", {result.missing:,} unreadable"
    return {
        "name": _name(result),
        "given": given(result),
        "value": "none" if result.value is None else as_number(result.value),
        "interval": interval,
        "n": counted,
        "judge": result.judge or "likelihood of the model",
        "dataset": result.dataset,
        "part": ", ".join(filter(None, [result.config, result.split])),
        "revision": result.revision or "",
        "note": str(notes.index(note_of(result)) + 1) if note_of(result) in notes else "",
    }


def _name(result: Result) -> str:
    words = in_words(result.name)
    name = f"reader round-trip: {words}" if _by_reader(result) else words
    return f"{name} against {result.against}" if result.against else name


def _described(result: Result) -> str:
    """Return a result's name with what tells it from others of that name."""
    side = {"": "", "both": "both sides"}.get(result.side, f"{result.side} side")
    told = ", ".join(filter(None, [result.persona and f"{result.persona} personas", side]))
    return _name(result) + (f" ({told})" if told else "")


def _notes(result: Result, manifest: ModelManifest) -> str:
    shown = _row(result)
    interval = shown["interval"].removesuffix(FEW)
    said = [
        _described(result),
        f"95 % interval {interval}",
        f"n {shown['n']}",
        f"judge: {shown['judge']}",
    ]
    if result.split:
        said.append(f"split {result.split}")
    return printable("; ".join([*said, *(["toy model"] if manifest.toy else []), *filter(None, [result.note])]))


def _slug(result: Result) -> str:
    parts = (result.dataset.partition("/")[2], result.config, result.name)
    return re.sub(r"[^a-z0-9]+", "-", "-".join(filter(None, parts)).lower()).strip("-")[:120]


def _on_the_hub(manifest: ModelManifest) -> Iterator[Result]:
    """Yield the results that say something, on sets that are on the Hub."""
    return (one for one in manifest.results if one.value is not None and address_of(one.dataset))


def _model_index(manifest: ModelManifest) -> list[dict[str, Any]]:
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type="text-generation",
            task_name="Persona tailoring",
            dataset_type=result.dataset,
            dataset_name=result.dataset,
            dataset_config=result.config or None,
            dataset_split=result.split or None,
            dataset_revision=result.revision,
            metric_type=result.name,
            metric_name=_described(result) + (" (toy)" if manifest.toy else ""),
            metric_value=result.value,
        )
        for result in _on_the_hub(manifest)
    ]
    if not results:
        return []
    data: Any = ModelCardData(model_name=_title(manifest), eval_results=results)  # its methods have no types
    index: list[dict[str, Any]] = data.to_dict()["model-index"]
    return index
