"""Reads pages of LibreOffice's help, whose paragraphs have the same ids in every language."""
import html
import re
from collections import defaultdict

from multiparallel import clean

TOKEN = re.compile(r"""<!--.*?(?:-->|\Z)|<(?P<close>/?)(?P<tag>[a-zA-Z][a-zA-Z0-9]*)(?P<attributes>(?:[^<>"']|"[^"]*"|'[^']*')*)>"""
                   r"|[^<]+|<", re.DOTALL)
ATTRIBUTE = re.compile(r"""([\w-]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""")
BLOCKS = {"p", "h1", "h2", "h3", "h4", "h5", "h6"}
CODE = re.compile("code")  # in a paragraph's class: text of programs
INLINE = {"sub", "sup", "code", "b", "i", "em", "strong", "kbd"}  # tags that become placeholders, by their names
SPANS = {"emph", "menuitem", "literal", "input", "keycode", "widget"}  # and spans, by their classes
EMPTY = re.compile(r"\{([a-z]+)\}(\s*)\{/\1\}")
PLACEHOLDERS = [f"{{{slash}{name}}}" for name in sorted(INLINE | SPANS | {"a"}) for slash in ("", "/")] + ["{img}"]
# What stands in the text as if it were a placeholder, and what LibreOffice writes where a part of a page is lacking.
LITERAL = re.compile("|".join(map(re.escape, [*PLACEHOLDERS, "D'oh! You found a bug"])))


class _Paragraph:
    """The text of a paragraph while it is read: of parts for several systems or programs only the usual one."""

    def __init__(self, keep):
        self.keep = keep
        self.open = []  # (tag, what its end means: a placeholder, "switch", "case" or "")
        self.texts = [[]]  # the paragraph's, then those of the cases that are open
        self.switches = []  # [(whether it is the usual case, text)] of each switch that is open

    def start(self, tag, attributes):
        kind = attributes.get("class", "")
        if tag == "br":
            self.texts[-1].append(" ")
        elif tag == "img":
            self.texts[-1].append(" {img} " if self.keep else " ")
        if tag in ("br", "img", "meta", "input"):
            return
        end = ""
        if tag == "span" and kind == "switchinline":
            end = "switch"
            self.switches.append([])
        elif self.open and self.open[-1][1] == "switch":
            end = "case"
            self.switches[-1].append([attributes.get("id", "").startswith("default"), ""])
            self.texts.append([])
        elif tag in INLINE or tag == "span" and kind in SPANS or tag == "a" and "href" in attributes:
            end = kind if tag == "span" else tag
            if self.keep:
                self.texts[-1].append(f"{{{end}}}")
        self.open.append((tag, end))

    def end(self, tag):
        """Ends the innermost such tag and what is open in it; nothing where there is none."""
        if all(name != tag for name, _ in self.open):
            return
        while True:
            name, end = self.open.pop()
            if end == "switch":
                cases = self.switches.pop()
                chosen = next((text for usual, text in cases if usual), cases[0][1] if cases else "")
                self.texts[-1].append(chosen)
            elif end == "case":
                self.switches[-1][-1][1] = "".join(self.texts.pop())
            elif end and self.keep:
                self.texts[-1].append(f"{{/{end}}}")
            if name == tag:
                return

    def text(self):
        while self.open:
            self.end(self.open[0][0])
        text = "".join(self.texts[0])
        while self.keep and EMPTY.search(text):
            text = EMPTY.sub(r"\2", text)
        return clean(text)


def read_help_page(page, keep=False):
    """{place: [text]}: a place is an id, or "after" an id for the paragraphs between it and the next. With `keep`, inline
    markup becomes placeholders. A page without the parts that help has is read from beginning to end."""
    begin = max(page.find('id="DisplayArea"'), 0)
    end = page.find('<div id="SearchFrame"', begin)
    places, place, paragraph, block, skip = defaultdict(list), "after ", None, "", None

    def close():
        nonlocal paragraph
        if paragraph is not None:
            text = paragraph.text()
            places[where].append("" if bad else text)
        paragraph = None

    where, bad = place, False
    for token in TOKEN.finditer(page, page.find(">", begin) + 1 if begin else 0, len(page) if end < 0 else end):
        tag = token["tag"]
        if tag is None:
            text = token[0]
            if paragraph is not None and not text.startswith("<!--"):
                text = html.unescape(text)
                bad = bad or LITERAL.search(text) is not None
                paragraph.texts[-1].append(text)
            continue
        tag = tag.lower()
        if token["close"]:
            if tag == skip:
                skip = None
            elif tag == block:
                close()
            elif paragraph is not None:
                paragraph.end(tag)
            continue
        if skip or tag in ("pre", "script", "style"):
            skip = skip or tag
            continue
        attributes = {name.lower(): html.unescape(a or b or c) for name, a, b, c in ATTRIBUTE.findall(token["attributes"])}
        if tag in BLOCKS:
            close()
            block, paragraph, bad = tag, _Paragraph(keep), CODE.search(attributes.get("class", "")) is not None
            if attributes.get("id"):
                where = attributes["id"]
                place = f"after {where}"
            else:
                where = place
        elif paragraph is not None:
            paragraph.start(tag, attributes)
    close()
    return dict(places)
