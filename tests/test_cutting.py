"""The source of a run is cut once for all its tasks, by files and by conversations, and the set is the same."""

from __future__ import annotations

import json
import multiprocessing
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
    found = list(cutting.pairs_of_task(plan, 1) or ())
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
    assert {path.name for path in cut.iterdir() if path.is_dir()} == {"00000", "00001", "00002"}
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
    (cut / "00001.7.part").mkdir(parents=True)
    (cut / "00001.7.part" / "00000.jsonl").write_bytes(b"half a li")
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
    while not all((cut / name / "sizes.json").is_file() for name in ("00000", "00002")):
        assert time.monotonic() < until
        time.sleep(0.01)
    time.sleep(0.5)
    assert working.is_alive()  # it waits
    assert not (cut / "00001").exists()
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    working.join(60)
    assert (cut / "00001" / "sizes.json").is_file()
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


def test_where_there_are_no_locks_two_may_cut_the_same(tmp_path: Path, source: Path) -> None:
    """The one that comes second finds the share of the first, and both tasks have their pairs."""
    plan = begun(tmp_path, source, tasks=2)
    by_file = cutting._by_file(plan)
    assert by_file is not None
    target = tmp_path / "shared" / "cut" / "00000"
    target.parent.mkdir()
    shares = cutting._shares(by_file.files, 2)
    cutting._cut(plan, by_file, shares[0], target)
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.apply(_cut_again, (plan, target))
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before
    assert [path.name for path in target.parent.iterdir()] == ["00000"]


def _cut_again(plan: Plan, target: Path) -> None:
    by_file = cutting._by_file(plan)
    assert by_file is not None
    cutting._cut(plan, by_file, cutting._shares(by_file.files, 2)[0], target)


@pytest.mark.parametrize("harm", ["cut off", "gone", "no sizes", "no line of ours"])
def test_what_was_cut_is_damaged(tmp_path: Path, source: Path, harm: str) -> None:
    """It is said which file, and what to remove; then the run goes on."""
    plan = begun(tmp_path, source)
    run_task(plan, 0)
    cut = tmp_path / "shared" / "cut"
    path = max(cut.glob("*/00001.jsonl"), key=lambda path: path.stat().st_size)
    content = path.read_bytes()
    if harm == "gone":
        path.unlink()
    elif harm == "no sizes":
        (path.parent / "sizes.json").write_text("[", encoding="utf-8")
    else:
        path.write_bytes(content[:-5] if harm == "cut off" else b"x" * len(content))
    with pytest.raises(DataError, match="cut of the source is not as it was written") as caught:
        run_task(plan, 1)
    assert path.parent.name in str(caught.value)
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


def test_rows_that_are_no_pairs_at_all(tmp_path: Path) -> None:
    """A hundred malformed rows at the beginning are the fault of the command, as in a build of one piece."""
    bad = [BAD for _ in range(100)]
    write(tmp_path / "in" / "a.jsonl", *bad)
    write(tmp_path / "in" / "b.jsonl", *pairs())
    plan = begun(tmp_path, tmp_path / "in")
    with pytest.raises(DataError, match="none of the first 100 rows is a preference pair"):
        run_task(plan, 0)


def test_a_first_file_without_a_pair(tmp_path: Path) -> None:
    """Where the pairs follow in another one, it is none."""
    write(tmp_path / "in" / "a.jsonl", BAD)
    write(tmp_path / "in" / "b.jsonl", *pairs())
    plain = whoseboat.build("table", tmp_path / "plain", **wanted(tmp_path / "in"))
    check_same(plain.path, by_tasks(tmp_path / "joined", 2, **wanted(tmp_path / "in")))


def test_a_disk_that_is_full(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said how much room it takes."""
    plan = begun(tmp_path, source)

    def full(_: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cutting, "to_line", full)
    with pytest.raises(OutputError, match="cannot be cut") as caught:
        run_task(plan, 0)
    assert "No space left" in caught.value.found
    assert not list((tmp_path / "shared" / "cut").glob("*.part"))


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
    found = [list(cutting.pairs_of_task(plan, rank) or ()) for rank in range(3)]
    whole = list(sources.read("table", Request(source, columns=wanted(source)["columns"])).pairs)
    assert sum(map(len, found)) == len(whole)
    assert all(item in whole for of_task in found for item in of_task)
    assert min(sum(isinstance(item, Pair) for item in of_task) for of_task in found) > 0
    assert json.loads((tmp_path / "shared" / "run.json").read_text(encoding="utf-8"))["tasks"] == 3
