"""What is said of work that goes on: as much as there is room for, and no more often than is of use."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whoseboat.cli.progress import Pace, build_line
from whoseboat.llm.budget import Tally
from whoseboat.pipeline import Progress


def far(**changes: int) -> Progress:
    """Return a build with a language model that is some way on."""
    tally = Tally()
    tally.answered, tally.failed, tally.note = 5_200, 12, "the endpoint asks for patience"
    dropped = Counter({"not_sampled": 2_048, "too_long": 3})
    return Progress(120, dropped, tally, taken=2_200, share_read=lambda: 0.5, **changes)


def test_pairs_that_were_not_drawn_are_told_apart() -> None:
    """What `--limit` leaves out was not dropped for a fault."""
    early = Progress(0, Counter({"not_sampled": 2_048}))
    assert build_line(early, 1.0).startswith("2,048 rows, 0 kept, 0 dropped, 2,048 not drawn")
    assert build_line(Progress(7, Counter({"too_long": 3})), 1.0) == "10 rows, 7 kept, 3 dropped, 10 rows/s"


@given(st.integers(12, 300))
def test_a_line_fits_into_its_room(room: int) -> None:
    """Where there is little, the rows stay, and what was kept; with room for all nothing is left out."""
    line, whole = build_line(far(), 60.0, room), build_line(far(), 60.0)
    assert len(line) <= room
    assert line.startswith("2,171 rows")
    assert room < len(whole) or line == whole
    if room >= 60:
        assert "120 kept" in line
        assert "left" in line


def test_lines_come_a_twentieth_of_the_work_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or half a minute, never two in a moment, and always at the end; the time left goes by what was done."""
    now = 100.0
    monkeypatch.setattr("whoseboat.cli.progress.time.monotonic", lambda: now)
    pace, told = Pace(), []
    for step in range(1, 1_001):
        now += 1.0
        if pace.is_due(step, 1_000):
            told.append((step, pace.left(step, 1_000)))
    assert [step for step, _ in told][:3] == [30, 60, 90]
    assert told[0][1] == "about 0:16:10 left"
    assert told[-1] == (1_000, "")
    pace, quick = Pace(), []
    for step in range(1, 1_001):
        now += 0.1
        quick.append(pace.is_due(step, 1_000))
    assert sum(quick) == 20
    assert not Pace().is_due(1, 10)
    assert Pace().is_due(10, 10)
