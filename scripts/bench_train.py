"""Tokens per second of training as `fixed` computes it against as `paper` does: same problem, in turn in one run.

    python scripts/bench_train.py [--data-dir DIR] [--pairs 120] [--rounds 3] [--epochs 3] [--threads N]
    python scripts/bench_train.py --laptop

What is trained is the same in both: pairs of hh-rlhf (DIR as published) or the bundled sample, cut as the paper cuts
them (prompts at 128 tokens, rows at 512), loss on the response, one schedule, as many rows in a step, as many epochs;
SFT, then DPO from what SFT made. Only how it is computed differs (`COMPUTED`): what `paper` leaves open is as trl
has it unless told otherwise, since nothing is known of it; trl alone also computes logits of prompts on a CPU, and all
of them twice, where `fixed` has what is in `whoseboat.tailoring.cpu_loss`. `--set` changes how `fixed` computes: on a
CPU, without it, batches of 4, which fit its caches better than 8, and bf16 where the processor has matrix units for it
(AMX). Rows in a step stay as many. Adapters on random weights learn little, so rates are high; losses on validation
before and after tell whether anything was learned, and whether both came to the same (1 %).

The ratio is of this shape of model and no constant: most of it comes from logits that are spared, so it grows with the
share of the vocabulary in the model (`small`: 32,000 words, 8 of its 13 million weights) and with that of prompts in
the rows, and it is smaller with a small vocabulary. `paper` run by `whoseboat train` has some of these savings too:
the loss on a CPU is the same, and the reference is computed before unless told otherwise. A validation loss is a mean
over batches, so batches of another size alone move it a little: compare "before".

Every round trains both, each in a process of its own, in turn; the first is another one in every other round. Tokens
are those of trained rows without padding, in DPO those of both replies, each with its prompt. Seconds are those of
training, with the log-probabilities of the reference of trained rows where these are computed before; without imports,
loading, tokenising, validation and checkpoints. "of CPU" are seconds of the processor, which others on a busy machine
change less. Memory is the process's peak, validation included, on a GPU what torch had allocated there at most.

Where CUDA is there the model has 100 million weights (`--model` says otherwise, `--cpu` leaves the GPU alone), and
utilisation is the share of time in which some kernel ran, asked of `nvidia-smi` five times a second while training.

`--laptop` instead times a few steps of `laptop` on random weights in the shape of its base model, and says what the
whole recipe takes at that rate.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import whoseboat
from whoseboat.tailoring import base_models, encoding, pairs, recipe, stages
from whoseboat.tailoring.training import train

# How a recipe computes, and not what it learns.
COMPUTED = ("batch_size", "group_by_length", "packing", "precision", "gradient_checkpointing", "precompute_reference")
AS_TRL = {"gradient_checkpointing": True, "precompute_reference": False, "precision": "auto"}
NAMES = ("paper", "fixed")
STAGES = ("sft", "dpo")
TOLERANCE = 0.01
# Hidden size, layers, heads, heads of keys, inner size, vocabulary; `laptop` is SmolLM2-135M's.
SHAPES = {
    "tiny": (32, 2, 2, 2, 64, 600),
    "small": (256, 6, 4, 4, 688, 32_000),
    "100m": (768, 12, 12, 12, 2048, 32_000),
    "laptop": (576, 30, 9, 3, 1536, 49_152),
}


# ---- what is trained


def write_data(folder: Path, data_dir: str | None) -> Path:
    """Build the set, with personas that need no language model."""
    if data_dir:
        return whoseboat.build("hh-rlhf", folder, data_dir=data_dir, engine="contrast").path
    return whoseboat.build("sample", folder).path


def write_model(folder: Path, texts: Iterable[str], shape: str) -> int:
    """Write a Llama of a shape with random weights, its tokenizer learned from texts; return how many weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    hidden, layers, heads, key_heads, inner, vocabulary = SHAPES[shape]
    tokenizer = learned_tokenizer(texts, vocabulary)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=key_heads, max_position_embeddings=2048,
        tie_word_embeddings=True, bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    return int(model.num_parameters())


def texts_of(data: Path) -> Iterator[str]:
    """Yield the texts of a set's training rows."""
    for pair in pairs.load(data).pairs("train"):
        yield from (turn.content for turn in pair.prompt)
        yield from (pair.chosen, pair.rejected, pair.chosen_persona, pair.rejected_persona)


def learned_tokenizer(texts: Iterable[str], vocabulary: int) -> Any:
    """Return a tokenizer of bytes and what is often beside one another."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|pad|>", "<|end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=special[0], eos_token=special[1])


def problem(given: argparse.Namespace, data: Path, model: Path) -> dict[str, Any]:
    """Return what both train: the paper's cuts, the rest as `fixed` has it, with rates for random weights."""
    paper = recipe.load("paper")
    cuts = {name: getattr(paper, name) for name in ("max_length", "max_prompt_length", "too_long")}
    changes = {**cuts, "method": "dpo", "personas": "both", "limit": given.pairs, "epochs": given.epochs}
    rates = {"sft_learning_rate": given.sft_rate, "dpo_learning_rate": given.dpo_rate}
    where = {"data": str(data), "base_model": str(model), "base_revision": None, "template": "plain"}
    return recipe.load("fixed").as_dict() | changes | rates | where


def computed(name: str, changes: Iterable[str] = ()) -> dict[str, Any]:
    """Return how a recipe computes, with as many rows in a step as the paper's.

    Raises:
        SystemExit: a change is to what is learned, or as many rows are no multiple of the batch.

    """
    paper, found = recipe.load("paper"), recipe.load(name, changes if name == "fixed" else ())
    how = {key: getattr(found, key) for key in COMPUTED} | (AS_TRL if name == "paper" else {})
    rows = paper.batch_size * paper.gradient_accumulation
    if rows % found.batch_size or any(change.partition("=")[0] not in COMPUTED for change in changes):
        raise SystemExit(f"--set takes {', '.join(COMPUTED)}, and batches that divide {rows}")
    return how | {"gradient_accumulation": rows // found.batch_size}


def for_cpu() -> list[str]:
    """Return what `fixed` is told on a CPU."""
    import torch

    has_matrix_units = torch.cpu.get_capabilities().get("amx_bf16", False)
    return ["batch_size=4", *(["precision=bf16"] if has_matrix_units else [])]


# ---- one training, in a process of its own


@dataclass
class Measured:
    """What a stage took."""

    tokens: float = 0
    seconds: float = 0
    processor: float = 0
    steps: int = 0
    before: float = 0
    after: float = 0
    peak_mb: float = 0
    utilisation: float | None = None


@dataclass
class Watch:
    """Sees trainers at work: the seconds of what is training, without what is not."""

    found: dict[str, Measured] = field(default_factory=dict)

    def on(self) -> None:
        """Put itself around the parts of trainers that it measures, in this process."""
        from transformers import Trainer
        from trl import DPOTrainer

        around(Trainer, "train", self.train)
        around(Trainer, "evaluate", self.evaluate)
        around(Trainer, "_save_checkpoint", self.save)
        around(DPOTrainer, "_precompute_ref_logps", self.precompute)

    def of(self, trainer: Any) -> Measured:
        """Return the figures of a trainer's stage."""
        return self.found.setdefault("dpo" if hasattr(trainer, "precompute_ref_logps") else "sft", Measured())

    def train(self, function: Callable[..., Any], trainer: Any, *arguments: Any, **named: Any) -> Any:
        """Time the whole; what is not training is taken off by the others."""
        found = self.of(trainer)
        found.before = trainer.evaluate()["eval_loss"]
        with timed(found, 1), polled(found):
            done = function(trainer, *arguments, **named)
        found.steps = trainer.state.global_step
        found.tokens = sum(map(encoding.tokens_of, trainer.train_dataset)) * trainer.state.epoch
        found.after = next(one["eval_loss"] for one in reversed(trainer.state.log_history) if "eval_loss" in one)
        found.peak_mb = peak_mb()
        return done

    def evaluate(self, function: Callable[..., Any], trainer: Any, *arguments: Any, **named: Any) -> Any:
        """Take validation off."""
        with timed(self.of(trainer), -1):
            return function(trainer, *arguments, **named)

    def save(self, function: Callable[..., Any], trainer: Any, *arguments: Any, **named: Any) -> Any:
        """Take checkpoints off."""
        with timed(self.of(trainer), -1):
            return function(trainer, *arguments, **named)

    def precompute(self, function: Callable[..., Any], trainer: Any, dataset: Any, name: str, size: int) -> Any:
        """Count the reference of trained rows; that of validation comes in the other way of computing as well."""
        with timed(self.of(trainer), 1 if name == "train" else 0):
            return function(trainer, dataset, name, size)


def around(owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
    """Call a wrapper in place of a method, with the method first."""
    original = getattr(owner, name)
    setattr(owner, name, lambda *arguments, **named: wrapper(original, *arguments, **named))


@contextlib.contextmanager
def timed(found: Measured, sign: int) -> Iterator[None]:
    """Add seconds, or take them off."""
    wait_for_device()
    started, worked = time.perf_counter(), time.process_time()
    try:
        yield
    finally:
        wait_for_device()
        found.seconds += sign * (time.perf_counter() - started)
        found.processor += sign * (time.process_time() - worked)


def wait_for_device() -> None:
    """Let a GPU come to the end of what it was given."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_mb() -> float:
    """Return the most memory so far: of a GPU what torch had allocated, else of the process."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextlib.contextmanager
def polled(found: Measured) -> Iterator[None]:
    """Ask a GPU how busy it is, five times a second."""
    import torch

    if not torch.cuda.is_available():
        yield
        return
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0] or "0"
    asked = ["nvidia-smi", "-i", gpu, "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "200"]
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(asked, stdout=said, stderr=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.terminate()
            process.wait()
            said.seek(0)
            shares = [float(line) / 100 for line in said if line.strip().isdigit()]
            found.utilisation = statistics.fmean(shares) if shares else None


def work(told: dict[str, Any], out: Path, threads: int | None, alone: bool) -> dict[str, Any]:
    """Train as a recipe says in this process, and return the figures of its stages; `alone`: as trl does by itself."""
    import torch

    if threads:
        torch.set_num_threads(threads)
    os.environ["TQDM_DISABLE"] = "1"
    watch = Watch()
    as_trl = mock.patch.object(stages, "lean_on_cpu", contextlib.nullcontext) if alone else contextlib.nullcontext()
    with base_models.calmed(), as_trl:
        watch.on()
        train(recipe.of(told), out)
    return {name: asdict(found) for name, found in watch.found.items()}


def run(told: dict[str, Any], given: argparse.Namespace, alone: bool = False) -> dict[str, Measured]:
    """Train in a new process and return the figures of its stages."""
    command = [sys.executable, __file__, "--work", json.dumps(told), *(["--alone"] if alone else [])]
    command += ["--threads", str(given.threads)] if given.threads else []
    changed = {"CUDA_VISIBLE_DEVICES": ""} if given.cpu else {}
    changed |= {"OMP_NUM_THREADS": str(given.threads)} if given.threads else {}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env={**os.environ, **changed})
    if done.returncode:
        raise SystemExit(f"failed: {done.stderr[-2000:]}")
    return {name: Measured(**found) for name, found in json.loads(done.stdout.splitlines()[-1]).items()}


# ---- figures


def together(parts: Iterable[Measured]) -> Measured:
    """Return the figures of stages as of one."""
    found = list(parts)
    sums = {name: sum(getattr(one, name) for one in found) for name in ("tokens", "seconds", "processor", "steps")}
    shares = [one.utilisation * one.seconds for one in found if one.utilisation is not None]
    utilisation = sum(shares) / sums["seconds"] if shares else None
    return Measured(**sums, peak_mb=max(one.peak_mb for one in found), utilisation=utilisation)


Round = dict[str, dict[str, Measured]]


def compare(told: dict[str, Any], given: argparse.Namespace) -> list[Round]:
    """Train both in turn, as many rounds as asked for."""
    rounds: list[Round] = []
    for number in range(given.rounds):
        found: Round = {}
        for name in NAMES if number % 2 == 0 else NAMES[::-1]:
            found[name] = run(told | computed(name, given.set), given, alone=name == "paper")
            found[name]["both"] = together(found[name].values())
            rate = found[name]["both"].tokens / found[name]["both"].seconds
            load = os.getloadavg()[0]
            print(f"round {number + 1}, {name}: {rate:,.0f} tokens/s, load {load:.1f}", file=sys.stderr, flush=True)
        rounds.append(found)
    return rounds


def report(rounds: list[Round]) -> bool:
    """Print the table; return whether both came to the same losses."""
    heads = ("tokens/s", "of CPU/s", "steps", "before", "after", "peak MB", "busy")
    print(f"{'':>5} {'':>6}" + "".join(f"{head:>10}" for head in heads))
    for stage in (*STAGES, "both"):
        for name in NAMES:
            print(f"{stage:>5} {name:>6}{columns([one[name][stage] for one in rounds])}")
    for stage in (*STAGES, "both"):
        for clock, what in (("seconds", "by the clock"), ("processor", "of CPU")):
            ratios = [rate(one["fixed"][stage], clock) / rate(one["paper"][stage], clock) for one in rounds]
            each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
            print(f"ratio {stage} {what}: {statistics.median(ratios):.2f} (each round: {each})")
    close = [same(rounds, stage) for stage in STAGES]
    return all(close)


def rate(found: Measured, clock: str) -> float:
    """Return tokens a second."""
    return found.tokens / float(getattr(found, clock))


def columns(found: list[Measured]) -> str:
    """Return the medians of a line."""
    middle = {
        key: statistics.median(getattr(one, key) for one in found) for key in ("steps", "before", "after", "peak_mb")
    }
    wall, own = (statistics.median(rate(one, clock) for one in found) for clock in ("seconds", "processor"))
    losses = "".join(f"{middle[key]:>10.4f}" if middle[key] else f"{'':>10}" for key in ("before", "after"))
    shares = [one.utilisation for one in found if one.utilisation is not None]
    busy = f"{statistics.median(shares):>10.0%}" if shares else f"{'':>10}"
    return f"{wall:>10,.0f}{own:>10,.0f}{middle['steps']:>10.0f}{losses}{middle['peak_mb']:>10,.0f}{busy}"


def same(rounds: list[Round], stage: str) -> bool:
    """Say how far apart the losses on validation are."""
    apart = max(abs(one["fixed"][stage].after / one["paper"][stage].after - 1) for one in rounds)
    print(f"validation loss of {stage}: {apart:.2%} apart, {'within' if apart <= TOLERANCE else 'BEYOND'} 1 %")
    return apart <= TOLERANCE


def laptop(data: Path, model: Path, given: argparse.Namespace) -> None:
    """Print what a few steps of `laptop` take, and the whole at that rate."""
    whole = recipe.load("laptop").as_dict()
    told = whole | {"data": str(data), "base_model": str(model), "base_revision": None, "method": "dpo"}
    found = run(told | {"max_steps": given.steps, "limit": max(1, given.steps * whole["batch_size"] // 2)}, given)
    total = 0.0
    for stage, one in found.items():
        rows = 2 * whole["limit"] * whole["epochs"]
        seconds = one.seconds / one.steps * rows / whole["batch_size"]
        total += seconds
        print(f"{stage}: {one.steps} steps, {rate(one, 'seconds'):,.0f} tokens/s, peak {one.peak_mb:,.0f} MB; "
              f"all {rows:.0f} rows: {seconds / 60:.0f} min")  # fmt: skip
    print(f"whole recipe, without validation and checkpoints: {total / 60:.0f} min")


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", help="hh-rlhf as published; without it the bundled sample")
    parser.add_argument("--pairs", type=int, default=120, help="the most pairs of each stage")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--sft-rate", type=float, default=2e-3)
    parser.add_argument("--dpo-rate", type=float, default=5e-4)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--model", choices=SHAPES)
    parser.add_argument("--cpu", action="store_true", help="leave a GPU alone")
    parser.add_argument("--laptop", action="store_true")
    parser.add_argument("--steps", type=int, default=4, help="with --laptop: of each stage")
    parser.add_argument("--set", nargs="+", metavar="KEY=VALUE", help="how `fixed` is to compute")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        with tempfile.TemporaryDirectory() as directory:
            print(json.dumps(work(json.loads(given.work), Path(directory) / "model", given.threads, given.alone)))
        return
    with tempfile.TemporaryDirectory() as directory:
        everything(Path(directory), given)


def everything(directory: Path, given: argparse.Namespace) -> None:
    """Make a set and a model, and measure."""
    import torch

    has_gpu = torch.cuda.is_available() and not given.cpu
    given.set = given.set or ([] if has_gpu else for_cpu())
    ways = {name: computed(name, given.set) for name in NAMES}  # before anything is made: it may be refused
    shape = given.model or ("laptop" if given.laptop else "100m" if has_gpu else "small")
    data, model = write_data(directory / "data", given.data_dir), directory / "base"
    weights = write_model(model, texts_of(data), shape)
    where = torch.cuda.get_device_name(0) if has_gpu else f"CPU, {given.threads or torch.get_num_threads()} threads"
    print(f"{weights / 1e6:.1f} million weights, {where}", flush=True)
    if given.laptop:
        laptop(data, model, given)
        return
    for name, how in ways.items():
        print(f"{name}: " + " ".join(f"{key}={value}" for key, value in how.items()), flush=True)
    if not report(compare(problem(given, data, model), given)):
        sys.exit(1)


if __name__ == "__main__":
    main()
