"""What writes texts: the decoder of an encoder–decoder of Transformers, whose encoder is everything before the head.

From scratch it is MBart's, whose layers are normalised before. Pretrained it is that of any of the library's
encoder–decoders, by its name on the hub or its folder.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import nn

from trunkline.errors import ConfigError
from trunkline.pretrained import from_hub
from trunkline.tasks.vocabulary import load_vocabulary, needed
from trunkline.types import State


def scratch_decoder(
    state: State, *, width: int, layers: int, heads: int, max_length: int, dropout: float, tie: bool
) -> Any:
    """`layers` layers of `width` numbers a token, with random weights.

    Weights begin at a scale that keeps what they multiply as large as it was, `1 / √width`. At that of Transformers
    (.02, which is right for a width of some 2 000) a small decoder's attention is flat for hundreds of steps or for
    good, as its queries and keys are both next to nothing.
    """
    transformers = needed("transformers")
    config = transformers.MBartConfig(
        vocab_size=state["size"],
        max_position_embeddings=max_length + 1,
        d_model=width,
        encoder_layers=0,
        decoder_layers=layers,
        decoder_attention_heads=heads,
        decoder_ffn_dim=4 * width,
        dropout=dropout,
        tie_word_embeddings=tie,
        init_std=width**-0.5,
        pad_token_id=state["pad"],
        bos_token_id=state["begin"],
        eos_token_id=state["end"],
    )
    return without_encoder(transformers.MBartForConditionalGeneration(config))


def without_encoder(network: Any) -> Any:
    """An encoder–decoder whose encoder is told what to say: its layers are left out, in place."""
    network.set_input_embeddings(network.get_decoder().get_input_embeddings())  # where both had their own
    encoder = network.get_encoder()
    name = next(name for name, module in network.named_modules() if module is encoder)
    network.set_submodule(name, Elsewhere())
    return network


class Elsewhere(nn.Module):
    """What stands where the encoder was."""

    main_input_name = "input_ids"


# --- of a pretrained network ---


def describe(decoder: str, language: str | None) -> State:
    """The vocabulary that it writes (see `pretrained_vocabulary`) and its `"config"`; with a language also its id.

    Raises:
        ConfigError: it cannot be had, it is no encoder–decoder, or its tokenizer does not know the language.
    """
    config = from_hub(_what(decoder), needed("transformers").AutoConfig.from_pretrained, decoder)
    if not config.is_encoder_decoder:
        raise ConfigError(f"{_what(decoder)} has no decoder that reads what an encoder says; name an encoder–decoder")
    if not hasattr(config, "vocab_size"):
        raise ConfigError(
            f"{_what(decoder)} is made of two networks, which is not known here; name one such as T5 or BART"
        )
    theirs, state = load_vocabulary(decoder, _what(decoder))
    start = config.decoder_start_token_id
    own = {"begin": state["begin"] if start is None else start, "end": config.eos_token_id, "pad": config.pad_token_id}
    state.update({mark: number for mark, number in own.items() if number is not None})
    state["size"] = max(state["size"], config.vocab_size)
    state["config"] = json.loads(config.to_json_string(use_diff=False))
    if language is not None:
        state["language"] = theirs.convert_tokens_to_ids(language)
        if state["language"] in (None, theirs.unk_token_id):
            raise ConfigError(f"language: {language!r} is no token of {decoder!r}")
    return state


def pretrained_decoder(state: State, max_length: int) -> Any:
    """The layers that a state describes, with random weights; their vocabulary is as large as the state says, and they
    are in 32 bits, whatever it says.

    Raises:
        ConfigError: it cannot write texts of `max_length` tokens.
    """
    transformers, plain = needed("transformers"), state["config"]
    options = {name: value for name, value in plain.items() if name not in ("model_type", "transformers_version")}
    config = transformers.AutoConfig.for_model(plain["model_type"], **{**options, "vocab_size": state["size"]})
    most = getattr(config, "max_position_embeddings", None)
    if most is not None and max_length + len(prompt_of(state)) > most:
        raise ConfigError(f"max_length={max_length} of a text task: its decoder writes {most} tokens at most, with "
                          f"{len(prompt_of(state))} to begin with")  # fmt: skip
    return without_encoder(transformers.AutoModelForSeq2SeqLM.from_config(config).float())


def fill_decoder(network: nn.Module, decoder: str, state: State) -> None:
    """Weights of the hub or the folder. Ids that the network did not have begin as the one it begins texts with."""
    theirs = from_hub(_what(decoder), needed("transformers").AutoModelForSeq2SeqLM.from_pretrained, decoder)
    old, start = theirs.config.vocab_size, theirs.config.decoder_start_token_id
    if state["size"] > old:
        theirs.resize_token_embeddings(state["size"], mean_resizing=False)
        with torch.no_grad():
            for layer in (theirs.get_input_embeddings(), theirs.get_output_embeddings()):
                layer.weight[old:] = layer.weight[0 if start is None else start]
    network.load_state_dict(without_encoder(theirs).state_dict())


def prompt_of(state: State) -> list[int]:
    """The ids before each text."""
    return [state["begin"], *([state["language"]] if "language" in state else [])]


def _what(decoder: str) -> str:
    return f"decoder: {decoder!r}"
