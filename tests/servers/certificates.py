"""Certificates of a test: an authority, a server of this machine and a client, made by openssl."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_SERVER: Final = "subjectAltName=IP:127.0.0.1,DNS:localhost"
_ELSEWHERE: Final = "subjectAltName=DNS:elsewhere.example"
_CLIENT: Final = "extendedKeyUsage=clientAuth"


@dataclass(frozen=True)
class Signed:
    """A certificate and its key, PEM files."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Certificates:
    """An authority and what it signed. ``elsewhere`` is a server's under another name than this machine's."""

    authority: Path
    server: Signed
    elsewhere: Signed
    client: Signed


def make_certificates(folder: Path) -> Certificates:
    """A new authority; two of them trust nothing of each other. Fails without openssl on PATH."""
    program = shutil.which("openssl")
    assert program is not None, "openssl is not on PATH: the tests of TLS make their certificates with it"

    def openssl(*arguments: str | Path) -> None:
        subprocess.run([program, *arguments], cwd=folder, check=True, capture_output=True)

    def make(name: str, extension: str) -> Signed:
        made = Signed(folder / f"{name}.crt", folder / f"{name}.key")
        subject = ("-subj", f"/CN=Stocktake test {name}", "-addext", extension, "-days", "2", "-out", made.certificate)
        signer: tuple[str | Path, ...] = ("-CA", "authority.crt", "-CAkey", "authority.key")
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", made.key)
        openssl("req", "-x509", *curve, *subject, *(() if name == "authority" else signer))
        return made

    folder.mkdir(parents=True)
    authority = make("authority", "keyUsage=critical,keyCertSign,cRLSign")
    return Certificates(
        authority.certificate, make("server", _SERVER), make("elsewhere", _ELSEWHERE), make("client", _CLIENT)
    )
