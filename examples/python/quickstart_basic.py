"""The first five minutes with smongo in Python: run it anywhere, it leaves nothing behind.

    python examples/python/quickstart_basic.py
"""

import tempfile

from smongo import ASCENDING, DuplicateKeyError, MongoClient, UpdateOne

with tempfile.TemporaryDirectory() as folder:
    # A directory is a database. `memory://` keeps everything in memory; `mongodb://…` is PyMongo's client of a server.
    with MongoClient(f"local://{folder}/shop") as client:
        orders = client.shop.orders
        orders.create_index([("item", ASCENDING)])
        orders.insert_many(
            [
                {"_id": 1, "item": "tea", "price": 3.5, "tags": ["hot", "green"]},
                {"_id": 2, "item": "coffee", "price": 4.0, "tags": ["hot"]},
                {"_id": 3, "item": "lemonade", "price": 3.0, "tags": ["cold"]},
            ]
        )

        print("hot drinks:", [o["item"] for o in orders.find({"tags": "hot"}).sort("price", -1)])

        orders.update_one({"item": "tea"}, {"$inc": {"price": 0.5}, "$push": {"tags": "new"}})
        tea = orders.find_one_and_update({"item": "tea"}, {"$set": {"sold": 10}}, return_document="after")
        print("tea:", tea)

        orders.bulk_write([UpdateOne({"_id": n}, {"$set": {"sold": n}}) for n in (2, 3)])
        revenue = [{"$group": {"_id": None, "total": {"$sum": {"$multiply": ["$price", "$sold"]}}}}]
        print("revenue:", next(orders.aggregate(revenue))["total"])

        try:
            orders.insert_one({"_id": 1})
        except DuplicateKeyError as error:
            print("refused:", error.details["keyValue"])

        # Transactions, like everything else of PyMongo.
        with client.start_session() as session, session.start_transaction():
            orders.delete_one({"_id": 3}, session=session)
            client.shop.log.insert_one({"deleted": 3}, session=session)

    # Opened again: what was written is there.
    with MongoClient(f"local://{folder}/shop") as client:
        print("left:", client.shop.orders.count_documents({}), "logged:", client.shop.log.find_one({}, {"_id": 0}))
