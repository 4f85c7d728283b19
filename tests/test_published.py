"""What published sets share: caps, pseudonyms, exclusion of other releases, reasons, and the list of sources."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest

import whoseboat
from whoseboat import sources
from whoseboat.errors import DataError, OutputError, UsageError
from whoseboat.exclusion import Roots
from whoseboat.published import Pseudonyms
from whoseboat.records import Drop, Pair
from whoseboat.sources import Request

Row = dict[str, Any]


def safe_rlhf(path: Path, *rows: Row) -> Path:
    """Write rows as PKU-SafeRLHF publishes them, with columns that are not given filled in."""
    usual = {
        "prompt": "How do I start?",
        "response_0": "Begin with the easiest part, then rest.",
        "response_1": "Begin at once.",
        "is_response_0_safe": True,
        "is_response_1_safe": True,
        "better_response_id": 0,
        "safer_response_id": 1,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({**usual, **row}) + "\n" for row in rows), encoding="utf-8")
    return path


def items(path: Path, **options: str) -> list[Pair | Drop]:
    """Read a source's file."""
    return list(sources.read("safe-rlhf", Request(data_dir=path, options=options)).pairs)


def table(path: Path, rows: list[Row]) -> Path:
    """Write a table."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_the_label_asked_for_makes_the_pair(tmp_path: Path) -> None:
    """Better and safer can disagree; the option says which one counts."""
    path = safe_rlhf(tmp_path / "alpaca-7b" / "train.jsonl", {})
    (better,), (safer,) = items(path), items(path, label="safer")
    assert isinstance(better, Pair)
    assert isinstance(safer, Pair)
    assert (better.chosen, better.rejected) == ("Begin with the easiest part, then rest.", "Begin at once.")
    assert (safer.chosen, safer.rejected) == (better.rejected, better.chosen)
    assert (better.safety, better.language, better.domain) == ("safe", "en", "advice")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [((True, True), "safe"), ((True, False), "unsafe"), ((False, False), "unsafe")],
)
def test_safety_of_a_pair(tmp_path: Path, labels: tuple[object, object], expected: str) -> None:
    """A pair is safe only where both responses are labelled so."""
    row = {"is_response_0_safe": labels[0], "is_response_1_safe": labels[1]}
    (pair,) = items(safe_rlhf(tmp_path / "train.jsonl", row))
    assert isinstance(pair, Pair)
    assert pair.safety == expected


@pytest.mark.parametrize("unsafe", [False, True])
def test_no_unsafe_response_is_a_target(tmp_path: Path, unsafe: bool) -> None:
    """By default nothing labelled unsafe is in the set at all; with --include-unsafe it is, and the card says so."""
    rows = [{"prompt": f"How do I start {number}?", "is_response_1_safe": number % 2 == 0} for number in range(10)]
    source = safe_rlhf(tmp_path / "train.jsonl", *rows)
    built = whoseboat.build("safe-rlhf", tmp_path / "out", data_dir=source, include_unsafe=unsafe)
    loaded = datasets.load_dataset(str(built.path), "tailoring", cache_dir=str(tmp_path / "cache"))
    prompts = {row["prompt"][-1]["content"] for part in loaded.values() for row in part}
    assert len(prompts) == (10 if unsafe else 5)
    assert ("Unsafe responses are included" in (built.path / "README.md").read_text(encoding="utf-8")) is unsafe
    assert built.manifest.dropped == ({} if unsafe else {"unsafe": 5})


def test_a_prompt_has_at_most_so_many_pairs(tmp_path: Path) -> None:
    """Pairs beyond the cap are dropped, by prompt; a cap of 0 keeps all; one that is no number is refused."""
    rows = [{"prompt": f"Which {number % 2}?", "response_0": f"This {number}."} for number in range(12)]
    path = safe_rlhf(tmp_path / "train.jsonl", *rows)
    capped = items(path, cap="4")
    assert [isinstance(item, Pair) for item in capped] == [True] * 8 + [False] * 4
    assert {item.reason for item in capped if isinstance(item, Drop)} == {"over_cap"}
    assert all(isinstance(item, Pair) for item in items(path, cap="0"))
    with pytest.raises(DataError, match="cap"):
        items(path, cap="many")


def test_what_is_dropped_anyway_does_not_use_the_cap_up(tmp_path: Path) -> None:
    """Unsafe pairs, duplicates and pairs that say nothing leave the cap to the others of their prompt."""
    rows: list[Row] = [{"is_response_1_safe": False, "response_1": f"Bad {number}."} for number in range(5)]
    rows += [{}, {}, {"response_0": "Begin at once."}, {"response_0": "Take a breath first."}, {"response_0": "Third."}]
    built = whoseboat.build(
        "safe-rlhf", tmp_path / "out", data_dir=safe_rlhf(tmp_path / "train.jsonl", *rows), options={"cap": "2"}
    )
    assert built.manifest.rows["pairs"]["train"] + sum(list(built.manifest.rows["pairs"].values())[1:]) == 2
    assert (
        built.manifest.dropped["over_cap"] == 4
    )  # one safe pair, and three of the unsafe ones, which have their own cap
    assert built.manifest.dropped["duplicate"] == 1


def test_columns_that_changed_are_one_error(tmp_path: Path) -> None:
    """A set whose columns are others is not read; the error names both."""
    path = table(tmp_path / "train.jsonl", [{"prompt": "a", "answer_0": "b", "answer_1": "c"}])
    with pytest.raises(DataError) as caught:
        items(path)
    text = str(caught.value)
    assert "response_0" in text
    assert "found: prompt, answer_0, answer_1" in text


def test_a_model_names_its_files(tmp_path: Path) -> None:
    """Only the files of the model asked for are read, and a split that is not there is named."""
    safe_rlhf(tmp_path / "alpaca-7b" / "train.jsonl", {"prompt": "one?"})
    safe_rlhf(tmp_path / "alpaca2-7b" / "train.jsonl", {"prompt": "two?"})
    (pair,) = items(tmp_path, model="alpaca2-7b")
    assert isinstance(pair, Pair)
    assert pair.root == "two?"
    with pytest.raises(DataError, match="no file of split 'validation'"):
        sources.read("safe-rlhf", Request(data_dir=tmp_path, split="validation"))


def test_pseudonyms_tell_users_apart_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same user has the same pseudonym with the same key, another one with another key or in another source."""
    monkeypatch.setenv("WHOSEBOAT_PSEUDONYM_KEY", "one")
    first = Pseudonyms("prism")
    assert first.of("user7") == Pseudonyms("prism").of("user7") != first.of("user8")
    assert Pseudonyms("arena").of("user7") != first.of("user7")
    assert (first.of(None), first.of("")) == (None, None)
    assert "user7" not in str(first.of("user7"))
    monkeypatch.setenv("WHOSEBOAT_PSEUDONYM_KEY", "two")
    assert Pseudonyms("prism").of("user7") != first.of("user7")
    monkeypatch.delenv("WHOSEBOAT_PSEUDONYM_KEY")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert Pseudonyms("prism").of("user7") == Pseudonyms("prism").of("user7")
    key = tmp_path / "whoseboat" / "pseudonym.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert [entry.name for entry in key.parent.iterdir()] == ["pseudonym.key"]
    key.write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match="too short"):
        Pseudonyms("prism")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(key))
    with pytest.raises(OutputError, match="pseudonyms"):
        Pseudonyms("prism")


def test_excluded_releases_share_no_root(tmp_path: Path) -> None:
    """Pairs whose first user turn occurs in the other folder are dropped, whatever its case and white space."""
    rows = [
        {"prompt": f"How {number}?", "chosen": f"Do {number}.", "rejected": "No idea, sorry!"} for number in range(9)
    ]
    other = [{**row, "prompt": str(row["prompt"]).upper() + " ", "chosen": "So."} for row in rows[:4]]
    earlier = whoseboat.build("table", tmp_path / "earlier", data_dir=table(tmp_path / "other.jsonl", other))
    source = table(tmp_path / "in.jsonl", rows)
    built = whoseboat.build("table", tmp_path / "out", data_dir=source, exclude=[earlier.path])
    assert built.manifest.dropped == {"excluded": 4}
    assert built.manifest.selection.exclude == (f"earlier (digest {earlier.manifest.data_digest[:16]})",)
    assert "How 3?" not in json.dumps([list(part) for part in datasets.load_dataset(str(built.path)).values()])
    with pytest.raises(DataError, match="neither a folder nor a Hub repo"):
        Roots(["nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no pairs"):
        Roots([tmp_path / "empty"])


def test_every_source_says_what_it_is() -> None:
    """No source leaves open what a pair is, and each is told in the list, as text and as JSON."""
    for source in sources.known():
        assert source.about.endswith("."), source.name
        assert source.title, source.name
        assert len({option.name for option in source.options}) == len(source.options)
        for option in source.options:
            defaults = option.default.split(",") if option.many else [option.default]
            assert not option.choices or not option.default or set(defaults) <= set(option.choices), source.name
    command = [sys.executable, "-m", "whoseboat", "sources"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    facts = json.loads(subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout)
    assert [fact["name"] for fact in facts] == sources.names()
    assert set(sources.names()) <= set(text.splitlines())
    one = subprocess.run([*command, "safe-rlhf"], capture_output=True, text=True, check=True).stdout
    assert all(word in one for word in ("PKU-Alignment/PKU-SafeRLHF", "--option label=", "cc-by-nc-4.0", "unsafe"))
    assert {"license", "license_known_from", "revision", "size", "languages", "users", "safety"} <= set(facts[0])


def test_published_personas_need_a_source_that_has_them(tmp_path: Path) -> None:
    """The engine that takes a source's own personas drops pairs that have none, and says so when none is left."""
    source = safe_rlhf(tmp_path / "train.jsonl", {})
    with pytest.raises(DataError, match="no pair is left") as caught:
        whoseboat.build("safe-rlhf", tmp_path / "out", data_dir=source, engine="published")
    assert "1 no_persona" in str(caught.value)
    with pytest.raises(UsageError, match="needs a language model"):
        whoseboat.build("safe-rlhf", tmp_path / "out", data_dir=source, engine="openai")
    assert not os.path.lexists(tmp_path / "out")
