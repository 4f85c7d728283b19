"""`scripts/bench_scale.py`: what its table says of the seconds that were measured."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).parent.parent / "scripts"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the script as a module."""
    monkeypatch.syspath_prepend(SCRIPTS)
    return importlib.import_module("bench_scale")


def test_the_table(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """One worker is held against the plain build, two against one; figures are medians of the runs."""
    measured = {(0, 0): (10.0, 8.0, 8.0), (2, 1): (11.0, 10.0, 10.0), (2, 2): (6.875, 11.0, 6.25)}
    asked: list[tuple[int, int]] = []

    def seconds_of(_: Path, cut: tuple[int, int], endpoint: str = "") -> tuple[float, float, float]:
        asked.append(cut)
        clock, *processor = measured[cut]
        return (clock * (3 if len(asked) <= len(measured) else 1), processor[0], processor[1])

    monkeypatch.setattr(bench, "seconds_of", seconds_of)
    bench.table("a title", 1000, tmp_path, list(measured), 3)
    _, title, _, plain, one, two = capsys.readouterr().out.splitlines()
    assert title.startswith("a title; load before: ")
    assert plain.split()[:4] == ["plain", "10.0", "100", "8.0"]
    assert "to plain +10.0%, of processor time +25.0%" in one
    assert "efficiency 0.80, on free cores 0.80" in two
    assert asked == [*measured] * 3


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc")
def test_processor_seconds_of_a_session(bench: ModuleType) -> None:
    """Every process of the session is counted, and none of another one."""
    code = "import os, time\nwhile time.process_time() < 0.2: pass\nprint(flush=True)\ntime.sleep(600)"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = bench.processor_seconds(process.pid)
        process.kill()
    assert list(found) == [process.pid]
    assert found[process.pid] >= 0.1
    assert os.getpid() not in found
