"""Cursors whose batches come through the door."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from bson import _decode_all, _dict_to_bson
from bson.int64 import Int64
from pymongo.errors import InvalidOperation
from pymongo.message import _gen_find_command, _gen_get_more_command
from pymongo.synchronous.command_cursor import CommandCursor
from pymongo.synchronous.cursor import Cursor
from pymongo.typings import _DocumentType

from smongo._smongo import CommandFailed

if TYPE_CHECKING:
    from smongo._collection import LocalCollection

#: The "address" of a cursor that was opened through the door.
DOOR = ("smongo door", None)


class LocalCursor(Cursor[_DocumentType]):
    """PyMongo's Cursor. What PyMongo asks of a connection (sessions, exhaust, tailing) goes over one."""

    _collection: LocalCollection[_DocumentType]

    def _refresh(self) -> int:
        if len(self._data) or self._killed:
            return len(self._data)
        coll = self._collection
        if self._id is None:
            if self._session or self._exhaust or self._explain or self._query_flags or not coll._can_read():
                return super()._refresh()
            if (self._min or self._max) and not self._hint:
                raise InvalidOperation("Passing a 'hint' is required when using the min/max query option to ensure the query utilizes the correct index")
            self._dbname, self._collname = coll._database._name, coll._name
            command = _gen_find_command(
                self._collname,
                self._query_spec(),
                self._projection,
                self._skip,
                self._limit,
                self._batch_size,
                None,
                self._read_concern,
                self._collation,
                None,
                self._allow_disk_use,
            )
        elif self._address is not DOOR:
            return super()._refresh()
        elif self._id:
            batch = self._limit - self._retrieved if self._limit else self._batch_size
            if self._limit and self._batch_size:
                batch = min(batch, self._batch_size)
            command = _gen_get_more_command(Int64(self._id), self._collname, batch, None, self._comment)
        else:
            return len(self._data)
        self._address = DOOR  # type: ignore[assignment]
        try:
            self._id, documents = fetch(coll, command, self._dbname, self._codec_options)
        except BaseException:
            self._killed = True
            raise
        self._data = deque(documents)
        self._retrieved += len(documents)
        if self._id == 0 or (self._limit and self._limit <= self._retrieved):
            self.close()
        return len(self._data)

    def _clone_base(self, session: Any) -> LocalCursor[_DocumentType]:
        return type(self)(self._collection, session=session)


class LocalCommandCursor(CommandCursor[_DocumentType]):
    """PyMongo's CommandCursor, its further batches through the door."""

    _collection: LocalCollection[_DocumentType]

    def _refresh(self) -> int:
        if len(self._data) or self._killed:
            return len(self._data)
        if not self._id:
            return super()._refresh()
        dbname, _, collname = self._ns.partition(".")
        command = _gen_get_more_command(Int64(self._id), collname, self._batch_size, None, self._comment)
        try:
            self._id, documents = fetch(self._collection, command, dbname, self._collection.codec_options)
        except BaseException:
            self._killed = True
            raise
        if self._id == 0:
            self.close()
        self._data = deque(documents)
        return len(self._data)


def fetch(coll: LocalCollection[Any], command: dict[str, Any], db: str, options: Any) -> tuple[int, list[Any]]:
    """Runs a command that answers a cursor: its id, and the documents of the batch."""
    command["$db"] = db
    try:
        cursor_id, _, documents = coll._door.cursor(_dict_to_bson(command, False, options))
    except CommandFailed as e:
        coll._raise(e)
    return cursor_id, _decode_all(documents, options) if documents else []
