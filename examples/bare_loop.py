"""One call in a loop that somebody else wrote: losses balanced after they were computed.

No boundary is put into the forward pass; the network stays as it is. Run it with `python examples/bare_loop.py`.
"""

import torch
from torch import nn
from torch.nn.functional import mse_loss

from trunkline.balancers import UPGrad
from trunkline.engine import Engine


class Network(nn.Module):
    """A shared encoder and two decoders, with nothing of trunkline in it."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 24), nn.Tanh())
        self.copy, self.square = nn.Linear(24, 8), nn.Linear(24, 8)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = self.encoder(x)
        return self.copy(hidden), self.square(hidden)


def main(steps: int = 400) -> dict[str, float]:
    torch.manual_seed(0)
    network = Network()
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    engine = Engine(UPGrad(), ["copy", "square"], level="trunk")
    for _ in range(steps):
        x = torch.randn(64, 8)
        copied, squared = network(x)
        losses = {"copy": mse_loss(copied, x), "square": 10 * mse_loss(squared, x**2 - 1)}
        optimiser.zero_grad()
        engine.backward(losses, shared=network.encoder.parameters())  # instead of sum(losses.values()).backward()
        optimiser.step()
    print("losses ", {task: round(loss, 3) for task, loss in engine.report()["losses"].items()})
    print("weights", {task: round(weight, 5) for task, weight in engine.report()["weights"].items()})
    return engine.report()["losses"]


if __name__ == "__main__":
    main()
