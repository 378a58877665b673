"""A search over learning rate, trunk and balancer with Optuna, which ends poor trials early.

Handwritten digits with three tasks. `fit` tells `on_validation` what it scores on the validation rows on the way; what
that raises ends the run. Run it with `python examples/search.py`; it wants `optuna` and `scikit-learn`.
"""

import tempfile
from pathlib import Path

import optuna
from sklearn.datasets import load_digits

from trunkline import fit
from trunkline.data import write_rows


def config(folder: Path, steps: int) -> dict:
    """The table, written, and what is learned from it."""
    images, digits = load_digits(return_X_y=True)
    rows = [
        {**{f"p{i}": v for i, v in enumerate(image)}, "digit": str(digit), "odd": digit % 2 == 1, "big": digit > 4}
        for image, digit in zip(images.tolist(), digits.tolist())
    ]
    write_rows(folder / "digits.jsonl", rows)
    return {
        "data": {"train": str(folder / "digits.jsonl"), "validation": 0.2, "test": 0.2},
        "inputs": {"p*": "number"},
        "tasks": {"digit": "category", "odd": "binary", "big": "binary"},
        "width": 64,
        "training": {"steps": steps, "batch_size": 64, "validations": 6, "threads": 1},
    }


def main(trials: int = 10, steps: int = 150) -> optuna.Study:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = config(folder, steps)

        def objective(trial: optuna.Trial) -> float:
            def look(seen) -> None:
                trial.report(seen.aggregate, seen.step)
                if trial.should_prune():
                    raise optuna.TrialPruned

            chosen = [
                f"training.lr={trial.suggest_float('lr', 1e-4, 3e-2, log=True)}",
                f"trunk={trial.suggest_categorical('trunk', ['hard', 'mmoe', 'ple'])}",
                f"balancer={trial.suggest_categorical('balancer', ['equal', 'upgrad', 'famo_lagged'])}",
            ]
            out = folder / f"run-{trial.number}"
            run = fit(base, overrides=chosen, out=out, report=False, on_validation=look)
            return run.metrics["validation_aggregate"]

        sampler = optuna.samplers.TPESampler(seed=0, n_startup_trials=4)
        pruner = optuna.pruners.MedianPruner(n_startup_trials=3)
        study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
        study.optimize(objective, n_trials=trials)
    for trial in study.trials:
        step, score = max(trial.intermediate_values.items())
        print(f"{trial.number:>2} {trial.state.name:<8} step {step:>3} {score:.3f} {trial.params}")
    print(f"best: {study.best_value:.3f} with {study.best_params}")
    return study


if __name__ == "__main__":
    main()
