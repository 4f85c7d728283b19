"""The log-probabilities that a loss is made of, on a CPU: logits only where there is a loss, and each of them once.

trl has kernels for this on GPUs. On a CPU it computes the logits of prompts and padding too, computes all of them again
on the way back, and there multiplies in float32 whatever the model computes in. Where the head itself is not trained,
as with adapters, the way back needs none of it. The gradient of a token's log-probability towards the hidden state
before it is `W[token] - p W`, with W the head (vocabulary by hidden size) and p the probabilities: a row as long as the
hidden state, whatever the loss does with the log-probability. It is computed on the way forward, while p is at hand.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

_LOGITS = 2**22  # at once: 16 MB of float32; with fewer the head is read more often, with more caches are of no use
_KNOWN = frozenset({"log_probs", "entropy", "mean_logits", "is_top1"})


_lock = threading.Lock()
_users: list[object] = []
_instead = ExitStack()


@contextmanager
def lean_on_cpu() -> Iterator[None]:
    """Let trl's trainers compute log-probabilities so on a CPU; elsewhere, and in another trl, nothing changes.

    Threads that train at the same time share it; the last that ends gives trl its own back.
    """
    user = object()
    with _lock:
        if not _users:
            _instead.enter_context(_replaced())
        _users.append(user)
    try:
        yield
    finally:
        with _lock:
            _users.remove(user)
            if not _users:
                _instead.close()


@contextmanager
def _replaced() -> Iterator[None]:
    from trl.trainer import utils

    asked, tiled = getattr(utils, "_use_triton", None), getattr(utils, "_ChunkedLogProbFunction", None)
    if asked is None or tiled is None:
        yield
        return
    utils._use_triton = lambda device: device.type == "cpu" or asked(device)  # so it leaves out where no loss is
    utils._ChunkedLogProbFunction = _Instead(tiled)
    try:
        yield
    finally:
        utils._use_triton, utils._ChunkedLogProbFunction = asked, tiled


class _Instead:
    """Stands where trl has its own function, and gives it what it does not do itself."""

    def __init__(self, tiled: Any) -> None:  # noqa: ANN401 - trl has no types
        self._tiled = tiled

    def apply(self, *given: Any) -> Any:  # noqa: ANN401 - trl has no types
        """Return log-probabilities, entropy, a figure nobody asks for, the mean logit, and whether each is the top."""
        if not _suits(*given):
            return self._tiled.apply(*given)
        hidden, head, _, tokens, temperature, _, _, logit_scale, outputs = given
        log_probs, entropy, mean, is_top = _function().apply(
            hidden, head, tokens, logit_scale / temperature, frozenset(outputs)
        )
        return log_probs, entropy, None, mean, is_top


def _suits(*given: Any) -> bool:  # noqa: ANN401 - trl has no types
    """Say whether this is what is computed here: as trl calls it, on a CPU, with a head that is not trained."""
    if len(given) != 9:
        return False
    hidden, head, bias, _, _, _, soft_cap, _, outputs = given
    is_plain = bias is None and soft_cap is None and not head.requires_grad
    return bool(is_plain and hidden.device.type == "cpu" and _KNOWN.issuperset(outputs))


@cache
def _function() -> Any:  # noqa: ANN401 - torch is imported where it is needed
    import torch

    class TokenLogProbabilities(torch.autograd.Function):
        """Log-probabilities of N tokens by their hidden states (N, H) and a head (V, H) that is not trained."""

        @staticmethod
        def forward(
            ctx: Any,  # noqa: ANN401 - torch's
            hidden: torch.Tensor,
            head: torch.Tensor,
            tokens: torch.Tensor,
            scale: float,
            outputs: frozenset[str],
        ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
            by_autocast = torch.is_autocast_enabled("cpu")
            dtype = torch.get_autocast_dtype("cpu") if by_autocast else hidden.dtype
            head = head.to(dtype)
            rows = len(hidden)
            log_probs = torch.empty(rows)
            entropy = torch.empty(rows) if "entropy" in outputs else None
            mean = torch.empty(rows) if "mean_logits" in outputs else None
            is_top = torch.empty(rows, dtype=torch.bool) if "is_top1" in outputs else None
            gradient = torch.empty(hidden.shape) if ctx.needs_input_grad[0] else None
            step = max(1, _LOGITS // len(head))
            for start in range(0, rows, step):
                part = slice(start, start + step)
                token = tokens[part].unsqueeze(-1)
                logits = torch.mm(hidden[part].to(dtype), head.t()).float()
                if scale != 1:
                    logits.mul_(scale)
                if mean is not None:
                    mean[part] = logits.mean(-1)
                highest, where = logits.max(-1, keepdim=True)
                logits.sub_(highest)
                of_token = logits.gather(-1, token)
                powers = logits.exp() if entropy is not None else logits.exp_()
                total = powers.sum(-1, keepdim=True)
                log_probs[part] = (of_token - total.log()).squeeze(-1)
                if is_top is not None:
                    is_top[part] = (where == token).squeeze(-1)
                if entropy is not None:
                    expected = (powers * logits).sum(-1, keepdim=True) / total  # vecdot would round under autocast
                    entropy[part] = (total.log() - expected).squeeze(-1)
                if gradient is not None:
                    # p - 1 at the token before anything is rounded: where p is nearly 1, the rest is what counts.
                    powers.scatter_add_(-1, token, -total)
                    gradient[part] = torch.mm(powers.to(dtype), head).float().mul_(-scale).div_(total)
            if gradient is not None:
                ctx.save_for_backward(gradient)
            ctx.dtype = hidden.dtype
            logged = [one for one in (entropy, mean, is_top) if one is not None]  # and never learned from
            ctx.mark_non_differentiable(*logged)
            return log_probs, entropy, mean, is_top

        @staticmethod
        def backward(ctx: Any, given: torch.Tensor, *_: Any) -> tuple[torch.Tensor, None, None, None, None]:  # noqa: ANN401 - torch's
            (gradient,) = ctx.saved_tensors
            return (gradient * given.unsqueeze(-1)).to(ctx.dtype), None, None, None, None

    return TokenLogProbabilities
