#!/bin/sh
# Makes what experiments train on and is not there yet, under corpora/.
#   experiments/corpora.sh multi30k        validation text of 50 lines a language, and a vocabulary
#   experiments/corpora.sh imbalanced      German 29,000, French 6,000, Czech 1,200 pairs with English
#   experiments/corpora.sh little          the first 10,000 pairs of English and German
#   experiments/corpora.sh libreoffice     26 languages, from Debian's packages (network), and validation text of 20 lines
#   experiments/corpora.sh help            LibreOffice's help in 15 languages with English, two of which have 2,000 pairs and two 500
set -eu
cd "$(dirname "$0")/.."
chorus=${CHORUS:-build/release/chorus}
languages="en de fr cs"

multi30k() {
  from=../shared/data/multi30k
  to=corpora/multi30k
  [ ! -e $to/sp.model ] || return 0
  mkdir -p $to
  inputs=
  for l in $languages; do
    gzip -dc $from/val.$l.gz | head -n 50 >$to/val.$l
    inputs="$inputs --input $l=$from/train.$l.gz"
  done
  # shellcheck disable=SC2086  # a list of words
  "$chorus" vocab $inputs --size 1500 --sentences 40000 --out $to/sp.model --quiet
}

imbalanced() {
  from=../shared/data/multi30k
  for pair in de:29000 fr:6000 cs:1200; do
    l=${pair%:*}
    to=corpora/imbalanced/en-$l
    [ ! -e $to ] || continue
    mkdir -p $to.part
    for side in en $l; do
      gzip -dc $from/train.$side.gz | head -n "${pair#*:}" >$to.part/train.$side
    done
    mv $to.part $to
  done
}

little() {
  to=corpora/little
  [ ! -e $to ] || return 0
  mkdir -p $to.part
  for l in en de; do
    gzip -dc "../shared/data/multi30k/train.$l.gz" | head -n 10000 >$to.part/train.$l
  done
  mv $to.part $to
}

libreoffice() {
  to=corpora/libreoffice-26
  names="ca cs cy da de el eo es fi fr gl hu is it ja ko lt nl pl ru sl sv tr uk zh-CN"
  [ ! -e $to/head.en ] || return 0
  if [ ! -e $to ]; then
    # shellcheck disable=SC2086  # a list of words
    scripts/fetch_libreoffice.sh corpora/libreoffice $names
    "$chorus" corpus gettext --root corpora/libreoffice --languages "en,$(echo $names | tr ' ' ,)" --valid 200 --out $to
  fi
  for l in $names en; do # English last: with it all are there
    head -n 20 $to/valid.$l >$to/head.$l
  done
}

help() {
  to=corpora/help-15
  names="de nl sv fr es it pl cs ru fi hu da ca sl et"
  [ ! -e $to ] || return 0
  # shellcheck disable=SC2086  # a list of words
  [ -e corpora/help/help/train.et ] || scripts/fetch_help.py --out corpora/help $names
  mkdir -p $to.part
  for l in en $names; do
    cp corpora/help/help/train.$l corpora/help/help/valid.$l corpora/help/help/test.$l $to.part/
  done
  for pair in da:2000 ca:2000 sl:500 et:500; do # mono.LANGUAGE has all paragraphs, train.LANGUAGE one of every so many
    l=${pair%:*}
    grep . corpora/help/help/train.$l >$to.part/mono.$l
    awk -v all="$(wc -l <$to.part/mono.$l)" -v kept="${pair#*:}" \
      '/./ { n++; if (int(n * kept / all) == int((n - 1) * kept / all)) $0 = "" } { print }' corpora/help/help/train.$l >$to.part/train.$l
  done
  "$chorus" vocab --files "$to.part/train.{lang}" --size 8000 --out $to.part/sp.model --quiet
  mv $to.part $to
}

for corpus in "$@"; do
  $corpus
done
