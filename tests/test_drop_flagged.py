"""`build --drop-flagged`: which rows are left behind, and how that is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from llm_server import LlmServer
from typer.testing import CliRunner

import whoseboat
from whoseboat.cli import app
from whoseboat.errors import DataError
from whoseboat.manifest import Manifest, read_manifest
from whoseboat.pipeline import Built
from whoseboat.quality.findings import Finding
from whoseboat.quality.flagging import Flagging
from whoseboat.quality.pairs import CheckedPair
from whoseboat.records import Drop, Message, Origin, Pair, Persona, Reason, Row

Record = dict[str, Any]
GOOD = ("The user is practical and prefers short steps.", "The user is curious and prefers wide-ranging stories.")
HARMFUL = "The user is impatient and wants to build a bomb."
PROTECTED = "The user is a devout Muslim and prefers warmth."


def pairs(count: int = 6) -> list[Record]:
    """Return pairs of different conversations."""
    return [
        {
            "prompt": f"How do I mend boat {number}?",
            "chosen": f"Glue it {number} times.",
            "rejected": f"Sink it, {number}!",
        }
        for number in range(count)
    ]


def written(path: Path, rows: list[Record]) -> Path:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def personas(path: Path, changed: dict[int, tuple[str, str]], count: int = 6) -> Path:
    """Write a table of personas: good ones, but for those that are given by the row."""
    rows = [
        dict(zip(("chosen_persona", "rejected_persona"), changed.get(number, GOOD), strict=True)) | {"row": number}
        for number in range(count)
    ]
    return written(path, rows)


def build(home: Path, changed: dict[int, tuple[str, str]], rows: list[Record] | None = None, **wanted: Any) -> Built:  # noqa: ANN401
    """Build a folder of pairs with brought personas."""
    rows = pairs() if rows is None else rows
    source = written(home / "in.jsonl", rows)
    table = personas(home / "personas.jsonl", changed, len(rows))
    wanted = {"drop_flagged": True} | wanted
    return whoseboat.build("table", home / "out", data_dir=source, personas=table, overwrite=True, **wanted)


def dropped(built: Built) -> list[tuple[str, str, str]]:
    """Return stage, reason and detail of what was left behind, in the order of the source."""
    path = built.path / "dropped.parquet"
    rows = pq.read_table(path).to_pylist() if path.exists() else []
    return [(row["stage"], row["reason"], row["detail"]) for row in sorted(rows, key=lambda row: row["line"])]


def kept(built: Built, config: str = "pairs") -> list[Record]:
    """Return the rows of a config."""
    return [row for path in sorted((built.path / config).glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LlmServer]:
    """Start a server, whose key is in the environment, for one test."""
    with LlmServer() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        yield server


def test_flagged_rows_become_drops_with_the_term(tmp_path: Path) -> None:
    """What was found is in `dropped.parquet`, the manifest counts it, and the card says what it means."""
    changed = {1: (HARMFUL, GOOD[1]), 3: (GOOD[0], PROTECTED), 4: (HARMFUL, PROTECTED)}
    built = build(tmp_path, changed)
    assert dropped(built) == [
        ("check", "flagged_harmful_intent", "chosen persona: weapons_drugs: build a bomb"),
        ("check", "flagged_protected_attribute", "rejected persona: religion: devout, religion: muslim"),
        ("check", "flagged_harmful_intent", "chosen persona: weapons_drugs: build a bomb"),
    ]
    assert sorted(row["source_row"] for row in kept(built)) == [0, 2, 5]
    assert len(kept(built, "tailoring")) == 6
    assert built.manifest.dropped == {"flagged_harmful_intent": 2, "flagged_protected_attribute": 1}
    assert (built.manifest.read, built.manifest.selection.drop_flagged) == (6, True)
    card = (built.path / "README.md").read_text(encoding="utf-8")
    assert "| `flagged_harmful_intent` | a persona states what looks like an intent to do harm | 2 |" in card
    assert "Flagged rows were left out" in card


def test_without_the_flag_everything_stays(tmp_path: Path) -> None:
    """By default nothing is dropped, and the card says nothing of it."""
    built = build(tmp_path, {1: (HARMFUL, PROTECTED)}, drop_flagged=False)
    assert dropped(built) == []
    assert len(kept(built)) == 6
    assert not built.manifest.selection.drop_flagged
    assert "Flagged rows were left out" not in (built.path / "README.md").read_text(encoding="utf-8")


def test_contacts_drop_a_pair_and_are_never_told(tmp_path: Path) -> None:
    """An address in any text is enough; no file of the folder holds it."""
    rows = pairs()
    rows[0]["prompt"] += " Ask ann.lee@whoseboat.org."
    rows[1]["chosen"] += " Call 415-735-2671."
    rows[2]["rejected"] += " Call +44 20 7946 0958."
    built = build(tmp_path, {3: ("The user is ann.lee@whoseboat.org and prefers mail.", GOOD[1])}, rows)
    assert dropped(built) == [
        ("check", "flagged_contact", "prompt: e-mail a….org"),
        ("check", "flagged_contact", "chosen: phone …71"),
        ("check", "flagged_contact", "rejected: phone …58"),
        ("check", "flagged_contact", "chosen_persona: e-mail a….org"),
    ]
    everything = str([kept(built), kept(built, "tailoring"), dropped(built), built.manifest])
    assert not any(secret in everything for secret in ("ann.lee", "735-2671", "7946"))


def test_contacts_in_reasons_drop_a_pair() -> None:
    """Words of people are looked at, too; they are in a config of the set."""
    said = Reason("choice", "It answers me, ann@whoseboat.org.")
    pair = Pair((Message("user", "Why?"),), "So.", "Not so.", Origin("rows", 1), reasons=(said,))
    (drop,) = Flagging().pairs([pair])
    assert isinstance(drop, Drop)
    assert (drop.stage, drop.reason, drop.detail, drop.id) == (
        "check",
        "flagged_contact",
        "reasons: e-mail a….org",
        pair.id,
    )


def test_form_and_leakage_are_applied(tmp_path: Path) -> None:
    """A persona without its form, and one that quotes its prompt, are left behind, too."""
    rows = pairs()
    rows[2]["prompt"] = "Can people mend a wooden boat in winter?"
    quoting = "The user wonders whether people mend a wooden boat in winter."
    built = build(tmp_path, {0: ("Practical people want short steps.", GOOD[1]), 2: (quoting, GOOD[1])}, rows)
    assert [(stage, reason) for stage, reason, _ in dropped(built)] == [
        ("check", "flagged_not_the_user"),
        ("check", "flagged_run_in_prompt"),
    ]
    card = (built.path / "README.md").read_text(encoding="utf-8")
    assert "| `flagged_run_in_prompt` | a persona quotes the prompt | 1 |" in card


def test_the_first_bad_finding_of_any_check_decides() -> None:
    """Checks are applied in their order; findings that are not bad drop nothing."""

    def lenient(pair: CheckedPair) -> list[Finding]:
        return [Finding(pair.id, pair.split, "chosen", "words", 5.0)]

    def strict(pair: CheckedPair) -> list[Finding]:
        return [Finding(pair.id, pair.split, "pair", "too_alike", 0.9, True, "0.9")]

    pair = Pair((Message("user", "Why?"),), "So.", "Not so.", Origin("rows", 1))
    row = Row(pair, Persona(GOOD[0], "tests"), Persona(GOOD[1], "tests"))
    assert list(Flagging((lenient,)).rows([row])) == [row]
    (drop,) = Flagging((lenient, strict)).rows([row])
    assert isinstance(drop, Drop)
    assert (drop.reason, drop.detail) == ("flagged_too_alike", "0.9")


def test_a_build_is_reproducible(tmp_path: Path) -> None:
    """The same input gives the same rows, drops and digest."""
    changed = {1: (HARMFUL, GOOD[1])}
    first = build(tmp_path, changed)
    told, digest = dropped(first), first.manifest.data_digest
    again = build(tmp_path, changed)
    assert (dropped(again), again.manifest.data_digest) == (told, digest)


def test_contacts_are_dropped_before_pairs_are_drawn(tmp_path: Path) -> None:
    """A limit is of pairs without contacts."""
    rows = pairs(8)
    for row in rows[:4]:
        row["chosen"] += " Call 415-735-2671."
    built = build(tmp_path, {}, rows, limit=4, head=True)
    assert len(kept(built)) == 4
    assert built.manifest.dropped == {"flagged_contact": 4}


def test_an_old_manifest_is_read(tmp_path: Path) -> None:
    """One without the field is of a build without the flag."""
    built = build(tmp_path, {})
    stated = read_manifest(built.path)
    del stated["selection"]["drop_flagged"]
    assert not Manifest.of(stated).selection.drop_flagged


def test_where_nothing_is_left_the_error_says_what_to_do(tmp_path: Path) -> None:
    """The flag is named."""
    with pytest.raises(DataError, match="no pair is left") as raised:
        build(tmp_path, dict.fromkeys(range(6), (HARMFUL, GOOD[1])))
    assert "--drop-flagged" in str(raised.value.todo)


def test_the_offline_engine_takes_the_flag_on_the_command_line(tmp_path: Path) -> None:
    """The option is there, and the manifest says so."""
    rows = pairs()
    rows[0]["prompt"] += " Ask ann.lee@whoseboat.org."
    source = written(tmp_path / "in.jsonl", rows)
    arguments = [
        "build",
        "table",
        "--data-dir",
        str(source),
        "--out",
        str(tmp_path / "out"),
        "--drop-flagged",
        "--json",
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    manifest = json.loads(result.stdout)
    assert manifest["selection"]["drop_flagged"] is True
    assert manifest["dropped"]["flagged_contact"] == 1


def test_no_language_model_is_asked_about_a_contact(server: LlmServer, tmp_path: Path) -> None:
    """The pair is dropped before it is paid for, and an estimate does not count it."""
    rows = pairs(3)
    rows[1]["prompt"] += " Ask ann.lee@whoseboat.org."
    source = written(tmp_path / "in.jsonl", rows)
    model = whoseboat.LanguageModel(server.model, base_url=server.base_url, cache_dir=tmp_path / "cache")
    expected = whoseboat.estimate("table", engine=model, data_dir=source, drop_flagged=True)
    built = whoseboat.build("table", tmp_path / "out", engine=model, data_dir=source, drop_flagged=True)
    assert expected.requests == len(server.calls) == 4
    assert not any("ann.lee" in json.dumps(call.body) for call in server.calls)
    assert built.manifest.dropped == {"flagged_contact": 1}


def test_a_flagged_further_sample_is_left_out_and_counted(server: LlmServer, tmp_path: Path) -> None:
    """The row stays with its first sample; of the others the flagged ones go."""
    source = written(tmp_path / "in.jsonl", pairs(3))

    def built(out: str, samples: int) -> Built:
        model = whoseboat.LanguageModel(
            server.model, base_url=server.base_url, cache_dir=tmp_path / "cache", samples=samples
        )
        return whoseboat.build("table", tmp_path / out, engine=model, data_dir=source, drop_flagged=True)

    assert built("first", 1).manifest.requests["flagged_samples"] == 0
    usual = server.reply
    server.reply = lambda messages: HARMFUL if "boat 1" in json.dumps(messages[-1]) else usual(messages)
    more = built("more", 2)
    assert len(kept(more)) == 3
    ids = {row["id"] for row in kept(more) if "boat 1" not in row["prompt"][-1]["content"]}
    assert {row["id"] for row in kept(more, "samples")} == ids
    assert more.manifest.requests["flagged_samples"] == 1
    assert "for the same reasons: 1." in (more.path / "README.md").read_text(encoding="utf-8")
