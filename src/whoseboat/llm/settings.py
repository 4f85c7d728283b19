"""What a user says of a language model: which, where, how fast, how much. Secrets are not among it."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import orjson

from whoseboat.errors import DataError, UsageError
from whoseboat.llm import serving

OPENAI = "https://api.openai.com/v1"
_ROUTER_HOST = "router.huggingface.co"
EndpointKind = Literal["openai", "hugging-face-router", "other-host", "this-machine"]
# Names of models that think before they answer, which is charged like the answer.
_THINKS = re.compile(
    r"(?:\A|/)(?:gpt-5(?!.*chat)|gpt-oss|o[134](?![a-z0-9]))|(?:\A|[-/])(?:r1|qwq|reasoner|thinking)(?![a-z0-9])", re.I
)
# What the client itself sets, or cannot work with.
_SHORTEST_KEY = 12
_RESERVED = {"model", "messages", "stream", "n"}
_SECRET = re.compile(r"(?i)(?:\A|[-_])(?:key|secret|password|token|authorization)\Z")


@dataclass(frozen=True)
class Prices:
    """Dollars per million tokens, of what is sent and of what is answered."""

    prompt: float
    completion: float

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Return the dollars for so many tokens; discounts for cached prompts are not counted."""
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1e6


@dataclass(frozen=True)
class LanguageModel:
    """A language model that infers personas, and how it is to be asked.

    The key is taken from `OPENAI_API_KEY`, for the Hugging Face router from `HF_TOKEN` or the Hub's login.

    Args:
        name: the model, as the endpoint calls it.
        base_url: the endpoint up to `/v1`; without it `OPENAI_BASE_URL`, else OpenAI's.
        parameters: sent along with every request, such as `{"temperature": 0.7, "max_completion_tokens": 200}`.
        batch: send the requests through the Batch API: cheaper, and within a day instead of at once.
        prompts: a directory with templates and worked examples of one's own (see `whoseboat.prompts`).
        samples: personas asked for per side; the first is the row's, further ones are kept in a config of their own.
        concurrency: the most requests at once; fewer while the server is under pressure.
        deadline: seconds an attempt may take in all.
        max_attempts: how often a request is sent before its row fails.
        max_failure_rate: the share of failed rows that stops the run, counted over 100 rows or more.
        max_cost: dollars this run may spend.
        max_tokens: tokens this run may use, prompt and completion together.
        price_in: dollars per million prompt tokens; without it the table of prices is asked.
        price_out: dollars per million completion tokens.
        retry_failed: ask again what failed in an earlier run.
        cache_dir: where answers are kept; without it `XDG_CACHE_HOME/whoseboat`.
        serve: a command that starts a server of the model on this machine, such as `vllm serve MODEL`, in place of an
            endpoint: started when something is to be asked, ended with the run (see `whoseboat.llm.serving`).
        serve_wait: seconds it may take until that server is healthy.

    Raises:
        UsageError: something that cannot be right.

    """

    name: str
    base_url: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    batch: bool = False
    prompts: Path | str | None = None
    samples: int = 1
    concurrency: int = 64
    deadline: float = 120.0
    max_attempts: int = 5
    max_failure_rate: float = 0.1
    max_cost: float | None = None
    max_tokens: int | None = None
    price_in: float | None = None
    price_out: float | None = None
    retry_failed: bool = False
    cache_dir: Path | str | None = None
    serve: str | None = None
    serve_wait: float = serving.WAIT_SECONDS

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise UsageError("--model names no model", expected="a model of the endpoint")
        for name in ("samples", "concurrency", "max_attempts"):
            _at_least(name, getattr(self, name), 1)
            if not isinstance(getattr(self, name), int):
                raise UsageError(f"--{name.replace('_', '-')} is no whole number", found=repr(getattr(self, name)))
        for name in ("max_cost", "max_tokens", "price_in", "price_out"):
            _at_least(name, getattr(self, name), 0)
        for name in ("deadline", "serve_wait"):
            _at_least(name, getattr(self, name), 0.001)
        if (self.price_in is None) != (self.price_out is None):
            raise UsageError("one of two prices", expected="both --price-in and --price-out; 0 for what costs nothing")
        if not 0 <= self.max_failure_rate <= 1:
            raise UsageError("--max-failure-rate is no share", expected="0 to 1", found=str(self.max_failure_rate))
        self._check_parameters()
        self._check_endpoint()
        if self.max_cost is not None and self.prices is None:
            raise UsageError(
                "--max-cost needs the prices of the model",
                found=f"no prices of {self.name!r}",
                todo=f"give --price-in and --price-out, or a line in {price_table()}",
            )

    def _check_parameters(self) -> None:
        reserved = sorted(_RESERVED & set(self.parameters))
        if reserved:
            raise UsageError("a parameter that is set by whoseboat itself", found=", ".join(reserved))
        secrets = [name for name in self.parameters if _SECRET.search(name)]
        if secrets:
            raise UsageError(
                "a parameter that looks like a secret; parameters are published with the set",
                found=", ".join(secrets),
                todo="give the key by OPENAI_API_KEY",
            )
        try:
            json.dumps(dict(self.parameters), allow_nan=False)
            orjson.dumps([self.name, dict(self.parameters)])
        except (TypeError, ValueError) as error:
            raise UsageError("a model's name or parameter that JSON cannot hold", found=str(error)) from error
        if self.samples > 1 and self.parameters.get("temperature") == 0:
            raise UsageError("further samples at temperature 0 are all alike", todo="raise it, or ask for one sample")

    def _check_endpoint(self) -> None:
        if self.serve is None:
            _check_url(self.endpoint)
        elif self.base_url is not None or self.batch:
            raise UsageError(
                "--serve starts an endpoint of its own, without a Batch API",
                expected="no --base-url, and engine openai",
                found=self.base_url or "engine openai-batch",
            )
        else:
            serving.words(self.serve)

    @property
    def endpoint(self) -> str:
        """The endpoint up to `/v1`, without a slash at its end; the command, where that is to start a server."""
        if self.serve is not None:
            return serving.told(self.serve)
        return (self.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI).rstrip("/")

    @property
    def kind(self) -> EndpointKind:
        """What the manifest tells of the endpoint: its kind, not its name."""
        if self.serve is not None:
            return "this-machine"
        host = urlsplit(self.endpoint).hostname or ""
        if host.endswith("api.openai.com"):
            return "openai"
        if host == _ROUTER_HOST:
            return "hugging-face-router"
        return "this-machine" if host in ("localhost", "127.0.0.1", "::1") else "other-host"

    @property
    def prices(self) -> Prices | None:
        """The prices given, else those of the table, None where neither names the model."""
        if self.price_in is not None or self.price_out is not None:
            return Prices(self.price_in or 0.0, self.price_out or 0.0)
        known = _prices_of_table(price_table()) if price_table().is_file() else {}
        if self.kind == "openai":
            known = {**_prices_of_table(None), **known}
        return known.get(self.name)

    @property
    def thinks(self) -> bool:
        """Whether the name is one of those of models that are known to think before they answer."""
        return _THINKS.search(self.name) is not None

    @property
    def public_name(self) -> str:
        """The name that goes into datasets: that of a model kept in a directory is the directory's."""
        return Path(self.name).name if Path(self.name).is_absolute() else self.name

    def key(self) -> str | None:
        """Return the key of the endpoint, None for one that may need none.

        Raises:
            UsageError: an endpoint that needs a key, and none is set.

        """
        if self.kind == "hugging-face-router":
            from huggingface_hub import get_token

            key, wanted = get_token(), "set HF_TOKEN, or log in with `hf auth login`"
        else:
            key, wanted = os.environ.get("OPENAI_API_KEY"), "set OPENAI_API_KEY"
        if not key and self.kind in ("openai", "hugging-face-router"):
            raise UsageError("the endpoint needs a key, and there is none", where=self.endpoint, todo=wanted)
        key = (key or "").strip()
        if not key.isascii() or not key.isprintable():
            raise UsageError("the key of the endpoint holds characters no key has", where=self.endpoint, todo=wanted)
        return key or None


def without_key(text: str, key: str | None) -> str:
    """Return a server's words without the key they may hold: they are shown, and kept.

    Short keys are placeholders for servers that need none; they would be found in any text.
    """
    return text.replace(key, "[key]") if key and len(key) >= _SHORTEST_KEY else text


def cache_directory(given: Path | str | None = None) -> Path:
    """Return the directory answers are kept under: the one given, else `XDG_CACHE_HOME/whoseboat`."""
    if given is not None:
        return Path(given)
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "whoseboat"


def price_table() -> Path:
    """Return where a user's own prices are: `XDG_CONFIG_HOME/whoseboat/prices.toml`."""
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "whoseboat" / "prices.toml"


def _prices_of_table(path: Path | None) -> dict[str, Prices]:
    """Read a table of prices, the one shipped with the package where no path is given."""
    table = path or resources.files("whoseboat.llm") / "prices.toml"
    try:
        models = tomllib.loads(table.read_text(encoding="utf-8"))
        return {name: Prices(float(price["in"]), float(price["out"])) for name, price in models.items()}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            "not a table of prices",
            where=str(table),
            expected='"MODEL" = {in = DOLLARS, out = DOLLARS} per million tokens',
            found=f"{type(error).__name__}: {error}",
        ) from error


def _at_least(name: str, value: float | None, least: float) -> None:
    if value is not None and (not isinstance(value, int | float) or not value >= least):
        flag = name.replace("_", "-")
        raise UsageError(f"--{flag} is out of range", expected=f"{least} or more", found=repr(value))


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError("--base-url is no address", found=str(error)) from error
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise UsageError("--base-url is no address", expected="http(s)://HOST[:PORT]/v1", found=url)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UsageError(
            "--base-url holds more than an address",
            expected="http(s)://HOST[:PORT]/v1",
            todo="give the key by OPENAI_API_KEY; what stands in a command can be read by others",
        )
