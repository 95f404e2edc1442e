"""What is at work beside the writers of kill9.py when the server is killed, and what each finds afterwards.

An actor has one command or transaction in flight. It remembers what was acknowledged (`done`) and what it had asked for
last (`asked`); after the kill the database must be in the one state or in the other, and wholly so.
"""
import itertools, random, time

from bson import Binary, Int64
from pymongo import MongoClient, WriteConcern
from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError

MAJORITY = WriteConcern(w="majority")
# ShutdownInProgress, InterruptedAtShutdown
ENDING = (91, 11600)


def killed(error):
    """Whether the server is gone, or says that it is going: what was asked for may or may not have been done."""
    details = getattr(error, "details", None) or {}
    codes = [getattr(error, "code", None)] + [e.get("code") for e in details.get("writeErrors", [])]
    return isinstance(error, ConnectionFailure) or any(code in ENDING for code in codes)


def changes(writes):
    """Writes as a watcher hears of them: the document's `_id`, and the `n` it has from then on."""
    return [(key, doc and doc["n"]) for key, doc in writes]


class Actor:
    def __init__(self, seed):
        self.random, self.acknowledged, self.faults = random.Random(seed), 0, []

    @property
    def concern(self):
        """The default's as often as a durable one: neither loses what it has acknowledged."""
        return self.random.choice([None, MAJORITY])

    @property
    def name(self):
        return type(self).__name__

    def prepare(self, client):
        pass

    def run(self, client):
        while True:
            try:
                self.step(client)
                self.acknowledged += 1
            except PyMongoError as e:
                if killed(e):
                    return
                # A transaction that gave way to data definition begins anew.
                if not e.has_error_label("TransientTransactionError"):
                    self.faults.append("%s: %r" % (self.name, e))
                    return

    def take_faults(self):
        faults, self.faults = self.faults, []
        return faults


class Transfers(Actor):
    """Money between accounts: the sum stays. Commits that were lost on the way may have happened."""

    ACCOUNTS = 10

    def prepare(self, client):
        client.bank.accounts.insert_many([{"_id": n, "money": 100, "seen": 0} for n in range(self.ACCOUNTS)])
        self.done = self.asked = 0

    def step(self, client):
        self.asked = self.done + 1
        accounts, (a, b) = client.bank.accounts, self.random.sample(range(self.ACCOUNTS), 2)
        with client.start_session() as session, session.start_transaction(write_concern=self.concern):
            amount = self.random.randrange(1, 50)
            accounts.update_one({"_id": a}, {"$inc": {"money": -amount}}, session=session)
            accounts.update_one({"_id": b}, {"$inc": {"money": amount}}, session=session)
            client.journal.entries.insert_one({"_id": self.asked, "from": a, "to": b, "amount": amount}, session=session)
        self.done = self.asked

    def check(self, client):
        found = {d["_id"]: d["money"] for d in client.bank.accounts.find()}
        entries = list(client.journal.entries.find().sort("_id", 1))
        expected = dict.fromkeys(range(self.ACCOUNTS), 100)
        for e in entries:
            expected[e["from"]] -= e["amount"]
            expected[e["to"]] += e["amount"]
        if found != expected:
            yield "the accounts %r are not what the journal says: %r" % (found, expected)
        numbers = [e["_id"] for e in entries]
        if numbers != list(range(1, len(numbers) + 1)) or len(numbers) not in (self.done, self.asked):
            yield "%d entries, %d were acknowledged and %d asked for" % (len(numbers), self.done, self.asked)
        self.done = len(numbers)


class Aborts(Actor):
    """Transactions that abort, or are open when the server is killed, in many collections: nothing of them may be seen."""

    def prepare(self, client):
        for n in range(3):
            client.aborts["c%d" % n].insert_one({"_id": 0})

    def step(self, client):
        with client.start_session() as session:
            session.start_transaction()
            for n in range(3):
                client.aborts["c%d" % n].insert_many([{"x": "x" * 200} for _ in range(self.random.randrange(1, 30))], session=session)
            session.abort_transaction()

    def check(self, client):
        for n in range(3):
            if (count := client.aborts["c%d" % n].count_documents({})) != 1:
                yield "%d documents of transactions that never committed" % (count - 1)


class Builder(Actor):
    """Builds and drops an index of the collection that the writers write."""

    INDEX = "n_1_pad_1"

    def prepare(self, client):
        self.done = self.asked = False

    def step(self, client):
        coll = client.crash.get_collection("docs", write_concern=self.concern)
        self.asked = not self.done
        if self.asked:
            coll.create_index([("n", 1), ("pad", 1)], name=self.INDEX)
        else:
            coll.drop_index(self.INDEX)
        self.done = self.asked

    def check(self, client):
        there = self.INDEX in client.crash.docs.index_information()
        if there not in (self.done, self.asked):
            yield "the index %s after %s was acknowledged" % (("is there", "its drop") if there else ("is gone", "its creation"))
        self.done = there


class Definer(Actor):
    """Creates collections with documents and an index, renames and drops them."""

    NAMES = ["one", "two", "three"]

    def prepare(self, client):
        self.done, self.asked, self.numbers = {}, {}, itertools.count(1)

    def step(self, client):
        db, name = client.get_database("ddl", write_concern=self.concern), self.random.choice(self.NAMES)
        kind = self.random.random()
        if name not in self.done:
            mark = next(self.numbers)
            self.asked = self.done | {name: None}
            db[name].create_index([("mark", 1)], name="mark_1")
            self.done = self.asked
            self.asked = self.done | {name: mark}
            db[name].insert_many([{"_id": 0, "mark": mark}])
        elif kind < 0.5:
            self.asked = {k: v for k, v in self.done.items() if k != name}
            db[name].drop()
        elif kind < 0.9:
            other = self.random.choice([n for n in self.NAMES if n != name])
            self.asked = {k: v for k, v in self.done.items() if k != name} | {other: self.done[name]}
            db[name].rename(other, dropTarget=True)
        else:
            # Collections go one by one: any of them may be left.
            self.asked = {}
            db.client.drop_database("ddl")
        self.done = self.asked

    def check(self, client):
        found = {}
        for name in client.ddl.list_collection_names():
            if "mark_1" in client.ddl[name].index_information():
                doc = client.ddl[name].find_one(hint="mark_1")
                found[name] = doc and doc["mark"]
            elif name in self.asked and name not in self.done:
                # createIndexes makes the collection first.
                client.ddl[name].drop()
            else:
                found[name] = "no index"
        halfway = not self.asked and found.items() <= self.done.items()
        if found not in (self.done, self.asked) and not halfway:
            yield "collections %r; acknowledged %r, asked for %r" % (found, self.done, self.asked)
        self.done = self.asked = found


class Users(Actor):
    """Users and roles that come, change and go. Whoever is acknowledged can log in with the newest password, and no other."""

    NAMES, ROLES = ["ann", "bob", "eve"], ["clerk", "guest"]

    def prepare(self, client):
        self.done, self.asked, self.numbers = {}, {}, itertools.count(1)
        # Keys that are made quickly.
        client.admin.command("setParameter", 1, scramSHA256IterationCount=5000)

    def command(self, client, name, of, **options):
        concern = {"writeConcern": {"w": "majority"}} if self.random.random() < 0.5 else {}
        client.staff.command(name, of, **options, **concern)

    def step(self, client):
        kind, done = self.random.random(), self.done
        role, name = self.random.choice(self.ROLES), self.random.choice(self.NAMES)
        if role not in done:
            self.asked = done | {role: True}
            self.command(client, "createRole", role, privileges=[], roles=[])
        elif kind < 0.1:
            # From all that have it, at once.
            self.asked = {k: (v[0], v[1] - {role}) if k in self.NAMES else v for k, v in done.items() if k != role}
            self.command(client, "dropRole", role)
        elif name not in done:
            password = "p%d" % next(self.numbers)
            self.asked = done | {name: (password, frozenset([role]))}
            self.command(client, "createUser", name, pwd=password, roles=[role], mechanisms=["SCRAM-SHA-256"])
        elif kind < 0.5:
            password = "p%d" % next(self.numbers)
            self.asked = done | {name: (password, done[name][1])}
            self.command(client, "updateUser", name, pwd=password)
        elif kind < 0.8:
            self.asked = done | {name: (done[name][0], done[name][1] | {role})}
            self.command(client, "grantRolesToUser", name, roles=[role])
        elif kind < 0.95:
            self.asked = {k: v for k, v in done.items() if k != name}
            self.command(client, "dropUser", name)
        else:
            self.asked = {k: v for k, v in done.items() if k not in self.NAMES}
            self.command(client, "dropAllUsersFromDatabase", 1)
        self.done = self.asked

    def check(self, client):
        client.admin.command("setParameter", 1, scramSHA256IterationCount=5000)
        for coll in "system.users", "system.roles":
            if coll in client.admin.list_collection_names() and not (report := client.admin.command("validate", coll, full=True))["valid"]:
                yield "admin.%s is not valid: %r" % (coll, report["errors"])
        users = {u["user"]: frozenset(r["role"] for r in u["roles"]) for u in client.staff.command("usersInfo", 1)["users"]}
        roles = {r["role"] for r in client.staff.command("rolesInfo", 1)["roles"]}
        for state in (self.asked, self.done):
            if users == {k: v[1] for k, v in state.items() if k in self.NAMES} and roles == {k for k in state if k in self.ROLES}:
                if all(self.logs_in(client, name, state[name][0]) for name in users):
                    self.done = self.asked = state
                    return
        yield "users %r, roles %r; acknowledged %r, asked for %r" % (users, roles, self.done, self.asked)

    def logs_in(self, client, name, password):
        host, port = client.address
        other = MongoClient(host, port, directConnection=True, username=name, password=password, authSource="staff", authMechanism="SCRAM-SHA-256")
        try:
            return other.admin.command("connectionStatus")["authInfo"]["authenticatedUsers"] == [{"user": name, "db": "staff"}]
        except OperationFailure:
            return False
        finally:
            other.close()


class Retries(Actor):
    """Writes that are sent a second time, under the same number, after the reply to the first: each is applied once.
    The last one is sent again after the kill, as by a driver that lost the reply."""

    def prepare(self, client):
        client.retry.counters.insert_one({"_id": 0, "n": 0})
        self.done, self.in_flight, self.number = 0, 0, 0
        self.session = {"id": Binary(self.random.randbytes(16), 4)}

    def increment(self, client):
        update = {"q": {"_id": 0}, "u": {"$inc": {"n": 1}}}
        command = {"update": "counters", "updates": [update], "txnNumber": Int64(self.number)}
        with client.start_session() as session:
            # The driver gives every client sessions of its own: this one goes on with that of the client before.
            session.session_id  # noqa: B018 - from here on there is one
            session._server_session.session_id = self.session
            session._server_session.mark_dirty()
            return client.retry.command(command, session=session)["n"]

    def step(self, client):
        self.number, self.in_flight = self.number + 1, 1
        first = self.increment(client)
        self.done, self.in_flight = self.done + 1, 0
        again = self.increment(client)
        if (first, again) != (1, 1):
            self.faults.append("Retries: the replies say n: %d, then n: %d" % (first, again))

    def check(self, client):
        count = lambda: client.retry.counters.find_one()["n"]
        if count() not in (self.done, self.done + self.in_flight):
            yield "%d increments, %d were acknowledged" % (count(), self.done)
        if self.number:
            self.increment(client)
        if count() != self.done + self.in_flight:
            yield "%d increments after a retry, %d were asked for" % (count(), self.done + self.in_flight)
        self.done, self.in_flight = count(), 0


class Creators(Actor):
    """Transactions that create a collection with an index and documents; every other one aborts. All of it is there, or nothing."""

    def prepare(self, client):
        self.done = self.asked = frozenset()
        self.number = 0

    def step(self, client):
        self.number += 1
        name, aborts = "made%d" % self.number, self.number % 2
        coll = client.created[name]
        with client.start_session() as session:
            session.start_transaction(write_concern=self.concern)
            coll.create_index([("n", 1)], name="n_1", session=session)
            coll.insert_many([{"_id": n, "n": n} for n in range(5)], session=session)
            if aborts:
                session.abort_transaction()
                return
            self.asked = self.done | {name}
            session.commit_transaction()
        self.done = self.asked
        if len(self.done) > 5:
            gone = min(self.done, key=lambda n: int(n[4:]))
            self.asked = self.done - {gone}
            client.get_database("created", write_concern=self.concern)[gone].drop()
            self.done = self.asked

    def check(self, client):
        found = frozenset(client.created.list_collection_names())
        if found not in (self.done, self.asked):
            yield "collections %r; acknowledged %r, asked for %r" % (sorted(found), sorted(self.done), sorted(self.asked))
        for name in found:
            if (count := len(list(client.created[name].find({"n": {"$gte": 0}}, hint="n_1")))) != 5:
                yield "%s has %d documents of 5" % (name, count)
        self.done = self.asked = found


class Checkpoints(Actor):
    """Checkpoints at any time, and an oplog that is cut off behind the watchers."""

    # Entries; more than the watchers are ever behind.
    KEEP = 3000

    def step(self, client):
        time.sleep(self.random.uniform(0, 0.1))
        client.admin.command("fsync")
        if self.random.random() < 0.05:
            client.admin.command("compactOplog", keep=self.KEEP)

    def check(self, client):
        return ()


class Stream(Actor):
    """A change stream that resumes behind the last event it has seen, also after a kill."""

    def prepare(self, client):
        with self.watch(client, None) as stream:
            self.token = stream.resume_token

    def step(self, client):
        with self.watch(client, self.token) as stream:
            while stream.alive:
                self.advance(stream)

    def advance(self, stream):
        """Whether there was an event."""
        event = stream.try_next()
        if event is not None:
            self.see(event)
            self.acknowledged += 1
        self.token = stream.resume_token
        return event is not None

    def catch_up(self, client):
        with self.watch(client, self.token) as stream:
            while self.advance(stream):
                pass
        return self.take_faults()


class Watcher(Stream):
    """Watches what the writers write: every change that was acknowledged comes, once, in each writer's order, and no other. What the
    events make of the documents is, after every kill, what the collection holds."""

    def prepare(self, client):
        # What `kill9.py` knows to have been done, and the events, since the last check.
        self.expected, self.seen = [], []
        super().prepare(client)
        self.replica = {d["_id"]: d for d in client.crash.docs.find()}

    def watch(self, client, token):
        return client.crash.docs.watch(resume_after=token, max_await_time_ms=100)

    def see(self, event):
        kind, key = event["operationType"], event["documentKey"]["_id"]
        if kind == "insert":
            self.replica[key] = event["fullDocument"]
        elif kind == "update":
            self.replica.setdefault(key, {"_id": key}).update(event["updateDescription"]["updatedFields"])
        else:
            self.replica.pop(key, None)
        self.seen += changes([(key, self.replica.get(key))])

    def check(self, client):
        yield from self.catch_up(client)
        expected, seen, self.expected, self.seen = self.expected, self.seen, [], []
        for writer in sorted({key.split(":")[0] for key, _ in expected + seen}):
            due, came = ([c for c in changes if c[0].startswith(writer + ":")] for changes in (expected, seen))
            if due != came:
                at = next((n for n, pair in enumerate(zip(due, came)) if pair[0] != pair[1]), min(len(due), len(came)))
                yield "writer %s: of %d changes and %d events, those from %d on differ: %r, %r" % (writer, len(due), len(came), at, due[at:at + 3], came[at:at + 3])
        found = {d["_id"]: d for d in client.crash.docs.find()}
        wrong = [k for k in found.keys() | self.replica.keys() if found.get(k) != self.replica.get(k)]
        for key in wrong[:5]:
            yield "the events say %r, the collection %r" % (self.replica.get(key), found.get(key))
        self.replica = found


class Auditor(Stream):
    """Watches everything: each transfer comes whole and once, in the order of the journal, and nothing of what was aborted."""

    def prepare(self, client):
        self.last, self.open = 0, []
        super().prepare(client)

    def watch(self, client, token):
        return client.watch(resume_after=token, max_await_time_ms=100)

    def see(self, event):
        ns, transaction = event.get("ns", {}), (event.get("lsid"), event.get("txnNumber"))
        if ns.get("db") == "bank":
            self.open.append(transaction)
        elif ns.get("db") == "journal":
            if self.open != [transaction] * 2:
                self.faults.append("Auditor: entry %r of %r comes behind changes of %r" % (event["documentKey"], transaction, self.open))
            if event["documentKey"]["_id"] != self.last + 1:
                self.faults.append("Auditor: entry %r behind %d" % (event["documentKey"], self.last))
            self.last, self.open = event["documentKey"]["_id"], []
        elif ns.get("db") == "aborts":
            self.faults.append("Auditor: an event of what was aborted: %r" % event)

    def check(self, client):
        yield from self.catch_up(client)
        count = client.journal.entries.count_documents({})
        if self.last != count or self.open:
            yield "the last of %d entries that was heard of is %d; left over: %r" % (count, self.last, self.open)
        self.last, self.open = count, []


ALL = [Transfers, Aborts, Builder, Definer, Creators, Users, Retries, Checkpoints, Watcher, Auditor]


def invalid(client):
    """Faults that `validate` finds, in every collection."""
    faults = []
    for db in client.list_database_names():
        if db in ("local", "admin", "config"):
            continue
        for coll in client[db].list_collection_names():
            report = client[db].command("validate", coll, full=True)
            if not report["valid"]:
                faults.append("%s.%s is not valid: %r" % (db, coll, report["errors"]))
    return faults
