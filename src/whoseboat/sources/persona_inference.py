r"""nbalepur/persona-inference: the pairs the paper inferred personas from, 300 of each of four sets.

Files: `CONFIG/train-00000-of-00001.parquet`, where CONFIG is `Anthropic HHH` (with the space), `BeaverTails`,
`Mnemonic` or `SHP`; columns `prompt`, `chosen`, `rejected`, all text (verified by the repo's description of the set and
its Arrow files). Each row is one pair. The texts of `Anthropic HHH` keep `\n\nHuman:` and `\n\nAssistant:`; there
a text that starts with a speaker is read as a transcript, replies as well as prompts. How far replies repeat the prompt
is unverified: both are read. In the other configs every text is one message as it is, whatever it starts with.

The set is a mixture: `Anthropic HHH` is of Anthropic/hh-rlhf, `BeaverTails` of PKU-Alignment's sets, `SHP` of
stanfordnlp/SHP, `Mnemonic` of the authors' own keyword mnemonics. So a release of it shares pairs with releases of
those: `--exclude` keeps them apart. No row says whether a response is safe. BeaverTails has prompts made to draw unsafe
responses, and it is not known whether the HH rows are of the red-team tranche `harmless-base`: both configs are marked
as red-team, which gives `pairs` only. Licence: none is stated, and those of the four sets differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath

from whoseboat.files import DataFile, LocalFile, Record, stem
from whoseboat.published import Records, read_published, refused
from whoseboat.records import Domain, Drop, Message, Origin, Pair
from whoseboat.sources import Option, Reading, Request, Source, values_of
from whoseboat.sources.hh_rlhf import parse_transcript

CONFIGS = {"hh": "Anthropic HHH", "beavertails": "BeaverTails", "mnemonic": "Mnemonic", "shp": "SHP"}
DOMAINS: Mapping[str, Domain] = {"hh": "dialogue", "beavertails": "advice", "mnemonic": "mnemonic", "shp": "forum"}
RED_TEAM = {"hh", "beavertails"}
SAFETY_RULE = (
    "The source states no safety labels. BeaverTails has prompts made to draw unsafe responses, and which tranches of "
    "HH-RLHF the rows of Anthropic HHH are of is not known; pairs of both are kept out of tailoring unless unsafe "
    "responses are asked for."
)
MIXTURE = (
    "The pairs of config Anthropic HHH are of Anthropic/hh-rlhf, those of BeaverTails of PKU-Alignment's sets, those "
    "of Mnemonic of the authors' own keyword mnemonics{}. nbalepur/persona-inference and nbalepur/persona-tailoring "
    "share pairs, too (how many is not known): give --exclude to keep a release apart from those of the other and of "
    "these sets."
)
COLUMNS = ("prompt", "chosen", "rejected")
_SPEAKER = re.compile(r"\s*(Human|Assistant):")


def config_option(names: tuple[str, ...]) -> Option:
    """Return the option that says which configs are read, by their short names or those of their directories."""
    directories = tuple(CONFIGS[name] for name in names)
    return Option("config", "which configs to read", ",".join(names), (*names, *directories), many=True)


def config_of(file: DataFile) -> str:
    """Return the short name of the config a file is of, by the last directory that names one; empty if none does."""
    parts = file.path.absolute().parts if isinstance(file, LocalFile) else PurePosixPath(file.name).parts
    return _named(reversed(parts[:-1]))


def _named(parts: Iterable[str]) -> str:
    directories = {directory: name for name, directory in CONFIGS.items()}
    return next((directories[part] for part in parts if part in directories), "")


def is_wanted(file: DataFile, options: Mapping[str, str]) -> bool:
    """Say whether a file is of a config asked for."""
    config = config_of(file)
    return bool(config) and bool({config, CONFIGS[config]} & set(values_of(options["config"])))


def part_of(file: DataFile) -> str:
    """Return how the part a file holds is called: its config and its split, with its number where it is one of many."""
    split = PurePosixPath(stem(file.name)).name.removesuffix("-00000-of-00001")
    return f"{CONFIGS[config_of(file)]}/{split}"


def to_pairs(records: Records, options: Mapping[str, str]) -> Iterator[Pair | Drop]:
    """Turn each row into a pair."""
    return (to_pair(record, origin) for record, origin in records)


def to_pair(record: Record, origin: Origin, personas: tuple[str, str] | None = None) -> Pair | Drop:
    """Turn a row into a pair, or a drop; the config is told by the origin."""
    texts = [record.get(name) for name in COLUMNS]
    if not all(isinstance(text, str) for text in texts):
        return Drop(origin, "read", "malformed", "prompt, chosen or rejected is no text")
    prompt, chosen, rejected = (str(text) for text in texts)
    if not chosen.strip() or not rejected.strip():
        return Drop(origin, "read", "empty_reply", "the chosen or the rejected response is empty")
    config = _named(reversed((origin.split or "").split("/"))) or "hh"  # where none is known, the careful one
    try:
        if config == "hh":
            messages = conversation(prompt)
            chosen, rejected = reply_to(messages, chosen), reply_to(messages, rejected)
        else:
            messages = [Message("user", prompt.strip())]
        return Pair(
            prompt=tuple(messages),
            chosen=chosen.strip(),
            rejected=rejected.strip(),
            origin=origin,
            language="en",
            domain=DOMAINS[config],
            safety="red-team" if config in RED_TEAM else "unlabelled",
            personas=personas,
        )
    except ValueError as error:
        return refused(origin, error)


def conversation(text: str) -> list[Message]:
    """Return the messages of a text: those of a transcript, without an empty last reply; else one of the user's.

    Raises:
        ValueError: the transcript has text before its first speaker.

    """
    if not _SPEAKER.match(text):
        return [Message("user", text.strip())]
    joined: list[Message] = []
    for message in parse_transcript(text.strip()):
        if joined and joined[-1].role == message.role:
            message = Message(message.role, f"{joined.pop().content}\n\n{message.content}".strip())
        joined.append(message)
    if joined[-1] == Message("assistant", ""):
        joined.pop()
    return joined


def reply_to(prompt: list[Message], text: str) -> str:
    """Return the reply in a text: by itself, headed by its speaker, or at the end of a transcript with the prompt.

    Raises:
        ValueError: the transcript does not repeat the prompt, or does not end with a reply.

    """
    if not _SPEAKER.match(text):
        return text.strip()
    messages = conversation(text)
    if messages and messages[-1].role == "assistant" and messages[:-1] in ([], prompt):
        return messages[-1].content
    raise ValueError("a response that is a transcript of another prompt, or ends with no reply")


def read(request: Request) -> Reading:
    """Open the set: on the Hub, or its files on disk."""
    return read_published(SOURCE, request, to_pairs, COLUMNS, is_wanted=is_wanted, part_of=part_of)


SOURCE = Source(
    name="persona-inference",
    title="Persona Inference (the paper's set)",
    about=(
        "Each row is one pair, as the paper took it from one of four sets: HH-RLHF (config Anthropic HHH), "
        "BeaverTails, keyword mnemonics, Stanford Human Preferences."
    ),
    read=read,
    options=(config_option(("hh", "beavertails", "mnemonic", "shp")),),
    repo="nbalepur/persona-inference",
    size="1,200 pairs",
    languages=("en",),
    safety=SAFETY_RULE,
    mixture_of=MIXTURE.format(", those of SHP of stanfordnlp/SHP"),
    files="Anthropic HHH/train-*.parquet, BeaverTails/..., Mnemonic/..., SHP/...",
    by_record=True,
)
