"""Untrained models of a few thousand weights, of any family, and awkward questions for them: for tests."""

import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import torch
import transformers
from sentence_transformers import CrossEncoder, SentenceTransformer
from transformers import CONFIG_MAPPING, AutoModel, AutoModelForSequenceClassification

from sciexam.loading import minilm_folder

SIZE = dict(vocab_size=30522, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, max_position_embeddings=514, pad_token_id=0)
RELATIVE = dict(relative_attention=True, pos_att_type=["c2p", "p2c"], max_position_embeddings=64)  # positions as DeBERTa has them
LONG = " ".join(f"word{i}" for i in range(1_300))[:10_000]

FEW = pd.DataFrame([dict(id="1", prompt="Which one is a planet? ", A="Mars", B="the Moon", C="a comet's tail")])
AWKWARD = pd.DataFrame([
    dict(id="two", prompt="Is ice lighter than water?", context="", A="yes", B="no"),
    dict(id="ten", prompt="Which digit comes after four?", context="Digits.", **dict(zip("ABCDEFGHIJ", "0123456789"))),
    dict(id="long option", prompt="Which is a word?", context="Words.", A=LONG, B="word1", C=LONG + " end"),
    dict(id="long passage", prompt="Which is a word?", context=LONG, A="word1", B="an option of some length that must not be cut", C="word2"),
    dict(id="emoji", prompt="Which one flies? 🐦🦅", context="🪶", A="🐘", B="🦋🦋🦋", C="👨‍👩‍👧‍👦 family"),
    dict(id="right to left", prompt="מהי הנוסחה של מים?", context="الماء", A="H₂O", B="ثاني أكسيد الكربون", C="NaCl"),
    dict(id="like a file", prompt="Which of them is a picture?", context="https://example.org/page", A="https://example.org/cat.jpg", B="a.png", C=""),
    dict(id="again", prompt="Is ice lighter than water?", context="", A="no", B="no"),
]).pipe(lambda frame: frame.astype(object).where(frame.notna(), None))  # fmt: skip


def save_tokenizer(folder: str | Path, most: int | None = 256):
    "Write MiniLM's tokenizer, which says that a model reads `most` tokens."
    transformers.AutoTokenizer.from_pretrained(minilm_folder(), model_max_length=most).save_pretrained(folder)


def untrained(folder: str | Path, make: str, **changes) -> Path:
    "Save an untrained model of a class of transformers, as its training would."
    model = getattr(transformers, make)
    model(model.config_class(**SIZE | changes)).save_pretrained(folder)
    save_tokenizer(folder)
    return Path(folder)


def tiny_model(family: str, kind: type = CrossEncoder, most: int | None = 256, **changes) -> SentenceTransformer | CrossEncoder:
    "An untrained model of a family such as 'bert', with weights so large that its scores differ."
    make = AutoModelForSequenceClassification if kind is CrossEncoder else AutoModel
    with tempfile.TemporaryDirectory() as folder:
        make.from_config(CONFIG_MAPPING[family](**SIZE | dict(num_labels=1, initializer_range=.2) | changes)).save_pretrained(folder)
        save_tokenizer(folder, most)
        return kind(folder)


def processor(has: bool) -> AbstractContextManager:
    "A processor that multiplies bfloat16 itself, or none."
    return patch.multiple(torch.cpu, _is_avx512_bf16_supported=lambda: has, _is_amx_tile_supported=lambda: False)
