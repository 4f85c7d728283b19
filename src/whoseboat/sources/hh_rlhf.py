r"""Anthropic/hh-rlhf: dialogues with an assistant, the last reply chosen or rejected by a crowd worker.

Files: `TRANCHE/SPLIT.jsonl.gz`, on the Hub and on disk alike; rows `{"chosen": transcript, "rejected": transcript}`,
where a transcript is `\n\nHuman: ...\n\nAssistant: ...` to the final reply, and both share all but that reply.
Licence: MIT, stated by the dataset card and the repository; of a copy on the Hub it is what the copy's card states.

Quirks, all met in the published files: identical pairs; empty replies; two turns of one speaker in a row (joined with a
blank line, since chat templates want turns to alternate); rows whose transcripts differ before the last reply (dropped:
they do not answer the same prompt). The tranche `harmless-base` was written by people who tried to draw harmful
replies; it is marked as red-team. `red-team-attempts` holds no pairs and is not read.

A file's tranche is looked for in all parts of its path, as given and with links resolved (the cache of the Hub's client
links names to blobs), however spelt. A red-team one wins wherever it stands: such a file is never taken as helpful.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import PurePosixPath

from whoseboat.errors import DataError, UsageError
from whoseboat.files import DataFile, HubFile, Record, records, stem
from whoseboat.hub import DatasetState
from whoseboat.records import Drop, EmptyPromptError, Message, Origin, Pair
from whoseboat.sources import (
    NO_LABELS,
    UNKNOWN,
    ByFile,
    Option,
    Provenance,
    Reading,
    Request,
    Source,
    chosen_options,
    find_files,
    hold_out_test,
    of_names,
    part_names,
    values_of,
)

REPO = "Anthropic/hh-rlhf"
LICENSE = "mit"
TRANCHES = ("helpful-base", "helpful-online", "helpful-rejection-sampled", "harmless-base")
RED_TEAM = {"harmless-base"}
NO_PAIRS = "red-team-attempts"
PAIR_RULE = (
    "Each row is one pair: the last reply of the chosen and of the rejected transcript; all turns before it are the "
    "prompt. Rows whose transcripts differ before the last reply are dropped."
)
RED_TEAM_RULE = (
    "The source states no safety labels; its tranche harmless-base was written to draw harmful replies, so its pairs "
    "are kept out of tailoring unless unsafe responses are asked for."
)
CITATION = """@article{bai2022training,
  title  = {Training a Helpful and Harmless Assistant with Reinforcement Learning from Human Feedback},
  author = {Bai, Yuntao and others},
  journal = {arXiv preprint arXiv:2204.05862},
  year   = {2022}
}"""
OPTIONS = (
    Option("tranche", "which parts to read", ",".join(TRANCHES), choices=TRANCHES, many=True),
)  # fmt: skip

# What speaks of red-team material in a path that names no tranche.
_RED_TEAM_WORDS = ("harmless", "redteam", "red-team")
_TURN = re.compile(r"(?:\A|\n\n)(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}


def parse_transcript(text: str) -> list[Message]:
    r"""Split a transcript `\n\nHuman: ...\n\nAssistant: ...` into its messages, texts stripped of outer white space.

    Raises:
        ValueError: there is no speaker, or text before the first one.

    """
    before, *parts = _TURN.split(text)
    if not parts:
        raise ValueError("no speaker: expected a transcript with 'Human:' and 'Assistant:'")
    if before.strip():
        raise ValueError(f"text before the first speaker: {before.strip()[:60]!r}")
    return [
        Message("user" if speaker == "Human" else "assistant", content.strip())
        for speaker, content in zip(parts[::2], parts[1::2], strict=True)
    ]


def to_pair(record: Record, origin: Origin, tranche: str) -> Pair | Drop:
    """Turn one row of the published files into a pair, or into a drop with the reason why it is none."""
    try:
        chosen, rejected = (_transcript(record, side) for side in ("chosen", "rejected"))
    except ValueError as error:
        return Drop(origin, "read", "malformed", str(error))
    if chosen[:-1] != rejected[:-1]:
        return Drop(origin, "read", "diverging_context", "the transcripts differ before the last reply")
    try:
        return Pair(
            prompt=tuple(_joined(chosen[:-1])),
            chosen=chosen[-1].content,
            rejected=rejected[-1].content,
            origin=origin,
            language="en",
            domain="dialogue",
            safety="red-team" if tranche in RED_TEAM else "unlabelled",
        )
    except EmptyPromptError as error:
        return Drop(origin, "read", "empty_prompt", str(error))
    except ValueError as error:
        return Drop(origin, "read", "malformed", str(error))


def _transcript(record: Record, side: str) -> list[Message]:
    text = record.get(side)
    if not isinstance(text, str):
        raise ValueError(f"column {side!r}: expected a transcript, found {type(text).__name__}")  # noqa: TRY004 - a row's fault
    messages = parse_transcript(text)
    if messages[-1].role != "assistant":
        raise ValueError(f"column {side!r}: the transcript ends with the human's turn")
    return messages


def _joined(messages: list[Message]) -> list[Message]:
    """Join turns of the same speaker that follow one another."""
    joined: list[Message] = []
    for message in messages:
        if joined and joined[-1].role == message.role:
            message = Message(message.role, f"{joined.pop().content}\n\n{message.content}")
        joined.append(message)
    return joined


def read(request: Request) -> Reading:
    """Open the set: on the Hub, at a revision, or as files on disk (the set's directory, a tranche's, or one file)."""
    options = chosen_options(OPTIONS, request)
    wanted = values_of(options["tranche"])
    found, state = find_files(request, REPO)
    tranche_of = _tranches(found, request)
    files, held_out = hold_out_test([file for file in found if tranche_of[file.name] in wanted], request.split)
    read_from = {tranche_of[file.name] for file in files}
    lacking = [tranche for tranche in wanted if tranche not in read_from]
    if not files or (lacking and "tranche" in request.options):
        split = f" and split {request.split!r}" if request.split else ""
        notes = {name: tranche or "no tranche" for name, tranche in tranche_of.items()}
        notes |= {file.name: f"{tranche_of[file.name]}, held out as the source's own test split" for file in held_out}
        raise DataError(
            f"no file of the tranches{split} asked for",
            where=str(request.data_dir or (state and state.repo)),
            expected=f"TRANCHE/{request.split or 'SPLIT'}.jsonl.gz for TRANCHE {', '.join(lacking)}",
            found=", ".join(f"{name} ({note})" for name, note in list(notes.items())[:5]),
            todo="" if request.split else "give one tranche by --option tranche=... if the directory does not name it",
        )
    licence, known_from = _licence(state)
    provenance = Provenance(
        source="hh-rlhf",
        name="hh-rlhf",
        title="HH-RLHF",
        pair_rule=PAIR_RULE,
        repo=state.repo if state else REPO,
        revision=state.commit if state else None,
        files=tuple(file.name for file in files),
        held_out=tuple(file.name for file in held_out),
        license=licence,
        license_known_from=known_from,
        languages=("en",),
        split=request.split,
        options=options,
        citation=CITATION,
        safety_rule=RED_TEAM_RULE if RED_TEAM & read_from else NO_LABELS,
    )
    parts = part_names(files, lambda file: f"{tranche_of[file.name]}/{PurePosixPath(stem(file.name)).name}")

    def of_files(names: Collection[str]) -> Iterator[Pair | Drop]:
        return _pairs(of_names(files, names), tranche_of, parts)

    names = tuple(file.name for file in files)
    return Reading(provenance, of_files(names), ByFile(names, of_files))


def _licence(state: DatasetState | None) -> tuple[str, str]:
    """Return the licence and where it is known from: a copy on the Hub may state another than the set."""
    if state is not None and state.license is not None:
        return state.license, "card"
    return (LICENSE, "source documentation") if state is None or state.repo == REPO else (UNKNOWN, UNKNOWN)


def _tranches(files: list[DataFile], request: Request) -> dict[str, str]:
    """Return the tranche of each file by its name, empty where it is not known.

    The tranche asked for is taken where no path names any: for a single file, or a directory without any named tranche.
    """
    named = {file.name: _named_tranche(_parts(file)) for file in files}
    if any(named.values()):
        return named
    asked = request.options.get("tranche", "")
    if request.data_dir is not None and request.data_dir.is_file() and asked not in TRANCHES:
        raise UsageError(
            "the file's path names no tranche, so it is not known whether it is a red-team file",
            where=str(request.data_dir),
            expected=f"a directory called {', '.join(TRANCHES)}",
            todo="say which it is: --option tranche=NAME",
        )
    return dict.fromkeys(named, asked if asked in TRANCHES else "")


def _parts(file: DataFile) -> list[str]:
    """Return all parts of a file's path: on disk as given and with links resolved, on the Hub with the repo's name."""
    if isinstance(file, HubFile):
        return [*file.repo.split("/"), *PurePosixPath(file.name).parts]
    return [*file.path.resolve().parts, *file.path.absolute().parts]


def _named_tranche(parts: Iterable[str]) -> str:
    """Return the tranche the parts of a path speak of, empty if none; a red-team one before any other."""
    spelt = [re.sub(r"[-_.\s]+", "-", part.lower()) for part in parts]
    for tranche in (NO_PAIRS, *RED_TEAM):
        if any(tranche in part for part in spelt):
            return tranche
    helpful = [tranche for part in spelt for tranche in TRANCHES if tranche in part]
    if helpful:
        return helpful[-1]
    return "harmless-base" if any(word in part for part in spelt for word in _RED_TEAM_WORDS) else ""


def _pairs(files: list[DataFile], tranche_of: dict[str, str], parts: Mapping[str, str]) -> Iterator[Pair | Drop]:
    for file in files:
        tranche = tranche_of[file.name]
        for row, (line, record) in enumerate(records(file, ("chosen", "rejected"))):
            yield to_pair(record, Origin(file.name, line, parts[file.name], row), tranche)


SOURCE = Source(
    name="hh-rlhf",
    title="Anthropic/hh-rlhf",
    about=PAIR_RULE,
    read=read,
    takes=frozenset({"data_dir", "repo", "revision", "split"}),
    options=OPTIONS,
    repo=REPO,
    license=LICENSE,
    license_known_from="card",
    size="about 169,000 pairs, of them 8,552 in test files",
    languages=("en",),
    safety=RED_TEAM_RULE,
    files="TRANCHE/train.jsonl.gz and TRANCHE/test.jsonl.gz",
    citation=CITATION,
)
