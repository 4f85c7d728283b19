"""UltraFeedback: responses of many models to one prompt, scored by GPT-4; no person chose anything.

Two forms, `--option form=`:

`binarized`, HuggingFaceH4/ultrafeedback_binarized. Columns verified on its dataset card: `prompt`, `prompt_id`,
`chosen` and `rejected` (lists of `{content, role}` that include the user's turn), `messages`, `score_chosen`,
`score_rejected`. The last turns make the pair, the turns before them are the prompt; `strength` is the difference of
the scores. Equal scores are ties and dropped; so are rows whose rejected reply has the higher score. Only the splits
`train_prefs` and `test_prefs` hold pairs; `*_sft` and `*_gen` are not read.

`original`, openbmb/UltraFeedback: `instruction` and up to four `completions`, each with `response`, `overall_score` (1
to 10) and `annotations` by aspect with a `Rating` (1 to 5 as text, or "N/A"). The keys of completions are verified in
the code of the set's repository, `source` and `models` are not, and not read. `--option score=` says what counts: the
overall score, or the mean of the ratings of all aspects that have one. `--option pairs=best` pairs the best completion
with each one that has a lower score (of several best ones the first, the others are ties), `pairs=all` any two that
differ in score. `strength` is the difference. Completions without text or score are dropped each, a row with fewer
than two others whole. Models were told apart by a system prompt of their own (`custom_system_prompt`), which differs
between the completions of a row; it is no part of the prompt here. Before revision 40b43656, which is not pinned here,
some `overall_score`s were 10 where 1 was meant.

Both are mixtures: prompts of UltraChat, ShareGPT, Evol-Instruct, TruthfulQA, FalseQA and FLAN. The cards state English;
it is not said row by row, so `language` stays empty. Licence: MIT, stated by both cards.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import PurePosixPath

from whoseboat.files import DataFile, Record, stem
from whoseboat.published import CAP, Records, capped, conversation, read_published, refused
from whoseboat.records import Drop, Message, Origin, Pair
from whoseboat.sources import Option, Reading, Request, Source

ORIGINAL = "openbmb/UltraFeedback"
ABOUT = {
    "binarized": (
        "Each row is one pair: the reply GPT-4 scored highest of four against one of the others, drawn by the "
        "publishers. A model scored, not people. Equal scores are dropped."
    ),
    "original": (
        "A row has up to four replies scored by GPT-4: the best against each with a lower score (or any two that "
        "differ). A model scored, not people. Equal scores are dropped."
    ),
}
COLUMNS = {
    "binarized": ("chosen", "rejected", "score_chosen", "score_rejected"),
    "original": ("instruction", "completions"),
}


def to_pairs(records: Records, options: Mapping[str, str]) -> Iterator[Pair | Drop]:
    """Turn each row into its pairs, by the form, the score and the pairing asked for."""
    return capped((item for record, origin in records for item in _items(record, origin, options)), options)


def _items(record: Record, origin: Origin, options: Mapping[str, str]) -> Iterator[Pair | Drop]:
    if options["form"] == "binarized":
        yield _binarized(record, origin)
    else:
        yield from _original(record, origin, options)


def _binarized(record: Record, origin: Origin) -> Pair | Drop:
    scores = [_number(record.get(name)) for name in ("score_chosen", "score_rejected")]
    if scores[0] is None or scores[1] is None:
        return Drop(origin, "read", "malformed", "score_chosen or score_rejected is no number")
    try:
        chosen, rejected = (conversation(record.get(side)) for side in ("chosen", "rejected"))
    except ValueError as error:
        return refused(origin, error)
    if (chosen[-1].role, rejected[-1].role) != ("assistant", "assistant"):
        return Drop(origin, "read", "malformed", "a conversation does not end with the assistant's turn")
    if chosen[:-1] != rejected[:-1]:
        return Drop(origin, "read", "diverging_context", "the conversations differ before the last reply")
    if scores[0] == scores[1]:
        return Drop(origin, "read", "tie", f"both replies have the score {scores[0]:g}")
    if scores[0] < scores[1]:
        return Drop(origin, "read", "contradiction", "the rejected reply has the higher score")
    strength = round(scores[0] - scores[1], 6)
    return _pair(chosen[:-1], chosen[-1].content, rejected[-1].content, strength, origin)


def _original(record: Record, origin: Origin, options: Mapping[str, str]) -> Iterator[Pair | Drop]:
    instruction, completions = record.get("instruction"), record.get("completions")
    if not isinstance(instruction, str) or not isinstance(completions, list):
        yield Drop(origin, "read", "malformed", "instruction is no text, or completions is no list")
        return
    replies = [_reply(completion, options["score"]) for completion in completions]
    scored = [reply for reply in replies if reply is not None]
    if len(scored) < 2:
        detail = f"{len(scored)} of {len(replies)} completions have text and a score"
        yield Drop(origin, "read", "too_few_replies", detail)
        return
    prompt = [Message("user", instruction.strip())]
    for number, reply in enumerate(replies, start=1):
        if reply is None:
            yield Drop(origin, "read", "unrated", f"completion {number} has no text or no score")
    if options["pairs"] == "all":
        couples = list(combinations(scored, 2))
    else:
        best = max(range(len(scored)), key=lambda index: scored[index][1])
        couples = [(scored[best], other) for index, other in enumerate(scored) if index != best]
    for one, other in couples:
        if one[1] == other[1]:
            yield Drop(origin, "read", "tie", f"both completions have the score {one[1]:g}")
        else:
            better, worse = (one, other) if one[1] > other[1] else (other, one)
            yield _pair(prompt, better[0], worse[0], round(better[1] - worse[1], 6), origin)


def _reply(completion: object, score: str) -> tuple[str, float] | None:
    """Return the text and score of a completion, None where it lacks one."""
    if not isinstance(completion, dict) or not isinstance(completion.get("response"), str):
        return None
    value = _number(completion.get("overall_score")) if score == "overall" else _mean(completion.get("annotations"))
    return None if value is None else (completion["response"].strip(), value)


def _mean(annotations: object) -> float | None:
    """Return the mean of the ratings of all aspects that have one."""
    aspects = annotations.values() if isinstance(annotations, dict) else []
    ratings = [_number(aspect.get("Rating")) for aspect in aspects if isinstance(aspect, dict)]
    given = [rating for rating in ratings if rating is not None]
    return _number(sum(given) / len(given)) if given else None


def _number(value: object) -> float | None:
    """Return a finite number, given as such or as text, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and abs(number) < 1e6 else None


def _pair(prompt: list[Message], chosen: str, rejected: str, strength: float, origin: Origin) -> Pair | Drop:
    try:
        return Pair(tuple(prompt), chosen, rejected, origin, strength=strength, domain="dialogue")
    except ValueError as error:
        return refused(origin, error)


def _is_wanted(file: DataFile, options: Mapping[str, str]) -> bool:
    """Say whether a file can hold pairs: in the binarized form those called sft and gen do not."""
    name = PurePosixPath(stem(file.name)).name.lower()
    return options["form"] == "original" or not {"sft", "gen"} & set(name.replace("-", "_").split("_"))


def read(request: Request) -> Reading:
    """Open the set in the form asked for: on the Hub, or its files on disk."""
    form = request.options.get("form", "binarized")
    source = SOURCE if form == "binarized" else replace(SOURCE, repo=ORIGINAL, revision=None, about=ABOUT[form])
    return read_published(source, request, to_pairs, COLUMNS[form], is_wanted=_is_wanted)


SOURCE = Source(
    name="ultrafeedback",
    title="UltraFeedback",
    about=ABOUT["binarized"],
    read=read,
    options=(
        Option("form", f"one pair a row, or up to four scored replies ({ORIGINAL})", "binarized", tuple(ABOUT)),
        Option("score", "what counts in the original form", "overall", ("overall", "ratings")),
        Option("pairs", "of the original form: the best with each worse, or any two", "best", ("best", "all")),
        CAP,
    ),
    repo="HuggingFaceH4/ultrafeedback_binarized",
    revision="3949bf5f8c17c394422ccfab0c31ea9c20bdeb85",  # others pin it, too: seen in the code of several
    license="mit",
    license_known_from="card",
    size="63,135 pairs (original: 64,000 prompts with four replies)",
    languages=("en",),
    users="none: GPT-4 scored the replies",
    mixture_of="The prompts are of UltraChat, ShareGPT, Evol-Instruct, TruthfulQA, FalseQA and FLAN.",
    files="data/train_prefs-*.parquet and data/test_prefs-*.parquet (original: *.jsonl)",
    citation="""@article{cui2023ultrafeedback,
  title   = {UltraFeedback: Boosting Language Models with High-quality Feedback},
  author  = {Cui, Ganqu and others},
  journal = {arXiv preprint arXiv:2310.01377},
  year    = {2023}
}""",
    by_record=True,
)
