"""Reports as they are written: what they say, what they leave alone, and that hostile texts stay texts."""

from __future__ import annotations

import colorsys
import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow.parquet as pq
import pytest
from cards_data import release
from report_sets import HOSTILE, check, contents, dataset, manifest

import whoseboat
from whoseboat import metric
from whoseboat.cards.charts import CHARTS
from whoseboat.errors import DataError, OutputError
from whoseboat.quality.pairs import read_pairs
from whoseboat.releases import artefacts
from whoseboat.reporting import of_datasets, rows, words
from whoseboat.reporting.charts import NARROW, WIDE, draw_png, svg


class Page(HTMLParser):
    """A page as a browser reads it: its elements with their attributes, and what stands in scripts."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self._within = ""
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self._within = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        """Note that an element ends."""
        self._within = ""

    def handle_data(self, data: str) -> None:
        """Note a text."""
        if self._within == "script":
            self.scripts[-1] += data
        elif self._within != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        """All that is shown, on one line."""
        return " ".join(" ".join(self.texts).replace("\xa0", " ").split())

    @property
    def data(self) -> dict[str, Any]:
        """The rows."""
        found: dict[str, Any] = json.loads(self.scripts[0])
        return found


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a set of hostile texts that was checked and reported; tests leave it as it is."""
    folder = dataset(tmp_path_factory.mktemp("checked"))
    check(folder)
    whoseboat.report(folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a set of hostile texts that was not checked."""
    home = tmp_path / "home"
    home.mkdir()
    return dataset(home)


# ---- what it says


def test_a_folder_that_was_not_checked_has_a_report(folder: Path) -> None:
    """It tells lengths, drops and rows, and what to run for the rest."""
    done = whoseboat.report(folder)
    assert (done.path, done.size) == (folder / "report.html", (folder / "report.html").stat().st_size)
    assert (done.shown, done.pairs) == (30, 30)
    page = Page(done.path)
    assert page.text.count("Not checked: run whoseboat check on this folder") == 5
    assert "What became of 30 candidates" in page.text
    assert len(page.data["rows"]) == 30
    assert page.data["checks"] == []
    assert set(done.charts) == {f"assets/{name}.png" for name in ("drops", "length_ratio", "persona_lengths")}


def test_figures_stand_with_their_intervals(checked: Path) -> None:
    """Headlines, charts, tables: a value is never without its interval and what it is over."""
    page = Page(checked / "report.html")
    checks = json.loads((checked / "checks.json").read_text(encoding="utf-8"))
    for figure in checks["figures"]:
        shown = words.value(figure, signed=words.is_signed(figure["name"]))
        interval = words.interval(figure, signed=words.is_signed(figure["name"])).replace("\xa0", " ")
        assert f"{shown} {interval}" in page.text, figure
    titles = [attributes for tag, attributes in page.elements if tag == "section"]
    keys = ["headline", "accuracy", "preference", "words", "lengths", "drops", "flags", "others", "cost", "pairs"]
    assert [attributes["id"] for attributes in titles] == keys
    assert "Words of what they contrast it with: over, rather than: none of 0 tested" in page.text
    for text in ("equal length", "judged 30 of 30 pairs", "inferred elsewhere"):
        assert text in page.text


def test_every_chart_is_there_for_who_does_not_see_it(checked: Path) -> None:
    """Each has a title for readers of screens, its numbers as a table, and no name occurs twice in the page."""
    page = Page(checked / "report.html")
    figures = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert len(figures) == 2 * sum(tag == "figure" for tag, _ in page.elements) > 0
    ids = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert max(ids.values()) == 1
    for attributes in figures:
        assert attributes["role"] == "img"
        assert attributes["aria-labelledby"] in ids
    for tag, attributes in page.elements:
        reference = attributes.get("href", "") if tag == "use" else ""
        clip = attributes.get("clip-path", "")
        assert not reference or reference[1:] in ids
        assert not clip or clip.removeprefix("url(#").removesuffix(")") in ids


def test_the_same_folder_gives_the_same_bytes(checked: Path, tmp_path: Path) -> None:
    """Pages and pictures have no date of their own."""
    first = whoseboat.report(checked, tmp_path / "first.html").path.read_bytes()
    assert whoseboat.report(checked, tmp_path / "second.html").path.read_bytes() == first
    assert (checked / "report.html").read_bytes() == first
    charts = of_datasets.figures(manifest(checked), json.loads((checked / "checks.json").read_bytes()))
    assert [name for name in CHARTS if name in {chart.name for chart in charts}] == [chart.name for chart in charts]
    paths = draw_png(tmp_path / "assets", charts)
    assert len(paths) == len(charts) > 8
    for chart, path in zip(charts, paths, strict=True):
        assert path.read_bytes() == (checked / chart.path).read_bytes()
        assert path.read_bytes().startswith(b"\x89PNG")


def test_letters_beyond_the_font_are_in_the_page(checked: Path) -> None:
    """They are drawn by the browser; what stood in their place is gone."""
    charts = of_datasets.figures(manifest(checked), json.loads((checked / "checks.json").read_bytes()))
    chart = next(chart for chart in charts if chart.name == "words")
    for width in (WIDE, NARROW):
        drawn = svg(chart, width)
        texts = [element.text or "" for element in ElementTree.fromstring(drawn).iter("text")]  # noqa: S314 - ours
        assert "简洁" in texts
        assert "calm" in texts
        assert not any(re.match(r"Q\d{3}Q", text) for text in texts)
        assert "#0a0b" not in drawn  # colours are those of the page


def test_a_key_of_two_lines_has_their_room(checked: Path) -> None:
    """Where names of series take a second line, the first row begins below it, in the narrow and the wide drawing."""
    charts = of_datasets.figures(manifest(checked), json.loads((checked / "checks.json").read_bytes()))
    chart = next(chart for chart in charts if chart.name == "flags")
    for width, is_broken in ((WIDE, False), (NARROW, True)):
        places = {
            element.text or "": float(element.attrib["y"])
            for element in ElementTree.fromstring(svg(chart, width)).iter("text")  # noqa: S314 - ours
        }
        key = [places[name] for name in ("chosen personas", "rejected personas", "the pair")]
        assert (key[2] > key[1]) is is_broken
        rows = [places[name] for name in ("accuracy", "sides alike")]
        assert min(rows) - max(key) >= 15  # of letters 12.5 high


def test_cost_and_rate_are_told() -> None:
    """Of a set by a language model: seconds, rate, dollars, tokens, requests; without a price it says so."""
    made = release()
    pairs = sum(made.rows["pairs"].values())
    cost = of_datasets.content(made, None).sections[-1]
    tiles = {tile.name: tile.value for tile in cost.tiles}
    assert tiles["cost"] == f"${made.cost:,.2f}"
    assert tiles["tokens"] == f"{sum(made.tokens.values()):,}"
    assert tiles["pairs per second"] == f"{pairs / made.seconds:,.0f}"
    assert cost.tables[0].table.rows[0] == ("answered", f"{made.requests['answered']:,}")
    unpriced = of_datasets.content(replace(made, cost=None), None).sections[-1]
    assert "No price is known" in unpriced.said[0]
    assert "cost" not in {tile.name for tile in unpriced.tiles}
    judged = {"judge": {"tokens": {"prompt": 1200, "completion": 40}, "cost": 0.125}}
    of_judge = {tile.name: tile.value for tile in of_datasets.content(made, judged).sections[-1].tiles}
    assert (of_judge["cost of the checks"], of_judge["tokens of the checks"]) == ("$0.12", "1,240")
    assert tiles.keys() == of_judge.keys() - {"cost of the checks", "tokens of the checks"}
    free = {"judge": {"tokens": {"prompt": 1200, "completion": 40}, "cost": 0.0}}
    of_judge = {tile.name: tile.value for tile in of_datasets.content(made, free).sections[-1].tiles}
    assert of_judge["cost of the checks"] == "$0.00"


def test_figures_in_words() -> None:
    """Signs where 0 means nothing gained, a mark where conversations are few, a reason where there is no value."""
    assert words.is_signed("specificity")
    assert not words.is_signed("accuracy (strict)")
    assert words.number(-0.25, signed=True) == "\u22120.250"
    assert words.number(-0.0001, signed=True) == "0.000"
    assert (words.number(1234), words.number(None)) == ("1,234", "")
    few = metric.net(["win", "loss", "win"] * 5).to_dict()
    assert words.interval(few, signed=True).endswith("\u00a0†")
    assert "†" not in words.interval(metric.net(["win", "loss", "win"] * 7).to_dict())
    nothing = metric.net(["missing"]).to_dict()
    assert (words.value(nothing), words.interval(nothing)) == (nothing["reason"], "")
    assert [words.size(count) for count in (10, 4_400, 6_200_000)] == ["1 kB", "4 kB", "6.2 MB"]


# ---- hostile texts


def test_hostile_texts_stay_texts(checked: Path) -> None:
    """No element, no attribute and no address comes from data, and all that is shown is what the data says."""
    page = Page(checked / "report.html")
    tags = Counter(tag for tag, _ in page.elements)
    assert tags["script"] == 2
    assert tags["style"] == 1
    assert not {"img", "iframe", "object", "b", "base"} & tags.keys()
    for tag, attributes in page.elements:
        assert not any(name.startswith("on") or name == "style" for name in attributes), (tag, attributes)
        for name in ("src", "href", "action", "xlink:href", "data"):
            assert re.match(r"#|data:,$|$", attributes.get(name, "")), attributes
    by_id = {row[0]: row for row in page.data["rows"]}
    for pair in read_pairs(checked):
        row = by_id[pair.id]
        assert row[3][-1][1] == pair.prompt[-1].content
        assert row[4:8] == [pair.chosen, pair.rejected, pair.chosen_persona, pair.rejected_persona]
    assert {finding[4] for row in by_id.values() for finding in row[8]} == {"", HOSTILE[0], HOSTILE[1]}
    assert HOSTILE[0] in page.text  # the name of the judge
    raw = (checked / "report.html").read_text(encoding="utf-8")
    assert not {"\u2028", "\u2029"} & set(raw)  # they end lines of scripts


def test_the_policy_names_what_may_run(checked: Path) -> None:
    """Nothing may be fetched; one style and one script, by their hashes."""
    page = Page(checked / "report.html")
    policy = next(
        attributes["content"] for tag, attributes in page.elements if "content-security" in str(attributes).lower()
    )
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "connect" not in policy


# ---- rows


def test_long_texts_are_cut_and_say_so(tmp_path: Path) -> None:
    """A prompt keeps its end, a response its beginning; how long they were is told."""
    folder = dataset(tmp_path, 3, long=2_000)
    page = Page(whoseboat.report(folder).path)
    for pair, row in zip(read_pairs(folder), page.data["rows"], strict=True):
        text, length = row[4]
        assert (text, length) == (pair.chosen[:2_000], len(pair.chosen))
        assert row[5] == pair.rejected
    assert "prompts at 2,000 characters (their end is kept), responses at 2,000, personas at 600" in page.text


def test_beyond_the_most_there_is_a_sample_with_the_worst_in_it(checked: Path) -> None:
    """It depends on ids and findings alone, a larger one holds more, and rows stay in their order."""
    all_ids = [pair.id for pair in read_pairs(checked)]
    assert not rows.explorer(checked, 30).is_sample
    found = rows.explorer(checked, 30, most=12)
    ids = [row[0] for row in json.loads(found.data)["rows"]]
    assert (found.shown, found.pairs, found.is_sample, len(ids)) == (12, 30, True, 12)
    assert ids == [id_ for id_ in all_ids if id_ in ids]
    assert rows.explorer(checked, 30, most=12) == found
    table = pq.read_table(checked / "checks.parquet").to_pylist()
    worst = max((row for row in table if row["check"] == "words"), key=lambda row: row["value"])
    assert worst["id"] in ids
    low = {check["name"]: check["lowIsWorse"] for check in json.loads(found.data)["checks"]}
    assert low == {"accuracy": True, "sides_alike": False, "words": False}


def test_that_nothing_was_found_is_no_finding(folder: Path) -> None:
    """A check that found nothing anywhere is not in the explorer, nor is that another found nothing of a persona."""
    ids = [pair.id for pair in read_pairs(folder)]
    nothing = [(id_, "chosen", "contacts", None, False, "looked at") for id_ in ids]
    once = [(id_, "rejected", "duplicate", None, False, "") for id_ in ids[1:]]
    check(folder, more=[*nothing, (ids[0], "rejected", "duplicate", 2.0, True, "2 more"), *once])
    data = Page(whoseboat.report(folder).path).data
    names = [one["name"] for one in data["checks"]]
    assert names == ["accuracy", "duplicate", "sides_alike", "words"]
    found = {row[0]: finding for row in data["rows"] for finding in row[8] if names[finding[0]] == "duplicate"}
    assert found == {ids[0]: [1, 1, 2.0, 1, "2 more"]}
    assert all(finding[3] or finding[2] is not None for row in data["rows"] for finding in row[8])


def test_the_sample_is_said_on_the_page(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader knows that not all is there."""
    monkeypatch.setattr(rows.explorer, "__kwdefaults__", {"most": 10})
    done = whoseboat.report(folder)
    assert (done.shown, done.pairs) == (10, 30)
    assert "A sample: 10 of 30 pairs: those whose ids have the smallest hashes." in Page(done.path).text


# ---- the folder


def test_charts_card_and_manifest_change_in_one_step(folder: Path) -> None:
    """Charts are the folder's own, the page is not: it holds texts of rows, which a takedown could not reach."""
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    with (folder / "README.md").open("a", encoding="utf-8") as card:
        card.write("\nWritten by a person.\n")
    done = whoseboat.report(folder)
    made = manifest(folder)
    assert set(done.charts) <= made.files.keys()
    assert "report.html" not in made.files
    assert (folder / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert "Written by a person." in (folder / "README.md").read_text(encoding="utf-8")
    loaded = artefacts.load(folder)
    assert set(done.charts) <= loaded.files.keys()
    assert loaded.left_out["report.html"] == "its manifest does not name it"
    before = contents(folder)
    whoseboat.report(folder)
    assert contents(folder) == before


def test_charts_that_are_no_more_go(checked: Path, tmp_path: Path) -> None:
    """A folder without its checks has no charts of them."""
    from whoseboat.quality.rewritten import rewrite

    folder = tmp_path / "set"
    subprocess.run(["cp", "-r", str(checked), str(folder)], check=True)
    assert (folder / "assets/accuracy.png").exists()
    rewrite(folder, manifest(folder), {}, without=("checks.json", "checks.parquet"))
    done = whoseboat.report(folder)
    there = {f"assets/{path.name}" for path in (folder / "assets").iterdir()}
    assert there == set(done.charts)
    assert not [name for name in manifest(folder).files if name.startswith("assets/") and name not in there]


def test_elsewhere_it_leaves_the_folder_alone(folder: Path, tmp_path: Path) -> None:
    """With a file named, nothing in the folder changes."""
    before = contents(folder)
    done = whoseboat.report(folder, tmp_path / "pages" / "mine.html")
    assert done.charts == ()
    assert done.path.stat().st_size == done.size
    assert contents(folder) == before
    assert [path.name for path in done.path.parent.iterdir()] == ["mine.html"]


def test_a_page_of_others_is_not_replaced(folder: Path) -> None:
    """Only a report of ours is written over."""
    (folder / "report.html").write_text("<html>my own</html>", encoding="utf-8")
    before = contents(folder)
    with pytest.raises(OutputError, match="no report"):
        whoseboat.report(folder)
    assert contents(folder) == before


def test_checks_of_other_data_are_refused(folder: Path) -> None:
    """Figures of other rows would mislead."""
    check(folder, {"data_digest": "0" * 64})
    before = contents(folder)
    with pytest.raises(DataError, match="of other data"):
        whoseboat.report(folder)
    assert contents(folder) == before


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"figures": {}}', '{"figures": [{"name": "accuracy"}]}', "[" * 100_000, "\xff"]
)
def test_checks_that_cannot_be_read_are_refused(folder: Path, text: str) -> None:
    """One clear message says which file, and what to do."""
    (folder / "checks.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match="cannot be read") as raised:
        whoseboat.report(folder)
    assert "checks.json" in raised.value.where
    assert "whoseboat check" in raised.value.todo


def test_findings_that_cannot_be_read_are_refused(folder: Path) -> None:
    """The table of findings is looked at as well."""
    check(folder)
    (folder / "checks.parquet").write_bytes(b"no Parquet")
    with pytest.raises(DataError, match="findings of checks cannot be read"):
        whoseboat.report(folder)


def test_what_is_no_folder_of_ours_is_refused(tmp_path: Path) -> None:
    """Neither a folder without a manifest, nor one of another kind."""
    with pytest.raises(DataError, match="not a folder of ours") as there:
        whoseboat.report(tmp_path)
    with pytest.raises(DataError, match="not a folder of ours") as absent:
        whoseboat.report(tmp_path / "nowhere")
    assert (there.value.found, absent.value.found) == ("", "nothing at this path")
    assert absent.value.todo
    about = {"schema_version": "1", "code_version": "0", "kind": "model", "files": {}}
    (tmp_path / "manifest.json").write_text(json.dumps(about), encoding="utf-8")
    with pytest.raises(DataError, match="nothing to report"):
        whoseboat.report(tmp_path)


def test_the_command_says_what_it_wrote(folder: Path) -> None:
    """It names the page and its size; a fault is one line and no traceback."""
    command = [sys.executable, "-m", "whoseboat", "report"]
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=True)
    assert f"written to {folder / 'report.html'} (" in done.stdout
    assert "pairs to go through: 30\n" in done.stdout
    failed = subprocess.run([*command, str(folder.parent)], capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert failed.stderr.startswith("whoseboat: not a folder of ours")
    assert "Traceback" not in failed.stderr


# ---- evaluations


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an evaluation of two models, one with a hostile name, by the offline reader."""
    home = tmp_path_factory.mktemp("evaluation")
    styles = {"base": "Yes.", "brief": "No, never.", HOSTILE[0]: "Well, that depends: first, on this. Second, on that!"}
    files = {}
    for number, (name, answer) in enumerate(styles.items()):
        files[name] = home / f"{number}.jsonl"
        records = [
            {
                "id": f"pair-{pair}",
                "side": side,
                "prompt": f"Question {pair}?",
                "persona": f"The user is {'hasty and prefers brief answers' if side == 'chosen' else 'thorough'}.",
                "response": answer * (1 + (pair + number) % 4),
            }
            for pair in range(25)
            for side in ("chosen", "rejected")
        ]
        files[name].write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")
    out = home / "out"
    whoseboat.evaluate(files, out, judge="contrast-reader")
    return out


def test_an_evaluation_has_a_report(evaluation: Path) -> None:
    """Models are compared by the same figures as in its tables; it holds no texts, and says so."""
    before = contents(evaluation)
    done = whoseboat.report(evaluation)
    page = Page(done.path)
    assert contents(evaluation) == before | {"report.html": done.path.read_bytes()}
    assert len(page.scripts) == 1  # no rows
    assert "hold no texts" in page.text
    assert "No model is ranked" in page.text
    assert HOSTILE[0] in page.text
    stated = json.loads((evaluation / "evaluation.json").read_bytes())
    for of in stated["models"].values():
        for found in of["questions"].values():
            for part in (found, *found["by_side"].values()):
                net = part["net"]
                interval = words.interval(net, signed=True).replace("\xa0", " ")
                assert f"{words.value(net, signed=True)} {interval}" in page.text
    assert any("length_serves" in attributes.get("id", "") for _, attributes in page.elements)


def test_one_model_is_said_to_be_one(evaluation: Path, tmp_path: Path) -> None:
    """An evaluation of one model or of several says so on top."""
    assert "2 models compared with a baseline" in Page(whoseboat.report(evaluation, tmp_path / "two.html").path).text
    folder = tmp_path / "out"
    subprocess.run(["cp", "-r", str(evaluation), str(folder)], check=True)
    stated = json.loads((folder / "evaluation.json").read_bytes())
    del stated["models"]["brief"]
    (folder / "evaluation.json").write_text(json.dumps(stated), encoding="utf-8")
    text = Page(whoseboat.report(folder, tmp_path / "one.html").path).text
    assert "One model compared with a baseline, by the verdicts of a judge" in text
    assert "1 models" not in text


def test_an_evaluation_that_is_damaged_is_refused(evaluation: Path, tmp_path: Path) -> None:
    """One clear message."""
    folder = tmp_path / "out"
    subprocess.run(["cp", "-r", str(evaluation), str(folder)], check=True)
    (folder / "evaluation.json").write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match="evaluation cannot be read"):
        whoseboat.report(folder)


# ---- colours


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour, as WCAG has it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, from 1 to 21."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_colours_can_be_read_in_light_and_dark() -> None:
    """Letters have a contrast of 4.5 and shapes of 3; dark is the same however it is asked for."""
    css = (resources.files("whoseboat.reporting") / "page.css").read_text(encoding="utf-8")
    themes = [
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in re.findall(r":root[^{]*\{([^}]*)\}", css)
    ]
    light, dark, dark_by_system = themes
    assert dark == dark_by_system
    assert light.keys() == dark.keys()
    for theme in (light, dark):
        for ground in ("paper", "card", "quiet"):
            for ink in ("ink", "soft", "chosen-ink", "rejected-ink", "flag"):
                assert contrast(theme[ink], theme[ground]) >= 4.5, (ink, ground)
            for shape in ("chosen", "rejected", "both", "other", "focus"):
                assert contrast(theme[shape], theme[ground]) >= 3, (shape, ground)
        assert contrast(theme["flag"], theme["flag-paper"]) >= 4.5
        assert contrast(theme["ink"], theme["warn-paper"]) >= 4.5
        hues = [
            colorsys.rgb_to_hls(*(int(theme[name][at : at + 2], 16) / 255 for at in (1, 3, 5)))[0]
            for name in ("chosen", "rejected")
        ]
        assert abs(hues[0] - hues[1]) > 0.3  # blue and orange
