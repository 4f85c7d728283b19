"""Bases that are folders, loaded from any directory and never taken for a repo of the Hub; and damaged weights."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="trl is in the extra `train`")

import torch
from training_sets import Workshop, workshop

from whoseboat.errors import DataError, HubError
from whoseboat.manifest import FILE
from whoseboat.model_manifest import ModelManifest
from whoseboat.tailoring import generation, inference_personas, loading, merging, model_folder, pairs
from whoseboat.tailoring.training import train

Use = Callable[[Path], object]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Make a set and tiny models once."""
    return workshop(tmp_path_factory.mktemp("workshop"))


@pytest.fixture(scope="module")
def adapter(shop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train an adapter on a base that is named by a relative path, as one types it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(shop.folder.parent)
        folder = tmp_path_factory.mktemp("trained") / "adapter"
        train(shop.recipe(base_model=f"{shop.folder.name}/chat", max_steps=1), folder)
    return folder


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Refuse every connection: nothing here is on the Hub."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    torch.set_num_threads(1)
    yield


def stated(folder: Path) -> dict[str, Any]:
    """Return what the manifest of a folder says."""
    found: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
    return found


def restate(folder: Path, changes: dict[str, Any], without: tuple[str, ...] = ()) -> Path:
    """Change what the manifest of a folder says."""
    told = {name: value for name, value in (stated(folder) | changes).items() if name not in without}
    (folder / FILE).write_text(json.dumps(told), encoding="utf-8")
    return folder


def copied(folder: Path, to: Path) -> Path:
    """Copy a folder."""
    return Path(shutil.copytree(folder, to))


def uses(shop: Workshop, directory: Path) -> dict[str, Use]:
    """Return all that loads a model folder, by its name."""

    def generate(model: Path) -> object:
        cases = inference_personas.give(pairs.load(shop.data).pairs("test"), "true")
        return generation.generate(model, cases, directory / "said.jsonl", decoding=generation.Decoding(8, 2))

    return {
        "generate": generate,
        "load": loading.load,
        "reference": lambda model: loading.load(shop.chat, reference=model),
        "merge": lambda model: merging.merge(model, directory / "merged"),
    }


# ---- where the base is


def test_a_base_named_by_a_relative_path_is_found_from_any_directory(
    shop: Workshop, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Manifest and adapter hold the whole path, and everything that loads the folder does so elsewhere, too."""
    monkeypatch.chdir(tmp_path)
    made = stated(adapter)
    assert (made["relation"], made["base_model"], made["base_is_local"]) == ("adapter", str(shop.chat), True)
    held = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    assert held["base_model_name_or_path"] == str(shop.chat)
    for name, use in uses(shop, tmp_path).items():
        assert use(adapter), name
    loaded = loading.load(adapter)
    assert loaded.reference is not None
    assert loaded.reference.name == "chat, the adapter off"


@pytest.mark.parametrize("use", ["generate", "load", "reference", "merge"])
@pytest.mark.parametrize("is_old", [False, True])
def test_a_base_that_is_gone_is_not_looked_for_on_the_hub(
    shop: Workshop, adapter: Path, tmp_path: Path, use: str, is_old: bool
) -> None:
    """One error says where it was and what to do; a manifest of an earlier version, without the marker, is as clear."""
    base = "smoke/tiny" if is_old else str(tmp_path / "gone" / "tiny")
    without = ("base_is_local",) if is_old else ()
    model = restate(copied(adapter, tmp_path / "model"), {"base_model": base}, without)
    with pytest.raises(DataError, match="was a folder of the machine it was made on, which is not there") as caught:
        uses(shop, tmp_path)[use](model)
    assert caught.value.where.endswith(base)
    assert "whoseboat merge" in caught.value.todo
    assert not (tmp_path / "merged").exists()
    assert not (tmp_path / "said.jsonl").exists()


def test_a_few_shot_model_of_a_folder_that_is_gone(shop: Workshop, tmp_path: Path) -> None:
    """It has no weights to merge, so the error names no way that is none."""
    base = copied(shop.chat, tmp_path / "base")
    train(shop.recipe(method="few-shot", base_model=str(base)), tmp_path / "model")
    shutil.rmtree(base)
    with pytest.raises(DataError, match="of this few-shot model was a folder") as caught:
        loading.load(tmp_path / "model")
    assert "merge" not in caught.value.todo


def test_manifests_without_the_marker_still_load(shop: Workshop, adapter: Path, tmp_path: Path) -> None:
    """What earlier versions wrote is read as it was meant: with a commit a repo of the Hub, else a folder."""
    old = restate(copied(adapter, tmp_path / "old"), {}, without=("base_is_local",))
    assert model_folder.read(old).manifest.base_is_local
    assert uses(shop, tmp_path)["generate"](old)
    on_hub = ModelManifest.of(stated(old) | {"base_model": "acme/base", "base_revision": "0" * 40})
    assert (on_hub.base_is_local, on_hub.base_name) == (False, "acme/base")


def test_dpo_starts_from_a_model_whose_base_was_named_in_another_way(
    shop: Workshop, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the same folder, by whichever path; what DPO makes tells its name alone."""
    monkeypatch.chdir(shop.folder)
    done = train(shop.recipe(method="dpo", base_model="chat", start_from=str(adapter), max_steps=1), tmp_path / "dpo")
    assert (done.manifest.relation, done.manifest.base_model) == ("merge", "chat")
    assert done.manifest.base_is_local
    for name in (FILE, "README.md", "recipe.yaml", "config.json"):
        assert str(shop.folder) not in (tmp_path / "dpo" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("use", ["generate", "load", "merge"])
def test_a_base_on_a_hub_that_does_not_answer(
    shop: Workshop, adapter: Path, tmp_path: Path, use: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked once before anything is loaded, so that the error comes at once."""
    import huggingface_hub

    asked: list[str] = []

    def refuse(_self: object, name: str, **_: object) -> None:
        asked.append(name)
        raise ConnectionError("Connection refused")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", refuse)
    on_hub = {"base_model": "acme/base", "base_revision": "0" * 40, "base_is_local": False}
    model = restate(copied(adapter, tmp_path / "model"), on_hub)
    with pytest.raises(HubError, match="did not answer") as caught:
        uses(shop, tmp_path)[use](model)
    assert caught.value.where == f"acme/base@{'0' * 40}"
    assert asked == ["acme/base"]


# ---- damaged weights


@pytest.mark.parametrize("use", ["generate", "load", "reference", "merge"])
@pytest.mark.parametrize("left", [None, 0, 100])
def test_an_adapter_that_is_cut_off_is_told_by_its_size(
    shop: Workshop, adapter: Path, tmp_path: Path, use: str, left: int | None
) -> None:
    """File, expected and found stand in one error; nothing is made of it."""
    model = copied(adapter, tmp_path / "model")
    _cut(model / "adapter_model.safetensors", left)
    with pytest.raises(DataError, match="the weights cannot be read") as caught:
        uses(shop, tmp_path)[use](model)
    assert caught.value.where == str(model / "adapter_model.safetensors")
    assert "bytes, as manifest.json says" in caught.value.expected
    assert caught.value.found == ("no such file" if left is None else f"{left} bytes")
    assert caught.value.todo
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("use", ["generate", "load", "reference", "train"])
def test_a_model_without_a_manifest_that_is_cut_off(shop: Workshop, tmp_path: Path, use: str) -> None:
    """The file that is no longer whole is named, also where it is the base of a training."""
    base = copied(shop.chat, tmp_path / "base")
    _cut(base / "model.safetensors", 3000)
    found = uses(shop, tmp_path) | {"train": lambda path: train(shop.recipe(base_model=str(path)), tmp_path / "out")}
    with pytest.raises(DataError, match="the weights cannot be read") as caught:
        found[use](base)
    assert caught.value.where == str(base / "model.safetensors")
    assert "not fully covered" in caught.value.found
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base"]


def test_weights_of_the_right_size_that_are_damaged(shop: Workshop, adapter: Path, tmp_path: Path) -> None:
    """What the size does not tell is told by the file's own header."""
    model = copied(adapter, tmp_path / "model")
    path = model / "adapter_model.safetensors"
    path.write_bytes(b"\xff" * 64 + path.read_bytes()[64:])
    with pytest.raises(DataError, match="the weights cannot be read") as caught:
        loading.load(model)
    assert caught.value.where == str(path)


def test_a_base_of_ours_is_looked_at_by_its_manifest(shop: Workshop, adapter: Path, tmp_path: Path) -> None:
    """A merged model that is trained further has a manifest, which tells what its weights should be."""
    merged = merging.merge(adapter, tmp_path / "merged").path
    _cut(merged / "model.safetensors", 3000)
    with pytest.raises(DataError, match="the weights cannot be read") as caught:
        train(shop.recipe(base_model=str(merged)), tmp_path / "out")
    assert caught.value.found == "3,000 bytes"


def _cut(path: Path, left: int | None) -> None:
    """Leave the first bytes of a file, or nothing of it."""
    content = path.read_bytes()
    path.unlink()
    if left is not None:
        path.write_bytes(content[:left])
