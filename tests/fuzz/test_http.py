"""Whatever is sent, the server says what is wrong with it, never fails, and answers the next one."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import given
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import negative_data_rejection
from starlette.testclient import TestClient

from fuzzing import ODD_TEXTS, anything, damaged, examples, mutated, tally, texts
from trunkline.data import Table
from trunkline.modalities import Graph, Vector
from trunkline.model import MultiTaskModel
from trunkline.predictor import Predictor
from trunkline.schema import Preprocessing
from trunkline.serving import Limits, make_app
from worlds import inputs, tasks, world

GOOD = {"rows": [{"note": "red"}], "tasks": ["kind"]}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    found = world(tmp_path_factory.mktemp("world"), 24, holes=0.2)
    more = {
        "parts": [f"[{i}, {i % 3}]" for i in range(len(found))],
        "bonds": ['{"nodes": [[1], [2], [3]], "edges": [[0, 1]]}'] * len(found),
    }
    return Table(found.source, {**found.cells, **more}, found.base)


@pytest.fixture(scope="module")
def app(table: Table) -> Any:
    model = MultiTaskModel(inputs={**inputs(), "parts": Vector(length=2), "bonds": Graph()}, tasks=tasks(), width=32)
    predictor = Predictor(model.build(Preprocessing.fit(model.schema(), table, range(24))))
    return make_app(predictor, limits=Limits(megabytes=1.0, rows=8, seconds=30.0))


@pytest.fixture(scope="module")
def client(app: Any) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def held(client: TestClient, target: str, answer: Any) -> None:
    """The answer is one that a server gives on purpose, and the next request gets its own."""
    assert answer.status_code < 500, answer.text[:500]
    if answer.status_code >= 400:
        assert answer.json()["error"], answer.text
    assert "Traceback" not in answer.text and "/src/trunkline" not in answer.text
    tally(target, str(answer.status_code))
    assert client.post("/predict", json=GOOD).status_code == 200


FORM = "multipart/form-data"
# What a form sends is text, whatever it was: a number in the place of a text is none any more when it comes.
UNTYPED = [negative_data_rejection]
MODES = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)


def described_is_held(operation: Any, mode: Any) -> None:
    @examples(25)
    @given(operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        answer = case.call()
        case.validate_response(answer, excluded_checks=UNTYPED if case.media_type == FORM else [])
        tally(f"HTTP: {operation.label} ({mode.value})", str(answer.status_code))

    ask()


def test_the_description_is_true(app: Any, client: TestClient) -> None:
    """What OpenAPI says may be sent, what may not, and what comes back: schemathesis with all of its checks.

    No schema says which bytes are a picture, or how long a vector is: 422 is an answer to what a schema allows, too.
    """
    said = {"checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", "422"]}}}
    described = schemathesis.openapi.from_asgi("/openapi.json", app, config=schemathesis.Config.from_dict(said))

    for found in described.get_all_operations():
        operation = found.ok()
        for mode in MODES if operation.method.upper() == "POST" else MODES[:1]:  # a GET takes nothing that may be wrong
            described_is_held(operation, mode)
    assert client.post("/predict", json=GOOD).status_code == 200


@pytest.fixture(scope="module")
def row(table: Table) -> dict[str, Any]:
    """One with all inputs, as it is sent."""
    found: dict[str, Any] = {"parts": [1, 2], "bonds": {"nodes": [[1], [2]], "edges": [[0, 1]]}}
    for name in inputs():
        found[name] = next(cell for cell in table.column(name) if cell is not None)
    for name in ("photo", "sound"):
        assert table.base is not None
        found[name] = base64.b64encode((table.base / found[name]).read_bytes()).decode()
    return found


def sent_as_json(client: TestClient, target: str, body: Any) -> None:
    content = json.dumps(body).encode()
    held(client, target, client.post("/predict", content=content, headers={"Content-Type": "application/json"}))


@examples(40)
@given(st.data())
def test_json(client: TestClient, row: dict[str, Any], data: st.DataObject) -> None:
    body = data.draw(mutated({"rows": [row, {"note": "a big red", "size": 3}], "tasks": ["kind", "slots"]}))
    sent_as_json(client, "HTTP: JSON", body)


@examples(40)
@given(st.data())
def test_one_cell(client: TestClient, row: dict[str, Any], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(list(row)))
    sent_as_json(client, "HTTP: one cell", {"rows": [{"note": "red", name: data.draw(anything)}]})


@examples(40)
@given(st.data())
def test_damaged_files(client: TestClient, row: dict[str, Any], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(("photo", "sound")))
    content = data.draw(damaged(base64.b64decode(row[name])))
    sent_as_json(client, "HTTP: damaged files", {"rows": [{name: base64.b64encode(content).decode()}]})


KINDS = (
    "application/json",
    "application/json; charset=utf-16",
    "APPLICATION/JSON ",
    "text/plain",
    "",
    ";",
    "multipart/form-data",
    "multipart/form-data; boundary=b",
    "multipart/form-data; boundary=" + "b" * 300,
    'multipart/form-data; boundary="',
    "multipart/mixed; boundary=b",
    "application/x-www-form-urlencoded",
    "application/octet-stream",
    "application/json, text/html",
    "a" * 5_000,
)
BODIES = (
    b"",
    b"{}",
    b"null",
    b"[]",
    b"NaN",
    b'{"rows": [{"note": NaN}]}',
    b'{"rows": [{"size": 1e999}]}',
    b"[" * 200_000,
    b'{"a":' * 100_000,
    b'{"rows": [' + b"[" * 90_000 + b"]" * 90_000 + b"]}",
    b'{"rows": [{"size": ' + b"9" * 500_000 + b"}]}",
    b'{"rows": [{"note": "\\ud800"}]}',
    b'{"rows": [{"note": "red"}], "rows": []}',
    b"\xef\xbb\xbf{}",
    '{"rows": [{"note": "red"}]}'.encode("utf-16"),
    b"--b\r\n\r\n",
    b'--b\r\nContent-Disposition: form-data; name="note"\r\n\r\nred\r\n--b--\r\n',
    b"--b--\r\n",
    b" " * 999_999,
    b"x" * 1_000_001,
    b'--b\r\nContent-Disposition: form-data; name="photo"; filename="../../x\x00"\r\n\r\n\xff\r\n--b--\r\n',
)


@examples(60)
@given(
    st.sampled_from(KINDS) | st.text(st.characters(codec="ascii", categories=("L", "N", "P")), max_size=20),
    st.sampled_from(BODIES) | st.binary(max_size=80) | st.sampled_from(BODIES).flatmap(damaged),
)
def test_raw_bodies(client: TestClient, kind: str, body: bytes) -> None:
    held(client, "HTTP: raw bodies", client.post("/predict", content=body, headers={"Content-Type": kind}))


NAMES = st.sampled_from(("note", "photo", "sound", "size", "shop", "parts", "bonds", "rows")) | texts


@examples(40)
@given(
    st.lists(
        st.tuples(NAMES, texts, st.binary(max_size=40) | texts.map(lambda text: text.encode("utf-8", "replace"))),
        max_size=4,
    ),
    st.dictionaries(NAMES, texts, max_size=3),
)
def test_forms(client: TestClient, files: list[tuple[str, str, bytes]], fields: dict[str, str]) -> None:
    def plain(text: str) -> str:
        return text.encode("utf-8", "replace").decode()

    uploads = [(plain(name), (plain(file), content)) for name, file, content in files]
    written = {plain(name): plain(text) for name, text in fields.items()}
    held(client, "HTTP: forms", client.post("/predict", files=uploads, data=written))


@examples(40)
@given(
    st.sampled_from(("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "BREW")),
    st.sampled_from(
        (
            "/",
            "/predict",
            "/health",
            "/metrics",
            "/openapi.json",
            "/../../etc/passwd",
            "/%2e%2e/x",
            "/predict/",
            "//x",
            "/static/x",
        )
    )
    | st.text(st.characters(codec="ascii", categories=("L", "N", "P")), max_size=12).map(lambda text: f"/{text}"),
    st.dictionaries(
        st.sampled_from(
            (
                "Origin",
                "Host",
                "Accept",
                "Range",
                "Cookie",
                "X-Forwarded-For",
                "Content-Length",
                "Expect",
                "Accept-Encoding",
            )
        ),
        st.sampled_from(
            (
                "",
                "*",
                "null",
                "-1",
                "http://x",
                "a" * 60_000,
                "bytes=0-",
                "\x7f",
                "localhost:99999999",
                "é".encode("latin-1").decode("latin-1"),
            )
        )
        | st.text(st.characters(codec="latin-1", exclude_categories=("C",)), max_size=20),
        max_size=3,
    ),
)
def test_methods_paths_and_headers(client: TestClient, method: str, path: str, headers: dict[str, str]) -> None:
    sent = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
    answer = client.request(method, "http://testserver" + path, headers=sent)
    assert answer.status_code < 500 and "Traceback" not in answer.text
    tally("HTTP: methods, paths and headers", str(answer.status_code))
    assert client.post("/predict", json=GOOD).status_code == 200


def test_odd_texts_in_every_input(client: TestClient, row: dict[str, Any]) -> None:
    for text in ODD_TEXTS:
        for name in row:
            content = json.dumps({"rows": [{name: text}], "tasks": ["kind"]})
            answer = client.post("/predict", content=content, headers={"Content-Type": "application/json"})
            assert answer.status_code in (200, 422), answer.text
            tally("HTTP: odd texts", str(answer.status_code))
        sent_as_json(client, "HTTP: odd texts", {"rows": [{text: 1}], "tasks": [text], text: text})
