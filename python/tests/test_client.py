"""Clients and the engines behind them: URIs, sharing, closing, forks, options."""

import gc
import os
import subprocess
import sys
import textwrap

import pymongo
import pytest

import smongo
from smongo import MongoClient, _engines


def test_remote_uris_are_pymongos():
    for args in (("mongodb://127.0.0.1:1/",), ("127.0.0.1",), ()):
        client = MongoClient(*args, connect=False)
        assert type(client) is pymongo.MongoClient
        client.close()
    assert type(smongo.AsyncMongoClient("mongodb://127.0.0.1:1/", connect=False)) is pymongo.AsyncMongoClient


def test_local_objects_are_pymongos(client):
    assert isinstance(client, pymongo.MongoClient)
    assert isinstance(client, MongoClient)
    assert isinstance(client.a, pymongo.database.Database)
    assert isinstance(client.a.b, pymongo.collection.Collection)
    assert isinstance(client.a.b.find(), pymongo.cursor.Cursor)
    assert type(client.get_database("a").with_options().get_collection("b").with_options().c) is smongo.LocalCollection
    assert client["a"]["b"] == client.a.b
    assert client.a.b.c.full_name == "a.b.c"


def test_memory_is_separate_unless_named():
    with MongoClient("memory://") as one, MongoClient("memory://") as two:
        one.a.b.insert_one({"_id": 1})
        assert two.a.b.find_one() is None
    with MongoClient("memory://shared") as one, MongoClient("memory://shared") as two:
        one.a.b.insert_one({"_id": 1})
        assert two.a.b.find_one() == {"_id": 1}


def test_memory_holds_more_than_a_file_cache():
    with MongoClient("memory://") as client:
        for i in range(30):
            client.a.b.insert_many({"pad": "x" * 1_000_000, "i": i} for _ in range(10))
        assert client.a.b.count_documents({}) == 300


def test_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with MongoClient("local://data") as one, MongoClient(f"local://{tmp_path}/data") as two, MongoClient("local://~/data") as three:
        one.a.b.insert_one({"_id": 1})
        assert two.a.b.find_one() == three.a.b.find_one() == {"_id": 1}
        assert len({c._lease for c in (one, two, three)}) == 1
    assert (tmp_path / "data").is_dir()
    with pytest.raises(smongo.ConfigurationError, match="path"):
        MongoClient("local://")


def test_the_last_client_closes(tmp_path):
    uri = f"local://{tmp_path}/db"
    one, two = MongoClient(uri), MongoClient(uri)
    engine = one._lease.engine
    one.close()
    with pytest.raises(smongo.InvalidOperation):
        one.a.b.find_one()
    with pytest.raises(smongo.InvalidOperation):
        one.admin.command("ping")
    two.a.b.insert_one({"_id": 1})
    assert not engine.closed
    two.close()
    two.close()
    assert engine.closed
    with MongoClient(uri) as again:
        assert again.a.b.find_one() == {"_id": 1}


def test_a_client_collected_without_close_lets_go():
    client = MongoClient("memory://dropped")
    client.a.b.insert_one({"_id": 1})
    engine = client._lease.engine
    del client
    gc.collect()
    assert engine.closed


def test_another_process_is_refused(tmp_path):
    with MongoClient(f"local://{tmp_path}/db") as client:
        client.a.b.insert_one({})
        script = f"import smongo; smongo.MongoClient('local://{tmp_path}/db')"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
        assert done.returncode != 0
        assert "OperationFailure" in done.stderr


def test_engine_options(tmp_path):
    with MongoClient(f"local://{tmp_path}/db?cacheSizeMB=64&durable=true&appName=x") as client:
        assert client._lease.options == {"cache_size_mb": 64, "durable": True}
        assert client.options.pool_options.appname == "x"
        client.a.b.insert_one({"_id": 1})
        with pytest.raises(smongo.ConfigurationError, match="other options"):
            MongoClient(f"local://{tmp_path}/db", cache_size_mb=128)
    for options in ({"cache_size_mb": "many"}, {"durable": "perhaps"}):
        with pytest.raises(smongo.ConfigurationError):
            MongoClient("memory://", **options)
    with pytest.raises(smongo.ConfigurationError):
        MongoClient("memory://", nosuchoption=1)


def files(directory):
    return {p.name: p.read_bytes() if p.is_file() else None for p in directory.iterdir()}


def test_directories_of_others_are_left_alone(tmp_path):
    path = tmp_path / "mine"
    path.mkdir()
    (path / "notes.txt").write_text("mine")
    foreign = tmp_path / "foreign"
    with MongoClient(f"local://{foreign}") as client:
        client.a.b.insert_one({"_id": 1})
    # As another program that uses the same library would have it.
    (foreign / "smongo.format").unlink()
    (foreign / "meta.wt").rename(foreign / "_mdb_catalog.wt")
    for directory, words in ((path, "allow_other_files"), (foreign, "mongodump")):
        before = files(directory)
        for opening in (lambda: MongoClient(f"local://{directory}"), lambda: smongo.WireServer(directory), lambda: smongo.AsyncMongoClient(f"local://{directory}")):
            with pytest.raises(smongo.OperationFailure, match=words):
                opening()
        assert files(directory) == before
    with MongoClient(f"local://{path}", allow_other_files=True) as client:
        client.a.b.insert_one({"_id": 1})
    with MongoClient(f"local://{path}") as client:
        assert client.a.b.count_documents({}) == 1
    assert (path / "notes.txt").read_text() == "mine"


def test_sync_is_a_later_matter():
    for kind in (MongoClient, smongo.AsyncMongoClient):
        with pytest.raises(NotImplementedError, match="sync"):
            kind("memory://", sync="mongodb://remote")
    MongoClient("memory://", sync=False).close()


def test_the_socket_opens_when_needed_and_goes_away(client, served):
    client.a.b.insert_one({"_id": 1})
    client.a.b.find_one({"_id": 1})
    assert not served()
    assert client.admin.command("ping")["ok"] == 1
    assert served()
    directory = client._lease._directory
    assert os.stat(directory).st_mode & 0o777 == 0o700
    client.close()
    assert not os.path.exists(directory)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_forked_child_is_told(tmp_path):
    script = textwrap.dedent(
        f"""
        import os, smongo
        client = smongo.MongoClient("local://{tmp_path}/db")
        client.a.b.insert_one({{"_id": 1}})
        client.admin.command("ping")
        child = os.fork()
        if not child:
            told = 0
            for run in (client.a.b.find_one, lambda: client.admin.command("ping")):
                try:
                    run()
                except smongo.InvalidOperation as e:
                    told += "fork" in str(e)
            with smongo.MongoClient("memory://") as own:
                own.a.b.insert_one({{"_id": 2}})
                assert own.a.b.find_one() == {{"_id": 2}}
            os._exit(0) if told == 2 else os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert client.a.b.find_one() == {{"_id": 1}}
        client.admin.command("ping")
        client.close()
        """
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    with MongoClient(f"local://{tmp_path}/db") as client:
        assert client.a.b.find_one() == {"_id": 1}


def test_an_open_client_is_closed_with_the_interpreter(tmp_path):
    script = f"""
import smongo
client = smongo.MongoClient("local://{tmp_path}/db")
client.a.b.insert_many([{{"_id": i}} for i in range(100)])
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    with MongoClient(f"local://{tmp_path}/db") as client:
        assert client.a.b.count_documents({}) == 100


def test_nothing_is_left_open():
    gc.collect()
    assert not _engines._leases


def test_a_backup_is_a_database(tmp_path):
    with MongoClient(f"local://{tmp_path}/one") as client:
        client.a.b.insert_many([{"_id": n} for n in range(10)])
        client.backup(tmp_path / "two")
        client.a.b.insert_one({"_id": 10})
        with pytest.raises(pymongo.errors.OperationFailure):
            client.backup(tmp_path / "two")
    with MongoClient(f"local://{tmp_path}/two") as copy:
        assert copy.a.b.count_documents({}) == 10
    with MongoClient("memory://") as client, pytest.raises(pymongo.errors.OperationFailure):
        client.backup(tmp_path / "three")


def test_compact_oplog_keeps_the_newest(client):
    client.a.b.insert_many([{"_id": n} for n in range(10)])
    assert client.compact_oplog(keep=3) > 0
    assert [e["o"]["_id"] for e in client.local["oplog.rs"].find()] == [7, 8, 9]
    assert client.compact_oplog(keep=3) == 0
