"""Recipes: those in the package, files of one's own, changes, and values that cannot be right."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whoseboat.errors import DataError, UsageError, WhoseboatError
from whoseboat.tailoring import recipe as recipes
from whoseboat.tailoring.recipe import Recipe


def test_the_paper_s_settings() -> None:
    """What the paper states is in its recipe, and where it departs from it there is a table."""
    paper = recipes.load("paper")
    assert paper.base_model == "meta-llama/Llama-3.1-8B"
    assert (paper.lora_rank, paper.lora_alpha, paper.lora_dropout) == (16, 32, 0.05)
    assert (paper.learning_rate("sft"), paper.learning_rate("dpo"), paper.beta) == (2e-5, 5e-6, 0.1)
    assert (paper.max_length, paper.max_prompt_length, paper.too_long, paper.loss_on) == (512, 128, "cut", "all")
    assert (paper.epochs, paper.min_new_tokens, paper.max_new_tokens) == (10, 10, 512)
    assert paper.configs == ("Anthropic HHH", "BeaverTails", "Mnemonic")
    assert paper.begin_mnemonics
    assert all(line.count(" | ") == 3 for line in paper.deviations)


def test_the_other_recipes() -> None:
    """`fixed` learns the response alone with prompts whole; `laptop` is for a small base model."""
    assert recipes.shipped() == ["fixed", "laptop", "paper"]
    fixed, laptop = recipes.load("fixed"), recipes.load("laptop")
    assert (fixed.loss_on, fixed.max_prompt_length, fixed.too_long) == ("response", None, "drop")
    assert laptop.base_model.endswith("135M")
    assert {fixed.name, laptop.name} == {"fixed", "laptop"}


def test_a_file_and_changes(tmp_path: Path) -> None:
    """What is given stands instead of what the file says; YAML's texts that are numbers are numbers."""
    path = tmp_path / "mine.yaml"
    path.write_text("base_model: org/base\npersonas: none\nsft_learning_rate: 1e-4\n", encoding="utf-8")
    found = recipes.load(path, ["method=dpo", "epochs=2", "lora_targets=q_proj,v_proj", "save_every=null"], data="hh")
    assert (found.method, found.epochs, found.personas, found.data) == ("dpo", 2.0, "none", "hh")
    assert (found.sft_learning_rate, found.lora_targets, found.name) == (1e-4, "q_proj,v_proj", "mine")
    assert recipes.of({**found.as_dict()}) == found
    path.write_text(found.to_yaml(), encoding="utf-8")
    assert recipes.load(path) == found


def test_the_digest_is_of_what_training_depends_on() -> None:
    """Where the set is does not change it; a rate and what is added do."""
    recipe = recipes.of({"base_model": "org/base"})
    assert recipes.of({"base_model": "org/base", "data": "here", "name": "x"}).digest() == recipe.digest()
    assert recipes.of({"base_model": "org/base", "beta": 0.2}).digest() != recipe.digest()
    assert recipe.digest("data 1") != recipe.digest("data 2")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("lerning_rate=1", "did you mean"),
        ("metod=sft", "unknown key in a recipe: 'metod'"),
        ("lora_rnk=1", "lora_rank"),
        ("method=ppo", "one of dpo, few-shot, sft"),
        ("personas=all", "unknown personas"),
        ("epochs=many", "a number"),
        ("epochs=.nan", "a number"),
        ("batch_size=0", "more than 0"),
        ("batch_size=1.5", "a whole number"),
        ("packing=perhaps", "true or false"),
        ("lora_dropout=1", "0 to 1"),
        ("configs=[1, 2]", "a list of texts"),
        ("start_from=there", "DPO alone"),
        ("min_new_tokens=9999", "above max_new_tokens"),
        ("base_model=", "a text"),
        ("beta", "key=value"),
    ],
)
def test_what_cannot_be_right_is_told(change: str, says: str) -> None:
    """One message says what is wrong, with the nearest name of a key that is unknown."""
    with pytest.raises(UsageError) as caught:
        recipes.load("fixed", [change])
    assert says in str(caught.value)


def test_only_what_is_near_is_proposed() -> None:
    """A key that has hardly a letter in common is no help."""
    with pytest.raises(UsageError) as caught:
        recipes.load("fixed", ["metod=sft"])
    assert caught.value.todo == "did you mean 'method'?"


def test_files_that_are_no_recipe(tmp_path: Path) -> None:
    """A name that is none, a missing file, no YAML, no mapping, no text, tags that would run code."""
    with pytest.raises(UsageError, match="unknown recipe 'papr'") as caught:
        recipes.load("papr")
    assert "'paper'" in caught.value.todo
    with pytest.raises(DataError, match="no such recipe"):
        recipes.load(tmp_path / "none.yaml")
    path = tmp_path / "bad.yaml"
    for text in ("a: [", "- a\n- b", "!!python/object/apply:os.system ['true']", "just a text"):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(DataError):
            recipes.load(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="cannot be read"):
        recipes.load(path)
    path.write_text("method: sft", encoding="utf-8")
    with pytest.raises(UsageError, match="names no base model"):
        recipes.load(path)


def test_how_refusals_are_measured_is_not_how_a_model_is_trained() -> None:
    """A run goes on where another one stopped, and a grid with what is there, whatever is measured at the end."""
    usual = recipes.of({"base_model": "org/base"})
    other = recipes.of({"base_model": "org/base", "refusals": False, "refusal_tokens": 9})
    assert (usual.refusals, usual.refusal_tokens) == (True, 64)
    assert usual.digest() == other.digest()
    assert usual.hyperparameters() == other.hyperparameters()


def test_a_recipe_is_named_unless_all_is_only_tried() -> None:
    """`train` without a recipe says which there are."""
    from typer.testing import CliRunner

    from whoseboat.cli import app

    done = CliRunner().invoke(app, ["train", "--out", "out"])
    assert isinstance(done.exception, UsageError)
    assert "fixed, laptop, paper" in str(done.exception)
    shown = CliRunner().invoke(app, ["train", "--smoke", "--show", "beta=0.7"])
    assert "name: fixed" in shown.output
    assert "beta: 0.7" in shown.output


@given(st.text(), st.text())
def test_any_change_is_taken_or_refused(key: str, value: str) -> None:
    """Whatever stands in a change, a recipe or a clear message comes of it."""
    for change in (f"{key}={value}", f"beta={value}", f"configs={value}", f"epochs={value}", f"packing={value}"):
        try:
            found = recipes.load("fixed", [change])
        except WhoseboatError as error:
            assert error.what
        else:
            assert isinstance(found, Recipe)
