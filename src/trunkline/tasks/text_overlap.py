"""ROUGE of two texts: what they share of single words, of pairs, and of their order."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from trunkline.tasks.vocabulary import needed

NGRAMS = ("rouge1", "rouge2")
ROUGE = (*NGRAMS, "rougeL")


def longest_common(one: Sequence[Hashable], other: Sequence[Hashable]) -> int:
    """Length of the longest sequence that both have, not necessarily in one piece.

    A row of the usual table is one whole number, a bit for each entry of the shorter sequence, so a step is a few sums
    of machine words instead of a loop (Crochemore et al. 2001, "A fast and practical bit-vector algorithm for the
    longest common subsequence problem"; Hyyrö 2004, "Bit-parallel LCS-length computation revisited").

    Example:
        >>> longest_common("the cat sat here".split(), "the dog sat there".split())
        2
    """
    short, long = sorted((one, other), key=len)
    shared, places = set(long), dict[Hashable, int]()
    for place, entry in enumerate(short):
        if entry in shared:
            places[entry] = places.get(entry, 0) | 1 << place
    everything = (1 << len(short)) - 1
    row = everything  # a bit is 0 where the table grows
    for entry in long:
        if hits := row & places.get(entry, 0):
            row = (row + hits | row - hits) & everything
    return len(short) - row.bit_count()


def rouge(true: str, written: str) -> dict[str, float]:
    """F of ROUGE-1, ROUGE-2 and ROUGE-L, as `rouge_score` has them, whose table for the last is a loop in Python."""
    scorer = needed("rouge_score.rouge_scorer").RougeScorer(list(NGRAMS))
    scores = {name: said.fmeasure for name, said in scorer.score(true, written).items()}
    tokenizer = needed("rouge_score.tokenizers").DefaultTokenizer(use_stemmer=False)
    target, prediction = tokenizer.tokenize(true), tokenizer.tokenize(written)
    if not target or not prediction:
        return {**scores, "rougeL": 0.0}
    common = longest_common(target, prediction)
    precision, recall = common / len(prediction), common / len(target)
    return {**scores, "rougeL": needed("rouge_score.scoring").fmeasure(precision, recall)}
