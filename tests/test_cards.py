"""Cards of datasets: whole cards as they were read and found good, and that nothing in data breaks out of its place."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import fields, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from cards_data import COMMIT, release, rows, same_as_golden
from hypothesis import example, given, settings
from hypothesis import strategies as st
from loopback_hub import card_faults
from markdown_it import MarkdownIt

import whoseboat
from whoseboat import cards
from whoseboat.cards.figures import rows_figure
from whoseboat.cards.markup import BEGIN, END, as_bibtex, as_linked, as_literal, as_text
from whoseboat.errors import DataError, printable
from whoseboat.manifest import Manifest, Selection, SplitSize

FILES = ["README.md", "assets/rows.png", "manifest.json"] + [
    f"{config}/{split}-00000-of-00001.parquet"
    for config in ("pairs", "tailoring", "samples")
    for split in ("train", "validation", "test")
]
HOSTILE = (
    f"{END}\n```\n~~~\n</details>\n</summary><script>alert(1)</script> | a | `b` [x](http://y) ![i](//z) @you\n"
    "---\n# heading\n- item\n1. one\n    code\n{{ 7 * 7 }} {% raw %} www.example.com :smile: <!-- &lt; \\ "
    "\u202e\x1b[31m"
)
MARKS = [
    "```",
    "~~~",
    "---",
    "[a](b)",
    "<!--",
    "-->",
    END,
    BEGIN,
    "&amp;",
    "</code>",
    "{{",
    "}}",
    ": ",
    "- ",
    "1. ",
    "    ",
]
hostile_text = st.one_of(
    st.just(HOSTILE),
    st.text(st.characters(exclude_categories=()), max_size=60),
    st.lists(
        st.sampled_from([*"<|`#>'\"\\\n\r\u2028*", *MARKS]),
        max_size=12,
    ).map("".join),
)


class Tags(HTMLParser):
    """The tags and comments of a piece of HTML, in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag that opens."""
        self.found.append(f"<{tag} {attrs}>")

    def handle_endtag(self, tag: str) -> None:
        """Note a tag that closes."""
        self.found.append(f"</{tag}>")

    def handle_comment(self, data: str) -> None:
        """Note a comment."""
        self.found.append(f"<!--{data}-->")


def skeleton(card: str) -> list[str]:
    """Return what a Markdown parser makes of a card, without the text in it: its blocks, tags, links and HTML."""
    body = card.split("\n---\n", 1)[1]
    markdown = MarkdownIt("commonmark", {"html": True}).enable("table")
    found = []
    for token in (one for block in markdown.parse(body) for one in [block, *(block.children or [])]):
        if token.type in ("html_block", "html_inline"):
            tags = Tags()
            tags.feed(token.content)
            found += tags.found
        elif token.type not in ("text", "inline", "softbreak", "text_special"):
            target = token.attrs.get("href", "") if "bibtex" not in token.info else ""
            found.append(f"{token.type} {token.tag} {token.info} {target}")
    return found


def front_of(card: str) -> dict[str, Any]:
    """Return the YAML of a card."""
    front: dict[str, Any] = yaml.safe_load(card.removeprefix("---\n").split("\n---\n", 1)[0])
    return front


def section(card: str, heading: str) -> str:
    """Return the text below a heading, up to the next one."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", card, re.DOTALL | re.MULTILINE)
    assert found, heading
    return found[1]


def told(manifest: Manifest, name: str, value: Any) -> Manifest:  # noqa: ANN401 - any field
    """Return a manifest in which one text, of the manifest or of its source, is another."""
    if name in {item.name for item in fields(manifest.source)}:
        return replace(manifest, source=replace(manifest.source, **{name: value}))
    return replace(manifest, **{name: value})


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, list[dict[str, Any]]]:
    """Build the bundled sample; what differs from one run and machine to another is set."""
    import pyarrow.parquet as pq

    built = whoseboat.build("sample", tmp_path_factory.mktemp("built") / "sample")
    sizes = {
        config: {split: SplitSize(size.rows, 100 * size.rows, 40 * size.rows) for split, size in splits.items()}
        for config, splits in built.manifest.sizes.items()
    }
    made = replace(built.manifest, built_at="2026-11-20T09:30:00+00:00", seconds=0.5, sizes=sizes, code_version="0.1.0")
    kept = [row for file in (built.path / "pairs").glob("*.parquet") for row in pq.read_table(file).to_pylist()]
    return made, sorted(kept, key=lambda row: str(row["id"]))[:20]


def test_the_card_of_a_folder_by_the_heuristic(sample: tuple[Manifest, list[dict[str, Any]]]) -> None:
    """The whole card of the bundled sample is the one that was read; RENEW_CARDS=1 writes it anew."""
    assert same_as_golden("card_of_sample.md", cards.dataset_card(*sample))


def test_the_card_of_a_release() -> None:
    """The whole card of a release by a language model is the one that was read."""
    assert same_as_golden("card_of_release.md", cards.dataset_card(release(), rows(), figure="assets/rows.png"))


@pytest.mark.parametrize(
    ("heading", "says"),
    [
        ("Quick start", 'load_dataset("acme/hh-rlhf-personas", "tailoring", split="train", revision="v1.1.0")'),
        ("Configs and columns", "| `tailoring` | two rows per pair, one per persona | 2,672 |"),
        ("Configs and columns", "is the longer one in 53.0 % of the pairs, the rejected one in 45.8 %"),
        ("Configs and columns", "a column holds something: `language` 99.0 %, `strength` 0.0 %, `user_id` 0.0 %.\n"),
        ("Configs and columns", "---:|\n| <code>helpful-base</code> | 1,336 | 67.9 % |\n| <code>harmless-base"),
        ("Configs and columns", "| `chosen_persona` | inferred: a user who would prefer the chosen reply |"),
        ("How it was made", f"(https://huggingface.co/datasets/Anthropic/hh-rlhf) at <code>{COMMIT}</code>"),
        ("How it was made", "<code>openai/gpt-oss-120b</code> with <code>temperature</code> = <code>0.7</code>"),
        ("How it was made", "- The personas were written by gpt-oss"),
        ("How it was made", "hash <code>5bb6c33554f6bf6409bda449978afca7</code>"),
        ("How it was made", "9,812,345 prompt and 412,998 completion tokens, about $1.72 at $0.15 and $0.6 per"),
        ("How it was made", "Built <code>2026-11-20T09:30:00+00:00</code> in 731.2 s by whoseboat 0.1.0"),
        ("How it was made", "were taken out: 3 <code>api_key</code>"),
        ("What was dropped and why", "Of 84,210 candidates (pairs, and rows that are none), 82,241 did not"),
        ("What was dropped and why", "| `refusal` | the language model declined to name a persona | 12 |"),
        ("What was dropped and why", "2 rows were removed on request"),
        ("Checks", "| accuracy, true personas | chosen | 0.612 | 0.571 to 0.653 | 1,969 | contrast |"),
        ("Checks", "| personas that quote | both | 12 | no interval | 3,938 | counted |"),
        ("Checks", "that of an offline reader"),
        ("Splits and leakage", "| `pairs` | 1,770 | 98 | 101 |"),
        ("Splits and leakage", "paraphrases and near-duplicates can stand on both sides"),
        ("Splits and leakage", "**Safety gate.** 633 pairs are in `pairs` only"),
        ("Twenty rows", "<summary>20. How do I mend a kite with 19 holes?</summary>"),
        ("How rows go wrong", "**Mistakes become taste.**"),
        ("How rows go wrong", "**Virtues that are not there.**"),
        ("Intended use", "compare with personas shuffled among pairs"),
        ("Prohibited use", "**No profiling of people.**"),
        ("Prohibited use", "**A rejected persona is nobody.**"),
        ("Risks", "**Stereotypes.**"),
        ("Risks", "**Harmful prompts and responses.**"),
        ("Licence", "<code>mit</code>. The source is under mit: its copyright notice and text go with copies."),
        ("Licence", "Licence of the source: <code>mit</code> (known from: card)."),
        ("Taking rows down", "(https://huggingface.co/datasets/acme/hh-rlhf-personas/discussions)"),
        ("Taking rows down", "`whoseboat takedown`"),
        ("Changelog", "- **1.1.0** (2026-11-21): 2 rows taken down; 29 personas asked for again\n\n- **1.0.0**"),
        ("Citation", "@inproceedings{balepur2025whose,"),
        ("Citation", "@article{bai2022training,"),
        ("Citation", "@misc{hh-rlhf-personas,\n  title        = {HH-RLHF with inferred personas},\n  author "),
        ("Citation", "= {2026},\n  howpublished = {\\url{https://huggingface.co/datasets/acme/hh-rlhf-personas}}"),
    ],
)  # fmt: skip
def test_sections_of_a_release(heading: str, says: str) -> None:
    """Every section is there with its figures."""
    card = re.sub(r"\n(?=- \*\*1\.0\.0)", "\n\n", cards.dataset_card(release(), rows())).replace("\n\n\n", "\n\n")
    assert says in section(card, heading)


def test_yaml_of_a_release() -> None:
    """The YAML says what the Hub asks for, and the Hub's validator as the tests have it takes it."""
    card = cards.dataset_card(release(), rows())
    front = front_of(card)
    assert card_faults(card, "dataset") == ([], [])
    assert front["license"] == "mit"
    assert front["size_categories"] == ["1K<n<10K"]
    assert front["annotations_creators"] == ["machine-generated"]
    assert [config["config_name"] for config in front["configs"]] == ["pairs", "tailoring", "samples"]
    licence = {"id": "other", "name": "odc-by-1.0", "link": "https://example.org/l", "also": ("llama3",)}
    front = front_of(cards.dataset_card(release(licence=licence), []))
    assert front["license"] == ["other", "llama3"]
    assert (front["license_name"], front["license_link"]) == ("odc-by-1.0", "https://example.org/l")
    odd = told(release(licence=None), "license", "My own")
    front = front_of(cards.dataset_card(odd, []))
    assert [front[key] for key in ("license", "license_name")] == ["other", "my-own"]
    assert front["license_link"] == "https://huggingface.co/datasets/Anthropic/hh-rlhf"


def test_the_same_manifest_gives_the_same_card() -> None:
    """A card is made of manifest and rows alone, also of a manifest that was read back."""
    once = Manifest.of(json.loads(release().to_json()))
    assert cards.dataset_card(once, rows()) == cards.dataset_card(release(), rows())


def test_what_a_folder_lacks_is_said_and_not_shown_as_none(sample: tuple[Manifest, list[dict[str, Any]]]) -> None:
    """A folder just built has no revision, no release and no checks; the only fault of its card is its name."""
    card = cards.dataset_card(*sample)
    assert 'load_dataset("PATH_OR_HUB_ID", split="train")' in section(card, "Quick start")
    assert "None were made." in section(card, "Checks")
    assert "Not released" in section(card, "Changelog")
    assert "year         = {2026}" in section(card, "Citation")
    assert "its author and address come with its release" in section(card, "Citation")
    files = [path.replace("*", "00000-of-00001") for path in re.findall(r"path: (\S+)", card)]
    assert cards.faults(card, "dataset", files) == ["A placeholder was not filled in: PATH_OR_HUB_ID."]


CONTRAST: dict[str, Any] = {"uses_language_model": False, "engine": "contrast-1", "engine_details": {}}
PUBLISHED: dict[str, Any] = {"uses_language_model": None, "engine": "published", "engine_details": {}}
BROUGHT: dict[str, Any] = {
    "uses_language_model": None,
    "engine": "brought",
    "engine_details": {"file": "p.csv", "sha256": "ab"},
}


@pytest.mark.parametrize(
    ("changes", "heading", "says"),
    [
        (CONTRAST, "How rows go wrong", "Length by default"),
        (CONTRAST, "Checks", "next to circular"),
        (CONTRAST, "Risks", "**An offline heuristic.**"),
        (PUBLISHED, "How rows go wrong", "those of the source"),
        (BROUGHT, "How rows go wrong", "how they were made is not known here"),
        (BROUGHT, "How it was made", "read from <code>p.csv</code> (SHA-256 <code>ab</code>)"),
        ({"checks": ()}, "Checks", "None were made"),
        ({"dropped": {}, "read": 1969}, "What was dropped and why", "Nothing: all 1,969 candidates became rows."),
        ({"cost": None}, "How it was made", "no price is known"),
        ({"rows": {"pairs": {"train": 0, "validation": 0, "test": 4}}}, "Quick start", 'split="test"'),
    ],
)  # fmt: skip
def test_what_depends_on_how_a_set_was_made(changes: dict[str, Any], heading: str, says: str) -> None:
    """Sections tell of this set: its engine, its checks, its splits."""
    assert says in section(cards.dataset_card(release(**changes), rows()), heading)


def test_what_a_reader_has_to_know_first_stands_in_the_first_box() -> None:
    """Red-team pairs, unsafe responses and test files are told on top; a tag tells the Hub of the first two."""

    def told_on_top(manifest: Manifest) -> tuple[str, bool]:
        card = cards.dataset_card(manifest, [])
        box = "".join(re.findall(r"^>.*\n", card.split("A preference pair says", 1)[0], re.MULTILINE))
        return box, "not-for-all-audiences" in front_of(card)["tags"]

    box, tagged = told_on_top(release())
    assert ("**Content warning.** 633 pairs" in box, tagged) == (True, True)
    assert told_on_top(release(kept_from_tailoring=0)) == ("", False)
    box, tagged = told_on_top(release(selection=Selection(include_unsafe=True), kept_from_tailoring=0))
    assert ("**Unsafe responses are included,**" in box, tagged) == (True, True)
    tests = told(release(**CONTRAST, kept_from_tailoring=0), "files", ("helpful-base/test.jsonl.gz",))
    box, tagged = told_on_top(told(tests, "held_out", ()))
    assert box.index("No language model was used") < box.index("**Test files only.**")
    assert not tagged


def test_the_parts_of_a_source_are_a_short_table() -> None:
    """However many parts a source has, thirty lines tell of them; options that nobody chose are not told."""
    parts = {f"part-{number}": 100 - number for number in range(50)}
    card = cards.dataset_card(release(source_splits=parts), [])
    assert "| <code>part-28</code> | 72 | 1.9 % |\n| 21 others | 1,281 | 33.9 % |\n" in card
    assert "part-29" not in card
    table = told(told(release(), "source", "table"), "options", {"domain": "advice", "winner": "0/1", "language": ""})
    assert "- Options: <code>winner</code> = <code>0/1</code>.\n" in cards.dataset_card(table, [])


def test_a_figure_leaves_out_what_would_hide_the_rest(tmp_path: Path) -> None:
    """Pairs that were not sampled are told in words, not as a bar; a few rows make no histogram."""
    words = re.search(r"!\[(.*?)\]", cards.dataset_card(release(), [], figure="assets/rows.png"))
    assert words is not None
    assert "of 2,210 candidates (82,000 more not sampled), 1,969 became rows; left behind: 190 diverging" in words[1]
    few = {**release().lengths, "length_ratio": {"0": 1, "1": 1}}
    assert "Histogram" not in cards.dataset_card(release(lengths=few), [], figure="assets/rows.png")
    rows_figure(release(lengths=few), tmp_path / "rows.png")
    assert (tmp_path / "rows.png").stat().st_size > 1000


def test_a_card_is_short_enough_to_read() -> None:
    """Long texts are cut: twenty rows of long Chinese texts make a card of at most 64 KB."""
    long = [
        {**row, **{side: [{"role": "assistant", "content": "话" * 9000}] for side in ("chosen", "rejected")}}
        | {"prompt": [{"role": "user", "content": "问" * 9000}]}
        for row in rows()
    ]
    assert len(cards.dataset_card(release(), long).encode()) < 64_000


def with_text(text: str) -> str:
    """Return a card in which everything that comes from outside is one text."""
    made = release(
        engine=text,
        engine_details={**release().engine_details} | {"model": text, "prompt": text, "parameters": {text: text}},
        dropped={text + " x": 3, "tie": 1},  # no name of a reason that is known
        redacted={text: 2},
        source_splits={text: 5, "helpful-base": 3},
        languages={"en": 3, text: 2},
        checks=({**release().checks[0], "name": text, "side": text, "judge": text, "note": text + "x"},),
        licence={"id": "mit", "name": "", "link": "", "note": text + "x", "because": (text,), "also": ()},
        releases=(whoseboat.versions.Release("1.0.0", text, (text, text)),),
        code_version=text,
        built_at=text,
        name=text,
    )  # fmt: skip
    for name in ("title", "pair_rule", "repo", "revision", "subset", "split", "safety_rule", "mixture_of", "citation"):
        made = told(made, name, f"{text} x")
    for name, value in (
        ("files", (text,)),
        ("held_out", (text,)),
        ("columns", {text: text}),
        ("options", {text: text + "x"}),
    ):
        made = told(made, name, value)
    shown = [
        {
            **row,
            "prompt": [{"role": "user", "content": text}],
            **{side: [{"role": "assistant", "content": text}] for side in ("chosen", "rejected")},
            **{f"{side}_persona": text for side in ("chosen", "rejected")},
        }
        for row in rows(3)
    ]
    return cards.dataset_card(made, shown, figure="assets/rows.png")


@given(hostile_text.filter(bool))
@example(HOSTILE)
@settings(max_examples=60)
def test_no_text_from_data_breaks_out(text: str) -> None:
    """Whatever a text holds, a Markdown parser finds the same blocks, links and tags as with a harmless one."""
    card = with_text(text)
    assert skeleton(card) == skeleton(with_text("harmless"))
    body = card.split("\n---\n", 1)[1]
    assert [body.count(marker) for marker in (BEGIN, END)] == [1, 1]
    assert cards.faults(card, "dataset", FILES) == []
    assert front_of(card)["configs"] == front_of(with_text("harmless"))["configs"]


@given(hostile_text | st.text(st.sampled_from([*"_*#+!&{}\\ab ~$:./|<>[]()`-=1"]), max_size=12))
@example(HOSTILE)
@example("foo_bar __init__ _x_ C# # 1 a+b! \\\\* \\frac{a}{b} {{x}} R&D &amp; ![x](y) a\\")
@settings(max_examples=300)
def test_a_text_shows_just_its_characters(text: str) -> None:
    """What a Markdown parser makes of an escaped text, in a paragraph, an item or a cell, is that text and no more."""
    line = printable(" ".join(text.split()))
    markdown = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    for place in ("x {} y", "- {}", "|a|\n|-|\n|{}|", "<code>{}</code>", "x\n{}!"):
        told = place.format(as_text(text))
        tokens = [one for block in markdown.parse(told) for one in block.children or []]
        assert {one.type for one in tokens} <= {"text", "text_special", "softbreak", "html_inline"}
        assert [one.content for one in tokens if one.type == "html_inline"] in ([], ["<code>", "</code>"])
        shown = "".join(one.content for one in tokens if one.type != "html_inline")
        assert line.strip() in shown or place != "x {} y"


def test_what_can_do_no_harm_stays_as_it_is() -> None:
    """A card can be read as a file, too: names in code and plain sentences hold no entities."""
    for text in ("max_tokens = 0.7", "2026-11-20T09:30:00+00:00", 'Say "no", C# & co!', "{a: 1} (50 %)", r"\frac"):
        assert as_text(text) == text


@given(hostile_text)
@example(HOSTILE)
def test_texts_in_code_and_links_stay_in_their_place(text: str) -> None:
    """A literal is that text to Python and nothing to HTML; an entry of BibTeX cannot end its block."""
    literal = as_literal(text)
    assert ast.literal_eval(literal) == text
    assert not set(literal) & set("<`\n\r\u2028")
    assert not set(as_bibtex(text)) & set("<`")
    assert re.sub(r"<https://[\w./~%#=-]+>", "", as_linked(text)).count("<") == 0


def test_links_are_only_of_plain_addresses() -> None:
    """An address becomes a link up to what cannot belong to it."""
    assert as_linked("see (https://example.org/a-b/c), and <https://x.org>") == (
        "see (<https://example.org/a-b/c>), and &#60;<https://x.org>&#62;"
    )


def test_the_figure(tmp_path: Path) -> None:
    """The figure is a PNG of 800 pixels in width, the same for the same manifest, and takes any reason and none."""
    odd = release(dropped={f"reason {number} $x^2$ \u200b {HOSTILE}": number for number in range(30)})
    for number, made in enumerate((release(), odd, release(lengths={}, dropped={}))):
        pictures = []
        for name in ("a", "b"):
            rows_figure(made, tmp_path / f"{number}/{name}.png")
            pictures.append((tmp_path / f"{number}/{name}.png").read_bytes())
        assert pictures[0] == pictures[1]
        assert pictures[0].startswith(b"\x89PNG\r\n\x1a\n")
        assert int.from_bytes(pictures[0][16:20]) == 800
        assert b"Software" not in pictures[0]


CARD = cards.dataset_card(release(), rows(2), figure="assets/rows.png")


def test_a_good_card_has_no_fault() -> None:
    """Nothing is wrong with the card of a release."""
    assert cards.faults(CARD, "dataset", FILES) == []


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("license: mit", "license: mine", "license 'mine' is none that the Hub knows."),
        ("license: mit", "license: other", "license is other, and there is no license_name."),
        ("license: mit", "license: [mit", "The YAML cannot be read"),
        ("license: mit\n", "", "The YAML lacks license."),
        ("pretty_name: HH-RLHF with inferred personas", "pretty_name:", "The YAML lacks pretty_name."),
        ("- en\n", "- English\n", "language 'English' is no code"),
        ("1K<n<10K", "1K<n<7K", "size_categories '1K<n<7K' is none"),
        ("pairs/test-*.parquet", "pairs/eval-*.parquet", "No file matches 'pairs/eval-*.parquet' of config 'pairs'."),
        ("  default: true\n", "  default: true\n  about: None\n", "None or nothing at configs[0].about."),
        ("assets/rows.png", "assets/gone.png", "A link leads to assets/gone.png, which is no file of the repo."),
        ("## Risks", "## Risks {{ title }}", "A piece of a template is left: {{ title }}."),
        ("## Risks", "## Risks\n\n[More Information Needed]", "A placeholder was not filled in: [More Info"),
        ('"acme/hh-rlhf-personas", split', '"PATH_OR_HUB_ID", split', "was not filled in: PATH_OR_HUB_ID."),
        ("<code>5bb6c33554f6bf6409bda449978afca7</code>", "<code>None</code>", "None stands where a value should"),
        (END, "", "The two markers of the generated block"),
        (BEGIN, f"{BEGIN}\n{BEGIN}", "The two markers of the generated block"),
        ("```bibtex", "````bibtex", "A block of code that begins with ```` is not closed."),
        ("## Risks", "```", "A block of code that begins with ``` is not closed before ```bibtex."),
        ("---\nlicense", "--\nlicense", "The card does not begin with YAML"),
    ],
)  # fmt: skip
def test_faults(old: str, new: str, says: str) -> None:
    """Every fault is found and told in a sentence."""
    assert old in CARD
    found = cards.faults(CARD.replace(old, new, 1), "dataset", FILES)
    assert any(fault.startswith(says) or says in fault for fault in found), found


def test_words_of_people_are_no_faults() -> None:
    """`None` and braces in what people say are not taken for something missing."""
    shown = rows(1)
    shown[0]["chosen"] = [{"role": "assistant", "content": "None"}]
    shown[0]["prompt"] = [{"role": "user", "content": "TODO: {{ what }} is None | None | [More Information"}]
    assert cards.faults(cards.dataset_card(release(), shown), "dataset", FILES) == []


def test_the_card_of_a_space() -> None:
    """A space needs a title and a kind, and no markers."""
    good = "---\ntitle: A\nsdk: static\n---\nText with [a file](index.html).\n"
    assert cards.faults(good, "space", ["index.html"]) == []
    assert cards.faults(good.replace("static", "flask"), "space", ["index.html"]) == [
        "sdk is 'flask', and none of docker, gradio, static, streamlit."
    ]


NEW = (
    f"---\nlicense: mit\ntags:\n- whoseboat\nconfigs:\n- config_name: pairs\n---\n\n{BEGIN}\n\n# Set\n\nnew\n\n{END}\n"
)


def present(front: str = "", before: str = "", made: str = "old", after: str = "") -> str:
    """Return a card as it may stand on the Hub."""
    return f"---\n{front}---\n\n{before}\n\n{BEGIN}\n\n{made}\n\n{END}\n\n{after}\n"


def test_without_a_card_there_the_new_one_is_sent_as_it_is() -> None:
    """Where nobody wrote anything, the card is the new one byte for byte."""
    for there in (None, "", NEW, present(), "---\nlicense: mit\n---\n"):
        assert cards.merge(NEW, there) == NEW
    assert cards.merge(NEW, None, NEW) == NEW


def test_what_a_person_wrote_is_kept() -> None:
    """Text before and after the block and keys of the YAML stay, tags are joined; what is made is made anew."""
    front = (
        "viewer: false\ntags:\n- mine\n- contrast\nconfigs: broken\nlicense: gpl\nlicense_name: old\nlanguage: [fr]\n"
    )
    merged = cards.merge(NEW, present(front, "# Mine\n\nRead this.", "old figures", "Thanks to\n\n```\na\n\n\nb\n```"))
    data = front_of(merged)
    assert data == {
        "license": "mit",
        "tags": ["whoseboat", "mine"],
        "configs": [{"config_name": "pairs"}],
        "viewer": False,
        "language": ["fr"],
    }
    body = merged.split("\n---\n", 1)[1]
    assert body == f"\n# Mine\n\nRead this.\n\n{BEGIN}\n\n# Set\n\nnew\n\n{END}\n\nThanks to\n\n```\na\n\n\nb\n```\n"


def test_a_card_without_markers_is_kept_below() -> None:
    """A card written before ours is kept below; one that a program made of nothing is not."""
    assert cards.merge(NEW, "---\nlicense: gpl\n---\n# Old\r\n\r\nBy hand.\n").endswith(f"{END}\n\n# Old\n\nBy hand.\n")
    assert cards.merge(NEW, "# Only text\n\nBy hand.").endswith(f"{END}\n\n# Only text\n\nBy hand.\n")
    from huggingface_hub import DatasetCard, DatasetCardData

    for empty in (
        DatasetCard.from_template(DatasetCardData(license="mit"), pretty_name="A set").content,
        '---\nlicense: mit\n---\n# Dataset Card for "a"\n\n[More Information needed](https://github.com/x/y)',
    ):
        assert cards.merge(NEW, empty).split("\n---\n", 1)[1] == NEW.split("\n---\n", 1)[1]


@pytest.mark.parametrize(
    "front", ["a: [b\n", "- a\n- b\n", "a: 2024-13-45\n", "a: &a [*b]\n", "\x07: a\n", "[" * 3000 + "\n"]
)
def test_broken_yaml_is_left_out_and_its_text_kept(front: str) -> None:
    """YAML that no program reads tells nothing; the text below it is a person's all the same."""
    merged = cards.merge(NEW, f"---\n{front}---\nBy hand.\n")
    assert front_of(merged) == front_of(NEW)
    assert merged.endswith(f"{END}\n\nBy hand.\n")


def test_configs_edited_by_hand_do_not_break_loading(tmp_path: Path) -> None:
    """A card whose configs somebody broke is put right by merging: the set loads, and their text is still there."""
    import datasets

    built = whoseboat.build("sample", tmp_path / "out", limit=12)
    path = built.path / "README.md"
    card = path.read_text(encoding="utf-8")
    broken = card.replace("path: pairs/train-*.parquet", "path: rows/*.csv").replace(
        "config_name: tailoring", "name: t"
    )
    path.write_text(cards.merge(card, f"{broken}\nOurs.\n"), encoding="utf-8")
    loaded = datasets.load_dataset(str(built.path), cache_dir=str(tmp_path / "cache"))
    assert sum(part.num_rows for part in loaded.values()) == 12
    assert path.read_text(encoding="utf-8") == f"{card}\nOurs.\n"


def test_the_local_text_joins_in() -> None:
    """Paragraphs and keys of the local card that the one on the Hub lacks are added, in their place."""
    there = present("viewer: false\n", "One.\n\nTwo.", after="End.")
    mine = present("viewer: true\nextra: 1\n", "Two.\n\nThree.", after="End.\n\nOne.\n\nMore.")
    merged = cards.merge(NEW, there, mine)
    assert (front_of(merged)["viewer"], front_of(merged)["extra"]) == (False, 1)
    assert f"\nOne.\n\nTwo.\n\nThree.\n\n{BEGIN}" in merged
    assert merged.endswith(f"{END}\n\nEnd.\n\nMore.\n")
    assert cards.merge(NEW, merged, mine) == merged


@pytest.mark.parametrize("card", [f"{BEGIN}\nx\n", f"x\n{END}\n", f"{END}\n{BEGIN}\n", f"{BEGIN}\n{BEGIN}\n{END}\n"])
def test_markers_that_enclose_no_block_are_an_error(card: str) -> None:
    """What people wrote is never guessed: rows that were taken down could come back with it."""
    with pytest.raises(DataError) as raised:
        cards.merge(NEW, card)
    assert "README.md of the repo" in str(raised.value)
    with pytest.raises(DataError) as raised:
        cards.merge(NEW, None, card)
    assert "README.md of the folder" in str(raised.value)


@given(
    st.text(st.characters(codec="utf-8"), max_size=80),
    st.text(st.sampled_from("ab`~ #\n\r\t-:>\u2028\x0c"), max_size=60),
    st.text(st.sampled_from("ab`~ #\n\r\t-:>\u2028\x0c"), max_size=60),
    st.booleans(),
)
def test_merging_twice_is_merging_once(front: str, before: str, after: str, has_block: bool) -> None:
    """A card that was merged stays as it is, whatever was in it."""
    there = f"---\n{front}\n---\n{before}\n{f'{BEGIN}{chr(10)}old{chr(10)}{END}' if has_block else ''}\n{after}"
    once = cards.merge(NEW, there)
    assert cards.merge(NEW, once) == once
    words = [word for word in re.findall(r"[ab]+", f"{before} {after}") if word]
    assert all(word in once.split(BEGIN)[0] + once.split(END)[1] for word in words)
    assert yaml.safe_load(once.split("\n---\n")[0].removeprefix("---\n"))["configs"] == [{"config_name": "pairs"}]
