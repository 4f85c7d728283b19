"""What a server sent, read: a reply, or a fault and what is to be done about it. Pure, and never surprised."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

import orjson

_PASSING_STATUS = {408, 409, 425, 429}
# Words by which servers say that one request is too long for the model.
_TOO_LONG = re.compile(
    r"context.?(?:length|window|size)|maximum (?:context|model) length|too (?:long|many tokens)"
    r"|maximum number of tokens|less than \d+ tokens|tokens.{0,40}must be",
    re.I,
)
_REFUSED = re.compile(
    r"content.?(?:filter|policy|management)|ResponsibleAI|safety system|invalid_prompt|usage policy|flagged as", re.I
)
_QUOTA = re.compile(r"insufficient.?quota|billing|exceeded your current quota", re.I)


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model said, and the tokens the server counted (None: it counted none)."""

    content: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Remedy(Enum):
    """What is to be done about a fault."""

    RETRY = "send the request again"
    WAIT = "the server is under pressure: fewer at once, and again"
    FAIL = "this request fails, the others go on"
    STOP = "no request can do better: stop"


@dataclass(frozen=True, slots=True)
class Fault:
    """Why there is no reply: a reason in a word, the server's words, and the remedy.

    `retry_after` is in seconds, where the server said so; tokens are counted where it charged for them all the same.
    `content` is what the model said before it was cut off.
    """

    remedy: Remedy
    reason: str
    detail: str
    retry_after: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    content: str = ""


def read(status: int, body: bytes, retry_after: str | None = None) -> Reply | Fault:
    """Read the answer to a chat completion request."""
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        data = None
    if status != 200:
        return _of_status(status, data, body, seconds_of(retry_after))
    if not isinstance(data, dict):
        return Fault(Remedy.RETRY, "broken_json", f"the answer is not JSON: {_words(body)}")
    error = data.get("error")
    if error and not data.get("choices"):
        code = error.get("code") if isinstance(error, dict) else None
        return _of_status(code if isinstance(code, int) and 400 <= code < 600 else 500, data, body, None)
    tokens = _usage(data.get("usage"))
    choices = data.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        return Fault(Remedy.RETRY, "empty_choices", "the answer holds no choice", None, *tokens)
    return _of_choice(choice, tokens)


def seconds_of(retry_after: str | None, now: datetime | None = None) -> float | None:
    """Return the seconds a Retry-After header asks to wait, given as a number or as a date; None where it says none."""
    if not retry_after:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            until = parsedate_to_datetime(retry_after)
            until = until if until.tzinfo else until.replace(tzinfo=UTC)
            seconds = (until - (now or datetime.now(UTC))).total_seconds()
        except (ValueError, OverflowError, TypeError, IndexError):  # all of these are raised for what is no date
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _of_choice(choice: dict[str, Any], tokens: tuple[int | None, int | None]) -> Reply | Fault:
    finish = choice.get("finish_reason")
    message = choice.get("message")
    message = message if isinstance(message, dict) else {}
    content = _text(message.get("content"))
    if finish == "content_filter":
        return Fault(Remedy.FAIL, "content_filter", "the endpoint filtered the reply", None, *tokens)
    if message.get("refusal"):
        return Fault(Remedy.FAIL, "refusal", f"the model declined: {message['refusal']!s:.300}", None, *tokens)
    if finish == "length":
        return Fault(Remedy.RETRY, "cut_off", "the reply was cut off at the token limit", None, *tokens, content or "")
    if content is None:
        return Fault(Remedy.RETRY, "null_content", "the reply holds no text", None, *tokens)
    return Reply(content, *tokens)


def _of_status(status: int, data: object, body: bytes, retry_after: float | None) -> Fault:
    words, code = _error(data, body)
    detail = f"HTTP {status}: {words}"
    if status == 429 and not _QUOTA.search(f"{code} {words}"):
        return Fault(Remedy.WAIT, "rate_limited", detail, retry_after)
    if status >= 500 or (status in _PASSING_STATUS and status != 429):
        pressed = status in (503, 529) or retry_after is not None
        return Fault(Remedy.WAIT if pressed else Remedy.RETRY, f"http_{status}", detail, retry_after)
    if _REFUSED.search(code) or (status == 400 and _REFUSED.search(words)):
        return Fault(Remedy.FAIL, "content_filter", detail)
    if status == 413 or _TOO_LONG.search(code) or (status in (400, 422) and _TOO_LONG.search(words)):
        return Fault(Remedy.FAIL, "too_long_for_model", detail)
    return Fault(Remedy.STOP, f"http_{status}", detail)


def _error(data: object, body: bytes) -> tuple[str, str]:
    """Return the server's words and its code, from the shapes servers use."""
    error = data.get("error", data) if isinstance(data, dict) else None
    if isinstance(error, dict):
        words = error.get("message") or error.get("detail") or error
        return " ".join(str(words).split())[:500], f"{error.get('code')} {error.get('type')}"
    return (" ".join(str(error).split())[:500] if error else _words(body)), ""


def _words(body: bytes) -> str:
    return repr(body[:120].decode(errors="replace")) if body else "nothing"


def _text(content: object) -> str | None:
    """Return the text of a content, which some servers give as a list of parts."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        content = "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) and content else None


def _usage(usage: object) -> tuple[int | None, int | None]:
    if not isinstance(usage, dict):
        return None, None
    prompt, completion = (usage.get(name) for name in ("prompt_tokens", "completion_tokens"))
    return (_count(prompt), _count(completion)) if _count(prompt) is not None else (None, None)


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
