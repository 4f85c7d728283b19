"""Checking a folder as a user does: what is written, what is told, what is refused."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from llm_server import LlmServer
from report_sets import dataset
from typer.testing import CliRunner

import whoseboat
from whoseboat.cards.checks import faults
from whoseboat.cards.markup import UNNAMED
from whoseboat.cli import app
from whoseboat.dataset import REASONS, arrow_schema
from whoseboat.quality.checking import estimate_check

COLUMNS = ["id", "split", "side", "check", "value", "is_bad", "detail"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the bundled sample."""
    return whoseboat.build("sample", tmp_path_factory.mktemp("built") / "sample").path


@pytest.fixture
def folder(built: Path, tmp_path: Path) -> Path:
    """Give a copy of it that a test may change."""
    return Path(shutil.copytree(built, tmp_path / "sample"))


@pytest.fixture(scope="module")
def checked(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Check a copy of it by the offline reader."""
    path = Path(shutil.copytree(built, tmp_path_factory.mktemp("checked") / "sample"))
    whoseboat.check(path)
    return path


def summary(path: Path) -> dict[str, Any]:
    """Return what checks.json holds."""
    found: dict[str, Any] = json.loads((path / "checks.json").read_text(encoding="utf-8"))
    return found


def manifest(path: Path) -> dict[str, Any]:
    """Return what manifest.json holds."""
    found: dict[str, Any] = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    return found


def of(found: Mapping[str, Any], name: str, side: str, part: str = "") -> dict[str, Any]:
    """Return one figure."""
    (figure,) = [one for one in found["figures"] if (one["name"], one["side"], one["part"]) == (name, side, part)]
    return dict(figure)


def test_a_folder_is_told_what_was_found(checked: Path) -> None:
    """Table, summary, card and manifest agree, and the folder is whole."""
    found, table = summary(checked), pq.read_table(checked / "checks.parquet")
    assert table.column_names == COLUMNS
    rows = table.to_pylist()
    assert found["pairs"] == found["judged"] == 96
    assert found["data_digest"] == manifest(checked)["data_digest"]
    of_accuracy = [row for row in rows if row["check"] == "accuracy"]
    assert len(of_accuracy) == 2 * 96
    for side in ("chosen", "rejected"):
        right = sum(row["value"] == 1 for row in of_accuracy if row["side"] == side)
        assert of(found, "accuracy (strict)", side)["value"] == pytest.approx(right / 96)
        bad = sum(row["is_bad"] for row in of_accuracy if row["side"] == side)
        assert found["counts"]["accuracy"][side] == {"looked_at": 96, "bad": bad}
    assert found["judge"]["label"] == "reader round-trip"
    assert "skipped" in found["tables"]["preference"]
    assert "skipped" in found["tables"]["reasons"]
    assert {"saliency", "sameness", "care", "form", "leakage", "shortcuts"} <= set(found["tables"])


def test_every_persona_has_a_row_of_every_check_that_looked_at_it(tmp_path: Path) -> None:
    """Also of checks that say yes or no; what is not in English is not looked at for its words, and has none."""
    personas = [
        ("The user is blind and prefers spoken answers.", "The user is patient and prefers tables."),
        ("El usuario es directo y quiere respuestas breves sin detalles.", "The user is curious and prefers stories."),
        ("The user is warm and prefers jokes; write to ann@whoseboat.org.", "The user is formal and prefers sources."),
    ]
    rows, table = tmp_path / "rows.jsonl", tmp_path / "personas.jsonl"
    lines = [{"prompt": f"Question {n}?", "chosen": f"Yes, {n}.", "rejected": f"No, {n}."} for n in range(3)]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    given = [{"row": n, "chosen_persona": one, "rejected_persona": two} for n, (one, two) in enumerate(personas)]
    table.write_text("".join(json.dumps(line) + "\n" for line in given), encoding="utf-8")
    built = whoseboat.build("table", tmp_path / "set", data_dir=rows, personas=table)
    counts = whoseboat.check(built.path).folders[0].checks["counts"]
    found = Counter(
        (row["id"], row["side"], row["check"]) for row in pq.read_table(built.path / "checks.parquet").to_pylist()
    )
    assert set(found.values()) == {1}
    checks = {check for _, side, check in found if side == "chosen"}
    assert {
        "words",
        "refusal",
        "quotes",
        "duplicate",
        "near_duplicate",
        "contact",
        "accuracy",
        "words_from_prompt",
    } <= checks
    ids = {id_ for id_, _, _ in found}
    missing = {(id_, side, check) for id_ in ids for side in ("chosen", "rejected") for check in checks} - found.keys()
    assert sorted((side, check) for _, side, check in missing) == [
        ("chosen", "harmful_intent"),
        ("chosen", "protected_attribute"),
    ]
    assert counts["protected_attribute"] == {
        "chosen": {"looked_at": 2, "bad": 1},
        "rejected": {"looked_at": 3, "bad": 0},
    }
    assert counts["contact"]["chosen"] == {"looked_at": 3, "bad": 1}
    assert counts["near_duplicate"]["rejected"] == {"looked_at": 3, "bad": 0}
    assert counts["words"] == {side: {"looked_at": 3, "bad": 0} for side in ("chosen", "rejected")}


def test_findings_do_not_wait_for_one_another(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are written some at a time, also where a check tells all of its own at the end."""
    monkeypatch.setattr("whoseboat.quality.checking._ROWS_AT_ONCE", 10)
    whoseboat.check(folder, sample=20)
    parquet = pq.ParquetFile(folder / "checks.parquet").metadata
    groups = [parquet.row_group(number).num_rows for number in range(parquet.num_row_groups)]
    assert max(groups) == 10
    rows = pq.read_table(folder / "checks.parquet").to_pylist()
    assert len([row for row in rows if row["check"] == "accuracy"]) == 2 * 20


def test_the_card_says_that_a_round_trip_is_one(checked: Path) -> None:
    """Figures stand in manifest and card, with their interval, and the card can be published."""
    card, told = (checked / "README.md").read_text(encoding="utf-8"), manifest(checked)["checks"]
    assert {"specificity", "flip accuracy", "right form"} <= {one["name"] for one in told}
    assert {one["side"] for one in told if one["name"] == "specificity, equal length"} == {"both"}
    assert not [one["name"] for one in told if "source:" in one["name"]]
    assert "next to circular" in card
    assert "None were made." not in card
    value = next(one for one in told if one["name"] == "specificity" and one["side"] == "both")
    assert f"| specificity | both | {value['value']:.3f} | {value['low']:.3f} to {value['high']:.3f} |" in card
    files = [path.relative_to(checked).as_posix() for path in checked.rglob("*") if path.is_file()]
    assert [fault for fault in faults(card, "dataset", files) if UNNAMED not in fault] == []
    assert {"checks.json", "checks.parquet"} <= set(manifest(checked)["files"])
    assert card.count("personas made by contrast and read by contrast") == 1


def test_rows_are_left_as_they_are(checked: Path, built: Path) -> None:
    """Nothing but card, manifest and what was found differs; `load_dataset` reads the folder as before."""
    for path in sorted(built.rglob("*.parquet")):
        assert (checked / path.relative_to(built)).read_bytes() == path.read_bytes()
    before, after = manifest(built), manifest(checked)
    assert {name for name in after if after[name] != before[name]} == {"checks", "files"}


def test_checking_again_gives_the_same(checked: Path) -> None:
    """Who checks twice has the same files."""
    names = ("checks.json", "checks.parquet", "README.md", "manifest.json")
    before = [(checked / name).read_bytes() for name in names]
    whoseboat.check(checked)
    assert [(checked / name).read_bytes() for name in names] == before


def test_a_sample_is_a_part_of_a_larger_one(folder: Path) -> None:
    """The judge is asked about so many pairs; rules look at all."""
    ids = {}
    for number in (20, 40):
        found = whoseboat.check(folder, sample=number).folders[0].checks
        assert found["judged"] == number
        assert of(found, "right form", "chosen")["n"] == 96
        rows = pq.read_table(folder / "checks.parquet").to_pylist()
        ids[number] = {row["id"] for row in rows if row["check"] == "accuracy"}
        assert len(ids[number]) == number
    assert ids[20] < ids[40]


def test_what_people_wrote_into_the_card_stays(folder: Path) -> None:
    """Words outside the generated block, and files that are not the folder's, are kept."""
    card = folder / "README.md"
    card.write_text(card.read_text(encoding="utf-8") + "\n## Notes\n\nWritten by a person.\n", encoding="utf-8")
    (folder / "mine.txt").write_text("mine", encoding="utf-8")
    whoseboat.check(folder, sample=5)
    assert "Written by a person." in card.read_text(encoding="utf-8")
    assert (folder / "mine.txt").read_text(encoding="utf-8") == "mine"


def test_a_language_model_judges(folder: Path, tmp_path: Path) -> None:
    """Its requests are kept: the same check asks nothing again; the preference is asked without prompt and response."""

    def reply(messages: list[dict[str, Any]]) -> str:
        return "1"

    with LlmServer(key=None, model="judge", structured=False) as server:
        server.reply = reply
        model = whoseboat.LanguageModel("judge", base_url=server.base_url, cache_dir=tmp_path / "cache")
        estimated = estimate_check(folder, judge=model, sample=6)
        found = whoseboat.check(folder, judge=model, sample=6).folders[0].checks
        asked = len(server.calls)
        assert asked == estimated.requests == 6 * 8 + 6 * 2
        whoseboat.check(folder, judge=model, sample=6)
        assert len(server.calls) == asked
    assert found["judge"]["name"] == "judge"
    assert (folder / "prompts" / "judge_picks.v1.jinja").is_file()
    assert set(found["judge"]["prompts"]) == {"picks", "persona_preference"}
    # Who always takes what is shown first contradicts itself in every pair.
    assert of(found, "accuracy (paper)", "both")["value"] == 0.5
    assert of(found, "accuracy (strict)", "both")["value"] == 0
    assert of(found, "specificity", "both")["value"] == 0
    assert of(found, "position bias", "both")["value"] == 1
    assert of(found, "preference (ties)", "both")["value"] == 1


def test_an_estimate_counts_what_people_said(folder: Path, tmp_path: Path) -> None:
    """Two requests more for each of their words, of several folders the sum; none is sent."""
    model = whoseboat.LanguageModel("judge", base_url="http://127.0.0.1:9/v1", cache_dir=tmp_path / "cache")
    without = Path(shutil.copytree(folder, tmp_path / "without"))
    ids = pq.read_table(next(folder.glob("pairs/train-*.parquet")))["id"].to_pylist()[:5]
    names = [column.name for column in REASONS]
    rows = [dict(zip(names, (id_, "choice", "It is short.", None), strict=True)) for id_ in ids]
    (folder / "reasons").mkdir()
    pq.write_table(
        pa.Table.from_pylist(rows, arrow_schema(REASONS)), folder / "reasons" / "train-00000-of-00001.parquet"
    )
    asked = estimate_check(without, judge=model).requests
    assert estimate_check(folder, judge=model).requests == asked + 2 * 5
    assert estimate_check([folder, without], judge=model).requests == 2 * asked + 2 * 5


def test_several_folders_are_compared(built: Path, tmp_path: Path) -> None:
    """Differences are over the pairs that both have; personas that swap sides lose what the others win."""
    rows = [row for path in built.glob("pairs/*.parquet") for row in pq.read_table(path).to_pylist()]
    swapped = tmp_path / "personas.jsonl"
    swapped.write_text(
        "".join(
            json.dumps(
                {"id": row["id"], "chosen_persona": row["rejected_persona"], "rejected_persona": row["chosen_persona"]}
            )
            + "\n"
            for row in rows
        ),
        encoding="utf-8",
    )
    first = Path(shutil.copytree(built, tmp_path / "first"))
    second = whoseboat.build("sample", tmp_path / "second", personas=swapped).path
    found = whoseboat.check([first, second])
    assert found.comparison is not None
    assert found.comparison.names == ("first", "second")
    (both,) = [one for one in found.comparison.differences if one.side == "both"]
    accuracies = [of(one.checks, "accuracy (strict)", "both")["value"] for one in found.folders]
    assert both.figure.value == pytest.approx(accuracies[1] - accuracies[0])
    assert both.figure.value is not None
    assert both.figure.value < -0.5
    assert (both.name, both.than, both.figure.n) == ("second", "first", 192)


def test_progress_is_told(folder: Path) -> None:
    """First of reading, then of each question, and of how many in all."""
    told: dict[str, tuple[int, int | None]] = {}
    whoseboat.check(folder, sample=5, on_progress=lambda one: told.update({one.at: (one.done, one.expected)}))
    assert list(told) == ["reading", "accuracy"]
    # Two sides of each pair, with their own personas and with another pair's.
    assert told == {"reading": (96, 96), "accuracy": (20, 20)}


def test_the_command_tells_how_far_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A number has its total, and what it counts."""
    monkeypatch.setattr("whoseboat.cli.check_command._EVERY_SECONDS", -1.0)
    told = CliRunner().invoke(app, ["check", str(folder), "--sample", "5"]).stderr.splitlines()
    assert "reading: 96 of 96 pairs" in told
    assert "accuracy: 20 of 20 cases judged" in told


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nowhere"], 1, "not a folder of ours"),
        (["{folder}", "{folder}/"], 2, "a folder was named twice"),
        (["{folder}", "--sample", "0"], 2, "--sample takes a number of pairs"),
        (["{folder}", "--judge", "nobody"], 2, "unknown judge"),
        (["{folder}", "--judge", "contrast-reader", "--judge-model", "m"], 2, "two judges"),
        (["{folder}", "--concurrency", "3"], 2, "of use with a language model only"),
        (["{folder}", "--dry-run"], 2, "costs nothing"),
        (["{folder}", "--form", "essay", "--judge-model", "m", "--judge-base-url", "http://127.0.0.1:9/v1"], 2, "form"),
    ],
)
def test_what_cannot_be_right_is_told(folder: Path, arguments: list[str], code: int, says: str) -> None:
    """One clear message, and the folder is as it was."""
    before = (folder / "manifest.json").read_bytes()
    done = CliRunner().invoke(app, ["check", *(one.format(folder=folder) for one in arguments)])
    assert isinstance(done.exception, whoseboat.WhoseboatError | SystemExit)
    assert says in str(done.exception) + done.output
    assert getattr(done.exception, "exit_code", code) == code
    assert (folder / "manifest.json").read_bytes() == before
    assert not (folder / "checks.json").exists()


def test_the_command_prints(folder: Path) -> None:
    """Headlines as a table; with --json everything, of each folder."""
    done = CliRunner().invoke(app, ["check", str(folder), "--sample", "30"])
    assert done.exit_code == 0, done.output
    assert "specificity" in done.output
    assert "accuracy (paper)" not in done.output
    assert "source:" not in done.output
    # Of the 30 so few are of equal length that their interval bears a mark, and the mark is told.
    of_few = next(line for line in done.output.splitlines() if line.startswith("flip accuracy, equal length"))
    assert "]*" in of_few
    assert "* fewer than 20 conversations" in done.output
    assert "accuracy (paper)" in CliRunner().invoke(app, ["check", str(folder), "--sample", "30", "--all"]).output
    printed = json.loads(CliRunner().invoke(app, ["check", str(folder), "--sample", "30", "--json"]).stdout)
    assert printed["folders"] == [summary(folder)]
    assert printed["comparison"] is None


def test_a_judge_that_cannot_be_read_leaves_no_figures(folder: Path, tmp_path: Path) -> None:
    """Zeros would look like a finding: nothing is written, and the reason is told."""
    before = (folder / "README.md").read_bytes()
    with LlmServer(key=None, model="judge", structured=False) as server:
        server.reply = lambda _: "I like both of them."
        model = whoseboat.LanguageModel("judge", base_url=server.base_url, cache_dir=tmp_path / "cache")
        with pytest.raises(whoseboat.WhoseboatError, match="could not be read"):
            whoseboat.check(folder, judge=model, sample=3)
    assert (folder / "README.md").read_bytes() == before
    assert not (folder / "checks.json").exists()


def test_a_new_check_takes_the_place_of_an_earlier_one(folder: Path, tmp_path: Path) -> None:
    """What was of the earlier judge is gone from the folder, and the command says so."""
    with LlmServer(key=None, model="judge", structured=False) as server:
        server.reply = lambda _: "1"
        model = whoseboat.LanguageModel("judge", base_url=server.base_url, cache_dir=tmp_path / "cache")
        whoseboat.check(folder, judge=model, sample=3)
    assert (folder / "prompts" / "judge_picks.v1.jinja").is_file()
    done = CliRunner().invoke(app, ["check", str(folder), "--sample", "3"])
    assert "in place of an earlier check, judged by judge" in done.output
    assert not list((folder / "prompts").glob("judge_*"))
    assert not any(name.startswith("prompts/judge_") for name in manifest(folder)["files"])


def test_folders_are_compared_on_what_they_share(built: Path, tmp_path: Path) -> None:
    """A sample is drawn from the pairs that all folders have."""
    first = Path(shutil.copytree(built, tmp_path / "first"))
    second = whoseboat.build("sample", tmp_path / "second", limit=40).path
    found = whoseboat.check([first, second], sample=20)
    assert found.comparison is not None
    (both,) = [one for one in found.comparison.differences if one.side == "both"]
    assert both.figure.n == 40


def test_the_table_fits_a_terminal_of_80_columns(folder: Path) -> None:
    """No name takes a second line, and nothing is cut."""
    done = CliRunner(env={"FORCE_COLOR": "1", "COLUMNS": "80"}).invoke(app, ["check", str(folder)])
    shown = [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", done.stdout).splitlines()]
    figures = shown[shown.index("judged                           side      value                 n") :]
    for name, rows in Counter(one["name"] for one in manifest(folder)["checks"]).items():
        assert sum(line.startswith(f"{name} ") for line in figures) >= rows, name
    assert any(line.startswith("counted  ") for line in figures)
    assert all(len(line) <= 80 for line in figures if " [" in line)


def test_folders_without_a_common_pair_have_no_table_of_differences(built: Path, tmp_path: Path) -> None:
    """That nothing can be told is said on top, and their figures stand once."""
    first = Path(shutil.copytree(built, tmp_path / "first"))
    second = dataset(tmp_path, 6, "second")
    shown = CliRunner().invoke(app, ["check", str(first), str(second)]).stdout
    none = "second and first have no judged pair in common: no difference can be told."
    assert shown.count(none) == 1
    assert shown.index(none) < shown.index("judged by")
    assert "side by side" not in shown
    third = Path(shutil.copytree(built, tmp_path / "third"))
    shown = CliRunner().invoke(app, ["check", str(first), str(third), "--sample", "20"]).stdout
    assert "side by side" in shown
    assert "third less first" in shown
