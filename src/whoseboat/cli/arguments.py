"""What commands share in reading their arguments."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from whoseboat.errors import Interrupted, UsageError


@contextmanager
def interruptible() -> Iterator[None]:
    """Meet Ctrl-C with one line that says how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted from None


def repo_and_revision(given: str | None) -> tuple[str | None, str | None]:
    """Read ORG/NAME[@REVISION]."""
    if given is None:
        return None, None
    repo, _, revision = given.partition("@")
    return repo, revision or None


def assignments(flag: str, given: list[str]) -> dict[str, str]:
    """Read KEY=VALUE, any number of them."""
    found: dict[str, str] = {}
    for text in given:
        key, separator, value = (part.strip() for part in text.partition("="))
        if not separator or not key or not value:
            example = "prompt=question,chosen=good,rejected=bad" if flag == "--columns" else "KEY=VALUE"
            raise UsageError(f"{flag} takes KEY=VALUE", expected=f"{flag} {example}", found=text)
        if key in found:
            raise UsageError(f"{flag} names {key!r} twice", found=text)
        found[key] = value
    return found


def parameters(given: list[str]) -> dict[str, Any]:
    """Read KEY=VALUE, the value as JSON where it is any, else as text."""
    found: dict[str, Any] = {}
    for key, value in assignments("--parameter", given).items():
        try:
            found[key] = json.loads(value)
        except ValueError as error:
            if value[0] in '{["':
                raise UsageError(f"--parameter {key} is broken JSON", found=f"{value} ({error})") from error
            found[key] = value
    return found


def listed(given: str | None) -> list[str]:
    """Read words with commas between them."""
    return [part.strip() for part in (given or "").split(",") if part.strip()]
