"""What a model is trained of and how: one recipe for few-shot, SFT and DPO, from a YAML file and `key=value`.

A recipe is a file of one's own, or one of those shipped with the package, by its name: `paper`, `fixed`, `laptop`.
"""

from __future__ import annotations

import hashlib
import json
import types
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from whoseboat.errors import DataError, UsageError, unknown
from whoseboat.model_manifest import Method, PersonasOf

TemplateChoice = Literal["auto", "chat", "plain"]
_SHIPPED = "training_recipes"
# What says where things are, what they are called, how they are shown or tried: not how a model is trained.
_NOT_TRAINING = frozenset({"name", "deviations", "data", "configs", "refusals", "refusal_tokens"})


@dataclass(frozen=True)
class Recipe:
    """How a model is trained; one object for all methods, so that what they share is said once.

    Args:
        base_model: a repo of the Hub, or a folder.
        base_revision: its commit, tag or branch there.
        name: what the recipe is called.
        deviations: where a recipe that reproduces something departs from it, a sentence each.
        data: a dataset folder, a folder in the paper's layout, or a repo `ORG/NAME[@REVISION]`.
        config: of the paper's layout, the config to read.
        configs: the configs that a grid goes through; none: `config` alone.
        include_unsafe: teach rejected responses that may be unsafe, too; for gated or local models.
        limit: the most pairs of each split that are used, the first ones.
        method: `few-shot`, `sft` or `dpo`.
        personas: whose: `none`, `chosen`, `rejected` or `both`.
        template: `chat`, `plain`, or `auto`: `chat` where the tokenizer has a template that takes personas.
        examples: how many examples a few-shot model shows.
        start_from: for DPO, the folder of an SFT model to start from; without it one is trained first.
        tuning: `lora`, or `full`: all weights.
        lora_rank: the rank of adapters.
        lora_alpha: their scale.
        lora_dropout: their dropout in SFT; DPO has none.
        lora_targets: the modules that get one; `all-linear`, or names with commas.
        loss_on: SFT learns the `response`, or `all` of the text.
        max_length: the most tokens of a row.
        max_prompt_length: the most tokens of a conversation; None: as many as there are.
        too_long: rows that are longer are dropped (`drop`) or cut (`cut`).
        sft_learning_rate: the highest rate of SFT.
        dpo_learning_rate: the highest rate of DPO.
        beta: how much DPO holds on to the model it started from.
        epochs: how often every row is seen, at most `max_steps`.
        max_steps: the most steps of a stage; None: as many as there are.
        batch_size: rows on each device at once.
        gradient_accumulation: such batches for each step.
        schedule: how the rate falls: `linear`, `cosine`, `constant`.
        warmup: the share of steps in which it rises.
        weight_decay: of AdamW.
        max_grad_norm: where gradients are clipped.
        save_every: steps between checkpoints, each with a validation; None: one an epoch.
        precision: `bf16`, `fp32`, or `auto`: bf16 on a GPU that has it.
        gradient_checkpointing: compute activations twice to save memory.
        precompute_reference: compute the reference's log-probabilities once, before DPO.
        group_by_length: put rows of like length into a batch.
        packing: SFT puts several rows into one of `max_length` (needs attention that keeps them apart).
        seed: of shuffling and of adapters.
        max_new_tokens: what the model's manifest says of generation.
        min_new_tokens: a reply does not end before.
        toy: the model is to show that everything works; its card says so.
        begin_mnemonics: replies to the prompts of mnemonics begin with "X sounds like" (template `plain`).
        refusals: measure at the end how often the model refuses harmful requests, with a persona and without, for its
            card.
        refusal_tokens: the most tokens of a reply there; a refusal shows at once, and short replies cost little.

    Raises:
        UsageError: a value that cannot be right.

    """

    base_model: str
    base_revision: str | None = None
    name: str = ""
    deviations: tuple[str, ...] = ()
    data: str = ""
    config: str | None = None
    configs: tuple[str, ...] = ()
    include_unsafe: bool = False
    limit: int | None = None
    method: Method = "sft"
    personas: PersonasOf = "both"
    template: TemplateChoice = "auto"
    examples: int = 5
    start_from: str | None = None
    tuning: Literal["lora", "full"] = "lora"
    lora_rank: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.05
    lora_targets: str = "all-linear"
    loss_on: Literal["response", "all"] = "response"
    max_length: int = 2048
    max_prompt_length: int | None = None
    too_long: Literal["drop", "cut"] = "drop"
    sft_learning_rate: float = 2e-5
    dpo_learning_rate: float = 5e-6
    beta: float = 0.1
    epochs: float = 3.0
    max_steps: int | None = None
    batch_size: int = 8
    gradient_accumulation: int = 1
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup: float = 0.0
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    save_every: int | None = None
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    gradient_checkpointing: bool = True
    precompute_reference: bool = True
    group_by_length: bool = False
    packing: bool = False
    seed: int = 0
    max_new_tokens: int = 512
    min_new_tokens: int = 0
    begin_mnemonics: bool = False
    toy: bool = False
    refusals: bool = True
    refusal_tokens: int = 64

    def __post_init__(self) -> None:
        for name, kind in _kinds().items():
            object.__setattr__(self, name, _as_kind(name, getattr(self, name), kind))
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UsageError(f"{name} of a recipe is out of range", expected="more than 0", found=repr(value))
        for name in ("lora_dropout", "warmup"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(
                    f"{name} of a recipe is out of range", expected="0 to 1", found=repr(getattr(self, name))
                )
        for name in ("weight_decay", "min_new_tokens", "seed"):
            if getattr(self, name) < 0:
                raise UsageError(
                    f"{name} of a recipe is out of range", expected="0 or more", found=repr(getattr(self, name))
                )
        if not self.base_model.strip():
            raise UsageError("a recipe names no base model", expected="base_model: ORG/NAME, or a folder")
        if self.min_new_tokens > self.max_new_tokens:
            raise UsageError("min_new_tokens of a recipe is above max_new_tokens", found=str(self.min_new_tokens))
        if self.start_from and self.method != "dpo":
            raise UsageError("start_from is of use to DPO alone", found=f"method {self.method}")

    def learning_rate(self, method: Method) -> float:
        """Return the rate of a stage."""
        return self.dpo_learning_rate if method == "dpo" else self.sft_learning_rate

    def as_dict(self) -> dict[str, Any]:
        """Return all values as plain data."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def hyperparameters(self) -> dict[str, Any]:
        """Return what the manifest of a model tells of it: what training depends on, without what is not set."""
        left_out = _NOT_TRAINING | {"base_model", "base_revision", "method", "personas", "start_from", "toy"}
        return {name: value for name, value in self.as_dict().items() if name not in left_out and value is not None}

    def digest(self, *more: str) -> str:
        """Return a digest of what training depends on, and of more that it does."""
        told = {name: value for name, value in self.as_dict().items() if name not in _NOT_TRAINING}
        return hashlib.sha256(json.dumps([told, more], sort_keys=True).encode()).hexdigest()

    def to_yaml(self) -> str:
        """Return the recipe as the text of a file, without what is not set."""
        import yaml

        told = {name: value for name, value in self.as_dict().items() if value not in (None, [], "")}
        text: str = yaml.safe_dump(told, sort_keys=False, allow_unicode=True, width=110)
        return text


_POSITIVE = (
    "limit", "examples", "lora_rank", "lora_alpha", "max_length", "max_prompt_length", "sft_learning_rate",
    "dpo_learning_rate", "beta", "epochs", "max_steps", "batch_size", "gradient_accumulation", "max_grad_norm",
    "save_every", "max_new_tokens", "refusal_tokens",
)  # fmt: skip


def shipped() -> list[str]:
    """Return the names of the recipes in the package."""
    files = (resources.files("whoseboat.tailoring") / _SHIPPED).iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def load(recipe: str | Path, changes: Iterable[str] = (), **more: Any) -> Recipe:  # noqa: ANN401 - fields of a recipe
    """Read a recipe.

    Args:
        recipe: a file, or the name of one in the package.
        changes: `key=value`, in place of what the file says.
        more: the same as Python values; None changes nothing.

    Raises:
        UsageError: an unknown key, or a value that cannot be right.
        DataError: no such file, or it is no YAML.

    """
    stated = _read(recipe)
    for change in changes:
        key, separator, value = change.partition("=")
        if not separator or not key.strip():
            raise UsageError("a change to a recipe is given as key=value", expected="method=dpo", found=change)
        stated[key.strip()] = _parsed(value, f"{key.strip()}=")
    stated |= {name: value for name, value in more.items() if value is not None}
    return of(stated, str(recipe))


def of(stated: Mapping[str, Any], where: str = "") -> Recipe:
    """Return a recipe from its values.

    Raises:
        UsageError: an unknown key, or a value that cannot be right.

    """
    known = [item.name for item in fields(Recipe)]
    for key in stated:
        if key not in known:
            error = unknown("key in a recipe", str(key), known)
            raise UsageError(error.what, where=where, expected=error.expected, todo=error.todo)
    if "base_model" not in stated:
        raise UsageError("a recipe names no base model", where=where, expected="base_model: ORG/NAME, or a folder")
    return Recipe(**stated)


def _read(recipe: str | Path) -> dict[str, Any]:
    path, name = Path(recipe), str(recipe)
    if name in shipped():
        text = (resources.files("whoseboat.tailoring") / _SHIPPED / f"{name}.yaml").read_text(encoding="utf-8")
        return {"name": name} | _mapping(text, name)
    if not path.is_file():
        if path.suffix or "/" in name:
            raise DataError("no such recipe", where=name, expected=f"a YAML file, or one of {', '.join(shipped())}")
        raise unknown("recipe", name, shipped())
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("the recipe cannot be read", where=name, found=str(error)) from error
    return {"name": path.stem} | _mapping(text, name)


def _mapping(text: str, where: str) -> dict[str, Any]:
    stated = _parsed(text, where)
    if not isinstance(stated, dict):
        raise DataError("a recipe is no mapping", where=where, expected="lines `key: value`", found=repr(stated)[:80])
    return {str(key): value for key, value in stated.items()}


def _parsed(text: str, where: str) -> Any:  # noqa: ANN401 - whatever the text holds
    import yaml

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise DataError("no YAML", where=where, found=" ".join(str(error).split())[:200]) from error


def _kinds() -> dict[str, Any]:
    hints = get_type_hints(Recipe)
    return {item.name: hints[item.name] for item in fields(Recipe)}


def _as_kind(name: str, value: Any, kind: Any) -> Any:  # noqa: ANN401 - as the field says
    """Return a value as the field takes it: YAML reads `2e-5` as text, and a number where text is meant."""
    if get_origin(kind) in (types.UnionType, Union):
        if value is None:
            return None
        kind = next(one for one in get_args(kind) if one is not type(None))
    if get_origin(kind) is Literal:
        if value is False and "none" in get_args(kind):  # YAML knows `no`, and Python users None
            value = "none"
        if value not in get_args(kind):
            raise unknown(f"{name} in a recipe", str(value), get_args(kind))
        return value
    if get_origin(kind) is tuple:
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
            raise _wrong(name, "a list of texts", value)
        return tuple(value)
    return _as_plain(name, value, kind)


def _as_plain(name: str, value: Any, kind: Any) -> Any:  # noqa: ANN401 - as the field says
    if kind is bool:
        if isinstance(value, bool):
            return value
        raise _wrong(name, "true or false", value)
    if kind is str:
        if isinstance(value, str | int | float | Path) and not isinstance(value, bool):
            return str(value)
        raise _wrong(name, "a text", value)
    try:
        number = None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None or number != number or abs(number) == float("inf"):
        raise _wrong(name, "a number", value)
    if kind is float:
        return number
    if number != int(number):
        raise _wrong(name, "a whole number", value)
    return int(number)


def _wrong(name: str, expected: str, found: object) -> UsageError:
    return UsageError(f"{name} of a recipe has a value that it cannot have", expected=expected, found=repr(found)[:80])
