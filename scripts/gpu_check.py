#!/usr/bin/env python3
"""The steps of gpu_check.sh that compare: each prints a table.

    gpu_check.py --run KIT/run [--trial] ceilings | suites | smallest | updates | layers | steps | tiers | largest

ceilings   what torch's own copies and products reach on the GPU, and copies between it and the host
suites     the tests of nn, moe, model, decode and train on the GPU, and those of tiers: several processes side by side
smallest   two updates of a model as small as there can be, for compute-sanitizer
updates    20 updates of one model on the CPU and on the GPU: the losses beside each other
layers     MoE layers both ways, also as a CUDA graph, against the same by torch's own operators (a grouped product where torch has it)
steps      training steps: tokens per second, MFU, the part of the norm and AdamW; transformers' and torch's for the same
           (layers and steps write profiles.txt, too: each case's kernels by the time they take)
tiers      a training whose moments, or gradients too, lie on the host, and one that has all on the GPU: tokens per second
largest    the largest model whose masters and moments the host can hold

--trial tries the steps where there is no GPU: the CPU in its place, and everything small.
"""
import argparse
import ctypes
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

import torch

sys.path.append(str(pathlib.Path(__file__).resolve().parent / "peers"))  # bench/peers
import gpu

seconds_of = gpu.seconds_of
device = "cuda"  # cpu in a trial
PEAK = 989e12  # products in bf16 on an H100 or H200 (SXM), as NVIDIA states it: what MFU is a share of


def small(number):
    """In a trial, a sixteenth."""
    return number if device == "cuda" else number // 16


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

    def profile(self, name):
        """Where the time of the case that was measured last goes, to profiles.txt."""
        took = self.ask({"profile": True})
        busy, kernels = took["busy"], took["kernels"]
        with open("profiles.txt", "a") as out:
            print(f"## {name}\n{took['seconds'] * 1e3:.2f} ms as profiled; the device busy for {busy * 1e3:.2f} ms, with "
                  f"{sum(k['count'] for k in kernels)} kernels and copies; {took['waits']} waits of {took['waits_seconds'] * 1e3:.2f} ms\n\n"
                  "| ms | share | count | ms idle before | kernel |\n| --- | --- | --- | --- | --- |", file=out)
            for k in kernels[:40]:
                print(f"| {k['seconds'] * 1e3:.3f} | {k['seconds'] / max(busy, 1e-9):.1%} | {k['count']} | {k['idle'] * 1e3:.3f} | `{k['name'][:200]}` |", file=out)
            calls = ", ".join(f"{c['count']} x {c['name']} {c['seconds'] * 1e3:.2f}" for c in took["calls"][:12])
            print(f"\nthe host's calls, ms: {calls}\n", file=out)

    def end(self):
        self.process.stdin.close()
        self.process.wait()

    def seconds(self, case):
        facts = self.ask({"case": case})["facts"]
        once = self.ask({"run": 1})["seconds"]
        count = max(1, round(0.5 / once))
        return self.ask({"run": count})["seconds"] / count, facts


def ceilings(*_):
    print("| what | rate |\n| --- | --- |")
    print(f"| {torch.cuda.get_device_name() if device == 'cuda' else device}, torch {torch.__version__} | |")
    big = torch.empty(small(1 << 30), dtype=torch.uint8, device=device)
    to = torch.empty_like(big)
    print(f"| copy on the device, read and written | {2 * big.nbytes / seconds_of(lambda: to.copy_(big)) / 1e12:.2f} TB/s |")
    for kind, size in ((torch.bfloat16, small(8192)), (torch.float32, small(4096))):
        a, b = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))
        print(f"| product, {size} x {size} x {size}, {kind} | {2 * size**3 / seconds_of(lambda: a @ b) / 1e12:.0f} TFLOP/s |")
    for pinned in (True, False) if device == "cuda" else ():
        host = torch.empty(1 << 28, dtype=torch.uint8, pin_memory=pinned)
        there = torch.empty_like(host, device=device)
        name = "pinned" if pinned else "pageable"
        print(f"| to the device, {name} | {host.nbytes / seconds_of(lambda: there.copy_(host)) / 1e9:.1f} GB/s |")
        print(f"| from the device, {name} | {host.nbytes / seconds_of(lambda: host.copy_(there)) / 1e9:.1f} GB/s |")


def write_text(folder):
    """Made-up pairs that can be learnt: the other language has the words in the reverse order, each with another ending."""
    words = ["".join(random.choice("aeiou" if i % 2 else "bdfgklmnprst") for i in range(random.randint(2, 7))) for _ in range(2000)]
    with open(folder / "train.xx", "w") as left, open(folder / "train.yy", "w") as right:
        for _ in range(4000):
            sentence = random.choices(words, k=random.randint(4, 20))
            left.write(" ".join(sentence) + "\n")
            right.write(" ".join(word + "o" for word in reversed(sentence)) + "\n")


def train(arguments, run_file, name, count, *settings):
    """The records of a run's first `count` updates; None where it failed, which is noted. It is killed then, as at its end it
    would write all that it holds; one that ends before is not."""
    out = pathlib.Path(tempfile.mkdtemp(dir=run_file.parent))
    metrics = out / "run" / "metrics.jsonl"
    options = [word for setting in settings for word in ("--set", setting)]
    with open(out / "errors", "w+") as errors:
        process = subprocess.Popen([arguments.run, "chorus", "train", run_file, "--out", out / "run", "--quiet", *options], stderr=errors)
        try:
            while True:
                ended = process.poll() is not None
                lines = metrics.read_text().splitlines(keepends=True) if metrics.exists() else []
                records = [r for r in map(json.loads, (line for line in lines if line.endswith("\n"))) if r["kind"] == "train"]
                if len(records) >= count or (ended and process.returncode == 0):
                    return records
                if ended:
                    errors.seek(0)
                    print(f"{name}: {failed(name, errors.read() or 'no message')} (ended with {process.returncode})", flush=True)
                    return None
                time.sleep(0.05)
        finally:
            process.kill()
            process.wait()


def write_run(folder, model, experts, micro_batches=1, batch_tokens=2048, precision="fp32"):
    """The file of a run on the device, with its text beside it."""
    random.seed(1)
    write_text(folder)
    (folder / "run.toml").write_text(f"""
device = "{device}"
precision = "{precision}"
[data]
batch_tokens = {batch_tokens}
micro_batches = {micro_batches}
[[data.train]]
files = "{folder}/train.{{lang}}"
languages = ["xx", "yy"]
[vocabulary]
size = 1000
[model]
{model}
[moe]
experts = {experts}
[train]
duration = "1000u"
log_every = 1
checkpoint_every = 0
""")
    return folder / "run.toml"


def updates(arguments, folder):
    run = write_run(folder, "d_model = 128\nencoder_layers = 2\ndecoder_layers = 2\nattention_heads = 4\nffn_dim = 256", 8)
    losses = {}
    for name, where in (("CPU", "cpu"), ("GPU", device)):
        records = train(arguments, run, name, 20, f"device={where}")
        if records:
            records = records[:20]  # it may have gone on
            losses[name] = [r["loss"] for r in records]
            print(f"{name}: dropped {records[-1]['dropped']:.4f}")
    if len(losses) == 2:
        print("| update | CPU | GPU | difference |\n| --- | --- | --- | --- |")
        for i, (a, b) in enumerate(zip(losses["CPU"], losses["GPU"]), 1):
            print(f"| {i} | {a:.6f} | {b:.6f} | {b - a:+.1e} |")
        if max(abs(b - a) for a, b in zip(losses["CPU"], losses["GPU"])) > 0.01:
            failed("updates", "losses differ by more than 0.01")


def smallest(arguments, folder):
    run = write_run(folder, "d_model = 16\nencoder_layers = 1\ndecoder_layers = 1\nattention_heads = 2\nffn_dim = 16", 2,
                    batch_tokens=256, precision="bf16")
    records = train(arguments, run, "smallest", 3, "train.duration=2u", "moe.encoder_every=1", "moe.decoder_every=1")
    if records:
        print(f"loss {records[-1]['loss']:.4f}")


def suites(arguments, _):
    """Those of test_device that the step `tests` leaves out."""
    count = 4
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "GTEST_TOTAL_SHARDS": str(count)}
    if device == "cuda":
        environment["CHORUS_TEST_DEVICE"] = device
    else:  # a quarter of them, on one thread each
        environment |= {"OMP_NUM_THREADS": "1", "GTEST_TOTAL_SHARDS": str(4 * count)}
    command = [arguments.run, "test_device", "--gtest_filter=-*Operations*:*Device.*:*Capture*:Simulated*:Budget*"]
    parts = []
    for i in range(count):
        with open(f"suites-{i + 1}.txt", "w") as out:
            parts.append(subprocess.Popen(command, env={**environment, "GTEST_SHARD_INDEX": str(i)}, stdout=out, stderr=subprocess.STDOUT))
    for i, part in enumerate(parts, 1):
        print(f"suites-{i}.txt: {'well' if part.wait() == 0 else failed(f'part {i}', f'ended with {part.returncode}')}", flush=True)


def layers(arguments, folder):
    bench = None
    print("| MoE layer both ways, bf16 | skew | chorus | TFLOP/s | as a graph | TFLOP/s | torch's grouped products | TFLOP/s |\n"
          "| --- | --- | --- | --- | --- | --- | --- | --- |")
    for experts, k, width, inner, tokens, swiglu in ((8, 1, 1024, 4096, 8192, False), (32, 1, 1024, 4096, 8192, False),
                                                     (32, 2, 1024, 4096, 8192, False), (128, 1, 1024, 4096, 8192, False),
                                                     (128, 8, 2048, 768, 32768, True)):
        width, inner, tokens = small(width), small(inner), small(tokens)
        outer = 2 * inner if swiglu else inner
        torch.manual_seed(1)
        data = {"hidden": torch.randn(tokens, width), "grad": torch.randn(tokens, width), "router": 0.15 * torch.randn(experts, width),
                "fc1": torch.randn(outer, width) * width**-0.5, "fc2": torch.randn(width, inner) * inner**-0.5}
        save_file(data, folder / "layer.safetensors")
        case = {"work": "moe_layer", "device": device, "dtype": "bf16", "data": str(folder / "layer.safetensors"), "k": k, "capacity": 0,
                "rts": False, "normalize": k > 1, "balance": 0.0, "swiglu": swiglu}
        flops, skew, cells = 6 * tokens * k * width * (outer + inner), "", []
        for graph in (True, False):  # what a profile leaves behind slows launches, so it comes last
            if graph and device == "cpu":
                cells.append("|")
                continue
            bench = bench or Bench(arguments.run)
            try:
                taken, facts = bench.seconds({**case, "graph": graph})
                skew = f"{facts['skew']:.2f}"
                cells.insert(0, f"{taken * 1e3:.2f} ms | {flops / taken / 1e12:.0f}")
                if not graph:
                    bench.profile(f"MoE layer both ways, {experts} experts, top-{k}, {tokens} x {width} x {inner}")
            except RuntimeError as error:
                cells.insert(0, f"{failed(f'{experts} experts, top-{k}', error)} |")
                bench = bench.end()
        bench = bench and bench.end()  # the GPU's memory is all torch's
        try:
            taken = gpu.layer_seconds(data, k, swiglu, device)
            cells.append(f"{taken * 1e3:.2f} ms | {flops / taken / 1e12:.0f}")
        except RuntimeError as error:
            cells.append(f"{str(error).splitlines()[0]} |")  # torch's own affair
        kind = f"{experts} experts, top-{k}, {tokens} tokens, {width} x {inner}{', SwiGLU' if swiglu else ''}"
        print(f"| {kind} | {skew} | {' | '.join(cells)} |", flush=True)


def step_case(folder, experts, vocabulary, micro_batches, rows):
    """A training step of 12+12 layers, and the target tokens of its update."""
    vocabulary, rows = small(vocabulary), small(rows)
    source, target = (torch.randint(4, vocabulary, (rows, 64)) for _ in range(2))
    labels = torch.cat([target[:, 1:], torch.full((rows, 1), 2)], 1)
    path = folder / f"batch-{experts}.safetensors"
    save_file({"source": source, "target": target, "labels": labels}, path)
    model = {"vocabulary": vocabulary, "d_model": small(1024), "layers": 12 if device == "cuda" else 2, "heads": small(16), "ffn": small(4096),
             "experts": experts}
    return {"work": "training_step", "device": device, "dtype": "bf16", "data": str(path), "micro_batches": micro_batches,
            "tier": "device", "model": model}, micro_batches * target.numel()


def steps(arguments, folder):
    print("| training step, 12+12 layers of d 1,024, bf16 | skew | seconds | target tokens/s | TFLOP/s | MFU | norm and AdamW |\n"
          "| --- | --- | --- | --- | --- | --- | --- |")

    def row(who, skew, taken, tokens, flops, update):
        print(f"| {who} | {skew} | {taken:.3f} | {tokens / taken:,.0f} | {flops / taken / 1e12:.1f} | {flops / taken / PEAK:.1%} | {update} |",
              flush=True)

    torch.manual_seed(1)
    dense, parameters = None, 0
    for experts, vocabulary, micro_batches, rows in ((0, 32000, 1, 64), (8, 32000, 1, 64), (32, 65536, 8, 128)):
        case, tokens = step_case(folder, experts, vocabulary, micro_batches, rows)
        bench = Bench(arguments.run)  # a new one: the GPU's memory is all there
        try:
            taken, facts = bench.seconds(case)
            parameters = facts["parameters"]
            bench.profile(f"training step, {experts} experts, {micro_batches} micro-batches")
            update, _ = bench.seconds({**case, "work": "optimizer_phase"})
            bench.profile(f"norm and AdamW, {experts} experts")
            row(f"{experts} experts, {parameters / 1e9:.2f} G parameters, {micro_batches} x {tokens // micro_batches} tokens",
                f"{facts['skew']:.2f}" if experts else "none", taken, tokens, facts["flops"], f"{update * 1e3:.1f} ms")
            if experts == 0:
                dense = case, tokens, facts["flops"]
        except RuntimeError as error:
            print(f"| {experts} experts | {failed(f'{experts} experts', error)} | | | | | |", flush=True)
        bench.end()
    if dense:
        case, tokens, flops = dense
        weights = str(folder / "weights.safetensors")
        bench = Bench(arguments.run)
        bench.ask({"case": {"work": "write_weights", "model": case["model"], "path": weights}})
        bench.end()
        try:
            row("the dense one by transformers", "none", gpu.step_seconds({**case, "weights": weights}), tokens, flops, "")
        except (RuntimeError, ImportError) as error:
            print(f"| transformers | {str(error).splitlines()[0]} | | | | | |", flush=True)  # its own affair
        print(f"\nclip_grad_norm_ and torch's fused AdamW, fp32, {parameters / 1e9:.2f} G parameters: "
              f"{gpu.adamw_seconds(parameters, device) * 1e3:.1f} ms")


OFF = ["memory.gradients=host", "memory.optimizer=host"]


def sized(arguments, folder, kind, experts, count, micro_batches, *settings):
    """A training of 6+6 layers, of which every second is sparse, in bf16: its row, and its tokens per second (None: it failed)."""
    run = write_run(folder, f"d_model = {small(1024)}\nencoder_layers = 6\ndecoder_layers = 6\nattention_heads = {small(16)}\n"
                    f"ffn_dim = {small(4096)}", experts, micro_batches, small(8192), "bf16")
    records = train(arguments, run, kind, count, *settings)
    if not records:
        return None
    last = records[-1]
    print(f"| {kind} | {last['loss']:.4f} | {last['tokens_per_second']:,.0f} | {last['memory']['device_peak'] / 1e9:.1f} | "
          f"{last['memory']['host_peak'] / 1e9:.1f} |", flush=True)
    return last["tokens_per_second"]


TRAINED = "| 6+6 layers of d 1,024, bf16 | loss at the end | target tokens/s | GPU's memory, GB | host's, GB |\n| --- | --- | --- | --- | --- |"


def tiers(arguments, folder):
    print(TRAINED)
    near = sized(arguments, folder, "16 experts, all on the GPU", 16, 3, 32)  # 256k tokens an update
    for what, settings in (("moments", OFF[1:]), ("gradients and moments", OFF)):
        far = sized(arguments, folder, f"16 experts, {what} on the host", 16, 3, 32, *settings)
        if near and far:
            print(f"\n{what} on the host: {far / near:.0%} of the tokens per second with all on the GPU\n", flush=True)


def host_memory():
    """Bytes that are free on the host, or in this container."""
    with open("/proc/meminfo") as file:
        free = next(int(line.split()[1]) << 10 for line in file if line.startswith("MemAvailable"))
    limit = pathlib.Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.exists() else "max"
    return free if text == "max" else min(free, int(text) - int(limit.with_name("memory.current").read_text()))


def largest(arguments, folder):
    """The host has 12 bytes of each parameter, masters and moments, and the GPU 6."""
    per_expert = 6 * 2 * small(1024) * small(4096)
    experts = 4
    if device == "cuda":
        experts = int(min(0.8 * host_memory() / 12, 0.85 * torch.cuda.mem_get_info()[0] / 6) / per_expert)
    print(TRAINED)
    sized(arguments, folder, f"{experts} experts, {experts * per_expert / 1e9:.2f} G parameters, moments on the host", experts, 2, 4, *OFF[1:])


def main():
    steps_by_name = {f.__name__: f for f in (ceilings, suites, smallest, updates, layers, steps, tiers, largest)}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True, type=lambda path: str(pathlib.Path(path).resolve()), help="the kit's run")
    parser.add_argument("--trial", action="store_true", help="the CPU in the GPU's place, and everything small")
    parser.add_argument("step", choices=steps_by_name)
    arguments = parser.parse_args()
    if arguments.trial:
        global device
        device = "cpu"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("its time is over"))  # and what it started ends, too
    with tempfile.TemporaryDirectory() as folder:
        steps_by_name[arguments.step](arguments, pathlib.Path(folder))
    if failures:
        sys.exit("\n".join(["failed:", *failures]))


if __name__ == "__main__":
    main()
