"""What a model says to prompts, for the personas it is tried with: JSONL that `whoseboat evaluate` reads.

```
id, side, prompt, persona, persona_kind, origin   what was asked, and for whom; `side` is null where it is neither
response, finish                                  what was said, and how it ended: stop, or length (cut off)
model, run                                        who said it, and a digest of all that it depends on
set                                               the set and split whose prompts they are, where that is known
```

A model folder answers in batches, padded on the left, and stops at the token or the text that ends a reply. What stands
in the file is not asked again. An endpoint's answers are in the journal, as those of all that is asked of one; a reply
that it cuts off is a row as well, and is not asked for again. A model that was trained without personas is told them by
its user, in the first person, behind what is asked. Any other causal language model answers as well, as the untuned
baseline (`whoseboat.tailoring.untuned`).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol

from whoseboat import hub, manifest
from whoseboat.asking import Asking, Talk, ask_at_once, configuration, journal_directory, open_journal
from whoseboat.errors import DataError, OutputError, UsageError, WhoseboatError
from whoseboat.journal import make_directory
from whoseboat.llm.budget import Tally
from whoseboat.llm.settings import LanguageModel
from whoseboat.personas import Unusable
from whoseboat.records import Message
from whoseboat.tailoring import base_models, merging, model_folder, untuned
from whoseboat.tailoring.fitting import cut_conversation
from whoseboat.tailoring.inference_personas import Given
from whoseboat.tailoring.model_folder import ModelFolder
from whoseboat.tailoring.prompting import told_by_user
from whoseboat.tailoring.refusals import Refusals
from whoseboat.tailoring.sets import TailoringSet
from whoseboat.tailoring.templates import RefusedText, Renderer, with_persona

Finish = Literal["stop", "length"]
_WINDOW = 32  # batches that are sorted by length together


@dataclass(frozen=True, slots=True)
class Said:
    """A response, and how it ended."""

    response: str
    finish: Finish


@dataclass(slots=True)
class Progress:
    """How generation goes: rows written now, rows that stood in the file, and those without a response.

    `expected` is how many cases there are in all; None: that is not known.
    """

    written: int = 0
    reused: int = 0
    failed: int = 0
    expected: int | None = None


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class Generated:
    """What came of generating: the file, the rows of the cases, how many were cut off, and what has no row."""

    path: Path
    model: str
    rows: int
    reused: int
    cut_off: int
    refusals: Refusals = field(repr=False)


class _Answering(Protocol):
    """Something that answers: a model in memory, or an endpoint."""

    name: str

    def identity(self) -> object:
        """Return all that answers depend on, as plain data."""

    def answers(self, cases: Iterator[Given], refusals: Refusals) -> Iterator[tuple[Given, Said]]:
        """Yield what is said; what is not is counted."""


@dataclass(frozen=True, slots=True)
class Decoding:
    """How a model folder answers: greedily, a batch at once.

    What is None is as the model's manifest says. `begin_mnemonics` has responses to the prompts of mnemonics begin with
    "X sounds like", as in the paper.

    Raises:
        UsageError: a number out of range.

    """

    batch_size: int = 8
    max_new_tokens: int | None = None
    min_new_tokens: int | None = None
    begin_mnemonics: bool | None = None

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("max_new_tokens", 1), ("min_new_tokens", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"{name} is out of range", expected=f"{least} or more", found=str(value))


def generate(
    model: str | os.PathLike[str] | LanguageModel,
    cases: Iterable[Given],
    out: str | os.PathLike[str],
    *,
    asked_of: str = "",
    expected: int | None = None,
    decoding: Decoding | None = None,
    on_progress: OnProgress | None = None,
) -> Generated:
    """Have a model answer, and write what it says to a file; the same call goes on where an earlier one stopped.

    Args:
        model: a model folder, any other folder with a causal language model, a repo of the Hub that holds either
            (`ORG/NAME[@REVISION]`), or an endpoint's model.
        cases: prompts with personas (`whoseboat.tailoring.inference_personas.give`).
        out: the file, JSONL.
        asked_of: the set and split that the cases are of (`set_of`): a file holds the answers for one of them.
        expected: how many cases there are, for progress.
        decoding: how a model folder answers; an endpoint is told by its parameters.
        on_progress: called as it goes.

    Raises:
        UsageError: it cannot answer for such personas.
        DataError: there is no such model, or its weights cannot be loaded.
        HubError: the model or its base cannot be fetched.
        OutputError: the file cannot be written, or holds what another run wrote.
        WhoseboatError: memory does not suffice, or the endpoint fails.

    """
    check_out(out)
    if isinstance(model, LanguageModel):
        if decoding is not None:
            raise UsageError("an endpoint is told how to answer by its parameters", expected="--parameter KEY=VALUE")
        answering: _Answering = _Endpoint(model)
    else:
        answering = _Local(find_model(model), decoding or Decoding())
    run = hashlib.sha256(json.dumps(answering.identity(), sort_keys=True).encode()).hexdigest()[:16]
    refusals, progress = Refusals(), Progress(expected=expected)
    with _Rows(Path(out), run, asked_of) as rows:
        left = rows.without_those_there(cases, progress)
        for given, said in answering.answers(left, refusals):
            rows.write(_row(given, said, answering.name, run, asked_of))
            progress.written += 1
            progress.failed = refusals.counts.total()
            if on_progress is not None:
                on_progress(progress)
        cut_off = rows.cut_off
    if not progress.written and not progress.reused:
        raise DataError("nothing was generated", where=str(out), found=refusals.in_words() or "no case at all")
    return Generated(
        Path(out), answering.name, progress.written + progress.reused, progress.reused, cut_off, refusals
    )  # fmt: skip


def set_of(data: TailoringSet, split: str) -> str:
    """Return what tells the prompts of a split from those of others: the set by its content, its config, the split.

    A set that is built again with other rows or personas is another one; a copy elsewhere is the same.
    """
    told = data.trained_on
    content = f"digest {told.digest[:16]}" if told.digest else f"{told.repo}@{told.revision}"
    return f"{told.name}, {content}, {told.config}, split {split}"


def check_out(out: str | os.PathLike[str]) -> None:
    """See that a file to write is not there, or is a plain one.

    Raises:
        OutputError: it is a directory, a device or the like.

    """
    path = Path(out)
    if path.exists() and not path.is_file():
        raise OutputError(
            "what stands at --out is no plain file",
            where=str(path),
            expected="no file yet, or one that this command wrote",
            todo="name another --out",
        )


def find_model(model: str | os.PathLike[str]) -> ModelFolder:
    """Return a model folder: the one named, or that of a repo of the Hub, which is fetched.

    What is none of ours, but a causal language model, is returned as `whoseboat.tailoring.untuned` asks it.

    Raises:
        DataError: it is no model.
        HubError: there is no such repo.

    """
    name = os.fspath(model)
    if Path(name).is_dir():
        is_ours = (Path(name) / manifest.FILE).is_file()
        return model_folder.read(name) if is_ours else untuned.find(name)
    repo, _, revision = name.partition("@")
    if repo.count("/") != 1 or name.startswith((".", "/", "~")):
        raise DataError(
            "no such model",
            where=name,
            expected="a model folder, any folder with a causal language model, or ORG/NAME[@REVISION] on the Hub",
        )
    if not untuned.is_of_ours(repo, revision or None):
        return untuned.find(repo, revision or None)
    from huggingface_hub import snapshot_download

    with hub.explained(repo, revision or None, "model", again=""):
        wanted = ["*.safetensors", "*.json", "*.jinja", "*.yaml", "*.model", "*.txt"]
        return model_folder.read(snapshot_download(repo, revision=revision or None, allow_patterns=wanted))


def _row(given: Given, said: Said, model: str, run: str, asked_of: str) -> dict[str, Any]:
    return {
        "id": given.pair.id,
        "side": given.side,
        "prompt": [{"role": message.role, "content": message.content} for message in given.pair.prompt],
        "persona": given.persona,
        "persona_kind": given.kind,
        "origin": given.origin,
        "response": said.response,
        "finish": said.finish,
        "model": model,
        "run": run,
        **({"set": asked_of} if asked_of else {}),
    }


# ---- the file


class _Rows:
    """The file that is written: rows that stand there already are kept, a broken last line is not."""

    def __init__(self, path: Path, run: str, asked_of: str) -> None:
        self.path, self._run, self._asked_of = path, run, asked_of
        self._there: dict[str, bool] = {}  # whether it is cut off, by what was asked
        self.cut_off = 0  # of the cases of this call

    def __enter__(self) -> _Rows:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+b")
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            self._hold()
            self._read()
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and not self._file.tell() and self.path.is_file() and not self.path.stat().st_size:
            self.path.unlink()  # nothing was written: no file is left that would pass for answers
        self._file.close()

    def without_those_there(self, cases: Iterable[Given], progress: Progress) -> Iterator[Given]:
        """Yield the cases that have no row yet."""
        for given in cases:
            is_cut_off = self._there.get(_key(given.pair.id, given.side, given.kind, given.persona))
            if is_cut_off is not None:
                progress.reused += 1
                self.cut_off += is_cut_off
            else:
                yield given

    def write(self, row: dict[str, Any]) -> None:
        """Write a row; a process that is killed afterwards does not take it along."""
        try:
            line = json.dumps(row, ensure_ascii=False).encode(errors="replace")
            self._file.write(line + b"\n")
            self._file.flush()
        except OSError as error:
            raise self._unwritable(error) from error
        self.cut_off += row["finish"] == "length"

    def _hold(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(
                "another process writes this file", where=str(self.path), todo="wait for it, or name another --out"
            ) from error
        except OSError:
            return  # where files cannot be locked, nobody is kept from writing

    def _read(self) -> None:
        self._file.seek(0)
        whole = 0
        for number, line in enumerate(self._file, 1):
            row = _parsed(line)
            if row is None and not line.endswith(b"\n"):
                break  # a process was killed as it wrote it
            if row is None or row.get("run") != self._run:
                raise OutputError(
                    "the file holds what another run wrote",
                    where=f"{self.path}, line {number}",
                    expected=f"rows of run {self._run}: the same model, asked in the same way",
                    found=f"run {row.get('run')}" if row else "no row of ours",
                    todo="name another --out; nothing in it was touched",
                )
            if row.get("set", self._asked_of) != self._asked_of and self._asked_of:
                raise self._of_another_set(number, str(row["set"]))
            key = _key(row["id"], row["side"], row["persona_kind"], row["persona"])
            self._there[key] = row["finish"] == "length"
            whole += len(line)
        self._file.truncate(whole)

    def _of_another_set(self, number: int, found: str) -> OutputError:
        return OutputError(
            "the file holds answers for another set",
            where=f"{self.path}, line {number}",
            expected=self._asked_of,
            found=found,
            todo="name another --out; nothing in it was touched. A set that was built again is another one: "
            "its personas may differ",
        )

    def _unwritable(self, error: OSError) -> OutputError:
        return OutputError(
            "the generations cannot be written",
            where=str(self.path),
            found=error.strerror or str(error),
            todo="check the path, or free some room; what was written is kept",
        )


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    needed = ("id", "side", "persona_kind", "persona", "finish")
    return row if isinstance(row, dict) and line.endswith(b"\n") and all(name in row for name in needed) else None


def _key(*parts: str | None) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


# ---- a model in memory


@dataclass(frozen=True, slots=True)
class _Asked:
    given: Given
    ids: list[int]
    begun: str = ""


class _Local:
    """A model folder in memory, or any other model."""

    def __init__(self, found: ModelFolder, decoding: Decoding) -> None:
        made = found.manifest
        self.name, self._made, self._folder, self._is_untuned = made.name, made, found.path, found.is_untuned
        recipe = made.recipe
        self._batch_size = decoding.batch_size
        self._max_new = decoding.max_new_tokens or made.max_new_tokens
        least = recipe.get("min_new_tokens", 0) if decoding.min_new_tokens is None else decoding.min_new_tokens
        self._min_new = min(int(least), self._max_new)
        begins = recipe.get("begin_mnemonics", False) if decoding.begin_mnemonics is None else decoding.begin_mnemonics
        self._begin_mnemonics = bool(begins)
        most = recipe.get("max_prompt_length")
        self._most_prompt = int(most) if most else None

    def identity(self) -> object:
        made = self._made
        return [
            made.name, made.weights_digest, made.base_model, made.base_revision, made.template, made.template_text,
            made.stop, self._max_new, self._min_new, self._begin_mnemonics, self._most_prompt,
        ]  # fmt: skip

    def answers(self, cases: Iterator[Given], refusals: Refusals) -> Iterator[tuple[Given, Said]]:
        first = next(cases, None)
        if first is None:
            return
        self._load()
        asked = self._asked(_chained(first, cases), refusals)
        while window := list(islice(asked, self._batch_size * _WINDOW)):
            window.sort(key=lambda one: len(one.ids), reverse=True)  # the longest first: memory shows at once
            start = 0
            while start < len(window):
                batch = window[start : start + self._batch_size]
                said = self._said(batch)
                if said is None:
                    continue  # it was too large: half of it
                start += len(batch)
                yield from zip((one.given for one in batch), said, strict=True)

    def _load(self) -> None:
        import torch

        made = self._made
        has_gpu = torch.cuda.is_available()
        dtype = "bfloat16" if has_gpu and torch.cuda.is_bf16_supported() else "float32"
        own = str(self._folder)
        place, revision = base_models.weights_of(own, made)
        self._tokenizer = base_models.load_tokenizer(*((place, revision) if made.relation == "prompt" else (own, None)))
        self._renderer = Renderer(self._tokenizer, made.template, made.personas)
        self._renderer.template_text = made.template_text
        self._without = Renderer(self._tokenizer, made.template, "none") if self._is_untuned else self._renderer
        model = base_models.load_model(place, revision, dtype)
        self._longest = getattr(model.config, "max_position_embeddings", None)
        self._ends = list(dict.fromkeys([self._renderer.end_id, *merging.ends_of(model)]))
        if made.relation == "adapter":
            model = merging.with_adapter(model, self._folder)
        self._model = model.to("cuda" if has_gpu else "cpu").eval()

    def _asked(self, cases: Iterator[Given], refusals: Refusals) -> Iterator[_Asked]:
        for given in cases:
            try:
                begun = self._begun(given)
                renderer = self._without if given.persona is None else self._renderer
                text = renderer.prompt(*self._told(given)) + (f" {begun}" if begun else "")
            except RefusedText as error:
                refusals.add(error.reason, f"id {given.pair.id}: {error.what}")
                continue
            ids = self._renderer.prompt_ids(text)
            if self._longest is not None and len(ids) + self._max_new > self._longest:
                refusals.add("too_long", f"id {given.pair.id}")
            else:
                yield _Asked(given, ids, begun)

    def _told(self, given: Given) -> tuple[tuple[Message, ...], str | None]:
        """Return prompt and persona as the model takes them."""
        prompt = given.pair.prompt
        if self._most_prompt is not None:
            prompt = cut_conversation(prompt, self._most_prompt, lambda text: len(self._renderer.text_ids(text)))
        if self._renderer.has_persona:
            if given.persona is None and self._is_untuned:
                return prompt, None
            if given.persona is None:
                raise UsageError(
                    "the model answers for a persona, and is given none",
                    where=self.name,
                    expected="personas of another kind than none",
                )
            return prompt, given.persona
        return (prompt if given.persona is None else told_by_user(prompt, given.persona)), None

    def _begun(self, given: Given) -> str:
        """Return how a response begins, nothing where the model begins it."""
        if not self._begin_mnemonics or given.pair.family != "mnemonic" or self._made.template != "plain":
            return ""
        term = given.pair.prompt[-1].content.strip()
        return f"{term[:1].upper()}{term[1:]} sounds like"

    def _said(self, batch: Sequence[_Asked]) -> list[Said] | None:
        """Answer a batch; None where memory did not suffice, and the next is to be smaller."""
        import torch

        try:
            with torch.inference_mode():
                replies = self._reply_ids([one.ids for one in batch])
        except torch.OutOfMemoryError as error:
            if self._batch_size == 1:
                raise WhoseboatError(
                    "memory does not suffice for one prompt",
                    where=f"id {batch[0].given.pair.id}, {len(batch[0].ids):,} tokens",
                    todo="lower max_new_tokens, or use a larger GPU; what was written is kept",
                ) from error
            self._batch_size = max(1, self._batch_size // 2)
            torch.cuda.empty_cache()
            return None
        return [self._read(one, ids) for one, ids in zip(batch, replies, strict=True)]

    def _reply_ids(self, prompts: Sequence[list[int]]) -> list[list[int]]:
        """Return the tokens that follow each prompt, those behind the end left out."""
        import torch
        from transformers import GenerationConfig

        width, pad = max(map(len, prompts)), self._tokenizer.pad_token_id
        pad = self._renderer.end_id if pad is None else pad
        ids = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        stop = list(self._made.stop)
        config = GenerationConfig(
            do_sample=False,
            max_new_tokens=self._max_new,
            min_new_tokens=self._min_new or None,
            eos_token_id=self._ends,
            pad_token_id=pad,
            stop_strings=stop or None,
        )
        _bare(self._model).generation_config = config  # what the base would do by default is of no effect
        place = self._model.device
        output = self._model.generate(
            input_ids=ids.to(place),
            attention_mask=mask.to(place),
            generation_config=config,
            **({"tokenizer": self._tokenizer} if stop else {}),
        )
        return [row[width:].tolist() for row in output]

    def _read(self, asked: _Asked, ids: list[int]) -> Said:
        """Return a reply as text, up to where it ends."""
        end = next((at for at, token in enumerate(ids) if token in self._ends), None)
        text = str(self._tokenizer.decode(ids[:end], skip_special_tokens=True))
        cuts = [at for at in (text.find(stop) for stop in self._made.stop) if at >= 0]
        is_over = end is not None or bool(cuts)
        text = text[: min(cuts)] if cuts else text
        return Said(f"{asked.begun}{text}".strip(), "stop" if is_over else "length")


def _bare(model: Any) -> Any:  # noqa: ANN401 - transformers has no types
    """Return the model below an adapter."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _chained(first: Given, rest: Iterator[Given]) -> Iterator[Given]:
    yield first
    yield from rest


# ---- an endpoint


class _Generating(Asking[Given, Given, Said]):
    """What is asked of an endpoint about a case: one reply."""

    takes_cut_off = True
    units = "responses"
    retried = "requests that were refused"

    def tasks(self, item: Given) -> Sequence[Given]:
        """Return the case itself."""
        return [item]

    def talk(self, task: Given) -> Talk[Said]:
        """Ask, with the persona as the system message."""
        prompt = task.pair.prompt if task.persona is None else with_persona(task.pair.prompt, task.persona)
        reply = yield [{"role": message.role, "content": message.content} for message in prompt]
        return Said(reply.strip(), "stop")


class _Endpoint:
    """A language model behind an endpoint."""

    def __init__(self, model: LanguageModel) -> None:
        if model.samples > 1:
            raise UsageError("a prompt is answered once", expected="1 sample", found=str(model.samples))
        model.key()
        self.name, self._model = model.public_name, model

    def identity(self) -> object:
        return ["endpoint", configuration(self._model)]

    def answers(self, cases: Iterator[Given], refusals: Refusals) -> Iterator[tuple[Given, Said]]:
        model = self._model
        make_directory(journal_directory(model))
        tally = Tally()
        tally.prices = model.prices
        with open_journal(model) as journal:
            asking = _Generating(model, journal, tally, None, "generation")
            for given, outcomes in _asked_of(asking, cases):
                for outcome in map(_or_cut_off, outcomes):
                    asking.count(outcome if isinstance(outcome, Unusable) else None)
                    if isinstance(outcome, Unusable):
                        refusals.add(outcome.reason, f"id {given.pair.id}: {outcome.detail}")
                    else:
                        yield given, outcome
            asking.end()


def _or_cut_off(outcome: Said | Unusable) -> Said | Unusable:
    """Return what was said before a reply was cut off as such."""
    if isinstance(outcome, Unusable) and outcome.reason == "cut_off":
        return Said(outcome.detail.strip(), "length")
    return outcome


def _asked_of(asking: _Generating, cases: Iterator[Given]) -> Iterator[tuple[Given, list[Said | Unusable]]]:
    if not asking.model.batch:
        return ask_at_once(asking, cases)
    from whoseboat import batching

    return batching.ask_by_batch(asking, lambda: nullcontext(list(cases)))
