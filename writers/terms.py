"""The terms of the Inventory IOD that are more than keywords: its SOP Class and its enumerated values, each once.

``COMPLETE``, ``FAILURE`` and ``N`` are recalled, not read in the standard (docs/inventories.md); ``PARTIAL`` stands in
PS3.17 YYYY.3.3.2.1 and ``Y`` in PS3.4 C.6.4.5.4.
"""

from __future__ import annotations

from typing import Final

INVENTORY_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.201.1"  # SOP Class UID, PS3.4 Annex GG

# Inventory Completion Status (0008,0426), PS3.3 C.38.1.1.3
COMPLETE: Final = "COMPLETE"
PARTIAL: Final = "PARTIAL"
FAILURE: Final = "FAILURE"

# Removed from Operational Use (0008,0405)
REMOVED: Final = "Y"
NOT_REMOVED: Final = "N"
