"""One question through two doors: the package's own way in, and PyMongo over TCP to the same engine.

`CASES=1000000 SEED=3 pytest python/tests/test_differential.py` looks further than CI does.
"""

import datetime
import os
import random

import bson
import pymongo
from bson import Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex
from pymongo.errors import PyMongoError

import smongo

CASES = int(os.environ.get("CASES", "4000"))
SEED = int(os.environ.get("SEED", "0"))
FIELDS = ["_id", "a", "b", "c", "a.b", "b.0", "c.a.b"]


class Generator(random.Random):
    def scalar(self):
        return self.choice(
            [
                lambda: self.randint(-3, 3),
                lambda: float(self.randint(-3, 3)),
                lambda: self.choice([0.5, float("nan"), float("inf"), -0.0]),
                lambda: Int64(self.choice([0, 1, 1 << 40, -(1 << 53) - 1])),
                lambda: Decimal128(self.choice(["1", "1.00", "NaN", "-2.5E+10"])),
                lambda: self.choice(["", "a", "ab", "B", "é", "a\0b"]),
                lambda: self.choice([None, True, False, MinKey(), MaxKey()]),
                lambda: ObjectId(self.choice(["5f" * 12, "60" * 12])),
                lambda: datetime.datetime(2020 + self.randint(0, 2), 1, 1),
                lambda: bson.Binary(self.choice([b"", b"a", b"ab"]), self.choice([0, 5])),
            ]
        )()

    def value(self, depth=2):
        kind = self.randint(0, 5) if depth else 0
        if kind < 4:
            return self.scalar()
        if kind == 4:
            return [self.value(depth - 1) for _ in range(self.randint(0, 3))]
        return {name: self.value(depth - 1) for name in self.sample("abc", self.randint(0, 2))}

    def document(self):
        doc = {name: self.value() for name in self.sample("abc", self.randint(0, 3))}
        if self.random() < 0.9:
            doc["_id"] = self.scalar()
        return doc

    def condition(self):
        return self.choice(
            [
                self.value,
                lambda: {self.choice(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"]): self.value()},
                lambda: {self.choice(["$in", "$nin", "$all"]): [self.value() for _ in range(self.randint(0, 3))]},
                lambda: {"$exists": self.random() < 0.5},
                lambda: {"$type": self.choice(["int", "number", "string", "array", "null", 3])},
                lambda: {"$size": self.randint(0, 2)},
                lambda: {"$elemMatch": self.choice([{"$gt": self.value()}, {"a": self.value()}])},
                lambda: {"$not": {"$gt": self.value()}},
                lambda: Regex(self.choice(["^a", "b$", "A"]), self.choice(["", "i"])),
            ]
        )()

    def filter(self):
        if self.random() < 0.35:
            return {"_id": self.scalar()}
        fields = {self.choice(FIELDS): self.condition() for _ in range(self.randint(0, 2))}
        if self.random() < 0.2:
            return {self.choice(["$or", "$and", "$nor"]): [fields, {self.choice(FIELDS): self.condition()}]}
        return fields

    def update(self):
        field = self.choice(FIELDS[1:])
        return self.choice(
            [
                lambda: {"$set": {field: self.value()}},
                lambda: {"$inc": {field: self.randint(-2, 2)}},
                lambda: {"$unset": {field: ""}},
                lambda: {"$push": {field: self.value()}},
                lambda: {"$addToSet": {field: self.value()}},
                lambda: {"$min": {field: self.scalar()}},
                lambda: [{"$set": {field: {"$ifNull": ["$" + self.choice("abc"), self.randint(0, 3)]}}}],
            ]
        )()

    def stage(self):
        return self.choice(
            [
                lambda: {"$match": self.filter()},
                lambda: {"$project": {self.choice(FIELDS[1:]): self.choice([0, 1])}},
                lambda: {"$set": {"d": {"$concatArrays": ["$a", "$b"]} if self.random() < 0.3 else {"$type": "$" + self.choice("abc")}}},
                lambda: {"$unwind": "$" + self.choice("abc")},
                lambda: {"$group": {"_id": "$" + self.choice("abc"), "n": {"$sum": 1}, "s": {"$sum": "$b"}}},
                lambda: {"$sort": {self.choice(FIELDS[1:]): self.choice([1, -1]), "_id": 1}},
                lambda: {"$limit": self.randint(1, 4)},
                lambda: {"$count": "n"},
            ]
        )()


def questions(g):
    """Reads, each as a function of a collection."""
    f, projection = g.filter(), g.choice([None, {"a": 1}, {"_id": 0, "b": 1}, {"c": 0}])
    sort = [(g.choice(FIELDS), g.choice([1, -1])), ("_id", 1)]
    pipeline = [g.stage() for _ in range(g.randint(1, 3))]
    return g.choice(
        [
            lambda c: c.find_one(f),
            lambda c: list(c.find(f)),
            lambda c: list(c.find(f, projection).sort(sort).skip(1).limit(5)),
            lambda c: c.count_documents(f),
            lambda c: c.distinct("a", f),
            lambda c: list(c.aggregate(pipeline)),
        ]
    )


def changes(g):
    """Writes, each as a function of a collection; what they answer is compared, and then what is there."""
    f, update, doc = g.filter(), g.update(), g.document()
    # Both sides must make the same ids.
    doc.setdefault("_id", ObjectId())
    return g.choice(
        [
            lambda c: c.insert_one(dict(doc)).inserted_id,
            lambda c: c.insert_many([dict(doc), dict(doc)], ordered=False).inserted_ids,
            lambda c: result(c.update_one(f, update)),
            lambda c: result(c.update_many(f, update)),
            lambda c: result(c.replace_one(f, {"b": doc})),
            lambda c: c.delete_one(f).deleted_count,
            lambda c: c.find_one_and_update(f, update, sort=[("_id", 1)], return_document=True),
        ]
    )


def result(r):
    return r.matched_count, r.modified_count


def answer(question, coll):
    """What a question answers, as text in which all types differ; of an error, its class, code and details."""
    try:
        return repr(question(coll))
    except PyMongoError as e:
        details = {k: v for k, v in (getattr(e, "details", None) or {}).items() if k not in ("$clusterTime", "operationTime")}
        return type(e).__name__, getattr(e, "code", None), repr(details)


def test_both_doors_answer_alike():
    with smongo.WireServer("memory://differential") as server, smongo.MongoClient("memory://differential") as here:
        with pymongo.MongoClient(server.uri, directConnection=True) as there:
            for n in range(CASES):
                if n % 200 == 0:
                    g = Generator(SEED * 1_000_003 + n)
                    here.drop_database("d")
                    key = g.choice("abc")
                    for name in "xy":
                        here.d[name].create_index(key)
                # The same history, of `x` through one door and of `y` through the other; both read both.
                if g.random() < 0.4:
                    change = changes(g)
                    assert answer(change, here.d.x) == spelled(answer(change, there.d.y)), (SEED, n)
                else:
                    question = questions(g)
                    own, other = answer(question, here.d.x), answer(question, there.d.x)
                    assert own == other, (SEED, n)
                if n % 50 == 49:
                    everything = lambda c: list(c.find({}, sort=[("$natural", 1)]))  # noqa: E731
                    assert answer(everything, here.d.x) == answer(everything, there.d.y), (SEED, n)


def spelled(text):
    """Errors name the collection."""
    return text if isinstance(text, str) else (*text[:2], text[2].replace("d.y", "d.x"))
