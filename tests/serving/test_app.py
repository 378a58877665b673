"""A network behind HTTP: what it answers is what the predictor says, and what cannot be used is told in plain words."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import math
import re
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Picture
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from trunkline import ConfigError, DataError, RunError, fit
from trunkline.data import Table, write_rows
from trunkline.modalities import Audio, Image
from trunkline.model import MultiTaskModel
from trunkline.predictor import Predictor
from trunkline.run import serve, serving
from trunkline.schema import Preprocessing
from trunkline.serving import Limits, make_app
from trunkline.serving.answers import as_json
from trunkline.serving.cells import Reader
from worlds import inputs, schema, tasks, world

FILES = ("photo", "sound")
INPUTS = (*FILES, "note", "size", "shop")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    return world(tmp_path_factory.mktemp("world"), 24)


@pytest.fixture(scope="module")
def predictor(table: Table) -> Predictor:
    preprocessing = Preprocessing.fit(schema(), table, range(24))
    model = MultiTaskModel(inputs(), tasks(), width=32)
    return Predictor(model.build(preprocessing))


@pytest.fixture(scope="module")
def client(predictor: Predictor) -> Iterator[TestClient]:
    with TestClient(make_app(predictor, name="<world>", limits=Limits(megabytes=1.0, rows=32))) as client:
        yield client


def cells(table: Table, row: int) -> dict[str, Any]:
    """What a caller sends: files in base64."""
    found = {name: table.cell(row, name) for name in INPUTS}
    sent = {name: value for name, value in found.items() if value is not None}
    return {name: content(table, value) if name in FILES else value for name, value in sent.items()}


def content(table: Table, path: str) -> str:
    assert table.base is not None
    return base64.b64encode((table.base / path).read_bytes()).decode()


def ask(client: TestClient, body: Any) -> Any:
    answer = client.post("/predict", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"]


def near(one: Any, other: Any) -> bool:
    """The same but for what another batch does to a float."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(near(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(near, one, other))
    return one == pytest.approx(other, rel=1e-3, abs=1e-4) if isinstance(one, float) else one == other


def test_it_says_what_the_predictor_says(client: TestClient, predictor: Predictor, table: Table) -> None:
    said = ask(client, {"rows": [cells(table, row) for row in range(8)]})
    expected = json.loads(json.dumps(as_json(predictor.predict(table, range(8)))))
    for ours, theirs in zip(said, expected, strict=True):
        ours.pop("height"), theirs.pop("height")  # floats in a file
        assert near(ours, theirs)


def test_a_form_is_a_row(client: TestClient, table: Table) -> None:
    row = next(row for row in range(24) if {"photo", "note"} <= cells(table, row).keys())
    sent = cells(table, row)
    files = {name: (f"x.{name}", base64.b64decode(sent[name])) for name in FILES if name in sent}
    fields = {name: str(value) for name, value in sent.items() if name not in FILES}
    answer = client.post("/predict", files=files, data={**fields, "size": fields.get("size", "")})
    assert answer.status_code == 200, answer.text
    (one,), (other,) = answer.json()["predictions"], ask(client, {"rows": [sent]})
    assert near({**one, "height": None}, {**other, "height": None})


def test_any_inputs_may_be_absent_and_some_tasks_may_be_asked_for(client: TestClient) -> None:
    (said,) = ask(client, {"rows": [{"note": "a big red", "photo": None}], "tasks": ["kind", "slots", "area"]})
    assert set(said) == {"kind", "slots", "area"}
    assert said["area"] is None and len(said["slots"]) == 3
    assert said["kind"]["value"] in ("red", "green", "blue")


def test_files_come_back_in_base64(client: TestClient, table: Table) -> None:
    row = next(row for row in range(24) if "photo" in cells(table, row))
    (said,) = ask(client, {"rows": [cells(table, row)], "tasks": ["area", "height"]})
    assert said["area"]["mime"] == "image/png"
    with Picture.open(io.BytesIO(base64.b64decode(said["area"]["base64"]))) as mask:
        assert mask.size == (16, 16)
    depth = np.load(io.BytesIO(base64.b64decode(said["height"]["base64"])), allow_pickle=False)
    assert depth.shape[:2] == (16, 16)


@pytest.mark.parametrize(
    ("body", "status", "why"),
    [
        ({"rows": [{"nota": "red"}]}, 422, "row 1: there is no input 'nota'. Did you mean 'note'?"),
        ({"rows": [{"note": "red"}, {}]}, 422, "row 2: has none of the inputs"),
        ({"rows": [{"note": None, "size": None}]}, 422, "row 1: has none of the inputs"),
        ({"rows": [{"size": "wide"}]}, 422, "'wide' is not a number"),
        ({"rows": [{"photo": "photos/1.png"}]}, 422, "a file's content is sent, not its name"),
        ({"rows": [{"photo": "/etc/passwdd"}]}, 422, "photo"),  # good base64, and no picture
        ({"rows": [{"photo": {"path": "/etc/passwd", "bytes": None}}]}, 422, "a file is sent as base64"),
        ({"rows": [{"sound": base64.b64encode(b"RIFF").decode()}]}, 422, "sound"),
        ({"rows": [{"note": "red"}], "tasks": ["kinds"]}, 422, "there is no task 'kinds'. Did you mean 'kind'?"),
        ({"rows": [{"note": "red"}], "tasks": "kind"}, 422, "`tasks` is a list of names"),
        ({"rows": []}, 422, "a request has 1 to 32 rows, this one 0"),
        ({"rows": [{"note": "red"}] * 33}, 422, "a request has 1 to 32 rows, this one 33"),
        ({"rows": ["red"]}, 422, "row 1: is no object of columns and values"),
        ([{"note": "red"}], 422, "a request is {"),
        ({"rows": [{"note": "red"}], "task": ["kind"]}, 422, "there is no 'task'. Did you mean 'tasks'?"),
        ({"rows": [{"n" * 3_000: 1}]}, 422, "there is no input"),
        ({"rows": [{"note": "a" * 20_001}]}, 422, "has more than 20000 letters or parts"),
        ({"rows": [{"note": [[[0] * 9_000] * 3]}]}, 422, "has more than 20000 letters or parts"),
    ],
)
def test_what_cannot_be_used_is_said(client: TestClient, body: Any, status: int, why: str) -> None:
    answer = client.post("/predict", json=body)
    assert (answer.status_code, why in answer.json()["error"]) == (status, True), answer.text
    assert "Traceback" not in answer.text


def test_what_is_no_request_is_refused(client: TestClient) -> None:
    for content, kind, status in (
        (b"{", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"x", "text/plain", 415),
        (b"x", "multipart/form-data", 400),
        (b"x", "multipart/form-data; boundary=b", 400),
        (b" " * 1_100_000, "application/json", 413),
    ):
        answer = client.post("/predict", content=content, headers={"Content-Type": kind})
        assert answer.status_code == status and answer.json()["error"], (content[:9], answer.text)
    assert client.get("/predict").status_code == 405
    assert client.get("/nowhere").json() == {"error": "Not Found"}


def test_one_bad_request_spoils_no_other(client: TestClient) -> None:
    bodies = [{"rows": [{"note": "red"} if i % 5 else {"size": "wide"}]} for i in range(20)]
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda body: client.post("/predict", json=body), bodies))
    assert [answer.status_code for answer in answers] == [200 if i % 5 else 422 for i in range(20)]
    alone = ask(client, bodies[1])
    assert all(near(answer.json()["predictions"], alone) for i, answer in enumerate(answers) if i % 5)


def test_whoever_watches_is_told(client: TestClient) -> None:
    ask(client, {"rows": [{"note": "red"}, {"note": "blue"}]})
    client.post("/predict", json={"rows": []})
    told = dict(line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if not line.startswith("#"))
    assert float(told['trunkline_requests_total{status="200"}']) >= 1 and float(told["trunkline_rows_total"]) >= 2
    assert float(told['trunkline_requests_total{status="422"}']) >= 1
    assert told['trunkline_request_seconds_bucket{le="+Inf"}'] == told["trunkline_request_seconds_count"]
    assert told["trunkline_rows_waiting"] == "0"
    health = client.get("/health").json()
    assert health["status"] == "ok" and [task["name"] for task in health["tasks"]][:2] == ["kind", "loud"]


def test_programs_and_people_are_told_what_to_send(client: TestClient) -> None:
    told = client.get("/openapi.json").json()
    body = told["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    row = body["properties"]["rows"]
    assert set(row["items"]["properties"]) == set(INPUTS) and row["maxItems"] == 32
    assert row["items"]["properties"]["photo"]["contentEncoding"] == "base64"
    assert row["items"]["anyOf"][0]["properties"] == {"photo": {"not": {"type": "null"}}}  # not all of them absent
    said = told["paths"]["/predict"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    kinds = {name: one["type"][0] for name, one in said["properties"]["predictions"]["items"]["properties"].items()}
    assert (kinds["kind"], kinds["slots"], kinds["german"], kinds["area"]) == ("object", "array", "string", "object")
    page = client.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    about = page.text.split("const about = ")[1].split(";\n")[0]
    assert "<" not in about and json.loads(about)["name"] == "<world>"
    (shop,) = (one for one in json.loads(about)["inputs"] if one["column"] == "shop")
    assert set(shop["choices"]) <= {"red", "green", "blue", "other"} and shop["choices"]


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
ANYTHING = st.recursive(PLAIN, lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=5), x, max_size=3))
ROW = st.dictionaries(st.sampled_from([*INPUTS, "else"]), ANYTHING, max_size=4)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.fixed_dictionaries({"rows": st.lists(ROW | ANYTHING, max_size=3)}, optional={"tasks": ANYTHING}) | ANYTHING)
def test_nothing_that_is_sent_is_the_servers_fault(client: TestClient, body: Any) -> None:
    answer = client.post("/predict", content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert answer.status_code in (200, 400, 422), (body, answer.text)


def test_paths_of_the_server_stay_its_own(client: TestClient, table: Table, tmp_path: Path) -> None:
    """Not even the path of a picture that is there."""
    Picture.new("RGB", (16, 16)).save(tmp_path / "here.png")
    for cell in (str(tmp_path / "here.png"), "file://" + str(tmp_path / "here.png")):
        assert client.post("/predict", json={"rows": [{"photo": cell}]}).status_code == 422


def picture(side: int, kind: str = "PNG", mode: str = "1") -> str:
    out = io.BytesIO()
    Picture.new(mode, (side, side)).save(out, kind)
    return base64.b64encode(out.getvalue()).decode()


def test_what_would_take_long_is_refused_before_it_is_read(client: TestClient) -> None:
    """A small file of many pixels, alone or in many rows; a small file of many samples."""
    for rows, why in (
        ([{"photo": picture(6000)}], "36 million pixels, over 25 million"),
        ([{"photo": picture(2000)}] * 8, "row 7, 'photo': with it the request has 28 million pixels"),
        ([{"photo": picture(16, "EPS", "L")}], "is not a picture (or of a format that is none of PNG"),
        ([{"photo": picture(16)[:40]}], "photo"),
    ):
        answer = client.post("/predict", json={"rows": rows})
        assert answer.status_code == 422 and why in answer.json()["error"], answer.text
    out = io.BytesIO()
    soundfile.write(out, np.zeros((7_000_000, 8), np.int16), 8000, format="FLAC")
    assert len(out.getvalue()) < 700_000
    answer = client.post("/predict", json={"rows": [{"sound": base64.b64encode(out.getvalue()).decode()}]})
    assert answer.status_code == 422 and "56 million samples" in answer.json()["error"]


def test_what_would_grow_is_counted_as_it_will_be(client: TestClient, predictor: Predictor) -> None:
    """A thin picture that is laid into a large frame, and a sound whose header says that it is slow."""
    preprocessing, out = predictor.preprocessing, io.BytesIO()
    Picture.new("1", (20_000, 1)).save(out, "PNG")
    row = {"photo": base64.b64encode(out.getvalue()).decode()}
    photo, sound = (preprocessing.schema.inputs[name].modality for name in FILES)
    assert isinstance(photo, Image) and isinstance(sound, Audio)
    reader = Reader(preprocessing, Limits())
    reader.row(row, "row 1")
    assert reader.pixels == 20_000
    letterbox = Reader(preprocessing, Limits())
    letterbox.kinds["photo"] = Image(aspect="letterbox")
    with pytest.raises(DataError, match="row 1, 'photo': with it the request has 400 million pixels"):
        letterbox.row(row, "row 1")
    for seconds, samples in ((math.inf, 400 * sound.cells.rate), (30.0, 30 * sound.cells.rate)):
        reader = Reader(preprocessing, Limits())
        reader.kinds["sound"] = Audio(sound.cells.rate, max_seconds=seconds)
        reader.row({"sound": slow_sound(10)}, "row 1")
        assert reader.samples == max(4_000, samples)


def slow_sound(rate: int) -> str:
    out = io.BytesIO()
    soundfile.write(out, np.full(4_000, 0.1), rate, format="WAV", subtype="PCM_U8")
    return base64.b64encode(out.getvalue()).decode()


@pytest.mark.parametrize("rate", [1, 9, 10_000_001, 2**31 - 1])
def test_a_sound_that_no_recorder_makes_is_refused(client: TestClient, rate: int) -> None:
    answer = client.post("/predict", json={"rows": [{"sound": slow_sound(rate)}]})
    assert answer.status_code == 422 and f"{rate} is not a sample rate" in answer.json()["error"]


class Caller:
    """Sends a request in pieces, as ASGI knows them."""

    def __init__(self, app: Any) -> None:
        self.pieces: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.status, self.headers = 0, dict[bytes, bytes]()
        sent = [(b"content-type", b"application/json"), (b"host", b"x")]
        scope = {"type": "http", "method": "POST", "path": "/predict", "headers": sent, "query_string": b""}
        self.task = asyncio.ensure_future(app(scope, self.pieces.get, self.answered))

    async def answered(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], dict(message["headers"])

    async def send(self, body: bytes, *, more: bool = True) -> None:
        """A piece, and time for it to arrive."""
        self.pieces.put_nowait({"type": "http.request", "body": body, "more_body": more})
        for _ in range(20):
            await asyncio.sleep(0)


@pytest.mark.parametrize("end", ["answered", "refused", "gone", "too long", "too late"])
def test_what_is_being_sent_is_bounded_for_all_together(predictor: Predictor, end: str) -> None:
    """However a request ends, there is room for the next one."""
    app = make_app(
        predictor, limits=Limits(megabytes=1.0, waiting_megabytes=1.5, seconds=1.0 if end == "too late" else 60)
    )
    good, blank = b'{"rows": [{"note": "red"}]}', b" " * 900_000

    async def ask() -> None:
        first, second = Caller(app), Caller(app)
        await first.send(blank)
        await second.send(blank)
        assert (first.status, second.status) == (0, 503) and second.headers[b"retry-after"] == b"1"
        match end:
            case "answered":
                await first.send(good, more=False)
            case "refused":
                await first.send(b"{", more=False)
            case "gone":
                first.pieces.put_nowait({"type": "http.disconnect"})
            case "too long":
                await first.send(blank)
        await asyncio.wait_for(first.task, 60)
        ends = {"answered": 200, "refused": 400, "gone": 499, "too long": 413, "too late": 504}
        assert first.status == ends[end]
        for _ in range(3):
            last = Caller(app)
            await last.send(blank)
            await last.send(good, more=False)
            await asyncio.wait_for(last.task, 60)
            assert last.status == 200

    asyncio.run(ask())


def test_a_large_request_is_answered_though_less_may_wait(predictor: Predictor) -> None:
    with TestClient(make_app(predictor, limits=Limits(megabytes=1.0, waiting_megabytes=0.1))) as client:
        body = b'{"rows": [{"note": "red"}]}' + b" " * 900_000
        answer = client.post("/predict", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 200


def test_odd_bytes_and_endless_digits_are_the_callers(client: TestClient) -> None:
    exif = bytearray(base64.b64decode(picture(16, "PNG", "L")))
    chunk = b"eXIf" + b"II*\x00"
    exif[33:33] = (4).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")  # behind the header
    for row in ({"shop": "1" * 5000 + ".0"}, {"photo": base64.b64encode(bytes(exif)).decode()}, {"size": "9" * 9000}):
        answer = client.post("/predict", json={"rows": [row]})
        assert answer.status_code in (200, 422), answer.text


def test_pages_of_other_sites_may_not_ask(predictor: Predictor) -> None:
    body = {"rows": [{"note": "red"}]}
    with TestClient(make_app(predictor, hosts=["localhost"]), base_url="http://localhost:8000") as client:
        assert client.post("/predict", json=body).status_code == 200
        assert client.post("/predict", json=body, headers={"Origin": "http://localhost:8000"}).status_code == 200
        assert client.post("/predict", json=body, headers={"Origin": "http://evil.example"}).status_code == 403
        assert client.post("/predict", json=body, headers={"Origin": "null"}).status_code == 403
        assert client.get("/health", headers={"Host": "evil.example"}).status_code == 400


@pytest.mark.parametrize(
    ("host", "names", "allowed", "refused"),
    [
        ("127.0.0.1", [], ["localhost:8000", "127.0.0.1"], ["models.example"]),
        ("127.0.0.1", ["models.example"], ["localhost", "models.example"], ["evil.example"]),
        ("0.0.0.0", ["*.example"], ["127.0.0.1", "models.example"], ["evil.com"]),
        ("127.0.0.2", ["models.example"], ["127.0.0.2:8000", "models.example"], ["evil.example"]),
        ("0.0.0.0", ["[fd00::1]"], ["[fd00::1]:8000"], ["[fd00::2]"]),
        ("0.0.0.0", [], ["models.example"], []),
    ],
)
def test_who_may_call_it_by_which_name(
    predictor: Predictor,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    names: list[str],
    allowed: list[str],
    refused: list[str],
) -> None:
    """As it is served: with a name allowed, its own page behind another server may ask, too."""
    found: list[Any] = []
    monkeypatch.setattr(serving, "load", lambda *_, **__: predictor)
    monkeypatch.setattr(
        "uvicorn.Server.run", lambda server, sockets: (found.append(server.config.app), sockets[0].close())
    )
    serve("run", host=host, port=0, hosts=names)
    with TestClient(found[0]) as client:
        for name in allowed:
            headers = {"Host": name, "Origin": f"https://{name}"}
            assert client.post("/predict", json={"rows": [{"note": "red"}]}, headers=headers).status_code == 200
        for name in refused:
            assert client.get("/health", headers={"Host": name}).status_code == 400


@pytest.mark.parametrize("name", ["https://models.example", "models.example:8443", "a.example,b.com", "models.*", ""])
def test_an_allowed_host_that_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"--allow-host {re.escape(repr(name))} is no name"):
        serve("run", hosts=[name])


def test_it_can_be_mounted(predictor: Predictor) -> None:
    """Where nobody tells it that the server has started."""
    with TestClient(Starlette(routes=[Mount("/run", make_app(predictor))])) as client:
        assert client.post("/run/predict", json={"rows": [{"note": "red"}]}).status_code == 200


def test_a_fault_of_the_servers_is_told_to_its_log_alone(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("secret")

    with TestClient(make_app(predictor), raise_server_exceptions=False) as client:
        monkeypatch.setattr(predictor, "answers", fail)
        answer = client.post("/predict", json={"rows": [{"note": "red"}]})
        assert answer.status_code == 500 and "secret" not in answer.text
        assert "secret" in caplog.text and "in fail" in caplog.text  # with the line that raised it
        monkeypatch.undo()
        assert client.post("/predict", json={"rows": [{"note": "red"}]}).status_code == 200
        assert 'status="500"} 1' in client.get("/metrics").text


def test_who_waits_too_long_and_who_comes_too_late(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = predictor.answers

    def slow(*arguments: Any) -> Any:
        time.sleep(0.6)
        return plain(*arguments)

    monkeypatch.setattr(predictor, "answers", slow)
    limits = Limits(seconds=0.3, waiting=1)
    with TestClient(make_app(predictor, limits=limits)) as client, ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(client.post, "/predict", json={"rows": [{"note": "red"}]}) for _ in range(2)]
        statuses = sorted(answer.result().status_code for answer in asked)
        assert statuses == [503, 504]


def test_a_run_is_served(predictor: Predictor, tmp_path: Path) -> None:
    """From the command line to an answer, in a process of its own; and a port that is taken is told."""
    write_rows(tmp_path / "rows.jsonl", [{"x": i, "y": i % 2} for i in range(24)])
    run = fit(
        {"data": {"train": str(tmp_path / "rows.jsonl")}, "inputs": {"x": "number"}, "tasks": {"y": "binary"}},
        overrides=["training.steps=2", "training.accelerator=cpu"],
        out=tmp_path / "run",
    )
    command = [sys.executable, "-m", "trunkline", "serve", str(run.folder), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().split()[0]
            answer = httpx.post(f"{address}predict", json={"rows": [{"x": 3}]}, timeout=60)
            assert answer.status_code == 200 and set(answer.json()["predictions"][0]) == {"y"}
            port = address.rstrip("/").rpartition(":")[2]
            with pytest.raises(RunError, match=f"--port {port}: cannot listen there"):
                serve(run.folder, port=int(port))
        finally:
            process.send_signal(signal.SIGINT)
