"""`WireServer`: MongoDB's wire protocol in front of an engine in this process.

    with WireServer("./data") as server:
        print(server.uri)            # for PyMongo, mongosh, Compass or any driver
"""

from __future__ import annotations

import os
import weakref
from types import TracebackType
from typing import Self

from smongo import _engines


class WireServer:
    """Serves the database in directory `path` (in memory when there is none) on a TCP port; 0 takes any free one.

    `path` may also be a ``local://`` or ``memory://name`` URI; clients of this process and the server share one engine.
    With ``auth=True`` clients must log in as a user of the database. Without it a `host` that other machines can reach is refused, unless
    ``allow_unauthenticated_network=True`` says that whoever reaches the port may have the data.
    Further options are those of `smongo.MongoClient`: ``durable=True`` has every acknowledged write on disk.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        port: int = 0,
        host: str = "127.0.0.1",
        *,
        auth: bool = False,
        allow_unauthenticated_network: bool = False,
        **options: object,
    ) -> None:
        uri = _engines.MEMORY if path is None else os.fspath(path)
        if not _engines.is_local(uri):
            uri = _engines.LOCAL + _engines.quoted(uri)
        self._lease = _engines.lease(_engines.target(uri, dict(options)))
        self._release = weakref.finalize(self, self._lease.release)
        self.host = host
        try:
            self._server, self.port = self._lease.engine.listen_tcp(host, port, auth=auth, open_network=allow_unauthenticated_network)
        except BaseException:
            self._release()
            raise

    @property
    def uri(self) -> str:
        """Where drivers connect to."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"mongodb://{host}:{self.port}/"

    @property
    def stopped(self) -> bool:
        """Whether a client shut the server down."""
        return self._lease.engine.shutting_down

    def close(self) -> None:
        """Ends the connections; closes the database when nobody else in this process uses it."""
        if self._release.alive:
            self._lease.engine.stop(self._server)
            self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
