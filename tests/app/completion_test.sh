#!/bin/sh
# chorus completion and chorus manual: what bash offers, and scripts and pages that their readers take without complaint.
# usage: completion_test.sh PATH_OF_CHORUS
. "$(dirname "$0")/../script.sh"

for shell in bash zsh fish; do
  "$chorus" completion $shell > chorus.$shell 2> err && [ -s chorus.$shell ] || fail "completion $shell: $(cat err)"
done
refuse "not in {bash,zsh,fish}" completion tcsh
refuse "SHELL is required" completion

# offers WANTED WORD...: what bash has for the last word, on one line. `compopt` is for the real thing alone.
cat > ask.bash << 'END'
compopt() { :; }
. ./chorus.bash || exit 1
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_chorus
echo "${COMPREPLY[*]}"
END
offers() {
  wanted=$1
  shift
  got=$(bash ask.bash "$@" 2>&1)
  [ "$got" = "$wanted" ] || fail "bash offers '$got' for '$*', not '$wanted'"
}
bash -n chorus.bash || fail "the script is not bash"
mkdir folder
: > text.toml
offers "train translate" chorus tr
offers "--version" chorus --v
offers "--beam --beam-groups" chorus translate --be
offers "" chorus translate --beam 5
offers "bf16" chorus translate --precision b
offers "gettext report" chorus corpus ""
offers "--overwrite" chorus corpus gettext --ov
offers "train translate" chorus help tr
offers "zsh" chorus completion z
offers "text.toml" chorus train te
offers "folder" chorus train --out ""
offers "folder" chorus train --out =
offers "average" chorus merge --dense a
offers "average" chorus merge --dense = a
offers "moe.experts=" chorus train --set moe.experts
offers "moe.experts=" chorus plan --set = moe.experts
bash ask.bash chorus train --set mo > offered
for key in model.d_model= moe.experts=; do
  grep -qF $key offered || fail "--set mo offers no $key"
done

if command -v zsh > /dev/null; then zsh -n chorus.zsh || fail "the script is not zsh"; fi
if command -v fish > /dev/null; then fish --no-execute chorus.fish || fail "the script is not fish"; fi
grep -q "^_chorus_chorus_corpus_gettext() {" chorus.zsh || fail "no function of zsh for corpus gettext"
grep -q "__chorus_at chorus translate' -l 'beam' -x" chorus.fish || fail "no line of fish for translate --beam"

# page TITLE COMMAND...: a page with that title, and with nothing but requests on lines that begin with a dot or an apostrophe.
page() {
  title=$1
  shift
  "$chorus" manual "$@" > page.1 2> err || fail "manual $*: $(cat err)"
  head -n 1 page.1 | grep -qF ".TH $title 1" || fail "manual $* begins with $(head -n 1 page.1)"
  grep -qx ".SH NAME" page.1 && grep -qx ".SH OPTIONS" page.1 || fail "manual $* lacks a section"
  ! grep "^[.']" page.1 | grep -vE '^\.(TH|SH|SS|TP)( |$)' || fail "manual $* has requests that are none"
  if command -v groff > /dev/null; then
    groff -k -man -ww -W break -Tutf8 page.1 2>&1 > /dev/null | grep . && fail "groff complains about manual $*"
  fi
}
page CHORUS # of chorus itself
page 'CHORUS\-CORPUS\-REPORT' corpus report
for command in translate evaluate vocab help plan train; do
  page "CHORUS\\-$(echo $command | tr a-z A-Z)" $command
done
grep -qF '.SS [moe]' page.1 && grep -q '^\\fBexperts\\fR = ' page.1 || fail "the page of train lacks moe.experts"
refuse "unknown command 'trian'; did you mean 'train'?" manual trian

# All pages at once, as a package wants them.
mkdir pages
"$chorus" manual --out pages || fail "manual --out pages"
"$chorus" manual corpus report | cmp - pages/chorus-corpus-report.1 || fail "manual --out writes another page"
lacking=$(sed -n '/^\.SH SEE ALSO/,$ s/\\fB\([^ ]*\)\\fR(1)/\1/gp' pages/*.1 | tr -d '\\,' | tr ' ' '\n' | sort -u |
  while read -r name; do [ -f "pages/$name.1" ] || echo "$name"; done)
[ -z "$lacking" ] || fail "pages that others name are not written: $lacking"
refuse "cannot write nowhere/chorus.1" manual --out nowhere
exit $failed
