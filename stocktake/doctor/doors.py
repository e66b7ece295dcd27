"""What the HTTP service needs to let in who should be, and nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from stocktake.doctor.finding import Examined, Finding, Reporter
from stocktake.web.tokens import Tokens, TokensUnusable

_REPORT: Final = Reporter("http")


def check(examined: Examined) -> Iterator[Finding]:
    policy = examined.settings.http
    if policy.tokens_file is None:
        yield _REPORT.ok("tokens", f"http.tokens_file is not set: {policy.listen[0]} is for this machine alone")
        return
    try:
        Tokens(policy.tokens_file)
    except TokensUnusable as error:
        yield _REPORT.fail(
            "tokens", f"http.tokens_file: {error}", "nobody would be let in; `stocktake token` makes one"
        )
    else:
        yield _REPORT.ok("tokens", f"http.tokens_file {policy.tokens_file} can be used")
    if policy.tls_cert_file is None and policy.listen[0] not in ("127.0.0.1", "::1", "localhost"):
        yield _REPORT.warn(
            "tls",
            f"{policy.listen[0]} is served without TLS: tokens go over the network as they are",
            "set http.tls_cert_file, or let a proxy in the same pod do it",
        )
