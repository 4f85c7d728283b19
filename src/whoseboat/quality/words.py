"""Words of a persona: its tokens, their lemmas, and what stands apart as contrasted: "over", "rather than" and so on.

A token is a run of letters and digits in lower case, with apostrophes and hyphens inside it: "to-the-point" says more
than "to", "the" and "point", and "over-the-top" is no "over". Of scripts that put no spaces between words every
character is a token, so that a vocabulary stays one.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache, lru_cache


def _set_of(words: str) -> frozenset[str]:
    return frozenset(words.split())


_ASCII_WORD = r"[A-Za-z0-9]+(?:['-][A-Za-z0-9]+)*"
# What ends a sentence ends a clause; a comma may. A stop within a word or a number is none.
_STOP = r"[.!?;](?=\s|\Z)|,"
_STOPS = frozenset(".!?;,")
_ASCII_ITEM = re.compile(rf"{_ASCII_WORD}|{_STOP}")
# Thai and Lao, Myanmar, Khmer, kana, Han.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"

# Few on purpose: what every persona has to have for grammar's sake, or by its frame ("the user is ... and prefers
# ..."). "without", "before", "not", "more" and "most" are none: they tell sides apart.
_STOP_WORDS = _set_of(
    "a an the this that these those it its itself they them their theirs themselves he him his she her hers who whom"
    " whose which what i me my you your we us our one ones be am is are was were been being have has had having do does"
    " did doing will would can could may might should must shall to of in on at by for from with into as and or but nor"
    " so if than then there here such when where while how it's that's they're user users user's person people someone"
    " individual prefer prefers preferred preferring"
)

_PAIRS = frozenset([("rather", "than"), ("instead", "of"), ("compared", "to"), ("compared", "with"), ("opposed", "to")])
_MARKER_BEGINS = _set_of("over rather instead versus vs compared as")

# What takes an "over" that contrasts nothing. Few, since an "over" of a persona mostly contrasts: "talking over",
# "going over" and "reading over" may be either, and are taken for contrasts.
_OVER_OF_VERBS = _set_of(
    "gloss glosses glossed glossing mull mulls mulled mulling watches agonize agonizes agonizing agonise agonises"
    " agonising argue argues arguing fusses fussing linger lingers lingering obsess obsesses obsessing pore pores"
    " poring preside presides presiding handing handed takes taking"
)
_POWERS = _set_of(
    "control power authority influence autonomy agency ownership mastery command oversight sovereignty dominion"
    " jurisdiction concern concerns worry worries"
)
_OBJECTS_OF_POWER = _set_of("the their his her its every each all how what which when where who whether everything")
_OVER_ALONE = _set_of("and or but again here there to with by")
_MODIFIERS = _set_of(
    "the a an their his her its one's these those several many past last next coming few long longer short shorter some"
    " any extended prolonged whole entire couple of"
)
_NUMERALS = _set_of(
    "two three four five six seven eight nine ten twelve twenty thirty forty fifty sixty seventy eighty ninety hundred"
    " thousand million dozen"
)
_SPANS = _set_of(
    "time times second seconds minute minutes hour hours day days night nights week weeks weekend weekends month months"
    " season seasons semester summer winter year years decade decades century centuries generation generations period"
    " periods course lifetime life span"
)
_MEDIA = _set_of("phone telephone internet web network radio air counter top edge")

_RESUMING = _set_of("and but while yet")
# After "and" these go on with what the user does, not with what is contrasted.
_VERBS_OF_USERS = _set_of(
    "prefers values wants likes seeks appreciates enjoys favors favours trusts expects is wishes believes tends"
)


@dataclass(frozen=True, slots=True)
class Parts:
    """The tokens of a persona in three: what it says, what it contrasts that with, and the words that mark it.

    Together they are all its tokens, in the order they stand within each.
    """

    main: tuple[str, ...]
    clause: tuple[str, ...]
    marker: tuple[str, ...]

    @property
    def has_clause(self) -> bool:
        """Whether anything is contrasted."""
        return bool(self.clause)


def tokens(text: str) -> list[str]:
    """Return the words of a text, in lower case.

    >>> tokens("The user's DETAIL-oriented: prefers “step-by-step” help, 24/7.")
    ['the', "user's", 'detail-oriented', 'prefers', 'step-by-step', 'help', '24', '7']
    """
    return [item.lower() for item in _items(text) if item not in _STOPS]


def parts(persona: str) -> Parts:
    """Return the words of a persona apart: those of the contrasted clause, and the rest.

    A clause begins with over, rather than, instead of, versus, vs, compared to, compared with or as opposed to, and
    goes on to the end of the sentence, to a semicolon, or to an "and" (or but, while, yet) with which the user begins
    anew, as in "and values"; one that begins a sentence ends at its first comma. Looked at are words, never letters:
    "overview" holds no "over". English only.

    An "over" is no contrast where nothing follows it, before a time ("over time", "over the past two years"), figures
    ("over 40", "over forty"), "the phone" and the like, in "all over the", after verbs that go with it ("gloss over"),
    and after control, power, concern and the like where their object follows ("control over their work").

    Not handled: "in comparison to", "in place of", "more than", "not X but Y"; contrasts without such a word; "over 10
    options", which is a contrast and taken for none; "over coffee", the other way round; verbs not known to go with
    "over"; a clause between two commas that is not the first in its sentence; and a full stop of an abbreviation
    before a capital, which ends the clause.

    >>> parts("The user is brisk and prefers an overview over detail.").clause
    ('detail',)
    """
    items = _items(persona)
    words = [item.lower() for item in items]
    if _MARKER_BEGINS.isdisjoint(words):
        return Parts(tuple(word for word in words if word not in _STOPS), (), ())
    main: list[str] = []
    clause: list[str] = []
    marker: list[str] = []
    into, is_leading, place = main, False, 0
    while place < len(words):
        size = _marker_at(words, place)
        if size:
            is_leading = into is main and (place == 0 or words[place - 1] in ".!?;")
            into = clause
            marker += words[place : place + size]
        elif words[place] in _STOPS:
            size = 1
            into = main if _ends_clause(items, place, is_leading) else into
        else:
            size = 1
            into = main if _resumes(words, place) else into
            into.append(words[place])
        place += size
    return Parts(tuple(main), tuple(clause), tuple(marker))


@lru_cache(maxsize=1 << 17)
def lemma(token: str) -> str:
    """Return the base form of an English token, looked up in the word list of `simplemma`.

    The list knows no context: "nuanced" becomes "nuance", "bare" becomes "bear", and some entries are no words
    ("thinking" becomes "thinke"); so show a form that was seen beside it. Compounds with a hyphen stay as they are
    ("detail-oriented" is no form of "detail-orient"), so do words with an apostrophe but for a genitive, and what is
    not ASCII.

    >>> lemma("explanations"), lemma("user's"), lemma("don't"), lemma("well-known")
    ('explanation', 'user', "don't", 'well-known')
    """
    import simplemma

    token = token.removesuffix("'s")
    if not token.isascii() or not token.isalpha():
        return token
    found: str = simplemma.lemmatize(token, lang="en")
    return found.lower()


def is_stop_word(token: str) -> bool:
    """Say whether a token is one of the few English words that every persona has to have, or no word but figures."""
    return token in _STOP_WORDS or not any(map(str.isalpha, token))


def _items(text: str) -> list[str]:
    """Return words and stops, as they are written but for typographic apostrophes and hyphens."""
    if text.isascii():
        return _ASCII_ITEM.findall(text)
    text = unicodedata.normalize("NFC", text)
    for typographic, plain in (("’", "'"), ("‐", "-"), ("‑", "-")):  # noqa: RUF001 - that is what they are for
        text = text.replace(typographic, plain)
    found: list[str] = _unicode_item().findall(text)
    return found


@cache
def _unicode_item() -> re.Pattern[str]:
    """Return what finds words and stops in any script: many write vowels as marks, which are no letters."""
    marks = "".join(chr(code) for code in range(0x300, 0x1D00) if unicodedata.category(chr(code)).startswith("M"))
    letter = rf"[^\W_{_UNSPACED}]"
    run = rf"{letter}(?:{letter}|[{marks}])*"
    return re.compile(rf"[{_UNSPACED}][{marks}]*|{run}(?:['-]{run})*|{_STOP}")


def _marker_at(words: list[str], place: int) -> int:
    """Return how many words mark a contrast that begins here; 0 where none does."""
    word = words[place]
    if word not in _MARKER_BEGINS:
        return 0
    size = 1
    if word == "as":
        size = 3 if tuple(words[place + 1 : place + 3]) == ("opposed", "to") else 0
    elif word not in ("over", "versus", "vs"):
        size = 2 if tuple(words[place : place + 2]) in _PAIRS else 0
    if word == "over" and not _contrasts(words, place):
        return 0
    return size


def _contrasts(words: list[str], place: int) -> bool:
    """Say whether the "over" at a place weighs one thing against another."""
    before = words[place - 1] if place else ""
    after = words[place + 1 : place + 8]
    if not after or after[0] in _STOPS or after[0] in _OVER_ALONE or after[0][0].isdigit():
        return False
    if before in _OVER_OF_VERBS or (before in _POWERS and after[0] in _OBJECTS_OF_POWER):
        return False
    if after[0] == "the" and (not _MEDIA.isdisjoint(after[1:2]) or _is_all(words, place)):
        return False
    noun = next((word for word in after if word not in _MODIFIERS and word not in _NUMERALS), ".")
    return noun not in _SPANS and not (noun in _STOPS and after[0] in _NUMERALS)


def _is_all(words: list[str], place: int) -> bool:
    """Say whether "all" stands before a place, and no "at all"."""
    return words[max(place - 2, 0) : place][-1:] == ["all"] and words[max(place - 2, 0) : place] != ["at", "all"]


def _ends_clause(items: list[str], place: int, is_leading: bool) -> bool:
    """Say whether a clause ends at a stop; the full stop of an abbreviation before a small letter ends none."""
    stop = items[place]
    if stop == ",":
        return is_leading
    if stop == "." and place and items[place - 1].lower() == "vs":
        return False
    return stop == ";" or place + 1 == len(items) or items[place + 1][0].isupper()


def _resumes(words: list[str], place: int) -> bool:
    """Say whether the user begins anew at a place, with a verb that something follows."""
    if words[place] not in _RESUMING:
        return False
    after = words[place + 1 : place + 3]
    return len(after) == 2 and after[0] in _VERBS_OF_USERS and after[1] not in _STOPS
