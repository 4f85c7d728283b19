"""Models and the Hub: bases from there, a model published and loaded by its own card, grids, and the command."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="trl is in the extra `train`")

from loopback_hub import LoopbackHub
from release_runs import TOKEN
from training_sets import Workshop, workshop

ORG = "acme"
BASE = f"{ORG}/tiny-base"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Make a set and tiny models once."""
    return workshop(tmp_path_factory.mktemp("workshop"))


@pytest.fixture
def hub(shop: Workshop) -> Iterator[LoopbackHub]:
    """Start a Hub that has the tiny base with a card."""
    with LoopbackHub(token=TOKEN, orgs=(ORG,)) as hub:
        files = {path.name: path.read_bytes() for path in shop.chat.iterdir()}
        files["README.md"] = b"---\nlicense: apache-2.0\n---\n\n# Tiny\n"
        hub.commit(BASE, files, repo_type="model")
        yield hub


def run(hub: LoopbackHub, folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run Python in a process that knows the Hub alone."""
    own = {
        "HF_TOKEN": hub.token,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PYTHONWARNINGS": "ignore",
        "OMP_NUM_THREADS": "1",
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, **hub.environment(folder / "home"), **own},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def command(hub: LoopbackHub, folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the `whoseboat` command."""
    return run(hub, folder, "-m", "whoseboat", *arguments)


def ok(hub: LoopbackHub, folder: Path, *arguments: str | Path) -> str:
    """Run the command, which must succeed, and return what it prints."""
    done = command(hub, folder, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def recipe(shop: Workshop, folder: Path, **changes: object) -> Path:
    """Write a recipe for two quick steps on the base of the Hub."""
    told = json.loads(json.dumps(shop.recipe(base_model=BASE).as_dict())) | changes
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(told), encoding="utf-8")  # JSON is YAML
    return path


@pytest.mark.parametrize("method", ["few-shot", "sft", "dpo"])
def test_a_published_model_loads_by_its_own_card(shop: Workshop, hub: LoopbackHub, tmp_path: Path, method: str) -> None:
    """Trained on a base of the Hub, published there, and answering in a fresh process by the snippet of its card."""
    ok(hub, tmp_path, "train", recipe(shop, tmp_path), f"method={method}", "--out", tmp_path / "model")
    made = json.loads((tmp_path / "model" / "manifest.json").read_text(encoding="utf-8"))
    head = hub.repos["model", BASE].commits[-1].oid
    assert (made["base_model"], made["base_revision"], made["base_licence"]) == (BASE, head, "apache-2.0")
    note = ["--license", "apache-2.0", "--license-note", "All of it was made up for a test."]
    ok(hub, tmp_path, "publish", tmp_path / "model", "--to", f"{ORG}/model", "--yes", *note)
    commit = hub.repos["model", f"{ORG}/model"].commits[-1]
    assert not [name for name in commit.files if name.endswith((".bin", ".pt", ".pkl")) or "checkpoint" in name]
    card = commit.files["README.md"].decode()
    (snippet,) = re.findall(r"^```python\n(.*?)^```", card, re.S | re.M)
    assert f"{ORG}/model" in snippet or method == "few-shot"
    (tmp_path / "snippet.py").write_text(snippet.replace("max_new_tokens=8", "max_new_tokens=3"), encoding="utf-8")
    done = run(hub, tmp_path, tmp_path / "snippet.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("\n")
    asked = ("--data", shop.data, "--personas", "chosen", "--limit", "1", "--out", tmp_path / "said.jsonl")
    assert "1 response of " in ok(hub, tmp_path, "generate", f"{ORG}/model@v1.0.0", *asked)


def test_bases_that_cannot_be_had(shop: Workshop, hub: LoopbackHub, tmp_path: Path) -> None:
    """A base that is gated, not there, or not at the revision: one message each, and no folder."""
    files = dict(hub.repos["model", BASE].commits[-1].files)
    hub.accounts[hub.token] = replace(hub.accounts[hub.token], accepted=False)
    hub.commit("other/gated", files, repo_type="model", gated=True)
    pickles = {name: content for name, content in files.items() if not name.endswith(".safetensors")}
    hub.commit(f"{ORG}/pickles", {**pickles, "pytorch_model.bin": b"\x80\x04."}, repo_type="model")
    told = {
        "base_model=other/gated": "the base model is gated",
        f"base_model={ORG}/nothing": "no such base model on the Hub",
        "base_revision=v9": "the base model has no such revision",
        f"base_model={ORG}/pickles": "the base model cannot be loaded",
    }
    for change, says in told.items():
        done = command(hub, tmp_path, "train", recipe(shop, tmp_path), change, "--out", tmp_path / "out")
        assert done.returncode == 1, change + done.stderr
        assert says in done.stderr, done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "out").exists()


def test_the_command_from_training_to_evaluation(shop: Workshop, hub: LoopbackHub, tmp_path: Path) -> None:
    """Train, merge, generate, evaluate: each takes what the one before made."""
    out = ok(hub, tmp_path, "train", recipe(shop, tmp_path), "--out", tmp_path / "tuned")
    assert "best by validation" in out
    assert "merged into" in ok(hub, tmp_path, "merge", tmp_path / "tuned", "--out", tmp_path / "merged")
    for model, most in (("tuned", "8"), ("merged", "3")):
        path, asked = tmp_path / f"{model}.jsonl", ("--data", shop.data, "--max-new-tokens", most)
        assert "6 responses of " in ok(hub, tmp_path, "generate", tmp_path / model, *asked, "--out", path)
    again: tuple[str | Path, ...] = ("--data", shop.data, "--out", tmp_path / "tuned.jsonl", "--personas")
    assert "6 of them there already" in ok(hub, tmp_path, "generate", tmp_path / "tuned", *again, "true")
    refused = command(hub, tmp_path, "generate", tmp_path / "tuned", *again, "someone")
    assert refused.returncode == 2
    assert "unknown kind of personas" in refused.stderr
    compared = ["evaluate", f"a={tmp_path / 'tuned.jsonl'}", f"b={tmp_path / 'merged.jsonl'}"]
    ok(hub, tmp_path, *compared, "--judge", "contrast-reader", "--out", tmp_path / "evaluation")
    assert (tmp_path / "evaluation" / "evaluation.json").is_file()
    shown = ok(hub, tmp_path, "train", recipe(shop, tmp_path), "beta=0.3", "--show")
    assert "beta: 0.3" in shown


def test_the_whole_grid_on_a_tiny_model(shop: Workshop, hub: LoopbackHub, tmp_path: Path) -> None:
    """`--smoke` trains every method with every kind of personas; what is there is not trained again."""
    first = ok(hub, tmp_path, "train", "--smoke", "--data", shop.data, "--out", tmp_path / "grid")
    assert first.count(": done (") == 12
    overview = first.partition("\nmodel ")[2].splitlines()
    assert [line.split()[0].rpartition("-")[2] for line in overview[1:13]] == ["none", "chosen", "rejected", "both"] * 3
    assert all(re.search(r"  0\.\d\d$", line) for line in overview[1:13])  # how often it refuses
    made = [json.loads(path.read_text(encoding="utf-8")) for path in (tmp_path / "grid").glob("*/manifest.json")]
    assert len({(one["method"], one["personas"]) for one in made}) == 12
    assert all(one["toy"] for one in made)
    assert all([rate["n"] for rate in one["refusals"]] == [40, 40, 40] for one in made)
    again = ok(hub, tmp_path, "train", "fixed", "--smoke", "--data", shop.data, "--out", tmp_path / "grid")
    assert again.count(": was there (") == 12


def test_from_pairs_to_a_published_model_with_its_figures(shop: Workshop, hub: LoopbackHub, tmp_path: Path) -> None:
    """Build, publish, train on the release, generate, evaluate, figures into the card, publish: a command each."""
    import yaml
    from huggingface_hub import ModelCard, parse_eval_result_entries

    release, note = f"{ORG}/sample@v1.0.0", ("--license", "apache-2.0", "--license-note", "Made up for a test.")
    ok(hub, tmp_path, "build", "sample", "--out", "set", "--limit", "120")
    ok(hub, tmp_path, "publish", "set", "--to", f"{ORG}/sample", "--yes")
    tried = recipe(shop, tmp_path, max_length=1024, data=release, refusals=True, refusal_tokens=2)
    assert "refuses harmful requests" in ok(hub, tmp_path, "train", tried, "method=dpo", "--out", "tuned")
    asked = ("--data", release, "--split", "train", "--limit", "6", "--max-new-tokens", "6", "--out")
    ok(hub, tmp_path, "generate", "tuned", *asked, "own.jsonl")
    ok(hub, tmp_path, "generate", "tuned", *asked, "shuffled.jsonl", "--personas", "shuffled")
    other = ("base.jsonl", "--max-new-tokens", "4")  # two steps of training change no word
    ok(hub, tmp_path, "generate", BASE, *asked, *other)  # the untuned baseline, from the Hub
    missing = command(hub, tmp_path, "generate", f"{ORG}/nothing", *asked, "none.jsonl")
    assert missing.returncode == 1
    assert "no such model on the Hub" in missing.stderr
    by = ("--judge", "contrast-reader", "--cases", "set", "--out")
    ok(hub, tmp_path, "evaluate", "shuffled=shuffled.jsonl", "own=own.jsonl", *by, "control")
    ok(hub, tmp_path, "evaluate", "base=base.jsonl", "own=own.jsonl", *by, "ranking")
    card = ("score", "tuned", release, "--split", "train", "--into-card", "--evaluation")
    refused = command(hub, tmp_path, *card, "ranking")  # the reader ranks no models
    assert refused.returncode == 1
    assert "ranks no models" in refused.stderr
    shown_figures = ok(hub, tmp_path, *card, "control")
    assert "net of own over shuffled personas, what serves the persona" in shown_figures
    assert "* fewer than 20 conversations" in shown_figures
    ok(hub, tmp_path, "evaluate", "own=own.jsonl", "shuffled=shuffled.jsonl", *by, "turned")
    found = [json.loads(ok(hub, tmp_path, *card, which, "--json")) for which in ("control", "turned")]
    first, second = ([(figure["name"], figure["side"], figure["value"]) for figure in figures] for figures in found)
    assert first == second  # and below: nothing is there twice
    ok(hub, tmp_path, "publish", "tuned", "--to", f"{ORG}/tuned", "--yes", *note)
    commit, data = hub.repos["model", f"{ORG}/tuned"].commits[-1], hub.repos["dataset", f"{ORG}/sample"].commits[-1]
    shown: Any = ModelCard(commit.files["README.md"].decode())
    assert "reader round-trip: net of own over shuffled personas, what serves the persona" in shown.text
    assert shown.text.count("† Fewer than 20 groups") == 1
    assert "too few clusters" not in shown.text.partition("\n---\n")[2]
    assert "(assets/curves.png)" in shown.text
    assert commit.files["assets/curves.png"].startswith(b"\x89PNG")
    assert "sympathetic" in shown.text
    told = {one.metric_name: one for one in shown.data.eval_results}
    assert len(told) == 3
    assert {one.metric_type for one in told.values()} == {"serves_own_over_shuffled"}
    assert {(one.dataset_type, one.dataset_revision) for one in told.values()} == {(f"{ORG}/sample", data.oid)}
    (path,) = [name for name in commit.files if name.startswith(".eval_results/")]
    entries = parse_eval_result_entries(yaml.safe_load(commit.files[path]))
    assert {entry.dataset_id for entry in entries} == {f"{ORG}/sample"}
    assert all("contrast-reader" in str(entry.notes) for entry in entries)


_PAGE = """
from whoseboat.cli.recipe_command import run
from whoseboat.recipes import ModelsRecipe, Target
RECIPE = ModelsRecipe(
    base_model="acme/tiny-base", base_revision="{revision}", dataset="sample", dataset_version="1.0.0",
    personas=("both",), target=Target(gated=False),
)
if __name__ == "__main__":
    run(__file__, RECIPE)
"""


def test_a_page_of_builders_trains_and_releases_its_models(shop: Workshop, hub: LoopbackHub, tmp_path: Path) -> None:
    """One call trains what the page pins on the release it pins and publishes it; another release is refused."""
    import whoseboat

    whoseboat.build("sample", tmp_path / "set", limit=60)
    ok(hub, tmp_path, "publish", tmp_path / "set", "--to", f"{ORG}/sample", "--yes")
    page = tmp_path / "reference_models.py"
    page.write_text(_PAGE.format(revision=hub.repos["model", BASE].commits[-1].oid), encoding="utf-8")
    by = ("--training", recipe(shop, tmp_path, max_length=1024), "--data")
    refused = run(hub, tmp_path, page, *by, tmp_path / "set")
    assert refused.returncode == 2
    assert "not the one that the recipe of the models pins" in refused.stderr
    note = ("--license", "apache-2.0", "--license-note", "All of it was made up for a test.")
    done = run(hub, tmp_path, page, *by, f"{ORG}/sample@v1.0.0", "--to", ORG, "--yes", *note)
    assert done.returncode == 0, done.stderr
    names = {f"{ORG}/tiny-base-sample-{method}-both" for method in ("few-shot", "sft", "dpo")}
    assert names <= {repo for kind, repo in hub.repos if kind == "model"}
