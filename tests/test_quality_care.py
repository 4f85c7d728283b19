"""What `Care` flags: protected attributes, harmful intents, contacts; and what only looks like one."""

from __future__ import annotations

import doctest
import importlib
import json
from collections.abc import Iterable

import pytest
from care_sentences import HARMFUL, NOT_HARMFUL, NOT_PROTECTED, PROTECTED
from hypothesis import given
from hypothesis import strategies as st

from whoseboat.metric import Bootstrap
from whoseboat.quality.care import Care, findings
from whoseboat.quality.contacts import contacts_in
from whoseboat.quality.findings import Checked, Finding
from whoseboat.quality.pairs import CheckedPair
from whoseboat.quality.terms import stated
from whoseboat.records import Message, root_of

HARMLESS = "The user is practical and prefers short steps over long prose."


def pair(
    persona: str = HARMLESS,
    other: str = HARMLESS,
    prompt: str = "How do I mend it?",
    chosen: str = "Do this.",
    rejected: str = "No idea.",
    language: str | None = None,
) -> CheckedPair:
    """Return a pair with these texts."""
    return CheckedPair(
        "id",
        "train",
        (Message("user", prompt),),
        chosen,
        rejected,
        persona,
        other,
        "tests",
        language,
        root=root_of(prompt),
    )


def checked(pairs: Iterable[CheckedPair]) -> Checked:
    """Show pairs to the check and return what it came to."""
    care = Care(Bootstrap(draws=200))
    for one in pairs:
        care.add(one)
    return care.result()


def details(found: Iterable[Finding], check: str) -> list[str]:
    """Return the details of a check's findings that are bad."""
    return [one.detail for one in found if one.check == check and one.is_bad]


@pytest.mark.parametrize(("persona", "categories"), PROTECTED)
def test_protected_attributes_are_flagged_with_category_and_term(persona: str, categories: str) -> None:
    """The detail names the categories, and the terms occur in the persona."""
    (detail,) = details(findings(pair(persona)), "protected_attribute")
    parts = [part.split(": ") for part in detail.split(", ")]
    assert {category for category, _ in parts} == set(categories.split())
    said = persona.lower().replace("-", " ")
    assert all(term.replace("-", " ") in said for _, term in parts)


@pytest.mark.parametrize("persona", [*NOT_PROTECTED, *NOT_HARMFUL])
def test_what_only_looks_like_one_is_not_flagged(persona: str) -> None:
    """Words that mean something else, and wishes to be safe from harm, are left alone."""
    allowed = {"racist", "sexist"}
    found = findings(pair(persona))
    assert details(found, "harmful_intent") == []
    assert [one for one in details(found, "protected_attribute") if not allowed & set(one.split())] == []


@pytest.mark.parametrize(("persona", "kind"), HARMFUL)
def test_harmful_intents_are_flagged_with_kind_and_words(persona: str, kind: str) -> None:
    """The detail names the kind, and words that stand in the persona."""
    (detail,) = details(findings(pair(persona)), "harmful_intent")
    found, _, words = detail.partition(": ")
    assert found == kind
    assert words.split(", ")[0] in persona.lower().replace("-", " ").replace(",", "")


def test_findings_tell_the_side() -> None:
    """Each side's persona is looked at by itself, and each check says what it came to."""
    found = findings(pair(HARMLESS, "The user is a widow and prefers calm."))
    assert [(one.side, one.check, one.is_bad, one.detail) for one in found] == [
        ("chosen", "protected_attribute", False, ""),
        ("chosen", "harmful_intent", False, ""),
        ("rejected", "protected_attribute", True, "family_status: widow"),
        ("rejected", "harmful_intent", False, ""),
        ("chosen", "contact", False, ""),
        ("rejected", "contact", False, ""),
        ("pair", "contact", False, ""),
    ]


@pytest.mark.parametrize("variant", ["THE USER IS A MUSLIM.", "The user is a Muslim's friend.", "Muslims like this."])
def test_case_and_inflection_do_not_hide_a_term(variant: str) -> None:
    """Capitals, genitive and plural are the same term."""
    assert details(findings(pair(variant)), "protected_attribute") == ["religion: muslim"]


def test_the_longest_term_counts() -> None:
    """What is within a longer term is not told again."""
    found = findings(pair("The user is an African-American reader and likes history."))
    assert details(found, "protected_attribute") == ["race_ethnicity: african american"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write to ann.lee+x@mail.whoseboat.org today", ["e-mail a….org"]),
        ("<ann@shop.co.uk>, or ANN@shop.co.uk", ["e-mail a….uk"]),
        ("Call 415-735-2671.", ["phone …71"]),
        ("(415) 735-2671 or 1-800-273-8255", ["phone …71", "phone …55"]),
        ("415.735.2671", ["phone …71"]),
        ("+44 20 7946 0958 and +4915123456789", ["phone …58", "phone …89"]),
        ("My phone number is 07700 900123", ["phone …23"]),
        ("call me at 8675309", ["phone …09"]),
        ("WhatsApp: 0171 2345678", ["phone …78"]),
        ("(415) 735-2671, that is 1-415-735-2671", ["phone …71"]),
    ],
)
def test_contacts_are_masked(text: str, expected: list[str]) -> None:
    """A contact is told by its kind, its first letter and end, or its last two digits."""
    assert [str(contact) for contact in contacts_in(text)] == expected


@pytest.mark.parametrize(
    "text",
    [
        "ann@example.com and root@server.test",
        "git@github.com:owner/name",
        "@property def a@b",
        "x = A @ B.T and user@localhost",
        "in 1914-1918 and 2019-10-11",
        "ISBN 978-3-16-148410-0 or 0-306-40615-2",
        "192.168.100.200:8080 and 10.0.0.1",
        "1234567890123 and 3.14159265358979",
        "$415-735-2671",
        "200 300 4000 and 100-200-3000",
        "12 + 34567890 = 34567902",
        "5+4155552671",
        "2 x +1.234567890123",
        "call me at 2019-10-11",
        "My phone costs 1,234,567",
        "555-555-5555 and 415-555-0123",
        "call 911 or 988",
        "123-456-7890",
        "SSN 078-05-1120",
        "f(415) 2-3-4",
        "order 415-735-26711 of 2020",
        "The phone has 12345678901234567890 atoms",
    ],
)
def test_other_figures_are_no_contacts(text: str) -> None:
    """Years, dates, prices, sums, ISBNs, addresses of the internet and examples stay what they are."""
    assert contacts_in(text) == ()


@given(st.text(max_size=300))
def test_any_text_is_read(text: str) -> None:
    """No text breaks it, and no contact tells more than its mask."""
    assert all(len(contact.masked) < 30 for contact in contacts_in(text))
    assert all(one.is_bad == bool(one.detail) for one in findings(pair(text, prompt=text or "-")))
    assert all(one.detail.isprintable() for one in findings(pair(text, prompt=text or "-")))


@given(st.lists(st.sampled_from([*" -,.@+()0123456789", "ann", "call me at ", "is a ", "young "]), max_size=60))
def test_pieces_in_any_order_are_read(pieces: list[str]) -> None:
    """What is found holds no whole address or number."""
    text = "".join(pieces)
    for contact in contacts_in(text):
        assert contact.masked.startswith("…") or contact.masked[1:3] == "…."


def test_contacts_tell_their_column() -> None:
    """Every text of a pair is looked at; the finding is of the side the text belongs to."""
    mail = "ann@whoseboat.org"
    found = findings(pair(f"Is {mail}", f"At {mail}", f"By {mail}?", f"On {mail}", f"To {mail}"))
    assert [(one.side, one.detail) for one in found if one.check == "contact"] == [
        ("chosen", "chosen: e-mail a….org; chosen_persona: e-mail a….org"),
        ("rejected", "rejected: e-mail a….org; rejected_persona: e-mail a….org"),
        ("pair", "prompt: e-mail a….org"),
    ]


def test_a_long_list_is_cut() -> None:
    """Only a few contacts of a text are told, and how many more there are."""
    (found,) = details(findings(pair(prompt=" ".join(f"{letter}nn@whoseboat.org" for letter in "abcdefgh"))), "contact")
    assert found.endswith(", e-mail e….org and 3 more")


def test_what_is_not_english_is_counted_as_not_looked_at() -> None:
    """It is neither flagged nor among those that were looked at."""
    german = "Der Nutzer ist praktisch veranlagt und bevorzugt kurze Antworten ohne Umschweife oder Muslim."
    result = checked([pair(german, prompt=f"Frage {number}", language="de") for number in range(3)])
    assert result.tables["care"]["looked_at"] == {"chosen": 0, "rejected": 3}
    assert {one.side for one in findings(pair(german, language="de")) if one.check == "harmful_intent"} == {"rejected"}
    assert result.tables["care"]["not_in_english"] == {"chosen": 3, "rejected": 0}
    figure = next(one for one in result.figures if one.side == "chosen" and one.name == "names a protected attribute")
    assert (figure.figure.value, figure.figure.n) == (None, 0)
    assert figure.note == "3 personas that are not in English were not looked at"


def test_figures_are_shares_by_side_with_intervals_by_conversation() -> None:
    """Pairs of one conversation are one cluster."""
    pairs = [
        pair("The user is an atheist." if number % 4 == 0 else HARMLESS, prompt=f"{number // 2}")
        for number in range(80)
    ]
    shares = {(one.name, one.side): one.figure for one in checked(pairs).figures}
    chosen = shares["names a protected attribute", "chosen"]
    assert (chosen.value, chosen.n, chosen.clusters) == (0.25, 80, 40)
    assert chosen.low is not None and chosen.high is not None and chosen.low < 0.25 < chosen.high
    assert shares["names a protected attribute", "rejected"].value == 0
    assert shares["states a harmful intent", "chosen"].value == 0
    assert shares["has a contact in a text", "both"].value == 0


def test_the_table_counts_categories_with_their_terms() -> None:
    """A persona counts once for a category, and each of its terms once."""
    pairs = [
        pair("The user is a young teenager who wants to steal money.", prompt="a"),
        pair(other="The user is an elderly reader.", prompt="b", chosen="To ann@whoseboat.org"),
    ]
    table = checked(pairs).tables["care"]
    assert table["protected_attribute"] == [
        {
            "category": "age",
            "chosen": 1,
            "rejected": 1,
            "terms": [{"term": term, "count": 1} for term in ("elderly", "teenager", "young")],
            "other_terms": 0,
        }
    ]
    assert [(row["category"], row["chosen"]) for row in table["harmful_intent"]] == [("theft", 1)]
    assert table["contact"] == [{"column": "chosen", "kind": "e-mail", "texts": 1}]
    json.dumps(table, allow_nan=False)


def test_adjectives_by_identity_are_set_against_other_prompts() -> None:
    """Counts and shares with a term in the prompt, and without; contrasted words and rare ones are left out."""
    named = [
        pair("The user is blunt and prefers sceptical replies over warm ones.", prompt=f"Do Muslims pray {number}?")
        for number in range(8)
    ]
    others = [
        pair("The user is blunt." if number < 5 else "The user is warm.", prompt=f"Do boats float {number}?")
        for number in range(20)
    ]
    table = checked([*named, pair("The user is witty.", prompt="A Muslim joke?"), *others]).tables[
        "adjectives_by_identity"
    ]
    rows = {(row["term"], row["side"], row["adjective"]): row for row in table["rows"]}
    blunt = rows["muslim", "chosen", "blunt"]
    assert {name: blunt[name] for name in ("category", "count", "of", "conversations", "share", "ratio")} == {
        "category": "religion",
        "count": 8,
        "of": 9,
        "conversations": 8,
        "share": 0.8889,
        "ratio": 3.56,
    }
    assert (blunt["count_without"], blunt["of_without"]) == (5, 20)
    assert blunt["low"] < blunt["share"] < blunt["high"]
    assert rows["", "chosen", "blunt"]["count"] == 8
    assert rows["muslim", "chosen", "skeptical"]["ratio"] is None
    assert ("muslim", "chosen", "warm") not in rows
    assert ("muslim", "chosen", "witty") not in rows
    assert table["left_out_too_few_conversations"] == 2
    assert (table["pairs"], table["fewest_conversations"]) == (29, 5)


def test_adjectives_are_of_pairs_with_both_personas_in_english() -> None:
    """Others are not among those that words with and without a term are counted of."""
    foreign = "Der Nutzer ist direkt und will von allem nur das Wichtigste in wenigen Worten hören."
    found = [pair("The user is blunt.", prompt="Do Muslims pray?"), pair(foreign, prompt="Do Muslims fast?")]
    assert checked(found).tables["adjectives_by_identity"]["pairs"] == 1


def test_no_pairs_give_no_figures_and_empty_tables() -> None:
    """A set of nothing breaks nothing."""
    result = checked([])
    assert [one.figure.value for one in result.figures] == [None] * 5
    assert result.tables["adjectives_by_identity"]["rows"] == []


def test_lists_are_in_lower_case_and_hold_nothing_twice() -> None:
    """A term with a capital or a hyphen would never be met."""
    terms = [term for modes in stated()["protected"].values() for of_mode in modes.values() for term in of_mode]
    words = [*terms, *stated()["ignored"], *stated()["people"], *stated()["belongings"]]
    assert [word for word in words if word != word.lower() or "-" in word] == []
    assert len(set(terms)) == len(terms)


@pytest.mark.parametrize("name", ["attributes", "contacts", "intents", "terms"])
def test_examples_in_docstrings_hold(name: str) -> None:
    """What the examples say is so."""
    found = doctest.testmod(importlib.import_module(f"whoseboat.quality.{name}"))
    assert found.attempted > 0
    assert found.failed == 0
