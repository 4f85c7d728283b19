"""Releases of models and Spaces: what is uploaded of them, and what is never."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from loopback_hub import LoopbackHub
from release_runs import TOKEN, Runs, check_whole, describe

import whoseboat
from whoseboat.manifest import describe_files
from whoseboat.model_manifest import ModelManifest, Result, TrainedOn

MODEL = ModelManifest(
    name="toy-tailor",
    base_model="org/base",
    base_revision="0" * 40,
    base_licence="apache-2.0",
    method="dpo",
    relation="adapter",
    personas="both",
    template="plain",
    template_text="{persona}\n\n{prompt}\n\n",
    datasets=(TrainedOn("toy", repo="org/set", revision="1" * 40, version="1.0.0", licence="mit"),),
    code_version="0.1.0",
    created="2026-01-01T00:00:00+00:00",
    results=(Result("flip_accuracy", 0.5, 20, 0.3, 0.7, dataset="org/set", config="tailoring", split="test"),),
    languages=("en",),
)
JUNK = (
    "training_args.bin",
    "optimizer.pt",
    "scheduler.pt",
    "rng_state_0.pth",
    "ref/adapter_model.safetensors",
    "checkpoint-5/adapter_model.safetensors",
    "pytorch_model.bin",
    ".git/config",
    ".gitattributes",
)
SENT = ("adapter_config.json", "adapter_model.safetensors", "tokenizer.json")
SPACE = """---
title: Personalization
sdk: static
tags:
- evaluate
- metric
---
# Personalization

Says whether tailoring worked.
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """Start a Hub and what runs commands against it."""
    with LoopbackHub(token=TOKEN) as hub, Runs(hub, tmp_path_factory.mktemp("runs")) as runs:
        yield runs


def model(folder: Path, made: ModelManifest = MODEL, weights: bytes = b"\x08" + bytes(15)) -> Path:
    """Write a model folder with all that training leaves in one."""
    contents = {"adapter_config.json": b'{"peft_type": "LORA"}', "tokenizer.json": b"{}"}
    for name in (*SENT, *JUNK):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents.get(name, weights if name in SENT else pickle.dumps(name)))
    (folder / "manifest.json").write_text(replace(made, files=describe_files(folder)).to_json(), encoding="utf-8")
    return folder


def test_a_model(runs: Runs, tmp_path: Path) -> None:
    """A model folder is released without what never leaves this machine; the same again makes nothing."""
    folder = model(tmp_path / "model")
    told = runs.publish(folder, "org/model")
    repo = runs.repo("org/model", "model")
    files = repo.commits[-1].files
    results = [name for name in files if name.startswith(".eval_results/")]
    assert results
    assert files.keys() == {*SENT, *results, "README.md", "manifest.json", ".gitattributes"}
    assert set(told["left_out"]) == set(JUNK)
    assert (told["version"], told["kind"], set(repo.tags)) == ("1.0.0", "model", {"v1.0.0"})
    assert json.loads(files["manifest.json"])["files"].keys() == files.keys() - {"manifest.json", ".gitattributes"}
    assert b"base_model: org/base" in files["README.md"]
    done = runs.ok("publish", folder, "--to", "org/model", "--dry-run")
    assert "up to date: v1.0.0" in done.err
    assert runs.publish(folder, "org/model")["change"] == "nothing"
    check_whole(repo)
    assert "1.0.0" in runs.ok("versions", "org/model").out


def test_a_model_that_only_this_machine_can_load(runs: Runs, tmp_path: Path) -> None:
    """An adapter of a folder, and a prompt for one, are refused with what to do; what is merged is released."""
    local: dict[str, Any] = {
        "base_model": str(tmp_path / "bases" / "mine"),
        "base_revision": None,
        "base_is_local": True,
    }
    folder = model(tmp_path / "adapter", replace(MODEL, **local))
    given = ("--to", "org/of-a-folder", "--private", "--yes")
    refused = runs.run("publish", folder, *given)
    assert refused.code == 2
    assert "the base of this adapter is a folder, so nobody else could load it" in refused.err
    assert f"whoseboat merge {folder} --out MERGED" in refused.err
    prompt = model(tmp_path / "prompt", replace(MODEL, **local, method="few-shot", relation="prompt"))
    assert "publish the base" in runs.run("publish", prompt, *given).err
    assert ("model", "org/of-a-folder") not in runs.hub.repos
    merged = replace(MODEL, **local | {"base_model": "mine"}, relation="merge")
    runs.publish(model(tmp_path / "merged", merged), "org/of-a-folder")
    files = runs.repo("org/of-a-folder", "model").commits[-1].files
    assert b"base_model" not in files["README.md"].partition(b"\n---")[0]
    assert not [name for name, content in files.items() if str(tmp_path).encode() in content]


def test_what_is_not_in_the_manifest_is_not_uploaded(runs: Runs, tmp_path: Path) -> None:
    """Files that came into the folder later stay there."""
    folder = model(tmp_path / "model")
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    (folder / "optimizer.bin").write_bytes(b"state")
    runs.publish(folder, "org/later")
    assert not {"notes.txt", "optimizer.bin"} & runs.repo("org/later", "model").commits[-1].files.keys()


@pytest.mark.parametrize(
    ("made", "weights", "version", "changes"),
    [
        (MODEL, b"\x08" + bytes(31), "1.1.0", ["adapter_model.safetensors changed"]),
        (replace(MODEL, template_text="{persona} {prompt}"), None, "2.0.0", ["template text changed"]),
        (replace(MODEL, base_model="org/other"), None, "2.0.0", ["base model changed"]),
        (replace(MODEL, hardware="one GPU"), None, "1.0.1", ["the card"]),
        (replace(MODEL, created="2030-01-01T00:00:00+00:00", code_version="9"), None, "1.0.0", []),
    ],
)
def test_what_changes_decides_the_version(
    runs: Runs, tmp_path: Path, made: ModelManifest, weights: bytes | None, version: str, changes: list[str]
) -> None:
    """Other weights are minor, another way to ask the model is major, another text a patch, another day nothing."""
    repo = f"org/model-{version.replace('.', '-')}-{len(made.base_model)}"
    runs.publish(model(tmp_path / "old"), repo)
    new = model(tmp_path / "new", made, *([weights] if weights else []))
    told = runs.publish(new, repo)
    assert (told["version"], told["changes"]) == (version, changes)
    found = runs.ok("diff", repo, new)
    assert "no difference" not in found.out or version == "1.0.0"


def space(folder: Path) -> Path:
    """Write the folder of a Space."""
    folder.mkdir()
    (folder / "README.md").write_text(SPACE, encoding="utf-8")
    (folder / "personalization.py").write_text("import evaluate\n", encoding="utf-8")
    (folder / "index.html").write_text("<h1>Personalization</h1>\n", encoding="utf-8")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "personalization.pyc").write_bytes(b"code")
    return folder


def test_a_space(runs: Runs, tmp_path: Path) -> None:
    """A folder whose card names an sdk is released as a Space; its text, and what people add on the Hub, is kept."""
    folder = space(tmp_path / "space")
    told = runs.publish(folder, "org/personalization")
    repo = runs.repo("org/personalization", "space")
    assert (told["kind"], told["version"], repo.sdk) == ("space", "1.0.0", "static")
    assert repo.commits[-1].files.keys() == {
        *("README.md", "index.html", "manifest.json", "personalization.py", ".gitattributes")
    }
    assert b"Says whether tailoring worked." in repo.commits[-1].files["README.md"]
    assert b"sdk: static" in repo.commits[-1].files["README.md"]
    assert runs.publish(folder, "org/personalization")["change"] == "nothing"
    card = repo.commits[-1].files["README.md"] + b"\nBy hand.\n"
    runs.hub.commit("org/personalization", {"README.md": card}, repo_type="space")
    (folder / "index.html").write_text("<h1>Personalization!</h1>\n", encoding="utf-8")
    assert runs.publish(folder, "org/personalization")["version"] == "1.0.1"
    (folder / "personalization.py").write_text("import evaluate as e\n", encoding="utf-8")
    assert runs.publish(folder, "org/personalization")["version"] == "1.1.0"
    assert repo.commits[-1].files["README.md"].count(b"By hand.") == 1
    assert set(repo.tags) == {"v1.0.0", "v1.0.1", "v1.1.0"}
    assert repo.commits[-1].files["personalization.py"] == b"import evaluate as e\n"


def test_a_space_states_its_licence_itself(runs: Runs, tmp_path: Path) -> None:
    """A licence for a Space is refused, and a folder without an sdk is no Space."""
    folder = space(tmp_path / "space")
    note = ("--license", "mit", "--license-note", "mine")
    runs.refuses("publish", folder, "--to", "org/licensed", "--yes", *note, says=("states its licence itself",), code=2)
    (folder / "README.md").write_text("# No YAML\n", encoding="utf-8")
    runs.refuses("publish", folder, "--to", "org/licensed", "--yes", says=("not a folder that can be released",))
    assert ("space", "org/licensed") not in runs.hub.repos


def test_another_kind(runs: Runs, tmp_path: Path) -> None:
    """Models, datasets and Spaces of one name are apart; what is told of one names its kind."""
    runs.publish(model(tmp_path / "model"), "org/both")
    runs.publish(space(tmp_path / "space"), "org/both")
    assert "1.0.0" in runs.ok("versions", "spaces/org/both").out
    runs.refuses("diff", "models/org/both", "spaces/org/both", says=("different kinds",))
    stated = runs.repo("org/both", "space").commits[-1].files["manifest.json"]
    runs.hub.commit("org/confused", {"manifest.json": stated}, repo_type="model")
    says = ("the repo holds no model", "space")
    runs.refuses("publish", tmp_path / "model", "--to", "org/confused", "--yes", says=says)


def test_a_pickle_under_another_name_is_named(runs: Runs, tmp_path: Path) -> None:
    """What is left out is told before anything is sent."""
    folder = model(tmp_path / "model")
    shutil.copy(folder / "training_args.bin", folder / "args.pkl.gz")
    describe(folder)
    done = runs.ok("publish", folder, "--to", "org/named", "--dry-run")
    assert "not sent: training_args.bin" in done.err
    assert "files more" in done.err or "args.pkl.gz" in done.err


def test_personas_of_nobody_knows_whom(runs: Runs, tmp_path: Path) -> None:
    """Personas that were brought may be under terms nobody told of: a release says why they may be published."""
    whoseboat.build("sample", tmp_path / "first")
    rows = pq.read_table(tmp_path / "first" / "pairs").to_pylist()
    told = [{name: row[name] for name in ("id", "chosen_persona", "rejected_persona")} for row in rows]
    (tmp_path / "personas.jsonl").write_text("\n".join(map(json.dumps, told)))
    whoseboat.build("sample", tmp_path / "set", personas=tmp_path / "personas.jsonl")
    to = ("publish", tmp_path / "set", "--to", "org/brought", "--yes")
    runs.refuses(*to, says=("nobody says which", "--license-note"), code=2)
    runs.ok(*to, "--license", "apache-2.0", "--license-note", "We wrote them ourselves.")
    assert b"We wrote them ourselves." in runs.repo("org/brought").commits[-1].files["README.md"]
    assert "nothing has changed" in runs.ok(*to).out
