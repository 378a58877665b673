"""Sounds as every kind of input and task knows them: read, as log-mel frames, and back."""

from trunkline.arrays.mel import RANGE, band_edges
from trunkline.arrays.sounds import RATE, Sound, check_sound, choose_rate, is_cut, read_sound
from trunkline.arrays.vocoder import waves_of
from trunkline.sounds.mel import Spectrum, show_sound
from trunkline.sounds.pitch import pitch_of

__all__ = [
    "RANGE",
    "RATE",
    "Sound",
    "Spectrum",
    "band_edges",
    "check_sound",
    "choose_rate",
    "is_cut",
    "pitch_of",
    "read_sound",
    "show_sound",
    "waves_of",
]
