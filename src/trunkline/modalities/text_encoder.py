"""The network that reads texts: a Transformer from scratch, or a bag of words and pairs of words.

Shape legend: `n` rows, `L` tokens, `D` width, `H` attention heads, `N` n-grams of a piece at most.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trunkline.arrays.texts import PADDING
from trunkline.layers import Pool
from trunkline.modalities.attention import TransformerLayer
from trunkline.modalities.contract import Encoder
from trunkline.types import Span, Tokens

QUIET = 0.1  # how loud layers are at first: nearly a bag of words learns sooner than what random layers blur


class TextEncoder(Encoder):
    """Ids → tokens: embedding (with its spelling), a look at both neighbours, pre-norm Transformer layers in order.

    Without layers no token knows of any other: each is its piece's embedding and, if there are bigrams, that of the
    pair it makes with the piece before.

    The look at the neighbours is a convolution of width 3 in every channel, as in each layer. Attention alone takes
    many examples to learn what stands next to a word; with it, small tables are enough.

    Args:
        unknown: `[ids]`, for each id the one it has where it is taken for unknown.
        width: `D`.
        layers: Transformer layers.
        heads: attention heads.
        bigrams: embeddings of pairs.
        ngrams: embeddings of n-grams of letters.
        bag: one token more, before the others (see `Bag`).
        dropout: probability.
        word_dropout: probability that training takes an id for unknown; half of these have no n-grams, too.
    """

    unknown: Tensor

    def __init__(
        self,
        unknown: Tensor,
        width: int,
        *,
        layers: int,
        heads: int,
        bigrams: int = 0,
        ngrams: int = 0,
        bag: bool = False,
        dropout: float,
        word_dropout: float,
    ) -> None:
        super().__init__()
        self.register_buffer("unknown", unknown, persistent=False)
        self.word_dropout = word_dropout
        self.embedding = nn.Embedding(len(unknown), width)
        self.ngrams = nn.Embedding(ngrams + 1, width, padding_idx=PADDING) if ngrams else None
        self.pairs = nn.Embedding(bigrams, width) if bigrams else None
        if self.pairs is not None:
            nn.init.zeros_(self.pairs.weight)
        if not layers:
            nn.init.normal_(self.embedding.weight, std=0.5)  # learned sooner
        self.neighbours = nn.Conv1d(width, width, 3, padding=1, groups=width) if layers else None
        self.layers = nn.ModuleList(
            TransformerLayer(width, heads, dropout, begin=QUIET, ordered=True) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.bag = Bag(len(unknown), width, bigrams=bigrams, dropout=dropout) if bag else None

    def forward(self, values: dict[str, Tensor]) -> Tokens:
        """`ids [n, L]` and `mask [n, L]` → tokens `[n, L, D]`; padding changes no token."""
        ids, mask = values["ids"], values["mask"]
        ngrams = values.get("ngrams")
        if self.training and self.word_dropout:
            ids, ngrams = self._drop(ids, ngrams)
        x = self.embedding(ids)  # [n, L, D]
        if self.ngrams is not None:
            assert ngrams is not None
            x = x + self._spelt(ngrams)
        if self.pairs is not None:
            x = x + self.pairs(pair_ids(ids, self.pairs.num_embeddings))
        x = x.masked_fill(~mask.unsqueeze(2), 0.0)
        if self.neighbours is not None:
            x = x + self.neighbours(x.transpose(1, 2)).transpose(1, 2)
        x = self.dropout(x)
        for layer in self.layers:
            x = layer(x, mask)
        tokens = Tokens(self.norm(x), mask, (Span("", 0, ids.shape[1], "words", (ids.shape[1],)),))
        return tokens if self.bag is None else Tokens.cat([Tokens.of_rows(self.bag(ids, tokens), ""), tokens])

    def _drop(self, ids: Tensor, ngrams: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Some pieces taken for unknown, half of them without their spelling: what it is, only its neighbours say."""
        drawn = torch.rand(ids.shape, device=ids.device)
        if ngrams is not None:
            ngrams = ngrams.masked_fill((drawn < self.word_dropout / 2)[..., None], PADDING)
        return torch.where(drawn < self.word_dropout, self.unknown[ids], ids), ngrams

    def _spelt(self, ngrams: Tensor) -> Tensor:
        """The sum of the embeddings of each piece's n-grams, `[n, L, N]` → `[n, L, D]`, over the root of their number.

        So its size does not grow with the word's length. Zero where there are none.
        """
        assert self.ngrams is not None
        counts = (ngrams != PADDING).sum(2, keepdim=True).clamp(min=1)
        if torch.compiler.is_exporting():  # a bag of constant size is a gather and a sum there
            return self.ngrams(ngrams).sum(2) / counts.sqrt()
        bags = F.embedding_bag(ngrams.flatten(0, 1), self.ngrams.weight, mode="sum", padding_idx=PADDING)
        return bags.unflatten(0, ngrams.shape[:2]) / counts.sqrt()


class Bag(nn.Module):
    """What a text is about, in one vector: its words and pairs of words by embeddings of their own, beside its tokens.

    Where tasks write or tag, they shape the tokens' embeddings after what stands next, and a task of the whole text may
    learn worse from these than alone. So it has a path that is no one else's (after Cheng et al. 2016, "Wide & deep
    learning"): pooled as any input's tokens are, and mixed with what the tokens say.

    Args:
        ids: how many there are.
        width: `D`.
        bigrams: embeddings of pairs.
        dropout: probability.
    """

    def __init__(self, ids: int, width: int, *, bigrams: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(ids, width)
        nn.init.normal_(self.embedding.weight, std=0.5)
        self.pairs = nn.Embedding(bigrams, width) if bigrams else None
        if self.pairs is not None:
            nn.init.zeros_(self.pairs.weight)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width)
        self.pools, self.norms = (nn.ModuleList(make(width) for _ in range(2)) for make in (Pool, nn.LayerNorm))
        self.mix = nn.Linear(2 * width, width)

    def forward(self, ids: Tensor, tokens: Tokens) -> Tensor:
        """`[n, L]` and what the tokens of these say → `[n, D]`."""
        x = self.embedding(ids)
        if self.pairs is not None:
            x = x + self.pairs(pair_ids(ids, self.pairs.num_embeddings))
        both = tokens.with_values(self.norm(self.dropout(x))), tokens
        pooled = [norm(pool(one)) for one, pool, norm in zip(both, self.pools, self.norms)]
        return self.mix(torch.cat(pooled, -1))


def pair_ids(ids: Tensor, buckets: int) -> Tensor:
    """The bucket of each piece with the one before it, `[n, L]`; the first has `PADDING` before it."""
    return (ids * 1_000_003 + F.pad(ids[:, :-1], (1, 0), value=PADDING)) % buckets
