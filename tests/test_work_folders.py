"""What runs of training leave beside a model's place: what can be gone on with, and nothing else."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="trl is in the extra `train`")

import torch
from training_sets import Workshop, paper_row, workshop, write_paper, write_rows
from typer.testing import CliRunner

from whoseboat.cli import app
from whoseboat.errors import DataError, OutputError, WhoseboatError
from whoseboat.tailoring import pairs, stages
from whoseboat.tailoring.recipe import Recipe
from whoseboat.tailoring.training import grid, train, train_grid
from whoseboat.tailoring.work_folders import Unfinished


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Make a set and tiny models once."""
    return workshop(tmp_path_factory.mktemp("workshop"))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    torch.set_num_threads(1)
    yield


def stopped(recipe: Recipe, out: Path, at: int) -> None:
    """Begin a training and stop it at a step."""

    def stop(progress: stages.Progress) -> None:
        if progress.step >= at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, out, on_progress=stop)


def with_checkpoint(shop: Workshop, out: Path, **changes: object) -> Path:
    """Begin a training and stop it behind its first checkpoint; return its working directory."""
    before = set(out.parent.glob(".*"))
    stopped(shop.recipe(max_steps=3, save_every=1, **changes), out, 2)
    (work,) = set(out.parent.glob(".*")) - before
    assert list(work.glob("sft/checkpoints/checkpoint-1"))
    return work


def steps_of(shop: Workshop, out: Path, **changes: object) -> list[int]:
    """Train to the end and return the steps that were told of."""
    steps: list[int] = []
    recipe = shop.recipe(max_steps=3, save_every=1, **changes)
    train(recipe, out, on_progress=lambda progress: steps.append(progress.step))
    return steps


def test_a_run_that_fails_before_a_checkpoint_leaves_nothing(shop: Workshop, tmp_path: Path) -> None:
    """Rows that are all too long, modules that are not there, a user who stops at once."""
    out = tmp_path / "model"
    with pytest.raises(DataError, match="no row is left to train on"):
        train(shop.recipe(max_length=5), out)
    with pytest.raises(ValueError, match="nothing_of_the_kind"):
        train(shop.recipe(lora_targets="nothing_of_the_kind"), out)
    stopped(shop.recipe(), out, 0)
    assert not list(tmp_path.iterdir())


def test_what_has_a_checkpoint_stays_and_is_gone_on_from(shop: Workshop, tmp_path: Path) -> None:
    """The same recipe goes on there, and nothing is told of it."""
    with_checkpoint(shop, tmp_path / "model")
    told: list[Unfinished] = []
    steps: list[int] = []
    train(
        shop.recipe(max_steps=3, save_every=1),
        tmp_path / "model",
        on_progress=lambda progress: steps.append(progress.step),
        on_unfinished=told.append,
    )
    assert min(steps) >= 2
    assert told == []
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_what_runs_of_other_recipes_left_is_told_and_stays(shop: Workshop, tmp_path: Path) -> None:
    """Names and size are given; folders of other models, and what only has such a name, are not among them."""
    left = [with_checkpoint(shop, tmp_path / "model", seed=seed) for seed in (1, 2)]
    with_checkpoint(shop, tmp_path / "model.other")
    (tmp_path / ".model.training-0123456789ab").mkdir()
    (tmp_path / ".model.training-0123456789ab" / "thesis.txt").write_text("years of work", encoding="utf-8")
    told: list[Unfinished] = []
    train(shop.recipe(), tmp_path / "model", on_unfinished=told.append)
    (one,) = told
    assert one.folders == tuple(sorted(left))
    assert one.bytes == sum(path.stat().st_size for work in left for path in work.rglob("*") if path.is_file())
    assert all(work.is_dir() for work in left)


def test_a_grid_tells_of_them_as_well(shop: Workshop, tmp_path: Path) -> None:
    """Each model of a grid has a place of its own."""
    recipe = shop.recipe()
    ((name, _),) = grid(recipe, pairs.load(shop.data).trained_on.name, ("sft",), ("none",))
    left = with_checkpoint(shop, tmp_path / name, personas="none")
    told: list[Unfinished] = []
    train_grid(recipe, tmp_path, methods=("sft",), personas=("none",), on_unfinished=told.append)
    assert [one.folders for one in told] == [(left,)]


def test_restart_removes_what_was_left(shop: Workshop, tmp_path: Path) -> None:
    """Its own checkpoints and those of other recipes go; those of other models, and what is not ours, stay."""
    for seed in (0, 1):
        with_checkpoint(shop, tmp_path / "model", seed=seed)
    other = with_checkpoint(shop, tmp_path / "other")
    (tmp_path / ".model.training-0123456789ab").mkdir()
    steps: list[int] = []
    recipe = shop.recipe(max_steps=3, save_every=1)
    train(recipe, tmp_path / "model", resume=False, on_progress=lambda progress: steps.append(progress.step))
    assert min(steps) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"model", other.name, ".model.training-0123456789ab"}


def test_a_run_that_is_under_way_is_neither_told_of_nor_removed(shop: Workshop, tmp_path: Path) -> None:
    """Its lock says so, to a run that begins anew, too."""
    work = with_checkpoint(shop, tmp_path / "model", seed=1)
    told: list[Unfinished] = []
    with (work / "lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        train(shop.recipe(), tmp_path / "model", on_unfinished=told.append)
        train(shop.recipe(), tmp_path / "model", resume=False, overwrite=True, on_unfinished=told.append)
        with pytest.raises(OutputError, match="another process trains this model"):
            train(shop.recipe(max_steps=3, save_every=1, seed=1), tmp_path / "model", overwrite=True)
    assert told == []
    assert list(work.glob("sft/checkpoints/checkpoint-1"))
    assert steps_of(shop, tmp_path / "again", seed=1)[0] == 1


@pytest.mark.parametrize("damaged", ["adapter_model.safetensors", "optimizer.pt"])
def test_a_checkpoint_that_cannot_be_read(shop: Workshop, tmp_path: Path, damaged: str) -> None:
    """It is told as such, and not as a full disk; `--restart` begins anew."""
    work = with_checkpoint(shop, tmp_path / "model")
    last = max((work / "sft" / "checkpoints").iterdir())
    (last / damaged).write_bytes((last / damaged).read_bytes()[:100])
    recipe = shop.recipe(max_steps=3, save_every=1)
    with pytest.raises(WhoseboatError, match="go on from cannot be read") as caught:
        train(recipe, tmp_path / "model")
    assert caught.value.where == str(last)
    assert "--restart" in caught.value.todo
    assert train(recipe, tmp_path / "model", resume=False).manifest.training


# ---- rows to validate with


def test_validation_rows_that_are_all_too_long(shop: Workshop, tmp_path: Path) -> None:
    """The manifest and the counts of rows say why the last weights are kept."""
    data = write_paper(tmp_path / "data")
    long = [paper_row("sft_val", number, chosen="reef knot " * 500) for number in range(3)]
    write_rows(data, "sft_val", long)
    done = train(shop.recipe(data=str(data), personas="chosen"), tmp_path / "model")
    took = done.manifest.training
    assert took is not None
    assert (done.best_step, took.validation_loss) == (None, None)
    assert took.validation_missing == "all 3 validation rows are too long for max_length 512"
    counted = _rows(tmp_path / "model")
    assert counted["validation_missing"] == took.validation_missing
    assert (counted["validation"]["rows"], counted["validation"]["kept"]) == (3, 0)


def test_a_set_without_validation_rows(shop: Workshop, tmp_path: Path) -> None:
    """That is another reason, and is told as such; where there are some, none is given."""
    data = write_paper(tmp_path / "data", sft_val=0, dpo_val=0)
    done = train(shop.recipe(data=str(data)), tmp_path / "model")
    assert done.manifest.training is not None
    assert done.manifest.training.validation_missing == "the set has no validation rows"
    assert _rows(tmp_path / "model")["validation"] is None
    usual = train(shop.recipe(), tmp_path / "usual").manifest.training
    assert usual is not None
    assert usual.validation_missing == ""


def test_rows_that_are_dropped_are_not_counted_as_trained_on(shop: Workshop, tmp_path: Path) -> None:
    """Of those that were given, `kept` are trained on."""
    data = write_paper(tmp_path / "data")
    rows = [paper_row("sft_train", 0), *(paper_row("sft_train", at, chosen="reef knot " * 500) for at in (1, 2))]
    write_rows(data, "sft_train", rows)
    took = train(shop.recipe(data=str(data), personas="chosen"), tmp_path / "model").manifest.training
    assert took is not None
    assert (took.rows, took.dropped, took.kept) == (3, 2, 1)


def _rows(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "assets" / "rows.json").read_text(encoding="utf-8"))
    return found


# ---- what the command says


def test_the_screen_tells_rows_validation_and_what_was_left(shop: Workshop, tmp_path: Path) -> None:
    """How many rows are trained on, why there is no validation, and what to do with what other recipes left."""
    data = write_paper(tmp_path / "data")
    write_rows(data, "sft_val", [paper_row("sft_val", 0, chosen="reef knot " * 500)])
    rows = [paper_row("sft_train", 0), paper_row("sft_train", 1, chosen="reef knot " * 500)]
    write_rows(data, "sft_train", rows)
    (tmp_path / "recipe.yaml").write_text(shop.recipe(data=str(data), personas="chosen").to_yaml(), encoding="utf-8")
    (tmp_path / "out").mkdir()
    left = with_checkpoint(shop, tmp_path / "out" / "model")
    given = ["train", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "out" / "model")]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, done.output
    assert "sft: 1 of 2 rows are trained on: 1 too long, 0 cut; 2 steps" in done.stdout
    why = "the only validation row is too long for max_length 512"
    assert f"no validation ({why}): the last weights are kept" in done.stdout
    (line,) = [line for line in done.stderr.splitlines() if left.name in line]
    assert "MB" in line
    assert "--restart" in line
    again = CliRunner().invoke(app, [*given, "--restart", "--overwrite"])
    assert again.exit_code == 0, again.output
    assert left.name not in again.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["model"]
