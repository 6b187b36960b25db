"""What run.py and kill.py share: the preloaded library's environment and counts, a tiny training, and the comparison of folders."""
import hashlib
import json
import os
import re
import signal
import struct
import subprocess
from pathlib import Path

KINDS = ("open list read write sync rename mmap space close unlink mkdir stat flock uring submit await begin spawn thread "
         "socket accept receive send mpi_start mpi_send mpi_receive mpi_wait").split()
SHARED = struct.Struct("<34Q512s")  # plan.cpp's Shared: uses of 32 kinds and of any, struck, what

RUN = """threads = 1
[[data.train]]
files = "train.{lang}"
languages = ["xx", "yy"]
[[data.valid]]
tsv = "dev.tsv"
languages = ["xx", "yy"]
[data]
batch_tokens = 128
max_length = 24
[vocabulary]
size = 280
[model]
d_model = 16
encoder_layers = 1
decoder_layers = 1
attention_heads = 2
ffn_dim = 32
max_positions = 32
[moe]
experts = 4
encoder_every = 1
decoder_every = 1
top_k = 2
gate_normalization = "before_drop"
[train]
log_every = 1
checkpoint_every = 2
[validation]
every = 2
"""
WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa".split()


def write_corpus(folder):
    pairs = [(f"{WORDS[i % 10]} {WORDS[i * 7 % 10]}", WORDS[i * 7 % 10]) for i in range(100)]
    (folder / "train.xx").write_text("".join(f"{a}\n" for a, _ in pairs))
    (folder / "train.yy").write_text("".join(f"{b}\n" for _, b in pairs))
    (folder / "dev.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in pairs[:20]))
    (folder / "source").write_text("".join(f"{a}\n" for a, _ in pairs[:3]))
    (folder / "run.toml").write_text(RUN)


class Counts:
    """The file in which the library counts."""

    def __init__(self, path):
        self.path = Path(path)
        self.clear()

    def clear(self):
        self.path.write_bytes(bytes(SHARED.size))

    def read(self):
        """Uses of each kind, uses of any, and what was struck first ("" for nothing)."""
        *numbers, what = SHARED.unpack(self.path.read_bytes())
        return dict(zip(KINDS, numbers)), numbers[32], what.split(b"\0")[0].decode(errors="replace")


def environment(library, counts, under, call="", at="", effect=""):
    return {"LD_PRELOAD": str(library), "CHORUS_FAULT_COUNTS": str(counts.path), "CHORUS_FAULT_UNDER": str(under),
            "CHORUS_FAULT_CALL": call, "CHORUS_FAULT_AT": str(at), "CHORUS_FAULT_EFFECT": effect}


def plain_environment():
    """Without what would make the program start itself again, and MPI's wishes of a machine with fewer cores than ranks."""
    return {**os.environ, "GOMP_SPINCOUNT": "2000", "OMP_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_rmaps_base_oversubscribe": "1",
            "OMPI_MCA_btl_vader_single_copy_mechanism": "none", "OMPI_MCA_mpi_yield_when_idle": "1"}


def execute(command, folder, extra, seconds, stdin=None):
    """Exit code (None: it hung and was killed with all its children), standard output and error."""
    with open(stdin or os.devnull, "rb") as source:
        process = subprocess.Popen(command, cwd=folder, env={**plain_environment(), **extra}, stdin=source,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    try:
        out, err = process.communicate(timeout=seconds)
        return process.returncode, out, err.decode(errors="replace")
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        return None, out, err.decode(errors="replace")


def content(path):
    """What of a file must be the same in each run: not what tells time, processes and places."""
    if path.name == "metrics.jsonl":
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return [(line["kind"], line.get("update"), line.get("loss")) for line in lines if line["kind"] in ("train", "validation")]
    if path.name == "vocabulary.json":  # which text its vocabulary was trained on, by where it lies
        return "a vocabulary's origin"
    if path.suffix == ".html":  # a page of a report
        return re.sub(r'"made":"[^"]*"', "", path.read_text())
    if path.name == "state.json":
        state = json.loads(path.read_text())
        state["state"].pop("seconds")
        state.pop("xxh3")
        return json.dumps(state, sort_keys=True)
    return hashlib.sha256(path.read_bytes()).hexdigest()


IGNORED = {".lock", "plan.json"}  # a lock holds a process id; a plan is for other runs to learn from


def tree(folder):
    """Path -> content of all files below a folder, however they are called. A token store tells where its text lies, so only its size counts."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in IGNORED and "tensorboard" not in path.parts:
            name = path.relative_to(folder)
            if path.suffix == ".tokens":
                found[f"{name.parent}/{path.stat().st_size}.tokens"] = "a store"
            else:
                found[str(name)] = content(path)
    return found


def difference(expected, got):
    """In words; "" for none."""
    lines = [f"missing: {name}" for name in expected.keys() - got.keys()]
    lines += [f"left over: {name}" for name in got.keys() - expected.keys()]
    lines += [f"differs: {name}" for name in expected.keys() & got.keys() if expected[name] != got[name]]
    return "; ".join(sorted(lines))


def complaint(code, err, alone=True):
    """What is wrong with how a process ended that met a fault; "" for nothing. Not `alone`, mpirun adds words of its own."""
    if code is None:
        return "hangs"
    lines = err.splitlines()
    errors = [line for line in lines if line.startswith("chorus: error: ")]
    if code not in (1, 2):
        return f"ends with code {code}"
    if len(errors) != 1 or (alone and lines[-1] != errors[0]):
        return f"code {code} without one last line that says why"
    return ""
