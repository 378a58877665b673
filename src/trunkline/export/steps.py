"""One step of a text that is written: the decoder's part of an exported network.

Shape legend: `R` texts at once (rows, times beams), `S` tokens that are read, `T` tokens written so far, `P` tokens of
the source, `H` heads, `d` width of a head, `K` vocabulary, `N` layers.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.export import Dim

from trunkline.arrays.subwords import NOWHERE
from trunkline.tasks.text_decoder import prompt_of
from trunkline.tasks.text_head import TextHead
from trunkline.tasks.text_pointer import first_places
from trunkline.tasks.vocabulary import needed, unwritten
from trunkline.types import Tokens

SOURCE = ("source", "firsts", "pointers")  # of heads that copy
Pair = tuple[Tensor, Tensor]  # keys and values of a layer, `[R, H, …, d]` each


def reading(head: TextHead, view: Tokens) -> dict[str, Tensor]:
    """What every step needs to know of the rows, by name.

    `mask [n, S]`; `key_i`, `value_i` of each layer, `[n, H, S, d]`; where the head copies also `source [n, P]` (ids),
    `firsts [n, P]` and `pointers [n, P, D]`.
    """
    memory = head.memory(view)
    given = head.read(memory, view.mask)
    transformers = needed("transformers")
    cache = transformers.EncoderDecoderCache(transformers.DynamicCache(), transformers.DynamicCache())
    head.decoder(**given, decoder_input_ids=head.prompt[:, :1].expand(memory.shape[0], -1), **_with(head, cache))
    told = {"mask": given["attention_mask"].clone()}  # an input of the graph is no output
    for place, layer in enumerate(cache.cross_attention_cache.layers):
        told |= {f"key_{place}": layer.keys, f"value_{place}": layer.values}
    if head.pointer is not None:
        assert view.source is not None, "a view for a pointer has a source"
        source = {name: nn.functional.pad(value, (0, 1), value=NOWHERE) for name, value in view.source.items()}
        embedding = head.decoder.get_decoder().get_input_embeddings()
        told |= {
            "source": source["ids"],  # one token at least, also where no row has any
            "firsts": first_places(source["ids"]),
            "pointers": head.pointer.keys(memory, source, embedding),
        }
    return told


class Step(nn.Module):
    """The token written last → what comes next.

    Args:
        head: whose decoder it is.
    """

    def __init__(self, head: TextHead) -> None:
        super().__init__()
        self.head = head

    def forward(
        self, token: Tensor, mask: Tensor, read: Sequence[Pair], written: Sequence[Pair], source: Sequence[Tensor]
    ) -> tuple[Tensor, list[Pair]]:
        """Logits and what was written with it.

        Args:
            token: ids `[R, 1]`.
            mask: which tokens are read, `[R, S]`.
            read: of what is read, a pair a layer `[R, H, S, d]`.
            written: of what was written before, a pair a layer `[R, H, T, d]`.
            source: `source`, `firsts` and `pointers` of `reading`, or nothing.

        Returns:
            Logits `[R, K]` (with copies log-probabilities), and pairs `[R, H, T + 1, d]`.
        """
        transformers, decoder = needed("transformers"), self.head.decoder
        own, cross = transformers.DynamicCache(), transformers.DynamicCache()
        for place, (before, there) in enumerate(zip(written, read, strict=True)):
            own.update(*before, place)
            cross.update(*there, place)
        keys = read[0][0]
        memory = keys.new_zeros(keys.shape[0], keys.shape[2], decoder.config.hidden_size)  # its keys are known already
        said = transformers.modeling_outputs.BaseModelOutput(last_hidden_state=memory)
        states: list[Tensor] = []
        hook = decoder.get_output_embeddings().register_forward_pre_hook(lambda _, given: states.append(given[0]))
        told = decoder(
            encoder_outputs=said,
            attention_mask=mask,
            decoder_input_ids=token,
            **_with(self.head, transformers.EncoderDecoderCache(own, cross)),
        )
        hook.remove()
        logits = told.logits
        if self.head.pointer is not None:
            ids, firsts, pointers = source
            logits = self.head.pointer(logits, states[0], ids, firsts, pointers)
        return logits[:, -1], [(layer.keys, layer.values) for layer in own.layers]


def shapes(told: Mapping[str, Tensor], layers: int) -> dict[str, Any]:
    """Which sizes of `Step.forward`'s arguments are free."""
    texts, read, written, source = (Dim(name, min=1, max=2**16) for name in ("texts", "read", "written", "source"))
    own: dict[int, Any] = {0: texts, 2: written}
    there: dict[int, Any] = {0: texts, 2: read}
    return {
        "token": {0: texts},
        "mask": {0: texts, 1: read},
        "read": [(there, there)] * layers,
        "written": [(own, own)] * layers,
        "source": [{0: texts, 1: source}] * len(SOURCE) if SOURCE[0] in told else [],
    }


def example(head: TextHead, told: Mapping[str, Tensor], layers: int) -> dict[str, Any]:
    """Arguments of `Step.forward`, for texts of what `reading` told of two tokens or more."""
    pairs = [(told[f"key_{place}"], told[f"value_{place}"]) for place in range(layers)]
    rows = len(told["mask"])
    return {
        "token": head.prompt[:, :1].expand(rows, -1).contiguous(),
        "mask": told["mask"],
        "read": pairs,
        "written": [(_written(key), _written(value)) for key, value in pairs],
        "source": [told[name] for name in SOURCE if name in told],
    }


def _written(read: Tensor) -> Tensor:
    """As if three tokens had been written. One for each place: a tensor that stands in two is taken for one input."""
    return read.new_zeros(*read.shape[:2], 3, read.shape[3])


def names(told: Mapping[str, Tensor], layers: int) -> list[str]:
    """The inputs of a step's graph."""
    pairs = [f"{name}_{place}" for place in range(layers) for name in ("key", "value")]
    return ["token", "mask", *pairs, *(f"own_{pair}" for pair in pairs), *(name for name in SOURCE if name in told)]


def writes(head: TextHead, layers: int, file: str, read: Mapping[str, str]) -> dict[str, Any]:
    """What `trunkline.export.writer` must know; `read`: which output of the network has what `reading` tells."""
    search, state = head.search, head.state
    return {
        "step": file,
        "read": dict(read),
        "layers": layers,
        "prompt": prompt_of(state),
        "end": state["end"],
        "pad": state["pad"],
        "never": unwritten(state),
        "max_new": search.max_length,
        "min_new": search.min_length,
        "beams": search.beams,
        "length_penalty": search.length_penalty,
        "no_repeat": search.no_repeat,
        "draws": {"temperature": search.temperature, "top_p": search.top_p} if search.sample else None,
    }


def _with(head: TextHead, cache: Any) -> dict[str, Any]:
    """The cache, under the name that this version of Transformers has for it."""
    named = "cache" if "cache" in inspect.signature(head.decoder.forward).parameters else "past_key_values"
    return {named: cache, "use_cache": True}
