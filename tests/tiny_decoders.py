"""Tiny pretrained encoder–decoders in folders: no hub is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers

TEXTS = ["the cat sleeps", "a dog sleeps", "the dog barks", "a cat barks"]
WORDS = ["<pad>", "</s>", "<unk>", "<s>", "de_DE", "the", "a", "cat", "dog", "sleeps", "barks"]
KINDS = ("t5", "bart", "mbart")


def save_tokenizer(folder: Path) -> None:
    model = tokenizers.models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    marks = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "bos_token": "<s>"}
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, additional_special_tokens=["de_DE"], **marks
    )
    fast.save_pretrained(folder)


def save_network(folder: Path, kind: str) -> None:
    ids = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 3, "vocab_size": 13}  # two more than there are words
    bart = {"d_model": 8, "encoder_layers": 1, "decoder_layers": 2, "decoder_attention_heads": 2, "decoder_ffn_dim": 16,
            "encoder_attention_heads": 2, "encoder_ffn_dim": 16, "max_position_embeddings": 20, "init_std": 0.4,
            **ids}  # fmt: skip
    t5 = {"d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 2, **ids}
    torch.manual_seed(3)
    if kind == "t5":
        network: Any = transformers.T5ForConditionalGeneration(transformers.T5Config(decoder_start_token_id=0, **t5))
    elif kind == "bart":
        config = transformers.BartConfig(decoder_start_token_id=1, forced_bos_token_id=3, **bart)
        network = transformers.BartForConditionalGeneration(config)
    else:
        network = transformers.MBartForConditionalGeneration(transformers.MBartConfig(decoder_start_token_id=1, **bart))
    network.save_pretrained(folder)


def save_decoders(folder: Path) -> dict[str, str]:
    """One folder a kind."""
    found = {}
    for kind in KINDS:
        (folder / kind).mkdir()
        save_tokenizer(folder / kind)
        save_network(folder / kind, kind)
        found[kind] = str(folder / kind)
    return found
