"""What is wrong with a card, found without the Hub: what its validator refuses, and what it does not look at."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal
from urllib.parse import unquote

from whoseboat.cards.markup import BEGIN, END, UNNAMED
from whoseboat.licences import HUB_LICENCES

Kind = Literal["dataset", "model", "space"]
_REQUIRED: Mapping[Kind, tuple[str, ...]] = {
    "dataset": (
        *("license", "pretty_name", "size_categories", "source_datasets", "task_categories", "annotations_creators"),
        *("tags", "configs", "dataset_info"),
    ),
    "model": ("license", "library_name", "pipeline_tag", "tags"),  # one trained from a folder has no base to link to
    "space": ("title", "sdk"),
}
_LISTS = ("tags", "language", "size_categories", "source_datasets", "task_categories", "annotations_creators")
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z]+)?|code|multilingual")
_SIZE = re.compile(
    r"n<1K|(1K<n<10|10K<n<100|100K<n<1M|1M<n<10|10M<n<100|100M<n<1B|1B<n<10|10B<n<100|100B<n<1T)[KMB]?|n>1T"
)
_RELATIONS = ("adapter", "finetune", "merge", "quantized")
_SDKS = ("docker", "gradio", "static", "streamlit")
_FRONT = re.compile(r"---[ \t]*\n(.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)|\b(?:src|href)\s*=\s*[\"']([^\"']+)[\"']")
_LEFTOVER = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}")
_PLACEHOLDER = re.compile(
    rf"\[?More Information Needed\]?|{UNNAMED}|lorem ipsum|^\W*(?:TODO|FIXME|TBD)\b.*", re.IGNORECASE | re.MULTILINE
)
# `None` where a value should stand; within a sentence it is a word.
_NONE = re.compile(
    r"<code>None</code>|`None`|\|\s*None\s*(?=\|)|\[None\]|\(None\)|/None\b"
    r"|^[-*] (?!chosen|rejected|inferred)[^:\n]{1,40}: None\.?$",
    re.MULTILINE,
)


def faults(card: str, kind: Kind, files: Collection[str]) -> list[str]:
    """Return what is wrong with a card, a sentence for each fault; nothing where it can be published.

    Args:
        card: the text of README.md.
        kind: what the repo is.
        files: the paths of the files in the repo as it will be.

    """
    found = _FRONT.match(card)
    if not found:
        return ["The card does not begin with YAML between two lines of three hyphens."]
    prose, code, fences = _blocks(card[found.end() :])
    return [
        *_of_yaml(found[1], kind, files),
        *_of_markers(prose, code, kind),
        *fences,
        *_of_text(prose, code),
        *_of_links(prose, files),
    ]


def _of_yaml(front: str, kind: Kind, files: Collection[str]) -> Iterator[str]:
    import yaml

    try:
        data = yaml.safe_load(front)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        yield f"The YAML cannot be read: {' '.join(str(error).split())[:200]}."
        return
    if not isinstance(data, dict):
        yield "The YAML is no mapping of keys to values."
        return
    for key in _REQUIRED[kind]:
        if data.get(key) in (None, "", [], {}):
            yield f"The YAML lacks {key}."
    yield from _of_values(data)
    yield from _of_licence(data, files)
    if kind == "dataset":
        yield from _of_configs(data, files)
    if kind == "model":
        yield from _of_model(data)
    if kind == "space" and data.get("sdk") not in (None, *_SDKS):
        yield f"sdk is {data['sdk']!r}, and none of {', '.join(_SDKS)}."
    for place in _nones(data, ""):
        yield f"The YAML says None or nothing at {place}."


def _of_values(data: Mapping[str, Any]) -> Iterator[str]:
    for key in _LISTS:
        if not all(isinstance(value, str) for value in _several(data, key)):
            yield f"{key} holds something that is no text."
    for language in _several(data, "language"):
        if not _LANGUAGE.fullmatch(str(language)):
            yield f"language {language!r} is no code of two or three small letters."
    for size in _several(data, "size_categories"):
        if not _SIZE.fullmatch(str(size)):
            yield f"size_categories {size!r} is none that the Hub knows."


def _of_licence(data: Mapping[str, Any], files: Collection[str]) -> Iterator[str]:
    licences = _several(data, "license")
    for licence in licences:
        if licence not in HUB_LICENCES:
            yield f"license {licence!r} is none that the Hub knows."
    if "other" in licences and not data.get("license_name"):
        yield "license is other, and there is no license_name."
    link = data.get("license_link")
    if isinstance(link, str) and not link.startswith("https://") and link not in files:
        yield f"license_link {link!r} is neither an https address nor a file of the repo."


def _of_configs(data: Mapping[str, Any], files: Collection[str]) -> Iterator[str]:
    configs = [config for config in _several(data, "configs") if isinstance(config, dict)]
    if len(configs) != len(_several(data, "configs")) or any("config_name" not in config for config in configs):
        yield "A config has no config_name."
        return
    if sum(bool(config.get("default")) for config in configs) > 1:
        yield "More than one config is the default."
    for config in configs:
        for path in _paths(config.get("data_files")):
            if not any(_matches(path, file) for file in files):
                yield f"No file matches {path!r} of config {config['config_name']!r}."
    names = [config["config_name"] for config in configs]
    told = [info.get("config_name") for info in _several(data, "dataset_info") if isinstance(info, dict)]
    if told and sorted(map(str, told)) != sorted(map(str, names)):
        yield f"dataset_info is of {', '.join(map(str, told))}, configs are {', '.join(map(str, names))}."


def _paths(data_files: object) -> Iterator[str]:
    """Return the patterns of files a config has, in any of the forms the Hub takes."""
    if isinstance(data_files, str):
        yield data_files
    elif isinstance(data_files, dict):
        yield from _paths(list(data_files.values()) if "path" not in data_files else data_files["path"])
    elif isinstance(data_files, list):
        for one in data_files:
            yield from _paths(one)


def _matches(pattern: str, file: str) -> bool:
    parts = re.split(r"(\*\*/?|\*|\?)", pattern)
    wild = {"**": ".*", "**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    return re.fullmatch("".join(wild.get(part, re.escape(part)) for part in parts), file) is not None


def _of_model(data: Mapping[str, Any]) -> Iterator[str]:
    relation = data.get("base_model_relation")
    if relation is not None and relation not in _RELATIONS:
        yield f"base_model_relation is {relation!r}, and none of {', '.join(_RELATIONS)}."
    for model in _several(data, "model-index"):
        if not isinstance(model, dict) or not model.get("name") or not isinstance(model.get("results"), list):
            yield "model-index has an entry without name or results."


def _several(data: Mapping[str, Any], key: str) -> list[Any]:
    value = data.get(key)
    return value if isinstance(value, list) else [] if value is None else [value]


def _nones(value: object, place: str) -> Iterator[str]:
    """Yield where in the YAML a value is missing, or is the word that Python has for that."""
    if value is None or value == "None":
        yield place or "its top"
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _nones(inner, f"{place}.{key}".lstrip("."))
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from _nones(inner, f"{place}[{at}]")


def _blocks(body: str) -> tuple[str, str, list[str]]:
    """Return a text without its fenced blocks, the code of these (but BibTeX, whose braces are its own), and faults."""
    prose, code, faulty, fence, language = [], [], [], "", ""
    for line in body.split("\n"):
        mark = _FENCE.fullmatch(line)
        if fence:
            if mark and mark[1].startswith(fence) and not mark[2].strip():
                fence = ""
            elif mark and mark[1].startswith(fence) and language != "bibtex":
                faulty.append(f"A block of code that begins with {fence} is not closed before {mark[0].strip()[:40]}.")
            elif language != "bibtex" or line.strip() in (BEGIN, END):
                code.append(line)
        elif mark and not (mark[1][0] == "`" and "`" in mark[2]):
            fence, language = mark[1], mark[2].strip()
        else:
            prose.append(line)
    if fence:
        faulty.append(f"A block of code that begins with {fence} is not closed.")
    return "\n".join(prose), "\n".join(code), faulty


def _of_markers(prose: str, code: str, kind: Kind) -> Iterator[str]:
    lines = [line for line in prose.split("\n") if line.strip() in (BEGIN, END)]
    if [line.strip() for line in lines] != ([BEGIN, END] if lines or kind != "space" else []):
        yield "The two markers of the generated block do not each stand there once, the one for its begin first."
    if any(line.strip() in (BEGIN, END) for line in code.split("\n")):
        yield "A marker of the generated block stands in a block of code."


def _of_text(prose: str, code: str) -> Iterator[str]:
    text = f"{prose}\n{code}"
    for pattern, what in (
        (_LEFTOVER, "A piece of a template is left"),
        (_PLACEHOLDER, "A placeholder was not filled in"),
        (_NONE, "None stands where a value should"),
    ):
        for found in dict.fromkeys(match.group().strip() for match in pattern.finditer(text)):
            yield f"{what}: {found[:80]}."


def _of_links(prose: str, files: Collection[str]) -> Iterator[str]:
    for target in dict.fromkeys(one or other for one, other in _LINK.findall(prose)):
        path = unquote(target.partition("#")[0].partition("?")[0]).removeprefix("./").rstrip("/")
        if not path or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:|/", target):
            continue
        if path not in files and not any(file.startswith(f"{path}/") for file in files):
            yield f"A link leads to {target[:120]}, which is no file of the repo."
