"""PandaLM's test set: two models' responses to an instruction, compared by three people.

File: `data/testset-v1.json` of the repository WeOpenML/PandaLM on GitHub, an array. Columns verified on it: `idx`,
`motivation_app`, `cmp_key`, `instruction`, `input` (may be empty), `response1`, `response2`, `annotator1`,
`annotator2`, `annotator3` (1 or 2: the better response, 0: a tie). The prompt is the instruction, a blank line, the
input. The set is not known to be on the Hub, so it is read from disk, or from a copy named by --from.

`--option vote=majority` (default): one pair where at least two of the three prefer the same response; `strength` is the
votes for it minus those against, 1 to 3. Where two or three say tie, or all differ, the row is a tie and dropped.
`--option vote=annotators`: one pair for each vote, ties dropped each; votes that agree are the same pair and become one
at screening, opposite votes are both kept. The three columns are positions, not people, so there is no `user_id`.

Quirks, met in the file: some responses are JSON's `true` and no text; what the model wrote is lost, and such rows are
dropped as malformed. Some are empty. Ten comparisons of one prompt at most.

Licence: Apache 2.0, stated by the set's repository.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from whoseboat.errors import UsageError
from whoseboat.files import DataFile, Record
from whoseboat.published import CAP, Records, capped, read_published, refused
from whoseboat.records import Drop, Message, Origin, Pair
from whoseboat.sources import Option, Reading, Request, Source

ANNOTATORS = ("annotator1", "annotator2", "annotator3")
ABOUT = {
    "majority": "Each row is one pair where two of three votes are for the same response, and else a tie and dropped.",
    "annotators": "Each of a row's three votes is a pair; votes that agree are the same pair. Ties are dropped.",
}
# Other files beside the test set: verdicts of models, the set without labels, a check of the authors' code.
_OTHER_FILES = re.compile(r"gpt-|pandalm-\d|inference|sanity")


def to_pairs(records: Records, options: Mapping[str, str]) -> Iterator[Pair | Drop]:
    """Turn each row into pairs, by the votes asked for."""
    return capped((item for record, origin in records for item in _items(record, origin, options["vote"])), options)


def _items(record: Record, origin: Origin, vote: str) -> Iterator[Pair | Drop]:
    texts = [record.get(name) for name in ("instruction", "input", "response1", "response2")]
    votes = [_vote(record.get(name)) for name in ANNOTATORS]
    if not all(isinstance(text, str) for text in texts):
        yield Drop(origin, "read", "malformed", "instruction, input or a response is no text")
    elif None in votes:
        yield Drop(origin, "read", "malformed", "a vote is not 0, 1 or 2")
    elif vote == "annotators":
        for name, number in zip(ANNOTATORS, votes, strict=True):
            yield _pair(record, origin, number, None) if number else Drop(origin, "read", "tie", f"{name} says tie")
    else:
        winner = next((number for number in (1, 2) if votes.count(number) >= 2), None)
        if winner is None:
            yield Drop(origin, "read", "tie", f"no response has two of the votes {votes}")
        else:
            yield _pair(record, origin, winner, float(votes.count(winner) - votes.count(3 - winner)))


def _vote(value: object) -> int | None:
    """Return a vote, None for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return next((number for number in (0, 1, 2) if number == value), None)


def _pair(record: Record, origin: Origin, winner: int, strength: float | None) -> Pair | Drop:
    prompt = f"{record['instruction'].strip()}\n\n{record['input'].strip()}".strip()
    try:
        return Pair(
            prompt=(Message("user", prompt),),
            chosen=record[f"response{winner}"].strip(),
            rejected=record[f"response{3 - winner}"].strip(),
            origin=origin,
            language="en",
            strength=strength,
        )
    except ValueError as error:
        return refused(origin, error)


def _is_wanted(file: DataFile, options: Mapping[str, str]) -> bool:
    return _OTHER_FILES.search(file.name.lower().rpartition("/")[2]) is None


def read(request: Request) -> Reading:
    """Open the set: its file on disk, or a copy on the Hub.

    Raises:
        UsageError: neither is named.

    """
    if request.data_dir is None and request.repo is None:
        raise UsageError(
            "source 'pandalm' is not known to be on the Hub",
            expected=SOURCE.files,
            todo="fetch the file and name it by --data-dir, or name a copy by --from ORG/NAME",
        )
    columns = ("instruction", "input", "response1", "response2", *ANNOTATORS)
    source = replace(SOURCE, about=ABOUT[request.options.get("vote", "majority")])
    return read_published(source, request, to_pairs, columns, is_wanted=_is_wanted)


SOURCE = Source(
    name="pandalm",
    title="PandaLM test set",
    about=ABOUT["majority"],
    read=read,
    options=(
        Option("vote", "what makes a pair: the majority, or each vote", "majority", tuple(ABOUT)),
        replace(CAP, default="30"),  # ten comparisons by three people: all that were published
    ),
    license="apache-2.0",
    license_known_from="source documentation",
    size="999 comparisons",
    languages=("en",),
    users="not told apart: the three columns of votes are positions, not people",
    only_test=True,
    files="testset-v1.json (github.com/WeOpenML/PandaLM, folder data)",
    citation="""@article{wang2023pandalm,
  title   = {PandaLM: An Automatic Evaluation Benchmark for LLM Instruction Tuning Optimization},
  author  = {Wang, Yidong and others},
  journal = {arXiv preprint arXiv:2306.05087},
  year    = {2023}
}""",
    by_record=True,
)
