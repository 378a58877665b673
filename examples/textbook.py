"""The textbook case in plain PyTorch: one shared network, three classifiers, most labels of two of them missing.

The loop is your own; trunkline brings the balancer and the engine. Run it with `python examples/textbook.py`.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

from trunkline.balancers import UPGrad
from trunkline.engine import Engine

MISSING = -1  # the label of a row that has none


def main(epochs: int = 30) -> dict[str, dict[str, float]]:
    torch.manual_seed(0)
    images, digits = (torch.as_tensor(a) for a in load_digits(return_X_y=True))
    images = images.float() / 16
    targets = {"digit": digits, "odd": digits % 2, "above four": (digits > 4).long()}
    order = torch.randperm(len(images))
    train, test = order[:1200], order[1200:]

    labels = {task: target.clone() for task, target in targets.items()}
    labels["odd"][torch.rand(len(digits)) < 0.5] = MISSING
    labels["above four"][torch.rand(len(digits)) < 0.8] = MISSING

    trunk = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
    heads = nn.ModuleDict({task: nn.Linear(64, int(target.max()) + 1) for task, target in targets.items()})
    engine = Engine(UPGrad(), list(targets), level="last", last_shared=[trunk[2]])
    optimiser = torch.optim.Adam([*trunk.parameters(), *heads.parameters(), *engine.parameters()], lr=2e-3)

    for _ in range(epochs):
        for rows in train[torch.randperm(len(train))].split(64):
            views = engine.split(trunk(images[rows]))
            losses = {}
            for task, head in heads.items():
                labelled = labels[task][rows] != MISSING
                if labelled.any():  # a task without a label in this batch has no loss, and no say
                    losses[task] = cross_entropy(head(views[task][labelled]), labels[task][rows][labelled])
            optimiser.zero_grad()
            engine.total(losses).backward()
            optimiser.step()

    with torch.no_grad():
        features = trunk(images[test])
    scores = {}
    for task, target in targets.items():
        right = heads[task](features).argmax(1) == target[test]
        majority = target[test] == target[train].mode().values
        scores[task] = {"accuracy": right.float().mean().item(), "majority": majority.float().mean().item()}
        print(f"{task:>10}  accuracy {scores[task]['accuracy']:.3f}  majority {scores[task]['majority']:.3f}")
    print(f"conflicts in the last step: {engine.report()['conflicts']:.2f} of the pairs")
    return scores


if __name__ == "__main__":
    main()
