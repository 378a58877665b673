"""German words of whole numbers, written together, as in `siebenunddreißig`."""

from __future__ import annotations

ONES = ("null", "ein", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun")
TEENS = ("zehn", "elf", "zwölf", "dreizehn", "vierzehn", "fünfzehn", "sechzehn", "siebzehn", "achtzehn", "neunzehn")
TENS = ("", "", "zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig")
ENGLISH = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def german(number: int) -> str:
    """The word of a number from 0 to 999 999.

    Example:
        >>> german(37), german(101), german(21_016)
        ('siebenunddreißig', 'einhunderteins', 'einundzwanzigtausendsechzehn')
    """
    if not 0 <= number < 1_000_000:
        raise ValueError(f"{number} is not from 0 to 999999")
    thousands, rest = divmod(number, 1000)
    if number == 0:
        return ONES[0]
    if thousands == 0:
        return _below_thousand(rest, last=True)
    return f"{_below_thousand(thousands, last=False)}tausend{_below_thousand(rest, last=True)}"


def _below_thousand(number: int, *, last: bool) -> str:
    hundreds, rest = divmod(number, 100)
    tens, ones = divmod(rest, 10)
    front = f"{ONES[hundreds]}hundert" if hundreds else ""
    if rest == 0:
        return front
    if tens == 0:
        return front + ("eins" if ones == 1 and last else ONES[ones])
    if tens == 1:
        return front + TEENS[ones]
    return front + (f"{ONES[ones]}und" if ones else "") + TENS[tens]


def spelt(number: int) -> str:
    """Its digits in English, one after the other: 37 → `three seven`."""
    return " ".join(ENGLISH[int(digit)] for digit in str(number))
