"""What `build --drop-flagged` leaves behind: rows that a check of a single row finds something bad in.

Contacts in the source's own texts are looked for before a language model is asked; whatever is said of personas comes
after. A row is left behind whole, with the first thing that was found. Of further samples of its personas only the
flagged ones are left out, as are those a language model gave nothing usable for; how many is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from whoseboat.dataset import split_of_root
from whoseboat.quality import care
from whoseboat.quality.contacts import contacts_in
from whoseboat.quality.findings import Finding
from whoseboat.quality.form import Form
from whoseboat.quality.leakage import Leakage
from whoseboat.quality.pairs import CheckedPair
from whoseboat.quality.sameness import alike
from whoseboat.records import Drop, Pair, Persona, Row

STAGE, PREFIX = "check", "flagged_"
RowCheck = Callable[[CheckedPair], Iterable[Finding]]


class Flagging:
    """Applies checks of single rows, in their order; by default care, form, leakage and whether both sides are alike.

    `samples` counts the further samples of personas that were left out.
    """

    def __init__(self, checks: tuple[RowCheck, ...] | None = None) -> None:
        self._checks = checks if checks is not None else (care.findings, Form().add, Leakage().add, alike)
        self.samples = 0

    def pairs(self, items: Iterable[Pair | Drop]) -> Iterator[Pair | Drop]:
        """Drop pairs with an e-mail address or telephone number in their prompt, responses or reasons."""
        for item in items:
            detail = "" if isinstance(item, Drop) else _contacts(item)
            yield _drop(item, care.CONTACT, detail) if detail and isinstance(item, Pair) else item

    def rows(self, items: Iterable[Row | Drop]) -> Iterator[Row | Drop]:
        """Drop rows whose personas are flagged, and leave out further samples that are."""
        for item in items:
            yield item if isinstance(item, Drop) else self._row(item)

    def _row(self, row: Row) -> Row | Drop:
        found = self._bad(row.pair, row.chosen_persona, row.rejected_persona)
        if found is not None:
            is_of_one = found.side != "pair" and found.check != care.CONTACT
            return _drop(row.pair, found.check, f"{found.side} persona: {found.detail}" if is_of_one else found.detail)
        if not row.further:
            return row
        kept = tuple(sample for sample in row.further if self._bad(row.pair, *sample) is None)
        self.samples += len(row.further) - len(kept)
        return replace(row, further=kept)

    def _bad(self, pair: Pair, chosen: Persona, rejected: Persona) -> Finding | None:
        """Return the first bad finding of a pair with these personas."""
        checked = CheckedPair(
            id=pair.id,
            split=split_of_root(pair.root),
            prompt=pair.prompt,
            chosen=pair.chosen,
            rejected=pair.rejected,
            chosen_persona=chosen.text,
            rejected_persona=rejected.text,
            persona_engine=chosen.engine,
            language=pair.language,
            user_id=pair.user_id,
            source_split=pair.origin.split,
            root=pair.root,
        )
        return next((found for check in self._checks for found in check(checked) if found.is_bad), None)


def _contacts(pair: Pair) -> str:
    """Return the contacts in a pair's own texts in a few words, masked; empty where there are none."""
    texts = {
        "prompt": [message.content for message in pair.prompt],
        "chosen": [pair.chosen],
        "rejected": [pair.rejected],
        "reasons": [reason.text for reason in pair.reasons],
    }
    for column, parts in texts.items():
        if found := contacts_in("\n".join(parts)):
            return f"{column}: {care.told(found)}"
    return ""


def _drop(pair: Pair, check: str, detail: str) -> Drop:
    return Drop(pair.origin, STAGE, f"{PREFIX}{check}", detail, pair.id)
