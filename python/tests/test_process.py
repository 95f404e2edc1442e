"""What the process around an engine meets: its sudden death, and its limits."""

import socket
import subprocess
import sys
import textwrap

import pymongo
import pytest

from smongo import MongoClient


def run(program, *args):
    """Runs a program in a process of its own; its exit status and the lines it wrote."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program), *map(str, args)], stdout=subprocess.PIPE, text=True, timeout=120)
    return done.returncode, done.stdout.splitlines()


DIES = """
    import os, signal, sys, threading
    from smongo import MongoClient

    client = MongoClient("local://" + sys.argv[1])
    coll = client.db.coll
    say = lambda *words: os.write(1, (" ".join(map(str, words)) + "\\n").encode())
    coll.create_index("a")
    for n in range(300):
        coll.insert_one({"_id": n, "a": n})
        say("doc", n)
    coll.insert_many([{"_id": n, "a": n} for n in range(300, 400)])
    coll.update_many({}, {"$set": {"b": 1}})
    client.db.command("insert", "coll", documents=[{"_id": 400, "b": 1}])
    coll.find_one_and_delete({"_id": 0})
    with client.start_session() as session, session.start_transaction():
        client.db.other.insert_one({"_id": 1}, session=session)
    client.db.made.create_index("x")
    say("all")
    {"abort": os.abort, "_exit": lambda: os._exit(3)}.get(sys.argv[2], lambda: os.kill(os.getpid(), getattr(signal, sys.argv[2])))()
"""


@pytest.mark.parametrize("way", ["SIGKILL", "SIGTERM", "abort", "_exit"])
def test_what_was_acknowledged_survives_the_death_of_the_process(tmp_path, way):
    status, lines = run(DIES, tmp_path / "db", way)
    assert status != 0 and lines[-1] == "all"
    with MongoClient(f"local://{tmp_path}/db") as client:
        assert client.db.coll.count_documents({"b": 1}) == 400
        assert client.db.coll.find_one({"_id": 0}) is None
        assert client.db.other.find_one({"_id": 1})
        assert "x_1" in client.db.made.index_information()
        assert client.db.command("validate", "coll", full=True)["valid"]


def test_default_write_concern_says_what_is_true(tmp_path):
    for durable, w in ((False, 1), (True, "majority")):
        with MongoClient(f"local://{tmp_path}/{w}", durable=durable) as client:
            assert client.admin.command("getDefaultRWConcern")["defaultWriteConcern"] == {"w": w, "wtimeout": 0}


CROWD = """
    import resource, sys

    resource.setrlimit(resource.RLIMIT_NOFILE, (128, 256))
    from smongo import MongoClient
    from pymongo.errors import OperationFailure

    client, made = MongoClient("local://" + sys.argv[1]), 0
    try:
        for made in range(300):
            client.db["c%d" % made].insert_one({"_id": made})
    except OperationFailure as e:
        assert (e.code, e.details["codeName"]) == (264, "TooManyFilesOpen") and "RLIMIT_NOFILE" in str(e), e
    print(made)
    # Those that are there work, checkpoints are made, and the limit was raised.
    client.admin.command("fsync")
    for n in range(made):
        client.db["c%d" % n].insert_one({"_id": -1})
        assert client.db["c%d" % n].count_documents({}) == 2
    client.admin.command("fsync")
    print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    client.close()
    # It can be opened again, and read from one end to the other.
    client = MongoClient("local://" + sys.argv[1])
    print(sum(client.db["c%d" % n].count_documents({}) for n in range(made)))
    client.db.c0.drop()
    client.close()
"""


def test_out_of_descriptors_newcomers_are_refused_and_the_rest_goes_on(tmp_path):
    status, lines = run(CROWD, tmp_path / "db")
    assert status == 0
    made, limit, documents = map(int, lines)
    assert made >= 50 and limit == 256 and documents == 2 * made


SERVES = """
    import resource, sys

    resource.setrlimit(resource.RLIMIT_NOFILE, (128, 256))
    from smongo import MongoClient, WireServer

    client = MongoClient("local://" + sys.argv[1])
    with WireServer("local://" + sys.argv[1]) as server:
        print(server.port, flush=True)
        sys.stdin.readline()
        for n in range(8):
            client.db["c%d" % n].insert_one({"_id": n})
        client.admin.command("fsync")
        print(client.admin.command("serverStatus")["connections"]["current"], flush=True)
        sys.stdin.readline()
"""


def test_idle_connections_leave_the_storage_what_it_needs(tmp_path):
    program = [sys.executable, "-c", textwrap.dedent(SERVES), str(tmp_path / "db")]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        port, crowd = int(child.stdout.readline()), []
        try:
            for _ in range(400):
                crowd.append(socket.create_connection(("127.0.0.1", port), 5))
            print(file=child.stdin, flush=True)
            assert 50 < int(child.stdout.readline()) < 200
        finally:
            for one in crowd:
                one.close()
        # Whoever was refused may come again.
        with pymongo.MongoClient("127.0.0.1", port, directConnection=True, serverSelectionTimeoutMS=10_000) as client:
            assert client.db.c7.find_one() == {"_id": 7}
        print(file=child.stdin, flush=True)
        assert child.wait(60) == 0
