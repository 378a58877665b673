"""What `docs/trust.md` says, one by one: of files from strangers nothing is run, and what was damaged is told."""

from __future__ import annotations

import io
import json
import math
import os
import pickle
import re
import sys
import tarfile
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import PIL.EpsImagePlugin
import PIL.Image
import pyarrow as pa
import pytest
import soundfile
import torch
from torch import nn
from typer.testing import CliRunner

from trunkline import evaluate, fit, load
from trunkline.cells import parse_json
from trunkline.cli import app
from trunkline.data import read_table, write_rows
from trunkline.errors import ConfigError, DataError, RunError
from trunkline.loading import DIGESTS
from trunkline.modalities import Audio, Graph, Image, Number
from trunkline.modalities.pretrained import load_weights
from trunkline.pretrained.hub import from_hub
from trunkline.report import write_card
from trunkline.report.sections.gallery import _uri
from trunkline.run import report
from trunkline.run.reporting import report_on
from trunkline.run.resuming import _check_rows
from trunkline.schema import InputColumn, Schema, TaskColumn, find_faults
from trunkline.sounds import read_sound
from trunkline.tasks import Binary, Boxes, Dense, Mask

SOURCE = Path(__file__).parents[1] / "src" / "trunkline"


class Planted:
    """A pickle that writes a file when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return (Path.write_text, (self.marker, "run"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    write_rows(folder / "rows.jsonl", [{"x": i, "hit": i % 2} for i in range(24)])
    config = {"data": {"train": str(folder / "rows.jsonl")}, "inputs": {"x": "number"}, "tasks": {"hit": "binary"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fit(
            config, overrides=["training.steps=2", "width=8", "training.accelerator=cpu"], out=folder / "run"
        ).folder


def test_no_archive_is_unpacked_and_nothing_pickled_is_loaded() -> None:
    """No line of trunkline does; `torch.load` takes tensors alone, NumPy no objects, YAML plain values."""
    for path in SOURCE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        refused = (
            r"zipfile|\.extract\(|shutil\.unpack|extractall|pickle\.loads?\(|yaml\.(unsafe|full)_load|joblib|"
            r"allow_pickle=True|trust_remote_code=True|\beval\(\w|\bexec\("
        )
        assert not re.search(refused, text), path
        assert "tarfile" not in text or path.name == "tar.py", path
        assert all("weights_only=True" in call for call in re.findall(r"torch\.load\(.*", text)), path
        assert all("allow_pickle=False" in call for call in re.findall(r"np\.(?:load|save)\(.*", text)), path


@pytest.mark.parametrize("name", ["model.safetensors", "preprocessing.json"])
def test_a_damaged_file_is_told(run: Path, name: str) -> None:
    whole = (run / name).read_bytes()
    damaged = bytearray(whole)
    damaged[-3] ^= 1
    try:
        (run / name).write_bytes(bytes(damaged))
        with pytest.raises(RunError, match=f"{name} is not what the run wrote: it was damaged or exchanged"):
            load(run)
        (run / name).write_bytes(whole[:50])
        with pytest.raises(RunError, match=name):
            load(run)
    finally:
        (run / name).write_bytes(whole)
    load(run)


def test_other_states_and_no_digests(run: Path) -> None:
    """As of an older run: what the config needs and does not find is an error of the run, and no trace."""
    kept = {
        name: (run / name).read_bytes() for name in (DIGESTS, "preprocessing.json", "model.safetensors", "config.yaml")
    }
    try:
        (run / DIGESTS).unlink()
        load(run)
        for states in ("[]", "{", '{"inputs": {}, "tasks": {}}', '{"inputs": 1, "tasks": 2}', "9" * 5000, "[" * 5000):
            (run / "preprocessing.json").write_text(states)
            with pytest.raises(RunError, match=r"preprocessing\.json"):
                load(run)
        (run / "preprocessing.json").write_bytes(kept["preprocessing.json"])
        (run / "model.safetensors").write_bytes(kept["model.safetensors"][:-1])
        with pytest.raises(RunError, match="is no whole file of weights"):
            load(run)
        (run / "config.yaml").write_text("inputs: {x: number}\ntasks: {hit: binary}\n")
        with pytest.raises(RunError, match="is not resolved"):
            load(run)
    finally:
        for name, content in kept.items():
            (run / name).write_bytes(content)


@pytest.mark.parametrize(
    ("kind", "name", "key", "value"),
    [
        ("inputs", "x", "mean", "z"),
        ("inputs", "x", "std", 0),
        ("inputs", "x", "mean", math.nan),
        ("inputs", "x", "values", {"a": 99999}),
        ("inputs", "x", "values", {"a": -1, "b": "c"}),
        ("tasks", "hit", "temperature", "z"),
        ("tasks", "hit", "threshold", True),
        ("tasks", "hit", "prior", [10**400]),
    ],
)
def test_states_that_cannot_be_are_told_when_a_run_is_loaded(
    run: Path, kind: str, name: str, key: str, value: Any
) -> None:
    kept = {file: (run / file).read_bytes() for file in (DIGESTS, "preprocessing.json")}
    try:
        (run / DIGESTS).unlink()
        states = json.loads(kept["preprocessing.json"])
        states[kind][name][key] = value
        (run / "preprocessing.json").write_text(json.dumps(states))
        with pytest.raises(RunError, match=rf"preprocessing\.json .*{kind[:-1]} '{name}': {key} is"):
            load(run)
    finally:
        for file, content in kept.items():
            (run / file).write_bytes(content)


def test_a_bug_of_our_own_is_not_told_as_damage(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr("trunkline.model.MultiTaskModel.build", fail)
    with pytest.raises(KeyError, match="a bug"):
        load(run)


def test_a_config_that_was_edited_is_followed_and_told(run: Path) -> None:
    whole = (run / "config.yaml").read_text()
    try:
        (run / "config.yaml").write_text(whole + "mute: [TL001]\n")
        with pytest.warns(UserWarning, match=r"config\.yaml was changed since the run wrote it"):
            load(run)
    finally:
        (run / "config.yaml").write_text(whole)


@pytest.mark.parametrize("section", ["inputs: [x, c]", "tasks: [a]", "training: [1]", "training: 3"])
def test_a_config_whose_sections_are_none_has_no_card(run: Path, section: str) -> None:
    whole = (run / "config.yaml").read_text()
    try:
        (run / "config.yaml").write_text(section)
        with pytest.raises(RunError, match=rf"config\.yaml: {section.partition(':')[0]} holds"):
            report(run)
    finally:
        (run / "config.yaml").write_text(whole)


def test_a_card_of_other_metrics_is_told(run: Path) -> None:
    whole = (run / "metrics.json").read_text()
    try:
        (run / "metrics.json").write_text(json.dumps({**json.loads(whole), "tables": 3}))
        with pytest.raises(RunError, match="some file does not hold what a run writes"):
            write_card(run)
    finally:
        (run / "metrics.json").write_text(whole)


@pytest.mark.parametrize("error", [AttributeError("a bug"), AssertionError("a bug")])
def test_a_card_that_fails_leaves_the_run_finished(
    run: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr("trunkline.run.reporting.write_facts", lambda subject: None)
    monkeypatch.setattr("trunkline.run.reporting.write_card", fail)
    with pytest.warns(UserWarning, match="the run is finished, but its report could not be written: .* a bug"):
        report_on(SimpleNamespace(folder=run))  # type: ignore[arg-type]


def test_metrics_that_are_none(run: Path) -> None:
    whole = (run / "metrics.json").read_text()
    try:
        for content, told in (("[", "no whole JSON"), ("[]", "holds no metrics"), ("{}", "does not say which tables")):
            (run / "metrics.json").write_text(content)
            with pytest.raises(RunError, match=told):
                evaluate(run)
            with pytest.raises(RunError):
                report(run)
    finally:
        (run / "metrics.json").write_text(whole)


def test_a_report_shows_no_file_from_outside(tmp_path: Path) -> None:
    """A page is passed on: neither a path nor a link brings a file of a stranger's choice into it."""
    (tmp_path / "secret.png").write_bytes(b"secret")
    folder = tmp_path / "run" / "report"
    folder.mkdir(parents=True)
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "own.png").write_bytes(b"own")
    for name in ("../../secret.png", str(tmp_path / "secret.png"), "link.png", "own.txt", "none.png"):
        assert _uri(name, folder) is None
    assert _uri("own.png", folder) == "data:image/png;base64,b3du"
    (tmp_path / "comparison.json").write_text(json.dumps({"version": 1, "models": {"a": {"runs": ["../elsewhere"]}}}))
    with pytest.raises(RunError, match=r"names .*elsewhere, which lies elsewhere"):
        report(tmp_path)


def test_reports_of_damaged_files(run: Path) -> None:
    for name, content in (
        ("log.jsonl", "{}\n{"),
        ("report/data.json", '{"version": 1}'),
        ("report/quality.json", "[]"),
    ):
        path = run / name
        whole = path.read_bytes()
        try:
            path.write_text(content)
            with pytest.raises(RunError):
                report(run, run.parent / "page.html")
        finally:
            path.write_bytes(whole)


def test_weights_that_would_run_code(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    torch.save({"state_dict": Planted(marker)}, tmp_path / "torch.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Planted(marker)))
    (tmp_path / "a.safetensors").write_bytes(b"{}" * 40)
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "empty.pth").touch()
    for path in (*tmp_path.glob("*.pth"), tmp_path / "a.safetensors"):
        with pytest.raises(ConfigError, match=f"weights: .*{path.name}"):
            load_weights(nn.Linear(2, 2), path)
    assert not marker.exists()


def test_code_beside_weights_of_a_hub_is_not_asked_for(tmp_path: Path) -> None:
    given: dict[str, Any] = {}
    from_hub("encoder", lambda source, **options: given.update(options), str(tmp_path))
    assert given == {"trust_remote_code": False}


def why(reader: Any, cell: Any) -> str:
    """Why a cell cannot be read, with its place."""
    table = read_table([{"x": 1, "c": cell}])
    schema = Schema({"x": InputColumn(Number(), "x"), "c": InputColumn(reader, "c")}, {"y": TaskColumn(Binary(), "y")})
    (fault,) = find_faults(schema, table, with_targets=False)
    return fault.tell()


def npy(shape: tuple[int, ...]) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return out.getvalue()


def eps() -> bytes:
    out = io.BytesIO()
    PIL.Image.new("L", (4, 4)).save(out, "EPS")
    return out.getvalue()


def iptc(content: bytes) -> bytes:
    """A picture of Pillow's IPTC reader, which opens what it holds as any kind."""
    size = (4).to_bytes(2, "big")
    records = {(3, 60): b"\1\0", (3, 20): size, (3, 30): size, (3, 120): b"\5", (8, 10): content}
    return b"".join(b"\x1c" + bytes(tag) + len(held).to_bytes(2, "big") + held for tag, held in records.items())


@pytest.mark.parametrize("wrap", [bytes, iptc])
def test_no_picture_has_a_program_run(monkeypatch: pytest.MonkeyPatch, wrap: Any) -> None:
    """Nor does one that lies in another; whatever reads it."""
    ran: list[Any] = []
    monkeypatch.setattr(PIL.EpsImagePlugin, "Ghostscript", lambda *args, **_: ran.append(args))
    content = wrap(eps())
    for read in (Image(size=16).read, Mask().read, Dense().read):
        with pytest.raises(DataError):
            read(io.BytesIO(content))
    assert not ran
    with pytest.raises(DataError, match="none of PNG, JPEG"):
        Image(size=16).read(io.BytesIO(content))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA", "ICO", "JPEG2000", "MPO"])
def test_kinds_of_pictures_that_are_read(kind: str) -> None:
    out = io.BytesIO()
    PIL.Image.new("RGB", (16, 16), (255, 0, 0)).save(out, kind)
    assert Image(size=16).read(out).shape[:2] == (16, 16)


@pytest.mark.parametrize(
    ("reader", "cell", "told"),
    [
        (Image(size=16), "pipe", "pipe cannot be read: it is a folder, a pipe or a device"),
        (Image(size=16), "n" * 5000, "there is no file"),
        (Image(size=16), "a\0b.png", "there is no file"),
        (Image(size=16), {"bytes": "text", "path": None}, "the bytes of a file are bytes, or absent, not 'text'"),
        (Image(size=16), {"bytes": eps(), "path": None}, "is not a picture"),
        (Audio(rate=8000), "pipe", "there is no file"),
        (Audio(rate=8000), "n" * 5000, "there is no file"),
        (Audio(rate=8000), ([[0.0], [0.0, 1.0]], 8000), "samples are a list of numbers, or of lists of one length"),
        (Audio(rate=8000), ([0.0] * 9, 1e308), "is not a sample rate"),
        (Graph(), "{" + '"nodes": ' + "[" * 200 + "1" + "]" * 200 + "}", "it is nested more than 100 levels deep"),
    ],
)  # fmt: skip
def test_cells_that_nothing_can_be_made_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: Any, cell: Any, told: str
) -> None:
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)
    said = why(reader, cell)
    assert said.startswith("rows, row 1, column 'c': ") and told in said


@pytest.mark.parametrize(
    ("task", "cell", "told"),
    [
        (Dense(), io.BytesIO(npy((10**6, 10**6))), "its header promises more than the file holds"),
        (Mask(), "pipe", "pipe cannot be read as a mask: it is a folder, a pipe or a device"),
        (Dense(), "pipe", "pipe cannot be read as a map: it is a folder, a pipe or a device"),
        (Boxes(), "[" * 5000, "is no JSON list of boxes"),
        (Boxes(), "9" * 5000, "is no JSON list of boxes"),
    ],
)
def test_labels_that_nothing_can_be_made_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: Any, cell: Any, told: str
) -> None:
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=re.escape(told)):
        task.read(cell)


def test_a_sound_takes_no_more_room_than_it_has_samples() -> None:
    """The header of a FLAC says how many there are: here 2³⁵, of which 900 follow."""
    out = io.BytesIO()
    soundfile.write(out, np.zeros(900), 8000, format="FLAC")
    content = bytearray(out.getvalue())
    content[21] |= 0x08  # the highest of 36 bits
    with pytest.raises(DataError, match="cannot be read as a sound"):
        read_sound(io.BytesIO(bytes(content)), 8000, math.inf)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.jsonl", b'{"a": 1}\n{"a": ' + b"9" * 5000 + b"}\n", "a.jsonl, line 2 is not JSON"),
        ("a.jsonl", b'{"a": ' + b"[" * 5000 + b"}\n", "a.jsonl, line 1 is not JSON: it is nested more than 100 levels"),
        ("a.json", b"[" * 5000, "a.json is not JSON: it is nested more than 100 levels"),
        ("a.json", b'{"images": [{"id": 1, "file_name": 5}]}', "a.json, images 0: 'file_name' is 5, and no text"),
        ("a.json", b'{"images": [{"id": 1, "file_name": "' + b"n" * 5000 + b'"}]}', "a.json: pictures such as"),
        ("n" * 300 + ".csv", None, "cannot be read"),
        ("a\0b.csv", None, "cannot be read"),
    ],
)
def test_tables_that_nothing_can_be_made_of(tmp_path: Path, name: str, content: bytes | None, told: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=re.escape(told)):
        read_table(tmp_path / name)


@pytest.mark.parametrize("encoding", ["undefined", "idna", "hex", "a\0b", "no-such"])
def test_encodings_that_there_are_not(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.csv").write_bytes(b"a,b\n1,\xff\n")
    with pytest.raises(DataError, match=r"a\.csv"):
        read_table(tmp_path / "a.csv", encoding=encoding)


def test_json_is_as_deep_as_may_be() -> None:
    assert parse_json("[" * 100 + "]" * 100)
    for text in ("[" * 101 + "]" * 101, "[" * 100_000, '{"a":' * 101 + "1" + "}" * 101):
        with pytest.raises(ValueError, match=r"nested more than 100|Expecting"):
            parse_json(text)
    assert len(parse_json("[" + "[1]," * 500 + "2]")) == 501  # many, and not deep


def test_a_run_that_cannot_go_on_says_why(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    plan: Any = SimpleNamespace(config=SimpleNamespace(data=None, start=None))
    for tables, states, told in (
        ("[", "{}", "tables.json is no whole JSON"),
        ("{}", "[", "preprocessing.json is no whole"),
    ):
        (tmp_path / "checkpoints" / "tables.json").write_text(tables)
        (tmp_path / "preprocessing.json").write_text(states)
        with pytest.raises(RunError, match=re.escape(told)):
            _check_rows(tmp_path, plan)


def tar(*members: tuple[str, bytes, bytes]) -> bytes:
    """Names, kinds and contents → a shard."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as shard:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.size = (
                kind,
                "/etc/passwd",
                len(content) if kind == tarfile.REGTYPE else 0,
            )
            shard.addfile(member, io.BytesIO(content))
    return out.getvalue()


def test_paths_and_links_in_a_shard_lead_nowhere(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    content = tar(
        ("../../outside.png", tarfile.REGTYPE, b"own"),
        ("/tmp/absolute.png", tarfile.REGTYPE, b"own, too"),
        ("../../outside.cls", tarfile.REGTYPE, b"cat"),
        ("link.png", tarfile.SYMTYPE, b""),
        ("hard.png", tarfile.LNKTYPE, b""),
        ("device.png", tarfile.CHRTYPE, b""),
    )
    (folder / "a.tar").write_bytes(content)
    table = read_table(folder / "a.tar")
    assert [table.cell(row, "png")["bytes"] for row in range(len(table))] == [b"own", b"own, too"]
    assert table.column("cls") == ["cat", None]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "a.tar", "b"]


def test_shards_and_arrow_files_that_were_damaged(tmp_path: Path) -> None:
    whole = tar(("0.png", tarfile.REGTYPE, b"x" * 5000), ("0.json", tarfile.REGTYPE, b'{"a": 1}'))
    deep = tar(("0.json", tarfile.REGTYPE, b'{"a": ' + b"[" * 5000 + b"}"))
    arrow = io.BytesIO()
    table = pa.table({"lists": [[1], [2, 3]]})
    with pa.ipc.new_file(arrow, table.schema) as writer:
        writer.write_table(table)
    offsets = np.array([0, 1, 3], np.int32).tobytes()
    assert offsets in arrow.getvalue()
    far = arrow.getvalue().replace(offsets, np.array([0, 1, 10**9], np.int32).tobytes())
    for name, content in {
        "cut.tar": whole[:3000],
        "odd.tar": b"x" * 600,
        "deep.tar": deep,
        "empty.arrow": b"",
        "far.arrow": far,
        "cut.arrow": far[:90],
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=name):
            read_table(tmp_path / name)


@pytest.mark.parametrize("reader", [Number(), Image(size=16), Audio(rate=8000), Graph()])
def test_a_long_cell_makes_a_short_error(reader: Any) -> None:
    for cell in ("x" * 20_000, {"x" * 20_000: 1}, ["x" * 20_000]):
        assert len(why(reader, cell)) < (25_000 if isinstance(cell, str) and reader.reads_files else 1_000)


def test_trusted_code_lies_where_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of an installed script is first on the path, and not the one in which it is called."""
    (tmp_path / "shouted.py").write_text(
        "from trunkline.modalities import Category\n\nclass Shout(Category):\n    ran = True\n"
    )
    write_rows(tmp_path / "rows.jsonl", [{"who": "ab"[n % 2], "y": n % 2} for n in range(40)])
    (tmp_path / "c.yaml").write_text(
        "data: {train: rows.jsonl}\ninputs: {who: {type: 'shouted:Shout'}}\ntasks: {y: binary}\n"
        "training: {steps: 2, batch_size: 4}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place not in ("", str(tmp_path))])
    refused = CliRunner().invoke(app, ["check", "c.yaml"])
    assert refused.exit_code == 1 and "shouted" not in sys.modules
    taken = CliRunner().invoke(app, ["check", "c.yaml", "--trust-code"])
    assert taken.exit_code == 0, taken.output
    assert sys.modules.pop("shouted").Shout.ran
    assert sys.path[-1] == str(tmp_path), "last: what lies there stands in for no library"
