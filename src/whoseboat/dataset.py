"""The published dataset: its columns, its splits, and how a row becomes what `load_dataset` and `DPOTrainer` read.

Two configs: `pairs`, a row per pair, and `tailoring`, two adjacent rows per pair, one per side. Three more are
there where there is something for them: `samples`, further personas of a pair, `reasons`, people's own words, and
`retrieved`, personas of a similar pair.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from whoseboat.records import Message, Pair, Row

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = "1.0.0"
SPLITS = ("train", "validation", "test")
# The share of conversation roots that go to validation and to test.
_VALIDATION, _TEST = 0.05, 0.05


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its name, its type (`text`, `messages`, `number` or `integer`), and what it holds."""

    name: str
    type: str
    about: str


_ABOUT_MESSAGES = "a list of `{role, content}`"

PAIRS = (
    Column("id", "text", "hash of prompt, chosen and rejected response; the same in every release"),
    Column("prompt", "messages", f"the conversation up to the user's last turn: {_ABOUT_MESSAGES}"),
    Column("chosen", "messages", "the preferred reply, as one assistant message"),
    Column("rejected", "messages", "the other reply, as one assistant message"),
    Column("chosen_persona", "text", "inferred: a user who would prefer the chosen reply"),
    Column("rejected_persona", "text", "inferred: a user who would prefer the rejected reply"),
    Column("persona_engine", "text", "what inferred the personas"),
    Column("language", "text", "ISO 639-1 code, where the source states it"),
    Column("strength", "number", "how strongly the chosen reply was preferred, on the source's scale"),
    Column("user_id", "text", "pseudonym of the person who chose, where the source tells them apart"),
    Column("source_split", "text", "split or part of the source the pair stood in"),
    Column("source_row", "integer", "number of the record there, from 0"),
)
TAILORING = (
    Column("id", "text", "id of the pair; both its rows carry it"),
    Column("prompt", "messages", "the persona as system message, then the conversation"),
    Column("chosen", "messages", "the reply this persona prefers"),
    Column("rejected", "messages", "the other reply"),
    Column("persona", "text", "the inferred persona"),
    Column(
        "side",
        "text",
        "`chosen` or `rejected`: the side the persona was inferred from; for `rejected` the replies change places",
    ),
)
SAMPLES = (
    Column("id", "text", "id of the pair in `pairs`"),
    Column("sample", "integer", "number of the sample, from 1; sample 0 stands in `pairs`"),
    Column("chosen_persona", "text", "inferred: a user who would prefer the chosen reply"),
    Column("rejected_persona", "text", "inferred: a user who would prefer the rejected reply"),
    Column("persona_engine", "text", "what inferred the personas"),
)
REASONS = (
    Column("id", "text", "id of the pair in `pairs`"),
    Column("kind", "text", "`choice`: why this reply; `self-description`: who chose"),
    Column("text", "text", "words of a person, as the source publishes them"),
    Column("by", "text", "pseudonym of that person, where the source tells people apart"),
)
RETRIEVED = (
    Column("id", "text", "id of the pair in `pairs`"),
    Column("donor_id", "text", "id of the pair of `train`, of another conversation, whose prompt is most similar"),
    Column("chosen_persona", "text", "that pair's persona of the chosen side"),
    Column("rejected_persona", "text", "that pair's persona of the rejected side"),
    Column("score", "number", "how similar the prompts are, on the scale of `method`"),
    Column("method", "text", "what compared the prompts: `bm25`, or the name of what made sentence embeddings"),
)
DROPPED = (
    Column("id", "text", "id of the pair, where it was one"),
    Column("file", "text", "file of the source"),
    Column("line", "integer", "line or record in it, from 1"),
    Column("stage", "text", "where it was left behind: `read`, `screen`, `sample`, `infer` or `check`"),
    Column("reason", "text", "why, in a word"),
    Column("detail", "text", "why, in a sentence"),
)
CONFIGS: Mapping[str, tuple[Column, ...]] = {
    "pairs": PAIRS,
    "tailoring": TAILORING,
    "samples": SAMPLES,
    "reasons": REASONS,
    "retrieved": RETRIEVED,
}

_DIGESTED = {
    config: tuple(column.name for column in columns if column.type != "messages") for config, columns in CONFIGS.items()
}

Record = dict[str, Any]


def arrow_schema(columns: tuple[Column, ...]) -> pa.Schema:
    """Return the Arrow schema of these columns."""
    import pyarrow as pa

    messages = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    types = {"text": pa.string(), "messages": messages, "number": pa.float64(), "integer": pa.int64()}
    return pa.schema([(column.name, types[column.type]) for column in columns])


def split_of_root(root: str) -> str:
    """Return the split all pairs of one conversation root go to: 90 % train, 5 % validation, 5 % test, by its hash."""
    share = int.from_bytes(hashlib.blake2b(root.encode(), digest_size=8).digest()) / 2**64
    if share < _TEST:
        return "test"
    return "validation" if share < _TEST + _VALIDATION else "train"


def pairs_record(row: Row) -> Record:
    """Return the row of the config `pairs`."""
    pair = row.pair
    return {
        "id": pair.id,
        "prompt": _messages(pair.prompt),
        "chosen": _reply(pair.chosen),
        "rejected": _reply(pair.rejected),
        "chosen_persona": row.chosen_persona.text,
        "rejected_persona": row.rejected_persona.text,
        "persona_engine": row.chosen_persona.engine,
        "language": pair.language,
        "strength": pair.strength,
        "user_id": pair.user_id,
        "source_split": pair.origin.split,
        "source_row": pair.origin.row,
    }


def tailoring_records(row: Row) -> list[Record]:
    """Return the two rows of the config `tailoring`; for the rejected side the replies change places."""
    pair = row.pair
    chosen, rejected = _reply(pair.chosen), _reply(pair.rejected)
    sides = (
        ("chosen", row.chosen_persona.text, chosen, rejected),
        ("rejected", row.rejected_persona.text, rejected, chosen),
    )
    return [
        {
            "id": pair.id,
            "prompt": _messages(_with_persona(pair, persona)),
            "chosen": preferred,
            "rejected": other,
            "persona": persona,
            "side": side,
        }
        for side, persona, preferred, other in sides
    ]


def samples_records(row: Row) -> list[Record]:
    """Return the rows of the config `samples`: further samples of the personas of a pair."""
    return [
        {
            "id": row.pair.id,
            "sample": number,
            "chosen_persona": chosen.text,
            "rejected_persona": rejected.text,
            "persona_engine": chosen.engine,
        }
        for number, (chosen, rejected) in enumerate(row.further, start=1)
    ]


def reasons_records(row: Row) -> list[Record]:
    """Return the rows of the config `reasons`: what people themselves said about a choice."""
    return [
        {"id": row.pair.id, "kind": reason.kind, "text": reason.text, "by": reason.by} for reason in row.pair.reasons
    ]


def may_tailor(pair: Pair, include_unsafe: bool) -> bool:
    """Say whether a pair may teach a model to give either response when a persona asks for it.

    Where the rejected response is the unsafe one, that would be a jailbreak keyed by a persona.
    """
    return include_unsafe or pair.safety in ("safe", "unlabelled")


def to_text(record: Mapping[str, Any]) -> dict[str, str]:
    """Return prompt, chosen and rejected of a row of either config as plain text, for models without a chat template.

    A system message stands first by itself; turns are headed `User:` and `Assistant:`, but for a single user turn.

    >>> row = {"prompt": [{"role": "user", "content": "Hi"}], "chosen": [{"role": "assistant", "content": "Hello"}],
    ...        "rejected": [{"role": "assistant", "content": "Yes?"}]}
    >>> to_text(row)
    {'prompt': 'Hi', 'chosen': 'Hello', 'rejected': 'Yes?'}
    """
    system = [message["content"] for message in record["prompt"] if message["role"] == "system"]
    turns = [message for message in record["prompt"] if message["role"] != "system"]
    if len(turns) == 1:
        said = [turns[0]["content"]]
    else:
        said = [f"{message['role'].capitalize()}: {message['content']}" for message in turns]
    return {
        "prompt": "\n\n".join(system + said),
        "chosen": record["chosen"][-1]["content"],
        "rejected": record["rejected"][-1]["content"],
    }


def digest_of(config: str, record: Record, split: str) -> int:
    """Return the digest of a row of a config in its split. The digest of a dataset is their sum modulo 2**256.

    A sum does not depend on the order of rows, so rows made in any order or on several machines give the same. The id
    stands for prompt and responses.
    """
    data = orjson.dumps([config, split, *[record[name] for name in _DIGESTED[config]]])
    return int.from_bytes(hashlib.blake2b(data, digest_size=32).digest())


def _messages(messages: tuple[Message, ...]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


def _reply(content: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": content}]


def _with_persona(pair: Pair, persona: str) -> tuple[Message, ...]:
    system = [message.content for message in pair.prompt if message.role == "system"]
    turns = tuple(message for message in pair.prompt if message.role != "system")
    return (Message("system", "\n\n".join([*system, persona])), *turns)
