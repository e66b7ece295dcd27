"""``stocktake resolve``: the effective record of each study of a tree, as NDJSON or CSV."""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, tzinfo
from pathlib import Path
from typing import BinaryIO, Final

import orjson
from pydicom.dataset import Dataset

from state.attributes import Level, item_attributes
from stocktake.exits import CommandError, Exit
from stocktake.progress import Progress
from stocktake.reading import add_search, add_timezone, bad_input, steps
from stocktake.settings import Settings
from writers.item_json import to_dicom_json
from writers.resolve import resolve
from writers.tree import load_tree

HELP: Final = "write what a tree of Inventories says of each study, as NDJSON or CSV"
EXAMPLE: Final = """stocktake resolve inventories/main > studies.ndjson
stocktake resolve head.dcm --format csv --columns StudyInstanceUID,StudyDate --output studies.csv"""

COLUMNS: Final = (
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
    "StudyUpdateDateTime",
    "ItemInventoryDateTime",
    "RemovedFromOperationalUse",
)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, metavar="PATH", help="an Inventory, or a folder: its head")
    parser.add_argument("--removed", action="store_true", help="removed studies too (default: left out)")
    parser.add_argument(
        "--format",
        choices=("ndjson", "csv"),
        default="ndjson",
        help="ndjson: one DICOM JSON Model object a study; csv: one row a study (default: ndjson)",
    )
    parser.add_argument(
        "--columns",
        type=_columns,
        default=COLUMNS,
        metavar="KEYWORD,...",
        help="study attributes for csv (default: " + ",".join(COLUMNS) + ")",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="file to write (default: stdout)")
    add_search(parser)
    add_timezone(parser, "UTC")


def run(args: argparse.Namespace, settings: Settings) -> Exit:
    zone = args.timezone or UTC
    with Progress("records read") as progress, _output(args.output) as output:
        write = _ndjson(output) if args.format == "ndjson" else _csv(output, args.columns)
        for dataset in _datasets(args, zone, steps(progress, args.output)):
            write(dataset)
    return Exit.DONE


def _datasets(args: argparse.Namespace, zone: tzinfo, step: Callable[[], None]) -> Iterator[Dataset]:
    with bad_input():
        for effective in resolve(load_tree(args.path, args.search, zone), zone, step):
            if args.removed or not effective.item.removed:
                yield effective.item.dataset()


def _columns(text: str) -> tuple[str, ...]:
    known = {row.keyword for row in item_attributes(Level.STUDY).values() if row.vr != "SQ"}
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in known:
            raise argparse.ArgumentTypeError(f"{name!r} is no attribute of a study record")
    return names


def _ndjson(output: BinaryIO) -> Callable[[Dataset], None]:
    def write(dataset: Dataset) -> None:
        output.write(orjson.dumps(to_dicom_json(dataset), option=orjson.OPT_APPEND_NEWLINE))

    return write


def _csv(output: BinaryIO, columns: tuple[str, ...]) -> Callable[[Dataset], None]:
    rows = csv.writer(_Utf8(output))
    rows.writerow(columns)

    def write(dataset: Dataset) -> None:
        rows.writerow([_cell(dataset, column) for column in columns])

    return write


class _Utf8:
    """The text side of a binary file, which stays open; csv wants one."""

    def __init__(self, output: BinaryIO) -> None:
        self._output = output

    def write(self, text: str) -> int:
        return self._output.write(text.encode())


def _cell(dataset: Dataset, keyword: str) -> str:
    if keyword not in dataset or dataset[keyword].is_empty:
        return ""
    element = dataset[keyword]
    values = element.value if element.VM > 1 else [element.value]
    return "\\".join(str(value) for value in values)


@contextmanager
def _output(path: Path | None) -> Iterator[BinaryIO]:
    """stdout, or a file that has its name only once it is whole."""
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            yield file
        os.replace(part, path)
    except BaseException as error:
        with suppress(OSError):  # it may never have been made
            part.unlink()
        if isinstance(error, OSError):
            text = f"--output {path}: cannot be written: {error.strerror}"
            raise CommandError(Exit.USAGE, text) from None
        raise
