"""One stage of training, SFT or DPO: rows as tokens go in, weights come out. One function for both methods.

A stage has a directory of its own. What is in `final` there came to its end; what is in `checkpoints` is gone on from.
Every rank of a run with several processes goes through the same calls; the first one alone writes.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from whoseboat.errors import DataError, OutputError, WhoseboatError
from whoseboat.tailoring import base_models, merging
from whoseboat.tailoring.cpu_loss import lean_on_cpu
from whoseboat.tailoring.encoding import Encoded
from whoseboat.tailoring.recipe import Recipe

StageMethod = Literal["sft", "dpo"]
_DONE, _SECONDS = "done.json", "seconds.json"
_STATE = "trainer_state.json"
# Other processes wait while the first one makes tokens of all rows: ten minutes, as they would, are a million rows.
_LONGEST_WAIT = timedelta(hours=12)


@dataclass(frozen=True)
class Stage:
    """What one stage is given: where its model comes from, its rows, and a directory.

    `validation_rows` are None where the set has no such split; there may be none left that fits.
    """

    recipe: Recipe
    method: StageMethod
    place: str
    revision: str | None
    tokenizer: Any
    end_id: int
    train: Encoded
    validation_rows: Encoded | None
    directory: Path

    @property
    def validation(self) -> Encoded | None:
        """What it is validated with, None where there is nothing."""
        return self.validation_rows if self.validation_rows and self.validation_rows.kept else None

    @property
    def final(self) -> Path:
        """Where the weights are once it came to its end."""
        return self.directory / "final"


@dataclass(frozen=True, slots=True)
class Ran:
    """A stage that came to its end: `log` has what trl logged, `best_step` is that of the weights kept."""

    steps: int
    epochs: float
    seconds: float
    best_step: int | None
    log: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Progress:
    """How training goes."""

    stage: str
    step: int
    steps: int
    epoch: float
    loss: float | None = None
    validation_loss: float | None = None


OnProgress = Callable[[Progress], None]


def run(stage: Stage, *, resume: bool = True, on_progress: OnProgress | None = None) -> Ran:
    """Train one stage, or take it as it is where it came to its end already.

    Raises:
        DataError: the model or a checkpoint cannot be loaded, or the loss is no number.
        OutputError: a checkpoint cannot be written.
        WhoseboatError: memory does not suffice.

    """
    done = stage.directory / _DONE
    if resume and done.is_file():
        return Ran(**json.loads(done.read_text(encoding="utf-8")))
    checkpoints = stage.directory / "checkpoints"
    with first_process_first() as is_main:
        if is_main:
            _clear(checkpoints, keep=resume)
    with _memory_explained(stage), base_models.calmed(), lean_on_cpu():
        trainer = _trainer(stage, on_progress)
        last = _last_checkpoint(checkpoints)
        with _disk_explained(stage, last):
            trainer.train(resume_from_checkpoint=str(last) if last else None)
            if stage.validation is not None and not any("eval_loss" in entry for entry in trainer.state.log_history):
                trainer.evaluate()
            trainer.save_model(str(stage.final))
        if trainer.is_world_process_zero():
            _check_saved(stage)
    state = trainer.state
    best = stage.validation is not None and state.best_model_checkpoint
    ran = Ran(
        steps=state.global_step,
        epochs=float(state.epoch or 0),
        seconds=_seconds(stage.directory, trainer),
        best_step=int(str(state.best_model_checkpoint).rpartition("-")[2]) if best else None,
        log=[_plain(entry) for entry in state.log_history],
    )
    with first_process_first() as is_main:
        if is_main:
            done.write_text(json.dumps(asdict(ran)), encoding="utf-8")
            shutil.rmtree(checkpoints, ignore_errors=True)
    return ran


def _check_saved(stage: Stage) -> None:
    """Refuse an adapter that was saved without weights, as some ways of sharing them out among processes do.

    Raises:
        DataError: there is nothing in it.

    """
    from safetensors import safe_open

    adapter = stage.final / "adapter_model.safetensors"
    if not adapter.is_file():
        return
    with safe_open(str(adapter), framework="pt") as file:
        if not file.keys():
            raise DataError(
                "the adapter was saved without weights",
                where=str(adapter),
                todo="under FSDP set fsdp_activation_checkpointing to false; checkpoints are kept",
            )


def processes() -> Any:  # noqa: ANN401 - accelerate has no types
    """Return what is known of the processes of a run: `accelerate launch` starts several, else there is one."""
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available(), timeout=_LONGEST_WAIT)


@contextmanager
def first_process_first() -> Iterator[bool]:
    """Let the first process go ahead; the others wait until it is through. Say which one this is."""
    state = processes()
    with state.main_process_first():
        yield state.is_main_process


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether memory did not suffice, of a GPU or of the machine."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    told = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in told or "can't allocate memory" in told)


def uses_bf16(recipe: Recipe) -> bool:
    """Say whether a recipe computes in bf16 on this machine."""
    import torch

    if recipe.precision == "auto":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return recipe.precision == "bf16"


def hardware() -> str:
    """Return what this process computes on."""
    import torch

    if torch.cuda.is_available():
        count = int(os.environ.get("WORLD_SIZE", "1"))
        return f"{count} x {torch.cuda.get_device_name(0)}"
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}"


# ---- the trainer


def _trainer(stage: Stage, on_progress: OnProgress | None) -> Any:  # noqa: ANN401 - trl has no types
    """Return the trainer of a stage: what SFT and DPO share is said once."""
    from datasets import Dataset
    from transformers import PrinterCallback, ProgressCallback

    model, peft_config = _model(stage)
    given: dict[str, Any] = {
        "model": model,
        "args": _arguments(stage),
        "train_dataset": Dataset.from_file(str(stage.train.path)),
        "eval_dataset": Dataset.from_file(str(stage.validation.path)) if stage.validation else None,
        "processing_class": stage.tokenizer,
        "peft_config": peft_config,
    }
    trainer = _sft_trainer(given) if stage.method == "sft" else _dpo_trainer(given)
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    trainer.add_callback(_watching(stage, on_progress))
    return trainer


def _sft_trainer(given: Mapping[str, Any]) -> Any:  # noqa: ANN401 - trl has no types
    from trl import SFTTrainer

    return SFTTrainer(**given)


def _dpo_trainer(given: Mapping[str, Any]) -> Any:  # noqa: ANN401 - trl has no types
    from trl import DPOTrainer

    class Prepared(DPOTrainer):  # type: ignore[misc]  # trl has no types
        """Takes rows that are tokens already, as `SFTTrainer` does by itself."""

        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:  # noqa: ANN401 - trl has no types
            return dataset

        def _set_signature_columns_if_needed(self) -> None:
            super()._set_signature_columns_if_needed()
            if "length" not in self._signature_columns:
                self._signature_columns.append("length")  # for grouping by length

    return Prepared(**given)


def _model(stage: Stage) -> tuple[Any, Any]:
    """Return the model to train, and the adapter to put on it."""
    recipe, lora = stage.recipe, stage.recipe.tuning == "lora"
    dtype = "bfloat16" if lora and uses_bf16(recipe) else "float32"  # weights that are trained stay exact
    model = base_models.load_model(stage.place, stage.revision, dtype)
    merging.add_end(model, stage.end_id)
    if not lora:
        return model, None
    from peft import LoraConfig

    targets = recipe.lora_targets
    return model, LoraConfig(
        r=recipe.lora_rank,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=recipe.lora_dropout,
        target_modules=targets if targets == "all-linear" else [name.strip() for name in targets.split(",")],
        task_type="CAUSAL_LM",
        revision=stage.revision,
    )


def _arguments(stage: Stage) -> Any:  # noqa: ANN401 - trl has no types
    from trl import DPOConfig, SFTConfig

    recipe = stage.recipe
    shared = _shared_arguments(stage)
    if stage.method == "dpo":
        return DPOConfig(
            **shared, max_length=None, beta=recipe.beta, precompute_ref_log_probs=recipe.precompute_reference
        )
    return SFTConfig(
        **shared,
        max_length=recipe.max_length if recipe.packing else None,
        packing=recipe.packing,
        eval_packing=False,
    )


def _shared_arguments(stage: Stage) -> dict[str, Any]:
    import torch

    recipe, has_validation = stage.recipe, stage.validation is not None
    every = "epoch" if recipe.save_every is None else "steps"
    on_cpu = not torch.cuda.is_available()
    by_fsdp = os.environ.get("FSDP_ACTIVATION_CHECKPOINTING", "").lower() in ("1", "true")
    twice = recipe.gradient_checkpointing and not by_fsdp  # one of them, else the trainer refuses
    return {
        "output_dir": str(stage.directory / "checkpoints"),
        "num_train_epochs": recipe.epochs,
        "max_steps": recipe.max_steps or -1,
        "per_device_train_batch_size": recipe.batch_size,
        "per_device_eval_batch_size": recipe.batch_size,
        "gradient_accumulation_steps": recipe.gradient_accumulation,
        "learning_rate": recipe.learning_rate(stage.method),
        "lr_scheduler_type": recipe.schedule,
        "warmup_steps": recipe.warmup,  # below 1: a share
        "weight_decay": recipe.weight_decay,
        "max_grad_norm": recipe.max_grad_norm,
        "seed": recipe.seed,
        "data_seed": recipe.seed,
        "save_strategy": every,
        "eval_strategy": every if has_validation else "no",
        "save_steps": recipe.save_every or 500,
        "eval_steps": recipe.save_every or 500,
        "save_total_limit": 2,  # the best and the last
        "load_best_model_at_end": has_validation,
        "metric_for_best_model": "eval_loss" if has_validation else None,
        "greater_is_better": False if has_validation else None,
        "logging_steps": 0.01,  # a share of all steps
        "logging_first_step": True,
        "logging_nan_inf_filter": False,  # what is no number is to be seen
        "bf16": uses_bf16(recipe),
        "gradient_checkpointing": twice,
        "activation_checkpointing": twice,
        "train_sampling_strategy": "group_by_length" if recipe.group_by_length and not recipe.packing else "random",
        "use_cpu": on_cpu,
        "ddp_find_unused_parameters": False,
        "dataloader_pin_memory": not on_cpu,
        "report_to": "none",
        "disable_tqdm": True,
    }


def _watching(stage: Stage, on_progress: OnProgress | None) -> Any:  # noqa: ANN401 - transformers has no types
    from transformers import TrainerCallback

    class Watching(TrainerCallback):  # type: ignore[misc]  # transformers has no types
        """Tells how it goes, stops where the loss is no number, and keeps the time across interruptions."""

        def __init__(self) -> None:
            self.before = _seconds_before(stage.directory)
            self.started = time.monotonic()

        @property
        def seconds(self) -> float:
            return self.before + time.monotonic() - self.started

        def on_log(self, _args: Any, state: Any, _control: Any, logs: Any = None, **_: Any) -> None:  # noqa: ANN401 - theirs
            logs = logs or {}
            for name in ("loss", "eval_loss"):
                if name in logs and not math.isfinite(float(logs[name])):
                    raise _no_number(stage, name, state.global_step)
            if on_progress is not None and state.is_world_process_zero:
                step, steps, epoch = state.global_step, state.max_steps, float(state.epoch or 0)
                on_progress(Progress(stage.method, step, steps, epoch, logs.get("loss"), logs.get("eval_loss")))

        def on_save(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:  # noqa: ANN401 - transformers has no types
            if state.is_world_process_zero:
                (stage.directory / _SECONDS).write_text(json.dumps(self.seconds), encoding="utf-8")

    return Watching()


def _no_number(stage: Stage, name: str, step: int) -> DataError:
    return DataError(
        "the loss is no number any more",
        where=f"{stage.method}, step {step}, {name}",
        todo=f"lower {stage.method}_learning_rate, or set precision=fp32; nothing was written",
    )


# ---- checkpoints


def _clear(checkpoints: Path, *, keep: bool) -> None:
    """Remove checkpoints that a killed process did not finish, or all."""
    if not keep:
        shutil.rmtree(checkpoints, ignore_errors=True)
    checkpoints.mkdir(parents=True, exist_ok=True)
    for path in checkpoints.glob("checkpoint-*"):
        if not _is_whole(path):
            shutil.rmtree(path)


def _is_whole(checkpoint: Path) -> bool:
    """Say whether a checkpoint was written to its end: the trainer's state is written last."""
    try:
        return isinstance(json.loads((checkpoint / _STATE).read_text(encoding="utf-8")), dict)
    except (OSError, ValueError):
        return False


def _last_checkpoint(checkpoints: Path) -> Path | None:
    found = [path for path in checkpoints.glob("checkpoint-*") if path.name.rpartition("-")[2].isdigit()]
    return max(found, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def has_progress(directory: Path) -> bool:
    """Say whether a stage in this directory came to its end, or has a checkpoint to go on from."""
    checkpoints = (directory / "checkpoints").glob("checkpoint-*")
    return (directory / _DONE).is_file() or any(map(_is_whole, checkpoints))


def _seconds_before(directory: Path) -> float:
    """Return the seconds that were spent up to the last checkpoint."""
    path = directory / _SECONDS
    if _last_checkpoint(directory / "checkpoints") is None or not path.is_file():
        return 0.0
    return float(json.loads(path.read_text(encoding="utf-8")))


def _seconds(directory: Path, trainer: Any) -> float:  # noqa: ANN401 - trl has no types
    watching = [one for one in trainer.callback_handler.callbacks if hasattr(one, "before")]
    return round(watching[0].seconds, 3) if watching else _seconds_before(directory)


def _plain(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if isinstance(value, int | float | str)}


@contextmanager
def _memory_explained(stage: Stage) -> Iterator[None]:
    """Say what to change where memory does not suffice; checkpoints stay."""
    try:
        yield
    except WhoseboatError:
        raise
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise _too_large(stage, error) from error
        raise


@contextmanager
def _disk_explained(stage: Stage, last: Path | None) -> Iterator[None]:
    """Say what to do where a checkpoint cannot be written, or the last one cannot be read; whole ones stay."""
    from safetensors import SafetensorError

    try:
        yield
    except WhoseboatError:
        raise
    except (OSError, SafetensorError, RuntimeError) as error:
        told = str(error)
        # Torch's words for a full disk, and for a file that is not whole; those of safetensors for the latter.
        is_unread = "PytorchStreamReader" in told or "deserializing header" in told
        if isinstance(error, RuntimeError) and not is_unread and "PytorchStreamWriter" not in told:
            raise
        if is_unread and last is not None:
            raise DataError(
                "the checkpoint that the training is to go on from cannot be read",
                where=str(last),
                found=told[:200],
                todo="begin anew: --restart; or remove this one, and the one before is gone on from",
            ) from error
        raise OutputError(
            "a checkpoint cannot be written or read",
            where=str(stage.directory),
            found=getattr(error, "strerror", None) or told[:200],
            todo="free some room, or name an --out on another disk; whole checkpoints are kept",
        ) from error


def _too_large(stage: Stage, error: BaseException) -> WhoseboatError:
    recipe = stage.recipe
    changes = [
        f"batch_size={max(1, recipe.batch_size // 2)} gradient_accumulation={recipe.gradient_accumulation * 2}"
        if recipe.batch_size > 1
        else f"max_length={max(1, recipe.max_length // 2)}",
        *([] if recipe.gradient_checkpointing else ["gradient_checkpointing=true"]),
        *(["tuning=lora"] if recipe.tuning == "full" else []),
        *(["precompute_reference=true"] if stage.method == "dpo" and not recipe.precompute_reference else []),
    ]
    return WhoseboatError(
        "memory does not suffice for this recipe",
        where=f"{stage.method} of {stage.place}",
        found=str(error).splitlines()[0][:200] if str(error) else type(error).__name__,
        todo=f"change {', '.join(changes)}, or use several GPUs: accelerate launch --config_file scripts/fsdp.yaml",
    )
