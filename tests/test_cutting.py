"""The source of a run is cut once for all its tasks, by files and by conversations, and the set is the same."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import test_source_prism as prism
from datasets import load_dataset
from source_rows import real_files, write
from test_scale import Record, by_tasks, check_same, command, pairs, wanted
from test_source_ultrafeedback import binarized

import whoseboat
from whoseboat import sources
from whoseboat.errors import DataError, OutputError, WhoseboatError
from whoseboat.manifest import read_manifest
from whoseboat.records import Pair
from whoseboat.scale import cutting
from whoseboat.scale.plan import Plan, plan_of
from whoseboat.scale.running import finish, run_task
from whoseboat.scale.shared import Shared
from whoseboat.sources import Request
from whoseboat.tasks import task_of

BAD: Record = {"prompt": 7, "chosen": "a", "rejected": "b", "lang": None, "score": None}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Write the pairs into five files of unlike sizes and formats; prompts and duplicates are in several of them."""
    rows, folder = pairs(), tmp_path / "in"
    for name, part in {
        "a.jsonl": rows[:3],
        "b.jsonl.gz": rows[3:20],
        "c.json": rows[20:21],
        "d.jsonl.xz": rows[21:40],
        "e.jsonl": rows[40:],
    }.items():
        write(folder / name, *part)
    return folder


def begun(tmp_path: Path, source: Path, tasks: int = 3, **more: Any) -> Plan:  # noqa: ANN401 - keywords of Wanted
    """Begin a run, without doing anything of it."""
    plan = plan_of("table", str(tmp_path / "shared"), tasks, tasks, None, None, wanted(source, **more))
    Shared(plan.shared).begin(plan.told)
    return plan


def spoilt(source: Path) -> None:
    """Spoil every file of the source but its first record: who reads on fails."""
    for path in source.iterdir():
        if path.name != "a.jsonl":
            path.write_bytes(b"spoilt")


@pytest.mark.parametrize("at_once", [1, 3_000, 8_000_000])
def test_however_much_is_written_at_once(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """Pairs keep their order."""
    monkeypatch.setattr(cutting, "_BYTES_AT_ONCE", at_once)
    whole = list(sources.read("table", Request(source, columns=wanted(source)["columns"])).pairs)
    plan = begun(tmp_path, source)
    found = list(cutting.task(plan, 1).pairs or ())
    assert 5 < len(found) < len(whole)
    assert found == [item for item in whole if task_of(item, 3) == 1]


@pytest.mark.parametrize("tasks", [2, 3, 8])
@pytest.mark.parametrize(
    "more", [{}, {"drop_flagged": True}, {"limit": 17, "seed": 3}], ids=["all", "flagged", "drawn"]
)
def test_the_same_set(tmp_path: Path, source: Path, tasks: int, more: Record) -> None:
    """Duplicates and prompts that several files share meet; rows, drops, figures, digest and card are the same."""
    plain = whoseboat.build("table", tmp_path / "plain", **wanted(source, **more))
    assert {"duplicate", "malformed"} <= plain.manifest.dropped.keys()
    check_same(plain.path, by_tasks(tmp_path / "joined", tasks, **wanted(source, **more)))


def test_every_file_is_read_once(tmp_path: Path, source: Path) -> None:
    """What the first task came to nobody was at, it cut; the others need the files no more. At the end it is gone."""
    plain = whoseboat.build("table", tmp_path / "plain", **wanted(source))
    plan = begun(tmp_path, source)
    run_task(plan, 1)
    cut = tmp_path / "shared" / "cut"
    assert sorted(path.stem for path in cut.glob("*.jsonl")) == ["00000", "00001", "00002"]
    spoilt(source)
    run_task(plan, 0)
    run_task(plan, 2)
    finish(plan, tmp_path / "out")
    check_same(plain.path, tmp_path / "out")
    assert not cut.exists()


def test_caps_count_across_files(tmp_path: Path) -> None:
    """A cap of pairs of one prompt, which stand in several files, drops the same ones."""
    rows = [binarized(f"Why is bread {number % 3}?", score_chosen=7 + number / 10) for number in range(24)]
    for number, row in enumerate(rows):
        row["chosen"] = [row["chosen"][0], {"role": "assistant", "content": f"Answer {number}."}]
    for number in range(4):
        write(tmp_path / "in" / f"train-{number:05d}-of-00004.parquet", *rows[number::4])
    given: Record = {"data_dir": tmp_path / "in", "options": {"cap": "3"}}
    plain = whoseboat.build("ultrafeedback", tmp_path / "plain", **given)
    assert plain.manifest.dropped == {"over_cap": 15}
    check_same(plain.path, by_tasks(tmp_path / "joined", 3, "ultrafeedback", **given))
    assert not (tmp_path / "joined-shared" / "cut").exists()


def test_caps_by_user_count_across_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So does one of a user's pairs of one prompt, with what users said of themselves."""
    monkeypatch.setenv("WHOSEBOAT_PSEUDONYM_KEY", "a key for tests")
    rows = [
        prism.row(
            prism.said(0, f"Is rain {question % 3} good?"),
            *(prism.reply(0, f"Reply {n} of {question}.", 90 - n, n == 0, n) for n in range(5)),
            user=f"user{question % 2}",
        )
        for question in range(12)
    ]
    folder = prism.write(tmp_path / "in", rows[:5], [{**prism.SURVEY, "user_id": f"user{user}"} for user in range(2)])
    write(folder / "conversations" / "0001.jsonl", *rows[5:])
    (folder / "conversations.jsonl").rename(folder / "conversations" / "0000.jsonl")
    given: Record = {"data_dir": folder, "options": {"cap": "3"}}
    by_file = sources.read("prism", Request(folder, options={"cap": "3"})).by_file
    assert by_file is not None
    assert len(by_file.files) == 2
    plain = whoseboat.build("prism", tmp_path / "plain", **given)
    assert plain.manifest.dropped["over_cap"] > 5
    check_same(plain.path, by_tasks(tmp_path / "joined", 4, "prism", **given))


def test_real_files(tmp_path: Path) -> None:
    """HH-RLHF as published is cut by its files."""
    given: Record = {"data_dir": real_files("hh-rlhf"), "include_unsafe": True}
    by_file = sources.read("hh-rlhf", Request(given["data_dir"])).by_file
    assert by_file is not None
    assert len(by_file.files) > 2
    plain = whoseboat.build("hh-rlhf", tmp_path / "plain", **given)
    check_same(plain.path, by_tasks(tmp_path / "joined", 3, "hh-rlhf", **given))


def test_records_that_need_one_another_are_read_whole(tmp_path: Path) -> None:
    """What the numbers of a winner mean is told by the first rows of all files; a random subset is of all pairs."""
    rows = [
        {
            "prompt": f"Boat {number}?",
            "output_1": f"Yes {number}.",
            "output_2": f"No {number}.",
            "winner": number % 2 + 1,
        }
        for number in range(8)
    ]
    write(tmp_path / "in" / "a.jsonl", rows[0])
    write(tmp_path / "in" / "b.jsonl", *rows[1:])
    columns = {"prompt": "prompt", "first": "output_1", "second": "output_2", "winner": "winner"}
    given: Record = {"data_dir": tmp_path / "in", "columns": columns}
    assert sources.read("table", Request(given["data_dir"], columns=columns)).by_file is None
    plain = whoseboat.build("table", tmp_path / "plain", **given)
    check_same(plain.path, by_tasks(tmp_path / "joined", 3, **given))


def test_a_process_that_is_killed_leaves_its_share_to_others(tmp_path: Path, source: Path) -> None:
    """Who is at a share is waited for; when it is killed, another cuts the share, and what it left half is not used."""
    plain = whoseboat.build("table", tmp_path / "plain", **wanted(source))
    plan = begun(tmp_path, source)
    cut = tmp_path / "shared" / "cut"
    cut.mkdir()
    for name in ("00001.0badc0de.part", "00001.jsonl"):  # by who was killed in the middle, and before the last step
        (cut / name).write_bytes(b"half a li")
    holds = (
        "import fcntl, os, sys, time; file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT);"
        "fcntl.lockf(file, fcntl.LOCK_EX); print('held', flush=True); time.sleep(600)"
    )
    holder = subprocess.Popen([sys.executable, "-c", holds, str(cut / "00001.lock")], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    working = threading.Thread(target=run_task, args=(plan, 0))
    working.start()
    until = time.monotonic() + 60
    while not all((cut / name).is_file() for name in ("00000.json", "00002.json")):
        assert time.monotonic() < until
        time.sleep(0.01)
    time.sleep(0.5)
    assert working.is_alive()  # it waits
    assert not (cut / "00001.json").exists()
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    working.join(60)
    assert (cut / "00001.json").is_file()
    assert not list(cut.glob("*.part"))
    for rank in (1, 2):
        run_task(plan, rank)
    finish(plan, tmp_path / "out")
    check_same(plain.path, tmp_path / "out")


def test_several_processes_share_the_cutting(tmp_path: Path, source: Path) -> None:
    """Workers of the command cut what others do not, and leave nothing behind."""
    plain = whoseboat.build("table", tmp_path / "plain", data_dir=source, max_characters=1000)
    line = ["table", "--data-dir", source, "--out", tmp_path / "out", "--max-characters", 1000]
    done = command(*line, "--tasks", 4, "--workers", 2)
    assert done.returncode == 0, done.stderr
    check_same(plain.path, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"in", "plain", "out"}


def test_where_there_are_no_locks_each_task_reads_all(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a disk that was mounted without them nobody could know who is at a share; the set is the same."""

    def refused(_: int, __: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    plain = whoseboat.build("table", tmp_path / "plain", **wanted(source))
    plan = begun(tmp_path, source)
    monkeypatch.setattr(fcntl, "lockf", refused)
    for rank in range(3):
        assert cutting.task(plan, rank).pairs is None
        run_task(plan, rank)
    assert not (tmp_path / "shared" / "cut").exists()
    finish(plan, tmp_path / "out")
    check_same(plain.path, tmp_path / "out")


@pytest.mark.parametrize("harm", ["cut off", "longer", "gone", "no index", "not ours", "no line of ours"])
def test_what_was_cut_is_damaged(tmp_path: Path, source: Path, harm: str) -> None:
    """It is said which file, and what to remove; then the run goes on."""
    plan = begun(tmp_path, source)
    run_task(plan, 0)
    cut = tmp_path / "shared" / "cut"
    path = cut / "00001.jsonl"
    content = path.read_bytes()
    if harm == "gone":
        path.unlink()
    elif harm in ("no index", "not ours"):
        path.with_suffix(".json").write_text("[" if harm == "no index" else "[]", encoding="utf-8")
    else:
        path.write_bytes({"cut off": content[:-5], "longer": content + b"\n"}.get(harm, b"x" * len(content)))
    with pytest.raises(DataError, match="cut of the source is not as it was written") as caught:
        run_task(plan, 1)
    assert caught.value.where == str(path)
    assert str(cut) in caught.value.todo
    shutil.rmtree(cut)
    for rank in (1, 2):
        run_task(plan, rank)
    finish(plan, tmp_path / "out")
    assert read_manifest(tmp_path / "out")["data_digest"] == plan_digest(tmp_path, source)


def plan_digest(tmp_path: Path, source: Path) -> str:
    """Return the digest of the set built in one piece."""
    return whoseboat.build("table", tmp_path / "plain", **wanted(source)).manifest.data_digest


def test_a_damaged_file_of_the_source_is_told(tmp_path: Path, source: Path) -> None:
    """Every task fails with what is wrong with it, and nothing half-cut stays."""
    plan = begun(tmp_path, source)
    (source / "d.jsonl.xz").write_bytes(b"spoilt")
    for rank in range(3):
        with pytest.raises(WhoseboatError, match=r"d\.jsonl\.xz"):
            run_task(plan, rank)
    assert not list((tmp_path / "shared" / "cut").glob("*.part"))
    assert not (tmp_path / "shared" / "parts").exists()


@pytest.mark.parametrize("first", [100, 60], ids=["in the first file", "in two files"])
def test_rows_that_are_no_pairs_at_all(tmp_path: Path, first: int) -> None:
    """A hundred malformed rows at the beginning are the fault of the command, as in a build of one piece."""
    write(tmp_path / "in" / "a.jsonl", *(BAD for _ in range(first)))
    write(tmp_path / "in" / "b.jsonl", *(BAD for _ in range(100 - first)), *pairs())
    plan = begun(tmp_path, tmp_path / "in", tasks=2)
    for rank in range(2):
        with pytest.raises(DataError, match="none of the first 100 rows is a preference pair"):
            run_task(plan, rank)


def test_nothing_but_rows_that_are_no_pairs(tmp_path: Path) -> None:
    """Fewer than a hundred, in files of which none has a pair, are told as well: with the place of the first."""
    for name in ("a.jsonl", "b.jsonl"):
        write(tmp_path / "in" / name, BAD, BAD)
    plan = begun(tmp_path, tmp_path / "in", tasks=2)
    with pytest.raises(DataError, match="none of the first 4 rows is a preference pair") as caught:
        run_task(plan, 1)
    assert "a.jsonl, line 1" in caught.value.where


def test_a_later_file_may_begin_with_malformed_rows(tmp_path: Path) -> None:
    """However many they are, where pairs came before they are dropped, as in a build of one piece."""
    write(tmp_path / "in" / "a.jsonl", *pairs())
    write(tmp_path / "in" / "b.jsonl", *(BAD for _ in range(120)))
    plain = whoseboat.build("table", tmp_path / "plain", **wanted(tmp_path / "in"))
    assert plain.manifest.dropped["malformed"] >= 120
    check_same(plain.path, by_tasks(tmp_path / "joined", 2, **wanted(tmp_path / "in")))


def of_source(source: str, number: int) -> Record:
    """Make a record that a source has, unlike any of another number."""
    question = f"Why is bread number {number} round?"
    if source == "ultrafeedback":
        return binarized(question, score_chosen=7 + number / 10)
    if source == "hh-rlhf":
        begin = f"\n\nHuman: {question}\n\nAssistant:"
        return {"chosen": f"{begin} It rises, slowly and warm.", "rejected": f"{begin} It is {number}."}
    return {"prompt": question, "chosen": "It rises, slowly and warm.", "rejected": f"It is {number}."}


@pytest.mark.parametrize("source", ["table", "ultrafeedback", "hh-rlhf"])
def test_files_of_one_name_keep_their_names_apart(tmp_path: Path, source: str) -> None:
    """Splits of the source are named by all its files, not by those of a share."""
    folder = tmp_path / "in" / "helpful-base"
    write(folder / "train.jsonl", *(of_source(source, number) for number in range(5)))
    write(folder / "train.jsonl.gz", *(of_source(source, number) for number in range(5, 10)))
    plain = whoseboat.build(source, tmp_path / "plain", data_dir=tmp_path / "in")
    assert len(plain.manifest.source_splits) == 2
    check_same(plain.path, by_tasks(tmp_path / "joined", 2, source, data_dir=tmp_path / "in"))


def test_a_table_of_personas_is_held_against_all_files(tmp_path: Path, source: Path) -> None:
    """Each task sees the whole source then, so that no persona is one of no pair."""
    given = wanted(source)
    first = next(iter(load_dataset(str(whoseboat.build("table", tmp_path / "all", **given).path), split="train")))
    brought = write(
        tmp_path / "personas.jsonl",
        {
            "id": first["id"],
            "chosen_persona": "The user is busy and prefers brief answers.",
            "rejected_persona": "The user is curious and prefers long answers.",
        },
    )
    plain = whoseboat.build("table", tmp_path / "plain", personas=brought, **given)
    assert sum(plain.manifest.rows["pairs"].values()) == 1
    check_same(plain.path, by_tasks(tmp_path / "joined", 3, personas=brought, **given))


def test_a_first_file_without_a_pair(tmp_path: Path) -> None:
    """Where the pairs follow in another one, it is none."""
    write(tmp_path / "in" / "a.jsonl", BAD)
    write(tmp_path / "in" / "b.jsonl", *pairs())
    plain = whoseboat.build("table", tmp_path / "plain", **wanted(tmp_path / "in"))
    check_same(plain.path, by_tasks(tmp_path / "joined", 2, **wanted(tmp_path / "in")))


@pytest.mark.parametrize(
    ("number", "todo"), [(errno.ENOSPC, "free some room"), (errno.EACCES, "can be written")], ids=["full", "no right"]
)
def test_what_is_cut_cannot_be_written(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, number: int, todo: str
) -> None:
    """It is said what to do, by what was wrong; nothing half-cut stays."""
    plan = begun(tmp_path, source)

    def refused(_: object) -> bytes:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(cutting, "to_line", refused)
    with pytest.raises(OutputError, match="cannot be cut") as caught:
        run_task(plan, 0)
    assert os.strerror(number) in caught.value.found
    assert todo in caught.value.todo
    assert not list((tmp_path / "shared" / "cut").glob("*.part"))


def test_the_time_of_cutting_is_told(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts in the seconds of the set, once, for whoever did it."""
    plan = begun(tmp_path, source)
    seconds = iter(range(0, 100_000, 100))  # a clock that goes on by 100 seconds whenever it is asked
    monkeypatch.setattr(time, "monotonic", lambda: next(seconds))
    task = cutting.task(plan, 0)
    assert task.seconds == 300  # three shares
    assert cutting.task(plan, 1).seconds == 0
    monkeypatch.undo()
    built = whoseboat.build("table", tmp_path / "part", task=task, **wanted(source))
    assert 300 < built.manifest.seconds < 400


def test_killed_before_the_end_of_the_end(tmp_path: Path, source: Path) -> None:
    """What was cut is gone at last, also where the set was whole when the process was killed."""
    plan = begun(tmp_path, source)
    for rank in range(3):
        run_task(plan, rank)
    cut = tmp_path / "shared" / "cut"
    shutil.copytree(cut, tmp_path / "kept")
    finish(plan, tmp_path / "out")
    shutil.copytree(tmp_path / "kept", cut)
    finish(plan, tmp_path / "out")
    assert not cut.exists()


def test_shares_are_neighbours() -> None:
    """Every file is in one share, in the order of all, and no share is empty."""
    for files in range(1, 9):
        for tasks in range(1, 12):
            names = [f"{number}" for number in range(files)]
            shares = cutting._shares(names, tasks)
            assert [name for share in shares for name in share] == names
            assert all(shares)
            assert len(shares) == min(files, tasks)


def test_sources_that_are_cut_by_files() -> None:
    """All but those that group rows of several places, or look at labels of all rows first."""
    whole = {source.name for source in sources.known() if not source.by_record}
    assert whole == {"beavertails", "safe-rlhf", "sample", "hh-rlhf", "table"}  # the last two say it themselves
    assert {source.name for source in sources.known() if source.cap_by_user} == {
        "chatbot-arena",
        "community-alignment",
        "prism",
    }


def test_pairs_come_back_as_they_were(tmp_path: Path, source: Path) -> None:
    """What is put by for the tasks is what the source has, each pair for one of them."""
    plan = begun(tmp_path, source)
    found = [list(cutting.task(plan, rank).pairs or ()) for rank in range(3)]
    whole = list(sources.read("table", Request(source, columns=wanted(source)["columns"])).pairs)
    assert sum(map(len, found)) == len(whole)
    assert all(item in whole for of_task in found for item in of_task)
    assert min(sum(isinstance(item, Pair) for item in of_task) for of_task in found) > 0
    assert json.loads((tmp_path / "shared" / "run.json").read_text(encoding="utf-8"))["tasks"] == 3
