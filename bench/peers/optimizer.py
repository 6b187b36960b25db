"""One optimizer step by torch's fused AdamW and by DeepSpeed's CPUAdam, and what each needs around it."""
import os
import time

import torch


def parameter_of(case, dtype):
    value = torch.nn.Parameter(torch.randn(case["parameters"]).to(dtype))
    value.grad = torch.randn(case["parameters"]).to(dtype)
    return value


def optimizer_of(case, value):
    options = dict(lr=1e-3, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.01)
    if case["optimizer"] == "torch":
        return torch.optim.AdamW([value], fused=True, **options)
    from deepspeed.ops.adam import DeepSpeedCPUAdam
    return DeepSpeedCPUAdam([value], adamw_mode=True, **options)


def adamw(case):
    """fp32: the step alone; with_norm: clip_grad_norm_ before it. bf16 parameters and gradients with an fp32 master: the
    passes that DeepSpeed's BF16 optimizer and a hand-written torch loop make: gradient to fp32, (norm,) step, master to bf16."""
    def clip(parameter):
        if case["with_norm"]:
            torch.nn.utils.clip_grad_norm_([parameter], 1.0)

    if case["dtype"] == "fp32":
        value = parameter_of(case, torch.float32)
        optimizer = optimizer_of(case, value)

        def run():
            clip(value)
            optimizer.step()
    else:
        value = parameter_of(case, torch.bfloat16)
        master = torch.nn.Parameter(value.detach().float())
        master.grad = torch.zeros_like(master)
        optimizer = optimizer_of(case, master)

        @torch.no_grad()
        def run():
            master.grad.copy_(value.grad)
            clip(master)
            optimizer.step()
            value.copy_(master)
    run()
    return run, {}


class Weights(torch.nn.Module):
    """As many weights as asked for, in tensors of a million, and a loss that is linear in them, so that they have gradients."""

    def __init__(self, parameters):
        super().__init__()
        sizes = [min(1 << 20, parameters - begin) for begin in range(0, parameters, 1 << 20)]
        self.weights = torch.nn.ParameterList([torch.nn.Parameter(0.02 * torch.randn(size)) for size in sizes])
        self.factor = torch.randn(1 << 20)

    def forward(self):
        return sum((w * self.factor[:w.numel()].to(w.dtype)).sum() for w in self.weights)


def deepspeed_offload(case):
    """engine.step() of ZeRO stage 2 with its optimizer offloaded to the CPU: norm, clipping, CPUAdam, weights, gradients forgotten."""
    import deepspeed
    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29571"}
    model = Weights(case["parameters"])
    engine, *_ = deepspeed.initialize(model=model, model_parameters=list(model.parameters()), config={
        "train_micro_batch_size_per_gpu": 1, "gradient_clipping": 1.0, "bf16": {"enabled": case["dtype"] == "bf16"},
        "zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}},
        "optimizer": {"type": "AdamW", "params": {"lr": 1e-4, "betas": [0.9, 0.98], "weight_decay": 0.01}}})

    def run():
        engine.backward(engine())
        begun = time.perf_counter()
        engine.step()
        return time.perf_counter() - begun

    run()
    return run, {"checks": {"parameters": case["parameters"]}, "optimizer": type(engine.optimizer.optimizer).__name__}
