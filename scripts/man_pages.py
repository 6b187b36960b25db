"""Reads manual pages. Translations of one version have the same sequence of headings, paragraphs and tags."""
import re

from multiparallel import clean

FONTS = {"B": "b", "I": "i", "3": "b", "2": "i", "R": "", "P": "", "1": "", "CW": "", "CB": "b", "CI": "i"}
CHARACTERS = {"aq": "'", "dq": '"', "bu": "•", "em": "—", "en": "–", "hy": "-", "co": "©", "rg": "®", "ti": "~", "ha": "^", "rs": "\\",
              "lq": "“", "rq": "”", "oq": "‘", "cq": "’", "ga": "`", "mu": "×", "+-": "±", "->": "→", "<-": "←", "<=": "≤", ">=": "≥",
              "!=": "≠", "mc": "µ", "de": "°", "Fo": "«", "Fc": "»", "at": "@", "sh": "#", "lB": "[", "rB": "]", "lC": "{", "rC": "}",
              "ba": "|", "or": "|", "sl": "/", "dg": "†", "12": "½", "pc": "·", "ss": "ß", "Po": "£", "Eu": "€", "tm": "™"}
ESCAPE = re.compile(r"\\(?:f(?:\[(?P<long>\w*)\]|\((?P<two>..)|(?P<font>.))|\[(?P<name>[^]]*)\]|\((?P<short>..)|s[-+]?\d+|[hvwl]'[^']*'"
                    r"|m\[\w*\]|\*(?:\[[^]]*\]|\(..|.)|(?P<one>.))", re.DOTALL)
ONE = {"-": "-", "e": "\\", "\\": "\\", " ": " ", "~": " ", "0": " ", "'": "'", "`": "`", ".": ".", "t": " "}
PLACEHOLDERS = ["{b}", "{/b}", "{i}", "{/i}"]
LITERAL = re.compile(r"\{/?[bi]\}")
BREAKS = {"PP", "P", "LP", "HP", "RS", "RE", "sp", "in", "ti", "PD", "ne", "ce", "ad", "na", "hy", "nh", "ta", "ft", "IX"}
CODE = {"nf": "fi", "EX": "EE", "TS": "TE", "SY": "YS", "Vb": "Ve", "de": ".", "ig": ".", "EQ": "EN"}
ADDRESS = re.compile(r"^\.(?:MT|UR)|@", re.MULTILINE)
ARGUMENT = re.compile(r'"((?:[^"]|"")*)"?|(\S+)')


class Unreadable(ValueError):
    """A page in a form that is not read: mdoc, or one that only names another."""


def _plain(text, keep):
    """`text` without escapes; with `keep`, bold and italic as placeholders."""
    font = ""

    def change(new):
        nonlocal font
        old, font = font, new
        if not keep or old == new:
            return ""
        return (f"{{/{old}}}" if old else "") + (f"{{{new}}}" if new else "")

    def replace(match):
        name = match["long"] if match["long"] is not None else match["two"] or match["font"]
        if name is not None:
            return change(FONTS.get(name, ""))
        name = match["name"] or match["short"]
        if name:
            if re.fullmatch(r"u[0-9A-Fa-f]{4,5}", name):
                return chr(int(name[1:], 16))
            return CHARACTERS.get(name, name[0] if name[0].isalpha() else "")
        return ONE.get(match["one"] or "", "")

    text = ESCAPE.sub(replace, text) + change("")
    return re.sub(r"\{([bi])\}(\s*)\{/\1\}", r"\2", text)


def _arguments(line):
    return [a.replace('""', '"') if a or not b else b for a, b in ARGUMENT.findall(line)]


def _set(macro, arguments):
    """The text of a font macro: .BR of "a", "b" is a in bold and b in roman type."""
    if len(macro) == 1 or macro in ("SM", "SB"):
        return rf"\f{macro[0] if macro[0] in 'BI' else 'R'}{' '.join(arguments)}\fR"
    return "".join(rf"\f{macro[i % 2]}{a}\fR" for i, a in enumerate(arguments))


class _Page:
    def __init__(self, keep):
        self.keep = keep
        self.sections = []  # [kinds, [text]]
        self.lines = []
        self.kind = ""

    def close(self):
        if self.lines and self.sections:
            raw = "\n".join(self.lines)
            kinds, texts = self.sections[-1]
            texts.append("" if LITERAL.search(raw) else clean(_plain(raw, self.keep)))
            self.sections[-1][0] = kinds + (self.kind or "p")
        self.lines, self.kind = [], ""

    def section(self, kind, title):
        self.close()
        self.sections.append(["", []])
        self.lines, self.kind = [title], kind
        self.close()

    def code(self):
        """Text that is set as it stands, which is not read: an empty paragraph that must be there in all languages."""
        self.close()
        if self.sections and not self.sections[-1][0].endswith("c"):
            self.sections[-1][0] += "c"
            self.sections[-1][1].append("")


def read_man_page(page, keep=False):
    """{place: [text]}: a place is a section, named by its number, how many there are, and what it is made of. The section
    with the translators' names, which po4a puts at the end, is left out. Unreadable when the page is not one of man(7)."""
    made = _Page(keep)
    until, pending = None, None  # the end of what is not read; the macro whose argument is the next line
    page = page.replace("\r\n", "\n").replace("\\\n", "")
    if re.search(r"^\.\s*(?:Dd|so)\s", page, re.MULTILINE):
        raise Unreadable
    for line in page.split("\n"):
        if re.match(r"['.]\s*\\\"|\\\"", line):
            continue
        line = re.sub(r'(?<!\\)\\["#].*', "", line)
        macro, rest = "", line
        if line[:1] in (".", "'"):
            macro, _, rest = line[1:].strip().partition(" ")
        if until:
            if macro == until or until in ("fi", "EE") and macro in ("SH", "SS"):
                until = None
            if until or macro not in ("SH", "SS"):
                continue
        if pending and (not macro or len(macro) <= 2 and set(macro) <= set("BIRSM")):
            text = _set(macro, _arguments(rest)) if macro else line
            if pending in ("SH", "SS"):
                made.section(pending[1].lower(), text)
            elif pending in ("TP", "TQ"):
                made.lines, made.kind = [text], "t"
                made.close()
            else:
                made.lines.append(_set(pending, [text]))
            pending = None
            continue
        pending = None
        if not macro:
            if line.strip():
                made.lines.append(line)
            else:
                made.close()
        elif macro in ("SH", "SS"):
            if rest.strip():
                made.section(macro[1].lower(), " ".join(_arguments(rest)))
            else:
                pending = macro
        elif macro in CODE:
            made.code()
            until = CODE[macro]
        elif macro in ("TP", "TQ"):
            made.close()
            pending = macro
        elif macro == "IP":
            made.close()
            if rest:
                made.lines, made.kind = _arguments(rest)[:1], "t"
                made.close()
        elif macro in BREAKS:
            made.close()
        elif len(macro) <= 2 and set(macro) <= set("BIRSM"):
            if rest.strip():
                made.lines.append(_set(macro, _arguments(rest)))
            else:
                pending = macro
        elif macro in ("UE", "ME"):
            made.lines.extend(_arguments(rest)[:1])  # what follows the address
        elif macro == "br":
            made.lines.append(" ")
    made.close()
    sections = made.sections
    if "generated with po4a" in page and ADDRESS.search(page.rpartition("\n.SH")[2]):
        sections = sections[:-1]
    return {f"{i + 1} of {len(sections)} {kinds}": texts for i, (kinds, texts) in enumerate(sections)}
