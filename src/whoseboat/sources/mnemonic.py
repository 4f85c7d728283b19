"""nbalepur/Mnemonic_Chosen_Rejected: mnemonics for English words, two a word, one preferred by students who learnt.

Read by default is the set made of the students' preferences, expressed in ratings and observed in what they learnt, for
training (splits `train` and `val`, Parquet, fewer than 1,000 rows; verified on code that reads it). The columns are NOT
verified: `prompt`, `chosen` and `rejected`, each a text, are assumed, since the paper's sets of personas have those.
Where they are others, the error names those found. `nbalepur/Mnemonic_Pref`, with the students' ratings, is read by
`--from nbalepur/Mnemonic_Pref` if it has these columns, which is not known either.

Licence: none stated. Students are not told apart in what is known of the columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from whoseboat.files import Record
from whoseboat.published import CAP, Records, capped, read_published
from whoseboat.records import Drop, EmptyPromptError, Message, Origin, Pair
from whoseboat.sources import Reading, Request, Source

COLUMNS = ("prompt", "chosen", "rejected")


def to_pairs(records: Records, options: Mapping[str, str]) -> Iterator[Pair | Drop]:
    """Turn each row into a pair."""
    return capped((_pair(record, origin) for record, origin in records), options)


def _pair(record: Record, origin: Origin) -> Pair | Drop:
    texts = [record.get(name) for name in COLUMNS]
    if not all(isinstance(text, str) for text in texts):
        return Drop(origin, "read", "malformed", f"{', '.join(COLUMNS)}: one of them is no text")
    prompt, chosen, rejected = (str(text).strip() for text in texts)
    try:
        return Pair((Message("user", prompt),), chosen, rejected, origin, language="en", domain="mnemonic")
    except EmptyPromptError as error:
        return Drop(origin, "read", "empty_prompt", str(error))
    except ValueError as error:
        return Drop(origin, "read", "malformed", str(error))


def read(request: Request) -> Reading:
    """Open the set: on the Hub, or its files on disk."""
    return read_published(SOURCE, request, to_pairs, COLUMNS)


SOURCE = Source(
    name="mnemonic",
    title="Mnemonics preferred by students",
    about=(
        "Each row is one pair: of two mnemonics for a word the one that students preferred is chosen. The columns "
        "prompt, chosen and rejected are assumed, not verified."
    ),
    read=read,
    options=(CAP,),
    repo="nbalepur/Mnemonic_Chosen_Rejected",
    size="fewer than 1,000 pairs",
    languages=("en",),
    files="data/train-*.parquet and data/val-*.parquet",
    citation="""@inproceedings{balepur2024smart,
  title     = {A {SMART} Mnemonic Sounds like ``Glue Tonic'': Mixing {LLM}s with Student Feedback
               to Make Mnemonic Learning Stick},
  author    = {Balepur, Nishant and others},
  booktitle = {Proceedings of the 2024 Conference on Empirical Methods in Natural Language Processing},
  year      = {2024}
}""",
    by_record=True,
)
