"""Certificates for receivers that are spoken to with TLS; names are always checked."""

from __future__ import annotations

import ssl

from state.dialer import TlsFiles
from writers.policy import SinkPolicy
from writers.sinks.sink import SinkRefused


def tls_context(policy: SinkPolicy) -> ssl.SSLContext:
    """A context from the sink's files; without any the system's authorities count.

    Raises:
        SinkRefused: a file cannot be read.
    """
    try:
        return TlsFiles(policy.tls_ca_file, policy.tls_cert_file, policy.tls_key_file).context()
    except OSError as error:
        raise SinkRefused(f"sinks.{policy.name}: a file of tls_* cannot be used: {error}") from error
