"""A loopback Hugging Face Hub: a real HTTP server on 127.0.0.1 whose repos live in memory.

The tests drive it with the unmodified clients (`huggingface_hub`, `datasets`), in processes that start with its
environment, for those clients read `HF_ENDPOINT` when they are imported:

```python
with LoopbackHub() as hub:
    oid = hub.commit("org/name", {"README.md": b"# Hello"})
    subprocess.run([sys.executable, "client.py"], env={**os.environ, **hub.environment(tmp_path)}, check=True)
```

Left out: Xet (the clients run with it disabled), the CDN (large files are answered by the Hub itself), pull requests,
the dataset viewer. Oids and dates depend only on what was committed: they are the same in every run.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.message import Message
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from socket import socket
from typing import Any, Literal, NamedTuple, Self
from urllib.parse import parse_qs, parse_qsl, unquote, urlencode, urlsplit

import yaml

RepoType = Literal["dataset", "model", "space"]
Json = dict[str, Any]

# What the Hub's own .gitattributes sends to LFS, as far as tests need it. So does size alone.
LFS_SUFFIXES = frozenset({".arrow", ".bin", ".bz2", ".gz", ".npz", ".parquet", ".pt", ".safetensors", ".zip", ".zst"})
LFS_SIZE = 10 * 2**20


def is_lfs(path: str, size: int) -> bool:
    """Return whether the Hub keeps a file in LFS, with a pointer to it in git."""
    return PurePosixPath(path).suffix in LFS_SUFFIXES or size > LFS_SIZE


def file_entry(path: str, content: bytes) -> Json:
    """Return what the Hub lists of a file: its size, its id in git and, for one in LFS, its id there."""
    size = len(content)
    entry: Json = {"type": "file", "path": path, "size": size}
    if is_lfs(path, size):
        sha256 = hashlib.sha256(content).hexdigest()
        content = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
        entry["lfs"] = {"oid": sha256, "sha256": sha256, "size": size, "pointerSize": len(content)}
    return entry | {"oid": _sha1(b"blob %d\0" % len(content) + content)}


@dataclass(frozen=True)
class Commit:
    """One commit with its whole tree: `files` maps each path to its content."""

    oid: str
    parent: str | None
    title: str
    date: str
    files: Mapping[str, bytes]

    def below(self, path: str) -> dict[str, bytes]:
        """Return the file at a path, or all files in the folder there ("" is the root)."""
        prefix = f"{path}/" if path else ""
        return {name: self.files[name] for name in sorted(self.files) if name == path or name.startswith(prefix)}

    def listing(self, folder: str, *, recursive: bool) -> list[str]:
        """Return the paths of the files and folders in a folder."""
        prefix = f"{folder}/" if folder else ""
        found: set[str] = set()
        for path in (path for path in self.files if path.startswith(prefix)):
            parts = path.removeprefix(prefix).split("/")
            found.update(prefix + "/".join(parts[:depth]) for depth in range(1, len(parts) + 1 if recursive else 2))
        return sorted(found)


@dataclass
class Repo:
    """A repo: commits, to which more are only ever added, and the branches and tags that name them."""

    repo_id: str
    repo_type: RepoType
    private: bool = False
    gated: bool = False
    commits: list[Commit] = field(default_factory=list)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def find(self, revision: str) -> Commit | None:
        """Return the commit that a branch, a tag or an oid names."""
        oid = self.branches.get(revision) or self.tags.get(revision) or revision
        return next((commit for commit in self.commits if commit.oid == oid), None)

    def add(self, files: Mapping[str, bytes], title: str, branch: str = "main") -> Commit:
        """Put a commit with this whole tree on a branch."""
        parent = self.branches.get(branch)
        date = f"{datetime(2026, 1, 1) + timedelta(minutes=len(self.commits)):%Y-%m-%dT%H:%M:%S.000Z}"
        tree = [[path, file_entry(path, content)["oid"]] for path, content in sorted(files.items())]
        oid = _sha1(json.dumps([self.repo_type, self.repo_id, parent, title, date, tree]).encode())
        self.commits.append(Commit(oid, parent, title, date, dict(files)))
        self.branches[branch] = oid
        return self.commits[-1]

    def history(self, commit: Commit) -> list[Commit]:
        """Return a commit and those before it, the newest first."""
        found = [commit]
        while parent := self.find(found[-1].parent or ""):
            found.append(parent)
        return found

    def last_change(self, commit: Commit, path: str) -> Commit:
        """Return the commit, up to the given one, that last changed a file or a folder."""
        history = self.history(commit)
        states = [past.below(path) for past in history]
        return next(past for past, new, old in zip(history, states, [*states[1:], {}], strict=True) if new != old)


class Served(NamedTuple):
    """One request that was answered: `path` is as it was sent, with its query."""

    method: str
    path: str
    byte_range: str | None


@dataclass(frozen=True)
class Reply:
    """What the Hub answers."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Refusal(Exception):
    """A request that the Hub refuses: by `code` the clients choose which exception they raise."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        named = {"X-Error-Code": code, "X-Error-Message": message} if code else {}
        self.reply = _json({"error": message}, status, {**named, **(headers or {})})


class LoopbackHub:
    """The Hub, for tests to fill and to watch; it serves inside its `with` block.

    `token` is the one bearer token it knows, `page_size` the longest listing it gives in one answer, `requests` what
    it was asked so far (only ever appended to, so safe to read at any time).
    """

    def __init__(self, *, token: str = "hf_loopback", user: str = "loopback", page_size: int = 1000) -> None:  # noqa: S107
        self.token, self.user, self.page_size = token, user, page_size
        self.repos: dict[tuple[str, str], Repo] = {}
        self.requests: list[Served] = []
        self._faults: list[tuple[str, int]] = []
        self._lock = threading.Lock()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def endpoint(self) -> str:
        """The address to give the clients."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def environment(self, home: Path) -> dict[str, str]:
        """Return what a client process needs in its environment; `home` is a folder for its caches alone."""
        return {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_XET": "1",
            "HF_UPDATE_DOWNLOAD_COUNTS": "0",  # else the clients ping a host outside
            "NO_PROXY": "*",  # a proxy would look for 127.0.0.1 on its own machine
        }

    def commit(
        self,
        repo_id: str,
        files: Mapping[str, bytes],
        *,
        repo_type: RepoType = "dataset",
        private: bool | None = None,
        gated: bool | None = None,
        title: str = "Add files",
    ) -> str:
        """Add or replace files on `main`, in a new repo where there is none, and return the commit's oid.

        `private` and `gated` stay as they are where they are None (a new repo is neither).
        """
        with self._lock:
            repo = self.repos.setdefault((repo_type, repo_id), Repo(repo_id, repo_type))
            repo.private = repo.private if private is None else private
            repo.gated = repo.gated if gated is None else gated
            head = repo.find("main")
            return repo.add({**(head.files if head else {}), **files}, title).oid

    def tag(self, repo_id: str, tag: str, oid: str, *, repo_type: RepoType = "dataset") -> None:
        """Give a commit a tag, or move the tag to it."""
        with self._lock:
            self.repos[repo_type, repo_id].tags[tag] = oid

    def fail(self, path_part: str, status: int, times: int = 1) -> None:
        """Answer the next requests whose path or query contains `path_part` with this status."""
        with self._lock:
            self._faults.extend([(path_part, status)] * times)

    def answer(self, method: str, target: str, headers: Message, body: bytes) -> Reply:
        """Answer one request; `target` is its path with its query."""
        self.requests.append(Served(method, target, headers.get("Range")))
        if fault := self._next_fault(target):
            return _json({"error": "a fault that the test asked for"}, fault[1])
        url = urlsplit(target)
        try:
            for served, pattern, act in _ROUTES:
                if served == method.replace("HEAD", "GET") and (match := pattern.fullmatch(url.path)):
                    params = {name: unquote(part) for name, part in match.groupdict("").items()}
                    return act(Call(self, url.path, dict(parse_qsl(url.query)), headers, body, params))
            raise Refusal(404, "", f"no such endpoint: {method} {url.path}")
        except Refusal as refusal:
            return refusal.reply

    def _next_fault(self, target: str) -> tuple[str, int] | None:
        with self._lock:
            fault = next((fault for fault in self._faults if fault[0] in target), None)
            if fault:
                self._faults.remove(fault)
            return fault


@dataclass
class Call:
    """One request to one endpoint: `params` are the named parts of its path, and each endpoint is a method."""

    hub: LoopbackHub
    path: str
    query: dict[str, str]
    headers: Message
    body: bytes
    params: dict[str, str]

    @property
    def trusted(self) -> bool:
        """Whether the request carries the right token."""
        return self.headers.get("Authorization") == f"Bearer {self.hub.token}"

    @property
    def repo(self) -> Repo:
        """The repo asked for; for those who may not see it, it does not exist."""
        repo_type = (self.params["kind"] or "models/").rstrip("/").removesuffix("s")
        repo = self.hub.repos.get((repo_type, self.params["repo"]))
        if repo is None or (repo.private and not self.trusted):
            raise Refusal(404, "RepoNotFound", "Repository not found")
        return repo

    @cached_property
    def commit(self) -> Commit:
        """The commit asked for: no later one takes its place while the request is answered."""
        revision = self.params.get("revision") or "main"
        if (commit := self.repo.find(revision)) is None:
            raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit

    def flag(self, name: str) -> bool:
        """Return whether a flag is set in the query."""
        return self.query.get(name, "").lower() in {"true", "1"}

    def page(self, items: list[Json]) -> Reply:
        """Return the page of a listing that the query's cursor points to, and where the next one is."""
        start = int(self.query.get("cursor", "0"))
        stop = start + self.hub.page_size
        following = f"{self.hub.endpoint}{self.path}?{urlencode({**self.query, 'cursor': stop})}"
        return _json(items[start:stop], headers={"Link": f'<{following}>; rel="next"'} if stop < len(items) else {})

    def entry(self, path: str, *, expand: bool) -> Json:
        """Return what a listing says of one file or folder."""
        if path in self.commit.files:
            entry = file_entry(path, self.commit.files[path])
        else:
            tree = "".join(file_entry(*item)["oid"] for item in self.commit.below(path).items())
            entry = {"type": "directory", "path": path, "size": 0, "oid": _sha1(tree.encode())}
        if expand:
            change = self.repo.last_change(self.commit, path)
            entry["lastCommit"] = {"id": change.oid, "title": change.title, "date": change.date}
        return entry

    def whoami(self) -> Reply:
        """Say whose token it is."""
        if not self.trusted:
            raise Refusal(401, "", "Invalid username or password.")
        return _json({"type": "user", "name": self.hub.user, "fullname": self.hub.user, "orgs": []})

    def info(self) -> Reply:
        """Describe a repo at a revision."""
        front = re.match(
            r"---\s*\n(.*?)^---", self.commit.files.get("README.md", b"").decode(), re.DOTALL | re.MULTILINE
        )
        info = {
            "id": self.repo.repo_id,
            "author": self.repo.repo_id.split("/")[0],
            "sha": self.commit.oid,
            "lastModified": self.commit.date,
            "private": self.repo.private,
            "gated": "auto" if self.repo.gated else False,
            "tags": [],
            "siblings": [self.sibling(path) for path in sorted(self.commit.files)],
        }
        return _json(info | ({"cardData": yaml.safe_load(front[1])} if front else {}))

    def sibling(self, path: str) -> Json:
        """Return what a repo's description says of one file."""
        if not self.flag("blobs"):
            return {"rfilename": path}
        entry = file_entry(path, self.commit.files[path])
        return {"rfilename": path, "size": entry["size"], "blobId": entry["oid"], "lfs": entry.get("lfs")}

    def tree(self) -> Reply:
        """List a folder."""
        folder = self.params["path"]
        paths = self.commit.listing(folder, recursive=self.flag("recursive"))
        if folder and not paths:
            raise Refusal(404, "EntryNotFound", f"{folder} does not exist on {self.commit.oid}")
        return self.page([self.entry(path, expand=self.flag("expand")) for path in paths])

    def paths_info(self) -> Reply:
        """Describe the paths that are named in a form; those that do not exist are left out."""
        form = parse_qs(self.body.decode())
        paths = [path for path in form.get("paths", []) if self.commit.below(path)]
        return _json([self.entry(path, expand=form.get("expand") == ["true"]) for path in paths])

    def refs(self) -> Reply:
        """List branches and tags."""
        kinds = {"branches": ("heads", self.repo.branches), "tags": ("tags", self.repo.tags)}
        refs = {
            kind: [{"name": name, "ref": f"refs/{folder}/{name}", "targetCommit": oid} for name, oid in named.items()]
            for kind, (folder, named) in kinds.items()
        }
        return _json({**refs, "converts": [], "pullRequests": []})

    def commits(self) -> Reply:
        """List a revision's commits, the newest first."""
        said = {"message": "", "authors": [{"user": self.hub.user}]}
        past = self.repo.history(self.commit)
        return self.page([{**said, "id": commit.oid, "title": commit.title, "date": commit.date} for commit in past])

    def resolve(self) -> Reply:
        """Give a file, or the part of it that a Range header asks for."""
        if self.repo.gated and not self.trusted:
            raise Refusal(403, "GatedRepo", f"Access to {self.repo.repo_id} is restricted")
        path = self.params["path"]
        headers = {"X-Repo-Commit": self.commit.oid}
        if path not in self.commit.files:
            raise Refusal(404, "EntryNotFound", "Entry not found", headers)
        content = self.commit.files[path]
        entry = file_entry(path, content)
        lfs = entry.get("lfs", {})
        headers |= {"ETag": f'"{lfs.get("oid", entry["oid"])}"', "Accept-Ranges": "bytes"}
        if lfs:
            headers |= {"X-Linked-Etag": headers["ETag"], "X-Linked-Size": str(lfs["size"])}
        return _part(content, self.headers.get("Range", ""), headers)


def _part(content: bytes, wanted: str, headers: dict[str, str]) -> Reply:
    """Return all of a file, or `bytes=2-5`, `bytes=2-`, or the last five, `bytes=-5`."""
    match = re.fullmatch(r"bytes=(?:(\d+)-(\d*)|-(\d+))", wanted)
    if match is None:
        return Reply(200, content, headers)
    first, last, suffix = match.groups()
    size = len(content)
    start = max(size - int(suffix), 0) if suffix else int(first)
    stop = min(int(last) + 1, size) if last else size
    if start >= stop:
        return Reply(416, b"", {**headers, "Content-Range": f"bytes */{size}"})
    return Reply(206, content[start:stop], {**headers, "Content-Range": f"bytes {start}-{stop - 1}/{size}"})


def _json(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    body = json.dumps(value, default=str).encode()  # str: YAML knows dates
    return Reply(status, body, {"Content-Type": "application/json", **(headers or {})})


def _sha1(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


_API = r"/api/(?P<kind>models|datasets|spaces)/(?P<repo>[^/]+/[^/]+)"
_FILES = r"/(?P<kind>datasets/|spaces/|)(?P<repo>[^/]+/[^/]+)"
_REVISION = r"(?P<revision>[^/]+)"
_ROUTES: list[tuple[str, re.Pattern[str], Callable[[Call], Reply]]] = [
    ("GET", re.compile(r"/api/whoami-v2"), Call.whoami),
    ("GET", re.compile(rf"{_API}(?:/revision/{_REVISION})?"), Call.info),
    ("GET", re.compile(rf"{_API}/tree/{_REVISION}(?:/(?P<path>.+))?"), Call.tree),
    ("POST", re.compile(rf"{_API}/paths-info/{_REVISION}"), Call.paths_info),
    ("GET", re.compile(rf"{_API}/refs"), Call.refs),
    ("GET", re.compile(rf"{_API}/commits/{_REVISION}"), Call.commits),
    ("GET", re.compile(rf"{_FILES}/resolve/{_REVISION}/(?P<path>.+)"), Call.resolve),
]


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # the clients open many connections at once

    def __init__(self, hub: LoopbackHub) -> None:
        self.hub = hub
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: socket | tuple[bytes, socket], client_address: object) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client that merely went away
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else a body waits until the client has acknowledged the head
    server: _Server

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        reply = self.server.hub.answer(self.command, self.path, self.headers, body)
        self.send_response(reply.status)
        for name, value in {**reply.headers, "Content-Length": str(len(reply.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet: `LoopbackHub.requests` is the log."""
