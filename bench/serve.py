#!/usr/bin/env python3
"""`chorus serve` under load, against `chorus translate` with the same model, lines and threads.

    bench/serve.py --chorus build/release/chorus --model DIR --from en --to de --text FILE [--clients 32] [--seconds 60]
                   [--threads N] [--beam N] [--peer DIR]

--peer: the same model as ct2-transformers-converter wrote it from `chorus export --format m2m100`; a server on CTranslate2
(bench/peers/serve.py, which wants ctranslate2 and sentencepiece) then bears the same load. Prints a table: tokens/s of the offline batch and of that many clients that each ask again when they are answered (closed
load); the time of a lone request, beside that of the command line which is given a line at a time; times of requests that come
by themselves (open load) at 0.5 and 0.8 of what the closed load reached; and the server's memory before and after. Tokens are
those of the offline translations, so that both sides count the same. The clients take a part of the processor: on a machine
with few cores the server has less of it than the offline batch.
"""
import argparse
import asyncio
import json
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path


def percentile(times, share):
    ordered = sorted(times)
    return 1e3 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Offline:
    def __init__(self, a):
        self.command = [a.chorus, "translate", "--model", a.model, "--from", a.source, "--to", a.target, "--sentences", "-q",
                        "--threads", str(a.threads), "--beam", str(a.beam)]

    def tokens(self, lines):
        """Of each line's translation."""
        done = subprocess.run([*self.command, "--json"], input="\n".join(lines) + "\n", capture_output=True, text=True, check=True)
        return [len(json.loads(line)["translations"][0]["tokens"]) for line in done.stdout.splitlines()]

    def stream(self):
        return subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def one_by_one(self, lines):
        """Seconds of each line, given when the one before is answered."""
        process, times = self.stream(), []
        for line in [lines[0]] * 3 + lines:
            begun = time.perf_counter()
            process.stdin.write(line + "\n")
            process.stdin.flush()
            process.stdout.readline()
            times.append(time.perf_counter() - begun)
        process.stdin.close()
        process.wait()
        return times[3:]

    def together(self, lines):
        """Seconds for all, the model loaded and warm."""
        process = self.stream()
        process.stdin.write(lines[0] + "\n")
        process.stdin.flush()
        process.stdout.readline()
        begun = time.perf_counter()
        out, _ = process.communicate("\n".join(lines) + "\n")
        assert len(out.splitlines()) == len(lines)
        return time.perf_counter() - begun


def chorus_command(a):
    return [a.chorus, "serve", "--model", a.model, "--port", "0", "--threads", str(a.threads), "--beam", str(a.beam),
            "--connections", "4096", "--queue", "100000"]


def peer_command(a):
    return [sys.executable, Path(__file__).parent / "peers" / "serve.py", a.peer, next(Path(a.model).rglob("sentencepiece*.model")),
            f"__{a.source}__", f"__{a.target}__", str(a.threads or os.cpu_count()), str(a.beam)]


class Server:
    def __init__(self, a, command):
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        said = ""
        while not (found := re.search(r":(\d+)\s*$", said)):
            line = self.process.stderr.readline()
            if not line:
                sys.exit(f"the server ended: {said}")
            said += line
        self.port, self.a = int(found[1]), a

    def memory(self):
        return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())[1]) / 1024

    async def connect(self):
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def ask(self, connection, line):
        """Seconds."""
        reader, writer = connection
        body = json.dumps({"q": line, "source": self.a.source, "target": self.a.target}).encode()
        begun = time.perf_counter()
        writer.write(b"POST /translate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                     % len(body) + body)
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(re.search(rb"Content-Length: (\d+)", head)[1]))
        assert head.startswith(b"HTTP/1.1 200"), head
        return time.perf_counter() - begun

    async def closed(self, lines, clients, seconds):
        """The lines that were translated, by their number, and seconds of each; after a while to warm up."""
        numbers, times = [], []
        begin = time.perf_counter() + min(5, seconds / 4)
        end = begin + seconds

        async def client(seed):
            draw, connection = random.Random(seed), await self.connect()
            while time.perf_counter() < end:
                number = draw.randrange(len(lines))
                took = await self.ask(connection, lines[number])
                if begin <= time.perf_counter() < end:
                    numbers.append(number)
                    times.append(took)
            connection[1].close()

        await asyncio.gather(*(client(seed) for seed in range(clients)))
        return numbers, times

    async def open(self, lines, rate, seconds):
        """Seconds of each request; they come at random, so many a second."""
        draw, times, pool, asked = random.Random(7), [], [], []

        async def one(line):
            connection = pool.pop() if pool else await self.connect()
            begun = time.perf_counter()
            await self.ask(connection, line)
            times.append(time.perf_counter() - begun)
            pool.append(connection)

        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            asked.append(asyncio.create_task(one(draw.choice(lines))))
            await asyncio.sleep(draw.expovariate(rate))
        await asyncio.gather(*asked)
        return times

    async def lone(self, lines):
        connection = await self.connect()
        return [await self.ask(connection, line) for line in [lines[0]] * 3 + lines][3:]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, kind in [("chorus", str), ("model", str), ("text", str)]:
        parser.add_argument(f"--{name}", type=kind, required=True)
    parser.add_argument("--peer")
    parser.add_argument("--from", dest="source", required=True)
    parser.add_argument("--to", dest="target", required=True)
    for name, default in [("clients", 32), ("seconds", 60), ("threads", 0), ("beam", 5), ("lines", 400)]:
        parser.add_argument(f"--{name}", type=int, default=default)
    a = parser.parse_args()
    lines = [line for line in Path(a.text).read_text().splitlines() if line.strip()][:a.lines]
    offline = Offline(a)
    tokens = offline.tokens(lines)
    batch = sum(tokens) / min(offline.together(lines) for _ in range(3))
    single = offline.one_by_one(lines[:100])
    print("| | tokens/s | p50 ms | p99 ms |\n| --- | --- | --- | --- |")
    print(f"| offline, {len(lines)} lines together | {batch:.0f} | | |")
    print(f"| command line, a line at a time | | {percentile(single, .5):.1f} | {percentile(single, .99):.1f} |")
    memory = load(a, "", chorus_command(a), lines, tokens, batch)
    if a.peer:
        load(a, "CTranslate2: ", peer_command(a), lines, tokens, batch)
    print("\nThe server's memory: {:.0f} MiB before the load, {:.0f} after.".format(*memory))


def load(a, name, command, lines, tokens, batch):
    """Prints the rows of a server; MiB before and after."""
    server = Server(a, command)
    lone = asyncio.run(server.lone(lines[:100]))
    before = server.memory()
    numbers, times = asyncio.run(server.closed(lines, a.clients, a.seconds))
    closed = sum(tokens[number] for number in numbers) / a.seconds
    print(f"| {name}a lone request | | {percentile(lone, .5):.1f} | {percentile(lone, .99):.1f} |")
    print(f"| {name}{a.clients} clients, closed ({closed / batch:.2f} of offline) | {closed:.0f} | {percentile(times, .5):.1f} | {percentile(times, .99):.1f} |")
    for share in [.5, .8]:
        rate = share * len(times) / a.seconds
        spent = asyncio.run(server.open(lines, rate, a.seconds))
        print(f"| {name}open, {rate:.1f} requests/s | | {percentile(spent, .5):.1f} | {percentile(spent, .99):.1f} |")
    after = server.memory()
    server.process.terminate()
    server.process.wait()
    return before, after


if __name__ == "__main__":
    main()
