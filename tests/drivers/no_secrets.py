#!/usr/bin/env python3
"""Puts a word into every field that holds a secret, and looks for it wherever the server shows or keeps something.

    tests/drivers/no_secrets.py [--bin target/release/smongo]
"""
import argparse, base64, pathlib, secrets, signal, subprocess, sys, tempfile, threading, time

from bson import Binary
from pymongo import MongoClient
from pymongo.errors import OperationFailure

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def forms(word):
    """The word as it is, and as it stands in base64, wherever in three bytes it begins."""
    yield word.encode()
    for skip in range(3):
        text = base64.b64encode(b"x" * skip + word.encode()).decode()
        yield text[4 if skip else 0 : (skip + len(word)) * 4 // 3 - 3].encode()


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--bin", default=str(ROOT / "target" / "release" / "smongo"))
    binary = ap.parse_args().bin
    word = "marker" + secrets.token_hex(12)
    with tempfile.TemporaryDirectory(prefix="smongo-secrets-") as directory:
        at = pathlib.Path(directory)
        (at / "password").write_text(word)
        subprocess.run([binary, "user", "add", "ann", "--dbpath", str(at / "data"), "--password-file", str(at / "password")], check=True, capture_output=True)
        (at / "password").unlink()
        log = (at / "log").open("wb")
        flags = ["--auth", "--auditDestination", "file", "--auditPath", str(at / "audit.json"), "--setParameter", "auditAuthorizationSuccess=true", "--setParameter", "logLevel=5", "-vvv"]
        server = subprocess.Popen([binary, "serve", "--port", "0", "--dbpath", str(at / "data"), *flags], stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            line = server.stdout.readline()
            if " ready: " not in line:
                sys.exit("the server did not start: %r" % line)
            uri = line.split(" ready: ")[1].strip()
            shown = speak(uri, word)
            server.send_signal(signal.SIGTERM)
            shown["what it printed"] = (line + server.stdout.read()).encode()
            if server.wait(timeout=30) != 0:
                sys.exit("the server's exit status is %d" % server.returncode)
        finally:
            server.kill()
            server.wait()
        log.close()
        for path in sorted(at.rglob("*")):
            if path.is_file():
                shown[str(path.relative_to(at))] = path.read_bytes()
        for place in ("an error", "a profile", "currentOp", "the oplog", "users", "log", "audit.json"):
            assert shown.get(place), "nothing to look through in " + place
        found = [place for place, content in shown.items() if any(form in content for form in forms(word))]
        if found:
            sys.exit("the secret stands in: " + ", ".join(found))
    print("looked through %d places, %d bytes: no secret in them" % (len(shown), sum(map(len, shown.values()))))


def speak(uri, word):
    """Everything that has a secret in it, done well and done badly; what was shown meanwhile."""
    shown = {"an error": b"", "a profile": b"", "currentOp": b""}
    client = MongoClient(uri, username="ann", password=word)
    stranger = MongoClient(uri)
    admin, shop = client.admin, client.shop

    def run(db, *args, **options):
        try:
            db.command(*args, **options)
        except OperationFailure as e:
            shown["an error"] += repr(e.details).encode()

    for db in (admin, shop):
        db.command("profile", 2)
    run(shop, "createUser", "bob", pwd=word, roles=["read"])
    run(shop, "createUser", "bob", pwd=word, roles=["read"])
    run(shop, "createUser", "eve", pwd=word, roles=["nosuch"])
    run(shop, "createUser", "eve", pwd=word, roles=[], mechanisms=["SCRAM-SHA-512"])
    run(shop, "updateUser", "bob", pwd=word)
    run(shop, "updateUser", "nobody", pwd=word)
    run(shop, {"explain": {"createUser": "eve", "pwd": word, "roles": []}})
    run(shop, "insert", "t", documents=[{"_id": 1}])
    bob = MongoClient(uri, username="bob", password=word, authSource="shop")
    run(bob.shop, "createUser", "eve", pwd=word, roles=[])
    run(bob.shop, "updateUser", "ann", pwd=word)
    run(stranger.shop, "createUser", "eve", pwd=word, roles=[])
    raw = word.encode()
    for db in (admin, stranger.admin):
        run(db, "saslStart", 1, mechanism="PLAIN", payload=Binary(b"\0ann\0" + raw))
        run(db, "saslStart", 1, mechanism="SCRAM-SHA-256", payload=Binary(b"n,,n=ann,r=" + raw))
        run(db, "saslContinue", 1, conversationId=1, payload=Binary(b"c=biws,r=" + raw + b",p=" + base64.b64encode(raw)))
        run(db, "hello", 1, speculativeAuthenticate={"saslStart": 1, "mechanism": "SCRAM-SHA-256", "payload": Binary(b"n,,n=ann,r=" + raw), "db": "admin"})
    wrong = MongoClient(uri, username="ann", password=word + "x")
    run(wrong.admin, "listDatabases")
    keyed = [{"$queryStats": {"transformIdentifiers": {"algorithm": "hmac-sha-256", "hmacKey": Binary(raw, 8)}}}]
    run(admin, "aggregate", 1, pipeline=keyed, cursor={})
    run(admin, {"explain": {"aggregate": 1, "pipeline": keyed, "cursor": {}}})

    for db in (admin, shop):
        db.command("profile", 0)
        shown["a profile"] += repr(list(db["system.profile"].find())).encode()
    assert b"createUser" in shown["a profile"], "nothing was profiled"

    # A command that is held up is listed.
    admin.command("fsync", lock=True)
    held = threading.Thread(target=run, args=(shop, "createUser", "late"), kwargs={"pwd": word, "roles": []})
    held.start()
    deadline = time.time() + 10
    while b"late" not in shown["currentOp"] and time.time() < deadline:
        shown["currentOp"] += repr(list(admin.aggregate([{"$currentOp": {"allUsers": True, "idleConnections": True}}]))).encode()
    admin.command("fsyncUnlock")
    held.join()
    assert b"createUser" in shown["currentOp"] and b"late" in shown["currentOp"], "the command that was held up is not listed"

    shown["the oplog"] = repr(list(client.local["oplog.rs"].find())).encode()
    shown["users"] = repr(list(admin["system.users"].find())).encode()
    shown["getLog"] = repr(admin.command("getLog", "global")).encode()
    shown["serverStatus"] = repr(admin.command("serverStatus")).encode()
    for each in (client, stranger, bob, wrong):
        each.close()
    return shown


if __name__ == "__main__":
    main()
