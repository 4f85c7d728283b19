"""Builds in tasks on a real Slurm, of one node."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_SCRIPT = Path(__file__).parent.parent / "scripts" / "slurm_try.sh"
_CANNOT = 77


@pytest.mark.skipif(
    not os.environ.get("WHOSEBOAT_TEST_SLURM"), reason="takes minutes, and slurm-wlm: WHOSEBOAT_TEST_SLURM=1 runs it"
)
def test_builds_on_slurm() -> None:
    """One task and four give the set of a plain build, and a cancelled run goes on; a server for each task."""
    done = subprocess.run(
        [_SCRIPT], env={**os.environ, "PYTHON": sys.executable}, capture_output=True, text=True, check=False
    )
    if done.returncode == _CANNOT:
        pytest.skip(done.stderr.splitlines()[0])
    assert done.returncode == 0, done.stderr
    for said in ("by-1: the same set", "by-4: the same set", "cancelled: the same set", "a server for each task"):
        assert said in done.stdout
