"""Connections for every host: kept alive, bounded, trusted, through the proxy where there is one."""

from __future__ import annotations

import os
import ssl
import threading
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from ..errors import InvalidInput, MissingDependency
from .http_connections import pool_classes, waiting
from .http_errors import host_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from urllib3 import HTTPConnectionPool, HTTPResponse, PoolManager

    from .access import Access
    from .http_connections import Asking
    from .http_hold import Hold
    from .transport import Request

#: For how many hosts connections are kept.
_HOSTS = 32


class Pools:
    """Connections by host and way; safe for threads.

    Proxies are looked up in the environment once for every host.
    """

    def __init__(self, access: Access, connections: int) -> None:
        self._access = access
        self._connections = connections
        self._ways: dict[tuple[str, str, bool], _Way] = {}
        self._managers: dict[tuple[str, bool], PoolManager] = {}
        self._lock = threading.Lock()

    def send(self, request: Request, url: str, headers: Mapping[str, str], hold: Hold) -> HTTPResponse:
        """Send a request once and return the answer with its body still to be read.

        Args:
            request: Its method and body, and whether proxies are passed by.
            url: Where to.
            headers: All headers.
            hold: Gets hold of the connection before the answer is waited for.

        Raises:
            urllib3.exceptions.HTTPError: there is no answer.
            MissingDependency: the library is not installed.
            InvalidInput: the settings for proxies or trust cannot be used.
        """
        parts = urlsplit(url)
        key = parts.scheme, parts.netloc, request.direct
        way = self._ways.get(key) or self._new_way(key, url)
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        if request.body is None and not way.proxied:
            pool = cast("Asking", way.pool)
            head = pool.head(request.method, target, {"Accept-Encoding": "identity", **headers})
            if head:
                return pool.ask(request.method, head, hold)
        waiting.hold = hold
        try:
            response = way.pool.urlopen(
                request.method,
                f"{way.before}{target}",
                redirect=False,
                assert_same_host=False,
                headers={**headers, **way.headers},
                body=request.body,
                preload_content=False,
                pool_timeout=self._access.connect_timeout_s,  # type: ignore[arg-type]  # the queue below takes fractions
            )
            return cast("HTTPResponse", response)
        finally:
            waiting.hold = None

    def close(self) -> None:
        """Close every connection that is not in use; those in use are closed when they are given back."""
        with self._lock:
            ways, self._ways, self._managers = self._ways, {}, {}
        for way in ways.values():
            way.pool.close()

    def _new_way(self, key: tuple[str, str, bool], url: str) -> _Way:
        scheme, _, direct = key
        host = host_of(url)
        proxy = "" if direct else self._proxy(scheme, host)
        tls = scheme == "https" or proxy.startswith("https:")
        with self._lock:
            manager = self._managers.get((proxy, tls))
            if manager is None:
                manager = self._managers[proxy, tls] = self._new_manager(proxy, tls=tls)
            if len(self._ways) >= _HOSTS:
                self._ways.pop(next(iter(self._ways)))
            # Without a tunnel, a proxy wants to know the whole URL.
            plain = bool(proxy) and scheme == "http"
            way = _Way(
                manager.connection_from_url(url),
                f"{scheme}://{host}" if plain else "",
                {"Host": host} if plain else {},
                proxied=bool(proxy),
            )
            self._ways[key] = way
            return way

    def _proxy(self, scheme: str, host: str) -> str:
        if self._access.proxy:
            return _usable(self._access.proxy)
        found = getproxies()
        proxy = found.get(scheme) or found.get("all") or ""
        return "" if not proxy or proxy_bypass(host) else _usable(proxy)

    def _new_manager(self, proxy: str, *, tls: bool) -> PoolManager:
        try:
            import urllib3
        except ImportError as error:
            library = "Python library urllib3"
            raise MissingDependency(library, "reaching models over the network") from error
        settings: dict[str, Any] = {
            "num_pools": _HOSTS,
            "maxsize": self._connections,
            "block": True,
            "timeout": urllib3.Timeout(connect=self._access.connect_timeout_s, read=self._access.read_timeout_s),
            "retries": urllib3.Retry(total=False, redirect=False),
        }
        if tls:
            settings["ssl_context"] = trust(self._access.ca_bundle)
        manager: PoolManager
        if proxy:
            login = urllib3.util.parse_url(proxy).auth
            shown_to_proxy = urllib3.make_headers(proxy_basic_auth=unquote(login)) if login else None
            manager = urllib3.ProxyManager(
                proxy, proxy_headers=shown_to_proxy, proxy_ssl_context=settings.get("ssl_context"), **settings
            )
        else:
            manager = urllib3.PoolManager(**settings)
        manager.pool_classes_by_scheme = pool_classes()
        return manager


class _Way(NamedTuple):
    """How a host is reached.

    Attributes:
        pool: The connections to it, or to the proxy before it.
        before: What is written before the path of a request.
        headers: What the proxy has to be told.
        proxied: Whether there is one.
    """

    pool: HTTPConnectionPool
    before: str
    headers: Mapping[str, str]
    proxied: bool


def trust(ca_bundle: str) -> ssl.SSLContext:
    """Return whom to trust: the bundle, else the one that the environment names, else the system.

    Args:
        ca_bundle: File or directory of certificates; empty means ``$REQUESTS_CA_BUNDLE``, ``$SSL_CERT_FILE`` or
            ``$SSL_CERT_DIR``, and without them the system's store.

    Raises:
        InvalidInput: the bundle cannot be read.
    """
    bundle = ca_bundle or os.environ.get("REQUESTS_CA_BUNDLE", "")
    try:
        if os.path.isdir(bundle):  # noqa: PTH112  (a text from outside, empty for none)
            return ssl.create_default_context(capath=bundle)
        return ssl.create_default_context(cafile=bundle or None)
    except OSError as error:
        subject = f"certificate bundle {bundle}"
        raise InvalidInput(subject, f"cannot be used ({error.strerror or error})", "correct ca_bundle") from error


def _usable(proxy: str) -> str:
    url = proxy if "://" in proxy else f"http://{proxy}"
    if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname:
        subject = f"proxy {urlsplit(url).scheme}://{host_of(url)}"
        raise InvalidInput(subject, "is not an HTTP proxy", "give http://host:port")
    return url
