#!/usr/bin/env python3
"""Compares what chorus computes with what Hugging Face transformers computes, on MarianMTModels (OPUS-MT) with random
weights.

    tests/reference/marian_parity.py --chorus build/release/chorus --venv .venv

As t5_parity.py does: encoder states, logits token by token and in one pass, gradients (that of final_logits_bias too, which
transformers does not train), greedy and beam search of 200 sentences, export and the way back. The tokenizer has two
SentencePiece models, of different kinds, over one vocab.json, in which are tokens that one or both do not have; ids,
translations and scores of text, with targets' tags and without, are compared through the programs.

Ids differ by two (docs/huggingface.md): chorus's id i is transformers' i - 2, counted round.

Known to differ, and so not compared: what is spelt as a token in the text, a tag or </s>, which is text to chorus; unknown
characters in what is shown.
"""

import json
import random

import parity
import t5_parity
from sacrebleu_parity import nasty_lines

MOST = t5_parity.MOST
TAGS = ["fra", "por_Latn", "zho"]


class Numbering(t5_parity.Numbering):
    never = (1,)  # padding

    def __init__(self, rows):
        self.rows, self.pad, self.eos, self.start, self.madlad = rows, rows - 1, 0, rows - 1, False

    def ours(self, id):
        return (id + 2) % self.rows

    def theirs(self, id, rows):
        return (id - 2) % rows


def make_tokenizer(folder, tags):
    """vocab.json has the pieces of both models in an order of its own, characters and words of neither, and the tags."""
    import sentencepiece
    from transformers import MarianTokenizer

    source = parity.train_sentencepiece(folder, "source", character_coverage=0.99)
    target = parity.train_sentencepiece(folder, "target", character_coverage=0.98, model_type="bpe")
    pieces = set()
    for model in (source, target):
        processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
        pieces |= {processor.id_to_piece(i) for i in range(processor.get_piece_size())}
    pieces -= {"<unk>", "<s>", "</s>"}
    pieces = sorted(pieces | {"▁neither", "é", "漢", *(f">>{tag}<<" for tag in tags)})
    del pieces[10:20]  # what a model has and the list does not is unknown
    random.Random(1).shuffle(pieces)
    vocab = folder / "vocab.json"
    vocab.write_text(json.dumps({piece: i for i, piece in enumerate(["</s>", "<unk>", *pieces, "<pad>"])}))
    return MarianTokenizer(str(source), str(target), str(vocab), source_lang="en", target_lang="ROMANCE" if tags else "de")


def make_model(rows, seed, **options):
    import torch
    import transformers

    shape = dict(
        vocab_size=rows, d_model=32, encoder_ffn_dim=48, decoder_ffn_dim=48, encoder_attention_heads=4, decoder_attention_heads=4,
        encoder_layers=2, decoder_layers=2, dropout=0.0, max_position_embeddings=128, activation_function="swish", scale_embedding=True,
        pad_token_id=rows - 1, decoder_start_token_id=rows - 1, eos_token_id=0, forced_eos_token_id=None,
    )  # fmt: skip
    model = transformers.MarianMTModel(transformers.MarianConfig(**{**shape, **options}))
    generator = torch.Generator().manual_seed(seed)
    scale = model.config.scale_embedding
    for name, weight in [*model.named_parameters(), *model.named_buffers()]:
        if "embed_positions" in name:
            continue
        normal = torch.randn(weight.shape, generator=generator)
        if "shared" in name or "lm_head" in name:
            normal[0] *= 2
            normal *= (1.0 if scale else 2.0) * weight.shape[1] ** -0.5
        elif "layer_norm.weight" in name:
            normal = 1.5 + 0.2 * normal
        elif weight.dim() > 1 and "final_logits" not in name:
            normal *= (0.9 if "q_proj" in name or "k_proj" in name else 1.2) * weight.shape[1] ** -0.5
        else:
            normal *= 0.3
        weight.data.copy_(normal)
    model.final_logits_bias[0, 0] += 6 if scale else 10  # so that some end
    model.final_logits_bias.requires_grad_()
    return model.eval()


def compare_tokenizer(checks, chorus, name, tokenizer, numbering, ours):
    """The ids of text, and the text of ids; blank and unknown text too."""
    rng = random.Random(4)
    lines = [line for line in [*parity.training_lines(rng, 200), *nasty_lines(rng, 200)] if "\n" not in line and "\r" not in line]
    lines = [line.strip() for line in lines if not any(f"<{t}>" in line for t in ("/s", "unk", "pad"))]
    lines = [line for line in lines if line and line.isprintable() and not line.startswith(">>")]
    lines += ["é漢 neither", "漢", "neither neithers"]
    for line, row in zip(lines, chorus.encode(ours, lines), strict=True):
        theirs = [numbering.ours(id) for id in tokenizer.encode(line)[:-1]]
        checks(f"{name}: ids of {line!r}", row == theirs, f"{row} {theirs}")
    rows = [[id for id in tokenizer(text_target=line).input_ids[:-1] if id != 1] for line in lines]
    rows = [row for row in rows if row] + [[2, 5, 9], list(range(2, 40))]
    mine = chorus.decode(ours, [[numbering.ours(id) for id in row] for row in rows])
    for row, line in zip(rows, mine, strict=True):
        row = [id for id in row if not tokenizer.convert_ids_to_tokens(id).startswith(">>")]
        theirs = tokenizer.decode(row, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        checks(f"{name}: text of {row}", line.strip() == theirs, f"{line!r} {theirs!r}")
    print(f"{name}: ids of {len(lines)} lines, text of {len(rows)}", flush=True)


def compare_text(checks, chorus, name, model, tokenizer, numbering, ours, tag):
    """Translations and scores of text are transformers'."""
    lines = list(parity.training_lines(random.Random(2), 20))
    before = f">>{tag}<< " if tag else ""
    ids = [tokenizer.encode(before + line) for line in lines]
    to = ("--to", tag) if tag else ()
    text = "".join(line + "\n" for line in lines).encode()
    tags = [token for token in tokenizer.get_vocab() if token.startswith(">>")]
    never = [1, numbering.pad, *(tokenizer.convert_tokens_to_ids(token) for token in tags)]  # translate writes text
    for beam in (1, 4):
        made = chorus.run("translate", "--model", ours, *to, "--beam", beam, "--max-length", MOST, "--max-length-factor", 0,
                          "--json", input=text).decode().split("\n")[:-1]  # fmt: skip
        for line, row, mine in zip(lines, t5_parity.generated(model, numbering, ids, beam, never), made, strict=True):
            mine = [piece["piece"] for piece in json.loads(mine)["translations"][0]["tokens"]]
            their = tokenizer.convert_ids_to_tokens(row)
            checks(f"{name}: beam {beam} of {line!r}", mine == their, f"{mine} {their}")
    source, target = ours.parent / "source", ours.parent / "target"
    source.write_bytes(text)
    target.write_bytes("".join(line + "\n" for line in reversed(lines)).encode())
    scores = chorus.run("score", "--model", ours, *to, "--source", source, "--target", target).decode().split()
    for row, other, score in zip(ids, reversed(lines), scores, strict=True):
        tokens = tokenizer(text_target=other).input_ids
        theirs = t5_parity.score_of(model, numbering, row, tokens) * len(tokens)
        checks(f"{name}: score of {other!r}", abs(float(score) - theirs) < 1e-3, f"{score} {theirs}")
    about = json.loads(chorus.run("vocab", "--model", ours, "--json"))
    theirs = [t.strip("<>") for t in sorted(tags, key=tokenizer.convert_tokens_to_ids)]
    checks(f"{name}: languages", about["languages"] == ["en", *(theirs or ["de"])], about["languages"])
    wrong = [("--from", "xx"), ("--to", "xx"), ("--to", "en"), *([()] if tag else [("--from", "de")])]
    for options in wrong:
        refused = chorus.refusal("translate", "--model", ours, *options)
        checks(f"{name}: {options} is refused", refused.count("\n") == 1, refused)


def compare_model(checks, chorus, folder, name, model, tokenizer, tag=None, shard=None):
    folder = folder / name.replace(" ", "-")
    folder.mkdir()
    theirs, ours, back, again = (folder / part for part in ("theirs", "ours", "back", "again"))
    model.save_pretrained(theirs, **({"max_shard_size": shard} if shard else {}))
    tokenizer.save_pretrained(theirs)
    chorus.run("import", theirs, "--out", ours)
    numbering = Numbering(model.config.vocab_size)
    batches, sources = t5_parity.make_input(folder / "input.json", model.config.vocab_size, numbering)
    numbers, translations = chorus.probe(ours, folder / "input.json", folder / "output")
    t5_parity.compare_numbers(checks, name, model, numbering, batches, numbers)
    ends = t5_parity.compare_decoding(checks, name, model, numbering, sources, translations)
    checks(f"{name}: some end", ends, "a test of nothing")
    compare_tokenizer(checks, chorus, name, tokenizer, numbering, ours)
    compare_text(checks, chorus, name, model, tokenizer, numbering, ours, tag)
    chorus.run("export", ours, "--format", "marian", "--out", back)
    checks(f"{name}: there and back", parity.same_tensors(tensors_of(theirs), tensors_of(back)))
    back_model, back_tokenizer = parity.load_quietly(checks, name, back, known=["Recommended: pip install sacremoses."])
    checks(f"{name}: transformers reads the same tokenizer", tokenizer.get_vocab() == back_tokenizer.get_vocab())
    checks(f"{name}: never padding", back_model.generation_config.bad_words_ids == [[numbering.pad]])
    chorus.run("import", back, "--out", again)
    same = all((ours / file.name).read_bytes() == file.read_bytes() for file in again.iterdir())
    checks(f"{name}: imported again, the same files", same)
    for options in (("upcycle", ours, "--experts", 4, "--out", folder / "no"), ("export", ours, "--format", "m2m100", "--out", folder / "no")):
        refused = chorus.refusal(*options)
        checks(f"{name}: {options[0]} is refused", refused.count("\n") == 1, refused)
    chorus.run("quantize", ours, "--dense", "int8", "--out", folder / "small")
    chorus.run("translate", "--model", folder / "small", *(("--to", tag) if tag else ()), input=b"one line\n")


def tensors_of(folder):
    """Without the copies of the embedding, of which transformers saves one or none."""
    import safetensors.torch

    tensors = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors.update(safetensors.torch.load_file(file))
    tied = [name for name in tensors if "embed_tokens" in name or (name == "lm_head.weight" and tensors[name].equal(tensors["model.shared.weight"]))]
    return {name: tensor for name, tensor in tensors.items() if name not in tied}


def main():
    with parity.comparing(__doc__) as (checks, chorus, folder):
        one, many = (folder / part for part in ("one", "many"))
        one.mkdir()
        many.mkdir()
        bilingual, multilingual = make_tokenizer(one, []), make_tokenizer(many, TAGS)

        def compare(name, seed, tokenizer, tag=None, shard=None, **options):
            model = make_model(len(tokenizer), seed, **options)
            compare_model(checks, chorus, folder, name, model, tokenizer, tag, shard)

        compare("OPUS-MT", 1, bilingual)
        compare("OPUS-MT to several", 2, multilingual, tag="por_Latn", shard="50KB", decoder_layers=3)
        compare("OPUS-MT big", 6, bilingual, activation_function="relu", scale_embedding=False, encoder_layers=3)
        compare("OPUS-MT with gelu, untied", 4, multilingual, tag="zho", activation_function="gelu", tie_word_embeddings=False)


if __name__ == "__main__":
    main()
