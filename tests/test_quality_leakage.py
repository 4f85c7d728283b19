"""`whoseboat.quality.leakage`: what personas take over from their texts, counted by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quality_pairs import figure, pair, run, value

from whoseboat.metric import Bootstrap
from whoseboat.quality.leakage import Leakage
from whoseboat.records import Message

FEW = Bootstrap(draws=500)
PLAIN = "The user is practical and prefers steps."


@pytest.mark.parametrize(
    ("persona", "prompt", "run_of_words"),
    [
        ("The user likes red kites.", "My red kites are gone", ["red", "kites"]),
        ("The user likes red kites.", "Kites red", ["red"]),  # order counts, and the first of two is told
        ("The user likes red kites.", "rED, (KITES)!", ["red", "kites"]),
        ("The user wants step-by-step help.", "Step by step", ["step", "by", "step"]),
        ("The user likes kites.", "kitesurfing, skites", []),  # no word within a word
        ("The user likes kites.", "", []),
        ("The user wants a b c x a b c d.", "a b c d", ["a", "b", "c", "d"]),  # the later one is longer
        ("The user doesn’t wait.", "It doesn't wait", ["doesn't", "wait"]),
    ],
)
def test_longest_run(persona: str, prompt: str, run_of_words: list[str]) -> None:
    """The longest run of words is found, regardless of case, punctuation and hyphens."""
    findings, _ = run(Leakage(FEW), [pair(persona, PLAIN, prompt=prompt, chosen="-", rejected="-")])
    (found,) = [one for one in findings if (one.check, one.side) == ("run_in_prompt", "chosen")]
    assert found.value == len(run_of_words)
    assert found.detail == (f"the prompt: {' '.join(run_of_words)}" if run_of_words else "")


def test_a_run_does_not_go_over_the_end_of_a_turn() -> None:
    """Words that end one turn and begin the next are no run."""
    turns = (Message("user", "I like red"), Message("assistant", "kites fly"), Message("user", "Go on"))
    findings, _ = run(Leakage(FEW), [pair("The user likes red kites.", PLAIN, prompt=turns)])
    assert value(findings, "run_in_prompt") == 1


@pytest.mark.parametrize(
    ("words", "is_bad"), [("one two three four five", False), ("one two three four five six", True)]
)
def test_six_words_are_a_quotation(words: str, is_bad: bool) -> None:
    """Five words in a row are none, six are; of responses the one with the longer run is told."""
    one = pair(f"The user wants {words}.", PLAIN, prompt="Count", chosen="one two", rejected=f"So: {words}!")
    findings, checked = run(Leakage(FEW), [one])
    (found,) = [one for one in findings if (one.check, one.side) == ("run_in_response", "chosen")]
    assert (found.value, found.is_bad) == (len(words.split()), is_bad)
    assert found.detail == f"the other response: {words}"
    assert figure(checked, "quotes a text", "chosen").figure.value == float(is_bad)
    assert figure(checked, "quotes a text", "rejected").figure.value == 0


def test_characters_count_where_no_spaces_stand() -> None:
    """Six Chinese characters are some three words: no quotation; twelve are one."""
    text = "喜欢简短直接的回答和例子"
    for prompt, is_bad in ((text[:6], False), (text, True)):
        findings, checked = run(Leakage(FEW), [pair(f"这位用户{text}。", PLAIN, prompt=prompt)])
        assert value(findings, "run_in_prompt") == len(prompt)
        assert is_bad == any(one.is_bad for one in findings if one.check == "run_in_prompt")
        assert figure(checked, "quotes a text", "chosen").figure.value == float(is_bad)


def test_share_of_content_words() -> None:
    """By hand: of practical, short, step, picture and word (stop words and "over" say nothing), by lemma."""
    persona = "The user is practical and prefers short steps over pictures in words."
    one = pair(
        persona, PLAIN, prompt="A picture of a step", chosen="Short and practical.", rejected="The user prefers in."
    )
    findings, _ = run(Leakage(FEW), [one])
    shares = [value(findings, f"words_from_{name}") for name in ("prompt", "own", "other")]
    assert shares == [2 / 5, 2 / 5, 0]
    assert not [one for one in findings if one.is_bad]


def test_taken_over_is_half_of_the_words_and_four_at_least() -> None:
    """Of eight content words four are bad, three are not, and three of four are too few to tell."""
    persona = "The user wants apples, pears, plums, figs, dates, nuts and grapes."  # with "want", eight
    for prompt, is_bad in (("apple pear plum fig", True), ("apple pear plum", False)):
        findings, checked = run(Leakage(FEW), [pair(persona, PLAIN, prompt=prompt)])
        (found,) = [one for one in findings if (one.check, one.side) == ("words_from_prompt", "chosen")]
        assert (found.value, found.is_bad) == (len(prompt.split()) / 8, is_bad)
        assert found.detail == ("apple fig pear plum" if is_bad else "")
        assert figure(checked, "taken over from the prompt", "chosen").figure.value == float(is_bad)
    findings, _ = run(Leakage(FEW), [pair("The user wants apples, pears, plums.", PLAIN, prompt="apple pear plum")])
    assert value(findings, "words_from_prompt") == 0.75
    assert not [one for one in findings if one.is_bad]


def test_a_long_text_is_not_judged_by_its_words() -> None:
    """Of 251 different words half of any persona's may be there by chance: told, not judged; of 250 it is."""
    persona = "The user wants apples, pears, plums and figs."  # with "want", five
    for more, is_bad in ((246, True), (247, False)):
        prompt = " ".join(["apple pear plum fig", *(f"z{number}" for number in range(more))])
        findings, checked = run(Leakage(FEW), [pair(persona, PLAIN, prompt=prompt)])
        assert value(findings, "words_from_prompt") == 4 / 5
        assert is_bad == any(one.is_bad for one in findings)
        found = figure(checked, "taken over from the prompt", "chosen").figure
        assert (found.value, found.n) == ((1, 1) if is_bad else (None, 0))


def test_each_side_has_its_own_response() -> None:
    """What is its own response to one side is the other one to the other."""
    one = pair("The user likes kites.", "The user likes kites.", chosen="Kites like", rejected="-")
    findings, _ = run(Leakage(FEW), [one])
    assert [value(findings, "words_from_own", side) for side in ("chosen", "rejected")] == [1, 0]
    assert [value(findings, "words_from_other", side) for side in ("chosen", "rejected")] == [0, 1]


def test_shares_stand_beside_those_by_chance() -> None:
    """By hand: 3 of 5 words in the own prompt, and of the second persona all 3 in the prompt before it."""
    pairs = [
        pair("The user likes kites.", PLAIN, name="1", prompt="I like kites and red"),  # like, kite: 2 of 2
        pair("The user likes red kites.", PLAIN, name="2", prompt="Kite."),  # kite: 1 of 3
    ]
    _, checked = run(Leakage(FEW), pairs)
    found = figure(checked, "words in the prompt", "chosen")
    assert (found.figure.value, found.figure.n, found.figure.clusters) == (3 / 5, 5, 2)
    assert found.note == "100.0% in the same text of another conversation"


def test_chance_is_not_of_the_same_conversation() -> None:
    """Texts of one conversation are no measure of chance."""
    pairs = [pair("The user likes kites.", PLAIN, name=name, prompt="I like kites", root="one") for name in "ab"]
    _, checked = run(Leakage(FEW), pairs)
    assert figure(checked, "words in the prompt", "chosen").note == ""


def test_quantiles_stand_in_a_table() -> None:
    """Three personas with runs of 0, 1 and 2 words: the median is 1."""
    prompts = ["-", "kites", "red kites"]
    pairs = [pair("The user likes red kites.", PLAIN, name=prompt, prompt=prompt) for prompt in prompts]
    _, checked = run(Leakage(FEW), pairs)
    runs = checked.tables["leakage"]["chosen"]["longest run in the prompt"]
    assert (runs["p5"], runs["p50"], runs["p99"]) == (0, 1, 2)


def test_a_persona_without_words_of_its_own() -> None:
    """No share can be told where there is nothing to share."""
    findings, checked = run(Leakage(FEW), [pair("The user is.", "")])
    assert value(findings, "words_from_prompt") is None
    assert figure(checked, "words in the prompt", "chosen").figure.reason == "no persona has a word of its own"


def slow_run(words: Sequence[str], text: Sequence[str]) -> int:
    """Return the length of the longest run in common, by looking at every one."""
    spans = [(start, end) for start in range(len(words)) for end in range(start + 1, len(words) + 1)]
    looked = {tuple(text[start:end]) for start in range(len(text)) for end in range(start + 1, len(text) + 1)}
    return max((end - start for start, end in spans if tuple(words[start:end]) in looked), default=0)


@given(st.lists(st.sampled_from("abcd"), max_size=12), st.lists(st.sampled_from("abce"), max_size=12))
def test_longest_run_is_that_of_all_runs(words: list[str], text: list[str]) -> None:
    """The quick way finds as long a run as the slow one."""
    one = pair(" ".join(words), "x", prompt=" ".join(text))
    assert value(list(Leakage(FEW).add(one)), "run_in_prompt") == slow_run(words, text)


@given(st.text(max_size=100), st.text(max_size=200))
def test_any_texts_can_be_compared(persona: str, text: str) -> None:
    """Whatever the texts are, shares are between 0 and 1, and details stay on one line."""
    findings = list(Leakage(FEW).add(pair(persona, text, prompt=text, chosen=text, rejected=persona)))
    shares = [one.value for one in findings if one.check.startswith("words_from") and one.value is not None]
    assert all(0 <= share <= 1 for share in shares)
    assert not [one for one in findings if "\n" in one.detail]
