"""Three kinds of UIDs that archives hold, made from numbers: the same numbers give the same UID.

They differ in what a state that packs them can save: a vendor's share a long prefix and count up, random ones share
nothing but their root. All have at most 64 characters (PS3.5 9.1).
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Final, TypeAlias

Uid: TypeAlias = Callable[[int, int, int], str]
"""The UID of a study (n, 0, 0), of its series (n, s, 0) and of their instances (n, s, i); s and i count from 1."""

_VENDOR_ROOT: Final = "1.3.6.1.4.1.99999.5.1.4"  # not registered to anyone
_DEVICES: Final = 8
_PYDICOM_ROOT: Final = "1.2.826.0.1.3680043.8.498."
_LONGEST: Final = 64


def vendor(study: int, series: int, instance: int) -> str:
    """One vendor's root, the device, and a serial number that the device counts up."""
    device = 66_001 + study % _DEVICES
    serial = 20260100000000000000000 + (study // _DEVICES) * 10**8 + series * 10**6 + instance
    return f"{_VENDOR_ROOT}.{device}.{serial}"


def uuid_derived(study: int, series: int, instance: int) -> str:
    """2.25 and a UUID as one decimal number (PS3.5 B.2)."""
    return f"2.25.{_random(study, series, instance)}"


def pydicom_like(study: int, series: int, instance: int) -> str:
    """pydicom's root and as many random digits as fit, as its ``generate_uid`` gives them."""
    digits = str(_random(study, series, instance) % 10 ** (_LONGEST - len(_PYDICOM_ROOT)))
    return _PYDICOM_ROOT + digits


KINDS: Final[dict[str, Uid]] = {"vendor": vendor, "uuid": uuid_derived, "pydicom": pydicom_like}


def _random(study: int, series: int, instance: int) -> int:
    """128 bits that look random and follow from the numbers."""
    name = f"{study}/{series}/{instance}".encode("ascii")
    return int.from_bytes(blake2b(name, digest_size=16).digest(), "big")
