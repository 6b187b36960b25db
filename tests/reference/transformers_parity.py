#!/usr/bin/env python3
"""Compares what chorus computes with what Hugging Face transformers computes, on models with random weights.

    tests/reference/transformers_parity.py --chorus build/release/chorus --venv .venv

Each model is made and saved by transformers, brought in by `chorus import`, and run by both on the same token ids (the
program tests/probe runs chorus): encoder states, router probabilities and choices, logits, log-probabilities of given
targets, and what greedy and beam search make of 200 sentences. Then `chorus export` writes it back: transformers must
load it without a word, and its tensors must be the ones it began with. A model with one expert is exported as the dense
model that it is. Tokenizers are compared on nasty text.

Numbers agree to 1e-4. Where two experts are so nearly equally probable that rounding may choose (their probabilities
differ by less than 1e-5), the choice is not compared, and of that row's numbers nothing that depends on it. Where beam
search returns other tokens, transformers itself must give both the same score to 1e-4: a tie; ties are counted.

The virtual environment is made, and the packages put into it, where that has not been done. Exit code: 0 all equal, 1
otherwise.

Known to differ, and so not compared: special tokens and language tags spelt out in the text, which are text to chorus and
tokens to transformers; unknown characters, which chorus shows as SentencePiece does and transformers as <unk>.
"""

import json
import random

import parity
from parity import TIE, comparing, load_quietly, same_tensors, train_sentencepiece, training_lines

SENTENCES, MOST = 200, 24  # translations of at most MOST tokens, tag and </s> included
NLLB_LANGUAGES = ["eng_Latn", "deu_Latn", "zho_Hans", "fra_Latn"]
SYMBOLS = ["<ph>", "{name}", "x²"]  # user-defined ones of NLLB's SentencePiece model; the last one is not normalised


# ---- vocabularies


def nllb_tokenizer(folder, **options):
    from transformers import NllbTokenizer

    symbols = ",".join(SYMBOLS)
    model = train_sentencepiece(folder, "nllb", character_coverage=0.99, user_defined_symbols=symbols, **options)
    return NllbTokenizer(str(model), src_lang="eng_Latn", additional_special_tokens=NLLB_LANGUAGES)


def m2m100_tokenizer(folder):
    """Ids in another order than SentencePiece's, one piece left out and one that SentencePiece does not have."""
    import sentencepiece
    from transformers import M2M100Tokenizer

    model = train_sentencepiece(folder, "m2m100", model_type="bpe", character_coverage=0.99)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    pieces = [processor.id_to_piece(i) for i in range(3, len(processor))]
    random.Random(5).shuffle(pieces)
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *pieces[1:], "madeupword0000"]
    vocab = folder / "m2m100.vocab.json"
    vocab.write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))
    return M2M100Tokenizer(str(vocab), str(model), src_lang="en")


def compare_tokenizer(checks, chorus, name, tokenizer, folder):
    from sacrebleu_parity import nasty_lines

    lines = [*training_lines(random.Random(9), 300), *nasty_lines(random.Random(4), 700)]
    lines += [line.replace(" ", f" {symbol}", 2) for line in lines[:100] for symbol in SYMBOLS]
    special = [token for token in tokenizer.all_special_tokens if token.strip()]
    lines = [line.replace("\n", " ") for line in lines if not any(token in line for token in special)]
    theirs = [tokenizer.encode(line, add_special_tokens=False) for line in lines]
    for line, our, their in zip(lines, chorus.encode(folder, lines), theirs, strict=True):
        checks(f"{name}: ids of {line!r}", our == their, f"{our} {their}")
    known = [ids for ids in theirs if tokenizer.unk_token_id not in ids]
    for ids, our in zip(known, chorus.decode(folder, known), strict=True):
        their = tokenizer.decode(ids, skip_special_tokens=True)
        checks(f"{name}: text of {ids}", our.strip() == their.strip(), f"{our!r} {their!r}")
    about = json.loads(chorus.run("vocab", "--model", folder, "--json"))
    for language, tag in zip(about["languages"], about["tags"], strict=True):
        token = f"__{language}__" if type(tokenizer).__name__ == "M2M100Tokenizer" else language
        checks(f"{name}: tag of {language}", tag == tokenizer.convert_tokens_to_ids(token), tag)
    checks(f"{name}: languages", len(about["languages"]) == len(getattr(tokenizer, "lang_code_to_id", NLLB_LANGUAGES)))
    print(f"{name}: {len(lines)} lines, {len(known)} without unknown characters, {about['size']} ids", flush=True)


# ---- models


def randomise(model, seed, router=3.0):
    """Weights of a trained model's size, biases and norms that are not 0 and 1, routing that is far from uniform."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        normal = torch.randn(weight.shape, generator=generator)
        if "shared" in name or "embed" in name:
            normal *= weight.shape[1] ** -0.5
            normal[2] *= 2.5  # translations end, some of them
        elif "layer_norm.weight" in name:
            normal = 1 + 0.2 * normal
        elif name.endswith("bias"):
            normal *= 0.1
        elif "out_proj" in name or "fc2" in name:
            normal *= 3 * weight.shape[1] ** -0.5  # or each token begets itself
        elif "router" in name:
            normal *= router * weight.shape[1] ** -0.5
        else:
            normal *= 1.2 * weight.shape[1] ** -0.5
        weight.data.copy_(normal)
    return model.eval()


def make_model(kind, vocabulary, seed, **options):
    import transformers

    shape = dict(
        vocab_size=vocabulary, d_model=32, encoder_layers=2, decoder_layers=2, encoder_ffn_dim=48, decoder_ffn_dim=48,
        encoder_attention_heads=4, decoder_attention_heads=4, max_position_embeddings=64, dropout=0.1,
    )  # fmt: skip
    shape.update(options)
    if kind == "m2m100":
        model = transformers.M2M100ForConditionalGeneration(transformers.M2M100Config(**shape))
    else:
        model = transformers.NllbMoeForConditionalGeneration(transformers.NllbMoeConfig(**shape))
    return randomise(model, seed)


def tensors_of(folder):
    import safetensors.torch

    tensors = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors.update(safetensors.torch.load_file(file))
    ties = ("lm_head.weight", "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight")
    return {name: tensor for name, tensor in tensors.items() if name not in ties}


# ---- what both compute


def random_rows(rng, count, longest, vocabulary, head):
    return [[*head, *(rng.randrange(4, vocabulary) for _ in range(rng.randint(1, longest))), 2] for _ in range(count)]


def padded(rows):
    return parity.padded(rows, 1)


def make_input(path, vocabulary, tags):
    """Batches of uneven length, one of a single row and token; sentences to translate, each with its target's tag."""
    rng = random.Random(7)
    batches = []
    for rows, longest in [(5, 14), (1, 1), (9, 20)]:
        source = random_rows(rng, rows, longest, vocabulary, [tags[0]])
        target = [[2, tags[1], *row[1:-1]] for row in random_rows(rng, rows, longest, vocabulary, [0])]
        batches.append({"source": source, "target": target})
    source = random_rows(rng, SENTENCES, 12, vocabulary, [tags[0]])
    forced = [[tags[i % 2]] for i in range(SENTENCES)]
    decode = {"source": source, "forced": forced, "never": [1], "most": MOST, "beams": [1, 4], "penalties": [1, 1.3]}
    data = {"batches": batches, "decode": decode}
    path.write_text(json.dumps(data))
    return data


def watch_routers(model):
    """Collects, of each sparse layer in order, the router's probabilities and its choices, most probable first."""
    import torch

    seen = []
    for module in model.modules():
        if type(module).__name__ == "NllbMoeTop2Router":
            def record(module, inputs, output):
                hidden = inputs[0].reshape(-1, inputs[0].shape[-1])
                seen.append(torch.softmax(module.classifier(hidden), -1))
                module_seen = output[1].reshape(-1, module.num_experts)  # the gates, zero where not chosen
                seen[-1] = (seen[-1], module_seen)

            module.register_forward_hook(record)
    return seen


def compare_numbers(checks, name, model, data, ours):
    import torch

    seen = watch_routers(model)
    worst, skipped = {}, 0

    def close(what, tensor, mine, theirs, sure):
        if sure.any():
            worst[what] = max(worst.get(what, 0), checks.close(f"{name} {tensor}", mine, theirs, sure) or 0)

    for b, batch in enumerate(data["batches"]):
        source, target = padded(batch["source"]), padded(batch["target"])
        seen.clear()
        with torch.no_grad():
            result = model(input_ids=source, attention_mask=source.ne(1).long(), decoder_input_ids=target,
                           decoder_attention_mask=target.ne(1).long())  # fmt: skip
        s_rows, t_rows = source.ne(1), target.ne(1)
        sparse_encoder = sum(1 for m in model.get_encoder().modules() if type(m).__name__ == "NllbMoeTop2Router")
        doubtful = torch.zeros(len(source), dtype=torch.bool)
        for layer, (probabilities, gates) in enumerate(seen):
            active = (s_rows if layer < sparse_encoder else t_rows).reshape(-1)
            mine, experts = ours[f"{b}.router.{layer}"], ours[f"{b}.experts.{layer}"]
            k = min(2, probabilities.shape[1])
            top = probabilities.topk(min(3, probabilities.shape[1]), -1).values
            near = (top[:, :-1] - top[:, 1:] < TIE).any(-1) & active
            doubtful |= near.view(len(source), -1).any(-1)
            sure = (active.view(len(source), -1) & ~doubtful.unsqueeze(1)).reshape(-1)
            close("router", f"{b}.router.{layer}", mine, probabilities, sure)
            chosen = gates.topk(k, -1).indices if k > 1 else gates.argmax(-1, keepdim=True)
            checks(f"{name} {b}.experts.{layer}", experts[sure].sort(-1).values.equal(chosen[sure].sort(-1).values))
            checks(f"{name} {b}.experts.{layer} of padding", (experts[~active] == -1).all())
        skipped += int(doubtful.sum())
        for what, mine, theirs, rows in [
            ("encoder", ours[f"{b}.encoder"], result.encoder_last_hidden_state, s_rows),
            ("logits", ours[f"{b}.logits"], result.logits, t_rows),
        ]:
            close(what, f"{b}.{what}", mine, theirs, rows & ~doubtful.unsqueeze(1))
        labels = torch.cat([target[:, 1:], torch.ones_like(target[:, :1])], 1)
        nll = -torch.log_softmax(result.logits, -1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)
        close("nll", f"{b}.nll", ours[f"{b}.nll"], nll, labels.ne(1) & ~doubtful.unsqueeze(1))
    print(f"{name}: " + ", ".join(f"{k} {v:.1e}" for k, v in worst.items()) + f"; {skipped} rows near a tie", flush=True)


def score_of(model, source, tokens, tag, penalty):
    """transformers' score of a translation: the sum of its (penalised) log-probabilities over its length."""
    import torch

    target = torch.tensor([[2, tag, *tokens]])
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([source]), decoder_input_ids=target).logits[0]
    chosen = torch.log_softmax(logits.double(), -1)[:-1].gather(1, target[0, 1:].unsqueeze(1)).squeeze(1).tolist()
    read = target[0].tolist()
    total = sum(chosen[i] * (penalty if read[i + 1] in read[: i + 1] else 1) for i in range(1, len(chosen)))
    return total / (len(tokens) + 1)


def compare_decoding(checks, name, model, data, ours):
    import torch

    decode = data["decode"]
    counts = []
    for beam, penalty in [(beam, penalty) for beam in decode["beams"] for penalty in decode["penalties"]]:
        ended = ties = 0
        case = str(beam) if penalty == 1 else f"{beam} {penalty}"
        for tag in sorted({forced[0] for forced in decode["forced"]}):
            chosen = [i for i, forced in enumerate(decode["forced"]) if forced[0] == tag]
            source = padded([decode["source"][i] for i in chosen])
            with torch.no_grad():
                output = model.generate(input_ids=source, attention_mask=source.ne(1).long(), num_beams=beam, do_sample=False,
                                        forced_bos_token_id=tag, suppress_tokens=[1], max_length=MOST + 1,
                                        repetition_penalty=float(penalty))  # fmt: skip
            for i, row in zip(chosen, output.tolist(), strict=True):
                their = [token for token in row[2:] if token != 1]  # without </s> and the tag, and padding
                finished = their[-1:] == [2]
                ended += finished
                mine = ours[case][i]["tokens"] + ([2] if finished else [])
                good = mine == their
                if not good and beam > 1:
                    a, b = (score_of(model, decode["source"][i], tokens, tag, penalty) for tokens in (mine, their))
                    good = abs(a - b) <= checks.tolerance
                    ties += good
                checks(f"{name}: beam {case} of sentence {i}", good, f"{mine} {their}")
        counts.append(f"beam {case}: {ended} of {SENTENCES} ended, {ties} ties")
    print(f"{name}: " + "; ".join(counts), flush=True)


def compare_model(checks, chorus, folder, name, model, tokenizer, tags, format, shard=None, dtype=None):
    """One model from transformers to chorus and back."""
    import torch

    folder = folder / name.replace(" ", "-")
    folder.mkdir()
    theirs, ours, back = folder / "theirs", folder / "ours", folder / "back"
    model.to(dtype or torch.float32).save_pretrained(theirs, **({"max_shard_size": shard} if shard else {}))
    tokenizer.save_pretrained(theirs)
    model = type(model).from_pretrained(theirs, dtype=torch.float32).eval()
    chorus.run("import", theirs, "--out", ours)
    data = make_input(folder / "input.json", model.config.vocab_size, tags)
    numbers, translations = chorus.probe(ours, folder / "input.json", folder / "output")
    compare_numbers(checks, name, model, data, numbers)
    compare_decoding(checks, name, model, data, translations)
    chorus.run("export", ours, "--format", format, "--out", back, *(["--shard-size", "1e-4"] if shard else []))
    checks(f"{name}: there and back", same_tensors(tensors_of(theirs), tensors_of(back)))
    again, again_tokenizer = load_quietly(checks, name, back)
    same = all(a.equal(b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))
    checks(f"{name}: transformers reads the same weights", same)
    again_tokenizer.src_lang = tokenizer.src_lang
    lines = list(training_lines(random.Random(8), 100))
    same = all(tokenizer.encode(line) == again_tokenizer.encode(line) for line in lines)
    checks(f"{name}: transformers reads the same tokenizer", same and type(tokenizer) is type(again_tokenizer))
    if type(tokenizer).__name__ == "NllbTokenizer":
        checks(f"{name}: and in it the same tokens", tokenizer.get_vocab() == again_tokenizer.get_vocab())
    again_bf16, _ = load_quietly(checks, name, back, dtype="auto")
    checks(f"{name}: type of the file", again_bf16.dtype == (dtype or torch.float32))
    return ours, data, numbers, translations


def compare_small100(checks, chorus, folder, tokenizer, rows):
    """SMaLL-100: M2M100 whose source begins with the tag of the target, and whose decoder is given none."""
    import torch

    name, folder = "SMaLL-100", folder / "SMaLL-100"
    theirs, ours = folder / "theirs", folder / "ours"
    model = make_model("m2m100", rows, 9, encoder_layers=4, decoder_layers=1)
    model.save_pretrained(theirs)
    tokenizer.save_pretrained(theirs)
    config = json.loads((theirs / "tokenizer_config.json").read_text())
    (theirs / "tokenizer_config.json").write_text(json.dumps({**config, "tokenizer_class": "SMALL100Tokenizer"}))
    chorus.run("import", theirs, "--out", ours)
    lines = list(training_lines(random.Random(12), 40))
    ids = [[tokenizer.get_lang_id("de"), *tokenizer.encode(line, add_special_tokens=False), 2] for line in lines]
    source = padded(ids)
    never = [0, 1, 3, *range(len(tokenizer.encoder), rows)]  # translate writes text
    for beam in (1, 4):
        with torch.no_grad():
            output = model.generate(input_ids=source, attention_mask=source.ne(1).long(), num_beams=beam, do_sample=False,
                                    suppress_tokens=never, max_length=MOST + 1)  # fmt: skip
        text = "".join(line + "\n" for line in lines).encode()
        made = chorus.run("translate", "--model", ours, "--to", "de", "--beam", beam, "--max-length", MOST, "--max-length-factor", 0,
                          "--json", input=text).decode().split("\n")[:-1]  # fmt: skip
        for line, row, mine in zip(lines, output.tolist(), made, strict=True):
            their = tokenizer.convert_ids_to_tokens([id for id in row[1:] if id != 1])
            mine = [piece["piece"] for piece in json.loads(mine)["translations"][0]["tokens"]]
            checks(f"{name}: beam {beam} of {line!r}", mine == their, f"{mine} {their}")
    refused = chorus.refusal("translate", "--model", ours, "--from", "en")
    checks(f"{name}: --to is asked for", "--to is missing" in refused, refused)


def main():
    with comparing(__doc__) as (checks, chorus, folder):
        import torch

        nllb, m2m100 = nllb_tokenizer(folder), m2m100_tokenizer(folder)
        nllb_tags = nllb.convert_tokens_to_ids(["eng_Latn", "deu_Latn"])
        m2m100_tags = [m2m100.get_lang_id("en"), m2m100.get_lang_id("de")]
        nllb_rows, m2m100_rows = len(nllb), max(m2m100.id_to_lang_token) + 1 + m2m100.num_madeup_words

        def compare(name, kind, seed, tokenizer="nllb", shard=None, dtype=None, **options):
            rows = nllb_rows if tokenizer == "nllb" else m2m100_rows
            model = make_model(kind, rows, seed, **options)
            return compare_model(checks, chorus, folder, name, model, nllb if tokenizer == "nllb" else m2m100,
                                 nllb_tags if tokenizer == "nllb" else m2m100_tags, kind, shard, dtype)  # fmt: skip

        moe = dict(kind="nllb-moe", num_experts=4, encoder_sparse_step=1, decoder_sparse_step=1)
        compare("4 experts everywhere", seed=1, **moe)
        compare("4 experts normalised first", seed=2, **moe, normalize_router_prob_before_dropping=True)
        compare("8 experts in every second layer in shards", seed=3, shard="50KB",
                **{**moe, "num_experts": 8, "encoder_sparse_step": 2, "decoder_sparse_step": 3, "encoder_layers": 3,
                   "decoder_layers": 3, "moe_token_dropout": 0.0})  # fmt: skip
        compare("bf16", seed=4, dtype=torch.bfloat16, **{**moe, "decoder_sparse_step": 0})
        compare("f16", seed=5, dtype=torch.float16, **moe)
        compare("M2M100", "m2m100", 6, "m2m100")
        compare("M2M100 with gelu and NLLB's vocabulary", "m2m100", 7, activation_function="gelu")
        one, data, _, translations = compare("one expert", seed=8, **{**moe, "num_experts": 1})

        dense = folder / "one-expert-dense"
        chorus.run("export", one, "--format", "m2m100", "--out", dense)
        model, _ = load_quietly(checks, "one expert as M2M100", dense)
        numbers = {k: v for k, v in chorus.probe(one, folder / "one-expert/input.json", dense / "output")[0].items()}
        compare_numbers(checks, "one expert as M2M100", model, data, numbers)
        compare_decoding(checks, "one expert as M2M100", model, data, translations)

        compare_small100(checks, chorus, folder, m2m100, m2m100_rows)
        compare_tokenizer(checks, chorus, "NLLB's tokenizer", nllb, folder / "4-experts-everywhere/ours")
        compare_tokenizer(checks, chorus, "M2M100's tokenizer", m2m100, folder / "M2M100/ours")


if __name__ == "__main__":
    main()
