"""The sources: what rows as published become, and what is said of rows, files and requests that do not fit."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whoseboat import hub, sources
from whoseboat.errors import DataError, UsageError
from whoseboat.records import Drop, Message, Origin, Pair, Persona, Role
from whoseboat.sources import Reading, Request, hh_rlhf, table

ORIGIN = Origin("rows.jsonl", 1)
ROLES: tuple[Role, ...] = ("user", "assistant")
# Hostile, but without a line that names a speaker.
TEXT = (
    st.one_of(
        st.text(st.characters(codec="utf-8"), max_size=60),
        st.lists(
            st.sampled_from(
                ["\n", "\n\n", "Human", "Assistant", ": ", "Human:", "\nAssistant:", "H:", "é😀", "{}", "\\n"]
            ),
            max_size=8,
        ).map("".join),
    )
    .map(str.strip)
    .filter(lambda text: not text.startswith(("Human:", "Assistant:")) and "\n\nHuman:" not in text)
    .filter(lambda text: "\n\nAssistant:" not in text)
)


def transcript(*texts: str, last: str = "Assistant") -> str:
    """Return a transcript of turns that alternate, ending with `last`."""
    speakers = ["Assistant", "Human"] if last == "Assistant" else ["Human", "Assistant"]
    turns = [(speakers[index % 2], text) for index, text in enumerate(reversed(texts))]
    return "".join(f"\n\n{speaker}: {text}" for speaker, text in reversed(turns))


def hh_row(chosen: str, rejected: str) -> dict[str, Any]:
    """Return a row as published."""
    return {"chosen": chosen, "rejected": rejected}


def hh_pair(chosen: str, rejected: str, tranche: str = "helpful-base") -> Pair:
    """Return the pair a row becomes."""
    item = hh_rlhf.to_pair(hh_row(chosen, rejected), ORIGIN, tranche)
    assert isinstance(item, Pair)
    return item


def hh_drop(chosen: object, rejected: object) -> Drop:
    """Return the drop a row becomes."""
    item = hh_rlhf.to_pair({"chosen": chosen, "rejected": rejected}, ORIGIN, "helpful-base")
    assert isinstance(item, Drop)
    assert (item.origin, item.stage) == (ORIGIN, "read")
    return item


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows as JSON lines, compressed where the name says so."""
    raw = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


def write_hh(path: Path, prompt: str = "Is it?") -> Path:
    """Write a file of one row as published."""
    return write_lines(path, [hh_row(transcript(prompt, "Yes."), transcript(prompt, "No."))])


def pairs_of(reading: Reading) -> list[Pair]:
    """Return the pairs of a reading, which has no drops."""
    items = list(reading.pairs)
    pairs = [item for item in items if isinstance(item, Pair)]
    assert len(pairs) == len(items)
    return pairs


def table_pair(record: dict[str, Any], columns: Mapping[str, str] | None = None) -> Pair | Drop:
    """Return what a record becomes when columns have their usual names."""
    usual = {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}
    return table.to_pair(record, ORIGIN, columns or usual, {})


# hh-rlhf: rows


def test_single_turn() -> None:
    """A question and two replies."""
    pair = hh_pair("\n\nHuman: Is it?\n\nAssistant: Yes.", "\n\nHuman: Is it?\n\nAssistant: No.")
    assert pair.prompt == (Message("user", "Is it?"),)
    assert (pair.chosen, pair.rejected, pair.language, pair.safety) == ("Yes.", "No.", "en", "unlabelled")


def test_multi_turn() -> None:
    """Only the last reply differs; all before it is the prompt."""
    pair = hh_pair(transcript("Hi", "Hello!", "Is it?", "Yes."), transcript("Hi", "Hello!", "Is it?", "No."))
    assert pair.prompt == (Message("user", "Hi"), Message("assistant", "Hello!"), Message("user", "Is it?"))
    assert (pair.chosen, pair.rejected) == ("Yes.", "No.")


def test_consecutive_turns_of_one_speaker_are_joined() -> None:
    """Two turns of one speaker become one, joined with a blank line."""
    before = "\n\nHuman: Hi\n\nHuman: Is it?\n\nAssistant: Hm.\n\nAssistant: What?\n\nHuman: It."
    pair = hh_pair(before + "\n\nAssistant: Yes.", before + "\n\nAssistant: No.")
    assert [message.content for message in pair.prompt] == ["Hi\n\nIs it?", "Hm.\n\nWhat?", "It."]
    assert [message.role for message in pair.prompt] == ["user", "assistant", "user"]


def test_diverging_context() -> None:
    """Transcripts that differ before the last reply are no pair."""
    drop = hh_drop(transcript("Is it?", "Yes."), transcript("Was it?", "No."))
    assert drop.reason == "diverging_context"


def test_identical_replies_are_left_to_screening() -> None:
    """Identical replies make a pair here; screening leaves it behind."""
    pair = hh_pair(transcript("Is it?", "Yes."), transcript("Is it?", "Yes."))
    assert pair.chosen == pair.rejected == "Yes."


def test_empty_reply_is_left_to_screening() -> None:
    """An empty reply is read as empty, with or without the space before it."""
    pair = hh_pair("\n\nHuman: Is it?\n\nAssistant: ", "\n\nHuman: Is it?\n\nAssistant:")
    assert pair.chosen == pair.rejected == ""


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (transcript("Is it?", "Yes.", "Why?", last="Human"), "ends with the human's turn"),
        ("Is it?", "no speaker"),
        ("", "no speaker"),
        ("So:\n\nHuman: Is it?\n\nAssistant: Yes.", "text before the first speaker"),
        (None, "expected a transcript, found NoneType"),
        (["Yes."], "expected a transcript, found list"),
    ],
)
def test_malformed(chosen: object, said: str) -> None:
    """A row that is no transcript says what is wrong with it."""
    drop = hh_drop(chosen, transcript("Is it?", "No."))
    assert drop.reason == "malformed"
    assert said in drop.detail


def test_no_prompt_is_malformed() -> None:
    """A reply to nobody is no pair."""
    assert hh_drop("\n\nAssistant: Yes.", "\n\nAssistant: No.").reason == "malformed"


def test_red_team_tranche() -> None:
    """Only pairs of the red-team tranche are marked as such."""
    texts = transcript("Is it?", "Yes."), transcript("Is it?", "No.")
    assert hh_pair(*texts, tranche="harmless-base").safety == "red-team"
    assert {hh_pair(*texts, tranche=name).safety for name in hh_rlhf.TRANCHES[:3]} == {"unlabelled"}


@given(turns=st.lists(st.tuples(st.sampled_from(ROLES), TEXT), min_size=1, max_size=6))
def test_transcripts_of_hostile_texts(turns: list[tuple[Role, str]]) -> None:
    """Whatever the texts say, short of a speaker of their own, they are read as they were written."""
    text = "".join(f"\n\n{'Human' if role == 'user' else 'Assistant'}: {content}" for role, content in turns)
    assert hh_rlhf.parse_transcript(text) == [Message(role, content) for role, content in turns]


# hh-rlhf: files


def test_tranche_of_directory(tmp_path: Path) -> None:
    """A tranche is known by its directory, and decides over the red-team mark."""
    write_hh(tmp_path / "helpful-base" / "test.jsonl.gz", "Helpful?")
    write_hh(tmp_path / "harmless-base" / "test.jsonl.gz", "Harmless?")
    pairs = pairs_of(sources.read("hh-rlhf", Request(data_dir=tmp_path)))
    assert {pair.prompt[0].content: pair.safety for pair in pairs} == {
        "Helpful?": "unlabelled",
        "Harmless?": "red-team",
    }
    assert {pair.origin.split for pair in pairs} == {"helpful-base/test", "harmless-base/test"}


def test_tranche_option(tmp_path: Path) -> None:
    """Only the tranches asked for are read; attempts at red-teaming never are."""
    for name in ("helpful-base", "helpful-online", "harmless-base", "red-team-attempts"):
        write_hh(tmp_path / name / "test.jsonl.gz", name)
    request = Request(data_dir=tmp_path, options={"tranche": "helpful-base,helpful-online"})
    pairs = pairs_of(sources.read("hh-rlhf", request))
    assert [pair.prompt[0].content for pair in pairs] == ["helpful-base", "helpful-online"]
    assert len(pairs_of(sources.read("hh-rlhf", Request(data_dir=tmp_path)))) == 3


def test_directory_of_one_tranche(tmp_path: Path) -> None:
    """The directory of one tranche is known by its own name."""
    write_hh(tmp_path / "harmless-base" / "test.jsonl.gz")
    (pair,) = pairs_of(sources.read("hh-rlhf", Request(data_dir=tmp_path / "harmless-base")))
    assert pair.safety == "red-team"


def test_file_in_an_unnamed_directory(tmp_path: Path) -> None:
    """A single file of no known tranche is refused: nobody knows whether it is a red-team file."""
    path = write_hh(tmp_path / "somewhere" / "test.jsonl.gz")
    with pytest.raises(UsageError) as caught:
        sources.read("hh-rlhf", Request(data_dir=path))
    assert "--option tranche=NAME" in str(caught.value)
    (pair,) = pairs_of(sources.read("hh-rlhf", Request(data_dir=path, options={"tranche": "harmless-base"})))
    assert pair.safety == "red-team"


@pytest.mark.parametrize(
    "name",
    [
        "harmless-base/test.jsonl.gz",
        "harmless_base/test.jsonl",
        "Harmless-Base/test.jsonl",
        "harmless-base/data/test.jsonl.gz",
        "harmless/test.jsonl",
        "harmless_base_test.jsonl",
        "helpful-base/harmless-base/test.jsonl",
        "harmless-base/helpful-base/test.jsonl",
        "hh-red-team/test.jsonl",
    ],
)
def test_red_team_file_is_never_helpful(tmp_path: Path, name: str) -> None:
    """However a red-team file is called, linked and asked for, its pairs are marked, or it is not read."""
    path = write_hh(tmp_path / "cache" / name)
    blob = tmp_path / "cache" / "blobs" / "0a1b"
    blob.parent.mkdir()
    blob.write_bytes(path.read_bytes())
    linked = tmp_path / "snapshots" / "rev" / name
    linked.parent.mkdir(parents=True)
    linked.symlink_to(blob)
    outward = tmp_path / "links" / f"test{''.join(path.suffixes)}"
    outward.parent.mkdir()
    outward.symlink_to(path)
    places = [path, path.parent, linked, linked.parent, tmp_path / "snapshots", outward, outward.parent]
    for place in places:
        (pair,) = pairs_of(sources.read("hh-rlhf", Request(data_dir=place)))
        assert pair.safety == "red-team"
        with pytest.raises(DataError):
            sources.read("hh-rlhf", Request(data_dir=place, options={"tranche": "helpful-base"}))


def test_attempts_are_never_read(tmp_path: Path) -> None:
    """The attempts at red-teaming hold no pairs, whatever tranche is asked for."""
    for name in ("red-team-attempts/x.jsonl", "red_team_attempts/data/x.jsonl", "helpful-base/red_team_attempts.jsonl"):
        path = write_hh(tmp_path / name)
        for options in ({}, {"tranche": "helpful-base"}, {"tranche": "harmless-base"}):
            for place in (path, path.parent):
                with pytest.raises(DataError):
                    sources.read("hh-rlhf", Request(data_dir=place, options=options))


def test_tranche_of_a_directory_that_names_none(tmp_path: Path) -> None:
    """The tranche asked for is taken for a directory only where no file of it names one."""
    write_hh(tmp_path / "test.jsonl", "unnamed")
    asked = Request(data_dir=tmp_path, options={"tranche": "helpful-base"})
    assert [pair.origin.split for pair in pairs_of(sources.read("hh-rlhf", asked))] == ["helpful-base/test"]
    with pytest.raises(DataError, match="no file of the tranches"):
        sources.read("hh-rlhf", Request(data_dir=tmp_path))
    write_hh(tmp_path / "helpful_base" / "data" / "test.jsonl", "named")
    assert [pair.prompt[0].content for pair in pairs_of(sources.read("hh-rlhf", asked))] == ["named"]


def test_every_tranche_asked_for_is_there(tmp_path: Path) -> None:
    """A tranche named without a file to read is an error, though another has files."""
    write_hh(tmp_path / "helpful-base" / "train.jsonl")
    write_hh(tmp_path / "helpful-online" / "test.jsonl")
    for tranche, said in (("helpful-rejection-sampled", "(helpful-base)"), ("helpful-online", "held out")):
        request = Request(data_dir=tmp_path, options={"tranche": f"helpful-base,{tranche}"})
        with pytest.raises(DataError) as caught:
            sources.read("hh-rlhf", request)
        assert f"for TRANCHE {tranche}" in str(caught.value)
        assert said in str(caught.value)


@pytest.mark.parametrize(
    ("repo", "stated", "expected"),
    [
        ("Anthropic/hh-rlhf", "mit", ("mit", "card")),
        ("Anthropic/hh-rlhf", None, ("mit", "source documentation")),
        ("org/copy", "cc-by-nc-4.0", ("cc-by-nc-4.0", "card")),
        ("org/copy", None, ("unknown", "unknown")),
        ("org/harmless-base", None, ("unknown", "unknown")),
    ],
)
def test_licence_of_hh_rlhf(
    monkeypatch: pytest.MonkeyPatch, repo: str, stated: str | None, expected: tuple[str, str]
) -> None:
    """A copy on the Hub has the licence its card states; the set's own is taken for the set alone."""
    state = hub.DatasetState(repo, "0" * 40, stated, ("helpful-base/train.jsonl.gz",))
    monkeypatch.setattr(hub, "dataset_state", lambda *_: state)
    provenance = sources.read("hh-rlhf", Request(repo=repo)).provenance
    assert (provenance.license, provenance.license_known_from) == expected
    assert ("harmless-base" in provenance.safety_rule) is ("harmless" in repo)


def test_licence_of_hh_rlhf_on_disk(tmp_path: Path) -> None:
    """Files on disk state no licence: it is that of the documentation."""
    write_hh(tmp_path / "helpful-base" / "train.jsonl")
    provenance = sources.read("hh-rlhf", Request(data_dir=tmp_path)).provenance
    assert (provenance.license, provenance.license_known_from) == ("mit", "source documentation")
    assert "no safety labels, so nothing was left out" in provenance.safety_rule


def test_no_file_of_the_tranche(tmp_path: Path) -> None:
    """A directory without the tranche asked for is refused, with what is there."""
    write_hh(tmp_path / "helpful-base" / "test.jsonl.gz")
    with pytest.raises(DataError) as caught:
        sources.read("hh-rlhf", Request(data_dir=tmp_path, options={"tranche": "helpful-online"}))
    assert "helpful-base/test.jsonl.gz" in str(caught.value)


def test_test_split_is_held_out(tmp_path: Path) -> None:
    """Where a train split is there, the test split is held out, unless it is asked for."""
    write_hh(tmp_path / "helpful-base" / "train.jsonl.gz", "train")
    write_hh(tmp_path / "helpful-base" / "test.jsonl.gz", "test")
    reading = sources.read("hh-rlhf", Request(data_dir=tmp_path))
    assert [pair.prompt[0].content for pair in pairs_of(reading)] == ["train"]
    assert reading.provenance.files == ("helpful-base/train.jsonl.gz",)
    assert reading.provenance.held_out == ("helpful-base/test.jsonl.gz",)
    assert not reading.provenance.only_test
    asked = sources.read("hh-rlhf", Request(data_dir=tmp_path, split="test"))
    assert [pair.prompt[0].content for pair in pairs_of(asked)] == ["test"]
    assert asked.provenance.held_out == ()
    assert asked.provenance.only_test


# table: rows


def test_table_of_strings() -> None:
    """Three strings make a pair."""
    pair = table_pair({"prompt": " Is it?\n", "chosen": "Yes.", "rejected": "No."})
    assert isinstance(pair, Pair)
    assert pair.prompt == (Message("user", "Is it?"),)
    assert (pair.chosen, pair.rejected) == ("Yes.", "No.")


@pytest.mark.parametrize(
    ("role", "content", "user", "assistant"),
    [("role", "content", "user", "assistant"), ("from", "value", "human", "gpt")],
)
def test_table_of_messages(role: str, content: str, user: str, assistant: str) -> None:
    """Messages are read in either spelling; a response may be one message or a list of one."""
    prompt = [{role: "system", content: "Be kind."}, {role: user, content: "Is it?"}]
    record = {
        "prompt": prompt,
        "chosen": [{role: assistant, content: "Yes."}],
        "rejected": {role: assistant, content: "No."},
    }
    pair = table_pair(record)
    assert isinstance(pair, Pair)
    assert pair.prompt == (Message("system", "Be kind."), Message("user", "Is it?"))
    assert (pair.chosen, pair.rejected) == ("Yes.", "No.")


@pytest.mark.parametrize("with_prompt", [True, False])
def test_table_of_whole_conversations(tmp_path: Path, with_prompt: bool) -> None:
    """Responses that repeat the conversation need no prompt, and do not double it."""
    asked = {"role": "user", "content": "Is it?"}
    record: dict[str, Any] = {
        side: [asked, {"role": "assistant", "content": text}]
        for side, text in (("chosen", "Yes."), ("rejected", "No."))
    }
    if with_prompt:
        record["prompt"] = "Is it?"
    path = write_lines(tmp_path / "rows.jsonl", [record])
    (pair,) = pairs_of(sources.read("table", Request(data_dir=path)))
    assert pair.prompt == (Message("user", "Is it?"),)
    assert (pair.chosen, pair.rejected) == ("Yes.", "No.")


def test_table_of_diverging_conversations() -> None:
    """Conversations that differ before the last turn are no pair."""
    record = {
        side: [{"role": "user", "content": side}, {"role": "assistant", "content": "Yes."}]
        for side in ("chosen", "rejected")
    }
    item = table_pair(record)
    assert isinstance(item, Drop)
    assert item.reason == "diverging_context"


@pytest.mark.parametrize(
    ("winner", "outcome"),
    [
        (1, "one"),
        ("A", "one"),
        ("model_a", "one"),
        (2, "two"),
        ("b", "two"),
        (" Second ", "two"),
        (2.0, "two"),
        ("1.0", "one"),
        ("response_2", "two"),
        ("y", "two"),
        (0, "malformed"),
        (True, "malformed"),
        (1.5, "malformed"),
        ("tie", "tie"),
        ("tie (bothbad)", "tie"),
        ("neither", "malformed"),
        (None, "malformed"),
    ],
)
def test_table_with_winner(winner: object, outcome: str) -> None:
    """The winner decides which response is chosen; a tie is no preference."""
    columns = {"prompt": "prompt", "first": "x", "second": "y", "winner": "label"}
    item = table_pair({"prompt": "Is it?", "x": "one", "y": "two", "label": winner}, columns)
    assert (item.reason if isinstance(item, Drop) else item.chosen) == outcome


@pytest.mark.parametrize(
    ("extra", "expected"),
    [("The sea.", "Write of this.\n\nThe sea."), ("", "Write of this."), (None, "Write of this.")],
)
def test_instruction_and_input(extra: str | None, expected: str) -> None:
    """Two columns are joined with a blank line, unless the second is empty or null."""
    columns = {"prompt": "instruction+input", "chosen": "chosen", "rejected": "rejected"}
    record = {"instruction": "Write of this.", "input": extra, "chosen": "Blue.", "rejected": "Wet."}
    pair = table_pair(record, columns)
    assert isinstance(pair, Pair)
    assert pair.prompt == (Message("user", expected),)


@pytest.mark.parametrize(("instruction", "extra"), [(None, None), (7, "The sea."), ("Write of this.", ["The sea."])])
def test_instruction_and_input_that_are_no_texts(instruction: object, extra: object) -> None:
    """Null in both columns is no prompt, and null is the one value besides texts that is taken."""
    columns = {"prompt": "instruction+input", "chosen": "chosen", "rejected": "rejected"}
    item = table_pair({"instruction": instruction, "input": extra, "chosen": "Blue.", "rejected": "Wet."}, columns)
    assert isinstance(item, Drop)
    assert item.reason == "malformed"


@pytest.mark.parametrize(
    "change",
    [
        {"chosen": None},
        {"chosen": []},
        {"chosen": [{"role": "user", "content": "Yes."}]},
        {"chosen": [{"role": "wizard", "content": "Yes."}]},
        {"prompt": [{"role": "assistant", "content": "Hello."}]},
        {"prompt": 7},
    ],
)
def test_malformed_table_rows(change: dict[str, Any]) -> None:
    """A row that is no pair is left behind as malformed."""
    item = table_pair({"prompt": "Is it?", "chosen": "Yes.", "rejected": "No.", **change})
    assert isinstance(item, Drop)
    assert item.reason == "malformed"
    assert item.detail


def test_language_and_strength() -> None:
    """Language and strength are read from their columns; the option gives the language where a row has none."""
    columns = {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected", "language": "l", "strength": "s"}
    row = {"prompt": "Is it?", "chosen": "Yes.", "rejected": "No."}
    stated = table.to_pair({**row, "l": "de", "s": "2.5"}, ORIGIN, columns, {"language": "en"})
    silent = table.to_pair({**row, "l": None, "s": ""}, ORIGIN, columns, {"language": "en"})
    wrong = table.to_pair({**row, "l": "de", "s": "strong"}, ORIGIN, columns, {"language": "en"})
    assert isinstance(stated, Pair)
    assert (stated.language, stated.strength) == ("de", 2.5)
    assert isinstance(silent, Pair)
    assert (silent.language, silent.strength) == ("en", None)
    assert isinstance(wrong, Drop)


@pytest.mark.parametrize(
    ("first", "second", "stated", "winner", "outcome"),
    [
        ("x", "y", "0/1", 0, "one"),
        ("x", "y", "0/1", 1.0, "two"),
        ("x", "y", "0/1", "response_1", "two"),
        ("x", "y", "0/1", "tie", "tie"),
        ("x", "y", "1/2", 0, "tie"),
        ("x", "y", "2/1", 2, "one"),
        ("x", "y", "L/R", "r", "two"),
        ("x", "y", "a/b", 1, "malformed"),
        ("x", "y", "1/0", True, "malformed"),
        ("response_0", "response_1", "", 0, "one"),
        ("response_0", "response_1", "", 1, "two"),
        ("response_0", "response_1", "", "response_1", "two"),
        ("response1", "response2", "", 0, "tie"),
        ("response1", "response2", "", 1, "one"),
        ("response2", "response1", "", 1, "two"),
        ("response_b", "response_a", "", "a", "two"),
        ("b", "a", "", "model_b", "one"),
    ],
)
def test_what_winners_are_called(first: str, second: str, stated: str, winner: object, outcome: str) -> None:
    """The option says what the two are called, else the names of the columns do."""
    columns = {"prompt": "prompt", "first": first, "second": second, "winner": "label"}
    record = {"prompt": "Is it?", first: "one", second: "two", "label": winner}
    item = table.to_pair(record, ORIGIN, columns, {"winner": stated})
    assert (item.reason if isinstance(item, Drop) else item.chosen) == outcome


def votes(folder: Path, winners: list[object], names: tuple[str, str] = ("x", "y"), **options: str) -> list[str]:
    """Return what the rows of a table with these winners become: the chosen response, or the reason of the drop."""
    first, second = names
    rows = [{"prompt": "Is it?", first: "one", second: "two", "label": winner} for winner in winners]
    path = write_lines(folder / "rows.jsonl", rows)
    columns = {"first": first, "second": second, "winner": "label"}
    items = sources.read("table", Request(data_dir=path, columns=columns, options=options)).pairs
    return [item.reason if isinstance(item, Drop) else item.chosen for item in items]


@pytest.mark.parametrize(
    ("names", "winners"),
    [
        (("x", "y"), [0, 1, 1, 0]),
        (("x", "y"), [1, 1]),
        (("x", "y"), [0, 1, 2]),
        (("x", "y"), [1, 2] * 800 + [0]),
        (("x", "y"), ["response_1", "response_0"]),
        (("x", "y"), [1, 2, 3, 4, 5]),
        (("x", "y"), [1.2, 1.0, 2.0]),
        (("response_0", "response_1"), [1, 2, 2]),
        (("response_0", "response_1"), [1, 1]),
        (("response1", "response2"), [0, 1, 1]),
        (("response1", "response2"), [-3, 1, 2, 0]),
    ],
)
def test_numbers_of_winners_are_never_guessed(tmp_path: Path, names: tuple[str, str], winners: list[object]) -> None:
    """Numbers that could be meant otherwise are refused with the option that says what they mean, which is taken."""
    with pytest.raises(DataError) as caught:
        votes(tmp_path, winners, names)
    assert "--option winner=0/1" in str(caught.value)
    assert len(votes(tmp_path, winners, names, winner="1/2")) == len(winners)


def test_numbers_of_winners_that_are_certain(tmp_path: Path) -> None:
    """One and two say it, and so do the numbers in the names of the columns."""
    assert votes(tmp_path, [1, 2, "tie", None]) == ["one", "two", "tie", "malformed"]
    assert votes(tmp_path, [0, 1, 1], ("response_0", "response_1")) == ["one", "two", "two"]
    assert votes(tmp_path, [0, 1, 2], ("response1", "response2")) == ["tie", "one", "two"]
    assert votes(tmp_path, [0, 1, "0.0"], winner="0/1") == ["one", "two", "one"]


@pytest.mark.parametrize("stated", ["1", "1/1", "/2", "0/1/2", "tie/1"])
def test_winner_option_that_says_nothing(tmp_path: Path, stated: str) -> None:
    """An option that names no two values is refused, and so is one without a column winner."""
    with pytest.raises(UsageError, match="'winner'"):
        votes(tmp_path, [1, 2], winner=stated)
    with pytest.raises(UsageError, match="'winner'"):
        sources.read("table", Request(data_dir=tmp_path, options={"winner": "1/2"}))


@pytest.mark.parametrize("stated", ["not a language", "english", "e", "\ud800"])
def test_language_option_that_is_no_code(tmp_path: Path, stated: str) -> None:
    """The language of all rows is held to the rule of the column."""
    path = write_lines(tmp_path / "rows.jsonl", [GOOD])
    with pytest.raises(UsageError, match="names no language"):
        sources.read("table", Request(data_dir=path, options={"language": stated}))


@pytest.mark.parametrize(
    ("stated", "code"),
    [("en_US", "en"), ("EN", "en"), ("eng", "en"), ("zho", "zh"), ("chi", "zh"), ("zh-Hant-TW", "zh"), ("yue", "yue")],
)
def test_codes_of_languages(tmp_path: Path, stated: str, code: str) -> None:
    """Codes in any spelling are those cards know, from a column, an option, or another source."""
    columns = {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected", "language": "l"}
    pair = table_pair({**GOOD, "l": stated}, columns)
    assert isinstance(pair, Pair)
    assert pair.language == code
    path = write_lines(tmp_path / "rows.jsonl", [GOOD])
    reading = sources.read("table", Request(data_dir=path, options={"language": stated}))
    assert reading.provenance.languages == (code,)
    assert pairs_of(reading)[0].language == code
    assert Pair((Message("user", "Is it?"),), "Yes.", "No.", ORIGIN, language=stated).language == code


def test_empty_prompts() -> None:
    """A prompt in which the user says nothing is dropped for that, in either source, and is no pair at all."""
    for prompt in (" \n", [{"role": "system", "content": "Be kind."}, {"role": "user", "content": ""}]):
        item = table_pair({**GOOD, "prompt": prompt})
        assert isinstance(item, Drop)
        assert item.reason == "empty_prompt"
    assert hh_drop("\n\nHuman: \n\nAssistant: Yes.", "\n\nHuman:\n\nAssistant: No.").reason == "empty_prompt"
    with pytest.raises(ValueError, match="empty"):
        Pair((Message("user", " "),), "Yes.", "No.", ORIGIN)
    assert isinstance(hh_pair(transcript("Hi", "Hello!", "", "Yes."), transcript("Hi", "Hello!", "", "No.")), Pair)


def test_parts_of_messages() -> None:
    """Texts of parts are joined; a part without text is malformed, not the word None."""
    good = {"role": "user", "content": [{"type": "text", "text": "Is "}, {"type": "text", "text": "it?"}]}
    pair = table_pair({**GOOD, "prompt": [good]})
    assert isinstance(pair, Pair)
    assert pair.prompt == (Message("user", "Is it?"),)
    for part in ({"type": "text", "text": None}, {"type": "image", "image": "x"}, "text"):
        item = table_pair({**GOOD, "prompt": [{"role": "user", "content": [good["content"][0], part]}]})
        assert isinstance(item, Drop)
        assert item.reason == "malformed"


def test_keys_that_hold_nothing_give_way() -> None:
    """A role or content of null gives way to the other spelling, as in tables joined of both."""
    message = {"role": None, "from": "human", "content": None, "value": "Is it?"}
    pair = table_pair({**GOOD, "prompt": [message]})
    assert isinstance(pair, Pair)
    assert pair.prompt == (Message("user", "Is it?"),)


@pytest.mark.parametrize("own", [True, False])
def test_system_message_beside_whole_conversations(own: bool) -> None:
    """Where responses repeat the conversation, the prompt's system message is kept if they have none."""
    turns = [{"role": "system", "content": "Be brief."}] if own else []
    turns.append({"role": "user", "content": "Is it?"})
    pair = table_pair(
        {
            "prompt": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Is it?"}],
            "chosen": [*turns, {"role": "assistant", "content": "Yes."}],
            "rejected": [*turns, {"role": "assistant", "content": "No."}],
        }
    )
    assert isinstance(pair, Pair)
    assert pair.prompt == (Message("system", "Be brief." if own else "Be kind."), Message("user", "Is it?"))


# table: safety


def safeties(reading: Reading) -> list[str]:
    """Return the safety of each pair, and the reason of each drop."""
    return [item.reason if isinstance(item, Drop) else item.safety for item in reading.pairs]


@pytest.mark.parametrize(
    ("chosen", "rejected", "expected"),
    [
        (True, True, "safe"),
        ("safe", "Unsafe", "unsafe"),
        (0, 1, "unsafe"),
        ("1.0", 1.0, "safe"),
        ("false", None, "unsafe"),
        (True, None, "red-team"),
        (None, "", "red-team"),
        ("perhaps", True, "malformed"),
    ],
)
def test_labels_of_named_columns(tmp_path: Path, chosen: object, rejected: object, expected: str) -> None:
    """Labels are read from the columns named; a pair is safe only where both responses are labelled so."""
    path = write_lines(
        tmp_path / "rows.jsonl", [{**GOOD, "c": "safe", "r": "safe"}, {**GOOD, "c": chosen, "r": rejected}]
    )
    request = Request(data_dir=path, columns={"chosen_safe": "c", "rejected_safe": "r"})
    reading = sources.read("table", request)
    assert safeties(reading) == ["safe", expected]
    assert "(c, r)" in reading.provenance.safety_rule


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_labels_of_known_columns(tmp_path: Path, suffix: str) -> None:
    """Label columns called as in known sets are read without being named, of Parquet files too."""
    rows = [
        {"prompt": "Is it?", "response_0": "Yes.", "response_1": "No.", "better_response_id": better}
        | {"is_response_0_safe": first, "is_response_1_safe": second}
        for better, first, second in ((0, True, False), (1, True, True), (1, None, True))
    ]
    path = tmp_path / f"rows.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        write_lines(path, rows)
    columns = {"first": "response_0", "second": "response_1", "winner": "better_response_id"}
    reading = sources.read("table", Request(data_dir=path, columns=columns))
    assert safeties(reading) == ["unsafe", "safe", "red-team"]
    assert "is_response_0_safe, is_response_1_safe" in reading.provenance.safety_rule
    named = {**columns, "first_safe": "is_response_0_safe", "second_safe": "is_response_1_safe"}
    assert safeties(sources.read("table", Request(data_dir=path, columns=named))) == ["unsafe", "safe", "red-team"]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"chosen_safe": True, "rejected_safe": True}, "safe"),
        ({"is_chosen_safe": True, "rejected_is_safe": False}, "unsafe"),
        ({"chosen_safe": True}, "red-team"),
        ({"is_safe": False}, "unsafe"),
        ({"is_safe": True}, "red-team"),
        ({}, "unlabelled"),
    ],
)
def test_labels_of_chosen_and_rejected(tmp_path: Path, labels: dict[str, object], expected: str) -> None:
    """One label says that a pair is unsafe, but not that it is safe."""
    path = write_lines(tmp_path / "rows.jsonl", [{**GOOD, **labels}])
    assert safeties(sources.read("table", Request(data_dir=path))) == [expected]


def test_label_of_a_response_that_is_not_named(tmp_path: Path) -> None:
    """A label of a response the columns do not name is refused."""
    with pytest.raises(UsageError, match="first_safe"):
        sources.read("table", Request(data_dir=tmp_path, columns={"first_safe": "x"}))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("mine/rows.jsonl", "unlabelled"),
        ("harmless-base/test.jsonl", "red-team"),
        ("mine/Red_Team.jsonl", "red-team"),
        ("PKU-SafeRLHF/train.jsonl", "red-team"),
        ("beaver-tails/train.jsonl", "red-team"),
        ("jailbreaks/train.jsonl", "red-team"),
        ("toxic.chat/train.jsonl", "red-team"),
        ("hh_rlhf/train.jsonl", "red-team"),
        ("hh-rlhf/helpful-base/train.jsonl", "unlabelled"),
        ("hh-rlhf/helpful-base/harmless.jsonl", "red-team"),
    ],
)
def test_wary_of_paths(tmp_path: Path, path: str, expected: str) -> None:
    """Rows without labels of a set whose path speaks of red-team prompts count as such; the card is told."""
    write_lines(tmp_path / path, [GOOD])
    for place in (tmp_path, (tmp_path / path).parent, tmp_path / path):
        reading = sources.read("table", Request(data_dir=place))
        assert safeties(reading) == [expected]
        assert ("red-team" in reading.provenance.safety_rule) is (expected == "red-team")
    write_lines(tmp_path / path, [{**GOOD, "chosen_safe": True, "rejected_safe": True}])
    assert safeties(sources.read("table", Request(data_dir=tmp_path))) == ["safe"]


def test_wary_of_names_and_links(tmp_path: Path) -> None:
    """The name given to a set speaks too, and so does the place a link leads to."""
    path = write_lines(tmp_path / "harmless" / "rows.jsonl", [GOOD])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "rows.jsonl").symlink_to(path)
    assert safeties(sources.read("table", Request(data_dir=tmp_path / "mine"))) == ["red-team"]
    path = write_lines(tmp_path / "rows.jsonl", [GOOD])
    assert safeties(sources.read("table", Request(data_dir=path, name="Jailbreak prompts"))) == ["red-team"]
    assert safeties(sources.read("table", Request(data_dir=path))) == ["unlabelled"]


@pytest.mark.parametrize(
    ("repo", "subset", "labels", "expected"),
    [
        ("org/chats", None, {}, "unlabelled"),
        ("PKU-Alignment/PKU-SafeRLHF", None, {}, "red-team"),
        ("PKU-Alignment/PKU-SafeRLHF", None, {"chosen_safe": True, "rejected_safe": True}, "safe"),
        ("Anthropic/hh-rlhf", None, {}, "red-team"),
        ("Anthropic/hh-rlhf", "helpful-base", {}, "unlabelled"),
        ("org/chats", "harmless", {}, "red-team"),
    ],
)
def test_gate_of_a_dataset_on_the_hub(
    monkeypatch: pytest.MonkeyPatch, repo: str, subset: str | None, labels: dict[str, object], expected: str
) -> None:
    """The names of a dataset and of its subset speak as a path does."""
    monkeypatch.setattr(hub, "dataset_state", lambda *_: hub.DatasetState(repo, "0" * 40, None, ()))
    monkeypatch.setattr(table, "_hub_rows", lambda *_: ("train", [], [{**GOOD, **labels}]))
    reading = sources.read("table", Request(repo=repo, subset=subset))
    assert safeties(reading) == [expected]
    assert ("so nothing was left out" in reading.provenance.safety_rule) is (expected == "unlabelled")


# table: files

GOOD = {"prompt": "Is it?", "chosen": "Yes.", "rejected": "No."}
BAD = {"prompt": "Is it?", "chosen": None, "rejected": "No."}


def test_table_of_csv(tmp_path: Path) -> None:
    """A CSV file is read, with the line of each pair."""
    path = tmp_path / "rows.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(GOOD))
        writer.writeheader()
        writer.writerow(GOOD)
    (pair,) = pairs_of(sources.read("table", Request(data_dir=path)))
    assert (pair.chosen, pair.rejected) == ("Yes.", "No.")
    assert pair.origin == Origin("rows.csv", 2, "rows", 0)


def test_table_of_parquet(tmp_path: Path) -> None:
    """A Parquet file is read, its nested messages included."""
    row = {**GOOD, "prompt": [{"role": "user", "content": "Is it?"}], "other": 1}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "rows.parquet")
    (pair,) = pairs_of(sources.read("table", Request(data_dir=tmp_path, options={"language": "en"})))
    assert pair.prompt == (Message("user", "Is it?"),)
    assert pair.language == "en"


def test_missing_column(tmp_path: Path) -> None:
    """A missing column is named, with the columns expected and found."""
    path = write_lines(tmp_path / "rows.jsonl", [{"question": "Is it?", "chosen": "Yes.", "rejected": "No."}])
    with pytest.raises(DataError) as caught:
        list(sources.read("table", Request(data_dir=path)).pairs)
    text = str(caught.value)
    assert "no column 'prompt'" in text
    assert "expected: the columns prompt, chosen, rejected" in text
    assert "found: question, chosen, rejected" in text
    (pair,) = pairs_of(sources.read("table", Request(data_dir=path, columns={"prompt": "question"})))
    assert pair.chosen == "Yes."


def test_missing_column_is_of_the_header(tmp_path: Path) -> None:
    """The first record of a CSV file may end many lines on: the column is missing in the file."""
    path = tmp_path / "pairs.csv"
    path.write_text('question,chosen,rejected\n"a\n\n\nb",Yes.,No.\n', encoding="utf-8")
    with pytest.raises(DataError, match="no column 'prompt'") as caught:
        list(sources.read("table", Request(data_dir=path)).pairs)
    assert caught.value.where == str(path)


@pytest.mark.parametrize("number", [1, 100, 150])
def test_nothing_fits(tmp_path: Path, number: int) -> None:
    """Where no row is a pair, the source does not fit the file."""
    path = write_lines(tmp_path / "rows.jsonl", [BAD] * number)
    with pytest.raises(DataError) as caught:
        list(sources.read("table", Request(data_dir=path)).pairs)
    assert f"first {min(number, 100)} rows" in str(caught.value)
    assert "line 1" in str(caught.value)


def test_one_malformed_row_among_good_ones(tmp_path: Path) -> None:
    """One malformed row is left behind with its line; the others go on."""
    path = write_lines(tmp_path / "rows.jsonl", [GOOD, BAD, GOOD])
    items = list(sources.read("table", Request(data_dir=path)).pairs)
    assert [type(item) for item in items] == [Pair, Drop, Pair]
    assert items[1].origin.line == 2


def test_first_row_malformed(tmp_path: Path) -> None:
    """A malformed row at the start is left behind like any other."""
    path = write_lines(tmp_path / "rows.jsonl", [BAD, GOOD])
    items = list(sources.read("table", Request(data_dir=path)).pairs)
    assert [type(item) for item in items] == [Drop, Pair]


def test_table_holds_out_test(tmp_path: Path) -> None:
    """A table with a train file holds its test file out."""
    for name in ("train", "test"):
        write_lines(tmp_path / f"{name}.jsonl", [{**GOOD, "prompt": name}])
    reading = sources.read("table", Request(data_dir=tmp_path))
    assert [pair.prompt[0].content for pair in pairs_of(reading)] == ["train"]
    assert reading.provenance.held_out == ("test.jsonl",)
    with pytest.raises(DataError, match="no file of split 'validation'"):
        sources.read("table", Request(data_dir=tmp_path, split="validation"))


@pytest.mark.parametrize(
    ("split", "files"),
    [
        ("dev", ["dev.jsonl"]),
        ("validation", ["dev.jsonl", "val-2.jsonl"]),
        ("VAL", ["val-2.jsonl"]),
        ("valid", ["dev.jsonl", "val-2.jsonl"]),
        ("train_prefs", ["data/train-prefs.jsonl"]),
        ("Train", ["data/train-prefs.jsonl", "data/train-sft.jsonl"]),
        ("filtered", ["filtered.jsonl"]),
        ("train_gen", []),
        ("filter", []),
    ],
)
def test_split_asked_for(tmp_path: Path, split: str, files: list[str]) -> None:
    """A split is asked for by any of its spellings, or by words of the file's name."""
    for name in ("dev", "val-2", "data/train-prefs", "data/train-sft", "filtered", "test"):
        write_lines(tmp_path / f"{name}.jsonl", [GOOD])
    if not files:
        with pytest.raises(DataError, match="no file of split"):
            sources.read("table", Request(data_dir=tmp_path, split=split))
        return
    assert sorted(sources.read("table", Request(data_dir=tmp_path, split=split)).provenance.files) == files


def test_files_of_one_stem_are_told_apart(tmp_path: Path) -> None:
    """A part and a row in it name one record, whatever the files are called."""
    for name in ("x.jsonl", "x.csv", "x.csv.jsonl", "y.jsonl"):
        write_lines(tmp_path / name, [GOOD])
    (tmp_path / "x.csv").write_text("prompt,chosen,rejected\nIs it?,Yes.,No.\n", encoding="utf-8")
    pairs = pairs_of(sources.read("table", Request(data_dir=tmp_path)))
    assert sorted(pair.origin.split or "" for pair in pairs) == ["x.csv", "x.csv.jsonl", "x.jsonl", "y.jsonl"]
    for name in ("test.jsonl", "test.jsonl.gz"):
        write_hh(tmp_path / "hh" / "helpful-base" / name)
    pairs = pairs_of(sources.read("hh-rlhf", Request(data_dir=tmp_path / "hh")))
    assert [pair.origin.split for pair in pairs] == ["helpful-base/test.jsonl", "helpful-base/test.jsonl.gz"]


# Requests


def test_no_table() -> None:
    """A table must be somewhere."""
    with pytest.raises(UsageError, match="was told no table"):
        sources.read("table", Request())


@pytest.mark.parametrize(
    "columns", [{"first": "a", "second": "b"}, {"first": "a", "second": "b", "winner": "w", "chosen": "c"}]
)
def test_columns_that_name_no_whole_pair(columns: dict[str, str], tmp_path: Path) -> None:
    """Half of the one way and half of the other is refused."""
    with pytest.raises(UsageError, match="no whole pair"):
        sources.read("table", Request(data_dir=tmp_path, columns=columns))


def test_unknown_meaning_of_a_column(tmp_path: Path) -> None:
    """A misspelt meaning is refused, with the nearest."""
    with pytest.raises(UsageError) as caught:
        sources.read("table", Request(data_dir=tmp_path, columns={"choosen": "x"}))
    assert "did you mean 'chosen'" in str(caught.value)


def test_unknown_source() -> None:
    """A misspelt source is refused, with the nearest."""
    with pytest.raises(UsageError) as caught:
        sources.find("hh-rhlf")
    assert "'hh-rlhf'" in caught.value.todo


@pytest.mark.parametrize(
    ("options", "near"), [({"tranch": "helpful-base"}, "'tranche'"), ({"tranche": "helpful-bas"}, "'helpful-base'")]
)
def test_unknown_option(options: dict[str, str], near: str, tmp_path: Path) -> None:
    """A misspelt option, or value of one, is refused with the nearest."""
    with pytest.raises(UsageError) as caught:
        sources.read("hh-rlhf", Request(data_dir=tmp_path, options=options))
    assert near in caught.value.todo


def test_what_a_source_does_not_take(tmp_path: Path) -> None:
    """What a source has no use for is refused rather than ignored."""
    with pytest.raises(UsageError, match="takes no --data-dir"):
        sources.read("sample", Request(data_dir=tmp_path))
    with pytest.raises(UsageError, match="takes no --columns"):
        sources.read("hh-rlhf", Request(data_dir=tmp_path, columns={"prompt": "x"}))


def test_requests_that_cannot_be_right(tmp_path: Path) -> None:
    """Two places at once, or a repo that is none, are refused at once."""
    with pytest.raises(UsageError):
        Request(data_dir=tmp_path, repo="org/name")
    with pytest.raises(UsageError):
        Request(repo="name")


@pytest.mark.parametrize("name", sources.names())
def test_every_source_is_called_as_its_file(name: str) -> None:
    """Every file among the sources defines a source of its own name."""
    source = sources.find(name)
    assert source.name == name
    assert source.title
    assert source.about
    assert (Path(sources.__file__).parent / f"{name.replace('-', '_')}.py").is_file()


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("helpful-base/train.jsonl.gz", "train"),
        ("data/test-00000-of-00001.parquet", "test"),
        ("dev.csv", "validation"),
        ("val_1.json", "validation"),
        ("contest.jsonl", None),
        ("trains.jsonl", None),
    ],
)
def test_split_of(path: str, split: str | None) -> None:
    """A split is a whole word of the path."""
    assert sources.split_of(path) == split


def test_names_that_no_file_can_store(tmp_path: Path) -> None:
    """Names and details with control characters or lone surrogates stay on one line that can be stored."""
    hostile = "a\udce9\x00\x1b[1m\u2028b\nc"
    shown = "a\ufffd\ufffd\ufffd[1m\ufffdb c"
    assert Origin(hostile, 1, hostile) == Origin(shown, 1, shown)
    assert Drop(ORIGIN, "read", "malformed", hostile).detail == shown
    item = table_pair({**GOOD, "prompt": [{hostile: hostile}]})
    assert isinstance(item, Drop)
    assert shown in item.detail
    path = write_lines(tmp_path / "rows.jsonl", [{**GOOD, hostile: "Is it?"}])
    reading = sources.read("table", Request(data_dir=path, columns={"prompt": hostile}, name=hostile))
    assert reading.provenance.title == shown
    assert reading.provenance.columns["prompt"] == shown
    assert len(pairs_of(reading)) == 1


def test_persona_that_no_file_can_store() -> None:
    """A persona with a lone surrogate is refused, as a pair is."""
    for texts in (("The user is \ud800.", "model"), ("The user is calm.", "\udce9")):
        with pytest.raises(UnicodeEncodeError):
            Persona(*texts)


def test_sample() -> None:
    """The bundled sample is large and varied enough, and holds the pair of the brownies."""
    pairs = pairs_of(sources.read("sample", Request()))
    assert len(pairs) >= 80
    assert len({pair.id for pair in pairs}) == len(pairs)
    assert len({pair.origin.split for pair in pairs}) == 4
    assert any("brownies" in pair.prompt[0].content for pair in pairs)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("language", "\ud800"),
        ("language", "<b>"),
        ("language", 3),
        ("strength", 10**400),
        ("strength", "high"),
        ("strength", "NaN"),
        ("strength", float("inf")),
    ],
)
def test_table_drops_what_cannot_be_stored(column: str, value: object) -> None:
    """A language that is no code and a strength that is no number make a drop with the column named."""
    columns = {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected", column: column}
    record = {"prompt": "Why?", "chosen": "Yes.", "rejected": "No.", column: value}
    dropped = table.to_pair(record, Origin("rows.jsonl", 1), columns, {})
    assert isinstance(dropped, Drop)
    assert dropped.reason == "malformed"
    assert column in dropped.detail
    dropped.detail.encode()


def test_table_drops_a_lone_surrogate() -> None:
    """Text that no file can store makes a drop, not a crash."""
    columns = {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}
    record = {"prompt": "Why?", "chosen": "\ud800", "rejected": "No."}
    dropped = table.to_pair(record, Origin("rows.jsonl", 1), columns, {})
    assert isinstance(dropped, Drop)
    assert dropped.reason == "malformed"
    dropped.detail.encode()
