"""On a CPU log-probabilities and their gradients are those of the whole logits, computed in fewer steps."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("trl", reason="trl is in the extra `train`")

import torch
from training_sets import Workshop, workshop
from transformers import LlamaConfig, LlamaForCausalLM
from trl.trainer import utils

from whoseboat.tailoring import cpu_loss, stages
from whoseboat.tailoring.training import train

LABELS = [[-100, -100, 5, 9, 0, 59], [-100, 7, 7, -100, -100, -100], [-100] * 6]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Make a set and tiny models once."""
    return workshop(tmp_path_factory.mktemp("workshop"))


def fused(*, trains_head: bool = False, **settings: float) -> LlamaForCausalLM:
    """Return a tiny model with trl's head on it; layers are trained, the head where asked for."""
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=60, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, **settings
    )
    config.tie_word_embeddings = False
    model = LlamaForCausalLM(config)
    model.lm_head.weight.requires_grad_(trains_head)
    utils.add_fused_lm_head(model, outputs=("log_probs", "entropy", "mean_logits", "is_top1"))
    return model


def ids() -> torch.Tensor:
    """Return three rows of tokens."""
    return torch.arange(18).reshape(3, 6) % 60


def by_hand(
    model: LlamaForCausalLM, labels: torch.Tensor, scale: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return log-probabilities, entropies, mean logits and hits from the whole logits; 0 where there is no label."""
    logits = model(input_ids=ids()).logits[:, :-1].float() * scale
    wanted = labels[:, 1:]
    mask = wanted != -100
    all_of = torch.log_softmax(logits, -1)
    log_probs = all_of.gather(-1, wanted.clamp(min=0).unsqueeze(-1)).squeeze(-1) * mask
    return (
        log_probs,
        -(all_of.exp() * all_of).sum(-1) * mask,
        logits.mean(-1) * mask,
        (logits.argmax(-1) == wanted) & mask,
    )


@pytest.mark.parametrize("logits_at_once", [1, 130, 2**22])
def test_figures_and_gradients_are_those_of_the_whole_logits(
    monkeypatch: pytest.MonkeyPatch, logits_at_once: int
) -> None:
    """However many tokens are taken at once: log-probability, entropy, hits, and the gradient of a weighted sum."""
    monkeypatch.setattr(cpu_loss, "_LOGITS", logits_at_once)
    model, labels, weights = fused(), torch.tensor(LABELS), torch.linspace(-1, 2, 15).reshape(3, 5)
    expected, entropy, mean, hits = by_hand(model, labels)
    torch.autograd.backward((expected * weights).sum())
    wanted = {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}
    model.zero_grad()
    with cpu_loss.lean_on_cpu():
        found = model(input_ids=ids(), labels=labels, fused_lm_head=True)
    torch.autograd.backward((found.log_probs * weights).sum())
    torch.testing.assert_close(found.log_probs, expected)
    torch.testing.assert_close(found.entropy, entropy)
    torch.testing.assert_close(found.mean_logits, mean)
    assert found.is_top1.tolist() == hits.tolist()
    assert len(wanted) > 8
    for name, one in model.named_parameters():
        if name in wanted:
            torch.testing.assert_close(one.grad, wanted[name], msg=name)


def test_a_sure_model_keeps_its_gradient_in_bf16() -> None:
    """Where a token is nearly certain, what is left of the gradient is not rounded away."""
    function = cpu_loss._function()
    head = torch.eye(8).bfloat16()
    hidden = (6.5 * torch.eye(8)[:3]).bfloat16().requires_grad_()
    tokens = torch.tensor([0, 1, 2])
    log_probs, *_ = function.apply(hidden, head, tokens, 1.0, frozenset({"log_probs"}))
    torch.autograd.backward(log_probs.sum())
    exact = hidden.detach().float().requires_grad_()
    torch.autograd.backward(torch.log_softmax(exact @ head.float().t(), -1).gather(-1, tokens.unsqueeze(-1)).sum())
    assert exact.grad is not None
    assert 0 < exact.grad.max() < 0.02
    assert hidden.grad is not None
    torch.testing.assert_close(hidden.grad.float(), exact.grad, rtol=2e-2, atol=1e-6)


def test_scaled_logits_are_scaled() -> None:
    """A model that divides its logits is given their log-probabilities, and the gradient of those."""
    model, labels = fused(logits_scaling=4.0), torch.tensor(LABELS)
    expected, *_ = by_hand(model, labels, scale=0.25)
    torch.autograd.backward(expected.sum())
    wanted = model.model.layers[0].mlp.up_proj.weight.grad.clone()
    model.zero_grad()
    with cpu_loss.lean_on_cpu():
        found = model(input_ids=ids(), labels=labels, fused_lm_head=True).log_probs
    torch.autograd.backward(found.sum())
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(model.model.layers[0].mlp.up_proj.weight.grad, wanted)


def test_a_head_that_is_trained_gets_its_gradient() -> None:
    """What is not computed here is left to trl: the head's own gradient is there."""
    model, labels = fused(trains_head=True), torch.tensor(LABELS)
    expected, *_ = by_hand(model, labels)
    torch.autograd.backward(expected.sum())
    wanted = model.lm_head.weight.grad.clone()
    model.zero_grad()
    with cpu_loss.lean_on_cpu():
        torch.autograd.backward(model(input_ids=ids(), labels=labels, fused_lm_head=True).log_probs.sum())
    assert wanted.abs().max() > 0
    torch.testing.assert_close(model.lm_head.weight.grad, wanted)


@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_training_comes_to_the_same_losses(
    shop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Every loss and every norm of a gradient is that of trl's own way."""
    recipe = shop.recipe(method=method, sft_learning_rate=1e-2, dpo_learning_rate=1e-2, max_steps=3)
    lean = train(recipe, tmp_path / "lean")
    monkeypatch.setattr(stages, "lean_on_cpu", nullcontext)
    whole = train(recipe, tmp_path / "whole")
    compared = 0
    for one, other in zip(lean.log, whole.log, strict=True):
        for name in {"loss", "eval_loss", "grad_norm", "entropy", "mean_token_accuracy"} & one.keys():
            compared += 1
            assert one[name] == pytest.approx(other[name], rel=1e-4, abs=1e-6)
    assert compared >= 6


@pytest.mark.parametrize("scale", [1.0, 0.25])
@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
@pytest.mark.parametrize("kind", ["float32", "bfloat16", "autocast"])
def test_figures_by_hand(kind: str, temperature: float, scale: float) -> None:
    """Whatever logits are rounded to, what follows from them is not rounded again; a gradient has its input's type."""
    torch.manual_seed(5)
    dtype = torch.bfloat16 if kind == "bfloat16" else torch.float32
    low = torch.float32 if kind == "float32" else torch.bfloat16
    head, given = (1.5 * torch.randn(300, 16)).to(dtype), torch.randn(7, 16).to(dtype)
    tokens, weights = torch.randint(0, 300, (7,)), torch.randn(7)
    logits = torch.mm(given.to(low), head.to(low).t()).double() * scale / temperature
    all_of = torch.log_softmax(logits, -1)
    slope = torch.nn.functional.one_hot(tokens, 300) - all_of.exp()
    hidden = given.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=kind == "autocast"):
        log_probs, entropy, _, mean, is_top = cpu_loss._Instead(Elsewhere).apply(
            hidden, head, None, tokens, temperature, 128, None, scale, ("entropy", "mean_logits", "is_top1")
        )
    torch.autograd.backward((log_probs * weights).sum())
    close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-4, check_dtype=False)
    close(log_probs, all_of.gather(-1, tokens.unsqueeze(-1)).squeeze(-1))
    close(entropy, -(all_of.exp() * all_of).sum(-1))
    close(mean, logits.mean(-1))
    assert is_top.tolist() == (logits.argmax(-1) == tokens).tolist()
    assert hidden.grad is not None
    assert hidden.grad.dtype == dtype
    wanted = slope @ head.double() * weights.unsqueeze(-1) * scale / temperature
    about = 1e-4 if kind == "float32" else 2e-2 * float(wanted.abs().max())
    torch.testing.assert_close(hidden.grad, wanted, rtol=1e-4, atol=about, check_dtype=False)


class Elsewhere:
    """Stands for trl's own function: it says that it was asked."""

    @staticmethod
    def apply(*_: object) -> str:
        """Say so."""
        return "trl's"


@pytest.mark.parametrize(
    "what", ["bias", "soft cap", "trained head", "another device", "another figure", "another trl"]
)
def test_what_is_not_computed_here_is_left_to_trl(what: str) -> None:
    """A bias or a cap on logits would be wrong here, and unknown arguments may mean anything."""
    device = "meta" if what == "another device" else "cpu"
    hidden, head = torch.zeros(2, 4, device=device), torch.zeros(6, 4, device=device)
    head.requires_grad_(what == "trained head")
    given = [
        hidden,
        head,
        torch.zeros(6) if what == "bias" else None,
        torch.zeros(2, dtype=torch.long, device=device),
        1.0,
        128,
        30.0 if what == "soft cap" else None,
        1.0,
        ("log_probs", "log_sum_sq_probs") if what == "another figure" else ("log_probs",),
    ]
    assert cpu_loss._Instead(Elsewhere).apply(*given, *["more"] * (what == "another trl")) == "trl's"


def test_what_is_asked_of_trl_is_put_back() -> None:
    """Outside training trl decides as ever, also after an error; within it a CPU leaves out where there is no loss."""
    before = utils._use_triton, utils._ChunkedLogProbFunction

    def failing() -> None:
        with cpu_loss.lean_on_cpu():
            assert utils._use_triton(torch.device("cpu"))
            assert utils._ChunkedLogProbFunction is not before[1]
            raise KeyError("a fault in training")

    with pytest.raises(KeyError):
        failing()
    assert (utils._use_triton, utils._ChunkedLogProbFunction) == before


def test_trainings_that_overlap_share_it() -> None:
    """The first that ends leaves it to the other; then trl has its own again."""
    before = utils._use_triton, utils._ChunkedLogProbFunction
    first, second = cpu_loss.lean_on_cpu(), cpu_loss.lean_on_cpu()
    first.__enter__()
    within = utils._ChunkedLogProbFunction
    second.__enter__()
    assert utils._ChunkedLogProbFunction is within
    first.__exit__(None, None, None)
    assert utils._ChunkedLogProbFunction is within
    second.__exit__(None, None, None)
    assert (utils._use_triton, utils._ChunkedLogProbFunction) == before


def test_other_devices_are_asked_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """What trl decides for a GPU stands."""
    for decided in (True, False):
        monkeypatch.setattr(utils, "_use_triton", lambda _, decided=decided: decided)
        with cpu_loss.lean_on_cpu():
            assert utils._use_triton(torch.device("cuda")) is decided


def test_another_trl_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where trl no longer has what is replaced, it computes as it does."""
    monkeypatch.delattr(utils, "_ChunkedLogProbFunction")
    before = utils._use_triton
    with cpu_loss.lean_on_cpu():
        assert utils._use_triton is before
