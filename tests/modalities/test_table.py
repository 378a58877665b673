"""The table block: absent cells, unknown names, and one sum of many tokens."""

import pytest
import torch

from trunkline.errors import ConfigError
from trunkline.modalities import Category, Number
from trunkline.modalities import table as module
from trunkline.modalities.curves import bent
from trunkline.modalities.table import TableBlock

torch.set_num_threads(1)

NUMBER, NAMES = Number(), Category()
SHOPS = {"values": {"north": 1, "south": 2}}
SCALE = {"mean": 0.0, "std": 1.0}


def build(states: dict, width: int = 6) -> TableBlock:
    """A block in float64 whose every parameter is random, as after training."""
    torch.manual_seed(0)
    inputs = {name: (NAMES if "values" in state else NUMBER, state) for name, state in states.items()}
    block = TableBlock(inputs, width).double().eval()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter)
    return block


def test_no_number_of_names_is_negative():
    with pytest.raises(ConfigError, match="category input: max_values=-1: 0 or more"):
        Category(-1).fit(["a", "a"])
    assert Category(0).fit(["a", "a"]) == {"values": {}}


def test_equal_names_of_two_columns_share_nothing():
    block = build({"from": SHOPS, "to": SHOPS})
    values = {"numbers": torch.zeros(1, 0).double(), "categories": torch.tensor([[1, 1]])}
    first, second = (block(values, None).values - block.bias)[0]
    assert not torch.allclose(first, second)
    first.sum().backward()
    assert (block.name_weight.grad.abs().sum(1) > 0).tolist() == [False, True, False, False, False, False]


def test_a_missing_number_is_its_learned_token():
    block = build({"size": SCALE, "age": SCALE})
    values = {"numbers": torch.tensor([[2.0, 1e30]]).double(), "categories": torch.zeros(1, 0, dtype=torch.long)}
    tokens = block(values, torch.tensor([[True, False]])).values[0]
    torch.testing.assert_close(
        tokens[0], bent(torch.tensor(2.0).double()) * block.curves.line_weight[0] + block.bias[0]
    )
    assert torch.equal(tokens[1], block.bias[1] + block.missing[1])


def test_pooled_is_the_sum_of_the_tokens(monkeypatch):
    """Above `MAX_TOKENS` inputs one token stands for all: the same sum, holes and unknown names included."""
    states = {f"x{i}": SHOPS if i % 3 == 0 else SCALE for i in range(40)}
    pooled = build(states)
    monkeypatch.setattr(module, "MAX_TOKENS", 100)
    each = build(states)
    each.load_state_dict({k: v for k, v in pooled.state_dict().items() if k != "bias"}, strict=False)
    with torch.no_grad():
        each.bias.copy_(pooled.bias / 40)
    numbers = int((~torch.tensor(["values" in s for s in states.values()])).sum())
    values = {"numbers": torch.randn(5, numbers).double(), "categories": torch.randint(0, 3, (5, 40 - numbers))}
    for flags in (None, torch.rand(5, 40) < 0.6):
        expected = each(values, flags).values.sum(1)
        monkeypatch.setattr(module, "MAX_TOKENS", 32)
        found = pooled(values, flags)
        monkeypatch.setattr(module, "MAX_TOKENS", 100)
        assert found.values.shape == (5, 1, 6)
        torch.testing.assert_close(found.values[:, 0], expected, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("count", [2, 40])
@pytest.mark.parametrize("state", [Number().fit([]), Category().fit([])])
def test_a_column_without_values_in_training_is_absent_ever_after(count, state):
    states = {"size": SCALE, "never": state} | {f"x{i}": SCALE for i in range(count - 2)}
    block = build(states)
    inputs = {name: (NAMES if "values" in s else NUMBER, s) for name, s in states.items()}
    value = inputs["never"][0].prepare("north" if "values" in state else 5.0, state, None)[0]
    items = {name: [1.5, 1.5] for name in states} | {"never": [value, None]}
    values = {k: v.double() if k == "numbers" else v for k, v in TableBlock.pack(inputs, items).items()}
    flags = torch.ones(2, count, dtype=torch.bool)
    flags[1, 1] = False
    tokens = block(values, flags).values
    assert torch.equal(tokens[0], tokens[1])
    assert torch.equal(block(values, None).values, tokens)


class TestUnknownNames:
    def test_one_starts_at_zero(self):
        torch.manual_seed(0)
        block = TableBlock({"a": (NAMES, SHOPS), "b": (NAMES, SHOPS)}, 6).eval()
        assert (block.name_weight.abs().sum(1) == 0).tolist() == [True, False, False, True, False, False]

    def test_training_takes_a_few_known_names_for_unknown(self):
        block = build({"a": SHOPS, "b": SHOPS}).train()
        values = {"numbers": torch.zeros(20_000, 0).double(), "categories": torch.ones(20_000, 2, dtype=torch.long)}
        unknown = block.name_weight[block.offsets] + block.bias  # [2, D]
        share = (block(values, None).values == unknown).all(-1).double().mean(0)
        assert (share - module.UNKNOWN).abs().max() < 0.005
        assert not (block.eval()(values, None).values == unknown).any()

    def test_so_it_is_trained(self):
        block = build({"a": SHOPS}).train()
        values = {"numbers": torch.zeros(500, 0).double(), "categories": torch.ones(500, 1, dtype=torch.long)}
        block(values, None).values.sum().backward()
        assert block.name_weight.grad[0].abs().sum() > 0

    def test_numbers_alone_draw_nothing(self):
        block = build({"a": SCALE}).train()
        before = torch.get_rng_state()
        block({"numbers": torch.zeros(3, 1).double(), "categories": torch.zeros(3, 0, dtype=torch.long)}, None)
        assert torch.equal(torch.get_rng_state(), before)
