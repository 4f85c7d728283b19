"""nbalepur/persona-tailoring: the pairs the paper trained on, each with the two personas it inferred.

Files: `CONFIG/SPLIT-00000-of-00001.parquet`, CONFIG as in `persona_inference` but for SHP; splits `fewshot`,
`sft_train`, `sft_val`, `dpo_train`, `dpo_val`, `test`. Columns verified on the Arrow files: `prompt`, `chosen`,
`rejected`, `chosen_persona_gold`, `rejected_persona_gold`, `chosen_persona_retr`, `rejected_persona_retr`, all text.

Each row is one pair; `*_gold`, the personas the paper inferred for the very pair, are kept as the source's own and
published as they are (engine `published`). `*_retr`, personas of a similar pair, are ignored: they are not of this one.
The paper calls the first gold; they are inferred, too. A row without both is dropped as `no_persona`, so that it does
not make a row of the same pair with personas a duplicate.

Quirks: `fewshot` rows are among those of the sft splits, so they are read only where that split is asked for; `test` is
held out, as always where there is a train split; all rows of `Mnemonic/test` have empty responses and personas, and
become drops. Sources within, safety and licence: as `persona_inference` has it; a release of the one shares pairs with
a release of the other (unverified how many), so give `--exclude`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from whoseboat.files import DataFile, Record
from whoseboat.published import Records, read_published
from whoseboat.records import Drop, Origin, Pair
from whoseboat.sources import Reading, Request, Source
from whoseboat.sources.persona_inference import (
    COLUMNS,
    MIXTURE,
    SAFETY_RULE,
    config_option,
    is_wanted,
    part_of,
    to_pair,
)

PERSONAS = ("chosen_persona_gold", "rejected_persona_gold")


def to_pairs(records: Records, options: Mapping[str, str]) -> Iterator[Pair | Drop]:
    """Turn each row into a pair with the personas of the source."""
    return (_pair(record, origin) for record, origin in records)


def _pair(record: Record, origin: Origin) -> Pair | Drop:
    item = to_pair(record, origin, _personas(record))
    if isinstance(item, Pair) and item.personas is None:
        return Drop(origin, "read", "no_persona", f"{' or '.join(PERSONAS)} is no text, or empty", item.id)
    return item


def _personas(record: Record) -> tuple[str, str] | None:
    texts = [record.get(name) for name in PERSONAS]
    chosen, rejected = (text.strip() if isinstance(text, str) else "" for text in texts)
    try:
        (chosen + rejected).encode()
    except UnicodeEncodeError:
        return None  # no file can store them
    return (chosen, rejected) if chosen and rejected else None


def read(request: Request) -> Reading:
    """Open the set: on the Hub, or its files on disk."""
    asked = request.split or ""

    def is_read(file: DataFile, options: Mapping[str, str]) -> bool:
        return is_wanted(file, options) and ("fewshot" in asked or not part_of(file).endswith("/fewshot"))

    return read_published(SOURCE, request, to_pairs, [*COLUMNS, *PERSONAS], is_wanted=is_read, part_of=part_of)


SOURCE = Source(
    name="persona-tailoring",
    title="Persona Tailoring (the paper's set)",
    about=(
        "Each row is one pair with the personas the paper inferred for it, as the paper took it from HH-RLHF (config "
        "Anthropic HHH), BeaverTails, or keyword mnemonics."
    ),
    read=read,
    options=(config_option(("hh", "beavertails", "mnemonic")),),
    repo="nbalepur/persona-tailoring",
    size="3,836 pairs to train on, 1,499 held out",
    languages=("en",),
    safety=SAFETY_RULE,
    files="Anthropic HHH/SPLIT-*.parquet, BeaverTails/..., Mnemonic/...",
    has_personas=True,
    mixture_of=MIXTURE.format(""),
    personas_about=(
        "A language model inferred the personas from the very pairs, for the paper; no person described themselves."
    ),
    by_record=True,
)
