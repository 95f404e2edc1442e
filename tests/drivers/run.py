#!/usr/bin/env python3
"""Scripted sessions of mongosh and the Node driver against a fresh server, and against one that wants TLS and a login.

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


def start(binary, dbpath, *flags):
    server = subprocess.Popen([binary, "serve", "--port", "0", "--dbpath", dbpath, *flags], stdout=subprocess.PIPE, text=True)
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


def guarded(binary, directory):
    """A server that wants TLS and a login, and the sessions of somebody who has both."""
    at = pathlib.Path(directory)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "60", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                    "-keyout", at / "key.pem", "-out", at / "cert.pem"], check=True, capture_output=True)
    (at / "server.pem").write_bytes((at / "key.pem").read_bytes() + (at / "cert.pem").read_bytes())
    (at / "server.pem").chmod(0o600)
    (at / "password").write_text("p@ss: w/rd")
    subprocess.run([binary, "user", "add", "ann", "--dbpath", str(at / "data"), "--password-file", str(at / "password")], check=True, capture_output=True)
    server, uri = start(binary, str(at / "data"), "--auth", "--tlsMode", "requireTLS", "--tlsCertificateKeyFile", str(at / "server.pem"))
    host = uri.split("//")[1].split("/")[0]
    bare = "mongodb://ann:p%%40ss%%3A%%20w%%2Frd@%s/" % host
    tls = "authSource=admin&tls=true&tlsCAFile=%s" % (at / "cert.pem")
    node = node_dir()
    env = dict(os.environ, SMONGO_NODE_MODULES=str(node / "node_modules"))
    mongosh = [str(node / "node_modules" / ".bin" / "mongosh"), "--quiet", "--norc"]
    return server, [
        ("mongosh, TLS and a login", [*mongosh, bare + "?" + tls, "--file", str(HERE / "session.mongosh.js")], env),
        ("Node, TLS and a login", ["node", str(HERE / "session.mjs"), bare + "?" + tls], env),
        ("Node, TLS and SCRAM-SHA-1", ["node", str(HERE / "session.mjs"), bare + "?replicaSet=rs0&authMechanism=SCRAM-SHA-1&" + tls], env),
    ]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--bin", default=str(ROOT / "target" / "release" / "smongo"))
    ap.add_argument("--uri", help="a running server instead of a fresh one")
    ap.add_argument("--only", default="", help="sessions whose title contains this")
    args = ap.parse_args()
    failed = []

    def play(sessions):
        for title, command, env in sessions:
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

    def with_server(server, sessions):
        try:
            play(sessions)
            server.send_signal(signal.SIGTERM)
            if server.wait(timeout=30) != 0:
                failed.append("the server's exit status")
        finally:
            server.kill()
            server.wait()

    if args.uri:
        play(sessions(args.uri))
    else:
        data = tempfile.mkdtemp(prefix="smongo-drivers-")
        try:
            server, uri = start(args.bin, os.path.join(data, "open"))
            with_server(server, sessions(uri))
            with_server(*guarded(args.bin, data))
        finally:
            shutil.rmtree(data, ignore_errors=True)
    if failed:
        sys.exit("failed: " + ", ".join(failed))


if __name__ == "__main__":
    main()
