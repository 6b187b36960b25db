#!/usr/bin/env python3
"""Tests of fetch_help.py on made-up pages and packages: scripts/fetch_help_test.py [PATH_OF_CHORUS]"""
import gzip
import json
import random
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import fetch_help
import multiparallel
from help_pages import read_help_page
from man_pages import Unreadable, read_man_page

CHORUS = sys.argv.pop() if len(sys.argv) > 1 and Path(sys.argv[-1]).is_file() else None


class HelpPages(unittest.TestCase):
    def read(self, body, keep=False):
        return read_help_page(f'<html><p>menu</p><div id="DisplayArea" x="1">{body}</div><div id="SearchFrame"></div><p>foot</p>', keep)

    def test_ids(self):
        self.assertEqual(self.read('<h1 id="h">Title</h1><p id="a">One\r\n  two</p><p>note</p><p>tip</p><P ID="a">again</P><p>end</p>'),
                         {"h": ["Title"], "a": ["One two", "again"], "after a": ["note", "tip", "end"]})

    def test_entities(self):
        self.assertEqual(self.read('<p id="a">a&nbsp;&amp; b&#13;&lt;c&gt; &eacute;&#x20ac; &bogus; R&D\u00ad</p>'), {"a": ["a & b <c> é€ &bogus; R&D"]})

    def test_broken(self):
        self.assertEqual(self.read('<p id="a">one <span class="emph">two<p id="b">three</b></span> < 4 <a href="x>y">five'),
                         {"a": ["one two"], "b": ["three < 4 five"]})
        self.assertEqual(self.read("<p id='a' class=x>cut <!-- never closed <p>"), {"a": ["cut"]})
        self.assertEqual(self.read('<p id="a">cut <span class="emp'), {"a": ['cut <span class="emp']})
        for page in ("", "<", "no markup", 'id="DisplayArea"', "</p></p>", '<div id="SearchFrame"', "\0\ufffd<p>\0x"):
            read_help_page(page)

    def test_markup(self):
        page = '<p id="a">Press <span class="keycode">F1</span>, <a href="x"><span class="emph">Ok</span></a><br><a name="y"></a>x<sup>2</sup><img src="i"><b> </b></p>'
        self.assertEqual(self.read(page), {"a": ["Press F1, Ok x2"]})
        self.assertEqual(self.read(page, True), {"a": ["Press {keycode}F1{/keycode}, {a}{emph}Ok{/emph}{/a} x{sup}2{/sup} {img}"]})

    def test_text_that_looks_like_a_placeholder(self):
        self.assertEqual(self.read('<p id="a">type {emph}</p><p id="b">{x}</p>'), {"a": [""], "b": ["{x}"]})

    def test_switches(self):
        case = '<p id="a"><span class="switchinline"><span hidden class="MAC" id="MACx">Cmd</span>{}</span>+Z</p>'
        self.assertEqual(self.read(case.format('<span hidden id="defaultx"><b>Ctrl</b></span>')), {"a": ["Ctrl+Z"]})
        self.assertEqual(self.read(case.format("")), {"a": ["Cmd+Z"]})
        self.assertEqual(self.read('<p id="a">x<span class="switchinline"><span class="MAC">Cmd</p>'), {"a": ["xCmd"]})

    def test_programs_are_left_out(self):
        self.assertEqual(self.read('<pre><code><p id="a">x = 1</p></code></pre><p id="b" class="smathcode">sum</p><script>"<p>"</script>'), {"b": [""]})


class ManPages(unittest.TestCase):
    def test_structure(self):
        page = '.TH X 1\n.SH NAME\nx \\- does \\fIthis\\fP\n.SH "LONG NAME"\nFirst\nline.\n.\\" a comment\n.PP\nSecond \\(aqone\\(aq.\n.TP\n.BR \\-a ", " \\-\\-all\nAll.\n.IP \\(bu 2\nPoint.\n.nf\ncode\n.SH hidden\n.fi\nEnd.\n'
        self.assertEqual(read_man_page(page.replace(".SH hidden\n", ""), True),
                         {"1 of 2 hp": ["NAME", "x - does {i}this{/i}"],
                          "2 of 2 hpptptpcp": ["LONG NAME", "First line.", "Second 'one'.", "{b}-a{/b}, {b}--all{/b}", "All.", "•", "Point.", "", "End."]})
        self.assertEqual(list(read_man_page(page.replace("\n", "\r\n"))), list(read_man_page(page)))

    def test_broken(self):
        for page in ("", ".SH", ".TP\n.TP", ".B\n.SH x\n\\", "text before\n.SH x\n.nf\nnever ended", '.SH "open\n\\f', ".SH a\n.IP\n\\(", ".SH a\n.TP"):
            read_man_page(page, True)
        for page in (".Dd today\n.Sh NAME\n", ".so man1/x.1\n"):
            self.assertRaises(Unreadable, read_man_page, page)

    def test_the_translators_section_is_left_out(self):
        page = '.\\" This file was generated with po4a.\n.SH NOM\nx\n.PP\n.SH TRADUCTION\nde Jean\n.MT jean@example.org\n.ME .\n'
        self.assertEqual(read_man_page(page), {"1 of 1 hp": ["NOM", "x"]})


class Corpora(unittest.TestCase):
    def test_near_copies(self):
        copies = multiparallel.NearCopies()
        copies.add("Returns the hyperbolic cosine of a number.")
        for text in ("returns THE hyperbolic cosine of a number 12", "Returns the hyperbolic sine of a number.", "Returning the hyperbolic cosines of numbers",
                     "Note: Returns the hyperbolic cosine of a number. {emph}And more{/emph}."):
            self.assertTrue(copies.has(text), text)
        for text in ("Returns the number of days.", "a number", ""):
            self.assertFalse(copies.has(text), text)

    def test_fold(self):
        self.assertEqual(multiparallel.fold("{emph}E-Mail 12{/emph} $(ARG1) हिन्दी!"), "emailहिन्दी")
        self.assertNotEqual(multiparallel.fold("दिन"), multiparallel.fold("दान"))


def sentence(i, words, n):
    """A different sentence of n words for each i."""
    return " ".join(random.Random(i).choices(words, k=n)).capitalize() + "."


ENGLISH = [f"{a}{b}" for a in ("cat", "dog", "ship", "tree", "roof", "lamp", "wind") for b in ("alogue", "matic", "ness", "ing", "house", "less", "ward")]
GERMAN = [f"{a}{b}" for a in ("katz", "hund", "schiff", "baum", "dach", "licht", "wind") for b in ("chen", "lich", "keit", "ung", "haus", "los", "wärts")]


class Command(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        self.packages = self.root / "packages"
        for package in [*fetch_help.MAN_ENGLISH, "manpages-de", "manpages-de-dev"]:
            (self.packages / package).mkdir(parents=True)
        for page in range(40):
            ids = range(10 * page, 10 * page + 10)
            english = [f'<p id="a{i}">{sentence(i, ENGLISH, 9)}</p>' for i in ids]
            german = [f'<p id="a{i}">{sentence(i, GERMAN, 9)}</p>' for i in ids]
            german[0] = english[0]  # not translated
            german[1] = german[1].replace('id="a', 'id="other')  # other paragraphs than the English page has
            self.page("en-us", f"p{page}", english + ["<p>See also</p>"])
            self.page("de", f"p{page}", german + ["<p>Siehe auch</p>", "<p>Noch mehr</p>"] if page % 2 else german + ["<p>Siehe auch</p>"])
        for page in range(60):
            for package, own, word in (("manpages", "", ENGLISH), ("manpages-de", "de/", GERMAN)):
                man = self.packages / package / f"usr/share/man/{own}man1/m{page}.1.gz"
                man.parent.mkdir(parents=True, exist_ok=True)
                texts = [sentence(1000 + 2 * page + k, word, 8) for k in (0, 1)]
                man.write_bytes(gzip.compress("\n".join([".SH NAME", texts[0], ".PP", texts[1]]).encode()))

    def page(self, language, name, lines):
        path = self.packages / f"libreoffice-help-{language}/usr/share/libreoffice/help/{language}/text/{name}.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(('<div id="DisplayArea">' + "\r\n".join(lines) + '<div id="SearchFrame">').encode())

    def run_it(self, out, *words):
        done = subprocess.run([sys.executable, Path(__file__).with_name("fetch_help.py"), "--packages", self.packages, "--out", self.root / out,
                               "--valid", "40", "--test", "40", *words], capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    def lines(self, path):
        return (self.root / path).read_text(encoding="utf-8").split("\n")[:-1]

    def test_all(self):
        ui = self.root / "catalogs"
        ui.mkdir()
        leaks = sentence(0, ENGLISH, 9) + "\n" + "\n".join(sentence(i, ENGLISH, 9).upper() for i in range(1, 400))
        for split, english in (("train", leaks + "\nFile"), ("valid", "Save the file now"), ("test", "Open the file now")):
            (ui / f"{split}.en").write_text(english + "\n")
            (ui / f"{split}.fr").write_text("".join(f"Texte {i}\n" for i in range(english.count("\n") + 1)))
        code, out, err = self.run_it("one", "de", "--man", "--ui", ui)
        self.assertEqual(code, 0, err)
        held, english_of_train = set(), {}
        for name in ("help", "man", "ui"):
            for split in ("train", "valid", "test"):
                files = {path.suffix: self.lines(path) for path in (self.root / "one" / name).glob(f"{split}.*")}
                self.assertEqual(len(set(map(len, files.values()))), 1)
                self.assertTrue(all(files[".en"]))
                folds = {multiparallel.fold(text) for text in files[".en"]}
                self.assertEqual(len(folds), len(files[".en"]))
                if split == "train":
                    english_of_train[name] = folds
                else:
                    held |= folds
        for folds in english_of_train.values():
            self.assertFalse(folds & held)
        self.assertGreaterEqual(len(self.lines("one/help/test.en")), 40)
        self.assertGreaterEqual(len(self.lines("one/man/test.en")), 40)
        # What stands together is a translation, and pages are whole.
        german = {sentence(i, ENGLISH, 9): (i, sentence(i, GERMAN, 9)) for i in range(400)}
        pages = {}
        for split in ("train", "valid", "test"):
            for a, b in zip(self.lines(f"one/help/{split}.en"), self.lines(f"one/help/{split}.de")):
                if a == "See also":
                    self.assertEqual(b, "Siehe auch")
                    continue
                i, expected = german[a]
                self.assertEqual(b, expected)
                self.assertGreaterEqual(i % 10, 2)  # those before are not translated, or not there
                self.assertEqual(pages.setdefault(i // 10, split), split)
        self.assertEqual(set(pages.values()), {"train", "valid", "test"})
        report = json.loads((self.root / "one/report.json").read_text())
        self.assertEqual(report["help"]["de"]["left_out"]["same"], 40)
        self.assertEqual(report["help"]["de"]["left_out"]["missing"], 60)
        for languages in report.values():
            for entry in languages.values():
                self.assertEqual(entry["found"], sum(entry[split]["paragraphs"] for split in multiparallel.SPLITS) + sum(entry["left_out"].values()))
        if CHORUS:
            said = subprocess.run([CHORUS, "corpus", "report", "--files", f"{self.root}/one/help/train.{{lang}}"], capture_output=True, text=True)
            self.assertIn(f"rows {len(self.lines('one/help/train.en'))},", said.stdout, said.stderr)
        # Once more, and with another hash of strings, the same bytes; another seed gives another split.
        self.assertEqual(self.run_it("two", "de", "--man", "--ui", ui)[0], 0)
        for path in (self.root / "one").glob("**/*.*"):
            self.assertEqual(path.read_bytes(), (self.root / "two" / path.relative_to(self.root / "one")).read_bytes(), path)
        self.assertEqual(self.run_it("three", "de", "--seed", "2")[0], 0)
        self.assertNotEqual(self.lines("one/help/test.en"), self.lines("three/help/test.en"))
        # Text of an earlier run does not stay beside the new.
        self.assertEqual(self.run_it("one", "de", "--seed", "2")[0], 0)
        self.assertEqual(self.lines("one/help/test.en"), self.lines("three/help/test.en"))
        self.assertEqual([*(self.root / "one/man").iterdir(), *(self.root / "one/ui").iterdir()], [])

    def test_mistakes(self):
        foreign = self.root / "foreign"
        (foreign / "help").mkdir(parents=True)
        (foreign / "help/train.de").write_text("mine\n")
        for words, part in ((["xx"], "xx"), (["de", "--valid", "900"], "fit for valid"), (["de", "--ui", str(self.root)], "train.en"),
                            (["de", "--out", str(foreign)], "another --out")):
            code, _, err = self.run_it("bad", *words)
            self.assertNotEqual(code, 0)
            self.assertIn(part, err.splitlines()[-1])
            self.assertNotIn("Traceback", err)


if __name__ == "__main__":
    unittest.main()
