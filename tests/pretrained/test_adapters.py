"""Low-rank adapters: the network starts as it was, stays as it was, and only the adapters learn."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from modalities.test_pretrained_text import TEXTS, encoder_of, folder  # noqa: F401
from trunkline import ConfigError, MultiTaskModel, fit, load, testing
from trunkline.modalities import Image, Text
from trunkline.pretrained import Tuning
from trunkline.pretrained.adapters import add_adapters, linear_layers, without_adapters
from trunkline.tasks import Category

pytest.importorskip("peft")


def test_it_keeps_the_contract(folder: Path) -> None:  # noqa: F811
    testing.check_modality(Text(encoder=f"transformers:{folder}", lora=2), TEXTS)


def test_adapters_alone_learn_and_start_from_what_was_there(folder: Path) -> None:  # noqa: F811
    name = f"transformers:{folder}"
    plain, values = encoder_of(Text(encoder=name), TEXTS)
    adapted, _ = encoder_of(Text(encoder=name, lora=2), TEXTS)
    plain.eval(), adapted.eval()  # no dropout
    assert torch.allclose(adapted.run(values), plain.run(values), atol=1e-6), "`B` is 0 at first"
    learn = {n for n, p in adapted.network.named_parameters() if p.requires_grad}
    assert learn and all("lora_" in n for n in learn) and adapted.pretrained_parameters() == []
    weights = {n: p.clone() for n, p in adapted.network.named_parameters()}
    optimiser = torch.optim.SGD((p for p in adapted.parameters() if p.requires_grad), 0.5)
    for _ in range(2):  # in the first step `A` has no slope
        optimiser.zero_grad()
        adapted(values).values.square().sum().backward()
        optimiser.step()
    changed = {n for n, p in adapted.network.named_parameters() if not torch.equal(p, weights[n])}
    assert changed == {n for n in learn if not n.startswith("pooler")}, "nobody reads what the pooler says"
    assert not torch.allclose(adapted.run(values), plain.run(values), atol=1e-3)
    own = plain.network.state_dict()
    with without_adapters(adapted.network):
        assert adapted.network.state_dict().keys() == own.keys()
        assert torch.allclose(adapted.run(values), plain.run(values), atol=1e-6)


def test_an_adapter_by_hand() -> None:
    """`W x + 2 B A x`, whatever the rank."""
    for rank in (1, 3):
        network = nn.Sequential(nn.Linear(5, 4))
        plain = network[0]
        add_adapters(network, rank)
        layer = network[0]
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        nn.init.normal_(b)
        x = torch.randn(3, 5)
        torch.testing.assert_close(layer(x), plain(x) + 2 * x @ a.T @ b.T)


def test_a_run_with_adapters_is_loaded(folder: Path, tmp_path: Path) -> None:  # noqa: F811
    rows = [{"note": text, "kind": "ab"[i % 2]} for i, text in enumerate(TEXTS * 8)]
    model = MultiTaskModel({"note": Text(encoder=f"transformers:{folder}", lora=2)}, {"kind": Category()}, width=8)
    run = fit(model, rows, steps=3, out=tmp_path / "run", show_progress=False)
    said = run.predictor.predict(rows[:3])
    assert load(tmp_path / "run").predict(rows[:3]) == said


def test_attention_of_pytorch_is_left_alone() -> None:
    layer = nn.TransformerEncoderLayer(8, 2)
    assert linear_layers(layer) == ["linear1", "linear2"]


def test_what_does_not_work(folder: Path) -> None:  # noqa: F811
    with pytest.raises(ConfigError, match="lora: 2 is the rank of adapters of a network that does not learn itself"):
        encoder_of(Text(encoder=f"transformers:{folder}", freeze=False, lora=2), TEXTS)
    assert Tuning(True, 0.1, 1.0).is_still and not Tuning(True, 0.1, 1.0, 2).is_still
    pytest.importorskip("timm")
    image = Image(encoder="timm:test_resnet.r160_in1k", lora=2)
    state = image.fit([torch.zeros(40, 40, 3, dtype=torch.uint8).numpy()])
    with pytest.raises(ConfigError, match="has no linear layer to adapt; `freeze: false`"):
        image.build(state, 8)
