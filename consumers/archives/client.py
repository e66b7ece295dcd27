"""An archive's HTTP interface: one pool of connections, so many requests a second, errors sorted by reaction.

An error names the setting, the address and the kind of resource (``studies``), never what a path, a query or an answer
holds: UIDs and patients' attributes stay out of logs.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from threading import Lock
from typing import Any, Final

import httpx
import orjson

from consumers.archives.archive import ArchiveBusy, ArchiveError, ArchiveRefused
from consumers.policy import ArchivePolicy
from state.dialer import TlsFiles

LARGEST_ANSWER: Final = 128 * 1024 * 1024  # bytes once unpacked; ten thousand instances' metadata are a tenth of it
LONGEST_RETRY_AFTER: Final = 3600.0  # seconds; an archive that asks for more is asked again after that

_PACKED: Final = "gzip"  # which is unpacked a little at a time; of others a small piece may hold gigabytes
_IDLE: Final = 0.5  # seconds for which a connection is kept; some servers close theirs after one, without a word
_PASSING: Final = frozenset({408, 425, 429})  # besides 5xx: statuses that ask to come again
_LASTING: Final = frozenset({501, 505})  # 5xx that no waiting changes
_AWAY: Final = frozenset({429, 502, 503})  # it answers nobody now; another status may be of this one question
_NOBODY: Final = 401  # it does not know us (any more): a token has run out, which is no fault of the question
_BOM: Final = b"\xef\xbb\xbf"
_ENDS: Final = {b"[": b"]", b"{": b"}"}


class ArchiveClient:
    """Asks one archive; for several threads. ``monotonic`` and ``sleep`` in seconds, ``now`` in UTC seconds.

    ``answered`` is called when an answer begins, be it an error, and at each piece of it that comes. Proxies are those
    of the environment (``HTTPS_PROXY``, ``NO_PROXY``).

    Raises:
        ArchiveRefused: when made: the address is none, or the files for TLS cannot be used.
    """

    def __init__(
        self,
        policy: ArchivePolicy,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.time,
        largest: int = LARGEST_ANSWER,
        answered: Callable[[], None] = lambda: None,
    ) -> None:
        self.where = f"archives.{policy.name}: {policy.url}"
        self._name = f"archives.{policy.name}"
        self._pace = Pace(policy.requests_per_second, monotonic, sleep)
        self._now = now
        self._largest = largest
        self._answered = answered
        headers = {"Authorization": f"Bearer {policy.token}"} if policy.token else {}
        tls = _tls(policy, self.where)
        try:
            self._client = httpx.Client(
                base_url=policy.url.rstrip("/") + "/",
                headers=headers,
                auth=httpx.BasicAuth(policy.username, policy.password) if policy.username else None,
                timeout=policy.timeout,
                limits=httpx.Limits(max_connections=policy.connections, keepalive_expiry=_IDLE),
                verify=tls,
                follow_redirects=False,  # credentials are not for whomever a server names
            )
        except httpx.InvalidURL as error:
            raise ArchiveRefused(f"{self.where}: is no address: {error}; set {self._name}.url") from None

    def get(self, path: str, params: Mapping[str, Any] | None = None, accept: str = "application/json") -> Any:
        """The JSON that the archive answers; None for 404, an empty list for 204 (no content).

        Raises:
            ArchiveBusy, ArchiveRefused: see :mod:`consumers.archives.archive`.
        """
        return self._ask("GET", path, params, None, accept)

    def post(self, path: str, body: Any, accept: str = "application/json") -> Any:
        """The same for a POST of ``body``: bytes or text as they are, anything else as JSON."""
        content = body if isinstance(body, bytes | str) else orjson.dumps(body)
        return self._ask("POST", path, None, content, accept)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _ask(
        self, method: str, path: str, params: Mapping[str, Any] | None, content: bytes | str | None, accept: str
    ) -> Any:
        self._pace.wait()
        path = path.lstrip("/")
        resource = path.split("/", 1)[0]  # what follows may be a UID
        asked = self._client.stream(
            method, path, params=params, content=content, headers={"Accept": accept, "Accept-Encoding": _PACKED}
        )
        try:
            with asked as reply:
                self._answered()
                if reply.status_code == 204:
                    return []
                if reply.status_code == 404:
                    return None
                if reply.status_code != 200:
                    raise self._error(reply, resource)
                if reply.headers.get("Content-Encoding", _PACKED).strip().lower() not in (_PACKED, "identity"):
                    raise ArchiveRefused(
                        f"{self.where}: its answer to {resource} is packed in a way it was not asked for"
                    )
                body = self._body(reply, resource)
        except (httpx.UnsupportedProtocol, httpx.InvalidURL):
            raise ArchiveRefused(f"{self.where}: is no http or https address; set {self._name}.url") from None
        except httpx.HTTPError as error:
            # Its text may hold the address that was asked, with a UID in it.
            away = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            text = f"{self.where}: {type(error).__name__} at {resource}{_cause(error)}"
            raise ArchiveBusy(text, everything=away) from None
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            raise self._no_json(body, resource) from None

    def _body(self, reply: httpx.Response, resource: str) -> bytes:
        pieces = bytearray()
        for piece in reply.iter_bytes():
            self._answered()
            pieces += piece
            if len(pieces) > self._largest:
                raise ArchiveRefused(
                    f"{self.where}: its answer to {resource} is larger than {self._largest // 2**20} MiB"
                )
        return bytes(pieces.removeprefix(_BOM))

    def _error(self, reply: httpx.Response, resource: str) -> ArchiveError:
        status = reply.status_code
        text = f"{self.where}: answers {status} to {resource}"
        if status in _PASSING or (status >= 500 and status not in _LASTING):
            return ArchiveBusy(text, self._retry_after(reply), everything=status in _AWAY)
        if status in (_NOBODY, 403):
            text += f"; see {self._name}.username, password and token, and what that user may see"
        elif 300 <= status < 400:
            text += f"; it is somewhere else, set {self._name}.url to where"
        return ArchiveBusy(text, everything=True) if status == _NOBODY else ArchiveRefused(text)

    def _no_json(self, body: bytes, resource: str) -> ArchiveError:
        text = body.strip()
        if text[:1] in _ENDS and text[-1:] != _ENDS[text[:1]]:
            return ArchiveBusy(f"{self.where}: its answer to {resource} stops half-way")
        return ArchiveRefused(f"{self.where}: its answer to {resource} is no JSON in UTF-8")

    def _retry_after(self, reply: httpx.Response) -> float | None:
        """Seconds (RFC 9110, 10.2.3: a number of them, or a date), an hour at most."""
        text = reply.headers.get("Retry-After", "").strip()
        if text.isascii() and text.isdigit():
            return float(min(int(text[:9]), LONGEST_RETRY_AFTER))
        try:
            until = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None
        if until.tzinfo is None:
            until = until.replace(tzinfo=UTC)
        return min(max(0.0, until.timestamp() - self._now()), LONGEST_RETRY_AFTER)


class Pace:
    """Lets so many pass in a second, evenly, whichever threads they are."""

    def __init__(self, per_second: float, monotonic: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._interval = 1 / per_second
        self._monotonic = monotonic
        self._sleep = sleep
        self._lock = Lock()
        self._next = 0.0

    def wait(self) -> None:
        """Wait for one's turn."""
        with self._lock:
            now = self._monotonic()
            turn = max(now, self._next)
            self._next = turn + self._interval
        if turn > now:
            self._sleep(turn - now)


def _cause(error: httpx.HTTPError) -> str:
    """What a failed connection is told with by the system: it names hosts and certificates, no path."""
    return f" ({error})" if isinstance(error, httpx.ConnectError) and str(error) else ""


def _tls(policy: ArchivePolicy, where: str) -> ssl.SSLContext:
    try:
        return TlsFiles(policy.tls_ca_file, policy.tls_cert_file, policy.tls_key_file).context()
    except OSError as error:
        raise ArchiveRefused(f"{where}: a file of tls_* cannot be used: {error}") from error
