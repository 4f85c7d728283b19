"""A dataset folder that gets further files: whole or not at all, with its card, and what is not ours stays."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from report_sets import contents, manifest

import whoseboat
from whoseboat.errors import DataError, OutputError
from whoseboat.quality.rewritten import rewrite
from whoseboat.releases import artefacts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Build the sample set, with words of a person in its card and files that are not ours."""
    out = tmp_path / "home" / "set"
    whoseboat.build("sample", out)
    with (out / "README.md").open("a", encoding="utf-8") as card:
        card.write("\nWritten by a person.\n")
    (out / "notes.txt").write_text("mine", encoding="utf-8")
    (out / "assets").mkdir()
    (out / "assets" / "mine.png").write_bytes(b"mine as well")
    return out


def test_files_come_with_card_and_manifest(folder: Path, tmp_path: Path) -> None:
    """The manifest owns the new files and the new card, which tells what is new; rows stay the same files."""
    made = manifest(folder)
    rows = next(name for name in made.files if name.startswith("pairs/"))
    before, inode = contents(folder), (folder / rows).stat().st_ino
    table = tmp_path / "checks.parquet"
    table.write_bytes(b"rows")
    check = {
        "name": "a new figure",
        "side": "both",
        "value": 0.5,
        "low": 0.4,
        "high": 0.6,
        "n": 9,
        "judge": "",
        "note": "",
    }
    told = replace(made, checks=(check,))
    done = rewrite(folder, told, {"checks.parquet": table, "assets/drops.png": b"picture"})
    after = contents(folder)
    assert after["checks.parquet"] == b"rows"
    assert after["assets/drops.png"] == b"picture"
    assert after.keys() == before.keys() | {"checks.parquet", "assets/drops.png"}
    assert {name for name in before if before[name] != after[name]} == {"README.md", "manifest.json"}
    assert (folder / rows).stat().st_ino == inode
    card = after["README.md"].decode()
    assert "Written by a person." in card
    assert "a new figure" in card
    assert manifest(folder) == done
    assert done.checks == (check,)
    assert done.files.keys() == made.files.keys() | {"checks.parquet", "assets/drops.png"}
    for name, about in done.files.items():
        assert about == {"bytes": len(after[name]), "sha256": hashlib.sha256(after[name]).hexdigest()}
    loaded = artefacts.load(folder)  # a release looks at every file
    assert {"notes.txt", "assets/mine.png"} <= loaded.left_out.keys()
    assert [path.name for path in folder.parent.iterdir()] == ["set"]


def test_the_same_once_more_changes_nothing(folder: Path) -> None:
    """What is written depends on what is there alone."""
    first = rewrite(folder, manifest(folder), {"assets/drops.png": b"picture"})
    before = contents(folder)
    assert rewrite(folder, manifest(folder), {"assets/drops.png": b"picture"}) == first
    assert contents(folder) == before


def test_own_files_may_go_and_be_replaced(folder: Path) -> None:
    """Only own ones go; a name that is not there is no fault."""
    rewrite(folder, manifest(folder), {"assets/old.png": b"old", "assets/drops.png": b"1"})
    names = ["assets/old.png", "assets/never.png", "assets/mine.png"]
    done = rewrite(folder, manifest(folder), {"assets/drops.png": b"2"}, without=names)
    after = contents(folder)
    assert "assets/old.png" not in after.keys() | done.files.keys()
    assert after["assets/drops.png"] == b"2"
    assert after["assets/mine.png"] == b"mine as well"


def test_a_file_of_a_person_is_not_replaced(folder: Path) -> None:
    """It stands in the place of a new one: nothing is touched."""
    before = contents(folder)
    with pytest.raises(OutputError, match="not ours"):
        rewrite(folder, manifest(folder), {"assets/mine.png": b"ours"})
    assert contents(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["set"]


def test_a_card_that_cannot_be_read_leaves_the_folder_as_it_was(folder: Path) -> None:
    """Files, manifest and card change together or not at all."""
    card = folder / "README.md"
    card.write_text(card.read_text(encoding="utf-8").replace("<!-- whoseboat:end", "<!-- gone", 1), encoding="utf-8")
    before = contents(folder)
    with pytest.raises(DataError, match="markers"):
        rewrite(folder, manifest(folder), {"assets/drops.png": b"picture"})
    assert contents(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["set"]


@pytest.mark.parametrize("name", ["../out.png", "/out.png", "a//b.png", "", "a/./b", "README.md", "manifest.json"])
def test_names_that_are_no_plain_paths_are_refused(folder: Path, name: str) -> None:
    """Nothing is written beside the folder, and card and manifest are made, not given."""
    before = contents(folder.parent)
    with pytest.raises(ValueError, match=r"path|made here"):
        rewrite(folder, manifest(folder), {name: b""})
    assert contents(folder.parent) == before


def test_what_is_no_folder_of_ours_is_refused(folder: Path, tmp_path: Path) -> None:
    """There is no folder, or none with a manifest."""
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(DataError, match="not a dataset folder"):
            rewrite(path, manifest(folder), {})


def test_files_that_a_manifest_names_elsewhere_are_not_touched(folder: Path) -> None:
    """A manifest may come from anybody; a path out of the folder in it is no path."""
    outside = folder.parent / "outside.txt"
    outside.write_text("not ours", encoding="utf-8")
    stated = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    stated["files"]["../outside.txt"] = {"bytes": 8, "sha256": "0" * 64}
    (folder / "manifest.json").write_text(json.dumps(stated), encoding="utf-8")
    done = rewrite(folder, manifest(folder), {})
    assert "../outside.txt" not in done.files
    assert sorted(path.name for path in folder.parent.iterdir()) == ["outside.txt", "set"]


def test_a_file_changed_since_is_still_found_out(folder: Path) -> None:
    """The manifest keeps what it stated of rows, so a release sees that they are others now."""
    made = manifest(folder)
    rows = next(name for name in made.files if name.startswith(("dropped", "tailoring/")))
    (folder / rows).write_bytes(b"others")
    done = rewrite(folder, made, {"assets/drops.png": b"picture"})
    assert done.files[rows] == made.files[rows]
    with pytest.raises(DataError, match="changed since"):
        artefacts.load(folder)


KILLED = """
import os, signal, sys
from pathlib import Path
from whoseboat import cards
from whoseboat.manifest import Manifest, read_manifest
from whoseboat.quality.rewritten import rewrite
cards.merge = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
rewrite(sys.argv[1], Manifest.of(read_manifest(Path(sys.argv[1]))), {"assets/drops.png": b"picture"})
"""


def test_killed_while_it_writes_the_folder_is_as_it_was(folder: Path) -> None:
    """A process that dies leaves the folder alone, and the next one clears up behind it."""
    before = contents(folder)
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder)], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert contents(folder) == before
    rewrite(folder, manifest(folder), {"assets/drops.png": b"picture"})
    assert [path.name for path in folder.parent.iterdir()] == ["set"]


def test_where_files_cannot_be_linked_they_are_copied(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some disks know no links."""

    def refuse(*_: object) -> None:
        raise OSError("no links here")

    before = contents(folder)
    monkeypatch.setattr(os, "link", refuse)
    rewrite(folder, manifest(folder), {"assets/drops.png": b"picture"})
    after = contents(folder)
    assert all(after[name] == before[name] for name in before if name not in ("README.md", "manifest.json"))
    assert after["assets/drops.png"] == b"picture"
