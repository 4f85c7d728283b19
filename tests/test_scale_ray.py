"""A build in tasks on Ray: two nodes on one machine, one of which dies in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from llm_server import LlmServer

import whoseboat
from whoseboat.manifest import read_manifest

pytest.importorskip("datatrove")
pytest.importorskip("ray", reason="Ray is not installed")
psutil: Any = pytest.importorskip("psutil")

_TASKS, _CONCURRENCY = 5, 4
_ROOM = 100 * 2**20


@pytest.fixture(scope="module")
def server() -> Iterator[LlmServer]:
    """Start a slow server, whose key is in the environment of all nodes."""
    with LlmServer(latency=0.1) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment().items():
            patch.setenv(name, value)
        yield server


@pytest.fixture(scope="module")
def cluster(server: LlmServer) -> Iterator[Any]:
    """Start a cluster of one node, to which others are added; the environment names it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ray.cluster_utils import Cluster

        cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 1, "object_store_memory": _ROOM, "memory": 2**30, "include_dashboard": False},
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RAY_ADDRESS", cluster.address)
            yield cluster
        cluster.shutdown()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write pairs as JSON lines, into several files."""
    folder = tmp_path_factory.mktemp("source")
    rows = [
        {"prompt": f"How do I mend {number}?", "chosen": f"So and so, {number} times.", "rejected": f"No {number}!"}
        for number in range(60)
    ]
    for number in range(3):
        lines = "".join(json.dumps(row) + "\n" for row in rows[number * 20 : number * 20 + 20])
        (folder / f"{number}.jsonl").write_text(lines, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def digest(source: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the digest of a build of one piece."""
    home = tmp_path_factory.mktemp("plain")
    with LlmServer() as quick:
        model = whoseboat.LanguageModel(quick.model, quick.base_url, cache_dir=home / "cache")
        return whoseboat.build("table", home / "out", engine=model, data_dir=source).manifest.data_digest


def processes_of(node: Any) -> list[Any]:  # noqa: ANN401 - Ray has no types
    """Return all processes of a node, those of tasks included."""
    found = []
    for kind in node.all_processes.values():
        for one in kind:
            parent = psutil.Process(one.process.pid)
            found += [parent, *parent.children(recursive=True)]
    return found


def kill(node: Any) -> None:  # noqa: ANN401 - Ray has no types
    """Kill all processes of a node at once, as when a machine dies."""
    for process in processes_of(node):
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue


def wait_until(done: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait until something is so; the process may not end before."""
    until = time.monotonic() + 120
    while not done():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until, "it never came to that"
        time.sleep(0.02)


@pytest.mark.parametrize("launcher_dies", [False, True], ids=["node", "node-and-launcher"])
def test_a_node_that_dies(
    tmp_path: Path,
    server: LlmServer,
    cluster: Any,  # noqa: ANN401 - Ray has no types
    source: Path,
    digest: str,
    *,
    launcher_dies: bool,
) -> None:
    """Ray gives its tasks to the other node; after the launcher's death the same command does what is missing.

    Parts that are whole stay as they are, nothing is asked twice but what was in flight, and the digest is equal.
    """
    node = cluster.add_node(num_cpus=1, object_store_memory=_ROOM, memory=2**30)
    shared, out = tmp_path / "shared", tmp_path / "out"
    (tmp_path / "ray.yaml").write_text("mem_per_cpu_gb: 0.1\n", encoding="utf-8")
    line = [sys.executable, "-m", "whoseboat", "build", "table", "--data-dir", str(source), "--out", str(out)]
    line += ["--tasks", str(_TASKS), "--workers", "2", "--shared", str(shared)]
    line += ["--executor", "ray", "--executor-config", str(tmp_path / "ray.yaml")]
    line += ["--model", server.model, "--base-url", server.base_url, "--concurrency", str(_CONCURRENCY)]
    line += ["--parameter", f"seed={int(launcher_dies)}"]  # questions of its own
    before, twice = len(server.calls), server.answered_more_than_once()
    process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True, start_new_session=True)

    def in_the_middle() -> bool:
        names = [path.name for path in (shared / "work").glob("*") if path.is_dir()]
        return bool(list(shared.glob("parts/*.json"))) and len(names) == 2 and len(server.calls) > before + 10

    wait_until(in_the_middle, process)
    kill(node)
    if launcher_dies:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
        assert not out.exists()
    done = {path.name: path.read_bytes() for path in shared.glob("parts/*.json")}
    assert 1 <= len(done) < _TASKS
    if launcher_dies:
        process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True, start_new_session=True)
    _, said = process.communicate(timeout=240)
    cluster.remove_node(node)
    assert process.returncode == 0, said
    assert said.endswith(f"{_TASKS} of {_TASKS} tasks done\n")
    assert {name: (shared / "parts" / name).read_bytes() for name in done} == done
    assert len(list(shared.glob("parts/*-*"))) == _TASKS
    assert read_manifest(out)["data_digest"] == digest
    assert server.answered_more_than_once() - twice <= 2 * _CONCURRENCY
