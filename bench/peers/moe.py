"""One MoE layer by transformers, by DeepSpeed, and the bare products of tokens that are sorted already.

Cases as chorus_bench's moe_layer (bench/moe.cpp). Weights' gradients are dropped before each repetition, which is what
optimizer.zero_grad() does by default.
"""
import torch
from safetensors.torch import load_file


def data_of(case):
    """The case's tensors; hidden and grad in the case's type."""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[case["dtype"]]
    data = load_file(case["data"])
    return {name: t.to(dtype) if name in ("hidden", "grad") else t for name, t in data.items()}, dtype


@torch.no_grad()
def set_expert(fc1, fc2, data, share):
    """Expert e of E is the file's times 1 + e / E."""
    fc1.weight.copy_(data["fc1"] * (1 + share))
    fc2.weight.copy_(data["fc2"] * (1 + share))
    fc1.bias.zero_()
    fc2.bias.zero_()


def norm(t):
    return t.double().norm().item()


def forward_backward(module, hidden, grad, forward):
    def run():
        hidden.grad = None
        for parameter in module.parameters():
            parameter.grad = None
        output = forward(hidden)
        output.backward(grad.view_as(output))
        return output.detach()

    return run


def load_facts(counts, kept):
    counts = counts.double()
    return {"skew": (counts.max() / counts.mean()).item(), "kept": int(kept)}


def nllb_moe_layer(case):
    """transformers' NllbMoeSparseMLP: always two choices per token; capacity that never binds."""
    from transformers import NllbMoeConfig
    from transformers.models.nllb_moe.modeling_nllb_moe import NllbMoeSparseMLP

    data, dtype = data_of(case)
    tokens, width = data["hidden"].shape
    experts, inner = data["router"].shape[0], data["fc1"].shape[0]
    config = NllbMoeConfig(d_model=width, num_experts=experts, expert_capacity=2 * tokens, moe_token_dropout=0.0,
                           activation_dropout=0.0, activation_function="relu")
    layer = NllbMoeSparseMLP(config, inner)
    with torch.no_grad():
        layer.router.classifier.weight.copy_(data["router"])
    for e in range(experts):
        expert = layer.experts[f"expert_{e}"]
        set_expert(expert.fc1, expert.fc2, data, e / experts)
    layer.to(dtype).train()
    hidden = data["hidden"].view(1, tokens, width).requires_grad_()
    # Its default for padding_mask, False, is a mask to the router: None says that there is none.
    run = forward_backward(layer, hidden, data["grad"], lambda x: layer(x, None)[0])
    with torch.no_grad():
        gates = layer.router(hidden)[1]
    chosen = (gates > 0).sum(0)
    output = run()
    fc1 = torch.stack([e.fc1.weight.grad.double().norm() for e in layer.experts.values() if e.fc1.weight.grad is not None])
    return run, {**load_facts(chosen, chosen.sum()),
                 "checks": {"output": norm(output), "hidden gradient": norm(hidden.grad), "fc1 gradient": norm(fc1)}}


class Expert(torch.nn.Module):
    def __init__(self, width, inner):
        super().__init__()
        self.fc1, self.fc2 = torch.nn.Linear(width, inner), torch.nn.Linear(inner, width)

    def forward(self, x):
        return self.fc2(torch.relu(self.fc1(x)))


def deepspeed_layer(case):
    """DeepSpeed's MOELayer as one rank uses it: no process group. The gate stays fp32."""
    import os
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    os.environ.setdefault("LOCAL_SIZE", "1")
    from deepspeed.moe.experts import Experts
    from deepspeed.moe.sharded_moe import MOELayer, TopKGate

    data, dtype = data_of(case)
    tokens, width = data["hidden"].shape
    experts, inner = data["router"].shape[0], data["fc1"].shape[0]
    k, capacity, training = case["k"], case["capacity"], not case.get("evaluate", False)
    gate = TopKGate(width, experts, k=k, capacity_factor=capacity, eval_capacity_factor=capacity, min_capacity=1,
                    drop_tokens=capacity > 0, use_rts=case["rts"], top2_2nd_expert_sampling=False)
    layer = MOELayer(gate, Experts(Expert(width, inner), experts, "ep"), "ep", ep_size=1, num_local_experts=experts)
    with torch.no_grad():
        gate.wg.weight.copy_(data["router"])
    for e, expert in enumerate(layer.experts.deepspeed_experts):
        set_expert(expert.fc1, expert.fc2, data, e / experts)
    layer.experts.to(dtype)
    layer.train(training)
    hidden = data["hidden"].requires_grad_(training)
    balance = case["balance"]

    def evaluate():
        with torch.no_grad():
            return layer(hidden, None)

    def train():
        hidden.grad = None
        for parameter in layer.parameters():
            parameter.grad = None
        output = layer(hidden, None)
        torch.autograd.backward([output, balance * layer.l_aux], [data["grad"], None])
        return output.detach()

    run = train if training else evaluate
    output = run()
    with torch.no_grad():
        indices = gate(hidden, None, True)[3]  # [k, tokens], negative where dropped
    facts = load_facts(layer.exp_counts, (indices >= 0).sum())
    facts["checks"] = {"output": norm(output)}
    if training:
        fc1 = torch.stack([e.fc1.weight.grad.double().norm() for e in layer.experts.deepspeed_experts])
        facts["checks"] |= {"hidden gradient": norm(hidden.grad), "fc1 gradient": norm(fc1)}
    return run, facts


def bare_experts(case):
    """One linear-ReLU-linear an expert over rows that lie sorted by expert already: no router, no moving of rows."""
    data, dtype = data_of(case)
    experts, inner, width = data["router"].shape[0], data["fc1"].shape[0], data["hidden"].shape[1]
    choices = torch.topk(data["hidden"].float() @ data["router"].t(), case["k"], dim=1)[1].flatten()
    counts = torch.bincount(choices, minlength=experts)
    tokens = torch.argsort(choices, stable=True) // case["k"]
    layer = torch.nn.ModuleList([Expert(width, inner) for _ in range(experts)])
    for e, expert in enumerate(layer):
        set_expert(expert.fc1, expert.fc2, data, e / experts)
    layer.to(dtype)
    rows = data["hidden"][tokens].detach().requires_grad_()
    sizes = counts.tolist()
    run = forward_backward(layer, rows, data["grad"][tokens], lambda x: torch.cat(
        [expert(part) for expert, part in zip(layer, x.split(sizes)) if len(part)]))
    run()
    return run, load_facts(counts, len(tokens))
