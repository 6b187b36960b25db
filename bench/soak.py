#!/usr/bin/env python3
"""Whether a long run, or a server, stays as it began: memory, open files, disk and processor time per unit of work, by tenths of the time.

    bench/soak.py train [--updates 28800] [--out DIR] [--chorus build/release/chorus]
    bench/soak.py serve --model DIR --from en --to de --text FILE [--minutes 60] [--clients 8] [--chorus build/release/chorus]

train: a tiny model, nearly all features on (experts, random token selection, gating dropout, denoising, a curriculum, sampled pieces, moments of experts in bf16 on disk, recomputed activations, weights on the host;
validation with translations every 200 updates, a save every 20): 28,800 updates are eight hours of a run that takes a second for each. Every record must be there once.
serve: clients that each ask again when they are answered: lines, HTML, lists, what is refused, and connections that break off.

Ends with code 1 where a quantity's median over the last three tenths is more than 2 % above that of the second to fourth, or a record is missing. Processor time is
compared, since other work on the machine matters less to it than to time; it is looked at, not judged, where the machine is busy.
"""
import argparse
import asyncio
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from serve import Server, chorus_command

RUN = """
threads = 1
[data]
batch_tokens = 256
micro_batches = 2
max_length = 32
temperature = 3
source_sampling = 0.2
[[data.train]]
name = "pairs"
files = "train.{lang}"
languages = ["xx", "yy"]
[[data.denoise]]
[[data.curriculum]]
update = 1000
weights = ["denoise=0.5"]
[[data.valid]]
files = "valid.{lang}"
languages = ["xx", "yy"]
[vocabulary]
size = 500
[model]
d_model = 32
encoder_layers = 2
decoder_layers = 2
attention_heads = 2
ffn_dim = 64
max_positions = 64
attention_dropout = 0.1
layer_dropout = 0.1
[moe]
experts = 4
top_k = 2
encoder_every = 1
decoder_every = 2
gating_dropout = 0.1
expert_output_dropout = 0.1
z_loss = 1e-3
[optim]
expert_state = "bf16"
[memory]
parameters = "host"
expert_optimizer = "nvme"
activations = "host"
[train]
recompute = true
log_every = 10
checkpoint_every = 20
[validation]
every = 200
decode = 10
beam = 2
"""
TENTHS, MOST_GROWTH = 10, 0.02


def make_text(folder):
    draw = random.Random(1)
    words = ["".join(draw.choice("abcdefgh") for _ in range(draw.randint(2, 7))) for _ in range(300)]
    for name, lines in (("train", 2000), ("valid", 20)):
        with open(folder / f"{name}.xx", "w") as xx, open(folder / f"{name}.yy", "w") as yy:
            for _ in range(lines):
                line = draw.choices(words, k=draw.randint(2, 12))
                print(*line, file=xx)
                print(*reversed(line), file=yy)
    (folder / "run.toml").write_text(RUN)


class Samples:
    """Of a process, each with the work that it has done until then."""

    def __init__(self, pid, names):
        self.pid, self.rows, self.names = pid, [], ["memory, MiB", "open files", *names]
        self.ticks = os.sysconf("SC_CLK_TCK")

    def take(self, work, *more):
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
            memory = int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 2**20
            row = (memory, len(os.listdir(f"/proc/{self.pid}/fd")), *more)
        except (OSError, IndexError):  # it has ended
            return
        self.rows.append((work, (int(fields[11]) + int(fields[12])) / self.ticks, row))

    def table(self, unit):
        """Prints it; whether what may not grow has not."""
        if len(self.rows) < TENTHS:
            sys.exit(f"soak: {len(self.rows)} samples are too few to compare tenths of the time: take longer")
        tenths = [self.rows[i * len(self.rows) // TENTHS:(i + 1) * len(self.rows) // TENTHS] for i in range(TENTHS)]
        flat = True
        columns = [(name, [statistics.median(r[2][i] for r in part) for part in tenths]) for i, name in enumerate(self.names)]
        costs = [1e3 * (part[-1][1] - part[0][1]) / max(part[-1][0] - part[0][0], 1) for part in tenths]
        for name, values in [*columns, (f"processor, ms per {unit}", costs)]:
            begin, end = statistics.median(values[1:4]), statistics.median(values[-3:])
            growth = end / begin - 1 if begin > 0 else 0  # a short run has no model yet
            judged = not name.startswith("processor")
            flat &= not judged or growth <= MOST_GROWTH
            print(f"{name:28}", *(f"{v:9.3f}" for v in values), f"{100 * growth:+6.1f} %", "" if judged else "(not judged)")
        return flat


def bytes_in(folder):
    return sum(f.stat().st_size for f in Path(folder).rglob("*") if f.is_file() and ".chorus-tmp" not in str(f)) / 2**20


def sizes(run):
    """MiB of what a run keeps, but for its records, which grow, and what is being replaced."""
    for _ in range(5):
        try:
            return [bytes_in(run / "model"), max(bytes_in(f) for f in (run / "checkpoints").glob("step-*"))]
        except (OSError, ValueError):
            time.sleep(0.05)
    return None


def train(a):
    folder = Path(a.out or tempfile.mkdtemp(prefix="soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    make_text(folder)
    words = [os.path.abspath(a.chorus), "train", "run.toml", "--out", "run", "--set", f"train.duration={a.updates}u", "-q"]
    process = subprocess.Popen(words, cwd=folder)
    samples, run = Samples(process.pid, ["model, MiB", "a checkpoint, MiB", "checkpoints"]), folder / "run"
    while process.poll() is None:
        time.sleep(1)
        try:
            last = (run / "metrics.jsonl").read_text().rstrip().rsplit("\n", 1)[-1]
            update = json.loads(last)["update"]
        except (OSError, ValueError, KeyError):
            continue
        if (there := sizes(run)) and update < a.updates:
            samples.take(update, *there, len(list((run / "checkpoints").glob("step-*"))))
    if process.returncode != 0:
        sys.exit(f"the run ended with code {process.returncode}")
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    seen = {kind: [r["update"] for r in records if r["kind"] == kind] for kind in ("train", "validation")}
    whole = seen["train"] == list(range(10, a.updates + 1, 10)) and seen["validation"] == list(range(200, a.updates + 1, 200))
    print(f"{a.updates} updates, {len(records)} records, {'all there' if whole else 'NOT WHOLE'}; {len(samples.rows)} samples, tenths of the run, growth")
    flat = samples.table("update")
    if not a.out:
        shutil.rmtree(folder)
    return whole and flat


async def load(server, a, lines, done):
    async def client(seed):
        draw = random.Random(seed)
        while time.monotonic() < a.end:
            kind = draw.randrange(12)
            line = draw.choice(lines)
            if kind == 0:  # breaks off in the middle
                reader, writer = await server.connect()
                writer.write(b"POST /translate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{\"q\":")
                await writer.drain()
                writer.close()
                continue
            body = {"q": line, "source": a.source, "target": a.target}
            if kind == 1:
                body["target"] = "no language"
            elif kind == 2:
                body |= {"q": f"<p>{line} <b>{draw.choice(lines)}</b></p>", "format": "html"}
            elif kind == 3:
                body["q"] = draw.sample(lines, 5)
            reader, writer = await server.connect()
            text = json.dumps(body).encode()
            writer.write(b"POST /translate HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(text) + text)
            answer = await reader.read()
            writer.close()
            if not answer.startswith(b"HTTP/1.1 " + (b"400" if kind == 1 else b"200")):
                a.wrong.append(answer[:300])
            done[0] += 1

    async def watch():
        while time.monotonic() < a.end:
            await asyncio.sleep(1)
            server.samples.take(done[0])

    await asyncio.gather(watch(), *(client(seed) for seed in range(a.clients)))


def serve(a):
    lines, done = Path(a.text).read_text(encoding="utf-8").splitlines(), [0]
    server = Server(a, chorus_command(a))
    server.samples = Samples(server.process.pid, [])
    a.end, a.wrong = time.monotonic() + 60 * a.minutes, []
    try:
        asyncio.run(load(server, a, lines, done))
    finally:
        server.process.terminate()
    print(f"{done[0]} requests of {a.clients} clients in {a.minutes} min; {len(server.samples.rows)} samples, tenths of the time, growth")
    if a.wrong:
        print(f"{len(a.wrong)} answers were not as expected, the first: {a.wrong[0]}")
    return server.samples.table("request") and not a.wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    of_train, of_serve = commands.add_parser("train"), commands.add_parser("serve")
    for command in (of_train, of_serve):
        command.add_argument("--chorus", default="build/release/chorus")
    of_train.add_argument("--updates", type=int, default=28800)
    of_train.add_argument("--out")
    for name, key in (("--model", "model"), ("--from", "source"), ("--to", "target"), ("--text", "text")):
        of_serve.add_argument(name, dest=key, required=True)
    for name, default in (("--minutes", 60.0), ("--clients", 8), ("--threads", 1), ("--beam", 2)):
        of_serve.add_argument(name, type=type(default), default=default)
    a = parser.parse_args()
    return 0 if (train if a.command == "train" else serve)(a) else 1


if __name__ == "__main__":
    sys.exit(main())
