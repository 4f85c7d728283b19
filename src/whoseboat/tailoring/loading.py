"""A model in memory with its tokenizer, its prompts and its reference: a model folder of ours, or any other model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from whoseboat import manifest
from whoseboat.errors import UsageError, unknown
from whoseboat.model_manifest import ModelManifest, PersonasOf, Template
from whoseboat.tailoring import base_models, generation, merging
from whoseboat.tailoring.model_folder import ModelFolder
from whoseboat.tailoring.prompting import Prompts

Dtype = Literal["float32", "bfloat16"]


@dataclass(frozen=True, slots=True)
class Reference:
    """What a policy is compared with: another model, or the policy itself with its adapter off (no `model`)."""

    name: str
    model: Any = field(default=None, repr=False)


@dataclass(frozen=True)
class Loaded:
    """A model in memory; `made` is its manifest where it is a model folder of ours, `beta` that of its training.

    `longest` is the most tokens it takes, `longest_prompt` the most of a conversation in training; None: no limit.
    """

    name: str
    model: Any = field(repr=False)
    tokenizer: Any = field(repr=False)
    prompts: Prompts = field(repr=False)
    reference: Reference | None
    made: ModelManifest | None = None
    longest: int | None = None
    longest_prompt: int | None = None
    beta: float = 1.0

    @property
    def pad_id(self) -> int:
        """The token to pad with."""
        pad = self.tokenizer.pad_token_id
        return self.prompts.known.end_id if pad is None else int(pad)

    @property
    def ends(self) -> list[int]:
        """The tokens at which a reply is over."""
        return list(dict.fromkeys([self.prompts.known.end_id, *merging.ends_of(bare(self.model))]))

    @property
    def stop(self) -> tuple[str, ...]:
        """The texts at which a reply is over."""
        return self.made.stop if self.made else self.prompts.known.stop

    @contextmanager
    def as_reference(self) -> Iterator[Any]:
        """Give the model of the reference, None where there is none."""
        if self.reference is None:
            yield None
        elif self.reference.model is not None:
            yield self.reference.model
        else:
            with self.model.disable_adapter():
                yield self.model


def bare(model: Any) -> Any:  # noqa: ANN401 - transformers has no types
    """Return the model below an adapter."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def load(
    model: str | os.PathLike[str],
    *,
    reference: str | os.PathLike[str] | None = None,
    template: Template | None = None,
    dtype: Dtype = "float32",
) -> Loaded:
    """Load a model and what its implicit reward is measured from; no code of theirs is run, and no pickle is read.

    Args:
        model: a model folder of ours, or any other with a causal language model; or a repo that holds either
            (`ORG/NAME[@REVISION]`).
        reference: the model to compare with, as `model`. Without it an adapter is compared with its base, and nothing
            else is compared.
        template: `chat` or `plain`, for a model that is none of ours, in place of the one that suits it
            (`whoseboat.tailoring.untuned`).
        dtype: what it computes in.

    Raises:
        UsageError: no such dtype or template, or policy and reference do not share their tokens.
        DataError: there is no such model, or it cannot be loaded.
        HubError: it cannot be fetched.

    """
    if dtype not in get_args(Dtype):
        raise unknown("dtype", str(dtype), get_args(Dtype))
    name = os.fspath(model)
    loaded = _ours(name, dtype) if template is None else _other(name, template, dtype)
    if reference is None:
        return loaded
    return _with_reference(loaded, os.fspath(reference), dtype)


def _ours(name: str, dtype: Dtype) -> Loaded:
    found = generation.find_model(name)
    made = found.manifest
    if found.is_untuned:
        return _other(name, made.template, dtype, made.personas)
    tokenizer, model = _weights(found, dtype)
    return Loaded(
        name=made.name,
        model=model,
        tokenizer=tokenizer,
        prompts=Prompts(tokenizer, made.template, made.personas, made.template_text),
        reference=Reference(f"{_named(made.base_model, made.base_revision)}, the adapter off")
        if found.is_adapter
        else None,
        made=made,
        longest=_least(made.recipe.get("max_length"), _positions(model)),
        longest_prompt=_least(made.recipe.get("max_prompt_length")),
        beta=float(made.recipe.get("beta", 1.0)) if made.method == "dpo" else 1.0,
    )


def _other(name: str, template: Template, dtype: Dtype, personas: PersonasOf = "both") -> Loaded:
    if (Path(name) / manifest.FILE).is_file():
        raise UsageError("a model folder of ours states its template itself", where=name, todo="leave --template out")
    base = _base(name)
    tokenizer = base_models.load_tokenizer(base.name, base.commit)
    model = _placed(base_models.load_model(base.name, base.commit, dtype))
    prompts = Prompts(tokenizer, template, personas)
    return Loaded(_named(base.name, base.commit), model, tokenizer, prompts, None, longest=_positions(model))


def _with_reference(loaded: Loaded, name: str, dtype: Dtype) -> Loaded:
    tokenizer, model, named = _reference(name, dtype)
    if tokenizer.get_vocab() != loaded.tokenizer.get_vocab():
        raise UsageError(
            "model and reference do not share their tokens, so no reward can be computed",
            where=name,
            expected="the model that training started from",
        )
    longest = _least(loaded.longest, _positions(model))
    return replace(loaded, reference=Reference(named, model), longest=longest)


def _reference(name: str, dtype: Dtype) -> tuple[Any, Any, str]:
    if (Path(name) / manifest.FILE).is_file():
        found = generation.find_model(name)
        return *_weights(found, dtype), found.manifest.name
    base = _base(name)
    tokenizer = base_models.load_tokenizer(base.name, base.commit)
    return (
        tokenizer,
        _placed(base_models.load_model(base.name, base.commit, dtype)),
        _named(base.name, base.commit),
    )


def _weights(found: ModelFolder, dtype: Dtype) -> tuple[Any, Any]:
    """Return tokenizer and weights of a model folder of ours."""
    place = base_models.weights_of(found.path, found.manifest)
    own = (str(found.path), None)
    tokenizer = base_models.load_tokenizer(*(place if found.manifest.relation == "prompt" else own))
    model = base_models.load_model(*place, dtype)
    if found.is_adapter:
        model = merging.with_adapter(model, found.path)
    return tokenizer, _placed(model)


def _base(name: str) -> base_models.BaseModel:
    if Path(name).is_dir():
        return base_models.find(name)
    repo, _, revision = name.partition("@")
    return base_models.find(repo, revision or None)


def _placed(model: Any) -> Any:  # noqa: ANN401 - transformers has no types
    import torch

    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def _named(name: str, commit: str | None) -> str:
    """Return what a model is called in figures; where it lies on this machine is nobody's business."""
    if Path(name).is_dir():
        return Path(name).resolve().name
    return f"{name}@{commit[:12]}" if commit else name


def _positions(model: Any) -> int | None:  # noqa: ANN401 - transformers has no types
    return getattr(bare(model).config, "max_position_embeddings", None)


def _least(*limits: int | None) -> int | None:
    known = [int(limit) for limit in limits if limit]
    return min(known, default=None)
