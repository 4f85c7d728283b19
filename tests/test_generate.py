"""Generation: batches, stops, going on, files that evaluation reads, endpoints."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="trl is in the extra `train`")

import torch
from llm_server import LlmServer
from training_sets import Workshop, paper_row, workshop, write_rows
from transformers import AutoModelForCausalLM, AutoTokenizer

from whoseboat import batching
from whoseboat.errors import DataError, OutputError, UsageError, WhoseboatError
from whoseboat.evaluation.generations import read_generations
from whoseboat.llm.batch import LIMITS
from whoseboat.llm.settings import LanguageModel
from whoseboat.tailoring import generation, inference_personas, model_folder, pairs
from whoseboat.tailoring.generation import Decoding, generate
from whoseboat.tailoring.inference_personas import Given
from whoseboat.tailoring.training import train

KEY = "sk-test-0123456789"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Make a set and tiny models once."""
    return workshop(tmp_path_factory.mktemp("workshop"))


@pytest.fixture(scope="module")
def chat_model(shop: Workshop) -> Path:
    """Train a model with a chat template once."""
    return train(shop.recipe(name="chat"), shop.folder / "chat-model").path


@pytest.fixture(scope="module")
def plain_model(shop: Workshop) -> Path:
    """Make a few-shot model of plain text once."""
    return train(shop.recipe(base_model=str(shop.plain), method="few-shot"), shop.folder / "plain-model").path


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LlmServer]:
    """Start a server that says whom it answers, with its key in the environment."""
    with LlmServer(key=KEY, structured=False) as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        server.reply = lambda messages: f"For {messages[0]['content']}: ahoy!"
        yield server


def cases(shop: Workshop, kind: inference_personas.Kind = "true", **more: Any) -> list[Given]:  # noqa: ANN401
    """Return what a model is asked of the test split."""
    return list(inference_personas.give(pairs.load(shop.data).pairs("test"), kind, **more))


def rows(path: Path) -> list[dict[str, Any]]:
    """Return what a file holds."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_evaluation_reads_what_is_written(shop: Workshop, chat_model: Path, tmp_path: Path) -> None:
    """Every case has a row with its id, side, prompt and persona, as `whoseboat evaluate` takes them."""
    asked, out = cases(shop), tmp_path / "said.jsonl"
    done = generate(chat_model, asked, out)
    assert (done.rows, done.reused, done.model) == (len(asked), 0, "chat-model")
    found = read_generations("tuned", [out]).rows
    assert {(one.id, one.side, one.persona) for one in found} == {(one.pair.id, one.side, one.persona) for one in asked}
    assert all(one.prompt and one.finish for one in found)
    assert all(row["persona_kind"] == "true" and row["model"] == "chat-model" for row in rows(out))


@pytest.mark.parametrize("name", ["chat_model", "plain_model"])
def test_a_batch_padded_on_the_left_says_what_each_prompt_alone_does(
    shop: Workshop, name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Prompts of unlike length in a batch get the replies that they get one by one."""
    model = request.getfixturevalue(name)
    write_rows(
        tmp_path / "set",
        "test",
        [paper_row("test", 0), paper_row("test", 1, prompt="reef knot sail " * 40, chosen="A")],
    )
    asked = list(inference_personas.give(pairs.load(tmp_path / "set").pairs("test"), "true"))
    for size, out in ((4, tmp_path / "four.jsonl"), (1, tmp_path / "one.jsonl")):
        generate(model, asked, out, decoding=Decoding(batch_size=size, max_new_tokens=12))
    four, one = (
        {(row["id"], row["side"]): row["response"] for row in rows(tmp_path / name)}
        for name in ("four.jsonl", "one.jsonl")
    )
    assert four == one
    assert len(four) == 4


def test_a_reply_stops_where_the_next_prompt_begins(
    shop: Workshop, plain_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands behind the stop is cut, and the reply counts as ended; one that goes on is cut off."""
    assert model_folder.read(plain_model).manifest.stop == ("\nPrompt:",)
    written = {"stopped": " Aye, aye.\nPrompt: another one", "endless": " Aye, aye, aye"}

    def reply_ids(self: Any, prompts: list[list[int]]) -> list[list[int]]:  # noqa: ANN401 - private to its module
        return [self._tokenizer(text, add_special_tokens=False)["input_ids"] for _ in prompts]

    monkeypatch.setattr(generation._Local, "_reply_ids", reply_ids)
    for name, text in written.items():
        generate(plain_model, cases(shop), tmp_path / f"{name}.jsonl")
        found = rows(tmp_path / f"{name}.jsonl")
        stopped = name == "stopped"
        assert {row["response"] for row in found} == {"Aye, aye." if stopped else text.strip()}
        assert {row["finish"] for row in found} == {"stop" if stopped else "length"}


def test_what_stands_in_the_file_is_not_asked_again(shop: Workshop, chat_model: Path, tmp_path: Path) -> None:
    """A file that lost its end, in the middle of a line, is completed; a whole one is left alone."""
    asked, out = cases(shop), tmp_path / "said.jsonl"
    generate(chat_model, asked, out)
    whole = rows(out)
    content = out.read_bytes()
    lines = content.splitlines(keepends=True)
    out.write_bytes(b"".join(lines[:2]) + lines[2][:30])
    done = generate(chat_model, asked, out)
    assert (done.rows, done.reused) == (len(asked), 2)
    by_key = {(row["id"], row["side"]): row["response"] for row in rows(out)}
    assert by_key == {(row["id"], row["side"]): row["response"] for row in whole}
    before = out.read_bytes()
    assert generate(chat_model, asked, out).reused == len(asked)
    assert out.read_bytes() == before


def test_a_file_of_another_run_is_left_alone(shop: Workshop, chat_model: Path, tmp_path: Path) -> None:
    """Rows asked in another way, and files of others, are never added to."""
    out = tmp_path / "said.jsonl"
    generate(chat_model, cases(shop), out)
    before = out.read_bytes()
    with pytest.raises(OutputError, match="another run"):
        generate(chat_model, cases(shop), out, decoding=Decoding(max_new_tokens=3))
    assert out.read_bytes() == before
    out.write_text("my notes\n", encoding="utf-8")
    with pytest.raises(OutputError, match="another run"):
        generate(chat_model, cases(shop), out)
    assert out.read_text(encoding="utf-8") == "my notes\n"


def test_personas_of_each_kind(shop: Workshop, chat_model: Path, tmp_path: Path) -> None:
    """Retrieved, shuffled, a sentence for all and those of people: each goes into its row."""
    people = tmp_path / "people.csv"
    people.write_text("prompt,persona\ntest 0,I sail.\n".replace("test 0", paper_row("test", 0)["prompt"]))
    human = inference_personas.read_human(people)
    expected = {"retrieved": "diver", "shuffled": "sailor", "system": "mnemonic", "human": "I sail."}
    for kind, part in expected.items():
        more = {"human": human} if kind == "human" else {}
        asked = cases(shop, kind, **more)  # type: ignore[arg-type]  # a kind
        generate(chat_model, asked, tmp_path / f"{kind}.jsonl")
        found = rows(tmp_path / f"{kind}.jsonl")
        assert {row["persona_kind"] for row in found} == {kind}
        assert all(part in row["persona"] for row in found)


def test_a_model_without_personas_is_told_by_its_user(shop: Workshop, tmp_path: Path) -> None:
    """The baseline is given the persona as a sentence behind the prompt; one with personas wants one."""
    baseline = train(shop.recipe(personas="none"), tmp_path / "baseline").path
    told, plain = tmp_path / "told.jsonl", tmp_path / "plain.jsonl"
    generate(baseline, cases(shop), told)
    generate(baseline, cases(shop, "none"), plain)
    assert all(row["persona"] is None and row["side"] is None for row in rows(plain))
    assert [row["response"] for row in rows(told)] != [row["response"] for row in rows(plain) for _ in "12"]
    with_personas = train(shop.recipe(), tmp_path / "both").path
    with pytest.raises(UsageError, match="given none"):
        generate(with_personas, cases(shop, "none"), tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()  # no empty file that would pass for answers


# ---- models that were not trained here


def asked_by(shop: Workshop, base: Path, monkeypatch: pytest.MonkeyPatch, out: Path, kind: Any) -> list[str]:  # noqa: ANN401 - a kind of personas
    """Return the prompts that a base model is asked, as text."""
    prompts: list[str] = []
    before = generation._Local._reply_ids

    def reply_ids(self: Any, ids: list[list[int]]) -> list[list[int]]:  # noqa: ANN401 - private to its module
        prompts.extend(self._tokenizer.decode(one) for one in ids)
        return before(self, ids)

    with monkeypatch.context() as patched:
        patched.setattr(generation._Local, "_reply_ids", reply_ids)
        done = generate(base, cases(shop, kind), out, decoding=Decoding(max_new_tokens=4))
    assert done.model == base.name
    return prompts


def test_a_base_with_a_chat_template_answers(shop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The persona is its system message; without one there is none; evaluation reads what it says."""
    persona = cases(shop)[0].persona
    told = asked_by(shop, shop.chat, monkeypatch, tmp_path / "told.jsonl", "true")
    assert any(text.startswith(f"<|im_start|>system\n{persona}<|im_end|>\n<|im_start|>user\n") for text in told)
    bare = asked_by(shop, shop.chat, monkeypatch, tmp_path / "bare.jsonl", "none")
    assert all(text.startswith("<|im_start|>user\n") for text in bare)
    assert (len(told), len(bare)) == (6, 3)
    assert len(read_generations("base", [tmp_path / "told.jsonl"]).rows) == 6
    assert generate(shop.chat, cases(shop), tmp_path / "told.jsonl", decoding=Decoding(max_new_tokens=4)).reused == 6
    with pytest.raises(OutputError, match="another run"):
        generate(shop.plain, cases(shop), tmp_path / "told.jsonl", decoding=Decoding(max_new_tokens=4))


def test_a_base_without_a_chat_template_answers(
    shop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plain template is used, and a reply stops where another prompt would begin."""
    told = asked_by(shop, shop.plain, monkeypatch, tmp_path / "told.jsonl", "true")
    assert all(re.fullmatch(r"Prompt: .*\nPersona: The user is .*\nResponse:", text) for text in told)
    bare = asked_by(shop, shop.plain, monkeypatch, tmp_path / "bare.jsonl", "none")
    assert all(re.fullmatch(r"Prompt: .*\nResponse:", text) for text in bare)
    text = " Aye, aye.\nPrompt: another"
    monkeypatch.setattr(
        generation._Local,
        "_reply_ids",
        lambda self, ids: [self._tokenizer(text, add_special_tokens=False)["input_ids"] for _ in ids],
    )
    generate(shop.plain, cases(shop), tmp_path / "stopped.jsonl")
    assert {(row["response"], row["finish"]) for row in rows(tmp_path / "stopped.jsonl")} == {("Aye, aye.", "stop")}


def test_a_base_whose_template_takes_no_system_message(
    shop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its user says the persona in the first person."""
    base = tmp_path / "strict"
    AutoModelForCausalLM.from_pretrained(shop.chat).save_pretrained(base)
    tokenizer = AutoTokenizer.from_pretrained(shop.chat)
    refuse = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('No system.') }}{% endif %}"
    tokenizer.chat_template = refuse + tokenizer.chat_template
    tokenizer.save_pretrained(base)
    told = asked_by(shop, base, monkeypatch, tmp_path / "told.jsonl", "true")
    assert all("system" not in text and "I am a sailor and prefer" in text for text in told)


def test_what_is_no_base_model_is_told(shop: Workshop, tmp_path: Path) -> None:
    """An empty folder, an adapter of others, a dataset: each says what is wrong."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}", encoding="utf-8")
    for name, says in (("empty", "holds no model"), ("adapter", "is an adapter"), ("a/b/c", "no such model")):
        with pytest.raises(DataError, match=says):
            generate(tmp_path / name if "/" not in name else name, cases(shop), tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def test_a_batch_that_is_too_large_is_halved(
    shop: Workshop, chat_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where memory does not suffice, fewer at once are tried; for a single prompt the message says what to change."""
    sizes: list[int] = []
    most = 2
    before = generation._Local._reply_ids

    def reply_ids(self: Any, prompts: list[list[int]]) -> list[list[int]]:  # noqa: ANN401 - private to its module
        sizes.append(len(prompts))
        if len(prompts) > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return before(self, prompts)

    monkeypatch.setattr(generation._Local, "_reply_ids", reply_ids)
    done = generate(chat_model, cases(shop), tmp_path / "said.jsonl", decoding=Decoding(batch_size=4))
    assert done.rows == 6
    assert sizes == [4, 2, 2, 2]
    most = 0
    with pytest.raises(WhoseboatError, match="memory does not suffice for one prompt"):
        generate(chat_model, cases(shop), tmp_path / "other.jsonl", decoding=Decoding(batch_size=2))


def test_what_cannot_be_asked_is_told(shop: Workshop, chat_model: Path, tmp_path: Path) -> None:
    """Prompts longer than the model takes are counted; a folder that is no model is refused."""
    write_rows(tmp_path / "set", "test", [paper_row("test", 0, prompt="reef " * 5000), paper_row("test", 1)])
    asked = list(inference_personas.give(pairs.load(tmp_path / "set").pairs("test"), "true"))
    done = generate(chat_model, asked, tmp_path / "said.jsonl")
    assert done.rows == 2
    assert done.refusals.counts == {"too_long": 2}
    with pytest.raises(DataError, match="no such model"):
        generate(tmp_path / "nowhere", asked, tmp_path / "out.jsonl")
    with pytest.raises(DataError, match="nothing was generated"):
        generate(chat_model, [], tmp_path / "out.jsonl")
    with pytest.raises(UsageError, match="out of range"):
        Decoding(batch_size=0)


def test_an_endpoint_answers_once(shop: Workshop, server: LlmServer, tmp_path: Path) -> None:
    """Its replies are rows; they are in the journal, so that another file of the same asks nothing."""
    model = LanguageModel("toy-model", base_url=server.base_url, cache_dir=tmp_path / "cache")
    asked, out = cases(shop), tmp_path / "said.jsonl"
    done = generate(model, asked, out)
    assert (done.rows, done.model) == (len(asked), "toy-model")
    by_key = {(row["id"], row["side"]): row["response"] for row in rows(out)}
    for one in asked:
        assert by_key[one.pair.id, one.side] == f"For {one.persona}: ahoy!"
    sent = len(server.calls)
    assert generate(model, asked, tmp_path / "again.jsonl").rows == len(asked)
    assert generate(model, asked, out).reused == len(asked)
    assert len(server.calls) == sent
    with pytest.raises(UsageError, match="by its parameters"):
        generate(model, asked, out, decoding=Decoding())


def test_what_an_endpoint_refuses_has_no_row(shop: Workshop, server: LlmServer, tmp_path: Path) -> None:
    """A reply that fails is counted with its reason, and is not among the good ones."""
    server.reply = lambda messages: "" if "dry" in messages[0]["content"] else "Ahoy!"
    model = LanguageModel(
        "toy-model", base_url=server.base_url, cache_dir=tmp_path / "cache", max_attempts=1, max_failure_rate=1
    )
    done = generate(model, cases(shop), tmp_path / "said.jsonl")
    assert done.rows == 3
    assert done.refusals.counts.total() == 3
    assert {row["side"] for row in rows(tmp_path / "said.jsonl")} == {"chosen"}


@pytest.mark.parametrize("batch", [False, True])
def test_a_reply_that_an_endpoint_cuts_off_is_a_row(
    shop: Workshop, server: LlmServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: bool
) -> None:
    """It is asked for once, stands there as far as it goes with finish=length, and comes out of the journal as such."""
    quick = replace(LIMITS, first_poll=0.01, longest_poll=0.02)
    monkeypatch.setattr("whoseboat.batching.ask_by_batch", partial(batching.ask_by_batch, limits=quick))
    server.fault("cut_off", matching="dry words", times=3)
    model = LanguageModel("toy-model", base_url=server.base_url, cache_dir=tmp_path / "cache", batch=batch)
    for name in ("one.jsonl", "two.jsonl"):
        done = generate(model, cases(shop), tmp_path / name)
        assert (done.rows, done.cut_off, done.refusals.counts.total()) == (6, 3, 0)
        found = {row["side"]: (row["response"], row["finish"]) for row in rows(tmp_path / name)}
        whole = "For The user is a sailor and prefers {}.: ahoy!"
        dry = whole.format("dry words")
        assert found == {"chosen": (whole.format("vivid images"), "stop"), "rejected": (dry[: len(dry) // 2], "length")}
    if not batch:
        assert len(server.calls) == 6


def test_the_batch_api_answers_as_well(
    shop: Workshop, server: LlmServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked by batches comes to the same rows."""
    quick = replace(LIMITS, first_poll=0.01, longest_poll=0.02)
    monkeypatch.setattr("whoseboat.batching.ask_by_batch", partial(batching.ask_by_batch, limits=quick))
    model = LanguageModel("toy-model", base_url=server.base_url, cache_dir=tmp_path / "cache", batch=True)
    asked, out = cases(shop), tmp_path / "said.jsonl"
    assert generate(model, asked, out).rows == len(asked)
    assert {row["response"] for row in rows(out)} == {f"For {one.persona}: ahoy!" for one in asked}
    assert len(server.batches) == 1


def test_the_command_asks_an_endpoint(shop: Workshop, server: LlmServer, tmp_path: Path) -> None:
    """One side's personas, a sentence for all; flags for endpoints are refused without one."""
    from typer.testing import CliRunner

    from whoseboat.cli import app

    def run(*arguments: object) -> Any:  # noqa: ANN401 - of typer
        return CliRunner().invoke(app, ["generate", *map(str, arguments), "--data", str(shop.data)])

    out, given = tmp_path / "said.jsonl", ("--cache-dir", tmp_path / "cache", "--base-url", server.base_url)
    done = run("toy-model", "--out", out, "--personas", "chosen", *given, "--parameter", "temperature=0")
    assert done.exit_code == 0, done.output
    assert {row["side"] for row in rows(out)} == {"chosen"}
    done = run("toy-model", "--out", tmp_path / "all.jsonl", "--personas", "system=The user sails.", *given)
    assert done.exit_code == 0, done.output
    assert {row["response"] for row in rows(tmp_path / "all.jsonl")} == {"For The user sails.: ahoy!"}
    for arguments, says in (
        (("there", "--parameter", "temperature=0"), "for endpoints"),
        (("there", "--personas", "human"), "names no table"),
        (("there", "--personas", "chosen=x"), "takes no value"),
    ):
        done = run(*arguments, "--out", tmp_path / "none.jsonl")
        assert isinstance(done.exception, UsageError)
        assert says in str(done.exception)
