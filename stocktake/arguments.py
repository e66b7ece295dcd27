"""Kinds of command line arguments that several commands take."""

from __future__ import annotations

import argparse

from stocktake import setting_values


def whole_number(text: str) -> int:
    """A whole number above 0, for ``type=`` of an argument."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def duration(text: str) -> float:
    """Seconds, from a text such as ``30s``, for ``type=`` of an argument."""
    try:
        return setting_values.duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not {error}") from None
