"""`whoseboat.quality.shortcuts`: how far length alone tells the side, counted by hand."""

from __future__ import annotations

import doctest

import pytest
from quality_pairs import figure, pair, run

from whoseboat.metric import Bootstrap
from whoseboat.quality import shortcuts
from whoseboat.quality.shortcuts import Shortcuts, length_wish

FEW = Bootstrap(draws=500)
LONGER = "the chosen response is the longer one"
HEEDED = "own response is as long as wished"
WANTS_LONG, WANTS_SHORT, PLAIN = (
    "The user wants detailed answers.",
    "The user wants brief answers.",
    "The user is kind.",
)


def test_examples_run() -> None:
    """What the docstrings show is what comes out."""
    assert doctest.testmod(shortcuts).failed == 0


@pytest.mark.parametrize(
    ("persona", "wish"),
    [
        (WANTS_SHORT, -1),
        (WANTS_LONG, 1),
        ("The user prefers concise, to-the-point answers over long explanations.", -1),
        ("The user prefers comprehensive, in-depth answers rather than brief replies.", 1),
        ("The user prefers short answers without extra detail.", -1),
        ("The user is no-nonsense and time-conscious.", -1),
        ("The user prefers anecdotes over detailed guidance.", -1),
        ("The user wants thorough long-term plans.", 1),
        ("The user likes long-term plans and short stories.", 0),
        ("The user wants brief but thorough answers.", 0),  # both ways
        (PLAIN, 0),
    ],
)
def test_length_wish(persona: str, wish: int) -> None:
    """Words of length count for what is wanted, and against it behind "over" and the like."""
    assert length_wish(persona) == wish


def test_longer_response_is_the_chosen_one() -> None:
    """Of four pairs the chosen response is longer in two, shorter in one, as long in one: (2 + 1/2) / 4."""
    responses = [("aaa", "a"), ("aa", "a"), ("a", "aa"), ("a", "b")]
    pairs = [
        pair(PLAIN, PLAIN, name=str(number), chosen=one, rejected=other)
        for number, (one, other) in enumerate(responses)
    ]
    _, checked = run(Shortcuts(FEW), pairs)
    found = figure(checked, LONGER)
    assert (found.figure.value, found.figure.n, found.figure.clusters) == (0.625, 4, 4)
    assert found.note == "by characters, half of each tie; to say that the longer one is right gives 62.5%"
    assert checked.tables["shortcuts"]["responses"] == {"chosen_longer": 2, "rejected_longer": 1, "equal": 1}


def test_where_the_shorter_is_chosen_the_note_says_so() -> None:
    """Below one half it is the shorter one that is right more often."""
    pairs = [pair(PLAIN, PLAIN, name=name, chosen="a", rejected="bb") for name in "ab"]
    _, checked = run(Shortcuts(FEW), pairs)
    found = figure(checked, LONGER)
    assert found.figure.value == 0
    assert found.note.endswith("to say that the shorter one is right gives 100.0%")


def test_length_of_personas() -> None:
    """By words: 5 against 4, and 4 against 4, so three quarters; letters are no matter."""
    pairs = [
        pair("The user is a b.", "The user internationalizes.", name="1"),
        pair("The user is kind.", "The user is extraordinary.", name="2"),
    ]
    _, checked = run(Shortcuts(FEW), pairs)
    assert figure(checked, "the chosen persona is the longer one").figure.value == 0.75


def test_wishes_that_go_with_lengths() -> None:
    """Chosen: long of a longer one, short of a shorter one, long of a shorter one, and one that says nothing: 2 of 3.

    By chance: the chosen response is longer in 2 of 4 pairs, so any wish is heeded in half of them. Rejected: short of
    a shorter one, 1 of 1.
    """
    pairs = [
        pair(WANTS_LONG, WANTS_SHORT, name="1", chosen="aa", rejected="a"),
        pair(WANTS_SHORT, PLAIN, name="2", chosen="a", rejected="aa"),
        pair(WANTS_LONG, PLAIN, name="3", chosen="a", rejected="aa"),
        pair(PLAIN, PLAIN, name="4", chosen="aa", rejected="a"),
    ]
    _, checked = run(Shortcuts(FEW), pairs)
    chosen, rejected = (figure(checked, HEEDED, side) for side in ("chosen", "rejected"))
    assert (chosen.figure.value, chosen.figure.n, chosen.figure.clusters) == (2 / 3, 3, 3)
    assert chosen.note == "half of each tie; 50.0% if wishes were dealt out anew among the side"
    assert (rejected.figure.value, rejected.figure.n) == (1, 1)
    assert checked.tables["shortcuts"]["wishes"] == {
        "chosen": {"long": 2, "short": 1, "by_chance": 0.5},
        "rejected": {"long": 0, "short": 1, "by_chance": 0.5},
    }


def test_wishes_by_chance_follow_the_base_rate() -> None:
    """Three of four chosen responses are longer: a wish for length is heeded by chance in 3 of 4, one for brevity in 1.

    Of two wishes for length and one for brevity: (2 * 3/4 + 1/4) / 3 = 7/12.
    """
    pairs = [
        pair(WANTS_LONG, PLAIN, name="1", chosen="aa", rejected="a"),
        pair(WANTS_LONG, PLAIN, name="2", chosen="aa", rejected="a"),
        pair(WANTS_SHORT, PLAIN, name="3", chosen="aa", rejected="a"),
        pair(PLAIN, PLAIN, name="4", chosen="a", rejected="aa"),
    ]
    _, checked = run(Shortcuts(FEW), pairs)
    assert checked.tables["shortcuts"]["wishes"]["chosen"]["by_chance"] == pytest.approx(7 / 12)


def test_where_no_persona_has_a_wish() -> None:
    """There is no figure, and it says why; nothing is told of chance."""
    findings, checked = run(Shortcuts(FEW), [pair(PLAIN, PLAIN)])
    found = figure(checked, HEEDED, "chosen")
    assert (found.figure.value, found.figure.n, found.note) == (None, 0, "")
    assert found.figure.reason == "no persona says which length it wants"
    assert findings == []


def test_no_pairs_say_nothing() -> None:
    """Nothing was seen, so nothing is told."""
    assert run(Shortcuts(FEW), [])[1].figures == ()
