"""Inventories delivered to real receivers: each member as it was written, in the chain's order, whatever happens."""

from __future__ import annotations

import gc
import signal
import ssl
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from threading import Event as Flag
from typing import Any, Final

import orjson
import pytest
from kafka import KafkaConsumer
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from state.chain import Lease
from state.deliveries import Delivered, Deliveries
from state.errors import Fenced
from stocktake.cli import main
from stocktake.exits import Exit
from stocktake.sinks import deliveries
from tests.chains import Chain
from tests.harness import wait_for
from tests.servers.certificates import Certificates, Signed, make_certificates
from tests.servers.kafka_broker import KafkaBroker
from tests.servers.receivers import S3, Came, DicomReceiver, Receiver, StoreScp, StowServer, dataset_digest
from writers.delivery import Delivery, in_order
from writers.manifest import Manifest
from writers.sinks.sink import NotWhole, SinkRefused, SinkUnreachable
from writers.tree import load_tree
from writers.verify import verify

SPLIT: Final = {"INVENTORY__MAX_RECORDS_PER_INSTANCE": "2", "CHAIN__ROLLUP_FANOUT": "3"}
QUICK: Final = {"TIMEOUT": "5s", "RETRY_INTERVAL": "1s"}
# pynetdicom 3.0.4 and httpcore 1.0.9 leave it to Python to close the socket of a connection that did not come about.
REFUSED: Final = pytest.mark.filterwarnings(r"ignore:unclosed <(socket|ssl)\.:ResourceWarning")
Make = Callable[..., "Site"]


@dataclass
class Site:
    """A chain, the sinks that it has, and a writer's lease."""

    chain: Chain
    stop: Flag = field(default_factory=Flag)

    def __post_init__(self) -> None:
        opened = self.chain.deployment.opened
        self.lease = Lease(opened.connection, opened.policy.name, 30)

    def grow(self, inventories: int) -> list[Manifest]:
        """Deltas, split ones and rollups among them."""
        made = []
        for _ in range(inventories):
            self.chain.store(*range(1, self.chain.second % 4 + 2))
            made.append(self.chain.produce())
        return made

    def delivery(self) -> Delivery:
        """To the only sink; takes the lease if it is free."""
        deployment = self.chain.deployment
        if not self.lease.token:
            assert self.lease.take()
        [found] = deliveries(deployment.settings, deployment.opened, self.lease, self.stop)
        return found

    def deliver(self) -> int:
        """Deliver what is owed now, and let the lease go."""
        delivery = self.delivery()
        try:
            return delivery.deliver_owed()
        finally:
            delivery.close()
            self.lease.release()

    def sent(self, *inventories: Manifest) -> Came:
        """What a receiver should get of these: SOP Instance UID and digest of the data set of each file."""
        files = [file for manifest in inventories for file in in_order(manifest.members[-1])]
        folder = self.chain.deployment.folder
        return [(Path(file).stem, dataset_digest((folder / file).read_bytes())) for file in files]

    def delivered(self, sink: str = "one") -> Delivered:
        opened = self.chain.deployment.opened
        return Deliveries(opened.connection, opened.policy.name).all()[sink]


@pytest.fixture
def make(tmp_path: Path, redis_url: str, repository: str) -> Iterator[Make]:
    """Makes a site with the sink ``one``; ``given`` are its settings by their last names."""
    made: list[Site] = []

    def site(url: str, more: dict[str, str] | None = None, **given: str) -> Site:
        sink = {f"SINKS__ONE__{name}": value for name, value in ({"URL": url} | QUICK | given).items()}
        made.append(Site(Chain(tmp_path, redis_url, repository, **SPLIT, **sink, **(more or {}))))
        return made[-1]

    yield site
    for one in made:
        one.chain.deployment.close()


@pytest.fixture
def run() -> Iterator[Callable[[Any], Any]]:
    """Starts a receiver and stops it after the test."""
    started: list[Any] = []

    def start(receiver: Any) -> Any:
        started.append(receiver)
        receiver.start()
        return receiver

    yield start
    for receiver in started:
        receiver.stop()


# --- all receivers, as the program delivers to them -------------------------------------------------------------


def program(site: Site, *words: str) -> subprocess.Popen[bytes]:
    environ = site.chain.deployment.environ | {
        "PYTHONWARNINGS": "error::UserWarning",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    command = [sys.executable, "-m", "stocktake", *words]
    return subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, stdout=subprocess.PIPE)


@pytest.mark.parametrize("syntax", ["EXPLICIT", "DEFLATED"])
def test_every_member_arrives_as_it_was_written_though_receivers_are_down_and_the_writer_is_killed(
    make: Make, run: Callable[[Any], Any], tmp_path: Path, syntax: str
) -> None:
    """dcmtk's storescp, pynetdicom, STOW-RS and S3. Killed while it tries, and again while it delivers."""
    # dcmtk takes deflated data sets only where it is told to prefer them, and then takes no others.
    scp = StoreScp(tmp_path, *(["--prefer-deflated"] if syntax == "DEFLATED" else []))
    receivers: dict[str, Receiver] = {"scp": scp, "python": DicomReceiver(), "web": StowServer()}
    s3 = S3(tmp_path)
    urls = {name: one.url for name, one in receivers.items()} | {"s3": s3.url}
    given = {f"SINKS__{name.upper()}__URL": url for name, url in urls.items()}
    given |= {f"SINKS__{name.upper()}__{key}": value for name in urls for key, value in QUICK.items()}
    given |= {"SINKS__S3__STORAGE_OPTIONS": orjson.dumps(s3.options).decode()}
    site = make(scp.url, given | {"INVENTORY__TRANSFER_SYNTAX": syntax, "INVENTORY__LEASE": "1s"})
    del site.chain.deployment.environ["STOCKTAKE_SINKS__ONE__URL"]
    for key in QUICK:
        del site.chain.deployment.environ[f"STOCKTAKE_SINKS__ONE__{key}"]
    inventories = site.grow(2)

    def troubled() -> bool:
        opened = site.chain.deployment.opened
        found = Deliveries(opened.connection, opened.policy.name).all()
        return len(found) == len(urls) and all(one.failures > 1 for one in found.values())

    def at_least(sequence: int, some: int) -> bool:
        opened = site.chain.deployment.opened
        found = Deliveries(opened.connection, opened.policy.name).all()
        return sum(one.sequence >= sequence for one in found.values()) >= some

    site.chain.deployment.environ["STOCKTAKE_INVENTORY__WRITE_EMPTY"] = "false"  # they only deliver
    first = program(site, "write")
    wait_for(troubled, "every sink was tried in vain twice")
    first.send_signal(signal.SIGKILL)
    _, told = first.communicate()
    for name in urls:
        assert f"sinks.{name}: " in told.decode()
    wait_for(site.lease.take, "the lease of the one that was killed has expired")
    site.lease.release()
    inventories += site.grow(4)
    for one in (*receivers.values(), s3):
        run(one)
    second = program(site, "write")
    wait_for(lambda: at_least(2, 1), "a sink has got something")
    second.send_signal(signal.SIGKILL)
    second.communicate()
    third = program(site, "deliver")
    _, told = third.communicate(timeout=120)
    assert third.returncode == Exit.DONE, told.decode()
    for name, one in receivers.items():
        came = one.received()
        assert list(dict.fromkeys(came)) == site.sent(*inventories), name
        assert len(came) <= len(set(came)) + 1, f"{name}: more than the one file in hand was sent again"
    store, folder = s3.files(), site.chain.deployment.folder
    for manifest in inventories:
        for file in in_order(manifest.members[-1]):
            there = f"{s3.url}/{site.chain.deployment.name}/{file}"
            assert store.cat_file(there) == (folder / file).read_bytes()
            assert store.cat_file(there.replace(".dcm", ".json")) == (folder / file).with_suffix(".json").read_bytes()
    copy = tmp_path / "copy"
    store.get(f"{s3.url}/{site.chain.deployment.name}/", str(copy), recursive=True)
    assert load_tree(copy).root.sop_instance_uid == inventories[-1].sop_instance_uid
    assert list(verify(load_tree(copy).root.path)) == []
    counted = [len(one.received()) for one in receivers.values()]
    fourth = program(site, "deliver")
    fourth.communicate(timeout=60)
    assert fourth.returncode == Exit.DONE
    assert [len(one.received()) for one in receivers.values()] == counted


# --- what is delivered, and in which order ---------------------------------------------------------------------


def test_a_new_sink_gets_what_the_head_reaches_and_then_everything(make: Make, run: Callable[[Any], Any]) -> None:
    receiver = run(DicomReceiver())
    site = make(receiver.url)
    before = site.grow(5)
    members = [member.sop_instance_uid for member in before[-1].members]
    reached = [one for one in before if one.sop_instance_uid in members]
    assert len(reached) < len(before)
    assert site.deliver() == len(reached)
    after = site.grow(7)
    assert any(one.kind == "rollup" for one in after[:-1])
    assert site.deliver() == 7
    assert receiver.received() == site.sent(*reached, *after)
    assert site.deliver() == 0
    assert (site.delivered().inventories, site.delivered().files) == (len(reached) + 7, len(receiver.received()))


def test_what_a_new_sink_lacks_of_its_first_tree_is_delivered_though_a_rollup_replaced_it(
    make: Make, run: Callable[[Any], Any]
) -> None:
    refused: set[str] = set()
    receiver = run(DicomReceiver(answer=lambda uid: 0xA900 if uid in refused else 0))
    site = make(receiver.url)
    before = site.grow(2)
    refused.add(before[1].sop_instance_uid)
    with pytest.raises(SinkRefused, match="0xA900"):
        site.deliver()
    after = site.grow(9)
    assert before[1].sop_instance_uid not in [member.sop_instance_uid for member in after[-1].members]
    refused.clear()
    site.deliver()
    assert receiver.received() == site.sent(*before, *after)


def test_a_delivery_that_ends_within_a_split_inventory_goes_on_with_the_next_part(
    make: Make, run: Callable[[Any], Any]
) -> None:
    refused: set[str] = set()
    receiver = run(DicomReceiver(answer=lambda uid: 0xA900 if uid in refused else 0))
    site = make(receiver.url)
    *_, split = site.grow(4)
    assert len(in_order(split.members[-1])) == 3
    site.chain.deployment.produce("baseline")
    site = make(receiver.url)
    head = site.delivery()._folder.head()
    assert head is not None
    refused.add(Path(head.members[-1].parts[1]).stem)
    with pytest.raises(SinkRefused):
        site.delivery().deliver_owed()
    assert [uid for uid, _ in receiver.received()] == [Path(head.members[-1].parts[0]).stem]
    refused.clear()
    site.deliver()
    assert receiver.received() == site.sent(head)


def test_a_sink_that_begins_anew_is_sent_the_head_s_tree_again(
    make: Make, run: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver = run(DicomReceiver())
    site = make(receiver.url)
    made = site.grow(2)
    site.deliver()
    for name, value in site.chain.deployment.environ.items():
        monkeypatch.setenv(name, value)
    assert main(["deliver", "--sink", "one", "--again"]) == Exit.DONE
    assert receiver.received() == 2 * site.sent(*made)


def test_a_repository_s_inventories_go_only_to_sinks_that_take_them(make: Make) -> None:
    site = make("dicom://NOBODY@127.0.0.1:1")
    settings = site.chain.deployment.settings
    assert [sink.name for sink in settings.sinks_of(site.chain.deployment.name)] == ["one"]
    assert [sink.name for sink in settings.sinks_of("other")] == ["one"]
    site = make("dicom://NOBODY@127.0.0.1:1", REPOSITORIES=site.chain.deployment.name)
    assert site.chain.deployment.settings.sinks_of("other") == []


def test_a_file_that_is_not_what_its_manifest_says_is_never_sent(make: Make, run: Callable[[Any], Any]) -> None:
    receiver = run(DicomReceiver())
    site = make(receiver.url)
    [first, second] = site.grow(2)
    path = site.chain.deployment.path(second)
    whole = path.read_bytes()
    path.write_bytes(whole[:-2] + b"??")
    with pytest.raises(NotWhole, match=str(path)):
        site.deliver()
    assert receiver.received() == site.sent(first)
    assert str(path) in site.delivered().trouble
    path.write_bytes(whole)
    site.deliver()
    assert receiver.received() == site.sent(first, second)
    assert (site.delivered().trouble, site.delivered().since, site.delivered().failures) == ("", None, 1)


def test_whoever_lost_the_lease_delivers_nothing(make: Make, run: Callable[[Any], Any]) -> None:
    receiver = run(DicomReceiver())
    site = make(receiver.url)
    site.grow(1)
    delivery = site.delivery()
    site.lease.release()
    opened = site.chain.deployment.opened
    other = Lease(opened.connection, opened.policy.name, 30)
    assert other.take()
    site.lease.token = other.token - 1
    with pytest.raises(Fenced):
        delivery.deliver_owed()
    assert receiver.received() == []


@REFUSED
def test_retention_leaves_what_a_sink_does_not_have_yet(make: Make, run: Callable[[Any], Any]) -> None:
    """The archive's clock is long past, so that whatever is replaced may go at once."""
    receiver = DicomReceiver()
    site = make(receiver.url, {"INVENTORY__RETENTION": "1s"})
    first = site.grow(1)
    with pytest.raises(SinkUnreachable):
        site.deliver()
    made = first + site.grow(12)
    assert made[-1].sequence > len(made[-1].members)
    run(receiver)
    expected = site.sent(*made)
    site.deliver()
    assert receiver.received() == expected
    head = site.grow(1)[-1]
    while head.kind == "delta":
        [head] = site.grow(1)
        site.deliver()
    kept = {one.file for one in made if (site.chain.deployment.folder / one.file).exists()}
    assert kept == {one.file for one in made if one.sop_instance_uid in {m.sop_instance_uid for m in head.members}}


def test_sigterm_lets_a_file_in_hand_arrive_and_is_not_sent_again(make: Make, run: Callable[[Any], Any]) -> None:
    asked, may_answer = Flag(), Flag()

    def slowly(uid: str) -> int:
        asked.set()
        may_answer.wait(30)
        return 0

    receiver = run(DicomReceiver(answer=slowly))
    site = make(receiver.url, TIMEOUT="40s")
    made = site.grow(2)
    site.chain.deployment.environ["STOCKTAKE_INVENTORY__WRITE_EMPTY"] = "false"
    writer = program(site, "write")
    assert asked.wait(30)
    writer.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        writer.wait(1)
    may_answer.set()
    writer.communicate(timeout=30)
    assert writer.returncode == Exit.DONE
    assert receiver.received() == site.sent(made[0])
    site.deliver()
    assert receiver.received() == site.sent(*made)


@REFUSED
def test_the_command_says_what_failed_and_how_that_may_end(
    make: Make, run: Callable[[Any], Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver = DicomReceiver(answer=lambda uid: 0xA900)
    site = make(receiver.url)
    site.grow(1)
    for name, value in site.chain.deployment.environ.items():
        monkeypatch.setenv(name, value)
    assert main(["deliver", "--sink", "other"]) == Exit.USAGE
    assert "has no sink called other; see sinks.<name>.url" in capsys.readouterr().err
    assert main(["deliver", "--wait", "1s"]) == Exit.UNREACHABLE
    assert "sinks.one: RECEIVER at 127.0.0.1" in capsys.readouterr().err
    run(receiver)
    assert main(["deliver"]) == Exit.FAULTS
    assert "status 0xA900" in capsys.readouterr().err


# --- DICOM -----------------------------------------------------------------------------------------------------


def test_a_deflated_inventory_is_inflated_for_a_receiver_that_takes_none(make: Make, run: Callable[[Any], Any]) -> None:
    receiver = run(DicomReceiver(ExplicitVRLittleEndian))
    site = make(receiver.url, {"INVENTORY__TRANSFER_SYNTAX": "DEFLATED"})
    [made] = site.grow(1)
    site.deliver()
    file = site.chain.deployment.path(made).read_bytes()
    deflated = file[144 + int.from_bytes(file[140:144], "little") :]
    assert receiver.received() == [(made.sop_instance_uid, sha256(zlib.decompress(deflated, -15)).hexdigest())]


def test_a_receiver_of_implicit_vr_alone_gets_the_same_values(make: Make, run: Callable[[Any], Any]) -> None:
    receiver = run(DicomReceiver(ImplicitVRLittleEndian, keep=True))
    site = make(receiver.url, {"INVENTORY__TRANSFER_SYNTAX": "DEFLATED"})
    [made] = site.grow(1)
    site.deliver()
    assert receiver.datasets == [dcmread(site.chain.deployment.path(made))]


@pytest.mark.parametrize("status", [0x0111, 0xB000, 0xB007])
def test_a_receiver_that_has_it_already_or_changed_it_counts_as_delivered(
    make: Make, run: Callable[[Any], Any], status: int, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = run(DicomReceiver(answer=lambda uid: status))
    site = make(receiver.url)
    site.grow(1)
    assert site.deliver() == 1
    assert ("not as it was sent" in caplog.text) == (status != 0x0111)


@pytest.mark.parametrize(
    ("status", "error"),
    [(0xA700, SinkUnreachable), (0xA900, SinkRefused), (0xC000, SinkRefused), (0x0122, SinkRefused)],
)
def test_a_receiver_s_failures_are_told_with_their_status(
    make: Make, run: Callable[[Any], Any], status: int, error: type[Exception]
) -> None:
    receiver = run(DicomReceiver(answer=lambda uid: status))
    site = make(receiver.url)
    site.grow(1)
    with pytest.raises(error, match=f"RECEIVER at 127.0.0.1:{receiver.port}: .* 0x{status:04X}"):
        site.deliver()
    assert receiver.received() == []


def test_a_receiver_that_knows_no_inventories_refuses(make: Make, run: Callable[[Any], Any]) -> None:
    receiver = run(DicomReceiver(sop_class="1.2.840.10008.5.1.4.1.1.2"))
    site = make(receiver.url)
    site.grow(1)
    with pytest.raises(SinkRefused, match="does not take Inventories"):
        site.deliver()


def test_a_wrong_ae_title_is_told_so(make: Make, run: Callable[[Any], Any]) -> None:
    receiver = run(DicomReceiver())
    site = make(receiver.url.replace("RECEIVER", "OTHER"))
    site.grow(1)
    with pytest.raises(SinkRefused, match="rejects the association; does it know AE title STOCKTAKE"):
        site.deliver()


@pytest.mark.parametrize("ending", ["--abort-after", "--abort-during"])
def test_an_association_that_ends_early_is_tried_again(
    make: Make, run: Callable[[Any], Any], tmp_path: Path, ending: str
) -> None:
    receiver = run(StoreScp(tmp_path, ending))
    site = make(receiver.url)
    site.grow(1)
    with pytest.raises(SinkUnreachable):
        site.deliver()
    assert site.delivered().sequence == 0


# --- DICOMweb --------------------------------------------------------------------------------------------------

FAILED: Final = {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xA900]}}]}}
FULL: Final = {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xA700]}}]}}
KNOWN: Final = {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0x0111]}}]}}


@pytest.mark.parametrize(
    ("status", "said", "error", "text"),
    [
        (202, FAILED, SinkRefused, "failure reason 0xA900"),
        (409, FAILED, SinkRefused, "failure reason 0xA900"),
        (409, FULL, SinkUnreachable, "out of resources"),
        (503, {}, SinkUnreachable, "answers 503"),
        (429, {}, SinkUnreachable, "answers 429"),
        (401, {}, SinkRefused, "username, password and token"),
        (404, {}, SinkRefused, "name the resource to post to"),
        (302, {}, SinkRefused, "redirects are not followed"),
        (415, {}, SinkRefused, "its own log"),
    ],
)
def test_a_server_s_failures_are_told(
    make: Make, run: Callable[[Any], Any], status: int, said: Any, error: type[Exception], text: str
) -> None:
    server = run(StowServer(lambda uid: (status, said)))
    site = make(server.url)
    [made] = site.grow(1)
    with pytest.raises(error, match=text):
        site.deliver()
    server.answer = lambda uid: (200, {})
    assert site.deliver() == 1
    assert server.received() == site.sent(made)


def test_an_instance_that_the_server_has_counts_as_delivered(make: Make, run: Callable[[Any], Any]) -> None:
    site = make(run(StowServer(lambda uid: (409, KNOWN))).url)
    site.grow(1)
    assert site.deliver() == 1


@pytest.mark.parametrize(
    ("given", "authorization"),
    [({"TOKEN": "t0ken"}, "Bearer t0ken"), ({"USERNAME": "u", "PASSWORD": "p"}, "Basic dTpw"), ({}, None)],
)
def test_a_server_is_told_who_we_are(
    make: Make, run: Callable[[Any], Any], given: dict[str, str], authorization: str | None
) -> None:
    server = run(StowServer())
    site = make(server.url, **given)
    site.grow(1)
    site.deliver()
    assert server.headers[0].get("Authorization") == authorization


# --- TLS -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates") / "ours")


def server_context(certificates: Certificates, shown: Signed) -> ssl.SSLContext:
    """Of a receiver that wants to see a client's certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates.authority)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(shown.certificate, shown.key)
    return context


@REFUSED
@pytest.mark.parametrize("kind", [DicomReceiver, StowServer])
def test_receivers_with_tls_are_told_apart_by_their_certificates(
    make: Make, run: Callable[[Any], Any], certificates: Certificates, kind: Any
) -> None:
    files = {
        "TLS_CA_FILE": str(certificates.authority),
        "TLS_CERT_FILE": str(certificates.client.certificate),
        "TLS_KEY_FILE": str(certificates.client.key),
    }
    receiver = run(kind(tls=server_context(certificates, certificates.server)))
    site = make(receiver.url, **files)
    [made] = site.grow(1)
    site.deliver()
    assert receiver.received() == site.sent(made)
    stranger = run(kind(tls=server_context(certificates, certificates.elsewhere)))
    with pytest.raises(SinkUnreachable):
        again(make(stranger.url, **files)).deliver()
    with pytest.raises(SinkUnreachable):
        again(make(receiver.url, TLS_CA_FILE=files["TLS_CA_FILE"])).deliver()
    assert stranger.received() == []
    with pytest.raises(SinkRefused, match=r"sinks\.one: a file of tls_\* cannot be used"):
        again(make(receiver.url, TLS_CA_FILE="/nowhere")).deliver()
    gc.collect()  # what those connections left behind, while that is expected


def again(site: Site) -> Site:
    """The sink begins anew."""
    opened = site.chain.deployment.opened
    Deliveries(opened.connection, opened.policy.name).forget("one")
    return site


# --- object storage --------------------------------------------------------------------------------------------


def test_any_storage_that_fsspec_knows_gets_the_layout_of_the_folder(make: Make, tmp_path: Path) -> None:
    site = make(f"file://{tmp_path}/elsewhere")
    head = site.grow(4)[-1]
    site.deliver()
    copy = tmp_path / "elsewhere" / site.chain.deployment.name
    assert (copy / "head.json").read_bytes() == (site.chain.deployment.folder / "head.json").read_bytes()
    assert list(verify(load_tree(copy).root.path)) == []
    assert load_tree(copy).root.sop_instance_uid == head.sop_instance_uid


def test_a_storage_that_begins_anew_is_not_sent_what_it_has(make: Make, tmp_path: Path) -> None:
    site = make(f"file://{tmp_path}/elsewhere")
    made = site.grow(2)
    site.deliver()
    there = [tmp_path / "elsewhere" / site.chain.deployment.name / one.file for one in made]
    written = [path.stat().st_mtime_ns for path in there]
    there[1].write_bytes(b"cut off")
    assert again(site).deliver() == 2
    assert there[0].stat().st_mtime_ns == written[0]
    assert there[1].read_bytes() == site.chain.deployment.path(made[1]).read_bytes()


def test_a_bucket_that_is_not_there_is_told_so(make: Make, run: Callable[[Any], Any], tmp_path: Path) -> None:
    s3 = run(S3(tmp_path))
    site = make("s3://no-such-bucket/x", STORAGE_OPTIONS=orjson.dumps(s3.options).decode())
    site.grow(1)
    with pytest.raises(SinkRefused, match=r"s3://no-such-bucket/x: .* does the target exist"):
        site.deliver()


# --- the message -----------------------------------------------------------------------------------------------


def test_a_topic_is_told_of_every_inventory_in_order_and_of_no_part(make: Make, kafka_broker: KafkaBroker) -> None:
    topic = f"news-{kafka_broker.bootstrap_servers.rpartition(':')[2]}-{id(make)}"
    site = make(f"kafka:{topic}", {"KAFKA__BOOTSTRAP_SERVERS": kafka_broker.bootstrap_servers})
    made = site.grow(4)
    assert any(one.incorporated for one in made)
    site.deliver()
    made = [one for one in made if one.sop_instance_uid in {member.sop_instance_uid for member in made[-1].members}]
    made += site.grow(2)
    site.deliver()
    consumer = KafkaConsumer(
        topic, bootstrap_servers=kafka_broker.bootstrap_servers, auto_offset_reset="earliest", consumer_timeout_ms=5000
    )
    try:
        messages = [next(consumer) for _ in made]
    finally:
        consumer.close()
    events = [orjson.loads(message.value) for message in messages]
    assert [event["id"] for event in events] == [one.sop_instance_uid for one in made]
    assert {event["type"] for event in events} == {"inventory.published"}
    assert {message.key for message in messages} == {site.chain.deployment.name.encode()}
    assert dict(messages[0].headers)["content-type"] == b"application/cloudevents+json; charset=UTF-8"
    whole = orjson.loads(site.chain.deployment.path(made[0]).with_suffix(".json").read_bytes())
    assert events[0]["data"] == {name: value for name, value in whole.items() if name != "members"}
