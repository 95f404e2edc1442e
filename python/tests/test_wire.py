"""The wire: WireServer, python -m smongo.wire, asyncio."""

import asyncio
import os
import pathlib
import signal
import stat
import struct
import subprocess
import sys

import bson
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


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_other_machines_need_a_login_or_a_word(tmp_path, host):
    with pytest.raises(PermissionError, match="auth=True"):
        smongo.WireServer(tmp_path / "db", host=host)
    program = [sys.executable, "-m", "smongo.wire", "--port", "0", "--dbpath", str(tmp_path / "db"), "--bind_ip", host]
    refused = subprocess.run(program, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 1 and "--allow-unauthenticated-network" in refused.stderr and "Traceback" not in refused.stderr
    # Refusing it has let go of the database.
    for options in ({"auth": True}, {"allow_unauthenticated_network": True}):
        with smongo.WireServer(tmp_path / "db", host="0.0.0.0", **options) as server:
            assert server.port


def test_the_private_socket_is_for_the_owner(tmp_path):
    with smongo.MongoClient(f"local://{tmp_path}/db") as client:
        # Not known to the door, so it goes over the private socket.
        assert client.admin.command("connectionStatus")["ok"] == 1
        client._lease.serve()
        path = pathlib.Path(client._lease._socket)
        assert stat.S_IMODE(path.stat().st_mode) == 0o700 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        # A process of another user is turned away, though somebody opened the directory and the socket for it.
        if os.geteuid() == 0:
            path.parent.chmod(0o755)
            path.chmod(0o777)
            stranger = (
                "import os, socket, sys; os.setgid(65534); os.setuid(65534); s = socket.socket(socket.AF_UNIX); s.settimeout(20);"
                "s.connect(sys.argv[1]); s.sendall(bytes.fromhex(sys.argv[2])); print(len(s.recv(99)))"
            )
            body = bson.encode({"ping": 1, "$db": "admin"})
            frame = struct.pack("<iiiiiB", 21 + len(body), 1, 0, 2013, 0, 0) + body
            asked = subprocess.run([sys.executable, "-c", stranger, str(path), frame.hex()], capture_output=True, text=True, timeout=60)
            assert asked.stdout.strip() in ("0", "") and "PermissionError" not in asked.stderr, asked


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
