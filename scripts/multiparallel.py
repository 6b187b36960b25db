"""Multi-parallel text out of pages in many languages: joined, cleaned of what is not translated, split, counted.

A reader gives, for each page, {place: [paragraphs]}: what has the same page, place and number of paragraphs in English
and in another language is a translation. fetch_help.py has the readers and the command.
"""
import functools
import hashlib
import math
import re
import statistics
import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass, field

SPLITS = ("train", "valid", "test")
REASONS = {
    "no page": "the language has not the page",
    "missing": "the page has not the paragraph, or other ones in its place",
    "no letters": "only digits, symbols and placeholders",
    "long": "over the length allowed",
    "same": "equal to the English up to case, digits and punctuation",
    "English": "other words than the English paragraph's, but English ones",
    "ratio": "over three times longer or shorter than the language's usual share of the English",
    "markup": "other placeholders than the English, or what looks like them",
    "repeated": "another paragraph has the same English up to case, white space and punctuation",
    "alone": "no other language has the paragraph",
    "held out": "on a page of valid or test and fit for neither; or, in train, a near copy of one of their paragraphs",
}
PLACEHOLDER = re.compile(r"\{/?[a-z]+\}|\$\(\w+\)|\$\{\w+\}|%\w+|%\{\w+\}")
NEAR = 0.7  # share of a held-out paragraph's word pairs that make another one a near copy of it
STEM = 5  # letters by which words count as the same in these pairs
CHOICE = 8  # times as many paragraphs as are held out are to be chosen from
FAR = 3.0  # times from the usual length


class _Kept(dict):
    """For str.translate: characters of these classes stay, all others become a space."""

    def __init__(self, classes):
        super().__init__()
        self.classes = classes

    def __missing__(self, code):
        self[code] = chr(code) if unicodedata.category(chr(code))[0] in self.classes else " "
        return self[code]


_LETTERS, _DIGITS_TOO = _Kept("LM"), _Kept("LMN")


def words(text, kept=_LETTERS):
    """The words of a text: without case, digits, punctuation and placeholders."""
    return unicodedata.normalize("NFKC", PLACEHOLDER.sub(" ", text)).casefold().translate(kept).split()


def fold(text):
    """Equal for texts that are the same up to case, digits, punctuation, white space and placeholders."""
    return "".join(words(text))


def fold_text(text):
    """As fold, but other digits make another text."""
    return "".join(words(text, _DIGITS_TOO))


_DROPPED = {c: None for c in (0xAD, 0xFEFF, 0x200E, 0x200F, *range(0x202A, 0x202F))}


def clean(text):
    """One line: white space and control characters become one space; soft hyphens and marks of direction go."""
    return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", text).translate(_DROPPED).split())


def draw(seed, name):
    """A number for a name, always the same."""
    return hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=8).digest()


@dataclass
class Row:
    english: str
    pages: set
    cells: dict = field(default_factory=dict)  # language -> text

    @functools.cached_property
    def words(self):
        return words(self.english)


class NearCopies:
    """Finds texts that hold NEAR or more of a kept text's pairs of neighbouring words, or have all of its letters and no
    others. Words count by their first STEM letters; the beginning and the end count as words."""

    def __init__(self):
        self.folds, self.sizes, self.of_pair = set(), [], defaultdict(list)

    @staticmethod
    def _pairs(text):
        found = ["", *(word[:STEM] for word in words(text)), ""]
        return set(zip(found, found[1:]))

    def add(self, text):
        pairs = self._pairs(text)
        for pair in pairs:
            self.of_pair[pair].append(len(self.sizes))
        self.sizes.append(len(pairs))
        self.folds.add(fold(text))

    def has(self, text):
        if fold(text) in self.folds:
            return True
        common = Counter()
        for pair in self._pairs(text):
            common.update(self.of_pair.get(pair, ()))
        return any(n >= NEAR * self.sizes[i] for i, n in common.items())


class Corpus:
    """One source of text, split or to be split; and what became of each language's paragraphs."""

    def __init__(self, name):
        self.name = name
        self.splits = {split: [] for split in SPLITS}  # rows
        self.tally = defaultdict(Counter)  # language -> reason -> paragraphs left out
        self.found = Counter()  # language -> paragraphs

    def rename(self, names):
        """Languages by other names."""
        self.found = Counter({names(language): n for language, n in self.found.items()})
        self.tally = defaultdict(Counter, {names(language): reasons for language, reasons in self.tally.items()})
        for row in (row for rows in self.splits.values() for row in rows):
            row.cells = {names(language): text for language, text in row.cells.items()}

    def languages(self):
        return sorted(self.found, key=lambda language: (language != "en", language))


def english_rows(corpus, pages, longest):
    """{(page, place, number): row}: paragraphs of the same words and digits are one row, spelt as most of them are."""
    tally, groups = corpus.tally["en"], defaultdict(list)
    for page in sorted(pages):
        for place, texts in pages[page].items():
            for i, text in enumerate(texts):
                corpus.found["en"] += 1
                if not words(text):
                    tally["no letters"] += 1
                elif len(text) > longest:
                    tally["long"] += 1
                else:
                    groups[fold_text(text)].append((page, place, i, text))
    rows = {}
    for _, group in sorted(groups.items()):
        tally["repeated"] += len(group) - 1
        row = Row(most_frequent(text for *_, text in group), {page for page, *_ in group})
        rows |= {(page, place, i): row for page, place, i, _ in group}
    return rows


def most_frequent(texts):
    return min(Counter(texts).items(), key=lambda item: (-item[1], item[0]))[0]


def add_language(corpus, language, pages, english_pages, rows, longest):
    """Puts a language's paragraphs into the rows."""
    tally = corpus.tally[language]
    candidates = []  # (row, text, its words)
    for (page, place, i), row in rows.items():
        corpus.found[language] += 1
        if page not in pages:
            tally["no page"] += 1
            continue
        texts = pages[page].get(place, [])
        if len(texts) != len(english_pages[page][place]) or not texts[i]:
            tally["missing"] += 1
            continue
        text, found = texts[i], words(texts[i])
        if not found:
            tally["no letters"] += 1
        elif len(text) > longest:
            tally["long"] += 1
        elif "".join(found) == "".join(row.words):
            tally["same"] += 1
        elif markup(text) != markup(english_pages[page][place][i]):
            tally["markup"] += 1
        else:
            candidates.append((row, text, found))
    candidates = drop_english(candidates, tally)
    candidates = drop_far(candidates, tally)
    groups = defaultdict(list)
    for row, text, _ in candidates:
        groups[id(row)].append((row, text))
    for group in groups.values():
        tally["repeated"] += len(group) - 1
        group[0][0].cells[language] = most_frequent(text for _, text in group)


def markup(text):
    return Counter(re.findall(r"\{/?[a-z]+\}", text))


def drop_english(candidates, tally):
    """By the words: those of all English paragraphs against those of all the language's (naive Bayes)."""
    ours, english = Counter(), Counter()
    for row, _, found in candidates:
        ours.update(found)
        english.update(row.words)
    smooth = len(ours) + len(english)
    ratio = math.log((ours.total() + smooth) / (english.total() + smooth))

    def likely_english(text, found):
        letters = [c for c in text if c.isalpha()]
        return sum(map(str.isascii, letters)) >= 0.8 * len(letters) and sum(
            math.log((english[w] + 1) / (ours[w] + 1)) + ratio for w in found) > 2

    kept = [candidate for candidate in candidates if not likely_english(*candidate[1:])]
    tally["English"] += len(candidates) - len(kept)
    return kept


def drop_far(candidates, tally):
    """By the length, beside that of the English and what is usual."""
    if not candidates:
        return candidates

    def share(row, text, _):
        return len(text) / len(row.english)

    usual = statistics.median(share(*candidate) for candidate in candidates)
    kept = [candidate for candidate in candidates if len(candidate[0].english) < 20 and len(candidate[1]) < 20 * FAR
            or usual / FAR <= share(*candidate) <= usual * FAR]
    tally["ratio"] += len(candidates) - len(kept)
    return kept


def split_pages(corpus, rows, valid, test, seed):
    """Whole pages become test and valid, in an order drawn by their names, until these have as many paragraphs: of three
    words or more, on no page of train, translated into half of the languages, or where that leaves too few to choose from,
    into as many as needed. A page with more than a quarter of what is wanted stays in train."""
    distinct = list({id(row): row for row in rows.values()}.values())
    corpus.tally["en"]["alone"] += sum(not row.cells for row in distinct)
    distinct = [row for row in distinct if row.cells]
    fit = sorted((row for row in distinct if len(row.words) >= 3), key=lambda row: -len(row.cells))
    least = min(len(corpus.found) / 2, len(fit[:CHOICE * (valid + test)][-1].cells) if fit and valid + test > 0 else 0)
    fit = [row for row in fit if len(row.cells) >= least]
    of_page = defaultdict(list)
    for row in fit:
        for page in row.pages:
            of_page[page].append(row)
    drawn = sorted({page for row in distinct for page in row.pages}, key=lambda page: draw(seed, page))
    held = {}
    for split, wanted in (("test", test), ("valid", valid)):
        copies, got = NearCopies(), []
        for page in drawn:
            if len(got) >= wanted:
                break
            if page in held or not 0 < len(of_page[page]) <= max(1, wanted / 4):
                continue
            held[page] = split
            for row in of_page[page]:
                if all(p in held for p in row.pages) and not copies.has(row.english):
                    got.append(row)
                    copies.add(row.english)
        if len(got) < wanted:
            raise ValueError(f"{corpus.name}: only {len(got)} of {wanted} paragraphs fit for {split}")
        corpus.splits[split] = got
    taken = {id(row) for split in ("test", "valid") for row in corpus.splits[split]}
    for row in distinct:
        if id(row) in taken:
            continue
        if all(page in held for page in row.pages):
            leave_out(corpus, row)
        else:
            corpus.splits["train"].append(row)


def leave_out(corpus, row):
    for language in ("en", *row.cells):
        corpus.tally[language]["held out"] += 1


def hold_out(corpora):
    """Takes out of each valid what is like a test, and out of each train what is like a test or valid, of any source; and
    out of a language's train what stands in its own test or valid, or as English in any."""
    for split, against in (("valid", ["test"]), ("train", ["test", "valid"])):
        copies, folds = NearCopies(), defaultdict(set)
        for corpus in corpora:
            for row in (row for name in against for row in corpus.splits[name]):
                copies.add(row.english)
                for language, text in row.cells.items():
                    folds[language].add(fold(text))
        for corpus in corpora:
            kept = []
            for row in corpus.splits[split]:
                if copies.has(row.english):
                    leave_out(corpus, row)
                    continue
                for language, text in list(row.cells.items()):
                    if fold(text) in folds[language] or fold(text) in copies.folds:
                        del row.cells[language]
                        corpus.tally[language]["held out"] += 1
                if row.cells:
                    kept.append(row)
                else:
                    corpus.tally["en"]["alone"] += 1
            corpus.splits[split] = kept


def write(corpus, folder):
    """FOLDER/SPLIT.LANGUAGE: line i of each language says the same; an empty line where it lacks the paragraph."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in corpus.splits.items():
        rows.sort(key=lambda row: (fold_text(row.english), row.english))
        for language in corpus.languages():
            lines = ((row.english if language == "en" else row.cells.get(language, "")) + "\n" for row in rows)
            path = folder / f"{split}.{language}"
            part = path.with_name(path.name + ".part")
            part.write_text("".join(lines), encoding="utf-8", newline="\n")
            part.replace(path)


def report(corpus):
    """{language: {split: {paragraphs, words, characters}, found, left_out: {reason: paragraphs}}}"""
    result = {}
    for language in corpus.languages():
        entry = {"found": corpus.found[language]}
        for split, rows in corpus.splits.items():
            texts = [row.english if language == "en" else row.cells.get(language, "") for row in rows]
            entry[split] = {"paragraphs": sum(map(bool, texts)), "words": sum(len(text.split()) for text in texts),
                            "characters": sum(map(len, texts))}
        entry["left_out"] = {reason: corpus.tally[language][reason] for reason in REASONS if corpus.tally[language][reason]}
        result[language] = entry
    return result
