"""What the settings say of the HTTP service."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class HttpPolicy:
    """Where the service listens (host, port); the file of tokens that let in (None: loopback only); TLS files."""

    listen: tuple[str, int]
    tokens_file: Path | None
    tls_cert_file: Path | None
    tls_key_file: Path | None
