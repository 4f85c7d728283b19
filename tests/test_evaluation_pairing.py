"""Generations read and paired: by id or prompt, whatever the order of rows; and the layout the paper published."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import whoseboat
from whoseboat.evaluation import paper
from whoseboat.evaluation.cases import read_cases
from whoseboat.evaluation.generations import Generation, Generations, read_generations, without_persona
from whoseboat.evaluation.pairing import Asked, Pairing, pair_up
from whoseboat.records import Message
from whoseboat.rewriting import first_person

Row = dict[str, Any]
BRISK = "The user is brisk and prefers short answers."
PATIENT = "The user is patient and prefers every detail."


def write(path: Path, rows: Sequence[Row]) -> Path:
    """Write records as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(home: Path, name: str, rows: Sequence[Row]) -> Generations:
    """Return generations that were written and read again."""
    return read_generations(name, [write(home / f"{name}.jsonl", rows)])


def paired(home: Path, ours: Sequence[Row], base: Sequence[Row], asked: Sequence[Asked] = ()) -> Pairing:
    """Return the pairing of two files."""
    return pair_up(read(home, "ours", ours), read(home, "base", base), asked)


def said(pairing: Pairing) -> list[tuple[str | None, str, str | None, str, str | None]]:
    """Return the cases in plain words, in an order that does not depend on their ids."""
    cases = [
        (one.side, one.case.prompt[-1].content, one.case.persona, one.case.first, one.case.second)
        for one in pairing.cases
    ]
    return sorted(cases, key=lambda case: tuple(map(str, case)))


def user(text: str) -> tuple[Message, ...]:
    """Return a prompt of one turn."""
    return (Message("user", text),)


def asks(id_: str, prompt: str = "Why?") -> list[Asked]:
    """Return both sides of a pair."""
    return [Asked(id_, user(prompt), "chosen", BRISK, "m"), Asked(id_, user(prompt), "rejected", PATIENT, "m")]


def test_rows_belong_together_by_id_and_side(tmp_path: Path) -> None:
    """Whatever their order, and whatever stands in only one of the files."""
    ours = [
        {"id": 1, "side": "chosen", "prompt": "Why?", "persona": BRISK, "response": "So."},
        {"id": 1, "side": "rejected", "prompt": "Why?", "persona": PATIENT, "response": "Thus."},
        {"id": 2, "side": "chosen", "prompt": "How?", "persona": BRISK, "response": "Well."},
    ]
    base: list[Row] = [
        {"id": "1", "side": "rejected", "prompt": "Why? ", "persona": None, "response": "Hm."},
        {"id": "3", "side": "chosen", "prompt": "Who?", "persona": "", "response": "Me."},
        {"id": "1", "side": "chosen", "prompt": "Why?", "response": "Ah."},
    ]
    pairing = paired(tmp_path, ours, base)
    assert said(pairing) == [
        ("chosen", "Why?", BRISK, "So.", "Ah."),
        ("rejected", "Why?", PATIENT, "Thus.", "Hm."),
    ]
    assert (pairing.by, pairing.unmatched) == ("id", {"ours": 1, "base": 1})
    assert pairing.examples == {"ours": [f"2, chosen, {BRISK}"], "base": ["3, chosen"]}


def test_rows_without_ids_belong_together_by_prompt_and_persona(tmp_path: Path) -> None:
    """White space apart; messages and plain text are the same prompt."""
    ours = [
        {"prompt": "Why  not?", "persona": BRISK, "response": "So."},
        {"prompt": "Why not?", "persona": PATIENT, "response": "Thus."},
    ]
    base: list[Row] = [
        {"prompt": [{"role": "user", "content": "Why not?"}], "persona": f"{PATIENT} ", "response": "Hm."},
        {"prompt": "Why\nnot?", "persona": BRISK, "response": "Ah."},
    ]
    pairing = paired(tmp_path, ours, base)
    assert [case[2:] for case in said(pairing)] == [(BRISK, "So.", "Ah."), (PATIENT, "Thus.", "Hm.")]
    assert pairing.by == "prompt"


def test_a_model_that_is_told_no_persona_stands_for_every_case_of_its_prompt(tmp_path: Path) -> None:
    """By id and by prompt alike, as the model or as the baseline."""
    told: list[Row] = [
        {"prompt": "Why?", "persona": BRISK, "response": "So."},
        {"prompt": "Why?", "persona": PATIENT, "response": "Thus."},
    ]
    blind: list[Row] = [{"prompt": "Why?", "response": "Ah."}]
    assert [case[3:] for case in said(paired(tmp_path, told, blind))] == [("So.", "Ah."), ("Thus.", "Ah.")]
    assert [case[3:] for case in said(paired(tmp_path, blind, told))] == [("Ah.", "So."), ("Ah.", "Thus.")]
    with_ids = [{"id": "x", **row} for row in told], [{"id": "x", **row} for row in blind]
    assert [case[2:] for case in said(paired(tmp_path, *with_ids))] == [
        (BRISK, "So.", "Ah."),
        (PATIENT, "Thus.", "Ah."),
    ]
    both = paired(tmp_path, [{"prompt": "Why?", "response": "So."}], blind)
    assert said(both) == [(None, "Why?", None, "So.", "Ah.")]


def test_other_personas_are_other_cases(tmp_path: Path) -> None:
    """Where one id and side stands for two personas nothing is compared, unless a dataset says whose persona counts."""
    ours = [{"id": "x", "side": "chosen", "prompt": "Why?", "persona": PATIENT, "response": "So."}]
    base = [{"id": "x", "side": "chosen", "prompt": "Why?", "persona": BRISK, "response": "Ah."}]
    with pytest.raises(whoseboat.DataError, match="no generations of the two models belong together"):
        paired(tmp_path, ours, base)
    assert said(paired(tmp_path, ours, base, asks("x"))) == [("chosen", "Why?", BRISK, "So.", "Ah.")]


def test_a_dataset_brings_prompts_and_personas(tmp_path: Path) -> None:
    """Rows need an id then, and what they say of a persona is only which side it is of."""
    ours = [
        {"id": "x", "persona": PATIENT, "response": "Thus."},
        {"id": "x", "persona": BRISK, "response": "So."},
        {"id": "y", "persona": BRISK, "response": "Not in the dataset."},
    ]
    base = [{"id": "x", "response": "Ah."}]
    pairing = paired(tmp_path, ours, base, asks("x"))
    assert said(pairing) == [
        ("chosen", "Why?", BRISK, "So.", "Ah."),
        ("rejected", "Why?", PATIENT, "Thus.", "Ah."),
    ]
    assert pairing.unmatched == {"ours": 1, "base": 0}
    with pytest.raises(whoseboat.DataError, match="without its prompt"):
        paired(tmp_path, ours, base)


def test_models_may_be_told_other_personas_than_they_are_judged_by(tmp_path: Path) -> None:
    """One for all, or one by side that was retrieved or shuffled; the other side's persona stays the other side's."""
    for_all = "The user would like a clear answer."
    ours = [
        {"id": "x", "side": "chosen", "persona": "The user is somebody else.", "response": "So."},
        {"id": "x", "side": "rejected", "persona": "The user is a third one.", "response": "Thus."},
    ]
    base = [{"id": "x", "persona": for_all, "response": "Ah."}]
    assert said(paired(tmp_path, ours, base, asks("x"))) == [
        ("chosen", "Why?", BRISK, "So.", "Ah."),
        ("rejected", "Why?", PATIENT, "Thus.", "Ah."),
    ]
    of_one = [{"id": "x", "persona": BRISK, "response": "Ah."}]
    found = paired(tmp_path, ours, of_one, asks("x"))
    assert [case[:1] + case[3:] for case in said(found)] == [("chosen", "So.", "Ah.")]
    assert found.unmatched == {"ours": 1, "base": 0}


def test_cases_are_read_from_a_dataset_folder(tmp_path: Path) -> None:
    """As `build` makes it: both sides of the pairs whose ids are wanted, with a column for groups."""
    built = whoseboat.build("sample", tmp_path / "set", limit=5)
    cases = read_cases(built.path, None, "language")
    assert len(cases) == 10
    assert {one.side for one in cases} == {"chosen", "rejected"}
    assert {one.engine.partition("-")[0] for one in cases} == {"contrast"}
    wanted = cases[0].id
    assert [one.id for one in read_cases(built.path, {wanted})] == [wanted, wanted]
    with pytest.raises(whoseboat.DataError, match="no pair of the dataset"):
        read_cases(built.path, {"another"})
    with pytest.raises(whoseboat.DataError, match="not a dataset folder"):
        read_cases(tmp_path, None)


def test_duplicates_are_counted_and_one_of_them_counts_whatever_the_order(tmp_path: Path) -> None:
    """The same response once more, and another response, are told apart."""
    base = [{"id": "x", "prompt": "Why?", "persona": BRISK, "response": "Ah."}]
    ours = [{"id": "x", "prompt": "Why?", "persona": BRISK, "response": text} for text in ("So.", "Thus.", "So.")]
    pairing, turned = paired(tmp_path, ours, base), paired(tmp_path, ours[::-1], base)
    assert said(pairing) == said(turned)
    assert len(pairing.cases) == 1
    assert pairing.duplicates["ours"] + pairing.conflicting["ours"] == 2
    same = paired(tmp_path, [ours[0], ours[0]], base)
    assert (same.duplicates, same.conflicting) == ({"ours": 1, "base": 0}, {"ours": 0, "base": 0})


def test_what_may_belong_to_several_cases_belongs_to_none(tmp_path: Path) -> None:
    """A persona alone does not say of which side it is where a file has both sides and no persona."""
    ours = [{"id": "x", "prompt": "Why?", "persona": one, "response": one[:12]} for one in (BRISK, PATIENT)]
    base = [{"id": "x", "prompt": "Why?", "side": side, "response": side} for side in ("chosen", "rejected")]
    sure = [{"id": "y", "prompt": "How?", "persona": BRISK, "response": "So."}]
    pairing = paired(tmp_path, [*ours, *sure], [*base, {**sure[0], "response": "Ah."}])
    assert [case[3:] for case in said(pairing)] == [("So.", "Ah.")]
    assert pairing.ambiguous == {"ours": 2, "base": 2}
    assert len(paired(tmp_path, [*ours, *sure], base, asks("x")).cases) == 2


def test_one_id_for_two_prompts_is_no_pair(tmp_path: Path) -> None:
    """It is counted; where all are such the files are not of the same data."""
    ours = [{"id": id_, "prompt": f"Why {id_}?", "response": "So."} for id_ in "xy"]
    base = [{"id": "x", "prompt": "Why x?", "response": "Ah."}, {"id": "y", "prompt": "Another?", "response": "Oh."}]
    pairing = paired(tmp_path, ours, base)
    assert (len(pairing.cases), pairing.other_prompt) == (1, 1)
    with pytest.raises(whoseboat.DataError, match="the same ids stand for other prompts"):
        paired(tmp_path, ours[1:], base[1:])


_rows = st.lists(
    st.builds(
        Generation,
        response=st.sampled_from(["So.", "Thus.", "Well."]),
        prompt=st.sampled_from([user("Why?"), user("How?")]),
        id=st.sampled_from(["x", "y"]),
        side=st.sampled_from(["chosen", "rejected", None]),
        persona=st.sampled_from([BRISK, PATIENT, None]),
    ),
    min_size=1,
    max_size=8,
)


def _pair_or_none(ours: list[Generation], base: list[Generation], asked: Sequence[Asked]) -> Pairing | None:
    try:
        return pair_up(Generations("ours", (), ours), Generations("base", (), base), asked)
    except whoseboat.DataError:
        return None


@given(_rows, _rows, st.randoms(use_true_random=False), st.booleans(), st.booleans())
def test_the_order_of_rows_changes_nothing(
    ours: list[Generation], base: list[Generation], random: Random, with_ids: bool, with_cases: bool
) -> None:
    """Neither cases nor counts; each case is of one prompt, and contradicts neither side nor persona of its rows."""
    if not with_ids:
        ours, base = (
            [Generation(row.response, row.prompt, None, row.side, row.persona) for row in of] for of in (ours, base)
        )
    asked = [*asks("x"), *asks("y", "How?")] if with_cases else []
    found = _pair_or_none(ours, base, asked)
    mixed = random.sample(ours, len(ours)), random.sample(base, len(base)), random.sample(asked, len(asked))
    assert _pair_or_none(*mixed) == found
    for one in found.cases if found else ():
        for response, of in ((one.case.first, ours), (one.case.second, base)):
            fits = [row for row in of if row.response == response and row.side in (None, one.side)]
            assert fits
            assert with_cases or any(row.persona in (None, one.case.persona) for row in fits)
    if found:
        for name, of in (("ours", ours), ("base", base)):
            keys = {(row.id or row.text, row.side, row.persona) for row in of}
            left = found.unmatched[name] + found.ambiguous[name]
            assert len(of) == len(keys) + found.duplicates[name] + found.conflicting[name]
            assert left <= len(keys)


@pytest.mark.parametrize("name", ["g.jsonl", "g.jsonl.gz", "g.json", "g.csv", "g.parquet"])
def test_all_formats_are_read_alike(tmp_path: Path, name: str) -> None:
    """What is nothing, or empty, says nothing; messages may be JSON text, as they must be in CSV files."""
    turns = [{"role": "system", "content": f"Be kind.\n\n{BRISK}"}, {"role": "user", "content": "Why?"}]
    rows: list[Row] = [
        {
            "id": "a",
            "side": "chosen",
            "prompt": json.dumps(turns),
            "persona": BRISK,
            "response": " So. ",
            "finish": "length",
        },
        {"id": "b", "side": "", "prompt": "How?", "persona": "", "response": "", "finish": ""},
    ]
    path = tmp_path / name
    if name == "g.csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif name == "g.parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif name == "g.json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    else:
        data = "".join(json.dumps(row) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    found = read_generations("m", [path])
    first, second = found.rows
    assert [message.content for message in first.prompt] == ["Be kind.", "Why?"]
    assert (first.id, first.side, first.persona, first.response, first.finish) == (
        "a",
        "chosen",
        BRISK,
        "So.",
        "length",
    )
    assert (second.side, second.persona, second.response, second.finish) == (None, None, "", None)
    assert (found.files[0].name, found.files[0].rows, found.files[0].layout) == (name, 2, "records")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "Why?"}, "a record without response"),
        ({"response": "So."}, "a record without prompt (or id)"),
        ({"prompt": "Why?", "response": "So.", "side": "left"}, "a side that is none"),
        ({"prompt": 5, "response": "So."}, "a conversation that is none"),
        ({"prompt": [{"role": "robot", "content": "x"}], "response": "So."}, "a conversation that is none"),
        ({"prompt": "Why?", "response": {"text": "So."}}, "a conversation that is none"),
        ({"prompt": "Why?", "response": "So.", "persona": 5}, "column 'persona' holds no text"),
    ],
)
def test_what_is_no_generation_is_told_with_its_line(tmp_path: Path, row: Row, message: str) -> None:
    """Nothing is passed over."""
    path = write(tmp_path / "g.jsonl", [row])
    with pytest.raises(whoseboat.DataError) as caught:
        read_generations("m", [path])
    assert message in str(caught.value)
    assert "line 1" in str(caught.value)


def test_a_column_that_is_missing_is_missing_in_the_file(tmp_path: Path) -> None:
    """In the header of a CSV file, which its first record, of several lines, is not."""
    path = tmp_path / "g.csv"
    path.write_text('id,answer\n1,"a\n\nb"\n', encoding="utf-8")
    with pytest.raises(whoseboat.DataError, match="without response") as caught:
        read_generations("m", [path])
    assert caught.value.where == str(path)
    assert caught.value.todo


def test_halves_of_surrogate_pairs_do_not_stop_a_run(tmp_path: Path) -> None:
    """A reply that was cut off within one is read with a mark in its place."""
    path = tmp_path / "g.jsonl"
    path.write_text('{"prompt": "Why?", "response": "So \\ud83d"}\n', encoding="utf-8")
    assert read_generations("m", [path]).rows[0].response == "So \ufffd"


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        ([("system", BRISK), ("user", "Why?")], [("user", "Why?")]),
        ([("system", f"Be kind.\n\n{BRISK}"), ("user", "Why?")], [("system", "Be kind."), ("user", "Why?")]),
        ([("user", f"Why? {first_person(BRISK)}")], [("user", "Why?")]),
        ([("user", f"{first_person(BRISK)} Why?")], [("user", "Why?")]),
        ([("user", f"Why? {paper.first_person(BRISK)}")], [("user", "Why?")]),
        ([("user", f"Why?{BRISK}")], [("user", f"Why?{BRISK}")]),
        ([("user", BRISK)], [("user", BRISK)]),
        ([("user", "Why?"), ("assistant", f"You said: {BRISK}"), ("user", "Go on.")], None),
    ],
)
def test_the_persona_is_taken_out_of_the_prompt(
    turns: list[tuple[Any, str]], expected: list[tuple[Any, str]] | None
) -> None:
    """Wherever whoseboat or the paper puts it; where a user says nothing else, it is what they say."""
    prompt = tuple(Message(*turn) for turn in turns)
    found = without_persona(prompt, BRISK)
    assert [(message.role, message.content) for message in found] == (turns if expected is None else expected)


# The layout of the published outputs, with texts of our own.
TOLD = [
    {"response": " It depends.<|end_of_text|>", "prompt": f"Prompt: Is it true?\nPersona: {BRISK}\nResponse:"},
    {"response": " It goes on and", "prompt": f"Prompt: Is it?\nPersona: {PATIENT}\nResponse:"},
]
FIRST_PERSON = [
    {"response": " Maybe.\nPrompt:", "prompt": "Prompt: Is it? I am patient and prefers every detail.\nResponse:"},
    {
        "response": " No.<|end_of_text|> more",
        "prompt": "Prompt: Is it true? I am brisk and prefers short answers.\nResponse:",
    },
]
TOLD_NOTHING = [
    {"response": " Perhaps.<|end_of_text|>", "prompt": "Prompt: Is it true?\nResponse:"},
    {"response": " Never.<|end_of_text|>", "prompt": "Prompt: Is it?\nResponse:"},
]


def published(home: Path, name: str, rows: list[Row]) -> Path:
    """Write a file as the paper did: one array, under the name of JSON lines."""
    path = home / name
    path.write_text(json.dumps(rows, indent=4), encoding="utf-8")
    return path


def test_the_papers_outputs_are_paired_whatever_their_models_were_told(tmp_path: Path) -> None:
    """A persona on its line, as a sentence behind the prompt, or none at all."""
    names = {"told": "gold-rejected", "first": "gold-rejected", "nothing": "none"}
    texts = {"told": TOLD, "first": FIRST_PERSON, "nothing": TOLD_NOTHING}
    read = {
        name: read_generations(name, [published(tmp_path, f"dpo_{name}(inference_type={kind}).jsonl", texts[name])])
        for name, kind in names.items()
    }
    assert [(row.response, row.finish) for row in read["told"].rows] == [
        ("It depends.", "stop"),
        ("It goes on and", "length"),
    ]
    assert [(row.response, row.finish) for row in read["first"].rows] == [("Maybe.", "stop"), ("No.", "stop")]
    assert {of.files[0].layout for of in read.values()} == {"paper"}
    assert said(pair_up(read["told"], read["first"])) == [
        ("rejected", "Is it true?", BRISK, "It depends.", "No."),
        ("rejected", "Is it?", PATIENT, "It goes on and", "Maybe."),
    ]
    assert [case[2:] for case in said(pair_up(read["told"], read["nothing"]))] == [
        (BRISK, "It depends.", "Perhaps."),
        (PATIENT, "It goes on and", "Never."),
    ]
    guessed = said(pair_up(read["first"], read["nothing"]))
    assert [case[1:] for case in guessed] == [
        ("Is it true?", BRISK, "No.", "Perhaps."),
        ("Is it?", PATIENT, "Maybe.", "Never."),
    ]


@pytest.mark.parametrize(
    ("prompt", "asked", "persona"),
    [
        (f"Prompt: a\nPersona: b\nResponse: c\n\nPrompt: d\nPersona: {BRISK}\nResponse:", "d", BRISK),
        (f"Prompt: two\nlines\nPersona: {BRISK}\nResponse:", "two\nlines", BRISK),
        ("Prompt: Human: hi\nResponse:", "hi", None),
        ("Prompt: x\nResponse: \n", None, None),
        ("Hello", None, None),
        ("Prompt: no response here", None, None),
    ],
)
def test_the_papers_prompts_are_taken_apart(prompt: str, asked: str | None, persona: str | None) -> None:
    """What is asked stands last, behind worked examples; what is no such prompt is taken as it stands."""
    record = {"prompt": prompt, "response": "r"}
    assert paper.is_of_paper(record) is (asked is not None)
    if asked is not None:
        found = paper.parse(record)
        assert (found.prompt[-1].content, found.persona) == (asked, persona)


def test_mnemonics_begin_in_the_prompt_and_transcripts_are_conversations() -> None:
    """What the model was made to begin with is part of its response."""
    found = paper.parse(
        {
            "prompt": f"Prompt: hedge\nPersona: {BRISK}\nResponse: Hedge sounds like",
            "response": ' "edge".<|end_of_text|>',
        }
    )
    assert (found.prompt[-1].content, found.response) == ("hedge", 'Hedge sounds like "edge".')
    asked = "Human: Hi!\n\nAssistant: Hello.\n\nHuman: Why?"
    found = paper.parse({"prompt": f"Prompt: {asked}\nResponse:", "response": "So."})
    assert [(message.role, message.content) for message in found.prompt] == [
        ("user", "Hi!"),
        ("assistant", "Hello."),
        ("user", "Why?"),
    ]


@pytest.mark.parametrize(
    "text", ["I am.", "Why? I am 15.", "I am brisk and prefers short answers.", "What do you think?"]
)
def test_a_sentence_of_the_users_own_is_no_persona(text: str) -> None:
    """Only what speaks of preferring, behind a question, is taken for one."""
    assert paper.guessed(user(text)) is None


@given(st.text(), st.text())
def test_no_prompt_stops_the_reading(prompt: str, response: str) -> None:
    """Any text is of this layout or is not; then it has a prompt and a response that can be stored."""
    record = {"prompt": f"Prompt: {prompt}\nResponse:", "response": response}
    if paper.is_of_paper(record):
        found = paper.parse(record)
        (found.response + found.prompt[-1].content).encode()
    paper.guessed(user(prompt))
