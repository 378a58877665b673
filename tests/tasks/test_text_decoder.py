"""Texts written by the decoder of a pretrained encoder–decoder, with tiny ones in folders: no hub is asked."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from tiny_decoders import KINDS, TEXTS, WORDS, save_decoders, save_network, save_tokenizer
from trunkline import ConfigError, MultiTaskModel, fit, load, testing
from trunkline.contexts import WordsContext
from trunkline.modalities import Text as TextInput
from trunkline.tasks.text import Text
from trunkline.tasks.text_head import TextHead
from trunkline.training.optimiser import make_optimiser
from trunkline.types import Span, Tokens

WIDTH = 16


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return save_decoders(tmp_path_factory.mktemp("decoders"))


def head_of(task: Text) -> TextHead:
    head = task.build([task.fit(TEXTS)], WIDTH)
    head.load_pretrained()
    return head.eval()


def make_view(rows: int = 3) -> Tokens:
    values = torch.randn(rows, 4, WIDTH, generator=torch.Generator().manual_seed(1))
    mask = torch.arange(4) <= torch.arange(rows).unsqueeze(1)
    return Tokens(values, mask, (Span("x", 0, 4, "set", (4,)),))


@pytest.mark.parametrize("kind", KINDS)
def test_it_copies_too(folders: dict[str, str], kind: str) -> None:
    """What it writes is the likeliest of generated and copied words together."""
    torch.manual_seed(0)
    task = Text(6, decoder=folders[kind], copy=True)
    head, view, state = head_of(task), make_view(), task.fit(TEXTS)
    if hasattr(head.decoder, "final_logits_bias"):  # which comes behind the output layer
        torch.nn.init.normal_(head.decoder.final_logits_bias)
    contexts = [WordsContext(("dog", "cat"), ((0, 1), (1, 2)))] * 3
    view = replace(view, source=task.source(contexts, state))
    with torch.inference_mode():
        ids = head.predict_output(view)
        said = head.train_output(view, {"values": ids, "flags": torch.ones(3, 1, dtype=torch.bool)})
    assert torch.allclose(said.logsumexp(2), torch.zeros(3, ids.shape[1]), atol=1e-5)
    allowed = said.index_fill(2, torch.tensor(head.generation.suppress_tokens), -torch.inf).argmax(2)
    for own, likeliest in zip(ids.tolist(), allowed.tolist(), strict=True):
        length = own.index(state["end"]) + 1 if state["end"] in own else len(own)
        assert own[:length] == likeliest[:length]
    head.pointer = None
    plain = head.train_output(view, {"values": ids, "flags": torch.ones(3, 1, dtype=torch.bool)}).log_softmax(2)
    words = [WORDS.index(word) for word in ("dog", "cat")]
    assert ((said - plain)[..., words].sum(2) > 0).all()  # what stands in the source is likelier than without
    torch.testing.assert_close(
        said.exp()[..., :5].sum(2) / plain.exp()[..., :5].sum(2), said.exp()[..., 5] / plain.exp()[..., 5]
    )  # all else keeps its proportions


@pytest.mark.parametrize("kind", KINDS)
def test_it_keeps_the_contract(folders: dict[str, str], kind: str) -> None:
    testing.check_task(Text(6, decoder=folders[kind]), TEXTS, make_view(4))


@pytest.mark.parametrize("kind", KINDS)
def test_one_stored_in_half_precision_runs_in_single(tmp_path: Path, folders: dict[str, str], kind: str) -> None:
    save_tokenizer(tmp_path)
    transformers.AutoModelForSeq2SeqLM.from_pretrained(folders[kind]).to(torch.bfloat16).save_pretrained(tmp_path)
    head = head_of(Text(6, decoder=str(tmp_path)))
    assert {p.dtype for p in head.parameters()} == {torch.float32}
    assert head.predict_output(make_view()).shape[0] == 3


def test_one_made_of_two_networks_is_refused(tmp_path: Path, folders: dict[str, str]) -> None:
    save_tokenizer(tmp_path)
    bert = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    both = [transformers.BertConfig(vocab_size=13, **bert) for _ in range(2)]
    config = transformers.EncoderDecoderConfig.from_encoder_decoder_configs(*both)
    transformers.EncoderDecoderModel(config).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="is made of two networks, which is not known here; name one such as T5"):
        Text(6, decoder=str(tmp_path)).fit(TEXTS)


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_of_the_whole_network_told_what_to_read(folders: dict[str, str], kind: str) -> None:
    task = Text(6, decoder=folders[kind])
    state, head, view = task.fit(TEXTS), head_of(task), make_view()
    target = task.collate([[task.prepare(text, state, None)] for text in TEXTS[:3]])
    whole = transformers.AutoModelForSeq2SeqLM.from_pretrained(folders[kind]).eval()
    read = transformers.modeling_outputs.BaseModelOutput(last_hidden_state=head.memory(view))
    labels = target["values"]
    theirs = whole(encoder_outputs=read, attention_mask=view.mask.long(), labels=labels)  # begins with its own token
    ours = head.train_output(view, target)
    torch.testing.assert_close(ours, theirs.logits, atol=1e-5, rtol=1e-5)
    total, weight = head.loss(ours, target)
    torch.testing.assert_close(total / weight, theirs.loss.reshape(1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_searched_as_the_whole_network_is(folders: dict[str, str], kind: str) -> None:
    head, view = head_of(Text(6, decoder=folders[kind])), make_view()
    whole = transformers.AutoModelForSeq2SeqLM.from_pretrained(folders[kind]).eval()
    for network in (head.decoder, whole):
        network.get_output_embeddings().weight.data.mul_(30)
    read = transformers.modeling_outputs.BaseModelOutput(last_hidden_state=head.memory(view))
    # By default these networks write what their config forces them to; the search here is the task's own.
    theirs = whole.generate(
        encoder_outputs=read, attention_mask=view.mask.long(), max_new_tokens=6, num_beams=1, do_sample=False,
        forced_bos_token_id=None, forced_eos_token_id=None, suppress_tokens=[0, 2, 3, 4, 11, 12],
    )  # fmt: skip
    assert head.predict_output(view).tolist() == theirs[:, 1:].tolist()


@pytest.mark.parametrize(("kind", "options"), [(k, {}) for k in KINDS] + [("mbart", {"language": "de_DE"})])
@pytest.mark.parametrize("is_shared", [False, True])
def test_what_it_read_is_told_of_the_tokens_of_the_view(
    folders: dict[str, str], kind: str, options: dict[str, Any], is_shared: bool
) -> None:
    """Neither what a text begins with nor what tells tasks apart is a word or a source."""
    task = Text(6, decoder=folders[kind], freeze=True, **options)
    states = task.fit_shared([TEXTS] * (1 + is_shared))
    head, view = task.build(states[:1], WIDTH).eval(), make_view()
    ids = torch.tensor([task.prepare(text, states[0], None)[0] for text in TEXTS[:3]])
    weights = head.attention(view, ids)
    assert weights.shape == (3, ids.shape[1], 4)
    torch.testing.assert_close(weights.sum(2), torch.ones(3, ids.shape[1]))
    assert (weights[~view.mask.unsqueeze(1).expand_as(weights)] == 0).all()
    longer = torch.cat([ids, ids[:, :1]], 1)
    torch.testing.assert_close(head.attention(view, longer)[:, :-1], weights)


def test_a_language_is_told_before_each_text(folders: dict[str, str]) -> None:
    task = Text(6, decoder=folders["mbart"], language="de_DE")
    state, head, view = task.fit(TEXTS), head_of(task), make_view()
    assert head.prompt.tolist() == [[1, WORDS.index("de_DE")]]
    target = task.collate([[task.prepare(text, state, None)] for text in TEXTS[:3]])
    labels = torch.cat([torch.full((3, 1), WORDS.index("de_DE")), target["values"]], 1)  # as Transformers has them
    whole = transformers.AutoModelForSeq2SeqLM.from_pretrained(folders["mbart"]).eval()
    read = transformers.modeling_outputs.BaseModelOutput(last_hidden_state=head.memory(view))
    ids = torch.cat([torch.ones(3, 1, dtype=torch.long), labels[:, :-1]], 1)
    theirs = whole(encoder_outputs=read, attention_mask=view.mask.long(), decoder_input_ids=ids).logits
    torch.testing.assert_close(head.train_output(view, target), theirs[:, 1:], atol=1e-5, rtol=1e-5)
    assert head.predict_output(view).shape[0] == 3
    with pytest.raises(ConfigError, match="'fr_FR' is no token"):
        Text(6, decoder=folders["mbart"], language="fr_FR").fit(TEXTS)


@pytest.mark.parametrize("kind", KINDS)
def test_tasks_share_it_and_begin_with_ids_of_their_own(folders: dict[str, str], kind: str) -> None:
    task = Text(6, decoder=folders[kind])
    states = task.fit_shared([TEXTS, TEXTS[::-1]])
    first = task.build(states[:1], WIDTH)
    second = task.build_shared(first, states[1:])
    first.load_pretrained(), second.load_pretrained()
    assert [int(h.prompt) for h in (first, second)] == [13, 14]
    table = first.decoder.get_input_embeddings().weight
    assert len(table) == 15 and second.decoder is first.decoder
    start = {"t5": 0, "bart": 1, "mbart": 1}[kind]
    assert torch.equal(table[13], table[start]) and torch.equal(table[14], table[start]), "as the network's own begins"
    assert len(first.predict_output(make_view())) == 3


def test_what_may_not_come_twice_is_what_was_written(folders: dict[str, str]) -> None:
    """BART begins with the token that ends a text: having begun so, it may still end."""
    head = head_of(Text(6, decoder=folders["bart"], no_repeat=1))
    head.decoder.final_logits_bias[0, 1] = 1e4
    assert head.predict_output(make_view()).tolist() == [[1]] * 3


@pytest.mark.parametrize("options", [{}, {"freeze": True}, {"lora": 2}])
def test_tasks_that_share_learn_to_write_different_texts(folders: dict[str, str], options: dict[str, Any]) -> None:
    if "lora" in options:
        pytest.importorskip("peft")
    task = Text(6, decoder=folders["bart"], **options)
    states = task.fit_shared([TEXTS, TEXTS])
    first = task.build(states[:1], WIDTH)
    heads = torch.nn.ModuleList([first, task.build_shared(first, states[1:])])
    first.load_pretrained()
    view = make_view()
    said = [task.collate([[task.prepare(text, states[0], None)]] * 3) for text in ("the cat sleeps", "a dog barks")]
    optimiser = torch.optim.Adam([p for p in heads.parameters() if p.requires_grad], 0.02)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        sums = [head.loss(head.train_output(view, target), target) for head, target in zip(heads, said)]
        loss = sum((total / weight).sum() for total, weight in sums)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    logits = [head.eval().train_output(view, said[0]) for head in heads]
    assert (logits[0] - logits[1]).abs().max() > 0.1, "each task is told from the other"
    assert losses[-1] < 0.9 * losses[0]


def test_a_run_trains_what_the_folder_holds(folders: dict[str, str], tmp_path: Path) -> None:
    rows = [{"en": text, "de": text} for text in TEXTS * 8]
    model = MultiTaskModel({"en": TextInput()}, {"de": Text(6, decoder=folders["bart"], freeze=True)}, width=8)
    run = fit(model, rows, steps=2, out=tmp_path / "run", show_progress=False)
    (head,) = run.predictor.network.heads
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(folders["bart"]).state_dict()
    own = head.decoder.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in own.items())


def test_how_it_goes_on_learning(folders: dict[str, str]) -> None:
    def rates(**options: Any) -> dict[float, int]:
        head = head_of(Text(6, decoder=folders["t5"], **options))
        engine, settings = torch.nn.Module(), make_settings()
        groups = make_optimiser(head, engine, settings).param_groups
        return {g["lr_factor"]: sum(p.numel() for p in g["params"]) for g in groups if g["weight_decay"]}

    new = WIDTH * 8  # the map to its width
    assert set(rates()) == {1.0, 0.1} and rates()[1.0] == new
    assert set(rates(decoder_lr=0.5)) == {1.0, 0.5}
    assert rates(freeze=True) == {1.0: new}
    pytest.importorskip("peft")
    head = head_of(Text(6, decoder=folders["t5"], lora=2))
    learn = {name for name, p in head.named_parameters() if p.requires_grad}
    assert learn and all("lora_" in name or name.startswith("memory") for name in learn)
    assert not any("lm_head" in name for name in learn), "what tells words apart is no layer to adapt"


def make_settings() -> Any:
    class Settings:
        weight_decay, lr, precision = 0.1, 1e-3, "32"

    return Settings()


@pytest.mark.parametrize("options", [{}, {"lora": 2}])
def test_a_run_learns_and_is_loaded_without_the_folder(
    folders: dict[str, str], options: dict[str, Any], tmp_path: Path
) -> None:
    if options:
        pytest.importorskip("peft")
    folder = tmp_path / "network"
    folder.mkdir()
    save_tokenizer(folder)
    save_network(folder, "bart")
    name = str(folder)
    rows = [{"en": text, "de": text} for text in TEXTS * 8]
    inputs = {"en": TextInput(encoder=f"transformers:{name}", freeze=False)}
    model = MultiTaskModel(inputs, {"de": Text(6, decoder=name, **options)}, width=8)
    run = fit(model, rows, steps=3, out=tmp_path / "run", show_progress=False)
    said = run.predictor.predict(rows[:3])
    for file in folder.iterdir():
        file.unlink()
    assert load(tmp_path / "run").predict(rows[:3]) == said


def test_an_encoder_alone_is_what_an_input_takes(folders: dict[str, str]) -> None:
    name = folders["t5"]
    modality = TextInput(encoder=f"transformers:{name}")
    state = modality.fit(iter(TEXTS))
    encoder: Any = modality.build(state, WIDTH)
    encoder.load_pretrained()
    encoder.eval()
    values = modality.collate([modality.prepare(text, state, None)[0] for text in TEXTS])
    whole = transformers.AutoModelForSeq2SeqLM.from_pretrained(name).eval()
    theirs = whole.get_encoder()(input_ids=values["ids"], attention_mask=values["mask"].long()).last_hidden_state
    torch.testing.assert_close(encoder.run(values), theirs)
    assert not any("decoder" in n for n, _ in encoder.named_parameters())


def test_what_cannot_be_had(folders: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"decoder: './nowhere': there is no folder ./nowhere"):
        Text(decoder="./nowhere").fit(TEXTS)
    save_tokenizer(tmp_path)
    transformers.BertModel(transformers.BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
                           intermediate_size=8, vocab_size=11)).save_pretrained(tmp_path)  # fmt: skip
    with pytest.raises(ConfigError, match="name an encoder–decoder"):
        Text(decoder=str(tmp_path)).fit(TEXTS)
    with pytest.raises(ConfigError, match=r"vocabulary, layers: of a decoder from scratch"):
        Text(decoder=folders["t5"], vocabulary=300, layers=3).fit(TEXTS)
    with pytest.raises(ConfigError, match=r"lora: of a decoder that is pretrained; name one with `decoder:`"):
        Text(lora=2).fit(TEXTS)
    long = Text(40, decoder=folders["bart"])
    with pytest.raises(ConfigError, match=r"max_length=40 of a text task: its decoder writes 20 tokens at most"):
        long.build([long.fit(TEXTS)], WIDTH)


def test_a_state_is_json_and_builds_the_same_layers(folders: dict[str, str]) -> None:
    task = Text(6, decoder=folders["t5"])
    state = task.fit(TEXTS)
    assert as_json(state) == state
    names = [n for n, _ in task.build([copy.deepcopy(state)], WIDTH).named_parameters()]
    assert names == [n for n, _ in head_of(task).named_parameters()]


def as_json(state: Any) -> Any:
    import json

    return json.loads(json.dumps(state))
