"""The page of a report: texts, styles and the script in one file that asks for nothing else."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from whoseboat import __version__
from whoseboat.errors import printable
from whoseboat.reporting.charts import NARROW, WIDE, Chart, svg
from whoseboat.reporting.rows import LONGEST, WORST_OF_EACH, Explorer
from whoseboat.reporting.sections import Content
from whoseboat.reporting.words import size

if TYPE_CHECKING:
    import jinja2
    from markupsafe import Markup

# What stands in every page of ours, so that none of anybody else's is replaced.
MARK = '<meta name="generator" content="whoseboat '
_GAPS = re.compile(r"[^\S\u00a0]+")
_CODE = re.compile(r"`([^`]+)`")


def page(content: Content, rows: Explorer | None, no_rows: str = "") -> bytes:
    """Return the page of a report.

    Args:
        content: what it says.
        rows: the pairs to go through.
        no_rows: why there are none, where there are none.

    """
    from markupsafe import Markup

    style, script = _text("page.css"), _text("page.js")
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    text = (
        _environment()
        .get_template("page.html.jinja")
        .render(
            policy=policy,
            version=__version__,
            style=Markup(style),  # noqa: S704 - a file of this package
            script=Markup(script),  # noqa: S704 - a file of this package
            content=content,
            drawn=_drawn,
            rows=rows,
            data=Markup(rows.data) if rows else "",  # noqa: S704 - escaped: see `rows.as_script`
            data_size=size(len(rows.data.encode(errors="replace"))) if rows else "",
            no_rows=no_rows,
            longest=LONGEST,
            worst_of_each=WORST_OF_EACH,
        )
    )
    return text.encode("utf-8", "replace")


def _drawn(chart: Chart) -> Markup:
    """Return a chart for wide and for narrow windows; letters of data in it are escaped by the writer of XML."""
    from markupsafe import Markup

    wide, narrow = (svg(chart, width) for width in (WIDE, NARROW))
    return Markup(  # noqa: S704 - written as XML
        f'<div class="wide">{wide}</div><div class="narrow">{narrow}</div>'
    )


def _hash(text: str) -> str:
    """Return what lets a browser run or apply this text and no other."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _text(name: str) -> str:
    return (resources.files("whoseboat.reporting") / name).read_text(encoding="utf-8")


@cache
def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_text),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"line": _line, "prose": _prose}
    return environment


def _line(text: object) -> str:
    """Return a text from data on one line, without what cannot be seen; what is not to be broken stays whole."""
    return printable(_GAPS.sub(" ", str(text)).strip())


def _prose(text: str) -> Markup:
    """Return a sentence whose commands are set as code."""
    from markupsafe import Markup, escape

    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(_line(text)))))  # noqa: S704 - escaped
