#!/usr/bin/env python3
"""The steps of gpu_check.sh that compare: each prints a table.

    gpu_check.py --run KIT/run ceilings | updates | layers | steps | tiers

ceilings   what torch's own copies and products reach on the GPU, and copies between it and the host
updates    20 updates of one model on the CPU and on the GPU: the losses beside each other
layers     MoE layers both ways against the same by torch's own operators (a grouped product where torch has it)
steps      training steps: tokens per second
tiers      a training whose gradients and moments lie on the host, and one that has all on the GPU: tokens per second
"""
import argparse
import ctypes
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time

import torch


def seconds_of(work, at_least=0.3):
    """Of one repetition, on the GPU, after a first one."""
    work()
    torch.cuda.synchronize()
    count = 1
    while True:
        began = time.perf_counter()
        for _ in range(count):
            work()
        torch.cuda.synchronize()
        taken = time.perf_counter() - began
        if taken >= at_least:
            return taken / count
        count *= 2


def save_file(tensors, path):
    """As safetensors, which the machine may lack: a header's size, the header, the bytes."""
    kinds = {torch.float32: "F32", torch.int64: "I64"}
    header, at = {}, 0
    for name, x in tensors.items():
        header[name] = {"dtype": kinds[x.dtype], "shape": list(x.shape), "data_offsets": [at, at + x.nbytes]}
        at += x.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for x in tensors.values():
            x = x.contiguous()
            file.write(ctypes.string_at(x.data_ptr(), x.nbytes))


failures = []


def failed(what, error):
    """The first line of what went wrong, noted for the end."""
    line = str(error).strip().splitlines()[0]
    failures.append(f"{what}: {line}")
    return line


class Bench:
    """chorus_bench, which holds a case and runs it when told to."""

    def __init__(self, run):
        self.process = subprocess.Popen([run, "chorus_bench"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        reply = json.loads(line) if line else {"error": f"chorus_bench ended with {self.process.wait()}"}
        if "error" in reply:
            raise RuntimeError(reply["error"])
        return reply

    def seconds(self, case):
        facts = self.ask({"case": case})["facts"]
        once = self.ask({"run": 1})["seconds"]
        count = max(1, round(0.5 / once))
        return self.ask({"run": count})["seconds"] / count, facts


def ceilings(_):
    print("| what | rate |\n| --- | --- |")
    print(f"| {torch.cuda.get_device_name()}, torch {torch.__version__} | |")
    big = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    to = torch.empty_like(big)
    print(f"| copy on the device, read and written | {2 * big.nbytes / seconds_of(lambda: to.copy_(big)) / 1e12:.2f} TB/s |")
    for kind, size in ((torch.bfloat16, 8192), (torch.float32, 4096)):
        a, b = (torch.randn(size, size, device="cuda", dtype=kind) for _ in range(2))
        print(f"| product, {size} x {size} x {size}, {kind} | {2 * size**3 / seconds_of(lambda: a @ b) / 1e12:.0f} TFLOP/s |")
    for pinned in (True, False):
        host = torch.empty(1 << 28, dtype=torch.uint8, pin_memory=pinned)
        there = torch.empty_like(host, device="cuda")
        name = "pinned" if pinned else "pageable"
        print(f"| to the device, {name} | {host.nbytes / seconds_of(lambda: there.copy_(host)) / 1e9:.1f} GB/s |")
        print(f"| from the device, {name} | {host.nbytes / seconds_of(lambda: host.copy_(there)) / 1e9:.1f} GB/s |")


def write_text(folder):
    """Made-up pairs that can be learnt: the other language has the words in the reverse order, each with another ending."""
    words = ["".join(random.choice("aeiou" if i % 2 else "bdfgklmnprst") for i in range(random.randint(2, 7))) for _ in range(2000)]
    for part, lines in (("train", 4000), ("valid", 100)):
        with open(folder / f"{part}.xx", "w") as left, open(folder / f"{part}.yy", "w") as right:
            for _ in range(lines):
                sentence = random.choices(words, k=random.randint(4, 20))
                left.write(" ".join(sentence) + "\n")
                right.write(" ".join(word + "o" for word in reversed(sentence)) + "\n")


def train(arguments, run_file, name, *settings):
    """The run's metrics; None where it failed, which is noted."""
    out = run_file.parent / name.replace(" ", "-")
    options = [word for setting in settings for word in ("--set", setting)]
    done = subprocess.run([arguments.run, "chorus", "train", run_file, "--out", out, "--quiet", *options], capture_output=True, text=True)
    if done.returncode:
        print(f"{name}: {failed(name, done.stderr or 'no message')} (ended with {done.returncode})", flush=True)
        return None
    return [json.loads(line) for line in open(out / "metrics.jsonl")]


def updates(arguments):
    random.seed(1)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_text(folder)
        (folder / "run.toml").write_text(f"""
[data]
batch_tokens = 2048
[[data.train]]
files = "{folder}/train.{{lang}}"
languages = ["xx", "yy"]
[[data.valid]]
files = "{folder}/valid.{{lang}}"
languages = ["xx", "yy"]
[vocabulary]
size = 1000
[model]
d_model = 128
encoder_layers = 2
decoder_layers = 2
attention_heads = 4
ffn_dim = 256
dropout = 0.1
[moe]
experts = 8
[train]
duration = "20u"
log_every = 1
checkpoint_every = 0
[validation]
every = 20
""")
        losses = {}
        for device in ("cpu", "cuda"):
            records = train(arguments, folder / "run.toml", device, f"device={device}")
            if records is None:
                continue
            losses[device] = [r["loss"] for r in records if r["kind"] == "train"]
            print(f"{device}: validation loss {[r['loss'] for r in records if r['kind'] == 'validation'][-1]:.6f}, "
                  f"dropped {[r['dropped'] for r in records if r['kind'] == 'train'][-1]:.4f}")
        if len(losses) == 2:
            print("| update | cpu | cuda | difference |\n| --- | --- | --- | --- |")
            for i, (a, b) in enumerate(zip(losses["cpu"], losses["cuda"]), 1):
                print(f"| {i} | {a:.6f} | {b:.6f} | {b - a:+.1e} |")
            if max(abs(b - a) for a, b in zip(losses["cpu"], losses["cuda"])) > 0.01:
                failed("updates", "losses differ by more than 0.01")


def torch_layer(hidden, router, fc1, fc2, k):
    """Both ways, forward by at::_grouped_mm where torch has it for this GPU."""
    probabilities = torch.softmax(hidden.float() @ router.t(), -1)
    gate, expert = probabilities.topk(k, -1)
    gate = gate / gate.sum(-1, keepdim=True) if k > 1 else gate
    order = expert.flatten().argsort(stable=True)
    offsets = expert.flatten().bincount(minlength=router.shape[0]).cumsum(0).to(torch.int32)
    rows = hidden[order // k]
    inner = torch.relu(torch._grouped_mm(rows, fc1.transpose(1, 2), offs=offsets))
    out = torch._grouped_mm(inner, fc2.transpose(1, 2), offs=offsets)
    scaled = out * gate.flatten()[order].unsqueeze(1).to(out.dtype)
    return torch.zeros_like(hidden).index_add_(0, order // k, scaled)


def layers(arguments):
    bench = Bench(arguments.run)
    width, inner, tokens = 1024, 4096, 8192
    print("| MoE layer both ways, bf16 | skew | chorus | TFLOP/s | torch's grouped products | TFLOP/s |\n| --- | --- | --- | --- | --- | --- |")
    for experts in (8, 32, 128):
        for k in (1, 2):
            torch.manual_seed(1)
            data = {"hidden": torch.randn(tokens, width), "grad": torch.randn(tokens, width), "router": 0.15 * torch.randn(experts, width),
                    "fc1": torch.randn(inner, width) * width**-0.5, "fc2": torch.randn(width, inner) * inner**-0.5}
            path = f"layer-{experts}.safetensors"
            save_file(data, path)
            flops = 12 * tokens * k * width * inner
            case = {"work": "moe_layer", "device": "cuda", "dtype": "bf16", "data": path, "k": k, "capacity": 0, "rts": False,
                    "normalize": k > 1, "balance": 0.0}
            try:
                ours, facts = bench.seconds(case)
                left = f"{facts['skew']:.2f} | {ours * 1e3:.2f} ms | {flops / ours / 1e12:.0f}"
            except RuntimeError as error:
                left = f"| {failed(f'{experts} experts', error)} |"
                bench = Bench(arguments.run)
            leaf = {name: x.to("cuda", torch.bfloat16).requires_grad_() for name, x in data.items()}
            share = (1 + torch.arange(experts, device="cuda") / experts).to(torch.bfloat16).view(-1, 1, 1)
            fc1, fc2 = ((leaf[name].detach() * share).requires_grad_() for name in ("fc1", "fc2"))

            def both():
                for x in (leaf["hidden"], fc1, fc2):
                    x.grad = None
                torch_layer(leaf["hidden"], leaf["router"].float().detach(), fc1, fc2, k).backward(leaf["grad"].detach())

            try:
                theirs = seconds_of(both)
                right = f"{theirs * 1e3:.2f} ms | {flops / theirs / 1e12:.0f}"
            except RuntimeError as error:
                right = f"{str(error).splitlines()[0]} |"  # torch's own affair
            print(f"| {experts} experts, top-{k}, {tokens} tokens | {left} | {right} |", flush=True)
            pathlib.Path(path).unlink()


def steps(arguments):
    bench = Bench(arguments.run)
    print("| training step, 12+12 layers of d 1,024, 4,096 tokens a side | device | seconds | target tokens/s | TFLOP/s |\n| --- | --- | --- | --- | --- |")
    generator = torch.Generator().manual_seed(1)
    source, target = (torch.randint(4, 32000, (64, 64), generator=generator) for _ in range(2))
    labels = torch.cat([target[:, 1:], torch.full((64, 1), 2)], 1)
    save_file({"source": source, "target": target, "labels": labels.contiguous()}, "batch.safetensors")
    for experts in (0, 8):
        for device, dtype in (("cuda", "bf16"), ("cuda", "fp32")):
            case = {"work": "training_step", "device": device, "dtype": dtype, "data": "batch.safetensors",
                    "model": {"vocabulary": 32000, "d_model": 1024, "layers": 12, "heads": 16, "ffn": 4096, "experts": experts}}
            try:
                taken, facts = bench.seconds(case)
                rate = f"{facts['flops'] / taken / 1e12:.1f}" if "flops" in facts else ""
                print(f"| {experts or 'no'} experts, {dtype} | {device} | {taken:.3f} | {target.numel() / taken:,.0f} | {rate} |", flush=True)
            except RuntimeError as error:
                print(f"| {experts or 'no'} experts, {dtype} | {device} | {failed(f'{experts} experts, {dtype}', error)} | | |", flush=True)
                bench = Bench(arguments.run)


def tiers(arguments):
    random.seed(1)
    print("| 6+6 layers of d 1,024, 16 experts, bf16 | loss at the end | target tokens/s | GPU's memory, GB | host's, GB |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_text(folder)
        (folder / "run.toml").write_text(f"""
device = "cuda"
precision = "bf16"
[data]
batch_tokens = 8192
micro_batches = 4
[[data.train]]
files = "{folder}/train.{{lang}}"
languages = ["xx", "yy"]
[vocabulary]
size = 1000
[model]
d_model = 1024
encoder_layers = 6
decoder_layers = 6
attention_heads = 16
ffn_dim = 4096
[moe]
experts = 16
[train]
duration = "6u"
log_every = 3
checkpoint_every = 0
""")
        for kind, settings in (("all on the GPU", []), ("gradients and moments on the host", ["memory.gradients=host", "memory.optimizer=host"])):
            records = train(arguments, folder / "run.toml", kind, *settings)
            if records is None:
                continue
            last = [r for r in records if r["kind"] == "train"][-1]
            print(f"| {kind} | {last['loss']:.4f} | {last['tokens_per_second']:,.0f} | {last['memory']['device_peak'] / 1e9:.1f} | "
                  f"{last['memory']['host_peak'] / 1e9:.1f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True, type=lambda path: str(pathlib.Path(path).resolve()), help="the kit's run")
    parser.add_argument("step", choices=["ceilings", "updates", "layers", "steps", "tiers"])
    arguments = parser.parse_args()
    {"ceilings": ceilings, "updates": updates, "layers": layers, "steps": steps, "tiers": tiers}[arguments.step](arguments)
    if failures:
        sys.exit("\n".join(["failed:", *failures]))


if __name__ == "__main__":
    main()
