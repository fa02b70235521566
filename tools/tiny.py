"""A tiny language model with random weights and a tokenizer of a thousand tokens, for tests and examples: it knows nothing, and is made in a second."""

import json
from pathlib import Path

import torch
from sciexam.asking import asked
from sciexam.data import LETTERS, sample_questions
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast, Qwen2Config

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


def tiny_gguf(
    folder: Path,  # a model of `tiny_language_model`, a Qwen2
    path: Path,  # where to write it
) -> Path:  # the file
    "Write the same model and tokenizer as one GGUF file, in 32-bit floats; needs the package gguf."
    import gguf

    config, tokenizer = AutoConfig.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    saved = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    special = {token["content"] for token in saved["added_tokens"]}
    words = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in saved["model"]["merges"]]
    out = gguf.GGUFWriter(path, "qwen2")
    out.add_context_length(config.max_position_embeddings)
    out.add_embedding_length(config.hidden_size)
    out.add_block_count(config.num_hidden_layers)
    out.add_feed_forward_length(config.intermediate_size)
    out.add_head_count(config.num_attention_heads)
    out.add_head_count_kv(config.num_key_value_heads)
    out.add_layer_norm_rms_eps(config.rms_norm_eps)
    out.add_rope_freq_base(config.rope_parameters["rope_theta"])
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("qwen2")  # as transformers reads the tokenizer of a Qwen2, whatever its file says
    out.add_token_list(words)
    out.add_token_types([gguf.TokenType.CONTROL if word in special else gguf.TokenType.NORMAL for word in words])
    out.add_token_merges(merges)
    out.add_eos_token_id(0)
    out.add_pad_token_id(0)
    out.add_add_bos_token(False)
    if tokenizer.chat_template:
        out.add_chat_template(tokenizer.chat_template)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, config.num_hidden_layers)
    for name, weight in model.state_dict().items():
        out.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")), weight.numpy())
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return path
