"""Any causal language model as it is, in the form of a model folder: the baseline that nothing was trained for.

Where its tokenizer has a chat template the persona is the system message, or where the template takes none, a sentence
that its user says about themselves; else the plain template is used. It may be told no persona as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from whoseboat import hub, manifest
from whoseboat.errors import DataError
from whoseboat.model_manifest import PersonasOf, Template
from whoseboat.tailoring import base_models, model_folder
from whoseboat.tailoring.model_folder import ModelFolder
from whoseboat.tailoring.templates import Renderer


def find(name: str, revision: str | None = None) -> ModelFolder:
    """Return a folder, or a repo of the Hub, with a causal language model, as a model folder that says how it is asked.

    Raises:
        DataError: it holds no model, an adapter alone, or its tokenizer cannot be used.
        HubError: there is no such repo, or it cannot be fetched.

    """
    base = base_models.find(name, revision)
    tokenizer = base_models.load_tokenizer(base.name, base.commit)
    template, personas = asked_by(tokenizer)
    renderer = Renderer(tokenizer, template, personas)
    made = model_folder.stated(
        name=base.public_name,
        base_model=base.name,
        base_revision=base.commit,
        base_is_local=base.is_local,
        base_licence=base.licence,
        method="few-shot",
        relation="prompt",
        personas=personas,
        template=template,
        template_text=renderer.template_text,
        stop=renderer.stop,
        datasets=(),
        training=None,
        seeds=(),
        weights_digest=model_folder.digest_of_weights(Path(name)) if base.is_local else "",
    )
    return ModelFolder(Path(name), made, is_untuned=True)


def asked_by(tokenizer: Any) -> tuple[Template, PersonasOf]:  # noqa: ANN401 - transformers has no types
    """Return the template of a model that was not trained here; personas `none`: its user tells it personas."""
    for personas in ("both", "none"):
        try:
            Renderer(tokenizer, "chat", personas)
        except DataError:
            continue
        return "chat", personas
    return "plain", "both"


def is_of_ours(repo: str, revision: str | None) -> bool:
    """Say whether a repo of the Hub holds a folder of ours: it has a manifest.

    Raises:
        HubError: there is no such repo, or the Hub does not answer.

    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    with hub.explained(repo, revision, "model", again=""):
        try:
            hf_hub_download(repo, manifest.FILE, revision=revision)
        except LocalEntryNotFoundError:  # the Hub cannot be asked
            raise
        except EntryNotFoundError:
            return False
    return True
