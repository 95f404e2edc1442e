#!/usr/bin/env python3
"""Real data sets in smongo: imported, indexed, asked, checked; then kill -9 in the middle of writing.

    examples/quickstart/run.py [--bin target/release/smongo] [--dbpath DIR]

Needs pymongo and vega-datasets (data sets that this package carries; nothing is downloaded). Every answer is compared with
the same answer computed from the package's files in plain Python; exit code 1 at any mismatch.
"""
import argparse, csv, datetime, importlib.util, json, math, pathlib, shutil, signal, subprocess, sys, tempfile, threading, time

import pymongo
from pymongo.errors import ConnectionFailure, OperationFailure
from pymongo.write_concern import WriteConcern

from questions import QUESTIONS

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DATA = pathlib.Path(importlib.util.find_spec("vega_datasets").origin).parent / "_data"  # without importing pandas


def start(binary, dbpath):
    """The server's process and the URI it prints when it is ready."""
    server = subprocess.Popen([binary, "serve", "--port", "0", "--dbpath", dbpath], stdout=subprocess.PIPE, text=True)
    line = server.stdout.readline()
    if " ready: " not in line:
        sys.exit("the server did not start: %r, exit status %s" % (line, server.wait()))
    return server, line.split(" ready: ")[1].strip()


def records(name):
    """A data set as a list of dicts; numbers of CSV files as numbers (but codes such as 0E0 as text), empty cells left out."""
    path = DATA / name
    if path.suffix == ".json":
        return json.loads(path.read_text("utf-8"))
    with open(path, newline="", encoding="utf-8") as f:
        return [{k: v if k == "iata" else typed(v) for k, v in row.items() if v != ""} for row in csv.DictReader(f)]


def typed(text):
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    return text


def date(text, form):
    return datetime.datetime.strptime(text, form)


def originals():
    """The data sets as Python has them, by the name of the collection."""
    sets = {"airports": records("airports.csv"), "weather": records("seattle-weather.csv"), "barley": records("barley.json"),
            "electricity": records("iowa-electricity.csv"), "riots": records("la-riots.csv"), "cars": records("cars.json"), "stocks": records("stocks.csv")}
    for row in sets["cars"]:
        row["Year"], row["words"] = date(row["Year"], "%Y-%m-%d"), row["Name"].split()
    for row in sets["stocks"]:
        row["date"] = date(row["date"], "%b %d %Y")
    for row in sets["weather"]:
        row["date"] = date(row["date"], "%Y/%m/%d")
    return sets


def load(binary, uri, db, sets):
    """Five sets through `smongo import` (CSV, JSON, and NDJSON from a pipe), two through insert_many."""
    airports = "".join(json.dumps(r) + "\n" for r in sets["airports"])  # as CSV, the codes 0E0 and 1E8 would be numbers
    for coll, file, text in (("airports", "-", airports), ("weather", "seattle-weather.csv", ""), ("barley", "barley.json", ""),
                             ("electricity", "iowa-electricity.csv", ""), ("riots", "la-riots.csv", "")):
        options = ["--type", "ndjson", "--file", "-"] if text else ["--file", str(DATA / file)]
        options += ["--headerline", "--ignoreBlanks"] if file.endswith(".csv") else []
        done = subprocess.run([binary, "import", "--uri", uri, "--db", db.name, "--collection", coll, "--drop", *options],
                              input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        print("  " + done.stdout.strip().splitlines()[-1])
        if done.returncode != 0:
            sys.exit("import of %s failed: %s" % (file, done.stdout))
    for coll in ("cars", "stocks"):
        db[coll].drop()
        print("  insert_many: %d documents into %s.%s" % (len(db[coll].insert_many([dict(d) for d in sets[coll]]).inserted_ids), db.name, coll))
    db.weather.update_many({}, [{"$set": {"date": {"$dateFromString": {"dateString": "$date", "format": "%Y/%m/%d"}}}}])
    db.airports.create_index("iata", unique=True)
    db.airports.create_index([("state", 1), ("latitude", -1)])
    db.cars.create_index([("Origin", 1), ("Year", 1)])
    db.cars.create_index("words")
    db.cars.create_index([("Horsepower", -1)], partialFilterExpression={"Horsepower": {"$gt": 0}})
    db.stocks.create_index([("symbol", 1), ("date", 1)], unique=True)
    db.weather.create_index("date", unique=True)


def same(a, b):
    """Equal, with floating-point sums in any order; an _id of the server's making does not count."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) or isinstance(b, float):
        return isinstance(a, (int, float)) and isinstance(b, (int, float)) and math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)
    return type(a) is type(b) and a == b


def show(value):
    if isinstance(value, dict):
        return "  ".join("%s: %s" % (k, show(v)) for k, v in value.items())
    if isinstance(value, list):
        return "[%s]" % ", ".join(map(show, value))
    if isinstance(value, float):
        return "%.6g" % value
    return value.strftime("%Y-%m-%d") if isinstance(value, datetime.datetime) else str(value)


def ask(db, sets, verbose=True):
    """Asks every question; the titles of those answered otherwise than by Python."""
    wrong = []
    for number, (title, ours, python) in enumerate(QUESTIONS, 1):
        want = python(sets)
        try:
            have = ours(db)
        except OperationFailure as e:
            have = "refused: %s (%s)" % (e.details.get("errmsg"), e.code)
        good = same(have, want)
        if verbose or not good:
            print("\n%2d. %s" % (number, title))
            for row in (have if isinstance(have, list) else [have])[:5]:
                print("      " + show(row))
        if not good:
            print("    MISMATCH\n      smongo: %r\n      Python: %r" % (have, want))
            wrong.append(title)
    return wrong


def stored(db, sets):
    """Every document is as in its file, and every index agrees with its collection."""
    wrong = []
    for name, rows in sets.items():
        if not same(list(db[name].find({}, {"_id": 0}).sort("_id", 1)), rows) and not same(bag(db[name].find({}, {"_id": 0})), bag(rows)):
            wrong.append("the documents of " + name)
        report = db.command("validate", name, full=True)
        if not report["valid"] or report["nrecords"] != len(rows) or db[name].count_documents({}) != len(rows):
            wrong.append("validate of %s: %r" % (name, report))
    return wrong


def bag(rows):
    return sorted(([[k, v] for k, v in sorted(r.items())] for r in rows), key=repr)


def write(coll, rows, writer, acknowledged):
    """Stores price quotes, each on disk before it is acknowledged, until the server is gone."""
    number = 0
    try:
        while True:
            row = rows[number % len(rows)]
            coll.insert_one({"_id": "%d/%d" % (writer, number), "writer": writer, "number": number, **row})
            if number % 3 == 0:
                coll.update_one({"_id": "%d/%d" % (writer, number)}, {"$set": {"checked": True}})
            acknowledged[writer] = number = number + 1
    except ConnectionFailure:
        pass


def crash(server, uri, name, sets, seconds=1.5):
    """kill -9 under four writers; how many writes each had been told are done."""
    client = pymongo.MongoClient(uri, retryWrites=False, serverSelectionTimeoutMS=3000)
    client[name].quotes.drop()
    client[name].quotes.create_index([("writer", 1), ("number", 1)], unique=True)
    client[name].quotes.create_index([("symbol", 1), ("price", -1)])
    coll = client[name].get_collection("quotes", write_concern=WriteConcern(w=1, j=True))
    acknowledged = [0] * 4
    threads = [threading.Thread(target=write, args=(coll, sets["stocks"], i, acknowledged)) for i in range(4)]
    for t in threads:
        t.start()
    time.sleep(seconds)
    server.send_signal(signal.SIGKILL)
    server.wait()
    for t in threads:
        t.join()
    client.close()
    return acknowledged


def survived(db, acknowledged):
    """What is wrong with the quotes after the crash."""
    wrong = []
    for writer, number in enumerate(acknowledged):
        docs = list(db.quotes.find({"writer": writer}).sort("number", 1))
        if [d["number"] for d in docs[:number]] != list(range(number)) or len(docs) > number + 1:
            wrong.append("writer %d: %d acknowledged, %d found" % (writer, number, len(docs)))
        if any(d["number"] % 3 == 0 and not d.get("checked") for d in docs[:number]):
            wrong.append("writer %d: an acknowledged update is lost" % writer)
    report = db.command("validate", "quotes", full=True)
    counts = {report["nrecords"], db.quotes.count_documents({}), db.quotes.estimated_document_count(), *report["keysPerIndex"].values()}
    if not report["valid"] or len(counts) != 1:
        wrong.append("validate of quotes: %r, counts %s" % (report, counts))
    return wrong


def session(args, dbpath, running):
    began, sets = time.monotonic(), originals()
    server, uri = start(args.bin, dbpath)
    running.append(server)
    client = pymongo.MongoClient(uri)
    db = client.quickstart
    print("smongo at %s\n\nLoading" % uri)
    load(args.bin, uri, db, sets)
    wrong = stored(db, sets) + ask(db, sets)
    client.close()
    print("\nkill -9 under four writers")
    acknowledged = crash(server, uri, db.name, sets)
    reopening = time.monotonic()
    server, uri = start(args.bin, dbpath)
    running.append(server)
    reopening = time.monotonic() - reopening
    client = pymongo.MongoClient(uri)
    db = client.quickstart
    lost = survived(db, acknowledged)
    print("  %d j:true inserts acknowledged, %s; reopened in %.0f ms" % (sum(acknowledged), "FAULTS: %s" % lost if lost else "none lost", 1000 * reopening))
    again = stored(db, sets) + ask(db, sets, verbose=False)
    print("  the %d questions asked again: %s" % (len(QUESTIONS), "FAULTS: %s" % again if again else "the same answers"))
    client.close()
    server.send_signal(signal.SIGTERM)
    ended = [] if server.wait(timeout=30) == 0 else ["the exit status after SIGTERM"]
    print("\n%.1f s in all" % (time.monotonic() - began))
    return wrong + lost + again + ended + ([] if min(acknowledged) > 0 else ["a writer wrote nothing"])


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--bin", default=str(ROOT / "target" / "release" / "smongo"))
    ap.add_argument("--dbpath", help="kept afterwards; by default a temporary directory")
    args = ap.parse_args()
    home, running = tempfile.mkdtemp(prefix="smongo-quickstart-"), []
    try:
        wrong = session(args, args.dbpath or home, running)
    finally:
        for server in running:
            if server.poll() is None:
                server.kill()
                server.wait()
        shutil.rmtree(home, ignore_errors=True)
    if wrong:
        sys.exit("quickstart: WRONG:\n  " + "\n  ".join(wrong))
    print("quickstart: every answer is right")


if __name__ == "__main__":
    main()
