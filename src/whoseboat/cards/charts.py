"""The charts of a dataset that reports draw, and cards show where they are there."""

from __future__ import annotations

from collections.abc import Mapping

# Every chart that a report of a dataset may have, in the order of the page: what its PNG `assets/NAME.png` shows.
CHARTS: Mapping[str, str] = {
    "accuracy": "how often a judge picks the response a persona was inferred from, by side",
    "specificity": "how much of that is lost with another pair's personas, by part of the pairs and side",
    "accuracy_by_part": "how often a judge picks the response in both orders, by part of the pairs and side",
    "preference": "which of two personas a judge prefers: wins, ties, losses and what is missing",
    "words": "words that tell personas of the two sides apart",
    "words_clause": "words that tell apart what personas of the two sides contrast their wishes with",
    "length_ratio": "which response is the longer one, and by how much",
    "persona_lengths": "how many words personas have, by side",
    "drops": "what became of the candidates: rows, and what was left behind, by reason",
    "flags": "what checks flag, by check and side",
    "other_figures": "shares of personas and pairs that checks found, by side",
}
# Those that a card shows outright; the others can be opened.
FIRST = ("accuracy", "specificity", "preference", "words")


def place_of(chart: str) -> str:
    """Return where the PNG of a chart lies in a folder."""
    return f"assets/{chart}.png"


def places() -> list[str]:
    """Return where the PNGs of all charts lie."""
    return [place_of(chart) for chart in CHARTS]
