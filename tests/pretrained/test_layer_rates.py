import pytest

from trunkline.pretrained.layer_rates import layer_of, layer_rates


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("model.blocks.3.0.conv.weight", "model.blocks.3"),
        ("layers.layer4.1.conv2.weight", "layers.layer4"),
        ("encoder.layer.11.output.dense.bias", "encoder.layer.11"),
        ("conv1.weight", None),
        ("model.conv1.3.weight", None),
        ("stem.0.weight", None),
        ("s2.b1.conv1.conv.weight", "s2"),
        ("features.denseblock3.denselayer2.norm1.weight", "features.denseblock3"),
        ("encoder.fc1.weight", None),
        ("norm.bias", None),
    ],
)
def test_layers_are_what_is_numbered(name, layer):
    assert layer_of(name) == layer


def test_each_layer_below_learns_slower_by_the_same_factor():
    names = ["stem.weight", "norm.weight", "blocks.0.0.weight", "blocks.0.1.weight", "blocks.1.0.weight", "head.weight"]
    rates = layer_rates(names, top=0.5, decay=0.8)
    depths = [3, 3, 2, 2, 1, 0]
    assert list(rates.values()) == pytest.approx([0.5 * 0.8**depth for depth in depths])
    assert set(layer_rates(names, top=0.5, decay=1.0).values()) == {0.5}


def test_a_network_without_numbers_is_one_layer():
    assert layer_rates(["a.weight", "b.weight"], top=0.1, decay=0.5) == {"a.weight": 0.1, "b.weight": 0.1}
