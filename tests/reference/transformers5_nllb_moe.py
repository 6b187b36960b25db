#!/usr/bin/env python3
"""Does NLLB-MoE of the transformers that this Python has run the experts that the router chose?

    python tests/reference/transformers5_nllb_moe.py

A sparse layer with random weights is run three times: as it is, with experts 2 and up set to zero, and with experts 0 and
1 set to zero. If the router's choices are followed, all three outputs differ. Prints what it finds; not run by the tests.
"""

import torch
import transformers
from transformers.models.nllb_moe import modeling_nllb_moe as nllb_moe


def main():
    torch.manual_seed(1)
    config = transformers.NllbMoeConfig(d_model=16, encoder_ffn_dim=32, num_experts=8, encoder_attention_heads=2)
    layer = nllb_moe.NllbMoeSparseMLP(config, config.encoder_ffn_dim).eval()
    for weight in layer.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    hidden = torch.randn(4, 25, config.d_model)
    probabilities = torch.softmax(hidden @ layer.router.classifier.weight.T, -1)
    chosen = probabilities.topk(2, -1)
    print(f"transformers {transformers.__version__}: {hidden.shape[0] * hidden.shape[1]} tokens, {config.num_experts} experts")
    print("experts by how often they are among the router's two:", chosen.indices.flatten().bincount(minlength=8).tolist())

    def run():
        with torch.no_grad():
            output = layer(hidden, torch.zeros(4, 1, 25, 25))  # no padding
        return output[0] if isinstance(output, tuple) else output

    def without(experts):
        saved = {name: weight.clone() for name, weight in layer.state_dict().items()}
        for name, weight in layer.named_parameters():
            if any(f"expert_{e}." in name for e in experts):
                weight.data.zero_()
            elif ".experts." in name and "expert_" not in name:  # stacked
                weight.data[list(experts)] = 0
        changed = run()
        layer.load_state_dict(saved)
        return changed

    def expert(e, x):
        fc1, fc2 = (getattr(layer.experts[f"expert_{e}"], name) for name in ("fc1", "fc2"))
        return fc2(torch.relu(fc1(x)))

    whole = run()
    print(f"zeroing experts 2 to 7 changes the output by up to {(whole - without(range(2, 8))).abs().max():.3g}")
    print(f"zeroing experts 0 and 1 changes it by up to {(whole - without([0, 1])).abs().max():.3g}")
    gates = chosen.values / chosen.values.sum(-1, keepdim=True) * (1 - config.moe_token_dropout)
    expected = torch.zeros_like(hidden)
    with torch.no_grad():
        for slot in range(2):
            for e in range(config.num_experts):
                here = chosen.indices[..., slot] == e
                expected[here] += gates[..., slot][here].unsqueeze(-1) * expert(e, hidden[here])
        wrong = gates[..., :1] * expert(1, hidden) + gates[..., 1:] * expert(0, hidden)
    print(f"the chosen experts, weighted: differs from the output by up to {(whole - expected).abs().max():.3g}")
    print(f"expert 1 by the first gate and expert 0 by the second, whatever was chosen: {(whole - wrong).abs().max():.3g}")


if __name__ == "__main__":
    main()
