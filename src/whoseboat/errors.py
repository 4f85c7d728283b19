"""What can go wrong, said once and clearly.

```
WhoseboatError      exit code 1
├── UsageError      exit code 2: an argument that cannot be right
├── DataError       the input cannot be read, or is not what it should be
├── HubError        the Hub did not give what was asked for
├── OutputError     the result cannot be written
└── Interrupted     exit code 130: the user stopped the command
```
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable

# What may not reach a terminal or a card as it is: controls, formats (they turn the direction of text, or hide it),
# halves of surrogate pairs, private use.
_UNPRINTABLE = {"Cc": "\ufffd", "Cf": "", "Cs": "\ufffd", "Co": "\ufffd"}


def printable(text: str) -> str:
    """Return a text without control and invisible characters; line ends and tabs are such, too."""
    if text.isprintable():
        return text
    return "".join(_UNPRINTABLE.get(unicodedata.category(character), character) for character in text)


class WhoseboatError(Exception):
    """An error a user can cause and can mend: what, where, expected, found, and what to do."""

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", expected: str = "", found: str = "", todo: str = "") -> None:
        self.what, self.where, self.expected, self.found, self.todo = what, where, expected, found, todo
        super().__init__(what)

    def __reduce__(self) -> tuple[object, ...]:  # errors go from process to process, whatever their class is made of
        return _again, (type(self), self.__dict__)

    def __str__(self) -> str:
        parts = {"where": self.where, "expected": self.expected, "found": self.found, "what to do": self.todo}
        return "\n".join([_lines(self.what), *(f"  {name}: {_lines(text)}" for name, text in parts.items() if text)])


def _again(kind: type[WhoseboatError], told: dict[str, object]) -> WhoseboatError:
    error = kind.__new__(kind, told["what"])
    error.__dict__.update(told)
    return error


def _lines(text: str) -> str:
    """Return a text that may come from data: further lines are set in, so that none looks like a part of ours."""
    return "\n    ".join(printable(line.replace("\t", " ")) for line in text.splitlines())


class UsageError(WhoseboatError):
    """An argument that cannot be right; nothing was started."""

    exit_code = 2


class DataError(WhoseboatError):
    """The input cannot be read, or is not what it should be."""


class HubError(WhoseboatError):
    """The Hub did not give what was asked for."""


class OutputError(WhoseboatError):
    """The result cannot be written; what stood there before is as it was."""


class Interrupted(WhoseboatError):
    """The command was interrupted by the user."""

    exit_code = 130

    def __init__(self) -> None:
        super().__init__(
            "interrupted; nothing was left half-written",
            todo="run the same command again: what a language model answered is kept and not asked again",
        )


def unknown(kind: str, given: str, known: Iterable[str]) -> UsageError:
    """Return the error for a name that is not among the known ones, with the nearest of them."""
    names = sorted(known)
    near = difflib.get_close_matches(given, names, n=3, cutoff=0.6)
    return UsageError(
        f"unknown {kind}{':' if ' ' in kind else ''} {given!r}",
        expected=f"one of {', '.join(names)}" if names else f"no {kind} at all",
        todo=f"did you mean {' or '.join(repr(name) for name in near)}?" if near else "",
    )
