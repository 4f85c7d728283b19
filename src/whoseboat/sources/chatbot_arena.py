"""lmsys/chatbot_arena_conversations: people chat with two unnamed models at once and say which was better. Gated.

Columns verified on the dataset card: `question_id`, `model_a`, `model_b`, `winner` (`model_a`, `model_b`, `tie`,
`tie (bothbad)`), `judge` (a number for each user), `conversation_a`, `conversation_b` (lists of `{content, role}`),
`turn`, `anony`, `language` (an English name), `tstamp`, `openai_moderation` (with `flagged`) and `toxic_chat_tag` (with
`flagged` of `roberta-large` and of `t5-large`). Not verified: which names of languages occur; unknown ones are left
empty.

The vote is on whole conversations with the same turns of the user. A pair is the last reply of each, and so only where
all turns before it agree, those of the models included: in practice conversations of one turn. Others are dropped
(`diverging_context`), since their last replies answer different conversations. Both kinds of tie are dropped.
`user_id` is a pseudonym of `judge`. Many users open with the same words, so the cap counts the pairs of each of them.

The flags speak of a conversation and do not say which response is unsafe: where any is set, the whole pair counts as
unsafe and is dropped by default. Where none is set but one is not there, it is marked as red-team and stays out of
tailoring by default; where all are there and none is set, it is unlabelled: nobody labelled the responses safe.

Licence: prompts CC BY 4.0, model outputs CC BY-NC 4.0; so say the publishers of their sets of that year, the card of
this one was not seen. Its files are handed out only to those who accept its terms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from whoseboat.files import Record
from whoseboat.languages import named_language
from whoseboat.published import CAP, Pseudonyms, Records, capped, conversation, read_published, refused
from whoseboat.records import Drop, Origin, Pair, Safety
from whoseboat.sources import Reading, Request, Source

COLUMNS = ("winner", "judge", "conversation_a", "conversation_b", "language", "openai_moderation", "toxic_chat_tag")
TAGGERS = ("roberta-large", "t5-large")


def to_pairs(records: Records, options: Mapping[str, str]) -> Iterator[Pair | Drop]:
    """Turn each vote into a pair."""
    users = Pseudonyms("chatbot-arena")
    return capped((_pair(record, origin, users) for record, origin in records), options, by_user=SOURCE.cap_by_user)


def _pair(record: Record, origin: Origin, users: Pseudonyms) -> Pair | Drop:
    winner, judge = record.get("winner"), record.get("judge")
    if winner in ("tie", "tie (bothbad)"):
        return Drop(origin, "read", "tie", "both replies are bad" if winner != "tie" else "both replies are as good")
    if winner not in ("model_a", "model_b"):
        return Drop(origin, "read", "malformed", "winner is not model_a, model_b, tie or tie (bothbad)")
    try:
        sides = [conversation(record.get(name)) for name in ("conversation_a", "conversation_b")]
    except ValueError as error:
        return refused(origin, error)
    if any(side[-1].role != "assistant" for side in sides):
        return Drop(origin, "read", "malformed", "a conversation does not end with the assistant's turn")
    if sides[0][:-1] != sides[1][:-1]:
        return Drop(origin, "read", "diverging_context", "the conversations differ before the last reply")
    chosen, rejected = sides if winner == "model_a" else reversed(sides)
    try:
        return Pair(
            prompt=tuple(chosen[:-1]),
            chosen=chosen[-1].content,
            rejected=rejected[-1].content,
            origin=origin,
            language=named_language(record.get("language")),
            user_id=users.of(judge) if isinstance(judge, (str, int)) and not isinstance(judge, bool) else None,
            domain="dialogue",
            safety=_safety(record),
        )
    except ValueError as error:
        return refused(origin, error)


def _safety(record: Record) -> Safety:
    tags = record.get("toxic_chat_tag")
    labels = [
        record.get("openai_moderation"),
        *(tags.get(name) if isinstance(tags, dict) else None for name in TAGGERS),
    ]
    flags = [label.get("flagged") if isinstance(label, dict) else None for label in labels]
    if True in flags:
        return "unsafe"
    return "unlabelled" if all(flag is False for flag in flags) else "red-team"


def read(request: Request) -> Reading:
    """Open the set: on the Hub, or its files on disk."""
    return read_published(SOURCE, request, to_pairs, COLUMNS)


SOURCE = Source(
    name="chatbot-arena",
    title="Chatbot Arena Conversations",
    about=(
        "Each row is one pair: of two conversations the last replies, the winner's chosen. Ties are dropped, and rows "
        "whose conversations differ before the last reply."
    ),
    read=read,
    options=(replace(CAP, help="the most pairs of one user's prompt, in the order of the file; 0: all"),),
    repo="lmsys/chatbot_arena_conversations",
    revision="1b6335d42a1d2c7e34870c905d03ab964f7f2bd8",  # others pin it, too: seen in the code of several
    license="cc-by-4.0 (prompts), cc-by-nc-4.0 (model outputs)",
    license_known_from="source documentation",
    size="33,000 votes on conversations in 96 languages, mostly English",
    languages=("en",),
    users="told apart (13,383); pseudonyms here",
    safety=(
        "Conversations are flagged by moderation models. Unless unsafe responses are asked for, pairs of flagged ones "
        "are dropped, and pairs that lack a flag are kept out of tailoring; the others are not labelled safe."
    ),
    files="data/train-*.parquet",
    citation="""@article{zheng2023judging,
  title   = {Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena},
  author  = {Zheng, Lianmin and others},
  journal = {arXiv preprint arXiv:2306.05685},
  year    = {2023}
}""",
    by_record=True,
    cap_by_user=True,
)
