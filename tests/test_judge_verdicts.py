"""What a judge is asked and what is read of its replies: strict and never a guess; and the reader as a judge."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import whoseboat
from whoseboat.judge import (
    CERTAINTIES,
    PAIR_QUESTIONS,
    PERSONA_QUESTIONS,
    QUESTIONS,
    READER,
    Case,
    ModelJudge,
    ReaderJudge,
    Verdict,
    accuracy_by_certainty,
    find,
    judge_label,
    questions,
    read_choice,
    read_score,
)
from whoseboat.judge.verdicts import Choice, Reading, Unreadable
from whoseboat.records import Message

CASE = Case("1", (Message("user", "How do I mend it?"),), "Do this.", "Do that.", "The user is brisk.")

_READ = {
    "1": "1",
    "2": "2",
    " 2\n": "2",
    "tie": "tie",
    "TIE": "tie",
    "Tie.": "tie",
    '"1"': "1",
    '"tie".': "tie",
    "1.": "1",
    '{"choice": 1}': "1",
    '{"choice": "2"}': "2",
    '{"choice":"Tie"}': "tie",
    '\n{"certainty": "guessing", "choice": 2}\n': "2",
    "<think>2 2 2</think>1": "1",
    "[THINK]so[/THINK]tie": "tie",
}
_UNREAD = [
    *(
        "",
        " ",
        "0",
        "3",
        "12",
        "1 2",
        "1,2",
        "1 or 2",
        "1/2",
        "-1",
        "+1",
        "1.0",
        "1..",
        "１",
        "²",
        "①",
        "one",
        "A",
        "B",
    ),
    *("Response 1", "1 is better", "**1**", "`1`", "'1'", '"1', '1"', '""1""', "“1”", "(1)", "[1]", "1!", "1\n2", "#1"),
    *("ties", "a tie", "tıe", "TİE", "neither", "both", "t i e", "null", "true", "1\n\nBecause it is short.", "<1>"),
    *('{"choice": 3}', '{"choice": true}', '{"choice": 1.0}', '{"choice": null}', '{"choice": [1]}', '{"choice": "A"}'),
    *('{"choice": 1', '{"choice": 1} 2', '{"choice": 1}{"choice": 1}', "{}", "[1]", '["choice", 1]', '{"Choice": 1}'),
    *('{"choice": 1, "choice": 2}', '{"choice": 1, "choice": 1}', '{"choice": 1, "other": 2}', '{"score": 1}'),
    *('{"choice": {"choice": 1}}', '```json\n{"choice": 1}\n```', '{"certainty": "certain"}', "{'choice': 1}"),
    *("<think>1", "<think>1</think>", "1</think>", '{"choice": 1e0}', '{"choice": NaN}', "{" * 990, '{"a":' * 50_000),
    '{"choice": 1%s}' % ("0" * 5_000),
]


@pytest.mark.parametrize("reply", _READ)
def test_what_is_a_verdict(reply: str) -> None:
    """The bare word with little around it, or JSON."""
    found = read_choice(reply)
    assert isinstance(found, Reading)
    assert found.said == _READ[reply]


@pytest.mark.parametrize("reply", _UNREAD)
def test_what_is_none(reply: str) -> None:
    """Near misses are not guessed at, and what is wrong is said."""
    found = read_choice(reply)
    assert isinstance(found, Unreadable)
    assert found.problem
    assert len(found.detail) < 400


@pytest.mark.parametrize("reply", ["1", "5", " 3.", '"2"', '{"score": 4}', '{"score": "4", "certainty": "unsure"}'])
def test_what_is_a_score(reply: str) -> None:
    """A whole number from 1 to 5."""
    found = read_score(reply)
    assert isinstance(found, Reading)
    assert found.said in reply


@pytest.mark.parametrize(
    "reply", ["0", "6", "4.5", "4/5", "tie", "4 of 5", '{"choice": 4}', '{"score": 0}', "[RESULT] 4"]
)
def test_what_is_no_score(reply: str) -> None:
    """Nor is a choice."""
    assert isinstance(read_score(reply), Unreadable)


_RESULTS = {
    "Feedback: the first is right. [RESULT] A": "1",
    "[RESULT] B\n": "2",
    "Because.\n[RESULT]tie": "tie",
    "<think>[RESULT] A</think>Feedback [RESULT] B": "2",
}
_NO_RESULTS = [
    *("", "A", "Feedback: A is better.", "[RESULT]", "[RESULT] C", "[RESULT] 1", "[RESULT] a", "[RESULT] A and B"),
    *(
        "[RESULT] A [RESULT] B",
        "[RESULT] A [RESULT] A",
        "[RESULT] A.",
        "[RESULT] Response A",
        "[RESULT]\nA",
        "[result] A",
    ),
    *("[RESULT] A\n\nThat is all.", "(RESULT) A", "[RESULT: A]", "[RESULT] (A)", "[RESULT] **A**", "[RESULT] 'A'"),
]


@pytest.mark.parametrize("reply", _RESULTS)
def test_what_is_a_result(reply: str) -> None:
    """Feedback, and one result at its end."""
    assert read_choice(reply, "rubric") == Reading(_RESULTS[reply])


@pytest.mark.parametrize("reply", _NO_RESULTS)
def test_what_is_no_result(reply: str) -> None:
    """Two results are none, and so is one with something after it."""
    assert isinstance(read_choice(reply, "rubric"), Unreadable)
    assert isinstance(read_choice("[RESULT] A"), Unreadable)


def test_scores_as_results() -> None:
    """A score in the place of a choice, and the other way round, is none."""
    assert read_score("Good. [RESULT] 4", "rubric") == Reading("4")
    for reply in ("Good. [RESULT] 6", "Good. [RESULT] A", "4", "Good. [RESULT] 4.5", "Good. [RESULT] 4/5"):
        assert isinstance(read_score(reply, "rubric"), Unreadable)


_PIECES = st.sampled_from(
    [
        *(
            "1",
            "2",
            "tie",
            "A",
            "B",
            "5",
            ".",
            '"',
            " ",
            "\n",
            "{",
            "}",
            ":",
            ",",
            '"choice"',
            '"score"',
            '"certainty"',
        ),
        *("[RESULT]", "</think>", "<think>", "```", "certain", "or", "x", "\ud800", "\0", "．"),
    ]
)
_STRICT = {
    "choice": re.compile(r'\s*(?:"(?:1|2|[Tt][Ii][Ee])"|1|2|[Tt][Ii][Ee])\.?\s*'),
    "score": re.compile(r'\s*(?:"[1-5]"|[1-5])\.?\s*'),
}


@given(st.one_of(st.text(), st.lists(_PIECES, max_size=12).map("".join)))
@example('{"choice":' * 400)
def test_reading_never_fails_and_takes_strict_forms_alone(reply: str) -> None:
    """Whatever comes, it is a verdict in one of the forms, or unreadable."""
    for found in (read_choice(reply, "rubric"), read_score(reply, "rubric")):
        spoken = reply.split("</think>")[-1].strip()
        assert isinstance(found, Unreadable) or (
            spoken.count("[RESULT]") == 1 and re.search(r"\[RESULT\][ \t]*(?:A|B|tie|[1-5])\Z", spoken)
        )
    for found, name in ((read_choice(reply), "choice"), (read_score(reply), "score")):
        if isinstance(found, Unreadable):
            continue
        spoken = reply.split("</think>")[-1]
        if spoken.strip().startswith("{"):
            record = json.loads(spoken)
            assert str(record[name]).strip().lower() == found.said
            assert record.keys() <= {name, "certainty"}
        else:
            assert _STRICT[name].fullmatch(spoken)
            assert found.said in spoken.lower()
            assert found.certainty is None


@given(
    st.sampled_from(["1", "2", "tie", 1, 2]),
    st.one_of(st.sampled_from(CERTAINTIES), st.text(), st.integers(), st.none(), st.lists(st.text())),
)
def test_a_certainty_is_one_of_the_words(choice: object, certainty: object) -> None:
    """Anything else is None, and the choice stands."""
    found = read_choice(json.dumps({"choice": choice, "certainty": certainty}))
    assert isinstance(found, Reading)
    assert found.said == str(choice)
    known = isinstance(certainty, str) and certainty.strip().lower() in CERTAINTIES
    assert found.certainty == (certainty.strip().lower() if known and isinstance(certainty, str) else None)


def test_accuracy_by_certainty_counts_what_can_be_read() -> None:
    """The surest first; unreadable verdicts are not among it; a tie is right where the truth is one."""

    def verdict(choice: Choice, certainty: str | None) -> Verdict:
        return Verdict("1", "serves", 1, choice, None, certainty)

    rows = accuracy_by_certainty(
        [
            (verdict("A", "unsure"), "A"),
            (verdict("B", "unsure"), "A"),
            (verdict("tie", "unsure"), "A"),
            (verdict("tie", "certain"), "tie"),
            (verdict("unreadable", None), "A"),
        ]
    )
    assert [(row.certainty, row.n, row.right, row.ties) for row in rows] == [("certain", 1, 1, 1), ("unsure", 3, 1, 1)]
    assert accuracy_by_certainty([]) == []


@given(st.text(), st.text(), st.text(), st.text())
def test_a_fence_occurs_in_no_text(prompt: str, first: str, second: str, persona: str) -> None:
    """It is the same in both orders, and stands around each of the texts."""
    try:
        case = Case("1", (Message("user", prompt),), first, second, persona)
    except UnicodeEncodeError:
        return
    asked = questions.load("serves")
    told = [asked.messages(case, order)[-1]["content"] for order in (1, 2)]
    (mark,) = {re.findall(r"is (\w{8})\. Which", text)[-1] for text in told}
    assert not any(mark in text for text in (prompt, first, second, persona))
    assert [text.count(mark) for text in told] == [9, 9]


def test_a_fence_heeds_what_a_text_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a text holds every mark but one, in whatever case, that one is taken."""
    monkeypatch.setattr(questions, "_FENCE_BYTES", 1)
    for left in ("00", "7f", "ff"):
        held = " ".join(f"{number:02X}" for number in range(256) if number != int(left, 16))
        assert questions.fence(["a", held]) == questions.fence([held, "a"]) == left


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("form", ["choice", "rubric"])
def test_our_templates(question: Any, form: Any) -> None:  # noqa: ANN401
    """Each shows what it asks about, the persona only where that is asked; orders differ in nothing but the order."""
    asked = questions.load(question, form)
    told = [asked.messages(CASE, order)[-1]["content"] for order in (1, 2)]
    about_persona = question in ("serves", "picks", "personalization_score")
    assert ("The user is brisk." in told[0]) == about_persona
    assert re.fullmatch(rf"(judge|rubric)_{question}\.v1", asked.name)
    if question.endswith("score"):
        assert "Do this." in told[0]
        assert "Do that." not in told[0]
        assert "Do that." in told[1]
    else:
        assert told[0].index("Do this.") < told[0].index("Do that.")
        swapped = told[1].replace("Do this.", "X").replace("Do that.", "Do this.").replace("X", "Do that.")
        assert swapped == told[0]
    repair = asked.repair(asked.messages(CASE, 1), "Hm.", "the reply is empty")
    assert [message["role"] for message in repair[-2:]] == ["assistant", "user"]
    assert "the reply is empty" in repair[-1]["content"]
    other = replace(CASE, persona="The user is patient.")
    assert (asked.messages(other, 1) == asked.messages(CASE, 1)) == (not about_persona)


_FAULTS = {
    "judge_serves.jinja": [
        ("{{ first }} {{ second }}", "{{ persona }}"),
        ("{{ first }} {{ persona }} {{ fence }}", "{{ second }}"),
        ("{{ persona }}", "{{ first }}, {{ second }}"),
        ("{{ first }} {{ second }} {{ persona }} {{ answer }}", "'answer' is undefined"),
        ("{{ first }", "line 1"),
        ("", "empty message"),
    ],
    "judge_quality.jinja": [("{{ first }} {{ second }} {{ persona }}", "'persona' is undefined")],
    "judge_quality_score.jinja": [("{{ fence }}", "{{ response }}")],
    "judge_persona_preference.jinja": [("{{ first }} {{ second }} {{ conversation }}", "'conversation' is undefined")],
    "judge_whose_words.jinja": [("{{ first }} {{ second }}", "{{ words }}")],
}


@pytest.mark.parametrize(("name", "text", "says"), [(name, *fault) for name, all_ in _FAULTS.items() for fault in all_])
def test_templates_with_faults(tmp_path: Path, name: str, text: str, says: str) -> None:
    """They are found before anything is asked, with the file."""
    (tmp_path / name).write_text(text, encoding="utf-8")
    question: Any = name.removeprefix("judge_").removesuffix(".jinja")
    with pytest.raises(whoseboat.DataError) as caught:
        questions.load(question, prompts=tmp_path)
    assert says in str(caught.value)
    assert "judge_" in caught.value.where


def test_directories_with_faults(tmp_path: Path) -> None:
    """One without a template of the form, one with a name no question has, one with two of a question, and none."""
    text = "{{ first }} {{ second }} {{ persona }}"
    with pytest.raises(whoseboat.DataError, match="not a directory of prompts"):
        questions.load("serves", prompts=tmp_path / "nowhere")
    with pytest.raises(whoseboat.DataError, match="no template for a judge"):
        questions.load("serves", prompts=tmp_path)
    (tmp_path / "judge_serves.v1.jinja").write_text(text, encoding="utf-8")
    assert questions.load("serves", prompts=tmp_path).is_own
    with pytest.raises(whoseboat.DataError, match="no template for a judge"):
        questions.load("serves", "rubric", prompts=tmp_path)
    (tmp_path / "judge_serves.v2.jinja").write_text(text, encoding="utf-8")
    with pytest.raises(whoseboat.DataError, match="several templates"):
        questions.load("serves", prompts=tmp_path)
    (tmp_path / "judge_serves.v2.jinja").rename(tmp_path / "judge_servs.jinja")
    with pytest.raises(whoseboat.DataError, match="of no question"):
        questions.load("serves", prompts=tmp_path)


def test_a_case_that_no_request_can_carry() -> None:
    """A lone surrogate, or a conversation in which no user speaks, is refused where the case is made."""
    with pytest.raises(UnicodeEncodeError):
        replace(CASE, first="\ud800")
    with pytest.raises(ValueError, match="no turn of a user"):
        Case("1", (Message("assistant", "Hello."),), "a", "b")
    assert CASE.root == "how do i mend it?"


# The reader of contrast.

_PERSONAS = st.sampled_from(
    [
        "The user is busy and prefers brief, direct answers over long ones.",
        "The user is curious and prefers thorough, detailed explanations over short answers.",
        "The user prefers numbered steps rather than warm words.",
        "Xyzzy.",
    ]
)


@given(_PERSONAS, st.text(), st.text())
@example("The user is busy and prefers brief, direct answers.", "Yes.", "Well, it depends on many things, you see.")
def test_the_reader_agrees_with_itself(persona: str, first: str, second: str) -> None:
    """Both orders give one choice, and exchanging the responses exchanges it."""
    try:
        case = Case("1", (Message("user", "?"),), first, second, persona)
    except UnicodeEncodeError:
        return
    judge = ReaderJudge()
    (judged,) = judge.compare([case], "serves")
    assert judged.verdicts[0].choice == judged.verdicts[1].choice
    (turned,) = judge.compare([replace(case, first=second, second=first)], "picks")
    assert turned.verdicts[0].choice == {"A": "B", "B": "A", "tie": "tie"}[judged.verdicts[0].choice]
    if first == second:
        assert judged.verdicts[0].choice == "tie"


def test_the_reader_has_to_be_named() -> None:
    """It prefers what the persona asks for, has no view of quality and no scale, and ranks no models."""
    judge = find(READER)
    assert isinstance(judge, ReaderJudge)
    long = "Well, it depends on many things, and I would say that one could perhaps look at each in its turn. " * 5
    case = replace(CASE, persona="The user is busy and prefers brief, direct answers.", first=long, second="Yes.")
    (judged,) = judge.compare(iter([case]), "serves")
    assert [verdict.choice for verdict in judged.verdicts] == ["B", "B"]
    assert [verdict.said for verdict in judged.verdicts] == ["2", "1"]
    assert not judge.may_rank_models
    assert judge.about("serves") == {"judge": READER, "contrast_version": 1, "may_rank_models": False}
    assert judge.estimate([case], "serves").requests == 0
    with pytest.raises(whoseboat.UsageError, match="reads personas"):
        judge.compare([case], "quality")
    with pytest.raises(whoseboat.UsageError, match="gives no scores"):
        judge.rate([case], "quality_score")
    with pytest.raises(whoseboat.UsageError, match="does not show both"):
        judge.compare([case], "persona_preference")
    with pytest.raises(whoseboat.DataError, match="without a persona"):
        list(judge.compare([replace(case, persona=None)], "serves"))
    with pytest.raises(whoseboat.UsageError, match="neither form, prompts nor certainty"):
        find(READER, certainty=True)


def test_what_verdicts_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader's are a round trip where contrast made the personas, however many other engines did as well."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0123456789")
    reader, model = find(READER), find(whoseboat.LanguageModel("toy-model"))
    assert isinstance(model, ModelJudge)
    assert model.may_rank_models
    assert judge_label(reader, "contrast-1") == judge_label(reader, "contrast") == "reader round-trip"
    assert judge_label(reader, ["brought", "contrast-1"]) == "reader round-trip"
    assert judge_label(reader, "published") == judge_label(reader, "contrast-tuned-7b") == READER
    assert judge_label(model, "contrast-1") == "toy-model"


def test_judges_that_cannot_be() -> None:
    """A name that is none, a certainty in the rubric form, more samples than one."""
    model = whoseboat.LanguageModel("toy-model", "http://127.0.0.1:9/v1")
    with pytest.raises(whoseboat.UsageError, match="unknown judge 'contrast'") as caught:
        find("contrast")
    assert READER in str(caught.value)
    with pytest.raises(whoseboat.UsageError, match="no place for a certainty"):
        find(model, form="rubric", certainty=True)
    with pytest.raises(whoseboat.UsageError, match="one verdict in each order"):
        find(replace(model, samples=2))
    form: Any = "prose"
    with pytest.raises(whoseboat.UsageError, match="unknown form"):
        find(model, form=form)
    question: Any = "quality_score"
    with pytest.raises(whoseboat.UsageError, match="unknown question"):
        ModelJudge(model).compare([], question)


def test_questions_are_what_they_are_said_to_be() -> None:
    """The names are those of the types; questions that compare personas are none of those on responses."""
    pairs, scores = get_args(questions.PairQuestion), get_args(questions.ScoreQuestion)
    personas = get_args(questions.PersonaQuestion)
    assert (*pairs, *personas, *scores) == QUESTIONS
    assert (pairs, personas) == (PAIR_QUESTIONS, PERSONA_QUESTIONS)
