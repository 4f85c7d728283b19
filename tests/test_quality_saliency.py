"""Words of personas and what they contrast, and words that tell the sides apart, against values worked out by hand."""

from __future__ import annotations

import doctest
import itertools
import json
import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from whoseboat.quality import saliency, words
from whoseboat.quality.findings import Checked, TextCheck
from whoseboat.quality.pairs import CheckedPair
from whoseboat.quality.saliency import Saliency, flip_p_value, weighted_log_odds
from whoseboat.quality.words import is_stop_word, lemma, parts, tokens

Z_SQUARE = 1.959963984540054**2

TRAITS = ["thorough", "brisk", "playful", "formal", "curious", "gentle", "sceptical", "practical", "warm", "terse"]
QUALITIES = ["examples", "sources", "steps", "humour", "numbers", "context", "warnings", "stories", "lists", "tables"]


def pair(chosen: str, rejected: str, number: int = 0, root: str | None = None) -> CheckedPair:
    """Return a pair with these personas, of a conversation of its own unless told."""
    return CheckedPair(
        f"id{number}",
        "train",
        (),
        "A",
        "B",
        chosen,
        rejected,
        "engine",
        root=f"root {number}" if root is None else root,
    )


def checked(pairs: Sequence[CheckedPair], fewest_personas: int = 1, prior_share: float = 0.1) -> Checked:
    """Return what saliency says of pairs."""
    check: TextCheck = Saliency(fewest_personas, prior_share)
    assert all(check.add(shown) == () for shown in pairs)
    return check.result()


def table(pairs: Sequence[CheckedPair], part: str = "main", **settings: Any) -> dict[str, Any]:  # noqa: ANN401 - as above
    """Return the table of a part."""
    found: dict[str, Any] = checked(pairs, **settings).tables["saliency"][part]
    return found


def rows_of(pairs: Sequence[CheckedPair], part: str = "main", **settings: Any) -> dict[str, dict[str, Any]]:  # noqa: ANN401
    """Return the rows of a part by their words."""
    return {row["word"]: row for row in table(pairs, part, **settings)["words"]}


def drawn_pairs(count: int, seed: int) -> list[CheckedPair]:
    """Return pairs whose personas are drawn without regard to their side."""
    generator = random.Random(seed)  # noqa: S311 - nothing secret is drawn

    def persona() -> str:
        trait, other = generator.sample(TRAITS, 2)
        quality, left = generator.sample(QUALITIES, 2)
        return f"The user is {trait} and {other} and prefers {quality} over {left}."

    return [pair(persona(), persona(), number) for number in range(count)]


@pytest.mark.parametrize("module", [words, saliency])
def test_examples_run(module: Any) -> None:  # noqa: ANN401 - modules have no type of their own
    """What the docstrings show is what comes out."""
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0


def test_tokens() -> None:
    """Words keep apostrophes and hyphens inside; typographic ones are as plain ones; figures are tokens, stops none."""
    assert tokens("It’s 'to‑the‑point', isn't it — 3.5 times!") == [
        "it's",
        "to-the-point",
        "isn't",
        "it",
        "3",
        "5",
        "times",
    ]


def test_tokens_of_other_scripts() -> None:
    """Vowels that are marks stay in their word; where no spaces stand, every character is a token."""
    assert tokens("उपयोगकर्ता संक्षिप्त उत्तर") == ["उपयोगकर्ता", "संक्षिप्त", "उत्तर"]
    assert tokens("用户喜欢A，短。") == ["用", "户", "喜", "欢", "a", "短"]
    assert tokens("Пользователь — зануда; cafe\u0301") == ["пользователь", "зануда", "café"]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("explanations", "explanation"),
        ("replies", "reply"),
        ("replied", "reply"),
        ("children", "child"),
        ("clearer", "clear"),
        ("reader's", "reader"),
        ("won't", "won't"),
        ("well-researched", "well-researched"),
        ("größe", "größe"),
        ("qwxzt", "qwxzt"),
    ],
)
def test_lemmas(word: str, expected: str) -> None:
    """Forms of an English word become one; what is no such form stays as it is."""
    assert lemma(word) == expected


def test_stop_words_are_few() -> None:
    """The frame of every persona goes, words that tell sides apart stay."""
    assert all(map(is_stop_word, tokens("The user is 40 and prefers it.")))
    assert not any(map(is_stop_word, ["without", "before", "not", "more", "concise", "over"]))


@pytest.mark.parametrize(
    ("persona", "clause"),
    [
        ("The user is brisk and prefers facts over long, careful stories.", "long careful stories"),
        ("The user prefers facts rather than stories.", "stories"),
        ("The user prefers facts instead of stories.", "stories"),
        ("The user prefers facts versus stories.", "stories"),
        ("The user prefers facts vs. Stories.", "stories"),
        ("The user prefers facts compared to stories.", "stories"),
        ("The user prefers facts compared with stories.", "stories"),
        ("The user prefers facts AS OPPOSED TO stories.", "stories"),
        ("Rather than stories, the user prefers facts.", "stories"),
        ("The user prefers facts over stories, and values brevity too.", "stories"),
        ("The user prefers facts over stories and values.", "stories and values"),
        ("The user prefers facts over stories; a joke is fine.", "stories"),
        ("The user prefers facts over stories. They like jokes over songs.", "stories songs"),
        ("The user prefers facts over stories, myths etc. or songs.", "stories myths etc or songs"),
        ("The user prefers facts over stories rather than songs.", "stories songs"),
        ("The user prefers many options over a few.", "a few"),
        ("The user prefers one example over three separate ones.", "three separate ones"),
        ("The user values control over convenience.", "convenience"),
        ("The user prefers further reading over a brief rationale.", "a brief rationale"),
        ("The user prefers no answer at all over the usual one.", "the usual one"),
        ("The user prefers texts over phone calls.", "phone calls"),
        ("The user prefers brevity over long explanations.", "long explanations"),
        ("The user prefers an overview, overall, and is overcome by overly long text.", ""),
        ("The user likes over-the-top humour.", ""),
        ("The user wants to learn over time.", ""),
        ("The user has learned this over the past two years.", ""),
        ("The user works over several long periods.", ""),
        ("The user looks for ideas all over the world.", ""),
        ("The user is over 40.", ""),
        ("The user is well over forty.", ""),
        ("The user values control over their own work.", ""),
        ("The user prefers not to gloss over risks.", ""),
        ("The user prefers to talk over the phone.", ""),
        ("The user takes the task over and promises more.", ""),
        ("The user starts over.", ""),
        ("The user would rather read, than listen, as a rule.", ""),
        ("Compared with.", ""),
    ],
)
def test_contrasted_clause(persona: str, clause: str) -> None:
    """A clause begins with a word that contrasts, found by words, and ends where the user begins anew."""
    found = parts(persona)
    assert " ".join(found.clause) == clause
    assert found.has_clause == bool(clause)


_PIECES = (
    "the user prefers over overview overall overcome rather than instead of versus vs compared to with as opposed"
    " and values time years 40 all control their , . ; ! A B’s to-the-point 短い हिन्दी"
)
_WORDY = st.lists(st.sampled_from(_PIECES.split())).map(" ".join)
_TEXTS = st.one_of(st.text(), _WORDY, st.text(st.characters(categories=["Cs", "M", "P", "L"])))


@given(_TEXTS)
@example("over")
@example("as opposed to")
@example("İ over ŉ")
@example("\ud800 over \u0301")
def test_no_token_is_lost(text: str) -> None:
    """Whatever a text is, its parts and the words that mark them are its tokens."""
    found = parts(text)
    assert Counter(found.main + found.clause + found.marker) == Counter(tokens(text))
    assert all(lemma(token) for token in found.main)


@given(
    st.lists(
        st.sampled_from(["overview", "overall", "overcome", "overly", "rather", "instead", "over-long", "moreover"])
    )
)
def test_letters_alone_contrast_nothing(chosen: list[str]) -> None:
    """Words that merely hold "over", and halves of two-word marks, contrast nothing."""
    assert parts(" ".join(chosen)).marker == ()


def test_weighted_log_odds_by_hand() -> None:
    """Three words, sides of 8 each, a prior of 8.

    The background is 8 + 4 + 4 = 16, so alpha is 8 * (8, 4, 4) / 16 = (4, 2, 2) and each side has 8 + 8 = 16.
    First word: chosen 6 + 4 = 10 of 16, odds 10/6; rejected 2 + 4 = 6 of 16, odds 6/10.
      log(10/6) - log(6/10) = log(25/9) = 1.0217; the square of its deviation 1/10 + 1/6 = 4/15; z = 1.9784.
    Second: 2 + 2 = 4 of 16 on both sides: 0.
    Third: 0 + 2 = 2 of 16, odds 1/7; 4 + 2 = 6 of 16, odds 3/5.
      log(1/7) - log(3/5) = log(5/21) = -1.4351; 1/2 + 1/6 = 2/3; z = -1.7576.
    """
    log_odds, z = weighted_log_odds(np.array([6, 2, 0]), np.array([2, 2, 4]), np.array([8, 4, 4]), 8.0)
    assert log_odds.tolist() == pytest.approx([math.log(25 / 9), 0.0, math.log(5 / 21)])
    assert z.tolist() == pytest.approx([math.log(25 / 9) / math.sqrt(4 / 15), 0.0, math.log(5 / 21) / math.sqrt(2 / 3)])
    assert z.tolist() == pytest.approx([1.9784, 0.0, -1.7576], abs=1e-4)


def test_weighted_log_odds_at_the_edges() -> None:
    """A word alone tells nothing apart; no words at all are no error; sides that change places change the sign."""
    alone, score = weighted_log_odds(np.array([5]), np.array([1]), np.array([6]), 2.0)
    assert (alone.tolist(), score.tolist()) == ([0.0], [0.0])
    nothing = np.zeros(0)
    assert weighted_log_odds(nothing, nothing, nothing, 1.0)[0].shape == (0,)
    ours, theirs = np.array([6, 2, 0]), np.array([2, 2, 4])
    there, back = (weighted_log_odds(*sides, ours + theirs, 3.0)[1] for sides in ((ours, theirs), (theirs, ours)))
    assert there.tolist() == pytest.approx((-back).tolist())


@pytest.mark.parametrize(
    ("chosen", "background", "prior"),
    [([1, 2], [1, 1], 1.0), ([1], [0], 1.0), ([-1], [1], 1.0), ([1], [1], 0.0), ([1], [1], math.nan)],
)
def test_weighted_log_odds_refuses(chosen: list[int], background: list[int], prior: float) -> None:
    """Counts of different shapes, a word that the background does not know, no prior."""
    with pytest.raises(ValueError, match="expected counts"):
        weighted_log_odds(np.array(chosen), np.array([1]), np.array(background), prior)


@given(st.lists(st.integers(-4, 4), max_size=9))
def test_flips_are_as_all_signs_tried(sums: list[int]) -> None:
    """The exact p-value is that of trying all signs one by one."""
    totals = [abs(sum(signed)) for signed in itertools.product(*[(value, -value) for value in sums])]
    assert flip_p_value(sums) == pytest.approx(sum(total >= abs(sum(sums)) for total in totals) / len(totals))


@given(st.lists(st.integers(-400, 400), max_size=9))
def test_flips_of_a_few_large_conversations_are_exact(sums: list[int]) -> None:
    """However large: four of 60 that agree have a p-value of 2/16, where the normal would say less than 0.05."""
    totals = [abs(sum(signed)) for signed in itertools.product(*[(value, -value) for value in sums])]
    assert flip_p_value(sums) == pytest.approx(sum(total >= abs(sum(sums)) for total in totals) / len(totals))
    assert flip_p_value([60, 60, 60, 60]) == 0.125


@given(st.lists(st.integers(-4, 4), min_size=13, max_size=14))
def test_flips_of_more_are_as_all_signs_tried(sums: list[int]) -> None:
    """Beyond a few sums, small ones are flipped exactly, too."""
    signs = 1 - 2 * (np.arange(1 << len(sums))[:, None] >> np.arange(len(sums)) & 1)
    assert flip_p_value(sums) == pytest.approx((np.abs(signs @ np.array(sums)) >= abs(sum(sums))).mean())


@pytest.mark.parametrize("positive", [110, 120, 130])
def test_flips_of_many_are_near_the_binomial(positive: int) -> None:
    """Beyond what is flipped exactly, the normal gives nearly what the binomial of 210 equal sizes does."""
    exact = stats.binomtest(positive, 210).pvalue
    assert flip_p_value([1] * positive + [-1] * (210 - positive)) == pytest.approx(exact, rel=0.1)


def test_table_by_hand() -> None:
    """Four pairs, each of a conversation of its own, one side of it wordy.

    Words of the chosen side: thorough 3, calm 1, fact 4 (said as "facts"), so 8; of the rejected side: brisk 4,
    calm 1, fact 1, so 6. The prior is a half of their mean, 3.5, and spread as all 14 are: 3.5 / 14 = 1/4 of each
    count. Of "thorough": alpha 3/4; chosen 3.75 of 11.5, rejected 0.75 of 9.5, so
    log(3.75 / 7.75) - log(0.75 / 8.75) = 1.7308, over the root of 1/3.75 + 1/0.75 = 1.6, which is 1.3684.
    P(chosen | thorough) is 3 of 3, from 3 / (3 + z²) to 1; three signs, all alike: p = 2/8.
    "fact" is in both personas of one pair, so it speaks in three: p = 2/8, P = 4/5. "brisk": 4 of 4, p = 2/16.
    "calm" is in both personas of the second pair alone: it speaks in none, p = 1.
    q, from the largest p: calm 1 * 4/4 = 1; fact and thorough 0.25 * 4/3 = 1/3; brisk min(0.125 * 4/1, 1/3) = 1/3.
    """
    pairs = [
        pair("The user is thorough and prefers facts.", "The user is brisk.", 1),
        pair("The user is calm and prefers facts.", "The user is brisk and calm.", 2),
        pair("The user is thorough and prefers facts.", "The user is brisk and prefers a fact.", 3),
        pair("The user is thorough, thorough, thorough and prefers facts.", "The user is brisk.", 4),
    ]
    found = table(pairs, prior_share=0.5)
    rows = {row["word"]: row for row in found["words"]}
    assert found["words_per_side"] == {"chosen": 8, "rejected": 6}
    assert found["prior_size"] == pytest.approx(3.5)
    assert (found["words_seen"], found["words_tested"], found["discoveries"]) == (4, 4, 0)
    assert {word: (row["chosen"], row["rejected"]) for word, row in rows.items()} == {
        "thorough": (3, 0),
        "fact": (4, 1),
        "calm": (1, 1),
        "brisk": (0, 4),
    }
    assert rows["thorough"]["log_odds"] == pytest.approx(math.log(3.75 / 7.75) - math.log(0.75 / 8.75))
    assert rows["thorough"]["z"] == pytest.approx(1.3684, abs=1e-4)
    shares = {word: (row["p_chosen"], row["low"], row["high"]) for word, row in rows.items()}
    assert shares["thorough"] == pytest.approx((1.0, 3 / (3 + Z_SQUARE), 1.0))
    assert shares["brisk"] == pytest.approx((0.0, 0.0, Z_SQUARE / (4 + Z_SQUARE)))
    assert shares["fact"][0] == 0.8
    assert {word: row["p"] for word, row in rows.items()} == {"thorough": 0.25, "fact": 0.25, "calm": 1, "brisk": 0.125}
    assert {word: row["q"] for word, row in rows.items()} == pytest.approx(
        {"thorough": 1 / 3, "fact": 1 / 3, "calm": 1.0, "brisk": 1 / 3}
    )
    assert (rows["fact"]["only_chosen"], rows["fact"]["only_rejected"], rows["fact"]["conversations"]) == (3, 0, 4)
    assert rows["fact"]["form"] == "facts"


def test_order_of_rows() -> None:
    """Words of the chosen side stand first, those of the rejected one last."""
    found = table(drawn_pairs(60, 1))["words"]
    assert [row["z"] for row in found] == sorted((row["z"] for row in found), reverse=True)


def test_clause_stands_apart() -> None:
    """What is contrasted is counted in its own table, and the words that mark it nowhere."""
    pairs = [pair("The user prefers facts over stories.", "The user prefers stories rather than facts.")]
    main, clause = rows_of(pairs), rows_of(pairs, "clause")
    assert {word: row["p_chosen"] for word, row in main.items()} == {"fact": 1.0, "story": 0.0}
    assert {word: row["p_chosen"] for word, row in clause.items()} == {"story": 1.0, "fact": 0.0}


def test_share_of_contrast_clauses() -> None:
    """Per side, over personas in English; the others are missing."""
    pairs = [
        pair("The user prefers facts over tales.", "The user wants tales.", 1),
        pair("The user prefers the facts.", "The user wants an overview.", 2),
        pair("Пользователь любит факты.", "Пользователь любит сказки.", 3),
    ]
    chosen, rejected = checked(pairs).figures
    assert (chosen.side, chosen.figure.value, chosen.figure.n, chosen.figure.missing) == ("chosen", 0.5, 2, 1)
    assert (rejected.side, rejected.figure.value) == ("rejected", 0.0)
    assert chosen.figure.clusters == 2


def test_other_languages_keep_their_tokens() -> None:
    """No lemma is looked up and no clause sought where personas are not English."""
    found = rows_of([pair("Der Leser mag Listen.", "Der Leser mag over rather than Texte.")])
    assert found["listen"]["p_chosen"] == 1.0
    assert {"over", "than", "texte"} <= set(found)


def test_nothing_to_say() -> None:
    """No pairs, or pairs without words, are no error."""
    assert Saliency().result().figures == ()
    empty = table([pair("", "")])
    assert (empty["words"], empty["words_seen"]) == ([], 0)


def test_few_discoveries_where_sides_are_tossed() -> None:
    """Of personas drawn without regard to their side, hardly a word is found, over twenty sets of 200 pairs."""
    found = [table(drawn_pairs(200, seed))["discoveries"] for seed in range(20)]
    assert sum(map(bool, found)) <= 3


def test_p_values_are_even_where_sides_are_tossed() -> None:
    """Where sides do not differ, no more p-values are below a level than the level says, but for chance."""
    values = [row["p"] for seed in range(20) for row in table(drawn_pairs(200, seed))["words"]]
    assert sum(value <= 0.1 for value in values) / len(values) <= 0.13


def test_what_differs_is_found() -> None:
    """Of words planted on one side, all are found, and no discovery points the wrong way."""
    pairs = [
        replace(shown, chosen_persona=shown.chosen_persona.replace("is ", "is meticulous and ", 1))
        if number % 4 == 0
        else shown
        for number, shown in enumerate(drawn_pairs(200, 5))
    ]
    found = table(pairs, fewest_personas=10)["words"]
    assert found[0]["word"] == "meticulous"
    assert found[0]["is_discovery"]
    assert (found[0]["chosen"], found[0]["rejected"]) == (50, 0)


def test_one_conversation_is_no_evidence() -> None:
    """A word of fifty pairs of one conversation has a large z, and p = 1: it can only be flipped whole."""
    pairs = drawn_pairs(50, 2) + [
        pair("The user is meticulous.", "The user is hasty.", number, root="one") for number in range(50, 100)
    ]
    row = rows_of(pairs)["meticulous"]
    assert row["z"] > 3
    assert (row["p"], row["conversations"], row["is_discovery"]) == (1.0, 1, False)


def test_conversations_that_share_their_words() -> None:
    """Where sides are tossed by conversation, pairs of one fool the z, and not the p-value."""
    generator = random.Random(4)  # noqa: S311 - nothing secret is drawn
    pairs: list[CheckedPair] = []
    for conversation in range(300):
        first, second = (" and ".join(generator.sample(TRAITS + QUALITIES, 2)) for _ in range(2))
        pairs += [
            pair(f"The user is {first}.", f"The user is {second}.", len(pairs), root=str(conversation))
            for _ in range(generator.choice([1, 2, 8]))
        ]
    rows = table(pairs)["words"]
    assert sum(abs(row["z"]) > 1.96 for row in rows) >= len(rows) / 4
    assert sum(row["p"] <= 0.05 for row in rows) <= len(rows) / 10


def test_words_of_few_personas_are_not_tested() -> None:
    """They are counted as seen, and the table says from how many personas on a word is tested."""
    pairs = [pair("The user is calm.", "The user is brisk.", number) for number in range(9)]
    assert [table(pairs, fewest_personas=number)["words_tested"] for number in (9, 10)] == [2, 0]
    described = checked(pairs, fewest_personas=10).tables["saliency"]
    assert (described["fewest_personas"], described["main"]["words_seen"], described["pairs"]) == (10, 2, 9)


def test_conversations_are_counted_so_far() -> None:
    """Distinct ones, up to a hundred; the table says so."""
    pairs = [pair("The user is calm.", "The user is brisk.", number, root=str(number % 120)) for number in range(300)]
    assert rows_of(pairs)["calm"]["conversations"] == 100
    assert rows_of(pairs[:300:60])["calm"]["conversations"] == 2
    assert checked(pairs).tables["saliency"]["conversations_counted_to"] == 100


def test_order_of_pairs_changes_nothing() -> None:
    """Neither tables nor figures; and the tables are plain data."""
    pairs = drawn_pairs(40, 3)
    there, back = checked(pairs), checked(pairs[::-1])
    assert json.dumps(there.tables["saliency"]) == json.dumps(back.tables["saliency"])
    assert there.figures == back.figures


@pytest.mark.parametrize(("fewest", "share"), [(0, 0.1), (1, 0.0), (1, math.nan)])
def test_settings_are_checked(fewest: int, share: float) -> None:
    """No personas to ask for, or no prior, cannot be meant."""
    with pytest.raises(ValueError, match="expected at least 1 persona"):
        Saliency(fewest, share)


@settings(max_examples=20, deadline=None)  # each is a whole check, with intervals
@given(st.lists(st.tuples(_TEXTS, _TEXTS), max_size=4))
def test_whatever_personas_say(texts: list[tuple[str, str]]) -> None:
    """No text is too odd, and all shares stay within their intervals."""
    pairs = [pair(chosen, rejected, number, root=chosen) for number, (chosen, rejected) in enumerate(texts)]
    found = checked(pairs).tables["saliency"]
    for row in found["main"]["words"] + found["clause"]["words"]:
        assert row["low"] <= row["p_chosen"] <= row["high"]
        assert 0 < row["p"] <= row["q"] <= 1
        assert math.isfinite(row["z"])
