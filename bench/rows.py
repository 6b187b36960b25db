"""The rows of the table: which cases, against whom, and what each is expected to reach (issue: at least)."""
import numpy

from cells import WIDTH, Cell, Models, Ratio, Side, layer_cell
from rows_ranks import ranks_deepspeed, ranks_exchange, ranks_moving, ranks_training


# ---- one MoE layer ---------------------------------------------------------------------------------------------------------

def against_transformers():
    bars = {8: 1.2, 32: None, 128: 30}
    for dtype in ("fp32", "bf16"):
        for experts in (8, 32, 128):
            for tokens in (512, 4096):
                bar = {"fp32": 8, "bf16": 3.5}[dtype] if (experts, tokens) == (32, 4096) else bars[experts]
                yield layer_cell(
                    "MoE layer, forward + backward, against transformers' NllbMoeSparseMLP", f"moe-transformers/{dtype}/{experts}/{tokens}",
                    f"{dtype}, {experts} experts, {tokens} tokens", tokens, experts, 2, 1,
                    {"chorus": ("chorus", {"work": "moe_layer", "dtype": dtype}),
                     "chorus top-1": ("chorus", {"work": "moe_layer", "dtype": dtype, "k": 1, "normalize": False}),
                     "transformers": ("peer", {"work": "nllb_moe_layer", "dtype": dtype})},
                    [Ratio("top-2", "chorus", "transformers", bar),
                     Ratio("top-1 against its top-2", "chorus top-1", "transformers", bar)],
                    quick=(dtype, tokens, experts) in (("fp32", 4096, 8), ("fp32", 512, 32)), needs_bf16=dtype == "bf16",
                    check=lambda sides: {n: s for n, s in sides.items() if n != "chorus top-1"})


def against_bare():
    bars = {8: 1.25, 32: 0.9, 128: 1.0}
    for dtype in ("fp32", "bf16"):
        for experts in (8, 32, 128):
            for tokens in (512, 4096):
                for k in (1, 2):
                    yield layer_cell(
                        "MoE layer, forward + backward, against the bare products of rows sorted already",
                        f"moe-bare/{dtype}/{experts}/{tokens}/{k}", f"{dtype}, {experts} experts, {tokens} tokens, top-{k}",
                        tokens, experts, k, 1,
                        {"chorus": ("chorus", {"work": "moe_layer", "dtype": dtype}),
                         "bare": ("peer", {"work": "bare_experts", "dtype": dtype})},
                        [Ratio("time", "chorus", "bare", bars[experts] if tokens == 4096 else None)],
                        quick=(dtype, tokens, k) == ("fp32", 4096, 1), needs_bf16=dtype == "bf16")


def against_deepspeed():
    """Modes: capacity 1.25 with random token selection, dropless, and evaluation at capacity 2."""
    row = "MoE layer against DeepSpeed's MOELayer"
    grid = [(tokens, experts, skew) for tokens in (256, 512, 4096, 16384) for experts in (8, 32, 64, 128) for skew in (1, 4, 10)
            if tokens < 16384 or experts in (8, 64)]
    for dtype in ("fp32", "bf16"):
        for tokens, experts, skew in grid:
            for mode, k in (("capacity", 1), ("dropless", 1), ("dropless", 2), ("evaluation", 1)):
                if skew * k > experts or (k == 2 or mode == "evaluation" or dtype == "bf16") and (
                        tokens not in (512, 4096) or experts == 64 or skew == 10):
                    continue
                wasteful = mode == "evaluation" or mode == "dropless" and skew >= 4 or experts >= 64 and tokens <= 512
                options = {"dtype": dtype, "capacity": {"capacity": 1.25, "dropless": 0, "evaluation": 2.0}[mode],
                           "rts": mode == "capacity" and k == 1, "balance": 0.01, "evaluate": mode == "evaluation"}
                what = {"capacity": "capacity 1.25, RTS", "dropless": "dropless", "evaluation": "evaluation, capacity 2"}[mode]
                yield layer_cell(
                    row, f"moe-deepspeed/{dtype}/{mode}/{k}/{experts}/{tokens}/{skew}",
                    f"{dtype}, {what}, top-{k}, {experts} experts, {tokens} tokens", tokens, experts, k, skew,
                    {"chorus": ("chorus", {"work": "moe_layer", **options}), "DeepSpeed": ("peer", {"work": "deepspeed_layer", **options})},
                    [Ratio("time", "chorus", "DeepSpeed", 3 if wasteful else 1.1)], needs_bf16=dtype == "bf16",
                    quick=(dtype, tokens, experts, k) == ("fp32", 512, 64, 1) and skew == 4)


# ---- whole models ------------------------------------------------------------------------------------------------------------

def training_steps(models):
    bars = {("dense", "fp32"): 1.45, ("dense", "bf16"): 1.6, ("moe", "fp32"): 3.2, ("moe", "bf16"): 8}
    for kind in ("time", "peak"):
        for name, experts in (("dense", 0), ("moe", 32)):
            for dtype in ("fp32", "bf16"):
                row = {"time": "Whole training step (6+6 layers, d 512, 4096 tokens per side) against transformers + torch fused AdamW",
                       "peak": "Peak memory of that step beyond weights, gradients and optimizer state"}[kind]
                label = "dense" if name == "dense" else f"MoE of {experts} experts"
                yield Cell(f"step-{kind}/{dtype}/{name}", row, f"{label}, {dtype}",
                           {"chorus": Side("chorus", models.case("training_step", experts, dtype)),
                            "transformers": Side("peer", models.case("transformers_step", experts, dtype))},
                           [Ratio(kind, "chorus", "transformers", bars[name, dtype] if kind == "time" else 0.4)], kind=kind,
                           prepare=models.prepare(experts, 128, 32), quick=name == "dense" and dtype == "fp32",
                           needs_bf16=dtype == "bf16")


def translations(models):
    """Who stands against whom, and what is to be reached at batch 32 and 1."""
    peers = {("dense", "fp32"): {"transformers": (1.4, None), "CTranslate2 float32": (1.5, 2), "CTranslate2 int8": (1.4, 1.1)},
             ("dense", "bf16"): {"CTranslate2 int8": (1.0, 1.0)},
             ("dense", "int8"): {"CTranslate2 int8": (1.3, 2), "chorus fp32": (None, 2)},
             ("moe", "int4"): {"chorus fp32": (1.5, 3), "transformers": (4, 12)},
             ("moe", "fp32"): {"transformers": (1.8, None)},
             ("moe", "bf16"): {"transformers": (5, None)}}
    for (name, dtype), bars in peers.items():
        experts = 32 if name == "moe" else 0
        for beam in (4, 1):
            for batch in (32, 1):
                options = {"beam": beam, "length": 32}
                sides, ratios = {"chorus": Side("chorus", models.case("translation", experts, dtype, **options))}, []
                for peer, bar in bars.items():
                    work, _, compute = peer.lower().partition(" ")
                    sides[peer] = Side("chorus", models.case("translation", experts, compute, **options)) if work == "chorus" else \
                        Side("peer", models.case(f"{work}_translation", experts, "fp32" if dtype.startswith("int") else dtype, compute=compute, **options))
                    ratios.append(Ratio(peer, "chorus", peer, bar[batch == 1]))
                same = {"check": lambda sides: {}} if dtype.startswith("int") else {}  # other weights, other words
                yield Cell(f"translate/{name}/{dtype}/beam{beam}/batch{batch}",
                           "Translation, 32 tokens in and 32 out, against CTranslate2 and transformers",
                           f"{'MoE of 32 experts' if experts else 'dense'}, {dtype}, beam {beam}, batch {batch}", sides, ratios,
                           prepare=models.prepare(experts, batch, 32), quick=dtype == "fp32" and beam == 4 and not experts,
                           needs_bf16=dtype == "bf16" and "transformers" in sides, **same)


def translations_avx2(models):
    """Both sides held to AVX2, on a processor that has more."""
    for batch, bar in ((32, 1.6), (1, 2)):
        options = {"beam": 4, "length": 32}
        yield Cell(f"translate-avx2/dense/int8/beam4/batch{batch}", "Translation, 32 tokens in and 32 out, with AVX2 alone, against CTranslate2",
                   f"dense, int8, beam 4, batch {batch}",
                   {"chorus": Side("chorus", models.case("translation", 0, "int8", **options), isa="avx2"),
                    "CTranslate2 int8": Side("peer", models.case("ctranslate2_translation", 0, "fp32", compute="int8", **options), isa="avx2")},
                   [Ratio("CTranslate2 int8", "chorus", "CTranslate2 int8", bar)], prepare=models.prepare(0, batch, 32), check=lambda sides: {})


def shortlists(models):
    """8,000 pieces against all."""
    for vocabulary in (32000, 256000):
        for dtype in ("fp32", "int8"):
            for batch in (32, 1):
                options = {"beam": 4, "length": 32, "model": {"experts": 0, "vocabulary": vocabulary}}
                yield Cell(f"shortlist/{dtype}/{vocabulary}/batch{batch}",
                           "Translation, 32 tokens in and 32 out, with a shortlist of 8,000 pieces against all pieces",
                           f"dense, {dtype}, vocabulary {vocabulary:,}, beam 4, batch {batch}",
                           {"chorus": Side("chorus", models.case("translation", 0, dtype, shortlist=8000, **options)),
                            "all pieces": Side("chorus", models.case("translation", 0, dtype, **options))},
                           [Ratio("time", "chorus", "all pieces")], prepare=models.prepare(0, batch, 32), check=lambda sides: {})


def caches(models):
    """All else is the same."""
    for kind in ("time", "peak"):
        for length in (64, 256):
            options = {"beam": 4, "length": length}
            yield Cell(f"caches-{kind}/int8/{length}", "Translation of long sentences with keys and values in bf16 against fp32",
                       f"dense, int8, {length} tokens in and out, beam 4, batch 32",
                       {"chorus": Side("chorus", models.case("translation", 0, "int8", caches="bf16", **options)),
                        "fp32": Side("chorus", models.case("translation", 0, "int8", **options))},
                       [Ratio(kind, "chorus", "fp32")], kind=kind, prepare=models.prepare(0, 32, length), check=lambda sides: {})


# ---- kernels -------------------------------------------------------------------------------------------------------------

def dispatch(_):
    """Bytes that must move, d = 512 elements per row: dispatch reads and writes k rows per token, combine reads k and writes 1;
    backward, combine reads 1 and k and writes k, dispatch reads k and writes 1."""
    for work, rows_per_token in (("dispatch_combine", lambda k: 3 * k + 1), ("dispatch_combine_backward", lambda k: 3 * k + 2)):
        for dtype in ("fp32", "bf16"):
            for tokens in (512, 4096, 16384):
                for k in (1, 2):
                    size = tokens * WIDTH * rows_per_token(k) * {"fp32": 4, "bf16": 2}[dtype]
                    direction = "backward" if work.endswith("backward") else "forward"
                    yield Cell(f"dispatch/{dtype}/{direction}/{tokens}/{k}",
                               "Dispatch + combine alone against a copy of the bytes they must read and write",
                               f"{dtype}, {direction}, 32 experts, {tokens} tokens, top-{k}",
                               {"chorus": Side("chorus", {"work": work, "dtype": dtype, "tokens": tokens, "k": k, "experts": 32}),
                                "copy": Side("chorus", {"work": "copy", "bytes": size})},
                               [Ratio("time", "chorus", "copy", 0.6)], quick=(dtype, tokens) == ("fp32", 4096))


def losses(_):
    row = "Output layer + cross-entropy with gradients (4096 tokens, d 512), against libtorch's linear + cross_entropy"
    for kind in ("time", "peak"):
        for dtype in ("fp32", "bf16"):
            for vocabulary in (32000, 256000):
                case = {"dtype": dtype, "tokens": 4096, "vocabulary": vocabulary}
                yield Cell(f"loss-{kind}/{dtype}/{vocabulary}", row + {"time": ": time", "peak": ": peak memory beyond weight and gradients"}[kind],
                           f"{dtype}, vocabulary {vocabulary}",
                           {"chorus": Side("chorus", {"work": "output_loss", **case}),
                            "libtorch": Side("chorus", {"work": "torch_output_loss", **case})},
                           [Ratio(kind, "chorus", "libtorch", 1.0 if kind == "time" else 0.2)], kind=kind,
                           quick=dtype == "fp32" and vocabulary == 32000, needs_bf16=dtype == "bf16",
                           check=lambda sides: {})  # each draws its own data


def optimizers(_):
    for dtype in ("fp32", "bf16"):
        for with_norm in (False, True):
            case = {"dtype": dtype, "parameters": 1 << 26, "with_norm": with_norm}
            bar = 1.3 if dtype == "bf16" else 1.0
            yield Cell(f"adamw/{dtype}/{'clipped' if with_norm else 'step'}", "AdamW over 64 M parameters",
                       {"fp32": "fp32", "bf16": "bf16 weights, fp32 masters"}[dtype] + (", norm and clipping included" if with_norm else ""),
                       {"chorus": Side("chorus", {"work": "adamw", **case}),
                        "torch fused": Side("peer", {"work": "adamw", "optimizer": "torch", **case}),
                        "DeepSpeed CPUAdam": Side("peer", {"work": "adamw", "optimizer": "deepspeed", **case})},
                       [Ratio("torch fused", "chorus", "torch fused", bar),
                        Ratio("CPUAdam", "chorus", "DeepSpeed CPUAdam", bar)], quick=not with_norm)


def offload(models):
    """Bytes that the update must move, in turn: gradient for the norm; gradient, master, moments read; these three (fp32 weights are
    their own masters) and bf16 weights written. On disk: moments, and masters of bf16 weights, both ways."""
    parameters = 60_524_544  # of the models of 6+6 layers
    block = 4 << 20
    sizes = (("fp32", 32, 8), ("bf16", 34, 12))
    for dtype, moved, _ in sizes:
        yield Cell(f"offload/host/{dtype}", "The optimizer's part of an update (norm, clipping, AdamW, weights for the next forward), 60.5 M "
                   "parameters, its state on the host, against DeepSpeed's ZeRO-Offload", dtype,
                   {"chorus": Side("chorus", {"work": "optimizer_phase", "tier": "host", "dtype": dtype, "model": {}}),
                    "DeepSpeed": Side("peer", {"work": "deepspeed_offload", "dtype": dtype, "parameters": parameters}),
                    "copy": Side("chorus", {"work": "copy", "bytes": moved * parameters})},
                   [Ratio("time", "chorus", "DeepSpeed", 1.3), Ratio("a copy of the bytes", "chorus", "copy", 0.8)])
    for dtype, _, state in sizes:
        folder = str(models.folder)
        yield Cell(f"offload/nvme/{dtype}", "The same with its state on disk, against fio reading and writing as many bytes", dtype,
                   {"chorus": Side("chorus", {"work": "optimizer_phase", "tier": "nvme", "folder": folder, "dtype": dtype, "model": {}}),
                    "fio": Side("peer", {"work": "fio", "folder": folder, "bytes": 2 * state * parameters // block * block, "block": block})},
                   [Ratio("time", "chorus", "fio", 0.8)], prepare=lambda folder: [folder / "fio"])


def products(_):
    """No bar: they show what stands behind the rows above. Widths as models have them: n rows, a weight of rows x columns."""
    shapes = [(n, 2048, 512) for n in (1, 4, 8, 16, 32, 64, 256, 4096)] + [(64, *w) for w in ((512, 128), (512, 2048), (8192, 2048), (32000, 512))]
    for dtype in ("fp32", "bf16"):
        for form in ("forward", "by_input", "by_weight"):
            for n, rows, columns in shapes:
                case = {"dtype": dtype, "product": form, "n": n, "rows": rows, "columns": columns}
                sides = {"chorus": Side("chorus", {"work": "product", **case}), "libtorch": Side("chorus", {"work": "torch_product", **case})}
                if dtype == "fp32":
                    sides["OpenBLAS"] = Side("peer", {"work": "openblas_product", **case})
                yield Cell(f"product/{dtype}/{form}/{n}/{rows}/{columns}", "Matrix products of a linear layer, weights from memory",
                           f"{dtype}, {form.replace('_', ' ')}, {n} rows, {rows} x {columns}", sides,
                           [Ratio("time", "chorus", peer) for peer in sides if peer != "chorus"], needs_bf16=dtype == "bf16")


def one_row(_):
    """A token of a batch of one: each weight is read once, and little else is done."""
    for dtype, bar in (("fp32", None), ("int8", 0.85), ("int4", 0.85)):
        for rows, columns in ((8192, 2048), (2048, 512)):
            case = {"product": "forward", "dtype": dtype, "n": 1, "rows": rows, "columns": columns}
            yield Cell(f"one-row/{dtype}/{rows}/{columns}", "One row through a weight from memory, against reading the bytes of as large a weight, in one process",
                       f"{dtype}, {rows} x {columns}",
                       {"chorus": Side("chorus", {"work": "product", **case}), "read": Side("chorus", {"work": "read_weights", **case})},
                       [Ratio("time", "chorus", "read", bar)], together=True)


def operations(_):
    """Both ways, d = 512, and the bytes that must move then, in activations: a norm reads and writes one, then reads two and writes one."""
    size, vocabulary = 65536, 32000
    moved = {"layer norm": 5, "RMS norm": 5, "dropout": 4, "relu": 9, "embedding": 5}
    cases = [(name, {}, count * size * WIDTH * 4) for name, count in moved.items()]
    cases.append(("loss", {}, 2 * size // 16 * vocabulary * 4))
    for length in (32, 128):
        for dropout in (0, 0.1):
            cases.append(("attention", {"length": length, "causal": False, "dropout": dropout}, 8 * size * WIDTH * 4))
    for name, more, moves in cases:
        case = {"work": "operation", "operation": name, "dtype": "fp32", "rows": size, **more}
        told = f", sentences of {more['length']}" + (f", dropout {more['dropout']}" if more["dropout"] else "") if more else ""
        yield Cell(f"operation/{name.replace(' ', '-')}" + "".join(f"/{value}" for value in more.values()),
                   "What a layer does besides products, forward and backward, fp32, 65,536 x 512 (loss: 4,096 x 32,000)", name + told,
                   {"chorus": Side("chorus", {**case, "by": "chorus"}), "libtorch": Side("chorus", {**case, "by": "libtorch"}),
                    "copy": Side("chorus", {"work": "copy", "bytes": moves})},
                   [Ratio("time", "chorus", "libtorch"), Ratio("a copy of the bytes", "chorus", "copy")])


# ---- text, start-up ----------------------------------------------------------------------------------------------------------

def write_text(path, lines, seed):
    """Made-up sentences: 50,000 words, drawn by rank as natural ones are (p ~ 1 / (rank + 3)), of 2 to 12 letters."""
    random = numpy.random.default_rng(7)  # both languages share their words
    letters = numpy.array(list("eeeeeeaaaaiiiioooonnnnrrrrttttssssllddccuummppgghhbbvvfkwzyxjqäöüéèñç"))
    words = ["".join(random.choice(letters, size)) for size in random.integers(2, 13, 50_000)]
    random = numpy.random.default_rng(seed)
    weight = 1 / (numpy.arange(len(words)) + 3)
    ranks = random.choice(len(words), lines * 20, p=weight / weight.sum())
    with open(path, "w") as file:
        at = 0
        for length in random.integers(5, 36, lines):
            picked = [words[rank] for rank in ranks[at:at + length]]
            at = (at + length) % (len(ranks) - 40)
            file.write(" ".join([picked[0].capitalize(), *picked[1:]]) + ".\n")


def write_candidates(path, sentences, candidates, seed):
    """Of each sentence so many versions, line by line, as samples are: a word in five is another one, one in twenty is missing."""
    write_text(path, sentences, seed)
    lines = [line.split() for line in open(path)]
    words = [word for line in lines for word in line]
    random = numpy.random.default_rng(seed)
    with open(path, "w") as file:
        for line in lines:
            for _ in range(candidates):
                drawn = random.random(len(line))
                file.write(" ".join(words[random.integers(len(words))] if draw < 0.2 else word
                                    for word, draw in zip(line, drawn) if draw < 0.95) + "\n")


def minimum_risk(models):
    candidates, path = 64, models.folder / "candidates.txt"

    def prepare(_):
        write_candidates(path, 200, candidates, 3)
        return [path]

    for utility, bar in (("chrf", 0.012), ("bleu", None)):
        yield Cell(f"mbr/{utility}", "Minimum Bayes risk: the choice of one of 64 candidates, per sentence", f"{utility}, made-up sentences of 5 to 35 words",
                   {"chorus": Side("chorus", {"work": "minimum_risk", "utility": utility, "candidates": candidates, "lines": str(path)})},
                   [Ratio("seconds", "chorus", None, bar)], prepare=prepare)


def text(models):
    folder = models.folder

    def prepare(_):
        write_text(folder / "text.a", 100_000, 1)
        write_text(folder / "text.b", 100_000, 2)
        return [folder / "text.a", folder / "text.b"]

    case = {"files": str(folder / "text.{lang}"), "vocabulary": str(folder / "text.spm"), "size": 8000, "store": str(folder / "store")}
    yield Cell("text/store", "Token store of text files, against SentencePiece alone from memory into memory (C++, as many threads)",
               "2 x 100,000 made-up lines, 8,000 pieces", {"chorus": Side("chorus", {"work": "build_store", **case}),
                                                           "SentencePiece": Side("chorus", {"work": "sentencepiece", **case})},
               [Ratio("time", "chorus", "SentencePiece", 0.8)], prepare=prepare, quick=True)


def start_up(models):
    folder, vocabulary = models.folder / "model-600M", models.folder / "text.spm"

    def prepare(_):
        if not vocabulary.exists():  # as the row above trains it
            for cell in text(models):
                files = cell.prepare(None)
                models.ask(cell.sides["chorus"].case)
        if not folder.exists():
            models.ask({"work": "write_model", "path": str(folder), "vocabulary": str(vocabulary), "model": {
                "vocabulary": 256206, "d_model": 1024, "layers": 12, "heads": 16, "ffn": 4096}})
        return []

    arguments = [str(models.program.parent.parent / "chorus"), "translate", "--model", str(folder), "--from", "a", "--to", "b",
                 "--beam", "1", "--max-length-factor", "0", "--max-length", "2"]
    yield Cell("start-up", "Start-up: `chorus translate` of one sentence, two tokens long, with a 600M-parameter fp32 model from a warm file",
               "12+12 layers, d 1024, vocabulary 256,206",
               {"chorus": Side("peer", {"work": "command", "arguments": arguments, "input": "Hello.\n"})},
               [Ratio("seconds", "chorus", None, 1.0)], prepare=prepare)


def growth(models):
    """The same work with one thread and two, and with the batch or the sequence doubled."""
    def cell(name, threads, case, sides, prepare):
        peer = next(side for side in sides if side != "chorus")
        return Cell(f"growth/{name.split(',')[0].replace(' ', '-')}/{threads}/{case.replace(' ', '')}", name,
                    f"{case}, {threads} thread" + "s" * (threads > 1), sides, [Ratio("time", "chorus", peer)], prepare=prepare,
                    threads=threads, growth=True)

    for tokens in (2048, 4096):
        for threads in (1, 2):
            base = layer_cell("", "", "", tokens, 32, 2, 1, {"chorus": ("chorus", {"work": "moe_layer"}),
                                                             "DeepSpeed": ("peer", {"work": "deepspeed_layer"})}, [])
            yield cell("MoE layer, fp32, 32 experts, top-2, dropless", threads, f"{tokens} tokens", base.sides, base.prepare)
    for name, experts in (("training step dense, fp32", 0), ("training step MoE-32, fp32", 32)):
        for sentences, length in ((32, 32), (64, 32), (32, 64)):
            for threads in (1, 2):
                yield cell(name, threads, f"{sentences} x {length} tokens", {
                    "chorus": Side("chorus", models.case("training_step", experts, "fp32")),
                    "transformers": Side("peer", models.case("transformers_step", experts, "fp32"))},
                    models.prepare(experts, sentences, length))
    for sentences, length in ((16, 32), (32, 32), (16, 64)):
        for threads in (1, 2):
            options = {"beam": 4, "length": length}
            yield cell("translation dense, fp32, beam 4", threads, f"{sentences} x {length} tokens", {
                "chorus": Side("chorus", models.case("translation", 0, "fp32", **options)),
                "CTranslate2 float32": Side("peer", models.case("ctranslate2_translation", 0, "fp32", compute="float32", **options))},
                models.prepare(0, sentences, length))


def all_cells(out, program):
    layer_cell.folder = out / "data"
    models = Models(out / "data", program)
    sections = (training_steps, translations, translations_avx2, shortlists, caches, dispatch, losses, optimizers, offload, text, minimum_risk, start_up, ranks_training, growth,
                products, one_row, operations)
    return [*against_transformers(), *against_bare(), *against_deepspeed(), *ranks_deepspeed(), *ranks_exchange(), *ranks_moving(),
            *(cell for section in sections for cell in section(models))]
