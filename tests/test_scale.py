"""A build in tasks: the same set as of one piece, whatever the number of tasks, and clear words where it goes wrong."""

from __future__ import annotations

import inspect
import json
import os
import pickle
import pkgutil
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import pyarrow.parquet as pq
import pytest
import test_source_prism as prism
from hypothesis import given
from hypothesis import strategies as st
from llm_server import LlmServer
from loopback_hub import LoopbackHub
from typer.testing import CliRunner

import whoseboat
from whoseboat import sources
from whoseboat.cli import app
from whoseboat.errors import DataError, OutputError, UsageError, WhoseboatError
from whoseboat.llm.settings import LanguageModel
from whoseboat.manifest import read_manifest
from whoseboat.records import Drop, Message, Origin, Pair
from whoseboat.scale import executors
from whoseboat.scale.plan import Plan, plan_of
from whoseboat.scale.running import build_in_tasks, finish, run_task
from whoseboat.scale.shared import Shared
from whoseboat.tasks import Task, of_task

pytest.importorskip("datatrove")

from datatrove.data import Document
from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep

from whoseboat.scale.steps import PersonaInference

Record = dict[str, Any]
# What no two builds have in common, or only builds of as many tasks.
OF_ITS_OWN = {"built_at", "seconds", "sizes", "files"}
SECRETS = ["hf_" + "Q7w8E9r0T1y2U3i4O5p6A7s8D9f0G1h2", "hf_" + "Z7x8C9v0B1n2M3a4S5d6F7g8H9j0K1l2"]


def pairs(count: int = 40) -> list[Record]:
    """Return pairs with what a build leaves behind, and what meets others: prompts in common, duplicates, secrets."""
    rows: list[Record] = [
        {
            "prompt": f"How do I mend boat {number // 2}?" if number % 3 else f"how do i  MEND boat {number // 2}?",
            "chosen": f"Glue it {number} times, then let it dry in the shade." + " Be patient." * (number % 5),
            "rejected": f"Sink it, {number}! It is old anyway.",
            "lang": ["en", "de", None][number % 3],
            "score": number / 4,
        }
        for number in range(count)
    ]
    rows += [rows[4], {**rows[5], "chosen": rows[5]["rejected"], "rejected": rows[5]["chosen"]}]
    rows += [{**rows[0], "prompt": f"What is {secret} for?"} for secret in SECRETS]
    rows += [{**rows[0], "chosen": " "}, {**rows[1], "chosen": "same", "rejected": "same"}, {"prompt": 7}]
    rows += [
        {**rows[2], "chosen": "word " * 500 + "end"},
        {**rows[3], "chosen": "Write to ann.lee@mail.org, she knows."},
    ]
    return rows


def written(path: Path, rows: list[Record]) -> Path:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Write the pairs."""
    return written(tmp_path / "in.jsonl", pairs())


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LlmServer]:
    """Start a server, whose key is in the environment, for one test."""
    with LlmServer() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        yield server


def wanted(source: Path, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return which pairs are wanted."""
    columns = {"language": "lang", "strength": "score"}
    return {"data_dir": source, "columns": columns, "max_characters": 1000, **more}


def by_tasks(out: Path, tasks: int, source: str = "table", **given: Any) -> Path:  # noqa: ANN401
    """Build by tasks, one after the other, without an executor."""
    engine, personas = given.pop("engine", None), given.pop("personas", None)
    shared = out.parent / f"{out.name}-shared"
    plan = plan_of(source, str(shared), tasks, tasks, engine, personas, given)
    Shared(plan.shared).begin(plan.told)
    for rank in reversed(range(tasks)):
        run_task(plan, rank)
    finish(plan, out)
    return out


def rows_of(folder: Path) -> dict[str, Counter[str]]:
    """Return the rows of all Parquet files by config and split, whatever their order."""
    found: dict[str, Counter[str]] = {}
    for path in sorted(folder.rglob("*.parquet")):
        name = path.relative_to(folder).as_posix().partition("-")[0]
        lines = [json.dumps(row, sort_keys=True) for row in pq.read_table(path).to_pylist()]
        found.setdefault(name, Counter()).update(lines)
    return found


def told_of(folder: Path) -> Record:
    """Return what the manifest says that two builds of one set have in common; of sizes, the rows."""
    told = read_manifest(folder)
    told["requests"].pop("reused", None)  # of two pairs with the same request, one may wait for the other's answer
    rows = {config: {split: one["rows"] for split, one in of.items()} for config, of in told["sizes"].items()}
    others = {name for name in told["files"] if not re.search(r"parquet$|^README", name)}
    return {name: value for name, value in told.items() if name not in OF_ITS_OWN} | {"rows_": rows, "others": others}


def check_same(one: Path, other: Path) -> None:
    """Check that two folders are the same set: rows, drops, figures, and the card but for bytes and times."""
    expected, found = told_of(one), told_of(other)
    for name in expected:
        assert found[name] == expected[name], name
    assert list(found) == list(expected)
    assert json.dumps(found["rows"]) == json.dumps(expected["rows"])  # the order as well
    assert json.dumps(found["lengths"]) == json.dumps(expected["lengths"])
    assert rows_of(other) == rows_of(one)
    cards = [(folder / "README.md").read_text(encoding="utf-8") for folder in (one, other)]
    plain = [re.sub(r"(num_bytes|_size|Built|built|seconds).*", "", card) for card in cards]
    assert plain[0] == plain[1]
    assert {name: about["bytes"] for name, about in read_manifest(other)["files"].items()} == {
        path.relative_to(other).as_posix(): path.stat().st_size
        for path in other.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }


# ---- tasks


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=8).filter(str.strip), max_size=30), st.integers(1, 7))
def test_every_pair_is_of_one_task(texts: list[str], tasks: int) -> None:
    """Each pair and each drop is kept by exactly one task, and the pairs of one conversation by the same."""
    origins = [Origin("in.jsonl", line, None, line - 1) for line in range(1, len(texts) + 1)]
    items: list[Pair | Drop] = [
        Pair((Message("user", text),), "a", "b", origin) for text, origin in zip(texts, origins, strict=True)
    ]
    items += [Drop(origin, "read", "malformed") for origin in origins]
    kept = [list(of_task(items, Task(rank, tasks))) for rank in range(tasks)]
    assert sorted(map(repr, items)) == sorted(repr(item) for part in kept for item in part)
    homes = [{item.root for item in part if isinstance(item, Pair)} for part in kept]
    assert sum(map(len, homes)) == len(set().union(*homes))


def test_what_differs_in_secrets_case_or_white_space_alone_meets() -> None:
    """It may be a duplicate once secrets are taken out, and its split is the same."""
    texts = [f"What is  {secret} for?" for secret in SECRETS] + [f"what is {SECRETS[0]} FOR?"]
    for tasks in range(2, 20):
        homes = {
            rank
            for rank in range(tasks)
            for text in texts
            if Task(rank, tasks).keeps(Pair((Message("user", text),), "a", "b", Origin("in", 1)))
        }
        assert len(homes) == 1


@pytest.mark.parametrize(("rank", "of"), [(0, 0), (-1, 2), (2, 2)])
def test_a_task_that_is_none(rank: int, of: int) -> None:
    """It is refused."""
    with pytest.raises(UsageError, match="no such task"):
        Task(rank, of)


# ---- equality


@pytest.mark.parametrize("tasks", [1, 2, 5])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"limit": 17, "seed": 3},
        {"limit": 17, "head": True},
        {"drop_flagged": True},
        {"drop_flagged": True, "limit": 9},
        {"exclude": True},
    ],
    ids=lambda more: "-".join(more) or "all",
)
def test_the_same_set_by_any_number_of_tasks(tmp_path: Path, source: Path, tasks: int, more: Record) -> None:
    """Rows, ids, personas, splits, drops, figures, digest and card are those of one piece."""
    if "exclude" in more:
        other = written(tmp_path / "other.jsonl", pairs(8))
        more = {"exclude": [whoseboat.build("table", tmp_path / "other", data_dir=other).path]}
    plain = whoseboat.build("table", tmp_path / "plain", **wanted(source, **more))
    check_same(plain.path, by_tasks(tmp_path / "joined", tasks, **wanted(source, **more)))


@pytest.mark.parametrize("keys", ["row", "id"])
def test_personas_that_are_brought(tmp_path: Path, source: Path, keys: str) -> None:
    """They are held against all pairs, so that a task whose pairs have none is no error."""
    plain = whoseboat.build("table", tmp_path / "first", **wanted(source))
    rows = [row for path in plain.path.glob("pairs/*") for row in pq.read_table(path).to_pylist()]
    table = [
        {
            "row": row["source_row"],
            "id": row["id"],
            "chosen_persona": "The user is kind.",
            "rejected_persona": f"{row['id']}",
        }
        for row in rows
        if row["source_row"] in (3, 5)
    ]
    for row in table:
        del row["id" if keys == "row" else "row"]
    personas = written(tmp_path / "personas.jsonl", table)
    plain = whoseboat.build("table", tmp_path / "plain", personas=personas, **wanted(source))
    assert sum(plain.manifest.rows["pairs"].values()) == 2
    check_same(plain.path, by_tasks(tmp_path / "joined", 6, personas=personas, **wanted(source)))


def test_caps_by_user_reach_across_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source with a cap for each user, pseudonyms and people's own words gives the same."""
    monkeypatch.setenv("WHOSEBOAT_PSEUDONYM_KEY", "a key for tests")
    rows = [
        prism.row(
            prism.said(0, f"Is rain {question % 3} good?"),
            *(
                prism.reply(0, f"Reply {number} of {question}.", 90 - number, number == 0, number)
                for number in range(5)
            ),
            user=f"user{question % 2}",
        )
        for question in range(12)
    ]
    folder = prism.write(tmp_path / "prism", rows, [{**prism.SURVEY, "user_id": f"user{user}"} for user in range(2)])
    given: Record = {"data_dir": folder, "options": {"cap": "3"}}
    plain = whoseboat.build("prism", tmp_path / "plain", **given)
    assert plain.manifest.dropped
    assert "reasons" in plain.manifest.rows
    check_same(plain.path, by_tasks(tmp_path / "joined", 4, "prism", **given))


def test_more_tasks_than_conversations(tmp_path: Path) -> None:
    """Tasks without a row are parts like others."""
    source = written(tmp_path / "in.jsonl", pairs()[:3])
    plain = whoseboat.build("table", tmp_path / "plain", **wanted(source))
    check_same(plain.path, by_tasks(tmp_path / "joined", 12, **wanted(source)))


def test_nothing_left_in_any_task(tmp_path: Path) -> None:
    """That is an error of the whole, as in a build of one piece."""
    source = written(tmp_path / "in.jsonl", [{**row, "chosen": row["rejected"]} for row in pairs()[:6]])
    with pytest.raises(DataError, match="no pair is left") as caught:
        by_tasks(tmp_path / "joined", 3, **wanted(source))
    assert "6 identical_responses" in caught.value.found
    assert not (tmp_path / "joined").exists()


def test_a_language_model_is_asked_the_same(tmp_path: Path, source: Path, server: LlmServer) -> None:
    """Requests, tokens and cost add up to those of one piece, further samples and unusable ones included."""
    model = LanguageModel(server.model, server.base_url, samples=2, price_in=1.0, price_out=3.0)
    given = wanted(source, drop_flagged=True)
    server.fault("content_filter", "boat 7", None)
    plain = whoseboat.build("table", tmp_path / "plain", engine=replace(model, cache_dir=tmp_path / "a"), **given)
    asked = len(server.calls)
    assert plain.manifest.cost
    assert plain.manifest.requests["failed"]
    check_same(plain.path, by_tasks(tmp_path / "joined", 3, engine=model, **given))
    assert len(server.calls) == 2 * asked


def test_the_manifest_names_the_commit_that_was_read_first(tmp_path: Path, source: Path) -> None:
    """Where a run goes on, it reads the commit it began with, unless another one is named."""
    plan = plan_of("sample", str(tmp_path / "shared"), 2, 2, None, None, {})
    assert plan.told["request"]["revision"] is None
    earlier = {**plan.told, "request": {**plan.told["request"], "revision": "abc"}}
    with pytest.raises(UsageError, match="takes no --from"):  # the source has none: it was taken over
        plan_of("sample", str(tmp_path / "shared"), 2, 2, None, None, {}, earlier)
    assert plan_of("table", "s", 2, 2, None, None, wanted(source), earlier).told["request"]["revision"] is None


# ---- the local executor and the command


def command(*arguments: object, **more: Any) -> subprocess.CompletedProcess[str]:  # noqa: ANN401
    """Run the command."""
    line = [sys.executable, "-m", "whoseboat", "build", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=300, check=False, **more)


def test_the_command_with_several_workers(tmp_path: Path, source: Path) -> None:
    """The set is the same, the terminal shows tasks and no more, and nothing is left behind."""
    given: Record = {"data_dir": source, "max_characters": 1000}
    plain = whoseboat.build("table", tmp_path / "plain", **given)
    done = command(
        "table", "--data-dir", source, "--out", tmp_path / "out", "--max-characters", 1000, "--tasks", 4, "--workers", 2
    )
    assert done.returncode == 0, done.stderr
    check_same(plain.path, tmp_path / "out")
    assert re.fullmatch(r"(\d of 4 tasks done\n)+", done.stderr)
    assert done.stderr.endswith("4 of 4 tasks done\n")
    assert "written to" in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"in.jsonl", "plain", "out"}


def test_in_python_with_a_shared_folder(tmp_path: Path, source: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It stays, with the logs in it; the same call again joins no second time, and asks for an empty place."""
    seen: list[tuple[int, int]] = []
    given: Record = {"tasks": 2, "workers": 1, "shared": tmp_path / "shared", **wanted(source)}
    built = build_in_tasks("table", tmp_path / "out", on_progress=lambda *done: seen.append(done), **given)
    assert isinstance(built, whoseboat.Built)
    assert seen[0] == (0, 2)
    assert seen[-1] == (2, 2)
    assert capfd.readouterr() == ("", "")
    assert "Processing done for rank=1" in (tmp_path / "shared/logs/logs/task_00001.log").read_text(encoding="utf-8")
    before = (tmp_path / "out" / "manifest.json").stat()
    again = build_in_tasks("table", tmp_path / "out", **given)
    assert isinstance(again, whoseboat.Built)
    assert again.manifest == built.manifest
    assert (tmp_path / "out" / "manifest.json").stat() == before
    with pytest.raises(OutputError, match="holds another run"):
        build_in_tasks("table", tmp_path / "third", **{**given, "tasks": 3})
    (tmp_path / "out" / "manifest.json").write_text("{}", encoding="utf-8")
    with pytest.raises(OutputError, match="holds other files"):
        build_in_tasks("table", tmp_path / "out", **given)


def test_overwriting_keeps_what_people_wrote(tmp_path: Path, source: Path) -> None:
    """As in a build of one piece."""
    for _ in range(2):
        build_in_tasks("table", tmp_path / "out", tasks=2, workers=1, overwrite=True, **wanted(source))
        card = tmp_path / "out" / "README.md"
        if "My words." not in card.read_text(encoding="utf-8"):
            card.write_text(card.read_text(encoding="utf-8") + "\nMy words.\n", encoding="utf-8")
    assert card.read_text(encoding="utf-8").count("My words.") == 1


def test_answers_go_to_the_cache_and_no_secret_to_any_file(
    tmp_path: Path, source: Path, server: LlmServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was paid for serves later builds; the shared folder holds neither the key nor its name's value."""
    model = LanguageModel(server.model, server.base_url, cache_dir=tmp_path / "cache")
    build_in_tasks("table", tmp_path / "out", tasks=2, workers=1, engine=model, **wanted(source))
    asked = len(server.calls)
    plain = whoseboat.build("table", tmp_path / "plain", engine=model, **wanted(source))
    assert len(server.calls) == asked
    assert plain.manifest.requests["answered"] == 0
    shared = tmp_path / "shared"
    build_in_tasks("table", tmp_path / "other", tasks=2, workers=1, engine=model, shared=shared, **wanted(source))
    assert len(server.calls) == 2 * asked
    files = [path for path in shared.rglob("*") if path.is_file()]
    assert len(list((shared / "answers").rglob("*.jsonl"))) == 2
    assert not [path for path in files if (server.key or "").encode() in path.read_bytes()]


def test_shares_of_the_budget(tmp_path: Path) -> None:
    """Money and tokens by tasks, requests at once by those that run together, one at least."""
    model = LanguageModel(
        "m", "http://127.0.0.1:9/v1", max_cost=8.0, max_tokens=1001, price_in=1.0, price_out=1.0, concurrency=10
    )
    share = Plan("table", "s", 4, 3, model).engine_of_task(tmp_path)
    assert isinstance(share, LanguageModel)
    assert (share.max_cost, share.max_tokens, share.concurrency, share.cache_dir) == (2.0, 250, 3, tmp_path)
    few = Plan("table", "s", 4, 40, replace(model, concurrency=2)).engine_of_task(tmp_path)
    assert isinstance(few, LanguageModel)
    assert few.concurrency == 1


def test_the_budget_holds_for_the_run(tmp_path: Path, source: Path, server: LlmServer) -> None:
    """All tasks together stay within it, and the error says what is missing and why; the rest is done by more money."""
    model = LanguageModel(server.model, server.base_url, max_tokens=20_000, concurrency=4)
    given: Record = {"tasks": 2, "workers": 2, "shared": tmp_path / "shared", **wanted(source)}
    with pytest.raises(WhoseboatError, match="2 of 2 tasks did not come to their end") as caught:
        build_in_tasks("table", tmp_path / "out", engine=model, **given)
    assert "task 0: the budget of this run is spent" in caught.value.found
    answers = [
        json.loads(line)
        for path in (tmp_path / "shared/answers").rglob("*.jsonl")
        for line in path.read_text(encoding="utf-8").splitlines()[1:]
    ]
    spent = sum(answer["prompt_tokens"] + answer["completion_tokens"] for answer in answers)
    assert 0 < spent <= 20_000
    built = build_in_tasks("table", tmp_path / "out", engine=replace(model, max_tokens=None), **given)
    assert isinstance(built, whoseboat.Built)
    assert built.manifest.requests["reused"] >= len(answers)
    assert server.answered_more_than_once() == 0


# ---- killed in the middle


def test_killed_in_the_middle_only_what_is_missing_is_done(tmp_path: Path, source: Path, server: LlmServer) -> None:
    """After SIGKILL of the whole run, parts stay, answers are not asked again, and the digest is equal."""
    model = LanguageModel(server.model, server.base_url, cache_dir=tmp_path / "cache")
    plain = whoseboat.build("table", tmp_path / "plain", engine=model, data_dir=source)
    asked = len(server.calls)
    shared = tmp_path / "shared"
    with LlmServer(latency=0.1) as slow:
        line = [sys.executable, "-m", "whoseboat", "build", "table", "--data-dir", str(source)]
        line += ["--out", str(tmp_path / "out"), "--tasks", "4", "--workers", "2", "--shared", str(shared)]
        line += ["--model", slow.model, "--base-url", slow.base_url, "--concurrency", "4"]
        process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True, start_new_session=True)
        until = time.monotonic() + 120
        while not list(shared.glob("parts/*.json")) or len(slow.calls) < asked // 2:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < until
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
        done = {path.name: path.read_bytes() for path in shared.glob("parts/*.json")}
        assert 1 <= len(done) < 4
        assert not (tmp_path / "out").exists()
        before = len(slow.calls)
        again = subprocess.run(line, capture_output=True, text=True, timeout=300, check=False)
        assert again.returncode == 0, again.stderr
        assert again.stderr.startswith(f"{len(done)} of 4 tasks done\n")
        in_flight = 2 * 2  # the requests at once of each worker
        assert slow.answered_more_than_once() <= in_flight
        assert len(slow.calls) - before <= asked - before + 2 * in_flight
    assert {name: (shared / "parts" / name).read_bytes() for name in done} == done
    assert read_manifest(tmp_path / "out")["data_digest"] == plain.manifest.data_digest
    assert rows_of(tmp_path / "out") == rows_of(plain.path)


def test_ctrl_c_says_how_to_go_on(tmp_path: Path, source: Path, server: LlmServer) -> None:
    """One line, exit code 130, and no traceback of any process."""
    server.latency = 0.2
    line = [sys.executable, "-m", "whoseboat", "build", "table", "--data-dir", str(source), "--tasks", "2"]
    line += ["--workers", "2", "--out", str(tmp_path / "out"), "--model", server.model, "--base-url", server.base_url]
    process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True, start_new_session=True)
    until = time.monotonic() + 120
    while len(server.calls) < 10:
        assert time.monotonic() < until
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "whoseboat: interrupted" in said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()


# ---- what goes wrong


def test_what_is_wrong_with_a_task_reaches_the_user(tmp_path: Path, source: Path, server: LlmServer) -> None:
    """One message names the tasks and says the first one's error; the others go on, and the rerun does the rest."""
    server.fault("401", "boat 3?", None)
    arguments = ["table", "--data-dir", source, "--out", tmp_path / "out", "--tasks", 5, "--workers", 1]
    arguments += ["--model", server.model, "--base-url", server.base_url, "--shared", tmp_path / "shared"]
    arguments += ["--concurrency", 4]
    failed = command(*arguments)
    assert failed.returncode == 1
    said = failed.stderr[failed.stderr.index("whoseboat: ") :]
    assert re.search(r"1 of 5 tasks did not come to their end\n", said)
    assert re.search(r"found: no part of task (\d)\n    task \1: ", said)
    assert "mend that, and run the same command again" in said
    assert "Traceback" not in failed.stderr
    server.forgive()
    asked = len(server.calls)
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("4 of 5 tasks done\n")
    assert 0 < len(server.calls) - asked < 40
    assert server.answered_more_than_once() <= 4  # what was in flight when the task was stopped


def begun(tmp_path: Path, source: Path, tasks: int = 3) -> Plan:
    """Begin a run, without doing anything of it."""
    plan = plan_of("table", str(tmp_path / "shared"), tasks, 1, None, None, wanted(source))
    Shared(plan.shared).begin(plan.told)
    return plan


def test_a_task_that_is_missing_is_named(tmp_path: Path, source: Path) -> None:
    """The finishing step names it, and writes nothing."""
    plan = begun(tmp_path, source)
    run_task(plan, 0)
    run_task(plan, 2)
    with pytest.raises(WhoseboatError, match="1 of 3 tasks did not come to their end") as caught:
        finish(plan, tmp_path / "out")
    assert "no part of task 1" in caught.value.found
    assert not (tmp_path / "out").exists()
    run_task(plan, 1)
    made = finish(plan, tmp_path / "out")
    assert finish(plan, tmp_path / "out") == replace(made, files=read_manifest(tmp_path / "out")["files"])


def test_a_task_that_is_done_is_left_alone(tmp_path: Path, source: Path) -> None:
    """Its part is not built again."""
    plan = begun(tmp_path, source)
    assert run_task(plan, 0) is not None
    before = {path: path.stat() for path in (tmp_path / "shared/parts").rglob("*")}
    assert run_task(plan, 0) is None
    assert {path: path.stat() for path in (tmp_path / "shared/parts").rglob("*")} == before


@pytest.mark.parametrize("harm", ["changed", "removed", "record"])
def test_a_part_that_is_damaged(tmp_path: Path, source: Path, harm: str) -> None:
    """It is noticed before anything is written, and the message says what to do, which helps."""
    plan = begun(tmp_path, source, 1)
    run_task(plan, 0)
    record = tmp_path / "shared/parts/00000.json"
    file = next((tmp_path / "shared/parts").rglob("pairs/train-*.parquet"))
    if harm == "changed":
        file.write_bytes(file.read_bytes()[:-1] + b"x")
    elif harm == "removed":
        file.unlink()
    else:
        record.write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match="the part of task 0 is not as it was made") as caught:
        finish(plan, tmp_path / "out")
    assert str(record) in caught.value.todo
    record.unlink()
    run_task(plan, 0)
    assert finish(plan, tmp_path / "out").rows["pairs"]["train"]


def test_two_runs_into_one_folder(tmp_path: Path, source: Path) -> None:
    """The second is refused, and told what differs; so is a source that has changed meanwhile."""
    begun(tmp_path, source)
    for changed, name in (({"tasks": 4}, "tasks: 3 there, 4 here"), ({"seed": 1, "limit": 5}, "selection: ")):
        more: Record = {"tasks": 3, "shared": tmp_path / "shared", **wanted(source), **changed}
        with pytest.raises(OutputError, match="holds another run") as caught:
            build_in_tasks("table", tmp_path / "out", **more)
        assert name in caught.value.found
    written(source, pairs(41))
    with pytest.raises(OutputError, match="holds another run") as caught:
        build_in_tasks("table", tmp_path / "out", tasks=3, shared=tmp_path / "shared", **wanted(source))
    assert "files: " in caught.value.found


def test_two_processes_at_one_run(tmp_path: Path, source: Path) -> None:
    """The second does not launch what the first is at."""
    code = "import sys, time\nfrom whoseboat.scale.shared import Shared\n"
    code += "with Shared(sys.argv[1]).launching():\n    print('there', flush=True)\n    time.sleep(600)\n"
    shared = tmp_path / "shared"
    with subprocess.Popen([sys.executable, "-c", code, str(shared)], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "there\n"
        with pytest.raises(OutputError, match="another process is at work in the shared folder"):
            build_in_tasks("table", tmp_path / "out", tasks=2, workers=1, shared=shared, **wanted(source))
        first.kill()
    built = build_in_tasks("table", tmp_path / "out", tasks=2, workers=1, shared=shared, **wanted(source))
    assert isinstance(built, whoseboat.Built)


def test_a_second_process_at_a_task_waits_for_the_first(tmp_path: Path, source: Path) -> None:
    """It finds the part, and builds none of its own."""
    plan = begun(tmp_path, source, 1)
    (tmp_path / "plan").write_bytes(pickle.dumps(plan))
    code = "import pickle, sys\nfrom whoseboat.scale.running import run_task\nprint('there', flush=True)\n"
    code += "print(run_task(pickle.load(open(sys.argv[1], 'rb')), 0))\n"
    with Shared(plan.shared).at_work(0) as work:
        second = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "plan")], stdout=subprocess.PIPE, text=True
        )
        assert second.stdout is not None
        assert second.stdout.readline() == "there\n"
        with suppress(subprocess.TimeoutExpired):
            second.wait(2)  # as long as a build of its own would take
        made = whoseboat.build("table", work / "part", task=Task(0, 1), **wanted(source))
        assert second.poll() is None
        Shared(plan.shared).send(0, made.path, made.manifest)
    said, _ = second.communicate(timeout=60)
    assert said == "None\n"
    assert len(list((tmp_path / "shared/parts").iterdir())) == 2


def test_a_shared_folder_that_is_not_shared(tmp_path: Path, source: Path) -> None:
    """A task that does not see the run says so, and makes no folder of its own there."""
    plan = begun(tmp_path, source)
    elsewhere = replace(plan, shared=str(tmp_path / "elsewhere"))
    with pytest.raises(DataError, match="is not seen here"):
        run_task(elsewhere, 0)
    assert not (tmp_path / "elsewhere").exists()
    with pytest.raises(WhoseboatError, match="3 of 3 tasks") as caught:
        finish(plan, tmp_path / "out")
    assert "see that every machine sees the shared folder" in caught.value.todo


def test_machines_that_differ(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version, or another key of pseudonyms, is refused before anything is built."""
    plan = begun(tmp_path, source)
    other = replace(plan, told={**plan.told, "code_version": "0.0.1"})
    with pytest.raises(DataError, match="need one version"):
        other.check_this_machine()
    folder = prism.write(tmp_path / "prism", [prism.row(*prism.OPENING)], [prism.SURVEY])
    monkeypatch.setenv("WHOSEBOAT_PSEUDONYM_KEY", "one key")
    plan = plan_of("prism", str(tmp_path / "s"), 2, 1, None, None, {"data_dir": folder})
    assert "one key" not in repr(plan)
    plan.check_this_machine()
    monkeypatch.setenv("WHOSEBOAT_PSEUDONYM_KEY", "another key")
    with pytest.raises(DataError, match="another key of pseudonyms"):
        plan.check_this_machine()


def test_sources_that_need_the_key_of_pseudonyms_are_known_by_their_words() -> None:
    """Whether machines need the same key is told by what a source says of its users."""
    for name in sources.names():
        source = sources.find(name)
        uses = "Pseudonyms(" in inspect.getsource(inspect.getmodule(source.read) or source.read)
        assert uses == ("pseudonym" in source.users), name


def test_a_folder_with_other_files(tmp_path: Path, source: Path) -> None:
    """It is left alone; so is one whose run.json is another program's."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "thesis.tex").write_text("mine", encoding="utf-8")
    given: Record = {"tasks": 2, "shared": tmp_path / "shared", **wanted(source)}
    with pytest.raises(OutputError, match="holds other files"):
        build_in_tasks("table", tmp_path / "out", **given)
    (tmp_path / "shared" / "run.json").write_text("[]", encoding="utf-8")
    with pytest.raises(DataError, match="not the run of a build"):
        build_in_tasks("table", tmp_path / "out", **given)
    assert (tmp_path / "shared" / "thesis.tex").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--workers", "2"], "--workers: of use with a build in tasks only"),
        (["--executor", "ray", "--shared", "x"], "--executor, --shared: of use with"),
        (["--tasks", "0"], "--tasks takes a number"),
        (["--tasks", "2", "--workers", "0"], "--workers takes a number"),
        (["--tasks", "2", "--executor", "slrum"], "did you mean 'slurm'?"),
        (["--tasks", "2", "--executor", "slurm"], "expected: time, partition"),
        (["--tasks", "2", "--executor-config", "no.yaml"], "the settings of the executor cannot be read"),
        (["--tasks", "2", "--executor-config", "list.yaml"], "are no mapping"),
        (["--tasks", "2", "--executor-config", "wrong.yaml"], "unknown setting of executor 'local'"),
        (["--tasks", "2", "--executor-config", "tasks.yaml"], "is not set in a file"),
        (["--tasks", "2", "--executor", "jobs"], "jobs elsewhere see no folder of this machine"),
        (["--tasks", "2", "--executor", "jobs", "--shared", "memory://x"], "--data-dir"),
        (["--tasks", "2", "--shared", "nosuch://x"], "at an address that cannot be used"),
        (["--tasks", "2", "--limit", "0"], "--limit takes a number"),
        (["--tasks", "2", "--data-dir", "no-such-file"], "no-such-file"),
    ],
)
def test_what_cannot_be_right(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str], said: str
) -> None:
    """One clear message each, before anything is written."""
    monkeypatch.chdir(tmp_path)
    files = {"list.yaml": "- a", "wrong.yaml": "partition: gpu", "tasks.yaml": "tasks: 3"}
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    before = set(tmp_path.iterdir())
    found = CliRunner().invoke(app, ["build", "table", "--data-dir", str(source), "--out", "out", *flags])
    assert isinstance(found.exception, WhoseboatError)
    assert said in str(found.exception)
    assert set(tmp_path.iterdir()) == before


def subclasses(kind: type[WhoseboatError]) -> Iterator[type[WhoseboatError]]:
    """Yield an error and all that are kinds of it."""
    yield kind
    for sub in kind.__subclasses__():
        yield from subclasses(sub)


def test_every_error_goes_from_process_to_process() -> None:
    """All of ours come out of a pickle as they went in."""
    for module in pkgutil.walk_packages(whoseboat.__path__, "whoseboat."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    kinds = list(subclasses(WhoseboatError))
    assert len(kinds) > 5
    for kind in kinds:
        takes = inspect.signature(kind).parameters
        named = {name: f"the {name}" for name in ("where", "found") if name in takes}
        bare = [
            name
            for name, about in takes.items()
            if about.default is about.empty and about.kind is not about.VAR_KEYWORD
        ]
        error = kind(*bare, **named)
        back = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
        assert (type(back), str(back), back.args, vars(back)) == (kind, str(error), error.args, vars(error))


# ---- shared folders elsewhere


def test_a_shared_folder_that_is_no_disk(tmp_path: Path, source: Path, server: LlmServer) -> None:
    """Parts and answers are sent there and fetched; a task that failed goes on with its answers."""
    model = LanguageModel(server.model, server.base_url)
    plain = whoseboat.build(
        "table", tmp_path / "plain", engine=replace(model, cache_dir=tmp_path / "a"), **wanted(source)
    )
    address = f"memory://{tmp_path.name}/shared"
    server.fault("401", "boat 3?", None)
    given: Record = {"tasks": 3, "workers": 1, "shared": address, "engine": model, **wanted(source)}
    with pytest.raises(WhoseboatError, match="1 of 3 tasks"):
        build_in_tasks("table", tmp_path / "out", **given)
    server.forgive()
    asked = len(server.calls)
    files = fsspec.filesystem("memory")
    assert files.find(f"/{tmp_path.name}/shared/answers")
    built = build_in_tasks("table", tmp_path / "out", **given)
    assert isinstance(built, whoseboat.Built)
    assert built.manifest.data_digest == plain.manifest.data_digest
    assert rows_of(built.path) == rows_of(plain.path)
    assert len(server.calls) - asked < 40
    assert files.find(f"/{tmp_path.name}/shared/parts")
    part = next(name for name in files.find(f"/{tmp_path.name}/shared/parts") if name.endswith(".parquet"))
    files.rm_file(part)
    shutil.rmtree(built.path)
    with pytest.raises(DataError, match="is not as it was made"):
        build_in_tasks("table", tmp_path / "out", **given)


def test_a_shared_folder_on_the_hub(tmp_path: Path) -> None:
    """Tasks leave their parts in a repo, with nothing of it in the way on the terminal; the same call fetches them."""
    with LoopbackHub() as hub:
        hub.commit("org/run", {"README.md": b"# A run"})
        environment = {**os.environ, **hub.environment(tmp_path / "home"), "HF_TOKEN": "hf_loopback"}
        line = ["sample", "--limit", 20, "--out", tmp_path / "out", "--tasks", 2, "--workers", 1]
        line += ["--shared", "hf://datasets/org/run/first"]
        done = command(*line, env=environment)
        assert done.returncode == 0, done.stderr
        assert re.fullmatch(r"(\d of 2 tasks done\n)+", done.stderr)
        commits = hub.commits_made
        assert commits
        shutil.rmtree(tmp_path / "out")
        again = command(*line, env=environment)
        assert again.returncode == 0, again.stderr
        assert hub.commits_made == commits  # nothing is new
        lacking = command(*line[:-1], "hf://datasets/org/none/first", "--overwrite", env=environment)
        assert lacking.returncode == 1
        assert "that the repo or bucket is there" in lacking.stderr
        refused = command(*line, "--overwrite", env={**environment, "HF_TOKEN": "hf_another"})
        assert refused.returncode == 1
        assert "the shared folder cannot be read or written" in refused.stderr
    plain = whoseboat.build("sample", tmp_path / "plain", limit=20)
    check_same(plain.path, tmp_path / "out")


# ---- Slurm and Jobs


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put commands of Slurm on the path that write down what they are asked; `squeue` lists what is in `queue`."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    scripts = {
        "sbatch": f'n=$(ls {folder} | grep -c script); cp "${{@: -1}}" {folder}/script-$n; '
        f'echo "$@" > {folder}/arguments-$n; echo Submitted batch job 10$n',
        "squeue": f"cat {folder}/queue 2>/dev/null",
    }
    (tmp_path / "bin").mkdir()
    for name, script in scripts.items():
        path = tmp_path / "bin" / name
        path.write_text(f"#!/bin/bash\n{script}\n", encoding="utf-8")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return folder


def test_slurm_gets_jobs_and_no_secret(tmp_path: Path, source: Path, slurm: Path, server: LlmServer) -> None:
    """An array of the tasks, a job that joins them whatever became of those, and what they run, by a real launcher."""
    (tmp_path / "slurm.yaml").write_text(
        "partition: cpu\ntime: '01:00:00'\nqos:\nwith_srun: false\nsbatch_args: {account: mine}\n", encoding="utf-8"
    )
    arguments = ["table", "--data-dir", source, "--out", tmp_path / "out", "--tasks", 3, "--workers", 2]
    arguments += ["--executor", "slurm", "--executor-config", tmp_path / "slurm.yaml"]
    arguments += ["--model", server.model, "--base-url", server.base_url]
    launched = command(*arguments)
    assert launched.returncode == 0, launched.stderr
    assert "job 100 builds the tasks; job 102 joins them into" in launched.stdout
    assert "the same command again" in launched.stdout
    script = (slurm / "script-0").read_text(encoding="utf-8")
    assert "#SBATCH --array=0-2%2\n" in script
    assert "#SBATCH --partition=cpu\n" in script
    assert "#SBATCH --account=mine\n" in script
    assert "#SBATCH --kill-on-invalid-dep=yes\n" in script
    assert "--dependency=afterany:100" in (slurm / "arguments-2").read_text(encoding="utf-8")
    shared = tmp_path / ".out.tasks"
    files = [path for folder in (shared, slurm) for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert not [path for path in files if (server.key or "").encode() in path.read_bytes()]
    assert not server.calls
    # A job that has not ended is not handed over again.
    (slurm / "queue").write_text("100 PENDING\n", encoding="utf-8")
    refused = command(*arguments)
    assert refused.returncode == 1
    assert "in Slurm's queue yet" in refused.stderr
    assert "100 PENDING" in refused.stderr
    (slurm / "queue").unlink()
    # What the jobs run, as they run it.
    runs = [line for line in script.splitlines() if "launch_pickled_pipeline" in line]
    assert len(runs) == 1
    launcher = Path(sys.executable).with_name("launch_pickled_pipeline")
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.write_text("#!/bin/bash\necho here\n", encoding="utf-8")
    scontrol.chmod(0o755)
    for rank in range(3):
        environment = {**os.environ, "SLURM_ARRAY_TASK_ID": str(rank), "SLURM_NODELIST": "here"}
        pickled = runs[0].split()[-1]
        ran = subprocess.run(
            [launcher, pickled], env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert ran.returncode == 0, ran.stderr
    joining = str(shared / "logs/join/executor.pik")
    environment = {**os.environ, "SLURM_ARRAY_TASK_ID": "0", "SLURM_NODELIST": "here"}
    ran = subprocess.run([launcher, joining], env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    plain = whoseboat.build(
        "table",
        tmp_path / "plain",
        engine=LanguageModel(server.model, server.base_url, cache_dir=tmp_path / "cache"),
        data_dir=source,
    )
    check_same(plain.path, tmp_path / "out")


def test_slurm_that_is_not_there(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One message, and the same call goes on later."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WhoseboatError, match="executor 'slurm' cannot run the tasks") as caught:
        build_in_tasks(
            "table",
            tmp_path / "out",
            tasks=2,
            executor="slurm",
            executor_config={"partition": "cpu", "time": "1:00"},
            **wanted(source),
        )
    assert "sbatch" in caught.value.found


def test_jobs_get_keys_as_secrets_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a language model needs goes with the job, and into no file."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0123456789")
    model = LanguageModel("m", "http://127.0.0.1:9/v1")
    settings = executors.with_secrets("jobs", {"flavor": "cpu-basic"}, model)
    assert settings == {"flavor": "cpu-basic", "secrets": {"OPENAI_API_KEY": "sk-test-0123456789"}}
    given = {"secrets": {"OPENAI_API_KEY": "other"}}
    assert executors.with_secrets("jobs", given, model) == given
    assert executors.with_secrets("slurm", {}, model) == {}
    assert executors.with_secrets("jobs", {}, "contrast") == {}


def test_jobs_run_the_tasks(tmp_path: Path, source: Path, server: LlmServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each job runs what was left in the shared folder; keys go with it as secrets, and into no file."""
    import datatrove.io
    import dill
    import huggingface_hub

    asked: list[Record] = []

    def run_uv_job(script: str, *, script_args: list[str], env: dict[str, str], **more: Any) -> SimpleNamespace:  # noqa: ANN401
        asked.append(more)
        with pytest.MonkeyPatch.context() as patch, datatrove.io.open_file(script_args[0], "rb") as file:
            for name, value in env.items():
                patch.setenv(name, value)
            dill.load(file).run()  # noqa: S301 - our own
        return SimpleNamespace(id=str(len(asked)), url="")

    def inspect_job(**_: object) -> SimpleNamespace:
        return SimpleNamespace(status=SimpleNamespace(stage="COMPLETED"))

    monkeypatch.setattr(huggingface_hub, "run_uv_job", run_uv_job)
    monkeypatch.setattr(huggingface_hub, "inspect_job", inspect_job)
    monkeypatch.setenv("HF_TOKEN", "hf_not_to_be_told")
    model = LanguageModel(server.model, server.base_url)
    built = build_in_tasks(
        "sample",
        tmp_path / "out",
        tasks=2,
        executor="jobs",
        executor_config={"poll_interval": 0},
        shared=f"memory://{tmp_path.name}/jobs",
        engine=model,
        limit=20,
    )
    assert isinstance(built, whoseboat.Built)
    plain = whoseboat.build("sample", tmp_path / "plain", engine=replace(model, cache_dir=tmp_path / "a"), limit=20)
    check_same(plain.path, built.path)
    assert len(asked) == 2
    assert asked[0]["secrets"] == {"HF_TOKEN": "hf_not_to_be_told", "OPENAI_API_KEY": server.key}
    assert asked[0]["dependencies"][0] == f"whoseboat[scale]=={whoseboat.__version__}"
    files = fsspec.filesystem("memory")
    contents = [files.cat_file(name) for name in files.find(f"/{tmp_path.name}/jobs")]
    assert len(contents) > 10
    for secret in ("hf_not_to_be_told", server.key or ""):
        assert not [content for content in contents if secret.encode() in content]


# ---- pipelines of one's own


class Reading(PipelineStep):  # type: ignore[misc]  # datatrove has no types
    """Reads pairs, a share for each task."""

    name, type = "reader", "tests"

    def run(self, data: object = None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yield documents."""
        for number, row in list(enumerate(pairs(10)))[rank::world_size]:
            yield Document(text="", id=f"{number}", metadata={**row, "kept": number})


class Writing(PipelineStep):  # type: ignore[misc]  # datatrove has no types
    """Writes what comes."""

    name, type = "writer", "tests"

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def run(self, data: Iterator[Document], rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Write the metadata, and pass documents on."""
        with (self.path / f"{rank}.jsonl").open("w", encoding="utf-8") as file:
            for document in data:
                file.write(json.dumps({"document": document.id, **document.metadata}) + "\n")
                yield document


def test_inference_between_a_reader_and_a_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents go on with the personas of a build, those that are no pairs do not, and the rest stays as it is."""
    steps = [Reading(), PersonaInference(), Writing(tmp_path)]
    LocalPipelineExecutor(steps, tasks=2, workers=1, logging_dir=str(tmp_path / "logs")).run()
    found = [
        json.loads(line)
        for path in sorted(tmp_path.glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    source = written(tmp_path / "in", pairs(10)).rename(tmp_path / "in.jsonl")
    plain = whoseboat.build("table", tmp_path / "plain", data_dir=source)
    expected = {
        row["id"]: row for path in plain.path.glob("pairs/*.parquet") for row in pq.read_table(path).to_pylist()
    }
    assert {row["pair_id"] for row in found} >= set(expected)
    for row in found:
        assert row["document"] == str(row["kept"])
        if row["pair_id"] in expected:
            of_build = expected[row["pair_id"]]
            for name in ("chosen_persona", "rejected_persona", "persona_engine"):
                assert row[name] == of_build[name]
    assert str(pairs(10).index({"prompt": 7})) not in {row["document"] for row in found}
    assert not [row for row in found if any(secret in row["chosen_persona"] for secret in SECRETS)]
    stats = json.loads((tmp_path / "logs/stats.json").read_text(encoding="utf-8"))
    counted = next(one["stats"] for one in stats if "persona inference" in one["name"])
    assert counted["rows"]["total"] == len(found)
    assert counted["dropped: malformed"]["total"] == 1
