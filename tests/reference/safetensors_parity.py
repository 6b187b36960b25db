#!/usr/bin/env python3
"""Compares what chorus reads and writes with the Python package safetensors, on random files.

    tests/reference/safetensors_parity.py --chorus build/release/chorus --venv .venv [--files 2000] [--seed 1]

The package writes a file of random types, shapes, names and metadata; chorus copies it (tests/probe); of the copy the package must
read the same tensors, to the byte, and the same metadata. Types that chorus has no use for are refused. Then the files are damaged:
what chorus takes nevertheless, the package must take too, and read as chorus did. Exit code: 0 all equal, 1 otherwise.
"""

import json
import math
import random
import shutil
import subprocess

from parity import comparing
from sacrebleu_parity import random_lines

TYPES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1, "bool": 1}
REFUSED = {"uint16": 2, "uint32": 4, "uint64": 8, "float8_e4m3fn": 1, "float8_e5m2": 1}
BATCH = 100


def random_file(rng):
    """Its bytes, and whether chorus takes them."""
    import safetensors.torch
    import torch

    sizes = {**TYPES, **(REFUSED if rng.random() < 0.1 else {})}
    names = [name or "empty" for name in random_lines(rng, rng.choice([0, 1, 2, 5, 20]))]
    tensors, taken = {}, True
    for name in set(names) - {"__metadata__"}:
        kind = rng.choice(list(sizes))
        shape = [rng.choice([0, 1, 1, 2, 3, 7]) for _ in range(rng.choice([0, 1, 1, 2, 3, 5]))]
        count = math.prod(shape)
        data = bytes(rng.randrange(2) for _ in range(count)) if kind == "bool" else rng.randbytes(count * sizes[kind])
        flat = torch.frombuffer(bytearray(data), dtype=getattr(torch, kind)) if data else torch.empty(0, dtype=getattr(torch, kind))
        tensors[name] = flat.reshape(shape)
        taken = taken and kind in TYPES
    metadata = dict(zip(random_lines(rng, 3), random_lines(rng, 3))) if rng.random() < 0.5 else None
    return safetensors.torch.save(tensors, metadata), taken


def damaged(rng, data):
    header = 8 + int.from_bytes(data[:8], "little")
    text = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(min(len(text), header))
        choice = rng.randrange(4)
        if choice == 0:
            text[at] = rng.randrange(256)
        elif choice == 1:
            text[at] ^= 1 << rng.randrange(8)
        elif choice == 2:
            digits = [i for i in range(8, min(len(text), header)) if chr(text[i]).isdigit()]
            if digits:
                text[rng.choice(digits)] = rng.choice(b"0123456789-e.")
        else:
            del text[rng.randrange(len(text)) :]
            text += rng.randbytes(rng.choice([0, 0, 1]))
        if not text:
            break
    return bytes(text)


def contents(data):
    """Tensors by name, and metadata without our checksums, as the package reads them. It throws where it refuses."""
    import safetensors

    tensors = {name: (t["dtype"], t["shape"], bytes(t["data"])) for name, t in safetensors.deserialize(data)}
    metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__") or {}
    return tensors, {key: value for key, value in metadata.items() if key != "chorus.xxh3"}


def compare(checks, chorus, folder, number, data, taken, whole):
    """`whole`: it is as the package wrote it."""
    copy, refused = folder / f"{number}.copy", folder / f"{number}.refused"
    ours = copy.exists()
    if not ours:
        text = refused.read_text()
        checks(f"{number}: refused in one line", "\n" not in text, text)
    if whole:
        checks(f"{number}: taken", ours == taken, "" if ours else refused.read_text())
    if not ours:
        return 0
    try:
        tensors, metadata = contents(data)
    except Exception as error:
        checks(f"{number}: only chorus takes {data!r}", False, error)
        return 1
    mine = contents(copy.read_bytes())
    checks(f"{number}: tensors of {data!r}", mine[0] == tensors)
    checks(f"{number}: metadata of {data!r}", mine[1] == {"format": "pt", **metadata}, f"{mine[1]} {metadata}")
    return 1


def main():
    with comparing(__doc__, files=2000, seed=1) as (checks, chorus, folder, files, seed):
        rng = random.Random(seed)
        counts = {True: [0, 0], False: [0, 0]}
        for first in range(0, files, BATCH):
            batch = folder / str(first)
            batch.mkdir()
            cases = {}
            for number in range(first, min(files, first + BATCH)):
                data, taken = random_file(rng)
                whole = rng.random() < 0.4
                cases[number] = (data if whole else damaged(rng, data), taken, whole)
                (batch / f"{number}.safetensors").write_bytes(cases[number][0])
            subprocess.run([chorus.probe_program, "--copy", batch], check=True)
            for number, (data, taken, whole) in cases.items():
                counts[whole][0] += 1
                counts[whole][1] += compare(checks, chorus, batch, number, data, taken, whole)
            shutil.rmtree(batch)
        for whole, (count, taken) in counts.items():
            print(f"seed {seed}: {count} {'whole' if whole else 'damaged'} files, {taken} taken")


if __name__ == "__main__":
    main()
