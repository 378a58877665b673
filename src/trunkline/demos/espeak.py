"""Words spoken offline by espeak-ng, through ctypes.

The library and its voices come with the package `espeakng-loader`: GPL-3, so an optional extra, loaded at run
time and only when something is to be said.

espeak-ng cannot say the same thing twice: the flutter of its pitch runs on from one utterance to the next, there is
no call that winds it back, and initialising again does not. What can be repeated is the whole list, from the first
utterance of a fresh process on; `synthesize_all` does that.
"""

from __future__ import annotations

import ctypes
import functools
import io
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from trunkline.demos.extras import load_extra
from trunkline.errors import ConfigError

RATES = range(80, 451)  # words a minute
PITCHES = range(100)

# The constants of espeak-ng's speak_lib.h.
_SYNCHRONOUS = 2
_DONT_EXIT = 0x8000
_RATE = 1
_PITCH = 3
_POSITION_CHARACTER = 1
_CHARS_UTF8 = 1
_OK = 0

_chunks: list[bytes] = []


class Utterance(NamedTuple):
    """What is said, and how.

    Attributes:
        text: what is said; numerals are read out in the language of the voice.
        voice: a voice of espeak-ng, usually a language: `en`, `de`, `fr`, …
        variant: who speaks: `m1` … `m8`, `f1` … `f5`, and more in the package's folder `voices/!v`.
        rate: speed in words a minute, 80 to 450.
        pitch: 0 to 99; 50 is the variant's own.
    """

    text: str
    voice: str
    variant: str
    rate: int
    pitch: int


def synthesize(text: str, voice: str, variant: str, rate: int, pitch: int) -> tuple[npt.NDArray[np.int16], int]:
    """Say one text in this process.

    The samples also depend on what this process has said before; use `synthesize_all` where that matters.

    Returns:
        The samples, and how many of them make a second.

    Raises:
        ConfigError: espeak-ng is missing or cannot be started.
        ValueError: there is no such voice or variant, or the speed or pitch is out of range.
    """
    library, samples_per_second, data = _start()
    _check(Utterance(text, voice, variant, rate, pitch), data)
    if library.espeak_SetVoiceByName(f"{voice}+{variant}".encode()) != _OK:
        raise ValueError(f"espeak-ng has no voice {voice!r}; 'en', 'de', 'fr' and 'es' are some that it has")
    library.espeak_SetParameter(_RATE, rate, 0)
    library.espeak_SetParameter(_PITCH, pitch, 0)
    library.espeak_ng_SetRandSeed(0)  # seeded with the time of day otherwise

    _chunks.clear()
    said = text.encode()
    status = library.espeak_Synth(said, len(said) + 1, 0, _POSITION_CHARACTER, 0, _CHARS_UTF8, None, None)
    assert status == _OK, f"espeak_Synth returned {status}"
    return np.frombuffer(b"".join(_chunks), dtype=np.int16), samples_per_second


def synthesize_all(utterances: Sequence[Utterance]) -> tuple[list[npt.NDArray[np.int16]], int]:
    """Say a list of texts; the same list gives the same samples every time.

    A fresh interpreter says the whole list: at about a millisecond an utterance there is nothing to win by dividing
    it. It is a plain child process, neither a fork (not on every system, and unsafe beside the threads of PyTorch) nor
    a spawn of `multiprocessing` (which runs the caller's main module again).

    Returns:
        The samples of each utterance, and how many of them make a second.

    Raises:
        ConfigError: espeak-ng is missing or fails.
    """
    load_extra("espeakng_loader", "espeakng-loader")
    command = [sys.executable, "-c", f"from {__name__} import _answer; _answer()"]
    rows = "\n".join("\t".join(map(str, utterance)) for utterance in utterances)
    child = subprocess.run(command, input=rows.encode(), capture_output=True)
    if child.returncode != 0:
        last_line = child.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise ConfigError(f"espeak-ng could not speak (exit status {child.returncode}): {last_line}")
    with np.load(io.BytesIO(child.stdout), allow_pickle=False) as answer:
        return [answer[f"arr_{index}"] for index in range(len(utterances))], int(answer["samples_per_second"])


def _answer() -> None:
    """The child's side of `synthesize_all`: utterances on stdin, an `.npz` of their samples on stdout."""
    clips, samples_per_second = [], 0
    for line in sys.stdin.buffer.read().decode().split("\n"):
        text, voice, variant, rate, pitch = line.split("\t")
        clip, samples_per_second = synthesize(text, voice, variant, int(rate), int(pitch))
        clips.append(clip)
    answer = io.BytesIO()
    np.savez(answer, *clips, samples_per_second=samples_per_second)
    sys.stdout.buffer.write(answer.getvalue())


@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
def _collect(samples, num_samples, events):
    """What espeak-ng calls with every piece of sound; the last piece is a null pointer."""
    if samples:
        _chunks.append(ctypes.string_at(samples, num_samples * ctypes.sizeof(ctypes.c_short)))
    return 0


@functools.cache
def _start() -> tuple[ctypes.CDLL, int, Path]:
    """The library ready to speak, its samples a second, its folder of voices."""
    loader = load_extra("espeakng_loader", "espeakng-loader")
    data = Path(loader.get_data_path())
    try:
        library = ctypes.CDLL(loader.get_library_path())
    except OSError as error:
        raise ConfigError(f"the package 'espeakng-loader' has no library for this system: {error}") from error
    library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
    library.espeak_Synth.argtypes = [
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_uint,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_uint,
        ctypes.c_void_p,
        ctypes.c_void_p,
    ]
    samples_per_second = library.espeak_Initialize(_SYNCHRONOUS, 0, str(data).encode(), _DONT_EXIT)
    if samples_per_second <= 0:
        raise ConfigError(f"espeak-ng did not start with the voices in {data} (a path of 160 characters is too long)")
    library.espeak_SetSynthCallback(_collect)
    return library, samples_per_second, data


def _check(utterance: Utterance, data: Path) -> None:
    # espeak-ng itself takes an unknown variant for none, and bends numbers that are out of range, without a word.
    if not (data / "voices" / "!v" / utterance.variant).is_file():
        raise ValueError(f"espeak-ng has no variant {utterance.variant!r}; 'm1' … 'm8' and 'f1' … 'f5' are some it has")
    if utterance.rate not in RATES or utterance.pitch not in PITCHES:
        raise ValueError(
            f"rate {utterance.rate}, pitch {utterance.pitch}: the rate is {RATES[0]} to {RATES[-1]}, "
            f"the pitch {PITCHES[0]} to {PITCHES[-1]}"
        )
