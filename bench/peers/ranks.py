"""What a peer runs on several ranks: DeepSpeed's training step of a stack of MoE layers."""
import torch
import torch.distributed as dist

from moe import Expert, data_of, set_expert


def total(value):
    """The sum over the ranks."""
    value = torch.tensor(float(value), dtype=torch.float64)
    dist.all_reduce(value)
    return value.item()


class Stack(torch.nn.Module):
    """x + moe(x), a few times. Returns the rows and the layers' balance losses together."""

    def __init__(self, case, data):
        from deepspeed.moe.layer import MoE

        super().__init__()
        experts, width = data["router"].shape
        self.layers = torch.nn.ModuleList(
            MoE(width, Expert(width, data["fc1"].shape[0]), experts, ep_size=dist.get_world_size(), k=case["k"],
                capacity_factor=case["capacity"], min_capacity=1, use_rts=case["rts"], top2_2nd_expert_sampling=False)
            for _ in range(case["layers"]))
        for layer in self.layers:
            with torch.no_grad():
                layer.deepspeed_moe.gate.wg.weight.copy_(data["router"])
            first = dist.get_rank() * layer.num_local_experts
            for e, expert in enumerate(layer.deepspeed_moe.experts.deepspeed_experts):
                set_expert(expert.fc1, expert.fc2, data, (first + e) / experts)

    def forward(self, x):
        balance = 0
        for layer in self.layers:
            y, l_aux, _ = layer(x)
            x, balance = x + y, balance + l_aux
        return x, balance


class Exchanged:
    """Counts the bytes given to all_to_all_single for other ranks, while it is entered."""

    def __enter__(self):
        self.bytes, self.original = 0, dist.all_to_all_single

        def counting(output, input, *args, **options):
            self.bytes += input.nbytes * (dist.get_world_size() - 1) // dist.get_world_size()
            return self.original(output, input, *args, **options)

        dist.all_to_all_single = counting
        return self

    def __exit__(self, *_):
        dist.all_to_all_single = self.original


def deepspeed_stack(case):
    """As chorus_bench's stack_step (bench/ranks.cpp): DeepSpeed's engine with its MoE, one expert-parallel group, ZeRO `zero`."""
    import deepspeed
    from deepspeed.moe.utils import split_params_into_different_moe_groups_for_optimizer

    data, _ = data_of(case)
    tokens = data["hidden"].shape[0]
    model = Stack(case, data)
    parameters = split_params_into_different_moe_groups_for_optimizer({"params": list(model.parameters()), "name": "all"})
    engine, *_ = deepspeed.initialize(model=model, model_parameters=parameters, config={
        "train_micro_batch_size_per_gpu": 1, "gradient_clipping": 1.0, "zero_optimization": {"stage": case["zero"]},
        "optimizer": {"type": "AdamW", "params": {"torch_adam": True, "fused": True, "lr": case["rate"],
                                                  "betas": [0.9, 0.98], "weight_decay": 0.01}}})
    hidden, grad = data["hidden"].requires_grad_(), data["grad"] / tokens

    def run():
        hidden.grad = None  # wanted, as it is of a model whose rows come from weights
        output, balance = engine(hidden)
        engine.backward((output * grad).sum() + case["balance"] * balance)
        engine.step()
        return output.detach()

    kept, loads = [], []
    hooks = []
    for layer in model.layers:
        def note(_, __, routed):
            kept.append((routed[3] >= 0).sum())
            loads.append(routed[6])
        hooks.append(layer.deepspeed_moe.gate.register_forward_hook(note))
    with Exchanged() as exchanged:
        output = run()
    for hook in hooks:
        hook.remove()
    checks = {"output": total(output.double().square().sum())**0.5,
              "hidden gradient": total(hidden.grad.double().square().sum())**0.5 / dist.get_world_size()}
    if case["zero"] > 0:  # its optimizer without stages does not say
        checks["gradient norm"] = float(engine.get_global_grad_norm())
    return run, {"kept": total(sum(kept)), "skew": max((c.max() / c.double().mean()).item() for c in loads),
                 "exchanged": total(exchanged.bytes), "checks": checks}
