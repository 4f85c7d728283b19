"""`whoseboat.quality.form`: which personas have the form that is asked for."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quality_pairs import figure, pair, run, value

from whoseboat.metric import Bootstrap
from whoseboat.quality import form
from whoseboat.quality.form import RULES, Form, broken_rules
from whoseboat.quality.pairs import SIDES

FEW = Bootstrap(draws=500)
GOOD = "The user is practical and prefers short steps over pictures in words."


def test_examples_run() -> None:
    """What the docstrings show is what comes out."""
    assert doctest.testmod(form).failed == 0


@pytest.mark.parametrize(
    "persona",
    [
        GOOD,
        GOOD[:-1],  # a full stop is no matter
        f"  {GOOD}\n",
        'The user is careful and prefers "it depends" to a rule.',
        "The user likes e.g. tables and prefers them, i.e. rows and columns, to prose.",
        "The user is a fan of the U.S. Open and prefers scores over stories.",
        "The user trusts an assistant that says 'I cannot know' and prefers that over guesses.",
        "这位用户喜欢简短直接的回答，不喜欢冗长的解释。",
    ],
)
def test_right_form(persona: str) -> None:
    """One sentence about the user breaks no rule, whatever marks are in it."""
    assert broken_rules(persona) == {}


@pytest.mark.parametrize(
    ("persona", "rules"),
    [
        ("A practical user wants short steps.", ["not_the_user"]),
        ("This user wants short steps.", ["not_the_user"]),
        ("the user wants short steps.", ["not_the_user"]),
        ("Users want short steps.", ["not_the_user"]),
        ("Someone who wants short steps.", ["not_the_user"]),
        ("I cannot infer a persona from these responses.", ["refusal"]),
        ("As an AI language model, I have no opinion of users.", ["refusal"]),
        ("I'm sorry, but I can't help with that.", ["refusal"]),
        ("The user wants what I cannot describe here.", ["refusal"]),
        (f"{GOOD} They also like tables.", ["not_one_sentence"]),
        (f"{GOOD}\nThe user is kind and prefers warm words.", ["not_one_sentence"]),
        (f'"{GOOD}"', ["quotes"]),
        (f"“{GOOD}”", ["quotes"]),
        (f"Persona: {GOOD}", ["remainder"]),
        (f"**{GOOD}**", ["remainder"]),
        (f'{{"persona": "{GOOD}"}}', ["remainder"]),
        (f"<think>Hm.</think>{GOOD}", ["remainder"]),
        ("The user is {trait} and prefers short steps.", ["remainder"]),
        ("The user is [trait] and prefers short steps.", ["remainder"]),
        ("The user is TRAIT and prefers QUALITY.", ["remainder"]),
        ("The user is practical and prefers", ["unfinished"]),
        ("The user prefers this response to the one that rambles.", ["about_a_response"]),
        ("The user waits.", ["words"]),
        ("", ["words"]),
        ("The user is " + "very " * 57 + "kind.", ["words"]),  # 3 + 57 + 1 = 61 words
    ],
)
def test_broken_rules(persona: str, rules: list[str]) -> None:
    """What is wrong is told by one rule."""
    assert sorted(broken_rules(persona)) == rules
    assert set(rules) <= set(RULES)


def test_bounds_of_length_are_inside() -> None:
    """Four words and sixty are still a persona."""
    assert broken_rules("The user is kind.") == {}
    assert broken_rules("The user is " + "very " * 56 + "kind.") == {}


def test_findings_say_words_of_each_and_what_is_wrong() -> None:
    """A persona has one finding for each rule: whether it is broken, and of words how many."""
    findings, _ = run(Form(FEW), [pair(GOOD, "I cannot describe this user, sorry.")])
    assert [(one.side, one.check) for one in findings] == [(side, rule) for side in SIDES for rule in RULES]
    assert [(one.side, one.check, one.value, one.is_bad) for one in findings if one.is_bad or one.value] == [
        ("chosen", "words", 12, False),
        ("rejected", "refusal", None, True),
        ("rejected", "words", 6, False),
    ]
    assert [one.detail for one in findings if one.detail] == ["the reply describes no user but declines to"]


def test_a_length_that_is_wrong_is_a_bad_number_of_words() -> None:
    """The number stands with the reason; there is no second finding."""
    findings, checked = run(Form(FEW), [pair(GOOD, "The user waits.")])
    lengths = [(one.value, one.is_bad, bool(one.detail)) for one in findings if one.check == "words"]
    assert lengths == [(12, False, False), (3, True, True)]
    assert [one.check for one in findings if one.is_bad] == ["words"]
    assert figure(checked, "right form", "rejected").figure.value == 0


def test_figures_are_shares_that_pass() -> None:
    """Of four pairs in three conversations, by hand: 3 of 4 chosen, 2 of 4 rejected, 5 of 8 together."""
    pairs = [
        pair(GOOD, GOOD, name="1"),
        pair(GOOD, "A user.", name="2", root="1"),
        pair(f'"{GOOD}"', "A user.", name="3"),
        pair(GOOD, GOOD, name="4"),
    ]
    _, checked = run(Form(FEW), pairs)
    found = {one.side: one.figure for one in checked.figures}
    assert {side: one.value for side, one in found.items()} == {"chosen": 0.75, "rejected": 0.5, "both": 0.625}
    assert {side: (one.n, one.clusters) for side, one in found.items()} == {
        "chosen": (4, 3),
        "rejected": (4, 3),
        "both": (8, 3),
    }
    table = checked.tables["form"]
    assert table["personas"] == 4
    assert table["broken"]["quotes"] == {"chosen": 1, "rejected": 0}
    assert table["broken"]["words"] == {"chosen": 0, "rejected": 2}
    # 12, 12, 12, 12 and 12, 2, 2, 12.
    assert (table["words"]["chosen"]["p50"], table["words"]["rejected"]["p50"]) == (12, 2)


def test_no_pairs_say_nothing() -> None:
    """A figure over nothing has no value, and a reason."""
    _, checked = run(Form(FEW), [])
    assert [one.figure.value for one in checked.figures] == [None, None, None]
    assert checked.figures[0].figure.reason == "there is no pair"


@given(st.text(max_size=200))
def test_any_text_can_be_checked(text: str) -> None:
    """Whatever stands where a persona should, rules are told and nothing is raised."""
    findings, _ = run(Form(Bootstrap(draws=100)), [pair(text, GOOD)])
    assert {one.check for one in findings} <= set(RULES)
    assert value(findings, "words") == len(text.split())
