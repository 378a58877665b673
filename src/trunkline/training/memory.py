"""The memory of a process that trains on a CPU."""

from __future__ import annotations

import ctypes

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # of `mallopt`, in `malloc.h`
MOST = 2**31 - 1


def keep_memory() -> bool:
    """Let what is freed stay with the process, for the next step to take, where the C library is glibc.

    It gives large blocks back to the system, and gets them anew, cleared page by page, in every step: a sixth of the
    time that a convolutional network trains, a tenth of a Transformer's (see `docs/log.md`). The process then holds as
    much as its largest step took, until it ends.

    Returns:
        Whether it does.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):  # another C library, or none that can be asked
        return False
    return bool(mallopt(MMAP_MAX, 0)) and bool(mallopt(TRIM_THRESHOLD, MOST))


def give_back() -> bool:
    """Return to the system what a run has freed and kept: batches of many sizes leave it in pieces between what lives.

    Returns:
        Whether there was any, and a C library that can be asked.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, TypeError, AttributeError):
        return False
    return bool(trim(0))
