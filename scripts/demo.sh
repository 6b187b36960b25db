#!/bin/bash
# make demo: real text in nine languages, a sparse model trained on it, translations and their scores.
#
#   DEMO_MINUTES=N   train for N minutes (default 9); the rest takes about one
#   DEMO_DIR=DIR     where the run goes (default runs/demo); the corpus goes to corpora/demo
set -euo pipefail
cd "$(dirname "$0")/.."
chorus=build/release/chorus
run=${DEMO_DIR:-runs/demo}
minutes=${DEMO_MINUTES:-9}
languages=(de fr es it nl sv pl ru)
began=$SECONDS

say() { printf '\n\033[1m%s\033[0m\n' "$*" >&2; }
[ -t 2 ] || say() { printf '\n== %s\n' "$*" >&2; }

say "1/4  Text: user-interface strings of LibreOffice in English and ${#languages[@]} more languages"
if [ ! -e corpora/demo/test.en ]; then
  scripts/fetch_libreoffice.sh corpora/libreoffice "${languages[@]}"
  $chorus corpus gettext --root corpora/libreoffice --languages "en,$(IFS=,; echo "${languages[*]}")" --out corpora/demo --valid 300
else
  echo "corpora/demo is there already" >&2
fi

say "2/4  Training a mixture-of-experts model for ${minutes} minutes, all 16 directions at once"
# bf16 is faster where the processor multiplies it, and slower where it does not.
precision=fp32
if grep -qE 'avx512_bf16|amx_bf16' /proc/cpuinfo; then precision=bf16; fi
$chorus train recipes/demo.toml --out "$run" --set train.time_limit="$minutes" --set precision=$precision

say "3/4  Translating held-out strings, and scoring"
$chorus assess --model "$run" --files "corpora/demo/test.{lang}" --directions "en-*,*-en" --sentences "${DEMO_SENTENCES:-100}" \
  --beam 2 --samples 10 | tee "$run/assessment.txt"

say "4/4  Done in $(((SECONDS - began) / 60)) min $(((SECONDS - began) % 60)) s"
cat <<END
The table above is in      $run/assessment.txt
The model:                 $run/model           (what other commands take as --model)
Metrics of the training:   $run/metrics.jsonl, $run/tensorboard

What to type next:
  echo "Save the document as a template" | $chorus translate --model $run --from en --to de
  $chorus inspect $run/model
  $chorus train recipes/demo.toml --out $run --set train.time_limit=60      # goes on from where it stopped
END
