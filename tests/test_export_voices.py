"""Sounds that a network of others makes are exported with it; and every graph is opened once, on the threads wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from trunkline import MultiTaskModel, Predictor
from trunkline.data import Table, read_table
from trunkline.export import Exported, Model, export_onnx, quantize
from trunkline.modalities import Text
from trunkline.schema import Preprocessing, TaskColumn
from trunkline.tasks import Speech
from trunkline.tasks import Text as TextTask

RATE, ROWS = 8000, 6


def spoken(folder: Path) -> Table:
    """Words, and a tone for each."""
    for number in range(ROWS):
        tone = 0.3 * np.sin(np.arange(1600 + 100 * number) * (0.2 + 0.1 * number))
        soundfile.write(folder / f"{number}.wav", tone, RATE)
    rows = [
        {"note": "ab cd ef"[: 2 + n], "back": "fe dc ba"[: 2 + n], "more": "ab", "said": f"{n}.wav"}
        for n in range(ROWS)
    ]
    return Table("rows", read_table(rows).cells, folder)


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> tuple[Predictor, Exported]:
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("speaker")
    torch.manual_seed(0)
    config = transformers.SpeechT5HifiGanConfig(
        model_in_dim=16, sampling_rate=RATE, upsample_initial_channel=8, upsample_rates=[4, 4, 4],
        upsample_kernel_sizes=[8, 8, 8], resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1]],
    )  # fmt: skip
    transformers.SpeechT5HifiGan(config).save_pretrained(folder / "hifigan")
    speech = Speech(RATE, channels=8, depth=1, vocoder=str(folder / "hifigan"))
    tasks = {
        "back": TaskColumn(TextTask(vocabulary=270, max_length=4), "back", of="note"),
        "again": TaskColumn(TextTask(vocabulary=270, max_length=4), "more", of="note", share="back"),
        "said": TaskColumn(speech, "said", of="note"),
    }
    table, model = spoken(folder), MultiTaskModel({"note": Text()}, tasks, width=16)
    network = model.build(Preprocessing.fit(model.schema(), table, range(ROWS)))
    predictor = Predictor(network)
    return predictor, export_onnx(predictor, table, folder / "model.onnx")


def test_a_vocoder_of_others_is_a_graph_of_its_own(speaker: Any) -> None:
    predictor, written = speaker
    assert written.path.with_name("model.voice0.onnx").is_file()
    said = written.sounds["said"]
    assert said.same == said.count == ROWS and said.mel < 1e-4 and said.wave < 1e-4
    rows = [{"note": "ab"}, {"note": "cd ef"}]
    for ours, theirs in zip(predictor.predict(rows), Model(written.path).predict(rows), strict=True):
        assert ours["back"] == theirs["back"] and ours["said"].samples == theirs["said"].samples > 0
        np.testing.assert_allclose(ours["said"].wave, theirs["said"].wave, atol=1e-4)


def test_a_vocoder_gets_smaller_with_its_network(speaker: Any) -> None:
    predictor, written = speaker
    table = spoken(written.path.parent)
    smaller = quantize(predictor, written.path, table, range(ROWS), "bf16")
    files = [smaller.path.with_name(f"model{kind}.voice0.onnx") for kind in ("", ".bf16")]
    sizes = [file.stat().st_size for file in files]
    assert sizes[1] < sizes[0] and smaller.megabytes[1] < smaller.megabytes[0]
    model = Model(smaller.path)
    assert model.about["outputs"]["said"]["says"]["voice"] == files[1].name
    (said,) = model.predict([{"note": "ab"}])
    assert said["said"].samples == len(said["said"].wave) > 0
    int8 = quantize(predictor, written.path, table, range(ROWS))
    assert Model(int8.path).about["outputs"]["said"]["says"]["voice"] == "model.voice0.onnx", "it stays as it is"


def test_every_graph_is_opened_once(speaker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    opened = []
    real = onnxruntime.InferenceSession

    def session(path: str, options: Any, **others: Any) -> Any:
        opened.append((Path(path).name, options.intra_op_num_threads))
        return real(path, options, **others)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    model = Model(speaker[1].path, threads=1, batch_size=1)
    for _ in range(2):
        model.predict([{"note": "ab"}, {"note": "cd ef"}])
    assert sorted(opened) == [("model.onnx", 1), ("model.step0.onnx", 1), ("model.voice0.onnx", 1)]
