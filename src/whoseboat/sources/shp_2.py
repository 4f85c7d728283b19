"""stanfordnlp/SHP-2: SHP with more of Reddit, and with Stack Exchange: posts and two replies, one voted higher.

Rows become pairs as those of SHP do; see `whoseboat.sources.shp`. The card says that both halves have SHP's columns;
the rows themselves were not seen. Files, verified on the repo's listing: `reddit/SUBREDDIT/train.json`,
`validation.json` and `test.json` (70 subreddits), `stackexchange/stack_SITE/...` (59 sites). The option `site` takes
names of directories of either level. Licence: none stated; the texts came under the terms of Reddit's API and, those
of Stack Exchange, under CC BY-SA.

Quirk: texts of Stack Exchange are HTML. By default (`html=strip`) the tags that its Markdown gives are taken out of a
text that has a paragraph, a list, a heading, a quotation or a block of code in HTML: paragraphs are set apart by an
empty line, items of a list begin with a hyphen, entities become characters; links and images lose their address. All
else that is between angle brackets stays, and so do texts without such tags, as those of Reddit. `html=keep` leaves
all texts as published. Not verified: that every site writes English, as the card says.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping

from whoseboat.published import Records, read_published
from whoseboat.records import Drop, Pair
from whoseboat.sources import Option, Reading, Request, Source, shp

_BLOCKS = ("p", "pre", "blockquote", "ul", "ol", "h1", "h2", "h3", "h4", "h5", "h6")
_OTHERS = "a b br code dd del div dl dt em hr i img kbd li s span strike strong sub sup table tbody td th thead tr"
_BLOCK = re.compile(rf"</?(?:{'|'.join(_BLOCKS)})(?:\s[^<>]*)?>", re.IGNORECASE)
_TAG = re.compile(rf"<(/?)({'|'.join([*_BLOCKS, *_OTHERS.split()])})(?:\s[^<>]*)?/?>", re.IGNORECASE)
_SPACED = {"div", "hr", "table", *_BLOCKS}
_BROKEN = {"br", "dd", "dt", "tr"}


def plain(text: str) -> str:
    r"""Return a text of Stack Exchange without its HTML; any other is only stripped.

    >>> plain("<p>Is <em>x</em> &lt; 2?</p><ul><li>Yes.</li></ul><T>")
    'Is x < 2?\n\n- Yes.\n\n<T>'

    Raises:
        ValueError: an entity stands for a number too large to be read.

    """
    if not _BLOCK.search(text):
        return text.strip()
    lines = html.unescape(_TAG.sub(_space, text.replace("\n<li", "<li"))).split("\n")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(line.rstrip() for line in lines)).strip()


def _space(match: re.Match[str]) -> str:
    """Return what stands in the place of a tag."""
    name = match[2].lower()
    if name == "li" and not match[1]:
        return "\n- "
    return "\n\n" if name in _SPACED else "\n" if name in _BROKEN else ""


def to_pairs(records: Records, options: Mapping[str, str]) -> Iterator[Pair | Drop]:
    """Turn each row into a pair."""
    return shp.to_pairs(records, options, plain if options["html"] == "strip" else str.strip)


def read(request: Request) -> Reading:
    """Open the set: on the Hub, or its files on disk."""
    reading = read_published(SOURCE, request, to_pairs, shp.REQUIRED, is_wanted=shp.is_of("site"))
    return shp.checked(reading, "site")


SOURCE = Source(
    name="shp-2",
    title="Stanford Human Preferences 2 (SHP-2)",
    about=(
        "Each row is one pair: of two replies to a post on Reddit or Stack Exchange the one with the higher score, "
        "though it was not written earlier, is chosen. Votes of many readers, not one person's choice. Pairs whose "
        "score ratio is below min_ratio are dropped."
    ),
    read=read,
    options=(
        Option("site", "which directories to read, such as reddit, stackexchange or stack_cooking", "all", many=True),
        Option("html", "what is done to the HTML of Stack Exchange", "strip", ("strip", "keep")),
        shp.MIN_RATIO,
        shp.CAP,
    ),
    repo="stanfordnlp/SHP-2",
    revision="97905d2ed3eb4ec7e368b8df17258487a60598bb",
    size="about 4.8 million pairs",
    languages=("en",),
    files="reddit/SUBREDDIT/train.json and stackexchange/stack_SITE/train.json, validation.json and test.json beside",
    citation=shp.SOURCE.citation,
    by_record=True,
)
