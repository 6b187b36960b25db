"""What was measured, as one table."""
import statistics


def duration(seconds):
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def size(count):
    return f"{count / 2**20:.0f} MiB"


def figures(cell, result, ratio):
    """Ours, the peer's, and the ratio with its spread."""
    field, text = ("bytes", size) if cell.kind == "peak" else ("seconds", duration)
    best = min if cell.kind == "peak" else statistics.median

    def value(name):
        if not name:
            return ""
        side = result["sides"][name]
        return size(side["facts"][ratio["fact"]]) if ratio.get("fact") else text(best(side[field]))

    spread = f" ({ratio['low']:.2f} to {ratio['high']:.2f})" if ratio["pairs"] > 1 else ""
    return value(ratio["ours"]), value(ratio["peer"]), f"{ratio['median']:.2f}{spread}"


def mark(cell, ratio):
    if ratio["bar"] is None:
        return "", ""
    lower_is_better = cell.kind == "peak" or ratio["peer"] is None
    reached = ratio["median"] <= ratio["bar"] if lower_is_better else ratio["median"] >= ratio["bar"]
    return ("≤ " if lower_is_better else "≥ ") + f"{ratio['bar']:g}", "yes" if reached else "**no**"


def notes(cell, result):
    told = []
    skews = [side["facts"]["skew"] for side in result["sides"].values() if side["facts"].get("skew")]
    if skews:
        told.append("skew " + " / ".join(sorted({f"{skew:.2f}" for skew in skews})))
    ours = result["sides"]["chorus"]
    if cell.kind == "time" and "flops" in ours["facts"]:
        told.append(f"{ours['facts']['flops'] / statistics.median(ours['seconds']) / 1e9:.0f} GFLOP/s")
    if cell.kind == "time" and "peak_flops" in ours["facts"]:
        seconds, facts = statistics.median(ours["seconds"]), ours["facts"]
        told.append(f"{facts['flops'] / seconds / facts['peak_flops']:.0%} of the cores' peak")
        if "weight_bytes" in facts:
            told.append(f"{facts['weight_bytes'] / seconds / facts['read_rate']:.0%} of the rate of reading memory")
    if cell.kind == "time" and "tokens" in ours["facts"]:
        told.append(f"{ours['facts']['tokens'] / statistics.median(ours['seconds']):,.0f} target tokens/s")
    told += sorted({f"compute type {side['facts']['compute']}" for side in result["sides"].values() if "compute" in side["facts"]})
    told += [f"{name} in its forward pass, beyond what it has then (no gradients): {size(min(side['forward_bytes']))}"
             for name, side in result["sides"].items() if "forward_bytes" in side]
    if result["differs"]:
        told.append("sides differ in " + result["differs"])
    if result.get("foreign", 0) > 0.1:
        told.append(f"others used {result['foreign']:.0%} of the machine")
    return "; ".join(told)


def machine_lines(results):
    machine = results[0]["machine"]
    dates = sorted(result["date"] for result in results)
    yield f"- {machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB; instruction sets: {', '.join(machine['isa'])}"
    yield "- " + ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    programs = sorted({result["program"] for result in results})
    threads = sorted({result["threads"] for result in results})
    yield f"- threads of each program: {threads[-1]}, unless the case says otherwise"
    yield f"- measured {dates[0]} to {dates[-1]} with `make bench`; chorus_bench {', '.join(programs)}"


def table(cells, results):
    lines = ["| case | chorus | peer | ratio | bar | reached | notes |", "| --- | --- | --- | --- | --- | --- | --- |"]
    row = None
    for cell in cells:
        result = results[cell.id]
        if cell.row != row:
            row = cell.row
            lines.append(f"| **{row}** |  |  |  |  |  |  |")
        if "error" in result:
            lines.append(f"| {cell.case} |  |  |  |  |  | {result['error']} |")
            continue
        for ratio in result["ratios"]:
            ours, peer, text = figures(cell, result, ratio)
            what = "" if ratio["what"] in ("time", "peak", "seconds") else f", {ratio['what']}"
            if ratio["peer"]:
                peer += f" {ratio['peer']}"
            lines.append(f"| {cell.case}{what} | {ours} | {peer} | {text} | {' | '.join(mark(cell, ratio))} | {notes(cell, result)} |")
    return lines


def skipped(cells, results):
    reasons = {}
    for cell in cells:
        reasons.setdefault(results[cell.id]["skipped"], {}).setdefault(cell.row, []).append(cell.case)
    for reason, rows in reasons.items():
        yield from ["", f"Skipped, {reason}:", ""]
        yield from (f"- {row}: {len(cases)} cases" for row, cases in rows.items())


def markdown(cells, load_result):
    results = {cell.id: load_result(cell.id) for cell in cells}
    measured = [r for r in results.values() if r and "sides" in r]
    if not measured:
        return "Nothing was measured yet.\n"
    known = [cell for cell in cells if results[cell.id]]
    shown = [cell for cell in known if "skipped" not in results[cell.id]]
    lines = [*machine_lines(measured), "", *table([c for c in shown if not c.growth], results)]
    if growth := [c for c in shown if c.growth]:
        lines += ["", "How the cost grows:", "", *table(growth, results)]
    lines += skipped([cell for cell in known if cell not in shown], results)
    return "\n".join(lines) + "\n"
