"""What run.py disturbs: commands, each in a folder in which what it reads was prepared."""
import http.client
import json
import re
import signal
import struct
import subprocess
import sys
import threading
import urllib.request

from faults import KINDS, RUN, WORDS, execute, plain_environment, write_corpus

SECONDS = 60  # no scenario takes 3 undisturbed
FILES = {kind for kind in KINDS if not kind.startswith("mpi") and kind not in ("socket", "accept", "receive", "send")}
CURRICULUM = """[[data.denoise]]
languages = ["xx"]
[[data.curriculum]]
update = 2
weights = ["denoise=0.5"]
"""


class Scenario:
    alone = True  # its standard error is chorus's alone

    def __init__(self, name, command, stdin=None, kinds=FILES, out=None):
        self.name = name
        self.command = command
        self.stdin = stdin
        self.kinds = kinds
        self.out = out  # what the command makes, and does not make again where it is there

    def run(self, folder, extra):
        return execute(self.command, folder, extra, SECONDS, self.stdin and folder / self.stdin)

    def again(self, folder):
        """Undisturbed, after it failed; what it has made although it failed is its result."""
        return (0, None, "") if self.out and (folder / self.out).exists() else self.run(folder, {})


class Ranks(Scenario):
    """A training on three ranks, one of which meets the fault."""
    alone = False

    def __init__(self, name, command, mpirun):
        super().__init__(name, command, kinds=FILES | {kind for kind in KINDS if kind.startswith("mpi")})
        self.mpirun = mpirun

    def run(self, folder, extra):
        disturbed = ["env", *(f"{name}={value}" for name, value in extra.items())]
        return execute([self.mpirun, "-n", "1", *self.command, ":", "-n", "1", *disturbed, *self.command, ":", "-n", "1", *self.command],
                       folder, {}, SECONDS)


class Server(Scenario):
    """A server that is asked until it has given three answers, and told to end. It may refuse a client that meets a fault, and is then asked again."""
    kinds_of_it = FILES | {"socket", "accept", "receive", "send"}

    def __init__(self, name, command):
        super().__init__(name, command, kinds=self.kinds_of_it)

    def run(self, folder, extra):
        process = subprocess.Popen(self.command, cwd=folder, env={**plain_environment(), **extra}, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        watch = threading.Timer(SECONDS, process.kill)
        watch.start()
        words, answers = b"", []
        while not (found := re.search(rb"http://[^\s/]*:(\d+)", words)):
            line = process.stderr.readline()
            words += line
            if not line:
                break
        for _ in range(6 if found else 0):
            if len(answers) == 3:
                break
            try:
                body = json.dumps({"q": "alpha beta", "source": "xx", "target": "yy"}).encode()
                asked = urllib.request.Request(f"http://127.0.0.1:{int(found[1])}/translate", body, {"Content-Type": "application/json"})
                with urllib.request.urlopen(asked, timeout=10) as reply:
                    answers.append(reply.read())
            except (OSError, http.client.HTTPException):  # of these are refusals, closed connections and replies 4xx and 5xx
                pass
        process.send_signal(signal.SIGTERM)
        words += process.communicate()[1]
        watch.cancel()
        code = None if process.returncode == -signal.SIGKILL else process.returncode
        return code, b"".join(answers), words.decode(errors="replace")


def write_catalogs(root):
    """Gettext's, of two languages; their originals differ in a third of the messages."""
    for language in ("de", "fr"):
        rows = [f"{a} {b} {c}" for a in WORDS for b in WORDS for c in WORDS[:3] if a < b]
        texts = [(row, f"{language} {row}") for i, row in enumerate(rows) if i % 3 or language == "de"]
        originals, translations = ([text.encode() + b"\0" for text in column] for column in zip(*texts))
        head, tables, at = struct.pack("<7I", 0x950412DE, 0, len(texts), 28, 28 + 8 * len(texts), 0, 0), b"", 28 + 16 * len(texts)
        for text in originals + translations:
            tables += struct.pack("<2I", len(text) - 1, at)
            at += len(text)
        folder = root / language / "LC_MESSAGES"
        folder.mkdir(parents=True)
        (folder / "program.mo").write_bytes(head + tables + b"".join(originals + translations))


def prepare(base, chorus, mpirun):
    """Makes the folder that all scenarios begin with; the scenarios."""
    base.mkdir(parents=True)
    write_corpus(base)
    write_catalogs(base / "locale")
    (base / "curriculum.toml").write_text(RUN + CURRICULUM)
    train = [chorus, "train", "run.toml", "-q"]
    model = ["--model", "trained", "--from", "xx", "--to", "yy", "-q", "--threads", "1", "--beam", "2", "--max-length", "2",
             "--max-length-factor", "1", "--nbest", "2"]

    def do(*command):
        done = subprocess.run(command, cwd=base, env=plain_environment(), capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}: {done.stderr}")

    do(*train, "--out", "run", "--set", "train.duration=2u")
    do(*train, "--out", "trained", "--set", "train.duration=1u", "--set", "train.checkpoint_every=0", "--set", "validation.every=0")
    do(chorus, "export", "trained", "--out", "foreign", "--format", "nllb-moe", "-q")
    do(chorus, "quantize", "trained", "--out", "quantized", "-q")
    quantized = [word if word != "trained" else "quantized" for word in model]
    tiers = [f"--set=memory.{what}=nvme" for what in ("parameters", "gradients", "optimizer")]
    return [
        Scenario("train", [*train, "--out", "new", "--set", "train.duration=2u"]),
        Scenario("resume", [*train, "--out", "run", "--set", "train.duration=4u"]),
        Scenario("parts", [*train, "--out", "run", "--set", "train.duration=4u", "--set", "train.checkpoint_part_size=1MiB"]),
        Scenario("tiers", [*train, "--out", "run", "--set", "train.duration=4u", *tiers]),
        Scenario("export", [chorus, "export", "trained", "--out", "made", "--format", "nllb-moe", "-q"], out="made"),
        Scenario("import", [chorus, "import", "foreign", "--out", "made", "-q"], out="made"),
        Scenario("quantize", [chorus, "quantize", "trained", "--out", "made", "-q"], out="made"),
        Scenario("prune", [chorus, "prune", "trained", "--out", "made", "-q", "--keep", "0.5", "--by", "random"], out="made"),
        Scenario("translate", [chorus, "translate", *model], stdin="source"),
        Scenario("translate-memory", [chorus, "translate", *model, "--memory", "100kB"], stdin="source"),
        Scenario("translate-quantized", [chorus, "translate", *quantized], stdin="source"),
        Scenario("vocab", [chorus, "vocab", "-q", "--files", "train.{lang}", "--out", "made", "--size", "280"], out="made"),
        Server("serve", [chorus, "serve", "--model", "trained", "--port", "0", "--threads", "1", "--beam", "2"]),
        Ranks("ranks", [*train, "--out", "run", "--set", "train.duration=3u", "--set", "parallel.timeout=5", "--set", "parallel.zero=2"], mpirun),
        Scenario("report", [chorus, "corpus", "report", "--files", "train.{lang}"]),
        Scenario("gettext", [chorus, "corpus", "gettext", "--root", "locale", "--languages", "en,de,fr", "--out", "made", "--valid", "4", "--test", "4"]),
        Scenario("curriculum", [chorus, "train", "curriculum.toml", "-q", "--out", "new", "--set", "train.duration=4u", "--set", "vocabulary.size=290"]),
        Scenario("evaluate", [chorus, "evaluate", "--hypothesis", "train.xx", "--reference", "train.yy"]),
        Scenario("assess", [chorus, "assess", "--model", "trained", "--files", "train.{lang}", "--threads", "1", "--beam", "1", "-q"]),
        Scenario("score", [chorus, "score", *model[:6], "--source", "train.xx", "--target", "train.yy", "--threads", "1"]),
        Scenario("merge", [chorus, "merge", "trained", "trained", "--out", "made", "-q"], out="made"),
        Scenario("average", [chorus, "average", "trained", "trained", "--out", "made", "-q"], out="made"),
        Scenario("grow", [chorus, "grow", "trained", "--out", "made", "-q", "--experts", "8"], out="made"),
        Scenario("shortlist", [chorus, "shortlist", "trained", "--files", "train.{lang}", "--out", "made", "-q"], out="made"),
        Scenario("lid", [chorus, "lid", "train", "--files", "train.{lang}", "--out", "made", "-q"], out="made"),
        Scenario("page", [chorus, "report", "run", "--out", "made.html", "-q"]),
    ]
