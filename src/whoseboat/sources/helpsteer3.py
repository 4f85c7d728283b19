"""nvidia/HelpSteer3, config `preference`: two replies to a conversation, compared by several people.

Columns verified on dataset cards (of the set and of copies), not on files: `domain`, `language`, `context` (a list of
`{role, content}`), `response1`, `response2`, `overall_preference` (-3 to 3: negative where response 1 is better, 0 a
tie), `individual_preference` (a list of `{score, reasoning, feedback1, feedback2}`, one for each person, without a
name). `strength` is the absolute value, 1 to 3. The other configs (feedback, edit, edit_quality, principle) are no
pairs and not read.

`language` names a natural language ("english") or, for code, a programming language: the first becomes its code, the
second says nothing of the language people wrote in and is left empty. The values other than "english" are not verified.
The reasoning of each person who preferred the chosen reply, as its `score` says, goes into the pair's reasons, word for
word but for "@Response 1" and "Response 2", which say nothing where the replies have no numbers: they become "the
chosen response" and "the rejected response". That of the others speaks for the other reply and is left out.
`feedback1` and `feedback2` are not read.

Licence: CC BY 4.0, stated by the card.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from whoseboat.files import DataFile, LocalFile, Record
from whoseboat.languages import named_language
from whoseboat.published import CAP, Records, capped, conversation, read_published, refused, words
from whoseboat.records import Drop, Origin, Pair, Reason
from whoseboat.sources import Reading, Request, Source

CONFIG = "preference"
# How people write of one of the two, also after the end of a sentence, where it is to begin with a capital.
_MENTION = re.compile(r"(\A\s*|[.!?]\s+)?(?<!\w)(?:the\s{1,3})?@?response\s{0,3}#?([12])(?!\w)", re.IGNORECASE)
OTHER_CONFIGS = {"feedback", "edit", "edit_quality", "principle"}
COLUMNS = ("language", "context", "response1", "response2", "overall_preference", "individual_preference")


def to_pairs(records: Records, options: Mapping[str, str]) -> Iterator[Pair | Drop]:
    """Turn each row into a pair, by the sign of the overall preference."""
    return capped((_pair(record, origin) for record, origin in records), options)


def _pair(record: Record, origin: Origin) -> Pair | Drop:
    preference = _preference(record.get("overall_preference"))
    responses = [record.get("response1"), record.get("response2")]
    if preference is None or not all(isinstance(text, str) for text in responses):
        return Drop(origin, "read", "malformed", "a response is no text, or overall_preference is not -3 to 3")
    if preference == 0:
        return Drop(origin, "read", "tie", "the two responses are about the same")
    chosen, rejected = (str(text).strip() for text in (responses if preference < 0 else reversed(responses)))
    try:
        return Pair(
            prompt=tuple(conversation(record.get("context"))),
            chosen=chosen,
            rejected=rejected,
            origin=origin,
            language=named_language(record.get("language")),
            strength=float(abs(preference)),
            domain="dialogue",
            reasons=tuple(_reasons(record.get("individual_preference"), preference)),
        )
    except ValueError as error:
        return refused(origin, error)


def _preference(value: object) -> int | None:
    """Return a preference of -3 to 3, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return next((score for score in range(-3, 4) if score == value), None)


def _reasons(individual: object, preference: int) -> Iterator[Reason]:
    """Yield the reasoning of those whose preference is that of all."""
    for one in individual if isinstance(individual, list) else []:
        score = _preference(one.get("score")) if isinstance(one, dict) else None
        text = one.get("reasoning") if isinstance(one, dict) else None
        if score is not None and score * preference > 0:
            yield from words("choice", _named(text, "1" if preference < 0 else "2"))


def _named(text: object, chosen: str) -> object:
    """Return a text in which the two responses are called by what they are in the pair, not by their numbers."""

    def name(match: re.Match[str]) -> str:
        the = "the" if match[1] is None else f"{match[1]}The"
        return f"{the} {'chosen' if match[2] == chosen else 'rejected'} response"

    return _MENTION.sub(name, text) if isinstance(text, str) else text


def _is_wanted(file: DataFile, options: Mapping[str, str]) -> bool:
    """Say whether a file is of the config: in its folder, or in none, as where that folder itself was given."""
    folders = PurePosixPath(file.name).parts[:-1]
    if not folders and isinstance(file, LocalFile):
        return file.path.absolute().parent.name not in OTHER_CONFIGS
    return not folders or CONFIG in folders


def read(request: Request) -> Reading:
    """Open the set: on the Hub, or its files on disk."""
    return read_published(SOURCE, request, to_pairs, COLUMNS, is_wanted=_is_wanted)


SOURCE = Source(
    name="helpsteer3",
    title="HelpSteer3",
    about="Each row is one pair: of two replies to a conversation the one people preferred overall. Ties are dropped.",
    read=read,
    options=(CAP,),
    repo="nvidia/HelpSteer3",
    revision="f6d145777bcbde96137596340fab89793acd1031",  # others pin it, too: seen in the code of several
    license="cc-by-4.0",
    license_known_from="card",
    size="40,476 comparisons",
    languages=("de", "en", "es", "fr", "id", "it", "ja", "ko", "nl", "pl", "pt", "ru", "vi", "zh"),
    reasons_license="cc-by-4.0",
    reasons_about=(
        "The reasoning of those who preferred the chosen response. Where they wrote Response 1 or Response 2, it says "
        "the chosen response or the rejected response instead; all else is word for word."
    ),
    files="preference/train.jsonl.gz and preference/validation.jsonl.gz",
    citation="""@article{wang2025helpsteer3,
  title   = {HelpSteer3-Preference: Open Human-Annotated Preference Data across Diverse Tasks and Languages},
  author  = {Wang, Zhilin and others},
  journal = {arXiv preprint arXiv:2505.11475},
  year    = {2025}
}""",
    by_record=True,
)
