"""Whether personas lead back to their response: three forms of accuracy, the control, and who gives to whom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm_server import LlmServer
from quality_judges import SECRET, ScriptedJudge, figure, longer, pair, pairs, right, shown, value

import whoseboat
from whoseboat import contrast
from whoseboat.judge import Case, Progress, find
from whoseboat.judge.verdicts import Order
from whoseboat.metric import Bootstrap
from whoseboat.quality import accuracy
from whoseboat.quality.donors import donors
from whoseboat.quality.findings import Checked
from whoseboat.quality.pairs import CheckedPair
from whoseboat.records import Message, Origin, Pair

FORMS = ("accuracy (paper)", "accuracy (strict)", "accuracy (consistent)")
QUICK = Bootstrap(draws=500)


def check(of: list[CheckedPair], judge: ScriptedJudge) -> Checked:
    """Check with few draws: what is asserted of intervals does not hang on them."""
    return accuracy.check(of, judge, bootstrap=QUICK)


def test_a_judge_that_is_always_right() -> None:
    """All forms are 1, and so is specificity: of a shuffled persona it says that it fits neither."""
    judge = ScriptedJudge(right)
    checked = check(pairs(30), judge)
    for side in ("chosen", "rejected", "both"):
        for name in (*FORMS, "coverage", "specificity", "accuracy (strict), own personas of the control"):
            assert value(checked, name, side) == 1, (side, name)
        assert value(checked, "accuracy (strict), shuffled personas", side) == 0
        assert value(checked, "position bias", side) == 0
        assert figure(checked, "specificity", side).is_clear_of_zero
    assert value(checked, "flip accuracy") == 1
    assert figure(checked, "accuracy (strict)").clusters == 30
    assert figure(checked, "accuracy (strict)").n == 60
    findings = list(checked.findings)
    assert [(one.id, one.side) for one in findings[:3]] == [
        ("id-000", "chosen"),
        ("id-000", "rejected"),
        ("id-001", "chosen"),
    ]
    assert {(one.check, one.value, one.is_bad, one.detail) for one in findings} == {("accuracy", 1.0, False, "")}
    assert len(findings) == 60
    assert {question for question, _ in judge.asked} == {"picks"}
    assert 2 * len(judge.asked) == accuracy.requests(pairs(30)) == 30 * 8
    assert {figure.judge for figure in checked.figures} == {"scripted"}


def test_what_the_judge_is_shown() -> None:
    """The response a persona was inferred from is A, the prompt is the pair's, shuffled personas are of its side."""
    judge = ScriptedJudge(right)
    check(pairs(5), judge)
    own = [case for _, case in judge.asked if case.id.endswith(" own")]
    other = [case for _, case in judge.asked if case.id.endswith(" shuffled")]
    assert [(case.first, case.second, case.persona) for case in own[:2]] == [
        ("good000 answer", "poor000 answer", "The user likes good000"),
        ("poor000 answer", "good000 answer", "The user likes poor000"),
    ]
    assert [case.prompt for case in own[:2]] == [pairs(1)[0].prompt] * 2
    for one, another in zip(own, other, strict=True):
        assert (one.first, one.second, one.root) == (another.first, another.second, another.root)
        assert one.persona != another.persona
        assert (one.persona or "")[:19] == (another.persona or "")[:19]
    assert Counter(case.persona for case in own) == Counter(case.persona for case in other)


def of_length(chosen: int, rejected: int, number: int) -> CheckedPair:
    """Return a pair with responses of so many characters."""
    return pair(number, chosen="c" * chosen, rejected="r" * rejected)


def test_a_judge_that_reads_length() -> None:
    """20 of 30 chosen responses are the longer: 2/3 of one side, 1/3 of the other, and no persona was heeded."""
    of = [of_length(20, 10, number) if number < 20 else of_length(10, 20, number) for number in range(30)]
    checked = check(of, ScriptedJudge(longer))
    for name in FORMS:
        assert value(checked, name, "chosen") == pytest.approx(20 / 30)
        assert value(checked, name, "rejected") == pytest.approx(10 / 30)
        assert value(checked, name) == 0.5
    assert value(checked, "coverage") == 1
    assert value(checked, "flip accuracy") == 0
    for side in ("chosen", "rejected", "both"):
        found = figure(checked, "specificity", side)
        assert (found.value, found.is_clear_of_zero) == (0, False)
        assert value(checked, "accuracy (strict), own personas of the control", side) == value(checked, FORMS[1], side)


def test_at_equal_length_there_is_no_length_to_read() -> None:
    """A tenth of the longer one is the bound; where no pair is that close, there are no figures of it."""
    lengths = [(100, 90), (90, 100), (100, 89), (50, 10), (7, 7)]
    checked = check([of_length(*both, number) for number, both in enumerate(lengths)], ScriptedJudge(longer))
    assert checked.tables["accuracy"]["parts"] == {accuracy.EQUAL_LENGTH: 3}
    assert figure(checked, "accuracy (strict)", "chosen", accuracy.EQUAL_LENGTH).n == 3
    assert value(checked, "accuracy (strict)", "chosen", accuracy.EQUAL_LENGTH) == pytest.approx(1 / 3)
    assert value(checked, "accuracy (strict)", "chosen") == pytest.approx(3 / 5)
    far = check([of_length(9, 3, number) for number in range(3)], ScriptedJudge(longer))
    assert far.tables["accuracy"]["parts"] == {accuracy.EQUAL_LENGTH: 0}
    assert {one.part for one in far.figures} == {""}


def chance(*said: object) -> float:
    """Return a number from 0 to 1 by chance, always the same for the same."""
    return int.from_bytes(blake2b(repr(said).encode(), digest_size=4).digest()) / 2**32


def by_lot(case: Case, order: Order) -> str:
    """Name a response by lot, drawn again for every request."""
    return "1" if chance(case.id, order) < 0.5 else "2"


def by_taste(case: Case, order: Order) -> str:
    """Name the response that it likes better, and another one where that is shown second, now and then."""
    likes = [chance(text) for text in shown(case, order)]
    return "1" if likes[0] > likes[1] or chance(*sorted(shown(case, order))) < 0.2 else "2"


def test_the_control_of_judges_that_ignore_personas() -> None:
    """Whether they have a taste or none, the interval of specificity holds 0 on either side and on both."""
    of = pairs(200)
    lots = check(of, ScriptedJudge(by_lot))
    taste = check(of, ScriptedJudge(by_taste))
    for side in ("chosen", "rejected", "both"):
        for checked in (lots, taste):
            found = figure(checked, "specificity", side)
            assert found.low is not None
            assert found.high is not None
            assert found.low <= 0 <= found.high
        assert value(taste, "specificity", side) == 0
        assert 0.15 < (value(lots, "accuracy (strict)", side) or 0) < 0.35
        assert 0.4 < (value(lots, "accuracy (paper)", side) or 0) < 0.6
    assert value(taste, "flip accuracy") == 0


def test_a_judge_that_always_takes_the_first() -> None:
    """Half of it is right for the paper, none of it in both orders, and nothing is to be said where it agrees."""
    checked = check(pairs(25), ScriptedJudge(lambda *_: "1"))
    for side in ("chosen", "rejected", "both"):
        assert [value(checked, name, side) for name in FORMS] == [0.5, 0, None]
        assert (value(checked, "coverage", side), value(checked, "position bias", side)) == (0, 1)
        assert value(checked, "specificity", side) == 0
    assert value(checked, "flip accuracy") == 0
    assert {(one.value, one.is_bad, one.detail) for one in checked.findings} == {
        (0.5, False, "took what was shown first in both orders")
    }
    assert checked.tables["accuracy"]["own"]["rejected"]["ties_by_taking_the_first_shown"] == 25


def mixed(case: Case, order: Order) -> str:
    """Be right of the chosen side; of the other one, by five: right, wrong, taken with the first, undecided."""
    number, is_chosen = int(case.id[3:6]), " chosen " in case.id
    if is_chosen or number < 5:
        return right(case, order)
    if number < 10:
        return {"1": "2", "2": "1"}.get(right(case, order), "tie")
    return "1" if number < 15 else "tie"


def test_figures_by_hand() -> None:
    """Of 20 pairs all chosen sides are right; of the others 5 are, 5 are wrong, 5 go by the place, 5 are ties."""
    checked = check(pairs(20), ScriptedJudge(mixed))
    assert [value(checked, name, "chosen") for name in (*FORMS, "coverage", "position bias")] == [1, 1, 1, 1, 0]
    # Of 40 judgements 10 are right, and 5 of those that go by the place; these name what is shown first 10 times.
    assert [value(checked, name, "rejected") for name in FORMS] == [15 / 40, 5 / 20, 5 / 10]
    assert value(checked, "coverage", "rejected") == 10 / 20
    assert value(checked, "position bias", "rejected") == 10 / 40
    assert [value(checked, name) for name in FORMS] == [55 / 80, 25 / 40, 25 / 30]
    assert value(checked, "flip accuracy") == 5 / 20
    assert value(checked, "specificity", "chosen") == 1
    assert value(checked, "specificity", "rejected") == 5 / 20
    assert value(checked, "specificity") == 25 / 40
    bad = [one for one in checked.findings if one.is_bad]
    assert [(one.id, one.side, one.value) for one in bad] == [(f"id-00{n}", "rejected", 0) for n in range(5, 10)]
    assert {one.detail for one in bad} == {"took the other response in both orders"}
    counts = checked.tables["accuracy"]["own"]["rejected"]
    assert [counts[name] for name in ("wins", "ties", "losses", "missing", "ties_said_in_both_orders")] == [
        5,
        10,
        5,
        0,
        5,
    ]


def test_every_third_verdict_is_unreadable() -> None:
    """Verdicts are told to come in the order of the cases, so of three pairs each side has one that is whole."""
    said = 0

    def third(case: Case, order: Order) -> str:
        nonlocal said
        said += 1
        return "?" if said % 3 == 0 else right(case, order)

    checked = check(pairs(6), ScriptedJudge(third))
    for side in ("chosen", "rejected"):
        assert [value(checked, name, side) for name in FORMS] == [8 / 12, 2 / 6, 1]
        strict = figure(checked, "accuracy (strict)", side)
        assert (strict.missing, strict.worst, strict.best) == (4, 2 / 6, 1)
        assert value(checked, "coverage", side) == 2 / 6
        # No case is whole under both its own and the shuffled persona.
        assert (value(checked, "specificity", side), figure(checked, "specificity", side).missing) == (None, 6)
    assert (value(checked, "flip accuracy"), figure(checked, "flip accuracy").missing) == (None, 6)
    unread = [one for one in checked.findings if one.value is None]
    assert len(unread) == 8
    assert not any(one.is_bad for one in unread)
    assert all("the reply is none" in one.detail and one.detail.isprintable() for one in unread)
    assert not any(SECRET in one.detail for one in unread)
    assert "[redacted: password in a URL]" in unread[0].detail


def test_a_request_that_failed_is_missing_and_says_why() -> None:
    """It is neither right nor wrong."""
    checked = check(pairs(3), ScriptedJudge(lambda case, order: "!" if "id-001 chosen own" in case.id else "1"))
    (failed,) = [one for one in checked.findings if one.value is None]
    assert (failed.id, failed.side, failed.detail) == ("id-001", "chosen", "http_500: the server fell over")
    assert figure(checked, "accuracy (strict)", "chosen").missing == 1


def test_pairs_of_one_conversation_are_one_cluster() -> None:
    """Whatever the case of its letters; both sides of a pair are in it, too."""
    of = [pair(number, said=f"{'Which' if number % 2 else 'WHICH'} {number // 2}?") for number in range(60)]
    checked = check(of, ScriptedJudge(right))
    assert {figure(checked, name).clusters for name in (*FORMS, "specificity", "flip accuracy")} == {30}
    assert figure(checked, "specificity").n == 120


def test_parts_of_the_source() -> None:
    """The largest twelve have figures of their own, and donors are of the same part where it has any."""
    of = [pair(number, source_split=f"part-{number % 14:02}") for number in range(14 * 3 - 2)]
    of.append(pair(99, source_split=None))
    checked = check(of, ScriptedJudge(right))
    table = checked.tables["accuracy"]
    told = [f"source: part-{number:02}" for number in range(12)]
    assert list(table["parts"]) == [accuracy.EQUAL_LENGTH, *told]
    assert table["parts_of_source_not_told"] == 3
    assert figure(checked, "accuracy (strict)", "chosen", told[0]).n == 3
    assert table["donors"] == {
        "pairs_without": 0,
        "pairs_with_one_of_another_part": 1,
        "pairs_with_one_of_the_same_words": {"chosen": 0, "rejected": 0},
    }
    one_part = check(pairs(4, source_split="all"), ScriptedJudge(right))
    assert list(one_part.tables["accuracy"]["parts"]) == [accuracy.EQUAL_LENGTH]


def test_one_conversation_alone_has_no_control() -> None:
    """There is nobody to get a persona from: it is counted, and costs half."""
    of = pairs(3, said="The same?")
    judge = ScriptedJudge(right)
    checked = check(of, judge)
    assert value(checked, "accuracy (strict)") == 1
    assert figure(checked, "specificity").reason == "no pair has a donor of another conversation"
    assert checked.tables["accuracy"]["donors"]["pairs_without"] == 3
    assert 2 * len(judge.asked) == accuracy.requests(of) == 3 * 4


def test_no_pair_is_no_check() -> None:
    """Nobody is asked."""
    judge = ScriptedJudge(right)
    assert accuracy.check([], judge).tables == {"accuracy": {"skipped": "there is no pair to check"}}
    assert judge.asked == []


def test_the_order_of_the_pairs_changes_nothing() -> None:
    """Figures, counts and donors are the same."""
    of = [pair(number, said=f"Question {number // 3}?", source_split="ab"[number % 2]) for number in range(24)]
    one, other = (check(given, ScriptedJudge(mixed)) for given in (of, of[::-1]))
    assert one.figures == other.figures
    assert one.tables == other.tables
    assert {(found.id, found.side): found for found in one.findings} == {
        (found.id, found.side): found for found in other.findings
    }


def test_progress_is_told() -> None:
    """As the judge tells it: cases, four of a pair, and of how many."""
    seen: list[tuple[int, int]] = []

    def tell(progress: Progress, cases: int) -> None:
        seen.append((progress.cases, cases))

    accuracy.check(pairs(5), ScriptedJudge(right), tell, bootstrap=QUICK)
    assert seen[-1] == (20, 20)


def test_personas_of_contrast_read_by_contrast_are_a_round_trip() -> None:
    """Its figures are called that, and say what they are worth; other personas it reads bear its name."""
    texts = ["Yes. Do it.", "Well, it depends on many things, and one could say that one should look at each of them."]
    of = []
    for number in range(6):
        chosen, rejected = texts if number % 2 else texts[::-1]
        read = Pair((Message("user", "Should I?"),), chosen, rejected, Origin("pairs.jsonl", 1))
        own, other = contrast.personas(read)
        made = {"chosen_persona": own.text, "rejected_persona": other.text, "persona_engine": own.engine}
        of.append(pair(number, chosen=chosen, rejected=rejected, **made))
    checked = accuracy.check(of, find("contrast-reader"), bootstrap=QUICK)
    assert {one.judge for one in checked.figures} == {"reader round-trip"}
    assert all("can be read back, and no more" in one.note for one in checked.figures)
    assert checked.tables["accuracy"]["judge"] == "reader round-trip"
    assert value(checked, "accuracy (strict)") == 1
    same = checked.tables["accuracy"]["donors"]["pairs_with_one_of_the_same_words"]
    assert same["chosen"] > 0
    brought = [replace(one, persona_engine="brought") for one in of]
    others = accuracy.check(brought, find("contrast-reader"), bootstrap=QUICK)
    assert {(one.judge, one.note) for one in others.figures} == {("contrast-reader", "")}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LlmServer]:
    """Start a server that always names the first response."""
    with LlmServer(key="sk-test-0123456789", structured=False) as server:
        for name, told in server.environment().items():
            monkeypatch.setenv(name, told)
        server.reply = lambda _: "1"
        yield server


def test_a_language_model_is_asked_what_was_said_and_once(server: LlmServer, tmp_path: Path) -> None:
    """As many requests as were told; a second check finds all of them in the journal."""
    model = whoseboat.LanguageModel(server.model, server.base_url, cache_dir=tmp_path / "cache", concurrency=4)
    of = pairs(6)
    ((cases, question),) = accuracy.questions(of)
    assert find(model).estimate(cases, question).requests == accuracy.requests(of) == 48
    first = accuracy.check(of, find(model), bootstrap=QUICK)
    assert len(server.calls) == 48
    assert value(first, "accuracy (paper)") == 0.5
    again = accuracy.check(of, find(model), bootstrap=QUICK)
    assert len(server.calls) == 48
    assert again.figures == first.figures
    assert {one.judge for one in first.figures} == {"toy-model"}


_SETS = st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["a", "b", None])), max_size=30)


@given(_SETS)
def test_donors_are_of_another_conversation(rows: list[tuple[int, str | None]]) -> None:
    """Nobody gives to its own; who has none is of the only conversation there is; within a part each gives once."""
    of = [pair(number, said=f"Root {root}?", source_split=part) for number, (root, part) in enumerate(rows)]
    found = donors(of, lambda one: one.root)
    is_alone = len({one.root for one in of}) == 1
    for one, donor in zip(of, found, strict=True):
        assert (donor is None) == is_alone
        if donor is not None:
            assert donor.pair.root != one.root
            assert donor.is_of_part == (donor.pair.source_split == one.source_split)
    for part in {one.source_split for one in of}:
        members = [one for one in of if one.source_split == part]
        if max(Counter(one.root for one in members).values()) * 2 <= len(members):
            given = [donor.pair.id for one, donor in zip(of, found, strict=True) if one in members and donor]
            assert sorted(given) == sorted(one.id for one in members)
    turned = donors(of[::-1], lambda one: one.root)[::-1]
    assert turned == found
