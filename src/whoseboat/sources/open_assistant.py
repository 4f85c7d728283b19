"""OpenAssistant/oasst2 and oasst1 (OpenAssistant Conversations): trees of messages by volunteers, with ranked replies.

Files: `*_ready.trees.jsonl.gz`, a tree each, `{message_tree_id, tree_state, prompt}`; a message has `text`, `role`
(`prompter` or `assistant`), `lang`, `review_result`, `deleted`, `synthetic`, `rank` and `replies`, messages again.
Verified on the repository's own export (45 trees, 540 messages) and its schema; the files on the Hub have the same
columns by their cards, with `user_id` and more beside them, which are not read.

Replies to one message are ranked by several people together, 0 the best: the better ranked makes a pair with the worse
one, after the path from the root; `--option pairs=` says whether only the best does or each with each. The strength is
how many ranks are between them. Nobody says who ranked, so users are not told apart; `user_id` is whose message it is.
Dropped, with what follows them: messages that are deleted, failed their review, or are synthetic (a model's). Replies
without a rank are no pairs, but conversations go on after them, as they do after the only reply to a message.

Messages may carry `labels`, each `{value, count}` (verified on the schema alone, since those 45 trees have none): the
mean, 0 to 1, of what reviewers of the message said. Where the prompt, with all turns before it, or one of the two
replies has one of `HARMS` at `UNSAFE_FROM` or more, the pair counts as unsafe; all others are unlabelled, since few
people labelled each message and nobody called one safe.

Quirks: files of all trees (`*_all.trees`) hold unfinished and refused ones too, and are not read; nor are flat files
(`messages`, `prompts`, `spam`, Parquet), which have no `prompt`. Ranks may be absent or (unverified) equal. Messages
deeper than `DEEPEST` are left. Licence: Apache-2.0, stated by the cards.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

from whoseboat.files import DataFile, Record, stem
from whoseboat.published import CAP, Records, capped, language_of, read_published, refused
from whoseboat.records import Drop, Message, Origin, Pair
from whoseboat.sources import Option, Reading, Request, Source

# How many messages a path may have; those of the set have some ten.
DEEPEST = 100
# The labels that speak of harm, and from which value on a message is taken for unsafe.
HARMS = ("hate_speech", "not_appropriate", "sexual_content", "toxicity", "violence")
UNSAFE_FROM = 0.5
_LANGUAGES = "en es ru de pl th vi sv bn da he it fa sk id nb el nl hu eu zh eo ja ca cs bg fi pt tr ro ar uk gl fr ko"


@dataclass(frozen=True, slots=True)
class Turn:
    """A user's message, with the path to it from the root, and the usable replies to it.

    `unsafe` says whether a message of the path is labelled so.
    """

    prompt: tuple[Message, ...]
    replies: tuple[Record, ...]
    unsafe: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """A message that is not used, nor is what follows it."""

    reason: str
    detail: str


def walk(root: object) -> Iterator[Turn | Fault]:
    """Go through a tree in the order it is written in, without recursion; yield each user's turn, and what is left out.

    A message that is left out comes before the turn it would be a reply in.
    """
    waiting: list[tuple[object, tuple[Message, ...], bool]] = [(root, (), False)]
    while waiting:
        message, path, unsafe = waiting.pop()
        asked = _usable(message, "prompter", len(path))
        if isinstance(asked, Fault):
            yield asked
            continue
        prompt = (*path, Message("user", asked["text"].strip()))
        unsafe = unsafe or _is_unsafe(asked)
        usable = []
        for reply in _replies(asked):
            given = _usable(reply, "assistant", len(prompt))
            if isinstance(given, Fault):
                yield given
            else:
                usable.append(given)
        yield Turn(prompt, tuple(usable), unsafe)
        following = [
            (further, (*prompt, Message("assistant", reply["text"].strip())), unsafe or _is_unsafe(reply))
            for reply in usable
            for further in _replies(reply)
        ]
        waiting += reversed(following)


def _usable(message: object, role: str, depth: int) -> Record | Fault:
    """Return the message, or why it is not used."""
    if not isinstance(message, dict) or not isinstance(message.get("text"), str) or message.get("role") != role:
        return Fault("malformed", f"a message that is no {role}'s, or has no text")
    if depth >= DEEPEST:
        return Fault("too_deep", f"a message after {DEEPEST} others")
    if message.get("deleted") is True:
        return Fault("deleted", f"a message of the {role} was deleted, and what follows is left out")
    if message.get("review_result") is False:
        return Fault("failed_review", f"a message of the {role} failed its review, and what follows is left out")
    if message.get("synthetic") is True:
        return Fault("synthetic", f"a message of the {role} is a model's, and what follows is left out")
    return message


def _is_unsafe(message: Record) -> bool:
    """Say whether those who reviewed a message labelled it with one of the harms."""
    labels = message.get("labels")
    if not isinstance(labels, dict):
        return False
    found = [label.get("value") if isinstance(label, dict) else label for label in map(labels.get, HARMS)]
    return any(isinstance(value, (int, float)) and value >= UNSAFE_FROM for value in found)


def _replies(message: Record) -> list[object]:
    replies = message.get("replies")
    return replies if isinstance(replies, list) else []


def to_pairs(records: Records, options: Mapping[str, str]) -> Iterator[Pair | Drop]:
    """Turn each ranked set of replies into pairs of a better with a worse one."""
    every = options["pairs"] == "all"
    return capped((item for record, origin in records for item in _of_tree(record, origin, every)), options)


def _of_tree(record: Record, origin: Origin, every: bool) -> Iterator[Pair | Drop]:
    nothing = True
    for step in walk(record.get("prompt")):
        found = (
            [Drop(origin, "read", step.reason, step.detail)]
            if isinstance(step, Fault)
            else _of_turn(step, origin, every)
        )
        for item in found:
            nothing = False
            yield item
    if nothing:
        yield Drop(origin, "read", "no_reply", "no message of the tree has a reply")


def _of_turn(turn: Turn, origin: Origin, every: bool) -> Iterator[Pair | Drop]:
    ranked = sorted((reply for reply in turn.replies if _is_ranked(reply)), key=lambda reply: int(reply["rank"]))
    if len(turn.replies) == 1:
        yield Drop(origin, "read", "single_reply", "the only reply to its message")
        return
    for _ in range(len(turn.replies) - len(ranked)):
        yield Drop(origin, "read", "unranked", "a reply without a rank")
    if len(ranked) == 1:
        yield Drop(origin, "read", "single_reply", "the only ranked reply to its message")
    for better, worse in combinations(ranked, 2):
        if not every and better is not ranked[0]:
            return
        yield _pair(turn, better, worse, origin)


def _is_ranked(reply: Record) -> bool:
    rank = reply.get("rank")
    return type(rank) is int and 0 <= rank < 1_000_000


def _pair(turn: Turn, better: Record, worse: Record, origin: Origin) -> Pair | Drop:
    if better["rank"] == worse["rank"]:
        return Drop(origin, "read", "tie", f"both replies have rank {better['rank']}")
    try:
        return Pair(
            prompt=turn.prompt,
            chosen=better["text"].strip(),
            rejected=worse["text"].strip(),
            origin=origin,
            language=language_of(better.get("lang")),
            strength=float(worse["rank"] - better["rank"]),
            safety="unsafe" if turn.unsafe or _is_unsafe(better) or _is_unsafe(worse) else "unlabelled",
            domain="dialogue",
        )
    except ValueError as error:
        return refused(origin, error)


def _is_wanted(file: DataFile, _: Mapping[str, str]) -> bool:
    named = set(re.findall(r"[a-z0-9]+", stem(file.name).rpartition("/")[2].lower()))
    return bool(named & {"tree", "trees"}) and "all" not in named


def read(request: Request) -> Reading:
    """Open the set: on the Hub, or its files on disk."""
    return read_published(SOURCE, request, to_pairs, ["prompt"], is_wanted=_is_wanted)


SOURCE = Source(
    name="open-assistant",
    title="OpenAssistant Conversations",
    about=(
        "Of the replies to one message, ranked by several people, the best makes a pair with each worse one (or each "
        "better with each worse), after the path to it from the root of the tree."
    ),
    read=read,
    takes=frozenset({"data_dir", "repo", "revision", "license"}),
    options=(
        Option("pairs", "the best reply with each other one, or each with each worse one", "best", ("best", "all")),
        CAP,
    ),
    repo="OpenAssistant/oasst2",
    revision="179dd21fc55192153d94adb0e0ce8f69e222bf75",  # others pin it, too: seen in the code of several
    license="apache-2.0",
    license_known_from="card",
    size="13,854 trees (oasst1: 10,364)",
    languages=tuple(_LANGUAGES.split()),
    users="not told apart: replies are ranked by several people, who are not named",
    safety=(
        "Reviewers labelled messages. Where the mean of a label of harm (hate speech, inappropriate, sexual content, "
        "toxicity, violence) of the prompt or a reply is 0.5 or more, the pair counts as unsafe and is dropped by "
        "default; all others, and messages without such labels, count as unlabelled, not as safe."
    ),
    files="*_ready.trees.jsonl.gz",
    citation="""@article{kopf2023openassistant,
  title   = {OpenAssistant Conversations -- Democratizing Large Language Model Alignment},
  author  = {K{\\"o}pf, Andreas and others},
  journal = {arXiv preprint arXiv:2304.07327},
  year    = {2023}
}""",
    by_record=True,
)
