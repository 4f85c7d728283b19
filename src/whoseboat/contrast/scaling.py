"""By how much two responses differ on each axis, in units that do not depend on the rest of a dataset."""

from __future__ import annotations

import json
from importlib import resources

from whoseboat.contrast.axes import AXES, STRUCTURAL, is_english, measure


def _load_scales() -> dict[str, dict[str, float]]:
    text = (resources.files("whoseboat.contrast") / "scales.json").read_text(encoding="utf-8")
    scales: dict[str, dict[str, float]] = json.loads(text)
    return scales


_SCALES = _load_scales()
# The standard deviation of differences within pairs, and how much of what users wish for an axis tells, as `AXES`.
SPREADS = [float(_SCALES["spreads"][axis]) for axis in AXES]
TELLING = [float(_SCALES["telling"][axis]) for axis in AXES]


def difference(first: str, second: str, english: bool | None = None) -> list[float]:
    """Return by how many spreads the first response is above the second, on each of `AXES`.

    Lexical axes are 0 where the responses are not English; `english` says so where it is known, else it is found out.
    """
    if english is None:
        english = is_english((first, second))
    scaled = [
        (one - other) / spread for one, other, spread in zip(measure(first), measure(second), SPREADS, strict=True)
    ]
    return scaled if english else scaled[: len(STRUCTURAL)] + [0.0] * (len(AXES) - len(STRUCTURAL))
