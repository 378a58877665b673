"""Freed memory stays with a process that trains."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
from trunkline.training.memory import keep_memory
torch.set_num_threads(1)
if sys.argv[1] == "kept":
    assert keep_memory()

def work():
    for _ in range(20):
        torch.ones(20_000_000).sum()

work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_what_is_freed_is_taken_again() -> None:
    """Pages are cleared once, not anew for each of 20 tensors of 80 MB."""

    def faults(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert 10 * faults("kept") < faults("given back")


PIECES = """
import torch
from trunkline.training.memory import give_back, keep_memory

def held():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20

assert keep_memory()
tensors = [torch.ones(250_000) for _ in range(400)]  # 400 MB
kept = tensors[::40]
del tensors
before = held()
assert give_back()
print(before - held())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_what_a_run_has_kept_is_given_back_also_between_what_lives() -> None:
    done = subprocess.run([sys.executable, "-c", PIECES], capture_output=True, text=True, check=True)
    assert float(done.stdout) > 300


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from trunkline.training import memory

    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert memory.keep_memory() is False and memory.give_back() is False
