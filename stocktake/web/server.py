"""Serving: uvicorn over the application, with TLS if it is set up, until the program is to end."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from contextvars import copy_context
from functools import partial
from threading import Event as Flag
from threading import Thread
from typing import Final

import uvicorn

from consumers.health import FIRST_TURN, Health
from state.errors import StateError
from stocktake.broker_ends import EndsWatch
from stocktake.cutover import Watch, look_with_heads, open_cutover
from stocktake.logs import log_about
from stocktake.members import Member
from stocktake.settings import Settings, SettingsError
from stocktake.standing import standing
from stocktake.web.app import create_app
from stocktake.web.gate import is_loopback
from stocktake.web.policy import HttpPolicy
from stocktake.web.site import CutoverSite, Site
from stocktake.web.tokens import Tokens, TokensUnusable
from stocktake.web.verifications import Verifications
from stocktake.wiring import OpenRepository, open_health, open_repository

log = logging.getLogger(__name__)

_LOOK: Final = 0.2  # seconds between two looks at whether to end
_ASK: Final = 2.0  # seconds between two questions to the state
_GRACE: Final = 5  # seconds for answers that are on their way at the end


def serve(settings: Settings, names: Sequence[str], stop: Flag) -> None:
    """Serve these repositories until ``stop`` is set.

    Raises:
        SettingsError: ``http.*`` does not fit: an address beyond loopback without tokens, a file that cannot be used, a
            port that is taken.
        StateUnreachable, StateMismatch: see :func:`stocktake.wiring.open_repository`.
    """
    log_about(role="service")
    policy = settings.http
    tokens = _tokens(policy)
    pulse = Pulse(open_health(settings, Member("service")))
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
        server = _server(policy, site, tokens, pulse)
        _beside("ends", partial(ends.run, stop))
        _beside("pulse", partial(pulse.look, list(repositories.values()), stop))
        if cutover is not None:
            _beside("cutover", partial(cutover.watch.run, stop))
        _run(server, policy, stop)


def _beside(name: str, work: Callable[[], None]) -> None:
    """Work in a thread. A daemon: it may wait for a server that does not answer, and the end must not."""
    Thread(target=copy_context().run, args=(work,), name=name, daemon=True).start()


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


class Pulse:
    """The service's sign of life: given by the event loop that answers requests, so that it ceases when that hangs.

    The service is ready while the state answers, which another thread asks. Whatever goes wrong there, it asks again.
    """

    def __init__(self, health: Health) -> None:
        self._health = health
        self._waiting_for = FIRST_TURN
        self._said = ""

    async def beat(self) -> None:
        """Leave word. For the event loop itself, about once a second."""
        self._health.beat(self._waiting_for)

    def look(self, repositories: Sequence[OpenRepository], stop: Flag) -> None:
        """Ask the state of every repository again and again until ``stop`` is set."""
        while not stop.is_set():
            try:
                for one in repositories:
                    one.connection.now()
            except StateError:
                self._waiting_for = "redis"
            except Exception as error:  # it must not end this: what was found last would be told for ever
                self._waiting_for = "a look at the state, which fails"
                self._say(type(error).__name__)
            else:
                self._waiting_for = self._said = ""
            stop.wait(_ASK)

    def _say(self, kind: str) -> None:
        """Log an error of a kind once, not at every look; its text may hold anything."""
        if kind != self._said:
            log.error("the state cannot be looked at: %s; the service is not ready", kind)
            self._said = kind


def _server(policy: HttpPolicy, site: Site, tokens: Tokens | None, pulse: Pulse) -> uvicorn.Server:
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
        callback_notify=pulse.beat,
        timeout_notify=1,
        ssl_certfile=policy.tls_cert_file,
        ssl_keyfile=policy.tls_key_file,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"http.tls_cert_file: {policy.tls_cert_file} cannot be used: {error}") from None
    return uvicorn.Server(config)


def _run(server: uvicorn.Server, policy: HttpPolicy, stop: Flag) -> None:
    thread = Thread(target=copy_context().run, args=(server.run,), name="http")
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
