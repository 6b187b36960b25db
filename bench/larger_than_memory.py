#!/usr/bin/env python3
"""Translating with a model larger than memory: how long it takes, what is read, and how near that is to what the machine allows.

    bench/larger_than_memory.py [--shape small] [--memory 8GB,16GB] [--sentences 1,100] [--folder build/bench/larger]

Writes a model of random weights (int4 experts, int8 for the rest) that routes as languages do, and build/bench/larger_than_memory.md.
--shape 54b is NLLB-MoE's (31 GB of disk, 20 minutes); --memory 0 maps the whole file, through the page cache. docs/performance.md explains the rows.
"""
import argparse, json, pathlib, subprocess

from capacity import write_text

SHAPES = {
    "54b": {"vocabulary": 256206, "d_model": 2048, "layers": 24, "heads": 16, "ffn": 8192, "experts": 128, "every": 4},
    "small": {"vocabulary": 32000, "d_model": 512, "layers": 12, "heads": 8, "ffn": 2048, "experts": 64, "every": 4},
}
LANGUAGES, SOURCE, TARGET = 8, 30, 30
UNITS = {"GB": 1e9, "GiB": 2**30, "MB": 1e6, "MiB": 2**20}


class Bench:
    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, case):
        self.process.stdin.write(json.dumps({"case": case}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise SystemExit(f"chorus_bench: {answer['error']}")
        return answer["facts"]


def bytes_of(text):
    if text == "0":
        return 0
    unit = next(unit for unit in sorted(UNITS, key=len, reverse=True) if text.endswith(unit))
    return int(float(text[: -len(unit)]) * UNITS[unit])


def prepare(bench, chorus, folder, shape):
    """The model's folder, made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary, path = folder / "pieces.model", folder / "model"
    if not vocabulary.exists():
        write_text(folder, "", 500)
        subprocess.run([chorus, "vocab", "--files", f"{folder}/train.{{lang}}", "--languages", "xx,yy", "--size", "290", "--out", vocabulary], check=True)
    if not path.exists():
        bench.ask({"work": "write_random_model", "model": shape, "languages": LANGUAGES, "vocabulary": str(vocabulary),
                   "path": str(path)})
    return path


def measure(bench, path, memory, sentences, beam, batches):
    facts = bench.ask({"work": "larger_than_memory", "path": str(path), "memory": memory, "languages": LANGUAGES, "sentences": sentences, "source": SOURCE,
                       "target": TARGET, "beam": beam, "batches": batches, "from": 0, "to": 1, "mixed": False})
    bench.ask(None)
    return facts


def row(memory, sentences, number, phase, of, rate):
    """What computing alone would take is what it did not wait for reading."""
    known = "| | | | | |"
    if rate:
        disk, compute = of["bytes"] / rate, of["seconds"] - of["waited"]
        known = (f"| {of['uses']} | {of['hits'] / max(of['uses'], 1):.0%} | {of['bytes'] / 1e9:.2f} GB | {disk:.2f} s | {compute:.2f} s | "
                 f"{max(disk, compute) / of['seconds']:.2f} |")
    return f"| {memory / 1e9:g} GB | {sentences} | {number} | {phase} | {of['seconds']:.2f} {known}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--memory", default=None, help="sizes, by comma")
    parser.add_argument("--sentences", default="1,100", help="of a batch, by comma")
    parser.add_argument("--beam", type=int, default=4)
    parser.add_argument("--batches", type=int, default=3)
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("build/bench/larger"))
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build/release"))
    a = parser.parse_args()
    shape, folder = SHAPES[a.shape], a.folder / a.shape
    bench = Bench(a.build / "bench" / "chorus_bench")
    model = prepare(bench, a.build / "chorus", folder, shape)
    lines = ["| memory | sentences | batch | phase | seconds | experts used | in memory | read | reading alone | computing alone | the longer / seconds |",
             "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    sizes = [bytes_of(size) for size in (a.memory or {"54b": "8GB,16GB", "small": "200MB,400MB"}[a.shape]).split(",")]
    for sentences in map(int, a.sentences.split(",")):
        for memory in sizes:
            facts = measure(bench, model, memory, sentences, a.beam, a.batches)
            slots = f"{facts['slots']} of {facts['experts']} experts fit; disk {facts['rate'] / 1e9:.2f} GB/s" if memory else "mapped"
            print(f"{memory / 1e9:g} GB: loaded in {facts['load_seconds']:.2f} s; {slots}", flush=True)
            for number, batch in enumerate(facts["batches"], 1):
                for phase in ("encoder", "decoder"):
                    lines.append(row(memory, sentences, number, phase, batch[phase], facts.get("rate")))
                    print(lines[-1], flush=True)
    out = pathlib.Path("build/bench/larger_than_memory.md")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join(lines) + "\n")
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
