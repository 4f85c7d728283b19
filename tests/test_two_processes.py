"""Two processes reach the losses and the weights that one does, each with a part of the rows, or of the weights, too.

A step takes the same four rows in both: two at a time in one process, or two in each of two. (Batches are of one size,
since trl's loss in validation is the mean of those of batches, whatever tokens these have.) There is no dropout, and
all is computed in 32 bits, so that only the order of sums differs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="trl is in the extra `train`")

from safetensors.torch import load_file
from training_sets import Workshop, workshop
from two_processes import train_all

from whoseboat.tailoring import model_folder

# How far losses (about 6 in SFT, 0.7 in DPO) and weights may be apart; weights move by some thousandths.
OF_LOSSES, OF_WEIGHTS = 1e-4, 1e-4
ROOT = Path(__file__).parents[1]
ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "2", "--mixed_precision", "no"]
COMMON: dict[str, Any] = {
    "max_steps": 3,
    "batch_size": 2,
    "save_every": 1,
    "precision": "fp32",
    "lora_dropout": 0.0,
    "sft_learning_rate": 1e-3,
    "dpo_learning_rate": 1e-3,
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Make a set and tiny models once."""
    return workshop(tmp_path_factory.mktemp("workshop"))


def write_recipes(shop: Workshop, folder: Path, methods: dict[str, str], **changes: Any) -> Path:  # noqa: ANN401 - fields of a recipe
    """Write a recipe for each name, with how it is tuned."""
    folder.mkdir()
    for name, tuning in methods.items():
        recipe = shop.recipe(method=name.split("-")[1], tuning=tuning, **COMMON | changes)
        (folder / f"{name}.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    return folder


def launch(tmp_path: Path, settings: list[str], *given: str) -> subprocess.CompletedProcess[str]:
    """Run `two_processes.py` by `accelerate launch`, without what this machine may have set up for it."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "ignore",
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HOME": str(tmp_path / "cache"),
    }
    script = str(ROOT / "tests" / "two_processes.py")
    return subprocess.run(
        [*ACCELERATE, *settings, script, *given], env=environment, capture_output=True, text=True, check=False
    )


def assert_same(one: Path, two: Path, base: Path) -> None:
    """Compare what one process made with what two made: losses step by step, and weights, which moved."""
    logs = [json.loads((folder / model_folder.LOG).read_text(encoding="utf-8")) for folder in (one, two)]
    for name in ("loss", "eval_loss"):
        losses, others = ([entry[name] for entry in log if name in entry] for log in logs)
        assert len(losses) == 3
        assert others == pytest.approx(losses, abs=OF_LOSSES)
    trained = [model_folder.read(folder).manifest.training for folder in (one, two)]
    assert trained[0] is not None
    assert trained[1] is not None
    assert trained[1].validation_loss == pytest.approx(trained[0].validation_loss, abs=OF_LOSSES)
    weights, also = (tensors(folder) for folder in (one, two))
    assert weights.keys() == also.keys()
    assert weights
    assert max(float((weights[name] - also[name]).abs().max()) for name in weights) < OF_WEIGHTS
    before = tensors(base)
    moved = [weights[name] - before[name] if name in before else weights[name] for name in weights]
    assert max(float(change.abs().max()) for change in moved) > 10 * OF_WEIGHTS


def tensors(folder: Path) -> dict[str, Any]:
    """Return the weights of a folder."""
    found: dict[str, Any] = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= load_file(path)
    return found


def test_two_processes_with_half_of_the_rows_each(shop: Workshop, tmp_path: Path) -> None:
    """SFT and DPO of adapters, DPO with the log-probabilities of its reference computed before."""
    methods = {"1-sft": "lora", "2-dpo": "lora"}
    one = write_recipes(shop, tmp_path / "one", methods, gradient_accumulation=2)
    two = write_recipes(shop, tmp_path / "two", methods)
    train_all(one, tmp_path / "by-one")
    settings = ["--multi_gpu", "--num_machines", "1", "--dynamo_backend", "no"]
    done = launch(tmp_path, settings, str(two), str(tmp_path / "by-two"))
    assert done.returncode == 0, done.stderr
    assert "2 processes, MULTI_CPU" in done.stdout
    for name in methods:
        assert_same(tmp_path / "by-one" / name, tmp_path / "by-two" / name, shop.chat)


def test_two_processes_with_half_of_the_weights_each(shop: Workshop, tmp_path: Path) -> None:
    """With `scripts/fsdp.yaml` as well, of all weights and of adapters; a killed run goes on from its checkpoint."""
    methods = {"1-sft": "full", "2-dpo": "full", "3-sft": "lora"}
    one = write_recipes(shop, tmp_path / "one", methods, gradient_accumulation=2)
    two = write_recipes(shop, tmp_path / "two", methods, gradient_checkpointing=True)
    train_all(one, tmp_path / "by-one")
    command = [str(two), str(tmp_path / "by-two"), "--fsdp"]
    settings = ["--config_file", str(ROOT / "scripts" / "fsdp.yaml")]
    killed = launch(tmp_path, settings, *command, "--killed-in", "dpo")
    assert killed.returncode != 0
    assert not (tmp_path / "by-two" / "2-dpo").exists()
    checkpoints = list((tmp_path / "by-two").glob(".2-dpo.training-*/dpo/checkpoints/checkpoint-*"))
    assert "checkpoint-2" in [path.name for path in checkpoints]
    done = launch(tmp_path, settings, *command)
    assert done.returncode == 0, done.stderr
    assert "2 processes, FSDP" in done.stdout
    assert sorted(path.name for path in (tmp_path / "by-two").iterdir()) == sorted(methods)
    for name in methods:
        assert_same(tmp_path / "by-one" / name, tmp_path / "by-two" / name, shop.chat)
