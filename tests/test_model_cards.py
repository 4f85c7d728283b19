"""Cards of models: a whole card as it was read and found good, snippets that do what the card says, and results."""

from __future__ import annotations

import ast
import json
import re
import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml
from cards_data import COMMIT, model, same_as_golden
from huggingface_hub import ModelCard, parse_eval_result_entries
from hypothesis import example, given, settings
from loopback_hub import card_faults
from test_cards import HOSTILE, front_of, hostile_text, section, skeleton

from whoseboat import cards
from whoseboat.cards.markup import BEGIN, END
from whoseboat.errors import DataError
from whoseboat.model_manifest import ModelManifest, Refusals, Result, TrainedOn, Training
from whoseboat.tailoring import recipe as recipes
from whoseboat.versions import Release

FEW_SHOT: dict[str, Any] = {"method": "few-shot", "relation": "prompt", "personas": "chosen", "datasets": ()}
BASELINE: dict[str, Any] = {"personas": "none", "template": "chat", "template_text": ""}


def test_the_card_of_a_model() -> None:
    """The whole card is the one that was read; RENEW_CARDS=1 writes it anew."""
    assert same_as_golden("card_of_model.md", cards.model_card(model(), figure="assets/results.png"))


@pytest.mark.parametrize(
    ("heading", "says"),
    [
        ("Quick start", 'PeftModel.from_pretrained(base, "acme/qwen-hh-tailored-dpo", revision="v1.0.0")'),
        ("Quick start", f'from_pretrained("Qwen/Qwen3-0.6B", revision="{COMMIT[::-1]}")'),
        ("Quick start", r"TEMPLATE = '{persona}\n\n{prompt}\n\nAssistant:'"),
        ("Template", "The prompt is exactly `TEMPLATE` above"),
        ("Training data", f"| <code>{COMMIT}</code> | 1.1.0 | <code>tailoring</code>, <code>train</code> | mit |"),
        ("Training data", "**Safety.** Pairs of the red-team tranche were not trained on."),
        ("How it was made", "- SFT, which DPO started from: 2,390 rows, 12 of them cut to fit; 149 steps"),
        (
            "How it was made",
            "- DPO: 2,398 of 2,402 rows (4 were too long), 31 of them cut to fit; 150 steps",
        ),
        ("How it was made", "![Curves of the loss by step, in training and in validation](assets/curves.png)"),
        (
            "How it was made",
            "Loss of DPO by step: in training 0.693 at first and 0.512 at last; in validation 0.553 with the weights "
            "kept, those of step 120.",
        ),
        ("How it was made", "Hardware: one H200. Seeds: 0, 1, 2."),
        ("How it was made", "Versions: torch 2.13.0, trl 1.16.0, peft 0.21.2."),
        ("How it was made", "| <code>beta</code> | <code>0.1</code> |"),
        ("Results", "| flip accuracy | true (both) | 0.413 | 0.301 to 0.534 | 70 in 61 groups | likelihood of the"),
        ("Results", "| reader round-trip: specificity | true (chosen) | 0.102 | 0.021 to 0.183 | 140 | contrast-1 |"),
        (
            "Results",
            "| win rate against Qwen/Qwen3-0.6B <sup>1</sup> | true (rejected) | 0.551 | 0.461 to 0.640 | 127, 3 unrea",
        ),
        ("Results", "| net <sup>2</sup> | shuffled | none | no interval | 0 |"),
        ("Results", "- *Flip accuracy*: the share of pairs"),
        ("Refusals", "| rejected | 0.910 | 0.838 to 0.952 | 100 |"),
        ("Intended use", "Research on tailoring"),
        ("Prohibited use", "**A rejected persona is nobody.**"),
        ("Limits and risks", "**Stereotypes.**"),
        ("Licence", "Of the base: <code>apache-2.0</code>. Of the data: <code>mit</code> (acme/hh-rlhf-personas)."),
        ("Changelog", "- **1.0.0** (2026-11-22): first release"),
        ("Citation", "@misc{qwen-hh-tailored-dpo,"),
    ],
)
def test_sections_of_a_model(heading: str, says: str) -> None:
    """Every section is there with its figures."""
    assert says in section(cards.model_card(model()), heading)


@pytest.mark.parametrize("relation", ["adapter", "merge", "prompt"])
def test_a_base_that_is_a_folder(relation: str) -> None:
    """The card tells its name and neither its place nor a link: a repo of that name would be somebody else's."""
    given = {"adapter": {}, "merge": {"relation": "merge"}, "prompt": FEW_SHOT}[relation]
    base = "mine" if relation == "merge" else "/home/somebody/secret/mine"
    made = model(**{**given, "base_model": base, "base_revision": None, "base_is_local": True})
    card = cards.model_card(made)
    front = front_of(card)
    assert not {"base_model", "base_model_relation"} & front.keys()
    assert "secret" not in card
    assert "\nA local folder <code>mine</code> " in card
    assert "- Base: a local folder <code>mine</code>, licence" in section(card, "How it was made")
    assert ("/path/to/mine" in section(card, "Quick start")) == (relation != "merge")
    assert cards.faults(card, "model", ["assets/curves.png"]) == []
    assert "base_model" not in front_of(cards.merge(card, cards.model_card(model())))  # what is there is out of date


def test_why_there_was_no_validation() -> None:
    """The words under the curves say it, where it is known."""
    took = Training(278, 0, 224, 6, first_loss=2.5, last_loss=2.25, validation_missing="all 30 rows are too long")
    said = section(cards.model_card(model(method="sft", training=took, sft_training=None)), "How it was made")
    assert "- Training: 54 of 278 rows (224 were too long), none cut; 6 steps" in said
    assert "at last; there was no validation: all 30 rows are too long." in said
    unknown = replace(took, validation_missing="")
    assert "no validation: nothing was there to validate with." in cards.model_card(model(training=unknown))


def test_yaml_of_a_model() -> None:
    """The YAML has what the Hub links models by; its validator and our own check take the card."""
    card = cards.model_card(model())
    front = front_of(card)
    assert {key: front[key] for key in ("base_model", "base_model_relation", "datasets", "library_name")} == {
        "base_model": "Qwen/Qwen3-0.6B",
        "base_model_relation": "adapter",
        "datasets": ["acme/hh-rlhf-personas"],
        "library_name": "peft",
    }
    assert front["metrics"] == ["flip_accuracy", "specificity", "win_rate"]
    assert front["pipeline_tag"] == "text-generation"
    assert card_faults(card, "model") == ([], [])
    assert cards.faults(card, "model", ["assets/curves.png"]) == []
    assert cards.faults(card, "model", []) == ["A link leads to assets/curves.png, which is no file of the repo."]
    shown: Any = ModelCard(card).data
    assert [(one.metric_type, one.metric_value, one.dataset_revision) for one in shown.eval_results] == [
        ("flip_accuracy", 0.4134, COMMIT),
        ("specificity", 0.1021, COMMIT),
        ("win_rate", 0.5512, COMMIT),
    ]
    assert "base_model_relation" not in front_of(cards.model_card(model(**FEW_SHOT)))
    assert front_of(cards.model_card(model(relation="merge")))["library_name"] == "transformers"


def test_results_in_the_form_of_the_hub() -> None:
    """Each figure on a set on the Hub is a file that the Hub's client reads back, with interval, n and judge."""
    files = cards.eval_results(model())
    assert sorted(files) == [
        f".eval_results/hh-rlhf-personas-tailoring-{name}.yaml" for name in ("flip-accuracy", "specificity", "win-rate")
    ]
    (entry,) = parse_eval_result_entries(
        yaml.safe_load(files[".eval_results/hh-rlhf-personas-tailoring-win-rate.yaml"])
    )
    assert (entry.dataset_id, entry.task_id, entry.value) == ("acme/hh-rlhf-personas", "tailoring", 0.5512)
    assert (entry.dataset_revision, entry.date) == (COMMIT, "2026-11-22")
    assert entry.source_url == "https://huggingface.co/acme/qwen-hh-tailored-dpo"
    assert str(entry.notes).startswith(
        "win rate against Qwen/Qwen3-0.6B (true personas, rejected side); 95 % interval 0.461"
    )
    both = model(results=[replace(model().results[0], side=side) for side in ("chosen", "rejected")])
    (text,) = cards.eval_results(both).values()
    assert len(yaml.safe_load(text)) == 2
    assert cards.eval_results(model(results=())) == {}


@pytest.mark.parametrize(("name", "against"), [("accuracy", "org/other"), ("win_rate", ""), ("net", "")])
@pytest.mark.parametrize("judge", ["contrast", "contrast-1"])
def test_no_model_is_ranked_by_the_reader(name: str, against: str, judge: str) -> None:
    """What compares models and was judged by the offline reader is in no card and in no file of results."""
    ranked = model(results=(Result(name, 0.6, 10, 0.5, 0.7, judge=judge, against=against, dataset="a/b"),))
    for make in (cards.model_card, cards.model_yaml, cards.eval_results):
        with pytest.raises(DataError) as raised:
            make(ranked)
        assert "cards refuse model rankings judged by the reader" in str(raised.value)
    assert cards.model_card(model(results=(Result("accuracy", 0.6, 10, 0.5, 0.7, judge=judge),)))


def test_a_toy_is_called_one() -> None:
    """A model trained on toy data is called a toy before anything else, in its title, its tags and its results."""
    card = cards.model_card(model(toy=True))
    assert re.search(r"# qwen-hh-tailored-dpo &?.*toy.*\n\n> \*\*This is a toy\.\*\*", card)
    front = front_of(card)
    assert "toy" in front["tags"]
    assert all("toy" in metric["name"] for metric in front["model-index"][0]["results"][0]["metrics"])
    assert all("toy model" in text.replace("\n", "") for text in cards.eval_results(model(toy=True)).values())


def test_what_is_not_known_is_said() -> None:
    """A folder just made has no name on the Hub; without results, refusals or baselines the card says so."""
    bare = model(
        version=None,
        repo=None,
        licence=None,
        releases=(),
        results=(),
        refusals=(),
        files={},
        datasets=(TrainedOn("local-personas", digest="cd" * 32),),
        base_revision=None,
    )
    card = cards.model_card(bare)
    assert 'PeftModel.from_pretrained(base, "PATH_OR_HUB_ID")' in card
    assert "None. Nothing in this card says that the model tailors anything." in section(card, "Results")
    assert "Not measured." in section(card, "Refusals")
    why = cards.model_card(replace(bare, refusals_missing="memory did not <b>suffice</b>"))
    assert "Not measured: memory did not &#60;b&#62;suffice" in section(why, "Refusals")
    assert "local-personas, not on the Hub | digest <code>cdcdcdcdcdcdcdcd</code>" in section(card, "Training data")
    assert "Not released" in section(card, "Changelog")
    assert "No licence of the model itself has been settled" in section(card, "Licence")
    assert cards.faults(card, "model", []) == ["A placeholder was not filled in: PATH_OR_HUB_ID."]
    alone = cards.model_card(model(results=model().results[:1]))
    assert "nothing says what the training added" in section(alone, "Results")
    assert "No figure with personas shuffled among pairs is here" in section(alone, "Results")


def test_the_card_of_a_model_that_is_told_no_persona_speaks_of_none() -> None:
    """What is said of personas is said where there are any: the baseline's card says what it is for."""
    card = cards.model_card(model(**BASELINE))
    assert "with which those that are told a persona are compared" in section(card, "Intended use")
    limits = section(card, "Limits and risks")
    assert "**One taste for all.**" in limits
    assert "persona" not in limits.lower()
    assert "sentence form" not in section(card, "Template")


def test_what_rests_on_few_conversations_has_one_mark_and_one_footnote() -> None:
    """However many figures do: their intervals have a mark, and what it means is said once; so is a shared note."""
    few = "too few clusters (18): below 20 no interval is to be trusted"
    notes = {"quality_net": few, "serves_net": f"Asked by half.; {few}", "reward_accuracy": "", "delta_pq": few}
    results = [Result(name, 0.1, 36, -0.1, 0.3, clusters=18, persona="true", note=note) for name, note in notes.items()]
    none = [Result(name, None, 36, clusters=18, note="Withheld.") for name in ("quality_win_rate", "picks_net")]
    enough = Result("serves_win_rate", 0.5, 40, 0.4, 0.6, clusters=20, persona="true")
    shown = section(cards.model_card(model(results=(*results, *none, enough))), "Results")
    assert shown.count("0.300† |") == 4
    assert "| win rate, what serves the persona | true | 0.500 | 0.400 to 0.600 |" in shown
    assert shown.count("\n† Fewer than 20 groups") == 1
    assert "too few clusters" not in shown
    assert shown.count("Asked by half.") == shown.count("Withheld.") == 1
    for name in (
        "net, quality |",
        "net, what serves the persona <sup>1</sup>",
        "win rate, quality <sup>2</sup>",
        "ΔPQ |",
    ):
        assert f"| {name}" in shown
    assert "†" not in section(cards.model_card(model()), "Results")
    assert cards.eval_results(model(results=[replace(one, dataset="a/b") for one in results]))


def test_figures_by_likelihood_are_named_in_words_and_explained() -> None:
    """What was scored and over which pairs stands in the name, and below the table what that means."""
    names = ("normalised_flip_accuracy_at_equal_length", "reward_separation")
    shown = section(cards.model_card(model(results=[Result(name, 0.1, 36, 0.0, 0.3) for name in names])), "Results")
    assert "| flip accuracy by likelihood per token, at equal length |" in shown
    assert "| separation by reward |" in shown
    assert not any(name in shown for name in names)
    for about in ("*By reward*", "*By likelihood per token*", "*At equal length*", "*Separation*", "A margin is the"):
        assert shown.count(f"- {about}") == 1
    assert "A margin is the" not in section(cards.model_card(model()), "Results")


@pytest.mark.parametrize(
    ("changes", "has", "lacks"),
    [
        ({"method": "sft"}, {"lora_rank", "sft_learning_rate", "epochs"}, {"dpo_learning_rate", "beta", "examples"}),
        ({"method": "dpo"}, {"dpo_learning_rate", "beta", "sft_learning_rate"}, {"begin_mnemonics", "packing"}),
        (FEW_SHOT, {"examples", "max_new_tokens"}, {"epochs", "lora_rank", "beta"}),
        ({"method": "sft", "tuning": "full"}, {"sft_learning_rate"}, {"lora_rank", "lora_targets"}),
        ({"method": "sft", "begin_mnemonics": True}, {"begin_mnemonics"}, {"precompute_reference"}),
    ],
)
def test_hyperparameters_that_a_method_has_no_use_for_are_left_out(
    changes: dict[str, Any], has: set[str], lacks: set[str]
) -> None:
    """The table has what had a say in the model; the manifest and the recipe's file have all."""
    of_recipe = {name: value for name, value in changes.items() if name in ("tuning", "begin_mnemonics")}
    recipe = recipes.load("fixed", **of_recipe).hyperparameters()
    others = {name: value for name, value in changes.items() if name not in of_recipe}
    made = section(cards.model_card(model(recipe=recipe, **others)), "How it was made")
    shown = set(re.findall(r"^\| <code>(\w+)</code> \|", made, re.MULTILINE))
    assert has <= shown
    assert not lacks & shown


class Asked(dict[str, Any]):
    """What a tokenizer gives and `generate` is given."""

    def to(self, device: str) -> Asked:
        """Stay where it is."""
        assert device == "cpu"
        return self


class Stand:
    """Stands for model and tokenizer: notes what it is loaded from and asked, and answers with a text that runs on."""

    calls: list[Any]
    device = "cpu"

    def __init__(self, calls: list[Any]) -> None:
        self.calls = calls

    def from_pretrained(self, *args: Any, **kwargs: Any) -> Stand:  # noqa: ANN401 - as the library has it
        """Note what is loaded."""
        self.calls.append((*(arg for arg in args if isinstance(arg, str)), kwargs.get("revision")))
        return self

    def __call__(self, prompt: str, return_tensors: str) -> Asked:
        """Note a prompt."""
        assert return_tensors == "pt"
        self.calls.append(prompt)
        return Asked(input_ids=SimpleNamespace(shape=(1, 3)))

    def apply_chat_template(self, messages: list[dict[str, str]], **kwargs: Any) -> Asked:  # noqa: ANN401
        """Note messages."""
        assert kwargs == {"add_generation_prompt": True, "return_tensors": "pt", "return_dict": True}
        self.calls.append(messages)
        return Asked(input_ids=SimpleNamespace(shape=(1, 3)))

    def generate(self, **kwargs: Any) -> Stand:  # noqa: ANN401
        """Note how long a reply may be."""
        self.calls.append((kwargs["max_new_tokens"], kwargs["do_sample"]))
        return self

    def __getitem__(self, at: tuple[int, slice]) -> str:
        assert at == (0, slice(3, None))
        return "tokens"

    def decode(self, tokens: str, skip_special_tokens: bool) -> str:
        """Return a reply after which the model goes on as the user."""
        assert (tokens, skip_special_tokens) == ("tokens", True)
        return "Water it.\n\nUser: And then?"


def run_snippet(manifest: ModelManifest, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Run the Python of a card with stand-ins for the libraries; return what they were asked."""
    (code,) = re.findall(r"^```python\n(.*?)^```$", cards.model_card(manifest), re.DOTALL | re.MULTILINE)
    ast.parse(code)
    calls: list[Any] = []
    for module, names in (("transformers", ("AutoModelForCausalLM", "AutoTokenizer")), ("peft", ("PeftModel",))):
        stand_in = ModuleType(module)
        for name in names:
            setattr(stand_in, name, Stand(calls))
        monkeypatch.setitem(sys.modules, module, stand_in)
    exec(compile(code, "card", "exec"), {})  # noqa: S102 - the card's own code is what is tested
    return calls


PERSONA = "The user is busy and prefers short, concrete steps over background."
REQUEST = "How do I keep basil alive on a windowsill?"
OWN = ("acme/qwen-hh-tailored-dpo", "v1.0.0")
BASE = ("Qwen/Qwen3-0.6B", COMMIT[::-1])


@pytest.mark.parametrize(
    ("changes", "loads", "asks"),
    [
        ({}, [BASE, OWN, OWN], f"{PERSONA}\n\n{REQUEST}\n\nAssistant:"),
        ({"relation": "merge"}, [OWN, OWN], f"{PERSONA}\n\n{REQUEST}\n\nAssistant:"),
        (
            {"template": "chat", "template_text": "{persona}"},
            [BASE, OWN, OWN],
            [{"role": "system", "content": PERSONA}, {"role": "user", "content": REQUEST}],
        ),
        (
            {"template": "chat", "template_text": 'Be {kind}: "{persona}"\\ ```\n<b>', "relation": "finetune"},
            [OWN, OWN],
            [
                {"role": "system", "content": f'Be {{kind}}: "{PERSONA}"\\ ```\n<b>'},
                {"role": "user", "content": REQUEST},
            ],
        ),
        (BASELINE, [BASE, OWN, OWN], [{"role": "user", "content": REQUEST}]),
        (
            {**BASELINE, "template": "plain", "template_text": "Q: {prompt}\nA:"},
            [BASE, OWN, OWN],
            f"Q: {REQUEST}\nA:",
        ),
        (
            {**FEW_SHOT, "template_text": "The user is x.\n\nq\n\na\n\n{persona}\n\n{prompt}\n\n"},
            [BASE, BASE],
            f"The user is x.\n\nq\n\na\n\n{PERSONA}\n\n{REQUEST}\n\n",
        ),
    ],
)
def test_the_snippet_asks_as_the_card_says(
    changes: dict[str, Any],
    loads: list[Any],
    asks: object,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Run as it stands it loads base and weights at their revisions, asks in the exact template, and stops."""
    calls = run_snippet(model(**changes), monkeypatch)
    assert calls == [*loads, asks, (300, False)]
    assert capsys.readouterr().out == "Water it.\n"


def test_the_manifest_is_read_back_as_it_was_written() -> None:
    """A manifest goes through its file unchanged; what is not known here is left out."""
    stated = json.loads(model().to_json())
    assert (
        ModelManifest.of(stated)
        == ModelManifest.of(stated | {"of_tomorrow": 1})
        == model(licence={**(model().licence or {}), "because": list((model().licence or {})["because"])})
    )
    assert cards.model_card(ModelManifest.of(stated)) == cards.model_card(model())
    for name in ("sft_training", "refusals_missing"):  # manifests of earlier versions lack them
        del stated[name]
    for name in ("first_loss", "last_loss", "validation_loss", "best_step"):
        del stated["training"][name]
    earlier = ModelManifest.of(stated)
    assert (earlier.sft_training, earlier.refusals_missing) == (None, "")
    assert earlier.training == Training(2402, 31, 4, 150, 1_204_554, 812.4)
    assert "- DPO: 2,398 of 2,402 rows" in cards.model_card(earlier)
    assert json.loads(replace(model(), name="\ud800").to_json())["name"] == "\ud800"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"kind": "dataset"}, "not the manifest of a model"),
        ({"datasets": [{"repo": "a/b"}]}, "lacks what that of a model has"),
        ({"results": 7}, "lacks what that of a model has"),
        ({"method": "magic"}, "no method of a model"),
        ({"template_text": "{persona} {persona} {prompt}"}, "does not hold {persona} once"),
        ({"template_text": "{persona}"}, "does not hold {prompt} once"),
        ({"personas": "none"}, "does not hold {persona} once"),
        ({"method": "few-shot"}, "contradict each other"),
    ],
)
def test_what_is_no_manifest_of_a_model(changes: dict[str, Any], says: str) -> None:
    """A manifest of something else, or of what no model is, is refused with what is wrong."""
    with pytest.raises(DataError) as raised:
        ModelManifest.of(json.loads(model().to_json()) | changes)
    assert says in str(raised.value)


def with_text(text: str) -> ModelManifest:
    """Return a model of which everything from outside is one text."""
    result = Result(text, 0.5, 3, 0.1, 0.9, side=text, persona=text, judge=f"{text}x", dataset=f"{text} x", note=text)
    return model(
        name=text,
        base_model=f"{text} x",
        base_revision=text,
        base_licence=text,
        template_text="{persona}" + re.sub(r"\{(persona|prompt)\}", "", text) + "{prompt}",
        stop=(text,),
        datasets=(TrainedOn(text, f"{text} x", text, text, text, text, text, text), TrainedOn(text, digest=text)),
        recipe={text: text},
        hardware=text,
        versions={text: text},
        languages=("en",),
        results=(result, replace(result, config=text, split=text, revision=text)),
        refusals=(Refusals(text, 0.5, 3, 0.1, 0.9, text),),
        safety=text,
        repo=None,
        code_version=text,
        created=text,
        weights_digest=text,
        licence={"id": "mit", "name": "", "link": "", "note": text, "because": (text,)},
        releases=(Release("1.0.0", text, (text,)),),
    )


@given(hostile_text.filter(bool))
@example(HOSTILE)
@settings(max_examples=60)
def test_no_text_from_data_breaks_out(text: str) -> None:
    """Whatever a text holds, a Markdown parser finds the same blocks, links and tags as with a harmless one."""
    card = cards.model_card(with_text(text))
    assert skeleton(card) == skeleton(cards.model_card(with_text("harmless")))
    body = card.split("\n---\n", 1)[1]
    assert [body.count(marker) for marker in (BEGIN, END)] == [1, 1]
    (code,) = re.findall(r"^```python\n(.*?)^```$", body, re.DOTALL | re.MULTILINE)
    ast.parse(code)
    assert all(isinstance(yaml.safe_load(entries), list) for entries in cards.eval_results(with_text(text)).values())
