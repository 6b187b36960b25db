#!/usr/bin/env python3
"""Compares what chorus computes with what Hugging Face transformers computes, on Switch models with random weights.

    tests/reference/switch_parity.py --chorus build/release/chorus --venv .venv

As transformers_parity.py does for NLLB-MoE and M2M100, whose words on ties hold here too: encoder states, router
probabilities, choices and drops, logits token by token and in one pass (in which alone the decoder drops tokens),
gradients, greedy and beam search of 200 sentences, export and the way back, the tokenizer. The experts' capacity is so
small that it binds.

Ids differ by one (docs/huggingface.md): chorus's id i is transformers' i - 1.

Known to differ, and so not compared: </s>, <pad> and <unk> spelt out in the text, which are text to chorus and tokens to
transformers; unknown characters, which chorus shows as SentencePiece does and transformers as <unk>.
"""

import json
import random

import parity

TIE = parity.TIE
SENTENCES, MOST = 200, 24
PAD, EOS = 0, 1  # transformers'


def t5_tokenizer(folder):
    from transformers import T5Tokenizer

    model = parity.train_sentencepiece(
        folder, "t5", character_coverage=0.99, pad_id=0, eos_id=1, unk_id=2, bos_id=-1
    )
    return T5Tokenizer(str(model), legacy=True)


def make_model(rows, seed, **options):
    """Weights that route far from uniformly, attend with some contrast, and let translations end, some of them."""
    import torch
    import transformers

    shape = dict(
        vocab_size=rows, d_model=32, d_kv=6, d_ff=48, num_heads=4, num_layers=2, num_decoder_layers=2, num_experts=4,
        expert_capacity=3, num_sparse_encoder_layers=1, num_sparse_decoder_layers=1, relative_attention_num_buckets=8,
        relative_attention_max_distance=12, decoder_start_token_id=0, dropout_rate=0.0, router_jitter_noise=0.0,
        router_z_loss_coef=0.0, router_aux_loss_coef=0.0,
    )  # fmt: skip
    model = transformers.SwitchTransformersForConditionalGeneration(transformers.SwitchTransformersConfig(**{**shape, **options}))
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        normal = torch.randn(weight.shape, generator=generator)
        if "shared" in name or "embed" in name or "lm_head" in name:
            normal[EOS] *= 3
            normal *= 1.0 if model.config.tie_word_embeddings else weight.shape[1] ** -0.5
        elif "layer_norm.weight" in name:
            normal = 1 + 0.2 * normal
        elif "relative_attention_bias" not in name:
            scale = 3.0 if "router" in name else 0.7 if ".q." in name or ".k." in name else 1.2
            normal *= scale * weight.shape[1] ** -0.5
        weight.data.copy_(normal)
    return model.eval()


def padded(rows):
    return parity.padded(rows, PAD)


def mask_of(rows):
    import torch

    longest = max(map(len, rows))
    return torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])


def make_input(path, rows):
    """Batches of uneven length, one of a single row and token; sentences to translate. `rows`: of the embedding."""
    rng = random.Random(7)

    def draw(count, longest):
        return [[rng.randrange(3, rows - 1) for _ in range(rng.randint(1, longest))] for _ in range(count)]

    batches = []
    for count, longest in [(5, 15), (1, 1), (9, 31)]:
        source = [[*row, EOS] for row in draw(count, longest)]
        target = [[PAD, *row] for row in draw(count, longest)]
        batches.append({"source": source, "target": target})
    source = [[*row, EOS] for row in draw(SENTENCES, 13)]
    ours = json.loads(json.dumps(batches))
    for batch in ours:  # in whose targets </s> stands for what the model starts with
        batch["source"] = [[i + 1 for i in row] for row in batch["source"]]
        batch["target"] = [[2, *(i + 1 for i in row[1:])] for row in batch["target"]]
    decode = {"source": [[i + 1 for i in row] for row in source], "forced": [[] for _ in source], "never": [], "most": MOST, "beams": [1, 4]}
    path.write_text(json.dumps({"batches": ours, "decode": decode, "gradients": True}))
    return batches, source


def watch_routers(model):
    """Collects, of each sparse layer in order: the router's probabilities, its choices and which of them it keeps."""
    import torch

    seen = []

    def record(module, inputs, output):
        kept, _, logits = output
        probabilities = torch.softmax(logits, -1).flatten(0, 1)
        seen.append((probabilities, probabilities.argmax(-1), kept.flatten(0, 1).sum(-1).bool()))

    for module in model.modules():
        if type(module).__name__ == "SwitchTransformersTop1Router":
            module.register_forward_hook(record)
    return seen


def as_ours(logits):
    return logits.roll(1, -1)


def step_by_step(model, source, mask, target):
    """Logits as generate() gets them: with a cache, one token at a time."""
    import torch

    memory = model.get_encoder()(input_ids=source, attention_mask=mask)
    past, logits = None, []
    for t in range(target.shape[1]):
        result = model(encoder_outputs=memory, attention_mask=mask, decoder_input_ids=target[:, t : t + 1],
                       past_key_values=past, use_cache=True)  # fmt: skip
        past = result.past_key_values
        logits.append(result.logits)
    return torch.cat(logits, 1)


def compare_numbers(checks, name, model, batches, ours):
    import torch

    seen = watch_routers(model)
    worst, skipped, dropped = {}, 0, 0

    def close(what, mine, theirs, where):
        if where.any():
            worst[what] = max(worst.get(what, 0), checks.close(f"{name} {what}", mine, theirs, where) or 0)

    for b, batch in enumerate(batches):
        source, target = padded(batch["source"]), padded(batch["target"])
        s_rows, t_rows = mask_of(batch["source"]).bool(), mask_of(batch["target"]).bool()
        seen.clear()
        with torch.no_grad():
            result = model(input_ids=source, attention_mask=s_rows.long(), decoder_input_ids=target)
            whole = list(seen)
            steps = step_by_step(model, source, s_rows.long(), target)
        in_encoder = sum(type(m).__name__ == "SwitchTransformersTop1Router" for m in model.get_encoder().modules())
        doubtful = torch.zeros(len(source), dtype=torch.bool)
        for layer, (probabilities, choice, kept) in enumerate(whole):
            active = (s_rows if layer < in_encoder else t_rows).reshape(-1)
            top = probabilities.topk(2, -1).values
            doubtful |= ((top[:, 0] - top[:, 1] < TIE) & active).view(len(source), -1).any(-1)
            sure = (active.view(len(source), -1) & ~doubtful.unsqueeze(1)).reshape(-1)
            close("router", ours[f"{b}.router.{layer}"], probabilities, sure.unsqueeze(1).expand_as(probabilities))
            checks(f"{name} {b}.experts.{layer}", ours[f"{b}.experts.{layer}"][sure, 0].equal(choice[sure]))
            checks(f"{name} {b}.kept.{layer}", (ours[f"{b}.kept.{layer}"][sure, 0] >= 0).equal(kept[sure]))
            dropped += int((~kept & active).sum())
        skipped += int(doubtful.sum())
        sure_s, sure_t = s_rows & ~doubtful.unsqueeze(1), t_rows & ~doubtful.unsqueeze(1)
        close("encoder", ours[f"{b}.encoder"], result.encoder_last_hidden_state, sure_s)
        close("logits step by step", ours[f"{b}.logits"], as_ours(steps), sure_t)
        labels = torch.cat([target[:, 1:], torch.zeros_like(target[:, :1])], 1)
        real = torch.cat([t_rows[:, 1:], torch.zeros_like(t_rows[:, :1])], 1)
        nll = -torch.log_softmax(result.logits, -1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)
        close("nll in one pass", ours[f"{b}.nll"], nll, real & ~doubtful.unsqueeze(1))
        if not doubtful.any() and real.any():
            compare_gradients(checks, name, model, b, batch, ours, worst)
    text = ", ".join(f"{key} {value:.1e}" for key, value in worst.items())
    print(f"{name}: {text}; {dropped} tokens dropped, {skipped} rows near a tie", flush=True)
    return dropped


def compare_gradients(checks, name, model, b, batch, ours, worst):
    """Of the summed loss, in transformers' training mode."""
    import torch

    source, target = padded(batch["source"]), padded(batch["target"])
    real = mask_of(batch["target"]).bool()
    labels = torch.cat([target[:, 1:], torch.zeros_like(target[:, :1])], 1)
    labels[~torch.cat([real[:, 1:], torch.zeros_like(real[:, :1])], 1)] = -100
    model.train()
    model.zero_grad()
    logits = model(input_ids=source, attention_mask=mask_of(batch["source"]), decoder_input_ids=target,
                   output_router_logits=False).logits  # fmt: skip
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum").backward()
    model.eval()
    for key, weight in model.named_parameters():
        mine = ours[f"{b}.gradient.{key}"]
        theirs = weight.grad if weight.grad is not None else torch.zeros_like(weight)
        if key in ("shared.weight", "lm_head.weight"):
            theirs = theirs.roll(1, 0)
        error = (mine - theirs).abs().max().item() / max(1.0, theirs.abs().max().item())
        worst["gradients"] = max(worst.get("gradients", 0), error)
        checks(f"{name} {b}.gradient.{key}", error <= checks.tolerance, f"by up to {error:.2e}")


def score_of(model, source, tokens):
    """transformers' score: the log-probabilities of generating these tokens, over their number."""
    import torch

    target = torch.tensor([[PAD, *tokens]])
    source = torch.tensor([source])
    with torch.no_grad():
        logits = step_by_step(model, source, torch.ones_like(source), target[:, :-1])[0]
    return torch.log_softmax(logits.double(), -1).gather(1, target[0, 1:].unsqueeze(1)).sum().item() / len(tokens)


def compare_decoding(checks, name, model, sources, ours):
    import torch

    from transformers import DynamicCache, EncoderDecoderCache

    counts = []
    for beam in (1, 4):
        ended = ties = 0
        # The cache that generate() itself makes has no more layers than the encoder.
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        with torch.no_grad():
            output = model.generate(input_ids=padded(sources), attention_mask=mask_of(sources), num_beams=beam, do_sample=False,
                                    past_key_values=cache, max_length=MOST + 1)  # fmt: skip
        for i, row in enumerate(output.tolist()):
            their = row[1:]
            finished = EOS in their
            their = their[: their.index(EOS) + 1] if finished else their
            ended += finished
            mine = [(id - 1) % model.config.vocab_size for id in ours[str(beam)][i]["tokens"]]
            mine += [EOS] if len(mine) < MOST else []
            good = mine == their
            if not good and beam > 1:
                a, b = (score_of(model, sources[i], tokens) for tokens in (mine, their))
                good = abs(a - b) <= checks.tolerance
                ties += good
            checks(f"{name}: beam {beam} of sentence {i}", good, f"{mine} {their}")
        counts.append(f"beam {beam}: {ended} of {SENTENCES} ended, {ties} ties")
    print(f"{name}: " + "; ".join(counts), flush=True)


def tensors_of(folder):
    """Without the copies of the embedding, of which transformers saves one or none."""
    import safetensors.torch

    tensors = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors.update(safetensors.torch.load_file(file))
    tied = "lm_head.weight" in tensors and tensors["lm_head.weight"].equal(tensors["shared.weight"])
    copies = ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight", *(["lm_head.weight"] if tied else [])]
    return {name: tensor for name, tensor in tensors.items() if name not in copies}


def compare_model(checks, chorus, folder, name, model, tokenizer, shard=None, dtype=None):
    import torch

    folder = folder / name.replace(" ", "-")
    folder.mkdir()
    theirs, ours, back = folder / "theirs", folder / "ours", folder / "back"
    if dtype:
        model = model.to(dtype)
    model.save_pretrained(theirs, **({"max_shard_size": shard} if shard else {}))
    tokenizer.save_pretrained(theirs)
    model = model.float()
    chorus.run("import", theirs, "--out", ours)
    batches, sources = make_input(folder / "input.json", model.config.vocab_size)
    numbers, translations = chorus.probe(ours, folder / "input.json", folder / "output")
    dropped = compare_numbers(checks, name, model, batches, numbers)
    checks(f"{name}: capacity binds", dropped > 0, "a test of nothing")
    compare_decoding(checks, name, model, sources, translations)
    chorus.run("export", ours, "--format", "switch", "--out", back, *(["--shard-size", "1e-4"] if shard else []))
    checks(f"{name}: there and back", parity.same_tensors(tensors_of(theirs), tensors_of(back)))
    again, again_tokenizer = parity.load_quietly(checks, name, back, dtype=torch.float32)
    checks(f"{name}: transformers reads the same tokenizer", again_tokenizer.get_vocab() == tokenizer.get_vocab())
    same = all(a.equal(b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))
    checks(f"{name}: transformers reads the same weights", same)
    for weight in [*model.parameters(), *again.parameters()]:
        weight.data = weight.data.clone()  # a file's tensors lie at odd addresses, where sums come out in another order
    source, target = padded(batches[0]["source"]), padded(batches[0]["target"])
    with torch.no_grad():
        logits = [m(input_ids=source, decoder_input_ids=target).logits for m in (model, again)]
    checks(f"{name}: transformers computes the same from what came back", logits[0].equal(logits[1]))
    as_saved, _ = parity.load_quietly(checks, name, back, dtype="auto")
    checks(f"{name}: type of the file", as_saved.dtype == (dtype or torch.float32))
    compare_programs(checks, chorus, folder, name, model, tokenizer, ours)


def compare_programs(checks, chorus, folder, name, model, tokenizer, ours):
    """translate's n-best scores are score's, and transformers' for the same tokens; languages are refused."""
    lines = [line for line in parity.training_lines(random.Random(2), 12)]
    out = chorus.run("translate", "--model", ours, "--beam", 3, "--nbest", 3, "--max-length", 12, "--max-length-factor", 0,
                     input="".join(line + "\n" for line in lines).encode()).decode()  # fmt: skip
    rows = [row.split(" ||| ") for row in out.split("\n")[:-1]]
    checks(f"{name}: translate gives 3 a line", len(rows) == 3 * len(lines), len(rows))
    checks(f"{name}: --from is refused", "no languages" in chorus.refusal("translate", "--model", ours, "--from", "en", "--to", "de"))
    source, target = folder / "pairs.source", folder / "pairs.target"
    source.write_text("".join(line + "\n" for line in lines))
    target.write_text("".join(line + "\n" for line in reversed(lines)))
    scores = chorus.run("score", "--model", ours, "--source", source, "--target", target).decode().split()
    for line, other, score in zip(lines, reversed(lines), scores, strict=True):
        ids = tokenizer.encode(other)
        theirs = score_of(model, tokenizer.encode(line), ids) * len(ids)
        checks(f"{name}: score of {other!r}", abs(float(score) - theirs) < 1e-3, f"{score} {theirs}")


def compare_tokenizer(checks, chorus, tokenizer, folder):
    from sacrebleu_parity import nasty_lines

    lines = [*parity.training_lines(random.Random(9), 300), *nasty_lines(random.Random(4), 700)]
    lines = [line.replace("\n", " ") for line in lines if not any(token in line for token in ("</s>", "<pad>", "<unk>"))]
    lines += ["The <extra_id_0> walks in <extra_id_1> park", "a<extra_id_99>b", "<extra_id_5>", "<extra_id_100> <extra_id_x> <extra_id_",
              "<extra_id_07> x", " <extra_id_3>  <extra_id_4> "]  # fmt: skip
    theirs = [tokenizer.encode(line, add_special_tokens=False) for line in lines]
    ours = [[id - 1 for id in row] for row in chorus.encode(folder, lines)]
    for line, our, their in zip(lines, ours, theirs, strict=True):
        checks(f"T5's tokenizer: ids of {line!r}", our == their, f"{our} {their}")
    known = [ids for ids in theirs if tokenizer.unk_token_id not in ids]
    decoded = chorus.decode(folder, [[id + 1 for id in ids] for ids in known])
    for ids, our in zip(known, decoded, strict=True):
        their = tokenizer.decode(ids)
        checks(f"T5's tokenizer: text of {ids}", our.split() == their.split(), f"{our!r} {their!r}")
    print(f"T5's tokenizer: {len(lines)} lines, {len(known)} without unknown characters", flush=True)


def show_untied_reload(checks, folder, model):
    """What makes chorus write copies of the embedding: transformers does not read its own untied folder."""
    import transformers

    saved = folder / "untied-by-transformers"
    model.save_pretrained(saved)
    again = transformers.AutoModelForSeq2SeqLM.from_pretrained(saved)
    lost = not again.encoder.embed_tokens.weight.equal(model.encoder.embed_tokens.weight)
    print(f"an untied model that transformers saved {'loses its embeddings' if lost else 'is whole'} when it loads it again", flush=True)


def main():
    with parity.comparing(__doc__) as (checks, chorus, folder):
        import torch

        tokenizer = t5_tokenizer(folder)
        rows = len(tokenizer) + 28

        def compare(name, seed, shard=None, dtype=None, **options):
            compare_model(checks, chorus, folder, name, make_model(rows, seed, **options), tokenizer, shard, dtype)

        compare("every second layer", 1)
        compare("untied", 2, tie_word_embeddings=False, d_model=40, d_kv=16, num_heads=2)
        compare("8 experts in all layers in shards", 3, shard="50KB", num_experts=8, expert_capacity=2,
                num_layers=3, num_sparse_encoder_layers=3, num_sparse_decoder_layers=2)  # fmt: skip
        compare("one of three layers", 4, num_layers=4, num_decoder_layers=3, num_sparse_encoder_layers=1,
                num_sparse_decoder_layers=1, encoder_sparse_step=3, relative_attention_num_buckets=32,
                relative_attention_max_distance=128, dense_act_fn="gelu")  # fmt: skip
        # One it has: see docs/huggingface.md.
        compare("no sparse decoder layer asked for", 5, num_decoder_layers=3, num_sparse_decoder_layers=0, expert_capacity=1)
        compare("bf16", 6, dtype=torch.bfloat16, decoder_sparse_step=0)
        compare_tokenizer(checks, chorus, tokenizer, folder / "every-second-layer/ours")
        show_untied_reload(checks, folder, make_model(rows, 2, tie_word_embeddings=False))


if __name__ == "__main__":
    main()
