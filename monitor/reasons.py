"""Why a study is where it is, in words that name no patient."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from state.comparison import Place, Summary
from state.pair import Compared


def reasons(study: Compared, attributes: Sequence[str]) -> Iterator[str]:
    """What the two sides do not agree on; ``attributes`` are the keywords of those that must agree."""
    source, target = study.source, study.target
    match study.place:
        case Place.MISSING:
            yield "removed at the target" if target is not None else "not at the target"
        case Place.EXTRA:
            yield "not at the source"
        case Place.REMOVED_AT_SOURCE_ONLY:
            yield "removed at the source, still at the target"
        case Place.INCOMPLETE | Place.DIFFERENT if source is not None and target is not None:
            yield from _differences(source, target, attributes)
        case Place.OUT_OF_SCOPE:
            yield "out of the migration's scope"
        case Place.COMPARED_ANEW | Place.OPEN_COMPARED_ANEW:
            yield "to be compared anew by the present rules"


def _differences(source: Summary, target: Summary, attributes: Sequence[str]) -> Iterator[str]:
    if source.content != target.content:
        if source.instances != target.instances:
            yield f"{source.instances} instances at the source, {target.instances} at the target"
        elif source.series != target.series:
            yield f"{source.series} series at the source, {target.series} at the target"
        else:
            yield "other instances at the target"
    names = [
        name for name, one, other in zip(attributes, source.attributes, target.attributes, strict=False) if one != other
    ]
    if names:
        yield "differs in " + ", ".join(names)
