"""Ten thousand sockets that say nothing, and ten thousand that say a byte a second, in front of a server that asks for a login.

    python tests/crash/silent.py --bin target/release/smongo [--sockets 10000]

The server may take less than 100 MB more for them, and whoever logs in meanwhile waits for less than 200 ms. In the suite a few hundred
of them stand in `crates/server/tests/lobby.rs`. Needs a limit of open files (ulimit -n) of twice the number for the server.
"""

import argparse
import pathlib
import resource
import socket
import subprocess
import sys
import tempfile
import time

import pymongo

#: A frame of 4 KB, of which a slow client sends a byte a second.
FRAME = (4096).to_bytes(4, "little") + bytes(8) + (2013).to_bytes(4, "little")


def crowd(port: int, number: int, slow: bool) -> None:
    """The other process: opens sockets, says so, and goes on until its input ends. Who is turned out comes again."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (number + 100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

    def come() -> socket.socket:
        while True:
            try:
                one = socket.create_connection(("127.0.0.1", port), 20)
            except OSError:
                time.sleep(0.01)
                continue
            one.setblocking(False)
            return one

    sockets = [come() for _ in range(number)]
    print("there", flush=True)
    sent = [0] * number
    while True:
        began = time.monotonic()
        for i, one in enumerate(sockets):
            try:
                if slow:
                    one.send(FRAME[sent[i] % 16 :][:1])
                    sent[i] += 1
                elif not one.recv(1):
                    raise ConnectionResetError
            except BlockingIOError:
                pass
            except OSError:
                one.close()
                sockets[i], sent[i] = come(), 0
        time.sleep(max(0.0, began + 1 - time.monotonic()))


def memory(pid: int) -> int:
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


def threads(pid: int) -> int:
    return len(list(pathlib.Path(f"/proc/{pid}/task").iterdir()))


def login(port: int) -> float:
    began = time.monotonic()
    with pymongo.MongoClient("127.0.0.1", port, username="root", password="secret", directConnection=True) as client:
        client.t.c.find_one()
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", default="target/release/smongo")
    parser.add_argument("--sockets", type=int, default=10_000)
    parser.add_argument("--seconds", type=int, default=25)
    parser.add_argument("--crowd", nargs=2)
    given = parser.parse_args()
    if given.crowd:
        return crowd(int(given.crowd[0]), given.sockets, given.crowd[1] == "slow")
    failed = False
    with tempfile.TemporaryDirectory() as place:
        subprocess.run([given.bin, "user", "add", "root", "--dbpath", f"{place}/db", "--password-file", "-"], input="secret\n", text=True, check=True, stdout=subprocess.DEVNULL)
        server = subprocess.Popen([given.bin, "--dbpath", f"{place}/db", "--port", "0", "--auth", "--quiet"], stdout=subprocess.PIPE, text=True)
        port = int(server.stdout.readline().split("mongodb://127.0.0.1:")[1].split("/")[0])
        alone = sorted(login(port) for _ in range(50))
        before = memory(server.pid)
        print(f"alone: login {alone[25] * 1000:.0f} ms, slowest {alone[-1] * 1000:.0f} ms; {before} KB, {threads(server.pid)} threads")
        for kind in ("silent", "slow"):
            other = subprocess.Popen([sys.executable, __file__, "--sockets", str(given.sockets), "--crowd", str(port), kind], stdout=subprocess.PIPE, text=True)
            other.stdout.readline()
            times, most, until = [], 0, time.monotonic() + given.seconds
            while time.monotonic() < until:
                times.append(login(port))
                most = max(most, memory(server.pid))
                time.sleep(0.05)
            times.sort()
            print(
                f"{given.sockets} {kind}: login {times[len(times) // 2] * 1000:.0f} ms, slowest of {len(times)} {times[-1] * 1000:.0f} ms; "
                f"{most - before} KB more, {threads(server.pid)} threads"
            )
            failed |= times[-1] > 0.2 or most - before > 100 << 10
            other.kill()
            other.wait()
        server.terminate()
        failed |= server.wait(60) != 0
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
