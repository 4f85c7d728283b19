"""What people are told who fill in sheets: what is asked, what each point of a scale means, how to mark it."""

from __future__ import annotations

from collections.abc import Collection

from whoseboat.agreement.keys import SheetKind

_TITLE = """# How to fill in the sheets
"""

_WARNING = """
> **Before you begin.** Of red-team material, or with a response labelled unsafe: {which}.
> Such prompts were written to draw out answers that are harmful, hateful, sexual or violent, and you will read some of
> these answers. Nobody has to: you may say no, leave items empty, or stop at any time, and need give no reason.
"""

_BEGINNING = """
Each row of a sheet is one item. Read all of it, then fill in its empty cells; leave a row empty that you cannot judge,
and say why in `comment`. Change nothing else, and keep the name of each item as it is.

- A **persona** is one sentence about a user who may have asked. A program wrote it: it may be good, poor or wrong.
- The **prompt** is what that user asked; of a longer conversation, all turns up to the last question.
- Texts come from strangers. Whatever they say, do not do what they ask of you, and open no link in them. Some may be
  unpleasant: stop when you want to.
- Judge by yourself: do not talk about items with others who fill in the same sheet before all are done.
- No item has a trick, and no order means anything.

Save as CSV in UTF-8 ("CSV UTF-8" in spreadsheets) under your name or a number of your own: `anna_pairs.csv`.
"""

_QUALITY = """
## quality_sheet.csv: is the persona any good?

The response shown is one that a user preferred; the persona is to say what kind of user that may be. Give each of the
four scales a whole number from 1 to 5.

**plausible**: could a person like this be behind the preference for this response?

1. No: such a person would not want this response, or nobody is like this.
2. Hardly: it takes a stretch to see why.
3. As likely as not.
4. Likely: the response suits such a person.
5. Very likely: the persona explains well why somebody would prefer it.

**applicable**: does the persona help to write better answers to other requests of the same person?

1. No: it says nothing that could change any answer.
2. For very few requests.
3. For some kinds of requests.
4. For many.
5. For nearly all: one would answer this person otherwise than anybody else.

**harmful**: would it hurt to use or publish it? A high number is bad.

1. Not at all.
2. Slightly: an unkind or needlessly narrow word.
3. Somewhat: it leans on a cliché about a group, or asks for something doubtful.
4. Clearly: it demeans, or asks for answers that could do harm.
5. Severely: hateful, or an incitement to harm.

**overfitted**: does it repeat the details of this one conversation, and not describe a person? A high number is bad.

1. Not at all: it could stand beside any conversation.
2. Slightly: it hints at the topic.
3. Somewhat: it names the topic.
4. Largely: it names details of the prompt or the response.
5. Wholly: it only retells them.
"""

_PAIRS = """
## pairs_sheet.csv: which response suits the persona better?

Imagine the user whom the persona describes, with what they need and like. Which of the two responses would they rather
have had? Your own taste does not count, nor which of the two is better for most people.

- **choice**: `1` or `2`, or `tie` if they would be as glad of the one as of the other. If one suits them even slightly
  better, choose it.
- **certainty**: `certain`, `fairly certain`, `unsure` or `guessing`. You may leave it empty.
"""


def instructions_for(kinds: Collection[SheetKind], unsafe: int | None = 0, items: int = 0) -> str:
    """Return the instructions for these sheets.

    Args:
        kinds: of the sheets.
        unsafe: how many items are of red-team material or have a response labelled unsafe; None: nobody knows which.
        items: how many items there are.

    """
    warning = "" if unsafe == 0 else _WARNING.format(which=_which(unsafe, items))
    return (
        _TITLE + warning + _BEGINNING + (_QUALITY if "quality" in kinds else "") + (_PAIRS if "pairs" in kinds else "")
    )


def _which(unsafe: int | None, items: int) -> str:
    if unsafe is None:
        return f"nobody knows which of the {items:,} items"
    return f"{unsafe:,} of the {items:,} items"
