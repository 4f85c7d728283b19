"""What a model's own likelihoods say of personas: scores of pairs, figures, files, and a model folder's card.

`scores.parquet` has a row for each pair, kind of personas and side; `scores.json` the figures, with all they depend on
(see `whoseboat.tailoring.margins` for what they mean). No judge is asked and nothing is generated, so none of them says
what a model writes: ranking is not generation.

A row that is longer than the model takes, or whose conversation is longer than in training, would have to be truncated;
its pair is left out for that kind of personas, and counted.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whoseboat import __version__
from whoseboat.errors import DataError, OutputError, UsageError, unknown
from whoseboat.metric.resampling import BOOTSTRAP, Bootstrap
from whoseboat.model_manifest import Result, TrainedOn
from whoseboat.tailoring import margins, model_folder, pairs
from whoseboat.tailoring.fitting import cut_conversation
from whoseboat.tailoring.inference_personas import Given, Kind, give
from whoseboat.tailoring.likelihoods import Likelihoods, Row
from whoseboat.tailoring.loading import Loaded
from whoseboat.tailoring.margins import Measured, Score
from whoseboat.tailoring.refusals import Refusals
from whoseboat.tailoring.sets import TailoringPair, TailoringSet
from whoseboat.tailoring.templates import RefusedText

if TYPE_CHECKING:
    import pyarrow as pa

KINDS: tuple[Kind, ...] = ("true", "shuffled", "retrieved", "system", "none")
ABOUT = (
    "Figures by the model's own likelihoods of two responses that are there. Ranking is not generation: none of them "
    "says what the model writes."
)
_WINDOW = 32  # batches that are sorted by length together
# What a card shows; the rest is in scores.json.
_ON_CARDS = {
    ("accuracy", "chosen"), ("accuracy", "rejected"), ("flip_accuracy", "both"), ("separation", "both"),
    ("specificity", "both"),
}  # fmt: skip


@dataclass(slots=True)
class Progress:
    """How scoring goes: pairs scored under a kind of personas, those left out, and which kind it is at.

    `expected` is how many there are in all: the pairs, for each kind once.
    """

    kind: Kind = "true"
    scored: int = 0
    left_out: int = 0
    expected: int = 0


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class Scores:
    """A model's scores on a set: one for each pair, kind of personas and side, and the figures made of them.

    `left_out` says by kind of personas how many pairs were left out and why; `not_read` what was no pair at all.
    """

    model: str
    reference: str | None
    beta: float
    template: str
    dtype: str
    dataset: TrainedOn
    split: str
    limit: int | None
    seed: int
    longest: int | None
    pairs: int
    gated: int
    scores: Sequence[Score] = field(repr=False)
    figures: Sequence[Measured] = field(repr=False)
    left_out: Mapping[str, Refusals] = field(repr=False)
    not_read: Refusals = field(repr=False)
    reference_doubt: str = ""  # why the reference may be another model than training started from

    def to_dict(self) -> dict[str, Any]:
        """Return all but the scores as plain data."""
        left_out = ("scores", "figures", "left_out", "not_read", "dataset")
        told = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in left_out}
        return {
            "about": ABOUT,
            **told,
            "dataset": asdict(self.dataset) | {"split": self.split},
            "left_out": {kind: dict(refused.counts) for kind, refused in self.left_out.items()},
            "not_read": dict(self.not_read.counts),
            "code_version": __version__,
            "versions": model_folder.versions(),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "figures": [measured.to_dict() for measured in self.figures],
        }

    def results(self) -> tuple[Result, ...]:
        """Return what a card shows: the figures under true personas, specificity, and accuracy without a persona.

        The first figure of each margin has a note on all of them; each says where its interval is not to be trusted.
        """
        wanted = [one for one in self.figures if one.persona == "true" and (one.name, one.side) in _ON_CARDS]
        wanted += [one for one in self.figures if one.persona == "none" and one.name == "accuracy"]
        noted: set[str] = set()
        found = []
        for one in wanted:
            if one.stratum == "equal_length" and one.figure.value is None:
                continue  # the note says that there is no such pair
            said = [*([] if one.margin in noted else self._said(one, noted)), one.figure.reason, one.figure.note]
            found.append(self._result(one, "; ".join(filter(None, said))))
            noted.add(one.margin)
        return tuple(found)

    def _result(self, one: Measured, note: str) -> Result:
        figure, data = one.figure, self.dataset
        return Result(
            one.full_name,
            figure.value,
            figure.n,
            figure.low,
            figure.high,
            clusters=figure.clusters,
            side=one.side,
            persona=one.persona,
            dataset=data.repo or data.name,
            config=data.config,
            split=self.split,
            revision=data.revision,
            note=note,
        )

    def _said(self, one: Measured, noted: Collection[str]) -> list[str]:
        """Return what a card says of all figures of a margin; what holds for both margins is said once."""
        said = []
        if one.margin == "reward":
            said = [f"figures by reward: beta {self.beta:g}, from {self.reference}", self.reference_doubt]
        if not noted:
            said += [] if self._has_equal_length else ["no pair has responses of equal length"]
            said += self._left_out_in_words()
            said += [f"of the first {self.limit:,} pairs alone"] if self.limit else []
        return said

    def _left_out_in_words(self) -> list[str]:
        """Return counts by reason; kinds of personas that have the same are told together."""
        kinds: dict[str, list[str]] = {}
        for kind, refused in self.left_out.items():
            if refused.counts:
                kinds.setdefault(refused.counted(), []).append(kind)
        most = f" (a row has at most {self.longest:,} tokens)" if self.longest else ""
        return [
            f"left out with {' and '.join(held)} personas: {words}{most if 'too long' in words else ''}"
            for words, held in kinds.items()
        ]

    @property
    def _has_equal_length(self) -> bool:
        return any(score.is_of_equal_length for score in self.scores)

    def write(
        self, out: str | os.PathLike[str], *, overwrite: bool = False, more: Mapping[str, Any] | None = None
    ) -> None:
        """Write the figures to a JSON file and the scores to a Parquet file beside it, each whole or not at all.

        The JSON file comes last and states the digest of the other.

        Args:
            out: the JSON file.
            overwrite: replace what is there.
            more: what else is to stand in the JSON file.

        Raises:
            OutputError: something is there, or a file cannot be written.

        """
        path = check_free(out, overwrite=overwrite)
        table_path = path.with_suffix(".parquet")
        with _whole(table_path) as part:
            _write_table(_table(self.scores), part)
            digest = hashlib.sha256(part.read_bytes()).hexdigest()
        told = self.to_dict() | dict(more or {}) | {"scores": {"file": table_path.name, "sha256": digest}}
        with _whole(path) as part:
            part.write_text(json.dumps(told, indent=1, ensure_ascii=True, allow_nan=False) + "\n", encoding="utf-8")


def check_free(out: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Return the path of a JSON file to write, before there is work that could be lost.

    Raises:
        UsageError: it has the name of another kind of file.
        OutputError: it is there, or the file of scores beside it.

    """
    path = Path(out)
    if path.suffix != ".json":
        raise UsageError("figures are written as JSON", expected="--out NAME.json", found=str(out))
    for one in (path, path.with_suffix(".parquet")):
        if one.is_dir() or (os.path.lexists(one) and not overwrite):
            raise OutputError(
                "the file to write is there already",
                where=str(one),
                todo="name another --out, or replace it: --overwrite (in Python: overwrite=True)",
            )
    return path


def open_set(
    dataset: str | os.PathLike[str],
    *,
    split: str = "test",
    personas: Sequence[Kind] = ("true", "shuffled"),
    config: str | None = None,
) -> TailoringSet:
    """Open a set to score, and see that it has what is asked for, before a model is loaded.

    Args:
        dataset: a dataset folder, a folder in the paper's layout, or a repo of the Hub.
        split: which pairs.
        personas: which kinds.
        config: of the paper's layout, the config.

    Raises:
        UsageError: no such kind of personas, or no such set or config.
        DataError: the set lacks the split or such personas.
        HubError: the set cannot be fetched.

    """
    for kind in personas:
        if kind not in KINDS:
            raise unknown("kind of personas", str(kind), KINDS)
    if not personas:
        raise UsageError("no kind of personas was named", expected=f"some of {', '.join(KINDS)}")
    data = pairs.load(dataset, config=config)
    data.pairs(split)
    if "retrieved" in personas and not data.has_retrieved:
        raise DataError(
            "the set has no personas of similar pairs",
            where=data.where,
            expected="a config `retrieved`",
            todo="leave retrieved out of the kinds of personas, or name another set",
        )
    return data


def score(
    loaded: Loaded,
    dataset: str | os.PathLike[str] | TailoringSet,
    *,
    split: str = "test",
    personas: Sequence[Kind] = ("true", "shuffled"),
    config: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    batch_size: int = 8,
    max_length: int | None = None,
    beta: float | None = None,
    reference_doubt: str = "",
    bootstrap: Bootstrap = BOOTSTRAP,
    on_progress: OnProgress | None = None,
) -> Scores:
    """Score the pairs of a set: how much likelier a model finds one response than the other, under each persona.

    Args:
        loaded: a model with its reference (`whoseboat.tailoring.loading.load`).
        dataset: a dataset folder, a folder in the paper's layout, or a repo of the Hub; or what `open_set` returned.
        split: which pairs.
        personas: which kinds; specificity needs `true` and `shuffled`.
        config: of the paper's layout, the config.
        limit: take this many pairs, the first ones.
        seed: of shuffling.
        batch_size: rows that are computed at once.
        max_length: the most tokens of a row; without it what the model takes, and what it was trained on.
        beta: of the reward, in place of that of its training.
        reference_doubt: what files and card are to say of the reference (`whoseboat.tailoring.references.doubt`).
        bootstrap: how intervals are made.
        on_progress: called as it goes.

    Raises:
        UsageError: something asked for cannot be.
        DataError: the set lacks the split or such personas, or no pair is left to score.
        HubError: the set cannot be fetched.
        WhoseboatError: memory does not suffice.

    """
    if batch_size < 1 or (beta is not None and not beta > 0):
        raise UsageError("something of scoring is out of range", expected="batch_size and beta above 0")
    if not isinstance(dataset, TailoringSet):
        dataset = open_set(dataset, split=split, personas=personas, config=config)
    beta = loaded.beta if beta is None else beta
    longest = min(filter(None, (max_length, loaded.longest)), default=None)
    data, not_read = dataset, Refusals()
    held = list(islice(data.pairs(split, not_read), limit))
    kinds = list(dict.fromkeys(personas))
    scoring = _Scoring(loaded, beta, longest, batch_size, Progress(expected=len(held) * len(kinds)), on_progress)
    scores = [one for kind in kinds for one in scoring.of_kind(held, kind, seed)]
    return Scores(
        model=loaded.name,
        reference=loaded.reference.name if loaded.reference else None,
        beta=beta,
        template=loaded.prompts.template,
        dtype=str(loaded.model.dtype).removeprefix("torch."),
        dataset=data.trained_on,
        split=split,
        limit=limit,
        seed=seed,
        longest=longest,
        pairs=len(held),
        gated=sum(pair.gated for pair in held),
        scores=scores,
        figures=margins.figures(scores, bootstrap),
        left_out=scoring.left_out,
        not_read=not_read,
        reference_doubt=reference_doubt,
    )


# ---- scoring


@dataclass(frozen=True, slots=True)
class _Tokens:
    """A pair under one persona, as tokens."""

    given: Given
    chosen: Row
    rejected: Row


class _Scoring:
    """What the kinds of personas share."""

    def __init__(
        self,
        loaded: Loaded,
        beta: float,
        longest: int | None,
        batch_size: int,
        progress: Progress,
        on_progress: OnProgress | None,
    ) -> None:
        self._loaded, self._beta, self._longest = loaded, beta, longest
        self._likelihoods, self._at_once = Likelihoods(loaded, batch_size), batch_size * _WINDOW
        self._progress, self._on_progress = progress, on_progress
        self.left_out: dict[str, Refusals] = {}

    def of_kind(self, held: Iterable[TailoringPair], kind: Kind, seed: int) -> Iterator[Score]:
        """Yield the scores of pairs under one kind of personas."""
        self._progress.kind = kind
        refused = self.left_out[kind] = Refusals()
        tokens = self._tokens(give(held, kind, seed=seed, refusals=refused), refused)
        is_empty = True
        while window := list(islice(tokens, self._at_once)):
            is_empty = False
            yield from self._scored(window)
            self._progress.left_out = sum(one.counts.total() for one in self.left_out.values())
            if self._on_progress is not None:
                self._on_progress(self._progress)
        if is_empty:
            raise DataError(
                f"no pair is left to score with personas of the kind {kind!r}",
                found=refused.in_words(),
                todo="allow longer rows (--max-length), or name another set",
            )

    def _tokens(self, cases: Iterator[Given], refused: Refusals) -> Iterator[_Tokens]:
        """Yield cases as tokens; a pair one of whose sides is refused has none."""
        for _, sides in groupby(cases, key=lambda given: (given.pair.source, given.pair.id)):
            group = list(sides)
            try:
                tokens = [self._tokens_of(given) for given in group]
            except RefusedText as error:
                refused.add(error.reason, f"id {group[0].pair.id}: {error.what}")
                continue
            self._progress.scored += 1
            yield from tokens

    def _tokens_of(self, given: Given) -> _Tokens:
        loaded, pair = self._loaded, given.pair
        found = loaded.prompts.row_ids(pair.prompt, given.persona, pair.chosen, pair.rejected)
        prompt, chosen, rejected = map(tuple, found)
        tokens = len(prompt) + max(len(chosen), len(rejected))
        if self._longest is not None and tokens > self._longest:
            raise RefusedText("too_long", "a row has more tokens than the model takes", where=f"id {pair.id}")
        self._check_conversation(pair)
        return _Tokens(given, (prompt, chosen), (prompt, rejected))

    def _check_conversation(self, pair: TailoringPair) -> None:
        """Refuse a pair whose conversation would be cut, as training did."""
        most = self._loaded.longest_prompt
        renderer = self._loaded.prompts.known
        if most and cut_conversation(pair.prompt, most, lambda text: len(renderer.text_ids(text))) != pair.prompt:
            raise RefusedText("too_long", "a conversation is longer than in training", where=f"id {pair.id}")

    def _scored(self, window: Sequence[_Tokens]) -> Iterator[Score]:
        found = self._likelihoods.of([row for one in window for row in (one.chosen, one.rejected)])
        for one, chosen, rejected in zip(window, found[::2], found[1::2], strict=True):
            pair = one.given.pair
            yield Score(
                id=pair.id,
                root=pair.root,
                source=pair.source,
                persona_kind=one.given.kind,
                side=one.given.side,
                chosen=chosen[0],
                rejected=rejected[0],
                reference_chosen=chosen[1],
                reference_rejected=rejected[1],
                prompt_tokens=len(one.chosen[0]),
                chosen_tokens=len(one.chosen[1]),
                rejected_tokens=len(one.rejected[1]),
                beta=self._beta,
            )


# ---- files


def _table(scores: Sequence[Score]) -> pa.Table:
    import pyarrow as pa

    text, number, count = pa.string(), pa.float64(), pa.int32()
    columns = {
        "id": text, "source": text, "root": text, "persona_kind": text, "side": text,
        "reward_margin": number, "normalised_margin": number,
        "chosen": number, "rejected": number, "reference_chosen": number, "reference_rejected": number,
        "prompt_tokens": count, "chosen_tokens": count, "rejected_tokens": count,
    }  # fmt: skip
    arrays = [pa.array([getattr(score, name) for score in scores], kind) for name, kind in columns.items()]
    return pa.table(dict(zip(columns, arrays, strict=True)))


def _write_table(table: pa.Table, path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(table, path, compression="zstd")


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Give a hidden file beside a path, which takes its place at the end; on any error it is gone.

    Raises:
        OutputError: it cannot be written.

    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.replace(path)
    except OSError as error:
        raise OutputError(
            "the scores cannot be written",
            where=str(path),
            found=error.strerror or str(error),
            todo="check the path and its permissions, or free some room",
        ) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
