"""smongo: an embeddable, MongoDB-compatible document database, spoken to with PyMongo's own API.

    from smongo import MongoClient

    with MongoClient("local://./data") as client:      # a directory; memory:// keeps everything in memory
        client.shop.orders.insert_one({"item": "tea", "price": 3.5})

``MongoClient("mongodb://…")`` is PyMongo's client for a remote server. The others are subclasses of PyMongo's classes over
an engine in this process.
"""

from pymongo import (
    ASCENDING,
    DESCENDING,
    GEO2D,
    GEOSPHERE,
    HASHED,
    TEXT,
    CursorType,
    DeleteMany,
    DeleteOne,
    IndexModel,
    InsertOne,
    ReadPreference,
    ReplaceOne,
    ReturnDocument,
    UpdateMany,
    UpdateOne,
    WriteConcern,
    timeout,
)
from pymongo.collation import Collation
from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    CursorNotFound,
    DuplicateKeyError,
    ExecutionTimeout,
    InvalidOperation,
    OperationFailure,
    PyMongoError,
    WriteConcernError,
    WriteError,
)
from pymongo.read_concern import ReadConcern
from pymongo.results import (
    BulkWriteResult,
    DeleteResult,
    InsertManyResult,
    InsertOneResult,
    UpdateResult,
)

from smongo._aio import AsyncMongoClient
from smongo._client import LocalDatabase, LocalMongoClient, MongoClient
from smongo._collection import LocalCollection
from smongo._smongo import __version__
from smongo._wire import WireServer

__all__ = [
    "ASCENDING",
    "DESCENDING",
    "GEO2D",
    "GEOSPHERE",
    "HASHED",
    "TEXT",
    "AsyncMongoClient",
    "BulkWriteError",
    "BulkWriteResult",
    "Collation",
    "ConfigurationError",
    "ConnectionFailure",
    "CursorNotFound",
    "CursorType",
    "DeleteMany",
    "DeleteOne",
    "DeleteResult",
    "DuplicateKeyError",
    "ExecutionTimeout",
    "IndexModel",
    "InsertManyResult",
    "InsertOne",
    "InsertOneResult",
    "InvalidOperation",
    "LocalCollection",
    "LocalDatabase",
    "LocalMongoClient",
    "MongoClient",
    "OperationFailure",
    "PyMongoError",
    "ReadConcern",
    "ReadPreference",
    "ReplaceOne",
    "ReturnDocument",
    "UpdateMany",
    "UpdateOne",
    "UpdateResult",
    "WireServer",
    "WriteConcern",
    "WriteConcernError",
    "WriteError",
    "__version__",
    "timeout",
]
