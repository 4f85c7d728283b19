"""What `Care` flags: protected attributes, harmful intents, contacts; and what only looks like one."""

from __future__ import annotations

import doctest
import importlib
import json
from collections.abc import Iterable

import pytest
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
# A persona, and the categories of what it names.
PROTECTED = [
    ("The user is a young woman who prefers short answers.", "age gender"),
    ("The user is an elderly man and prefers large print.", "age gender"),
    ("The user is a Black woman who values directness.", "gender race_ethnicity"),
    ("The user is Asian American and prefers personal stories.", "race_ethnicity"),
    ("A Latina mother who wants quick recipes.", "family_status race_ethnicity"),
    ("The user is white and likes blunt answers.", "race_ethnicity"),
    ("The user is of Indian descent and prefers vegetarian options.", "nationality_origin"),
    ("The user is Canadian, and prefers metric units.", "nationality_origin"),
    ("The user is from Nigeria and prefers local examples.", "nationality_origin"),
    ("The user was born in the Philippines and prefers simple English.", "nationality_origin"),
    ("The user is a non-native speaker and prefers plain words.", "nationality_origin"),
    ("The user is a devout Muslim and prefers halal options.", "religion"),
    ("The user values Christian beliefs over secular advice.", "religion"),
    ("The user is Jewish and prefers historical depth.", "religion"),
    ("The user is religious and prefers moral guidance.", "religion"),
    ("The user is an atheist who likes scientific answers.", "religion"),
    ("The user enjoys jokes about Catholics.", "religion"),
    ("The user is a gay man and prefers inclusive replies.", "gender sexual_orientation"),
    ("The user is a straight woman who likes romance.", "gender sexual_orientation"),
    ("The user is bisexual and open-minded.", "sexual_orientation"),
    ("The user is transgender and prefers respectful language.", "gender"),
    ("The user is non-binary and prefers they.", "gender"),
    ("The user is a man, and prefers facts.", "gender"),
    ("The user is blind and prefers descriptions in words.", "disability_health"),
    ("As a deaf person, the user prefers text.", "disability_health"),
    ("The user has ADHD and prefers short lists.", "disability_health"),
    ("The user is autistic and prefers literal wording.", "disability_health"),
    ("The user is a wheelchair user who plans ahead.", "disability_health"),
    ("The user is depressed and prefers gentle encouragement.", "disability_health"),
    ("The user lives with chronic pain and prefers rest.", "disability_health"),
    ("The user is 70 years old and prefers patience.", "age"),
    ("The user is a 16-year-old who likes slang.", "age"),
    ("The user is in her late sixties and prefers formality.", "age"),
    ("The user is a teenager and prefers casual talk.", "age"),
    ("The user is middle-aged and practical.", "age"),
    ("Older adults who prefer slow explanations.", "age"),
    ("The user is a conservative and prefers tradition.", "political_view"),
    ("The user is politically liberal and likes debate.", "political_view"),
    ("The user holds right-wing views and prefers blunt talk.", "political_view"),
    ("The user is a Republican voter who likes brevity.", "political_view"),
    ("The user has progressive values and prefers inclusive wording.", "political_view"),
    ("The user is pregnant and prefers cautious advice.", "family_status"),
    ("The user is a busy parent and prefers quick meals.", "family_status"),
    ("The user is a single mother who values time.", "family_status"),
    ("The user is married and prefers shared plans.", "family_status"),
    ("The user is an undocumented immigrant who is wary of forms.", "immigration_status"),
    ("The user is a refugee and prefers plain steps.", "immigration_status"),
    ("The user prefers generalisations about race over facts.", "race_ethnicity"),
    ("The user assumes that women are worse drivers.", "gender"),
    ("The user is an African-American student who likes history.", "race_ethnicity"),
]
NOT_PROTECTED = [
    "The user is blind to the drawbacks and prefers praise.",
    "The user is deaf to criticism and prefers flattery.",
    "The user prefers black-and-white photos over colour.",
    "The user prefers black and white answers to nuance.",
    "The user is practical and prefers a disabled checkbox to a hidden one.",
    "The user likes Indian cuisine and prefers detailed recipes.",
    "The user is a fan of French films and prefers subtitles.",
    "The user enjoys caring for young plants and prefers steady advice.",
    "The user likes race cars and prefers technical detail.",
    "The user is direct and prefers a straight answer.",
    "The user is straight and to the point.",
    "The user owns an old computer and prefers light software.",
    "The user is interested in old books and prefers long answers.",
    "The user is patient and prefers thorough explanations.",
    "The user is conservative and prefers minimal edits.",
    "The user prefers conservative estimates over bold ones.",
    "The user is a progressive learner and prefers several levels.",
    "The user makes liberal use of examples and prefers them long.",
    "The user prefers a single answer over several.",
    "The user is single-minded and prefers focus.",
    "The user is young at heart and prefers playful replies.",
    "The user puts blind faith in experts.",
    "The user prefers talking as with an old friend.",
    "The user is a dreamer and prefers imaginative answers.",
    "The user values polish and prefers refined wording.",
    "The user prefers platform-agnostic tools.",
    "The user likes language agnostic advice and brevity.",
    "The user is anxious and prefers reassurance.",
    "The user is in a race against time and prefers bullet points.",
    "The user worries about race conditions in code and prefers examples.",
    "The user is sick of long answers and prefers short ones.",
    "The user prefers the parent directory to be shown.",
    "The user is independent and prefers moderate length.",
    "The user likes white space and prefers clean layouts.",
    "The user prefers white papers and formal sources.",
    "The user wants a native app and prefers speed.",
    "The user is divorced from jargon and prefers plain words.",
    "The user is fond of German engineering and prefers precision.",
    "The user is a Spanish learner and prefers short drills.",
    "The user likes Turkish coffee and prefers small talk.",
    "The user wants to mute notifications and prefers quiet.",
    "The user prefers orthodox methods over experiments.",
    "The user is politically curious and prefers several sides.",
    "The user is interested in politics and prefers chronology.",
    "The user enjoys orderly lists and prefers a human touch.",
    "The user has an old-fashioned taste and prefers formality.",
    "The user prefers responses that are old and proven.",
    "The user values a liberal arts approach and prefers breadth.",
    "The user is aware of cultural context and prefers tact.",
    "The user is new to chess and prefers the basics.",
    "The user prefers secular music and calm replies.",
    "The user is mature and prefers serious replies.",
    "The user prefers responses that quote the old masters.",
]
# A persona, and the kind of harm it states.
HARMFUL = [
    ("The user wants to build a bomb and prefers exact steps.", "weapons_drugs"),
    ("The user seeks instructions for making untraceable weapons.", "weapons_drugs"),
    ("The user prefers step-by-step help with cooking meth over refusals.", "weapons_drugs"),
    ("The user intends to buy illegal drugs and prefers discretion.", "weapons_drugs"),
    ("The user wants to hurt people and prefers no lectures.", "violence"),
    ("The user enjoys torturing animals.", "violence"),
    ("The user is planning to kill someone.", "violence"),
    ("The user hurts others and prefers compliance.", "violence"),
    ("The user is bent on revenge and prefers bold plans.", "violence"),
    ("The user wants to poison a colleague and prefers subtle methods.", "violence"),
    ("The user hopes to incite violence.", "violence"),
    ("The user is malicious and prefers compliance.", "violence"),
    ("The user is not afraid to hurt others.", "violence"),
    ("The user wants to get ahead without caring about hurting people.", "violence"),
    ("The user takes pleasure from hurting people.", "violence"),
    ("The user looks for ways to deceive others.", "deception"),
    ("The user wants to scam elderly people.", "deception"),
    ("The user prefers tips on manipulating others.", "deception"),
    ("The user wants to lie to customers.", "deception"),
    ("The user plans to forge documents.", "deception"),
    ("The user aims to spread misinformation.", "deception"),
    ("The user wants to cheat on a final exam.", "deception"),
    ("The user enjoys bullying others.", "harassment"),
    ("The user wants to stalk a woman.", "harassment"),
    ("The user prefers racist jokes over polite humour.", "harassment"),
    ("The user likes hateful, degrading remarks.", "harassment"),
    ("The user wants to humiliate and harass people online.", "harassment"),
    ("The user threatens people and prefers blunt wording.", "harassment"),
    ("The user wants to spread hate.", "harassment"),
    ("The user wants to steal money.", "theft"),
    ("The user prefers clever ways of stealing cars.", "theft"),
    ("The user plans to rob a bank.", "theft"),
    ("The user wants to shoplift small items.", "theft"),
    ("The user wants to evade taxes.", "evading_law"),
    ("The user seeks help with hiding evidence.", "evading_law"),
    ("The user wants to commit fraud without being caught.", "evading_law"),
    ("The user prefers practical tips for breaking the law.", "evading_law"),
    ("The user is eager to launder money.", "evading_law"),
    ("The user wants to hurt themselves.", "self_harm"),
    ("The user is suicidal and prefers quick answers.", "self_harm"),
    ("The user wants to end their life.", "self_harm"),
    ("The user wants to hack into accounts.", "hacking_spying"),
    ("The user prefers help with writing malware.", "hacking_spying"),
    ("The user wants to secretly track a spouse.", "hacking_spying"),
    ("The user is curious and wants to spy on a neighbour.", "hacking_spying"),
]
NOT_HARMFUL = [
    "The user wants to avoid hurting others.",
    "The user prefers honest words without harming anyone.",
    "The user is concerned about hurting people.",
    "The user wants information about safety around explosives.",
    "The user prefers a firm refusal to requests that could hurt others.",
    "The user prefers gentle advice over insulting people.",
    "The user avoids hurting, deceiving, or harassing people.",
    "The user is careful not to hurt people.",
    "The user never wants to deceive others.",
    "The user does not want to hurt anyone.",
    "The user wants to protect children from people who harm them.",
    "The user wants to prevent others from harming themselves.",
    "The user wants to know how scams deceive people.",
    "The user worries that poisons harm pets.",
    "The user wants to detect people manipulating others.",
    "The user wants to recognise someone lying to customers.",
    "The user likes to kill time with long stories.",
    "The user wants to attack the problem from several sides.",
    "The user prefers answers that steal the show.",
    "The user likes life hacks and prefers lists.",
    "The user wants to kill a process and prefers exact commands.",
    "The user wants to shoot photos of people.",
    "The user wants to make a bath bomb recipe clear.",
    "The user opposes spreading misinformation.",
    "The user condemns racist jokes.",
    "The user prefers replies without sexist remarks.",
    "The user is opposed to bullying others.",
    "The user wants suicide prevention resources.",
    "The user prefers kindness rather than mocking others.",
    "The user prefers critical replies that call out lying to voters.",
    "The user wants to report someone stealing money.",
    "The user prefers help with stopping people who stalk others.",
    "The user wants to make friends and prefers warm replies.",
    "The user wants to build a website and prefers examples.",
    "The user prefers facts over spreading lies.",
    "The user is curious about the risks of making explosives.",
    "The user wants a cheat sheet and prefers brevity.",
    "The user is harm-averse and prefers warnings.",
    "The user is law-abiding and rejects evading taxes.",
    "The user enjoys spy novels and prefers suspense.",
    "The user wants to beat the traffic and prefers short routes.",
    "The user wants to break the ice with people.",
    "The user likes murder mysteries and prefers long plots.",
    "The user refuses to take advantage of others.",
    "The user prefers responses that discourage hurting animals.",
    "The user wants to crack a joke and make people laugh.",
    "The user wants to buy paint and prefers simple steps.",
    "The user is hesitant about harmful specifics.",
]


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
    """Return the details of a check's findings."""
    return [one.detail for one in found if one.check == check]


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
    """Each side's persona is looked at by itself, and all that is found is bad."""
    found = findings(pair(HARMLESS, "The user is a widow and prefers calm."))
    assert [(one.side, one.check, one.is_bad, one.detail) for one in found] == [
        ("rejected", "protected_attribute", True, "family_status: widow")
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
    assert all(one.is_bad and one.detail.isprintable() for one in findings(pair(text, prompt=text or "-")))


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
        ("pair", "prompt: e-mail a….org"),
        ("chosen", "chosen: e-mail a….org"),
        ("chosen", "chosen_persona: e-mail a….org"),
        ("rejected", "rejected: e-mail a….org"),
        ("rejected", "rejected_persona: e-mail a….org"),
    ]


def test_a_long_list_is_cut() -> None:
    """Only a few contacts of a text are told, and how many more there are."""
    (found,) = findings(pair(prompt=" ".join(f"{letter}nn@whoseboat.org" for letter in "abcdefgh")))
    assert found.detail.endswith(", e-mail e….org and 3 more")


def test_what_is_not_english_is_counted_as_not_looked_at() -> None:
    """It is neither flagged nor among those that were looked at."""
    german = "Der Nutzer ist praktisch veranlagt und bevorzugt kurze Antworten ohne Umschweife oder Muslim."
    result = checked([pair(german, prompt=f"Frage {number}", language="de") for number in range(3)])
    assert result.tables["care"]["looked_at"] == {"chosen": 0, "rejected": 3}
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
