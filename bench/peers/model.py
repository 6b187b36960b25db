"""Whole models by transformers and by CTranslate2, with the weights that chorus_bench's write_weights wrote."""
import json
import pathlib
import tempfile

import torch
from safetensors.torch import load_file

from memory import status_bytes

TAG = 5  # of the target language, forced on every side


def build(case):
    """transformers' model of the case's shape: M2M100, or NLLB-MoE when there are experts. No dropout but 0.1 on
    embeddings and sub-layers, as chorus_bench's; a capacity that never binds."""
    from transformers import M2M100Config, M2M100ForConditionalGeneration, NllbMoeConfig, NllbMoeForConditionalGeneration

    shape = case["model"]
    layers, heads, ffn = shape.get("layers", 6), shape.get("heads", 8), shape.get("ffn", 2048)
    common = dict(vocab_size=shape.get("vocabulary", 32000), d_model=shape.get("d_model", 512), encoder_layers=layers,
                  decoder_layers=layers, encoder_attention_heads=heads, decoder_attention_heads=heads, encoder_ffn_dim=ffn,
                  decoder_ffn_dim=ffn, encoder_layerdrop=0.0, decoder_layerdrop=0.0, dropout=0.1, attention_dropout=0.0,
                  activation_dropout=0.0, activation_function="relu", max_position_embeddings=1024)
    if shape.get("experts", 0) == 0:
        model = M2M100ForConditionalGeneration(M2M100Config(**common))
    else:
        model = NllbMoeForConditionalGeneration(NllbMoeConfig(
            **common, num_experts=shape["experts"], encoder_sparse_step=2, decoder_sparse_step=2, expert_capacity=1 << 30,
            moe_token_dropout=0.0))
    weights = load_file(case["weights"])
    if shape.get("experts", 0) == 0:
        for old, new in [(".ffn.fc", ".fc"), (".ff_layer_norm.", ".final_layer_norm."), (".cross_attention", ".encoder_attn")]:
            weights = {name.replace(old, new): t for name, t in weights.items()}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    tied = {"lm_head.weight", "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight"}
    if unexpected or not set(missing) <= tied:
        raise RuntimeError(f"weights: missing {missing}, left over {unexpected}")
    model.tie_weights()
    return model


def transformers_step(case):
    """Forward with its own loss (no label smoothing), backward, clipping to norm 1, torch's fused AdamW; autocast for bf16. On
    the case's device, of which the caller waits for the end."""
    device = case.get("device", "cpu")
    model = build(case).train().to(device)
    data = load_file(case["data"], device=device)
    decay = [p for p in model.parameters() if p.dim() > 1]
    rest = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW([{"params": decay, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}], lr=1e-4,
                                  betas=(0.9, 0.98), fused=True)
    labels = data["labels"].clone()
    labels[labels == 1] = -100
    bf16 = case["dtype"] == "bf16"
    first_loss = None
    facts, assigned = {}, {}
    hooks = [module.register_forward_hook(lambda _, __, out, name=name: assigned.__setitem__(name, (out[1] > 0).sum(0)))
             for name, module in model.named_modules() if name.endswith(".router")]

    def run():
        nonlocal first_loss
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=bf16):
            loss = model(input_ids=data["source"], decoder_input_ids=data["target"], labels=labels, use_cache=False).loss
        facts["forward_peak"] = status_bytes("VmHWM")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        first_loss = first_loss or loss.item()

    run()
    for hook in hooks:
        hook.remove()
    parameters = sum(p.numel() for p in model.parameters())
    facts |= {"parameters": parameters, "state_bytes": parameters * 16, "gradient_bytes": parameters * 4,
              "checks": {"loss": first_loss}}
    if assigned:
        facts["skew"] = max((c.max() / c.double().mean()).item() for c in assigned.values())
    return run, facts


def transformers_translation(case):
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[case["dtype"]]
    model = build(case).to(dtype).eval()
    source = load_file(case["data"])["source"]
    mask = torch.ones_like(source)
    length = case["length"]

    def translate():
        with torch.inference_mode():
            return model.generate(input_ids=source, attention_mask=mask, num_beams=case["beam"], do_sample=False,
                                  forced_bos_token_id=TAG, min_new_tokens=length, max_new_tokens=length, max_length=None)

    out = translate()
    if out.shape[1] != length + 1:
        raise RuntimeError(f"translations have {out.shape[1] - 1} tokens")
    return translate, {"translations": out[:, 2:].tolist()}  # behind </s> and the tag


def ctranslate2_translation(case):
    """compute: float32, int8 or bfloat16. The model is written out and read as its users do."""
    import ctranslate2

    model = build(case)
    translator = load_ctranslate2(ctranslate2, model, case)
    source = [[f"t{i}" for i in row] for row in load_file(case["data"])["source"].tolist()]
    length = case["length"]

    def translate():
        return translator.translate_batch(source, target_prefix=[[f"t{TAG}"]] * len(source), beam_size=case["beam"],
                                          min_decoding_length=length, max_decoding_length=length)

    out = [[int(token[1:]) for token in result.hypotheses[0]] for result in translate()]
    if any(len(row) != length for row in out):
        raise RuntimeError("translations of another length")
    return translate, {"translations": [row[1:] for row in out], "compute": translator.compute_type}


def load_ctranslate2(ctranslate2, model, case):
    from ctranslate2.converters.transformers import M2M100Loader

    loader = M2M100Loader()
    spec = loader.get_model_spec(model)
    names = [f"t{i}" for i in range(model.config.vocab_size)]
    spec.register_source_vocabulary(names)
    spec.register_target_vocabulary(names)
    spec.config.bos_token, spec.config.eos_token, spec.config.unk_token = "t0", "t2", "t3"
    spec.config.decoder_start_token = "t2"
    spec.validate()
    compute = case["compute"]
    spec.optimize(quantization=compute)
    with tempfile.TemporaryDirectory() as folder:
        spec.save(folder)
        return ctranslate2.Translator(folder, device="cpu", compute_type=compute, inter_threads=1,
                                      intra_threads=case["threads"])
