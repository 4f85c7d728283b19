"""Manifests and rows whose cards tests look at: all they hold is made up, and fixed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from whoseboat.manifest import Manifest, Selection, SplitSize
from whoseboat.model_manifest import ModelManifest, Refusals, Result, TrainedOn, Training
from whoseboat.sources import Provenance
from whoseboat.versions import Release

DATA = Path(__file__).parent / "data"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
PERSONA = "The user is {} and prefers {} over {}."


def same_as_golden(name: str, text: str) -> bool:
    """Say whether a text is that of a file in `tests/data`; RENEW_CARDS=1 in the environment writes the file anew."""
    path = DATA / name
    if os.environ.get("RENEW_CARDS"):
        path.write_text(text, encoding="utf-8")
    return path.read_text(encoding="utf-8") == text


def release(**changes: Any) -> Manifest:  # noqa: ANN401 - fields of a manifest
    """Return the manifest of a second release: personas by a language model, checks, a takedown, its licence."""
    stated: dict[str, Any] = {
        "name": "hh-rlhf-personas",
        "schema_version": "1.0.0",
        "code_version": "0.1.0",
        "source": Provenance(
            source="hh-rlhf",
            name="hh-rlhf",
            title="HH-RLHF",
            pair_rule="Each row is one pair: the last reply of the chosen and of the rejected transcript.",
            repo="Anthropic/hh-rlhf",
            revision=COMMIT,
            files=("harmless-base/train.jsonl.gz", "helpful-base/train.jsonl.gz"),
            held_out=("harmless-base/test.jsonl.gz", "helpful-base/test.jsonl.gz"),
            license="mit",
            license_known_from="card",
            languages=("en",),
            options={"tranche": "helpful-base,harmless-base"},
            citation="@article{bai2022training,\n  title  = {A Helpful Assistant},\n  year   = {2022}\n}",
            safety_rule="The source states no safety labels; its tranche harmless-base is kept out of tailoring.",
        ),
        "selection": Selection(limit=2000, seed=7, exclude=("acme/other-personas@" + COMMIT,)),
        "engine": "openai/gpt-oss-120b",
        "uses_language_model": True,
        "engine_details": {
            "engine": "openai",
            "endpoint": "hugging-face-router",
            "model": "openai/gpt-oss-120b",
            "parameters": {"temperature": 0.7, "max_tokens": 400},
            "prompt": "persona_inference.v1",
            "prompt_digest": "5bb6c33554f6bf6409bda449978afca7",
            "own_prompts": False,
            "samples": 2,
            "dollars_per_million_tokens": {"prompt": 0.15, "completion": 0.6},
        },
        "rows": {
            "pairs": {"train": 1770, "validation": 98, "test": 101},
            "tailoring": {"train": 2402, "validation": 130, "test": 140},
            "samples": {"train": 1768, "validation": 98, "test": 101},
        },
        "read": 84210,
        "dropped": {"diverging_context": 190, "not_sampled": 82000, "refusal": 12, "unusable_reply": 19, "odd_one": 20},
        "languages": {"en": 1950, "unknown": 19},
        "kept_from_tailoring": 633,
        "data_digest": "94273528fc5b507806f7c6fe42267cd09eb94c0e6cfdbfcec6a36dff3cfa63a7",
        "built_at": "2026-11-20T09:30:00+00:00",
        "seconds": 731.25,
        "tokens": {"prompt": 9_812_345, "completion": 412_998},
        "cost": 1.719651,
        "requests": {"answered": 8000, "reused": 12, "failed": 3, "retried": 41, "without_token_count": 5},
        "sizes": {
            config: {
                "train": SplitSize(10, 1000, 400),
                "validation": SplitSize(2, 90, 40),
                "test": SplitSize(1, 80, 30),
            }
            for config in ("pairs", "tailoring", "samples")
        },
        "lengths": {
            "persona_words": {"chosen": {"14": 900, "15": 1069}, "rejected": {"13": 700, "16": 1269}},
            "length_ratio": {f"{step / 2:g}": 150 + 10 * step for step in range(-6, 7)},
            "longer": {"chosen": 1043, "rejected": 901, "neither": 25},
        },
        "filled": {"language": 1950, "strength": 0, "user_id": 0},
        "source_splits": {"harmless-base": 633, "helpful-base": 1336},
        "redacted": {"api_key": 3},
        "checks": (
            {
                "name": "accuracy, true personas",
                "side": "chosen",
                "value": 0.6123,
                "low": 0.5712,
                "high": 0.6534,
                "n": 1969,
                "judge": "contrast",
                "note": "",
            },
            {
                "name": "personas that quote",
                "side": "both",
                "value": 12,
                "low": None,
                "high": None,
                "n": 3938,
                "judge": "",
                "note": "Six words in a row shared with prompt or response.",
            },
        ),
        "version": "1.1.0",
        "repo": "acme/hh-rlhf-personas",
        "licence": {
            "id": "mit",
            "name": "",
            "link": "",
            "note": "",
            "because": (
                "The source is under mit: its copyright notice and text go with copies.",
                "The personas were written by gpt-oss: its licence asks nothing of its text.",
            ),
            "also": (),
        },
        "releases": (
            Release("1.1.0", "2026-11-21T10:00:00+00:00", ("2 rows taken down", "29 personas asked for again")),
            Release("1.0.0", "2026-10-02T08:00:00+00:00", ("first release",)),
        ),
        "taken_down": ("aa" * 16, "bb" * 16),
    }
    return Manifest(**stated | changes)


def rows(count: int = 20) -> list[dict[str, Any]]:
    """Return rows of `pairs`."""
    return [
        {
            "id": f"{number:032x}",
            "prompt": [
                *([{"role": "system", "content": "Be kind."}] if number % 5 == 0 else []),
                *(
                    [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]
                    if number % 2
                    else []
                ),
                {"role": "user", "content": f"How do I mend a kite with {number} holes?"},
            ],
            "chosen": [{"role": "assistant", "content": f"Tape {number} patches on.\n\nThen fly it."}],
            "rejected": [{"role": "assistant", "content": f"Take {number} new sheets | and *glue*."}],
            "chosen_persona": PERSONA.format("practical", "short steps", "long lists"),
            "rejected_persona": PERSONA.format("thorough", "full instructions", "quick fixes"),
        }
        for number in range(count)
    ]


def model(**changes: Any) -> ModelManifest:  # noqa: ANN401 - fields of a manifest
    """Return the manifest of a released adapter, with results of every kind."""
    here: dict[str, Any] = {"dataset": "acme/hh-rlhf-personas", "config": "tailoring", "split": "test"}
    here["revision"] = COMMIT
    stated: dict[str, Any] = {
        "name": "qwen-hh-tailored-dpo",
        "base_model": "Qwen/Qwen3-0.6B",
        "base_revision": COMMIT[::-1],
        "base_licence": "apache-2.0",
        "method": "dpo",
        "relation": "adapter",
        "personas": "both",
        "template": "plain",
        "template_text": "{persona}\n\n{prompt}\n\nAssistant:",
        "datasets": (TrainedOn("hh-rlhf-personas", "acme/hh-rlhf-personas", COMMIT, "1.1.0", licence="mit"),),
        "code_version": "0.1.0",
        "created": "2026-11-22T12:00:00+00:00",
        "stop": ("\n\nUser:",),
        "max_new_tokens": 300,
        "recipe": {"beta": 0.1, "learning_rate": 5e-6, "lora_r": 16, "warmup_steps": None},
        "training": Training(
            *(2402, 31, 4, 150, 1_204_554, 812.4),
            first_loss=0.6931,
            last_loss=0.5122,
            validation_loss=0.5534,
            best_step=120,
        ),
        "sft_training": Training(2390, cut=12, steps=149, tokens=1_100_210, seconds=640.2),
        "files": {"assets/curves.png": {"bytes": 20_481, "sha256": "cd" * 32}},
        "hardware": "one H200",
        "seeds": (0, 1, 2),
        "versions": {"torch": "2.13.0", "trl": "1.16.0", "peft": "0.21.2"},
        "languages": ("en",),
        "results": (
            Result("flip_accuracy", 0.4134, 70, 0.3012, 0.5341, clusters=61, side="both", persona="true", **here),
            Result(
                "specificity", 0.1021, 140, 0.0213, 0.1834, side="chosen", persona="true", judge="contrast-1", **here
            ),
            Result(
                *("win_rate", 0.5512, 127, 0.4613, 0.6401),
                missing=3,
                side="rejected",
                persona="true",
                judge="openai/gpt-oss-120b",
                against="Qwen/Qwen3-0.6B",
                note="Asked in both orders; a mixed verdict is a tie.",
                **here,
            ),
            Result(
                "net",
                None,
                0,
                persona="shuffled",
                judge="openai/gpt-oss-120b",
                dataset="local set",
                note="No pair left.",
            ),
        ),
        "evaluated": "2026-11-22",
        "refusals": (
            Refusals("none", 0.97, 100, 0.9155, 0.9897),
            Refusals("rejected", 0.91, 100, 0.8377, 0.9519, note="Personas of red-team rows."),
        ),
        "safety": "Pairs of the red-team tranche were not trained on.",
        "weights_digest": "ab" * 32,
        "version": "1.0.0",
        "repo": "acme/qwen-hh-tailored-dpo",
        "licence": {
            "id": "apache-2.0",
            "name": "",
            "link": "",
            "note": "",
            "because": ("The base model is under apache-2.0.",),
        },
        "releases": (Release("1.0.0", "2026-11-22T13:00:00+00:00", ("first release",)),),
    }
    return ModelManifest(**stated | changes)
