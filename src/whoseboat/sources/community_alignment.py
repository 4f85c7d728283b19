"""facebook/community-alignment-dataset (Community Alignment): in each turn, the reply a person prefers among four.

One file, `community_alignment.csv`, a conversation each. Columns verified on the card and in code that reads them:
`annotator_id`, `assigned_lang`, and for `first`, `second`, `third` and `fourth` each `X_turn_prompt`,
`X_turn_response_a` to `_d`, `X_turn_preferred_response` (`response_b`) and `X_turn_feedback`, why, in the annotator's
own words. The preferred response makes a pair with each other one, and the conversation goes on with it. Nobody says by
how much: there is no strength. The same prompt was shown to many people, so the cap is for each of them.

Quirks: responses may end in `<|end_of_text|>`, which is taken off; some repeat the preferred one word for word (left to
screening); there may be fewer than four, and turns that are missing: what follows a missing turn lacks its context, and
is dropped. The language is the one the annotator was assigned; a text may be in another. Columns `annotator_*` but for
the id are demographics, and never read. The older layout, `data/full_...` and `data/filtered_community_alignment.csv`,
is not read. Whether empty cells are always empty text is unverified; what is no text counts as missing.

Licence: CC BY 4.0, stated by the card, for the written reasons as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from whoseboat.files import DataFile, Record, stem
from whoseboat.published import Pseudonyms, Records, capped, language_of, read_published, refused, words
from whoseboat.records import Drop, Message, Origin, Pair, Reason
from whoseboat.sources import Option, Reading, Request, Source

TURNS = ("first", "second", "third", "fourth")
LETTERS = ("a", "b", "c", "d")
_END = "<|end_of_text|>"


def _columns(turn: str) -> list[str]:
    responses = [f"{turn}_turn_response_{letter}" for letter in LETTERS]
    return [f"{turn}_turn_prompt", *responses, f"{turn}_turn_preferred_response"]


REQUIRED = (
    "annotator_id",
    "assigned_lang",
    *(name for turn in TURNS for name in [*_columns(turn), f"{turn}_turn_feedback"]),
)


def to_pairs(records: Records, options: Mapping[str, str]) -> Iterator[Pair | Drop]:
    """Turn each turn of a conversation into the pairs of its preferred response with each other one."""
    pseudonyms = Pseudonyms("community-alignment")
    pairs = (item for record, origin in records for item in _of_conversation(record, origin, pseudonyms))
    return capped(pairs, options, by_user=SOURCE.cap_by_user)


def _of_conversation(record: Record, origin: Origin, pseudonyms: Pseudonyms) -> Iterator[Pair | Drop]:
    annotator = record.get("annotator_id")
    known = isinstance(annotator, (str, int)) and not isinstance(annotator, bool)
    user_id = pseudonyms.of(annotator) if known else None
    language = language_of(record.get("assigned_lang"))
    context: tuple[Message, ...] = ()
    missing = ""
    for turn in TURNS:
        if not any(_text(record, name) for name in _columns(turn)):
            missing = missing or turn
            continue
        if missing:
            yield Drop(origin, "read", "missing_turn", f"the {turn} turn and what follows lack the {missing} turn")
            return
        prompt = (*context, Message("user", _text(record, f"{turn}_turn_prompt")))
        named = _text(record, f"{turn}_turn_preferred_response")
        letter = next((letter for letter in LETTERS if named == f"response_{letter}"), "")
        preferred = _text(record, f"{turn}_turn_response_{letter}")
        if not prompt[-1].content or not preferred:
            yield Drop(origin, "read", "malformed", f"the {turn} turn lacks a prompt or a preferred response")
            return
        others = [_text(record, f"{turn}_turn_response_{other}") for other in LETTERS if other != letter]
        if not any(others):
            yield Drop(origin, "read", "single_reply", f"the {turn} turn has no other response")
        reasons = words("choice", record.get(f"{turn}_turn_feedback"), user_id)
        for other in filter(None, others):
            yield _pair(prompt, preferred, other, origin, language, user_id, reasons)
        context = (*prompt, Message("assistant", preferred))
    if missing == TURNS[0]:
        yield Drop(origin, "read", "malformed", "no turn has a prompt or a response")


def _text(record: Record, name: str) -> str:
    """Return a cell without what marks its end; empty where it is no text."""
    value = record.get(name)
    text = value.strip() if isinstance(value, str) else ""
    while text.endswith(_END):
        text = text.removesuffix(_END).rstrip()
    return text


def _pair(
    prompt: tuple[Message, ...],
    chosen: str,
    rejected: str,
    origin: Origin,
    language: str | None,
    user_id: str | None,
    reasons: tuple[Reason, ...],
) -> Pair | Drop:
    try:
        return Pair(
            prompt=prompt,
            chosen=chosen,
            rejected=rejected,
            origin=origin,
            language=language,
            user_id=user_id,
            domain="dialogue",
            reasons=reasons,
        )
    except ValueError as error:
        return refused(origin, error)


def _is_wanted(file: DataFile, _: Mapping[str, str]) -> bool:
    return PurePosixPath(stem(file.name)).name == "community_alignment"


def read(request: Request) -> Reading:
    """Open the set: on the Hub, or its files on disk."""
    return read_published(SOURCE, request, to_pairs, REQUIRED, is_wanted=_is_wanted)


SOURCE = Source(
    name="community-alignment",
    title="Community Alignment",
    about=(
        "In each turn of a conversation the response the annotator preferred makes a pair with each of the up to three "
        "others, after the earlier turns and their preferred responses."
    ),
    read=read,
    takes=frozenset({"data_dir", "repo", "revision", "license"}),
    options=(
        Option("cap", "the most pairs of one annotator's prompt (0: all); those of others are not counted", "12"),
    ),
    repo="facebook/community-alignment-dataset",
    revision="97343c7f6399fcbea430ed0f37c1768281a78d56",  # others pin it, too: seen in the code of several
    license="cc-by-4.0",
    license_known_from="card",
    size="233,319 comparisons among four",
    languages=("en", "fr", "hi", "it", "pt"),
    users="over 3,500 annotators, by pseudonyms; their written reasons are in the config reasons",
    reasons_license="cc-by-4.0",
    files="community_alignment.csv (version 1.1; the older files in data/ are not read)",
    citation="""@article{zhang2025cultivating,
  title   = {Cultivating Pluralism In Algorithmic Monoculture: The Community Alignment Dataset},
  author  = {Zhang, Lily Hong and Milli, Smitha and others},
  journal = {arXiv preprint arXiv:2507.09650},
  year    = {2025}
}""",
    by_record=True,
    cap_by_user=True,
)
