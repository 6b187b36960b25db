"""One optimizer step by torch's fused AdamW and by DeepSpeed's CPUAdam, and what each needs around it."""
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
