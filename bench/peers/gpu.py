"""What scripts/gpu_check.py compares chorus with on a GPU: the same by torch's own operators, and by transformers."""
import time

import torch


def seconds_of(work, at_least=0.3):
    """Of one repetition, after a first one."""
    def run(times):
        began = time.perf_counter()
        for _ in range(times):
            work()
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        return time.perf_counter() - began

    run(1)
    count = 1
    while (taken := run(count)) < at_least:
        count *= 2
    return taken / count


def layer(hidden, router, fc1, fc2, k, swiglu):
    """An MoE layer forward, by at::_grouped_mm where torch has it for this GPU."""
    probabilities = torch.softmax(hidden.float() @ router.t(), -1)
    gate, expert = probabilities.topk(k, -1)
    gate = gate / gate.sum(-1, keepdim=True) if k > 1 else gate
    order = expert.flatten().argsort(stable=True)
    offsets = expert.flatten().bincount(minlength=router.shape[0]).cumsum(0).to(torch.int32)
    rows = hidden[order // k]
    inner = torch._grouped_mm(rows, fc1.transpose(1, 2), offs=offsets)
    if swiglu:
        gated, linear = inner.chunk(2, -1)
        inner = torch.nn.functional.silu(gated) * linear
    else:
        inner = torch.relu(inner)
    out = torch._grouped_mm(inner, fc2.transpose(1, 2), offs=offsets)
    scaled = out * gate.flatten()[order].unsqueeze(1).to(out.dtype)
    return torch.zeros_like(hidden).index_add_(0, order // k, scaled)


def layer_seconds(data, k, swiglu, device):
    """Both ways, of the tensors that chorus_bench's moe_layer reads."""
    there = {name: x.to(device, torch.bfloat16) for name, x in data.items()}
    experts = len(data["router"])
    share = (1 + torch.arange(experts, device=device) / experts).to(torch.bfloat16).view(-1, 1, 1)
    hidden, fc1, fc2 = leaves = [x.requires_grad_() for x in (there["hidden"], there["fc1"] * share, there["fc2"] * share)]
    router = there["router"].float()

    def both():
        for x in leaves:
            x.grad = None
        layer(hidden, router, fc1, fc2, k, swiglu).backward(there["grad"])

    return seconds_of(both)


def adamw_seconds(parameters, device):
    """clip_grad_norm_ and torch's fused AdamW of so many fp32 weights, by the time that 2^28 of them take."""
    weights = [torch.nn.Parameter(torch.zeros(1 << 22, device=device)) for _ in range(min(64, max(1, parameters >> 22)))]
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    optimizer = torch.optim.AdamW(weights, fused=True)

    def update():
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()

    return seconds_of(update) * parameters / (len(weights) << 22)


def step_seconds(case):
    """A training step by transformers and torch's fused AdamW."""
    from model import transformers_step
    return seconds_of(transformers_step(case)[0])
