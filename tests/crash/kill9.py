#!/usr/bin/env python3
"""kill -9 at random instants under writers, transactions, data definition and retried writes: nothing acknowledged may be lost.

    tests/crash/kill9.py [--bin target/release/smongo] [--kills 20] [--fresh 50] [--writers 4] [--seed N] [--home DIR]

A database lives through `--fresh` kills, then another one begins, since what is checked grows with it: after every kill
everything it ever held, and all its collections are validated. Half of the writers and of the actors leave the write concern to the
server, the others ask for durability: what was acknowledged survives the death of its process either way. Each writer owns its documents and has at most one command in
flight, so after reopening every document must be as last acknowledged; only those of the command in flight may be as before
or as after it. The actors beside the writers are in actors.py.

Every fifth kill is followed by another one while the server recovers. Some hit a server that has been asked to end and writes
its last checkpoint; now and then the server ends cleanly and starts again before the next kill. Programs that embed the database
die after that (embedded.py; the package smongo must be installed). Exit code 1 at any fault.
"""
import argparse, pathlib, random, shutil, signal, subprocess, sys, tempfile, threading, time, traceback

import pymongo
from pymongo.errors import PyMongoError
from pymongo.write_concern import WriteConcern

import actors, embedded

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
INDEXES = {"key_1": [("key", 1)], "tag_1_n_-1": [("tag", 1), ("n", -1)]}


class Server:
    def __init__(self, binary, dbpath):
        self.log = open(dbpath + ".log", "a")
        self.process = subprocess.Popen([binary, "serve", "--port", "0", "--dbpath", dbpath], stdout=subprocess.PIPE, stderr=self.log, text=True)

    def ready(self):
        """The URI; what the server says on stderr is in DBPATH.log."""
        line = self.process.stdout.readline()
        if " ready: " not in line:
            sys.exit("the server did not start (%r, exit status %s); see %s" % (line, self.process.wait(), self.log.name))
        return line.split(" ready: ")[1].strip()

    def end(self, sig):
        self.process.send_signal(sig)
        status = self.process.wait(timeout=60)
        self.process.stdout.close()
        self.log.close()
        return status


class Writer(threading.Thread):
    """Inserts, updates and deletes documents whose _id has its number, remembering what was acknowledged."""

    def __init__(self, number, coll, docs, seq, seed):
        super().__init__(daemon=True)
        self.number, self.coll, self.docs, self.seq = number, coll, docs, seq
        # `done` has what was acknowledged in its order; what is pending at the end may or may not have been done.
        self.random, self.done, self.pending, self.fault = random.Random(seed), [], {}, None

    def run(self):
        try:
            while not self.fault:
                self.step()
        except PyMongoError as e:
            if not actors.killed(e):
                self.fault = "writer %d: %r" % (self.number, e)

    def new(self):
        self.seq += 1
        unique = "%d:%d" % (self.number, self.seq)
        return {"_id": unique, "key": unique, "tag": self.random.randrange(20), "n": self.seq, "pad": "x" * self.random.randrange(600)}

    def step(self):
        kind = self.random.random()
        if kind < 0.45 or len(self.docs) < 20:
            doc = self.new()
            self.do({doc["_id"]: doc}, lambda: self.coll.insert_one(dict(doc)))
        elif kind < 0.55:
            many = [self.new() for _ in range(5)]
            self.do({d["_id"]: d for d in many}, lambda: self.coll.insert_many([dict(d) for d in many]))
        elif kind < 0.8:
            before = self.docs[self.random.choice(list(self.docs))]
            self.seq += 1
            change = {"key": "%d:%d" % (self.number, self.seq), "tag": self.random.randrange(20), "n": self.seq}
            self.do({before["_id"]: before | change}, lambda: self.coll.update_one({"key": before["key"]}, {"$set": change}).matched_count)
        elif kind < 0.84:
            self.fail()
        else:
            gone = self.random.choice(list(self.docs))
            self.do({gone: None}, lambda: self.coll.delete_one({"_id": gone}).deleted_count)

    def fail(self):
        """An update of two documents of which the second is refused: one of them changes, whichever it is."""
        both = self.random.sample(list(self.docs), 2)
        self.seq += 1
        change = {"key": "%d:%d" % (self.number, self.seq), "tag": self.random.randrange(20), "n": self.seq}
        self.pending = {key: self.docs[key] | change for key in both}
        try:
            self.coll.update_many({"_id": {"$in": both}}, {"$set": change})
            self.fault = "writer %d: two documents took the key %s" % (self.number, change["key"])
        except PyMongoError as e:
            if getattr(e, "code", None) != 11000:
                raise
        found = {d["_id"]: d for d in self.coll.find({"_id": {"$in": both}})}
        changed = [key for key in both if found.get(key) == self.pending[key]]
        if len(changed) != 1 or any(found.get(key) != self.docs[key] for key in both if key not in changed):
            self.fault = self.fault or "writer %d: after a failed update of two: %r" % (self.number, found)
            return
        put(self.docs, changed[0], self.pending[changed[0]])
        self.done.append((changed[0], self.pending[changed[0]]))
        self.pending = {}

    def do(self, after, command):
        self.pending = after
        if command() == 0:
            self.fault = "writer %d: an acknowledged document was not found: %s" % (self.number, list(after))
        for key, doc in after.items():
            put(self.docs, key, doc)
        self.pending = {}
        self.done += after.items()


def put(docs, key, doc):
    if doc is None:
        docs.pop(key, None)
    else:
        docs[key] = doc


def check(db, coll, expected, pending):
    """(documents found, lost or wrong ones, faults of indexes and counts)."""
    found = {d["_id"]: d for d in coll.find(hint=[("$natural", 1)])}
    wrong = []
    for key in expected.keys() | found.keys():
        have, want = found.get(key), expected.get(key)
        if have != want and not (key in pending and have == pending[key]):
            wrong.append("%s: acknowledged %r, found %r" % (key, want, have))
    faults = []
    report = db.command("validate", coll.name, full=True)
    if not report["valid"] or report["errors"] or report["nrecords"] != len(found):
        faults.append("validate: %r" % {k: report.get(k) for k in ("valid", "errors", "nrecords", "indexDetails")})
    for name, count in report["keysPerIndex"].items():
        if count != len(found):
            faults.append("%s has %d keys for %d documents" % (name, count, len(found)))
    if set(report["keysPerIndex"]) - {actors.Builder.INDEX} != {"_id_", *INDEXES}:
        faults.append("indexes: %s" % sorted(report["keysPerIndex"]))
    for how in (coll.count_documents({}), coll.estimated_document_count()):
        if how != len(found):
            faults.append("counted %d, found %d" % (how, len(found)))
    for name, keys in INDEXES.items():
        through = list(coll.find({keys[0][0]: {"$gte": type(next(iter(found.values()), {"key": "", "tag": 0})[keys[0][0]])()}}, hint=name))
        if {d["_id"]: d for d in through} != found or len(through) != len(found):
            faults.append("%s leads to %d documents of %d" % (name, len(through), len(found)))
    return found, wrong, faults


class Life:
    """One database and what it must hold, from its first opening to the check after the last kill."""

    def __init__(self, args, dbpath, seed):
        self.args, self.dbpath, self.random = args, dbpath, random.Random(seed)
        self.model = [{} for _ in range(args.writers)]
        self.seqs, self.pending = [0] * args.writers, {}
        self.acknowledged, self.kills, self.lost, self.faults, self.openings, self.server = 0, 0, 0, [], [], None
        self.actors = [] if args.writers_only else [kind(self.random.random()) for kind in actors.ALL]
        self.watcher = next((a for a in self.actors if isinstance(a, actors.Watcher)), None)

    def open(self):
        began = time.monotonic()
        server = self.server = Server(self.args.bin, self.dbpath)
        uri = server.ready()
        self.openings.append(time.monotonic() - began)
        # After the kill nobody waits long for a server that will not come back.
        client = pymongo.MongoClient(uri, retryWrites=False, serverSelectionTimeoutMS=200)
        return server, client

    def fault(self, text):
        print("FAULT after kill %d: %s" % (self.kills, text[:6000]), flush=True)
        self.faults.append(text)

    def verify(self, client):
        coll, late = client.crash.docs, []
        if self.kills % 2:
            late = self.delete_one(coll)  # a write before anybody has counted what the crash left
        expected = {k: d for docs in self.model for k, d in docs.items()}
        found, wrong, faults = check(client.crash, coll, expected, self.pending)
        self.lost += len(wrong)
        for text in wrong + faults:
            self.fault(text)
        if self.watcher:
            done = [(k, d) for k, d in self.pending.items() if found.get(k) == d and expected.get(k) != d]
            self.watcher.expected += actors.changes(done + late)
        for actor in self.actors:
            for text in actor.check(client):
                self.fault("%s: %s" % (actor.name, text))
        for text in actors.invalid(client):
            self.fault(text)
        for number, docs in enumerate(self.model):
            docs.clear()
            docs.update((k, d) for k, d in found.items() if k.startswith("%d:" % number))
        self.pending = {}

    def delete_one(self, coll):
        docs = next((d for d in self.model if d), {})
        key = next((k for k in docs if k not in self.pending), None)
        if key is None or not coll.delete_one({"_id": key}).deleted_count:
            return []
        del docs[key]
        return [(key, None)]

    def restart(self, server, client):
        """A clean end and a new beginning: what is kept at a clean end must not be believed after the next crash."""
        client.close()
        if server.end(signal.SIGTERM) != 0:
            self.fault("the server's exit status after SIGTERM")
        return self.open()

    def start(self):
        """A server whose data are as they should be."""
        server, client = self.open()
        if self.openings[1:]:
            self.verify(client)
        else:
            coll = client.crash.get_collection("docs", write_concern=WriteConcern(w=1, j=True))
            for name, keys in INDEXES.items():
                coll.create_index(keys, name=name, unique=name == "key_1")
            for actor in self.actors:
                actor.prepare(client)
        return server, client

    def round(self):
        """Writers at work on a fresh process until it is killed."""
        server, client = self.start()
        if self.random.random() < 0.3:
            server, client = self.restart(server, client)
        colls = [client.crash.docs, client.crash.get_collection("docs", write_concern=WriteConcern(w=1, j=True))]
        writers = [Writer(i, colls[i % 2], self.model[i], self.seqs[i], self.random.random()) for i in range(self.args.writers)]
        for w in writers:
            w.start()
        threads = [threading.Thread(name=actor.name, target=actor.run, args=(client,), daemon=True) for actor in self.actors]
        for thread in threads:
            thread.start()
        time.sleep(self.random.uniform(0.02, self.args.seconds))
        self.kill(server, closing=self.random.random() < 0.15)
        for i, w in enumerate(writers):
            w.join(timeout=30)
            self.seqs[i] = w.seq
            self.pending |= w.pending
            self.acknowledged += len(w.done)
            if self.watcher:
                self.watcher.expected += actors.changes(w.done)
            if w.fault:
                self.fault(w.fault)
        for thread, actor in zip(threads, self.actors):
            thread.join(timeout=30)
            for text in actor.take_faults():
                self.fault(text)
        for thread in writers + threads:
            if thread.is_alive():
                stack = traceback.format_stack(sys._current_frames()[thread.ident])
                self.fault("%s hangs although the server was killed:\n%s" % (thread.name, "".join(stack)))
        client.close()
        if self.random.random() < 0.2:
            again = self.server = Server(self.args.bin, self.dbpath)
            time.sleep(self.random.uniform(0, 1.2 * self.openings[-1]))
            self.kill(again)

    def kill(self, server, closing=False):
        if closing:
            server.process.send_signal(signal.SIGTERM)
            time.sleep(self.random.uniform(0, 0.1))
        server.end(signal.SIGKILL)
        self.kills += 1

    def run(self, kills):
        while self.kills < kills:
            self.round()
        server, client = self.start()
        documents = client.crash.docs.estimated_document_count()
        self.restart(server, client)[1].close()
        self.server.end(signal.SIGKILL)
        return documents


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--bin", default=str(ROOT / "target" / "release" / "smongo"))
    ap.add_argument("--kills", type=int, default=20)
    ap.add_argument("--fresh", type=int, default=50, help="kills of one database")
    ap.add_argument("--writers", type=int, default=4)
    ap.add_argument("--seconds", type=float, default=0.6, help="longest time of writing before a kill")
    ap.add_argument("--writers-only", action="store_true")
    ap.add_argument("--embedded", type=int, help="kills of embedding programs; by default as many as of servers")
    ap.add_argument("--seed", type=int, default=int(time.time()))
    ap.add_argument("--home", help="where the databases are made; by default a temporary directory")
    args = ap.parse_args()
    home, lives, began = args.home or tempfile.mkdtemp(prefix="smongo-kill9-"), [], time.monotonic()
    while (kills := sum(life.kills for life in lives)) < args.kills:
        dbpath = "%s/data%d" % (home, len(lives))
        pathlib.Path(dbpath).mkdir(parents=True)
        life = Life(args, dbpath, args.seed + len(lives))
        lives.append(life)
        try:
            documents = life.run(min(args.fresh, args.kills - kills))
        finally:
            if life.server and life.server.process.poll() is None:
                life.server.process.kill()
        print("database %d: %d kills, %d acknowledged writes, %d lost or wrong, %d faults, %d documents at the end, %.0f s so far"
              % (len(lives), life.kills, life.acknowledged, life.lost, len(life.faults), documents, time.monotonic() - began), flush=True)
        if not life.faults:
            shutil.rmtree(dbpath)
    report(args, lives, time.monotonic() - began)
    *faults, acknowledged = embedded.kills(args.kills if args.embedded is None else args.embedded, home, args.seed)
    if faults or not isinstance(acknowledged, int):
        sys.exit("\n".join(["kill -9 of embedding programs: FAILED; the data stay in %s" % home, *faults, str(acknowledged)]))
    print("embedding programs: %d acknowledged writes, none lost" % acknowledged)
    if any(life.faults or not life.acknowledged for life in lives):
        sys.exit("\n".join(["kill -9: FAILED; the data stay in %s" % home, *(fault for life in lives for fault in life.faults)]))
    if not args.home:
        shutil.rmtree(home, ignore_errors=True)


def report(args, lives, seconds):
    total = lambda of: sum(of(life) for life in lives)
    print("kill -9: %d kills of %d databases, %d writers, %d acknowledged writes, %d lost or wrong, %d faults in all; opening %.0f ms at most; %.0f s; seed %d"
          % (total(lambda l: l.kills), len(lives), args.writers, total(lambda l: l.acknowledged), total(lambda l: l.lost), total(lambda l: len(l.faults)),
             1000 * max(max(l.openings) for l in lives), seconds, args.seed))
    for n, actor in enumerate(lives[0].actors):
        print("  %s: %d acknowledged" % (actor.name, total(lambda l: l.actors[n].acknowledged)))


if __name__ == "__main__":
    main()
