"""Sources read from the Hub: a loopback one in this process, the command in another."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loopback_hub import LoopbackHub

HH = "Anthropic/hh-rlhf"


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    """Serve a Hub."""
    with LoopbackHub() as serving:
        yield serving


def run(hub: LoopbackHub, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Build `folder/out` in a process that knows only this Hub."""
    command = [sys.executable, "-m", "whoseboat", "build", *arguments, "--out", str(folder / "out"), "--json"]
    environment = {**os.environ, **hub.environment(folder / "home")}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def built(hub: LoopbackHub, folder: Path, *arguments: str) -> dict[str, Any]:
    """Build, check that it went well, and return the manifest."""
    done = run(hub, folder, *arguments)
    assert done.returncode == 0, done.stderr
    manifest: dict[str, Any] = json.loads((folder / "out" / "manifest.json").read_text(encoding="utf-8"))
    return manifest


def refused(hub: LoopbackHub, folder: Path, *arguments: str, code: int = 1) -> str:
    """Check that a build fails with one message and leaves nothing; return the message."""
    done = run(hub, folder, *arguments)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("whoseboat: ") == 1
    assert not [entry for entry in folder.iterdir() if entry.name != "home"]
    return done.stderr


def hh_file(start: int, count: int) -> bytes:
    """Return a file of hh-rlhf."""
    rows = [
        {
            "chosen": f"\n\nHuman: Question {number}?\n\nAssistant: Yes, {number}, and with pleasure.",
            "rejected": f"\n\nHuman: Question {number}?\n\nAssistant: No.",
        }
        for number in range(start, start + count)
    ]
    return gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode(), mtime=0)


def table_file(count: int, note: str = "") -> bytes:
    """Return a file of a table."""
    rows = [
        {"prompt": f"Question {number}?{note}", "chosen": "Yes, and with pleasure.", "rejected": "No."}
        for number in range(count)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def test_hh_rlhf_at_main(hub: LoopbackHub, tmp_path: Path) -> None:
    """The set is read at the commit `main` names, which the manifest records; its test split is held out."""
    files = {
        "README.md": b"---\nlicense: mit\n---\n",
        "helpful-base/train.jsonl.gz": hh_file(0, 12),
        "helpful-base/test.jsonl.gz": hh_file(50, 3),
        "harmless-base/train.jsonl.gz": hh_file(100, 4),
        "red-team-attempts/red_team_attempts.jsonl.gz": b"never read",
    }
    commit = hub.commit(HH, files)
    manifest = built(hub, tmp_path, "hh-rlhf")
    source = manifest["source"]
    assert (source["repo"], source["revision"], source["license"]) == (HH, commit, "mit")
    assert source["files"] == ["harmless-base/train.jsonl.gz", "helpful-base/train.jsonl.gz"]
    assert source["held_out"] == ["helpful-base/test.jsonl.gz"]
    assert sum(manifest["rows"]["pairs"].values()) == 16
    assert manifest["kept_from_tailoring"] == 4
    assert commit in (tmp_path / "out" / "README.md").read_text(encoding="utf-8").replace("&#45;", "-")
    assert not [served for served in hub.requests if "red-team-attempts" in served.path]


def test_hh_rlhf_at_a_revision(hub: LoopbackHub, tmp_path: Path) -> None:
    """A tag is resolved to its commit, and the files are those of that commit."""
    old = hub.commit("org/copy", {"helpful-base/train.jsonl.gz": hh_file(0, 5)})
    hub.tag("org/copy", "v1", old)
    hub.commit("org/copy", {"helpful-base/train.jsonl.gz": hh_file(0, 9)})
    manifest = built(hub, tmp_path, "hh-rlhf", "--from", "org/copy@v1")
    assert (manifest["source"]["repo"], manifest["source"]["revision"]) == ("org/copy", old)
    assert sum(manifest["rows"]["pairs"].values()) == 5


def test_table_with_split_and_licence_of_the_card(hub: LoopbackHub, tmp_path: Path) -> None:
    """A table is read at a split, and its licence is the one its card states."""
    files = {
        "README.md": b"---\nlicense: cc-by-4.0\n---\n",
        "train.jsonl": table_file(8),
        "test.jsonl": table_file(3, " Test."),
    }
    commit = hub.commit("org/table", files)
    manifest = built(hub, tmp_path, "table", "--from", "org/table", "--split", "test")
    source = manifest["source"]
    assert (source["repo"], source["revision"], source["split"]) == ("org/table", commit, "test")
    assert (source["license"], source["license_known_from"]) == ("cc-by-4.0", "card")
    assert sum(manifest["rows"]["pairs"].values()) == 3
    assert "license: cc-by-4.0" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_table_reads_train_and_holds_test_out(hub: LoopbackHub, tmp_path: Path) -> None:
    """Without a split named the train split is read, and the test split is held out."""
    hub.commit("org/table", {"train.jsonl": table_file(8), "test.jsonl": table_file(3, " Test.")})
    manifest = built(hub, tmp_path, "table", "--from", "org/table")
    assert sum(manifest["rows"]["pairs"].values()) == 8
    assert manifest["source"]["held_out"] == ["default/test"]
    assert manifest["source"]["license"] == "unknown"


@pytest.mark.parametrize("source", ["table", "hh-rlhf"])
def test_missing_repo(hub: LoopbackHub, tmp_path: Path, source: str) -> None:
    """A repo that is not there is named."""
    message = refused(hub, tmp_path, source, "--from", "org/nothing")
    assert "no such dataset on the Hub" in message
    assert "org/nothing" in message


def test_missing_revision(hub: LoopbackHub, tmp_path: Path) -> None:
    """A revision that is not there is named."""
    hub.commit("org/table", {"train.jsonl": table_file(2)})
    message = refused(hub, tmp_path, "table", "--from", "org/table@v9")
    assert "no such revision" in message
    assert "org/table@v9" in message


def test_missing_split(hub: LoopbackHub, tmp_path: Path) -> None:
    """A split that is not there is told with those that are, as misuse."""
    hub.commit("org/table", {"train.jsonl": table_file(2), "test.jsonl": table_file(2, " Test.")})
    message = refused(hub, tmp_path, "table", "--from", "org/table", "--split", "dev", code=2)
    assert "train, test" in message
    assert "dev" in message


def test_gated_repo(hub: LoopbackHub, tmp_path: Path) -> None:
    """A gated repo is told with what to do."""
    hub.commit(HH, {"helpful-base/train.jsonl.gz": hh_file(0, 5)}, gated=True)
    assert "gated" in refused(hub, tmp_path, "hh-rlhf")
