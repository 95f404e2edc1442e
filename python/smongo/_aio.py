"""`AsyncMongoClient`: PyMongo's asyncio client, also of an engine in this process."""

from __future__ import annotations

import asyncio
import weakref
from typing import Any

import pymongo
from pymongo.errors import ConfigurationError
from pymongo.typings import _DocumentType

from smongo import _engines
from smongo._client import _SYNC


class AsyncMongoClient(pymongo.AsyncMongoClient[_DocumentType]):
    """PyMongo's AsyncMongoClient; with a ``local://`` or ``memory://`` URI over the private socket of an engine in this process."""

    def __new__(cls, host: Any = None, *args: Any, sync: Any = None, **kwargs: Any) -> Any:
        if sync not in (None, False):
            raise NotImplementedError(_SYNC)
        if _engines.is_local(host):
            return object.__new__(cls if issubclass(cls, LocalAsyncMongoClient) else LocalAsyncMongoClient)
        if cls is AsyncMongoClient:
            return pymongo.AsyncMongoClient(host, *args, **kwargs)
        raise ConfigurationError(f"{cls.__name__} takes a local:// or memory:// URI, not {host!r}")


class LocalAsyncMongoClient(AsyncMongoClient[_DocumentType]):
    """An asyncio client of an engine in this process."""

    def __init__(
        self,
        host: str,
        *args: Any,
        sync: None | bool = None,
        cache_size_mb: int | None = None,
        durable: bool | None = None,
        test_commands: bool | None = None,
        allow_other_files: bool | None = None,
        **kwargs: Any,
    ) -> None:
        options = {"cache_size_mb": cache_size_mb, "durable": durable, "test_commands": test_commands, "allow_other_files": allow_other_files}
        place = _engines.target(host, options)
        self._lease = _engines.lease(place)
        self._release = weakref.finalize(self, self._lease.release)
        try:
            super().__init__(self._lease.uri(place.query), *args, **kwargs)
        except BaseException:
            self._release()
            raise

    async def _get_topology(self) -> Any:
        if not self._closed:
            self._lease.engine.check()
            self._lease.serve()
        return await super()._get_topology()

    async def close(self) -> None:
        """Ends this client; the last client of a database closes it."""
        await super().close()
        # Waits for connections to end and writes a checkpoint: not in the loop's own thread.
        await asyncio.get_running_loop().run_in_executor(None, self._release)
