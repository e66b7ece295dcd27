"""Kinds of command line arguments that several commands take."""

from __future__ import annotations

import argparse


def whole_number(text: str) -> int:
    """A whole number above 0, for ``type=`` of an argument."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)
