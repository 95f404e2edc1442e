"""`LocalCollection`: PyMongo's Collection, its everyday operations straight through the engine's door.

An operation takes the short way when every one of its arguments is known here; any other goes to the inherited method, which
speaks to the same engine over the private socket. So nothing is ignored, and nothing has to be built twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn, cast

import bson
from bson import _bson_to_dict, _decode_all_selective, _dict_to_bson
from bson.objectid import ObjectId
from bson.raw_bson import RawBSONDocument
from pymongo import ReturnDocument, _csot, common, helpers_shared
from pymongo.errors import DocumentTooLarge
from pymongo.helpers_shared import _check_command_response, _check_write_command_response
from pymongo.results import BulkWriteResult, DeleteResult, InsertManyResult, InsertOneResult, UpdateResult
from pymongo.synchronous import client_session
from pymongo.synchronous.collection import Collection
from pymongo.typings import _DocumentType
from pymongo.write_concern import validate_boolean

from smongo import _bulk
from smongo._cursor import DOOR, LocalCommandCursor, LocalCursor, fetch
from smongo._smongo import CommandFailed

__all__ = ["DOOR", "LocalCollection"]

#: The largest statement PyMongo sends: MongoDB's limit of a document and some more. What is between, the engine refuses.
MAX_STATEMENT = 16 * 1024 * 1024 + 16382
_AFTER = {"before": ReturnDocument.BEFORE, "after": ReturnDocument.AFTER}
_FIND_AND_MODIFY_FIELDS = {"value": 1}
_COUNT = {"$group": {"_id": 1, "n": {"$sum": 1}}}

_timeout = _csot.TIMEOUT.get
# Since PyMongo 4.17 a session can be bound to the context.
_bound = client_session._SESSION.get if hasattr(client_session, "_SESSION") else lambda: None


def _elements(command: Mapping[str, Any]) -> bytes:
    """The elements of a document without its frame, to be spliced into a larger one."""
    return bson.encode(command)[4:-1]


class LocalCollection(Collection[_DocumentType]):
    """PyMongo's Collection over an engine in this process."""

    def __init__(self, database: Any, name: str, create: bool | None = False, *args: Any, **kwargs: Any) -> None:
        super().__init__(database, name, False, *args)
        client = database.client
        self._door = client._door
        plain = client._plain and self._timeout is None
        self._reads = plain and self.read_concern.level is None and self.read_preference.mode == 0
        self._writes = plain and self.write_concern.acknowledged
        ends: dict[str, Any] = {"$db": database.name}
        self._find_prefix = _elements({"find": name}) + b"\x03filter\0"
        self._find_suffix = _elements({"limit": 1, "singleBatch": True, **ends})
        self._count_prefix = _elements({"aggregate": name}) + b"\x04pipeline\0"
        self._count_suffix = _elements({"cursor": {}, **ends})
        if not self.write_concern.is_server_default and self._writes:
            ends["writeConcern"] = self.write_concern.document
        # An insert of one document under the default write concern goes in by the shortest way.
        self._plain = self._full_name if self.write_concern.is_server_default else None
        self._write_ends = ends
        self._bodies = {verb: bson.encode({verb: name, "ordered": True, **ends}) for verb in ("insert", "update", "delete")}
        if create or kwargs:
            self._create(kwargs, kwargs.pop("session", None))

    @classmethod
    def of(cls, coll: Collection[Any], database: Any) -> LocalCollection[Any]:
        return cls(database, coll.name, False, coll.codec_options, coll.read_preference, coll.write_concern, coll.read_concern)

    def with_options(  # type: ignore[override]
        self, codec_options: Any = None, read_preference: Any = None, write_concern: Any = None, read_concern: Any = None
    ) -> LocalCollection[Any]:
        return LocalCollection.of(super().with_options(codec_options, read_preference, write_concern, read_concern), self._database)

    def __getitem__(self, name: str) -> LocalCollection[_DocumentType]:
        return LocalCollection.of(super().__getitem__(name), self._database)

    # The short way.

    def _can_read(self) -> bool:
        return self._reads and _timeout(None) is None and not _bound()

    def _can_write(self) -> bool:
        return self._writes and _timeout(None) is None and not _bound()

    def _raise(self, failed: CommandFailed) -> NoReturn:
        """Raises what PyMongo raises for such a reply."""
        _check_command_response(_bson_to_dict(failed.args[0], self._write_response_codec_options), None)
        raise failed

    def _check(self, reply: bytes) -> dict[str, Any]:
        """A write's reply, decoded; raises what PyMongo raises."""
        result = cast("dict[str, Any]", _bson_to_dict(reply, self._write_response_codec_options))
        if not result["ok"]:
            _check_command_response(result, None)
        if "writeErrors" in result or "writeConcernError" in result:
            _check_write_command_response(result)
        return result

    def _statement(self, verb: str, field: str, statement: dict[str, Any]) -> dict[str, Any]:
        """Runs a write of one statement."""
        encoded = _dict_to_bson(statement, False, self._codec_options)
        if len(encoded) > MAX_STATEMENT:
            raise DocumentTooLarge(f"{verb} command document too large")
        reply = self._door.write(self._bodies[verb], field, encoded, False)
        return self._check(cast(bytes, reply))

    # Reads.

    def find_one(self, filter: Any | None = None, *args: Any, **kwargs: Any) -> _DocumentType | None:
        if args or kwargs or not self._reads or _timeout(None) is not None or _bound():
            return super().find_one(filter, *args, **kwargs)
        if type(filter) is not dict:
            if filter is None:
                filter = {}
            elif not isinstance(filter, Mapping):
                filter = {"_id": filter}
        if "$query" in filter:
            return super().find_one(filter)
        options = self._codec_options
        try:
            found = self._door.first(self._find_prefix, _dict_to_bson(filter, False, options), self._find_suffix, self._full_name)
        except CommandFailed as e:
            self._raise(e)
        return None if found is None else _bson_to_dict(found, options)

    def find(self, *args: Any, **kwargs: Any) -> LocalCursor[_DocumentType]:
        return LocalCursor(self, *args, **kwargs)

    def count_documents(self, filter: Mapping[str, Any], session: Any = None, comment: Any | None = None, **kwargs: Any) -> int:
        if session is not None or comment is not None or kwargs or not self._can_read():
            return super().count_documents(filter, session, comment, **kwargs)
        pipeline = _dict_to_bson({"0": {"$match": filter}, "1": _COUNT}, False, self._codec_options)
        try:
            counted = self._door.first(self._count_prefix, pipeline, self._count_suffix)
        except CommandFailed as e:
            self._raise(e)
        return 0 if counted is None else cast(int, bson.decode(counted)["n"])

    def estimated_document_count(self, comment: Any | None = None, **kwargs: Any) -> int:
        if comment is not None or kwargs or not self._can_read():
            return super().estimated_document_count(comment, **kwargs)
        return int(self._check(self._door.run(bson.encode({"count": self._name, "$db": self._database.name})))["n"])

    def aggregate(self, pipeline: Any, session: Any = None, let: Any | None = None, comment: Any | None = None, **kwargs: Any) -> Any:
        known = session is None and let is None and comment is None and not kwargs and self._can_read()
        if not known or not isinstance(pipeline, list) or any(_not_a_plain_read(stage) for stage in pipeline):
            return super().aggregate(pipeline, session, let, comment, **kwargs)
        command = {"aggregate": self._name, "pipeline": pipeline, "cursor": {}}
        cursor_id, documents = fetch(self, command, self._database.name, self._codec_options)
        info = {"id": cursor_id, "ns": self._full_name, "firstBatch": documents}
        return LocalCommandCursor(self, info, cast(Any, DOOR))

    def explain(
        self,
        filter: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        *,
        verbosity: str = "queryPlanner",
        **options: Any,
    ) -> dict[str, Any]:
        """How the engine would run, or (`verbosity` "executionStats", "allPlansExecution") has run, a find or an aggregation.

        `filter` is a query, or a pipeline as a list. `options` are fields of the command: ``sort``, ``projection``, ``hint``,
        ``limit``, ``skip``, ``collation``… The answer has MongoDB's shape (``queryPlanner``, ``executionStats``).
        """
        for name in ("sort", "hint"):
            if options.get(name) is not None and not isinstance(options[name], (str, Mapping)):
                options[name] = helpers_shared._index_document(options[name])
        if isinstance(filter, (list, tuple)):
            command: dict[str, Any] = {"aggregate": self._name, "pipeline": list(filter), "cursor": {}, **options}
        else:
            command = {"find": self._name, "filter": filter or {}, **options}
        return self._database.command({"explain": command, "verbosity": verbosity})

    # Writes.

    def insert_one(
        self, document: Any, bypass_document_validation: bool | None = None, session: Any = None, comment: Any | None = None
    ) -> InsertOneResult:
        if session is None and comment is None and bypass_document_validation is None and self._writes and _timeout(None) is None and not _bound():
            raw = False
            if type(document) is not dict:
                common.validate_is_document_type("document", document)
                raw = isinstance(document, RawBSONDocument)
            if not raw and "_id" not in document:
                document["_id"] = ObjectId()
            data = _dict_to_bson(document, False, self._codec_options)
            if len(data) <= MAX_STATEMENT:
                reply = self._door.write(self._bodies["insert"], "documents", data, True, self._plain)
                if reply is not None:
                    self._check(reply)
                return InsertOneResult(None if raw else document["_id"], True)
        return super().insert_one(document, bypass_document_validation, session, comment)

    def insert_many(
        self,
        documents: Iterable[Any],
        ordered: bool = True,
        bypass_document_validation: bool | None = None,
        session: Any = None,
        comment: Any | None = None,
    ) -> InsertManyResult:
        known = session is None and comment is None and bypass_document_validation is None and self._can_write()
        if not known or not isinstance(documents, Iterable) or isinstance(documents, Mapping) or not documents:
            return super().insert_many(documents, ordered, bypass_document_validation, session, comment)
        return InsertManyResult(_bulk.insert_many(self, documents, ordered), True)

    def bulk_write(
        self,
        requests: Sequence[Any],
        ordered: bool = True,
        bypass_document_validation: bool | None = None,
        session: Any = None,
        comment: Any | None = None,
        let: Mapping[str, Any] | None = None,
    ) -> BulkWriteResult:
        known = session is None and comment is None and let is None and bypass_document_validation is None and self._can_write()
        if not known or not isinstance(requests, list) or not requests:
            return super().bulk_write(requests, ordered, bypass_document_validation, session, comment, let)
        return BulkWriteResult(_bulk.bulk_write(self, requests, ordered), True)

    def _update_shortly(
        self, statement: dict[str, Any], array_filters: Any, sort: Any
    ) -> UpdateResult:
        validate_boolean("upsert", statement["upsert"])
        if array_filters is not None:
            statement["arrayFilters"] = array_filters
        if sort is not None:
            common.validate_is_mapping("sort", sort)
            statement["sort"] = sort
        result = self._statement("update", "updates", statement)
        # As PyMongo hands it out.
        if result.get("n") and "upserted" not in result:
            result["updatedExisting"] = True
        else:
            result["updatedExisting"] = False
            if "upserted" in result:
                result["upserted"] = result["upserted"][0]["_id"]
        return UpdateResult(result, True)

    def update_one(
        self,
        filter: Mapping[str, Any],
        update: Any,
        upsert: bool = False,
        bypass_document_validation: bool | None = None,
        collation: Any | None = None,
        array_filters: Sequence[Mapping[str, Any]] | None = None,
        hint: Any | None = None,
        session: Any = None,
        let: Mapping[str, Any] | None = None,
        sort: Mapping[str, Any] | None = None,
        comment: Any | None = None,
    ) -> UpdateResult:
        if not (bypass_document_validation is collation is hint is session is let is comment is None and self._can_write()):
            return super().update_one(filter, update, upsert, bypass_document_validation, collation, array_filters, hint, session, let, sort, comment)
        common.validate_is_mapping("filter", filter)
        common.validate_ok_for_update(update)
        common.validate_list_or_none("array_filters", array_filters)
        return self._update_shortly({"q": filter, "u": update, "multi": False, "upsert": upsert}, array_filters, sort)

    def update_many(
        self,
        filter: Mapping[str, Any],
        update: Any,
        upsert: bool = False,
        array_filters: Sequence[Mapping[str, Any]] | None = None,
        bypass_document_validation: bool | None = None,
        collation: Any | None = None,
        hint: Any | None = None,
        session: Any = None,
        let: Mapping[str, Any] | None = None,
        comment: Any | None = None,
    ) -> UpdateResult:
        if not (bypass_document_validation is collation is hint is session is let is comment is None and self._can_write()):
            return super().update_many(filter, update, upsert, array_filters, bypass_document_validation, collation, hint, session, let, comment)
        common.validate_is_mapping("filter", filter)
        common.validate_ok_for_update(update)
        common.validate_list_or_none("array_filters", array_filters)
        return self._update_shortly({"q": filter, "u": update, "multi": True, "upsert": upsert}, array_filters, None)

    def replace_one(
        self,
        filter: Mapping[str, Any],
        replacement: Mapping[str, Any],
        upsert: bool = False,
        bypass_document_validation: bool | None = None,
        collation: Any | None = None,
        hint: Any | None = None,
        session: Any = None,
        let: Mapping[str, Any] | None = None,
        sort: Mapping[str, Any] | None = None,
        comment: Any | None = None,
    ) -> UpdateResult:
        if not (bypass_document_validation is collation is hint is session is let is comment is None and self._can_write()):
            return super().replace_one(filter, replacement, upsert, bypass_document_validation, collation, hint, session, let, sort, comment)
        common.validate_is_mapping("filter", filter)
        common.validate_ok_for_replace(replacement)
        return self._update_shortly({"q": filter, "u": replacement, "multi": False, "upsert": upsert}, None, sort)

    def delete_one(
        self, filter: Mapping[str, Any], collation: Any | None = None, hint: Any | None = None, session: Any = None, let: Any | None = None, comment: Any | None = None
    ) -> DeleteResult:
        if not (collation is hint is session is let is comment is None and self._can_write()):
            return super().delete_one(filter, collation, hint, session, let, comment)
        common.validate_is_mapping("filter", filter)
        return DeleteResult(self._statement("delete", "deletes", {"q": filter, "limit": 1}), True)

    def delete_many(
        self, filter: Mapping[str, Any], collation: Any | None = None, hint: Any | None = None, session: Any = None, let: Any | None = None, comment: Any | None = None
    ) -> DeleteResult:
        if not (collation is hint is session is let is comment is None and self._can_write()):
            return super().delete_many(filter, collation, hint, session, let, comment)
        common.validate_is_mapping("filter", filter)
        return DeleteResult(self._statement("delete", "deletes", {"q": filter, "limit": 0}), True)

    def find_one_and_delete(
        self,
        filter: Mapping[str, Any],
        projection: Any | None = None,
        sort: Any | None = None,
        hint: Any | None = None,
        session: Any = None,
        let: Mapping[str, Any] | None = None,
        comment: Any | None = None,
        **kwargs: Any,
    ) -> Any:
        if kwargs or not (hint is session is let is comment is None and self._can_write()):
            return super().find_one_and_delete(filter, projection, sort, hint, session, let, comment, **kwargs)
        return self._find_and_modify_shortly(filter, projection, sort, {"remove": True})

    def find_one_and_replace(
        self,
        filter: Mapping[str, Any],
        replacement: Mapping[str, Any],
        projection: Any | None = None,
        sort: Any | None = None,
        upsert: bool = False,
        return_document: bool | str = ReturnDocument.BEFORE,
        hint: Any | None = None,
        session: Any = None,
        let: Mapping[str, Any] | None = None,
        comment: Any | None = None,
        **kwargs: Any,
    ) -> Any:
        after = _return_document(return_document)
        if kwargs or not (hint is session is let is comment is None and self._can_write()):
            return super().find_one_and_replace(filter, replacement, projection, sort, upsert, after, hint, session, let, comment, **kwargs)
        common.validate_ok_for_replace(replacement)
        return self._find_and_modify_shortly(filter, projection, sort, {"update": replacement, "new": after, "upsert": upsert})

    def find_one_and_update(
        self,
        filter: Mapping[str, Any],
        update: Any,
        projection: Any | None = None,
        sort: Any | None = None,
        upsert: bool = False,
        return_document: bool | str = ReturnDocument.BEFORE,
        array_filters: Sequence[Mapping[str, Any]] | None = None,
        hint: Any | None = None,
        session: Any = None,
        let: Mapping[str, Any] | None = None,
        comment: Any | None = None,
        **kwargs: Any,
    ) -> Any:
        after = _return_document(return_document)
        if kwargs or not (hint is session is let is comment is None and self._can_write()):
            return super().find_one_and_update(filter, update, projection, sort, upsert, after, array_filters, hint, session, let, comment, **kwargs)
        common.validate_ok_for_update(update)
        common.validate_list_or_none("array_filters", array_filters)
        change = {"update": update, "new": after, "upsert": upsert}
        if array_filters is not None:
            change["arrayFilters"] = list(array_filters)
        return self._find_and_modify_shortly(filter, projection, sort, change)

    def _find_and_modify_shortly(self, filter: Mapping[str, Any], projection: Any, sort: Any, change: dict[str, Any]) -> Any:
        common.validate_is_mapping("filter", filter)
        command: dict[str, Any] = {"findAndModify": self._name, "query": filter, **change}
        validate_boolean("upsert", change.get("upsert", False))
        if projection is not None:
            command["fields"] = helpers_shared._fields_list_to_dict(projection, "projection")
        if sort is not None:
            command["sort"] = helpers_shared._index_document(sort)
        command.update(self._write_ends)
        options = self._codec_options
        reply = self._door.run(_dict_to_bson(command, False, options))
        result = cast("dict[str, Any]", _decode_all_selective(reply, options, _FIND_AND_MODIFY_FIELDS)[0])
        if not result["ok"]:
            _check_command_response(result, None)
        _check_write_command_response(result)
        return result.get("value")


def _not_a_plain_read(stage: Any) -> bool:
    return not isinstance(stage, dict) or any(name in stage for name in ("$out", "$merge", "$changeStream"))


def _return_document(value: bool | str) -> bool:
    if isinstance(value, str):
        if value not in _AFTER:
            raise ValueError(f'return_document must be "before" or "after", not {value!r}')
        return _AFTER[value]
    if not isinstance(value, bool):
        raise TypeError(f"return_document must be ReturnDocument.BEFORE or ReturnDocument.AFTER, not {type(value)}")
    return value


