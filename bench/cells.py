"""What the rows of the table are made of: cells and their sides, and the data that they read."""
import dataclasses
import json
import subprocess

import numpy
from safetensors.numpy import save_file


@dataclasses.dataclass
class Side:
    program: str  # chorus, or peer
    case: dict
    ranks: int = 1  # processes
    threads: int = None  # of each; None: as the cell
    isa: str = None  # the instruction set that all of it is held to: avx2; None: the best that the processor has


@dataclasses.dataclass
class Ratio:
    what: str
    ours: str  # names of sides
    peer: str  # None: the figure is ours alone, in seconds
    bar: float = None  # time: the peer's over ours, at least; peak and seconds: at most
    fact: str = None  # what is held against each other instead of times: bytes of this name among the facts


@dataclasses.dataclass
class Cell:
    id: str
    row: str  # the heading it stands under
    case: str  # what the table calls it
    sides: dict
    ratios: list
    kind: str = "time"  # or peak: highest memory beyond weights, gradients and optimizer state
    prepare: object = None  # folder -> files it wrote there, which are removed afterwards
    threads: int = None  # None: as asked
    growth: bool = False  # belongs to the second table
    quick: bool = False
    needs_bf16: bool = False
    together: bool = False  # one process holds all sides, which are chorus's
    check: object = lambda sides: sides  # the sides whose checks must agree


# ---- one MoE layer ---------------------------------------------------------------------------------------------------------

WIDTH, INNER = 512, 2048


def choices_of(tokens, experts, k, skew, random):
    """[tokens, k] experts, none twice in a row: expert 0 is chosen `skew` times as often as the mean, the others equally."""
    load = round(skew * k * tokens / experts)
    if load > tokens:
        return None  # a token cannot choose an expert twice
    chosen = numpy.zeros((tokens, k), dtype=numpy.int64)
    others = 1 + numpy.arange(tokens) % (experts - 1)
    if k == 1:
        chosen[:, 0] = numpy.where(numpy.arange(tokens) < load, 0, others)
    else:
        half = load // 2
        free = 1 + numpy.arange(2 * tokens) % (experts - 1)  # neighbours differ
        chosen[:half, 1] = free[:half]
        chosen[half:load, 0] = free[half:load]
        chosen[load:] = free[load:load + 2 * (tokens - load)].reshape(-1, 2)
    return random.permutation(chosen)


def write_layer(path, tokens, experts, k, skew):
    """Rows that lean towards the router's rows of their experts, so that every side routes alike."""
    random = numpy.random.default_rng(1)
    router = random.standard_normal((experts, WIDTH))
    router /= numpy.linalg.norm(router, axis=1, keepdims=True)
    hidden = random.standard_normal((tokens, WIDTH))
    chosen = choices_of(tokens, experts, k, skew, random)
    for j, pull in enumerate((20, 12)[:k]):
        hidden += pull * router[chosen[:, j]]
    data = {"hidden": hidden, "grad": random.standard_normal((tokens, WIDTH)), "router": 0.15 * router,
            "fc1": random.standard_normal((INNER, WIDTH)) * WIDTH**-0.5,
            "fc2": random.standard_normal((WIDTH, INNER)) * INNER**-0.5}
    save_file({name: value.astype(numpy.float32) for name, value in data.items()}, path)


def layer_cell(row, name, case, tokens, experts, k, skew, sides, ratios, ranks=1, **more):
    """sides: name -> (program, work and what differs from the common case)."""
    def prepare(folder):
        write_layer(data(folder), tokens, experts, k, skew)
        return [data(folder)]

    def data(folder):
        return folder / "layer.safetensors"

    common = {"data": str(data(layer_cell.folder)), "k": k, "dtype": "fp32", "capacity": 0, "rts": False, "normalize": k > 1,
              "balance": 0.0}
    return Cell(name, row, case, {n: Side(p, {**common, **options}, ranks) for n, (p, options) in sides.items()}, ratios,
                prepare=prepare, **more)


# ---- whole models ------------------------------------------------------------------------------------------------------------

VOCABULARY = 32000


def write_batch(path, sentences, length, vocabulary=VOCABULARY):
    """Pairs of equal length, as data/batch.h lays them out; no padding but the tag's label."""
    random = numpy.random.default_rng(1)
    source = random.integers(4, vocabulary, (sentences, length))
    target = random.integers(4, vocabulary, (sentences, length))
    source[:, -1] = 2
    target[:, 0] = 2
    labels = numpy.concatenate([target[:, 1:], numpy.full((sentences, 1), 2)], axis=1)
    labels[:, 0] = 1
    save_file({"source": source, "target": target, "labels": labels}, path)


class Models:
    """Weights for the peers, written by chorus_bench when first needed and kept."""

    def __init__(self, folder, program):
        self.folder, self.program = folder, program

    def weights(self, experts):
        return self.folder / f"weights-{experts}.safetensors"

    def ask(self, case):
        """Lets chorus_bench prepare a case, for what that leaves on disk."""
        answer = subprocess.run([self.program], input=json.dumps({"case": case}), text=True, check=True, stdout=subprocess.PIPE)
        if "error" in (reply := json.loads(answer.stdout)):
            raise RuntimeError(f"{case['work']}: {reply['error']}")

    def prepare(self, experts, sentences, length):
        def write(folder):
            if not self.weights(experts).exists():
                self.ask({"work": "write_weights", "model": {"experts": experts}, "path": str(self.weights(experts))})
            path = folder / "batch.safetensors"
            write_batch(path, sentences, length)
            return [path]
        return write

    def case(self, work, experts, dtype, **more):
        return {"work": work, "model": {"experts": experts}, "dtype": dtype, "weights": str(self.weights(experts)),
                "data": str(self.folder / "batch.safetensors"), **more}
