#!/usr/bin/env python3
"""Makes multi-parallel text of Debian's packages: LibreOffice's help (MPL 2.0) in 31 languages with English, and manual pages
in 21 (free licences, named in the packages); joined, if asked, with the interface strings of `chorus corpus gettext`.

    scripts/fetch_help.py --out corpora/help de fr pt-BR zh-CN        help in these languages and English
    scripts/fetch_help.py --out corpora/help --man all                and manual pages in those that have them
    scripts/fetch_help.py --list                                      the languages there are

Each text gets a folder of its own, OUT/help, OUT/man, OUT/ui, with train.LANGUAGE, valid.LANGUAGE, test.LANGUAGE: line i of every
language says the same, an empty line where it lacks the paragraph. What is in the valid or test of one is in the train of none, nor a near copy.
OUT/report.json counts it; OUT/packages keeps what was fetched. The same packages and options give the same bytes.
"""
import argparse
import gzip
import json
import os
import pwd
import subprocess
import sys
import tempfile
from pathlib import Path

import help_pages
import man_pages
import multiparallel

HELP = "libreoffice-help-"
NO_LANGUAGES = {"common", "en-us", "en-gb", "sk"}  # English, and a package without pages
MAN_LANGUAGES = ["cs", "da", "de", "el", "es", "fi", "fr", "hu", "id", "it", "mk", "nb", "nl", "pl", "pt-br", "ro", "ru", "sr", "sv", "uk", "vi"]
MAN_DEV = {"cs", "da", "de", "es", "fr", "it", "nl", "pl", "pt-br", "ru", "uk"}
# Where the English pages lie that manpages-l10n translates.
MAN_ENGLISH = """manpages manpages-dev bsdextrautils bsdutils bzip2 coreutils cpio cron diffutils dosfstools e2fsprogs eject fdisk file findutils
    gettext grep groff-base grub-common gzip iputils-ping kbd kmod less libsane-common mount mtools nano nfs-common openssh-client openssh-server
    parted procps psmisc recutils sane-utils sed systemd systemd-container systemd-journal-remote systemd-oomd tar texinfo udev util-linux
    vorbis-tools""".split()


class Failure(Exception):
    """What, where, what to do; and the exit code."""

    def __init__(self, message, code=1):
        super().__init__(message)
        self.code = code


def run(*command, **options):
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout
    except FileNotFoundError:
        raise Failure(f"{command[0]} is needed (Debian or a relative of it)") from None
    except subprocess.CalledProcessError as error:
        lines = error.stderr.splitlines() or [f"{command[0]} failed"]
        said = next((line for line in lines if line.startswith("E:")), lines[-1])
        raise Failure(f"{said} (is there a network? where apt knows no packages, run: apt-get update)") from None


def help_languages(packages, wanted):
    """The languages that there is help in: here, or where not all that are wanted are, as apt knows."""
    names = {path.name for path in packages.glob(HELP + "*")}
    if not wanted or any(HELP + language not in names for language in wanted):
        names.update(run("apt-cache", "pkgnames", HELP).split())
    return {name.removeprefix(HELP) for name in names} - NO_LANGUAGES


def spelt(language):
    """pt-br as chorus names languages: pt-BR."""
    head, dash, region = language.partition("-")
    return head + dash + region.upper()


def fetch(packages, folder):
    """Unpacks into FOLDER/PACKAGE what is not there yet."""
    missing = [name for name in packages if not (folder / name).is_dir()]
    if not missing:
        return
    folder.mkdir(parents=True, exist_ok=True)
    print(f"fetching {len(missing)} packages into {folder}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as downloads:
        if os.getuid() == 0:  # apt's own user fetches where root runs it
            try:
                os.chown(downloads, pwd.getpwnam("_apt").pw_uid, -1)
            except KeyError:
                pass
        run("apt-get", "-qq", "download", *missing, cwd=downloads)
        for name in missing:
            part = folder / f".{name}.part"
            run("dpkg-deb", "-x", str(next(Path(downloads).glob(f"{name}_*.deb"))), str(part))
            part.rename(folder / name)


def read_help(folders, keep):
    """{page: {place: [text]}} of the packages unpacked in folders."""
    pages = {}
    for root in (root for folder in folders for root in folder.glob("usr/share/libreoffice/help/*/text")):
        for path in root.glob("**/*.html"):
            pages[str(path.relative_to(root))] = help_pages.read_help_page(path.read_bytes().decode("utf-8", "replace"), keep)
    return pages


def read_man(folders, keep):
    """Likewise of manual pages; of two of one name, that of the first package."""
    pages = {}
    for folder in folders:
        # English pages lie in man/man1, others in man/de/man1; packages of programs have both.
        own = "man" if folder.name in MAN_ENGLISH else "*/man"
        for path in sorted(folder.glob(f"usr/share/man/{own}[1-9]/*.gz")):
            if path.is_symlink() or path.stem in pages:
                continue
            try:
                text = gzip.decompress(path.read_bytes()).decode("utf-8", "replace")
                pages[path.stem] = man_pages.read_man_page(text, keep)
            except man_pages.Unreadable:
                continue
    return pages


def build(name, read, languages, options):
    """A Corpus; `read(language)` gives its pages, of "en" too."""
    corpus = multiparallel.Corpus(name)
    english = read("en")
    if not english:
        raise Failure(f"no English pages for {name}: remove the packages in --packages to fetch them anew")
    rows = multiparallel.english_rows(corpus, english, options.longest)
    for language in languages:
        print(f"{name}: {language}", file=sys.stderr)
        multiparallel.add_language(corpus, language, read(language), english, rows, options.longest)
    multiparallel.split_pages(corpus, rows, options.valid, options.test, options.seed)
    return corpus


def read_ui(folder):
    """The Corpus that `chorus corpus gettext` wrote to a folder."""
    corpus = multiparallel.Corpus("ui")
    files = {split: sorted(folder.glob(f"{split}.*")) for split in multiparallel.SPLITS}
    for split in multiparallel.SPLITS:
        if not (folder / f"{split}.en").is_file():
            raise Failure(f"{folder} has no {split}.en: it should be what `chorus corpus gettext --out` wrote", 2)
    for split, paths in files.items():
        texts = {path.name.partition(".")[2]: path.read_text(encoding="utf-8").split("\n")[:-1] for path in paths}
        english = texts.pop("en")
        if any(len(lines) != len(english) for lines in texts.values()):
            raise Failure(f"{folder}: the files of {split} have not the same number of lines", 2)
        corpus.found.update({language: sum(map(bool, lines)) for language, lines in [("en", english), *texts.items()]})
        for i, text in enumerate(english):
            cells = {language: lines[i] for language, lines in texts.items() if lines[i]}
            corpus.splits[split].append(multiparallel.Row(text, set(), cells))
    return corpus


def earlier(out):
    """The files of text that an earlier run left in OUT, which would be read with the new ones."""
    files = [path for name in ("help", "man", "ui") for split in multiparallel.SPLITS for path in (out / name).glob(f"{split}.*")]
    if files and not (out / "report.json").is_file():
        raise Failure(f"{files[0]} is not of this command's making: give another --out", 2)
    return files


def table(reports):
    """For a terminal."""
    yield f"{'':16} {'train':>7} {'valid':>5} {'test':>5} {'words':>8} {'characters':>10}  left out"
    for name, languages in reports.items():
        for language, entry in languages.items():
            train = entry["train"]
            out = ", ".join(f"{n / entry['found']:.1%} {reason}" for reason, n in entry["left_out"].items())
            yield (f"{name + ' ' + language:16} {train['paragraphs']:7} {entry['valid']['paragraphs']:5} {entry['test']['paragraphs']:5} "
                   f"{train['words']:8} {train['characters']:10}  of {entry['found']}: {out}")


def make(options):
    out, keep, in_man = options.out, options.markup == "keep", set(MAN_LANGUAGES if options.man else ())
    packages = options.packages or (out or Path()) / "packages"
    wanted = {language.lower() for language in options.languages} - {"en", "all"}
    in_help = help_languages(packages, wanted - in_man)
    there = sorted(in_help | in_man)
    if options.list:
        print(" ".join(map(spelt, there)))
        return
    languages = there if "all" in options.languages else sorted(wanted)
    earlier(out)  # refuses before the work is done
    unknown = [language for language in languages if language not in there]
    if unknown or not languages:
        raise Failure(f"no text in: {' '.join(unknown)}; there are: {' '.join(map(spelt, there))} "
                      "(where apt knows no packages, run: apt-get update)", 2)
    of_help = {name: [HELP + name] for name in languages if name in in_help} | {"en": [HELP + "en-us"]}
    of_man = {name: [f"manpages-{name}", *[f"manpages-{name}-dev"] * (name in MAN_DEV)] for name in languages if name in in_man}
    corpora = []
    for kind, of, read in (("help", of_help, read_help), ("man", of_man | {"en": MAN_ENGLISH}, read_man)):
        if len(of) == 1:  # English alone
            continue
        fetch([package for some in of.values() for package in some], packages)

        def pages(language, of=of, read=read):
            return read([packages / package for package in of[language]], keep)

        corpora.append(build(kind, pages, [name for name in of if name != "en"], options))
    for corpus in corpora:
        corpus.rename(spelt)
    if options.ui:
        corpora.append(read_ui(options.ui))
    multiparallel.hold_out(corpora)
    for path in earlier(out):
        path.unlink()
    reports = {corpus.name: multiparallel.report(corpus) for corpus in corpora}
    # First: by it the text that a killed run has left is known as this command's.
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.json").write_text(json.dumps(reports, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for corpus in corpora:
        multiparallel.write(corpus, out / corpus.name)
    print("\n".join(table(reports)))
    if keep:
        symbols = help_pages.PLACEHOLDERS + [p for p in man_pages.PLACEHOLDERS if p not in help_pages.PLACEHOLDERS]
        print("for the run file: [vocabulary] symbols =", json.dumps(symbols))


def count(text):
    number = int(text)
    if number < 0:
        raise ValueError
    return number


def main():
    about, _, usage = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(description=about, epilog=usage, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("languages", nargs="*", metavar="LANGUAGE", help="such as de pt-BR; all")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the text")
    parser.add_argument("--list", action="store_true", help="print the languages there are")
    parser.add_argument("--man", action="store_true", help="manual pages too")
    parser.add_argument("--ui", type=Path, metavar="DIR", help="join with what `chorus corpus gettext` wrote here")
    parser.add_argument("--markup", choices=("drop", "keep"), default="drop", help="keep: as placeholders such as {emph}, {/emph}")
    parser.add_argument("--valid", type=count, default=1000, metavar="N", help="paragraphs of valid, about (1000)")
    parser.add_argument("--test", type=count, default=1000, metavar="N", help="paragraphs of test, about (1000)")
    parser.add_argument("--seed", type=int, default=1, help="of the split")
    parser.add_argument("--longest", type=count, default=600, metavar="N", help="leave out paragraphs of more characters (600)")
    parser.add_argument("--packages", type=Path, metavar="DIR", help="keep and look for packages here (OUT/packages)")
    options = parser.parse_args()
    if not options.list and not (options.out and options.languages):
        parser.error("give --out and languages, or --list")
    try:
        make(options)
    except (Failure, OSError, ValueError) as error:
        print(f"fetch_help: {error}", file=sys.stderr)
        return getattr(error, "code", 1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
