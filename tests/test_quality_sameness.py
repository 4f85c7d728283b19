"""`whoseboat.quality.sameness` and `likeness`: duplicates, near ones, distinct-n and coverage, counted by hand."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quality_pairs import figure, pair, run

from whoseboat.metric import Bootstrap
from whoseboat.quality.findings import Finding
from whoseboat.quality.likeness import Texts
from whoseboat.quality.sameness import FIXED_TOKENS, Sameness

FEW = Bootstrap(draws=500)


def of(check: str, findings: list[Finding]) -> list[tuple[str, str, str]]:
    """Return id, side and detail of the findings of a check that are bad."""
    return [(one.id, str(one.side), one.detail) for one in findings if one.check == check and one.is_bad]


def texts_of(lists: list[list[int]]) -> Texts:
    """Return texts of words that are numbers."""
    words = np.array([word for text in lists for word in text], np.int64)
    return Texts.of(words, np.cumsum([len(text) for text in lists], dtype=np.int64))


def test_duplicates_of_other_conversations() -> None:
    """Case, punctuation and spaces are no matter; what only one conversation has is no duplicate."""
    pairs = [
        pair("The user likes kites.", "The user likes tea a lot.", name="a"),
        pair("the user likes  kites", "The user likes tea a lot.", name="b", root="a"),
        pair("The user hates rain.", "The user, likes kites!", name="c"),
        pair("The user likes kites.", "The user is glad of snow.", name="d"),
    ]
    findings, checked = run(Sameness(FEW), pairs)
    # Of c, the others are those of a, b and d; of a and b, those of c and d.
    assert of("duplicate", findings) == [
        ("a", "chosen", "2 more in other conversations"),
        ("b", "chosen", "2 more in other conversations"),
        ("c", "rejected", "3 more in other conversations"),
        ("d", "chosen", "3 more in other conversations"),
    ]
    # A value is what is found alone: a 0 of all others would be a measure, and some of them the worst by it.
    values = {(one.id, one.side): one.value for one in findings if one.check == "duplicate"}
    assert len(values) == 8
    assert {place: value for place, value in values.items() if value is not None} == {
        ("a", "chosen"): 2,
        ("b", "chosen"): 2,
        ("c", "rejected"): 3,
        ("d", "chosen"): 3,
    }
    name = "duplicate of another conversation's"
    assert figure(checked, name, "chosen").figure.value == 3 / 4
    assert figure(checked, name, "rejected").figure.value == 1 / 4
    assert checked.tables["sameness"] == [
        {"persona": "the user likes  kites", "personas": 4, "conversations": 3},
        {"persona": "The user likes tea a lot.", "personas": 2, "conversations": 1},
    ]


def test_near_duplicates() -> None:
    """One word exchanged at the end of 12 leaves 10 of 12 pairs of words; two in the middle of them are too many."""
    text = "The user is calm and prefers long letters with many old words"  # 12 words, 11 pairs
    near = text.replace("old words", "old songs")  # 10 of 12: 0.83
    far = text.replace("calm", "wild").replace("letters", "walks")  # 7 of 15: 0.47
    pairs = [
        pair(text, "The user wants tea.", name="a"),
        pair(far, "The user hates all rain and snow.", name="b"),
        pair("The user is someone else.", near, name="c"),
    ]
    findings, checked = run(Sameness(FEW), pairs)
    assert of("near_duplicate", findings) == [("a", "chosen", "like c rejected"), ("c", "rejected", "like a chosen")]
    near_ones = {(one.id, one.side): one for one in findings if one.check == "near_duplicate"}
    assert near_ones["a", "chosen"].value == pytest.approx(10 / 12, abs=1e-4)
    assert (near_ones["b", "chosen"].value, near_ones["b", "chosen"].is_bad) == (None, False)
    assert figure(checked, "near-duplicate of another conversation's", "chosen").figure.value == pytest.approx(1 / 3)


def test_near_duplicates_of_one_conversation_are_none() -> None:
    """Pairs of one conversation may well have like personas; of another one they may not."""
    text = "The user is calm and prefers long letters with many old words"
    near = text.replace("old words", "old songs")
    pairs = [pair(text, "The user is A.", name="a"), pair(near, "The user is B.", name="b", root="a")]
    findings, _ = run(Sameness(FEW), pairs)
    assert of("near_duplicate", findings) == []
    findings, _ = run(Sameness(FEW), [*pairs, pair("The user is C.", near, name="c")])
    # That of b and c is a duplicate, and told as such; a is like that of c: like that of b, it would be no news.
    assert of("near_duplicate", findings) == [("a", "chosen", "like c rejected")]
    assert [name for name, _, _ in of("duplicate", findings)] == ["b", "c"]


@pytest.mark.parametrize(
    ("chosen", "rejected", "likeness", "is_bad", "detail"),
    [
        ("The user likes kites.", "the user likes kites", 1.0, True, "identical"),
        ("The user likes kites.", "A person hates rain.", 0.0, False, ""),
        # The contrast turned round: of 13 pairs of words, those up to "prefers" and "answers over".
        (
            "The user is calm and prefers short answers over long ones.",
            "The user is calm and prefers long answers over short ones.",
            6 / 14,
            False,
            "",
        ),
        # One word of 11 exchanged: 8 of 10 pairs stay, of 12.
        (
            "The user is calm and prefers short letters with many words.",
            "The user is calm and prefers short letters with few words.",
            0.6667,
            False,
            "",
        ),
        (
            "The user is calm and prefers short letters with many words.",
            "The user is calm and prefers short letters with many songs.",
            0.8182,
            True,
            "0.82 of the pairs of adjacent words",
        ),
        ("", "", 1.0, True, "identical"),
        ("", "Kites", 0.0, False, ""),
    ],
)
def test_both_sides_alike(chosen: str, rejected: str, likeness: float, is_bad: bool, detail: str) -> None:
    """How alike the two personas of a pair are, by pairs of adjacent words."""
    findings, checked = run(Sameness(FEW), [pair(chosen, rejected)])
    (found,) = [one for one in findings if one.check == "sides_alike"]
    assert found.side == "pair"
    assert found.value == pytest.approx(likeness, abs=1e-4)
    assert (found.is_bad, found.detail) == (is_bad, detail)
    assert figure(checked, "both sides alike").figure.value == float(is_bad)
    assert figure(checked, "both sides identical").figure.value == float(detail == "identical")


def test_distinct_n() -> None:
    """By hand: 12 tokens of 6 words; 8 pairs, 5 of them different; 4 runs of three, 3 of them different."""
    pairs = [
        pair("red kites fly", "red kites fly", name="a"),  # red kites, kites fly
        pair("red kites swim", "fish do swim", name="b"),  # red kites, kites swim; fish do, do swim
    ]
    _, checked = run(Sameness(FEW), pairs)
    found = checked.tables["diversity"]
    assert found["both"]["tokens"] == 12
    assert found["both"]["all"] == {"distinct_1": 6 / 12, "distinct_2": 5 / 8, "distinct_3": 3 / 4}
    assert found["chosen"]["all"] == {"distinct_1": round(4 / 6, 4), "distinct_2": 3 / 4, "distinct_3": 1.0}
    assert found["both"]["fixed"] is None


def test_distinct_n_of_a_fixed_number_of_tokens_does_not_fall_with_size() -> None:
    """Twice as many personas of one kind have lower distinct-2, but of as many tokens as good as the same."""
    generator = random.Random(0)  # noqa: S311 - no secret

    def written(count: int) -> list[str]:
        return [" ".join(f"w{generator.randrange(300)}" for _ in range(20)) for _ in range(count)]

    pairs = [pair(*written(2), name=str(number)) for number in range(600)]
    (_, small), (_, large) = (run(Sameness(FEW), some) for some in (pairs[:300], pairs))
    first, second = (one.tables["diversity"]["both"] for one in (small, large))
    assert (first["tokens"], second["tokens"]) == (12_000, 24_000)
    assert first["all"]["distinct_2"] - second["all"]["distinct_2"] > 0.05
    assert first["fixed"]["distinct_2"] == pytest.approx(second["fixed"]["distinct_2"], abs=0.01)
    assert first["fixed"]["distinct_1"] == 300 / FIXED_TOKENS


def test_what_is_drawn_depends_on_the_ids_alone() -> None:
    """Pairs in another order give the same figures and tables."""
    pairs = [pair(f"a{number} b{number % 7} " * 9, f"c{number % 3} d", name=str(number)) for number in range(600)]
    (_, one), (_, other) = (run(Sameness(FEW), some) for some in (pairs, pairs[::-1]))
    assert one.tables["diversity"]["both"]["fixed"] is not None
    assert one.tables["diversity"] == other.tables["diversity"]
    assert one.tables["coverage"] == other.tables["coverage"]
    assert one.figures == other.figures


def test_coverage() -> None:
    """By hand: of 8 personas 4 are one text and 4 different; the entropy is (1/2) ln 2 + (4/8) ln 8 = 2 ln 2."""
    pairs = [pair("The user likes kites.", f"The user has {number} cats.", name=str(number)) for number in range(4)]
    _, checked = run(Sameness(FEW), pairs)
    found = checked.tables["coverage"]
    assert found["both"] == {
        "personas": 8,
        "different": 5,
        "effective": round(math.exp(2 * math.log(2)), 1),
        "share_of_top_1": 0.5,
        "share_of_top_10": 1.0,
        "share_of_top_100": 1.0,
    }
    assert (found["chosen"]["effective"], found["rejected"]["effective"]) == (1.0, 4.0)


def test_no_pairs_say_nothing() -> None:
    """Nothing was seen, so nothing is told."""
    findings, checked = run(Sameness(FEW), [])
    assert (findings, checked.figures, checked.tables) == ([], (), {})


@given(st.lists(st.lists(st.integers(0, 5), max_size=8), min_size=2, max_size=12))
def test_likeness_is_that_of_sets(lists: list[list[int]]) -> None:
    """How alike texts are is the share of pairs of adjacent words that both have; a lone word stands alone."""
    texts = texts_of(lists)
    sets: list[set[tuple[int, ...]]] = [{*pairwise(one)} or {tuple(one)} for one in lists]
    count = len(lists)
    ones, others = np.repeat(np.arange(count), count), np.tile(np.arange(count), count)
    expected = [len(a & b) / len(a | b) for a in sets for b in sets]
    assert texts.likeness(ones, others) == pytest.approx(expected)


def test_like_texts_are_found_and_none_that_is_not() -> None:
    """Of texts with one word exchanged in the middle of 20 (17 of 21 pairs), nearly all are found; of others none."""
    generator = random.Random(1)  # noqa: S311 - no secret
    lists = [[generator.randrange(1_000_000) for _ in range(20)] for _ in range(1_000)]
    lists += [[*text[:10], generator.randrange(1_000_000), *text[11:]] for text in lists[:500]]
    found = texts_of(lists).alike(0.7, np.arange(len(lists)))
    assert set(found[500:1_000].tolist()) == {-1}
    likes = [(place, int(like)) for place, like in enumerate(found) if like >= 0]
    assert all(like == place + 1_000 or like == place - 1_000 for place, like in likes)
    assert len(likes) >= 990


def test_texts_of_one_group_are_not_compared_with_each_other() -> None:
    """What is of the same group is not found; -1 is of several, so of another than any."""
    texts = texts_of([[1, 2, 3], [1, 2, 3]])
    assert texts.alike(0.7, np.array([4, 4])).tolist() == [-1, -1]
    assert texts.alike(0.7, np.array([4, 5])).tolist() == [1, 0]
    assert texts.alike(0.7, np.array([4, -1])).tolist() == [1, 0]


@given(st.lists(st.tuples(st.text(max_size=30), st.text(max_size=30)), min_size=1, max_size=6))
def test_any_texts_can_be_counted(personas: list[tuple[str, str]]) -> None:
    """Whatever the texts are, each persona has a place in what is counted."""
    pairs = [pair(*both, name=str(number)) for number, both in enumerate(personas)]
    findings, checked = run(Sameness(Bootstrap(draws=100)), pairs)
    assert checked.tables["coverage"]["both"]["personas"] == 2 * len(pairs)
    assert len([one for one in findings if one.check == "sides_alike"]) == len(pairs)
    for check in ("duplicate", "near_duplicate"):
        places = {(one.id, one.side) for one in findings if one.check == check}
        assert len(places) == 2 * len(pairs) == len([one for one in findings if one.check == check])
