#!/usr/bin/env python3
"""Compares what chorus computes with what Hugging Face transformers computes, on models of every architecture whose shapes and options
are drawn at random.

    tests/reference/models_parity.py --chorus build/release/chorus --venv .venv [--models 1000] [--seed 1]

Each architecture in its turn (NLLB-MoE, M2M100, SMaLL-100, Switch, T5, MADLAD-400, Marian): encoder states, routing, logits, losses,
gradients where the scripts for single architectures look at them, greedy and beam search of a few sentences, and the tensors that come
back when the model is exported. Where transformers in fp32 is itself over 2.5e-5 from transformers in fp64, four times that distance is
allowed instead of 1e-4. What else there is, these scripts test. Model number N of a seed is made again by --models 1 --first N.
"""

import copy
import json
import random
import shutil

import marian_parity
import parity
import switch_parity
import t5_parity
import transformers_parity

for module in (transformers_parity, switch_parity, t5_parity):
    module.SENTENCES = 6


def shape(rng, heads="attention_heads"):
    """Of NLLB-MoE, M2M100 and Marian."""
    count = rng.choice([1, 2, 3, 4])
    width = {f"{side}_{heads}": count for side in ("encoder", "decoder")}
    return dict(
        width, d_model=max(4, count * rng.choice([2, 4, 6, 8, 16])),  # of fewer transformers makes no sinusoids
        encoder_layers=rng.randint(1, 4), decoder_layers=rng.randint(1, 4),
        encoder_ffn_dim=(ffn := rng.choice([8, 17, 32, 48])), decoder_ffn_dim=ffn,
    )  # fmt: skip


def t5_shape(rng):
    return dict(
        d_model=rng.choice([8, 20, 32, 48]), d_kv=rng.choice([2, 5, 8, 16]), num_heads=rng.choice([1, 2, 3, 4]), d_ff=rng.choice([8, 17, 48]),
        num_layers=rng.randint(1, 4), num_decoder_layers=rng.randint(1, 4), relative_attention_num_buckets=rng.choice([4, 8, 32]),
        relative_attention_max_distance=rng.choice([20, 64, 128]), tie_word_embeddings=rng.random() < 0.5,
    )  # fmt: skip


class Architectures:
    """The models of a run, and what each is compared by; the vocabularies are made once."""

    def __init__(self, folder):
        self.nllb, self.m2m100 = transformers_parity.nllb_tokenizer(folder), transformers_parity.m2m100_tokenizer(folder)
        self.t5, self.madlad = switch_parity.t5_tokenizer(folder), t5_parity.madlad_tokenizer(folder)
        (folder / "one").mkdir()
        self.marian = marian_parity.make_tokenizer(folder / "one", [])

    def make(self, kind, rng, seed):
        """A model, its tokenizer, and the export format."""
        if kind in ("nllb-moe", "m2m100", "small100"):
            many = kind != "nllb-moe"
            rows = max(self.m2m100.id_to_lang_token) + 1 + self.m2m100.num_madeup_words if many else len(self.nllb)
            options = shape(rng)
            options["activation_function"] = rng.choice(["relu", "gelu", "silu"])
            if not many:
                options.update(num_experts=rng.choice([2, 3, 4, 8]), encoder_sparse_step=rng.randint(0, 3), decoder_sparse_step=rng.randint(1, 3),
                               normalize_router_prob_before_dropping=rng.random() < 0.5, moe_token_dropout=rng.choice([0.0, 0.2]))  # fmt: skip
            model = transformers_parity.make_model("m2m100" if many else kind, rows, seed, **options)
            return model, self.m2m100 if many else self.nllb, "m2m100" if many else kind
        if kind == "switch":
            options = t5_shape(rng)
            options.update(num_experts=rng.choice([2, 4, 8]), expert_capacity=rng.choice([1, 2, 5, 64]), dense_act_fn=rng.choice(["relu", "gelu"]),
                           num_sparse_encoder_layers=1, num_sparse_decoder_layers=1)  # fmt: skip
            return switch_parity.make_model(len(self.t5) + 28, seed, **options), self.t5, "switch"
        if kind in ("t5", "madlad"):
            options = t5_shape(rng)
            options["feed_forward_proj"] = rng.choice(["relu", "gelu", "gated-gelu", "gated-silu"])
            rows, numbering = (len(self.t5) + 28, t5_parity.Numbering(False)) if kind == "t5" else (len(self.madlad), t5_parity.Numbering(True))
            return t5_parity.make_model(rows, seed, numbering, **options), self.t5 if kind == "t5" else self.madlad, "t5"
        options = shape(rng)
        options.update(activation_function=rng.choice(["relu", "swish", "gelu"]), tie_word_embeddings=rng.random() < 0.7,
                       scale_embedding=rng.random() < 0.7)  # fmt: skip
        return marian_parity.make_model(len(self.marian), seed, **options), self.marian, "marian"


CHOICES = {"NllbMoeTop2Router": 1, "SwitchTransformersTop1Router": 0}  # of a router's outputs, what is not zero where a token goes


def rounding_of(model, batches, gradients_too):
    """How far the model in fp32 is from itself in fp64: the largest distance of logits, and where asked for of gradients of the
    summed loss, these against the largest of their tensor where that is above 1; of sentences that are routed alike in both."""
    import torch

    pad, exact, routes = model.config.pad_token_id, copy.deepcopy(model).double(), []

    def record(router, inputs, output):
        routes.append(output[CHOICES[type(router).__name__]].ne(0))

    hooks = [m.register_forward_hook(record) for both in (model, exact) for m in both.modules() if type(m).__name__ in CHOICES]
    for module in exact.modules():
        if type(module).__name__ in CHOICES:
            module.dtype = torch.float64

    def computed(model, source, target):
        """Logits of each sentence, its experts, and gradients."""
        mask, real = switch_parity.mask_of(source), switch_parity.mask_of(target)
        source, target = parity.padded(source, pad), parity.padded(target, pad)
        routes.clear()
        model.zero_grad()
        torch.set_default_dtype(model.dtype)  # of masks that transformers makes
        logits = model(input_ids=source, attention_mask=mask, decoder_input_ids=target).logits
        labels = target.masked_fill(real == 0, -100)[:, 1:].flatten()
        torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels, reduction="sum").backward()
        gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
        torch.set_default_dtype(torch.float32)
        chosen = torch.cat([torch.zeros(len(source), 1), *(choice.reshape(len(source), -1) for choice in routes)], 1)
        return logits.detach() * real.unsqueeze(-1), chosen, gradients

    worst = 0.0
    for batch in batches:
        (logits, experts, gradients), (exact_logits, exact_experts, exact_gradients) = (
            computed(m, batch["source"], batch["target"]) for m in (model, exact))  # fmt: skip
        alike = (experts == exact_experts).all(1)
        worst = max(worst, *(logits - exact_logits)[alike].abs().flatten().tolist(), 0.0)
        for a, b in zip(gradients, exact_gradients, strict=True) if gradients_too and alike.all() else ():
            worst = max(worst, (a - b).abs().max().item() / max(1.0, b.abs().max().item()))
    model.zero_grad()
    for hook in hooks:
        hook.remove()
    return worst


def set_tolerance(checks, name, model, batches, gradients_too=True):
    """Few columns under a norm, or layers that enlarge a difference, make models of which fp32 gives fewer digits to everybody."""
    checks.tolerance = max(parity.TOLERANCE, 4 * rounding_of(model, batches, gradients_too))
    if checks.tolerance > parity.TOLERANCE:
        print(f"{name}: transformers is {checks.tolerance / 4:.1e} from itself in fp64; {checks.tolerance:.1e} is allowed", flush=True)


def compare(checks, chorus, folder, name, kind, model, tokenizer, format):
    theirs, ours, back, data = (folder / part for part in ("theirs", "ours", "back", "input.json"))
    model.save_pretrained(theirs)
    tokenizer.save_pretrained(theirs)
    if kind == "small100":
        about = json.loads((theirs / "tokenizer_config.json").read_text())
        (theirs / "tokenizer_config.json").write_text(json.dumps({**about, "tokenizer_class": "SMALL100Tokenizer"}))
    chorus.run("import", theirs, "--out", ours)
    if kind in ("nllb-moe", "m2m100", "small100"):
        tags = tokenizer.convert_tokens_to_ids(["eng_Latn", "deu_Latn"] if kind == "nllb-moe" else ["__en__", "__de__"])
        batches = transformers_parity.make_input(data, model.config.vocab_size, tags)
        numbers, translations = chorus.probe(ours, data, folder / "output")
        set_tolerance(checks, name, model, batches["batches"], gradients_too=False)
        transformers_parity.compare_numbers(checks, name, model, batches, numbers)
        if kind != "small100":  # whose decoder is given no tag
            transformers_parity.compare_decoding(checks, name, model, batches, translations)
        tensors_of = transformers_parity.tensors_of
    elif kind == "switch":
        batches, sources = switch_parity.make_input(data, model.config.vocab_size)
        numbers, translations = chorus.probe(ours, data, folder / "output")
        set_tolerance(checks, name, model, batches)
        switch_parity.compare_numbers(checks, name, model, batches, numbers)
        switch_parity.compare_decoding(checks, name, model, sources, translations)
        tensors_of = switch_parity.tensors_of
    else:
        numbering = marian_parity.Numbering(model.config.vocab_size) if kind == "marian" else t5_parity.Numbering(kind == "madlad")
        batches, sources = t5_parity.make_input(data, model.config.vocab_size, numbering)
        numbers, translations = chorus.probe(ours, data, folder / "output")
        set_tolerance(checks, name, model, batches)
        t5_parity.compare_numbers(checks, name, model, numbering, batches, numbers)
        t5_parity.compare_decoding(checks, name, model, numbering, sources, translations)
        tensors_of = marian_parity.tensors_of if kind == "marian" else switch_parity.tensors_of
    chorus.run("export", ours, "--format", format, "--out", back)
    checks(f"{name}: there and back", parity.same_tensors(tensors_of(theirs), tensors_of(back)))


def main():
    with parity.comparing(__doc__, models=14, seed=1, first=0) as (checks, chorus, folder, models, seed, first):
        architectures = Architectures(folder)
        kinds = ["nllb-moe", "m2m100", "small100", "switch", "t5", "madlad", "marian"]
        for number in range(first, first + models):
            rng = random.Random(f"{seed} {number}")
            kind = kinds[number % len(kinds)]
            model, tokenizer, format = architectures.make(kind, rng, rng.randrange(1 << 30))
            here = folder / str(number)
            here.mkdir()
            name = f"{kind}, model {number} of seed {seed}"
            try:
                compare(checks, chorus, here, name, kind, model, tokenizer, format)
            except RuntimeError as error:  # what the program said
                checks(name, False, f"{error} {model.config}")
            shutil.rmtree(here)


if __name__ == "__main__":
    main()
