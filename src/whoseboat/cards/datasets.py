"""The card of a dataset: its YAML, and a text that says what is in the set, how it came about and where it fails."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from whoseboat import dataset, sources
from whoseboat.cards.charts import CHARTS, FIRST, place_of
from whoseboat.cards.markup import UNNAMED, address_of, as_code, as_share, as_text
from whoseboat.cards.rendering import front_matter, licence_of, licence_yaml, render, terms_of
from whoseboat.errors import printable
from whoseboat.manifest import Manifest, SplitSize

# The Hub's classes of size: one for every power of ten between these.
_SIZE_MARKS = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")
_ENDPOINTS = {
    "openai": "OpenAI",
    "hugging-face-router": "the Hugging Face router",
    "this-machine": "a server on the machine it was made on",
    "other-host": "an OpenAI-compatible server",
}
# What the words for why a row was left behind mean.
_REASONS = {
    "below_min_ratio": "the votes for both replies are too close to one another",
    "content_filter": "the endpoint of the language model filtered the request or the reply",
    "contradiction": "the source says two things about which reply was preferred",
    "counterpart": "it is the rejected reply of a pair, not a row of its own",
    "cut_off": "the language model's reply was cut off",
    "disagreement": "one response has labels that contradict each other",
    "diverging_context": "the two conversations differ before their last reply, so they do not answer the same prompt",
    "duplicate": "a pair with the same prompt, chosen and rejected reply came before",
    "empty_prompt": "the user says nothing",
    "empty_reply": "a reply is empty",
    "excluded": "its first user turn occurs in a release it was to be kept apart from",
    "flagged_about_a_response": "a persona is about one of the replies instead of a user",
    "flagged_contact": "an e-mail address or telephone number stands in a text",
    "flagged_harmful_intent": "a persona states what looks like an intent to do harm",
    "flagged_not_one_sentence": "a persona is not one sentence",
    "flagged_not_the_user": "a persona does not start with the user",
    "flagged_protected_attribute": "a persona names what looks like a protected attribute, such as religion or age",
    "flagged_quotes": "quotation marks stand around a whole persona",
    "flagged_refusal": "a persona is a refusal",
    "flagged_remainder": "something is left in a persona that is no sentence, such as markup",
    "flagged_run_in_prompt": "a persona quotes the prompt",
    "flagged_run_in_response": "a persona quotes a reply",
    "flagged_sides_alike": "both personas of a pair are nearly the same",
    "flagged_unfinished": "a persona breaks off",
    "flagged_words": "a persona has too few words, or too many",
    "flagged_words_from_other": "a persona is made of words of the other reply",
    "flagged_words_from_own": "a persona is made of words of its reply",
    "flagged_words_from_prompt": "a persona is made of words of the prompt",
    "identical_personas": "both sides got the same persona",
    "identical_responses": "chosen and rejected reply are the same",
    "malformed": "the row does not have the form its source documents",
    "missing_turn": "a turn of the conversation is missing",
    "no_persona": "there is no persona for it",
    "no_reply": "nothing in it has a reply",
    "not_sampled": "not among those drawn at random: nothing is wrong with it",
    "over_cap": "its prompt has as many pairs as are taken of one",
    "prompt": "the prompt template could not be filled with it",
    "refusal": "the language model declined to name a persona",
    "removed": "the source shows the text as removed or deleted",
    "repeated": "the same reply with the same label came before",
    "taken_down": "it was taken out on request after an earlier release",
    "single_reply": "there is one reply, so nothing was preferred over it",
    "tie": "no reply was preferred",
    "too_few_replies": "there are fewer than two replies with a score",
    "too_long": "prompt and replies together are longer than was allowed",
    "too_long_for_model": "it does not fit into the language model's context",
    "unlabelled": "a reply has no label of safety",
    "unpaired": "there is no other reply to set it against",
    "unranked": "a reply has no rank",
    "unrated": "a reply has no score",
    "unsafe": "the source labels a reply unsafe",
    "unusable_reply": "the language model was asked twice and named no usable persona",
}
_LANGUAGE = re.compile(r"[a-z]{2,3}")
# What verdicts are called where the reader of contrast reads personas of contrast.
_ROUND_TRIP = "reader round-trip"
# Another one that a check of single rows flags.
_FLAGGED = re.compile(r"flagged_([a-z_]{1,40})")
# What they mean where a table is read, which documents nothing.
_REASONS_OF_TABLES = {
    "malformed": "a cell that was needed is missing, or is of another form than its column",
}
# What a drop is called that nothing is wrong with: there are so many that no figure can show the others beside it.
_NOT_SAMPLED = "not_sampled"
_MOST_PARTS = 30
_FEWEST_OF_HISTOGRAM = 10
# How much of a text in a row is shown, in characters.
_SHOWN = {"prompt": 160, "reply": 220, "persona": 300}


def dataset_card(manifest: Manifest, examples: Sequence[dataset.Record], *, figure: str | None = None) -> str:
    """Return the card of a dataset folder, YAML front matter included.

    Args:
        manifest: what the folder is; of a release it has `repo`, `version`, `releases` and `licence`.
        examples: rows of `pairs` to show.
        figure: the path of a picture in the repo that `whoseboat.cards.figures.rows_figure` drew of this manifest.

    """
    model = manifest.engine_details.get("model") if manifest.uses_language_model else None
    by_reader = any(
        "contrast" in str(check.get("judge") or "") or check.get("judge") == _ROUND_TRIP for check in manifest.checks
    )
    return render(
        "whoseboat.dataset_cards",
        "dataset.md.jinja",
        {
            "yaml": dataset_yaml(manifest),
            "title": _title(manifest),
            "manifest": manifest,
            "licence": licence_of(manifest.licence) if manifest.licence else None,
            "source": manifest.source,
            "kind": _kind(manifest),
            "configs": dataset.CONFIGS,
            "loads": _loads(manifest),
            "place": manifest.repo or UNNAMED,
            "revision": f"v{manifest.version}" if manifest.version else None,
            "reasons": list(_reasons(manifest)),
            "options": _chosen_options(manifest),
            "harmful": _is_harmful(manifest),
            "parts": _parts(manifest),
            "filled": _filled(manifest),
            "examples": [_shown(example) for example in examples],
            "endpoints": _ENDPOINTS,
            "engine": manifest.engine_details,
            "terms": terms_of([str(model)]) if model else [],
            "lengths": _lengths(manifest),
            "by_reader": by_reader,
            "notes": _notes(manifest),
            "charts": _charts(manifest),
            "circular": by_reader and manifest.uses_language_model is False,
            "english_only": set(manifest.languages) == {"en"},
            "figure": figure,
            "figure_in_words": _figure_in_words(manifest),
            "key": re.sub(r"[^a-z0-9]+", "-", manifest.name.lower()).strip("-") or "personas",
            "address": address_of(manifest.repo) if manifest.repo else "",
            "owner": manifest.repo.partition("/")[0] if manifest.repo else "",
            "year": (manifest.releases[0].date if manifest.releases else manifest.built_at)[:4],
        },
    )


def _charts(manifest: Manifest) -> dict[str, list[tuple[str, str]]]:
    """Return the charts that are there, those shown outright and the others: the path of each, and what it shows."""
    there = [name for name in CHARTS if place_of(name) in manifest.files]
    return {
        "first": [(place_of(name), CHARTS[name]) for name in there if name in FIRST],
        "more": [(place_of(name), CHARTS[name]) for name in there if name not in FIRST],
    }


def _notes(manifest: Manifest) -> list[tuple[list[str], str]]:
    """Return what readers must know of figures of checks, each note once, with the names of the figures it is on."""
    found: dict[str, list[str]] = {}
    for check in manifest.checks:
        if check.get("note"):
            names = found.setdefault(str(check["note"]), [])
            if check["name"] not in names:
                names.append(str(check["name"]))
    return [(names, note) for note, names in found.items()]


def dataset_yaml(manifest: Manifest) -> str:
    """Return the YAML front matter of a dataset's card."""
    source = manifest.source
    rows = sum(manifest.rows["pairs"].values())
    languages = sorted(filter(_LANGUAGE.fullmatch, {*manifest.languages, *source.languages}))
    return front_matter(
        licence_yaml(manifest.licence, source.license, address_of(source.repo) if source.repo else "")
        | ({"language": languages} if languages else {})
        | {
            "pretty_name": _title(manifest),
            "size_categories": [_size_category(rows)],
            "source_datasets": [source.repo or "original"],
            "task_categories": ["text-generation"],
            "annotations_creators": ["machine-generated" if manifest.engine != "brought" else "other"],
            "tags": [
                "whoseboat",
                "preference",
                "personas",
                "persona-inference",
                "personalization",
                *(["contrast", "no-language-model"] if manifest.uses_language_model is False else []),
                *(["not-for-all-audiences"] if _is_harmful(manifest) else []),
            ],
            "configs": [
                {
                    "config_name": config,
                    **({"default": True} if config == "pairs" else {}),
                    "data_files": [{"split": split, "path": f"{config}/{split}-*.parquet"} for split in splits],
                }
                for config, splits in manifest.sizes.items()
            ],
            "dataset_info": [_dataset_info(config, splits) for config, splits in manifest.sizes.items()],
        }
    )


def drawn_reasons(manifest: Manifest) -> list[tuple[str, int]]:
    """Return what became of the candidates, for the figure: the rows, then the drops, most frequent first.

    Those that were not sampled are not among them: they would make the other bars too short to be seen.
    """
    dropped = sorted(_but_sampled(manifest).items(), key=lambda item: (-item[1], item[0]))
    return [("rows", sum(manifest.rows["pairs"].values())), *dropped]


def drawn_candidates(manifest: Manifest) -> str:
    """Return of how many candidates the figure is, in words."""
    drawn, others = manifest.read - manifest.dropped.get(_NOT_SAMPLED, 0), manifest.dropped.get(_NOT_SAMPLED, 0)
    return f"{drawn:,} candidates" + (f" ({others:,} more not sampled)" if others else "")


def _but_sampled(manifest: Manifest) -> dict[str, int]:
    return {name: count for name, count in manifest.dropped.items() if name != _NOT_SAMPLED}


def _reasons(manifest: Manifest) -> Iterator[tuple[str, str, int]]:
    """Yield the words for why rows were left behind, what they mean (empty: not known here), and how often."""
    known = _REASONS | (_REASONS_OF_TABLES if manifest.source.source == "table" else {})
    for name, count in manifest.dropped.items():
        flagged = _FLAGGED.fullmatch(name)
        of_check = f"a check of single rows finds something: {flagged[1].replace('_', ' ')}" if flagged else ""
        yield name, known.get(name, of_check), count


def _is_harmful(manifest: Manifest) -> bool:
    """Say whether responses are in the set that are unsafe, or that nobody looked at where they are likely to be."""
    return bool(manifest.selection.include_unsafe or manifest.kept_from_tailoring)


def _chosen_options(manifest: Manifest) -> dict[str, str]:
    """Return the source's options that are not as they are by default."""
    stated = manifest.source.options
    known = sources.find(manifest.source.source).options if manifest.source.source in sources.names() else ()
    defaults = {option.name: option.default for option in known}
    return {name: value for name, value in stated.items() if value and value != defaults.get(name)}


def _parts(manifest: Manifest) -> list[tuple[str, int, str]]:
    """Return the parts of the source that most rows are of, with their shares, and how many other parts there are."""
    rows = sum(manifest.source_splits.values())
    counts = sorted(manifest.source_splits.items(), key=lambda item: (-item[1], item[0]))
    shown = counts if len(counts) <= _MOST_PARTS else counts[: _MOST_PARTS - 1]
    parts = [(as_code(name, 80), count, as_share(count, rows)) for name, count in shown]
    if rest := counts[len(shown) :]:
        count = sum(count for _, count in rest)
        parts.append((f"{len(rest):,} others", count, as_share(count, rows)))
    return parts


def _filled(manifest: Manifest) -> list[tuple[str, str]]:
    """Return the columns that may be empty, and in what share of the rows each holds something."""
    rows = sum(manifest.rows["pairs"].values())
    return [(column, as_share(count, rows)) for column, count in manifest.filled.items()]


def _title(manifest: Manifest) -> str:
    ending = " (contrast)" if manifest.uses_language_model is False else ""
    return f"{printable(' '.join(manifest.source.title.split()))} with inferred personas{ending}"


def _kind(manifest: Manifest) -> str:
    """Return what made the personas: `contrast`, `model`, `published` or `brought`."""
    if manifest.uses_language_model:
        return "model"
    if manifest.uses_language_model is False:
        return "contrast"
    return "published" if manifest.engine == "published" else "brought"


def _loads(manifest: Manifest) -> list[tuple[str, str, str]]:
    """Return each config with a split that has rows, `train` where it has some, and what a row of it is."""
    about = {
        "pairs": "a row per pair",
        "tailoring": "two rows per pair, one per persona",
        "samples": "further personas, keyed by the pair's id",
        "retrieved": "personas of a similar training pair, keyed by the pair's id",
        "reasons": "people's own words, keyed by the pair's id",
    }
    return [
        (config, next((split for split in dataset.SPLITS if splits.get(split)), "train"), about[config])
        for config, splits in manifest.rows.items()
        if config in about
    ]


def _shown(example: dataset.Record) -> dict[str, str]:
    """Return a row as the card shows it: beginnings of texts, as Markdown that shows just their characters."""
    turns = [message for message in example["prompt"] if message["role"] != "system"]
    return {
        "asked": as_text(turns[-1]["content"], _SHOWN["prompt"]),
        "turns": str(len(turns)),
        "chosen": as_text(example["chosen"][-1]["content"], _SHOWN["reply"]),
        "rejected": as_text(example["rejected"][-1]["content"], _SHOWN["reply"]),
        "chosen_persona": as_text(example["chosen_persona"], _SHOWN["persona"]),
        "rejected_persona": as_text(example["rejected_persona"], _SHOWN["persona"]),
        "id": as_text(example["id"], 40),
    }


def _lengths(manifest: Manifest) -> dict[str, Any]:
    """Return how long replies and personas are, in words for the card; nothing where the manifest does not say."""
    if not manifest.lengths:
        return {}
    longer = manifest.lengths["longer"]
    rows = sum(longer.values())
    return {
        "rows": rows,
        "chosen": as_share(longer["chosen"], rows),
        "rejected": as_share(longer["rejected"], rows),
        "words": {side: _median(counts) for side, counts in manifest.lengths["persona_words"].items()},
    }


def _median(counts: Mapping[str, int]) -> str:
    """Return the middle one of counted values, the lower of the two where there are two."""
    left = (sum(counts.values()) + 1) // 2
    for value, count in sorted(counts.items(), key=lambda item: int(item[0])):
        left -= count
        if left <= 0:
            return value
    return "0"


def _figure_in_words(manifest: Manifest) -> str:
    """Return what the figure shows, for those who do not see it."""
    rows, *dropped = drawn_reasons(manifest)
    shown = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in dropped) or "none"
    said = f"Bars: of {drawn_candidates(manifest)}, {rows[1]:,} became rows; left behind: {shown}."
    lengths = _lengths(manifest)
    if lengths and draws_ratio(manifest):
        said += f" Histogram: the chosen reply is the longer one in {lengths['chosen']} of the pairs, "
        said += f"the rejected reply in {lengths['rejected']}."
    return said


def draws_ratio(manifest: Manifest) -> bool:
    """Say whether there are enough rows for a histogram to show more than those rows."""
    return bool(manifest.lengths) and sum(manifest.lengths["length_ratio"].values()) >= _FEWEST_OF_HISTOGRAM


def _size_category(rows: int) -> str:
    """Return the Hub's class of size, such as `10K<n<100K`."""
    index = max(0, len(str(rows)) - 3)
    if index == 0:
        return f"n<{_SIZE_MARKS[0]}"
    if index >= len(_SIZE_MARKS):
        return f"n>{_SIZE_MARKS[-1]}"
    return f"{_SIZE_MARKS[index - 1]}<n<{_SIZE_MARKS[index]}"


def _dataset_info(config: str, splits: Mapping[str, SplitSize]) -> dict[str, Any]:
    """Return one entry of `dataset_info`."""
    return {
        "config_name": config,
        "features": [_feature(column) for column in dataset.CONFIGS[config]],
        "splits": [
            {"name": split, "num_bytes": size.memory_bytes, "num_examples": size.rows} for split, size in splits.items()
        ],
        "download_size": sum(size.disk_bytes for size in splits.values()),
        "dataset_size": sum(size.memory_bytes for size in splits.values()),
    }


def _feature(column: dataset.Column) -> dict[str, Any]:
    """Describe a column as `datasets` does; importing that would take half the time of a small build."""
    if column.type == "messages":
        return {"name": column.name, "list": [{"name": name, "dtype": "string"} for name in ("role", "content")]}
    return {"name": column.name, "dtype": {"text": "string", "number": "float64", "integer": "int64"}[column.type]}
