"""stanfordnlp/SHP: posts of 18 subreddits, and two comments of which readers voted one higher.

A row is a pair: `labels` is 1 where comment A is preferred, 0 where B is. The set's authors inferred that from votes
and times: the preferred comment has the higher score though it was not written earlier. `strength` is `score_ratio`,
the score of the preferred comment over that of the other. The authors advise a ratio of at least 2, as they trained
their own models with, and no more than 5 pairs of a post; both are the defaults here (`min_ratio`, `cap`). The cap
counts posts by their text. Pairs with equal scores are dropped as ties, and those whose label names the comment with
the lower score as contradictions.

Columns verified on the dataset card: `history` (title and body of the post), `human_ref_A`, `human_ref_B`, `labels`,
`score_A`, `score_B`, `score_ratio`; the others are not read. Files `SUBREDDIT/train.json`, `validation.json` and
`test.json`, of JSON lines, verified on the repo's listing. Licence: none stated today (early versions of the card said
MIT); the texts came under the terms of Reddit's API.

Quirks: posts and comments that read `[removed]` or `[deleted]` are dropped. Texts are as published, with the entities
and the Markdown of Reddit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from whoseboat import published
from whoseboat.errors import DataError, UsageError
from whoseboat.files import DataFile, Record
from whoseboat.published import Records, capped, read_published
from whoseboat.records import Drop, EmptyPromptError, Message, Origin, Pair
from whoseboat.sources import Option, Reading, Request, Source, values_of

SCORES = ("score_A", "score_B")
REQUIRED = ("history", "human_ref_A", "human_ref_B", "labels", "score_ratio", *SCORES)
SUBREDDITS = (
    *("askacademia", "askanthropology", "askbaking", "askcarguys", "askculinary", "askdocs", "askengineers"),
    *("askhistorians", "askhr", "askphilosophy", "askphysics", "askscience", "asksciencefiction", "asksocialscience"),
    *("askvet", "changemyview", "explainlikeimfive", "legaladvice"),
)

MIN_RATIO = Option("min_ratio", "the least score_ratio; the set's authors advise 2; 1: all", "2")
CAP = replace(published.CAP, default="5")

_REMOVED = re.compile(r"\[ ?(?:removed|deleted)(?: by [a-z]+)? ?\]", re.IGNORECASE)


def to_pairs(
    records: Records, options: Mapping[str, str], clean: Callable[[str], str] = str.strip
) -> Iterator[Pair | Drop]:
    """Turn each row into a pair; `clean` is what is done to each text.

    Raises:
        UsageError: the option `min_ratio` is no number, or below 1, which no ratio is.

    """
    try:
        least = float(options["min_ratio"])
    except ValueError:
        least = math.nan
    if not math.isfinite(least):
        raise UsageError("option 'min_ratio' is no number", expected="1 or more", found=options["min_ratio"])
    if least < 1:
        raise UsageError("option 'min_ratio' is below 1", expected="1 or more", found=options["min_ratio"])
    return capped((_pair(record, origin, least, clean) for record, origin in records), options)


def _pair(record: Record, origin: Origin, least: float, clean: Callable[[str], str]) -> Pair | Drop:
    texts = [record.get(name) for name in ("history", "human_ref_A", "human_ref_B")]
    label, ratio = record.get("labels"), _number(record.get("score_ratio"))
    if not all(isinstance(text, str) for text in texts):
        return Drop(origin, "read", "malformed", "the post or a comment is no text")
    if type(label) is not int or label not in (0, 1) or ratio is None:
        return Drop(origin, "read", "malformed", "labels is not 0 or 1, or score_ratio is no number")
    score_a, score_b = (_number(record.get(name)) for name in SCORES)
    if score_a is not None and score_a == score_b:
        return Drop(origin, "read", "tie", "both comments have the same score")
    if score_a is not None and score_b is not None and (score_a > score_b) != (label == 1):
        return Drop(origin, "read", "contradiction", "the comment that labels prefers has the lower score")
    if ratio < least:
        return Drop(origin, "read", "below_min_ratio", f"a score_ratio of {ratio:g}, at least {least:g}")
    try:
        post, a, b = (clean(str(text)) for text in texts)
        if _is_removed(post[-40:], at_end=True) or _is_removed(a) or _is_removed(b):
            return Drop(origin, "read", "removed", "the post or a comment was removed or deleted")
        return Pair(
            prompt=(Message("user", post),),
            chosen=a if label else b,
            rejected=b if label else a,
            origin=origin,
            language="en",
            strength=ratio,
            domain="forum",
        )
    except EmptyPromptError as error:
        return Drop(origin, "read", "empty_prompt", str(error))
    except ValueError as error:
        return Drop(origin, "read", "malformed", str(error))


def _is_removed(text: str, *, at_end: bool = False) -> bool:
    """Say whether a text is but the mark of one that is gone; or ends with it, as a title before a removed body."""
    found = [match.span() for match in _REMOVED.finditer(text)] if len(text) <= 40 else []
    return bool(found) and found[-1][1] == len(text) and (at_end or found[0][0] == 0)


def _number(value: object) -> float | None:
    """Return a value as a finite number, None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def is_of(option: str) -> Callable[[DataFile, Mapping[str, str]], bool]:
    """Return what says whether a file is in one of the directories an option names, or the option says `all`."""

    def is_wanted(file: DataFile, options: Mapping[str, str]) -> bool:
        asked = values_of(options[option])
        return "all" in asked or bool(set(asked) & set(file.name.split("/")[:-1]))

    return is_wanted


def checked(reading: Reading, option: str) -> Reading:
    """Return a reading if it has files of every directory asked for.

    Raises:
        DataError: there is a directory without a file.

    """
    files = reading.provenance.files
    there = {folder for name in files for folder in name.split("/")[:-1]} | {"all"}
    lacking = [name for name in values_of(reading.provenance.options[option]) if name not in there]
    if lacking:
        raise DataError(
            f"no file of {option} {', '.join(lacking)}",
            expected=f"{lacking[0]}/train.json",
            found=", ".join(files[:5]),
            todo="give the directory that holds these; of one that is given itself, all files are read",
        )
    return reading


def read(request: Request) -> Reading:
    """Open the set: on the Hub, or its files on disk."""
    reading = read_published(SOURCE, request, to_pairs, REQUIRED, is_wanted=is_of("subreddit"))
    return checked(reading, "subreddit")


SOURCE = Source(
    name="shp",
    title="Stanford Human Preferences (SHP)",
    about=(
        "Each row is one pair: of two comments on a Reddit post the one with the higher score, though it was not "
        "written earlier, is chosen. Votes of many readers, not one person's choice. Pairs whose score ratio is below "
        "min_ratio are dropped."
    ),
    read=read,
    options=(
        Option("subreddit", "which directories to read", "all", ("all", *SUBREDDITS), many=True),
        MIN_RATIO,
        CAP,
    ),
    repo="stanfordnlp/SHP",
    size="385,563 pairs",
    languages=("en",),
    files="SUBREDDIT/train.json, validation.json and test.json",
    citation="""@inproceedings{ethayarajh2022understanding,
  title     = {Understanding Dataset Difficulty with $\\mathcal{V}$-Usable Information},
  author    = {Ethayarajh, Kawin and Choi, Yejin and Swayamdipta, Swabha},
  booktitle = {Proceedings of the 39th International Conference on Machine Learning},
  year      = {2022}
}""",
    by_record=True,
)
