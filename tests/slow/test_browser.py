"""The page to try a run, and a run's report, in a browser: what is given is answered and drawn, on any screen.

Needs the extra `browser`, and Chromium of the machine or of `playwright install chromium`.
"""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from PIL import Image as Picture

from trunkline import fit
from trunkline.data import read_table, write_rows
from trunkline.run import Run
from trunkline.serving import make_app
from worlds import write_world

pytestmark = pytest.mark.slow
playwright = pytest.importorskip("playwright.sync_api", reason="the extra `browser` is not installed")

REFUSED = "422 (Unprocessable Entity)"  # which the page tells, and Chromium, too
SCREENS = [(1280, "light"), (420, "dark")]
PATIENCE = 300  # seconds: other work may hold a page up
TASKS = {
    "kind": "category",
    "price": "number",
    "marks": "labels",
    "area": {"type": "mask", "of": "photo"},
    "slots": {"type": "tags", "of": "note"},
    "german": {"type": "text", "of": "note", "max_length": 6},
    "things": {"type": "boxes", "of": "photo"},
    "said": {"type": "speech", "of": "note"},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A network of every kind of answer, hardly trained."""
    folder = tmp_path_factory.mktemp("world")
    table = read_table(write_world(folder, 40, holes=0.0))
    rows = [{**table.row(n), "said": table.row(n)["sound"]} for n in range(len(table))]
    for row in rows:
        down, right = np.nonzero(np.asarray(Picture.open(folder / row["area"])))
        edges = [int(right.min()), int(down.min()), int(right.max()) + 1, int(down.max()) + 1]
        row["things"] = [{"box": edges, "label": row["kind"]}]
    write_rows(folder / "rows.jsonl", rows)
    inputs = {"photo": {"type": "image", "size": 32}, "sound": "audio", "note": "text", "size": "number"}
    config = {
        "data": {"train": str(folder / "rows.jsonl"), "validation": 0.2, "test": 0.2},
        "inputs": inputs, "tasks": TASKS, "width": 16,
        "training": {"steps": 4, "batch_size": 8, "threads": 1, "validations": 2},
    }  # fmt: skip
    return fit(config, out=folder / "run", show_progress=False)


@pytest.fixture(scope="module")
def address(run: Run) -> Iterator[str]:
    """Where it answers."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(make_app(run.predictor, name="world"), log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.05)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    own = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with playwright.sync_playwright() as play:
        if own is None and not Path(play.chromium.executable_path).exists():
            pytest.skip("no Chromium here")
        browser = play.chromium.launch(executable_path=own, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser: Any, address: str, width: int, scheme: str) -> Iterator[Any]:
    """A page that says nothing on its console, asks nobody but its own server, and is no wider than its screen."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.set_default_timeout(1000 * PATIENCE)
    said: list[str] = []
    page.on("console", lambda message: None if REFUSED in message.text else said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda one: None if one.url.startswith((address, "data:", "blob:")) else said.append(one.url))
    page.goto(address)
    yield page
    wide = page.evaluate("document.documentElement.scrollWidth")
    page.close()
    assert said == [] and wide <= width


def until(page: Any, is_so: str) -> None:
    """`wait_for_function` makes code of text, which the page's own policy forbids."""
    end = time.monotonic() + PATIENCE
    while not page.evaluate(is_so):
        assert time.monotonic() < end, is_so
        page.wait_for_timeout(50)


def ask(page: Any) -> dict[str, str]:
    """What the page shows after a click, by task; what else it says under ''."""
    page.click("button[type=submit]")
    page.wait_for_selector("button[type=submit]:not([disabled])")
    page.wait_for_selector("#answers .card")
    found = {}
    for card in page.query_selector_all("#answers .card"):
        title = card.query_selector("h2")
        found["" if title is None else title.inner_text().split()[0]] = card.inner_text()
    return found


@pytest.mark.parametrize(("width", "scheme"), SCREENS)
def test_what_is_given_is_answered(run: Run, browser: Any, address: str, width: int, scheme: str) -> None:
    with opened(browser, address, width, scheme) as page:
        page.fill("textarea[name=note]", "a big red")
        said = ask(page)
        assert {"kind", "price", "marks", "slots", "german", "said"} <= said.keys()
        assert "area" in said[""] and "things" in said[""], "what no picture was given for has no answer"
        (predicted,) = run.predictor.predict([{"note": "a big red"}])
        assert predicted["kind"]["value"] in said["kind"]
        until(page, "document.querySelector('audio').duration > 0")


@pytest.mark.parametrize(("width", "scheme"), SCREENS)
def test_a_picture_is_shown_with_what_is_in_it(run: Run, browser: Any, address: str, width: int, scheme: str) -> None:
    photo = run.folder.parent / "3.png"
    with opened(browser, address, width, scheme) as page:
        page.set_input_files("input[type=file][accept^=image]", photo)
        said = ask(page)
        assert {"kind", "area", "things"} <= said.keys() and "german" in said[""]
        (predicted,) = run.predictor.predict([{"photo": str(photo)}])
        until(page, "[...document.querySelectorAll('canvas')].every(one => one.width > 0)")
        lowest = page.query_selector("input[type=range]")
        lowest.evaluate("one => { one.value = 0; one.dispatchEvent(new Event('input')); }")
        counts = page.query_selector(".score small").inner_text()
        for label in {one["label"] for one in predicted["things"]}:
            assert f"{sum(one['label'] == label for one in predicted['things'])} × {label}" in counts
        lowest.evaluate("one => { one.value = 1; one.dispatchEvent(new Event('input')); }")
        assert "from a score of 1.00 on: none" in page.query_selector(".score small").inner_text()
        drawn = "one => new Set(one.getContext('2d').getImageData(0, 0, one.width, one.height).data).size"
        shown = next(card for card in page.query_selector_all(".answer") if card.inner_text().startswith("things"))
        assert shown.query_selector("canvas").evaluate(drawn) >= 40, "the picture itself"
        assert shown.query_selector("canvas").bounding_box()["width"] == pytest.approx(240), "enlarged"


def test_what_cannot_be_used_is_told(run: Run, browser: Any, address: str) -> None:
    with opened(browser, address, 420, "light") as page:
        assert ask(page) == {"": "Nothing is given yet: one input is enough."}
        page.fill("input[name=size]", "much")
        assert "'much' is not a number" in ask(page)[""]


@pytest.mark.parametrize(("width", "scheme"), SCREENS)
def test_a_report_opens_alone(run: Run, browser: Any, width: int, scheme: str) -> None:
    with opened(browser, (run.folder / "report.html").as_uri(), width, scheme) as page:
        assert page.query_selector("h1") is not None
        text = page.inner_text("body")
        assert all(task in text for task in TASKS)
        assert page.evaluate("[...document.images].every(one => one.complete && one.naturalWidth > 0)")
