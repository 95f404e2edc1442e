"""The wire: WireServer, python -m smongo.wire, asyncio."""

import asyncio
import signal
import subprocess
import sys

import pymongo
import pytest

import smongo


def test_wire_server_shares_the_engine(tmp_path):
    with smongo.WireServer(tmp_path / "db") as server, smongo.MongoClient(f"local://{tmp_path}/db") as local:
        with pymongo.MongoClient(server.uri) as remote:
            remote.a.b.insert_one({"_id": 1})
            assert local.a.b.find_one() == {"_id": 1}
        server.close()
        with pymongo.MongoClient(server.uri, serverSelectionTimeoutMS=200) as remote, pytest.raises(pymongo.errors.ServerSelectionTimeoutError):
            remote.admin.command("ping")
        assert local.a.b.find_one() == {"_id": 1}


def test_wire_server_in_memory():
    with smongo.WireServer() as server, pymongo.MongoClient(server.uri) as remote:
        remote.a.b.insert_one({"_id": 1})
        assert remote.a.b.count_documents({}) == 1
        assert server.uri == f"mongodb://127.0.0.1:{server.port}/"


def test_wire_program(tmp_path):
    command = [sys.executable, "-m", "smongo.wire", "--port", "0", "--dbpath", str(tmp_path / "db")]
    for i in range(2):
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        with pymongo.MongoClient(child.stdout.readline().strip()) as remote:
            remote.a.b.insert_one({"_id": i})
            assert remote.a.b.count_documents({}) == i + 1
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) == 0
        child.stdout.close()


def test_asyncio(tmp_path):
    async def run():
        async with smongo.AsyncMongoClient(f"local://{tmp_path}/db") as client:
            assert isinstance(client, pymongo.AsyncMongoClient)
            coll = client.a.b
            await coll.insert_many([{"_id": i} for i in range(300)])
            assert [d["_id"] async for d in coll.find()] == list(range(300))
            async with client.start_session() as session, await session.start_transaction():
                await coll.delete_many({}, session=session)
            with smongo.MongoClient(f"local://{tmp_path}/db") as local:
                assert local.a.b.count_documents({}) == 0
                engine = local._lease.engine
        assert engine.closed
        with pytest.raises(smongo.InvalidOperation):
            await coll.find_one()

    asyncio.run(run())
