"""Statements of an intent to do harm in a text about a user, by the patterns of `care_terms.toml`.

A pattern is a verb with one of its objects in the next few words, two words near one another, or a phrase. A verb
counts where it can be what the user does or intends ("to hurt people", "hurting people", "who hurts people"; not "how
poisons hurt people"), and nothing where what stands before it in the clause turns it round: "wants to avoid hurting
people", "concerned about hurting people", "a refusal rather than help with hurting people".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from whoseboat.quality.attributes import ignored_places
from whoseboat.quality.terms import END, Found, Words, context, plural, stated, words_for_people

# From a verb to its object, and back from it to what negates it, there are at most so many words.
_MOST_TO_OBJECT, _MOST_TO_NEGATION = 4, 14
_PEOPLE = "@people"
_NEGATIONS = frozenset(["not", "never", "without", "no", "doesn't", "don't", "isn't"])
_DOUBLES_ITS_LAST_LETTER = re.compile(r"[^aeiou]*[aeiou][^aeiouwxy]|kidnap")

Form = Literal["base", "third", "gerund", "no verb"]


@dataclass(frozen=True, slots=True)
class _Rule:
    """A first part, and a second one of these in the next few words; without any the first is enough."""

    kind: str
    first: tuple[str, ...]
    second: frozenset[tuple[str, ...]]
    form: Form


def harmful_intents(text: str, words: Words | None = None) -> list[Found]:
    """Return the harmful intents that an English text states, each once: the kind, and the words that say it.

    >>> harmful_intents("The user wants to secretly build a pipe bomb and avoids hurting animals.")
    [Found(category='weapons_drugs', term='build a pipe bomb')]
    """
    words = words or Words.of(text)
    found: dict[Found, None] = {}
    ignored: set[int] | None = None
    for place, word in enumerate(words.words):
        for rule in _rules().get(word, ()):
            end = _end_of(rule, words, place)
            if end and not _is_negated(words, place):
                ignored = ignored_places(words) if ignored is None else ignored
                if ignored.isdisjoint((place, end - 1)):
                    found[Found(rule.kind, " ".join(words.words[place:end]))] = None
                    break
    return list(found)


@cache
def _rules() -> Mapping[str, list[_Rule]]:
    """Return the rules by the first word they begin with, the longest first."""
    rules: dict[str, list[_Rule]] = {}
    for group in stated()["harm"]:
        for rule in _rules_of(group):
            rules.setdefault(rule.first[0], []).append(rule)
    for same in rules.values():
        same.sort(key=lambda rule: -len(rule.first))
    return rules


def _rules_of(group: Mapping[str, Any]) -> Iterator[_Rule]:
    kind, named = group["kind"], [*group.get("objects", ()), *group.get("second", ())]
    second = frozenset(tuple(text.split()) for text in named if text != _PEOPLE)
    if _PEOPLE in named:
        second |= {(word,) for word in words_for_people() | context("people_pronouns")}
    for phrase in group.get("phrases", ()):
        yield _Rule(kind, tuple(phrase.split()), frozenset(), "no verb")
    for text in group.get("first", ()):
        yield _Rule(kind, tuple(text.split()), second, "no verb")
    for text in group.get("verbs", ()):
        *adverbs, verb = text.split()[:2] if text.startswith("secretly ") else text.split()[:1]
        rest = text.split()[len(adverbs) + 1 :]
        forms: dict[Form, str] = {"base": verb, "third": plural(verb), "gerund": _gerund(verb)}
        for form, written in forms.items():
            yield _Rule(kind, (*adverbs, written, *rest), second, form)


def _gerund(verb: str) -> str:
    """Return the form in -ing of a verb."""
    if verb.endswith("ie"):
        return f"{verb[:-2]}ying"
    if verb.endswith("e"):
        return f"{verb[:-1]}ing"
    if verb.endswith("ic"):
        return f"{verb}king"
    return f"{verb}{verb[-1]}ing" if _DOUBLES_ITS_LAST_LETTER.fullmatch(verb) else f"{verb}ing"


def _end_of(rule: _Rule, words: Words, place: int) -> int:
    """Return where what a rule describes ends, if it begins here; else 0."""
    end = place + len(rule.first)
    if not words.has(rule.first, place) or not _is_users(rule.form, words, place):
        return 0
    if not rule.second:
        return end
    for start in range(end, min(end + _MOST_TO_OBJECT, len(words.words))):
        if words.gaps[start] == END:
            return 0
        for second in rule.second:
            if words.words[start] == second[0] and words.has(second, start):
                return start + len(second)
        if rule.form != "no verb" and words.words[start] in context("breaks"):
            return 0
    return 0


def _is_users(form: Form, words: Words, place: int) -> bool:
    """Say whether a form of a verb can be what the user does or wants."""
    if form in ("gerund", "no verb"):
        return True
    before = [word for word in words.before(place, 3) if not word.endswith("ly")]
    if form == "base" and before[-1:] == ["that"]:
        return before[-2:-1] != [] and before[-2] in context("answers")
    return bool(before) and before[-1] in context("before_base" if form == "base" else "before_third")


def _is_negated(words: Words, place: int) -> bool:
    """Say whether what comes before, in the same clause, says the opposite or is a wish to be safe from it."""
    for before in range(place - 1, max(place - 1 - _MOST_TO_NEGATION, -1), -1):
        word = words.words[before]
        if words.gaps[before + 1] == END or word in ("but", "yet"):
            return False
        if word in context("negates"):
            return not _has_no_scruples(words, before)
        if word == "from" and before == place - 1:
            return words.words[before - 1] not in context("intends")  # "keep from hurting", not "pleasure from hurting"
        if word in context("intends"):
            return not _NEGATIONS.isdisjoint(words.before(before, 2))
    return False


def _has_no_scruples(words: Words, place: int) -> bool:
    """Say whether what negates is itself taken back: "not afraid to", "without remorse", "does not care about"."""
    scruples, after = context("scruples"), words.words[place + 1 : place + 3]
    if words.words[place] in _NEGATIONS:
        return not scruples.isdisjoint(after)
    return words.words[place] in scruples and not _NEGATIONS.isdisjoint(words.before(place, 2))
