#!/usr/bin/env python3
"""Damaged files: every answer is right, an error, or told to be incomplete; the store stays up; `smongo repair` makes it usable.

    tests/crash/damage.py [--bin target/release/smongo] [--flips 300] [--truncations 40] [--whole all] [--seed N] [--home DIR]

Two databases of the same kind, one closed and one killed, are copied again and again; each copy gets one damage: a flipped bit, a
file cut off, deleted, zeroed, swapped with another, or as it was at an earlier checkpoint. What was acknowledged as durable is in
a model. A server opens the copy, or says which file keeps it from that; then everything is read in several ways and something
is written. What does not come out right is repaired and read again: what is lost then must have been told. The table of outcomes
is printed; exit code 1 when anything was wrong in silence, or more failed than the damage explains.
"""
import argparse, collections, pathlib, random, re, shutil, signal, subprocess, sys, tempfile

import pymongo
from pymongo.errors import PyMongoError
from pymongo.write_concern import WriteConcern

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
LOG = "WiredTigerLog."
# What holds no data, or only a lock.
UNUSED = {"WiredTiger.lock"}


class Server:
    def __init__(self, binary, path):
        self.process = subprocess.Popen([binary, "serve", "--port", "0", "--dbpath", str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        self.refused = None
        if " ready: " in line:
            self.client = pymongo.MongoClient(line.split(" ready: ")[1].strip(), serverSelectionTimeoutMS=5000, socketTimeoutMS=30000)
        else:
            said = self.process.communicate(timeout=60)[1].strip().splitlines()
            self.refused = said[-1] if said else ""

    def end(self, sig=signal.SIGTERM):
        """The exit status; None when it does not end."""
        if self.refused is None:
            self.client.close()
            if self.process.poll() is None:
                self.process.send_signal(sig)
        try:
            self.process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            return None
        return self.process.returncode


def document(rng, name, n):
    return {"_id": n, "x": n % 10, "y": "%s%d" % (name, n), "pad": "p%d" % n * rng.randrange(5, 30)}


def make(binary, home, killed):
    """The path of a database, that of the same one at an earlier checkpoint, and what must be in it by collection."""
    rng, path, before = random.Random(7), home / ("killed" if killed else "clean"), home / ("before-killed" if killed else "before-clean")
    model = {}

    def work(db, name, first, count):
        coll = db.get_collection(name, write_concern=WriteConcern(j=True))
        docs = [document(rng, name, n) for n in range(first, first + count)]
        coll.insert_many(docs)
        for d in docs:
            model[name][d["_id"]] = d
        for d in docs[::7]:
            coll.update_one({"_id": d["_id"]}, {"$set": {"x": 11}})
            model[name][d["_id"]] = d | {"x": 11}
        for d in docs[3::9]:
            coll.delete_one({"_id": d["_id"]})
            del model[name][d["_id"]]

    server = Server(binary, path)
    db = server.client.a
    for name, count in (("t", 400), ("u", 60)):
        model[name] = {}
        db[name].create_index("x")
        db[name].create_index("y", unique=True)
        work(db, name, 0, count)
    assert server.end() == 0
    shutil.copytree(path, before)
    server = Server(binary, path)
    for name, count in (("t", 200), ("u", 30)):
        work(server.client.a, name, 1000, count)
    if killed:
        server.client.admin.command("fsync", 1)
        for name, count in (("t", 200), ("u", 30)):
            work(server.client.a, name, 2000, count)
    server.end(signal.SIGKILL if killed else signal.SIGTERM)
    return path, before, model


def by_id(docs):
    return {d.get("_id", str(d)): d for d in docs}


def answers(db, name, model):
    """(what was asked, whether it was answered rightly; None and the error when it was not answered)."""
    coll, want = db[name], model[name]
    by_x = collections.defaultdict(dict)
    for key, doc in want.items():
        by_x[doc["x"]][key] = doc
    asks = [("scan", lambda: by_id(coll.find(hint=[("$natural", 1)])) == want)]
    asks += [("x", lambda x=x: by_id(coll.find({"x": x}, hint="x_1")) == by_x[x]) for x in by_x]
    keys = sorted(want)
    for key in keys[:: max(1, len(keys) // 12)]:
        asks.append(("_id", lambda key=key: coll.find_one({"_id": key}) == want[key]))
        asks.append(("y", lambda key=key: list(coll.find({"y": want[key]["y"]}, hint="y_1")) == [want[key]]))
    asks.append(("y", lambda: [d.get("y") for d in coll.find({}, {"_id": 0, "y": 1}, hint="y_1")] == sorted(d["y"] for d in want.values())))
    asks.append(("count", lambda: coll.count_documents({}) == len(want)))
    for what, ask in asks:
        try:
            yield what, ask(), None
        except PyMongoError as e:
            yield what, None, str(e)


def look(binary, path, model):
    """Opens a copy and asks: (outcome, particulars)."""
    server = Server(binary, path)
    if server.refused is not None:
        named = re.search(r"WiredTiger\.turtle|WiredTigerLog\.\d|\w+\.wt|WiredTiger version file|smongo\.format", server.refused)
        return ("refused by name" if named else "REFUSED WITHOUT A NAME"), server.refused
    try:
        wrong, errors = [], []
        for name in model:
            for what, right, error in answers(server.client.a, name, model):
                if error:
                    errors.append(error)
                elif not right:
                    wrong.append("%s.%s" % (name, what))
        status = server.client.admin.command("serverStatus")["storageEngine"]
        told = status.get("journalEnd")
        try:
            server.client.b.w.insert_one({"_id": 1})
            server.client.admin.command("fsync", 1)
        except PyMongoError as e:
            errors.append("a write elsewhere: %s" % e)
        alive = server.process.poll() is None
    except PyMongoError as e:
        wrong, errors, told, alive = [], [str(e)], None, server.process.poll() is None
    ended = server.end()
    if not alive or ended is None or ended < 0:
        return "CRASHED", "status %s; %s" % (ended, errors[:1])
    if wrong:
        return ("incomplete, and told" if told else "WRONG IN SILENCE"), "%s %s" % (wrong[:6], told)
    failed = [e for e in errors if "must be opened again" in e or "a write elsewhere" in e]
    if failed:
        return "the store failed", failed[0]
    unnamed = [e for e in errors if "damaged" not in e]
    if unnamed:
        return "ERROR WITHOUT A NAME", unnamed[0]
    return ("error by name", errors[0]) if errors else (("right, and told", str(told)) if told else ("right", ""))


def repair(binary, path, model):
    """Repairs a copy: (outcome, particulars)."""
    done = subprocess.run([binary, "repair", "--dbpath", str(path)], capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or [str(done.returncode)])[-1]
        # Without the metadata nobody knows which blocks of the tables' files are the newest.
        return ("not repaired, the metadata is lost" if re.search(r"WiredTiger\.(wt|turtle)", said) else "NOT REPAIRED"), said
    said = done.stdout.strip().splitlines()
    server = Server(binary, path)
    if server.refused is not None:
        return "REFUSED AFTER REPAIR", server.refused
    lost, faults = 0, []
    try:
        orphans = [by_id(server.client.local[name].find()) for name in server.client.local.list_collection_names() if name.startswith("orphan.")]
        for name, want in model.items():
            found = by_id(server.client.a[name].find(hint=[("$natural", 1)]))
            # Without their catalog's entry they are in a collection of another name.
            found = max([found, *orphans], key=lambda docs: sum(docs.get(key) == doc for key, doc in want.items()))
            lost += sum(found.get(key) != doc for key, doc in want.items())
            if strange := [key for key in found if key not in want]:
                faults.append("%s has what it never had: %s" % (name, strange[:3]))
            if name in server.client.a.list_collection_names():
                report = server.client.a.command("validate", name, full=True)
                if not report["valid"]:
                    faults.append("validate: %s" % report["errors"][:2])
    except PyMongoError as e:
        faults.append(str(e))
    server.end()
    if faults:
        return "UNSOUND AFTER REPAIR", faults[0]
    if lost and len(said) < 2:
        return "LOST IN SILENCE", "%d documents; %s" % (lost, said)
    return ("repaired, loss told" if lost else "repaired, nothing lost"), "%d lost; %s" % (lost, said[:3])


def flip(path, name, rng):
    file = path / name
    data = bytearray(file.read_bytes())
    at = rng.randrange(len(data.rstrip(b"\0")) or 1)
    data[at] ^= 1 << rng.randrange(8)
    file.write_bytes(data)
    return "%s: bit at byte %d" % (name, at)


def truncate(path, name, rng):
    data = (path / name).read_bytes()
    keep = rng.randrange(len(data.rstrip(b"\0")) or 1)
    (path / name).write_bytes(data[:keep])
    return "%s: cut off at %d of %d" % (name, keep, len(data))


def delete(path, name, rng):
    (path / name).unlink()
    return "%s: deleted" % name


def zero(path, name, rng):
    (path / name).write_bytes(bytes((path / name).stat().st_size))
    return "%s: zeroed" % name


def swap(path, name, rng):
    others = [p.name for p in path.iterdir() if p.name != name and p.name.endswith(".wt") == name.endswith(".wt") and not p.name.startswith(LOG)]
    other = rng.choice(sorted(others))
    mine, theirs = (path / name).read_bytes(), (path / other).read_bytes()
    (path / name).write_bytes(theirs)
    (path / other).write_bytes(mine)
    return "%s: swapped with %s" % (name, other)


def trials(args, rng, path, before):
    """(kind of damage, the damage) in turns; a damage takes a copy and says what it did."""
    names = sorted(p.name for p in path.iterdir() if p.name not in UNUSED)
    for _ in range(args.flips):
        yield "flip", lambda copy: flip(copy, rng.choice(names), rng)
    for _ in range(args.truncations):
        yield "truncate", lambda copy: truncate(copy, rng.choice(names), rng)
    whole = []
    for name in names:
        whole += [(how.__name__, lambda copy, how=how, name=name: how(copy, name, rng)) for how in (delete, zero)]
        if not name.startswith(LOG):
            whole.append(("swap", lambda copy, name=name: swap(copy, name, rng)))
        if (before / name).exists():
            def older(copy, name=name):
                shutil.copy(before / name, copy / name)
                return "%s: of an earlier checkpoint" % name
            whole.append(("older", older))
    yield from whole if args.whole == "all" else rng.sample(whole, min(int(args.whole), len(whole)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default=str(ROOT / "target/release/smongo"))
    parser.add_argument("--flips", type=int, default=300)
    parser.add_argument("--truncations", type=int, default=40)
    parser.add_argument("--whole", default="all", help="how many of the damages of whole files, or all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--home", help="directory for the copies; faults are kept there")
    args = parser.parse_args()
    home = pathlib.Path(args.home or tempfile.mkdtemp(prefix="smongo-damage-"))
    home.mkdir(parents=True, exist_ok=True)
    rng, table, faults, number = random.Random(args.seed), collections.Counter(), 0, 0
    for killed in (False, True):
        path, before, model = make(args.bin, home, killed)
        for kind, harm in trials(args, rng, path, before):
            number += 1
            copy = home / ("copy%d" % number)
            shutil.copytree(path, copy)
            what = harm(copy)
            twin = home / ("twin%d" % number)
            shutil.copytree(copy, twin)
            outcomes = [look(args.bin, copy, model)]
            if outcomes[0][0] != "right":
                outcomes.append(repair(args.bin, twin, model))
            fault = False
            for step, (outcome, particulars) in zip(("opened", "repaired"), outcomes):
                table["killed" if killed else "clean", kind, step, outcome] += 1
                if outcome.split(",")[0].isupper():
                    fault = True
                    print("%s, %s: %s: %s (%s)" % ("killed" if killed else "clean", what, outcome, particulars, twin), flush=True)
            faults += fault
            shutil.rmtree(copy)
            if not (fault and args.home):
                shutil.rmtree(twin)
    for row, count in sorted(table.items()):
        print("%-7s %-9s %-9s %-28s %5d" % (*row, count))
    print("%d damages, %d faults" % (number, faults))
    if not args.home:
        shutil.rmtree(home)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
