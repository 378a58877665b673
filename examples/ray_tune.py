"""The search of `search.py` with Ray Tune: trials side by side, the poorer half of them ended at each rung (ASHA).

Run it with `python examples/ray_tune.py`; it wants `ray[tune]` and `scikit-learn`.
"""

import tempfile
from pathlib import Path

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from sklearn.datasets import load_digits

from trunkline import fit
from trunkline.data import write_rows


def config(folder: Path, steps: int) -> dict:
    """The table, written, and what is learned from it."""
    images, digits = load_digits(return_X_y=True)
    rows = [
        {**{f"p{i}": value for i, value in enumerate(image)}, "digit": str(digit), "odd": digit % 2 == 1}
        for image, digit in zip(images.tolist(), digits.tolist())
    ]
    write_rows(folder / "digits.jsonl", rows)
    return {
        "data": {"train": str(folder / "digits.jsonl"), "validation": 0.2},
        "inputs": {"p*": "number"},
        "tasks": {"digit": "category", "odd": "binary"},
        "width": 64,
        "training": {"steps": steps, "batch_size": 64, "validations": 6, "threads": 1},
    }


def trial(chosen: dict, base: dict) -> None:
    """One run; Ray ends it where it reports."""
    overrides = [f"training.lr={chosen['lr']}", f"trunk={chosen['trunk']}", f"balancer={chosen['balancer']}"]
    fit(base, overrides=overrides, out="run", report=False, on_validation=lambda seen: tune.report(
        {"score": seen.aggregate, "step": seen.step}
    ))  # fmt: skip


def main(trials: int = 6, steps: int = 150) -> tune.ResultGrid:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    space = {
        "lr": tune.loguniform(1e-4, 3e-2),
        "trunk": tune.choice(["hard", "mmoe", "ple"]),
        "balancer": tune.choice(["equal", "upgrad"]),
    }
    with tempfile.TemporaryDirectory() as name:
        halving = ASHAScheduler(time_attr="step", max_t=steps, grace_period=steps // 6, reduction_factor=2)
        tuner = tune.Tuner(
            tune.with_parameters(trial, base=config(Path(name), steps)),
            param_space=space,
            tune_config=tune.TuneConfig(metric="score", mode="max", num_samples=trials, scheduler=halving),
            run_config=tune.RunConfig(storage_path=name, verbose=0),
        )
        found = tuner.fit()
    for result in found:
        print(f"step {result.metrics['step']:>3} {result.metrics['score']:.3f} {result.config}")
    best = found.get_best_result()
    print(f"best: {best.metrics['score']:.3f} with {best.config}")
    ray.shutdown()
    return found


if __name__ == "__main__":
    main()
