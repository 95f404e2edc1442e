"""Bulk writes through the door, with PyMongo's results and errors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, cast

import bson
from bson import _bson_to_dict, _dict_to_bson
from bson.objectid import ObjectId
from bson.raw_bson import RawBSONDocument
from pymongo import common
from pymongo.bulk_shared import _COMMANDS, _merge_command, _raise_bulk_write_error, _Run
from pymongo.errors import DocumentTooLarge
from pymongo.helpers_shared import _check_command_response
from pymongo.message import _INSERT
from pymongo.synchronous.bulk import _Bulk

if TYPE_CHECKING:
    from smongo._collection import LocalCollection

_FIELDS = ("documents", "updates", "deletes")
#: MongoDB's limits of one write command.
_MOST_STATEMENTS = 100_000
_MOST_BYTES = 48_000_000


def insert_many(coll: LocalCollection[Any], documents: Iterable[Any], ordered: bool) -> list[Any]:
    """Inserts the documents; the answer is their ids."""
    ids = []
    run = _Run(_INSERT)
    for document in documents:
        if type(document) is not dict:
            common.validate_is_document_type("document", document)
        if type(document) is dict or not isinstance(document, RawBSONDocument):
            if "_id" not in document:
                document["_id"] = ObjectId()
            ids.append(document["_id"])
        run.ops.append(document)
    run.index_map = range(len(run.ops))  # type: ignore[assignment]
    _execute(coll, [run], ordered)
    return ids


def bulk_write(coll: LocalCollection[Any], requests: list[Any], ordered: bool) -> dict[str, Any]:
    """Runs the requests; the answer is the result as PyMongo's `BulkWriteResult` takes it."""
    bulk = _Bulk(coll, ordered, None)
    for request in requests:
        try:
            add = request._add_to_bulk
        except AttributeError:
            raise TypeError(f"{request!r} is not a valid request") from None
        add(bulk)
    runs = bulk.gen_ordered() if ordered else bulk.gen_unordered()
    return _execute(coll, cast("Iterable[_Run]", runs), ordered)


def _execute(coll: LocalCollection[Any], runs: Iterable[_Run], ordered: bool) -> dict[str, Any]:
    full: dict[str, Any] = {
        "writeErrors": [],
        "writeConcernErrors": [],
        "nInserted": 0,
        "nUpserted": 0,
        "nMatched": 0,
        "nModified": 0,
        "nRemoved": 0,
        "upserted": [],
    }
    for run in runs:
        verb, field = _COMMANDS[run.op_type], _FIELDS[run.op_type]
        body = coll._bodies[verb] if ordered else bson.encode({verb: coll.name, "ordered": False, **coll._write_ends})
        for offset, count, statements in _batches(coll, run):
            reply = coll._door.write(body, field, statements, run.op_type == _INSERT)
            if reply is None:
                full["nInserted"] += count
                continue
            result = cast("dict[str, Any]", _bson_to_dict(reply, coll._write_response_codec_options))
            _check_command_response(result, None)
            _merge_command(run, full, offset, result)
            if ordered and full["writeErrors"]:
                _raise_bulk_write_error(full)
    if full["writeErrors"] or full["writeConcernErrors"]:
        _raise_bulk_write_error(full)
    return full


def _batches(coll: LocalCollection[Any], run: _Run) -> Iterator[tuple[int, int, bytes]]:
    """The statements of a run as BSON, in as many commands as MongoDB's limits ask for: offset, count, bytes."""
    offset, size = 0, 0
    batch: list[bytes] = []
    options = coll.codec_options
    for op in run.ops:
        encoded = _dict_to_bson(op, False, options)
        if len(encoded) > _MOST_BYTES:
            raise DocumentTooLarge(f"{_COMMANDS[run.op_type]} command document too large ({len(encoded)} bytes)")
        if batch and (len(batch) >= _MOST_STATEMENTS or size + len(encoded) > _MOST_BYTES):
            yield offset, len(batch), b"".join(batch)
            offset, size, batch = offset + len(batch), 0, []
        batch.append(encoded)
        size += len(encoded)
    if batch:
        yield offset, len(batch), b"".join(batch)
