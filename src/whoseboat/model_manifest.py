"""`manifest.json` of a model: what it was made of and how, what it scored, and its releases."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import PurePath
from typing import Any, Literal, TypeVar, get_args

from whoseboat.errors import DataError
from whoseboat.manifest import FILE
from whoseboat.versions import Release

SCHEMA_VERSION = "1.0.0"
Method = Literal["few-shot", "sft", "dpo"]
Relation = Literal["adapter", "finetune", "merge", "prompt"]
Template = Literal["chat", "plain"]
PersonasOf = Literal["none", "chosen", "rejected", "both"]


@dataclass(frozen=True, slots=True)
class TrainedOn:
    """A dataset a model was trained on: its repo at a commit, the version and config there, and its licence's id.

    A folder on disk has no `repo`: `name` is what its manifest calls it, `digest` that of its data.
    """

    name: str
    repo: str | None = None
    revision: str | None = None
    version: str | None = None
    config: str = "tailoring"
    split: str = "train"
    licence: str = "unknown"
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class Training:
    """What a stage of training took, and how its loss went; None: not known.

    `rows` were given; `cut` were shortened to fit, `dropped` were not trained on at all. `validation_loss` is that of
    the weights that were kept, those of step `best_step`; `validation_missing` says why there is none, where there is
    none.
    """

    rows: int
    cut: int = 0
    dropped: int = 0
    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0
    first_loss: float | None = None
    last_loss: float | None = None
    validation_loss: float | None = None
    best_step: int | None = None
    validation_missing: str = ""

    @property
    def kept(self) -> int:
        """How many rows were trained on."""
        return self.rows - self.dropped


@dataclass(frozen=True, slots=True)
class Result:
    """One figure with its interval (95 %) and the number of rows it is of, as `whoseboat.metric` gives them.

    `value` is None where nothing can be said; `note` then says why. `clusters` counts the independent groups behind
    `n`, `missing` the pairs without a readable verdict.
    `side` is the side whose personas were given (`chosen`, `rejected`, `both`), `persona` which ones: `true`,
    `shuffled`, `retrieved`, `none`. `judge` is empty for what is computed from the model's own likelihoods, `contrast`
    for the offline reader, else the language model that judged. `against` names the model it was compared with; a win
    rate or a net win is a comparison, named or not.
    `dataset` is a repo, or the name of a set that is not published.
    """

    name: str
    value: float | None
    n: int
    low: float | None = None
    high: float | None = None
    clusters: int | None = None
    missing: int = 0
    side: str = ""
    persona: str = ""
    judge: str = ""
    against: str = ""
    dataset: str = ""
    config: str = ""
    split: str = ""
    revision: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Refusals:
    """How often the model refuses prompts it should: `persona` is `none`, `chosen`, `rejected` or another kind."""

    persona: str
    rate: float
    n: int
    low: float
    high: float
    note: str = ""


@dataclass(frozen=True)
class ModelManifest:
    """Everything that is to be known of a model folder. Dates and seconds do not make two models differ.

    `template_text` is the exact text a persona and a request are put into. With `chat` it is the content of the system
    message, which holds `{persona}`; with `plain` it is the whole prompt and holds `{persona}` and `{prompt}`. Nothing
    else in braces is a slot. Where `base_is_local`, the base was a folder: an adapter or a prompt, which need it, name
    its place on the machine where they were made, other weights its name alone. A model for which nothing was trained
    (`few-shot`, relation `prompt`) is its base with a template that holds the examples. Generation ends at the
    tokenizer's end of sequence, or where one of `stop` begins.

    Raises:
        DataError: a value that no model has.

    """

    name: str
    base_model: str
    base_revision: str | None
    base_licence: str
    method: Method
    relation: Relation
    personas: PersonasOf
    template: Template
    template_text: str
    datasets: tuple[TrainedOn, ...]
    code_version: str
    created: str  # ISO 8601, UTC
    schema_version: str = SCHEMA_VERSION
    base_is_local: bool = False
    stop: tuple[str, ...] = ()
    max_new_tokens: int = 512
    recipe: Mapping[str, Any] = field(default_factory=dict)  # hyperparameters
    training: Training | None = None  # of the stage the method is called after
    sft_training: Training | None = None  # of the SFT model that DPO started from
    hardware: str = ""
    seeds: tuple[int, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)  # of libraries, by name
    languages: tuple[str, ...] = ()
    results: tuple[Result, ...] = ()
    evaluated: str = ""  # the day of the results, ISO 8601
    refusals: tuple[Refusals, ...] = ()
    refusals_missing: str = ""  # why there are none, where that is known
    safety: str = ""  # what kept unsafe responses out of training, in a sentence
    toy: bool = False  # trained on toy data: says nothing about tailoring
    weights_digest: str = ""
    kind: str = "model"
    version: str | None = None
    repo: str | None = None
    licence: Mapping[str, Any] | None = None
    releases: tuple[Release, ...] = ()
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, kinds in (
            ("method", Method), ("relation", Relation), ("template", Template), ("personas", PersonasOf),
        ):  # fmt: skip
            if getattr(self, name) not in get_args(kinds):
                raise DataError(
                    f"no {name} of a model", expected=" or ".join(get_args(kinds)), found=repr(getattr(self, name))
                )
        if (self.method == "few-shot") != (self.relation == "prompt"):
            raise DataError(
                "method and relation of a model contradict each other",
                expected="few-shot with prompt, sft and dpo with adapter, finetune or merge",
                found=f"{self.method} with {self.relation}",
            )
        for slot in ("{persona}", "{prompt}")[: 1 if self.template == "chat" else 2]:
            if self.template_text.count(slot) != (0 if slot == "{persona}" and self.personas == "none" else 1):
                raise DataError(
                    f"the template of a model does not hold {slot} once",
                    expected="no {persona} for a model without personas, else each slot once",
                    found=repr(self.template_text),
                )

    @property
    def has_persona(self) -> bool:
        """Whether the model is given a persona."""
        return "{persona}" in self.template_text

    @property
    def base_name(self) -> str:
        """What the base is called: a repo of the Hub, or the name of a folder, without its place on some machine."""
        return PurePath(self.base_model).name or self.base_model if self.base_is_local else self.base_model

    @property
    def needs_base(self) -> bool:
        """Whether it cannot be loaded without its base: it is an adapter, or has no weights at all."""
        return self.relation in ("adapter", "prompt")

    @classmethod
    def of(cls, stated: Mapping[str, Any], where: str = FILE) -> ModelManifest:
        """Return the manifest of a model folder from what its file states; what is not known here is left out.

        Raises:
            DataError: it is not that of a model, or lacks what one has.

        """
        if stated.get("kind") != "model":
            raise DataError(
                "not the manifest of a model",
                where=where,
                expected="a model folder, as `whoseboat train` makes them",
                found=str(stated.get("kind", "dataset")),
                todo="name the folder or repo of a model",
            )
        try:
            known = {item.name: stated[item.name] for item in fields(cls) if item.name in stated}
            stages = {name: known.get(name) for name in ("training", "sft_training")}
            known |= {
                "datasets": _each(stated["datasets"], TrainedOn),
                **{name: None if one is None else _part(one, Training) for name, one in stages.items()},
                "results": _each(stated.get("results", ()), Result),
                "refusals": _each(stated.get("refusals", ()), Refusals),
                "releases": tuple(map(Release.of, stated.get("releases", ()))),
                **{name: tuple(stated.get(name, ())) for name in ("stop", "seeds", "languages")},
                # Earlier versions did not say so; of what was on the Hub they always had the commit.
                "base_is_local": bool(stated.get("base_is_local", stated["base_revision"] is None)),
            }
            return cls(**known)
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(
                "the manifest lacks what that of a model has", where=where, found=f"{type(error).__name__}: {error}"
            ) from error

    def to_json(self) -> str:
        """Return the text of the file; halves of surrogate pairs, as in names that are no UTF-8, become escapes."""
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"
        return re.sub("[\ud800-\udfff]", lambda half: f"\\u{ord(half.group()):04x}", text)


Part = TypeVar("Part", TrainedOn, Training, Result, Refusals)


def _part(stated: Mapping[str, Any], kind: type[Part]) -> Part:
    """Return a part from what the file states of it, without what is not known here."""
    known = {item.name for item in fields(kind)}
    return kind(**{name: value for name, value in stated.items() if name in known})


def _each(stated: Iterable[Mapping[str, Any]], kind: type[Part]) -> tuple[Part, ...]:
    return tuple(_part(one, kind) for one in stated)
