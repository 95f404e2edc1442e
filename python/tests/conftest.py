"""Fixtures: a client in memory, and one on disk."""

import pytest

import smongo


@pytest.fixture
def client():
    with smongo.MongoClient("memory://") as client:
        yield client


@pytest.fixture
def db(client):
    return client.test


@pytest.fixture
def coll(db):
    return db.things


@pytest.fixture
def served(client):
    """How often the private socket was opened: operations that should take the short way must leave it closed."""
    return lambda: client._lease._serving
