"""The benchmark of training runs on a tiny case and tells what it should; no figure of time is asserted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("trl", reason="trl is in the extra `train`")

SCRIPT = Path(__file__).parent.parent / "scripts" / "bench_train.py"


def ran(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script on the CPU in one thread."""
    usual = ["--cpu", "--threads", "1", "--model", "tiny"]
    return subprocess.run(
        [sys.executable, str(SCRIPT), *usual, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "CUDA_VISIBLE_DEVICES": "", "TQDM_DISABLE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_both_ways_are_trained_and_compared() -> None:
    """A round trains both on the same tokens in as many steps, comes to the same losses, and says so."""
    done = ran("--pairs", "2", "--rounds", "1", "--epochs", "1", "--set", "batch_size=4", "precision=fp32")
    assert done.returncode == 0, done.stderr
    lines = {tuple(line.split()[:2]): line.split()[2:] for line in done.stdout.splitlines()}
    for stage in ("sft", "dpo"):
        paper, fixed = lines[stage, "paper"], lines[stage, "fixed"]
        assert paper[2] == fixed[2] == "1"  # step
        assert float(paper[3]) == pytest.approx(float(fixed[3]), rel=1e-3)  # the loss before
        assert f"validation loss of {stage}: " in done.stdout
    assert "within 1 %" in done.stdout
    assert "BEYOND" not in done.stdout
    assert "fixed: batch_size=4" in done.stdout
    assert "ratio both of CPU: " in done.stdout


def test_how_and_not_what_can_be_changed() -> None:
    """A change to what is learned is refused: the two would not be the same problem."""
    done = ran("--set", "epochs=1")
    assert done.returncode != 0
    assert "--set takes batch_size" in done.stderr
