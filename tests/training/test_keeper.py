"""Which weights are kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from trunkline import RunError
from trunkline.training.judge import BEST, Keeper


def keep(folder: Path, scores: list[float | None]) -> tuple[Keeper, float]:
    """A keeper that has seen looks with these aggregates, at steps 1, 2, …; and the weight it kept: its step."""
    network = nn.Linear(1, 1, bias=False)
    keeper = Keeper(network, folder)
    for step, score in enumerate(scores, 1):
        with torch.no_grad():
            network.weight.fill_(step)
        keeper.see(step, score, {})
    return keeper, float(load_file(folder / BEST)["weight"])


def test_one_lucky_look_is_not_the_best(tmp_path: Path) -> None:
    keeper, kept = keep(tmp_path, [0.1, 0.9, 0.1, 0.6, 0.6, 0.6, 0.5])
    assert kept == 6
    assert keeper.best is not None
    assert keeper.best[0] == 6
    assert keeper.waiting == 1


def test_looks_without_an_aggregate_keep_the_newest_and_nobody_waits(tmp_path: Path) -> None:
    keeper, kept = keep(tmp_path, [None, None, None])
    assert kept == 3
    assert keeper.waiting == 0


@pytest.mark.parametrize(("scores", "best"), [([None, 0.2, 0.1], 2), ([0.2, None, 0.1], 1), ([0.1, 0.2, 0.3], 3)])
def test_the_first_aggregate_counts_more_than_none(tmp_path: Path, scores: list[float | None], best: int) -> None:
    assert keep(tmp_path, scores)[1] == best


def test_a_checkpoint_goes_on_with_the_same_judgement(tmp_path: Path) -> None:
    keeper, _ = keep(tmp_path, [0.1, 0.5, 0.4])
    again = Keeper(nn.Linear(1, 1, bias=False), tmp_path)
    again.load(keeper.state())
    for one in (keeper, again):
        one.see(4, 0.41, {})
    assert again.best == keeper.best
    assert again.best_mean == keeper.best_mean


def test_a_look_after_the_checkpoint_is_forgotten(tmp_path: Path) -> None:
    """The weights that the checkpoint names are put back, as often as it is gone on from."""
    keeper, _ = keep(tmp_path, [0.1, 0.5])
    saved = keeper.state()
    for _ in range(2):
        again = Keeper(nn.Linear(1, 1, bias=False), tmp_path)
        again.load(saved)
        assert float(load_file(tmp_path / BEST)["weight"]) == 2
        with torch.no_grad():
            again.network.weight.fill_(3)
        again.see(3, 0.9, {})
        assert float(load_file(tmp_path / BEST)["weight"]) == 3


@pytest.mark.parametrize("how", ["a bit", "no such file", "another's"])
def test_other_weights_than_were_kept_are_refused(tmp_path: Path, how: str) -> None:
    keeper, _ = keep(tmp_path, [0.5, 0.4])
    content = bytearray((tmp_path / BEST).read_bytes())
    if how == "a bit":
        content[-1] ^= 1
        (tmp_path / BEST).write_bytes(content)
    elif how == "no such file":
        (tmp_path / BEST).unlink()
    else:
        keep(tmp_path / "other", [0.1, 0.5])
        (tmp_path / "other" / BEST).replace(tmp_path / BEST)
    again = Keeper(nn.Linear(1, 1, bias=False), tmp_path)
    for act in (keeper.put_back, lambda: again.load(keeper.state())):
        with pytest.raises(RunError, match=r"best\.safetensors: the weights of step 1, .* Put the file back"):
            act()


def test_a_checkpoint_of_before_there_were_digests_is_gone_on_from(tmp_path: Path) -> None:
    keeper, _ = keep(tmp_path, [0.5, 0.4])
    state = keeper.state()
    del state["digest"]
    again = Keeper(nn.Linear(1, 1, bias=False), tmp_path)
    again.load(state)
    assert again.best == keeper.best
