"""whoseboat: makes preference data say for whom.

>>> import whoseboat
>>> built = whoseboat.build("sample", "my-first-set")  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from whoseboat import contrast as contrast
    from whoseboat import judge as judge
    from whoseboat import metric as metric
    from whoseboat.agreement.agreeing import Agreement as Agreement
    from whoseboat.agreement.agreeing import agree as agree
    from whoseboat.agreement.sheets import Exported as Exported
    from whoseboat.agreement.sheets import export_sheets as export_sheets
    from whoseboat.dataset import to_text as to_text
    from whoseboat.errors import DataError as DataError
    from whoseboat.errors import HubError as HubError
    from whoseboat.errors import OutputError as OutputError
    from whoseboat.errors import UsageError as UsageError
    from whoseboat.errors import WhoseboatError as WhoseboatError
    from whoseboat.evaluation.evaluating import Evaluated as Evaluated
    from whoseboat.evaluation.evaluating import evaluate as evaluate
    from whoseboat.llm.settings import LanguageModel as LanguageModel
    from whoseboat.pipeline import Built as Built
    from whoseboat.pipeline import Progress as Progress
    from whoseboat.pipeline import build as build
    from whoseboat.pipeline import estimate as estimate
    from whoseboat.quality.checking import Checks as Checks
    from whoseboat.quality.checking import check as check
    from whoseboat.records import Pair as Pair
    from whoseboat.records import Persona as Persona
    from whoseboat.releases.differences import Difference as Difference
    from whoseboat.releases.differences import diff as diff
    from whoseboat.releases.listing import Listed as Listed
    from whoseboat.releases.listing import releases_of as releases_of
    from whoseboat.releases.publishing import Published as Published
    from whoseboat.releases.publishing import publish as publish
    from whoseboat.releases.takedowns import Takedown as Takedown
    from whoseboat.releases.takedowns import takedown as takedown
    from whoseboat.reporting.writing import Reported as Reported
    from whoseboat.reporting.writing import report as report
    from whoseboat.rewriting import first_person as first_person
    from whoseboat.scale.running import Launched as Launched
    from whoseboat.scale.running import build_in_tasks as build_in_tasks
    from whoseboat.tailoring.generation import Generated as Generated
    from whoseboat.tailoring.generation import generate as generate
    from whoseboat.tailoring.merging import merge as merge
    from whoseboat.tailoring.recipe import Recipe as Recipe
    from whoseboat.tailoring.training import Trained as Trained
    from whoseboat.tailoring.training import train as train
    from whoseboat.tailoring.training import train_grid as train_grid
    from whoseboat.tasks import Task as Task

# Where each exported name comes from; imported when first asked for, so that `import whoseboat` costs nothing.
_EXPORTS = {
    "Agreement": "agreement.agreeing",
    "Built": "pipeline",
    "Checks": "quality.checking",
    "DataError": "errors",
    "Difference": "releases.differences",
    "Evaluated": "evaluation.evaluating",
    "Exported": "agreement.sheets",
    "Generated": "tailoring.generation",
    "HubError": "errors",
    "LanguageModel": "llm.settings",
    "Launched": "scale.running",
    "Listed": "releases.listing",
    "OutputError": "errors",
    "Pair": "records",
    "Persona": "records",
    "Progress": "pipeline",
    "Published": "releases.publishing",
    "Recipe": "tailoring.recipe",
    "Reported": "reporting.writing",
    "Takedown": "releases.takedowns",
    "Task": "tasks",
    "Trained": "tailoring.training",
    "UsageError": "errors",
    "WhoseboatError": "errors",
    "agree": "agreement.agreeing",
    "build": "pipeline",
    "build_in_tasks": "scale.running",
    "check": "quality.checking",
    "diff": "releases.differences",
    "estimate": "pipeline",
    "evaluate": "evaluation.evaluating",
    "export_sheets": "agreement.sheets",
    "first_person": "rewriting",
    "generate": "tailoring.generation",
    "merge": "tailoring.merging",
    "publish": "releases.publishing",
    "releases_of": "releases.listing",
    "report": "reporting.writing",
    "takedown": "releases.takedowns",
    "to_text": "dataset",
    "train": "tailoring.training",
    "train_grid": "tailoring.training",
}
_MODULES = {"contrast", "judge", "metric"}

__all__ = [*sorted(_EXPORTS), *sorted(_MODULES), "__version__"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any exported thing
    if name in _MODULES:
        return import_module(f"whoseboat.{name}")
    if name in _EXPORTS:
        return getattr(import_module(f"whoseboat.{_EXPORTS[name]}"), name)
    raise AttributeError(f"module 'whoseboat' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
