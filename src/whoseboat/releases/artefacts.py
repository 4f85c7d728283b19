"""What can be released, a dataset, a model or a Space: how it differs from the last release, its card and manifest."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from whoseboat import __version__, cards, licences
from whoseboat.cards import figures
from whoseboat.cards.markup import BEGIN, END
from whoseboat.cards.merging import take_apart
from whoseboat.contents import CARD, Contents, Folder, Owned, card_of, manifest_of
from whoseboat.dataset import CONFIGS, Record
from whoseboat.errors import DataError, UsageError, printable
from whoseboat.hub.repos import Kind
from whoseboat.licences import Licence
from whoseboat.manifest import FILE, Manifest, as_text, describe_files
from whoseboat.model_manifest import ModelManifest
from whoseboat.releases.rows import column_changes, examples, row_changes, schema_changes
from whoseboat.uploads import never_uploaded
from whoseboat.versions import Change, Release

Files = Mapping[str, Mapping[str, Any]]  # bytes and sha256 by name
Stated = Mapping[str, Any]  # a manifest as its file states it
_FIGURE = "assets/rows.png"
_DROPPED = "dropped.parquet"
_BY_THE_HUB = ".gitattributes"
_LICENCE = "LICENSE"
OF_RELEASES = (_FIGURE, _LICENCE)  # files that are made for a release
_SHOWN = 80
_PAGE = "index.html"
# What stands in the texts of a Space for the repo it is released to, and for the tag.
_REPO_OF_SPACE, _TAG_OF_SPACE = b"ORG/personalization", b'revision="VERSION"'


@dataclass(frozen=True)
class Stamp:
    """What a release adds to an artefact: where it goes, its version, the list of releases, its licence."""

    repo: str
    version: str
    releases: tuple[Release, ...]
    licence: Licence | None
    taken_down: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rendered:
    """The texts of a release: its card and its manifest, further files made for it, and all the files it owns."""

    card: str
    manifest: str
    made: Mapping[str, bytes] = field(default_factory=dict)
    files: Files = field(default_factory=dict)


class Artefact(Protocol):
    """A folder of ours that can be released. `files` are those in it that are uploaded, but card and manifest.

    `left_out` are those that are not, and why.
    """

    @property
    def kind(self) -> Kind:
        """What the repo will hold."""

    @property
    def folder(self) -> Folder:
        """Where it lies."""

    @property
    def files(self) -> Files:
        """What is uploaded of it, beside card and manifest."""

    @property
    def left_out(self) -> Mapping[str, str]:
        """What is not uploaded, and why."""

    def check_audience(self, *, restricted: bool) -> None:
        """Refuse a release that not everyone may have, unless the repo is private or gated."""

    def other_than(self, stated: Stated) -> tuple[str, ...]:
        """Say in words what makes it another thing than the last release is of, and no new release of that one."""

    def change(self, stated: Stated, present: Contents) -> tuple[Change, tuple[str, ...]]:
        """Say how much it differs from the last release, card and other texts aside, and in words how."""

    def keeping(self, stated: Stated) -> Artefact:
        """Return it with what does not make two releases differ as the last one has it."""

    def licence(self, given: str | None, note: str | None) -> Licence | None:
        """Return the licence that follows from what it is made of, or the one that is given."""

    def render(self, stamp: Stamp, present_card: str | None) -> Rendered:
        """Return the texts of its release."""


@dataclass(frozen=True)
class DatasetArtefact:
    """A dataset folder."""

    folder: Folder
    manifest: Manifest
    files: Files
    left_out: Mapping[str, str]
    kept: Files = field(default_factory=dict)  # files of the last release that hold the same
    kind: Kind = "dataset"

    @classmethod
    def of(cls, path: Path, made: Manifest) -> DatasetArtefact:
        """Return a folder with its manifest."""
        return cls(Folder(path), made, *_sorted_out(made.files, Folder(path)))

    @cached_property
    def _owned(self) -> Owned:
        return Owned(self.folder, {"files": self.manifest.files})

    @cached_property
    def _examples(self) -> list[Record]:
        return examples(self._owned)

    @cached_property
    def _figure(self) -> bytes:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "rows.png"
            figures.rows_figure(self.manifest, path)
            return path.read_bytes()

    def check_audience(self, *, restricted: bool) -> None:
        """Refuse to publish unsafe responses for all.

        Raises:
            UsageError: the set was built with unsafe responses, and the repo is neither private nor gated.

        """
        if self.manifest.selection.include_unsafe and not restricted:
            raise UsageError(
                "the set includes responses labelled unsafe, also as targets",
                where=str(self.folder.path),
                expected="a private or gated repo",
                todo="add --gated or --private, or build it without --include-unsafe",
            )

    def other_than(self, stated: Stated) -> tuple[str, ...]:
        """Say where source and name differ, and then the title, too."""
        source = stated.get("source")
        about = source if isinstance(source, Mapping) else {}
        ours = self.manifest.source
        parts = {
            "source": (about.get("source"), ours.source),
            "name": (stated.get("name"), self.manifest.name),
            "title": (about.get("title"), ours.title),
        }
        told = _differing(parts)
        return told if any(one.startswith(("source ", "name ")) for one in told) else ()

    def change(self, stated: Stated, present: Contents) -> tuple[Change, tuple[str, ...]]:
        """Say how the rows and their schema differ."""
        before = Owned(present, stated)
        if stated["schema_version"] != self.manifest.schema_version:
            return Change.MAJOR, (f"schema {stated['schema_version']} -> {self.manifest.schema_version}",)
        if stated.get("data_digest") == self.manifest.data_digest:  # so configs and splits are the same, too
            schema, rows = column_changes(before, self._owned), []
        else:
            schema, rows = schema_changes(before, self._owned), row_changes(before, self._owned).in_words()
            rows = rows or ["rows of other configs than pairs changed"]
        change = max([one.change for one in schema], default=Change.NOTHING)
        return max(change, Change.MINOR if rows else Change.NOTHING), (*(one.words for one in schema), *rows)

    def keeping(self, stated: Stated) -> DatasetArtefact:
        """Return it with dates, cost and files of rows as the last release has them: its rows are the same."""
        last = Manifest.of(stated, "manifest.json on the Hub")
        names = ("built_at", "seconds", "tokens", "cost", "requests", "code_version", "sizes")
        kept = {name: about for name, about in last.files.items() if _holds_rows(name)}
        if all(getattr(last, name) == getattr(self.manifest, name) for name in ("source", "selection", "dropped")):
            kept |= {name: last.files[name] for name in (_DROPPED, _FIGURE) if name in last.files}
        rows = {name for name in self.files if _holds_rows(name)}
        return replace(
            self,
            manifest=replace(self.manifest, **{name: getattr(last, name) for name in names}),
            files={name: about for name, about in self.files.items() if name not in rows | kept.keys()},
            kept=kept,
        )

    def licence(self, given: str | None, note: str | None) -> Licence | None:
        """Return the licence that follows from the source and the model that wrote the personas.

        Raises:
            UsageError: none follows, and none is given.

        """
        model = None if self.manifest.uses_language_model is False else self.manifest.engine_details.get("model")
        if self.manifest.uses_language_model is None:  # they were brought, or the source publishes them
            model = "(nobody says which)"
        return licences.of_dataset(self.manifest.source.license, model, given=given, note=note)

    def render(self, stamp: Stamp, present_card: str | None) -> Rendered:
        """Return card and manifest of its release, and the figure of its card."""
        made = {} if _FIGURE in self.kept else {_FIGURE: self._figure}
        made |= _licence_file(self.folder, stamp.licence)
        stamped = replace(
            self.manifest,
            version=stamp.version,
            repo=stamp.repo,
            releases=stamp.releases,
            licence=asdict(stamp.licence) if stamp.licence else None,
            taken_down=stamp.taken_down,
        )
        card = cards.merge(
            cards.dataset_card(stamped, self._examples, figure=_FIGURE), present_card, card_of(self.folder)
        )
        files = _with_made({**self.files, **self.kept}, {CARD: card.encode(), **made})
        return Rendered(card, replace(stamped, files=files).to_json(), made, files)


@dataclass(frozen=True)
class ModelArtefact:
    """A model folder: an adapter or a whole model."""

    folder: Folder
    manifest: ModelManifest
    files: Files
    left_out: Mapping[str, str]
    kind: Kind = "model"

    def check_audience(self, *, restricted: bool) -> None:
        """Refuse to publish for anybody what nobody else could load.

        Raises:
            UsageError: it needs its base, which is a folder of this machine.

        """
        made = self.manifest
        if made.needs_base and made.base_is_local:
            is_adapter = made.relation == "adapter"
            raise UsageError(
                f"the base of this {'adapter' if is_adapter else 'model'} is a folder, so nobody else could load it",
                where=str(self.folder.path),
                expected="weights that load by themselves, or a base on the Hub",
                found=f"the base {made.base_name!r}",
                todo=f"merge it, and publish that: whoseboat merge {self.folder.path} --out MERGED"
                if is_adapter
                else "publish the base, and make the model anew of that: base_model=ORG/NAME",
            )

    def other_than(self, stated: Stated) -> tuple[str, ...]:
        """Say nothing: a model is called after the folder it was made in; base and prompt make a change."""
        return ()

    def change(self, stated: Stated, present: Contents) -> tuple[Change, tuple[str, ...]]:
        """Say how the model differs: how it is asked, and its weights."""
        asked = [
            f"{name.replace('_', ' ')} changed"
            for name in ("base_model", "relation", "template", "template_text", "stop")
            if _plain(stated.get(name)) != _plain(getattr(self.manifest, name))
        ]
        changed = _changed(stated["files"], self.files)
        weights = [name for name in changed if name != _LICENCE and not name.startswith((".", "assets/"))]
        change = Change.MAJOR if asked else Change.MINOR if weights else Change.NOTHING
        return change, (*asked, *(f"{name} changed" for name in weights))

    def keeping(self, stated: Stated) -> ModelArtefact:
        """Return it with its dates as the last release has them: its weights are the same."""
        last = ModelManifest.of(stated, "manifest.json on the Hub")
        return replace(self, manifest=replace(self.manifest, created=last.created, code_version=last.code_version))

    def licence(self, given: str | None, note: str | None) -> Licence | None:
        """Return the licence that follows from the base model and the data.

        Raises:
            UsageError: none follows, and none is given.

        """
        data = [one.licence for one in self.manifest.datasets]
        return licences.of_model(self.manifest.base_model, self.manifest.base_licence, data, given=given, note=note)

    def render(self, stamp: Stamp, present_card: str | None) -> Rendered:
        """Return card and manifest of its release, and the files of its results."""
        stamped = replace(
            self.manifest,
            version=stamp.version,
            repo=stamp.repo,
            releases=stamp.releases,
            licence=asdict(stamp.licence) if stamp.licence else None,
        )
        made = {name: text.encode() for name, text in cards.eval_results(stamped).items()}
        made |= _licence_file(self.folder, stamp.licence)
        card = cards.merge(cards.model_card(stamped), present_card, card_of(self.folder))
        files = _with_made(self.files, {CARD: card.encode(), **made})
        return Rendered(card, replace(stamped, files=files).to_json(), made, files)


@dataclass(frozen=True)
class SpaceManifest:
    """Everything that is to be known of a Space: it is its files."""

    name: str
    code_version: str
    schema_version: str = "1.0.0"
    kind: str = "space"
    version: str | None = None
    repo: str | None = None
    releases: tuple[Release, ...] = ()
    files: Files = field(default_factory=dict)


@dataclass(frozen=True)
class SpaceArtefact:
    """A Space: a folder whose card names an `sdk`, as that of the metric."""

    folder: Folder
    files: Files
    left_out: Mapping[str, str]
    sdk: str
    kind: Kind = "space"

    def check_audience(self, *, restricted: bool) -> None:
        """Let everyone have it."""

    def other_than(self, stated: Stated) -> tuple[str, ...]:
        """Say nothing: a Space is its files, whatever its folder is called."""
        return ()

    def change(self, stated: Stated, present: Contents) -> tuple[Change, tuple[str, ...]]:
        """Say which of its programs differ."""
        changed = _changed(stated["files"], self.files)
        programs = [name for name in changed if name.endswith((".py", ".txt"))]
        return Change.MINOR if programs else Change.NOTHING, tuple(f"{name} changed" for name in programs)

    def keeping(self, stated: Stated) -> SpaceArtefact:
        """Return it as it is: nothing in it is of a day."""
        return self

    def licence(self, given: str | None, note: str | None) -> Licence | None:
        """Return none: its card states its licence itself.

        Raises:
            UsageError: one is given.

        """
        if given or note:
            raise UsageError(
                "a Space's card states its licence itself", todo=f"write it into {CARD}, without --license"
            )
        return None

    def render(self, stamp: Stamp, present_card: str | None) -> Rendered:
        """Return its card, all of which counts as made, its manifest, and its page; texts name the repo and the tag."""
        own = _named((card_of(self.folder) or "").encode(), stamp).decode()
        card = cards.merge(_as_made(own), present_card)
        pages = {_PAGE: _named(self.folder.read(_PAGE), stamp)} if _PAGE in self.files else {}
        files = _with_made(self.files, {CARD: card.encode(), **pages})
        made = SpaceManifest(
            self.folder.path.resolve().name,
            __version__,
            version=stamp.version,
            repo=stamp.repo,
            releases=stamp.releases,
            files=files,
        )
        return Rendered(card, as_text(made), pages, files)


def load(path: Path) -> DatasetArtefact | ModelArtefact | SpaceArtefact:
    """Return what a folder holds that can be released, once each file is as its manifest says.

    Raises:
        DataError: it is no folder of ours, or files are missing or were changed since.

    """
    folder = Folder(path)
    stated = manifest_of(folder)
    if stated is None:
        return _space(folder)
    _check_whole(path, {name: about for name, about in stated["files"].items() if name != CARD})
    kind = stated.get("kind", "dataset")
    if kind == "dataset":
        return DatasetArtefact.of(path, Manifest.of(stated, str(path / FILE)))
    if kind == "model":
        return ModelArtefact(folder, ModelManifest.of(stated, str(path / FILE)), *_sorted_out(stated["files"], folder))
    raise DataError("a manifest of a kind that cannot be released", where=str(path / FILE), found=str(kind))


def card_as_released(contents: Contents, stated: Stated, release: Stated) -> str:
    """Return the card that a dataset or model folder would have as the release that another manifest states.

    Raises:
        DataError: a manifest lacks what it should have.
        HubError: the folder is a repo, and cannot be read.

    """
    names = ("version", "repo", "releases", "licence", "taken_down")
    as_there = {**stated, **{name: release[name] for name in names if name in release}}
    if stated.get("kind", "dataset") == "model":
        return cards.model_card(ModelManifest.of(as_there, f"{contents.where}, {FILE}"))
    figure = _FIGURE if _FIGURE in release["files"] else None
    made = Manifest.of(as_there, f"{contents.where}, {FILE}")
    return cards.dataset_card(made, examples(Owned(contents, stated)), figure=figure)


def _space(folder: Folder) -> SpaceArtefact:
    card = card_of(folder) or ""
    sdk = take_apart(card, str(folder.path / CARD)).data.get("sdk")
    if not isinstance(sdk, str):
        raise DataError(
            "not a folder that can be released",
            where=str(folder.path),
            expected=f"a dataset or model folder of ours (with a {FILE}), or a Space (its {CARD} names an sdk)",
        )
    return SpaceArtefact(folder, *_sorted_out(describe_files(folder.path), folder), sdk)


def _sorted_out(files: Files, folder: Folder) -> tuple[Files, dict[str, str]]:
    """Return the files of a folder that are uploaded beside card and manifest, and why the others are not."""
    left_out = {name: why for name in files if (why := never_uploaded(name))}
    left_out |= dict.fromkeys(sorted(folder.files - files.keys() - {CARD, FILE}), "its manifest does not name it")
    if _BY_THE_HUB in files:
        left_out[_BY_THE_HUB] = "the Hub makes its own"
    return {name: about for name, about in files.items() if name != CARD and name not in left_out}, left_out


def _as_made(card: str) -> str:
    """Return a card all of whose text stands between the markers."""
    parts = take_apart(card)
    made = [line for line in parts.made.split("\n") if line.strip() not in (BEGIN, END)]
    text = "\n".join([parts.before, *made, parts.after]).strip("\n")
    return f"---\n{parts.front}---\n\n{BEGIN}\n{text}\n{END}\n"


def _named(text: bytes, stamp: Stamp) -> bytes:
    """Return a text of a Space with the repo and the tag it is released as."""
    repo, tag = stamp.repo.encode(), f'revision="v{stamp.version}"'.encode()
    return text.replace(_REPO_OF_SPACE, repo).replace(_TAG_OF_SPACE, tag)


def _check_whole(path: Path, files: Files) -> None:
    """See that the files are those the manifest describes."""
    for name, about in files.items():
        file = path / name
        if not file.resolve().is_relative_to(path.resolve()):
            raise DataError("the manifest names a file outside its folder", where=str(path / FILE), found=name)
        try:
            with file.open("rb") as opened:
                digest = hashlib.file_digest(opened, "sha256").hexdigest()
        except OSError as error:
            raise DataError(
                "a file of the folder cannot be read", where=str(file), found=str(error), todo="build the folder again"
            ) from error
        if digest != about["sha256"]:
            raise DataError(
                "a file was changed since the folder was made",
                where=str(file),
                expected=f"SHA-256 {about['sha256'][:16]}...",
                found=f"{digest[:16]}...",
                todo="build the folder again; text of yours goes into the card, outside its generated block",
            )


def _changed(before: Files, after: Files) -> list[str]:
    """Return the names of the files that are not the same in both."""
    names = sorted((before.keys() | after.keys()) - {CARD})
    return [name for name in names if before.get(name, {}).get("sha256") != after.get(name, {}).get("sha256")]


def _with_made(files: Files, made: Mapping[str, bytes]) -> dict[str, Mapping[str, Any]]:
    """Return the files of a release with those that were made for it."""
    about = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()} for name, content in made.items()
    }
    return dict(sorted({**files, **about}.items()))


def _licence_file(folder: Folder, licence: Licence | None) -> dict[str, bytes]:
    """Return the file that a licence says its text stands in.

    Raises:
        UsageError: the folder has none.

    """
    if licence is None or licence.link != _LICENCE:
        return {}
    if _LICENCE not in folder.files:
        raise UsageError(
            "the text of the licence is nowhere to be found",
            where=str(folder.path),
            expected=f"its https address in --license-note, or a file {_LICENCE} in the folder",
        )
    return {_LICENCE: folder.read(_LICENCE)}


def _holds_rows(name: str) -> bool:
    """Say whether a file of a dataset holds rows of one of its configs."""
    return name.endswith(".parquet") and name.partition("/")[0] in CONFIGS


def _differing(parts: Mapping[str, tuple[object, object]]) -> tuple[str, ...]:
    """Return a phrase for each part that is another one now; what was not stated before differs from nothing."""
    return tuple(
        f"{name} {printable(str(was))[:_SHOWN]} -> {printable(str(now))[:_SHOWN]}"
        for name, (was, now) in parts.items()
        if was is not None and was != now
    )


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
