"""A card made anew, with what people wrote into the one that is there.

A card is YAML between two lines of hyphens, then Markdown in which what is made stands between two markers. What people
wrote is the Markdown before and after these, and keys of the YAML that are not made.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from whoseboat.cards.markup import BEGIN, END
from whoseboat.cards.rendering import front_matter
from whoseboat.errors import DataError

_FRONT = re.compile(r"\A\s*^---[ \t]*\n(.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
# Keys that are made: where a new card does not have them, those of the present one are out of date.
_MADE = frozenset(
    {"license_name", "license_link", "configs", "dataset_info", "size_categories"}
    | {"model-index", "base_model", "base_model_relation", "datasets", "metrics"}
)
# Tags that say how the present release was made; the others are kept.
_MADE_TAGS = frozenset({"contrast", "no-language-model", "not-for-all-audiences", "toy", "few-shot", "sft", "dpo"})
# What cards that programs make by themselves say without saying anything.
_SAYS_NOTHING = re.compile(
    r"#+ .*|[-*_ ]*|.*More Information Needed.*|.*has been automatically generated.*|- PEFT \d\S*"
    r"|Check out the configuration reference at .*|- \*\*(License|Language\(s\) \(NLP\)):\*\* .*",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Parts:
    """A card taken apart: the text of its YAML and what that says, what people wrote, and what was made between."""

    front: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    before: str = ""
    made: str = ""
    after: str = ""


def merge(new: str, present: str | None, mine: str | None = None) -> str:
    """Return a new card with what people wrote into the present one: text outside the generated block, and YAML keys.

    The keys that the new card has win; of `tags` both are kept. What was made and is made no more goes. Broken YAML of
    the present card is left out, its text kept. A present card without markers is kept below, unless it says nothing.
    Of the local card comes what the present one lacks: keys, and paragraphs outside the block.

    Args:
        new: the card as it was made.
        present: the card on the Hub, None where there is none.
        mine: the README.md of the local folder, None where there is none.

    Raises:
        DataError: one of them has markers that do not enclose one block, so it cannot be told what people wrote.

    """
    made = take_apart(new, "the card that was made")
    if not made.made or made.before.strip() or made.after.strip():
        raise ValueError("a card that was made has all of its text between the markers")
    there = take_apart(present or "", "README.md of the repo")
    local = take_apart(mine or "", "README.md of the folder")
    known = _pieces(there.before) + _pieces(there.after)
    before, after = (
        "\n\n".join([*_pieces(theirs), *(piece for piece in _pieces(ours) if piece not in known)])
        for theirs, ours in ((there.before, local.before), (there.after, local.after))
    )
    data = _merged(made.data, there.data, local.data)
    front = made.front if data == made.data else front_matter(data)
    return f"---\n{front}---\n\n" + "\n\n".join(filter(None, [before, made.made, after])) + "\n"


def take_apart(card: str, where: str = "README.md") -> Parts:
    """Return the parts of a card.

    Raises:
        DataError: it has markers that do not enclose one block.

    """
    card = card.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    found = _FRONT.match(card)
    front, body = (found[1], card[found.end() :]) if found else ("", card)
    data = _read(front)
    if isinstance(data, str):  # no YAML, but text between two lines
        front, body, data = "", card, {}
    lines = body.split("\n")
    begins = [at for at, line in enumerate(lines) if line.strip() == BEGIN]
    ends = [at for at, line in enumerate(lines) if line.strip() == END]
    if not begins and not ends:
        text = "" if _says_nothing(body) else body
        return Parts(front, data, after=text)
    if len(begins) != 1 or len(ends) != 1 or begins[0] > ends[0]:
        raise DataError(
            "the markers in the card do not enclose one block, so it cannot be told what people wrote in it",
            where=where,
            expected=f"one line {BEGIN}, and one line {END} after it",
            found=f"{len(begins)} of the first, {len(ends)} of the second",
            todo="put the two lines back around what was made, or take out both and all that was made",
        )
    begin, end = begins[0], ends[0]
    before, made, after = ("\n".join(part) for part in (lines[:begin], lines[begin : end + 1], lines[end + 1 :]))
    return Parts(front, data, before, made, after)


def _read(front: str) -> dict[str, Any] | str:
    """Return what YAML says, or that it is mere text; nothing where it is broken, since it tells the Hub nothing."""
    import yaml

    try:
        data = yaml.safe_load(front)
        yaml.safe_dump(data)
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError):
        return {}
    if isinstance(data, dict):
        return {key: value for key, value in data.items() if isinstance(key, str)}
    return data if isinstance(data, str) else {}


def _merged(made: dict[str, Any], there: dict[str, Any], mine: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in {**mine, **there}.items() if key not in _MADE}
    ordered = {key: kept[key] for key in [*there, *mine] if key in kept}
    data = made | {key: value for key, value in ordered.items() if key not in made}
    theirs = [tag for one in (there, mine) for tag in _tags(one) if tag not in _MADE_TAGS]
    tags = list(dict.fromkeys([*_tags(made), *theirs]))
    return data | ({"tags": tags} if tags else {})


def _tags(data: dict[str, Any]) -> list[str]:
    tags = data.get("tags")
    return [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []


def _pieces(text: str) -> list[str]:
    """Return the paragraphs of a text; a fenced block is one piece with the empty lines in it."""
    pieces: list[list[str]] = [[]]
    fence = ""
    for line in text.split("\n"):
        mark = _FENCE.fullmatch(line)
        if mark and not fence:
            fence = mark[1]
        elif mark and mark[1].startswith(fence) and not mark[2].strip():
            fence = ""
        if line.strip() or fence:
            pieces[-1].append(line)
        elif pieces[-1]:
            pieces.append([])
    return ["\n".join(piece).rstrip() for piece in pieces if piece]


def _says_nothing(body: str) -> bool:
    """Say whether a text is one that a program made and nobody filled in; headings alone are somebody's."""
    pieces = _pieces(re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL))
    lines = [line.strip() for piece in pieces for line in piece.split("\n")]
    if not lines:
        return True
    if all(line.startswith("#") for line in lines):
        return False
    return all(_SAYS_NOTHING.fullmatch(line) or line in _empty_templates() for line in lines)


@cache
def _empty_templates() -> frozenset[str]:
    """Return the lines of the cards that the Hub's client makes of nothing."""
    from huggingface_hub import DatasetCard, DatasetCardData, ModelCard, ModelCardData

    cards = DatasetCard.from_template(DatasetCardData()).text, ModelCard.from_template(ModelCardData()).text
    return frozenset(line.strip() for card in cards for line in card.splitlines())
