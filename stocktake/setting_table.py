"""The table of settings: name, default, help, and how each value is read. The README shows it; a test compares them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from consumers.policy import ARCHIVE_KINDS, FORMATS, SASL_MECHANISMS, SECURITY_PROTOCOLS
from state.policy import MODES
from stocktake import setting_values as kinds

PREFIX: Final = "STOCKTAKE_"


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table. ``parse`` takes the text and returns the value or raises ValueError("what is expected")."""

    name: str
    default: str
    help: str
    parse: Callable[[str], Any]
    secret: bool = False

    @property
    def variable(self) -> str:
        """The environment variable, ``STOCKTAKE_GROUP__NAME``."""
        return PREFIX + self.name.upper().replace(".", "__")


SETTINGS: Final = (
    Setting("kafka.bootstrap_servers", "127.0.0.1:9092", "Kafka brokers, HOST:PORT, comma-separated", kinds.listing),
    Setting("kafka.group_id", "stocktake", "consumer group; each repository adds its name", kinds.required_text),
    Setting("kafka.instance_id", "", "static membership: this process's name in its group, e.g. the pod's", kinds.text),
    Setting("kafka.session_timeout", "45s", "a consumer unheard of for so long loses its partitions", kinds.duration),
    Setting("kafka.max_poll_records", "10000", "events taken in one batch at most", kinds.integer(1, 1_000_000)),
    Setting("kafka.timeout", "30s", "give up on an unreachable broker after this", kinds.duration),
    Setting("kafka.security_protocol", "PLAINTEXT", "how brokers are spoken to", kinds.choice(*SECURITY_PROTOCOLS)),
    Setting("kafka.sasl_mechanism", "", "how a SASL user is proved", kinds.optional(kinds.choice(*SASL_MECHANISMS))),
    Setting("kafka.sasl_username", "", "SASL user", kinds.text),
    Setting("kafka.sasl_password", "", "SASL password", kinds.text, secret=True),
    Setting("kafka.ssl_ca_file", "", "authorities that sign the brokers; empty: the system's", kinds.path),
    Setting("kafka.ssl_cert_file", "", "our certificate, if brokers ask for one", kinds.path),
    Setting("kafka.ssl_key_file", "", "our certificate's key, if it is not in the same file", kinds.path),
    Setting("redis.mode", "single", "what redis.url names: " + ", ".join(MODES), kinds.choice(*MODES)),
    Setting("redis.url", "redis://127.0.0.1:6379/0", "Redis or Valkey server", kinds.required_text, secret=True),
    Setting("redis.username", "", "ACL user; wins over the one in redis.url", kinds.text),
    Setting("redis.password", "", "password; wins over the one in redis.url", kinds.text, secret=True),
    Setting("redis.sentinel_master", "", "name of the master that the sentinels watch", kinds.text),
    Setting("redis.sentinel_username", "", "ACL user of the sentinels", kinds.text),
    Setting("redis.sentinel_password", "", "password of the sentinels", kinds.text, secret=True),
    Setting("redis.tls_ca_file", "", "authorities that sign the servers; empty: the system's", kinds.path),
    Setting("redis.tls_cert_file", "", "our certificate, if the servers ask for one", kinds.path),
    Setting("redis.tls_key_file", "", "our certificate's key, if it is not in the same file", kinds.path),
    Setting("redis.timeout", "5s", "give up on a command or connection after this", kinds.duration),
    Setting("state.shards", "64", "hash slots a repository's state uses; fixed when made", kinds.integer(1, 4096)),
    Setting("consumer.max_clock_skew", "5m", "an event's time further ahead of its record is replaced", kinds.delay),
    Setting("consumer.max_out_of_order", "5s", "how late an event may come and still be in its cut", kinds.delay),
    Setting("consumer.dlq_limit", "0.1", "share of bad messages at which the consumer stops", kinds.fraction),
    Setting("consumer.dlq_window", "1000", "latest messages that the limit looks at", kinds.integer(1, 1_000_000)),
    Setting("consumer.watermark_interval", "1s", "how often progress is published", kinds.duration),
    Setting("consumer.shutdown_timeout", "20s", "time to finish after SIGTERM", kinds.duration),
    Setting(
        "consumer.lost_offsets",
        "stop",
        "what to do when Kafka no longer holds the wanted offset",
        kinds.choice("stop", "earliest"),
    ),
    Setting(
        "inventory.dir",
        "inventories",
        "folder of the inventory files",
        lambda value: Path(kinds.required_text(value)),
    ),
    Setting("inventory.level", "INSTANCE", "STUDY, SERIES or INSTANCE; fixed for a chain", kinds.level),
    Setting("inventory.interval", "5m", "a delta is written this often", kinds.duration),
    Setting(
        "inventory.transfer_syntax",
        "EXPLICIT",
        "EXPLICIT or DEFLATED (little endian)",
        kinds.choice("EXPLICIT", "DEFLATED"),
    ),
    Setting("inventory.write_empty", "true", "write a delta also when nothing changed", kinds.flag),
    Setting("inventory.write_timezone", "false", "write Timezone Offset From UTC (0008,0201)", kinds.flag),
    Setting("inventory.purpose", "", "Inventory Purpose (0008,0401)", kinds.dicom_text("LT", 10_240)),
    Setting("inventory.manufacturer", "Stocktake", "Manufacturer (0008,0070)", kinds.dicom_text("LO", 64)),
    Setting(
        "inventory.institution_name", "", "Institution Name (0008,0080); empty: left out", kinds.dicom_text("LO", 64)
    ),
    Setting("inventory.station_name", "", "Station Name (0008,1010); empty: left out", kinds.dicom_text("SH", 16)),
    Setting(
        "inventory.device_serial_number",
        "",
        "Device Serial Number (0018,1000); empty: left out",
        kinds.dicom_text("LO", 64),
    ),
    Setting(
        "inventory.write_transaction_uid", "false", "write Transaction UID (0008,1195), a new one each time", kinds.flag
    ),
    Setting("inventory.uid_root", "2.25", "root of new SOP Instance UIDs", kinds.uid_root),
    Setting("inventory.lease", "30s", "a writer unheard of for so long is replaced", kinds.duration),
    Setting(
        "inventory.max_records_per_instance",
        "100000",
        "study records of one file; more are split into parts",
        kinds.integer(1, 10**9),
    ),
    Setting("inventory.max_bytes_per_instance", "1GB", "the same for its size", kinds.size),
    Setting(
        "inventory.retention",
        "0",
        "how long inventories stay that the head does not reach any more; 0: for ever",
        kinds.delay,
    ),
    Setting("inventory.processes", "2", "a large slice is encoded in so many processes", kinds.integer(1, 64)),
    Setting("access.study_ae_titles", "", "AE titles that studies can be retrieved from", kinds.ae_titles),
    Setting("access.study_retrieve_url", "", "DICOMweb service that studies can be retrieved from", kinds.url),
    Setting("access.study_base_uri", "", "what relative URIs of stored instances begin at", kinds.base_uri),
    Setting("access.inventory_ae_titles", "", "AE titles that inventories can be retrieved from", kinds.ae_titles),
    Setting("access.inventory_retrieve_url", "", "DICOMweb service that inventories can be retrieved from", kinds.url),
    Setting("access.inventory_base_uri", "", "where the repository's folder of inventories is served", kinds.base_uri),
    Setting("chain.start", "", "the chain's first moment; empty: oldest update time at the first cut", kinds.moment),
    Setting(
        "chain.origin",
        "unknown",
        "empty: the archive is followed from its first day",
        kinds.choice("unknown", "empty"),
    ),
    Setting("chain.rollup_fanout", "8", "deltas of one tier that a rollup replaces", kinds.integer(2, 1000)),
    Setting("cutover.source", "", "repository that is migrated; with cutover.target both are compared", kinds.text),
    Setting("cutover.target", "", "repository that it is migrated to", kinds.text),
    Setting(
        "cutover.attributes",
        "PatientID,StudyDate,AccessionNumber",
        "attributes of a study that must agree, by keyword",
        kinds.study_keywords,
    ),
    Setting("cutover.ignored_modalities", "", "studies of these alone are out of scope", kinds.optional_listing),
    Setting("cutover.study_date_from", "", "studies of an earlier Study Date are out of scope", kinds.study_date),
    Setting("cutover.study_date_to", "", "studies of a later Study Date are out of scope", kinds.study_date),
    Setting("cutover.updated_from", "", "studies last updated before are out of scope", kinds.moment),
    Setting("cutover.accession_numbers", "", "CSV file: accession number, what the migration makes of it", kinds.path),
    Setting("cutover.study_uids", "", "CSV file: Study Instance UID, what the migration makes of it", kinds.path),
    Setting("cutover.grace", "15m", "a study that differs for less is on its way, not an exception", kinds.delay),
    Setting("cutover.quiet", "10m", "the gate wants nothing to be open for so long", kinds.duration),
    Setting("cutover.max_lag", "5m", "the gate wants both watermarks to be younger than this", kinds.duration),
    Setting("cutover.max_silence", "1h", "the gate wants an event from both sides within this", kinds.duration),
    Setting("http.listen", "127.0.0.1:8080", "HOST:PORT of the HTTP service", kinds.listen),
    Setting("http.tokens_file", "", "hashes of the tokens that let in; empty: loopback only", kinds.path),
    Setting("http.tls_cert_file", "", "certificate of the HTTP service; empty: no TLS", kinds.path),
    Setting("http.tls_key_file", "", "its key, if it is not in the same file", kinds.path),
    Setting("health.file", "", "start of the names of the files in which every role tells its health", kinds.path),
    Setting("log.level", "INFO", "DEBUG, INFO, WARNING or ERROR", kinds.choice("DEBUG", "INFO", "WARNING", "ERROR")),
    Setting("log.format", "text", "text, or json: one JSON object a line", kinds.choice("text", "json")),
)

REPOSITORY_SETTINGS: Final = (
    Setting(
        "repositories.<name>.topics", "stocktake.<name>.events", "topics to follow, comma-separated", kinds.listing
    ),
    Setting(
        "repositories.<name>.format",
        "auto",
        "format of its events: " + ", ".join(FORMATS),
        kinds.choice(*FORMATS),
    ),
    Setting(
        "repositories.<name>.heartbeats",
        "false",
        "a bridge sends heartbeats: without one the watermark stands still",
        kinds.flag,
    ),
    Setting("repositories.<name>.timezone", "UTC", "zone of its times without offset and of Content Date", kinds.zone),
)

SINK_SETTINGS: Final = (
    Setting("sinks.<name>.url", "", "where published inventories also go", kinds.sink_url),
    Setting(
        "sinks.<name>.repositories", "", "only these repositories' inventories; empty: all", kinds.optional_listing
    ),
    Setting("sinks.<name>.timeout", "60s", "give up on an answer after this, and try again later", kinds.duration),
    Setting("sinks.<name>.retry_interval", "5m", "the longest pause between two tries", kinds.duration),
    Setting("sinks.<name>.calling_ae_title", "STOCKTAKE", "dicom: our own AE title", kinds.ae_title),
    Setting("sinks.<name>.username", "", "http: user", kinds.text),
    Setting("sinks.<name>.password", "", "http: password", kinds.text, secret=True),
    Setting("sinks.<name>.token", "", "http: bearer token", kinds.text, secret=True),
    Setting("sinks.<name>.tls_ca_file", "", "authorities that sign the receiver; empty: the system's", kinds.path),
    Setting("sinks.<name>.tls_cert_file", "", "our certificate, if the receiver asks for one", kinds.path),
    Setting("sinks.<name>.tls_key_file", "", "our certificate's key, if it is not in the same file", kinds.path),
    Setting(
        "sinks.<name>.storage_options",
        "{}",
        "object storage: what fsspec is given (JSON)",
        kinds.json_object,
        secret=True,
    ),
)

ARCHIVE_SETTINGS: Final = (
    Setting("archives.<name>.url", "", "where the archive of the repository of that name is asked", kinds.archive_url),
    Setting("archives.<name>.kind", "dicomweb", "what is there: dicomweb, orthanc", kinds.choice(*ARCHIVE_KINDS)),
    Setting("archives.<name>.username", "", "user", kinds.text),
    Setting("archives.<name>.password", "", "password", kinds.text, secret=True),
    Setting("archives.<name>.token", "", "bearer token", kinds.text, secret=True),
    Setting("archives.<name>.tls_ca_file", "", "authorities that sign the archive; empty: the system's", kinds.path),
    Setting("archives.<name>.tls_cert_file", "", "our certificate, if the archive asks for one", kinds.path),
    Setting("archives.<name>.tls_key_file", "", "our certificate's key, if it is not in the same file", kinds.path),
    Setting("archives.<name>.timeout", "30s", "give up on an answer after this, and ask again later", kinds.duration),
    Setting("archives.<name>.requests_per_second", "20", "no more than so many", kinds.rate),
    Setting("archives.<name>.connections", "4", "studies that are looked at side by side", kinds.integer(1, 64)),
    Setting("archives.<name>.quiet", "5s", "a study is looked at when nothing has come for so long", kinds.delay),
    Setting("archives.<name>.retry_interval", "5m", "the longest pause between two tries", kinds.duration),
    Setting("archives.<name>.tries", "8", "failed tries after which a study is left as it is", kinds.integer(1, 1000)),
    Setting(
        "archives.<name>.absent",
        "keep",
        "what the archive does not list, though events told of it: keep or remove",
        kinds.choice("keep", "remove"),
    ),
)

NAMED: Final = {
    "repositories": REPOSITORY_SETTINGS,
    "archives": ARCHIVE_SETTINGS,
    "sinks": SINK_SETTINGS,
}  # groups whose members have names
