"""A server that a run starts for itself: waited for, started again when it dies, never left behind, explained."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import whoseboat
from whoseboat.asking import configuration, journal_directory
from whoseboat.errors import OutputError, UsageError, WhoseboatError
from whoseboat.llm.serving import served, words

_FAKE = Path(__file__).with_name("fake_server.py")
_PAUSES = (0.0, 0.0, 0.0)


def command(events: Path, *options: str) -> str:
    """Return a command that starts the program that stands for a server."""
    return shlex.join([sys.executable, str(_FAKE), "toy-model", "--events", str(events), *options])


def told(events: Path, kind: str) -> list[list[str]]:
    """Return what the program wrote down of a kind: the words after it."""
    lines = events.read_text().splitlines() if events.exists() else []
    return [line.split()[1:] for line in lines if line.startswith(f"{kind} ")]


def is_running(pid: int) -> bool:
    """Say whether a process runs; one that has ended and was not collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(done: Callable[[], object]) -> None:
    """Wait until something is so."""
    until = time.monotonic() + 180
    while not done():
        assert time.monotonic() < until, "it never came to that"
        time.sleep(0.02)


def get(url: str) -> int:
    """Return the status of a page of a server on this machine."""
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as response:
        return int(response.status)


@pytest.fixture
def events(tmp_path: Path) -> Path:
    """Say where the program writes what happens."""
    return tmp_path / "events"


@pytest.mark.parametrize("options", [[], ["--health", "404"], ["--start-after", "1"], ["--port={port}"]])
def test_a_server_is_waited_for_and_ended(tmp_path: Path, events: Path, options: list[str]) -> None:
    """It is asked for its health, or for its models where it knows no such word; then nothing of it is left."""
    with served(command(events, *options), log=tmp_path / "log") as base_url:
        assert get(f"{base_url}/models") == 200
        ((pid, port),) = told(events, "start")
        assert base_url == f"http://127.0.0.1:{port}/v1"
        assert is_running(int(pid))
    assert not is_running(int(pid))


def test_what_a_server_starts_is_ended_with_it(tmp_path: Path, events: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process group is asked to end, and made to."""
    monkeypatch.setattr("whoseboat.llm.serving._PATIENCE_SECONDS", 1.0)
    with served(command(events, "--child", "--stubborn"), log=tmp_path / "log"):
        ((child,),) = told(events, "child")
        assert is_running(int(child))
    assert not is_running(int(child))


def test_a_server_ends_when_its_run_is_killed(tmp_path: Path, events: Path) -> None:
    """Nothing is left of it where nobody could end it either."""
    program = "import pathlib, sys, time; from whoseboat.llm.serving import served\n"
    program += "with served(sys.argv[1], log=pathlib.Path(sys.argv[2])): print('up', flush=True); time.sleep(1000)"
    run = [sys.executable, "-c", program, command(events, "--child"), str(tmp_path / "log")]
    with subprocess.Popen(run, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        pids = [int(told(events, "start")[0][0]), int(told(events, "child")[0][0])]
        process.kill()
    wait_until(lambda: not any(map(is_running, pids)))


def test_a_server_that_dies_is_started_again_at_its_address(tmp_path: Path, events: Path) -> None:
    """So often and no more."""
    with served(command(events), log=tmp_path / "log", pauses=_PAUSES) as base_url:
        for lives in range(2, 5):
            os.kill(int(told(events, "start")[-1][0]), signal.SIGKILL)
            wait_until(lambda lives=lives: len(told(events, "start")) == lives)  # type: ignore[misc]  # bound at once
            wait_until(lambda: is_up(base_url))
    assert len({port for _, port in told(events, "start")}) == 1


def is_up(base_url: str) -> bool:
    """Say whether a server answers."""
    try:
        return get(f"{base_url}/models") == 200
    except OSError:
        return False


def test_another_port_is_taken_where_the_first_is_not_free_any_more(tmp_path: Path, events: Path) -> None:
    """A free port may be taken before the server has it."""
    with served(command(events, "--port-taken", str(tmp_path / "taken")), log=tmp_path / "log") as base_url:
        first, second = told(events, "start")
        assert base_url == f"http://127.0.0.1:{second[1]}/v1"
        assert first[1] != second[1]


def test_a_server_that_dies_at_the_start_is_explained(
    tmp_path: Path, events: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its exit code and its last words, without secrets and colours."""
    monkeypatch.setenv("TOY_API_KEY", "not-a-word-to-show")
    monkeypatch.setenv("SAID", "\x1b[31mout of memory\x1b[0m, token hf_" + "aB3dEfG7hJ" * 4)
    options = ["--exit", "3", "--say", "$SAID, key $TOY_API_KEY"]
    with pytest.raises(WhoseboatError) as raised, served(command(events, *options), log=tmp_path / "log"):
        pass
    assert "the server died while it started" in raised.value.what
    assert "exit code 3" in raised.value.found
    assert "\nout of memory, token [redacted: Hugging Face token], key [TOY_API_KEY]" in raised.value.found
    assert str(tmp_path / "log") in raised.value.todo
    assert len(told(events, "start")) == 1


def test_a_server_that_never_gets_healthy_is_explained_and_ended(tmp_path: Path) -> None:
    """It is given its time, and no more; what it said meanwhile is shown."""
    pid = tmp_path / "pid"
    given = shlex.join(["sh", "-c", f"echo $$ > {shlex.quote(str(pid))}; echo loading; exec sleep 1000"])
    with pytest.raises(WhoseboatError) as raised, served(given, log=tmp_path / "log", wait_seconds=3):
        pass
    assert raised.value.what == "the server never got healthy"
    assert "within 3 s" in raised.value.found
    assert raised.value.found.endswith("\nloading")
    assert "--serve-wait" in raised.value.todo
    assert not is_running(int(pid.read_text()))


def test_a_server_that_says_it_is_not_healthy_is_not_asked(tmp_path: Path, events: Path) -> None:
    """It may be loading its model; that it lists its models is not enough then."""
    never = served(command(events, "--health", "503"), log=tmp_path / "log", wait_seconds=2)
    with pytest.raises(WhoseboatError, match="never got healthy"), never:
        pass


def test_a_log_that_cannot_be_written_is_explained(tmp_path: Path, events: Path) -> None:
    """And nothing is started."""
    with pytest.raises(OutputError), served(command(events), log=tmp_path):
        pass
    assert not events.exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "names no command"),
        ("vllm 'serve", "is no command"),
        ("vllm serve M --api-key abc", "looks like a secret"),
        ("vllm serve M --api-key=abc", "looks like a secret"),
        ("env VLLM_API_KEY=abc vllm serve M", "looks like a secret"),
        ("vllm serve M --revision hf_" + "aB3dEfG7hJ" * 4, "looks like a secret"),
        ("vllm serve M > log", "words for a shell"),
        ("vllm serve M --port 8000", "a free one is chosen"),
        ("vllm serve M --port=8000", "a free one is chosen"),
    ],
)
def test_commands_that_cannot_be_right(given: str, said: str) -> None:
    """They are refused before anything starts, and no secret is shown."""
    with pytest.raises(UsageError, match=said) as raised:
        whoseboat.LanguageModel("m", serve=given)
    assert "abc" not in str(raised.value)
    assert "aB3dEfG7hJ" not in str(raised.value)


def test_words_are_split_as_a_shell_would() -> None:
    """So that a word may hold spaces and JSON."""
    assert words("""vllm serve 'a b' --config '{"x": 1}' --tokenizer t""")[2:5] == ["a b", "--config", '{"x": 1}']


def test_a_program_that_is_not_here_is_named(tmp_path: Path) -> None:
    """It is missed when it is needed: where a command is given it need not be."""
    model = whoseboat.LanguageModel("m", serve="no-such-program serve m", cache_dir=tmp_path / "cache")
    with pytest.raises(UsageError, match="a program that is not here") as raised:
        whoseboat.build("sample", tmp_path / "out", engine=model, limit=4)
    assert "no-such-program" in raised.value.found


@pytest.mark.parametrize("more", [{"base_url": "http://127.0.0.1:1/v1"}, {"batch": True}, {"serve_wait": 0}])
def test_settings_that_do_not_go_together(more: dict[str, Any]) -> None:
    """A server of one's own has its address, and no Batch API."""
    with pytest.raises(UsageError, match="--serve"):
        whoseboat.LanguageModel("m", serve="vllm serve m", **more)


def test_answers_are_kept_under_the_command(tmp_path: Path) -> None:
    """Not under its port, nor where its program is; a manifest tells the kind of endpoint alone."""
    here, there = (
        whoseboat.LanguageModel("m", serve=f"{where}vllm serve m", cache_dir=tmp_path) for where in ("", "/opt/bin/")
    )
    assert configuration(here) == {"endpoint": "vllm serve m", "model": "m", "parameters": {}}
    assert journal_directory(here) == journal_directory(there)
    assert here.kind == "this-machine"


def line(tmp_path: Path, out: str, serve: str, *options: str) -> list[str]:
    """Return the command of a build."""
    run = [
        sys.executable,
        "-m",
        "whoseboat",
        "build",
        "sample",
        "--limit",
        "20",
        "--out",
        str(tmp_path / out),
        "--json",
    ]
    return [*run, "--model", "toy-model", "--serve", serve, "--cache-dir", str(tmp_path / "cache"), *options]


def build(tmp_path: Path, out: str, serve: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    run = line(tmp_path, out, serve, *options)
    environment = {**os.environ, "http_proxy": "http://127.0.0.1:9"}  # nobody is there: it must not be asked
    return subprocess.run(run, capture_output=True, text=True, check=False, timeout=300, env=environment)


def asked(events: Path, kind: str) -> Counter[str]:
    """Count what was asked or answered, by its digest."""
    return Counter(digest for (digest,) in told(events, kind))


@pytest.mark.parametrize("attempts", [1, 5])
def test_a_build_goes_on_where_its_server_dies(tmp_path: Path, events: Path, attempts: int) -> None:
    """No row is lost, whatever its attempts, and what was answered is not asked again; a rerun starts no server."""
    serve = command(events, "--die-at", "7")
    first = build(tmp_path, "first", serve, "--max-attempts", str(attempts), "--concurrency", "4")
    assert first.returncode == 0, first.stderr
    made = json.loads(first.stdout)
    assert set(made["dropped"]) <= {"not_sampled"}
    assert len(told(events, "start")) == 2
    answers = asked(events, "answer")
    assert set(answers) == set(asked(events, "ask"))
    assert sum(answers.values()) - len(answers) <= 3  # those whose answer was on its way as it died
    assert not any(is_running(int(pid)) for pid, _ in told(events, "start"))
    assert len(list((tmp_path / "cache" / "servers").iterdir())) == 1  # the log of one that died is kept
    published = [path.read_text() for path in (tmp_path / "first").iterdir() if path.suffix in (".json", ".md")]
    assert len(published) >= 2
    assert not any(_FAKE.name in text for text in published)

    second = build(tmp_path, "second", serve)
    assert second.returncode == 0, second.stderr
    again = json.loads(second.stdout)
    assert (again["requests"]["answered"], again["data_digest"]) == (0, made["data_digest"])
    assert len(told(events, "start")) == 2


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("health", ["200", "503"])
def test_a_build_that_is_interrupted_ends_its_server(
    tmp_path: Path, events: Path, by: signal.Signals, health: str
) -> None:
    """Whether it is healthy or still starting."""
    run = line(tmp_path, "out", command(events, "--health", health, "--slow", "0.5"), "--concurrency", "1")
    with subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: told(events, "start" if health == "503" else "answer"))
        process.send_signal(by)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + by, errors
    assert not is_running(int(told(events, "start")[0][0]))
    assert not (tmp_path / "out").exists()


def test_each_task_has_a_server(tmp_path: Path, events: Path) -> None:
    """It starts its own, and the set is that of one build."""
    pytest.importorskip("datatrove")
    whole = build(tmp_path, "whole", command(events))
    assert whole.returncode == 0, whole.stderr
    elsewhere = ["--cache-dir", str(tmp_path / "other")]
    parts = build(tmp_path, "parts", command(events), "--tasks", "2", "--workers", "1", *elsewhere)
    assert parts.returncode == 0, parts.stderr
    assert len(told(events, "start")) == 3
    assert not list((tmp_path / "cache" / "servers").iterdir())  # no log of one that did as it should
    assert json.loads(parts.stdout)["data_digest"] == json.loads(whole.stdout)["data_digest"]


def test_a_build_ends_where_its_server_always_dies(
    tmp_path: Path, events: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so, and keeps what was answered."""
    monkeypatch.setattr("whoseboat.llm.serving.PAUSES", _PAUSES)
    serve = command(events, "--die-at", "3", "--always")
    model = whoseboat.LanguageModel("toy-model", serve=serve, cache_dir=tmp_path / "cache", concurrency=1)
    with pytest.raises(WhoseboatError) as raised:
        whoseboat.build("sample", tmp_path / "out", engine=model, limit=20)
    assert raised.value.what == "the server died 4 times"
    assert "it was ended by SIGKILL" in raised.value.found
    assert len(told(events, "start")) == 4
    answers = asked(events, "answer")
    assert len(answers) == 12
    assert set(answers.values()) == {1}
    assert not (tmp_path / "out").exists()
    assert len(list((tmp_path / "cache" / "servers").iterdir())) == 1  # the log, which the error names


def test_a_build_through_transformers_serve_that_is_killed(tmp_path: Path) -> None:
    """A real server, killed in the middle: it is started again, and every row comes."""
    pytest.importorskip("torch")
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    from test_transformers_serve import save_model

    model, pids = tmp_path / "tiny-walker", tmp_path / "pids"
    save_model(model)
    program = Path(sys.executable).with_name("transformers")
    serving = shlex.join([str(program), "serve", str(model), "--device", "cpu", "--host", "127.0.0.1"])
    serve = shlex.join(["sh", "-c", f"echo $$ >> {shlex.quote(str(pids))}; exec {serving} --port {{port}}"])
    run = [sys.executable, "-m", "whoseboat", "build", "sample", "--limit", "20", "--out", str(tmp_path / "out")]
    run += ["--json", "--model", str(model), "--serve", serve, "--concurrency", "2"]
    run += ["--cache-dir", str(tmp_path / "cache"), "--parameter", "temperature=1.0", "--parameter", "max_tokens=20"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    with subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        answers = tmp_path / "cache" / "journals"
        wait_until(lambda: len(answered(answers)) >= 5 or process.poll() is not None)
        os.kill(int(pids.read_text()), signal.SIGKILL)
        out, errors = process.communicate(timeout=180)
    assert process.returncode == 0, errors
    made = json.loads(out)
    assert set(made["dropped"]) <= {"not_sampled", "identical_personas"}
    assert made["requests"]["retried"] >= 1
    assert made["requests"]["answered"] == len(answered(answers)) == len(set(answered(answers)))
    first, second = map(int, pids.read_text().split())
    assert first != second
    assert not is_running(second)


def answered(directory: Path) -> list[str]:
    """Return the keys of the answers that are kept."""
    lines = [line for path in directory.rglob("*.jsonl") for line in path.read_text(encoding="utf-8").splitlines(True)]
    return [json.loads(line)["answer"] for line in lines if line.startswith('{"answer":') and line.endswith("\n")]
