"""HannahRoseKirk/prism-alignment (PRISM): conversations with 21 language models, each reply scored by who wrote to it.

Files: `conversations.jsonl`, a conversation each, and `survey.jsonl`, a participant each. Columns verified on the
dataset's card and codebook: `user_id` and `conversation_history`, whose entries have `turn` (from 0),
`role` (user or model), `content`, `score` (1 to 100, a slider without numbers) and `if_chosen`. Up to four models reply
to the opening turn; the one chosen goes on, with two replies to each further turn. In each turn the chosen reply makes
a pair with each other one, after the earlier turns and their chosen replies; the strength is by how much it was scored
higher. The chosen reply is the highest scored one, by lot where several are: such pairs are dropped as ties.

Quirks: an empty reply is written `EMPTY STRING` (verified for replies in the codebook; other texts are treated alike);
a chosen reply may stand there twice. What follows a turn that is missing or without a choice lacks its context, and is
left. What users wrote of themselves in the survey goes with each of their pairs. Their `open_feedback` is on a
conversation as a whole, not on a choice between two replies, so it is not read. The survey is held
in memory: one text for each of 1,500 participants; of its columns only those two are used, and no other says anything
here: demographics are never read. Only a directory or a repo has a survey beside the conversations. The flags of
language and moderation are in a file of their own, keyed by ids that conversations lack (unverified: never seen), so
that neither is known of a row; the card says that 99 % are English.

Licence, stated by the card: what people wrote CC BY 4.0, what models wrote CC BY-NC 4.0, so CC BY-NC 4.0 for the whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

from whoseboat.errors import DataError
from whoseboat.files import DataFile, Record, records, stem
from whoseboat.published import Pseudonyms, Records, capped, read_published, refused, words
from whoseboat.records import Drop, Message, Origin, Pair, Reason
from whoseboat.sources import Option, Reading, Request, Source, find_files

REQUIRED = ("user_id", "conversation_history")
SURVEY = ("user_id", "self_description")
_EMPTY = "EMPTY STRING"


def to_pairs(
    conversations: Records, options: Mapping[str, str], survey: Mapping[str, str] | None = None
) -> Iterator[Pair | Drop]:
    """Turn each turn of a conversation into the pairs of its chosen reply with each other one.

    `survey` says how users described themselves, by their id.
    """
    pseudonyms = Pseudonyms("prism")
    return capped(_of_all(conversations, pseudonyms, survey or {}), options, by_user=SOURCE.cap_by_user)


def _of_all(conversations: Records, pseudonyms: Pseudonyms, survey: Mapping[str, str]) -> Iterator[Pair | Drop]:
    for record, origin in conversations:
        user = record.get("user_id")
        user_id = pseudonyms.of(user) if isinstance(user, str) else None
        described = words("self-description", survey.get(user), user_id) if isinstance(user, str) else ()
        yield from _of_conversation(record, origin, user_id, described)


def _of_conversation(
    record: Record, origin: Origin, user_id: str | None, described: tuple[Reason, ...]
) -> Iterator[Pair | Drop]:
    turns = _turns(record.get("conversation_history"))
    if not turns:
        yield Drop(origin, "read", "malformed", "conversation_history is no list of entries with a turn each")
        return
    context: tuple[Message, ...] = ()
    for position, (number, entries) in enumerate(turns.items()):
        if number != position:
            yield Drop(origin, "read", "missing_turn", f"turn {number} and what follows lack turn {position}")
            return
        prompts = [_text(entry, "content") for entry in entries if entry.get("role") == "user"]
        replies = [entry for entry in entries if entry.get("role") == "model"]
        chosen = [reply for reply in replies if reply.get("if_chosen") is True]
        contents = {_text(reply, "content") for reply in chosen}
        content = contents.pop() if len(contents) == 1 else None
        if len(prompts) != 1 or prompts[0] is None or content is None:
            yield Drop(origin, "read", "malformed", f"turn {number}: not one prompt with one chosen reply")
            return
        context = (*context, Message("user", prompts[0]))
        others = [reply for reply in replies if reply.get("if_chosen") is not True]
        if not others:
            yield Drop(origin, "read", "single_reply", f"turn {number}: the chosen reply is the only one")
        for other in others:
            yield _pair(context, chosen[0], other, origin, user_id, described)
        context = (*context, Message("assistant", content))


def _turns(history: object) -> dict[int, list[Record]]:
    """Return the entries of each turn, in their order; nothing where one is no entry of a turn."""
    turns: dict[int, list[Record]] = {}
    for entry in history if isinstance(history, list) else ():
        number = entry.get("turn") if isinstance(entry, dict) else None
        if type(number) is not int:
            return {}
        turns.setdefault(number, []).append(entry)
    return dict(sorted(turns.items()))


def _text(entry: Mapping[str, object], name: str) -> str | None:
    text = entry.get(name)
    if not isinstance(text, str):
        return None
    return "" if text.strip() == _EMPTY else text.strip()


def _pair(
    prompt: tuple[Message, ...],
    chosen: Record,
    other: Record,
    origin: Origin,
    user_id: str | None,
    reasons: tuple[Reason, ...],
) -> Pair | Drop:
    texts = [_text(reply, "content") for reply in (chosen, other)]
    scores = [_score(reply.get("score")) for reply in (chosen, other)]
    if texts[0] is None or texts[1] is None or scores[0] is None or scores[1] is None:
        return Drop(origin, "read", "malformed", "the content of a reply is no text, or its score no number")
    strength = scores[0] - scores[1]
    if strength == 0:
        return Drop(origin, "read", "tie", f"both replies have the score {scores[0]:g}")
    if strength < 0:
        return Drop(origin, "read", "contradiction", f"chosen, but scored lower: {scores[0]:g} and {scores[1]:g}")
    try:
        return Pair(
            prompt=prompt,
            chosen=texts[0],
            rejected=texts[1],
            origin=origin,
            strength=strength,
            user_id=user_id,
            domain="dialogue",
            reasons=reasons,
        )
    except ValueError as error:
        return refused(origin, error)


def _score(value: object) -> float | None:
    """Return a score as a number, None where it is none of the scale."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if 0 <= value <= 100 else None


def _survey(files: list[DataFile]) -> Mapping[str, str]:
    """Return how users described themselves, by their id; of each row nothing else is looked at."""
    described: dict[str, str] = {}
    for file in files:
        for row, (line, record) in enumerate(records(file, SURVEY)):
            if row == 0 and not set(SURVEY) <= set(record):
                raise DataError(
                    "the survey has not the columns of source 'prism'",
                    where=f"{file}, line {line}",
                    expected=", ".join(SURVEY),
                    found=", ".join(record) or "no column at all",
                    todo="check that these are the set's files, or read the file of conversations alone",
                )
            user, text = record.get("user_id"), _text(record, "self_description")
            if isinstance(user, str) and text:
                described[user] = text
    return described


def _is_of(file: DataFile, part: str) -> bool:
    """Say whether a file is of a part of the set: `PART.jsonl`, or `PART/...` as the Hub makes Parquet of it."""
    return part in stem(file.name).split("/")


def read(request: Request) -> Reading:
    """Open the set: on the Hub, or its files on disk."""
    found, state = find_files(request, SOURCE.repo, SOURCE.revision)
    if state is not None:
        request = replace(request, repo=state.repo, revision=state.commit)  # the survey is of the same commit
    survey = _survey([file for file in found if _is_of(file, "survey")])
    return read_published(
        SOURCE,
        request,
        partial(to_pairs, survey=survey),
        REQUIRED,
        is_wanted=lambda file, _: _is_of(file, "conversations"),
    )


SOURCE = Source(
    name="prism",
    title="PRISM",
    about=(
        "In each turn of a conversation the reply the user chose, the one scored highest, makes a pair with each "
        "other reply to the same prompt, after the earlier turns and their chosen replies; ties are dropped."
    ),
    read=read,
    takes=frozenset({"data_dir", "repo", "revision", "license"}),
    options=(Option("cap", "the most pairs of one user's prompt (0: all); prompts of others are not counted", "8"),),
    repo="HannahRoseKirk/prism-alignment",
    license="cc-by-nc-4.0",
    license_known_from="card",
    size="8,011 conversations, 68,371 scored replies",
    languages=("en",),
    users="1,396 participants, by pseudonyms; what they wrote of themselves is in the config reasons",
    safety=(
        "The source flags texts for moderation in a file that is not read, so nothing was left out for that; it may "
        "hold offensive and unsafe texts."
    ),
    reasons_license="cc-by-4.0",
    files="conversations.jsonl and, for self-descriptions, survey.jsonl",
    citation="""@article{kirk2024prism,
  title   = {The PRISM Alignment Project: What Participatory, Representative and Individualised Human Feedback
             Reveals About the Subjective and Multicultural Alignment of Large Language Models},
  author  = {Kirk, Hannah Rose and others},
  journal = {arXiv preprint arXiv:2404.16019},
  year    = {2024}
}""",
    by_record=True,
    cap_by_user=True,
)
