"""Speech: an alignment is found, durations follow, frames become what was heard; distances are those of the book."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor
from typer.testing import CliRunner

from trunkline import ConfigError, DataError, fit, load, testing
from trunkline.cli import app
from trunkline.sounds import Sound
from trunkline.tasks import Speech, speech_metric
from trunkline.tasks.alignment import diagonal
from trunkline.tasks.ctc import NEVER
from trunkline.tasks.speech_head import COLDNESS, Blocks, SpeechHead, places_of, prosody_of, token_at
from trunkline.tasks.speech_metric import SpeechMetric, sound_distances, warped
from trunkline.types import Span, Tokens

RATE, WIDTH = 8000, 16
PITCHES = {"a": 250.0, "b": 900.0, "c": 2200.0}
LENGTHS = {"a": 0.1, "b": 0.2, "c": 0.15}  # seconds


def say(word: str, *, seed: int = 0, slower: float = 1.0) -> np.ndarray:
    """Each letter is a tone of its own pitch and length."""
    rng = np.random.default_rng(seed)
    parts = []
    for letter in word:
        t = np.arange(int(RATE * LENGTHS[letter] * slower * rng.uniform(0.9, 1.1))) / RATE
        parts.append(0.3 * np.sin(2 * np.pi * PITCHES[letter] * t + rng.uniform(0, 6)))
    wave = np.concatenate(parts)
    return (wave + 0.001 * rng.standard_normal(len(wave))).astype(np.float32)


def view_of(lengths: list[int], seed: int = 0) -> Tokens:
    most = max(lengths)
    values = torch.randn(len(lengths), most, WIDTH, generator=torch.Generator().manual_seed(seed))
    mask = torch.arange(most) < torch.tensor(lengths).unsqueeze(1)
    return Tokens(values, mask, (Span("x", 0, most, "words", (most,)),))


def small(**options: Any) -> Speech:
    return Speech(RATE, **{"mels": 20, "channels": 24, "depth": 2, "dropout": 0.0, **options})


def head_of(mels: int) -> SpeechHead:
    none, one = torch.zeros(mels), torch.ones(mels)
    return SpeechHead(WIDTH, mels, channels=8, depth=1, dropout=0.0, longest=100, mean=none, std=one).eval()


def prepared(task: Speech, cells: list[Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    values = [task.read(cell) for cell in cells]
    state = task.fit(values)
    return state, task.collate([[task.prepare(value, state, None)] for value in values])


CELLS = [(say("ab"), RATE), (say("b", seed=1), RATE), (say("cab", seed=2), RATE)]


class TestDistances:
    @staticmethod
    def by_hand(d: np.ndarray) -> float:
        """The cheapest way, a diagonal step counted twice (Sakoe and Chiba 1978)."""
        total = np.full(d.shape, np.inf)
        for i in range(d.shape[0]):
            for j in range(d.shape[1]):
                if i == j == 0:
                    total[0, 0] = 2 * d[0, 0]
                    continue
                ways = [total[i - 1, j] + d[i, j]] if i else []
                ways += [total[i, j - 1] + d[i, j]] if j else []
                ways += [total[i - 1, j - 1] + 2 * d[i, j]] if i and j else []
                total[i, j] = min(ways)
        return float(total[-1, -1] / sum(d.shape))

    def test_the_best_warp(self) -> None:
        rng = np.random.default_rng(0)
        sizes = [(5, 7), (1, 1), (6, 2), (1, 4), (7, 7)]
        d = torch.from_numpy(rng.random((len(sizes), 7, 8)))
        found = warped(d, *torch.tensor(sizes).T)
        for row, (rows, columns) in enumerate(sizes):
            assert float(found[row]) == pytest.approx(self.by_hand(d[row, :rows, :columns].numpy()))

    def test_a_sound_is_at_no_distance_of_itself_however_slowly_it_is_said(self) -> None:
        rng = torch.Generator().manual_seed(0)
        sound = torch.randn(1, 6, 4, generator=rng)
        slow = sound.repeat_interleave(2, 1)
        sizes = torch.tensor([6]), torch.tensor([12])
        assert float(sound_distances(sound, sizes[0], slow, sizes[1], torch.ones(4))) == 0.0

    def test_many_at_once_are_as_each_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rng = torch.Generator().manual_seed(0)
        a, b = torch.randn(5, 30, 4, generator=rng), torch.randn(5, 40, 4, generator=rng)
        sizes = torch.tensor([30, 9, 30, 1, 17]), torch.tensor([40, 40, 12, 3, 1])
        together = sound_distances(a, sizes[0], b, sizes[1], torch.ones(4))
        monkeypatch.setattr(speech_metric, "TOGETHER", 2 * 30 * 40)
        torch.testing.assert_close(sound_distances(a, sizes[0], b, sizes[1], torch.ones(4)), together)

    def test_half_a_deviation_in_all_bands_is_so_many_decibels(self) -> None:
        sound, std = torch.zeros(1, 5, 4), torch.full((4,), 20.0)
        sizes = torch.tensor([5])
        assert float(sound_distances(sound, sizes, sound + 0.5, sizes, std)) == pytest.approx(10.0)

    def test_the_metric_adds_up_over_batches_and_says_nothing_of_nothing(self) -> None:
        rng = torch.Generator().manual_seed(0)
        said = {"frames": torch.randn(4, 6, 3, generator=rng), "sizes": torch.tensor([6, 3, 4, 1])}
        true = {"values": torch.randn(4, 5, 3, generator=rng), "sizes": torch.tensor([5, 5, 2, 2])}
        whole, parts = SpeechMetric(torch.ones(3)), SpeechMetric(torch.ones(3))
        assert whole.compute() == [None]
        whole.update(said, true)
        for rows in ([0, 1, 2], [3]):
            parts.update({k: v[rows] for k, v in said.items()}, {k: v[rows] for k, v in true.items()})
        (first,), (second,) = whole.compute(), parts.compute()
        assert first is not None
        assert first == pytest.approx(second)
        assert first["duration_error"] == pytest.approx((1 / 5 + 2 / 5 + 2 / 2 + 1 / 2) / 4)


class TestHead:
    @pytest.mark.parametrize("prosody", [False, True])
    def test_padding_changes_nothing(self, prosody: bool) -> None:
        """A row alone, and beside longer texts and sounds: the same answer, the same loss."""
        task = small(prosody=prosody)
        state, target = prepared(task, CELLS)
        torch.manual_seed(0)
        head = task.build([state], WIDTH).eval()
        view = view_of([2, 1, 3])
        total, weight = head.loss(head.train_output(view, target), target)
        sums = []
        for row in range(3):
            index = torch.tensor([row])
            own = view.take(index)
            length = int(own.mask.sum())
            alone = Tokens(own.values[:, :length], own.mask[:, :length], (Span("x", 0, length, "words", (length,)),))
            size = int(target["sizes"][row])
            own_part = {key: value[row : row + 1] for key, value in target.items()}
            part = {key: value[:, :size] if value.ndim > 1 else value for key, value in own_part.items()}
            sums.append([float(x) for x in head.loss(head.train_output(alone, part), part)])
            said, together = head.predict_output(alone), head.predict_output(view)
            assert int(said["sizes"]) == int(together["sizes"][row])
            torch.testing.assert_close(said["frames"][0], together["frames"][row, : int(said["sizes"])])
        assert np.sum(sums, 0) == pytest.approx([float(total), float(weight)], rel=1e-4)
        assert float(weight) == float(target["sizes"].sum())

    def test_a_text_with_more_tokens_than_frames_teaches_nothing(self) -> None:
        task = small()
        state, target = prepared(task, CELLS[:2])
        target["sizes"][1] = 2
        head = task.build([state], WIDTH)
        view = view_of([2, 5])
        values = view.values.requires_grad_()
        total, weight = head.loss(head.train_output(view, target), target)
        total.backward()
        assert float(weight) == float(target["sizes"][0])
        assert values.grad is not None
        assert bool(torch.isfinite(values.grad).all())
        assert not bool(values.grad[1].any())
        assert bool(values.grad[0].any())

    def test_pitch_and_energy_are_means_over_the_frames_of_a_token(self) -> None:
        none = float("nan")
        pitch = torch.tensor([[1.0, none, 3.0, none, 5.0], [2.0, 4.0, none, 7.0, 9.0]])
        energy = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 3.0, 5.0, 8.0, 8.0]])
        path = torch.tensor([[0, 0, 0, 1, 2], [0, 0, 1, 1, 1]])
        here = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
        found = prosody_of(pitch, energy, path, here, 3)
        assert found[0].tolist() == [[2.0, 2.0], [0.0, 4.0], [5.0, 5.0]]
        assert found[1].tolist() == [[3.0, 2.0], [0.0, 5.0], [0.0, 0.0]]

    def test_training_says_the_true_pitch_and_energy(self) -> None:
        task = small(prosody=True)
        state, target = prepared(
            task, [(0.3 * np.sin(2 * np.pi * 200 * np.arange(2400) / RATE).astype(np.float32), RATE)]
        )
        head, view = task.build([state], WIDTH).eval(), view_of([3])
        output = head.train_output(view, target)
        here = torch.ones_like(output["path"], dtype=torch.bool)
        true = prosody_of(target["pitch"], target["values"].mean(2), output["path"], here, 3)
        assert bool((true[..., 1] != 0).all())
        x = head._read(view)
        assert head.prosody is not None
        torch.testing.assert_close(output["slips"], (head.prosody(x) - true).square().sum(2))
        said = head._say(head._tinted(x, true, view.mask), output["path"], output["durations"], here)
        torch.testing.assert_close(output["frames"], said)
        higher = head.train_output(view, {**target, "pitch": target["pitch"] + 1.0})
        assert not torch.allclose(higher["frames"], output["frames"], atol=1e-3)

    def test_pitch_is_learned_from_the_text_and_heeded(self) -> None:
        """Two tokens that are said at two heights: they are foretold, and what is said follows what is foretold."""
        task = small(prosody=True)
        cells = [(0.3 * np.sin(2 * np.pi * hertz * np.arange(1600) / RATE).astype(np.float32), RATE)
                 for hertz in (120.0, 320.0)]  # fmt: skip
        state, target = prepared(task, cells)
        assert np.exp(state["pitch"][0]) == pytest.approx((120 * 320) ** 0.5, rel=0.01)
        torch.manual_seed(0)
        head, view = task.build([state], WIDTH), view_of([1, 1])
        optimiser = torch.optim.Adam(head.parameters(), lr=0.01)
        for _ in range(60):
            output = head.train_output(view, target)
            total, weight = head.loss(output, target)
            optimiser.zero_grad()
            (total / weight).backward()
            optimiser.step()
        head.eval()
        assert head.prosody is not None
        high, _ = head.prosody(head._read(view)).squeeze(1).unbind(1)
        assert high.tolist() == pytest.approx([-1.0, 1.0], abs=0.2)
        said = head.predict_output(view)["frames"]
        with torch.no_grad():
            head.prosody[-1].bias[0] += 1.0
        assert not torch.allclose(head.predict_output(view)["frames"], said, atol=1e-2)

    def test_durations_are_rounded_together(self) -> None:
        """Tokens of 1.4 frames each: ten of them are 14 frames, not 10."""
        head = head_of(4)
        with torch.no_grad():
            head.pace[-1].bias.fill_(float(np.log(1.4)))
        assert head.predict_output(view_of([10, 5]))["sizes"].tolist() == [14, 7]
        head.longest = 9
        assert head.predict_output(view_of([10, 5]))["sizes"].tolist() == [9, 7]

    def test_a_text_without_a_token_is_one_frame(self) -> None:
        head = head_of(4)
        view = view_of([3, 1])
        view.mask[1] = False
        said = head.predict_output(view)
        assert said["sizes"].tolist()[1] == 1
        assert bool(torch.isfinite(said["frames"]).all())

    def test_a_frame_is_of_the_token_that_ends_behind_it(self) -> None:
        """Two frames, none, three: a token that is too short to be said is passed over."""
        path = token_at(torch.tensor([[2, 2, 5]]), torch.arange(5).unsqueeze(0))
        assert path.tolist() == [[0, 0, 2, 2, 2]]

    def test_places_run_through_each_token(self) -> None:
        places = places_of(torch.tensor([[0, 0, 1, 2, 2, 2]]), torch.tensor([[2.0, 1.0, 3.0]]))
        assert places[0, :, 0].tolist() == pytest.approx([-0.25, 0.25, 0.0, -1 / 3, 0.0, 1 / 3])
        assert places[0, :, 3].exp().tolist() == pytest.approx([2, 2, 1, 3, 3, 3])

    def test_blocks_see_nothing_beyond_the_end(self) -> None:
        blocks = Blocks(8, 2, 0.0).eval()
        x = torch.randn(1, 7, 8)
        mask = torch.arange(7).unsqueeze(0) < 4
        garbage = x.clone()
        garbage[:, 4:] = 1e6
        assert torch.equal(blocks(x, mask)[:, :4], blocks(garbage, mask)[:, :4])


@pytest.mark.parametrize("prosody", [False, True])
def test_contract(prosody: bool) -> None:
    testing.check_task(small(prosody=prosody), CELLS, view_of([2, 1, 3]))


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Words of three letters, each letter a tone; slow and fast voices."""
    folder = tmp_path_factory.mktemp("spoken")
    rng = np.random.default_rng(0)
    rows = []
    for number in range(120):
        word = "".join(rng.choice(list(PITCHES), rng.integers(1, 4)))
        voice = ("slow", "fast")[number % 2]
        soundfile.write(folder / f"{number}.wav", say(word, seed=number, slower=1.3 if voice == "slow" else 0.7), RATE)
        split = "test" if number < 20 else "train"
        rows.append({"word": word, "voice": voice, "said": f"{number}.wav", "split": split})
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return folder


CONFIG = """\
data: {table: TABLE, split: split}
inputs: {word: {type: text, letters: true, min_count: 1}, voice: category}
tasks: {said: {type: speech, of: word, mels: 24, channels: 48, depth: 2, dropout: 0.0}}
training: {steps: 250, batch_size: 32, lr: 4.0e-3, validations: 1, threads: 1, input_dropout: 0.0}
trunk: {type: hard, members: 1, dropout: 0.0}
width: 32
"""


@pytest.fixture(scope="module")
def run(spoken: Path) -> Path:
    path = spoken / "config.yaml"
    path.write_text(CONFIG.replace("TABLE", str(spoken / "rows.jsonl")))
    return fit(path, out=spoken / "run").folder


def pitches(wave: np.ndarray, parts: int) -> list[float]:
    """The loudest pitch in the middle of each of so many equal parts."""
    found = []
    for part in np.array_split(wave, parts):
        middle = part[len(part) // 4 : -len(part) // 4]
        spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)), 4096))
        found.append(float(spectrum.argmax()) * RATE / 4096)
    return found


def test_what_is_learned_is_said(run: Path, spoken: Path) -> None:
    """Words in the order of their letters, slower by a slow voice; nearer to the truth than guessing by far."""
    predictor = load(run)
    scores = json.loads((run / "metrics.json").read_text())
    assert scores["test"]["said"]["mel_distance"] < 0.5 * scores["majority"]["said"]["mel_distance"]
    assert scores["test"]["said"]["duration_error"] < 0.15
    rows = [{"word": "aaa", "voice": "slow"}, {"word": "aaa", "voice": "fast"}, {"word": "ccc", "voice": "slow"}]
    slow, fast, high = (row["said"] for row in predictor.predict(rows))
    assert isinstance(slow, Sound)
    assert slow.rate == RATE
    assert slow.samples / fast.samples == pytest.approx(1.3 / 0.7, rel=0.2)
    assert pitches(slow.wave, 3) == pytest.approx([PITCHES["a"]] * 3, rel=0.2)
    assert pitches(high.wave, 3) == pytest.approx([PITCHES["c"]] * 3, rel=0.2)


def test_predict_writes_sounds_beside_the_table(run: Path, spoken: Path, tmp_path: Path) -> None:
    (tmp_path / "new.jsonl").write_text('{"word": "ab", "voice": "slow"}\n{"voice": "fast"}\n')
    asked = ["predict", str(run), str(tmp_path / "new.jsonl")]
    result = CliRunner().invoke(app, [*asked, "--out", str(tmp_path / "said.jsonl")])
    assert result.exit_code == 0, result.output
    first, second = (json.loads(line) for line in (tmp_path / "said.jsonl").read_text().splitlines())
    wave, rate = soundfile.read(tmp_path / first["said"])
    assert rate == RATE
    assert len(wave) > 0.1 * RATE
    assert second["said"] is None, "no text, nothing to say"
    shown = CliRunner().invoke(app, asked)
    assert "s of sound: --out FILE writes it" in shown.output


def test_the_report_has_players_of_both(run: Path) -> None:
    gallery = json.loads((run / "report" / "gallery.json").read_text())
    answer = gallery["rows"][0]["answers"]["said"]
    assert answer["said"]["kind"] == answer["true"]["kind"] == "sound"
    assert answer["error"] > 0
    assert answer["said"]["drawing"] and answer["true"]["drawing"]
    assert "<audio" in (run / "report.html").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 0}, "rate=0: more than 0"),
        ({"mels": 0}, "mels=0"),
        ({"hop_ms": 30.0}, "hop_ms=30: a sample at least, and at most window_ms=50 by 2"),
        ({"depth": 0, "channels": 0}, "channels=0: at least 1\nspeech task: depth=0"),
        ({"vocoder_steps": -1}, "vocoder_steps=-1"),
        ({"hop_ms": 0.01}, "hop_ms=0.01: a sample at least"),
        ({"max_seconds": 0.0}, "max_seconds=0: more than 0"),
        ({"dropout": 1.0}, "dropout=1: 0 to less than 1"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    """Before a sound is read: what is wrong are not the rows."""
    with pytest.raises(ConfigError, match="speech task") as told:
        Speech(**options).read(CELLS[0])
    assert message in str(told.value)
    with pytest.raises(ConfigError, match="speech task"):
        Speech(**options).check(CELLS[0])


def test_it_must_be_bound_to_a_text(spoken: Path) -> None:
    config = {
        "data": {"table": str(spoken / "rows.jsonl"), "split": "split"},
        "inputs": {"word": "text", "voice": "category"},
        "tasks": {"said": "speech"},
    }
    with pytest.raises(ConfigError, match="of: names the input whose tokens this task reads"):
        fit(config)


def test_a_sound_too_long_is_told_and_not_cut(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", np.zeros(2 * RATE), RATE)
    task = Speech(RATE, max_seconds=1.5)
    for act in (task.read, task.check):
        for cell in (str(tmp_path / "long.wav"), (np.zeros(2 * RATE), RATE)):
            with pytest.raises(DataError, match=r"takes 2\.0 s, 1\.5 at most; its text cannot be cut with it"):
                act(cell)
    assert task.check((np.zeros(RATE), RATE)) is None


def test_half_precision_aligns_in_full() -> None:
    """The aligner's large numbers are not rounded to eight bits."""
    task = small()
    state, target = prepared(task, CELLS)
    head = task.build([state], WIDTH).eval()
    with torch.no_grad():
        for layer in (head.aligner.key, head.aligner.query):
            layer.weight.mul_(10)
        view = view_of([2, 1, 3])
        x, mask = torch.randn(3, 3, 24, generator=torch.Generator().manual_seed(0)), view.mask
        values, sizes = target["values"], target["sizes"]
        here = torch.arange(values.shape[1]) < sizes.unsqueeze(1)
        with torch.autocast("cpu", torch.bfloat16):
            found = head.aligner(x, mask, values, sizes)
            query = head.aligner.query(head.aligner.frames(head.aligner.hear(values), here)).float()
            key = head.aligner.key(x).float()
            total, weight = head.loss(head.train_output(view, target), target)
    near = -COLDNESS * (query.unsqueeze(2) - key.unsqueeze(1)).square().sum(3)
    expected = (near + diagonal(sizes, mask.sum(1), (values.shape[1], 3))).masked_fill(~mask.unsqueeze(1), NEVER)
    there = mask.unsqueeze(1).expand_as(found)
    torch.testing.assert_close(found[there], expected.log_softmax(2)[there], rtol=1e-3, atol=1e-2)
    assert total.dtype == torch.float32
    assert bool(torch.isfinite(total)) and float(weight) == float(sizes.sum())


def test_no_sound_and_bad_sounds_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no row of the training split has a sound"):
        small().fit([])
    with pytest.raises(DataError, match="there is no file"):
        small().check(str(tmp_path / "nothing.wav"))
    with pytest.raises(DataError, match="empty"):
        small().read((np.zeros(0), RATE))


class TestVocoder:
    """A network of others makes the sounds: tiny, with random weights."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        transformers = pytest.importorskip("transformers")
        torch.manual_seed(0)
        config = transformers.SpeechT5HifiGanConfig(
            model_in_dim=16, sampling_rate=RATE, upsample_initial_channel=8, upsample_rates=[4, 4, 4],
            upsample_kernel_sizes=[8, 8, 8], resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1]],
        )  # fmt: skip
        transformers.SpeechT5HifiGan(config).save_pretrained(tmp_path / "hifigan")
        return tmp_path / "hifigan"

    def test_it_says_what_the_network_makes_of_the_frames(self, folder: Path) -> None:
        transformers = pytest.importorskip("transformers")
        task = small(vocoder=str(folder))
        assert task.choose([])["rate"][0] == RATE
        state, target = prepared(task, CELLS)
        assert (state["vocoder"]["hop"], len(state["mean"])) == (64, 16)
        extractor = transformers.SpeechT5FeatureExtractor(
            sampling_rate=RATE, num_mel_bins=16, hop_length=8, win_length=32, fmax=4000
        )
        wave = task.read(CELLS[0]).wave
        theirs = extractor(audio_target=wave / np.abs(wave).max(), sampling_rate=RATE)["input_values"][0]
        ours = target["values"][0, : len(theirs)] * torch.tensor(state["std"]) + torch.tensor(state["mean"])
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
        head = task.build([state], WIDTH).eval()
        assert not any(p.requires_grad for p in head.vocoder.parameters())
        head.load_pretrained()
        network = transformers.SpeechT5HifiGan.from_pretrained(folder)
        with torch.no_grad():
            said = head.finish(head.predict_output(view_of([2, 1, 3])))
            alone = head.finish(head.predict_output(view_of([2, 1, 3]).take(torch.tensor([1]))))
            size = int(said["sizes"][1])
            frames = said["frames"][1, :size] * torch.tensor(state["std"]) + torch.tensor(state["mean"])
            wanted = network(frames)
        sound = task.decode(said, [state], [None] * 3)[0][1]
        assert (sound.rate, sound.samples) == (RATE, 64 * size)
        np.testing.assert_allclose(sound.wave, wanted, atol=1e-5)
        np.testing.assert_allclose(sound.wave, task.decode(alone, [state], [None])[0][0].wave, atol=1e-5)

    def test_scores_do_not_wait_for_it_and_the_contract_is_kept(self, folder: Path) -> None:
        task = small(vocoder=str(folder))
        testing.check_task(task, CELLS, view_of([2, 1, 3]))
        state, _ = prepared(task, CELLS)
        assert "wave" not in task.build([state], WIDTH).eval().predict_output(view_of([2, 1, 3]))

    def test_a_run_has_its_weights_and_needs_the_folder_no_more(
        self, spoken: Path, folder: Path, tmp_path: Path
    ) -> None:
        config = CONFIG.replace("TABLE", str(spoken / "rows.jsonl")).replace("steps: 250", "steps: 2")
        (tmp_path / "config.yaml").write_text(config.replace("mels: 24", f"vocoder: {folder}"))
        run = fit(tmp_path / "config.yaml", out=tmp_path / "run").folder
        rows = [{"word": "ab", "voice": "slow"}]
        before = load(run).predict(rows)[0]["said"]
        for file in folder.iterdir():
            file.unlink()
        after = load(run).predict(rows)[0]["said"]
        assert before.samples == after.samples > 0
        np.testing.assert_array_equal(before.wave, after.wave)

    def test_what_cannot_be_is_told(self, folder: Path, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="makes 8000 samples a second, not 16000"):
            Speech(16000, vocoder=str(folder)).fit([])
        with pytest.raises(ConfigError, match="there is no folder"):
            Speech(RATE, vocoder=str(tmp_path / "nothing")).fit([])
        (folder / "config.json").write_text('{"model_type": "bert"}')
        with pytest.raises(ConfigError, match="is a 'bert'; name a SpeechT5HifiGan"):
            Speech(RATE, vocoder=str(folder)).fit([])
