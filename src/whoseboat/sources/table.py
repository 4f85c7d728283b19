"""Any table of preference pairs: a dataset on the Hub, or JSONL, JSON, CSV and Parquet files on disk.

`columns` says which column holds what. Responses are strings or messages; the pair is named either by `chosen` and
`rejected`, or by `first`, `second` and `winner`. Messages are `{"role", "content"}` or ShareGPT's `{"from", "value"}`;
responses given as whole conversations share all but their last turn. `prompt=instruction+input` joins two columns with
a blank line; one of them may be empty or null.

Who won is said by a word (`a`, `model_b`, `tie`), by the name of a response's column, or by a number; what a number
means is never guessed (see `_votes`). Safety labels (true or false, 1 or 0, `safe` or `unsafe`) are read from columns
given for `chosen_safe`, `rejected_safe`, `first_safe`, `second_safe`, else from those called as in `_label_columns`.
Pairs without labels count as red-team where path, repo or name of the table has one of `_RED_TEAM_WORDS`.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import count, islice
from pathlib import Path
from typing import cast

from whoseboat import hub
from whoseboat.errors import DataError, HubError, UsageError, WhoseboatError, unknown
from whoseboat.files import DataFile, LocalFile, Record, columns_at, local_files, records, stem
from whoseboat.records import (
    DOMAINS,
    Domain,
    Drop,
    EmptyPromptError,
    Message,
    Origin,
    Pair,
    Role,
    Safety,
    language_code,
)
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
    hold_out_test,
    of_names,
    part_names,
)

PAIR_RULE = "Each row is one pair, its columns named when the dataset was built."
OPTIONS = (
    Option("language", "ISO 639-1 code of the language all rows are in, such as en or zh"),
    Option("winner", "values of column winner for the first and the second response: 1/2, 0/1, a/b, ..."),
    Option("domain", "what the pairs are like: which worked examples a language model is shown", "advice", DOMAINS),
)

_ROLES: Mapping[str, Role] = {
    "system": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
}
_LABELS = ("chosen_safe", "rejected_safe", "first_safe", "second_safe")
_MEANINGS = ("prompt", "chosen", "rejected", "first", "second", "winner", "language", "strength", *_LABELS)
_FIRST = {"a", "first", "model_a", "response_a"}
_SECOND = {"b", "second", "model_b", "response_b"}
_TIE = {"tie", "tie (bothbad)", "both_bad", "both"}
_NUMBERED = re.compile(r"(?:response|output|model)[-_ ]?([0-9])")
_READ_AHEAD = 1000
_SAFE = {"safe", "true", "1"}
_UNSAFE = {"unsafe", "false", "0"}
# What speaks of red-team material in a path, a repo or a name, spelt without separators; and what does unless a part
# of it is named that was not written for that.
_RED_TEAM_WORDS = ("harmless", "redteam", "beavertails", "saferlhf", "jailbreak", "toxic")
_MIXED, _HELPFUL = "hhrlhf", ("helpfulbase", "helpfulonline", "helpfulrejectionsampled")


_Rows = Generator[tuple[Origin, Record], None, None]


class _NotAPair(Exception):
    """A row that is no pair; the reason and what was found."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def read(request: Request) -> Reading:
    """Open the table named by the request, on the Hub or on disk."""
    columns = _columns(request.columns)
    options = _checked(chosen_options(OPTIONS, request))
    if options["winner"] and "winner" not in columns:
        raise UsageError("option 'winner' is for tables with a column winner", expected="--columns ...,winner=COLUMN")
    if request.data_dir is not None:
        return _read_files(request, columns, options)
    if request.repo is not None:
        return _read_hub(request, columns, options)
    raise UsageError(
        "source 'table' was told no table", expected="--data-dir PATH or --from ORG/NAME[@REVISION] --split SPLIT"
    )


def to_pair(
    record: Record,
    origin: Origin,
    columns: Mapping[str, str],
    options: Mapping[str, str],
    without_label: Safety = "unlabelled",
) -> Pair | Drop:
    """Turn one record into a pair, or into a drop with the reason why it is none.

    `without_label` is what a pair of no safety label is taken for.
    """
    try:
        sides = _sides(record, columns, options)
        chosen, rejected = (_messages(record.get(column), column, "assistant") for column in sides)
        prompt, reply, other = _conversation(_prompt(record, columns), chosen, rejected)
        return Pair(
            prompt=tuple(prompt),
            chosen=reply,
            rejected=other,
            origin=origin,
            language=_language_or_none(record, columns.get("language")) or options.get("language") or None,
            strength=_number_or_none(record, columns.get("strength")),
            safety=_safety(record, columns, without_label),
            domain=cast(Domain, options.get("domain", "advice")),
        )
    except _NotAPair as error:
        return Drop(origin, "read", error.reason, str(error))
    except EmptyPromptError as error:
        return Drop(origin, "read", "empty_prompt", str(error))
    except ValueError as error:
        return Drop(origin, "read", "malformed", str(error))


def _columns(given: Mapping[str, str]) -> dict[str, str]:
    for meaning in given:
        if meaning not in _MEANINGS:
            raise unknown("meaning of a column in --columns", meaning, _MEANINGS)
    by_winner = {"first", "second", "winner"} & set(given)
    columns = {"prompt": "prompt", **({} if by_winner else {"chosen": "chosen", "rejected": "rejected"}), **given}
    if by_winner and (len(by_winner) < 3 or {"chosen", "rejected"} & set(given)):
        raise UsageError(
            "--columns names no whole pair",
            expected="either chosen and rejected, or first, second and winner",
            found=", ".join(f"{meaning}={name}" for meaning, name in given.items()),
        )
    strange = [name for name in _LABELS if name in given and name.removesuffix("_safe") not in columns]
    if strange:
        raise UsageError(
            f"--columns names a label, {strange[0]}, of a response it does not name",
            expected="chosen_safe and rejected_safe with chosen and rejected, first_safe and second_safe with winner",
        )
    return columns


def _checked(options: dict[str, str]) -> dict[str, str]:
    """Return the options as they are to be used, the language as its code."""
    if options["language"]:
        try:
            options["language"] = language_code(options["language"])
        except ValueError as error:
            raise UsageError("option 'language' names no language", expected="a code such as en or zh") from error
    values = [value.strip().lower() for value in options["winner"].split("/")]
    if options["winner"] and (len(values) != 2 or not all(values) or values[0] == values[1] or _TIE & set(values)):
        raise UsageError(
            "option 'winner' does not say how the winner is told",
            expected="the value of the first and of the second response, such as 1/2, 0/1 or a/b",
            found=options["winner"],
        )
    return options


def _read_files(request: Request, columns: dict[str, str], options: dict[str, str]) -> Reading:
    if request.subset:
        raise UsageError(
            "--subset is for datasets on the Hub", found=request.subset, todo="name the file by --data-dir"
        )
    found: list[DataFile] = list(local_files(request.data_dir)) if request.data_dir else []
    files, held_out = hold_out_test(found, request.split)
    if not files:
        raise DataError(
            f"no file of split {request.split!r}",
            where=str(request.data_dir),
            expected=f"{request.split!r} as a word of the file's name",
            found=", ".join(file.name for file in found[:5]),
        )
    provenance = replace(
        _provenance(request, columns, options, stem(files[0].name) if len(found) == 1 else "table"),
        files=tuple(file.name for file in files),
        held_out=tuple(file.name for file in held_out),
    )
    places = {
        file.name: f"{file.path.absolute()}/{file.path.resolve()}" for file in files if isinstance(file, LocalFile)
    }
    parts = part_names(files)

    def opened(some: Iterable[DataFile]) -> Iterator[tuple[Origin, Record]]:
        return _records_of_files(some, columns, parts)

    reading, to_pairs = _reading(provenance, opened(files), columns, options, places)
    if "winner" in columns and not options["winner"]:
        return reading  # what its numbers mean is told by the first rows of all
    names = tuple(file.name for file in files)
    return replace(reading, by_file=ByFile(names, lambda some: to_pairs(opened(of_names(files, some)))))


def _records_of_files(
    files: Iterable[DataFile], columns: Mapping[str, str], parts: Mapping[str, str]
) -> Iterator[tuple[Origin, Record]]:
    wanted = [part for names in columns.values() for part in (names, *names.split("+"))]
    wanted += [name for names in _label_columns(columns).values() for name in names]
    for file in files:
        for row, (line, record) in enumerate(records(file, wanted)):
            if row == 0:
                _check_columns(record, columns, columns_at(file, line))
            yield Origin(file.name, line, parts[file.name], row), record


def _reading(
    provenance: Provenance,
    rows: Iterator[tuple[Origin, Record]],
    columns: Mapping[str, str],
    options: Mapping[str, str],
    places: Mapping[str, str],
) -> tuple[Reading, Callable[[Iterable[tuple[Origin, Record]]], Iterator[Pair | Drop]]]:
    """Return the reading of a table, and what turns rows of it into pairs, whichever they are.

    It says how safety was told, for which its first record is read. `places` says by file where it stands: its path, or
    the repo and what was asked of it.
    """
    ahead = list(islice(rows, 1))
    labels = [name for names in _label_columns(columns).values() for name in names if ahead and name in ahead[0][1]]
    red_team = {name for name, place in places.items() if _speaks_of_red_team(f"{place}/{provenance.title}")}
    if labels:
        rule = (
            f"The source labels responses safe or unsafe ({', '.join(labels)}). Unless unsafe responses are asked for, "
            "pairs with an unsafe one are left out, and pairs without a label for both are kept out of tailoring."
        )
    elif red_team:
        rule = (
            "The source states no safety labels, but its name or path speaks of red-team prompts, so such pairs are "
            "kept out of tailoring unless unsafe responses are asked for."
        )
    else:
        rule = NO_LABELS

    def to_pairs(some: Iterable[tuple[Origin, Record]]) -> Iterator[Pair | Drop]:
        for origin, record in some:
            without_label: Safety = "red-team" if labels or origin.file in red_team else "unlabelled"
            yield to_pair(record, origin, columns, options, without_label)

    pairs = to_pairs(_with_known_winner(_again(ahead, rows), columns, options))
    return Reading(replace(provenance, safety_rule=rule), pairs), to_pairs


def _again(ahead: list[tuple[Origin, Record]], rows: Iterator[tuple[Origin, Record]]) -> _Rows:
    yield from ahead
    yield from rows


def _speaks_of_red_team(place: str) -> bool:
    spelt = re.sub(r"[-_.\s]+", "", place.lower())
    if any(word in spelt for word in _RED_TEAM_WORDS):
        return True
    return _MIXED in spelt and not any(word in spelt for word in _HELPFUL)


def _label_columns(columns: Mapping[str, str]) -> dict[str, list[str]]:
    """Return by side the columns that may hold the label of its response, the one given by --columns, else those known.

    Known are, for a response in column N, `is_N_safe` (PKU-SafeRLHF: `is_response_0_safe`), `N_safe` and `N_is_safe`;
    and `is_safe`, which may be of either response, so that it makes a pair unsafe but never safe.
    """
    sides = ("first", "second") if "winner" in columns else ("chosen", "rejected")
    found = {}
    for side in sides:
        name = columns[side]
        known = [f"is_{name}_safe", f"{name}_safe", f"{name}_is_safe"]
        found[side] = [columns[f"{side}_safe"]] if f"{side}_safe" in columns else known
    return found if any(f"{side}_safe" in columns for side in sides) else {**found, "row": ["is_safe"]}


def _safety(record: Record, columns: Mapping[str, str], without_label: Safety) -> Safety:
    """Return what the labels of a pair say; one that is not labelled on both sides is not called safe."""
    labels = {side: _label(record, names) for side, names in _label_columns(columns).items()}
    if "unsafe" in labels.values():
        return "unsafe"
    row = labels.pop("row", None)
    if set(labels.values()) == {"safe"}:
        return "safe"
    return "red-team" if row or "safe" in labels.values() else without_label


def _label(record: Record, names: list[str]) -> str | None:
    for name in names:
        value = record.get(name)
        if value is None or value == "":
            continue
        spelt = _plain(value)
        if spelt not in _SAFE | _UNSAFE:
            raise _NotAPair(
                "malformed", f"column {name!r}: expected true, false, 1, 0, safe or unsafe, found {value!r:.40}"
            )
        return "safe" if spelt in _SAFE else "unsafe"
    return None


def _read_hub(request: Request, columns: dict[str, str], options: dict[str, str]) -> Reading:
    repo = request.repo or ""
    if Path(repo).exists():
        raise UsageError(
            f"{repo!r} is also a path on this machine, which would be read instead of the dataset on the Hub",
            found=str(Path(repo).absolute()),
            todo="read the Hub from another working directory, or read what is on disk: --data-dir",
        )
    state = hub.dataset_state(repo, request.revision)
    hub.check_access(state)
    split, held_out, rows = _hub_rows(repo, state.commit, request.subset, request.split)
    stated = request.license or state.license
    provenance = replace(
        _provenance(request, columns, options, repo.split("/")[-1]),
        repo=repo,
        revision=state.commit,
        files=(f"{request.subset or 'default'}/{split}",),
        held_out=tuple(f"{request.subset or 'default'}/{name}" for name in held_out),
        split=split,
        license=stated or UNKNOWN,
        license_known_from="user" if request.license else "card" if stated else UNKNOWN,
    )
    where = hub.place(repo, state.commit)
    places = {provenance.files[0]: f"{repo}/{provenance.files[0]}"}
    return _reading(provenance, _records_of_rows(rows, where, provenance, columns), columns, options, places)[0]


def _records_of_rows(
    rows: Iterable[Record], where: str, provenance: Provenance, columns: dict[str, str]
) -> Iterator[tuple[Origin, Record]]:
    iterator = iter(rows)
    for row in count():
        with _explained(provenance.repo or "", provenance.revision or "", f"after {row} rows of {provenance.files[0]}"):
            record = next(iterator, None)
        if record is None:
            return
        if row == 0:
            _check_columns(record, columns, where)
        yield Origin(provenance.files[0], row + 1, provenance.split, row), record


def _hub_rows(repo: str, commit: str, subset: str | None, split: str | None) -> tuple[str, list[str], Iterable[Record]]:
    """Stream one split of a dataset on the Hub: the one named, else the train split, else the only one."""
    where = hub.place(repo, commit)
    splits = _opened(repo, commit, subset)
    chosen = split or ("train" if "train" in splits else next(iter(splits)) if len(splits) == 1 else "")
    if chosen not in splits:
        raise UsageError(
            "--split names no split of the dataset" if split else "the dataset has several splits",
            where=where,
            expected=f"one of {', '.join(splits)}",
            found=chosen,
            todo="name one: --split SPLIT",
        )
    return chosen, [name for name in splits if chosen == "train" and name == "test"], splits[chosen]


def _opened(repo: str, commit: str, subset: str | None) -> Mapping[str, Iterable[Record]]:
    """Open a dataset on the Hub; return the rows of its splits by their names."""
    import datasets

    with _explained(repo, commit):
        try:
            builder = datasets.load_dataset_builder(repo, subset, revision=commit)
        except ValueError:
            _check_subset(datasets.get_dataset_config_names(repo, revision=commit), hub.place(repo, commit), subset)
            raise
        if not builder.base_path.startswith(f"hf://datasets/{repo}@{commit}"):  # a copy in the cache, of any revision
            raise HubError(
                "the Hub did not answer as it should",
                where=hub.place(repo, commit),
                found=f"only what is at {builder.base_path}",
                todo="check the connection (and HF_ENDPOINT, if set) and try again",
            )
        return cast(Mapping[str, Iterable[Record]], builder.as_streaming_dataset())


def _check_subset(known: list[str], where: str, subset: str | None) -> None:
    if subset is None and len(known) > 1:
        raise UsageError(
            "the dataset has several subsets",
            where=where,
            expected=f"one of {', '.join(known)}",
            todo="name one: --subset SUBSET",
        )
    if subset is not None and subset not in known:
        raise UsageError(
            "--subset names no subset of the dataset", where=where, expected=f"one of {', '.join(known)}", found=subset
        )


@contextmanager
def _explained(repo: str, commit: str, place: str = "") -> Iterator[None]:
    """Turn whatever is raised over a dataset on the Hub into one clear error; nothing of ours may run inside."""
    try:
        with hub.explained(repo, commit):
            yield
    except WhoseboatError:
        raise
    except Exception as error:  # what `datasets` raises over damaged data is of no fixed kind
        raise DataError(
            "the dataset on the Hub cannot be read" if place else "the dataset on the Hub cannot be opened",
            where=f"{hub.place(repo, commit)}{place and ', '}{place}",
            found=hub.first_line(error),
            todo="look at its files on its page; single files that are whole can be fetched and read by --data-dir",
        ) from error


def _provenance(request: Request, columns: dict[str, str], options: dict[str, str], name: str) -> Provenance:
    title = request.name or name
    return Provenance(
        source="table",
        name=re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "table",
        title=title,
        pair_rule=PAIR_RULE,
        license=request.license or UNKNOWN,
        license_known_from="user" if request.license else UNKNOWN,
        languages=(options["language"],) if options["language"] else (),
        subset=request.subset,
        split=request.split,
        columns=columns,
        options=options,
    )


def _check_columns(record: Record, columns: Mapping[str, str], where: str) -> None:
    for meaning, names in columns.items():
        for name in [names] if names in record else names.split("+"):
            if name not in record and not (
                meaning == "prompt" and names == "prompt" and _conversational(record, columns)
            ):
                raise DataError(
                    f"there is no column {name!r} for {meaning}",
                    where=where,
                    expected=f"the columns {', '.join(columns.values())}",
                    found=", ".join(record) or "no column at all",
                    todo=f"{_nearest(name, record)}name the right one: --columns {meaning}=COLUMN,..., or the source "
                    "that knows these files",
                )


def _nearest(name: str, record: Record) -> str:
    """Return a question for the columns whose names are nearest to one that is not there, empty where none is near."""
    spelt = {column.lower(): column for column in record}
    near = difflib.get_close_matches(name.lower(), spelt, n=2, cutoff=0.6)
    return f"did you mean {' or '.join(repr(spelt[column]) for column in near)}? If not, " if near else ""


def _conversational(record: Record, columns: Mapping[str, str]) -> bool:
    """Say whether the responses are whole conversations, so that no prompt column is needed."""
    response = record.get(columns.get("chosen", columns.get("first", "")))
    return isinstance(response, list) and len(response) > 1


@dataclass(frozen=True)
class _Votes:
    """What the values of column winner mean; `telling` is the number that bears a reading of bare numbers out."""

    first: frozenset[str]
    second: frozenset[str]
    tie: frozenset[str]
    telling: str = ""

    @property
    def known(self) -> frozenset[str]:
        return self.first | self.second | self.tie


@lru_cache(maxsize=16)
def _votes(first: str, second: str, stated: str) -> _Votes:
    """Return what the values of column winner mean, for responses in columns `first` and `second`.

    What is stated by `--option winner=` holds. Else a value may be the name of a column or a word. Numbers are those
    in the columns' names (`response_0` and `response_1`: 0 and 1), else 1 and 2. A 0 is a tie only where the names, or
    what is stated, give both responses other numbers. `_with_known_winner` refuses a table whose numbers do not bear
    that out: a table of 0 and 1 read as 1 and 2 would be turned round.
    """
    if stated:
        one, two = (_plain(value) for value in stated.split("/"))
        zero = {"0"} if one.isdigit() and two.isdigit() and "0" not in (one, two) else set()
        return _Votes(frozenset({one}), frozenset({two}), frozenset(_TIE | zero))
    one, two = (_ending(name) for name in (first, second))
    named = one.isdigit() and two.isdigit() and one != two and first[: -len(one)] == second[: -len(two)]
    numbers = (one, two) if named else ("1", "2")
    words = (_SECOND, _FIRST) if (one, two) == ("b", "a") else (_FIRST, _SECOND)
    return _Votes(
        frozenset({*(words[0] - {second.lower()}), first.lower(), numbers[0]}),
        frozenset({*(words[1] - {first.lower()}), second.lower(), numbers[1]}),
        frozenset(_TIE | ({"0"} if named and "0" not in numbers else set())),
        telling="0" if "0" in numbers else max(numbers),
    )


def _ending(column: str) -> str:
    """Return the number or letter at the end of a column's name: `response_a`, `output1`."""
    match = re.search(r"([0-9]+|(?<![a-z])[a-z])$", column.lower())
    return str(match[1]) if match else ""


def _plain(value: object) -> str:
    """Return a value in one spelling: 2.0 is 2, and a truth value is no number."""
    return re.sub(r"(?<=[0-9])\.0+$", "", str(value).strip().lower())


def _winner(record: Record, columns: Mapping[str, str], votes: _Votes) -> str:
    """Return who won: a value of `votes`, or what it is instead; `response_2`, if no column is called so, is 2."""
    winner = _plain(record.get(columns["winner"]))
    match = None if winner in votes.known else _NUMBERED.fullmatch(winner)
    return match[1] if match else winner


def _sides(record: Record, columns: Mapping[str, str], options: Mapping[str, str]) -> tuple[str, str]:
    """Return the columns that hold the chosen and the rejected response of this record."""
    if "winner" not in columns:
        return columns["chosen"], columns["rejected"]
    first, second = columns["first"], columns["second"]
    votes = _votes(first, second, options.get("winner", ""))
    winner = _winner(record, columns, votes)
    if winner in votes.tie:
        raise _NotAPair("tie", f"column {columns['winner']!r} says {winner!r}")
    if winner in votes.first:
        return first, second
    if winner in votes.second:
        return second, first
    stated = options.get("winner", "")
    advice = "" if stated else "; other values are stated by --option winner=FIRST/SECOND, such as winner=0/1"
    expected = stated or "1, 2, a, b or tie"
    raise _NotAPair("malformed", f"column {columns['winner']!r}: expected {expected}, found {winner[:40]!r}{advice}")


def _with_known_winner(
    rows: _Rows, columns: Mapping[str, str], options: Mapping[str, str]
) -> Iterator[tuple[Origin, Record]]:
    """Pass rows on if it is certain which response a number in column winner names.

    Raises:
        DataError: a number is met that the reading of numbers does not know, or the one that tells it from others is
            not among the first thousand rows.

    """
    if "winner" not in columns or options.get("winner"):
        yield from rows
        return
    votes = _votes(columns["first"], columns["second"], "")
    with closing(rows):  # so that an error leaves no file open
        ahead = list(islice(rows, _READ_AHEAD))
        numbers = {
            number: origin
            for origin, record in reversed(ahead)
            if _is_number(number := _winner(record, columns, votes))
        }
        strange = [number for number in numbers if number not in votes.known]
        if strange or (numbers and votes.telling not in numbers):
            raise _unknown_numbers(numbers[(strange or list(numbers))[-1]], columns, numbers)
        yield from ahead
        for origin, record in rows:
            number = _winner(record, columns, votes)
            if number not in votes.known and _is_number(number):
                raise _unknown_numbers(origin, columns, [*numbers, number])
            yield origin, record


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _unknown_numbers(origin: Origin, columns: Mapping[str, str], numbers: Iterable[str]) -> DataError:
    return DataError(
        f"it is not certain which response a number in column {columns['winner']!r} names",
        where=f"{origin.file}, line {origin.line}",
        expected="1 and 2, or the numbers in the names of the responses' columns",
        found=", ".join(sorted(numbers)[:10]),
        todo="say what the first and the second response are called: --option winner=0/1, or winner=1/2 (0 is a tie)",
    )


def _prompt(record: Record, columns: Mapping[str, str]) -> list[Message]:
    names = columns["prompt"]
    parts = [names] if names in record else names.split("+")
    if len(parts) == 1:
        return [] if parts[0] not in record else _messages(record[parts[0]], parts[0], "user")
    found = [record.get(name) for name in parts]
    texts = [text for text in found if isinstance(text, str)]
    if not texts or any(text is not None and not isinstance(text, str) for text in found):
        raise _NotAPair("malformed", f"columns {names!r}: expected texts, found {[type(t).__name__ for t in found]}")
    return [Message("user", "\n\n".join(text.strip() for text in texts if text.strip()))]


def _messages(value: object, column: str, role: Role) -> list[Message]:
    """Read a string as one message of `role`; a message or a list of messages as what they say."""
    if isinstance(value, str):
        return [Message(role, value.strip())]
    if isinstance(value, dict):
        return [_message(value, column)]
    if isinstance(value, list) and value:
        return [_message(item, column) for item in value]
    raise _NotAPair("malformed", f"column {column!r}: expected a string or messages, found {type(value).__name__}")


def _message(value: object, column: str) -> Message:
    if not isinstance(value, dict):
        raise _NotAPair("malformed", f"column {column!r}: expected a message, found {type(value).__name__}")
    role = _ROLES.get(str(value.get("from") if value.get("role") is None else value["role"]))
    content = value.get("value") if value.get("content") is None else value["content"]
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        strings = [text for text in texts if isinstance(text, str)]
        content = "".join(strings) if len(strings) == len(content) else content
    if role is None or not isinstance(content, str):
        found = ", ".join(f"{key}: {type(item).__name__}" for key, item in value.items())
        raise _NotAPair("malformed", f"column {column!r}: expected a message with role and content, found {{{found}}}")
    return Message(role, content.strip())


def _conversation(
    prompt: list[Message], chosen: list[Message], rejected: list[Message]
) -> tuple[list[Message], str, str]:
    """Return the prompt and the two last replies, whichever way the responses repeat the conversation."""
    if chosen[-1].role != "assistant" or rejected[-1].role != "assistant":
        raise _NotAPair("malformed", "a response does not end with the assistant's turn")
    context = chosen[:-1]
    if context != rejected[:-1]:
        raise _NotAPair("diverging_context", "the responses differ before their last turn")
    if context and context[0].role != "assistant":
        # The responses repeat the whole conversation, perhaps without the system message.
        prompt = [] if context[0].role == "system" else [message for message in prompt if message.role == "system"]
    return prompt + context, chosen[-1].content, rejected[-1].content


def _language_or_none(record: Record, column: str | None) -> str | None:
    value = record.get(column) if column else None
    if value is None or value == "":
        return None
    try:
        return language_code(value if isinstance(value, str) else repr(value))
    except ValueError as error:
        raise _NotAPair("malformed", f"column {column!r}: {error}") from error


def _number_or_none(record: Record, column: str | None) -> float | None:
    value = record.get(column) if column else None
    try:
        number = None if value is None or value == "" else float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise _NotAPair("malformed", f"column {column!r}: expected a number, found {value!r:.40}") from error
    if number is not None and not math.isfinite(number):
        raise _NotAPair("malformed", f"column {column!r}: expected a finite number, found {value!r:.40}")
    return number


SOURCE = Source(
    name="table",
    title="any table",
    about=PAIR_RULE,
    read=read,
    takes=frozenset({"data_dir", "repo", "revision", "subset", "split", "columns", "name", "license"}),
    options=OPTIONS,
    license="that of the table",
    license_known_from="card or user",
    safety="Columns of safety labels are heeded; rows of red-team sets without labels are kept out of tailoring.",
)
