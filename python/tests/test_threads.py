"""Many threads on one client, and writes that outlive a killed process."""

import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import smongo


def test_threads(coll):
    def work(n):
        for i in range(200):
            coll.insert_one({"_id": (n * 1000) + i, "n": n})
            coll.update_one({"_id": "sum"}, {"$inc": {"n": 1}}, upsert=True)
            assert coll.find_one({"_id": (n * 1000) + i})["n"] == n

    coll.insert_one({"_id": "sum", "n": 0})
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert coll.find_one("sum")["n"] == 1600
    assert coll.count_documents({}) == 1601


def test_a_long_read_lets_other_threads_run(coll):
    coll.insert_many({"_id": i, "v": i % 97} for i in range(50_000))
    steps = 0
    done = threading.Event()

    def read():
        for _ in range(3):
            coll.count_documents({"v": {"$gte": 0}, "$expr": {"$lt": ["$v", 1000]}})
        done.set()

    thread = threading.Thread(target=read)
    thread.start()
    while not done.is_set():
        steps += 1
        done.wait(0.001)
    thread.join()
    assert steps > 3


def test_closing_under_load(tmp_path):
    client = smongo.MongoClient(f"local://{tmp_path}/db")
    coll = client.a.b
    written = [0] * 4
    begun = threading.Barrier(5)

    def work(n):
        begun.wait()
        try:
            while True:
                coll.insert_one({"_id": n * 10**9 + written[n]})
                written[n] += 1
                coll.find_one({"_id": n})
        except smongo.PyMongoError:
            pass

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    begun.wait()
    time.sleep(0.2)
    client.close()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    with smongo.MongoClient(f"local://{tmp_path}/db") as again:
        for n in range(4):
            assert again.a.b.count_documents({"_id": {"$gte": n * 10**9, "$lt": (n + 1) * 10**9}}) >= written[n]


def test_killed_and_reopened(tmp_path):
    script = textwrap.dedent(
        f"""
        import smongo
        coll = smongo.MongoClient("local://{tmp_path}/db").a.b
        durable = coll.with_options(write_concern=smongo.WriteConcern(j=True))
        i = len(list(coll.find()))
        while True:
            (durable if i % 5 == 4 else coll).insert_one({{"_id": i, "v": "x" * 100}})
            if i % 5 == 4:
                print(i, flush=True)
            i += 1
        """
    )
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        last = -1
        for _ in range(40):
            last = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        with smongo.MongoClient(f"local://{tmp_path}/db") as client:
            ids = [d["_id"] for d in client.a.b.find().sort("_id")]
        assert ids == list(range(len(ids)))
        assert ids[-1] >= last
