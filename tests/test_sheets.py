"""Blind sheets: what is on them, that they give nothing away, and the whole way round from a dataset to figures."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import whoseboat
from whoseboat.agreement.sheets import HEADS
from whoseboat.agreement.spreadsheets import guarded, read_cells, unguarded, write_cells
from whoseboat.metric import Bootstrap, Figure
from whoseboat.quality.checking import check
from whoseboat.quality.pairs import read_pairs

FEW = Bootstrap(draws=300)
ITEMS = 24
SHEETS = ("pairs", "quality")
Row = dict[str, str]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the dataset folder of the bundled sample."""
    folder = tmp_path_factory.mktemp("built") / "sample"
    whoseboat.build("sample", folder)
    return folder


@pytest.fixture(scope="module")
def exported(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with both sheets."""
    folder = tmp_path_factory.mktemp("exported") / "sheets"
    done = whoseboat.export_sheets(dataset, folder, items=ITEMS, seed=3)
    assert done.items == {"pairs": ITEMS, "quality": ITEMS}
    return folder


def cells(path: Path) -> list[Row]:
    """Return the rows of a file as any program reads them, with nothing taken off."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def sheet(folder: Path, kind: str) -> Path:
    """Return the path of a sheet."""
    return folder / "for_labellers" / f"{kind}_sheet.csv"


def key_of(folder: Path) -> dict[str, Row]:
    """Return the rows of the key by item."""
    return {row["item"]: row for row in cells(folder / "key.csv")}


def filled(
    source: Path, target: Path, answer: Callable[[int, Row], Mapping[str, object]], separator: str = ","
) -> Path:
    """Fill in a sheet as people do, row by row, and save it elsewhere."""
    rows = cells(source)
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=separator)
        writer.writeheader()
        writer.writerows({**row, **answer(number, row)} for number, row in enumerate(rows))
    return target


def figure(found: whoseboat.Agreement, **wanted: str) -> Figure:
    """Return the one figure that is so."""
    part = {"part": "", **wanted}
    (one,) = [one.figure for one in found.figures if all(getattr(one, name) == part[name] for name in part)]
    return one


def dataset_of(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write pairs as a dataset folder has them."""
    (folder / "pairs").mkdir(parents=True)
    table = []
    for number, row in enumerate(rows):
        turns = row.get("prompt", f"Question {number}?")
        table.append(
            {
                "id": f"id-{number}",
                "prompt": [{"role": "user", "content": turns}],
                "chosen": [{"role": "assistant", "content": row.get("chosen", "So.")}],
                "rejected": [{"role": "assistant", "content": row.get("rejected", "Or so.")}],
                "chosen_persona": row.get("persona", "The user is brisk."),
                "rejected_persona": "The user is patient.",
                "persona_engine": "contrast",
            }
        )
    pq.write_table(pa.Table.from_pylist(table), folder / "pairs" / "train-00000-of-00001.parquet")
    return folder


def test_folder_holds_what_is_handed_out_and_the_key_apart(exported: Path) -> None:
    """What people get stands in a folder of its own, without the key; the manifest owns all files."""
    names = sorted(path.relative_to(exported).as_posix() for path in exported.rglob("*") if path.is_file())
    handed_out = ["instructions.md", "pairs_sheet.csv", "quality_sheet.csv"]
    assert names == [*(f"for_labellers/{name}" for name in handed_out), "key.csv", "manifest.json"]
    manifest = json.loads((exported / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["kind"] == "sheets"
    assert sorted(manifest["files"]) == names[:-1]
    told = (exported / "for_labellers" / "instructions.md").read_text(encoding="utf-8")
    for word in ("**plausible**", "**applicable**", "**harmful**", "**overfitted**", "**choice**", "**certainty**"):
        assert word in told


def test_sheets_hold_the_texts_that_the_key_says(dataset: Path, exported: Path) -> None:
    """Each item shows the persona of its side, and the responses in the order of the key; nothing is filled in."""
    pairs = {pair.id: pair for pair in read_pairs(dataset)}
    key = key_of(exported)
    for kind in SHEETS:
        rows = cells(sheet(exported, kind))
        assert tuple(rows[0]) == HEADS["pairs" if kind == "pairs" else "quality"]
        assert len(rows) == ITEMS
        for row in rows:
            behind = key[row["item"]]
            pair = pairs[behind["id"]]
            sides = {"chosen": pair.chosen, "rejected": pair.rejected}
            personas = {"chosen": pair.chosen_persona, "rejected": pair.rejected_persona}
            assert unguarded(row["persona"]) == personas[behind["side"]]
            first = unguarded(row["response_1" if kind == "pairs" else "response"])
            assert first == sides[behind["response_1"]]
            if kind == "pairs":
                other = "rejected" if behind["response_1"] == "chosen" else "chosen"
                assert unguarded(row["response_2"]) == sides[other]
                assert row["choice"] == row["certainty"] == row["comment"] == ""
            else:
                assert behind["response_1"] == behind["side"]
                assert [row[name] for name in HEADS["quality"][-5:]] == [""] * 5


def test_sheets_give_nothing_away(exported: Path) -> None:
    """No conversation stands on both sheets or twice; sides and places are balanced, and their order is not."""
    key = list(key_of(exported).values())
    assert len({row["root"] for row in key}) == len(key) == 2 * ITEMS
    for kind in SHEETS:
        counts = Counter((row["side"], row["response_1"]) for row in key if row["kind"] == kind)
        assert set(counts.values()) == ({ITEMS // 4} if kind == "pairs" else {ITEMS // 2})
        sides = [row["side"] for row in key if row["kind"] == kind]
        assert sides not in (sorted(sides), sorted(sides, reverse=True), ["chosen", "rejected"] * (ITEMS // 2))
    public = (exported / "for_labellers" / "pairs_sheet.csv").read_text(encoding="utf-8-sig")
    for row in key:
        assert row["id"] not in public
        assert row["root"] not in public
    assert "chosen" not in public.splitlines()[0]


def test_what_is_drawn_depends_on_the_seed_alone(dataset: Path, exported: Path, tmp_path: Path) -> None:
    """The same seed gives the same bytes, another seed other items with other names."""
    whoseboat.export_sheets(dataset, tmp_path / "again", items=ITEMS, seed=3)
    whoseboat.export_sheets(dataset, tmp_path / "other", items=ITEMS, seed=4)
    for name in ("key.csv", "for_labellers/pairs_sheet.csv", "for_labellers/quality_sheet.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (exported / name).read_bytes()
    assert not key_of(exported).keys() & key_of(tmp_path / "other").keys()


def test_one_kind_has_one_sheet(dataset: Path, tmp_path: Path) -> None:
    """Of one kind alone there is one sheet, and instructions that speak of nothing else."""
    whoseboat.export_sheets(dataset, tmp_path / "out", items=5, kind="pairs")
    handed_out = tmp_path / "out" / "for_labellers"
    assert sorted(path.name for path in handed_out.iterdir()) == ["instructions.md", "pairs_sheet.csv"]
    assert "overfitted" not in (handed_out / "instructions.md").read_text(encoding="utf-8")
    assert {row["kind"] for row in cells(tmp_path / "out" / "key.csv")} == {"pairs"}


def checks(folder: Path, key: Mapping[str, Row], value: Callable[[int, Row], float | None]) -> Path:
    """Write the checks of a dataset in which a judge was asked about the pairs of a key."""
    folder.mkdir()
    rows = [
        {
            "id": row["id"],
            "split": row["split"],
            "side": row["side"],
            "check": "accuracy",
            "value": value(number, row),
            "is_bad": False,
            "detail": "",
        }
        for number, row in enumerate(row for row in key.values() if row["kind"] == "pairs")
    ]
    other = {**rows[0], "check": "shared_words", "value": 0.25}
    pq.write_table(pa.Table.from_pylist([other, *rows]), folder / "checks.parquet")
    return folder


def test_pairs_the_whole_way_round(exported: Path, tmp_path: Path) -> None:
    """Two labellers and a judge: accuracy against the truth, of the judge against people, and by certainty, by hand."""
    key = key_of(exported)

    def place(row: Row, is_right: bool) -> str:
        behind = key[row["item"]]
        return "1" if (behind["side"] == behind["response_1"]) == is_right else "2"

    # Ann errs on the first 4 of 24, and is unsure there; Bo errs on the first 2, and ties on the next 4.
    ann = filled(
        sheet(exported, "pairs"),
        tmp_path / "ann.csv",
        lambda number, row: {"choice": place(row, number >= 4), "certainty": "unsure" if number < 4 else "certain"},
    )
    bo = filled(
        sheet(exported, "pairs"),
        tmp_path / "bo.csv",
        lambda number, row: {"choice": "tie" if 2 <= number < 6 else place(row, number >= 6)},
        separator=";",
    )
    # The judge errs on the first, ties on the second, was not read on the last.
    judged = checks(tmp_path / "judged", key, lambda number, _: {0: 0.0, 1: 0.5, ITEMS - 1: None}.get(number, 1.0))
    found = whoseboat.agree([ann, bo], key=exported / "key.csv", against=judged, bootstrap=FEW)

    def value(of: str, who: str, measure: str = "accuracy", part: str = "") -> tuple[float | None, int, int]:
        one = figure(found, of=of, who=who, measure=measure, part=part)
        return one.value, one.n, one.missing

    truth, judge = "people against the truth", "judge against people"
    assert value(truth, "ann") == (20 / 24, 24, 0)
    assert value(truth, "bo") == (18 / 24, 24, 0)
    assert value(truth, "bo", "accuracy where both decide") == (18 / 20, 20, 0)
    assert value(truth, "each label") == (38 / 48, 48, 0)
    assert value(truth, "ann", part="certainty: certain") == (1.0, 20, 0)
    assert value(truth, "ann", part="certainty: unsure") == (0.0, 4, 0)
    # Both say the same on the first 2 (wrong) and the last 18 (right); there is no majority of the other 4.
    assert value(truth, "majority") == (18 / 20, 20, 0)
    assert value("judge against the truth", "") == (21 / 23, 23, 1)
    # The judge and Ann: both wrong on the first; a tie against wrong; right against wrong twice; the rest is right.
    assert value(judge, "ann") == (20 / 23, 23, 1)
    assert value(judge, "ann", "accuracy where both decide") == (20 / 22, 22, 1)
    assert value(judge, "ann", "Cohen's kappa")[1:] == (23, 1)
    side = [value(truth, "ann", part=f"side: {name}")[1] for name in ("chosen", "rejected")]
    assert side == [12, 12]
    met = next(one for one in found.confusions if (one.of, one.who) == (judge, "ann"))
    assert met.labels == ("chosen", "rejected", "tie")
    assert sum(map(sum, met.counts)) == 23
    assert sum(met.counts[2]) == 1
    alpha = figure(found, of="people among themselves", measure="Krippendorff's alpha")
    assert (alpha.n, alpha.clusters) == (24, 24)
    assert "no verdict of the judge could be read for 1 of 24 pairs" in found.problems


def test_checks_as_they_are_made_are_read(dataset: Path, exported: Path, tmp_path: Path) -> None:
    """A dataset checked by the offline reader: one who is always right agrees with it as often as it is right."""
    checked = shutil.copytree(dataset, tmp_path / "checked")
    check(checked, judge="contrast-reader")
    key = key_of(exported)

    def right(_: int, row: Row) -> Row:
        behind = key[row["item"]]
        return {"choice": "1" if behind["side"] == behind["response_1"] else "2"}

    path = filled(sheet(exported, "pairs"), tmp_path / "ann.csv", right)
    found = whoseboat.agree(path, key=exported / "key.csv", against=checked, bootstrap=FEW)
    judge, people = (
        figure(found, of=of, measure="accuracy") for of in ("judge against the truth", "judge against people")
    )
    assert judge == people
    assert judge.n == ITEMS
    assert judge.value is not None
    assert judge.value > 0.5
    assert figure(found, of="people against the truth", measure="accuracy").value == 1.0


def test_who_always_takes_the_first_is_at_chance(exported: Path, tmp_path: Path) -> None:
    """One who always marks 1 is right in exactly half, and agrees with a right judge by chance alone."""
    sheet_ = filled(sheet(exported, "pairs"), tmp_path / "lazy.csv", lambda *_: {"choice": "1"})
    judged = checks(tmp_path / "judged", key_of(exported), lambda *_: 1.0)
    found = whoseboat.agree(sheet_, key=exported / "key.csv", against=judged, bootstrap=FEW)
    accuracy = figure(found, of="people against the truth", measure="accuracy")
    assert accuracy.value == 0.5
    assert figure(found, of="judge against people", measure="Cohen's kappa").value == 0.0


def test_quality_the_whole_way_round(exported: Path, tmp_path: Path) -> None:
    """Means of each scale, of all and of each side as the key has it."""
    key = key_of(exported)
    path = filled(
        sheet(exported, "quality"),
        tmp_path / "ann.csv",
        lambda _, row: {
            "plausible": 5 if key[row["item"]]["side"] == "chosen" else 3,
            "applicable": 4,
            "harmful": 1,
            "overfitted": 2,
        },
    )
    found = whoseboat.agree(path, key=exported / "key.csv", bootstrap=FEW)
    parts = {one.part: (one.figure.value, one.figure.n) for one in found.figures if one.of == "plausible"}
    assert parts == {"": (4.0, 24), "side: chosen": (5.0, 12), "side: rejected": (3.0, 12)}


def test_key_of_another_export_is_refused(dataset: Path, exported: Path, tmp_path: Path) -> None:
    """Items the key does not know are told with their row, and so is what is no key, and a judge of another set."""
    whoseboat.export_sheets(dataset, tmp_path / "other", items=5, seed=9)
    path = filled(sheet(exported, "pairs"), tmp_path / "ann.csv", lambda *_: {"choice": "1"})
    with pytest.raises(whoseboat.UsageError, match="an item the key does not know"):
        whoseboat.agree(path, key=tmp_path / "other" / "key.csv")
    with pytest.raises(whoseboat.DataError, match="not a key of ours"):
        whoseboat.agree(path, key=path)
    judged = checks(tmp_path / "judged", key_of(exported), lambda *_: 1.0)
    with pytest.raises(whoseboat.UsageError, match="without the key"):
        whoseboat.agree(path, against=judged)
    elsewhere = checks(tmp_path / "elsewhere", key_of(tmp_path / "other"), lambda *_: 1.0)
    with pytest.raises(whoseboat.DataError, match="no verdict on any of the items"):
        whoseboat.agree(path, key=exported / "key.csv", against=elsewhere)


def test_a_key_or_sheet_that_is_not_there_is_called_by_its_name(exported: Path, tmp_path: Path) -> None:
    """Which of the two is wrong, and that a folder is one."""
    path = filled(sheet(exported, "pairs"), tmp_path / "ann.csv", lambda *_: {"choice": "1"})
    wrong: list[tuple[Path, Path, str, str]] = [
        (path, tmp_path / "nope.csv", "no such file", "check the path of the key"),
        (tmp_path / "nope.csv", exported / "key.csv", "no such file", "check the path of the sheet"),
        (exported, exported / "key.csv", "a folder where a sheet was expected", "name the sheet in it"),
        (path, exported, "a folder where a key was expected", "name the key in it"),
    ]
    for sheets, key, what, todo in wrong:
        with pytest.raises(whoseboat.DataError, match=what) as error:
            whoseboat.agree(sheets, key=key)
        assert todo in error.value.todo


def test_checks_without_a_judge_are_told(exported: Path, tmp_path: Path) -> None:
    """Checks that asked no judge have nothing to compare with."""
    path = filled(sheet(exported, "pairs"), tmp_path / "ann.csv", lambda *_: {"choice": "1"})
    judged = checks(tmp_path / "judged", key_of(exported), lambda *_: 1.0)
    table = pq.read_table(judged / "checks.parquet").slice(0, 1)
    pq.write_table(table, judged / "checks.parquet")
    with pytest.raises(whoseboat.DataError, match="no judge was asked"):
        whoseboat.agree(path, key=exported / "key.csv", against=judged)


def test_filled_sheets_are_never_replaced(dataset: Path, tmp_path: Path) -> None:
    """Sheets as they were written are replaced when asked; one that somebody filled in is not, whatever is asked."""
    out = tmp_path / "out"
    whoseboat.export_sheets(dataset, out, items=5)
    with pytest.raises(whoseboat.OutputError, match="there already"):
        whoseboat.export_sheets(dataset, out, items=6)
    whoseboat.export_sheets(dataset, out, items=6, overwrite=True)
    filled(sheet(out, "pairs"), sheet(out, "pairs"), lambda *_: {"choice": "1"})
    before = sheet(out, "pairs").read_bytes()
    with pytest.raises(whoseboat.OutputError, match="filled in"):
        whoseboat.export_sheets(dataset, out, items=7, overwrite=True)
    assert sheet(out, "pairs").read_bytes() == before


def test_too_few_conversations_are_told(dataset: Path, tmp_path: Path) -> None:
    """Each conversation is on one sheet, once: with too few nothing is written, and how many would do is said."""
    with pytest.raises(whoseboat.UsageError) as error:
        whoseboat.export_sheets(dataset, tmp_path / "out", items=60)
    assert error.value.found == "96"
    assert error.value.todo == "--export 48, or less"
    wrong: dict[str, Any]
    for wrong in ({"items": 0}, {"items": 3, "kind": "both of them"}):
        with pytest.raises(whoseboat.UsageError):
            whoseboat.export_sheets(dataset, tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()


def test_one_item_per_conversation_and_what_no_sheet_can_hold(tmp_path: Path) -> None:
    """Of pairs with one first turn one is drawn; same responses and texts beyond a cell are left out, and counted."""
    rows: list[dict[str, str]] = [
        {"prompt": "The same  question?" if number % 2 else "the same question?"} for number in range(8)
    ]
    rows += [{"prompt": "Another?"}, {"chosen": "Twin.", "rejected": "Twin. "}, {"chosen": "long " * 10_000}]
    folder = dataset_of(tmp_path / "set", rows)
    done = whoseboat.export_sheets(folder, tmp_path / "out", items=2, kind="pairs")
    assert len(cells(sheet(tmp_path / "out", "pairs"))) == 2
    assert sorted(done.left_out.values()) == [1, 1]
    with pytest.raises(whoseboat.UsageError):
        whoseboat.export_sheets(folder, tmp_path / "more", items=3, kind="pairs")


def test_pairs_are_drawn_where_a_judge_was_asked(dataset: Path, exported: Path, tmp_path: Path) -> None:
    """Of a dataset whose judge was asked about a part, that part is drawn from; quality takes all of it."""
    folder = shutil.copytree(dataset, tmp_path / "set")
    judged = checks(tmp_path / "judged", key_of(exported), lambda *_: 1.0)
    shutil.copy(judged / "checks.parquet", folder)
    done = whoseboat.export_sheets(folder, tmp_path / "out", items=ITEMS, kind="pairs", seed=8)
    wanted = {row["id"] for row in key_of(exported).values() if row["kind"] == "pairs"}
    assert {row["id"] for row in key_of(tmp_path / "out").values()} == wanted
    assert done.left_out == {"the judge was not asked about": 96 - ITEMS}
    with pytest.raises(whoseboat.UsageError) as error:
        whoseboat.export_sheets(folder, tmp_path / "more", items=ITEMS + 1, kind="pairs")
    assert "the judge was not asked about" in error.value.found
    whoseboat.export_sheets(folder, tmp_path / "quality", items=ITEMS + 1, kind="quality")


RED_TEAM = "are of red-team material, or have a response labelled unsafe"


def red_team_set(home: Path, *, helpful: int = 4, include_unsafe: bool = False) -> Path:
    """Build a set with pairs of a tranche that was written to draw out harm, beside others."""
    for tranche, count in (("harmless-base", 6), ("helpful-base", helpful)):
        if not count:
            continue
        (home / "data" / tranche).mkdir(parents=True)
        starts = [f"\n\nHuman: {tranche} {number}?\n\nAssistant: " for number in range(count)]
        rows = [json.dumps({"chosen": f"{start}I would rather not.", "rejected": f"{start}Sure!"}) for start in starts]
        (home / "data" / tranche / "train.jsonl").write_text("\n".join(rows), encoding="utf-8")
    whoseboat.build("hh-rlhf", home / "set", data_dir=home / "data", include_unsafe=include_unsafe)
    return home / "set"


def test_red_team_material_is_for_those_who_chose_it(tmp_path: Path) -> None:
    """What the safety gate kept out of tailoring is on no sheet; where asked for, the instructions begin with it."""
    folder = red_team_set(tmp_path)
    done = whoseboat.export_sheets(folder, tmp_path / "safe", items=4, kind="pairs")
    assert done.left_out == {RED_TEAM: 6}
    assert done.unsafe == 0
    prompts = {row["prompt"] for row in cells(sheet(tmp_path / "safe", "pairs"))}
    assert prompts == {f"helpful-base {number}?" for number in range(4)}
    told = (tmp_path / "safe" / "for_labellers" / "instructions.md").read_text(encoding="utf-8")
    assert "red-team" not in told
    with pytest.raises(whoseboat.UsageError) as error:
        whoseboat.export_sheets(folder, tmp_path / "more", items=5, kind="pairs")
    assert error.value.found == f"4; 6 pairs {RED_TEAM}"
    assert error.value.todo.startswith("--export 4, or less; with people who agreed")
    done = whoseboat.export_sheets(folder, tmp_path / "all", items=5, include_unsafe=True)
    assert done.left_out == {}
    assert done.unsafe == 6
    told = (tmp_path / "all" / "for_labellers" / "instructions.md").read_text(encoding="utf-8")
    assert told.index("labelled unsafe: 6 of the 10 items.") < told.index("Each row of a sheet")


def test_a_set_of_red_team_material_alone_has_no_sheet(tmp_path: Path) -> None:
    """It has no config tailoring at all: nothing is drawn, and what would be is said."""
    folder = red_team_set(tmp_path, helpful=0)
    with pytest.raises(whoseboat.UsageError, match="too few conversations") as error:
        whoseboat.export_sheets(folder, tmp_path / "out", items=1, kind="pairs")
    assert error.value.found == f"0; 6 pairs {RED_TEAM}"
    assert "--include-unsafe" in error.value.todo


def test_a_set_built_with_unsafe_responses_takes_a_choice_too(tmp_path: Path) -> None:
    """All its pairs are in tailoring, so that nothing tells which are unsafe: the instructions warn of all."""
    folder = red_team_set(tmp_path, include_unsafe=True)
    with pytest.raises(whoseboat.UsageError, match="its rows do not say which") as error:
        whoseboat.export_sheets(folder, tmp_path / "out", items=2)
    assert "--include-unsafe" in error.value.todo
    assert whoseboat.export_sheets(folder, tmp_path / "out", items=2, include_unsafe=True).unsafe is None
    told = (tmp_path / "out" / "for_labellers" / "instructions.md").read_text(encoding="utf-8")
    assert "nobody knows which of the 4 items" in told


def test_a_folder_without_a_manifest_is_told_by_its_files(tmp_path: Path) -> None:
    """Pairs that are not in its tailoring were kept out of it."""
    folder = red_team_set(tmp_path)
    (folder / "manifest.json").unlink()
    assert whoseboat.export_sheets(folder, tmp_path / "out", items=2).left_out == {RED_TEAM: 6}


def test_the_command_says_what_is_of_red_team_material(tmp_path: Path) -> None:
    """Without the flag how many pairs were left out, with it how many items are such."""
    folder = red_team_set(tmp_path)
    command = [sys.executable, "-m", "whoseboat", "agree", str(folder), "--export", "2", "--out"]
    done = subprocess.run([*command, str(tmp_path / "a")], capture_output=True, text=True, check=True)
    assert f"not drawn: 6 pairs that {RED_TEAM} (--include-unsafe draws them)" in done.stdout
    again = [*command, str(tmp_path / "b"), "--export", "5", "--include-unsafe"]
    done = subprocess.run(again, capture_output=True, text=True, check=True)
    assert "labelled unsafe: 6 of 10 items" in done.stdout
    assert "not drawn" not in done.stdout
    stray = subprocess.run([*command[:5], "--include-unsafe"], capture_output=True, text=True, check=False)
    assert stray.returncode == 2


def test_hostile_texts_are_no_formulas(tmp_path: Path) -> None:
    """Cells that spreadsheets would run are guarded, controls are shown as marks, and line ends stay within a cell."""
    texts = {"prompt": "=HYPERLINK(0)", "chosen": '@SUM(1)\r\nNext;=2,"=3"', "rejected": "\t-1\x00\u202e"}
    folder = dataset_of(tmp_path / "set", [{**texts, "persona": "+1"}])
    whoseboat.export_sheets(folder, tmp_path / "out", items=1, kind="pairs")
    content = sheet(tmp_path / "out", "pairs").read_bytes()
    assert content.startswith(b"\xef\xbb\xbf")
    (row,) = cells(sheet(tmp_path / "out", "pairs"))
    assert row["prompt"] == "'=HYPERLINK(0)"
    assert row["persona"] == "'+1"
    assert {row["response_1"], row["response_2"]} == {'\'@SUM(1)\nNext;=2,"=3"', "'\t-1\ufffd\ufffd"}
    ((_, record),) = read_cells(sheet(tmp_path / "out", "pairs"))
    assert record["prompt"] == "=HYPERLINK(0)"


@given(st.text())
def test_guards_come_off_again(text: str) -> None:
    """Whatever a text is, its cell is no formula and reads back as it was."""
    cell = guarded(text)
    assert unguarded(cell) == text
    assert cell[:1] not in tuple("=+-@\t\r\uff1d\uff0b\uff0d\uff20")


@given(st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"])), st.text("=+-@'\"\n\r\t;,ab"))))
def test_cells_read_back(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]) -> None:
    """Any text goes through a file unchanged."""
    path = tmp_path_factory.mktemp("cells") / "cells.csv"
    write_cells(path, ("one", "two"), rows)
    found = [(record["one"], record["two"]) for _, record in read_cells(path)]
    assert found == rows


def test_command_writes_sheets(dataset: Path, tmp_path: Path) -> None:
    """The command says what to hand out and what to keep, and a filled sheet goes back in with the key."""
    command = [sys.executable, "-m", "whoseboat", "agree"]
    options = ["--export", "6", "--out", str(tmp_path / "out"), "--kind", "pairs", "--seed", "2"]
    done = subprocess.run([*command, str(dataset), *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "pairs_sheet.csv (6 items)" in done.stdout
    assert "keep it from those who fill in the sheets" in done.stdout
    path = filled(sheet(tmp_path / "out", "pairs"), tmp_path / "ann.csv", lambda *_: {"choice": "tie"})
    arguments = [str(path), "--key", str(tmp_path / "out" / "key.csv")]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "people against the truth" in done.stdout
    assert "none: no pair is decided" in done.stdout
