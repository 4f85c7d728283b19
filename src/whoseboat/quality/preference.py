"""Which of a pair's two personas a judge prefers: the two alone, without prompt or responses, in both orders.

After "Whose Boat Does it Float?" (arXiv 2501.11549), where it tells whether users who would take the rejected response
are seen as worse or as less common. Being preferred is no merit of a persona, so nothing here is a fault.

A pair costs 2 requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from whoseboat.judge import Case, Comparer, Comparison
from whoseboat.metric import BOOTSTRAP, Bootstrap
from whoseboat.quality import judged
from whoseboat.quality.findings import Checked, Finding
from whoseboat.quality.judged import Answer, OnProgress
from whoseboat.quality.pairs import CheckedPair

QUESTION: Comparison = "persona_preference"
_IN_WORDS = {"win": "the chosen persona in both orders", "loss": "the rejected persona in both orders"}


def check(
    pairs: Sequence[CheckedPair],
    judge: Comparer,
    on_progress: OnProgress = None,
    *,
    bootstrap: Bootstrap = BOOTSTRAP,
) -> Checked:
    """Return how often the chosen persona is preferred to the rejected one (a win), with ties and what is missing.

    A pair whose personas are the same words is a tie, and nobody is asked. The reader of contrast cannot judge this:
    then the table says why it was skipped.

    Args:
        pairs: what is checked.
        judge: who prefers.
        on_progress: told how far the judge is, as `judge.compare` tells it, and of how many cases.
        bootstrap: how intervals are made.

    Raises:
        WhoseboatError: the judge cannot go on, as `judge.compare` says.

    """
    why = judged.unable(judge) or ("" if pairs else "there is no pair to check")
    if why:
        return judged.skipped("preference", why)
    asked = _cases(pairs)
    answers = judged.ask(judge, QUESTION, asked, on_progress)
    label = judged.label(judge, pairs)
    roots = [case.root for case in asked]
    figures = judged.comparison_figures("preference", answers, roots, judge=label, bootstrap=bootstrap)
    note = "a win is the chosen persona in both orders"
    table = {
        "judge": label,
        "question": QUESTION,
        "pairs": len(pairs),
        "requests": judged.requests([(asked, QUESTION)]),
        "counts": judged.counts(answers),
    }
    findings = [_finding(pair, answer) for pair, answer in zip(pairs, answers, strict=True)]
    return Checked(tuple(replace(figure, note=note) for figure in figures), {"preference": table}, findings)


def questions(pairs: Sequence[CheckedPair]) -> list[tuple[list[Case], Comparison]]:
    """Return what is put to the judge: cases with their question, for `judge.estimate` to say what they cost."""
    asked = judged.to_ask(_cases(pairs))
    return [(asked, QUESTION)] if asked else []


def requests(pairs: Sequence[CheckedPair]) -> int:
    """Return how many requests a language model is sent, at most: 2 for a pair."""
    return judged.requests(questions(pairs))


def _cases(pairs: Sequence[CheckedPair]) -> list[Case]:
    return [Case(pair.id, (), pair.chosen_persona, pair.rejected_persona, root=judged.root(pair)) for pair in pairs]


def _finding(pair: CheckedPair, answer: Answer) -> Finding:
    detail = answer.in_words or _IN_WORDS.get(answer.outcome, "")
    return Finding(pair.id, pair.split, "pair", "preference", answer.value, detail=detail)
