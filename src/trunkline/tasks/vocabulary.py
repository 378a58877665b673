"""Subwords of the texts that are written: learned from the training split, or those of a pretrained tokenizer."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

from trunkline.arrays.extras import need
from trunkline.arrays.subwords import tokenizer_of
from trunkline.errors import ConfigError
from trunkline.pretrained import from_hub
from trunkline.types import State

SPECIAL = ("<pad>", "<begin>", "<end>")
PAD, BEGIN, END = range(3)  # of a vocabulary that is learned here
SMALLEST = len(SPECIAL) + 256  # every byte has its token
needed = partial(need, extra="text", what="a text task")


def train_tokenizer(texts: Sequence[str], size: int) -> str:
    """Byte-level BPE learned from the texts, as the content of a `tokenizer.json`."""
    tokenizers = needed("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    # The prefix makes the first word of a text the same token as inside a text.
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer.to_str()


def learned_vocabulary(texts: Sequence[str], size: int) -> State:
    """`{"tokenizer": tokenizer.json as one string, "pad", "begin", "end": ids, "size": number of ids}`."""
    definition = train_tokenizer(texts, size)
    return {"tokenizer": definition, "pad": PAD, "begin": BEGIN, "end": END, "size": size_of(definition)}


def pretrained_vocabulary(name: str) -> State:
    """The same of a pretrained tokenizer, of a hub or a folder.

    Its own tokens end a text (`eos`, else `sep`), begin it (`bos`, else `cls`) and pad it. What it lacks, or has one
    token for, gets an id of its own behind the others.

    Raises:
        ConfigError: it cannot be had, or is no fast tokenizer.
    """
    return load_vocabulary(name, f"tokenizer: {name!r}")[1]


def load_vocabulary(name: str, what: str) -> tuple[Any, State]:
    """The tokenizer of that name, and its vocabulary; `what` begins the errors."""
    theirs = from_hub(what, needed("transformers").AutoTokenizer.from_pretrained, name)
    if not getattr(theirs, "is_fast", False):
        raise ConfigError(f"{what} has no fast tokenizer (one with a `tokenizer.json`)")
    definition = theirs.backend_tokenizer.to_str()
    state: State = {"tokenizer": definition, "size": size_of(definition)}
    wanted = {
        "end": (theirs.eos_token_id, theirs.sep_token_id),
        "begin": (theirs.bos_token_id, theirs.cls_token_id),
        "pad": (theirs.pad_token_id,),
    }
    for mark, ids in wanted.items():
        own = next((i for i in ids if i is not None), None)
        if own is None or own in (state.get("end"), state.get("begin")):
            own, state["size"] = state["size"], state["size"] + 1
        state[mark] = own
    return theirs, state


def apart(vocabulary: State, tasks: int) -> list[State]:
    """One vocabulary for several tasks: all ids are the same but `begin`, which is each task's own."""
    if tasks == 1:
        return [vocabulary]
    size = vocabulary["size"]
    return [{**vocabulary, "begin": size + task, "size": size + tasks, "is_shared": True} for task in range(tasks)]


def size_of(definition: str) -> int:
    """The largest id of a tokenizer and one: there may be ids that no token has."""
    return max(tokenizer_of(definition).get_vocab().values()) + 1


def unwritten(state: State) -> list[int]:
    """Ids that stand for nothing in a text and do not end it: the search never chooses them."""
    tokenizer = tokenizer_of(state["tokenizer"])
    special = {i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    return sorted((special | set(range(size_of(state["tokenizer"]), state["size"]))) - {state["end"]})


def encode(text: str, state: State, max_length: int) -> list[int]:
    """Its ids and that of the end, or the first `max_length` ids of a longer text."""
    ids = tokenizer_of(state["tokenizer"]).encode(text, add_special_tokens=False).ids
    return [*ids, state["end"]] if len(ids) <= max_length else ids[:max_length]


def warn_unfit(texts: Sequence[str], state: State, max_length: int, *, is_learned: bool) -> None:
    """Tell which texts are cut for learning, and which a pretrained vocabulary cannot write as they are."""
    tokenizer = tokenizer_of(state["tokenizer"])
    found = [encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]
    lengths = [len(ids) for ids in found]
    cut = sum(length > max_length for length in lengths)
    if cut:
        warnings.warn(
            f"{cut} of {len(texts)} target texts have more than max_length={max_length} tokens (the longest "
            f"{max(lengths)}) and are cut for learning",
            stacklevel=3,
        )
    if is_learned:
        return
    again = [text.strip() for text in tokenizer.decode_batch(found)]
    changed = [(text, other) for text, other in zip(texts, again, strict=True) if text != other]
    if changed:
        text, other = changed[0]
        warnings.warn(
            f"the tokenizer cannot write {len(changed)} of {len(texts)} target texts as they are: {text!r:.60} becomes "
            f"{other!r:.60}",
            stacklevel=3,
        )
