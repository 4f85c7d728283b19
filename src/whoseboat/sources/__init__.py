"""Public preference sets, one file each: rows as published become `Pair`s, or `Drop`s that carry their reason.

Every file in this folder is a source: `hh_rlhf.py` defines `SOURCE`, which the command calls `hh-rlhf`. What a source
is told is a `Request`, what it gives is a `Reading`; both are here, with what sources share.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from whoseboat import hub
from whoseboat.errors import DataError, UsageError, unknown
from whoseboat.files import DataFile, HubFile, is_data, local_files, stem
from whoseboat.records import Drop, Pair, one_line

UNKNOWN = "unknown"
NO_LABELS = "The source states no safety labels, so nothing was left out for that."


@dataclass(frozen=True, slots=True)
class Option:
    """A choice a source offers: `--option name=value`, several values separated by commas where `many`."""

    name: str
    help: str
    default: str = ""
    choices: tuple[str, ...] = ()
    many: bool = False


@dataclass(frozen=True)
class Request:
    """What is asked of a source; what was not given is None or empty.

    Raises:
        UsageError: `repo` is not of the form ORG/NAME or ORG/NAME@REVISION.

    """

    data_dir: Path | None = None
    repo: str | None = None
    revision: str | None = None
    subset: str | None = None
    split: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    name: str | None = None
    license: str | None = None

    def __post_init__(self) -> None:
        if self.data_dir is not None and self.repo is not None:
            raise UsageError("both --data-dir and --from were given", expected="one place to read from")
        if self.repo is not None and "@" in self.repo and self.revision is None:
            repo, _, revision = self.repo.partition("@")
            object.__setattr__(self, "repo", repo)
            object.__setattr__(self, "revision", revision or None)
        if self.repo is not None and self.repo.count("/") != 1:
            raise UsageError("--from names no dataset", expected="ORG/NAME[@REVISION]", found=self.repo)


@dataclass(frozen=True)
class Provenance:
    """Where the pairs came from, as the manifest and the card tell it.

    `license_known_from` is `card` (of the dataset on the Hub that was read), `source documentation` (what the set says
    where it is published, known to us beforehand), `repository` (this one), `user` or `unknown`. `safety_rule` says in
    a sentence how unsafe responses were told. `held_out` are files that were not read since they are the source's own
    test split and a train split is there. Characters of names that no file can store are replaced.
    """

    source: str
    name: str
    title: str
    pair_rule: str
    repo: str | None = None
    revision: str | None = None
    files: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    license: str = UNKNOWN
    license_known_from: str = UNKNOWN
    languages: tuple[str, ...] = ()
    subset: str | None = None
    split: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    citation: str = ""
    safety_rule: str = NO_LABELS
    is_test_set: bool = False
    mixture_of: str = ""
    personas_about: str = ""
    reasons_license: str = ""
    reasons_about: str = ""

    def __post_init__(self) -> None:
        for item in ("name", "title", "repo", "subset", "split", "license"):
            if getattr(self, item) is not None:
                object.__setattr__(self, item, one_line(getattr(self, item)))
        for item in ("files", "held_out"):
            object.__setattr__(self, item, tuple(map(one_line, getattr(self, item))))
        for item in ("columns", "options"):
            told = {one_line(key): one_line(value) for key, value in getattr(self, item).items()}
            object.__setattr__(self, item, told)

    @property
    def only_test(self) -> bool:
        """Whether every file read is of the source's own test split."""
        return self.is_test_set or (bool(self.files) and all(split_of(name) == "test" for name in self.files))


@dataclass(frozen=True)
class ByFile:
    """The pairs of a source file by file, where no record needs others; what all of them together need comes after.

    Args:
        files: the names of the files, in their order.
        read: gives the pairs of some of these files, before any cap.
        across: drops what is too much among pairs of one conversation, whatever files they stood in; so it may be done
            for some conversations alone.

    """

    files: tuple[str, ...]
    read: Callable[[Collection[str]], Iterator[Pair | Drop]]
    across: Callable[[Iterable[Pair | Drop]], Iterator[Pair | Drop]] = iter


@dataclass(frozen=True)
class Reading:
    """A source opened: where the pairs come from, and the pairs, read as they are asked for.

    `by_file` gives the same pairs file by file, in the order of the files; None where records need one another.
    """

    provenance: Provenance
    pairs: Iterator[Pair | Drop]
    by_file: ByFile | None = None


@dataclass(frozen=True)
class Source:
    """A public preference set: what it is, and how it is read.

    `about` says what a pair is; `takes` names the fields of a `Request` the source understands beside `options`. What
    follows tells of the set as it is published: its repo, a revision where one was verified, its licence and where that
    is known from (`card`, `source documentation`, `repository`, `unknown`), its size, its languages (ISO 639-1),
    whether the people who chose are told apart, how unsafe responses are told, how its files are called, whether its
    pairs come with personas (and `personas_about`: whose), whether all of it is a test set, which sets it is made of,
    and the licence of people's own words in it and what to know of them. `by_record` says that each record makes its
    pairs by itself, whatever others there are, but for a cap; `cap_by_user` that this cap is for each user.
    """

    name: str
    title: str
    about: str
    read: Callable[[Request], Reading]
    takes: frozenset[str] = frozenset({"data_dir", "repo", "revision", "split", "license"})
    options: tuple[Option, ...] = ()
    repo: str = ""
    revision: str | None = None
    license: str = UNKNOWN
    license_known_from: str = UNKNOWN
    size: str = ""
    languages: tuple[str, ...] = ()
    users: str = "not told apart"
    safety: str = NO_LABELS
    files: str = ""
    citation: str = ""
    has_personas: bool = False
    only_test: bool = False
    mixture_of: str = ""
    personas_about: str = ""
    reasons_license: str = ""
    reasons_about: str = ""
    by_record: bool = False
    cap_by_user: bool = False


def names() -> list[str]:
    """Return the names of all sources."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))


def find(name: str) -> Source:
    """Return a source by its name.

    Raises:
        UsageError: there is none of this name; the nearest are suggested.

    """
    if name not in names():
        raise unknown("source", name, names())
    source = importlib.import_module(f"{__name__}.{name.replace('-', '_')}").SOURCE
    if not isinstance(source, Source):
        raise TypeError(f"SOURCE of {name} is not a Source")
    return source


def known() -> list[Source]:
    """Return all sources."""
    return [find(name) for name in names()]


def read(name: str, request: Request) -> Reading:
    """Open a source.

    Raises:
        UsageError: unknown source or option, or something it does not take.
        DataError: the files are not there, or not what they should be.
        HubError: the Hub did not give what was asked for.

    """
    source = find(name)
    _check_request(source, request)
    reading = source.read(request)
    return replace(reading, pairs=refuse_when_nothing_fits(reading.pairs, name))


def _check_request(source: Source, request: Request) -> None:
    for item in fields(Request):
        given = getattr(request, item.name)
        if item.name != "options" and given and item.name not in source.takes:
            flag = {"repo": "--from", "revision": "--from ...@REVISION"}.get(item.name, f"--{item.name}")
            raise UsageError(f"source {source.name!r} takes no {flag.replace('_', '-')}", found=str(given))
    offered = {option.name: option for option in source.options}
    for name, value in request.options.items():
        if name not in offered:
            raise unknown(f"option of source {source.name!r}", name, offered)
        option = offered[name]
        if not isinstance(value, str):
            raise UsageError(f"option {name!r} is no text", expected="values separated by commas", found=repr(value))
        for part in values_of(value) if option.many else [value]:
            if option.choices and part not in option.choices:
                raise unknown(f"value of option {name!r}", part, option.choices)


def values_of(given: str) -> list[str]:
    """Return the values of an option that takes several, separated by commas."""
    return [part.strip() for part in given.split(",")]


def chosen_options(options: Iterable[Option], request: Request) -> dict[str, str]:
    """Return every option of a source with the value given, else its default."""
    return {option.name: request.options.get(option.name, option.default) for option in options}


def find_files(
    request: Request, repo: str, revision: str | None = None
) -> tuple[list[DataFile], hub.DatasetState | None]:
    """Return the data files of a request: those on disk, else those of the repo at its commit."""
    if request.data_dir is not None:
        return list(local_files(request.data_dir)), None
    state = hub.dataset_state(request.repo or repo, request.revision or revision)
    return [HubFile(name, state.repo, state.commit) for name in state.files if is_data(name)], state


_SPLITS = {"train": {"train"}, "validation": {"validation", "valid", "val", "dev"}, "test": {"test"}}


def _words(name: str) -> list[str]:
    return re.findall(r"[^-_./]+", name.lower())


def split_of(name: str) -> str | None:
    """Return which split a path speaks of (`train`, `validation` or `test`), None if it does not say."""
    words = set(_words(name))
    return next((split for split, spellings in _SPLITS.items() if spellings & words), None)


def hold_out_test(files: list[DataFile], split: str | None) -> tuple[list[DataFile], list[DataFile]]:
    """Return the files to read and those held out.

    Where a source has a train split of its own, its test split never enters ours, so that a model trained on ours can
    still be tested on theirs. A split asked for by name is read alone.
    """
    if split is not None:
        return _files_of_split(files, split), []
    if all(split_of(file.name) != "train" for file in files):
        return files, []
    held_out = [file for file in files if split_of(file.name) == "test"]
    return [file for file in files if file not in held_out], held_out


def _files_of_split(files: list[DataFile], split: str) -> list[DataFile]:
    """Return the files whose name has the words of a split; for `dev` and its like, else those of the same split."""
    asked = "_".join(_words(split))
    named = [file for file in files if asked and f"_{asked}_" in f"_{'_'.join(_words(file.name))}_"]
    known = split_of(asked)
    if known is None or asked not in _SPLITS[known]:
        return named
    of_split = [file for file in files if split_of(file.name) == known]
    return [file for file in of_split if file in named] or of_split


def of_names(files: Iterable[DataFile], names: Collection[str]) -> list[DataFile]:
    """Return the files that have these names, in their order."""
    return [file for file in files if file.name in names]


def part_names(files: Iterable[DataFile], part_of: Callable[[DataFile], str] | None = None) -> dict[str, str]:
    """Return by file name how the part of the source is called that a file holds: its name without suffixes.

    No two files have one name, so that a part and a row in it name one record: where two would have the same, all
    parts have the whole names of their files.
    """
    names = {file.name: part_of(file) if part_of else stem(file.name) for file in files}
    return names if len(set(names.values())) == len(names) else {name: name for name in names}


def refuse_when_nothing_fits(items: Iterable[Pair | Drop], source: str, patience: int = 100) -> Iterator[Pair | Drop]:
    """Pass the pairs on, unless the first `patience` rows are all malformed: then the fault is not in the rows.

    Where there are fewer, it is so if they are all there is.
    """
    held: list[Pair | Drop] = []
    iterator = iter(items)
    for item in iterator:
        held.append(item)
        if not (isinstance(item, Drop) and item.reason == "malformed"):
            break
        if len(held) == patience:
            raise _nothing_fits(held, source)
    else:
        if held:
            raise _nothing_fits(held, source)
    yield from held
    yield from iterator


def _nothing_fits(held: list[Pair | Drop], source: str) -> DataError:
    first = held[0]
    detail = first.detail if isinstance(first, Drop) else ""
    known = find(source)
    todo = "check that the source fits the files"
    return DataError(
        f"none of the first {len(held)} rows is a preference pair of source {source!r}",
        where=f"{first.origin.file}, line {first.origin.line}",
        expected=known.about,
        found=detail,
        todo=todo + (", and which columns are named by --columns" if "columns" in known.takes else ""),
    )
