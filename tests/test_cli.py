"""The `whoseboat` command, started as users start it: one clear message for each fault, and nothing left behind."""

from __future__ import annotations

import gzip
import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

_GOOD = {"prompt": "How do I fix it?", "chosen": "Do this, then that.", "rejected": "No idea!"}


def run(*arguments: str | Path, before: Callable[[], None] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    command = [sys.executable, "-m", "whoseboat", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, preexec_fn=before)


def lines(*rows: object) -> str:
    """Return rows as JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def refuses(
    folder: Path, *arguments: str | Path, says: tuple[str, ...], code: int = 1, before: Callable[[], None] | None = None
) -> str:
    """Check that a build fails with one message, no traceback and nothing left in the folder; return the message."""
    there = sorted(folder.rglob("*"))
    done = run("build", *arguments, before=before)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("whoseboat: ") == 1
    assert done.stderr.startswith("whoseboat: ")
    assert done.stdout == ""
    for part in says:
        assert part in done.stderr
    assert sorted(folder.rglob("*")) == there
    return done.stderr


def table(folder: Path, content: str | bytes, name: str = "in.jsonl") -> Path:
    """Write a file of a table."""
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_columns_may_be_given_one_by_one(tmp_path: Path) -> None:
    """Columns named in several options, with spaces after commas, are all heeded."""
    source = table(tmp_path, lines({"q": "How?", "good": "So and so, then.", "bad": "No."}))
    columns = ["--columns", "prompt=q", "--columns", "chosen=good, rejected=bad"]
    done = run("build", "table", "--data-dir", source, "--out", tmp_path / "out", *columns)
    assert done.returncode == 0, done.stderr
    assert "written to" in done.stdout


def test_missing_directory(tmp_path: Path) -> None:
    """A directory that is not there is named."""
    refuses(tmp_path, "table", "--data-dir", tmp_path / "nowhere", "--out", tmp_path / "out", says=("nowhere",))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("cut.jsonl.gz", gzip.compress(lines(*[_GOOD] * 50).encode())[:-12], ("cut off", "cut.jsonl.gz")),
        ("no.jsonl.gz", b"not gzip at all", ("gzip", "no.jsonl.gz")),
        ("bad.jsonl", lines(_GOOD, _GOOD) + "{oops\n", ("invalid JSON", "bad.jsonl, line 3", "oops")),
        ("list.jsonl", lines(_GOOD, [1, 2]), ("list.jsonl, line 2", "a JSON object", "[1, 2]")),
        ("a.json", f'[{json.dumps(_GOOD)},\n{{"a": }}]', ("invalid JSON", "a.json, line 2")),
        (
            "column.jsonl",
            lines({"prompt": "a", "selected": "b", "rejected": "c"}),
            ("'chosen'", "expected", "selected"),
        ),
        (
            "case.jsonl",
            lines({"prompt": "a", "Chosen_": "b", "rejected": "c"}),
            ("'chosen'", "did you mean 'Chosen_'? If not, name the right one: --columns chosen=COLUMN"),
        ),
        ("type.jsonl", lines({**_GOOD, "chosen": 3}), ("type.jsonl, line 1", "'chosen'", "expected", "int")),
        ("empty.jsonl", "", ("empty", "empty.jsonl")),
        ("latin.jsonl", b'{"prompt": "\xe9"}\n', ("UTF-8", "latin.jsonl, line 1")),
        ("x.parquet", b"PAR1 no", ("Parquet", "x.parquet")),
        ("x.csv", "prompt,chosen,rejected\na,b\n", ("x.csv, line 2", "3 fields", "2 fields")),
        ("x.xlsx", b"PK", ("x.xlsx", ".jsonl")),
        ("same.jsonl", lines({**_GOOD, "rejected": _GOOD["chosen"]}), ("no pair is left", "identical_responses")),
    ],
)
def test_bad_input(tmp_path: Path, name: str, content: str | bytes, says: tuple[str, ...]) -> None:
    """Each fault of a file is told with the file's name, and the line where there is one."""
    source = table(tmp_path, content, name)
    refuses(tmp_path, "table", "--data-dir", source, "--out", tmp_path / "out", says=says)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["smaple"], ("unknown source 'smaple'", "did you mean 'sample'")),
        (["sample", "--engine", "contrats"], ("unknown engine", "did you mean 'contrast'")),
        (["hh-rlhf", "--option", "trance=helpful-base"], ("unknown option of source 'hh-rlhf': 'trance'", "'tranche'")),
        (["hh-rlhf", "--option", "tranche=helpful-bas"], ("did you mean 'helpful-base'",)),
        (["table", "--columns", "promt=a"], ("did you mean 'prompt'",)),
        (["table", "--columns", "prompt"], ("KEY=VALUE", "prompt")),
        (["sample", "--from", "org/name"], ("takes no --from", "org/name")),
        (["table"], ("--data-dir", "--from")),
        (["table", "--from", "name"], ("ORG/NAME",)),
        (["sample", "--limit", "0"], ("--limit", "1 or more")),
        (["sample", "--head"], ("--limit N --head",)),
    ],
)
def test_misuse(tmp_path: Path, arguments: list[str], says: tuple[str, ...]) -> None:
    """Arguments that cannot be right end with exit code 2, and the nearest right one is suggested."""
    refuses(tmp_path, *arguments, "--out", tmp_path / "out", says=says, code=2)


def test_option_of_the_command_that_is_unknown(tmp_path: Path) -> None:
    """An unknown option of the command ends with exit code 2."""
    done = run("build", "sample", "--out", tmp_path / "out", "--limt", "3")
    assert done.returncode == 2
    assert "--limt" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_parent_is_a_file(tmp_path: Path) -> None:
    """An output below a regular file is refused."""
    file = table(tmp_path, "mine", "file")
    refuses(tmp_path, "sample", "--out", file / "out", says=("cannot be written", str(file)))
    refuses(tmp_path, "sample", "--out", file, says=("is no folder", str(file)))
    assert file.read_text(encoding="utf-8") == "mine"


def test_output_that_is_there(tmp_path: Path) -> None:
    """A folder that is there is refused, with the option that replaces it."""
    arguments = ("sample", "--limit", "2", "--out", tmp_path / "out")
    assert run("build", *arguments).returncode == 0
    refuses(tmp_path, *arguments, says=("there already", "--overwrite"))
    assert run("build", *arguments, "--overwrite").returncode == 0


def _small_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def test_no_room_for_a_file(tmp_path: Path) -> None:
    """A file that may not grow is told like a full disk."""
    refuses(tmp_path, "sample", "--out", tmp_path / "out", says=("no room left", str(tmp_path)), before=_small_files)


def test_full_disk(tmp_path: Path) -> None:
    """A full disk is told, and nothing is left on it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if mounted.returncode:
        pytest.skip(f"mounting a small disk is not permitted here: {mounted.stderr.strip()}")
    try:
        rows = [{**_GOOD, "prompt": f"{number} {os.urandom(1500).hex()}"} for number in range(2000)]
        source = table(tmp_path, lines(*rows))
        refuses(disk, "table", "--data-dir", source, "--out", disk / "out", says=("no room left", str(disk)))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_json_output(tmp_path: Path) -> None:
    """`--json` prints the manifest and the path, and nothing else, on standard output."""
    done = run("build", "sample", "--limit", "5", "--out", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    printed = json.loads(done.stdout)
    written = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert printed == {"path": str(tmp_path / "out"), **written}


def test_report(tmp_path: Path) -> None:
    """Without `--json` the report says how many rows there are and where."""
    done = run("build", "sample", "--limit", "5", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "tailoring" in done.stdout
    assert "not_sampled" in done.stdout
    assert str(tmp_path / "out") in done.stdout
    assert done.stdout.startswith("whoseboat-sample-personas-contrast\n")


def test_faults_of_rows_are_shown(tmp_path: Path) -> None:
    """The first malformed row is told with its place, and many of them are a warning; others are counted."""
    rows = [{**_GOOD, "prompt": f"{number}?", "winner": "1"} for number in range(10)]
    bad = {**_GOOD, "winner": "no\x1b[31mbody"}
    columns = ["--columns", "first=chosen,second=rejected,winner=winner", "--option", "winner=1/2"]
    source = table(tmp_path, lines(*rows, bad, bad))
    done = run("build", "table", "--data-dir", source, "--out", tmp_path / "out", *columns)
    assert done.returncode == 0, done.stderr
    assert "dropped: 2 malformed (of 12 rows read)" in done.stdout
    assert "the first malformed: in.jsonl, line 11: column 'winner': expected 1/2, found" in done.stdout
    assert str(tmp_path / "out" / "dropped.parquet") in done.stdout
    assert "warning: 2 of 12 rows are malformed (17%)" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    same = table(tmp_path, lines(*[_GOOD] * 30, {**_GOOD, "prompt": "Else?", "chosen": 3}))
    done = run("build", "table", "--data-dir", same, "--out", tmp_path / "more", "--json")
    assert json.loads(done.stdout)["dropped"] == {"duplicate": 29, "malformed": 1}
    assert done.stderr == ""


def test_a_licence_that_holds_up_a_release(tmp_path: Path) -> None:
    """A licence nobody knows is told when the set is built, not only when it is to be published."""
    source = table(tmp_path, lines(_GOOD))
    done = run("build", "table", "--data-dir", source, "--out", tmp_path / "out", "--license", "foo")
    assert done.returncode == 0, done.stderr
    assert "warning: --license 'foo' will hold up a release" in done.stderr
    done = run("build", "table", "--data-dir", source, "--out", tmp_path / "more", "--license", "Apache 2.0")
    assert done.stderr == ""


def test_sources_are_listed_with_all_that_tells_them_apart() -> None:
    """The table says of each source its licence, revision, size, languages, what a pair is, users and safety labels."""
    from whoseboat import sources

    listed = run("sources")
    assert listed.returncode == 0
    text = "".join(letter for letter in listed.stdout if letter.isalnum())
    for source in sources.known():
        told = (source.license.split()[0], source.size.split()[0] if source.size else "", *source.languages[:1])
        words = (*told, (source.revision or "")[:12], *source.about.split()[:3], *source.safety.split()[:3])
        assert all("".join(filter(str.isalnum, word)) in text for word in words), source.name
    assert sources.find("hh-rlhf").safety in run("sources", "hh-rlhf").stdout


def test_sources_in_a_pipe_are_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """No width is known there: names and values line by line, and one begins where the other ends."""
    for columns in ("80", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        listed = run("sources").stdout.splitlines()
        assert not {"│", "┃", "|"} & set("".join(listed))
        named = [line for line in listed if line.startswith("  ")]
        assert all(re.match(r"  [a-z ]+: +\S", line) for line in named)
        assert any(line.startswith("  mixture of: ") for line in named)


def test_progress_fits_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """At 80 columns rows, failures, cost and the time left are seen, on one line; what has no room is left out."""
    from whoseboat.cli.progress import build_progress
    from whoseboat.llm.settings import Prices
    from whoseboat.pipeline import Progress

    for name, value in {"COLUMNS": "80", "LINES": "24", "FORCE_COLOR": "1", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    progress = Progress(rows=12_345, taken=12_400, share_read=lambda: 0.5)
    progress.dropped.update(malformed=55)
    tally = progress.tally
    tally.answered, tally.failed, tally.reused, tally.retried = 24_690, 12, 310, 7
    tally.prompt_tokens, tally.completion_tokens, tally.prices = 45_000_000, 900_000, Prices(0.4, 1.6)
    with build_progress() as on_progress:
        on_progress(progress)
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err).replace("\r", "\n").splitlines()
    (shown, *_) = (line for line in lines if "rows" in line)
    for part in ("12,345", "failed", "$19.44", "left"):
        assert part in shown, shown
    assert max(map(len, lines)) <= 80
    assert "…" not in shown


def test_fitting_without_its_library_is_one_line(tmp_path: Path) -> None:
    """The script that fits the reader names the extra it needs."""
    (tmp_path / "sklearn.py").write_text("raise ModuleNotFoundError('none here', name='sklearn')", encoding="utf-8")
    script = Path(__file__).parent.parent / "scripts" / "fit_contrast.py"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, str(script), "--data-dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "no sklearn: install the extra `dev` of whoseboat, from its checkout: pip install '.[dev]'"
    ]


def test_version_and_help() -> None:
    """The command tells its version and its use."""
    import whoseboat

    assert run("--version").stdout.strip() == f"whoseboat {whoseboat.__version__}"
    assert "--data-dir" in run("build", "--help").stdout


def test_help_imports_nothing_heavy() -> None:
    """Importing the command imports none of the heavy libraries."""
    heavy = {"datasets", "numpy", "pyarrow", "torch", "transformers"}
    code = f"import sys, whoseboat.cli; print(*{heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
