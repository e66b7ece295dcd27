"""``stocktake resolve``: the effective record of each study of a tree, as NDJSON or CSV."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, tzinfo
from pathlib import Path
from typing import BinaryIO, Final

import orjson
from pydicom.dataset import Dataset

from state.attributes import Level
from stocktake.exits import CommandError, Exit
from stocktake.output import written_whole
from stocktake.progress import Progress
from stocktake.reading import add_search, add_timezone, bad_input, steps
from stocktake.settings import Settings
from stocktake.study_rows import LEVELS, Column, NoSuchPart, cell, is_below, narrow, rows
from writers.item_json import to_dicom_json
from writers.reader import InvalidInventory
from writers.resolve import Effective, resolve
from writers.tree import Tree, load_tree

HELP: Final = "write what a tree of Inventories says of each study, as NDJSON or CSV"
EXAMPLE: Final = """stocktake resolve inventories/main > studies.ndjson
stocktake resolve head.dcm --format csv --columns StudyInstanceUID,StudyDate --output studies.csv
stocktake resolve head.dcm --format csv --level INSTANCE --removed > instances.csv"""

_WHOSE: Final = ("StudyInstanceUID", "StudyDate", "AccessionNumber", "PatientID", "PatientName")
_WHEN: Final = ("StudyUpdateDateTime", "ItemInventoryDateTime", "RemovedFromOperationalUse")
COLUMNS: Final[Mapping[Level, tuple[str, ...]]] = {
    Level.STUDY: (
        "StudyInstanceUID",
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "PatientID",
        "PatientName",
        "ModalitiesInStudy",
        "StudyDescription",
        "NumberOfStudyRelatedSeries",
        "NumberOfStudyRelatedInstances",
        *_WHEN,
    ),
    Level.SERIES: (*_WHOSE, "SeriesInstanceUID", "SeriesNumber", "Modality", "SeriesDescription", *_WHEN),
    Level.INSTANCE: (
        *_WHOSE,
        "SeriesInstanceUID",
        "Modality",
        "SOPInstanceUID",
        "SOPClassUID",
        "InstanceNumber",
        *_WHEN,
    ),
}

Write = Callable[[Dataset], None]


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, metavar="PATH", help="an Inventory, or a folder: its head")
    parser.add_argument(
        "--removed",
        action="store_true",
        help="removed studies too and, where --level or --columns go down to them, removed series and instances, whose "
        "studies may be in use (default: left out)",
    )
    parser.add_argument(
        "--format",
        choices=("ndjson", "csv"),
        default="ndjson",
        help="ndjson: one DICOM JSON Model object a study; csv: one row a study, series or instance (default: ndjson)",
    )
    parser.add_argument(
        "--level",
        choices=[str(level) for level in LEVELS],
        help="csv: what a row is of, with the attributes of what is around it; ndjson: what lies below is left out "
        "(default: STUDY for csv; for ndjson as deep as --columns asks, else each record as it is)",
    )
    parser.add_argument(
        "--columns",
        type=_columns,
        metavar="KEYWORD,...",
        help="attributes of the level and those above it; a keyword that several levels have is taken of the lowest "
        "that has a value (csv) or kept in each (ndjson), unless its level stands before it, as in "
        "Study.RemovedFromOperationalUse, Series. or Instance. (default: all for ndjson; for csv "
        + "; ".join(f"{level}: {', '.join(COLUMNS[level])}" for level in LEVELS)
        + ")",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="file to write (default: stdout)")
    add_search(parser)
    add_timezone(parser, "UTC")


def run(args: argparse.Namespace, settings: Settings) -> Exit:
    zone = args.timezone or UTC
    level = _level(args)
    columns = _checked_columns(args, level)
    with bad_input():
        tree = load_tree(args.path, args.search, zone)
    if level is not None:
        _check_level(tree, level)
    with Progress("records read") as progress, _output(args.output) as output:
        if args.format == "csv":
            write = _csv(output, columns, level or Level.STUDY, args.removed)
        else:
            write = _ndjson(output, columns, level, args.removed)
        for effective, dataset in _effective(tree, zone, args.removed, steps(progress, args.output)):
            try:
                write(dataset)
            except NoSuchPart as error:
                item = effective.item
                raise CommandError(Exit.BAD_INPUT, str(InvalidInventory(item.path, str(error), item.offset))) from None
    return Exit.DONE


def _effective(
    tree: Tree, zone: tzinfo, removed: bool, step: Callable[[], None]
) -> Iterator[tuple[Effective, Dataset]]:
    with bad_input():
        for effective in resolve(tree, zone, step):
            if removed or not effective.item.removed:
                yield effective, effective.item.dataset()


def _columns(text: str) -> tuple[Column, ...]:
    try:
        return tuple(Column.parse(name.strip()) for name in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _level(args: argparse.Namespace) -> Level | None:
    """How deep records are written; None: as deep as they are."""
    if args.level is not None:
        return Level(args.level)
    if args.format == "csv":
        return Level.STUDY
    columns: tuple[Column, ...] = args.columns or ()
    return max((column.levels[0] for column in columns), key=LEVELS.index, default=None)


def _checked_columns(args: argparse.Namespace, level: Level | None) -> tuple[Column, ...]:
    if level is None:
        return ()
    is_csv = args.format == "csv"
    columns: tuple[Column, ...] = args.columns or (_columns(",".join(COLUMNS[level])) if is_csv else ())
    for column in columns:
        highest = column.levels[0]
        if is_below(highest, level):
            text = f"{column.text!r} is an attribute of the level {highest}; ask for it with --level {highest}"
            raise CommandError(Exit.USAGE, f"--columns: {text}")
        if is_csv and column.is_sequence:
            raise CommandError(Exit.USAGE, f"--columns: {column.text!r} is a sequence, which no cell of csv can hold")
    return columns


def _check_level(tree: Tree, level: Level) -> None:
    if tree.level in LEVELS and is_below(level, Level(tree.level)):
        text = f"is of Inventory Level {tree.level}; what is asked for is of level {level}, of which it tells nothing"
        raise CommandError(Exit.USAGE, f"{tree.root.path} {text}")


def _ndjson(output: BinaryIO, columns: tuple[Column, ...], level: Level | None, removed: bool) -> Write:
    def write(dataset: Dataset) -> None:
        if level is not None:
            narrow(dataset, level, columns, removed=removed)
        output.write(orjson.dumps(to_dicom_json(dataset), option=orjson.OPT_APPEND_NEWLINE))

    return write


def _csv(output: BinaryIO, columns: tuple[Column, ...], level: Level, removed: bool) -> Write:
    """Values as they are, quoted where RFC 4180 asks for it: a value is never altered for a spreadsheet's sake."""
    table = csv.writer(_Utf8(output))
    table.writerow([column.text for column in columns])

    def write(dataset: Dataset) -> None:
        for row in rows(dataset, level, removed=removed):
            table.writerow([cell(row, column) for column in columns])

    return write


class _Utf8:
    """The text side of a binary file, which stays open; csv wants one."""

    def __init__(self, output: BinaryIO) -> None:
        self._output = output

    def write(self, text: str) -> int:
        return self._output.write(text.encode())


@contextmanager
def _output(path: Path | None) -> Iterator[BinaryIO]:
    """stdout, or a file that has its name only once it is whole."""
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with written_whole(path, "--output") as file:
        yield file
