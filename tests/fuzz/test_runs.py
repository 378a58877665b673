"""Whatever happened to a run folder, it is told, or the answers are the right ones; and nothing in it is ever run."""

from __future__ import annotations

import json
import pickle
import shutil
import socket
import sys
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Picture

from fuzzing import anything, damaged, examples, mutated, tally
from trunkline import evaluate, fit, load, predict
from trunkline.data import write_rows
from trunkline.errors import ConfigError, TrunklineError
from trunkline.run import export, report, serve

CONFIG = {
    "data": {"train": "rows.jsonl", "validation": 0.25, "test": 0.25},
    "inputs": {"photo": {"type": "image", "size": 16}, "note": "text", "size": "number"},
    "tasks": {"kind": "category", "hit": "binary"},
    "training": {"steps": 2, "batch_size": 8, "accelerator": "cpu"},
    "width": 8,
}
ROWS = [{"note": "a red", "size": 3.0}, {"note": "blue", "photo": "1.png"}]
SECRET = "what lies outside of the run"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table, a run `run`, and a picture that is not the run's."""
    folder = tmp_path_factory.mktemp("world")
    rng = np.random.default_rng(0)
    for number in range(4):
        Picture.fromarray(rng.integers(0, 255, (16, 16, 3)).astype(np.uint8)).save(folder / f"{number}.png")
    rows = [
        {
            "photo": f"{i % 4}.png",
            "note": f"{'red' if i % 2 else 'blue'} {i}",
            "size": i,
            "kind": "ab"[i % 2],
            "hit": i % 3 == 0,
        }
        for i in range(40)
    ]
    write_rows(folder / "rows.jsonl", rows)
    (folder / "outside.png").write_text(SECRET)
    (folder / "config.yaml").write_text(json.dumps(CONFIG))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit(folder / "config.yaml", out=folder / "run")
    return folder


@pytest.fixture(scope="module")
def said(world: Path) -> Any:
    return predict(world / "run", rows_at(world))


@pytest.fixture
def copy(world: Path) -> Iterator[Path]:
    """The run once more, to be damaged."""
    shutil.rmtree(world / "copy", ignore_errors=True)
    shutil.copytree(world / "run", world / "copy")
    yield world / "copy"
    shutil.rmtree(world / "copy")


def rows_at(world: Path) -> list[dict[str, Any]]:
    return [{**row, "photo": str(world / row["photo"])} if "photo" in row else row for row in ROWS]


def files_of(run: Path) -> list[str]:
    return sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file())


def use(run: Path, world: Path, said: Any, target: str, *, is_thorough: bool = False) -> None:
    """Everything that a run folder is for."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            found = predict(run, rows_at(world))
        except TrunklineError as error:
            tally(target, f"{type(error).__name__}")
        else:
            is_told = any("config.yaml was changed" in str(one.message) for one in told)
            assert said is None or found == said or is_told, "another answer, and nobody is told"
            tally(target, "the right answer" if found == said else "another config, told")
    acts = [lambda: report(run, world / "page.html"), lambda: report(run)]  # the latter writes the card, too
    if is_thorough:
        acts += [lambda: evaluate(run), lambda: evaluate(run, world / "rows.jsonl"), lambda: served(run)]
    for act in acts:
        with warnings.catch_warnings(), suppress(TrunklineError):
            warnings.simplefilter("ignore")
            act()


def served(run: Path) -> None:
    """As far as the port, which is taken."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        serve(run, port=taken.getsockname()[1])


NAMES = (
    "config.yaml",
    "preprocessing.json",
    "model.safetensors",
    "metrics.json",
    "files.json",
    "log.jsonl",
    "report/gallery.json",
    "report/data.json",
    "report/quality.json",
    "report/model.json",
    "report/calibration.json",
    "report/absence.json",
    "report/choices.json",
    "report/system.json",
)


@examples(14, share=0.3)
@given(st.data())
def test_damaged_bytes(world: Path, said: Any, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(NAMES))
    run = fresh(world)
    content = data.draw(damaged((run / name).read_bytes()))
    (run / name).write_bytes(content)
    use(run, world, said, "run: damaged bytes", is_thorough=data.draw(st.integers(0, 9)) == 0)


def fresh(world: Path) -> Path:
    """The run once more; only what a test may change is copied anew."""
    run = world / "fresh"
    if not run.exists():
        shutil.copytree(world / "run", run)
    for name in NAMES:
        if (world / "run" / name).exists() and (
            not (run / name).is_file() or (run / name).read_bytes() != (world / "run" / name).read_bytes()
        ):
            shutil.copy(world / "run" / name, run / name)
    return run


@examples(14, share=0.3)
@given(st.data())
def test_other_json(world: Path, said: Any, data: st.DataObject) -> None:
    """Also where digests are gone, as of an older run: no answer is promised then, nor is a trace."""
    name = data.draw(st.sampled_from([name for name in NAMES if name.endswith("json") or name == "config.yaml"]))
    run = fresh(world)
    if name == "config.yaml":
        from trunkline.config.dialect import parse_yaml

        tree = parse_yaml((run / name).read_text(), name)
    else:
        tree = json.loads((run / name).read_text())
    other = data.draw(mutated(tree) | anything)
    if name in ("config.yaml",) and _is_huge(other):
        return
    (run / name).write_text(json.dumps(other))
    is_compared = name == "files.json" or data.draw(st.booleans())
    if not is_compared:
        (run / "files.json").unlink()
    use(run, world, said if is_compared else None, "run: other JSON", is_thorough=data.draw(st.integers(0, 9)) == 0)


def _is_huge(tree: Any) -> bool:
    """What a config asks for in numbers is the machine's to give."""
    if isinstance(tree, dict):
        return any(map(_is_huge, tree.values()))
    return any(map(_is_huge, tree)) if isinstance(tree, list) else isinstance(tree, int | float) and abs(tree) > 64


class Planted:
    """A pickle that writes a file when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return (Path.write_text, (self.marker, "run"))


@pytest.mark.parametrize("form", ["pickle", "torch", "npy", "folder", "link", "nothing", "empty"])
def test_every_file_replaced(world: Path, copy: Path, said: Any, tmp_path: Path, form: str) -> None:
    marker = tmp_path / "marker"
    for number, name in enumerate(files_of(copy)):
        path, kept = copy / name, (copy / name).read_bytes()
        path.unlink()
        if form == "pickle":
            path.write_bytes(pickle.dumps(Planted(marker)))
        elif form == "torch":
            torch.save({"state_dict": Planted(marker)}, path)
        elif form == "npy":
            with path.open("wb") as file:
                np.save(file, np.array([Planted(marker)], dtype=object), allow_pickle=True)
        elif form == "folder":
            path.mkdir()
        elif form == "link":
            path.symlink_to(world / "outside.png")
        elif form == "empty":
            path.touch()
        if name in (NAMES if form in ("pickle", "link") else NAMES[:6]) or number % 8 == 0:
            is_thorough = name in NAMES[:3] and form in ("pickle", "folder")
            use(copy, world, said, f"run: a file replaced ({form})", is_thorough=is_thorough)
        assert not marker.exists()
        if (world / "page.html").exists():
            page = (world / "page.html").read_text()
            assert SECRET not in page and "d2hhdCBsaWVz" not in page  # as it is, or in base64
        path.rmdir() if form == "folder" else path.unlink(missing_ok=True)
        path.write_bytes(kept)
    use(copy, world, said, "run: as it was", is_thorough=form == "pickle")


@pytest.mark.parametrize("place", ["fusion", "trunk", "inputs.note", "tasks.kind"])
def test_code_that_a_config_names_is_not_run(
    world: Path, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / "planted_module.py").write_text(f"open({str(tmp_path / 'marker')!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(tmp_path)
    from trunkline.config.dialect import parse_yaml

    tree = parse_yaml((copy / "config.yaml").read_text(), "it")
    section, _, name = place.partition(".")
    inside, key = (tree[section], name) if name else (tree, section)
    for code in ("planted_module:Mine", "os:system", "builtins:exec", "planted_module:"):
        inside[key] = {"type": code}
        (copy / "config.yaml").write_text(json.dumps(tree))
        for act in (
            load,
            evaluate,
            served,
            export,
            lambda run: predict(run, rows_at(world)),
            lambda run: fit(run / "config.yaml"),
        ):
            with pytest.raises(ConfigError, match="trust_code"):
                act(copy)
    assert not (tmp_path / "marker").exists() and "planted_module" not in sys.modules


def test_a_damaged_run_is_not_exported(world: Path, copy: Path) -> None:
    content = bytearray((copy / "model.safetensors").read_bytes())
    content[-3] ^= 16
    (copy / "model.safetensors").write_bytes(content)
    with pytest.raises(TrunklineError, match="damaged or exchanged"):
        export(copy)
    assert not (copy / "model.onnx").exists()
