"""Text from data as Markdown that shows just its characters: it opens no HTML, no table, no block and no link."""

from __future__ import annotations

import re
from collections.abc import Mapping

from whoseboat.errors import printable

BEGIN, END = "<!-- whoseboat:begin generated -->", "<!-- whoseboat:end generated -->"
# Where a name of the repo belongs in a card of a folder that has none yet.
UNNAMED = "PATH_OR_HUB_ID"
# What could mean something to Markdown or HTML, each with where it could: what cannot stays as it is, so that a card
# can be read as a file, too.
_MARKUP = re.compile(
    "|".join(
        [
            r"[`*\[\]|<>~$@]",  # code, emphasis, links, tables, tags, formulas, mentions
            r"\\(?=[!-/:-@\[-`{-~]|$)",  # an escape, or the end of the line
            r"(?<![^\W_])_+|_+(?![^\W_])",  # emphasis, but for what stands within a word
            r"\{(?=[{%#])|(?<=[}%#])\}",  # what templates look like
            r"(?<![^\W_])#",  # a heading, but for C#
            r"^\+",  # an item of a list
            r"!(?=\[)",  # a picture
            r"&(?=[#a-z])",  # an entity
            r":(?=//|[a-z_]+:)|(?<=www)\.",  # addresses and emoji by name
        ]
    ),
    re.IGNORECASE,
)
# What names a repo, a commit or a tag on the Hub: only such text becomes part of a link, or stands in code as it is.
_PLAIN = re.compile(r"[\w./-]+", re.ASCII)
_REPO = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_ADDRESS = re.compile(r"https://[A-Za-z0-9.-]+(?:/[A-Za-z0-9._~%/#=-]*[A-Za-z0-9/])?")


def as_text(value: object, width: int = 400) -> str:
    """Return a text from data as one line of Markdown that shows just its characters, whatever they are.

    Every character that could mean something to Markdown or HTML where it stands becomes a numeric entity; control and
    invisible characters do not pass. It is no value of an attribute: quotes stay.
    """
    line = printable(" ".join(str(value).split()))
    if len(line) > width:
        line = line[: width - 1] + "…"
    return _escaped(line)


def as_code(value: object, width: int = 200) -> str:
    """Return a name from outside as inline code, in a form that works in tables too."""
    return f"<code>{as_text('not set' if value is None else value, width)}</code>"


def as_linked(text: str, width: int = 1000) -> str:
    """Return a text as `as_text` does, with its plain `https` addresses as links."""
    line = printable(" ".join(text.split()))[:width]
    parts = re.split(f"({_ADDRESS.pattern})", line)
    return "".join(f"<{part}>" if _ADDRESS.fullmatch(part) else _escaped(part) for part in parts)


def _escaped(line: str) -> str:
    harmless = _MARKUP.sub(lambda match: "".join(f"&#{ord(character)};" for character in match.group()), line)
    return harmless.replace(UNNAMED, UNNAMED.replace("_", "&#95;"))  # a placeholder in words of people is none


def as_literal(text: str) -> str:
    """Return a text as a Python literal on one line, without any character that could mean something to HTML."""
    if _PLAIN.fullmatch(text):
        return f'"{text}"'
    return repr(text).replace("<", r"\x3c").replace("`", r"\x60")


def as_repo(repo: str, kind: str = "datasets") -> str:
    """Return a repo on the Hub (`datasets`, `models` or `spaces`) as a link to it; what cannot be one stays code."""
    if not _REPO.fullmatch(repo):
        return as_code(repo)
    return f"[{as_text(repo)}]({address_of(repo, kind)})"


def address_of(repo: str, kind: str = "datasets") -> str:
    """Return the address of a repo on the Hub, empty where the name cannot be one."""
    if not _REPO.fullmatch(repo):
        return ""
    return f"https://huggingface.co/{'' if kind == 'models' else f'{kind}/'}{repo}"


def as_bibtex(entry: str) -> str:
    """Return an entry for a fenced block: its lines, none of which can end the block or stand for a marker."""
    lines = (printable(line.replace("\t", "  ")) for line in entry.splitlines())
    return "\n".join(line.replace("`", "'").replace("<", r"{\textless}") for line in lines)


def as_bibtex_value(text: object) -> str:
    """Return a text for the value of a field in BibTeX."""
    line = re.sub(r"[\\{}<>`]", "", printable(" ".join(str(text).split())))
    return re.sub(r"([&%$#_])", r"\\\1", line)


def as_settings(values: Mapping[str, object]) -> str:
    """Return names with their values in one line."""
    return ", ".join(f"{as_code(name)} = {as_code(value)}" for name, value in values.items())


def as_day(moment: str) -> str:
    """Return the day of a moment in ISO 8601; what is none stays harmless text."""
    return as_text(moment[:10])


def as_number(value: float) -> str:
    """Return a number for a reader: whole ones with separators, others with three digits after the point."""
    return f"{value:,}" if isinstance(value, int) else f"{value:z.3f}"


def as_share(part: int, whole: int) -> str:
    """Return a share in per cent."""
    return f"{100 * part / whole:.1f} %" if whole else "none"
