#!/usr/bin/env python3
"""Scripted sessions of mongosh and the Node driver against a fresh server.

    tests/drivers/run.py [--bin target/release/smongo] [--uri mongodb://...]

npm packages are installed once into .tools/node (or taken from $SMONGO_NODE, a directory with node_modules).
No workaround flags: the clients get the URI that the server prints, and variations that people use.
"""
import argparse, os, pathlib, shutil, signal, subprocess, sys, tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def node_dir():
    given = os.environ.get("SMONGO_NODE")
    if given:
        return pathlib.Path(given)
    tools = ROOT / ".tools" / "node"
    tools.mkdir(parents=True, exist_ok=True)
    wanted = (HERE / "package-lock.json").read_bytes()
    have = tools / "package-lock.json"
    if not (tools / "node_modules").is_dir() or not have.exists() or have.read_bytes() != wanted:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, tools / name)
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"], cwd=tools, check=True)
    return tools


def start(binary, dbpath):
    server = subprocess.Popen([binary, "serve", "--port", "0", "--dbpath", dbpath], stdout=subprocess.PIPE, text=True)
    line = server.stdout.readline()
    if " ready: " not in line:
        server.wait()
        sys.exit("the server did not start: %r" % line)
    return server, line.split(" ready: ")[1].strip()


def sessions(uri):
    """(title, program's arguments) for every session."""
    bare = uri.split("?")[0]
    node = node_dir()
    env = dict(os.environ, SMONGO_NODE_MODULES=str(node / "node_modules"))
    mongosh = [str(node / "node_modules" / ".bin" / "mongosh"), "--quiet", "--norc"]
    yield "mongosh", [*mongosh, uri, "--file", str(HERE / "session.mongosh.js")], env
    yield "mongosh, discovering", [*mongosh, bare, "--file", str(HERE / "session.mongosh.js")], env
    for title, options in (("as printed", uri.split("?")[1] if "?" in uri else ""), ("discovering", ""), ("replica set", "replicaSet=rs0"),
                           ("zlib", "directConnection=true&compressors=zlib"), ("majority", "w=majority&journal=true&readConcernLevel=majority")):
        yield "Node, " + title, ["node", str(HERE / "session.mjs"), bare + "?" + options], env


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--bin", default=str(ROOT / "target" / "release" / "smongo"))
    ap.add_argument("--uri", help="a running server instead of a fresh one")
    ap.add_argument("--only", default="", help="sessions whose title contains this")
    args = ap.parse_args()
    failed, server, data = [], None, tempfile.mkdtemp(prefix="smongo-drivers-")
    try:
        if args.uri:
            uri = args.uri
        else:
            server, uri = start(args.bin, data)
        for title, command, env in sessions(uri):
            if args.only not in title:
                continue
            try:
                done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=180)
                good, output = done.returncode == 0, done.stdout
            except subprocess.TimeoutExpired as e:
                good, output = False, "timed out\n%s" % (e.stdout or "")
            print("%s  %s" % ("ok    " if good else "FAILED", title), flush=True)
            if not good:
                print(output)
                failed.append(title)
        if server:
            server.send_signal(signal.SIGTERM)
            if server.wait(timeout=30) != 0:
                failed.append("the server's exit status")
            server = None
    finally:
        if server:
            server.kill()
            server.wait()
        shutil.rmtree(data, ignore_errors=True)
    if failed:
        sys.exit("failed: " + ", ".join(failed))


if __name__ == "__main__":
    main()
