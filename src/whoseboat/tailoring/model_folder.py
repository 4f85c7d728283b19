"""A model folder: weights, tokenizer, template, card, manifest, recipe and curves; complete by itself.

```
README.md, manifest.json, recipe.yaml
*.safetensors, config.json or adapter_config.json, tokenizer files; none of weights where the examples are the model
assets/curves.png, assets/training_log.json, assets/rows.json
```
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from whoseboat import __version__, cards
from whoseboat.cards.models import CURVES as CURVES_ON_CARDS
from whoseboat.errors import DataError, OutputError
from whoseboat.folder import whole_folder
from whoseboat.manifest import FILE, describe_files, read_manifest
from whoseboat.model_manifest import ModelManifest, Training
from whoseboat.uploads import never_uploaded

CARD, RECIPE = "README.md", "recipe.yaml"
LOG, CURVES, ROWS = "assets/training_log.json", CURVES_ON_CARDS, "assets/rows.json"
_LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets")
_BLUE, _ORANGE, _GREEN = "#0072b2", "#e69f00", "#009e73"
Log = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model folder that was read, or any other model that is asked as one is (`is_untuned`)."""

    path: Path
    manifest: ModelManifest
    is_untuned: bool = False

    @property
    def is_adapter(self) -> bool:
        """Whether its weights are to be put on those of the base."""
        return self.manifest.relation == "adapter"


def read(path: str | os.PathLike[str]) -> ModelFolder:
    """Read the manifest of a model folder.

    Raises:
        DataError: it is none.

    """
    folder = Path(path)
    if not folder.is_dir():
        raise DataError("no such model folder", where=str(folder), expected="a folder as `whoseboat train` makes it")
    return ModelFolder(folder, ModelManifest.of(read_manifest(folder), str(folder / FILE)))


@contextmanager
def new_folder(out: Path, *, overwrite: bool, is_main: bool = True) -> Iterator[Path | None]:
    """Give the one process that writes a directory that becomes `out`; the others of a run get None.

    Raises:
        OutputError: there is something at `out` that may not be replaced.

    """
    if not is_main:
        yield None
        return
    with whole_folder(out, overwrite=overwrite) as new:
        yield new


def copy_weights(source: Path, new: Path) -> None:
    """Copy what a trainer saved and what belongs to the model: no pickle, no state of a training, no card of others."""
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source).as_posix()
        if path.is_file() and never_uploaded(name) is None and path.name not in (CARD, FILE):
            target = new / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def stated(
    *,
    seeds: Sequence[int],
    training: Training | None,
    **known: Any,  # noqa: ANN401 - fields of a manifest
) -> ModelManifest:
    """Return a manifest with what is the same for every model that is made here and now."""
    return ModelManifest(
        code_version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=versions(),
        seeds=tuple(seeds),
        training=training,
        **known,
    )


def versions() -> dict[str, str]:
    """Return the versions of the libraries a model is made with."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def complete(
    new: Path, manifest: ModelManifest, recipe: str, log: Log = (), rows: Mapping[str, Any] | None = None
) -> ModelManifest:
    """Write recipe, curves, counts of rows, card and manifest beside the weights; return the manifest.

    Raises:
        OutputError: there is a file that may never be published.

    """
    (new / RECIPE).write_text(recipe, encoding="utf-8")
    if log:
        (new / "assets").mkdir(exist_ok=True)
        (new / LOG).write_text(json.dumps(list(log), indent=1) + "\n", encoding="utf-8")
        draw_curves(log, new / CURVES)
    if rows is not None:
        (new / "assets").mkdir(exist_ok=True)
        (new / ROWS).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    manifest = replace(manifest, weights_digest=digest_of_weights(new), files=describe_files(new))
    (new / CARD).write_text(cards.model_card(manifest), encoding="utf-8")
    manifest = replace(manifest, files=describe_files(new))
    strange = [name for name in manifest.files if never_uploaded(name)]
    if strange:
        raise OutputError(
            "the model's libraries left files that may not be published", where=str(new), found=", ".join(strange[:5])
        )
    (new / FILE).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def digest_of_weights(folder: Path) -> str:
    """Return the SHA-256 of the weights by their names, empty where there are none."""
    whole, names = hashlib.sha256(), sorted(folder.glob("*.safetensors"))
    for path in names:
        with path.open("rb") as file:
            whole.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest() if names else ""


def draw_curves(log: Log, path: Path) -> None:
    """Draw how the loss went in training and validation, and for DPO how far the responses were told apart."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    has_margins = any("rewards/margins" in entry for entry in log)
    figure = Figure(figsize=(8, 3.4) if has_margins else (6, 3.4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2 if has_margins else 1, squeeze=False)[0]
    _draw(panels[0], log, {"loss": ("training", _BLUE), "eval_loss": ("validation", _ORANGE)}, "loss")
    if has_margins:
        lines = {"rewards/margins": ("training", _BLUE), "eval_rewards/margins": ("validation", _ORANGE)}
        _draw(panels[1], log, lines, "reward of the preferred response less the other's")
    figure.savefig(path, format="png", metadata={"Software": None})


def _draw(axes: Any, log: Log, lines: Mapping[str, tuple[str, str]], title: str) -> None:  # noqa: ANN401 - no types
    for key, (name, colour) in lines.items():
        points = [(entry["step"], entry[key]) for entry in log if key in entry and "step" in entry]
        if points:
            axes.plot(*zip(*points, strict=True), color=colour, label=name, marker="o", markersize=3, linewidth=1.5)
    axes.set_xlabel("step", fontsize=9)
    axes.set_title(title, fontsize=10, loc="left")
    axes.tick_params(labelsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.lines:
        axes.legend(frameon=False, fontsize=9)
