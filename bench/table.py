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
    value = lambda name: text(best(result["sides"][name][field])) if name else ""
    spread = f" ({ratio['low']:.2f} to {ratio['high']:.2f})" if ratio["pairs"] > 1 else ""
    return value(ratio["ours"]), value(ratio["peer"]), f"{ratio['median']:.2f}{spread}"


def mark(cell, ratio):
    if ratio["bar"] is None:
        return "", ""
    lower_is_better = cell.kind == "peak" or ratio["peer"] is None
    reached = ratio["median"] <= ratio["bar"] if lower_is_better else ratio["median"] >= ratio["bar"]
    return ("≤ " if lower_is_better else "≥ ") + f"{ratio['bar']:g}", "yes" if reached else "**no**"


def notes(result):
    told = []
    skews = [side["facts"]["skew"] for side in result["sides"].values() if side["facts"].get("skew")]
    if skews:
        told.append("skew " + " / ".join(sorted({f"{skew:.2f}" for skew in skews})))
    if result["threads"] != result["machine"]["cores"]:
        told.append(f"{result['threads']} thread" + "s" * (result["threads"] > 1))
    computes = {side["facts"]["compute"] for side in result["sides"].values() if "compute" in side["facts"]}
    told += sorted(f"compute type {compute}" for compute in computes)
    if result.get("differs"):
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
    yield f"- measured {dates[0]} to {dates[-1]} with `bench/run.py`; chorus_bench {', '.join(programs)}"


def markdown(cells, load_result):
    results = {cell.id: load_result(cell.id) for cell in cells}
    measured = [r for r in results.values() if r and "sides" in r]
    if not measured:
        return "Nothing was measured yet.\n"
    lines = [*machine_lines(measured), "", "| case | chorus | peer | ratio | at least | reached | notes |", "| --- | --- | --- | --- | --- | --- | --- |"]
    row, skipped = None, {}
    for cell in cells:
        result = results[cell.id]
        if result is None:
            continue
        if "skipped" in result:
            skipped.setdefault(result["skipped"], {}).setdefault(cell.row, []).append(cell.case)
            continue
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
            lines.append(f"| {cell.case}{what} | {ours} | {peer} | {text} | {' | '.join(mark(cell, ratio))} | {notes(result)} |")
    for reason, rows in skipped.items():
        lines += ["", f"Skipped, {reason}:"]
        lines += [f"- {name}: {len(cases)} cases" for name, cases in rows.items()]
    return "\n".join(lines) + "\n"
