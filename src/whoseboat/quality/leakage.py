"""How much of a persona was taken over from the texts it was inferred from.

A persona that repeats its prompt or a response is a quotation and no trait: who ranks by it ranks by words in common.
Two measures: the longest run of words in a row that a persona shares with a text, and the share of its content words
that occur there, in whatever form (by lemma). Words joined by a hyphen count one by one, so that "step-by-step" is in
"step by step". Some words are shared by chance: so beside each share stands that with the same text of another
conversation. Lemmas and stop words are English; elsewhere words are compared as they stand, and of scripts without
spaces characters stand for words.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from whoseboat.metric import BOOTSTRAP, Bootstrap
from whoseboat.quality.findings import Checked, CheckFigure, Finding
from whoseboat.quality.pairs import SIDES, CheckedPair
from whoseboat.quality.shares import Conversations, quantiles
from whoseboat.quality.words import is_stop_word, lemma, tokens
from whoseboat.records import Side

# Six words in a row are a quotation, as they are where a model's reply is read. By chance it is three at most: that was
# the longest run in 70,000 looks at texts of other conversations. Of scripts without spaces characters are counted: a
# word has some two of them.
QUOTED_WORDS = 6
QUOTED_CHARACTERS = 12
# So much of what a persona says is the text's own wording, and so many words it must be: a share of few words is soon
# come by. By chance it was half or more in 8 of 105,000 looks at texts of other conversations.
TAKEN_OVER = 0.5
FEWEST_TAKEN_OVER = 4
# A long text has half of anyone's words: of texts of other conversations, 1 persona in 200 meets half of its own in one
# of 500 words (some 250 different ones), 1 in 9 in one of 2,000, and every other one in one of 8,000. So beyond this
# the share is told and not judged.
MOST_DIFFERENT_WORDS = 250
# What marks a contrast says nothing of whose words they are.
_FRAME = frozenset(["over", "rather", "instead", "versus", "vs"])
_TEXTS = ("prompt", "own", "other")
_TOLD = {"prompt": "the prompt", "own": "its own response", "other": "the other response"}
_UNSPACED_FROM = "\u0e00"
# What is held of each persona: numbers of words, one byte each.
_COLUMNS = (
    "quotes",
    "content",
    *(f"run {name}" for name in _TEXTS),
    *(f"shared {name}" for name in _TEXTS),
    *(f"judged {name}" for name in _TEXTS),
    "content elsewhere",
    *(f"elsewhere {name}" for name in _TEXTS),
)
_MOST_COUNTED = 255
_MOST_DETAIL = 200


@dataclass(frozen=True, slots=True)
class _Text:
    """A text to look into: its words in a row, and the lemmas of them all."""

    words: str
    known: frozenset[str]
    lemmas: frozenset[str]

    @classmethod
    def of(cls, parts: Sequence[str]) -> _Text:
        found = [_words(part) for part in parts]
        known = frozenset(word for words in found for word in words)
        # A line end between turns: no run goes over it.
        return cls("\n".join(f" {' '.join(words)} " for words in found), known, frozenset(map(lemma, known)))


class Leakage:
    """Finds personas that quote their texts, or are made of their words.

    Time grows with the length of the texts alone: some 250 microseconds for a pair of 240 words, 6 milliseconds for one
    of 8,000. 38 bytes of memory for each pair, those of its conversation included.
    """

    def __init__(self, bootstrap: Bootstrap = BOOTSTRAP) -> None:
        self._conversations = Conversations(bootstrap)
        self._rows = {side: array("B") for side in SIDES}
        self._before: tuple[str, dict[str, _Text]] | None = None
        self._elsewhere: dict[str, _Text] | None = None

    def add(self, pair: CheckedPair) -> Iterable[Finding]:
        """Compare both personas of a pair with its texts; five findings for each persona."""
        self._conversations.add(pair)
        texts: dict[str, _Text] = {
            "prompt": _Text.of([message.content for message in pair.prompt]),
            **{side: _Text.of([pair.response(side)]) for side in SIDES},
        }
        if self._before is not None and self._before[0] != pair.root:
            self._elsewhere = self._before[1]
        self._before = pair.root, texts
        return [finding for side in SIDES for finding in self._look(pair, side, texts)]

    def _look(self, pair: CheckedPair, side: Side, texts: dict[str, _Text]) -> list[Finding]:
        words = _words(pair.persona(side))
        content = _content(words)
        seen = _seen_from(side, texts)
        runs = {name: longest_run(words, text) for name, text in seen.items()}
        shared = {name: content & text.lemmas for name, text in seen.items()}
        elsewhere = [0, 0, 0, 0]
        if self._elsewhere is not None:
            others = _seen_from(side, self._elsewhere).values()
            elsewhere = [len(content), *(len(content & text.lemmas) for text in others)]
        fewest = _fewest_quoted(words)
        is_quoting = any(len(run) >= fewest for run in runs.values())
        row = [is_quoting, len(content), *map(len, runs.values()), *map(len, shared.values())]
        judged = {name: len(text.lemmas) <= MOST_DIFFERENT_WORDS for name, text in seen.items()}
        row += [*judged.values(), *elsewhere]
        self._rows[side].extend(min(count, _MOST_COUNTED) for count in row)
        return [
            *(Finding(pair.id, pair.split, side, *found) for found in _quoted(runs, fewest)),
            *(Finding(pair.id, pair.split, side, *found) for found in _taken_over(shared, len(content), judged)),
        ]

    def result(self) -> Checked:
        """Return shares of personas that quote or take over, shares of words with those by chance, and quantiles."""
        columns = {side: _columns(self._rows[side]) for side in SIDES}
        figures = tuple(figure for side in SIDES for figure in self._figures(side, columns[side]))
        return Checked(figures, {"leakage": {side: _spread(columns[side]) for side in SIDES}})

    def _figures(self, side: Side, columns: dict[str, NDArray[np.int64]]) -> Iterator[CheckFigure]:
        share = self._conversations.share
        none = "no persona has a word of its own"
        content, apart = columns["content"], columns["content elsewhere"]
        note = f"{QUOTED_WORDS} words in a row or more"
        yield CheckFigure("quotes a text", side, share(columns["quotes"]), note=note)
        for name in _TEXTS:
            taken = columns[f"shared {name}"]
            judged = columns[f"judged {name}"]
            is_most = judged & (taken >= TAKEN_OVER * content) & (taken >= FEWEST_TAKEN_OVER)
            note = (
                f"{FEWEST_TAKEN_OVER} content words or more, and {TAKEN_OVER:.0%} of them; "
                f"of texts of {MOST_DIFFERENT_WORDS} different words at most"
            )
            figure = share(is_most, judged, "every text is too long to tell")
            yield CheckFigure(f"taken over from {_TOLD[name]}", side, figure, note=note)
            chance = share(columns[f"elsewhere {name}"], apart, none)
            by_chance = "" if chance.value is None else f"{chance.value:.1%} in the same text of another conversation"
            yield CheckFigure(f"words in {_TOLD[name]}", side, share(taken, content, none), note=by_chance)


def longest_run(words: Sequence[str], text: _Text) -> list[str]:
    """Return the longest run of words in a row that stands in a text, the first one of several.

    Every look into the text makes the run longer or begins one word later, so there are at most two for each word.
    """
    longest: list[str] = []
    for is_known, group in groupby(words, text.known.__contains__):
        stretch = list(group) if is_known else []
        start = 0
        while start + len(longest) < len(stretch):
            run = stretch[start : start + len(longest) + 1]
            if len(run) == 1 or f" {' '.join(run)} " in text.words:
                longest = run
            else:
                start += 1
    return longest


def _words(text: str) -> list[str]:
    return tokens(text.replace("-", " "))


def _content(words: Iterable[str]) -> frozenset[str]:
    """Return the lemmas of the words that say something."""
    return frozenset(lemma(word) for word in words if word not in _FRAME and not is_stop_word(word))


def _seen_from(side: Side, texts: dict[str, _Text]) -> dict[str, _Text]:
    """Return the texts as a side has them, in the order of `_TEXTS`."""
    other = SIDES[side == "chosen"]
    return {"prompt": texts["prompt"], "own": texts[side], "other": texts[other]}


def _fewest_quoted(words: Sequence[str]) -> int:
    """Return from how many words on a run is a quotation: more where most of them are single characters."""
    unspaced = sum(word[0] >= _UNSPACED_FROM and len(word) == 1 for word in words)
    return QUOTED_CHARACTERS if 2 * unspaced > len(words) else QUOTED_WORDS


def _quoted(runs: dict[str, list[str]], fewest: int) -> Iterator[tuple[str, float, bool, str]]:
    """Yield check, value, whether it is bad, and detail: of the prompt, and of the response with the longer run."""
    of_responses = max("own", "other", key=lambda name: len(runs[name]))
    for check, name in (("run_in_prompt", "prompt"), ("run_in_response", of_responses)):
        run = runs[name]
        yield check, len(run), len(run) >= fewest, f"{_TOLD[name]}: {' '.join(run)}"[:_MOST_DETAIL] if run else ""


def _taken_over(
    shared: dict[str, frozenset[str]], content: int, judged: dict[str, bool]
) -> Iterator[tuple[str, float | None, bool, str]]:
    """Yield check, value, whether it is bad, and detail: of each text."""
    for name, found in shared.items():
        is_bad = judged[name] and len(found) >= max(FEWEST_TAKEN_OVER, TAKEN_OVER * content)
        detail = " ".join(sorted(found))[:_MOST_DETAIL] if is_bad else ""
        yield f"words_from_{name}", len(found) / content if content else None, is_bad, detail


def _columns(rows: array[int]) -> dict[str, NDArray[np.int64]]:
    table = np.array(rows, np.int64).reshape(-1, len(_COLUMNS))
    return dict(zip(_COLUMNS, table.T, strict=True))


def _spread(columns: dict[str, NDArray[np.int64]]) -> dict[str, dict[str, float]]:
    """Return quantiles of the runs, in words, and of the shares of content words."""
    content = columns["content"]
    has_content = content > 0
    shares = {name: columns[f"shared {name}"][has_content] / content[has_content] for name in _TEXTS}
    return {
        **{f"longest run in {_TOLD[name]}": quantiles(columns[f"run {name}"]) for name in _TEXTS},
        **{f"share of words in {_TOLD[name]}": quantiles(shares[name]) for name in _TEXTS},
    }
