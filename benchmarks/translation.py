"""English → German against a plain encoder–decoder: `python -m benchmarks.translation --table multi30k.csv --out RUNS`.

Both have as many steps, rows a step, layers and numbers a token, one learning rate with the same rise and fall, and the
same smoothing of labels. The plain one is `MBartForConditionalGeneration` of Transformers, trained by the loop below on
batches of about one length, with one vocabulary for both languages (`--entries`: as many subwords as both of ours have
together make networks of one size); its weights begin at the scale that it has by default (`--scale`: at another, such
as ours, one over the root of the width); it keeps those of its last step. Scores are those of sacreBLEU on the test
split, seconds those of training alone.

Then the time to write: the test split's rows with beams and without, by the trained network of either.

What RUNS has already is not run again, so that it can be interrupted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trunkline.arrays.written import decode
from trunkline.config import Config, load_config
from trunkline.data import EpochSampler
from trunkline.plan import make_plan
from trunkline.run import fit
from trunkline.sources import columns_of, read_splits
from trunkline.tasks.text_metric import score_texts, signatures
from trunkline.tasks.vocabulary import encode, learned_vocabulary
from trunkline.training.schedule import warmup_cosine

RECIPE = Path(__file__).parent.parent / "recipes" / "multi30k.yaml"
PAD_LABEL = -100
TRANSFORMERS_SCALE = 0.02  # `MBartConfig.init_std`
SOURCE = 128  # subwords that are read of a sentence, more than any has
Pairs = list[tuple[str, str]]
Told = dict[str, Any]


def settled_config(table: Path, overrides: Sequence[str]) -> Config:
    """The recipe with nothing left open."""
    config = load_config(RECIPE, overrides=[f"data.table={table}", *overrides], columns=columns_of)
    return make_plan(config, read_splits(config)).config


def pairs_of(config: Config) -> dict[str, Pairs]:
    """English and German of each split."""
    splits = read_splits(config)
    found = {}
    for name in ("train", "test"):
        split = getattr(splits, name)
        columns = [split.table.column(language) for language in ("en", "de")]
        found[name] = [(str(columns[0][row]), str(columns[1][row])) for row in split.rows.tolist()]
    return found


# --- the plain one ---


class Plain:
    """An encoder–decoder of Transformers, and the subwords of both languages.

    Args:
        pairs: of the training split.
        config: settled; says how large it is.
        entries: subwords; `None`: as many as the task has.
        scale: standard deviation of its weights as they begin.
    """

    def __init__(
        self, pairs: Pairs, config: Config, entries: int | None = None, scale: float = TRANSFORMERS_SCALE
    ) -> None:
        import transformers

        task, text = config.tasks["de"].options, config.inputs["en"].options
        self.most = {"en": SOURCE, "de": task["max_length"]}
        self.vocabulary = learned_vocabulary([t for pair in pairs for t in pair], entries or task["vocabulary"])
        width = config.width
        assert width is not None
        self.network = transformers.MBartForConditionalGeneration(
            transformers.MBartConfig(
                vocab_size=self.vocabulary["size"],
                max_position_embeddings=max(self.most.values()) + 2,
                d_model=width,
                encoder_layers=text["layers"],
                decoder_layers=task["layers"],
                encoder_attention_heads=text["heads"],
                decoder_attention_heads=task["heads"],
                encoder_ffn_dim=4 * width,
                decoder_ffn_dim=4 * width,
                dropout=task["dropout"],
                init_std=scale,
                pad_token_id=self.vocabulary["pad"],
                bos_token_id=self.vocabulary["begin"],
                eos_token_id=self.vocabulary["end"],
                decoder_start_token_id=self.vocabulary["begin"],
                forced_eos_token_id=None,
            )
        )

    def ids(self, language: str, texts: Sequence[str], padding: int) -> Tensor:
        """`[n, L]`, padded."""
        rows = [torch.tensor(encode(text, self.vocabulary, self.most[language])) for text in texts]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=padding)

    def batch(self, pairs: Pairs) -> dict[str, Tensor]:
        """What the network takes for its loss."""
        source = self.ids("en", [english for english, _ in pairs], self.vocabulary["pad"])
        labels = self.ids("de", [german for _, german in pairs], PAD_LABEL)
        return {"input_ids": source, "attention_mask": (source != self.vocabulary["pad"]).long(), "labels": labels}

    def write(self, texts: Sequence[str], beams: int = 1) -> list[str]:
        """Their translations."""
        source = self.ids("en", texts, self.vocabulary["pad"])
        ids = self.network.generate(
            source,
            attention_mask=(source != self.vocabulary["pad"]).long(),
            max_new_tokens=self.most["de"] + 1,
            num_beams=beams,
            do_sample=False,
        )
        return decode(ids[:, 1:], self.vocabulary)


def train_plain(plain: Plain, pairs: Pairs, config: Config) -> float:
    """Train; seconds."""
    t, smoothing = config.training, config.tasks["de"].options["label_smoothing"]
    assert t.steps and t.batch_size and t.lr and t.warmup and t.weight_decay is not None and t.clip
    optimiser = torch.optim.AdamW(plain.network.parameters(), lr=t.lr, weight_decay=t.weight_decay, fused=True)
    lengths = torch.tensor([len(german) for _, german in pairs]).numpy()
    sampler = EpochSampler(range(len(pairs)), t.batch_size, seed=t.seed, lengths=lengths, drop_last=True)
    start = time.perf_counter()
    plain.network.train()
    for step, rows in zip(range(t.steps), endless(sampler)):
        for group in optimiser.param_groups:
            group["lr"] = t.lr * warmup_cosine(step, t.steps, t.warmup)
        batch = plain.batch([pairs[row] for row in rows])
        logits = plain.network(**batch).logits
        loss = nn.functional.cross_entropy(
            logits.flatten(0, 1), batch["labels"].flatten(), ignore_index=PAD_LABEL, label_smoothing=smoothing
        )
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(plain.network.parameters(), t.clip)
        optimiser.step()
    plain.network.eval()
    return time.perf_counter() - start


def endless(sampler: EpochSampler) -> Iterator[tuple[int, ...]]:
    """Rows of one batch after the other, epoch by epoch."""
    epoch = 0
    while True:
        sampler.set_epoch(epoch)
        yield from (draw.rows for draw in sampler)
        epoch += 1


def written(write: Callable[[Sequence[str]], list[str]], pairs: Pairs, size: int = 64) -> tuple[list[str], float]:
    """All translations, rows of about one length together, and seconds."""
    order = sorted(range(len(pairs)), key=lambda i: len(pairs[i][0]))
    found: dict[int, str] = {}
    start = time.perf_counter()
    for first in range(0, len(order), size):
        some = order[first : first + size]
        found.update(zip(some, write([pairs[i][0] for i in some])))
    return [found[i] for i in range(len(pairs))], time.perf_counter() - start


# --- both ---


def run_plain(config: Config, pairs: dict[str, Pairs], entries: int | None, scale: float, out: Path) -> Told:
    """Train and score."""
    torch.manual_seed(config.training.seed)
    plain = Plain(pairs["train"], config, entries, scale)
    seconds = train_plain(plain, pairs["train"], config)
    with torch.inference_mode():
        times = {beams: written(partial(plain.write, beams=beams), pairs["test"]) for beams in (1, 4)}
    true = [german for _, german in pairs["test"]]
    size = sum(p.numel() for p in plain.network.parameters())
    plain.network.save_pretrained(out)
    return told(config, seconds, size, {b: score_texts(texts, true) for b, (texts, _) in times.items()},
                {b: s for b, (_, s) in times.items()})  # fmt: skip


def run_ours(config: Config, table: Path, overrides: Sequence[str], pairs: dict[str, Pairs], out: Path) -> Told:
    """Train and score."""
    found = fit(RECIPE, overrides=[f"data.table={table}", *overrides], out=out)
    true = [german for _, german in pairs["test"]]
    scores, seconds = {}, {}
    for beams in (1, 4):
        for _, head in found.predictor.network.units():
            head.generation.num_beams = beams

        def write(texts: Sequence[str]) -> list[str]:
            return [row["de"] for row in found.predictor.predict([{"en": text} for text in texts])]

        texts, seconds[beams] = written(write, pairs["test"])
        scores[beams] = score_texts(texts, true)
    size = sum(p.numel() for p in found.predictor.network.parameters())
    return told(config, found.metrics["training_seconds"], size, scores, seconds)


def told(config: Config, seconds: float, parameters: int, scores: dict[int, Any], writing: dict[int, float]) -> Told:
    """As JSON."""
    steps = config.training.steps or 0
    return {"scores": scores, "seconds": seconds, "steps_per_second": steps / seconds, "parameters": parameters,
            "writing": writing}  # fmt: skip


def table_of(results: dict[str, list[Told]]) -> str:
    """One row a network, in Markdown."""
    head = "| | parameters | steps/s | BLEU greedy | BLEU 4 beams | chrF greedy | rows/s greedy | rows/s 4 beams |"
    lines = [head, "|---" * 8 + "|"]
    for name, runs in results.items():
        cells = [f"{runs[0]['parameters'] / 1e6:.2f} M", middle([r["steps_per_second"] for r in runs])]
        cells += [spread([r["scores"][b]["bleu"] for r in runs]) for b in ("1", "4")]
        cells += [spread([r["scores"]["1"]["chrf"] for r in runs])]
        cells += [middle([1000 / r["writing"][b] for r in runs]) for b in ("1", "4")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def middle(values: Sequence[float]) -> str:
    """The median."""
    return f"{statistics.median(values):.2f}"


def spread(values: Sequence[float]) -> str:
    """Mean ± standard deviation over seeds."""
    deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.2f}{deviation}"


def main(arguments: Sequence[str] | None = None, show: Callable[[str], None] = print) -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.translation", description=__doc__)
    parser.add_argument("--table", type=Path, required=True, help="multi30k.csv, as prepared")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--entries", type=int, help="subwords of the plain one; by default as many as the task has")
    parser.add_argument(
        "--scale", type=float, default=TRANSFORMERS_SCALE, help="at which the plain one's weights begin"
    )
    parser.add_argument("overrides", nargs="*", help="of the recipe, for both: training.steps=300")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    table = options.table.absolute()
    results: dict[str, list[Told]] = {"trunkline": [], "plain Transformers": []}
    for seed in options.seeds:
        overrides = [f"training.seed={seed}", "training.patience=null", *options.overrides]
        config = settled_config(table, overrides)
        pairs = pairs_of(config)
        acts = {
            "trunkline": partial(run_ours, config, table, overrides, pairs),
            "plain Transformers": partial(run_plain, config, pairs, options.entries, options.scale),
        }
        for name, act in acts.items():
            folder = options.out / f"{name.split()[0]}-{seed}"
            file = folder / "told.json"
            if not file.exists():
                file.parent.mkdir(parents=True, exist_ok=True)
                made = act(folder)
                file.write_text(json.dumps(made))
            results[name].append(json.loads(file.read_text()))
    show(table_of(results) + "\n\n" + "\n".join(f"{name}: {says}" for name, says in signatures().items()))


if __name__ == "__main__":
    main()
