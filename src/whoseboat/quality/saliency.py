"""Words that tell personas of chosen responses from those of rejected ones.

Two sizes of a difference, and a test that heeds what they ignore:

- The weighted log-odds with an informative Dirichlet prior, and their z (Monroe, Colaresi & Quinn 2008, "Fightin'
  Words", Political Analysis 16(4)): see `weighted_log_odds`. The z takes every word for an independent draw. It
  ignores that the two personas of a pair depend on each other, and that pairs of one conversation do.
- P(chosen | word), the saliency of "Whose Boat Does it Float?" (arXiv 2501.11549): of the personas that hold a word,
  the share that are of the chosen side. Its interval is Wilson's over personas, and ignores the same.
- The p-value is of a test that flips sides. Where a word does not go with a side, which of the two personas of a pair
  is the chosen one's could as well be tossed. So only pairs count of whose personas exactly one holds the word: 1 where
  it is the chosen one's, -1 where it is the other. Whole conversations are flipped: they are put into 256 groups by a
  hash, and each group's sum keeps its size and gets a random sign, as in `metric.sign_flip_test`, here exactly or by
  the normal, so that small p-values are told apart. Groups keep memory small; that they hold several conversations
  costs some power and no validity, and no p-value gets far below that of 16 standard deviations. Ignored is that one
  user may have several conversations. `q` is Benjamini & Hochberg's (1995) over all words tested in a table, which
  holds for tests that are independent or depend positively; words that shut each other out may do neither.

How much that is: of 15 simulated sets of 600 conversations with 1, 2 or 8 pairs that share half of their words, sides
tossed by conversation, 25 % of the words had a z beyond 1.96, and 4 % a p-value up to 0.05; no word was a discovery.

What is counted are personas that hold a word at least once, also in the formula of Monroe et al., which is about
tokens: a persona is one sentence, a word said twice in it is no more evidence, and so the columns agree with one
another. Words are lemmas, without stop words; of sentences that are not English they are tokens as they stand.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whoseboat.contrast.axes import is_english
from whoseboat.metric import Figure, accuracy, wilson
from whoseboat.quality.findings import Checked, CheckFigure, Finding
from whoseboat.quality.pairs import SIDES, CheckedPair
from whoseboat.quality.words import is_stop_word, lemma, parts, tokens
from whoseboat.records import Side

Array = NDArray[np.float64]

# The prior weighs a tenth of what a side says. It grows with the set, as a fixed one does not: for a word that 50
# personas of one side hold and none of the other, one of 500 words makes a z of 4.6 where a side has 6,000 words, and
# of 0.5 where it has six million; this one makes 4.7 of both. And it is small: one that weighs as much as a side makes
# every z smaller (their spread is 0.71 where sides do not differ, with this one 0.94), and no log-odds larger than the
# logarithm of 3.
PRIOR_SHARE = 0.1
# Words of fewer personas are not tested: most words are such, and hardly one of them could be found.
FEWEST_PERSONAS = 10
FALSE_DISCOVERY_RATE = 0.05
GROUPS = 256
# Distinct conversations of a word are counted no further than this.
MOST_CONVERSATIONS = 100
# Sums of group sizes up to this are flipped exactly; and so few groups, of which the normal says too much: four large
# conversations that agree cannot have a p-value below 2/16.
_MOST_EXACT = 200
_FEW_GROUPS = 12

_CLAUSE_NOTE = (
    "over, rather than, instead of, versus, compared to (or with), as opposed to; found by words; pairs whose personas"
    " are not English are missing"
)


def weighted_log_odds(
    chosen: NDArray[Any], rejected: NDArray[Any], background: NDArray[Any], prior_size: float
) -> tuple[Array, Array]:
    """Return how much more the odds of each word are with chosen personas, as a logarithm, and its z.

    With counts y of n, and a prior of so many words spread as the background is, alpha = prior_size * background /
    sum(background), the log-odds of a side are log((y + alpha) / (n + prior_size - y - alpha)); returned is chosen less
    rejected, and that over its standard deviation, whose square is about 1 / (y + alpha) of one side and 1 / (y +
    alpha) of the other (Monroe, Colaresi & Quinn 2008, the informative Dirichlet prior).

    Args:
        chosen: counts of each word with chosen personas, of shape (words,)
        rejected: those with rejected ones, of shape (words,)
        background: counts the prior is spread by, of shape (words,); above 0 for every word
        prior_size: how many words the prior counts for; above 0

    >>> log_odds, z = weighted_log_odds(np.array([3, 1]), np.array([1, 3]), np.array([4, 4]), 2.0)
    >>> [round(float(value), 4) for value in (*log_odds, *z)]  # log(4/2) - log(2/4), over the root of 1/4 + 1/2
    [1.3863, -1.3863, 1.6008, -1.6008]

    Raises:
        ValueError: shapes differ, a count is below 0, a background or the prior is not above 0.

    """
    if not chosen.shape == rejected.shape == background.shape or chosen.ndim != 1:
        raise ValueError(f"expected counts of one shape, found {chosen.shape}, {rejected.shape}, {background.shape}")
    if (chosen < 0).any() or (rejected < 0).any() or (background <= 0).any() or not prior_size > 0:
        raise ValueError("expected counts of 0 and more, and a background and a prior above 0")
    alpha = prior_size * background / max(background.sum(), 1)
    ours, theirs = chosen + alpha, rejected + alpha
    our_rest, their_rest = (np.maximum(counts.sum() - counts, 0.0) for counts in (ours, theirs))
    # A single word has all of both sides: it tells nothing apart.
    is_telling = (our_rest > 0) & (their_rest > 0)
    our_rest, their_rest = np.where(is_telling, our_rest, 1.0), np.where(is_telling, their_rest, 1.0)
    log_odds = np.where(is_telling, np.log(ours / our_rest) - np.log(theirs / their_rest), 0.0)
    return log_odds, log_odds / np.sqrt(1 / ours + 1 / theirs)


def flip_p_value(sums: Sequence[int]) -> float:
    """Return how often sums with random signs add up to at least as much, either way, as they do.

    Exact where there are 12 sums at most or their sizes add up to 200 at most, else by the normal with a correction for
    whole numbers.

    >>> flip_p_value([1, 1, 1, 1])
    0.125
    """
    sizes = [abs(value) for value in sums if value]
    total, most = abs(sum(sums)), sum(sizes)
    if len(sizes) <= _FEW_GROUPS:
        totals = np.zeros(1, np.int64)
        for size in sizes:
            totals = np.concatenate([totals + size, totals - size])
        return float((np.abs(totals) >= total).mean())
    if most > _MOST_EXACT:
        from scipy import special

        deviation = float(np.sqrt(sum(size * size for size in sizes)))
        return min(1.0, float(2 * special.ndtr(-(total - 1) / deviation)))
    chances = np.zeros(2 * most + 1)
    chances[most] = 1.0
    for size in sizes:
        # What is rolled over an end is 0: no sum is further from 0 than all sizes together.
        chances = (np.roll(chances, size) + np.roll(chances, -size)) / 2
    return min(1.0, float(chances[np.abs(np.arange(-most, most + 1)) >= total].sum()))


@dataclass(slots=True)
class _Word:
    """What is known of a word: personas that hold it, and in how many more pairs of a group it is the chosen one's."""

    chosen: int = 0
    rejected: int = 0
    sums: array[int] = field(default_factory=lambda: array("i", bytes(4 * GROUPS)))
    only_chosen: int = 0
    only_rejected: int = 0
    roots: set[int] = field(default_factory=set)
    conversations: int = 0

    def add(self, side: Side, is_alone: bool, root: int) -> None:
        """Count a persona that holds the word; alone: the other one of its pair does not."""
        is_chosen = side == "chosen"
        if is_chosen:
            self.chosen += 1
        else:
            self.rejected += 1
        if is_alone:
            self.sums[root % GROUPS] += 1 if is_chosen else -1
            if is_chosen:
                self.only_chosen += 1
            else:
                self.only_rejected += 1
        if self.conversations < MOST_CONVERSATIONS:
            self._note(root)

    def _note(self, root: int) -> None:
        self.roots.add(root)
        self.conversations = len(self.roots)
        if self.conversations == MOST_CONVERSATIONS:
            self.roots = set()  # enough is known, and common words are where memory would go

    def row(self) -> dict[str, Any]:
        """Return the counts, the paper's share with its interval, and the p-value."""
        personas = self.chosen + self.rejected
        low, high = wilson(self.chosen / personas, personas)
        return {
            "chosen": self.chosen,
            "rejected": self.rejected,
            "conversations": self.conversations,
            "p_chosen": self.chosen / personas,
            "low": low,
            "high": high,
            "only_chosen": self.only_chosen,
            "only_rejected": self.only_rejected,
            "p": flip_p_value(self.sums),
        }


class _Vocabulary:
    """The words of one part of the personas."""

    def __init__(self) -> None:
        self.words: dict[str, _Word] = {}
        self.personas = {"chosen": 0, "rejected": 0}

    def add(self, chosen: set[str], rejected: set[str], root: int) -> None:
        """Count the words of this part of both personas of a pair."""
        known = self.words
        for side, own, other in (("chosen", chosen, rejected), ("rejected", rejected, chosen)):
            self.personas[side] += bool(own)
            for word in own:
                found = known.get(word)
                if found is None:
                    found = known[word] = _Word()
                found.add("chosen" if side == "chosen" else "rejected", word not in other, root)

    def table(self, forms: dict[str, str], fewest: int, prior_share: float) -> dict[str, Any]:
        """Return the words held by at least so many personas, those of chosen ones first."""
        names = sorted(self.words)
        chosen, rejected = (np.array([getattr(self.words[name], side) for name in names], np.float64) for side in SIDES)
        prior_size = max(prior_share * float(chosen.sum() + rejected.sum()) / 2, 1.0)
        log_odds, z = weighted_log_odds(chosen, rejected, chosen + rejected, prior_size)
        rows = [
            {"word": name, "form": forms.get(name, name), **self.words[name].row(), "log_odds": size, "z": score}
            for name, size, score in zip(names, log_odds.tolist(), z.tolist(), strict=True)
            if self.words[name].chosen + self.words[name].rejected >= fewest
        ]
        _discover(rows)
        rows.sort(key=lambda row: (-row["z"], row["word"]))
        return {
            "personas": dict(self.personas),
            "words_per_side": {"chosen": int(chosen.sum()), "rejected": int(rejected.sum())},
            "prior_size": prior_size,
            "words_seen": len(names),
            "words_tested": len(rows),
            "discoveries": sum(row["is_discovery"] for row in rows),
            "words": rows,
        }


def _discover(rows: list[dict[str, Any]]) -> None:
    """Add to each row how many of the discoveries up to it would be false, and whether it is one."""
    from scipy import stats

    if not rows:
        return
    adjusted = stats.false_discovery_control([row["p"] for row in rows], method="bh")
    for row, q in zip(rows, adjusted.tolist(), strict=True):
        row["q"] = q
        row["is_discovery"] = q <= FALSE_DISCOVERY_RATE


class Saliency:
    """Words that tell the sides apart: those of what personas say, and those of what they contrast that with.

    Memory grows with the vocabulary, by about 2 KB a word (and some 10 KB while a word is known of 30 to 99
    conversations), not with the rows, but for 9 bytes a pair.

    Args:
        fewest_personas: words of fewer are counted, and not tested
        prior_share: how large the prior is, of the mean number of words of a side

    Raises:
        ValueError: there are no personas to ask for, or there is no prior.

    """

    def __init__(self, fewest_personas: int = FEWEST_PERSONAS, prior_share: float = PRIOR_SHARE) -> None:
        if fewest_personas < 1 or not prior_share > 0:
            raise ValueError(f"expected at least 1 persona and a prior above 0, found {fewest_personas}, {prior_share}")
        self._fewest, self._prior_share = fewest_personas, prior_share
        self._vocabularies = {"main": _Vocabulary(), "clause": _Vocabulary()}
        self._forms: Counter[str] = Counter()
        self._clauses = array("b")  # bits: 1 the chosen persona has a clause, 2 the rejected one; -1: not English
        self._roots = array("Q")

    def add(self, pair: CheckedPair) -> tuple[Finding, ...]:
        """Count the words of both personas of a pair; nothing can be said of it by itself."""
        root = int.from_bytes(hashlib.blake2b(pair.root.encode(errors="replace"), digest_size=8).digest())
        self._roots.append(root)
        if not is_english((pair.chosen_persona, pair.rejected_persona)):
            self._clauses.append(-1)
            chosen, rejected = (set(self._as_they_stand(pair.persona(side))) for side in SIDES)
            self._vocabularies["main"].add(chosen, rejected, root)
            return ()
        ours, theirs = parts(pair.chosen_persona), parts(pair.rejected_persona)
        self._clauses.append(ours.has_clause + 2 * theirs.has_clause)
        self._vocabularies["main"].add(self._lemmas(ours.main), self._lemmas(theirs.main), root)
        self._vocabularies["clause"].add(self._lemmas(ours.clause), self._lemmas(theirs.clause), root)
        return ()

    def result(self) -> Checked:
        """Return the tables of words, and the share of personas of each side that contrast something."""
        forms = self._commonest_forms()
        tables = {
            name: vocabulary.table(forms, self._fewest, self._prior_share)
            for name, vocabulary in self._vocabularies.items()
        }
        return Checked(self._figures(), {"saliency": {**self._method(), **tables}})

    def _lemmas(self, words: tuple[str, ...]) -> set[str]:
        kept = [word for word in words if not is_stop_word(word)]
        self._forms.update(kept)
        return {lemma(word) for word in kept}

    def _as_they_stand(self, persona: str) -> list[str]:
        return [word for word in tokens(persona) if any(map(str.isalpha, word))]

    def _commonest_forms(self) -> dict[str, str]:
        """Return for each lemma the form most often seen: "nuanced" for what is looked up as "nuance"."""
        best: dict[str, tuple[int, str]] = {}
        for form, count in sorted(self._forms.items()):
            base = lemma(form)
            if count > best.get(base, (0, ""))[0]:
                best[base] = count, form
        return {base: form for base, (_, form) in best.items()}

    def _method(self) -> dict[str, Any]:
        return {
            "counted": "personas that hold the lemma at least once",
            "background": "all personas at hand, both sides",
            "prior": f"{self._prior_share} of the mean number of words of a side",
            "interval": "p_chosen: Wilson, 95 %, over personas",
            "test": f"sides flipped by conversation, in {GROUPS} groups; two-sided; q by Benjamini-Hochberg in a table",
            "false_discovery_rate": FALSE_DISCOVERY_RATE,
            "fewest_personas": self._fewest,
            "conversations_counted_to": MOST_CONVERSATIONS,
            "pairs": len(self._clauses),
            "pairs_not_english": self._clauses.count(-1),
        }

    def _figures(self) -> tuple[CheckFigure, ...]:
        if not self._clauses:
            return ()
        return tuple(
            CheckFigure("contrast clause", side, self._share(bit), note=_CLAUSE_NOTE)
            for side, bit in zip(SIDES, (1, 2), strict=True)
        )

    def _share(self, bit: int) -> Figure:
        outcomes = ["missing" if found < 0 else "win" if found & bit else "loss" for found in self._clauses]
        return accuracy(outcomes, clusters=self._roots)
