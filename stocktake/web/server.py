"""Serving: uvicorn over the application, with TLS if it is set up, until the program is to end."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from threading import Event as Flag
from threading import Thread
from typing import Final

import uvicorn

from stocktake.broker_ends import EndsWatch
from stocktake.cutover import Watch, look_with_heads, open_cutover
from stocktake.settings import Settings, SettingsError
from stocktake.standing import standing
from stocktake.web.app import create_app
from stocktake.web.gate import is_loopback
from stocktake.web.policy import HttpPolicy
from stocktake.web.site import CutoverSite, Site
from stocktake.web.tokens import Tokens, TokensUnusable
from stocktake.web.verifications import Verifications
from stocktake.wiring import open_repository

log = logging.getLogger(__name__)

_LOOK: Final = 0.2  # seconds between two looks at whether to end
_GRACE: Final = 5  # seconds for answers that are on their way at the end


def serve(settings: Settings, names: Sequence[str], stop: Flag) -> None:
    """Serve these repositories until ``stop`` is set.

    Raises:
        SettingsError: ``http.*`` does not fit: an address beyond loopback without tokens, a file that cannot be used, a
            port that is taken.
        StateUnreachable, StateMismatch: see :func:`stocktake.wiring.open_repository`.
    """
    policy = settings.http
    tokens = _tokens(policy)
    with ExitStack() as closing:
        repositories = {}
        for name in names:
            repositories[name] = open_repository(settings, name)
            closing.callback(repositories[name].close)
        ends = EndsWatch(settings.kafka, [one.policy for one in repositories.values()])
        cutover = _cutover(settings, ends, closing)
        site = Site(
            repositories,
            lambda one: standing(settings, one, ends.latest(one.policy.name)),
            settings.inventory.dir,
            Verifications(stop),
            cutover,
        )
        server = _server(policy, site, tokens)
        # A daemon: it may wait for a broker that does not answer, and the end must not.
        Thread(target=ends.run, args=(stop,), name="ends", daemon=True).start()
        if cutover is not None:
            Thread(target=cutover.watch.run, args=(stop,), name="cutover", daemon=True).start()
        _run(server, policy, stop)


def _cutover(settings: Settings, ends: EndsWatch, closing: ExitStack) -> CutoverSite | None:
    """The cutover of the settings, if there is one, looked at once so that there are figures from the first request."""
    if settings.cutover is None:
        return None
    opened = open_cutover(settings)
    closing.callback(opened.close)
    watch = Watch(settings, opened, ends.latest)
    watch.look()
    return CutoverSite(opened, watch, partial(look_with_heads, settings, opened))


def _tokens(policy: HttpPolicy) -> Tokens | None:
    """The tokens, if there is a file of them; beyond loopback there must be."""
    host, _ = policy.listen
    if policy.tokens_file is not None:
        try:
            tokens = Tokens(policy.tokens_file)
        except TokensUnusable as error:
            raise SettingsError(f"http.tokens_file: {error}") from None
        if not is_loopback(host) and policy.tls_cert_file is None:
            log.warning(
                "http.listen: %s is not a loopback address and http.tls_cert_file is not set: tokens and patient data "
                "can be read on the way, unless a proxy that speaks TLS is all that can reach it",
                host,
            )
        return tokens
    if not is_loopback(host):
        raise SettingsError(
            f"http.listen: {host} is not a loopback address; set http.tokens_file to listen there, so that nobody is "
            "answered without a token"
        )
    return None


def _server(policy: HttpPolicy, site: Site, tokens: Tokens | None) -> uvicorn.Server:
    host, port = policy.listen
    config = uvicorn.Config(
        create_app(site, tokens),
        host=host,
        port=port,
        ws="none",
        log_config=None,
        log_level="warning",
        access_log=False,  # it would log whole addresses; stocktake.web.envelope logs instead
        server_header=False,
        proxy_headers=False,  # nothing here depends on where a request came from
        timeout_graceful_shutdown=_GRACE,
        ssl_certfile=policy.tls_cert_file,
        ssl_keyfile=policy.tls_key_file,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"http.tls_cert_file: {policy.tls_cert_file} cannot be used: {error}") from None
    return uvicorn.Server(config)


def _run(server: uvicorn.Server, policy: HttpPolicy, stop: Flag) -> None:
    thread = Thread(target=server.run, name="http")
    thread.start()
    certificate = _Certificate(server.config.ssl, policy)
    try:
        while thread.is_alive() and not stop.wait(_LOOK):
            certificate.look()
        failed = not stop.is_set()
    finally:
        server.should_exit = True
        thread.join()
    if failed:
        host, port = policy.listen
        raise SettingsError(f"http.listen: cannot listen on {host}:{port}; is the port taken?")


class _Certificate:
    """Takes a renewed certificate up for the connections to come. One that cannot be used is logged; the old stays."""

    def __init__(self, context: ssl.SSLContext | None, policy: HttpPolicy) -> None:
        self._context = context
        self._policy = policy
        self._seen = self._now()

    def look(self) -> None:
        if self._context is None or self._policy.tls_cert_file is None:
            return
        now = self._now()
        if now == self._seen:
            return
        self._seen = now
        try:
            self._context.load_cert_chain(self._policy.tls_cert_file, self._policy.tls_key_file)
            log.info("http.tls_cert_file was read again")
        except OSError as error:
            log.error("http.tls_cert_file cannot be used, the one before stays: %s", error)  # noqa: TRY400

    def _now(self) -> list[int]:
        files = (self._policy.tls_cert_file, self._policy.tls_key_file)
        try:
            return [file.stat().st_mtime_ns for file in files if file is not None]
        except OSError:
            return []
