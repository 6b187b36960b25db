"""The rows of the table about two ranks, of one thread each."""
import itertools

from cells import Cell, Ratio, Side, layer_cell, write_batch


def ranks_deepspeed():
    """All ranks have the same tokens, of which each makes its own micro-batch."""
    for tokens, experts, skew, capacity, zero in itertools.product((1024, 4096), (4, 16), (1, 4), (1, 2), (0, 1, 2)):
        options = {"layers": 2, "capacity": capacity, "rts": True, "balance": 0.01, "ep": 2, "zero": zero, "rate": 1e-5}
        ratios = [Ratio("time", "chorus", "DeepSpeed", 2 if capacity == 2 or skew == 4 else 1.5)]
        if zero == 0:  # the stages exchange the same
            ratios.append(Ratio("bytes exchanged", "chorus", "DeepSpeed", fact="exchanged"))
        yield layer_cell(
            "2 ranks: training step of a stack of 2 MoE layers, fp32, top-1, ep 2, against DeepSpeed's engine",
            f"ranks-deepspeed/{experts}/{tokens}/{skew}/{capacity}/zero{zero}",
            f"{experts} experts, {tokens} tokens per rank, capacity factor {capacity}, ZeRO {zero}", tokens, experts, 1, skew,
            {"chorus": ("chorus", {"work": "stack_step", **options}), "DeepSpeed": ("peer", {"work": "deepspeed_stack", **options})},
            ratios, ranks=2, threads=1, quick=(tokens, experts) == (1024, 4) and (zero == 0 or (skew, capacity) == (1, 1)))


def ranks_exchange():
    for experts in (8, 16, 32, 64):
        case = {"tokens": 4096, "k": 2, "experts": experts}
        yield Cell(f"ranks-exchange/{experts}", "2 ranks: rows of 4096 tokens per rank to their experts and back, fp32, d 512, top-2, "
                   "against MPI_Alltoallv of the bytes", f"{experts} experts",
                   {"chorus": Side("chorus", {"work": "exchange", "with_choices": False, **case}, 2),
                    "chorus with choices": Side("chorus", {"work": "exchange", "with_choices": True, **case}, 2),
                    "MPI_Alltoallv": Side("chorus", {"work": "bare_exchange", **case}, 2)},
                   [Ratio("time", "chorus", "MPI_Alltoallv", 0.67),
                    Ratio("choices and weights as well", "chorus with choices", "MPI_Alltoallv")], threads=1, quick=experts == 8)


def ranks_moving():
    for experts in (8, 32):
        case = {"tokens": 4096, "k": 2, "experts": experts}
        yield Cell(f"ranks-moving/{experts}", "The experts' products over sorting, counting and moving their rows, forward + backward, fp32, "
                   "d 512, FFN 2048, 4096 tokens, top-2", f"{experts} experts, 1 thread",
                   {"chorus": Side("chorus", {"work": "moving", "by_rank": False, **case}),
                    "by rank": Side("chorus", {"work": "moving", "by_rank": True, **case}),
                    "products": Side("chorus", {"work": "experts", **case})},
                   [Ratio("by expert", "chorus", "products", 10), Ratio("by rank and by expert", "by rank", "products", 10)],
                   threads=1, quick=experts == 8)


def ranks_training(models):
    """Stages of ZeRO, and ranks against threads: the same update."""
    shape = {"experts": 8, "layers": 2, "vocabulary": 8000}

    def cell(name, row, case, sentences, ep, sides, ratio, **more):
        def prepare(folder):
            write_batch(folder / "batch.safetensors", sentences, 32, shape["vocabulary"])
            return [folder / "batch.safetensors"]

        def side(ranks, threads, **options):
            return Side("chorus", {**models.case("training_step", 0, "fp32"), "model": shape, **options}, ranks, threads)

        return Cell(f"{name}/ep{ep}/{32 * sentences}", row, f"ep {ep}, {32 * sentences} tokens per rank, {case}",
                    {n: side(*arguments, **options) for n, (arguments, options) in sides.items()}, [ratio], prepare=prepare, threads=1, **more)

    for sentences, ep in itertools.product((32, 128), (1, 2)):
        two = (2, 1)
        for zero in (1, 2, 3):
            yield cell(f"ranks-zero/{zero}", "2 ranks: training step of an MoE Transformer (2+2 layers, d 512, 8 experts) at a stage of ZeRO, "
                       "against stage 0", f"ZeRO {zero}", sentences, ep,
                       {"chorus": (two, {"ep": ep, "zero": zero}), "ZeRO 0": (two, {"ep": ep})},
                       Ratio("time", "chorus", "ZeRO 0", 0.87 if zero < 3 else None), quick=sentences == 32)
    for sentences, ep in itertools.product((32, 128), (1, 2)):
        row = "2 ranks of 1 thread: that step"
        yield cell("ranks-threads", row, "against 1 process of 2 threads", sentences, ep,
                   {"chorus": (two, {"ep": ep}), "2 threads": ((1, 2), {"micro_batches": 2})},
                   Ratio("time", "chorus", "2 threads"), quick=sentences == 32)
        yield cell("ranks-weak", row, "against half of the work by 1 rank", sentences, ep,
                   {"chorus": (two, {"ep": ep}), "1 rank": ((1, 1), {})}, Ratio("time", "chorus", "1 rank"), quick=sentences == 32)
