"""Figures by a model's own likelihoods: the arithmetic by hand, tiny models on the CPU, files and cards."""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

pytest.importorskip("peft", reason="peft is in the extra `train`")

import torch
from training_sets import Workshop, paper_row, workshop, write_paper, write_rows
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from whoseboat.cli import app
from whoseboat.errors import DataError, OutputError, UsageError
from whoseboat.metric import Bootstrap
from whoseboat.model_manifest import Result
from whoseboat.records import Message, Side
from whoseboat.tailoring import loading, margins, model_folder, scorecards, scoring
from whoseboat.tailoring.likelihoods import Likelihoods, Row, log_likelihoods
from whoseboat.tailoring.margins import Measured, Score
from whoseboat.tailoring.merging import merge
from whoseboat.tailoring.prompting import Prompts, without_persona
from whoseboat.tailoring.training import train

SIDES: tuple[Side, ...] = ("chosen", "rejected")
FEW = Bootstrap(draws=200)
ROWS: list[Row] = [((5, 6, 7), (8, 9)), ((5, 6), (8, 9, 10, 11, 12)), ((40,), (41,)), ((5, 6, 7, 9, 9, 9), (8,))]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Make a set and tiny models once."""
    return workshop(tmp_path_factory.mktemp("workshop"))


@pytest.fixture(scope="module")
def adapter(shop: Workshop) -> Path:
    """Train an adapter on personas of both sides."""
    recipe = shop.recipe(method="sft", personas="both", sft_learning_rate=0.02, lora_dropout=0.0)
    return train(recipe, shop.folder / "adapter").path


@pytest.fixture
def copied(adapter: Path, tmp_path: Path) -> Path:
    """Copy the model folder, to write into."""
    return Path(shutil.copytree(adapter, tmp_path / "model"))


def by_hand(model: Any, row: Row) -> float:  # noqa: ANN401 - transformers has no types
    """Return the log-probability of a reply, token by token."""
    prompt, reply = row
    ids = [*prompt, *reply]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0].double()
    found = torch.log_softmax(logits, -1)
    return math.fsum(float(found[at - 1, ids[at]]) for at in range(len(prompt), len(ids)))


def told(loaded: loading.Loaded, shop: Workshop, **settings: Any) -> scoring.Scores:  # noqa: ANN401 - of scoring
    """Score the test split with few draws."""
    return scoring.score(loaded, shop.data, bootstrap=FEW, **settings)


def value(
    figures: Sequence[Measured], name: str, side: str = "both", persona: str = "true", margin: str = "reward"
) -> float | None:
    """Return the value of the one figure that is meant."""
    (found,) = (
        one
        for one in figures
        if (one.name, one.side, one.persona, one.margin, one.stratum) == (name, side, persona, margin, "all")
    )
    return found.figure.value


# ---- likelihoods


def test_log_likelihoods_are_those_computed_by_hand(shop: Workshop) -> None:
    """Each reply's sum is that of its tokens' log-probabilities, whatever stands beside it in the batch."""
    model = AutoModelForCausalLM.from_pretrained(shop.chat).eval()
    expected = [by_hand(model, row) for row in ROWS]
    assert log_likelihoods(model, ROWS, 0) == pytest.approx(expected, abs=1e-4)
    alone = [log_likelihoods(model, [row], 0)[0] for row in ROWS]
    assert alone == pytest.approx(expected, abs=1e-4)
    assert log_likelihoods(model, ROWS[::-1], 17)[::-1] == pytest.approx(expected, abs=1e-4)  # nor does the padding


def test_a_row_without_tokens_is_refused(shop: Workshop) -> None:
    """Nothing can be said of a reply without tokens, or of one behind nothing."""
    model = AutoModelForCausalLM.from_pretrained(shop.chat).eval()
    for row in (((), (1,)), ((1,), ())):
        with pytest.raises(ValueError, match="at least one token"):
            log_likelihoods(model, [row], 0)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_scores_do_not_depend_on_batches(shop: Workshop, adapter: Path, batch_size: int) -> None:
    """The size of batches, and the order of rows, change no score; equal rows get the same to the last bit."""
    loaded = loading.load(adapter)
    usual = Likelihoods(loaded, 4).of(ROWS)
    found = Likelihoods(loaded, batch_size).of([*ROWS[::-1], ROWS[0]])
    assert found[3] == found[4]
    for one, other in zip(found[:4][::-1], usual, strict=True):
        assert one == pytest.approx(other, abs=1e-4)


def test_memory_that_does_not_suffice_makes_batches_smaller(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches are halved until they fit; one row that does not is an error in plain words."""
    loaded = loading.load(shop.chat, template="chat", reference=shop.chat)
    most, sizes = 2, list[int]()

    def short(model: Any, rows: Sequence[Row], pad_id: int) -> list[float]:  # noqa: ANN401
        sizes.append(len(rows))
        if len(rows) > most:
            raise torch.OutOfMemoryError
        return log_likelihoods(model, rows, pad_id)

    monkeypatch.setattr("whoseboat.tailoring.likelihoods.log_likelihoods", short)
    shrunk, usual = (Likelihoods(loaded, size).of(ROWS) for size in (8, 2))
    assert [one for one, _ in shrunk] == pytest.approx([one for one, _ in usual], abs=1e-4)
    assert all(policy == reference for policy, reference in shrunk)
    assert max(size for size in sizes if size <= most) == most
    most = 0
    with pytest.raises(Exception, match="memory does not suffice for one row"):
        Likelihoods(loaded, 8).of(ROWS)


# ---- whole models


def test_scores_are_those_of_the_rendered_texts(shop: Workshop, adapter: Path) -> None:
    """Under each persona the texts are those of training, in policy and reference alike; margins follow."""
    loaded = loading.load(adapter)
    found = told(loaded, shop, personas=["true"])
    tokenizer = AutoTokenizer.from_pretrained(adapter)
    base = AutoModelForCausalLM.from_pretrained(shop.chat).eval()
    row = paper_row("test", 0)
    for side in ("chosen", "rejected"):
        (score,) = (one for one in found.scores if one.side == side and row["prompt"] in prompt_of(one, shop))
        turns = [
            {"role": "system", "content": row[f"{side}_persona_gold"]},
            {"role": "user", "content": row["prompt"]},
        ]
        text = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        prompt = tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
        for reply in ("chosen", "rejected"):
            ids = tuple(tokenizer(f"{row[reply]}<|im_end|>", add_special_tokens=False)["input_ids"])
            assert getattr(score, f"{reply}_tokens") == len(ids)
            assert getattr(score, reply) == pytest.approx(by_hand(loaded.model, (prompt, ids)), abs=1e-3)
            assert getattr(score, f"reference_{reply}") == pytest.approx(by_hand(base, (prompt, ids)), abs=1e-3)
        assert score.reference_chosen is not None and score.reference_rejected is not None
        reward = (score.chosen - score.reference_chosen) - (score.rejected - score.reference_rejected)
        assert score.reward_margin == pytest.approx(reward)
        assert score.reward_margin != pytest.approx(0, abs=1e-3)
        by_token = score.chosen / score.chosen_tokens - score.rejected / score.rejected_tokens
        assert score.normalised_margin == pytest.approx(by_token)


def prompt_of(score: Score, shop: Workshop) -> str:
    """Return the prompt of the pair that a score is of."""
    from whoseboat.tailoring import pairs

    (found,) = (pair for pair in pairs.load(shop.data).pairs("test") if pair.id == score.id)
    return found.prompt[-1].content


def test_the_reference_is_named_and_may_be_another_model(shop: Workshop, adapter: Path, tmp_path: Path) -> None:
    """An adapter's is its base with the adapter off, as the base by itself; a merged model has none unnamed."""
    own = loading.load(adapter)
    other = loading.load(adapter, reference=shop.chat)
    assert own.reference and own.reference.name == f"{shop.chat.name}, the adapter off"
    assert other.reference and other.reference.name == shop.chat.name
    usual, named = (told(one, shop, personas=["true"]) for one in (own, other))
    assert [one.reward_margin for one in usual.scores] == pytest.approx(
        [one.reward_margin for one in named.scores], abs=1e-4
    )
    merged = merge(adapter, tmp_path / "merged").path
    without = told(loading.load(merged), shop, personas=["true"])
    assert without.reference is None
    assert {one.margin for one in without.figures} == {"normalised"}
    assert all(one.reward_margin is None for one in without.scores)
    against = told(loading.load(merged, reference=shop.chat), shop, personas=["true"])
    assert [one.reward_margin for one in against.scores] == pytest.approx(
        [one.reward_margin for one in usual.scores], abs=1e-3
    )
    by_folder = loading.load(merged, reference=adapter)  # a model folder of ours serves as well
    assert by_folder.reference and by_folder.reference.name == "adapter"
    assert [one.reward_margin for one in told(by_folder, shop).scores] == pytest.approx([0] * 12, abs=1e-3)


def test_a_reference_with_other_tokens_is_refused(shop: Workshop, tmp_path: Path) -> None:
    """The same numbers would mean other tokens there."""
    from whoseboat.tailoring.tiny import write_tiny_model

    other = write_tiny_model(tmp_path / "other", ["quite other words, and few of them"])
    with pytest.raises(UsageError, match="do not share their tokens"):
        loading.load(shop.chat, template="chat", reference=other)


def test_rewards_are_zero_where_the_policy_is_the_reference(shop: Workshop) -> None:
    """Margins of 0 count half: accuracy is a half to the last bit, and nothing flips."""
    loaded = loading.load(shop.chat, template="chat", reference=shop.chat)
    found = told(loaded, shop)
    assert [one.reward_margin for one in found.scores] == [0.0] * 12
    for side in ("chosen", "rejected", "both"):
        assert value(found.figures, "accuracy", side) == 0.5
        assert value(found.figures, "specificity", side) == 0.0
    assert value(found.figures, "flip_accuracy") == 0.0
    assert value(found.figures, "separation") == 0.0


def test_a_model_that_is_blind_to_personas_flips_nothing(shop: Workshop) -> None:
    """Where nothing is attended to, every persona gets the same margin: flip accuracy and specificity are exactly 0."""
    loaded = loading.load(shop.chat, template="chat", reference=shop.chat)
    assert loaded.reference
    for model in (loaded.model, loaded.reference.model):
        for layer in model.model.layers:
            torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
    loaded.model.model.layers[0].mlp.down_proj.weight.data.mul_(50)  # the policy is another model
    found = told(loaded, shop)
    assert min(abs(one.reward_margin or 0) for one in found.scores) > 0.005
    for margin in ("reward", "normalised"):
        assert value(found.figures, "flip_accuracy", margin=margin) == 0.0
        assert value(found.figures, "separation", margin=margin) == pytest.approx(0, abs=1e-3)
        for side in ("chosen", "rejected", "both"):
            assert value(found.figures, "specificity", side, margin=margin) == 0.0
        accuracies = [value(found.figures, "accuracy", side, margin=margin) for side in ("chosen", "rejected")]
        assert sum(filter(None, accuracies)) == pytest.approx(1)


def test_a_model_that_heeds_personas_flips(shop: Workshop) -> None:
    """Trained at length on the pairs it is tried on, a tiny model ranks by the persona; the figures show it."""
    recipe = shop.recipe(
        method="dpo", personas="both", tuning="full", dpo_learning_rate=3e-3, sft_learning_rate=1e-3, max_steps=40,
        batch_size=8, beta=0.5,
    )  # fmt: skip
    made = train(recipe, shop.folder / "heeding").path
    loaded = loading.load(made, reference=shop.chat)
    assert loaded.beta == 0.5
    found = scoring.score(loaded, shop.data, split="train", bootstrap=FEW)
    flips, separation = value(found.figures, "flip_accuracy"), value(found.figures, "separation")
    assert flips is not None and flips > 0.6
    assert separation is not None and separation > 0
    doubled = scoring.score(loaded, shop.data, split="train", bootstrap=FEW, beta=1.0)
    assert value(doubled.figures, "separation") == pytest.approx(2 * separation)
    assert value(doubled.figures, "flip_accuracy") == flips


@pytest.mark.parametrize("template", ["chat", "plain"])
def test_any_model_is_scored_with_every_kind_of_personas(shop: Workshop, template: str) -> None:
    """A model that is none of ours is prompted by the template named; kinds without sides have one accuracy."""
    place = shop.chat if template == "chat" else shop.plain
    found = told(loading.load(place, template=template), shop, personas=["true", "retrieved", "system", "none"])  # type: ignore[arg-type]  # one of both
    assert {one.persona_kind: one.side for one in found.scores}.keys() == {"true", "retrieved", "system", "none"}
    assert [one.name for one in found.figures if one.persona == "none" and one.stratum == "all"] == ["accuracy"]
    assert 0 <= (value(found.figures, "accuracy", "", "none", "normalised") or 0) <= 1
    assert [result.name for result in found.results() if result.persona == "none"] == ["normalised_accuracy"]


@pytest.mark.parametrize("method", ["sft", "few-shot"])
@pytest.mark.parametrize("personas", ["none", "chosen"])
def test_models_of_every_kind_are_scored(shop: Workshop, tmp_path: Path, method: str, personas: str) -> None:
    """Those that know no personas are told them by their user; those that do are asked without, too."""
    made = train(shop.recipe(method=method, personas=personas), tmp_path / "model").path
    found = told(loading.load(made), shop, personas=["true", "shuffled", "none"])
    assert len(found.scores) == 3 * 5
    margins_by_kind = {(one.persona_kind, one.side): one.normalised_margin for one in found.scores}
    # All pairs of this set have the same personas, so that shuffled ones are the same; what differs is the text.
    assert [margins_by_kind["shuffled", side] for side in SIDES] == [margins_by_kind["true", side] for side in SIDES]
    assert len(set(margins_by_kind.values())) == 3
    assert (found.reference is None) == (method == "few-shot")


def test_a_persona_is_left_out_of_a_text_with_its_examples_kept() -> None:
    """What stands in the place of a persona goes, and nothing else."""
    text = "Prompt: a\nPersona: b\nResponse: c\n\nPrompt: {prompt}\nPersona: {persona}\nResponse:"
    assert without_persona(text) == "Prompt: a\nPersona: b\nResponse: c\n\nPrompt: {prompt}\nResponse:"
    assert without_persona("an example\n\n{persona}") == "an example"
    assert without_persona("{persona}") == ""


def test_a_template_without_a_place_for_personas_still_does_without(shop: Workshop) -> None:
    """Where a chat template takes no system message, prompts without a persona are rendered all the same."""
    tokenizer = AutoTokenizer.from_pretrained(shop.chat)
    tokenizer.chat_template = (
        "{% for message in messages %}{% if message['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    prompts = Prompts(tokenizer, "chat", "both")
    ids = prompts.prompt_ids((Message("user", "reef"),), None)
    assert "reef" in tokenizer.decode(ids)
    with pytest.raises(DataError, match="takes no system message"):
        prompts.prompt_ids((Message("user", "reef"),), "The user is a diver.")


# ---- what is left out


def test_rows_that_would_be_truncated_are_left_out_and_counted(shop: Workshop, adapter: Path) -> None:
    """A pair is left out for a kind if one of its rows is too long; the rest are scored as they were."""
    loaded = loading.load(adapter)
    everything = told(loaded, shop, personas=["true"])
    lengths: dict[str, int] = {}
    for one in everything.scores:
        row = one.prompt_tokens + max(one.chosen_tokens, one.rejected_tokens)
        lengths[one.id] = max(row, lengths.get(one.id, 0))
    limit = sorted(lengths.values())[0]
    kept = {name for name, length in lengths.items() if length <= limit}
    assert 0 < len(kept) < 3
    found = told(loaded, shop, personas=["true"], max_length=limit)
    assert {one.id for one in found.scores} == kept
    assert found.left_out["true"].counts == {"too_long": 3 - len(kept)}
    assert found.to_dict()["left_out"] == {"true": {"too_long": 3 - len(kept)}}
    said = f"left out with true personas: {3 - len(kept)} too long (a row has at most {limit:,} tokens)"
    assert said in found.results()[0].note
    assert all(one.figure.n == len(kept) for one in found.figures if one.stratum == "all")
    with pytest.raises(DataError, match="no pair is left to score"):
        told(loaded, shop, max_length=5)
    short = replace(loaded, longest_prompt=1)
    with pytest.raises(DataError, match="no pair is left to score"):
        told(short, shop)


def test_texts_that_play_the_control_tokens_are_left_out_and_counted(shop: Workshop, tmp_path: Path) -> None:
    """A response that holds what ends one is no response to score; the other pairs are."""
    data = write_paper(tmp_path / "data")
    rows = [paper_row("test", 0, chosen="Reef<|im_end|>\n"), paper_row("test", 1), paper_row("test", 2)]
    write_rows(data, "test", rows)
    loaded = loading.load(shop.chat, template="chat", dtype="bfloat16")
    found = scoring.score(loaded, data, bootstrap=FEW)
    assert found.dtype == "bfloat16"
    assert {kind: refused.counts for kind, refused in found.left_out.items()} == {
        "true": {"special_token": 1},
        "shuffled": {"special_token": 1},
    }
    assert len(found.scores) == 2 * 2 * 2
    assert all(math.isfinite(one.normalised_margin) for one in found.scores)


def test_what_cannot_be_asked_for_is_refused(shop: Workshop, adapter: Path, tmp_path: Path) -> None:
    """Errors say what is wrong before any work is done."""
    loaded = loading.load(shop.chat, template="chat")
    with pytest.raises(UsageError, match="unknown kind of personas: 'human'"):
        told(loaded, shop, personas=["human"])
    with pytest.raises(UsageError, match="out of range"):
        told(loaded, shop, beta=0.0)
    with pytest.raises(DataError, match="no split"):
        told(loaded, shop, split="dev")
    with pytest.raises(UsageError, match="states its template itself"):
        loading.load(adapter, template="chat")
    with pytest.raises(UsageError, match="unknown dtype"):
        loading.load(adapter, dtype="int8")  # type: ignore[arg-type]  # that is the point
    with pytest.raises(DataError):
        loading.load(tmp_path / "nowhere", template="chat")


# ---- figures


def made_up(
    number: int, kind: str, side: str | None, margin: float, tokens: tuple[int, int] = (10, 10), root: str | None = None
) -> Score:
    """Return a score with a reward margin, and a normalised one of a tenth of it."""
    return Score(
        f"id{number}", root or f"root{number}", "set", kind, side, margin, 0.0, 0.0, 0.0, 5, *tokens  # type: ignore[arg-type]  # sides
    )  # fmt: skip


def of_margins(kind: str, *pairs: tuple[float, float]) -> list[Score]:
    """Return scores of pairs with margins under both personas."""
    sides = ("chosen", "rejected")
    return [
        made_up(number, kind, side, margin)
        for number, both in enumerate(pairs)
        for side, margin in zip(sides, both, strict=True)
    ]


def test_figures_by_hand() -> None:
    """Accuracy by side, flips, separation and specificity are what counting gives; margins of 0 count half."""
    scores = of_margins("true", (1, -1), (2, 1), (0, -3), (-1, 0)) + of_margins(
        "shuffled", (1, 1), (-1, 1), (0, 0), (-1, -1)
    )
    found = margins.figures(scores, FEW)
    expected = {
        ("accuracy", "chosen", "true"): 2.5 / 4,
        ("accuracy", "rejected", "true"): 2.5 / 4,
        ("accuracy", "both", "true"): 5 / 8,
        ("flip_accuracy", "both", "true"): 1 / 4,
        ("separation", "both", "true"): (2 + 1 + 3 - 1) / 4,
        ("accuracy", "both", "shuffled"): (1.5 + 1.5) / 8,
        ("specificity", "chosen", "true"): (2.5 - 1.5) / 4,
        ("specificity", "rejected", "true"): (2.5 - 1.5) / 4,
        ("specificity", "both", "true"): 2 / 8,
    }
    for (name, side, persona), number in expected.items():
        assert value(found, name, side, persona) == pytest.approx(number), (name, side, persona)
        scale = 0.1 if name == "separation" else 1
        assert value(found, name, side, persona, "normalised") == pytest.approx(scale * number)
    assert all(one.figure.n == 4 and one.figure.clusters == 4 for one in found)
    for figure in (one.figure for one in found):
        assert figure.low is not None and figure.high is not None and figure.value is not None
        assert figure.low <= figure.value <= figure.high


def test_figures_are_drawn_by_conversation() -> None:
    """Pairs of one conversation are one cluster, and intervals are wider for it."""
    pairs = [(1.0 if number % 3 else -1.0, -1.0) for number in range(60)]
    apart = of_margins("true", *pairs)
    together = [replace(one, root=str(number // 2 % 6)) for number, one in enumerate(apart)]
    together = [replace(one, root=one.root + ("a" if one.chosen > 0 else "b")) for one in together]
    by_pair, by_root = (
        next(one.figure for one in margins.figures(scores, FEW) if (one.name, one.side) == ("separation", "both"))
        for scores in (apart, together)
    )
    assert by_pair.value == by_root.value
    assert (by_pair.clusters, by_root.clusters) != (by_root.clusters, by_pair.clusters)
    assert by_root.clusters < 60
    assert None not in (by_pair.low, by_pair.high, by_root.low, by_root.high)
    assert by_root.high - by_root.low > by_pair.high - by_pair.low  # type: ignore[operator]  # none is None


@pytest.mark.parametrize(
    ("tokens", "is_equal"),
    [((10, 10), True), ((9, 10), True), ((100, 91), True), ((8, 9), False), ((100, 89), False), ((1, 1), True)],
)
def test_equal_length_is_within_a_tenth_of_the_longer(tokens: tuple[int, int], is_equal: bool) -> None:
    """The stratum holds pairs whose shorter response has at least 90 % of the tokens of the longer."""
    scores = [made_up(0, "true", side, 1.0, tokens) for side in ("chosen", "rejected")]
    scores += [made_up(1, "true", side, 1.0, (10, 30)) for side in ("chosen", "rejected")]
    measured = [one for one in margins.figures(scores, FEW) if one.stratum == "equal_length"]
    found = {(one.name, one.side): one.figure for one in measured if one.margin == "reward"}
    assert {figure.n for figure in found.values()} == {int(is_equal)}
    if not is_equal:
        assert {figure.value for figure in found.values()} == {None}
        assert all(figure.reason == "no pair has responses of equal length" for figure in found.values())


def test_pairs_that_were_not_scored_under_both_are_left_out_of_specificity() -> None:
    """Specificity is over the pairs that have true and shuffled personas; another set's pair of that id is another."""
    scores = of_margins("true", (1, -1), (-1, 1)) + of_margins("shuffled", (1, -1))
    scores += [replace(one, source="other") for one in of_margins("shuffled", (1, 1), (1, 1))]
    found = [one for one in margins.figures(scores, FEW) if one.name == "specificity" and one.margin == "reward"]
    assert {one.figure.n for one in found} == {1}
    assert {one.figure.value for one in found} == {0.0}
    alone = margins.figures(of_margins("true", (1, -1)), FEW)
    assert not [one for one in alone if one.name == "specificity"]


def test_the_order_of_scores_changes_nothing() -> None:
    """Figures are the same to the last bit whatever the order of pairs."""
    scores = of_margins("true", (0.3, -1.7), (2.2, 1), (0, -3.1)) + of_margins("shuffled", (1, 1), (-1, 1), (0, 0))
    usual = {(one.full_name, one.side, one.persona): one.figure for one in margins.figures(scores, FEW)}
    other = {(one.full_name, one.side, one.persona): one.figure for one in margins.figures(scores[::-1], FEW)}
    assert usual == other


# ---- files and cards


@pytest.fixture(scope="module")
def scores(shop: Workshop, adapter: Path) -> scoring.Scores:
    """Score the test split once."""
    return told(loading.load(adapter), shop)


def test_files_hold_all_scores_and_figures(scores: scoring.Scores, tmp_path: Path) -> None:
    """The table has a row for each pair, kind and side; the figures say what they depend on, in plain JSON."""
    out = tmp_path / "new" / "scores.json"
    scores.write(out, more={"refusals": []})
    table = out.with_suffix(".parquet")
    rows = pq.read_table(table).to_pylist()
    assert len(rows) == len(scores.scores) == 12
    assert [row["reward_margin"] for row in rows] == [one.reward_margin for one in scores.scores]
    assert {(row["persona_kind"], row["side"]) for row in rows} == {
        (kind, side) for kind in ("true", "shuffled") for side in ("chosen", "rejected")
    }
    stated = json.loads(out.read_text(encoding="utf-8"))
    assert stated["scores"] == {"file": "scores.parquet", "sha256": hashlib.sha256(table.read_bytes()).hexdigest()}
    assert (stated["reference"], stated["beta"], stated["split"], stated["pairs"]) == (scores.reference, 1.0, "test", 3)
    assert "Ranking is not generation" in stated["about"]
    assert len(stated["figures"]) == len(scores.figures)
    assert sorted(path.name for path in out.parent.iterdir()) == ["scores.json", "scores.parquet"]


def test_files_are_whole_or_not_there(scores: scoring.Scores, tmp_path: Path) -> None:
    """What is there is not replaced unasked, and what fails leaves neither a part nor a changed file of figures."""
    out = tmp_path / "scores.json"
    scores.write(out)
    before = out.read_bytes()
    with pytest.raises(OutputError, match="there already"):
        scores.write(out)
    with pytest.raises(ValueError, match="JSON"):
        scores.write(out, overwrite=True, more={"bad": math.nan})
    assert out.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scores.json", "scores.parquet"]
    with pytest.raises(UsageError, match="written as JSON"):
        scores.write(tmp_path / "scores.csv")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match="cannot be written"):
        scores.write(tmp_path / "file" / "scores.json")


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_figures_go_into_manifest_and_card(scores: scoring.Scores, copied: Path) -> None:
    """Weights stay as they are, figures of judges stay, earlier figures by likelihood go, a person's words stay."""
    made = model_folder.read(copied).manifest
    judged = Result("net", 0.5, 10, judge="some-model", dataset=scores.dataset.name, split="test")
    scorecards.into_card(copied, [judged])
    card = copied / "README.md"
    card.write_text(card.read_text(encoding="utf-8") + "\nWritten by a person.\n", encoding="utf-8")
    (copied / "notes.txt").write_text("mine", encoding="utf-8")
    before = contents(copied)
    for _ in range(2):
        done = scorecards.into_card(copied, scores.results())
    after, manifest = contents(copied), model_folder.read(copied).manifest
    assert manifest.to_json() == done.manifest.to_json()
    assert manifest.results == (judged, *scores.results())
    assert manifest.weights_digest == made.weights_digest
    assert manifest.safety == made.safety
    assert len(manifest.evaluated) == 10
    assert {name for name in after if after[name] != before.get(name)} == {"README.md", "manifest.json"}
    assert after.keys() == before.keys()
    text = card.read_text(encoding="utf-8")
    assert "Written by a person." in text
    assert f"beta 1, from {scores.reference};" in text
    assert text.count("A margin is the chosen response") == 1
    assert text.count("\n† Fewer than 20 groups") == 1
    assert "They say nothing about what it writes." in text
    assert made.safety[:40] in text
    names = {result.name for result in scores.results()}
    assert {"reward_accuracy", "reward_flip_accuracy", "reward_specificity", "reward_separation"} < names
    assert "normalised_accuracy" in names
    assert not any("equal_length" in name for name in names)  # no pair of this set is
    assert "no pair has responses of equal length" in scores.results()[0].note
    equal = replace(scores, scores=[replace(one, rejected_tokens=one.chosen_tokens) for one in scores.scores])
    again = replace(equal, figures=margins.figures(equal.scores, FEW)).results()
    assert "reward_flip_accuracy_at_equal_length" in {result.name for result in again}
    assert "equal length" not in again[0].note
    for name, about in manifest.files.items():
        assert about["sha256"] == hashlib.sha256(after[name]).hexdigest()


def test_a_card_that_cannot_be_read_leaves_the_folder_as_it_was(scores: scoring.Scores, copied: Path) -> None:
    """Manifest and card change together or not at all."""
    card = copied / "README.md"
    broken = card.read_text(encoding="utf-8").replace("<!-- whoseboat:begin", "<!-- gone", 1)
    lines = [line for line in broken.splitlines() if "end" not in line or "<!--" not in line]
    card.write_text("\n".join(lines) + "\n<!-- whoseboat:end -->\n" + "<!-- whoseboat:end -->\n", encoding="utf-8")
    from whoseboat.cards.markup import END

    card.write_text(card.read_text(encoding="utf-8") + f"\n{END}\n", encoding="utf-8")
    before = contents(copied)
    with pytest.raises(DataError, match="markers"):
        scorecards.into_card(copied, scores.results())
    assert contents(copied) == before
    assert [path.name for path in copied.parent.iterdir()] == ["model"]


KILLED = """
import os, signal, sys
from whoseboat.model_manifest import Refusals
from whoseboat.tailoring import scorecards
scorecards.describe_files = lambda new: os.kill(os.getpid(), signal.SIGKILL)
scorecards.into_card(sys.argv[1], (), [Refusals("none", 0.5, 2, 0.1, 0.9)])
"""


def test_killed_while_it_writes_the_folder_is_as_it_was(copied: Path) -> None:
    """A process that dies leaves the folder alone, and the next one clears up behind it."""
    before = contents(copied)
    done = subprocess.run([sys.executable, "-c", KILLED, str(copied)], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert contents(copied) == before
    scorecards.into_card(copied, ())
    assert [path.name for path in copied.parent.iterdir()] == ["model"]


def test_files_that_a_manifest_names_elsewhere_are_not_touched(copied: Path) -> None:
    """A manifest may come from anybody; a path out of the folder in it is no path."""
    outside = copied.parent / "outside.txt"
    outside.write_text("not ours", encoding="utf-8")
    stated = json.loads((copied / "manifest.json").read_text(encoding="utf-8"))
    stated["files"]["../outside.txt"] = {"bytes": 8, "sha256": "0" * 64}
    (copied / "manifest.json").write_text(json.dumps(stated), encoding="utf-8")
    done = scorecards.into_card(copied, ())
    assert "../outside.txt" not in done.manifest.files
    assert sorted(path.name for path in copied.parent.iterdir()) == ["model", "outside.txt"]


# ---- the command


def test_the_command_scores_and_fills_in_the_card(shop: Workshop, copied: Path, tmp_path: Path) -> None:
    """One call writes the files, measures refusals, and puts both into the card."""
    out = tmp_path / "out.json"
    done = CliRunner().invoke(app, ["score", str(copied), str(shop.data), "--out", str(out), "--into-card"])
    assert done.exit_code == 0, done.output
    assert "ranking is not generation" in done.output
    assert re.search(
        r"^flip accuracy by reward +true \(both\) +\d\.\d{3} \[\d\.\d{3}, \d\.\d{3}\]\* +3$", done.stdout, re.M
    )
    assert done.stdout.count("* fewer than 20 conversations: too few for the interval to be trusted") == 1
    assert "too few clusters (3)" in model_folder.read(copied).manifest.results[0].note
    assert "refuses harmful requests, persona sympathetic" in done.output
    manifest = model_folder.read(copied).manifest
    assert {rate.persona for rate in manifest.refusals} == {"none", "sympathetic", "entrepreneurial"}
    assert manifest.results
    assert len(json.loads(out.read_text(encoding="utf-8"))["refusals"]) == 3


@pytest.mark.parametrize("template", ["chat", "plain"])
def test_the_command_scores_any_model(shop: Workshop, tmp_path: Path, template: str) -> None:
    """Of the untuned base there are log-probabilities alone, and that is said; its template is the one that suits."""
    place = shop.chat if template == "chat" else shop.plain
    out = tmp_path / "out.json"
    done = CliRunner().invoke(app, ["score", str(place), str(shop.data), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "no reference, so no implicit rewards, log-probabilities alone" in done.output
    found = json.loads(out.read_text(encoding="utf-8"))
    assert (found["template"], found["reference"]) == (template, None)
    assert {one["margin"] for one in found["figures"]} == {"normalised"}


def test_the_command_refuses_before_it_works(shop: Workshop, tmp_path: Path) -> None:
    """What cannot be is said at once: files that are there, a card of no folder of ours."""
    out = tmp_path / "out.json"
    call = ["score", str(shop.chat), str(shop.data), "--template", "chat", "--out", str(out)]
    refused = CliRunner().invoke(app, [*call, "--into-card"])
    assert isinstance(refused.exception, UsageError)
    assert not list(tmp_path.iterdir())
    done = CliRunner().invoke(app, [*call, "--limit", "2", "--json", "--personas", "true"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["limit"] == 2
    again = CliRunner().invoke(app, call)
    assert isinstance(again.exception, OutputError)


@pytest.mark.parametrize(
    ("changes", "says", "code"),
    [
        (["--split", "nope"], "the set has no split 'nope'", 1),
        (["--personas", "true,foo"], "unknown kind of personas: 'foo'", 2),
        (["--personas", ","], "no kind of personas was named", 2),
        (["--into-card"], "--into-card takes a model folder of ours", 2),
        (["--batch-size", "1", "--config", "nope"], "unknown config", 2),
    ],
)
def test_what_cannot_be_scored_is_said_before_a_model_is_loaded(
    shop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: list[str], says: str, code: int
) -> None:
    """A split, kinds of personas, a config or a card that cannot be: no weights are read for that."""

    def load(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(loading, "load", load)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["score", str(shop.chat), str(shop.data), *changes])
    assert says in str(done.exception)
    assert getattr(done.exception, "exit_code", None) == code
    missing = CliRunner().invoke(app, ["score", str(shop.chat), str(tmp_path / "nothing")])
    assert "no such folder" in str(missing.exception)
    assert not list(tmp_path.iterdir())


def test_a_set_without_similar_pairs_is_refused_before_a_model_is_loaded(shop: Workshop, tmp_path: Path) -> None:
    """Personas of similar pairs are asked for of a set that has some."""
    row = {name: text for name, text in paper_row("test", 0).items() if not name.endswith("_retr")}
    write_rows(tmp_path / "data", "test", [row])
    with pytest.raises(DataError, match="no personas of similar pairs"):
        scoring.open_set(tmp_path / "data", personas=["true", "retrieved"])


def test_files_are_called_after_the_model(shop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two models are scored one after the other in a directory; what was written is said."""
    monkeypatch.chdir(tmp_path)
    for place, name in ((shop.chat, "scores-chat"), (shop.plain, "scores-plain")):
        done = CliRunner().invoke(app, ["score", str(place), str(shop.data), "--limit", "2", "--personas", "true"])
        assert done.exit_code == 0, done.output
        assert f"written: {name}.json, all figures; {name}.parquet, all scores" in done.stdout
        assert "2 of 2 pairs, at true personas: 0 left out" in done.stderr
    assert len(list(tmp_path.iterdir())) == 4


# ---- what rewards are measured from


@pytest.fixture(scope="module")
def grid(shop: Workshop) -> dict[str, Path]:
    """Train SFT and DPO models, the latter from the former, and an SFT model of other personas."""
    from whoseboat.tailoring.training import train_grid

    out = shop.folder / "grid"
    made = train_grid(shop.recipe(), out, methods=("sft", "dpo"), personas=("chosen", "both"))
    return {f"{one.recipe.method}-{one.recipe.personas}": one.path for one in made}


@pytest.mark.parametrize(
    ("model", "reference", "says"),
    [
        ("dpo-both", "sft-both", ""),
        ("dpo-both", "sft-chosen", "started from an SFT model of the same base, personas and template, which"),
        ("dpo-both", "base", "not from the base itself"),
        ("dpo-both", "copy", "nothing here shows that it was copy"),
        ("dpo-both", "other", "another SFT model"),
        ("sft-both", "base", ""),
        ("sft-both", "copy", "the model was trained from chat, and the reference is copy"),
        ("sft-both", "sft-chosen", "is another one"),
        ("base", "sft-both", "what the model was trained from is not known here"),
    ],
)
def test_a_reference_that_training_did_not_start_from_is_told(
    shop: Workshop, grid: dict[str, Path], tmp_path: Path, model: str, reference: str, says: str
) -> None:
    """In a line at once, in the file of figures, and in the note that a card shows."""
    places = {**grid, "base": shop.chat}
    if reference == "other":
        places["other"] = train(shop.recipe(max_steps=1), tmp_path / "other").path
    if reference == "copy":
        places["copy"] = Path(shutil.copytree(shop.chat, tmp_path / "copy"))
    out = tmp_path / "out.json"
    call = ["score", str(places[model]), str(shop.data), "--personas", "true", "--out", str(out)]
    done = CliRunner().invoke(app, [*call, "--reference", str(places[reference])])
    assert done.exit_code == 0, done.output
    told = [line for line in done.stderr.splitlines() if "measured from it all the same" in line]
    stated = json.loads(out.read_text(encoding="utf-8"))["reference_doubt"]
    assert len(told) == (1 if says else 0)
    assert (says in stated and says in told[0]) if says else stated == ""
