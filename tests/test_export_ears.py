"""Pretrained networks of sounds are exported, each as a graph of its own; raw rows are answered without PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from tiny_ears import RATE, spectrogram, wav2vec2, whisper
from trunkline import MultiTaskModel, Predictor
from trunkline.data import Table, read_table
from trunkline.export import Model, export_onnx, quantize
from trunkline.modalities import Audio, Number
from trunkline.modalities.pretrained_audio import PretrainedAudio, Voice
from trunkline.pretrained import Tuning
from trunkline.schema import Preprocessing
from trunkline.tasks import Binary
from trunkline.tasks import Number as NumberTask

torch.set_num_threads(1)


def rows_of(*counts: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = [
        {"sound": (0.1 * rng.standard_normal(count), RATE), "size": n, "long": n % 2, "seconds": count / RATE}
        for n, count in enumerate(counts)
    ]
    return [*rows, {"sound": None, "size": 9, "long": 0, "seconds": 1.0}]


def heard(make: Any, folder: Path, table: Table) -> Predictor:
    torch.manual_seed(3)
    for part in make():
        part.save_pretrained(folder / "pretrained")
    inputs = {"sound": Audio(encoder=f"transformers:{folder / 'pretrained'}"), "size": Number()}
    model = MultiTaskModel(inputs, {"long": Binary(), "seconds": NumberTask()}, width=16)
    network = model.build(Preprocessing.fit(model.schema(), table, range(len(table))))
    network.load_pretrained()
    for parameter in network.heads.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return Predictor(network)


@pytest.mark.parametrize("make", [wav2vec2, whisper, spectrogram])
def test_raw_sounds_are_answered(make: Any, tmp_path: Path) -> None:
    """Sounds of other lengths than the traced ones: one shorter than a token, one longer than what is heard."""
    table = read_table(rows_of(5000, 8000, 12000))
    predictor = heard(make, tmp_path, table)
    written = export_onnx(predictor, table, tmp_path / "model.onnx")
    assert max(written.differences.values()) < 1e-4
    assert written.prepared["sound.features"] < 1e-3 and written.prepared["sound.count"] == 0
    assert written.path.with_name("model.ear0.onnx").is_file()
    model, asked = Model(written.path), [{"sound": r["sound"], "size": r["size"]} for r in rows_of(100, 40000, 700)]
    for one, other in zip(predictor.predict(asked), model.predict(asked), strict=True):
        assert other["long"]["probability"] == pytest.approx(one["long"]["probability"], abs=1e-3)
        assert other["seconds"] == pytest.approx(one["seconds"], abs=1e-3)
    alone = model.predict([{"size": 1.0}])
    assert alone[0]["seconds"] == pytest.approx(predictor.predict([{"size": 1.0}])[0]["seconds"], abs=1e-4)
    smaller = quantize(predictor, written.path, table, range(4), "bf16")
    assert Model(smaller.path).about["encoders"]["sound"]["hears"]["file"] == "model.bf16.ear0.onnx"
    ours, _ = predictor.evaluate(table, range(4))
    kinds = {t.name: t.data_type for t in onnx.load(tmp_path / "model.bf16.ear0.onnx").graph.initializer}
    assert onnx.TensorProto.BFLOAT16 in kinds.values()
    assert all(kinds.get(name, onnx.TensorProto.FLOAT) == onnx.TensorProto.FLOAT for name in ("waves", "filters"))
    assert not {"waves.bf16", "filters.bf16"} & kinds.keys(), "what is no weight is as exact as before"
    full, half = (scores["seconds"]["rmse"] for scores in smaller.scores)
    assert full == pytest.approx(ours["seconds"]["rmse"], rel=1e-3)
    assert half == pytest.approx(full, rel=0.02) and half != full


def test_a_voice_is_heard_window_by_window(tmp_path: Path) -> None:
    """The LSTM of a package, of other weights: windows are whole, cut short by the sound's end, or silent."""
    table = read_table(rows_of(5000, 8000, 30000))
    predictor = heard(wav2vec2, tmp_path, table)
    network = predictor.network
    torch.manual_seed(4)
    place = [unit.name for unit in network.preprocessing.encoders].index("sound")
    network.encoders[place] = PretrainedAudio(Voice(), 16, weights=lambda voice: None, tuning=Tuning(True, 0.1)).eval()
    written = export_onnx(predictor, table, tmp_path / "model.onnx")
    assert max(written.differences.values()) < 1e-4
    assert written.prepared["sound.features"] < 1e-4 and written.prepared["sound.count"] == 0
    model, rng = Model(written.path), np.random.default_rng(1)
    for samples, loud in zip((1, 159, 160, 12799, 25440, 25441, 25600, 38399, 38400, 60000), (0.1, 0.001) * 5):
        wave = (loud * rng.standard_normal(samples)).astype(np.float32)  # below -30 dB it is made louder
        said = model.hear("sound", [wave])["features"]
        sound = {"wave": torch.from_numpy(wave)[None], "length": torch.tensor([samples])}
        ours = network.encoders[place].features(sound)
        assert said.shape == tuple(ours.shape), samples
        np.testing.assert_allclose(said, ours.detach().numpy(), atol=2e-5)
