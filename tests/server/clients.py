#!/usr/bin/env python3
"""Clients of `chorus serve`: plain HTTP, raw sockets, and libretranslatepy where it is installed.

usage: clients.py PATH_OF_CHORUS MODEL
"""
import concurrent.futures
import html
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request

from served import Server

CHORUS, MODEL = sys.argv[1:3]
KEY = "a-key-of-20-letters!"
failures = []


def expect(condition, what):
    if not condition:
        failures.append(what)
        print("clients.py:", what, file=sys.stderr)


def serve(*arguments):
    return Server(CHORUS, MODEL, *arguments)


def offline(lines, *arguments):
    done = subprocess.run([CHORUS, "translate", "--model", MODEL, "--from", "xx", "--to", "yy", "--sentences", "-q",
                           "--threads", "1", *arguments], input="\n".join(lines) + "\n", capture_output=True, text=True,
                          check=True)
    return done.stdout.splitlines()


def libretranslate(server):
    lines = ["alpha beta", "gamma delta epsilon", "zeta"]
    translated = offline(lines)
    ask = server.ask
    expect(ask("/translate", {"q": lines[0], "source": "xx", "target": "yy"}) == (200, {"translatedText": translated[0]}),
           "a text as JSON")
    expect(ask("/translate", urllib.parse.urlencode({"q": lines[0], "source": "xx", "target": "yy"})) ==
           (200, {"translatedText": translated[0]}), "a text as a form")
    expect(ask("/translate", {"q": lines, "source": "xx", "target": "yy", "format": "text"}) ==
           (200, {"translatedText": translated}), "a list")
    expect(ask("/translate", {"q": "\n".join(lines) + "\n\n", "source": "xx", "target": "yy"}) ==
           (200, {"translatedText": "\n".join(translated) + "\n\n"}), "lines of a text")
    status, reply = ask("/translate", {"q": lines, "source": "xx", "target": "yy", "alternatives": 2})
    expect(status == 200 and reply["translatedText"] == translated and len(reply["alternatives"]) == 3 and
           all(len(set(of)) == len(of) <= 2 for of in reply["alternatives"]), f"alternatives: {reply}")
    status, reply = ask("/languages")
    expect(status == 200 and [(l["code"], l["targets"]) for l in reply] == [("xx", ["yy"]), ("yy", ["xx"])],
           f"/languages: {reply}")
    expect(ask("/health") == (200, {"status": "ok"}) and ask("/ready")[0] == 200, "/health and /ready")
    status, settings = ask("/frontend/settings")
    expect(status == 200 and settings["language"]["target"]["code"] == "yy" and settings["charLimit"] > 0,
           f"/frontend/settings: {settings}")

    expect(ask("/translate", {"q": f"<p>{lines[0]}</p>\r\n<pre>x</pre>", "source": "xx", "target": "yy", "format": "html"}) ==
           (200, {"translatedText": f"<p>{html.escape(translated[0], quote=False)}</p>\r\n<pre>x</pre>"}), "HTML")

    text = {"q": "alpha", "source": "xx", "target": "yy"}
    for change, status, words in [({"q": ""}, 400, "Invalid request: missing q parameter"),
                                  ({"source": ""}, 400, "Invalid request: missing source parameter"),
                                  ({"target": None}, 400, "Invalid request: missing target parameter"),
                                  ({"source": "klingon"}, 400, "klingon is not supported"),
                                  ({"target": "zz"}, 400, "zz is not supported"),
                                  ({"source": "auto"}, 400, "was not recognized"),
                                  ({"format": "pdf"}, 400, "pdf format is not supported"),
                                  ({"alternatives": "many"}, 400, "alternatives parameter is not a number"),
                                  ({"alternatives": 99}, 400, "alternatives parameter must be <="),
                                  ({"q": ["a"] * 1000}, 400, "exceeds text limit"),
                                  ({"q": "a" * 100000}, 400, "exceeds text limit"),
                                  ({"q": {"a": 1}}, 400, "q")]:
        got, reply = ask("/translate", text | change)
        expect(got == status and list(reply) == ["error"] and words in reply["error"], f"{change}: {got} {reply}")
    expect(ask("/translate", b"{", {"Content-Type": "application/json"})[0] == 400, "broken JSON")
    expect(ask("/translate", {"q": ["12", ""], "source": "auto", "target": "yy"}) ==
           (200, {"detectedLanguage": [{"confidence": 0.0, "language": "yy"}] * 2, "translatedText": ["12", ""]}),
           "auto, where there is nothing to translate")
    expect(ask("/detect", {"q": "123"}) == (200, [{"confidence": 0.0, "language": "xx"}]), "no language, which is the first")
    expect(ask("/nowhere") == (404, {"error": "Not found"}), "an unknown path")
    expect(ask("/translate", method="GET")[0] == 405, "GET /translate")


def concurrent_requests(server):
    """Together as alone."""
    words = "alpha beta gamma delta epsilon zeta eta theta".split()
    lines = [" ".join(words[(i * j) % 8] for j in range(1, 2 + i % 7)) for i in range(60)]
    expected = offline(lines)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(lambda line: server.ask("/translate", {"q": line, "source": "xx", "target": "yy"}), lines))
    expect(replies == [(200, {"translatedText": one}) for one in expected], "together as alone")


def raw_http(server):
    head = f"Host: localhost:{server.port}\r\n"
    dated = server.raw(f"GET /health HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode())
    expect(re.search(rb"\r\nDate: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n", dated), f"a date: {dated}")
    expect(b" 400 " in server.raw(b"nonsense\r\n\r\n").splitlines()[0], "what is no HTTP")
    expect(b" 421 " in server.raw(b"GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n").splitlines()[0], "another Host")
    expect(b" 400 " in server.raw(b"GET /health HTTP/1.1\r\n\r\n").splitlines()[0], "no Host")
    expect(b" 431 " in server.raw(f"GET /health HTTP/1.1\r\n{head}X: {'x' * 100000}\r\n\r\n".encode()).splitlines()[0],
           "long header lines")
    long = server.raw(f"POST /translate HTTP/1.1\r\n{head}Content-Length: 999999999\r\n\r\n".encode())
    expect(b" 413 " in long.splitlines()[0] and b"The body is too long" in long, f"a long body: {long}")
    chunks = f"POST /translate HTTP/1.1\r\n{head}Transfer-Encoding: chunked\r\n\r\n".encode() + (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 20
    expect(b" 413 " in server.raw(chunks + b"0\r\n\r\n").splitlines()[0], "a long body in chunks")
    for origin, status in [("http://evil.example", 403), ("https://127.0.0.1.evil.example", 403), ("null", 403), ("x", 403),
                           ("http://localhost:3000", 200), ("https://[::1]", 200), ("http://127.0.0.1", 200)]:
        text = "q=alpha&source=xx&target=yy"  # a form: a page may send it anywhere
        expect(server.ask("/translate", text, {"Origin": origin})[0] == status, f"a page of {origin}")
    # What is around chunks is bounded as well.
    text = "q=alpha&source=xx&target=yy"
    chunked = f"POST /translate HTTP/1.1\r\n{head}Content-Type: application/x-www-form-urlencoded\r\n" \
              "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    for extra, status in [(10, 200), (200_000, 400)]:
        for where, body in [("an extension", f"{len(text):x};{'a' * extra}\r\n{text}\r\n0\r\n\r\n"),
                            ("trailers", f"{len(text):x}\r\n{text}\r\n0\r\nT: {'a' * extra}\r\n\r\n")]:
            got = server.raw((chunked + body).encode()).splitlines()[0]
            expect(f" {status} ".encode() in got, f"{where} of {extra} bytes: {got}")
    # A proxy in front must see the same requests as the server.
    for encoding, status in [("CHUNKED", 200), ("identity", 501), ("chunked, gzip", 501), ("gzip, chunked", 501), ("xchunked", 501),
                             ("chunked\r\nTransfer-Encoding: identity", 400), ("identity\r\nTransfer-Encoding: chunked", 501)]:
        got = server.raw((chunked.replace("chunked\r\n", f"{encoding}\r\n") + f"{len(text):x}\r\n{text}\r\n0\r\n\r\n").encode())
        expect(f" {status} ".encode() in got.splitlines()[0] and got.count(b"HTTP/1.1 ") == 1, f"{encoding}: {got}")
    got = server.raw(f"POST /health HTTP/1.1\r\n{head}Transfer-Encoding: xchunked\r\nContent-Length: 0\r\n\r\nGET /health HTTP/1.1\r\n{head}"
                     "Connection: close\r\n\r\n".encode())
    expect(b" 501 " in got.splitlines()[0] and got.count(b"HTTP/1.1 ") == 1, f"two lengths: {got}")
    old = chunked.replace("HTTP/1.1", "HTTP/1.0").replace("Connection: close", "Connection: keep-alive")
    got = server.raw((old + f"{len(text):x}\r\n{text}\r\n0\r\n\r\nGET /health HTTP/1.1\r\n{head}Connection: close\r\n\r\n").encode())
    expect(b" 400 " in got.splitlines()[0] and got.count(b"\r\nServer: chorus") == 1, f"chunks in HTTP/1.0: {got}")
    waits = f"POST /health HTTP/1.0\r\n{head}Expect: 100-continue\r\nContent-Length: 1\r\n\r\nx"
    expect(b" 100 " not in server.raw(waits.encode()), "Expect in HTTP/1.0 is none")
    for target, status in [("http://localhost/health", 200), (f"http://127.0.0.1:{server.port}/health", 200), ("http://evil.example/health", 421),
                           ("http://localhost", 200), ("*", 404)]:
        got = server.raw(f"GET {target} HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode()).splitlines()[0]
        expect(f" {status} ".encode() in got, f"GET {target}: {got}")
    expect(b" 200 " in server.raw(f"OPTIONS * HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode()).splitlines()[0], "OPTIONS *")
    for host in ("[::1].evil.example", "localhost:80@evil.example", "localhost:x"):
        got = server.raw(f"GET /health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()).splitlines()[0]
        expect(b" 421 " in got, f"Host {host}: {got}")
    expect(re.search(r'requests_total\{[^}]*"other"[^}]*"421"\} [4-9]', server.ask("/metrics")[1]), f"what is refused is counted: {server.ask('/metrics')[1]}")
    # A body in chunks holds no more than it has once it is there: many wait together.
    slow = json.dumps({"q": ["alpha beta gamma"] * 12, "source": "xx", "target": "yy"})
    whole = f"POST /translate HTTP/1.1\r\n{head}Content-Type: application/json\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n" \
            f"{len(slow):x}\r\n{slow}\r\n0\r\n\r\n"
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        statuses = [got.split(b" ", 2)[1] for got in pool.map(server.raw, [whole.encode()] * 24)]
    expect(statuses == [b"200"] * 24, f"24 bodies in chunks at once: {statuses}")
    two = server.raw(f"GET /health HTTP/1.1\r\n{head}\r\nGET /ready HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode())
    expect(two.count(b"HTTP/1.1 200 OK") == 2, f"two requests on one connection: {two}")
    for path, status in [("/nowhere", 404), ("/health", 200), ("/translate", 405)]:
        body = server.raw(f"HEAD {path} HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode())
        expect(body.endswith(b"\r\n\r\n") and f" {status} ".encode() in body.splitlines()[0], f"HEAD {path} has no body: {body}")
    allowed = server.raw(f"OPTIONS /translate HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode())
    expect(b" 200 " in allowed.splitlines()[0] and b"\r\nAllow: POST, OPTIONS\r\n" in allowed, f"OPTIONS: {allowed}")
    # Clients that leave, at any point.
    server.raw(f"POST /translate HTTP/1.1\r\n{head}Content-Length: 50\r\n\r\n{{".encode(), wait=False)
    text = json.dumps({"q": ["alpha beta gamma"] * 100, "source": "xx", "target": "yy"})
    for _ in range(5):
        server.raw(f"POST /translate HTTP/1.1\r\n{head}Content-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n{text}"
                   .encode(), wait=False)
    expect(server.ask("/translate", {"q": "alpha", "source": "xx", "target": "yy"})[0] == 200, "and others are answered")


def events(server):
    text = json.dumps({"q": "alpha beta\n\ngamma", "source": "xx", "target": "yy"})
    reply = server.raw(f"POST /translate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: text/event-stream\r\n"
                       f"Content-Length: {len(text)}\r\n\r\n{text}".encode()).decode()
    names = re.findall(r"^event: (\w+)$", reply, re.M)
    data = [json.loads(line) for line in re.findall(r"^data: (.*)$", reply, re.M)]
    first, second = offline(["alpha beta", "gamma"])
    expect(names == ["line", "line", "done"] and data[2] == {"translatedText": f"{first}\n\n{second}"} and
           sorted((one["line"], one["translatedText"]) for one in data[:2]) == [(0, first), (1, second)], f"events: {reply}")


def files(server):
    line = offline(["alpha beta"])[0]
    head = '--XY\r\nContent-Disposition: form-data; name="{}"{}\r\n\r\n'.format
    body = (head("file", '; filename="a.txt"') + "alpha beta\r\n\r\n" + head("source", "") + "xx\r\n" + head("target", "") + "yy\r\n--XY--").encode()
    form = {"Content-Type": "multipart/form-data; boundary=XY"}
    status, reply = server.ask("/translate_file", body, form)
    url = reply.get("translatedFileUrl", "")
    expect(status == 200 and re.fullmatch(re.escape(server.url) + r"/download_file/[0-9a-f]{32}/a\.yy\.txt", url), f"a document: {status} {reply}")
    with urllib.request.urlopen(url, timeout=60) as reply:
        expect(reply.read().decode() == line + "\r\n" and reply.headers["Content-Disposition"].startswith('attachment; filename="a.yy.txt"'),
               f"its translation: {dict(reply.headers)}")
    expect(server.ask("/translate_file", body, form | {"X-Forwarded-Proto": "https"})[1]["translatedFileUrl"].startswith("https://127.0.0.1:"),
           "a proxy that speaks TLS")
    expect(server.ask("/translate_file", body, form | {"X-Forwarded-Proto": "javascript"})[1]["translatedFileUrl"].startswith("http://127.0.0.1:"),
           "a proxy that speaks nonsense")
    expect(server.ask("/translate_file", body[:-30], form)[0] == 400, "a form that is cut")
    expect(server.ask("/translate_file", body.replace(b"a.txt", b"a.docx"), form) ==
           (400, {"error": "Invalid request: file format not supported; a name ends in .txt, .html, .htm, .md, .markdown, .srt, .vtt, .tmx"}),
           "a document of another format")
    expect(server.ask("/download_file/" + "0" * 32 + "/a.yy.txt")[0] == 404, "a document that is not there")
    with open("letter.md", "w") as file:
        file.write("# alpha beta\n")
    if shutil.which("curl"):
        sent = subprocess.run(["curl", "-sF", "file=@letter.md", "-F", "source=xx", "-F", "target=yy", f"{server.url}/translate_file"],
                              capture_output=True, text=True)
        with urllib.request.urlopen(json.loads(sent.stdout)["translatedFileUrl"], timeout=60) as reply:
            expect(reply.read().decode() == f"# {line}\n", "curl sends a document")
    got = server.raw("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()).decode()
    expect(" 200 " in got.splitlines()[0] and "\r\nContent-Security-Policy: default-src 'none'; " in got and "</html>" in got, "the page")


def gives_memory_back(server):
    """By a thread of jemalloc's, which a build with sanitizers has not."""
    process = f"/proc/{server.process.pid}"
    names = []
    for task in os.listdir(f"{process}/task"):
        with open(f"{process}/task/{task}/comm") as file:
            names.append(file.read().strip())
    with open(f"{process}/maps") as file:
        expect("jemalloc_bg_thd" in names or "jemalloc" not in file.read(), f"what is free goes back to the system: {names}")


def load_anew(server):
    server.process.send_signal(signal.SIGHUP)
    while "anew" not in server.log:
        server.log += server.process.stderr.readline()
    expect(server.ask("/translate", {"q": "alpha", "source": "xx", "target": "yy"}) ==
           (200, {"translatedText": offline(["alpha"])[0]}), "after SIGHUP")


def pypi_client(server, key=None):
    try:
        from libretranslatepy import LibreTranslateAPI
    except ImportError:
        print("clients.py: libretranslatepy is not installed: skipped", file=sys.stderr)
        return
    client = LibreTranslateAPI(server.url, key)
    expect(client.translate("alpha beta", "xx", "yy") == offline(["alpha beta"])[0], "libretranslatepy translates")
    expect([language["code"] for language in client.languages()] == ["xx", "yy"], "libretranslatepy lists languages")


def main():
    server = serve()
    libretranslate(server)
    concurrent_requests(server)
    raw_http(server)
    events(server)
    files(server)
    gives_memory_back(server)
    load_anew(server)
    pypi_client(server)
    secret = "hunter2secret"
    server.ask("/translate", {"q": secret, "source": "xx", "target": secret})
    idle = socket.create_connection(("127.0.0.1", server.port))
    expect(server.end() == 0, "SIGTERM ends it with 0")
    idle.close()
    expect(secret not in server.log and MODEL + "/" not in server.log, f"the log has what it should not: {server.log}")

    second = serve("--address", "127.0.0.2")
    second.url = f"http://127.0.0.2:{second.port}"
    expect(second.ask("/health")[0] == 200, "another address of this machine")
    second.end()

    wide = serve("--characters", "1000000")
    text = {"q": "\U0001F600" * 200_000, "source": "xx", "target": "yy"}  # 2.4 MB of JSON, with nothing to translate
    expect(wide.ask("/translate", text) == (200, {"translatedText": text["q"]}), "a body as long as --characters allows")
    wide.end()

    late = serve("--timeout", "0.001")
    status, reply = late.ask("/translate", {"q": ["alpha beta"] * 100, "source": "xx", "target": "yy"})
    expect(status == 504 and "longer than" in reply["error"], f"a deadline: {status} {reply}")
    late.end()

    narrow = serve("--queue", "1")
    text = {"q": "\n".join(["alpha beta gamma delta"] * 200), "source": "xx", "target": "yy"}
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        statuses = [status for status, _ in pool.map(lambda _: narrow.ask("/translate", text), range(8))]
    expect(statuses.count(200) >= 1 and statuses.count(429) >= 1 and int(narrow.retry) > 0, f"a full queue: {statuses}")
    narrow.end()

    with open("keys", "w") as file:
        file.write(f"# ours\n{KEY} 4\n")
    os.chmod("keys", 0o600)
    closed = serve("--keys", "keys")
    text = {"q": "alpha", "source": "xx", "target": "yy"}
    expect(closed.ask("/translate", text)[0] == 400, "no key")
    expect(closed.ask("/translate", text | {"api_key": KEY + "x"}) == (403, {"error": "Invalid API key"}), "a wrong key")
    expect(closed.ask("/health")[0] == 200 and closed.ask("/frontend/settings")[1]["keyRequired"], "what needs none")
    pypi_client(closed, KEY)
    asked = [closed.ask("/translate", text, {"Authorization": f"Bearer {KEY}"})[0] for _ in range(6)]
    expect(asked[0] == 200 and asked[-1] == 429 and int(closed.retry) > 0, f"a key's limit: {asked}")
    expect(KEY not in closed.log, "no key in the log")
    expect(closed.end(signal.SIGINT) == 0, "SIGINT ends it with 0")
    sys.exit(1 if failures else 0)


main()
