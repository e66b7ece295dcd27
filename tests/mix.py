"""What happens in a simulated archive that spares nothing."""

from __future__ import annotations

from typing import Final

from consumers.simulate import Mix

EVERYTHING: Final = Mix(
    duplicates=0.03,
    late=0.02,
    study_stores=0.2,
    series_stores=0.15,
    study_updates=0.4,
    series_updates=0.3,
    merges=0.1,
    instance_deletes=0.1,
    series_deletes=0.1,
    study_deletes=0.15,
    restores=0.6,
)
