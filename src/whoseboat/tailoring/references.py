"""Whether a reference is the model that training started from, as far as manifests tell.

The implicit reward of a model is measured from the model its training started from: of SFT the base, of DPO the SFT
model. A manifest names the base and its commit; of the SFT model it has what its training took, which no other run has.
"""

from __future__ import annotations

import os
from pathlib import Path

from whoseboat import manifest
from whoseboat.model_manifest import ModelManifest
from whoseboat.tailoring import model_folder


def doubt(made: ModelManifest | None, reference: str | os.PathLike[str], known_as: str) -> str:
    """Return why a reference may not be the model that training started from, nothing where it is.

    Args:
        made: the manifest of the model that is scored; None: it is none of ours.
        reference: the folder or repo that was named.
        known_as: what the reference is called in figures (`whoseboat.tailoring.loading.Reference.name`).

    """
    if made is None:
        return f"what the model was trained from is not known here, so nothing shows that it was {known_as}"
    path = Path(reference)
    given = model_folder.read(path).manifest if (path / manifest.FILE).is_file() else None
    base = made.base_name
    if made.method == "dpo":
        return _of_dpo(made, given, base, known_as)
    if given is not None:
        return f"the model was trained from {base}, and {known_as} is another one"
    name, _, commit = known_as.partition("@")
    if name != base or (made.base_revision and commit and not made.base_revision.startswith(commit)):
        return f"the model was trained from {_at(base, made.base_revision)}, and the reference is {known_as}"
    return ""


def _of_dpo(made: ModelManifest, given: ModelManifest | None, base: str, known_as: str) -> str:
    if given is None:
        is_base = known_as.partition("@")[0] == base
        told = "not from the base itself" if is_base else f"and nothing here shows that it was {known_as}"
        return f"DPO started from an SFT model of {base}, {told}"
    settings = (given.method, given.base_name, given.base_revision, given.personas, given.template_text)
    if settings != ("sft", base, made.base_revision, made.personas, made.template_text):
        return f"DPO started from an SFT model of the same base, personas and template, which {known_as} is not"
    if made.sft_training is None or given.training is None:
        return f"what DPO started from is not stated, so nothing shows that it was {known_as}"
    if made.sft_training != given.training:
        return f"DPO started from another SFT model than {known_as}: its training took other rows, steps or time"
    return ""


def _at(name: str, commit: str | None) -> str:
    return f"{name}@{commit[:12]}" if commit else name
