"""The server that `docs/export.md` shows: it answers what others send, opens no file for them, and no body ends it."""

from __future__ import annotations

import base64
import http.client
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image as Picture

from page_blocks import ROOT, blocks_of
from trunkline import MultiTaskModel, Predictor
from trunkline.data import read_table
from trunkline.errors import DataError
from trunkline.export import Model, export_onnx
from trunkline.modalities import Audio, Image, Number, Text
from trunkline.schema import Preprocessing
from trunkline.tasks import Binary, Category

Ask = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`model.onnx`, and the files of its rows."""
    torch.set_num_threads(1)
    folder, rng, rows = tmp_path_factory.mktemp("exported"), np.random.default_rng(0), []
    for i in range(8):
        Picture.fromarray(rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)).save(folder / f"{i}.png")
        soundfile.write(folder / f"{i}.wav", rng.normal(size=2000) * 0.1, 8000)
        files = {"photo": str(folder / f"{i}.png"), "sound": str(folder / f"{i}.wav")}
        rows.append({**files, "note": "a red one"[i:], "size": i, "kind": "ab"[i % 2], "loud": i % 2})
    table = read_table(rows)
    inputs = {
        "photo": Image(size=16, stem=4),
        "sound": Audio(8000, channels=8, depth=1),
        "note": Text(layers=0),
        "size": Number(),
    }
    model = MultiTaskModel(inputs, {"kind": Category(), "loud": Binary()}, width=16)
    predictor = Predictor(model.build(Preprocessing.fit(model.schema(), table, range(8))))
    export_onnx(predictor, table, folder / "model.onnx")
    return folder


@pytest.fixture(scope="module")
def ask(folder: Path) -> Iterator[Ask]:
    """The page's own block, in the folder of the model; only its port is another, and it serves in a thread."""
    servers: list[http.server.HTTPServer] = []

    class Server(http.server.HTTPServer):
        def __init__(self, address: tuple[str, int], handler: Any) -> None:
            super().__init__((address[0], 0), handler)
            servers.append(self)

        def serve_forever(self, poll_interval: float = 0.5) -> None:
            threading.Thread(target=super().serve_forever, daemon=True).start()

    (block,) = (b for b in blocks_of(ROOT / "docs" / "export.md") if "serve_forever" in b.text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(http.server, "HTTPServer", Server)
        exec(compile(block.text, str(block), "exec"), {"__name__": "page"})

    def ask(body: bytes | Any, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", servers[0].server_port, timeout=60)
        connection.request("POST", "/", body if isinstance(body, bytes) else json.dumps(body), headers or {})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    yield ask
    servers[0].shutdown()
    servers[0].server_close()


def sent(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def test_it_says_what_the_model_says(folder: Path, ask: Ask) -> None:
    named = {"photo": str(folder / "1.png"), "sound": str(folder / "1.wav"), "note": "red", "size": 3}
    status, said = ask([{**named, **{name: sent(Path(named[name])) for name in ("photo", "sound")}}, {"note": "a"}])
    assert status == 200
    assert said == json.loads(json.dumps(Model(folder / "model.onnx").predict([named, {"note": "a"}])))
    url = "data:image/png;base64," + sent(folder / "1.png")
    assert ask([{"photo": url}]) == ask([{"photo": sent(folder / "1.png")}])
    assert ask([]) == (200, [])


def test_it_opens_no_file_of_its_own_machine(folder: Path, ask: Ask) -> None:
    """Not one that is there, nor does it say whether one is."""
    told = set()
    for name in ("photo", "sound"):
        for path in (str(folder / "1.png"), str(folder / "1.wav"), "/etc/passwd", "/etc/nothing-there", "1.png"):
            for cell in (path, {"path": path, "bytes": None}, [path, 8000], f"file://{path}"):
                status, said = ask([{name: cell}])
                assert status == 422 and "base64" in said["error"], (cell, said)
                told.add(said["error"].replace(name, ""))
    assert len(told) == 2, told  # of texts, and of what is none
    assert ask([{"photo": "/etc/passwdd"}])[0] == 422  # good base64, and no picture


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b"[" * 100_000, 400),
        (b"[" * 101 + b"]" * 101, 400),
        (b"[" + b"9" * 9_000 + b"]", 400),
        (b"[1]", 422),
        (b"1", 422),
        (b"null", 422),
        (b'"note"', 422),
        (b'["note"]', 422),
        (b"[[]]", 422),
        (b"{}", 422),
        (b'{"note": "red"}', 422),
        (b"[{}]", 422),
        (b'[{"note": null}]', 422),
        (b'[{"note": "red"}, 1]', 422),
        (b'[{"size": "big"}]', 422),
        (b'[{"size": 1e999}]', 422),
        (b'[{"size": {"a": [1]}}]', 422),
        (b'[{"note": [1]}]', 422),
        (b'[{"note": "\\ud800"}]', 422),
        (b'[{"photo": 3}]', 422),
        (b'[{"photo": ""}]', 422),
        (b'[{"sound": [[0.1, 0.2], 8000]}]', 422),
    ],
)
def test_what_is_no_request_is_told(ask: Ask, body: bytes, status: int) -> None:
    got, said = ask(body)
    assert got == status and said["error"], said
    assert ask([{"note": "red"}])[0] == 200


@pytest.mark.parametrize("length", ["", "-1", "1e3", "x", "9" * 9, "9" * 9_000, None])
def test_a_length_that_is_none_is_told(ask: Ask, length: str | None) -> None:
    headers = {"Transfer-Encoding": "chunked"} if length is None else {"Content-Length": length}
    assert ask(b"", headers)[0] == 413
    assert ask([{"note": "red"}])[0] == 200


def test_rows_are_rows_from_python_too(folder: Path) -> None:
    model = Model(folder / "model.onnx")
    rows: Any
    for rows, why in (
        ({"note": "red"}, "rows are a list"),
        ("note", "rows are a list"),
        (["a"], "row 1: is no object"),
    ):
        with pytest.raises(DataError, match=why):
            model.predict(rows)
    assert model.predict(np.array([{"note": "red"}], object)) == model.predict([{"note": "red"}])  # type: ignore[arg-type]


def test_a_mistyped_way_of_giving_files_opens_none(folder: Path) -> None:
    with pytest.raises(ValueError, match="files: 'send' is neither"):
        Model(folder / "model.onnx", files="send")  # type: ignore[arg-type]
