"""Whose persona a pair gets for the control: another pair's of the same part of the source, of another conversation.

Within a part personas are shuffled: every donor gives once. A pair that its part has no donor for (one conversation is
more than half of it) gets one of another part; where the whole set is one conversation, it has none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from whoseboat.quality.pairs import CheckedPair

# So many are looked at for a pair that most others will not do for.
_MOST_TRIED = 1_000

Group = Callable[[CheckedPair], str]
Fits = Callable[[CheckedPair, CheckedPair], bool]


@dataclass(frozen=True, slots=True)
class Donor:
    """A pair whose personas another one gets, and whether both are of the same part of the source."""

    pair: CheckedPair
    is_of_part: bool


def donors(
    pairs: Sequence[CheckedPair],
    group: Group,
    fits: Fits = lambda pair, donor: True,
) -> list[Donor | None]:
    """Return for each pair the one whose personas it gets; None where there is none.

    What is returned depends on the pairs, not on their order.

    Args:
        pairs: all of them.
        group: what no pair shares with its donor: the conversation, or the person.
        fits: what else has to hold of a pair and its donor.

    """
    found: list[Donor | None] = [None] * len(pairs)
    parts: dict[str | None, list[int]] = {}
    for place in sorted(range(len(pairs)), key=lambda place: _draw(pairs[place].id)):
        parts.setdefault(pairs[place].source_split, []).append(place)
    for places in parts.values():
        for place, donor in _shuffled([(place, group(pairs[place])) for place in places]):
            if fits(pairs[place], pairs[donor]):
                found[place] = Donor(pairs[donor], is_of_part=True)
    lacking = {place for place, donor in enumerate(found) if donor is None}
    if lacking:
        for place, donor in _drawn(pairs, lacking, group, fits):
            found[place] = Donor(pairs[donor], pairs[donor].source_split == pairs[place].source_split)
    return found


def _shuffled(grouped: list[tuple[int, str]]) -> Iterator[tuple[int, int]]:
    """Yield places with those of their donors: groups side by side, everyone gets from as far on as the largest.

    So no step ends in the group it began in, as long as the largest is at most half of all; of a larger one as many are
    left out as have no donor.
    """
    members = _by_group(grouped)
    largest = max(members, key=lambda name: (len(members[name]), name))
    members[largest] = members[largest][: len(grouped) - len(members[largest])]
    step = max(map(len, members.values()))
    order = [place for places in members.values() for place in places]
    yield from ((place, order[(at + step) % len(order)]) for at, place in enumerate(order))


def _drawn(pairs: Sequence[CheckedPair], lacking: set[int], group: Group, fits: Fits) -> Iterator[tuple[int, int]]:
    """Yield places that lack a donor with one of another group, drawn from all pairs; it may give several times."""
    everyone = sorted(range(len(pairs)), key=lambda place: _draw(pairs[place].id))
    start = 0
    members = _by_group([(place, group(pairs[place])) for place in everyone])
    order = [place for places in members.values() for place in places]
    for places in members.values():
        others = len(order) - len(places)
        for place in sorted(lacking.intersection(places)):
            drawn = int.from_bytes(_draw(f"donor\0{pairs[place].id}"))
            for tried in range(min(others, _MOST_TRIED)):
                donor = order[(start + len(places) + (drawn + tried) % others) % len(order)]
                if fits(pairs[place], pairs[donor]):
                    yield place, donor
                    break
        start += len(places)


def _by_group(grouped: list[tuple[int, str]]) -> dict[str, list[int]]:
    """Return the places of each group, groups in an order that depends on their names by a hash alone."""
    members: dict[str, list[int]] = {}
    for place, name in grouped:
        members.setdefault(name, []).append(place)
    return {name: members[name] for name in sorted(members, key=_draw)}


def _draw(text: str) -> bytes:
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=16, person=b"donors").digest()
