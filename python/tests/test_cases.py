"""Plays the case files of the repository through Python; their format is told in crates/cases/src/lib.rs."""

from pathlib import Path

import bson
import pytest
from bson import json_util
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions, DatetimeConversion

import smongo

ROOT = Path(__file__).resolve().parents[2] / "cases"
FILES = sorted(ROOT.rglob("*.case"))
JSON = json_util.JSONOptions(
    json_mode=json_util.JSONMode.CANONICAL,
    uuid_representation=UuidRepresentation.STANDARD,
    datetime_conversion=DatetimeConversion.DATETIME_MS,
    tz_aware=False,
)
CODEC = CodecOptions(uuid_representation=UuidRepresentation.STANDARD, datetime_conversion=DatetimeConversion.DATETIME_MS)
#: BSON types that PyMongo reads as others. The Rust runner plays these files.
LOSSY = ("$undefined", "$symbol", "$dbPointer")


def steps(text):
    lines = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if line[0].isspace() and lines:
            lines[-1][1] += " " + line.strip()
        else:
            lines.append([number, line.rstrip()])
    found = []
    for number, line in lines:
        mark, rest = line[0], line[1:].strip()
        if mark == ">":
            found.append((number, loads(rest), []))
        else:
            found[-1][2].append((mark, rest))
    return found


def loads(text):
    return json_util.loads(text, json_options=JSON)


def encode(doc):
    return bson.encode(doc, codec_options=CODEC)


class Player:
    def __init__(self, client):
        self.door = client._door

    def run(self, command):
        return bson.decode(self.door.run(encode({**command, "$db": command.get("$db", "test")})), CODEC)

    def drain(self, reply, db):
        cursor, key, documents = reply["cursor"], "firstBatch", []
        while True:
            documents += cursor[key]
            if not cursor["id"]:
                return documents
            more = {"getMore": bson.Int64(cursor["id"]), "collection": cursor["ns"].partition(".")[2]}
            cursor, key = self.run({**more, "$db": db})["cursor"], "nextBatch"

    def step(self, command, expectations):
        reply = self.run(command)
        marks = [mark for mark, _ in expectations]
        assert reply["ok"] or "!" in marks, reply
        documents = iter(self.drain(reply, command.get("$db", "test")) if "=" in marks else [])
        for mark, rest in expectations:
            if mark == "<":
                for name, value in loads(rest).items():
                    assert name in reply, f"no {name} in {reply}"
                    assert encode({name: reply[name]}) == encode({name: value}), f"{name}: {reply[name]!r}, not {value!r}"
            elif mark == "=" and rest != ".":
                expected, got = loads(rest), next(documents, None)
                assert got is not None, f"no further document, but {expected}"
                assert encode(got) == encode(expected), f"{got!r}, not {expected!r}"
            elif mark == "!":
                code, name, *text = rest.split(" ", 2)
                assert not reply["ok"], reply
                assert (reply["code"], reply["codeName"]) == (int(code), name), reply
                assert "".join(text).strip() in reply["errmsg"]
        assert next(documents, None) is None, "a document nobody expected"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_case(path):
    text = path.read_text()
    if any(word in text for word in LOSSY):
        pytest.skip("holds types that PyMongo cannot tell apart")
    with smongo.MongoClient("memory://", test_commands=True) as client:
        player = Player(client)
        for number, command, expectations in steps(text):
            try:
                player.step(command, expectations)
            except AssertionError as e:
                raise AssertionError(f"{path.name} line {number}: {e}\n  {command}") from None
