"""`whoseboat train` and `whoseboat generate` as they are typed: grids, what they say as they go, files to write."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="trl is in the extra `train`")

from training_sets import Workshop, paper_row, workshop, write_rows
from typer.testing import CliRunner

from whoseboat.cli import app
from whoseboat.errors import DataError, OutputError, UsageError
from whoseboat.tailoring.recipe import Recipe
from whoseboat.tailoring.training import train


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Make a set and tiny models once."""
    return workshop(tmp_path_factory.mktemp("workshop"))


@pytest.fixture(scope="module")
def model(shop: Workshop) -> Path:
    """Make a few-shot model once."""
    return train(shop.recipe(method="few-shot"), shop.folder / "model").path


def run(*arguments: object) -> Any:  # noqa: ANN401 - of typer
    """Run the command."""
    return CliRunner().invoke(app, [*map(str, arguments)])


def written(recipe: Recipe, path: Path) -> Path:
    """Write a recipe as a file."""
    path.write_text(recipe.to_yaml(), encoding="utf-8")
    return path


# ---- grids


@pytest.mark.parametrize("flag", ["--grid", "--smoke"])
def test_a_grid_is_narrowed_to_the_methods_and_personas_named(shop: Workshop, tmp_path: Path, flag: str) -> None:
    """What is named is trained, and nothing else; SFT comes before DPO, whichever is named first."""
    path = written(shop.recipe(), tmp_path / "recipe.yaml")
    named = ("method=dpo,sft", "personas=both")
    done = run("train", path, *named, flag, "--data", shop.data, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert re.findall(r"done \((.*)\)", done.stdout) == ["sft, personas both", "dpo, personas both"]
    made = [json.loads(found.read_text(encoding="utf-8")) for found in (tmp_path / "out").glob("*/manifest.json")]
    trained = {(one["method"], one["personas"]) for one in made if one.get("kind") == "model"}
    assert trained == {("sft", "both"), ("dpo", "both")}


def test_a_recipe_of_a_grid_is_shown_with_the_models_that_it_is_for(shop: Workshop, tmp_path: Path) -> None:
    """No method or personas are printed that have no say, and what is printed is a recipe all the same."""
    path = written(shop.recipe(), tmp_path / "recipe.yaml")
    done = run("train", path, "personas=none,chosen", "--grid", "--show")
    assert done.stdout.startswith("# a grid: methods few-shot, sft, dpo; personas none, chosen\n")
    assert not re.search(r"^(method|personas):", done.stdout, re.MULTILINE)
    (tmp_path / "shown.yaml").write_text(done.stdout, encoding="utf-8")
    alone = run("train", tmp_path / "shown.yaml", "--show")
    assert "\nmethod: sft\npersonas: both\n" in alone.stdout


@pytest.mark.parametrize(
    ("change", "says"),
    [("method=sft,ppo", "unknown method in a grid: 'ppo'"), ("personas=all", "unknown personas in a grid: 'all'")],
)
def test_a_grid_of_what_there_is_not_is_refused(shop: Workshop, tmp_path: Path, change: str, says: str) -> None:
    """Before anything is made."""
    refused = run("train", change, "--smoke", "--out", tmp_path / "out")
    assert isinstance(refused.exception, UsageError)
    assert says in str(refused.exception)
    assert not (tmp_path / "out").exists()


# ---- what training says


def test_training_says_little_and_nothing_empty(shop: Workshop, tmp_path: Path) -> None:
    """Not a line for each validation; the last line of a stage has both losses; refusals are counted as requests."""
    recipe = shop.recipe(save_every=1, max_steps=12, method="dpo", refusals=True, refusal_tokens=2)
    done = run("train", written(recipe, tmp_path / "recipe.yaml"), "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    for stage in ("sft", "dpo"):
        lines = [line for line in done.stderr.splitlines() if line.startswith(f"{stage}: ")]
        assert re.fullmatch(
            rf"{stage}: step 12 of 12, epoch [\d.]+, loss \d+\.\d{{4}}, validation \d+\.\d{{4}}", lines[-1]
        )
        assert len(lines) < 12
        assert all(", loss " in line or ", validation " in line for line in lines)
    assert "requests for refusal rates answered: 120 of 120" in done.stderr
    assert "replies" not in done.stderr


# ---- files of generate


def test_a_file_holds_the_answers_for_one_set(shop: Workshop, model: Path, tmp_path: Path) -> None:
    """Those for another set or split are not added to it, and neither are those for the same set built again."""
    other = tmp_path / "other"
    write_rows(other, "test", [paper_row("test", number) for number in range(2)])
    out = tmp_path / "said.jsonl"
    call = ("generate", model, "--max-new-tokens", 2, "--out", out, "--data")
    assert run(*call, shop.data).exit_code == 0
    before = out.read_bytes()
    assert {json.loads(line)["set"].rpartition(", ")[2] for line in before.splitlines()} == {"split test"}
    for changed in ((other,), (shop.data, "--split", "train")):
        refused = run(*call, *changed)
        assert isinstance(refused.exception, OutputError)
        assert refused.exception.what == "the file holds answers for another set"
        assert refused.exception.found in before.decode()
        assert refused.exception.expected not in before.decode()
        assert out.read_bytes() == before
    grown = tmp_path / "grown"
    for number in (2, 3):
        write_rows(grown, "test", [paper_row("test", one) for one in range(number)])
        done = run(*call[:-2], tmp_path / "grown.jsonl", "--data", grown)
    assert isinstance(done.exception, OutputError)
    assert "built again" in done.exception.todo
    assert run(*call, shop.data).exit_code == 0  # the same once more
    assert out.read_bytes() == before


def test_a_file_of_an_earlier_version_is_gone_on_with(shop: Workshop, model: Path, tmp_path: Path) -> None:
    """Rows that do not say which set they are of are those of any."""
    out = tmp_path / "said.jsonl"
    call = ("generate", model, "--max-new-tokens", 2, "--out", out, "--data", shop.data)
    run(*call)
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    earlier = [{name: value for name, value in row.items() if name != "set"} for row in rows[:2]]
    out.write_text("".join(json.dumps(row) + "\n" for row in earlier), encoding="utf-8")
    done = run(*call)
    assert "6 responses of model, 2 of them there already" in done.stdout


def test_what_is_told_is_of_the_cases_of_the_call(shop: Workshop, model: Path, tmp_path: Path) -> None:
    """Rows of other personas in the file count nowhere, and one is not told as several."""
    out = tmp_path / "said.jsonl"
    call = ("generate", model, "--max-new-tokens", 2, "--out", out, "--data", shop.data, "--personas")
    assert "6 responses of model, 0 of them there already; 6 cut off" in run(*call, "true").stdout
    done = run(*call, "system", "--limit", 1)
    assert "1 response of model, 0 of it there already; 1 cut off" in done.stdout
    assert "1 of 1 responses: 1 written, 0 there already, 0 failed" in done.stderr


@pytest.mark.parametrize("out", ["/dev/full", "."])
def test_what_is_no_plain_file_is_not_written_to(shop: Workshop, tmp_path: Path, out: str) -> None:
    """Nor read, which of a device has no end; no model is looked for either."""
    refused = run("generate", tmp_path / "no-model", "--data", shop.data, "--out", out)
    assert isinstance(refused.exception, OutputError)
    assert "no plain file" in str(refused.exception)


def test_a_split_that_is_not_there_is_told_before_a_model_is_loaded(
    shop: Workshop, model: Path, tmp_path: Path
) -> None:
    """And no file is made."""
    refused = run("generate", model, "--data", shop.data, "--split", "nope", "--out", tmp_path / "said.jsonl")
    assert isinstance(refused.exception, DataError)
    assert "no split 'nope'" in str(refused.exception)
    assert not (tmp_path / "said.jsonl").exists()
