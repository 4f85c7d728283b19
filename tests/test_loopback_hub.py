"""The loopback Hub, as the real clients see it: each test starts one of them in a process of its own."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from loopback_hub import LoopbackHub, Served, is_lfs

CARD = b"""---
license: mit
configs:
- config_name: chat
  data_files:
  - split: train
    path: chat/*.jsonl.gz
---
# A set
"""
BIG = bytes(range(256)) * 2**17  # 32 MiB
CHAT = [{"prompt": f"question {number}", "score": number} for number in range(3)]
TABLE = [{"prompt": f"row {number}", "score": -number} for number in range(4)]


def jsonl_gz(rows: list[dict[str, Any]]) -> bytes:
    """Write rows as JSON lines, compressed."""
    return gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode(), mtime=0)


def parquet(rows: list[dict[str, Any]]) -> bytes:
    """Write rows as a Parquet file."""
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    """Start a Hub for one test."""
    with LoopbackHub() as hub:
        yield hub


@pytest.fixture
def set_oids(hub: LoopbackHub) -> list[str]:
    """Fill the Hub with `org/set` of two commits, the first tagged `v1`, and return their oids."""
    first = hub.commit("org/set", {"README.md": CARD, "chat/a.jsonl.gz": jsonl_gz(CHAT)}, title="First")
    second = hub.commit("org/set", {"table/b.parquet": parquet(TABLE)}, title="Second")
    hub.tag("org/set", "v1", first)
    return [first, second]


def client(hub: LoopbackHub, home: Path, script: str) -> Any:  # noqa: ANN401
    """Run a client's script in a fresh process, where a warning is an error, and return the JSON it prints last."""
    environment = {"PATH": os.environ["PATH"], **hub.environment(home)}
    command = [sys.executable, "-W", "error", "-c", f"import json\n{script}\nprint(json.dumps(out))"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_api_reads_a_repo_at_each_revision(hub: LoopbackHub, set_oids: list[str], tmp_path: Path) -> None:
    """The head, a tag and an oid each give their own sha, card and files; listings are paged."""
    hub.page_size = 2
    out = client(
        hub,
        tmp_path,
        f"""
from huggingface_hub import HfApi
api, where, parquet = HfApi(), dict(repo_type="dataset"), "table/b.parquet"
infos = [api.dataset_info("org/set", revision=revision) for revision in (None, "v1", "{set_oids[0]}")]
tree = list(api.list_repo_tree("org/set", recursive=True, expand=True, **where))
refs = api.list_repo_refs("org/set", **where)
out = dict(
    shas=[info.sha for info in infos],
    licences=[info.card_data.license for info in infos],
    configs=[config["config_name"] for config in infos[0].card_data["configs"]],
    files=[[sibling.rfilename for sibling in info.siblings] for info in infos],
    sizes=[sibling.size for sibling in api.dataset_info("org/set", files_metadata=True).siblings],
    tree=[[item.path, item.last_commit.title] for item in tree],
    folder=[item.path for item in api.list_repo_tree("org/set", "chat", **where)],
    lfs=[item.lfs and item.lfs.size for item in api.get_paths_info("org/set", ["README.md", parquet, "x"], **where)],
    refs=[[ref.name, ref.target_commit] for ref in refs.branches + refs.tags],
    commits=[[commit.commit_id, commit.title] for commit in api.list_repo_commits("org/set", **where)],
    user=api.whoami(token="{hub.token}")["name"],
)
""",
    )
    first, second = set_oids
    assert out["shas"] == [second, first, first]
    assert out["licences"] == ["mit"] * 3
    assert out["configs"] == ["chat"]
    assert out["files"] == [
        ["README.md", "chat/a.jsonl.gz", "table/b.parquet"],
        *[["README.md", "chat/a.jsonl.gz"]] * 2,
    ]
    assert out["sizes"] == [len(CARD), len(jsonl_gz(CHAT)), len(parquet(TABLE))]
    in_tree = {"README.md": "First", "chat": "First", "chat/a.jsonl.gz": "First", "table": "Second"}
    assert dict(out["tree"]) == {**in_tree, "table/b.parquet": "Second"}
    assert sum("cursor=" in served.path for served in hub.requests) == 2
    assert out["folder"] == ["chat/a.jsonl.gz"]
    assert out["lfs"] == [None, len(parquet(TABLE))]
    assert out["refs"] == [["main", second], ["v1", first]]
    assert out["commits"] == [[second, "Second"], [first, "First"]]
    assert out["user"] == hub.user


def test_of_a_big_file_only_the_part_that_is_read_is_fetched(hub: LoopbackHub, tmp_path: Path) -> None:
    """`HfFileSystem` reads the pinned commit, and asks for nothing without a range."""
    oid = hub.commit("org/big", {"data/big.bin": BIG})
    hub.commit("org/big", {"data/big.bin": b"later"})
    out = client(
        hub,
        tmp_path,
        f"""
from huggingface_hub import HfFileSystem
with HfFileSystem().open("datasets/org/big@{oid}/data/big.bin", "rb") as file:
    file.seek(2**24)
    out = [file.size, file.read(300).hex()]
""",
    )
    assert out == [len(BIG), BIG[2**24 : 2**24 + 300].hex()]
    spans = [re.findall(r"\d+", served.byte_range or "") for served in hub.requests if "/resolve/" in served.path]
    assert spans
    assert all(len(span) == 2 for span in spans)
    assert sum(int(last) + 1 - int(first) for first, last in spans) < len(BIG) / 3


def test_ranges_on_one_connection(hub: LoopbackHub) -> None:
    """Each form of a range gets its part, also when one connection carries all requests."""
    hub.commit("org/set", {"a.txt": b"0123456789"})
    path = "/datasets/org/set/resolve/main/a.txt"
    connection = HTTPConnection("127.0.0.1", int(hub.endpoint.rpartition(":")[2]))
    wanted = {"bytes=2-4": b"234", "bytes=7-": b"789", "bytes=-2": b"89", "bytes=8-99": b"89", "bytes=10-": b""}
    for byte_range, part in wanted.items():
        connection.request("GET", path, headers={"Range": byte_range})
        reply = connection.getresponse()
        assert (reply.status, reply.read()) == (206 if part else 416, part)
        assert str(reply.headers["Content-Range"]).endswith("/10")
    connection.request("HEAD", path)
    reply = connection.getresponse()
    assert (reply.headers["Content-Length"], reply.read()) == ("10", b"")
    connection.close()
    assert hub.requests == [*(Served("GET", path, part) for part in wanted), Served("HEAD", path, None)]


def test_each_refusal_is_the_clients_own_error(hub: LoopbackHub, set_oids: list[str], tmp_path: Path) -> None:
    """What is missing, hidden, gated or made to fail raises what the real Hub makes the clients raise."""
    hub.commit("org/private", {"a.txt": b"a"}, private=True)
    hub.commit("org/gated", {"a.txt": b"a"}, repo_type="model", gated=True)
    hub.fail("/api/datasets/org/set", 500)
    out = client(
        hub,
        tmp_path,
        f"""
from huggingface_hub import HfApi, HfFileSystem
api, friend, where = HfApi(), HfApi(token="{hub.token}"), dict(repo_type="dataset")
calls = dict(
    fault=lambda: api.dataset_info("org/set"),
    none=lambda: api.dataset_info("org/none"),
    private=lambda: api.dataset_info("org/private"),
    revision=lambda: api.dataset_info("org/set", revision="v9"),
    file=lambda: api.hf_hub_download("org/set", "none.txt", **where),
    folder=lambda: list(api.list_repo_tree("org/set", "none", **where)),
    gated=lambda: api.hf_hub_download("org/gated", "a.txt"),
    path=lambda: HfFileSystem().info("datasets/org/set/none.txt"),
    endpoint=lambda: api.list_repo_likers("org/set", **where).__next__(),
)
out = {{}}
for name, call in calls.items():
    try:
        call()
    except Exception as error:
        out[name] = [type(error).__name__, getattr(getattr(error, "response", None), "status_code", 0)]
out["known"] = [
    api.dataset_info("org/set").private,
    friend.dataset_info("org/private").private,
    friend.model_info("org/gated").gated,
    open(friend.hf_hub_download("org/gated", "a.txt")).read(),
]
""",
    )
    assert out == {
        "fault": ["HfHubHTTPError", 500],
        "none": ["RepositoryNotFoundError", 404],
        "private": ["RepositoryNotFoundError", 404],
        "revision": ["RevisionNotFoundError", 404],
        "file": ["RemoteEntryNotFoundError", 404],
        "folder": ["RemoteEntryNotFoundError", 404],
        "gated": ["GatedRepoError", 403],
        "path": ["FileNotFoundError", 0],
        "endpoint": ["HfHubHTTPError", 404],
        "known": [False, True, "auto", "a"],
    }


def test_a_snapshot_is_what_was_committed(hub: LoopbackHub, set_oids: list[str], tmp_path: Path) -> None:
    """Every file of a snapshot has the bytes of its commit."""
    out = client(
        hub,
        tmp_path,
        f"""
from huggingface_hub import snapshot_download
out = [snapshot_download("org/set", repo_type="dataset", revision=revision) for revision in ("main", "{set_oids[0]}")]
""",
    )
    head, first = map(Path, out)
    assert [head.name, first.name] == set_oids[::-1]
    for folder, oid in ((head, set_oids[1]), (first, set_oids[0])):
        commit = hub.repos["dataset", "org/set"].find(oid)
        assert commit is not None
        found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        assert found == commit.files


def test_datasets_streams_by_config_and_by_folder(hub: LoopbackHub, set_oids: list[str], tmp_path: Path) -> None:
    """`load_dataset` finds what the card names and what a folder holds, compressed JSON lines or Parquet."""
    folders = {f"{folder}/train.jsonl.gz": jsonl_gz([{"folder": folder}]) for folder in ("base", "online")}
    hub.commit("org/folders", folders)
    out = client(
        hub,
        tmp_path,
        f"""
from datasets import load_dataset
def rows(*args, **options):
    return list(load_dataset(*args, split="train", streaming=True, **options))
out = dict(
    head=rows("org/set", "chat"),
    tag=rows("org/set", "chat", revision="v1"),
    table=rows("org/set", data_dir="table", revision="{set_oids[1]}"),
    stored=load_dataset("org/set", "chat", split="train", revision="v1").to_list(),
    folder=rows("org/folders", data_dir="online"),
)
""",
    )
    assert out == {"head": CHAT, "tag": CHAT, "stored": CHAT, "table": TABLE, "folder": [{"folder": "online"}]}


def test_a_hub_is_the_same_in_every_run_and_ends_at_once() -> None:
    """Oids do not depend on the run, differ between repos, and no Hub outlives its block."""
    oids = []
    start = time.monotonic()
    for _ in range(2):
        with LoopbackHub() as hub:
            oids.append(hub.commit("org/name", {"a.txt": b"a"}))
    assert oids[0] == oids[1] != hub.commit("org/other", {"a.txt": b"a"})
    assert time.monotonic() - start < 1
    assert hub.requests == []
    assert is_lfs("a.parquet", 1)
    assert not is_lfs("a.txt", 1)
