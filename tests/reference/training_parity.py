#!/usr/bin/env python3
"""Trains small models with `chorus train` and with plain PyTorch, in fp64, and compares them update by update.

    tests/reference/training_parity.py --chorus build/release/chorus --venv .venv

Both start from the weights that `chorus train` writes for train.duration = "0u" and make ten updates, each on the
whole of a tiny corpus: dropout, jitter and random selection are off, so nothing is left to chance. What follows is a
straightforward encoder-decoder Transformer with MoE layers, as the papers have it, out of PyTorch's own functions:
pre-norm blocks, sinusoidal positions, tied and scaled embeddings; top-k routing, capacity by position, the
load-balancing and the z-loss; label smoothing normalised by target tokens; clipping by the global norm; torch's AdamW
with decay on matrices only; warm-up and inverse square root.

Compared to 1e-5: relative, each update's loss, gradient norm, learning rate and each MoE layer's losses and dropped
share; of each parameter, the largest difference of an element from PyTorch's after the last update, relative to the
parameter's largest element, or to the sum of the learning rates where that is more.

Left out of the last, the biases of keys: they shift all scores of a query alike, which the softmax does not see, so
their gradient is nothing but rounding. AdamW makes moves out of it; they must stay below 1e-4 of what it could have
made, the sum of the learning rates. Its epsilon is 1e-5 so that no other small gradient is treated so.

Exit code: 0 all equal, 1 otherwise.
"""

import argparse
import json
import math
import os
import random
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

TOLERANCE, KEY_BIAS_TOLERANCE = 1e-5, 1e-4
UPDATES = 10
PAD, EOS, FIRST_TAG = 1, 2, 4
LANGUAGES = ["aa", "bb"]  # tags follow the special ids in this order

RUN = """
seed = {seed}
threads = 1
[[data.train]]
files = "{folder}/train.{{lang}}"
languages = ["aa", "bb"]
[data]
batch_tokens = 16384
micro_batches = {micro_batches}
max_length = 64
[vocabulary]
model = "{folder}/vocabulary.model"
[model]
d_model = 32
encoder_layers = 2
decoder_layers = 3
attention_heads = 4
ffn_dim = 48
activation = "{activation}"
dropout = 0.0
max_positions = 64
[moe]
experts = 5
encoder_every = 1
decoder_every = 2
top_k = {top_k}
capacity_factor = {capacity}
selection = "position"
gate_normalization = "{gates}"
jitter = 0.0
balance_loss = 0.05
z_loss = 0.01
[optim]
learning_rate = 4e-3
warmup = "4u"
weight_decay = 0.1
epsilon = 1e-5
clip_norm = 1.1
[train]
duration = "0u"
label_smoothing = 0.1
log_every = 1
"""
# Top-1 and top-2, dropless and with capacity, one and two micro-batches. From these seeds no choice of the router comes
# so near to a tie that rounding could turn it.
CASES = [
    {"top_k": 1, "capacity": 0.0, "gates": "none", "micro_batches": 1, "activation": "relu", "seed": 1},
    {"top_k": 1, "capacity": 0.8, "gates": "none", "micro_batches": 2, "activation": "relu", "seed": 7},
    {"top_k": 2, "capacity": 0.0, "gates": "before_drop", "micro_batches": 2, "activation": "gelu", "seed": 4},
    {"top_k": 2, "capacity": 0.7, "gates": "after_drop", "micro_batches": 1, "activation": "swiglu", "seed": 3},
]


def chorus(program, *arguments, text=None):
    result = subprocess.run([program, *map(str, arguments)], input=text, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        sys.exit(f"chorus {' '.join(map(str, arguments))}: {result.stderr}")
    return result.stdout


def read_tensors(path):
    data = Path(path).read_bytes()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    tensors = {}
    for name, entry in json.loads(data[8:start]).items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            flat = torch.frombuffer(bytearray(data[start + begin : start + end]), dtype=torch.float32)
            tensors[name] = flat.view(entry["shape"]).double()
    return tensors


def make_corpus(program, folder):
    """Writes the corpus and its vocabulary; returns the pairs as ids, both directions, in the order of a batch: by
    length, no two pairs alike in both lengths."""
    rng = random.Random(1)
    words = ["".join(rng.choice("abcdefgh") for _ in range(rng.randint(1, 6))) for _ in range(60)]
    texts = [[" ".join(rng.choices(words, k=rng.randint(1, 9))) for _ in range(300)] for _ in LANGUAGES]
    for language, lines in zip(LANGUAGES, texts):
        (folder / f"all.{language}").write_text("\n".join(lines) + "\n")
    inputs = [f"--input={language}={folder}/all.{language}" for language in LANGUAGES]
    chorus(program, "vocab", "-q", *inputs, "--size", 300, "--out", folder / "vocabulary.model")
    encode = ["vocab", "--model", folder / "vocabulary.model", "--encode"]
    ids = [
        [list(map(int, line.split())) for line in chorus(program, *encode, text="\n".join(lines)).splitlines()]
        for lines in texts
    ]
    pairs, lengths, kept = [], set(), []
    for i, (a, b) in enumerate(zip(*ids)):
        both = {(len(a), len(b)), (len(b), len(a))}
        if len(both) == 2 and not both & lengths and len(kept) < 8:
            lengths |= both
            kept.append(i)
            for source, target, s, t in ((a, b, 0, 1), (b, a, 1, 0)):
                pairs.append(([FIRST_TAG + s, *source, EOS], [FIRST_TAG + t, *target, EOS]))
    for language, lines in zip(LANGUAGES, texts):
        (folder / f"train.{language}").write_text("\n".join(lines[i] for i in kept) + "\n")
    return sorted(pairs, key=lambda pair: (max(len(pair[0]), len(pair[1])), len(pair[0]), len(pair[1])))


def padded(rows):
    return torch.tensor([row + [PAD] * (max(map(len, rows)) - len(row)) for row in rows])


class Reference:
    """The model as functions of its weights by name."""

    def __init__(self, weights, case):
        self.w = {name: tensor.requires_grad_() for name, tensor in weights.items()}
        self.case, self.embedding = case, self.w["model.shared.weight"]
        self.width, self.heads, self.experts = self.embedding.shape[1], 4, 5
        self.auxiliary = []  # (balance loss, z-loss, choices, dropped) of each MoE layer in turn
        self.margin = math.inf  # least difference between a probability that is chosen and one that is not

    def linear(self, x, name):
        return F.linear(x, self.w[name + ".weight"], self.w[name + ".bias"])

    def norm(self, x, name):
        return F.layer_norm(x, (self.width,), self.w[name + ".weight"], self.w[name + ".bias"], 1e-5)

    def embed(self, ids):
        half = self.width // 2  # the table is one of fp32, as in M2M100
        frequency = torch.exp(torch.arange(half, dtype=torch.float32) * -(math.log(10000) / (half - 1)))
        angle = torch.arange(2, ids.shape[1] + 2, dtype=torch.float32)[:, None] * frequency
        return F.embedding(ids, self.embedding) * self.width**0.5 + torch.cat([angle.sin(), angle.cos()], 1).double()

    def attention(self, x, memory, visible, name):
        def heads(y, which):
            return self.linear(y, f"{name}.{which}_proj").unflatten(-1, (self.heads, -1)).transpose(1, 2)

        scores = heads(x, "q") @ heads(memory, "k").transpose(-1, -2) / (self.width / self.heads) ** 0.5
        context = scores.masked_fill(~visible, -math.inf).softmax(-1) @ heads(memory, "v")
        return self.linear(context.transpose(1, 2).flatten(2), f"{name}.out_proj")

    def feed_forward(self, x, name):
        inner = self.linear(x, name + ".fc1")
        if self.case["activation"] == "swiglu":
            gate, value = inner.chunk(2, -1)
            inner = F.silu(gate) * value
        else:
            inner = F.relu(inner) if self.case["activation"] == "relu" else F.gelu(inner)
        return self.linear(inner, name + ".fc2")

    def moe(self, x, real, name):
        tokens, k = x[real], self.case["top_k"]  # padding is not routed
        logits = F.linear(tokens, self.w[name + ".router.classifier.weight"])
        p = logits.softmax(-1)
        ranked = p.topk(k + 1)
        self.margin = min(self.margin, (ranked.values[:, k - 1] - ranked.values[:, k]).min().item())
        chosen, gates = ranked.indices[:, :k], ranked.values[:, :k]
        is_chosen = F.one_hot(chosen, self.experts)  # [tokens, k, experts]
        kept = torch.ones_like(gates)
        if self.case["capacity"] > 0:  # first choices take their places first, each in the order of the tokens
            capacity = math.ceil(self.case["capacity"] * k * len(tokens) / self.experts)
            place = is_chosen.transpose(0, 1).flatten(0, 1).cumsum(0).view(k, -1, self.experts).transpose(0, 1)
            kept = ((place * is_chosen).sum(-1) <= capacity).double()
        if self.case["gates"] == "before_drop":
            gates = gates / gates.sum(1, keepdim=True)
        gates = gates * kept
        if self.case["gates"] == "after_drop":
            gates = gates / gates.sum(1, keepdim=True).clamp_min(torch.finfo(torch.float32).eps)
        output = torch.zeros_like(tokens)
        for e in range(self.experts):
            weight = (gates * is_chosen[:, :, e]).sum(1, keepdim=True)
            output = output + weight * self.feed_forward(tokens, f"{name}.experts.expert_{e}")
        share = is_chosen.sum((0, 1)).double() / chosen.numel()
        balance = self.experts * (share * p.mean(0)).sum()
        self.auxiliary.append((balance, logits.logsumexp(-1).square().mean(), chosen.numel(), (1 - kept).sum().item()))
        return torch.zeros_like(x).masked_scatter(real[..., None], output)

    def block(self, x, real, visible, name, sparse, memory=None, memory_visible=None):
        y = self.norm(x, name + ".self_attn_layer_norm")
        x = x + self.attention(y, y, visible, name + ".self_attn")
        if memory is not None:
            y = self.norm(x, name + ".cross_attention_layer_norm")
            x = x + self.attention(y, memory, memory_visible, name + ".cross_attention")
        y = self.norm(x, name + ".ff_layer_norm")
        return x + (self.moe(y, real, name + ".ffn") if sparse else self.feed_forward(y, name + ".ffn"))

    def logits(self, source, target):
        seen = (source != PAD)[:, None, None, :]
        x = self.embed(source)
        for i in range(2):
            x = self.block(x, source != PAD, seen, f"model.encoder.layers.{i}", True)
        memory = self.norm(x, "model.encoder.layer_norm")
        past = torch.ones(target.shape[1], target.shape[1], dtype=torch.bool).tril()
        x = self.embed(target)
        for i in range(3):
            x = self.block(x, target != PAD, past, f"model.decoder.layers.{i}", i == 1, memory, seen)
        return self.norm(x, "model.decoder.layer_norm") @ self.embedding.T


def train_reference(weights, case, pairs):
    """The records of ten updates, and the weights after them."""
    model = Reference(weights, case)
    groups = [{"params": [w for w in model.w.values() if w.dim() > 1]}]
    groups.append({"params": [w for w in model.w.values() if w.dim() == 1], "weight_decay": 0.0})
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), eps=1e-5, weight_decay=0.1)
    count = case["micro_batches"]
    half = (len(pairs) + count - 1) // count
    batches = [pairs[i : i + half] for i in range(0, len(pairs), half)]
    target_tokens = sum(len(target) - 1 for _, target in pairs)  # the tag is given
    records = []
    for update in range(1, UPDATES + 1):
        optimizer.zero_grad()
        loss_sum, layers = 0.0, [[0.0] * 4 for _ in range(3)]
        for batch in batches:
            model.auxiliary = []
            logits = model.logits(padded([s for s, _ in batch]), padded([[EOS, *t[:-1]] for _, t in batch]))
            labels = padded([[PAD, *t[1:]] for _, t in batch])
            loss = F.cross_entropy(
                logits.flatten(0, 1), labels.flatten(), ignore_index=PAD, label_smoothing=0.1, reduction="sum"
            )
            loss_sum += loss.item()
            auxiliary = sum(0.05 * balance + 0.01 * z for balance, z, _, _ in model.auxiliary)
            (loss / target_tokens + auxiliary / count).backward()
            for sums, values in zip(layers, model.auxiliary):
                sums[:] = [s + torch.as_tensor(v).item() for s, v in zip(sums, values)]
        norm = math.sqrt(sum(w.grad.square().sum().item() for w in model.w.values()))
        for w in model.w.values():
            w.grad *= min(1, 1.1 / norm)
        rate = 4e-3 * min(update / 4, (4 / update) ** 0.5)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        record = {"loss": loss_sum / target_tokens, "gradient_norm": norm, "learning_rate": rate}
        for i, (balance, z, choices, dropped) in enumerate(layers):
            record |= {f"{i}.balance_loss": balance / count, f"{i}.z_loss": z / count, f"{i}.dropped": dropped / choices}
        records.append(record)
    return records, model


def compare(program, folder, case, pairs):
    """Prints how far apart the two are; returns whether that is near enough."""
    file, run = folder / "run.toml", folder / f"run{CASES.index(case)}"
    file.write_text(RUN.format(folder=folder, **case))
    chorus(program, "train", file, "--out", run, "-q")
    weights = read_tensors(run / "model/model.safetensors")
    expected, model = train_reference(weights, case, pairs)
    chorus(program, "train", file, "--set", f"train.duration={UPDATES}u", "--out", run, "-q")
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [record["update"] for record in records] == list(range(1, UPDATES + 1)), records
    worst = {}
    for ours, theirs in zip(records, expected):
        encoder_first = sorted(ours["layers"].items(), key=lambda layer: (-ord(layer[0][0]), int(layer[0].split(".")[-1])))
        for i, (_, values) in enumerate(encoder_first):
            ours |= {f"{i}.{name}": value for name, value in values.items()}
        for name, value in theirs.items():
            error = abs(ours[name] - value) / max(abs(value), 1e-30) if value else abs(ours[name])
            worst[name.split(".")[-1]] = max(worst.get(name.split(".")[-1], 0), error)
    reach = sum(record["learning_rate"] for record in expected)
    trained = read_tensors(run / "model/model.safetensors")
    assert trained.keys() == model.w.keys()
    for name, theirs in model.w.items():
        error = (trained[name] - theirs).abs().max().item() / max(theirs.abs().max().item(), reach)
        kind = "key biases" if name.endswith("k_proj.bias") else "parameters"
        worst[kind] = max(worst.get(kind, 0), error)
    key_biases = worst.pop("key biases")
    equal = max(worst.values()) <= TOLERANCE and key_biases <= KEY_BIAS_TOLERANCE
    clipped = sum(record["gradient_norm"] > 1.1 for record in expected)
    print(f"{'equal' if equal else 'DIFFERENT'}: {case}")
    print(f"  loss {expected[0]['loss']:.4f} -> {expected[-1]['loss']:.4f}, {clipped} of {UPDATES} updates clipped, "
          f"dropped {expected[-1]['0.dropped']:.2f}, nearest tie of the router {model.margin:.1e}")
    print("  largest relative differences: " + ", ".join(f"{key} {value:.1e}" for key, value in worst.items())
          + f"; key biases {key_biases:.1e}", flush=True)
    return equal


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chorus", type=Path, default=Path("build/release/chorus"))
    parser.add_argument("--venv", type=Path, default=Path(".venv"), help="a virtual environment that has torch")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not args.chorus.is_file():
        sys.exit(f"{args.chorus}: no such program: build it first (make build), or name it with --chorus")
    if not args.inside:
        python = args.venv.absolute() / "bin/python"
        if not python.exists():
            sys.exit(f"{args.venv}: no virtual environment: `scripts/setup.sh --reference` makes the one with torch")
        os.execv(python, [str(python), *sys.argv, "--inside"])

    global torch, F
    import warnings

    warnings.filterwarnings("ignore", "Failed to initialize NumPy")
    import torch
    from torch.nn import functional as F

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        program = args.chorus.absolute()
        pairs = make_corpus(program, Path(folder))
        sys.exit(0 if all([compare(program, Path(folder), case, pairs) for case in CASES]) else 1)


if __name__ == "__main__":
    main()
