#!/bin/bash
# make demo: the model of models/help-24 learns two more languages from real text; translations and their scores.
#
#   DEMO_MINUTES=N   train for at most N minutes (default 12); the rest takes about one
#   DEMO_DIR=DIR     where the run goes (default runs/demo); the corpus goes to corpora/nb-sk
set -euo pipefail
cd "$(dirname "$0")/.."
chorus=build/release/chorus
run=${DEMO_DIR:-runs/demo}
began=$SECONDS

say() { printf '\n\033[1m%s\033[0m\n' "$*" >&2; }
[ -t 2 ] || say() { printf '\n== %s\n' "$*" >&2; }

say "1/4  Text: LibreOffice's user-interface strings in English, Norwegian and Slovak"
if [ ! -e corpora/nb-sk/test.en ]; then
  scripts/fetch_libreoffice.sh corpora/libreoffice nb sk
  $chorus corpus gettext --root corpora/libreoffice --languages en,nb,sk --out corpora/nb-sk/strings --valid 300 --test 300
  # Held out is what models/help-24 has not seen either, in any language; letters alone are compared.
  for language in en nb sk; do
    cat corpora/nb-sk/strings/{train,valid,test}.$language >corpora/nb-sk/strings/all.$language
  done
  paste corpora/nb-sk/strings/all.{en,nb,sk} | awk -F '\t' '
    { letters = tolower($1); gsub(/[^a-z]/, "", letters) }
    NR == FNR { held_out[letters]; next }
    { split_of = letters in held_out ? (++held % 2 ? "test" : "valid") : "train"
      print $1 > "corpora/nb-sk/" split_of ".en"; print $2 > "corpora/nb-sk/" split_of ".nb"; print $3 > "corpora/nb-sk/" split_of ".sk" }
  ' models/help-24/held_out.en -
else
  echo "corpora/nb-sk is there already" >&2
fi

say "2/4  Training: models/help-24, which knows 25 languages, learns Norwegian and Slovak, from and into English"
# bf16 is faster where the processor multiplies it, and slower where it does not.
precision=fp32
if grep -qE 'avx512_bf16|amx_bf16' /proc/cpuinfo; then precision=bf16; fi
$chorus train recipes/demo.toml --out "$run" --set train.time_limit="${DEMO_MINUTES:-12}" --set precision=$precision

say "3/4  Translating strings that were held out, and scoring; those shown are drawn, not chosen"
$chorus assess --model "$run" --files "corpora/nb-sk/test.{lang}" --directions "en-*,*-en" \
  --sentences "${DEMO_SENTENCES:-150}" --samples 12 --no-load | tee "$run/assessment.txt"

say "4/4  Done in $(((SECONDS - began) / 60)) min $(((SECONDS - began) % 60)) s"
cat <<END
The table above is in      $run/assessment.txt
The model:                 $run/model           (what other commands take as --model)
Metrics of the training:   $run/metrics.jsonl, $run/tensorboard

What to type next:
  echo "Save the document as a template." | $chorus translate --model $run --from en --to nb
  $chorus inspect $run/model
  $chorus report $run                              # report.html: curves, scores, experts
END
