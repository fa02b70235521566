"""A tiny language model with random weights and a tokenizer of a thousand tokens, for tests and examples: it knows nothing, and is made in a second."""

from pathlib import Path

import torch
from sciexam.asking import asked
from sciexam.data import LETTERS, sample_questions
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen2Config

TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>"]


def tiny_language_model(
    folder: Path,  # where to save it
    config: object | None = None,  # a configuration of transformers; a Qwen2 of two layers if None
    template: str | None = TEMPLATE,  # its chat template, None for none
    seed: int = 0,  # seed of its weights
) -> Path:  # the folder
    "Save a random language model whose tokenizer has read the shipped exam."
    words = Tokenizer(models.BPE())
    words.pre_tokenizer, words.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=1000, initial_alphabet=alphabet, special_tokens=SPECIAL, show_progress=False
    )
    texts = [item.lettered for item in asked(sample_questions(level=3))]
    words.train_from_iterator(texts + [f"Answer: {letter}" for letter in LETTERS] * 200 + ["yes", "no"] * 200, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, eos_token=SPECIAL[0], pad_token=SPECIAL[0], chat_template=template
    )
    tokenizer.save_pretrained(folder)
    config = config or Qwen2Config(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2
    )
    config.vocab_size, config.initializer_range = len(tokenizer), 0.3
    config.eos_token_id = config.pad_token_id = config.bos_token_id = 0
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder
