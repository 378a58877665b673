"""Shared parts that the deep levels cannot pass through are refused with what works."""

import pytest
import torch
import torch.distributed as dist
from tests.engine.engine_oracles import Fixed
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Shard, distribute_tensor
from torch.utils.checkpoint import checkpoint

from trunkline.engine import Engine
from trunkline.errors import ConfigError

torch.set_num_threads(1)
DEEP = ["sketch", "trunk", "trunk-lean"]


def step(features, level, **options):
    engine = Engine(Fixed(a=2.0), ["a", "b"], level=level, **options)
    views = engine.split(features)
    engine.total({"a": views["a"].sin().sum(), "b": views["b"].square().sum()}).backward()
    return engine


@pytest.mark.parametrize("level", DEEP)
def test_a_reentrant_checkpoint(level):
    layer = nn.Linear(4, 4)
    x = torch.randn(3, 4, requires_grad=True)
    with pytest.raises(ConfigError, match=r"use_reentrant=False.*'trunk' or 'sketch'.*'features' or 'last'"):
        step(checkpoint(layer, x, use_reentrant=True), level)
    assert layer.weight.grad is None
    step(checkpoint(layer, x, use_reentrant=True), "features")
    assert layer.weight.grad is not None


@pytest.fixture
def mesh(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


@pytest.mark.parametrize("level", DEEP)
def test_sharded_parameters(mesh, level):
    sharded = nn.Parameter(distribute_tensor(torch.randn(4, 4), mesh, [Shard(0)]))
    with pytest.raises(ConfigError, match="'losses' and 'features' work"):
        step((sharded * 2).full_tensor(), level)


@pytest.mark.parametrize("level", DEEP)
def test_fsdp2(mesh, level):
    """Named or found; `features` works."""

    def network():
        trunk = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
        for part in (*trunk[::2], trunk):
            fully_shard(part, mesh=mesh)
        return trunk

    x = torch.randn(3, 4)
    trunk = network()
    with pytest.raises(ConfigError, match="'losses' and 'features' work"):
        step(trunk(x), level, shared=trunk.parameters())
    with pytest.raises(ConfigError, match="'losses' and 'features' work"):
        step(network()(x), level)
    trunk = network()
    step(trunk(x), "features", shared=trunk.parameters())
    assert trunk[0].weight.grad is not None


@pytest.mark.parametrize("level", DEEP)
def test_complex_parameters(level):
    weight = torch.randn(4, 4, dtype=torch.complex64, requires_grad=True)
    with pytest.raises(ConfigError, match=r"complex parameters.*view_as_real"):
        step((torch.randn(3, 4).to(weight) @ weight).abs(), level)


@pytest.mark.parametrize("level", ["features", *DEEP])
def test_complex_taps(level):
    weight = torch.randn(4, 4, requires_grad=True)
    with pytest.raises(ConfigError, match="complex taps"):
        step(torch.fft.rfft(weight), level)
