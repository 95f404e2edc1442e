"""Operations: the short way answers what PyMongo answers, and everything else still works."""

import datetime
import uuid

import bson
import pymongo
import pytest
from bson.codec_options import CodecOptions, TypeCodec, TypeRegistry
from bson.raw_bson import RawBSONDocument
from gridfs import GridFS
from pymongo import monitoring
from pymongo.read_concern import ReadConcern

import smongo
from smongo import DeleteMany, DeleteOne, InsertOne, ReplaceOne, UpdateMany, UpdateOne, WriteConcern


def test_crud_takes_the_short_way(coll, served):
    assert coll.insert_one({"_id": 1, "a": 1}).inserted_id == 1
    document = {"a": 2}
    assert coll.insert_one(document).inserted_id == document["_id"]
    assert coll.insert_many([{"_id": 3, "a": 3}, {"_id": 4, "a": 3}]).inserted_ids == [3, 4]
    assert coll.find_one({"_id": 1}) == coll.find_one(1) == {"_id": 1, "a": 1}
    assert coll.find_one({"a": 9}) is None
    assert coll.find_one(sort=[("_id", -1)], filter={"_id": {"$lt": 9}}) == {"_id": 4, "a": 3}
    assert [d["_id"] for d in coll.find({"a": 3}).sort("_id", -1)] == [4, 3]
    result = coll.update_one({"_id": 1}, {"$set": {"b": 1}})
    assert (result.matched_count, result.modified_count, result.upserted_id) == (1, 1, None)
    assert coll.update_many({"a": 3}, {"$inc": {"a": 1}}).modified_count == 2
    assert coll.update_one({"_id": 9}, {"$set": {"a": 0}}, upsert=True).upserted_id == 9
    assert coll.replace_one({"_id": 9}, {"c": 1}).modified_count == 1
    coll.update_one({"_id": 3}, {"$set": {"l": [1, 2]}})
    assert coll.update_one({"_id": 3}, {"$set": {"l.$[e]": 0}}, array_filters=[{"e": 1}]).modified_count == 1
    assert coll.find_one(3)["l"] == [0, 2]
    assert coll.count_documents({}) == 5
    assert coll.count_documents({"a": 4}) == 2
    assert coll.count_documents({"a": 99}) == 0
    assert coll.delete_one({"_id": 9}).deleted_count == 1
    assert coll.delete_many({"a": 4}).deleted_count == 2
    assert list(coll.aggregate([{"$group": {"_id": None, "n": {"$sum": 1}}}])) == [{"_id": None, "n": 2}]
    assert not served()


def test_find_one_and(coll, served):
    coll.insert_one({"_id": 1, "n": 0, "m": 0})
    add = {"$inc": {"n": 1}}
    assert coll.find_one_and_update({"_id": 1}, add)["n"] == 0
    assert coll.find_one_and_update({"_id": 1}, add, return_document="after")["n"] == 2
    assert coll.find_one_and_update({"_id": 1}, add, return_document="before")["n"] == 2
    assert coll.find_one_and_update({"_id": 1}, add, {"n": 1, "_id": 0}, return_document=pymongo.ReturnDocument.AFTER) == {"n": 4}
    assert coll.find_one_and_replace({"_id": 2}, {"x": 1}, upsert=True, return_document="after") == {"_id": 2, "x": 1}
    assert coll.find_one_and_delete({}, sort=[("_id", -1)]) == {"_id": 2, "x": 1}
    assert coll.find_one_and_delete({"_id": 99}) is None
    assert not served()
    with pytest.raises(ValueError, match="after"):
        coll.find_one_and_update({}, add, return_document="later")
    with pytest.raises(TypeError):
        coll.find_one_and_update({}, add, return_document=1)
    assert coll.find_one_and_update({"_id": 1}, add, return_document="after", maxTimeMS=5000)["n"] == 5
    assert served()
    with pytest.raises(smongo.OperationFailure):
        coll.find_one_and_update({}, add, None, None, False, "after", None, "nosuch_index")


def test_bulk(coll, served):
    result = coll.bulk_write(
        [
            InsertOne({"_id": 1}),
            InsertOne({"_id": 2}),
            UpdateOne({"_id": 1}, {"$set": {"a": 1}}),
            UpdateMany({}, {"$set": {"b": 1}}),
            ReplaceOne({"_id": 5}, {"c": 1}, upsert=True),
            DeleteOne({"_id": 2}),
            DeleteMany({"a": 7}),
        ]
    )
    assert isinstance(result, smongo.BulkWriteResult)
    assert (result.inserted_count, result.matched_count, result.modified_count, result.deleted_count) == (2, 3, 3, 1)
    assert result.upserted_ids == {4: 5}
    requests = [InsertOne({"_id": 10}), InsertOne({"_id": 10}), InsertOne({"_id": 11})]
    with pytest.raises(smongo.BulkWriteError) as e:
        coll.bulk_write(requests)
    assert [(w["index"], w["code"], w["op"]) for w in e.value.details["writeErrors"]] == [(1, 11000, {"_id": 10})]
    assert e.value.details["nInserted"] == 1
    with pytest.raises(smongo.BulkWriteError) as e:
        coll.insert_many([{"_id": 11}, {"_id": 1}, {"_id": 12}], ordered=False)
    assert [w["index"] for w in e.value.details["writeErrors"]] == [1]
    assert e.value.details["nInserted"] == 2
    assert not served()
    with pytest.raises(smongo.InvalidOperation):
        coll.bulk_write([])
    with pytest.raises(TypeError):
        coll.bulk_write(["insert"])
    with pytest.raises(TypeError):
        coll.insert_many([])


def test_large_batches(coll):
    assert len(coll.insert_many({"_id": i} for i in range(100_500)).inserted_ids) == 100_500
    assert coll.count_documents({}) == 100_500
    assert sum(1 for _ in coll.find()) == 100_500
    coll.delete_many({})
    coll.insert_many({"_id": i, "pad": "x" * 1_000_000} for i in range(60))
    assert sum(len(d["pad"]) for d in coll.find()) == 60_000_000


def test_errors_are_pymongos(coll):
    coll.insert_one({"_id": 1, "s": "text"})
    with pytest.raises(smongo.DuplicateKeyError) as e:
        coll.insert_one({"_id": 1})
    assert e.value.code == 11000
    assert e.value.details["keyValue"] == {"_id": 1}
    with pytest.raises(smongo.WriteError) as e:
        coll.update_one({"_id": 1}, {"$inc": {"s": 1}})
    assert e.value.code == 14
    for run in (coll.find_one, coll.count_documents, coll.delete_one, lambda f: list(coll.find(f)), lambda f: coll.find_one_and_delete(f)):
        with pytest.raises(smongo.OperationFailure) as e:
            run({"$nosuch": 1})
        assert e.value.code == 2
    with pytest.raises(bson.errors.InvalidDocument):
        coll.insert_one({"x": object()})
    with pytest.raises(smongo.OperationFailure):
        coll.insert_one({"x": b"x" * (16 * 1024 * 1024)})
    with pytest.raises(pymongo.errors.DocumentTooLarge):
        coll.insert_one({"x": b"x" * (17 * 1024 * 1024)})
    with pytest.raises(pymongo.errors.DocumentTooLarge):
        coll.delete_one({"x": b"x" * (17 * 1024 * 1024)})
    for run in (coll.update_one, coll.update_many):
        with pytest.raises(ValueError, match="operators"):
            run({}, {"a": 1})
    with pytest.raises(ValueError, match="operators"):
        coll.replace_one({}, {"$set": {"a": 1}})
    for run in (coll.delete_one, coll.find, lambda f: coll.update_one(f, {"$set": {"a": 1}})):
        with pytest.raises(TypeError):
            run("text")
    with pytest.raises(TypeError):
        coll.insert_one("text")
    with pytest.raises(TypeError):
        coll.update_one({}, {"$set": {"a": 1}}, upsert="yes")


def test_cursors(coll, served):
    coll.insert_many({"_id": i} for i in range(250))
    assert [d["_id"] for d in coll.find()] == list(range(250))
    assert [d["_id"] for d in coll.find(batch_size=7)] == list(range(250))
    assert [d["_id"] for d in coll.find().limit(120).batch_size(50)] == list(range(120))
    assert [d["_id"] for d in coll.find().skip(240)] == list(range(240, 250))
    assert [d["_id"] for d in coll.find()[10:12]] == [10, 11]
    assert coll.find()[5] == {"_id": 5}
    assert [d["_id"] for d in coll.find().limit(-3)] == [0, 1, 2]
    assert len(coll.find().to_list()) == 250
    assert len(list(coll.aggregate([{"$match": {}}]))) == 250
    cursor = coll.find(batch_size=2)
    copy = cursor.clone()
    assert next(cursor) == next(copy) == {"_id": 0}
    assert cursor.alive and cursor.cursor_id
    cursor.rewind()
    assert next(cursor) == {"_id": 0}
    cursor_id = cursor.cursor_id
    cursor.close()
    reply = coll.database.client.run_raw("test", {"getMore": bson.Int64(cursor_id), "collection": "things"})
    assert reply["code"] == 43
    with coll.find(batch_size=2) as cursor:
        next(cursor)
    del copy
    assert not served()
    with coll.database.client.start_session() as session:
        assert len(list(coll.find(batch_size=9, session=session))) == 250
    assert served()


def test_options_the_short_way_does_not_know(client, coll):
    coll.insert_many([{"_id": 1, "a": "x"}, {"_id": 2, "a": "X"}])
    strength = smongo.Collation("en", strength=2)
    assert coll.count_documents({"a": "x"}, collation=strength) == 2
    assert len(list(coll.find({"a": "x"}, collation=strength))) == 2
    assert coll.update_many({"a": "x"}, {"$set": {"b": 1}}, collation=strength).modified_count == 2
    assert coll.delete_one({"a": "x"}, comment="why").deleted_count == 1
    with pytest.raises(smongo.OperationFailure):
        coll.find_one({}, hint="nosuch_index")
    with pytest.raises(smongo.OperationFailure):
        coll.delete_one({}, hint="nosuch_index")
    with pytest.raises(smongo.OperationFailure):
        coll.with_options(write_concern=WriteConcern(w="nosuch")).insert_one({"_id": 5})
    for concern in (WriteConcern(j=True), WriteConcern(w="majority")):
        coll.with_options(write_concern=concern).update_one({"_id": 2}, {"$set": {"c": 1}})
    unacknowledged = coll.with_options(write_concern=WriteConcern(w=0)).insert_one({"_id": 6})
    assert not unacknowledged.acknowledged
    assert coll.with_options(read_concern=ReadConcern("majority")).find_one({"_id": 2})
    with smongo.timeout(10):
        assert coll.find_one({"_id": 2})
    assert coll.find_one({"_id": 2}, max_time_ms=1000)


def test_listeners_hear_every_command():
    heard = []

    class Listener(monitoring.CommandListener):
        def started(self, event):
            heard.append(event.command_name)

        def succeeded(self, event):
            pass

        def failed(self, event):
            pass

    with smongo.MongoClient("memory://", event_listeners=[Listener()]) as client:
        client.a.b.insert_one({"_id": 1})
        client.a.b.find_one()
        list(client.a.b.find())
        client.a.b.update_one({}, {"$set": {"a": 1}})
    assert heard[:4] == ["insert", "find", "find", "update"]


def test_sessions_and_transactions(client, coll, served):
    coll.insert_one({"_id": 0})
    assert not served()
    with client.start_session() as session:
        with session.start_transaction():
            coll.insert_one({"_id": 1}, session=session)
            coll.insert_many([{"_id": 2}], session=session)
            assert coll.find_one({"_id": 1}) is None
            assert coll.find_one({"_id": 1}, session=session) == {"_id": 1}
            assert coll.count_documents({}, session=session) == 3
        assert coll.count_documents({}) == 3
        session.start_transaction()
        coll.delete_many({}, session=session)
        session.abort_transaction()
        assert coll.count_documents({}) == 3
        session.with_transaction(lambda s: coll.update_one({"_id": 1}, {"$set": {"a": 1}}, session=s))
    assert coll.find_one({"_id": 1}) == {"_id": 1, "a": 1}


def test_codec_options(coll):
    identity = uuid.uuid4()
    standard = coll.with_options(codec_options=CodecOptions(uuid_representation=bson.binary.UuidRepresentation.STANDARD, tz_aware=True))
    when = datetime.datetime(2020, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    standard.insert_one({"_id": identity, "when": when})
    assert standard.find_one({"_id": identity}) == {"_id": identity, "when": when}
    assert list(standard.find({"when": when})) == [{"_id": identity, "when": when}]
    assert coll.find_one()["when"] == when.replace(tzinfo=None)
    with pytest.raises(ValueError, match="uuid"):
        coll.insert_one({"_id": identity})
    raw = coll.with_options(codec_options=CodecOptions(document_class=RawBSONDocument))
    found = raw.find_one()
    assert isinstance(found, RawBSONDocument)
    assert isinstance(next(raw.find()), RawBSONDocument)
    raw.database.copies.insert_one(found)
    assert standard.database.copies.count_documents({}) == 1
    son = coll.with_options(codec_options=CodecOptions(document_class=bson.SON, uuid_representation=bson.binary.UuidRepresentation.STANDARD))
    assert type(son.find_one()) is bson.SON
    assert type(son.find_one_and_update({}, {"$set": {"x": 1}})) is bson.SON

    class Metres:
        def __init__(self, n):
            self.n = n

    class MetresCodec(TypeCodec):
        python_type = Metres
        bson_type = bson.Int64

        def transform_python(self, value):
            return bson.Int64(value.n)

        def transform_bson(self, value):
            return Metres(value)

    own = coll.database.get_collection("own", codec_options=CodecOptions(type_registry=TypeRegistry([MetresCodec()])))
    own.insert_one({"_id": 1, "m": Metres(3)})
    assert own.find_one({"m": Metres(3)})["m"].n == 3


def test_every_type_comes_back(coll):
    document = {
        "_id": bson.ObjectId(),
        "double": 1.5,
        "string": "tä\0xt",
        "nested": {"a": {"b": [1, {"c": None}]}},
        "binary": b"\0\1",
        "subtype": bson.Binary(b"x", 128),
        "bool": True,
        "date": datetime.datetime(1960, 1, 1),
        "regex": bson.Regex("^a", "i"),
        "code": bson.Code("f()"),
        "int": 1,
        "long": bson.Int64(2),
        "timestamp": bson.Timestamp(1, 2),
        "decimal": bson.Decimal128("1.10"),
        "min": bson.MinKey(),
        "max": bson.MaxKey(),
        "ref": bson.DBRef("c", 1),
    }
    coll.insert_one(document)
    assert coll.find_one() == document
    assert bson.encode(coll.find_one()) == bson.encode(document)


def test_gridfs(db):
    fs = GridFS(db)
    key = fs.put(b"x" * 700_000, filename="file")
    assert fs.get(key).read() == b"x" * 700_000
    assert fs.find_one({"filename": "file"})._id == key
    fs.delete(key)
    assert not fs.exists(key)


def test_indexes_and_databases(client, coll):
    coll.create_index([("a", 1)], unique=True)
    assert "a_1" in coll.index_information()
    coll.insert_one({"a": 1})
    with pytest.raises(smongo.DuplicateKeyError):
        coll.insert_one({"a": 1})
    assert coll.database.list_collection_names() == ["things"]
    assert "test" in client.list_database_names()
    coll.drop()
    assert coll.database.list_collection_names() == []
    made = client.test.create_collection("made")
    assert type(made) is smongo.LocalCollection
    client.drop_database("test")
    assert client.test.list_collection_names() == []


def test_raw_commands(client):
    assert client.run_raw("test", {"ping": 1})["ok"] == 1
    assert client.run_raw("test", {"nosuchcommand": 1})["code"] == 59


def test_explain(coll):
    coll.insert_many({"_id": i, "a": i % 3} for i in range(30))
    coll.create_index("a")
    plan = coll.explain({"a": 1})["queryPlanner"]
    assert plan["namespace"] == "test.things"
    assert plan["winningPlan"]["inputStage"]["indexName"] == "a_1"
    assert "executionStats" not in coll.explain({"a": 1})
    ran = coll.explain({"a": 1}, verbosity="executionStats", sort=[("_id", -1)], limit=2)
    assert ran["executionStats"]["nReturned"] == 2
    assert coll.find({"a": 1}).explain()["queryPlanner"]["namespace"] == "test.things"
    assert coll.explain([{"$match": {"a": 1}}])["ok"] == 1
