#!/usr/bin/env python3
"""Compares what chorus computes with what Hugging Face transformers computes, on T5 and MADLAD-400 models with random
weights.

    tests/reference/t5_parity.py --chorus build/release/chorus --venv .venv

As switch_parity.py does, whose words on ties and on ids of T5 hold here too: encoder states, logits token by token and in
one pass, gradients, greedy and beam search of 200 sentences, export and the way back. A MADLAD's ids are those of its
SentencePiece model, of which chorus exchanges 0 and 3; the ids of a text with a target language, and its translation, are
compared through the programs.
"""

import json
import random

import parity
import switch_parity
from switch_parity import SENTENCES

MOST = switch_parity.MOST
TAGS = ["ace", "de", "en", "zh_Latn"]


class Numbering:
    """Of T5's ids, or MADLAD's."""

    never = ()  # what is not chosen, by our ids

    def __init__(self, madlad):
        self.pad, self.eos, self.start = (1, 2, 0) if madlad else (0, 1, 0)
        self.madlad = madlad

    def ours(self, id):
        return {0: 3, 3: 0}.get(id, id) if self.madlad else id + 1

    def theirs(self, id, rows):
        return {0: 3, 3: 0}.get(id, id) if self.madlad else (id - 1) % rows

    def rows_as_ours(self, tensor, dim):
        """In the order of our ids."""
        import torch

        rows = tensor.shape[dim]
        return tensor.index_select(dim, torch.tensor([self.theirs(id, rows) for id in range(rows)]))

    def padded(self, rows):
        return parity.padded(rows, self.pad)


def madlad_tokenizer(folder):
    """Its SentencePiece model begins with <unk>, <s>, </s>, a newline and the languages' tags, all ordinary pieces."""
    from sentencepiece import sentencepiece_model_pb2
    from transformers import T5Tokenizer

    trained = parity.train_sentencepiece(folder, "madlad", character_coverage=0.99)
    model = sentencepiece_model_pb2.ModelProto.FromString(trained.read_bytes())
    pieces = list(model.pieces)
    del model.pieces[3:]
    for text in ["\n", *(f"<2{tag}>" for tag in TAGS)]:
        model.pieces.add(piece=text, score=0.0, type=1)
    model.pieces.extend(pieces[3:])
    trained.write_bytes(model.SerializeToString())
    return T5Tokenizer(str(trained), legacy=True, extra_ids=0, pad_token="<s>", unk_token="<unk>", eos_token="</s>")


def make_model(rows, seed, numbering, **options):
    """Weights that attend with some contrast, and let translations end, some of them."""
    import torch
    import transformers

    shape = dict(
        vocab_size=rows, d_model=32, d_kv=6, d_ff=48, num_heads=4, num_layers=2, num_decoder_layers=2, dropout_rate=0.0,
        relative_attention_num_buckets=8, relative_attention_max_distance=12, pad_token_id=numbering.pad,
        eos_token_id=numbering.eos, decoder_start_token_id=numbering.start,
    )  # fmt: skip
    model = transformers.T5ForConditionalGeneration(transformers.T5Config(**{**shape, **options}))
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        normal = torch.randn(weight.shape, generator=generator)
        if "shared" in name or "embed" in name or "lm_head" in name:
            normal[numbering.eos] *= 3
            normal *= 1.0 if model.config.tie_word_embeddings else weight.shape[1] ** -0.5
        elif "layer_norm.weight" in name:
            normal = 1 + 0.2 * normal
        elif "relative_attention_bias" not in name:
            normal *= (0.7 if ".q." in name or ".k." in name else 1.2) * weight.shape[1] ** -0.5
        weight.data.copy_(normal)
    return model.eval()


def make_input(path, rows, numbering):
    rng = random.Random(7)

    def draw(count, longest):
        return [[rng.randrange(4, rows - 1) for _ in range(rng.randint(1, longest))] for _ in range(count)]

    batches = []
    for count, longest in [(5, 15), (1, 1), (9, 31)]:
        source = [[*row, numbering.eos] for row in draw(count, longest)]
        batches.append({"source": source, "target": [[numbering.start, *row] for row in draw(count, longest)]})
    source = [[*row, numbering.eos] for row in draw(SENTENCES, 13)]

    def ours(rows):
        return [[numbering.ours(id) for id in row] for row in rows]

    # In whose targets </s> stands for what the model starts with.
    mine = [{"source": ours(b["source"]), "target": [[2, *row[1:]] for row in ours(b["target"])]} for b in batches]
    decode = {"source": ours(source), "forced": [[] for _ in source], "never": list(numbering.never), "most": MOST, "beams": [1, 4]}
    path.write_text(json.dumps({"batches": mine, "decode": decode, "gradients": True}))
    return batches, source


def compare_numbers(checks, name, model, numbering, batches, ours):
    import torch

    worst = {}

    def close(what, mine, theirs, where):
        worst[what] = max(worst.get(what, 0), checks.close(f"{name} {what}", mine, theirs, where) or 0)

    for b, batch in enumerate(batches):
        source, target = numbering.padded(batch["source"]), numbering.padded(batch["target"])
        s_mask, t_rows = switch_parity.mask_of(batch["source"]), switch_parity.mask_of(batch["target"]).bool()
        with torch.no_grad():
            result = model(input_ids=source, attention_mask=s_mask, decoder_input_ids=target)
            steps = switch_parity.step_by_step(model, source, s_mask, target)
        close("encoder", ours[f"{b}.encoder"], result.encoder_last_hidden_state, s_mask.bool())
        close("logits step by step", ours[f"{b}.logits"], numbering.rows_as_ours(steps, 2), t_rows)
        labels = torch.cat([target[:, 1:], torch.zeros_like(target[:, :1])], 1)
        real = torch.cat([t_rows[:, 1:], torch.zeros_like(t_rows[:, :1])], 1)
        if real.any():
            nll = -torch.log_softmax(result.logits, -1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)
            close("nll in one pass", ours[f"{b}.nll"], nll, real)
            compare_gradients(checks, name, model, numbering, (source, s_mask, target, labels, real), ours, b, worst)
    print(f"{name}: " + ", ".join(f"{key} {value:.1e}" for key, value in worst.items()), flush=True)


def compare_gradients(checks, name, model, numbering, batch, ours, b, worst):
    """Of the summed loss."""
    import torch

    source, mask, target, labels, real = batch
    model.zero_grad()
    for buffer in model.buffers():
        buffer.grad = None
    logits = model(input_ids=source, attention_mask=mask, decoder_input_ids=target).logits
    labels = labels.masked_fill(~real, -100)
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum").backward()
    for key, weight in [*model.named_parameters(), *model.named_buffers()]:
        if not weight.requires_grad:
            continue
        mine, theirs = ours[f"{b}.gradient.{key}"], weight.grad
        if key == "final_logits_bias":
            theirs = numbering.rows_as_ours(theirs, 1)
        if key.removeprefix("model.") in ("shared.weight", "lm_head.weight"):
            theirs = numbering.rows_as_ours(theirs, 0)
            if numbering.madlad:  # of padding alone
                mine, theirs = (torch.cat([g[:1], g[2:]]) for g in (mine, theirs))
        error = (mine - theirs).abs().max().item() / max(1.0, theirs.abs().max().item())
        worst["gradients"] = max(worst.get("gradients", 0), error)
        checks(f"{name} {b}.gradient.{key}", error <= checks.tolerance, f"by up to {error:.2e}")


def generated(model, numbering, sources, beam, never=None):
    """transformers' translations, without what they start with and padding at the end."""
    import torch

    from transformers import DynamicCache, EncoderDecoderCache

    source = numbering.padded(sources)
    # The cache that generate() itself makes has no more layers than the encoder.
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    with torch.no_grad():
        output = model.generate(input_ids=source, attention_mask=switch_parity.mask_of(sources), num_beams=beam, do_sample=False,
                                past_key_values=cache, max_length=MOST + 1, suppress_tokens=never)  # fmt: skip
    rows = [row[1:] for row in output.tolist()]
    return [row[: row.index(numbering.eos) + 1] if numbering.eos in row else row for row in rows]


def score_of(model, numbering, source, tokens):
    import torch

    target, source = torch.tensor([[numbering.start, *tokens]]), torch.tensor([source])
    with torch.no_grad():
        logits = switch_parity.step_by_step(model, source, torch.ones_like(source), target[:, :-1])[0]
    return torch.log_softmax(logits.double(), -1).gather(1, target[0, 1:].unsqueeze(1)).sum().item() / len(tokens)


def compare_decoding(checks, name, model, numbering, sources, ours):
    """Whether some translations ended."""
    counts, ends = [], 0
    never = [numbering.theirs(id, model.config.vocab_size) for id in numbering.never] or None
    for beam in (1, 4):
        ended = ties = 0
        for i, their in enumerate(generated(model, numbering, sources, beam, never)):
            ended += numbering.eos in their
            mine = [numbering.theirs(id, model.config.vocab_size) for id in ours[str(beam)][i]["tokens"]]
            mine += [numbering.eos] if len(mine) < MOST else []
            good = mine == their
            if not good and beam > 1:
                a, b = (score_of(model, numbering, sources[i], tokens) for tokens in (mine, their))
                good = abs(a - b) <= checks.tolerance
                ties += good
            checks(f"{name}: beam {beam} of sentence {i}", good, f"{mine} {their}")
        ends += ended > 0
        counts.append(f"beam {beam}: {ended} of {SENTENCES} ended, {ties} ties")
    print(f"{name}: " + "; ".join(counts), flush=True)
    return ends == 2


def compare_languages(checks, chorus, name, model, tokenizer, numbering, ours):
    """The source's ids are those of "<2de> text"; translations and scores are transformers'."""
    lines = list(parity.training_lines(random.Random(2), 20))
    ids = [tokenizer.encode(f"<2de> {line}") for line in lines]
    checks(f"{name}: the tag is one piece", all(tokenizer.convert_tokens_to_ids("<2de>") in row for row in ids))
    text = "".join(line + "\n" for line in lines).encode()
    never = [0, 1, 3, *(tokenizer.convert_tokens_to_ids(f"<2{tag}>") for tag in TAGS)]  # translate writes text
    for beam in (1, 4):
        made = chorus.run("translate", "--model", ours, "--to", "de", "--beam", beam, "--max-length", MOST, "--max-length-factor", 0,
                          "--json", input=text).decode().split("\n")[:-1]  # fmt: skip
        for line, row, mine in zip(lines, generated(model, numbering, ids, beam, never), made, strict=True):
            mine = [piece["piece"] for piece in json.loads(mine)["translations"][0]["tokens"]]
            their = tokenizer.convert_ids_to_tokens(row)
            checks(f"{name}: beam {beam} of {line!r}", mine == their, f"{mine} {their}")
    source, target = ours.parent / "source", ours.parent / "target"
    source.write_bytes(text)
    target.write_bytes("".join(line + "\n" for line in reversed(lines)).encode())
    scores = chorus.run("score", "--model", ours, "--to", "de", "--source", source, "--target", target).decode().split()
    for row, other, score in zip(ids, reversed(lines), scores, strict=True):
        tokens = tokenizer.encode(other)
        theirs = score_of(model, numbering, row, tokens) * len(tokens)
        checks(f"{name}: score of {other!r}", abs(float(score) - theirs) < 1e-3, f"{score} {theirs}")
    about = json.loads(chorus.run("vocab", "--model", ours, "--json"))
    checks(f"{name}: languages", about["languages"] == TAGS, about["languages"])
    refused = chorus.refusal("translate", "--model", ours)
    checks(f"{name}: --to is asked for", "--to is missing" in refused, refused)


def compare_model(checks, chorus, folder, name, model, tokenizer, numbering, shard=None):
    folder = folder / name.replace(" ", "-")
    folder.mkdir()
    theirs, ours, back, again = (folder / part for part in ("theirs", "ours", "back", "again"))
    model.save_pretrained(theirs, **({"max_shard_size": shard} if shard else {}))
    tokenizer.save_pretrained(theirs)
    chorus.run("import", theirs, "--out", ours)
    batches, sources = make_input(folder / "input.json", model.config.vocab_size, numbering)
    numbers, translations = chorus.probe(ours, folder / "input.json", folder / "output")
    compare_numbers(checks, name, model, numbering, batches, numbers)
    checks(f"{name}: some end", compare_decoding(checks, name, model, numbering, sources, translations), "a test of nothing")
    if numbering.madlad:
        compare_languages(checks, chorus, name, model, tokenizer, numbering, ours)
    chorus.run("export", ours, "--format", "t5", "--out", back)
    checks(f"{name}: there and back", parity.same_tensors(switch_parity.tensors_of(theirs), switch_parity.tensors_of(back)))
    _, back_tokenizer = parity.load_quietly(checks, name, back)
    checks(f"{name}: transformers reads the same tokenizer", tokenizer.get_vocab() == back_tokenizer.get_vocab())
    chorus.run("import", back, "--out", again)
    same = all((ours / file.name).read_bytes() == file.read_bytes() for file in again.iterdir())
    checks(f"{name}: imported again, the same files", same)


def main():
    with parity.comparing(__doc__) as (checks, chorus, folder):
        plain, t5 = Numbering(madlad=False), switch_parity.t5_tokenizer(folder)
        madlad, tokenizer = Numbering(madlad=True), madlad_tokenizer(folder)

        def compare(name, seed, numbering, shard=None, **options):
            rows = len(tokenizer) if numbering.madlad else len(t5) + 28
            model = make_model(rows, seed, numbering, **options)
            compare_model(checks, chorus, folder, name, model, tokenizer if numbering.madlad else t5, numbering, shard)

        compare("T5", 1, plain)
        compare("T5 1.1", 2, plain, shard="50KB", feed_forward_proj="gated-gelu", tie_word_embeddings=False, num_decoder_layers=3)
        compare("T5 with gelu", 3, plain, feed_forward_proj="gelu")
        compare("T5 with a gate of silu", 4, plain, feed_forward_proj="gated-silu", num_layers=3)
        compare("MADLAD", 5, madlad, feed_forward_proj="gated-gelu", tie_word_embeddings=False, d_kv=16, num_heads=2,
                relative_attention_num_buckets=32, relative_attention_max_distance=128)  # fmt: skip


if __name__ == "__main__":
    main()
