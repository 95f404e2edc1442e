"""`MongoClient` and `LocalDatabase`: PyMongo's classes over an engine in this process."""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping
from typing import Any, cast

import bson
import pymongo
from bson.codec_options import DEFAULT_CODEC_OPTIONS, CodecOptions, TypeRegistry
from pymongo import ReadPreference
from pymongo.errors import ConfigurationError
from pymongo.synchronous.database import Database
from pymongo.typings import _DocumentType
from pymongo.write_concern import DEFAULT_WRITE_CONCERN

from smongo import _engines
from smongo._collection import DOOR, LocalCollection

_SYNC = "sync= is not built yet: a local database cannot be kept in step with a remote MongoDB in this version of smongo"


class MongoClient(pymongo.MongoClient[_DocumentType]):
    """A client of a MongoDB server or of an engine in this process, by its URI.

    - ``mongodb://…``, ``mongodb+srv://…``, a host name or nothing: PyMongo's own client.
    - ``local://path``, ``local:///absolute/path``, ``local://~/path``: the database in that directory, made where there is none.
    - ``memory://``: a new database in memory; ``memory://name``: one that clients of this process share.

    A local client is a `LocalMongoClient`. Keyword arguments are PyMongo's; those of the engine are ``cache_size_mb`` (64 at least),
    ``durable``, ``allow_other_files`` (make a new database also in a directory that has other files in it) and ``test_commands``.

    An acknowledged write survives the death of the process. A power failure takes what the last 100 ms acknowledged without
    ``j: true`` or ``w: "majority"``; with ``durable=True`` it takes nothing.
    """

    def __new__(cls, host: Any = None, *args: Any, sync: Any = None, **kwargs: Any) -> Any:
        if sync not in (None, False):
            raise NotImplementedError(_SYNC)
        if _engines.is_local(host):
            return object.__new__(cls if issubclass(cls, LocalMongoClient) else LocalMongoClient)
        if cls is MongoClient:
            return pymongo.MongoClient(host, *args, **kwargs)
        raise ConfigurationError(f"{cls.__name__} takes a local:// or memory:// URI, not {host!r}")


class LocalMongoClient(MongoClient[_DocumentType]):
    """PyMongo's MongoClient over an engine in this process.

    Everyday operations go straight into the engine. Everything else is PyMongo's own code, served over a private unix
    socket that is opened when it is first needed.
    """

    def __init__(
        self,
        host: str,
        port: int | None = None,
        document_class: type[_DocumentType] | None = None,
        tz_aware: bool | None = None,
        connect: bool | None = None,
        type_registry: TypeRegistry | None = None,
        *,
        sync: None | bool = None,
        cache_size_mb: int | None = None,
        durable: bool | None = None,
        test_commands: bool | None = None,
        allow_other_files: bool | None = None,
        **kwargs: Any,
    ) -> None:
        options = {"cache_size_mb": cache_size_mb, "durable": durable, "test_commands": test_commands, "allow_other_files": allow_other_files}
        lease = _engines.lease(_engines.target(host, options))
        self._lease = lease
        self._door = lease.engine.door()
        # Also when the client is collected without close(), and when the interpreter ends.
        self._release = weakref.finalize(self, lease.release)
        self._local_uri = host
        self._given = {"port": port, "document_class": document_class, "tz_aware": tz_aware, "type_registry": type_registry, **options, **kwargs}
        query = _engines.target(host, {}).query
        try:
            super().__init__(lease.uri(query), None, document_class, tz_aware, False, type_registry, **kwargs)
        except BaseException:
            self._release()
            raise
        # Commands that somebody watches, bounds or transforms take PyMongo's own way.
        listeners = self._event_listeners
        self._plain = (
            not (listeners is not None and listeners.enabled_for_commands)
            and self._encrypter is None
            and self.options.pool_options.server_api is None
            and self.options.timeout is None
        )
        if connect:
            self._get_topology()

    def _get_topology(self) -> Any:
        if not self._closed:
            # Also says so when this is a forked child.
            self._lease.engine.check()
            self._lease.serve()
        return super()._get_topology()

    def close(self) -> None:
        """Ends this client; the last client of a database closes it."""
        self._door.close()
        super().close()
        self._release()

    def run_raw(self, db: str, command: Mapping[str, Any]) -> dict[str, Any]:
        """Runs a command as it is and returns the reply as it is, also when it tells of a failure."""
        body = bson.encode({**command, "$db": command.get("$db", db)}, codec_options=self.codec_options)
        return bson.decode(self._door.run(body))

    def backup(self, directory: str | os.PathLike[str]) -> None:
        """Copies the open database into an empty or missing directory. Everything acknowledged before the call is in the copy."""
        self.admin.command("backup", os.path.abspath(directory))

    def compact_oplog(self, keep: int) -> int:
        """Removes all entries of the oplog but the newest ``keep``; returns how many went.

        Change streams that have not come that far lose their place: they can only begin anew.
        """
        return int(self.admin.command("compactOplog", 1, keep=keep)["removed"])

    def __getitem__(self, name: str) -> LocalDatabase[_DocumentType]:
        return LocalDatabase(self, name)

    def get_database(self, name: str | None = None, *args: Any, **kwargs: Any) -> LocalDatabase[_DocumentType]:
        return LocalDatabase.of(super().get_database(name, *args, **kwargs))

    def get_default_database(self, *args: Any, **kwargs: Any) -> LocalDatabase[_DocumentType]:
        return LocalDatabase.of(super().get_default_database(*args, **kwargs))

    def _database_default_options(self, name: str) -> Any:
        return LocalDatabase(self, name, DEFAULT_CODEC_OPTIONS, ReadPreference.PRIMARY, DEFAULT_WRITE_CONCERN)

    def _duplicate(self, **kwargs: Any) -> Any:
        return type(self)(self._local_uri, **{**self._given, **kwargs})

    def __repr__(self) -> str:
        return f"MongoClient({self._local_uri!r})"

    # Cursors that were opened through the door are killed through it.

    def _close_cursor_now(self, cursor_id: int, address: Any, session: Any = None, conn_mgr: Any = None) -> None:
        if not self._kill_at_door(cursor_id, address):
            super()._close_cursor_now(cursor_id, address, session=session, conn_mgr=conn_mgr)

    def _close_cursor_soon(self, cursor_id: int, address: Any, conn_mgr: Any = None) -> None:
        if not self._kill_at_door(cursor_id, address):
            super()._close_cursor_soon(cursor_id, address, conn_mgr)

    def _kill_at_door(self, cursor_id: int, address: Any) -> bool:
        if not address or tuple(address) != DOOR:
            return False
        if not self._door.closed and not self._lease.engine.closed:
            db, _, coll = address.namespace.partition(".")
            self._door.run(bson.encode({"killCursors": coll, "cursors": [bson.Int64(cursor_id)], "$db": db}))
        return True


class LocalDatabase(Database[_DocumentType]):
    """PyMongo's Database over an engine in this process."""

    @classmethod
    def of(cls, db: Database[Any]) -> LocalDatabase[Any]:
        return cls(db.client, db.name, db.codec_options, db.read_preference, db.write_concern, db.read_concern)

    def with_options(  # type: ignore[override]
        self, codec_options: CodecOptions[Any] | None = None, read_preference: Any = None, write_concern: Any = None, read_concern: Any = None
    ) -> LocalDatabase[Any]:
        return LocalDatabase.of(super().with_options(cast(Any, codec_options), read_preference, write_concern, read_concern))

    def __getitem__(self, name: str) -> LocalCollection[_DocumentType]:
        return LocalCollection(self, name)

    def get_collection(  # type: ignore[override]
        self,
        name: str,
        codec_options: CodecOptions[Any] | None = None,
        read_preference: Any = None,
        write_concern: Any = None,
        read_concern: Any = None,
    ) -> LocalCollection[Any]:
        return LocalCollection(self, name, False, codec_options, read_preference, write_concern, read_concern)

    def create_collection(self, name: str, *args: Any, **kwargs: Any) -> LocalCollection[_DocumentType]:
        return LocalCollection.of(super().create_collection(name, *args, **kwargs), self)
