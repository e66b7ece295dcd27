"""What inventories say of access to studies and to themselves, and of the equipment and transaction that made them."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pydicom
import pytest

from tests.chains import Chain
from writers.manifest import Manifest
from writers.verify import verify

BASE = "https://files.example.org/inventories/main/"
GIVEN = {
    "ACCESS__STUDY_AE_TITLES": "PACS1, PACS 2",
    "ACCESS__STUDY_RETRIEVE_URL": "https://pacs.example.org/dicom-web",
    "ACCESS__INVENTORY_AE_TITLES": "STOCKTAKE",
    "ACCESS__INVENTORY_BASE_URI": BASE,
    "INVENTORY__DEVICE_SERIAL_NUMBER": "SN 0815",
    "INVENTORY__WRITE_TRANSACTION_UID": "true",
    "INVENTORY__MAX_RECORDS_PER_INSTANCE": "2",
    "CHAIN__ROLLUP_FANOUT": "3",
}


@pytest.fixture
def chain(tmp_path: Path, redis_url: str, repository: str) -> Iterator[Chain]:
    made = Chain(tmp_path, redis_url, repository, **GIVEN)
    yield made
    made.deployment.close()


def read(chain: Chain, manifest: Manifest) -> pydicom.Dataset:
    return pydicom.dcmread(chain.deployment.path(manifest))


def every_reference(items: Any) -> Iterator[pydicom.Dataset]:
    for one in items:
        yield one
        yield from every_reference(one.get("IncorporatedInventoryInstanceSequence", []))


def test_end_points_are_those_of_the_settings(chain: Chain) -> None:
    chain.store(1)
    found = read(chain, chain.produce())
    [studies] = found.StudyAccessEndPointsSequence
    assert (list(studies.RetrieveAETitle), studies.RetrieveURL) == (
        ["PACS1", "PACS 2"],
        "https://pacs.example.org/dicom-web",
    )
    assert "StoredInstanceBaseURI" not in studies
    [inventories] = found.InventoryAccessEndPointsSequence
    assert (inventories.RetrieveAETitle, inventories.StoredInstanceBaseURI) == ("STOCKTAKE", BASE)
    assert found.DeviceSerialNumber == "SN 0815"


def test_every_reference_says_where_its_file_is_and_what_its_digest_is(chain: Chain) -> None:
    for number in range(7):
        chain.store(*range(1, number % 4 + 2))
        head = chain.produce()  # and checks it against the rules of the IOD
    found = list(every_reference(read(chain, head).IncorporatedInventoryInstanceSequence))
    assert len(found) > 4
    for one in found:
        assert one.FileAccessURI.startswith("./")
        path = chain.deployment.folder / one.FileAccessURI
        assert pydicom.dcmread(path).SOPInstanceUID == one.ReferencedSOPInstanceUID
        assert (one.MACAlgorithm, one.MAC) == ("SHA256", sha256(path.read_bytes()).digest())
        assert (one.FileOffsetInContainer, one.FileLengthInContainer) == (0, path.stat().st_size)
        assert one.StoredInstanceTransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian


def test_verify_finds_a_file_that_was_altered_by_the_mac_of_whoever_refers_to_it(chain: Chain) -> None:
    chain.store(1)
    first = chain.deployment.path(chain.produce())
    chain.store(2)
    second = chain.deployment.path(chain.produce())
    altered = pydicom.dcmread(first)
    altered.StationName = "OTHER"
    altered.save_as(first)
    first.with_suffix(".json").unlink()
    [finding] = verify(second)
    assert (finding.rule, finding.severity) == ("mac", "error")
    assert first.name in finding.text


def test_root_and_parts_share_a_transaction_and_no_two_inventories_do(chain: Chain) -> None:
    made = []
    for _ in range(2):
        chain.store(*range(1, 6))
        head = chain.produce()
        files = [chain.deployment.folder / file for file in head.members[-1].files]
        assert len(files) == 4
        made.append({pydicom.dcmread(file).TransactionUID for file in files})
    [first], [second] = made
    assert first != second


def test_without_the_settings_nothing_of_it_is_written(tmp_path: Path, redis_url: str, repository: str) -> None:
    chain = Chain(tmp_path, redis_url, repository)
    chain.store(1)
    chain.produce()
    chain.store(2)
    found = read(chain, chain.produce())
    [below] = found.IncorporatedInventoryInstanceSequence
    for name in ("StudyAccessEndPointsSequence", "InventoryAccessEndPointsSequence", "TransactionUID"):
        assert name not in found
    assert "FileAccessURI" not in below
    assert "MAC" not in below
    chain.deployment.close()
