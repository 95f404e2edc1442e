"""A program that embeds the database dies under its writers, in every way a program dies: nothing acknowledged may be lost.

As a script it is the victim: it opens the database at argv[1] and writes with default write concern, in several threads and
through every door (the short ones, PyMongo's own way, transactions, data definition), saying what was acknowledged, until it
is killed or, for the ways of argv[2], ends itself.
"""
import os, random, signal, subprocess, sys, tempfile, threading, time

WAYS = ["SIGKILL", "SIGTERM", "abort", "_exit"]
THREADS = 4


def victim(dbpath, way, seed):
    import smongo

    client, lock = smongo.MongoClient("local://" + dbpath), threading.Lock()
    coll, rng = client.crash.docs, random.Random(seed)
    end = {"abort": os.abort, "_exit": lambda: os._exit(0)}.get(way)
    deadline = time.monotonic() + rng.uniform(0.05, 0.4) if end else float("inf")

    def say(word, keys):
        # One write(2) each: nothing stays in a buffer of this process.
        with lock:
            os.write(1, "".join("%s %s\n" % (word, key) for key in keys).encode())

    def put(session=None, **more):
        keys = more.pop("keys")
        coll.insert_many([{"_id": k, **more} for k in keys], session=session)
        return keys

    def write(number):
        me, n = random.Random(seed * THREADS + number), 0
        while True:
            n, kind = n + 1, me.random()
            keys = ["%d:%d:%d" % (seed, number, n)]
            if kind < 0.6:
                coll.insert_one({"_id": keys[0]})
            elif kind < 0.7:
                put(keys=[keys[0] + "." + str(i) for i in range(5)])
                keys = [keys[0] + "." + str(i) for i in range(5)]
            elif kind < 0.8:
                coll.update_one({"_id": keys[0]}, {"$set": {"n": n}}, upsert=True)
            elif kind < 0.9:
                with client.start_session() as session, session.start_transaction():
                    put(session, keys=keys, t=1)
            elif kind < 0.93:
                client.crash["c-" + keys[0]].create_index("a", name="a_1")
                say("collection", ["c-" + keys[0]])
                continue
            else:
                coll.insert_one({"_id": keys[0]})
                coll.find_one_and_delete({"_id": keys[0]})
                say("gone", keys)
                continue
            say("wrote", keys)
            if time.monotonic() > deadline:
                end()

    # What gives up gives up the program: a fault that nobody hears of would look like a quiet thread.
    threading.excepthook = lambda args: (sys.__excepthook__(args.exc_type, args.exc_value, args.exc_traceback), os._exit(99))
    print("ready", flush=True)
    for number in range(THREADS):
        threading.Thread(target=write, args=(number,)).start()


def round(dbpath, way, seed):
    """One death. Returns what was acknowledged: words and keys."""
    process = subprocess.Popen([sys.executable, __file__, dbpath, way, str(seed)], stdout=subprocess.PIPE, text=True)
    if process.stdout.readline() != "ready\n":
        return None
    if way.startswith("SIG"):
        timer = threading.Timer(random.Random(seed).uniform(0.05, 0.4), process.send_signal, [getattr(signal, way)])
        timer.start()
    said = [line.split() for line in process.stdout if line.endswith("\n")]
    return said if process.wait() != 99 else None


def kills(count, home, seed):
    """Kills `count` programs, one database for ten of them. Yields faults, and at last the number of acknowledged writes."""
    import smongo

    acknowledged = 0
    for at in range(0, count, 10):
        dbpath, there, gone, collections = tempfile.mkdtemp(prefix="embedded", dir=home), set(), set(), set()
        for n in range(at, min(at + 10, count)):
            way = WAYS[n % len(WAYS)]
            said = round(dbpath, way, seed + n)
            if said is None:
                yield "the embedding program failed; the data stay in %s" % dbpath
                return
            for word, key in said:
                {"wrote": there, "gone": gone, "collection": collections}[word].add(key)
            acknowledged += len(said)
            with smongo.MongoClient("local://" + dbpath) as client:
                found = {d["_id"] for d in client.crash.docs.find({}, {"_id": 1})}
                names = {n for n in client.crash.list_collection_names() if "a_1" in client.crash[n].index_information()}
                report = client.crash.command("validate", "docs", full=True)
            for what, lost in (("documents", there - found), ("deletions", gone & found), ("collections with their index", collections - names)):
                if lost:
                    yield "%d acknowledged %s lost after %s: %s" % (len(lost), what, way, sorted(lost)[:3])
            if not report["valid"]:
                yield "not valid after %s: %r" % (way, report["errors"])
    yield acknowledged


if __name__ == "__main__":
    victim(sys.argv[1], sys.argv[2], int(sys.argv[3]))
