"""E-mail addresses and telephone numbers in texts: found, and told without telling them.

Precision is worth more than breadth: digits count as a telephone number only in a form of its own. Found are numbers
with a country code after a plus, numbers of North America with marks between their three groups, and seven digits or
more right after a word such as "phone" or "call me at". Not found are other local numbers, numbers spelled in letters,
numbers of emergency services (three digits), and addresses written around the at sign ("ann at example dot com").

What nobody can own is left: addresses at the domains kept for examples (`example.com`, names under `.test` and so on),
`git@`, telephone numbers of the range kept for fiction (555-0100 to 555-0199), and one digit repeated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

# Whatever is read before a pattern fails is bounded, so the time is in proportion to the text.
_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+@-])(?P<name>[A-Za-z0-9][A-Za-z0-9._%+-]{0,63})@"
    r"(?P<domain>(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,5}(?P<top>[A-Za-z]{2,24}))(?![A-Za-z0-9@-])"
)
_EXAMPLE_DOMAIN = re.compile(
    r"(?:\A|\.)(?:example\.(?:com|net|org|edu)|(?:test|example|invalid|localhost|local))\Z", re.I
)
_NAMES_OF_NOBODY = frozenset(["git"])
# With a country code; of North America; after a word that announces a number.
_NUMBERS = (
    re.compile(r"(?<![\w+.)=^*/-])\+[1-9](?:[ .\-]?\(?\d{1,5}\)?){2,7}(?![\w%]|[.,]\d)"),
    re.compile(
        r"(?<![\w+.$€£#/=-])(?:1[ .-])?(?:\([2-9]\d{2}\) ?[2-9]\d{2}[ .-]|[2-9]\d{2}(?P<mark>[.-])[2-9]\d{2}(?P=mark))"
        r"\d{4}(?![\w%-]|[.,]\d)"
    ),
    re.compile(
        r"\b(?:phone|telephone|tel|mobile|cell|cellphone|fax|whatsapp|hotline|helpline|(?:call|text|ring)"
        r"(?: (?:me|us|him|her|them))?(?: (?:at|on))?)(?: (?:number|no|is|was|it's)){0,3}[.:,#]? {0,2}\(?"
        r"(?P<number>\d[\d ().\-]{5,18}\d)(?![\w%]|[.,]\d)",
        re.I,
    ),
)
_FEWEST_DIGITS, _MOST_DIGITS = 7, 15
_DATE = re.compile(
    r"(?:19|20)\d\d[ .-]\d\d?[ .-]\d\d?|\d\d?[ .-]\d\d?[ .-](?:19|20)\d\d|(?:19|20)\d\d ?- ?(?:19|20)\d\d"
)
_ADDRESS = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
_COUNTING = "01234567890123456789"
# What all telephone numbers have; a cheap first look.
_DIGITS = re.compile(r"\d[\d ().-]{5,}\d")
_FOR_FICTION = re.compile(r"1?\d{3}55501\d\d|55501\d\d")


@dataclass(frozen=True, slots=True)
class Contact:
    """Something to reach somebody by: of what kind, and as much of it as may be told."""

    kind: Literal["e-mail", "phone"]
    masked: str

    def __str__(self) -> str:
        """Return both."""
        return f"{self.kind} {self.masked}"


def contacts_in(text: str) -> tuple[Contact, ...]:
    """Return the e-mail addresses and telephone numbers in a text, masked, each once.

    >>> [str(contact) for contact in contacts_in("Write to ann.lee@mail.whoseboat.org, or call +44 20 7946 0958.")]
    ['e-mail a….org', 'phone …58']
    """
    found: dict[str, Contact] = {}
    if "@" in text:
        for address, masked in _addresses(text):
            found.setdefault(address.lower(), Contact("e-mail", masked))
    if _DIGITS.search(text):
        found |= {number: Contact("phone", f"…{number[-2:]}") for number in _numbers(text)}
    return tuple(found.values())


def _addresses(text: str) -> Iterator[tuple[str, str]]:
    """Yield addresses, and what may be told of each: its first letter, and the end of its domain."""
    for match in _EMAIL.finditer(text):
        if match["name"].lower() not in _NAMES_OF_NOBODY and not _EXAMPLE_DOMAIN.search(match["domain"]):
            yield match[0], f"{match['name'][0]}….{match['top']}"


def _numbers(text: str) -> Iterator[str]:
    """Yield the digits of telephone numbers."""
    for pattern in _NUMBERS:
        for match in pattern.finditer(text):
            written = match.groupdict().get("number") or match[0]
            digits = re.sub(r"\D", "", written)
            if _FEWEST_DIGITS <= len(digits) <= _MOST_DIGITS and not _is_none(written, digits):
                yield digits if len(digits) != 11 else digits.removeprefix("1")


def _is_none(written: str, digits: str) -> bool:
    """Say whether digits are a date, an address of the internet, nobody's number, or too regular for one."""
    written = written.strip()
    if _DATE.fullmatch(written) or _ADDRESS.fullmatch(written) or _FOR_FICTION.fullmatch(digits):
        return True
    return len(set(digits)) <= 2 or digits in _COUNTING
