"""SVG as matplotlib writes it, made fit for a page: no styles of its own, no names that occur twice, fewer digits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_DROPPED = {"metadata", "style"}
# What a page says of letters itself.
_LEFT_TO_PAGE = {"font-family", "font"}
_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")


def for_page(content: bytes, name: str, said: str, colours: Mapping[str, str], texts: Mapping[str, str]) -> str:
    """Return an SVG as an element of a page.

    Args:
        content: what matplotlib wrote.
        name: begins every id in it, so it must occur once in a page.
        said: what it shows, for those who do not see it.
        colours: what to put in place of colours.
        texts: what to put in place of texts.

    """
    root = ElementTree.fromstring(content)  # noqa: S314 - it was written here, by matplotlib
    _drop(root)
    used = {reference for element in root.iter() for reference in _references(element)}
    for element in root.iter():
        _mend(element, name, used, colours)
        if element.text is not None:
            element.text = texts.get(element.text, element.text)
    _flatten(root)
    _, _, width, height = root.attrib["viewBox"].split()
    root.attrib.clear()
    root.attrib |= {"viewBox": f"0 0 {width} {height}", "width": width, "height": height, "role": "img"}
    root.attrib |= {"aria-labelledby": f"{name}-title", "stroke-linejoin": "round"}
    title = ElementTree.Element(f"{{{_SVG}}}title", {"id": f"{name}-title"})
    title.text = said
    root.insert(0, title)
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{_SVG}}}")
        if element.tag != "text":
            element.tail = None
            element.text = element.text if element.tag == "title" else None
        else:
            element.tail = None
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=True)


def _drop(parent: ElementTree.Element) -> None:
    for child in list(parent):
        if child.tag.rpartition("}")[2] in _DROPPED:
            parent.remove(child)
        else:
            _drop(child)


def _references(element: ElementTree.Element) -> list[str]:
    target = element.get(f"{{{_XLINK}}}href", "")
    found = _REFERENCE.findall(" ".join(element.attrib.values()))
    return [*found, *([target[1:]] if target.startswith("#") else [])]


def _mend(element: ElementTree.Element, name: str, used: set[str], colours: Mapping[str, str]) -> None:
    """Turn styles into attributes, colours into those of the page, and references into such to names of its own."""
    attributes = dict(element.attrib)
    for part in attributes.pop("style", "").split(";"):
        key, _, value = part.partition(":")
        if value and key.strip() not in _LEFT_TO_PAGE:
            attributes[key.strip()] = value.strip()
    element.attrib.clear()
    for key, value in attributes.items():
        if key == "id":
            if value in used:
                element.set("id", f"{name}-{value}")
        elif key == f"{{{_XLINK}}}href":
            element.set("href", f"#{name}-{value[1:]}")
        elif key == "transform" and value.startswith("rotate(-0 "):
            continue
        else:
            short = _NUMBER.sub(lambda number: f"{float(number.group()):.2f}".rstrip("0").rstrip("."), value)
            short = _REFERENCE.sub(lambda found: f"url(#{name}-{found[1]})", short)
            element.set(key, colours.get(short, short).replace("\n", " ").strip())


def _flatten(parent: ElementTree.Element) -> None:
    """Take out groups that say nothing, and what holds nothing."""
    for child in list(parent):
        _flatten(child)
        tag = child.tag.rpartition("}")[2]
        if tag in ("g", "defs") and not child.attrib and (tag == "g" or not len(child)):
            place = list(parent).index(child)
            parent.remove(child)
            for number, inner in enumerate(list(child)):
                parent.insert(place + number, inner)
