"""What commands that ask a judge share: their options, and which judge these name."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from whoseboat.errors import UsageError
from whoseboat.llm.settings import LanguageModel

BaseUrl = Annotated[str | None, typer.Option(help="Its endpoint up to /v1.  [default: OPENAI_BASE_URL, else OpenAI's]")]
TheForm = Annotated[str, typer.Option(help="choice: a verdict alone; rubric: for judges trained on that.")]
Certainty = Annotated[bool, typer.Option("--certainty", help="Ask the judge how sure it is.")]
Prompts = Annotated[Path | None, typer.Option(help="Directory of templates of your own.")]
Batch = Annotated[bool, typer.Option("--batch", help="Ask through the Batch API: cheaper, within a day.")]
Parameter = Annotated[
    list[str] | None, typer.Option(help="Sent with every request, KEY=VALUE: temperature=0; may be repeated.")
]
Concurrency = Annotated[int, typer.Option(help="The most requests at once.")]
Deadline = Annotated[float, typer.Option(help="Seconds an attempt may take in all.")]
MaxAttempts = Annotated[int, typer.Option(help="How often a request is sent before its verdict fails.")]
MaxFailureRate = Annotated[float, typer.Option(help="The share of failed verdicts that stops the run.")]
MaxCost = Annotated[float | None, typer.Option(help="Dollars this run may spend.")]
MaxTokens = Annotated[int | None, typer.Option(help="Tokens this run may use.")]
PriceIn = Annotated[float | None, typer.Option(help="Dollars per million prompt tokens.")]
PriceOut = Annotated[float | None, typer.Option(help="Dollars per million completion tokens.")]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Ask again what failed in an earlier run.")]
CacheDir = Annotated[Path | None, typer.Option(help="Where answers are kept.  [default: XDG_CACHE_HOME/whoseboat]")]


def chosen(
    judge: str | None,
    model: str | None,
    *,
    default: str | None = None,
    **settings: Any,  # noqa: ANN401 - of many types
) -> str | LanguageModel:
    """Return the judge that was named; settings of a language model without one are refused.

    Args:
        judge: a judge that is no language model, by its name.
        model: a language model.
        default: the judge where neither is named; without it one has to be.
        settings: those of `LanguageModel`.

    Raises:
        UsageError: none was named, or two were, or a setting is of no use.

    """
    judge = default if judge is None and model is None else judge
    if (judge is None) == (model is None):
        raise UsageError(
            "no judge was named" if judge is None else "two judges were named",
            expected="--judge-model MODEL, or --judge contrast-reader",
        )
    if model is not None:
        return LanguageModel(model, **settings)
    defaults = {setting.name: setting.default for setting in fields(LanguageModel)} | {"parameters": {}}
    names = {"base_url": "judge-base-url"}
    stray = [
        f"--{names.get(name, name.replace('_', '-'))}" for name, value in settings.items() if value != defaults[name]
    ]
    if stray:
        raise UsageError(f"{', '.join(stray)}: of use with a language model only", todo="name one: --judge-model M")
    assert judge is not None  # noqa: S101 - one of the two was named
    return judge
