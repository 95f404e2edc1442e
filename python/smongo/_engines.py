"""Open engines: one per path within a process, shared by every client of that path, closed by the last one.

`target` reads a ``local://`` or ``memory://`` URI; `lease` opens (or joins) the engine it names.
"""

from __future__ import annotations

import atexit
import os
import secrets
import tempfile
import threading
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlencode

from pymongo.errors import ConfigurationError

from smongo import _smongo

LOCAL = "local://"
MEMORY = "memory://"
#: Options of the engine, in the query of the URI (any case) or as keyword arguments of the client.
OPTIONS = {"cachesizemb": "cache_size_mb", "durable": "durable", "testcommands": "test_commands", "allowotherfiles": "allow_other_files"}
#: The longest path a unix socket may have on every system.
SOCKET_PATH = 100


def quoted(path: str) -> str:
    """A path as part of a URI."""
    return quote(path, safe="/~")


def is_local(host: Any) -> bool:
    """Whether a client's ``host`` names an engine in this process."""
    return isinstance(host, str) and host.startswith((LOCAL, MEMORY))


def _memory_megabytes() -> int:
    """How large a database in memory may grow: half of the machine. Its cache is all the room it has, taken as it is filled."""
    try:
        return max(256, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 21)
    except (AttributeError, ValueError, OSError):
        return 1024


@dataclass(frozen=True)
class Target:
    """What a URI names: a directory, a named or (``key`` is None) an anonymous database in memory."""

    path: str | None
    key: str | None
    options: dict[str, Any]
    #: The rest of the query, for PyMongo.
    query: dict[str, str] = field(default_factory=dict)


def target(uri: str, options: dict[str, Any]) -> Target:
    """Reads a URI. `options` are the engine's options given as keyword arguments; they win over the URI's."""
    place, _, query = uri.partition("?")
    mine: dict[str, Any] = {}
    theirs: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name.lower() in OPTIONS:
            mine[OPTIONS[name.lower()]] = value
        else:
            theirs[name] = value
    mine.update({k: v for k, v in options.items() if v is not None})
    mine = {k: _value(k, v) for k, v in mine.items()}
    if place.startswith(MEMORY):
        name = unquote(place[len(MEMORY) :]).strip("/")
        return Target(None, MEMORY + name if name else None, mine, theirs)
    path = unquote(place[len(LOCAL) :])
    if not path:
        raise ConfigurationError("local:// needs the path of a directory, for example local://./data or local:///var/lib/app")
    path = os.path.realpath(os.path.expanduser(path))
    return Target(path, path, mine, theirs)


def _value(name: str, value: Any) -> Any:
    if name == "cache_size_mb":
        try:
            megabytes = int(value)
        except (TypeError, ValueError):
            megabytes = 0
        if megabytes < 1:
            raise ConfigurationError(f"cache_size_mb must be a positive integer, not {value!r}")
        return megabytes
    if value in (True, False):
        return bool(value)
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise ConfigurationError(f"{name} must be true or false, not {value!r}")


class Lease:
    """An open engine and how many use it."""

    def __init__(self, place: Target) -> None:
        self.key = place.key
        self.options = place.options
        self.users = 0
        megabytes = place.options.get("cache_size_mb")
        if megabytes is None and place.path is None:
            megabytes = _memory_megabytes()
        self.engine = _smongo.Engine(
            place.path,
            cache_bytes=megabytes << 20 if megabytes else None,
            durable=place.options.get("durable", False),
            test_commands=place.options.get("test_commands", False),
            allow_other_files=place.options.get("allow_other_files", False),
        )
        self._lock = threading.Lock()
        self._serving = False
        directory = tempfile.gettempdir()
        if len(directory) > SOCKET_PATH - 40:
            directory = "/tmp"
        self._directory = os.path.join(directory, f"smongo-{os.getpid()}-{secrets.token_hex(8)}")
        self._socket = os.path.join(self._directory, "s.sock")

    def uri(self, query: dict[str, str]) -> str:
        """PyMongo's URI of the private socket, which `serve` opens."""
        options = urlencode({**query, "directConnection": "true"})
        return f"mongodb://{quote_plus(self._socket)}/?{options}"

    def serve(self) -> None:
        """Opens the private socket, once. Only this user may reach it: its directory is mode 0700."""
        if self._serving:
            return
        with self._lock:
            if not self._serving:
                os.mkdir(self._directory, 0o700)
                self.engine.listen_unix(self._socket)
                self._serving = True

    def release(self) -> None:
        """One user less; the last one closes the engine."""
        with _lock:
            self.users -= 1
            if self.users > 0:
                return
            _leases.discard(self)
            # Under the lock: whoever opens the same path next finds it closed.
            self.shut()

    def shut(self) -> None:
        self.engine.close()
        if self._serving and not _forked:
            try:
                os.rmdir(self._directory)
            except OSError:
                pass


_leases: set[Lease] = set()
# Reentrant: a client may be collected, and so let go of its lease, while this thread opens another.
_lock = threading.RLock()
_forked = False


def lease(place: Target) -> Lease:
    """Opens what `place` names or joins those who have it open; ends with `Lease.release`."""
    with _lock:
        found = next((one for one in _leases if place.key is not None and one.key == place.key), None)
        if found is None:
            found = Lease(place)
            _leases.add(found)
        elif any(found.options.get(k, False) != v for k, v in place.options.items()):
            raise ConfigurationError(f"{place.key} is open in this process with other options: {found.options}")
        found.users += 1
        return found


def _close_all() -> None:
    with _lock:
        for one in list(_leases):
            _leases.discard(one)
            one.shut()


def _after_fork() -> None:
    global _lock, _forked
    _smongo.after_fork()
    _forked = True
    _lock = threading.RLock()
    # Kept alive, never closed: they belong to the parent.
    _inherited.extend(_leases)
    _leases.clear()


_inherited: list[Lease] = []
atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
