"""What `build` makes goes into `DPOTrainer` as it is: both configs, a tiny model, a step on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import whoseboat

pytest.importorskip("trl", reason="trl is in the extra `train`")

_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the bundled sample once."""
    return whoseboat.build("sample", tmp_path_factory.mktemp("built") / "sample").path


def tokenizer_for(texts: list[str]) -> Any:  # noqa: ANN401
    """Train a small tokenizer with a ChatML template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|pad|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=special[0], eos_token=special[2])
    fast.chat_template = _TEMPLATE
    return fast


# trl 1.16 still asks the model by the name that transformers 5.23 deprecates.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize("config", ["pairs", "tailoring"])
def test_dpo_trainer_takes_a_config_as_it_is(folder: Path, tmp_path: Path, config: str) -> None:
    """`DPOTrainer` trains a step on a config without any change to it, and its loss is a number."""
    import math

    from datasets import load_dataset
    from transformers import LlamaConfig, LlamaForCausalLM
    from trl import DPOConfig, DPOTrainer

    rows = load_dataset(str(folder), config, split="train", cache_dir=str(tmp_path / "cache"))
    tokenizer = tokenizer_for([" ".join(whoseboat.to_text(row).values()) for row in rows])
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=2048,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    model.save_pretrained(tmp_path / "model")  # the trainer reads its reference from there
    tokenizer.save_pretrained(tmp_path / "model")
    arguments = DPOConfig(
        output_dir=str(tmp_path / "out"),
        per_device_train_batch_size=2,
        max_steps=1,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        bf16=False,
        max_length=512,
        activation_checkpointing=False,
        disable_tqdm=True,
    )
    trainer = DPOTrainer(model=str(tmp_path / "model"), args=arguments, train_dataset=rows, processing_class=tokenizer)
    done = trainer.train()
    assert done.global_step == 1
    assert math.isfinite(done.training_loss)
    assert done.training_loss == pytest.approx(math.log(2), abs=0.05)  # the policy is the reference still
