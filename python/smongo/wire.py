"""``python -m smongo.wire --dbpath DIR --port P``: serves a database to MongoDB drivers. Also the home of `WireServer`."""

from __future__ import annotations

import argparse
import signal
import threading

from smongo._wire import WireServer

__all__ = ["WireServer", "main"]


def main(arguments: list[str] | None = None) -> None:
    """Serves until SIGINT or SIGTERM, or until a client sends `shutdown`."""
    parser = argparse.ArgumentParser(prog="python -m smongo.wire", description="Serves a smongo database to MongoDB drivers.")
    parser.add_argument("--dbpath", metavar="DIR", help="directory of the database; without it everything stays in memory")
    parser.add_argument("--port", type=int, default=27017, help="TCP port; 0 takes any free one (default: 27017)")
    parser.add_argument("--bind_ip", "--host", dest="host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    logins = parser.add_mutually_exclusive_group()
    logins.add_argument("--auth", action="store_true", help="clients must log in, and may do what their user's roles allow")
    logins.add_argument(
        "--allow-unauthenticated-network",
        action="store_true",
        help="without --auth, also listen on an address that other machines can reach: whoever reaches the port owns the data",
    )
    parser.add_argument("--durable", action="store_true", help="have every acknowledged write on disk, so that it survives a power failure, too")
    given = parser.parse_args(arguments)
    ending = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ending.set())
    try:
        server = WireServer(
            given.dbpath,
            given.port,
            given.host,
            auth=given.auth,
            allow_unauthenticated_network=given.allow_unauthenticated_network,
            durable=given.durable,
        )
    except PermissionError as refused:
        parser.exit(1, f"{parser.prog}: {refused}\n")
    with server:
        print(server.uri, flush=True)
        while not ending.wait(0.2) and not server.stopped:
            pass


if __name__ == "__main__":
    main()
