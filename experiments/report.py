"""Tables and plots out of an experiment's results: the first half of it says what a measure's name means."""
import fnmatch
import re
import statistics

import svg


class ReportError(Exception):
    pass


# ---- measures of one run: "loss", "loss *-cs", "bleu en-de,en-fr", "chrf *", "length *", "dropped" ----------------------------------

def measure(result, name):
    """The measure of a result, or None where the run has no such thing."""
    kind, _, pattern = name.partition(" ")
    if kind in ("loss", "bleu", "chrf", "length"):
        found = result.get("directions" if kind == "loss" else kind, {})
        values = [v for d, v in found.items() if any(fnmatch.fnmatch(d, p) for p in (pattern or "*").split(","))]
        return statistics.fmean(values) if values else None
    if kind == "best":  # the lowest validation loss of the run
        return min((loss for _, loss in result.get("curve", [])), default=None)
    if kind == "seconds":  # of the processor, all training
        return result["seconds"].get("train")
    if kind == "ms":  # processor time of an update, validations included
        return 1000 * result["seconds"]["train"] / result["curve"][-1][0] if result.get("curve") else None
    if kind in ("dropped", "unused", "max_over_mean"):
        return result.get(kind)
    raise ReportError(f"no measure {name!r}")


def updates_to(curve, loss):
    """Updates at which the curve [(update, loss)] first comes down to the loss, between its points; None if it does not."""
    before = None
    for update, value in curve:
        if value <= loss:
            return update if before is None else before[0] + (update - before[0]) * (before[1] - loss) / (before[1] - value)
        before = (update, value)
    return None


def speedup(result, others):
    """How many times fewer updates the run takes to the mean last loss of `others` than they have."""
    goal = statistics.fmean(o["curve"][-1][1] for o in others)
    needed = updates_to(result["curve"], goal)
    return None if needed is None else others[0]["curve"][-1][0] / needed


# ---- over seeds --------------------------------------------------------------------------------------------------------

def of_row(results, row):
    return [r for r in results if r["row"] == row]


def spread(values):
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def cell(results, row, name):
    """'mean ± deviation' of a measure over the row's seeds."""
    mine = of_row(results, row)
    if name.startswith("speedup "):
        others = of_row(results, name.removeprefix("speedup "))
        values = [speedup(r, others) for r in mine] if others else []
    else:
        values = [measure(r, name) for r in mine]
    if not values or all(v is None for v in values):
        return "–"
    if None in values:
        return "not by all"
    mean, deviation = spread(values)
    digits = 1 if max(map(abs, values)) >= 10 else 3 if name.split()[0] in ("loss", "best") else 2
    if name == "dropped":
        return f"{100 * mean:.1f} %"
    return f"{mean:.{digits}f}" + (f" ± {deviation:.{digits}f}" if len(values) > 1 else "")


def table(experiment, results):
    """Markdown: a row for each row that has a result, a column for each {name, of} in the experiment's `table`."""
    columns = experiment["table"]
    rows = [row["label"] for row in experiment["row"] if of_row(results, row["label"])]
    lines = ["| | seeds | " + " | ".join(c["name"] for c in columns) + " |", "| --- |" + " --- |" * (len(columns) + 1)]
    for row in rows:
        cells = [cell(results, row, c["of"]) for c in columns]
        lines.append(f"| {row} | {len(of_row(results, row))} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


# ---- plots -------------------------------------------------------------------------------------------------------------

def curves(plot, results, rows):
    """Loss against updates, or against processor seconds: a line for each row."""
    series = []
    for row in rows:
        mine = of_row(results, row)
        scale = statistics.fmean(measure(r, "ms") for r in mine) / 1000 if plot["x"] == "seconds" else 1
        updates = [u for u, _ in mine[0]["curve"] if u >= plot.get("from", 0)]
        losses = {u: [dict(map(tuple, r["curve"]))[u] for r in mine if u in dict(map(tuple, r["curve"]))] for u in updates}
        series.append((row, [(u * scale, *spread(losses[u])) for u in updates]))
    label = "processor seconds" if plot["x"] == "seconds" else "updates"
    return svg.line_chart(plot["title"], label, "validation loss", series)


def lines(plot, results, rows):
    """A measure against a number in the rows' labels: of `line`, a pattern, the group x; the other groups name the line."""
    series = {}
    for row in rows:
        match = re.fullmatch(plot["line"], row)
        values = [measure(r, plot["of"]) for r in of_row(results, row)] if match else [None]
        if None not in values:
            name = "".join(part or "" for group, part in match.groupdict().items() if group != "x") or plot["of"]
            series.setdefault(name, []).append((float(match["x"]), *spread(values)))
    if not series:
        return None
    for line in series.values() if "common" in plot else []:  # a row that all lines have in common, such as the model before it is pruned
        line += [(plot["common"]["x"], *spread([measure(r, plot["of"]) for r in of_row(results, plot["common"]["row"])]))]
    return svg.line_chart(plot["title"], plot["x"], plot["y"], [(name, sorted(line)) for name, line in series.items()],
                          logarithmic=plot.get("logarithmic", False))


def tenths(plot, results, rows):
    """Share of the choices dropped in each tenth of the micro-batch's or the sentences' tokens, over the second half of training."""
    series = []
    for row in rows:
        rates = [r[plot["of"]] for r in of_row(results, row) if r.get(plot["of"])]
        if rates:
            series.append((row, [(i + 1, *spread([100 * v for v in values])) for i, values in enumerate(zip(*rates))]))
    return svg.line_chart(plot["title"], plot["x"], "% dropped", series) if series else None


def heat(plot, results):
    """Which experts serve which language in each MoE layer, of the row's first result."""
    found = next((r for r in of_row(results, plot["row"]) if r.get("load")), None)
    if found is None:
        return None
    blocks = []
    for i, layer in enumerate(found["load"]):
        shares = [[n / (sum(counts) or 1) for n in counts] for counts in layer]
        name = found["layers"][i] if "layers" in found else f"MoE layer {i}"  # results of old have no names
        blocks.append((name, found["languages"], shares))
    return svg.heat_map(plot["title"], blocks)


def draw(experiment, plot, results):
    labels = [row["label"] for row in experiment["row"] if of_row(results, row["label"])]
    rows = [row for row in plot.get("rows", labels) if row in labels]
    if plot["kind"] == "heat":
        return heat(plot, results)
    kinds = {"curves": curves, "lines": lines, "tenths": tenths}
    if plot["kind"] not in kinds:
        raise ReportError(f"no kind of plot {plot['kind']!r}: heat, {', '.join(kinds)}")
    return kinds[plot["kind"]](plot, results, rows) if rows else None


# ---- files -------------------------------------------------------------------------------------------------------------

def put(page, name, words):
    """Replaces what stands between the experiment's marks in a page of text; a page without them stays as it is."""
    begin, end = f"<!-- experiments/{name} -->\n", f"<!-- end of experiments/{name} -->"
    if begin not in page or end not in page:
        return page
    return page[: page.index(begin) + len(begin)] + words + page[page.index(end):]


def write(experiment, results, folder, page):
    """The plots beside the results, and tables and plots into the page."""
    if not results:
        raise ReportError(f"{experiment['name']} has no results")
    words = table(experiment, results)
    for plot in experiment["plot"]:
        drawn = draw(experiment, plot, results)
        if drawn is not None:
            (folder / experiment["name"] / plot["file"]).write_text(drawn)
            words += f"\n![{plot['title']}](../experiments/{experiment['name']}/{plot['file']})\n"
    print(words)
    page.write_text(put(page.read_text(), experiment["name"], words))
