#!/usr/bin/env python3
"""A server that works and rests by turns: what must come back to where it was is watched.

    tests/crash/soak.py [--bin target/release/smongo] [--seconds 3600] [--home DIR]

Work is writers, readers that forget their cursors, databases made and dropped under an open snapshot, and an idle transaction with
many changes. Each rest begins with a checkpoint; in it nobody asks for anything, so that next to nothing may be written or computed.
From the second rest on files, threads, sessions of the storage and memory must be what they were in the first, but for a margin.
Exit code 1 at any fault. The short form, some seconds, is in the suite.
"""
import argparse, os, pathlib, shutil, subprocess, sys, tempfile, threading, time

import pymongo

MB = 1 << 20
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


class Server:
    def __init__(self, binary, dbpath):
        self.dbpath = dbpath
        command = [binary, "serve", "--port", "0", "--dbpath", dbpath, "--wiredTigerCacheSizeGB", "0.125"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if " ready: " not in line:
            sys.exit("the server did not start: %r" % line)
        self.uri = line.split(" ready: ")[1].strip()

    def proc(self, name):
        with open("/proc/%d/%s" % (self.process.pid, name)) as f:
            return f.read()

    def cpu(self):
        fields = self.proc("stat").rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def status(self, name):
        return int(next(line.split()[1] for line in self.proc("status").splitlines() if line.startswith(name + ":")))

    def end(self):
        self.process.terminate()
        return self.process.wait(timeout=60)


def work(uri, until, number):
    """One client: its documents, cursors that it forgets, databases that come and go."""
    client = pymongo.MongoClient(uri)
    coll, turn = client.soak["w%d" % number], 0
    while time.time() < until:
        turn += 1
        coll.insert_many([{"_id": n, "n": n % 97, "pad": "x" * 500} for n in range(500)])
        coll.update_many({"n": {"$lt": 50}}, {"$inc": {"n": 1}})
        coll.find({}, batch_size=2).next()
        coll.aggregate([{"$sort": {"n": 1}}, {"$group": {"_id": "$_id"}}], batchSize=2).next()
        coll.delete_many({})
        with client.start_session() as session:
            session.start_transaction()
            client.soak.keep.find_one({}, session=session)
            for n in range(3):
                db = client["made%d_%d_%d" % (number, turn, n)]
                db.t.insert_one({"n": 1})
                db.t.create_index("n")
                client.drop_database(db.name)
            session.abort_transaction()
    client.close()


def idle_transaction(uri, seconds):
    """Changes much and does nothing."""
    client = pymongo.MongoClient(uri)
    if client.soak.many.estimated_document_count() == 0:
        client.soak.many.insert_many([{"_id": n, "n": 0, "pad": "x" * 500} for n in range(20_000)])
    with client.start_session() as session:
        session.start_transaction()
        client.soak.many.update_many({}, {"$inc": {"n": 1}}, session=session)
        time.sleep(seconds)
        session.abort_transaction()
    client.close()


def measure(server, client, seconds):
    """What is there after some seconds in which nobody does anything, and what was done in them."""
    client.admin.command("fsync")
    time.sleep(1)

    def figures():
        tiger = client.admin.command("serverStatus")["wiredTiger"]
        return tiger["cache"]["bytes written from cache"], tiger["session"]["open session count"], tiger["checkpoint"]["total succeed number of checkpoints"]

    before, cpu = figures(), server.cpu()
    time.sleep(seconds)
    used, after = server.cpu() - cpu, figures()
    return {
        "written MB": (after[0] - before[0]) / MB,
        "cpu %": 100 * used / seconds,
        "checkpoints": after[2] - before[2],
        "sessions": after[1],
        "threads": server.status("Threads"),
        "memory MB": server.status("VmRSS") / 1024,
        "files": len(os.listdir(server.dbpath)),
        "descriptors": len(os.listdir("/proc/%d/fd" % server.process.pid)),
    }


def faults(rest, first):
    """What a rest must not show. The margins are for the log, for caches that fill, and for threads that come and go."""
    limits = {"written MB": 16, "cpu %": 15, "sessions": first["sessions"] + 8, "threads": first["threads"] + 4}
    limits |= {"memory MB": first["memory MB"] * 1.5 + 64, "files": first["files"] + 12, "descriptors": first["descriptors"] + 24}
    return ["%s: %.1f, at most %.1f" % (name, rest[name], most) for name, most in limits.items() if rest[name] > most]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default=str(ROOT / "target/release/smongo"))
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--home")
    args = parser.parse_args()
    turn = min(args.seconds / 4, 180)
    home = args.home or tempfile.mkdtemp(prefix="soak")
    server, first, bad = Server(args.bin, os.path.join(home, "db")), None, []
    client = pymongo.MongoClient(server.uri)
    client.soak.keep.insert_one({})
    begun = time.time()
    while time.time() - begun < args.seconds and not bad:
        until = time.time() + turn * 0.6
        threads = [threading.Thread(target=work, args=(server.uri, until, n)) for n in range(3)]
        threads.append(threading.Thread(target=idle_transaction, args=(server.uri, turn * 0.5)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        rest = measure(server, client, max(turn * 0.4, 3))
        first = first or rest
        print("%6.0f s  " % (time.time() - begun) + "  ".join("%s %.1f" % figure for figure in rest.items()), flush=True)
        bad = faults(rest, first)
    client.close()
    status = server.end()
    if status != 0:
        bad.append("the server ended with %s" % status)
    for fault in bad:
        print("FAULT: " + fault)
    if not args.home:
        shutil.rmtree(home, ignore_errors=True)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
