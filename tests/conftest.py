"""One thread, no hub, and small tables for everyone."""

from __future__ import annotations

import os
import signal

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["TRUNKLINE_PACKAGED"] = "off"  # what is installed decides no test; processes that tests start inherit it

import pytest
import torch

# What is started in the background by a script is deaf to Ctrl-C, and so would be all that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--data", default=os.environ.get("TRUNKLINE_DATA"), help="folder of real data sets")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
