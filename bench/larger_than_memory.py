#!/usr/bin/env python3
"""Translating with a model larger than memory: how long it takes, what is read, and how near that is to what the machine allows.

    bench/larger_than_memory.py [--shape small] [--memory 8GB,16GB] [--sentences 1,100] [--folder build/bench/larger]

Writes a model of random weights (int4 experts, int8 for the rest) that routes as languages do, some of its layers as models that fit into
memory, and build/bench/larger_than_memory.md. --shape 54b is NLLB-MoE's (34 GB of disk, half an hour). docs/performance.md explains the rows.
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
    unit = next(unit for unit in sorted(UNITS, key=len, reverse=True) if text.endswith(unit))
    return int(float(text[: -len(unit)]) * UNITS[unit])


def prepare(bench, chorus, folder, shape, layers):
    """The folder of a model of so many layers, which is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary, path = folder / "pieces.model", folder / f"{layers}-layers"
    if not vocabulary.exists():
        write_text(folder, "", 500)
        subprocess.run([chorus, "vocab", "--files", f"{folder}/train.{{lang}}", "--languages", "xx,yy", "--size", "290", "--out", vocabulary], check=True)
    if not path.exists():
        bench.ask({"work": "write_random_model", "model": shape | {"layers": layers}, "languages": LANGUAGES, "vocabulary": str(vocabulary),
                   "path": str(path)})
    return path


def measure(bench, path, memory, sentences, beam, batches):
    facts = bench.ask({"work": "larger_than_memory", "path": str(path), "memory": memory, "languages": LANGUAGES, "sentences": sentences, "source": SOURCE,
                       "target": TARGET, "beam": beam, "batches": batches, "from": 0, "to": 1, "mixed": False})
    bench.ask(None)
    return facts


def last(facts, phase, key):
    """Of the last batch: by then what the texts need often has come."""
    return facts["batches"][-1][phase][key]


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
    group = shape["every"]
    whole, one, two = (prepare(bench, a.build / "chorus", folder, shape, layers) for layers in (shape["layers"], group, 2 * group))
    lines = ["| memory | sentences | phase | seconds | experts used | in memory | read | waited | resident | disk | bound / seconds |",
             "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    sizes = [bytes_of(size) for size in (a.memory or {"54b": "8GB,16GB", "small": "200MB,400MB"}[a.shape]).split(",")]
    for sentences in map(int, a.sentences.split(",")):
        # With all in memory, a group of layers takes what two take beyond one.
        in_memory = [measure(bench, path, 0, sentences, a.beam, 2) for path in (one, two)]
        for memory in sizes:
            facts = measure(bench, whole, memory, sentences, a.beam, a.batches)
            for phase in ("encoder", "decoder"):
                first, second = (last(f, phase, "seconds") for f in in_memory)
                resident = first + (shape["layers"] / group - 1) * (second - first)
                get = lambda key: last(facts, phase, key)
                disk = get("bytes") / facts["rate"]
                lines.append(f"| {memory / 1e9:g} GB | {sentences} | {phase} | {get('seconds'):.2f} | {get('uses')} | {get('hits') / max(get('uses'), 1):.0%} | "
                             f"{get('bytes') / 1e9:.2f} GB | {get('waited'):.2f} s | {resident:.2f} s | {disk:.2f} s | {max(resident, disk) / get('seconds'):.2f} |")
                print(lines[-1], flush=True)
            lines.append(f"| | | loading | {facts['load_seconds']:.2f} | {facts['slots']} of {facts['experts']} slots | | | | | {facts['rate'] / 1e9:.2f} GB/s | |")
            print(lines[-1], flush=True)
    out = pathlib.Path("build/bench/larger_than_memory.md")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join(lines) + "\n")
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
