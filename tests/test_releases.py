"""Releases: what `publish`, `versions` and `diff` make of folders, and that the Hub's own clients read it back."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest
from loopback_hub import Account, LoopbackHub, RepoType
from release_runs import TOKEN, Runs, change_manifest, check_whole, describe, pairs, table

import whoseboat

ROWS = 60


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """Start a Hub and what runs commands against it; at the end, nothing on the Hub holds the token."""
    with LoopbackHub(token=TOKEN) as hub, Runs(hub, tmp_path_factory.mktemp("runs")) as runs:
        yield runs
        for repo in hub.repos.values():
            for commit in repo.commits:
                assert TOKEN not in commit.title + commit.message
                assert not any(TOKEN.encode() in content for content in commit.files.values())


@pytest.fixture(autouse=True)
def _healed(runs: Runs) -> Iterator[None]:
    """Let no fault outlive its test."""
    yield
    runs.hub.heal()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a dataset folder."""
    return table(tmp_path_factory.mktemp("made") / "a", ROWS)


@pytest.fixture(scope="module")
def longer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the folder with one row more."""
    return table(tmp_path_factory.mktemp("longer") / "a", ROWS + 1)


def client(runs: Runs, code: str, home: Path) -> Any:  # noqa: ANN401 - as that code has it
    """Run code in a fresh process that has nothing of ours, and return what it prints as JSON."""
    env = {**os.environ, **runs.hub.environment(home), "PYTHONPATH": "", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    code = f"import json, sys\n{code}\nassert not [name for name in sys.modules if name.startswith('whoseboat')]\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=home, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def rows_of(folder: Path, config: str) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of a folder by split."""
    files = sorted((folder / config).glob("*.parquet"))
    return {file.name.split("-")[0]: pq.read_table(file).to_pylist() for file in files}


def head(runs: Runs, repo: str, kind: RepoType = "dataset") -> dict[str, bytes]:
    """Return the files at the head of a repo."""
    return dict(runs.repo(repo, kind).commits[-1].files)


def manifest(runs: Runs, repo: str, kind: RepoType = "dataset") -> dict[str, Any]:
    """Return the manifest at the head of a repo."""
    stated: dict[str, Any] = json.loads(head(runs, repo, kind)["manifest.json"])
    return stated


def versions(runs: Runs, repo: str) -> list[str]:
    """Return the versions that `versions` lists and that have a tag."""
    listed = json.loads(runs.ok("versions", repo, "--json").out)
    return [one["version"] for one in listed if one["commit"]]


LOAD = """
from datasets import load_dataset
from huggingface_hub import DatasetCard, HfFileSystem, snapshot_download
repo, revision = "org/loaded", "v1.0.0"
told = {"rows": {}, "streamed": {}}
for config in ("pairs", "tailoring"):
    for split in ("train", "validation", "test"):
        told["rows"][f"{config} {split}"] = load_dataset(repo, config, split=split, revision=revision).to_list()
        streamed = load_dataset(repo, config, split=split, revision=revision, streaming=True)
        told["streamed"][f"{config} {split}"] = list(streamed)
told["default"] = load_dataset(repo, split="train", revision=revision).column_names
folder = snapshot_download(repo, repo_type="dataset", revision=revision)
told["folder"] = folder
told["listed"] = HfFileSystem().find(f"datasets/{repo}@{revision}")
card = DatasetCard.load(repo)
card.validate(repo_type="dataset")
told["license"] = card.data.license
print(json.dumps(told))
"""


def test_the_clients_read_back_what_was_built(runs: Runs, made: Path, tmp_path: Path) -> None:
    """From a fresh process without our code: both configs, streamed too, a snapshot, a file system, a valid card."""
    runs.publish(made, "org/loaded")
    told = client(runs, LOAD, tmp_path)
    built = {
        f"{config} {split}": rows for config in ("pairs", "tailoring") for split, rows in rows_of(made, config).items()
    }
    assert len(built) == 6
    assert told["rows"] == told["streamed"] == built
    assert told["default"] == list(built["pairs train"][0])
    files = head(runs, "org/loaded")
    for name, content in files.items():
        assert (Path(told["folder"]) / name).read_bytes() == content
    assert {name.split("/", 3)[3] for name in told["listed"]} == set(files)
    assert told["license"] == "mit"


def test_a_release_is_one_commit_and_one_tag(runs: Runs, made: Path) -> None:
    """The first release is v1.0.0: one commit, its tag on it, the version in the manifest, the card names it."""
    before = runs.hub.commits_made
    told = runs.publish(made, "org/first")
    repo = runs.repo("org/first")
    assert runs.hub.commits_made == before + 1
    assert repo.tags == {"v1.0.0": repo.commits[-1].oid} == {"v1.0.0": told["commit"]}
    stated = manifest(runs, "org/first")
    assert (stated["version"], stated["repo"]) == ("1.0.0", "org/first")
    assert [one["version"] for one in stated["releases"]] == ["1.0.0"]
    assert stated["files"].keys() | {"manifest.json", ".gitattributes"} == head(runs, "org/first").keys()
    assert b'revision="v1.0.0"' in head(runs, "org/first")["README.md"]
    assert repo.commits[-1].title == "Release v1.0.0"
    check_whole(repo)


def test_the_same_again_makes_nothing(runs: Runs, made: Path, tmp_path: Path) -> None:
    """A second publish makes no commit, no tag and sends nothing, nor does the same set built on another day."""
    first = runs.publish(made, "org/same")
    commits, sent = runs.hub.commits_made, runs.hub.lfs_bytes
    second = runs.publish(made, "org/same")
    again = table(tmp_path / "again", ROWS)
    later = "2031-01-01T00:00:00+00:00"
    change_manifest(again, lambda stated: stated.update(built_at=later, seconds=9.0, code_version="9.9"))
    third = runs.publish(again, "org/same")
    assert (second["made"], third["made"], second["change"]) == (False, False, "nothing")
    assert second["commit"] == third["commit"] == first["commit"]
    assert (runs.hub.commits_made, runs.hub.lfs_bytes) == (commits, sent)
    assert "nothing has changed since v1.0.0" in runs.ok("publish", made, "--to", "org/same", "--yes").out
    assert set(runs.repo("org/same").tags) == {"v1.0.0"}


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    """Load the benchmark, which counts chunks."""
    path = Path(__file__).parent.parent / "scripts" / "bench_publish.py"
    spec = importlib.util.spec_from_file_location("bench_publish", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_one_row_added(runs: Runs, bench: ModuleType, tmp_path: Path) -> None:
    """One row more is a minor release; only files that changed are sent, and most of their bytes were there."""
    rows = pairs(3000, length=60)
    old, new = table(tmp_path / "old", rows[:-1]), table(tmp_path / "new", rows)
    runs.publish(old, "org/grows")
    before = runs.hub.lfs_bytes
    told = runs.publish(new, "org/grows")
    assert (told["version"], told["changes"]) == ("1.1.0", ["1 row added"])
    files = runs.repo("org/grows").commits
    changed = [
        len(content)
        for name, content in files[-1].files.items()
        if name.endswith(".parquet") and content != files[-2].files.get(name)
    ]
    assert runs.hub.lfs_bytes - before == sum(changed)
    assert 0 < len(changed) < sum(name.endswith(".parquet") for name in files[-1].files)
    shared, whole = bench.shared_bytes(old, new)
    assert shared / whole > 0.8
    check_whole(runs.repo("org/grows"))


def in_shards(folder: Path, out: Path, count: int) -> Path:
    """Copy a folder, its training split in so many files."""
    shutil.copytree(folder, out)
    for config in ("pairs", "tailoring"):
        (old,) = (out / config).glob("train-*.parquet")
        rows = pq.read_table(old)
        old.unlink()
        step = -(-len(rows) // count)
        for at in range(count):
            name = f"train-{at:05d}-of-{count:05d}.parquet"
            pq.write_table(rows.slice(at * step, step), out / config / name)
    describe(out)
    return out


def test_fewer_shards_leave_none_behind(runs: Runs, made: Path, longer: Path, tmp_path: Path) -> None:
    """A release in fewer files deletes those of the last one, and loads."""
    many = in_shards(made, tmp_path / "many", 3)
    runs.publish(many, "org/shards")
    assert "pairs/train-00002-of-00003.parquet" in head(runs, "org/shards")
    told = runs.publish(longer, "org/shards")
    assert told["version"] == "1.1.0"
    assert len(told["delete"]) == 6
    names = [name for name in head(runs, "org/shards") if "train-" in name]
    assert names == ["pairs/train-00000-of-00001.parquet", "tailoring/train-00000-of-00001.parquet"]
    code = (
        'from datasets import load_dataset\nprint(json.dumps({"rows": load_dataset("org/shards")["train"].to_list()}))'
    )
    assert client(runs, code, tmp_path)["rows"] == rows_of(longer, "pairs")["train"]


def test_same_rows_in_other_files_are_the_same(runs: Runs, made: Path, tmp_path: Path) -> None:
    """How rows are laid into files makes no release."""
    runs.publish(made, "org/laid")
    assert runs.publish(in_shards(made, tmp_path / "many", 2), "org/laid")["change"] == "nothing"


def test_the_card_alone_is_a_patch(runs: Runs, made: Path, tmp_path: Path) -> None:
    """Another text in the folder's card is v1.0.1, sends no rows, and survives the next release."""
    runs.publish(made, "org/card")
    before = runs.hub.lfs_bytes
    folder = shutil.copytree(made, tmp_path / "made")
    card = (folder / "README.md").read_text(encoding="utf-8")
    (folder / "README.md").write_text(card + "\nWritten by the people who made the table.\n", encoding="utf-8")
    told = runs.publish(folder, "org/card")
    assert (told["version"], told["changes"], told["change"]) == ("1.0.1", ["the card"], "patch")
    assert runs.hub.lfs_bytes == before
    assert set(told["add"]) == {"README.md", "manifest.json"}
    assert b"Written by the people" in head(runs, "org/card")["README.md"]
    assert runs.publish(folder, "org/card")["change"] == "nothing"
    assert versions(runs, "org/card") == ["1.0.1", "1.0.0"]


def test_hand_written_text_survives(runs: Runs, made: Path, longer: Path) -> None:
    """What a person writes into the card on the Hub is no release, and stays through the next ones."""
    runs.publish(made, "org/hand")
    card = head(runs, "org/hand")["README.md"].decode()
    front, rest = card.removeprefix("---\n").split("\n---\n", 1)
    edited = (
        f"---\nthumbnail: https://example.org/a.png\n{front}\n---\r\nAbove, by hand.\r\n{rest}\n\nBelow, by hand.\n\n\n"
    )
    runs.hub.commit("org/hand", {"README.md": edited.encode()}, title="Edit the card")
    assert runs.publish(made, "org/hand")["change"] == "nothing"
    told = runs.publish(longer, "org/hand")
    assert told["version"] == "1.1.0"
    now = head(runs, "org/hand")["README.md"].decode()
    for text in ("Above, by hand.", "Below, by hand.", "thumbnail: https://example.org/a.png"):
        assert now.count(text) == 1
    check_whole_but_edits(runs, "org/hand")


def check_whole_but_edits(runs: Runs, repo: str) -> None:
    """Check that a repo's tags are on the commits of releases."""
    titles = {commit.oid: commit.title for commit in runs.repo(repo).commits}
    assert {tag: titles[oid] for tag, oid in runs.repo(repo).tags.items()} == {
        tag: f"Release {tag}" for tag in runs.repo(repo).tags
    }


def test_hand_edited_configs_do_not_break_loading(runs: Runs, made: Path, longer: Path, tmp_path: Path) -> None:
    """Configs that were edited or spoiled by hand are made anew with the next release."""
    runs.publish(made, "org/yaml")
    card = head(runs, "org/yaml")["README.md"].decode()
    edits = (
        (card.replace("pairs/train-*.parquet", "nowhere/*.parquet"), longer),
        (card.replace("configs:", "configs: spoiled\nothers:", 1), made),
        ("# All gone\n", made),
    )
    for number, (edited, folder) in enumerate(edits):
        runs.repo("org/yaml").add({**head(runs, "org/yaml"), "README.md": edited.encode()}, "Break it")
        runs.publish(folder, "org/yaml")
        code = 'from datasets import load_dataset\nprint(json.dumps(load_dataset("org/yaml").num_rows))'
        counts = {split: len(rows) for split, rows in rows_of(folder, "pairs").items()}
        home = tmp_path / str(number)
        home.mkdir()
        assert client(runs, code, home) == counts
    assert b"# All gone" in head(runs, "org/yaml")["README.md"]


def test_files_of_others_stay(runs: Runs, made: Path, longer: Path) -> None:
    """A file nobody here owns stays, even among ours; one that stands where ours belongs is not written over."""
    runs.publish(made, "org/others")
    mine = {"notes.txt": b"mine", "pairs/extra.parquet": b"no Parquet at all"}
    runs.hub.commit("org/others", mine, title="Add notes")
    assert runs.publish(made, "org/others")["change"] == "nothing"
    assert runs.publish(longer, "org/others")["version"] == "1.1.0"
    assert {name: head(runs, "org/others")[name] for name in mine} == mine
    runs.hub.commit("org/taken", {"dropped.parquet": b"theirs"})
    runs.refuses("publish", made, "--to", "org/taken", "--yes", says=("not of a release of ours", "dropped.parquet"))
    assert head(runs, "org/taken") == {"dropped.parquet": b"theirs"}


def test_an_owned_file_deleted_by_hand_comes_back(runs: Runs, made: Path) -> None:
    """A file of the release that somebody deleted comes back as a patch."""
    runs.publish(made, "org/gone")
    files = head(runs, "org/gone")
    lost = {name for name in files if name.startswith("pairs/test-")}
    assert lost
    runs.repo("org/gone").add({name: files[name] for name in files.keys() - lost}, "Delete by hand")
    told = runs.publish(made, "org/gone")
    assert (told["version"], told["change"]) == ("1.0.1", "patch")
    assert f"{min(lost)} is there again" in told["changes"]
    assert {name: head(runs, "org/gone")[name] for name in lost} == {name: files[name] for name in lost}
    check_whole(runs.repo("org/gone"))


def test_an_owned_file_changed_by_hand_comes_back(runs: Runs, made: Path) -> None:
    """A file of the release that somebody wrote over is not taken for what the manifest says it is."""
    runs.publish(made, "org/altered")
    files = head(runs, "org/altered")
    (name,) = (name for name in files if name.startswith("pairs/train-"))
    runs.repo("org/altered").add({**files, name: files[next(n for n in files if n.startswith("pairs/test-"))]}, "Alter")
    told = runs.publish(made, "org/altered")
    assert (told["version"], told["changes"]) == ("1.0.1", [f"{name} is there again"])
    assert head(runs, "org/altered")[name] == files[name]
    assert runs.publish(made, "org/altered")["change"] == "nothing"


@pytest.mark.parametrize("licence", ["mit", ["mit"], {"name": "mit"}, {"id": "mit", "also": 5}])
def test_a_licence_that_is_none(runs: Runs, made: Path, longer: Path, licence: object) -> None:
    """A licence that somebody wrote into the manifest on the Hub, and that is none, is told."""
    runs.publish(made, "org/no-licence")
    stated = json.loads(head(runs, "org/no-licence")["manifest.json"]) | {"licence": licence}
    files = {**head(runs, "org/no-licence"), "manifest.json": json.dumps(stated).encode()}
    runs.repo("org/no-licence").add(files, "Edit")
    says = ("a licence that is none", "manifest.json")
    runs.refuses("publish", longer, "--to", "org/no-licence", "--yes", says=says)
    del runs.hub.repos["dataset", "org/no-licence"]


def test_an_untagged_release_is_tagged_by_whoever_finds_it(runs: Runs, made: Path, longer: Path) -> None:
    """The tag goes on the release's own commit, also under a later hand edit."""
    runs.publish(made, "org/untagged")
    repo = runs.repo("org/untagged")
    oid = repo.tags.pop("v1.0.0")
    runs.hub.commit("org/untagged", {"notes.txt": b"by hand"}, title="Add notes")
    done = runs.ok("publish", made, "--to", "org/untagged", "--yes")
    assert repo.tags == {"v1.0.0": oid}
    assert "tag was missing" in done.out
    del repo.tags["v1.0.0"]
    runs.publish(longer, "org/untagged")
    assert repo.tags["v1.0.0"] == oid
    assert set(repo.tags) == {"v1.0.0", "v1.1.0"}


def test_a_head_set_back_is_refused(runs: Runs, made: Path, longer: Path) -> None:
    """A head with an older manifest than the tags say is refused, with what to do; a version above all is taken."""
    runs.publish(made, "org/back")
    files = head(runs, "org/back")
    runs.publish(longer, "org/back")
    repo = runs.repo("org/back")
    tags = dict(repo.tags)
    repo.add(files, "Revert")
    assert runs.publish(made, "org/back")["change"] == "nothing"
    says = ("v1.1.0 is there", "never moved", "such as 1.2.0")
    runs.refuses("publish", longer, "--to", "org/back", "--yes", says=says)
    assert (repo.tags, repo.commits[-1].title) == (tags, "Revert")
    assert runs.publish(longer, "org/back", "--version", "1.2.0")["version"] == "1.2.0"


def test_a_tag_with_other_content_is_refused(runs: Runs, made: Path, longer: Path) -> None:
    """A tag of a release's name on another commit is never moved, and never taken for the release's own."""
    runs.publish(made, "org/moved")
    repo = runs.repo("org/moved")
    repo.tags["v1.0.0"] = first = repo.commits[0].oid
    for folder in (made, longer):
        runs.refuses("publish", folder, "--to", "org/moved", "--yes", says=("v1.0.0", "other content", "never moved"))
    assert repo.tags == {"v1.0.0": first}
    assert len(repo.commits) == 2


@pytest.mark.parametrize(
    ("version", "says"),
    [
        ("1.0.1", "at least 1.1.0"),
        ("1.0.0", "at least 1.1.0"),
        ("0.9.0", "at least 1.1.0"),
        ("one", "MAJOR.MINOR.PATCH"),
    ],
)
def test_versions_that_do_not_fit(runs: Runs, made: Path, longer: Path, version: str, says: str) -> None:
    """A version too low for the change, or none, is refused before anything is sent."""
    runs.publish(made, "org/low")
    commits = runs.hub.commits_made
    runs.refuses("publish", longer, "--to", "org/low", "--yes", "--version", version, says=(says,), code=2)
    assert runs.hub.commits_made == commits


def test_versions_by_hand(runs: Runs, made: Path, longer: Path) -> None:
    """A higher version than needed is taken; with the same content, only that of the last release is."""
    assert runs.publish(made, "org/byhand", "--version", "0.3.0")["version"] == "0.3.0"
    runs.refuses(
        "publish", made, "--to", "org/byhand", "--yes", "--version", "0.4.0", says=("nothing has changed",), code=2
    )
    assert runs.publish(made, "org/byhand", "--version", "v0.3.0")["change"] == "nothing"
    assert runs.publish(longer, "org/byhand", "--version", "2.0.0")["version"] == "2.0.0"
    assert versions(runs, "org/byhand") == ["2.0.0", "0.3.0"]


def test_what_changes_decides_the_version(runs: Runs, made: Path, tmp_path: Path) -> None:
    """Another persona is minor, a column of another type major."""
    runs.publish(made, "org/decides")
    folder = shutil.copytree(made, tmp_path / "persona")
    (file,) = (folder / "pairs").glob("train-*.parquet")
    rows = pq.read_table(file)
    personas = ["The user is someone else.", *rows["chosen_persona"].to_pylist()[1:]]
    at = rows.schema.get_field_index("chosen_persona")
    pq.write_table(rows.set_column(at, rows.schema.field(at), [personas]), file)
    describe(folder)
    change_manifest(folder, lambda stated: stated.update(data_digest="another"))
    told = runs.publish(folder, "org/decides")
    assert (told["version"], told["changes"]) == ("1.1.0", ["1 row with other personas"])
    column = rows.schema.get_field_index("source_row")
    pq.write_table(rows.set_column(column, "source_row", rows["source_row"].cast("int32")), file)
    for other in (folder / "pairs").glob("*.parquet"):
        table_ = pq.read_table(other)
        pq.write_table(table_.set_column(column, "source_row", table_["source_row"].cast("int32")), other)
    describe(folder)
    told = runs.publish(folder, "org/decides")
    assert told["version"] == "2.0.0"
    assert told["changes"][0] == "column source_row of pairs: int64 -> int32"


def test_a_pull_request_is_never_tagged(runs: Runs, made: Path, longer: Path) -> None:
    """A pull request leaves the main branch and the tags alone; merged, the release is tagged by the next one."""
    runs.publish(made, "org/pr")
    repo = runs.repo("org/pr")
    main, tags = repo.branches["main"], dict(repo.tags)
    told = runs.publish(longer, "org/pr", "--create-pr", "--collection", "Not yet")
    assert told["pull_request"].endswith("/discussions/1")
    assert (repo.branches["main"], repo.tags, told["collection"]) == (main, tags, None)
    merged = repo.find("refs/pr/1")
    assert merged is not None
    runs.hub.commit("org/pr", dict(merged.files), title="Merge #1")
    runs.publish(longer, "org/pr")
    assert repo.tags == {**tags, "v1.1.0": repo.branches["main"]}


def test_dry_run_sends_nothing(runs: Runs, made: Path, longer: Path) -> None:
    """A dry run says what would be, asks the Hub and changes nothing; neither does it without a yes."""
    done = runs.ok("publish", made, "--to", "org/dry", "--dry-run")
    assert "release v1.0.0" in done.err
    assert "nothing was sent" in done.out
    assert ("dataset", "org/dry") not in runs.hub.repos
    runs.publish(made, "org/dry2")
    runs.hub.requests.clear()
    done = runs.ok("publish", longer, "--to", "org/dry2", "--dry-run")
    assert "release v1.1.0, after v1.0.0" in done.err
    assert "1 row added" in done.err
    assert "visible to: everyone" in done.err
    assert "lines changed (--verbose shows them)" in done.err
    assert "\n  +" not in done.err
    assert "\n  +" in runs.ok("publish", longer, "--to", "org/dry2", "--dry-run", "--verbose").err
    assert {one.method for one in runs.hub.requests} <= {"GET", "HEAD", "POST"}
    assert not any("/commit/" in one.path or "/tag/" in one.path for one in runs.hub.requests if one.method == "POST")
    says = ("nobody to ask", "--yes")
    runs.refuses("publish", longer, "--to", "org/dry2", says=says, code=2)


def test_not_confirmed(runs: Runs, made: Path) -> None:
    """What the publisher declines is not sent, and the Python functions ask only when told to."""
    code = f"""
import whoseboat
seen = []
done = whoseboat.publish({str(made)!r}, "org/declined", confirm=lambda plan: bool(seen.append(plan)))
assert (done.commit, done.made, len(seen)) == (None, False, 1), done
done = whoseboat.publish({str(made)!r}, "org/asked")
assert done.made and str(done.plan.version) == "1.0.0"
assert [one.version for one in whoseboat.releases_of("org/asked")] == ["1.0.0"]
assert whoseboat.publish({str(made)!r}, "org/asked").made is False
assert not whoseboat.diff({str(made)!r}, "org/asked").rows
"""
    runs.python(code)
    assert ("dataset", "org/declined") not in runs.hub.repos


def test_private_and_gated(runs: Runs, made: Path) -> None:
    """A repo is made private, or gated before anything is in it; one that everyone sees is not called private."""
    runs.publish(made, "org/private", "--private")
    assert runs.repo("org/private").private
    assert runs.publish(made, "org/private", "--private")["change"] == "nothing"
    at_gate: list[int] = []
    runs.hub.meanwhile("org/gated/settings", lambda: at_gate.append(len(runs.repo("org/gated").commits)))
    runs.publish(made, "org/gated", "--gated")
    assert runs.repo("org/gated").gated == "auto"
    assert at_gate == [1]
    runs.publish(made, "org/public")
    says = ("everyone sees it", "make it private in its settings")
    runs.refuses("publish", made, "--to", "org/public", "--yes", "--private", says=says, code=2)
    assert not runs.repo("org/public").private
    assert runs.publish(made, "org/public", "--gated")["change"] == "nothing"
    assert runs.repo("org/public").gated == "auto"


def test_unsafe_sets_go_only_where_not_everyone_sees_them(runs: Runs, made: Path, tmp_path: Path) -> None:
    """A set with unsafe responses is refused for all, by a dry run too, and taken where it is gated or private."""
    folder = shutil.copytree(made, tmp_path / "unsafe")
    change_manifest(folder, lambda stated: stated["selection"].update(include_unsafe=True))
    for options in (["--yes"], ["--dry-run"]):
        says = ("unsafe", "--gated or --private")
        runs.refuses("publish", folder, "--to", "org/unsafe", *options, says=says, code=2)
    assert ("dataset", "org/unsafe") not in runs.hub.repos
    runs.publish(folder, "org/unsafe", "--gated")
    assert runs.publish(folder, "org/unsafe")["change"] == "nothing"
    runs.publish(folder, "org/unsafe2", "--private")
    assert b"not-for-all-audiences" in head(runs, "org/unsafe")["README.md"]


def test_the_summary_says_who_will_see_it(runs: Runs, made: Path) -> None:
    """Private, gated or for everyone, the collection, a pull request: told before anything is sent, and each change."""
    dry = ("publish", made, "--to", "org/seen", "--dry-run")
    assert "visible to: everyone\n" in runs.ok(*dry).err
    assert (
        "visible to: those who accept its terms (gated), a change of the repo's settings\n"
        in runs.ok(*dry, "--gated").err
    )
    told = runs.ok(*dry, "--private", "--collection", "Sets / for whom").err
    assert "visible to: its owners (private)\n  collection: Sets / for whom\n" in told
    runs.publish(made, "org/seen")
    gated = runs.ok("publish", made, "--to", "org/seen", "--yes", "--gated")
    assert "visible to: those who accept its terms (gated), a change" in gated.err
    assert "its files go only to those who accept its terms now (gated)" in gated.out
    again = runs.publish(made, "org/seen", "--gated")
    assert (again["gated"], again["settings_changed"], again["made"]) == (True, False, False)
    assert "  as a pull request\n" in runs.ok(*dry, "--create-pr").err


def test_a_dry_run_looks_whether_the_login_may_write(runs: Runs, made: Path, tmp_path: Path) -> None:
    """Where a token is, a dry run says what it may not do; without one it plans all the same."""
    runs.hub.accounts["hf_reader"] = Account("reader", frozenset({"org"}), role="read")
    dry = ("publish", made, "--to")
    runs.refuses(*dry, "others/mine", "--dry-run", says=("may not write to others", "others/mine"))
    runs.refuses(
        *dry, "org/mine", "--dry-run", says=("may not write", "only reads"), environment={"HF_TOKEN": "hf_reader"}
    )
    out = {"HF_TOKEN": "", "HF_HOME": str(tmp_path), "HF_TOKEN_PATH": str(tmp_path / "none")}
    assert "release v1.0.0" in runs.ok(*dry, "others/mine", "--dry-run", environment=out).err


def test_another_source_does_not_take_the_place_of_a_release(runs: Runs, made: Path, tmp_path: Path) -> None:
    """A set of another source or name is refused where there is a release, unless it is to take its place."""
    folder = tmp_path / "other"
    whoseboat.build("sample", folder, limit=5)
    runs.publish(made, "org/taken-over")
    before = head(runs, "org/taken-over")
    says = ("something else", "source table -> sample", "--replace")
    for options in (["--yes"], ["--dry-run"]):
        runs.refuses("publish", folder, "--to", "org/taken-over", *options, says=says)
    assert head(runs, "org/taken-over") == before
    told = runs.publish(folder, "org/taken-over", "--replace")
    assert told["version"] == "2.0.0"
    assert told["changes"][:2] == [
        "source table -> sample",
        "name in-personas-contrast -> whoseboat-sample-personas-contrast",
    ]
    assert f"{ROWS} rows removed" in told["changes"]
    check_whole(runs.repo("org/taken-over"))
    assert runs.publish(folder, "org/taken-over")["change"] == "nothing"


def test_own_files_in_a_folder_are_named(runs: Runs, made: Path, tmp_path: Path) -> None:
    """A file that is not the folder's own is not sent, and that is said."""
    folder = shutil.copytree(made, tmp_path / "noted")
    (folder / "notes.txt").write_text(f"my token: {TOKEN}\n", encoding="utf-8")
    assert (
        "not sent: notes.txt (its manifest does not name it)"
        in runs.ok("publish", folder, "--to", "org/noted", "--dry-run").err
    )
    assert runs.publish(folder, "org/noted")["left_out"] == {"notes.txt": "its manifest does not name it"}
    assert "notes.txt" not in head(runs, "org/noted")


def test_collections(runs: Runs, made: Path) -> None:
    """A collection is made by its title, extended, and stays as it is when it has the repo."""
    told = runs.publish(made, "org/one", "--collection", "Sets / for whom")
    slug = told["collection"]
    runs.publish(made, "org/two", "--collection", slug)
    for _ in range(2):
        assert runs.publish(made, "org/two", "--collection", "Sets / for whom")["collection"] == slug
    (found,) = [one for one in runs.hub.collections.values() if one.slug == slug]
    assert [item["id"] for item in found.items] == ["org/one", "org/two"]
    lost = f"org/nothing-{'0' * 24}"
    says = ("v1.0.0 is released, but", lost)
    runs.refuses("publish", made, "--to", "org/three", "--yes", "--collection", lost, says=says)
    assert set(runs.repo("org/three").tags) == {"v1.0.0"}


def test_who_may_write(runs: Runs, made: Path, tmp_path: Path) -> None:
    """Not logged in, a token that only reads, another's namespace: told, and nothing is there."""
    runs.hub.accounts["hf_reader"] = Account("reader", frozenset({"org"}), role="read")
    out = {"HF_TOKEN": "", "HF_HOME": str(tmp_path), "HF_TOKEN_PATH": str(tmp_path / "none")}
    arguments = ("publish", made, "--to", "org/mine", "--yes")
    runs.refuses(*arguments, says=("not logged in", "hf auth login", "HF_TOKEN"), environment=out)
    runs.refuses(*arguments, says=("the Hub refuses this", "HF_TOKEN"), environment={"HF_TOKEN": "hf_reader"})
    runs.refuses(*arguments, says=("org/mine", "no longer valid"), environment={"HF_TOKEN": "hf_of_nobody"})
    runs.refuses("publish", made, "--to", "others/mine", "--yes", says=("the Hub refuses this", "others/mine"))
    assert not {("dataset", "org/mine"), ("dataset", "others/mine")} & runs.hub.repos.keys()
    runs.publish(made, "org/theirs")
    runs.hub.accounts["hf_other"] = Account("other")
    longer = table(tmp_path / "b", 3)
    runs.refuses(
        "publish", longer, "--to", "org/theirs", "--yes", says=("refuses",), environment={"HF_TOKEN": "hf_other"}
    )
    assert set(runs.repo("org/theirs").tags) == {"v1.0.0"}


def test_keys_stop_a_release(runs: Runs, made: Path, tmp_path: Path) -> None:
    """Text like a key in a file, or in what was given, stops it unless allowed; the login's own token does always."""
    folder = shutil.copytree(made, tmp_path / "keys")
    key = "sk-" + "proj-" + "Ab12Cd34Ef56Gh78Ij90Kl12"
    (folder / "notes.txt").write_text(f"one\nkey = {key}\n", encoding="utf-8")
    describe(folder)
    arguments = ("publish", folder, "--to", "org/keys", "--yes")
    told = runs.refuses(*arguments, says=("notes.txt, line 2", "OpenAI key", "--allow-match"))
    assert key not in told
    note = ("--license", "cc0-1.0", "--license-note", f"They said so: {key}")
    assert key not in runs.refuses("publish", made, "--to", "org/keys", "--yes", *note, says=("README.md",))
    (folder / "notes.txt").write_text(f"token {TOKEN}", encoding="utf-8")
    describe(folder)
    runs.refuses(*arguments, "--allow-match", says=("the token you are logged in with", "notes.txt"))
    assert ("dataset", "org/keys") not in runs.hub.repos
    (folder / "notes.txt").write_text(f"one\nkey = {key}\n", encoding="utf-8")
    describe(folder)
    assert runs.publish(folder, "org/keys", "--allow-match")["version"] == "1.0.0"


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../outside.txt", "pairs/../../outside.txt", "a\\b", "pairs//x", "a\nb"]
)
def test_names_that_lead_elsewhere(runs: Runs, made: Path, tmp_path: Path, name: str) -> None:
    """A manifest that names a file outside its folder is refused, whose ever it is."""
    folder = shutil.copytree(made, tmp_path / "made")
    (tmp_path / "outside.txt").write_text("outside", encoding="utf-8")
    sha256 = hashlib.sha256(b"outside").hexdigest()
    change_manifest(folder, lambda stated: stated["files"].update({name: {"bytes": 7, "sha256": sha256}}))
    runs.refuses("publish", folder, "--to", "org/elsewhere", "--yes", says=("outside its folder",))
    assert ("dataset", "org/elsewhere") not in runs.hub.repos


def test_links_that_lead_elsewhere(runs: Runs, made: Path, tmp_path: Path) -> None:
    """A link out of the folder is not followed."""
    folder = shutil.copytree(made, tmp_path / "made")
    (tmp_path / "outside.txt").write_text("outside", encoding="utf-8")
    (folder / "link.txt").symlink_to(tmp_path / "outside.txt")
    describe(folder)
    runs.refuses("publish", folder, "--to", "org/elsewhere", "--yes", says=("outside its folder", "link.txt"))


def test_a_folder_changed_since_it_was_built(runs: Runs, made: Path, tmp_path: Path) -> None:
    """A file that is not as the manifest says, or is gone, stops the release; the card may be edited."""
    folder = shutil.copytree(made, tmp_path / "made")
    (file,) = (folder / "pairs").glob("train-*.parquet")
    content = file.read_bytes()
    file.write_bytes(content[:-1] + b"X")
    runs.refuses("publish", folder, "--to", "org/changed", "--yes", says=("was changed since", file.name))
    file.unlink()
    runs.refuses("publish", folder, "--to", "org/changed", "--yes", says=("cannot be read", file.name))
    runs.refuses("publish", tmp_path, "--to", "org/changed", "--yes", says=("not a folder that can be released",))
    assert ("dataset", "org/changed") not in runs.hub.repos


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"name": "An extension", "manifest_version": 3}', "not one of ours"),
        (b"no JSON", "no JSON"),
        (b'{"schema_version": "1", "code_version": "1", "files": {}, "kind": "model"}', "holds no dataset"),
        (b'{"schema_version": "1", "code_version": "1", "files": {}, "version": "new"}', "versions that are none"),
        (b'{"schema_version": "1", "code_version": "1", "files": {}, "releases": ["x"]}', "versions that are none"),
        (b'{"schema_version": "1", "code_version": "1", "files": {}, "taken_down": 3}', "no list of ids"),
        (b'{"schema_version": "1", "code_version": "1", "files": {"../x": {"sha256": ""}}}', "outside its folder"),
    ],
)
def test_a_manifest_that_is_not_ours(runs: Runs, made: Path, content: bytes, says: str) -> None:
    """A repo whose manifest cannot be read as one of ours is left alone."""
    repo = f"org/manifest-{hashlib.sha256(content).hexdigest()[:8]}"
    runs.hub.commit(repo, {"manifest.json": content})
    runs.refuses("publish", made, "--to", repo, "--yes", says=(says,))
    assert head(runs, repo) == {"manifest.json": content}
    if b"version" in content:
        runs.refuses("versions", repo, says=(repo,))


def test_a_dataset_is_not_compared_with_a_model(runs: Runs, made: Path, tmp_path: Path) -> None:
    """What each of the two is stands there in words."""
    about = {"schema_version": "1.0.0", "code_version": "1.0.0", "files": {}, "kind": "model"}
    (tmp_path / "manifest.json").write_text(json.dumps(about), encoding="utf-8")
    runs.refuses("diff", made, tmp_path, says=("different kinds", "found: dataset and model"))


def test_a_repo_with_a_card_but_no_release(runs: Runs, made: Path) -> None:
    """A repo that people began by hand keeps their words and gets its first release."""
    runs.hub.commit("org/begun", {"README.md": b"---\nlicense: mit\npretty_name: Mine\n---\n# Plans\n\nSoon here.\n"})
    assert runs.publish(made, "org/begun")["version"] == "1.0.0"
    assert b"Soon here." in head(runs, "org/begun")["README.md"]


def test_diff(runs: Runs, made: Path, longer: Path, tmp_path: Path) -> None:
    """Releases and folders are compared: rows, figures, card; the same are the same."""
    runs.publish(made, "org/diff")
    runs.publish(longer, "org/diff")
    told = json.loads(runs.ok("diff", "org/diff@v1.0.0", "datasets/org/diff", "--json").out)
    assert told["rows"]["added"] == 1
    assert told["rows"]["same"] == ROWS or told["rows"]["same"] < ROWS  # files that are the same are not read
    assert (told["rows"]["removed"], told["versions"]) == (0, ["1.0.0", "1.1.0"])
    back = runs.ok("diff", "org/diff", made)
    assert "1 row removed" in back.out
    assert "the card" in back.out
    assert "\nrows pairs train: " in back.out
    assert "{'" not in back.out
    assert "rows.png removed" not in back.out
    changed = "\n".join(line for line in back.out.splitlines() if line.startswith(("+", "-")))
    for only_of_releases in ("revision=", "howpublished", "license", "Changelog", "Not released"):
        assert only_of_releases not in changed
    assert "no difference" in runs.ok("diff", "org/diff@v1.0.0", made).out
    assert "no difference" in runs.ok("diff", longer, "org/diff").out
    assert "no difference" in runs.ok("diff", made, made).out
    assert "no difference" in runs.ok("diff", "org/diff", "org/diff@v1.1.0").out
    assert not whoseboat.diff(str(made), str(made))
    smaller = table(tmp_path / "few", 1)
    found = whoseboat.diff(str(made), str(smaller))
    assert found.rows.removed == ROWS - 1
    assert any("removed" in words for words in found.schema)
    runs.refuses("diff", made, "org/nowhere", says=("no such",))
    runs.refuses("diff", made, "nowhere", says=("no such folder",), code=2)
    runs.refuses("diff", made, "org/diff@v9.9.9", says=("no such revision",))


def test_versions(runs: Runs, made: Path, longer: Path) -> None:
    """Versions are listed, the newest first, with what changed; a deleted tag is told."""
    runs.publish(made, "org/listed")
    runs.publish(longer, "org/listed")
    listed = json.loads(runs.ok("versions", "org/listed", "--json").out)
    assert [one["version"] for one in listed] == ["1.1.0", "1.0.0"]
    assert listed[0]["changes"] == ["1 row added"]
    assert listed[0]["commit"] == runs.repo("org/listed").tags["v1.1.0"]
    del runs.repo("org/listed").tags["v1.0.0"]
    out = runs.ok("versions", "datasets/org/listed").out
    assert "no tag" in out
    assert "1 row added" in out
    runs.hub.commit("org/bare", {"a.txt": b""})
    runs.refuses("versions", "org/bare", says=("no release of ours",))
    runs.refuses("versions", "org/nowhere", says=("no such dataset or model or space",))
    runs.refuses("versions", "nowhere", says=("not the name of a repo",), code=2)


def test_hostile_text_does_not_reach_the_terminal(runs: Runs, made: Path) -> None:
    """Control characters in what the Hub says are not printed."""
    runs.publish(made, "org/hostile")
    stated = manifest(runs, "org/hostile")
    evil = "\x1b[2Jgone\x9b31m\u202eback[red]"
    stated["releases"][0]["changes"] = [evil]
    stated["engine"] = evil
    files = {**head(runs, "org/hostile"), "manifest.json": json.dumps(stated).encode()}
    files["README.md"] += evil.encode()
    runs.repo("org/hostile").add(files, evil)
    runs.repo("org/hostile").tags["v2.0.0"] = evil
    for arguments in (
        ("versions", "org/hostile"),
        ("diff", made, "org/hostile"),
        ("versions", "org/hostile", "--json"),
    ):
        done = runs.ok(*arguments)
        assert not {"\x1b", "\x9b", "\u202e"} & set(done.out + done.err)
        assert "gone" in done.out
