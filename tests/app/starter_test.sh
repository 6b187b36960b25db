#!/bin/sh
# models/help-24, which has learnt, over its sample of text that was held out: its scores, the same text however it is translated,
# by command and server, and what pruning by chance, merging and fitting leave of it.
# usage: starter_test.sh PATH_OF_CHORUS
tests=$(cd "$(dirname "$0")/.." && pwd)
. "$tests/script.sh"
model=$tests/../models/help-24
(cd "$model" && sha256sum --check --quiet SHA256SUMS) || fail "models/help-24 is not what its SHA256SUMS says"

# bleu MODEL DIRECTIONS [OPTION...]: the mean over the directions.
bleu() {
  of=$1 directions=$2
  shift 2
  "$chorus" assess --model "$of" --files "$model/sample/test.{lang}" --directions "$directions" --sentences 48 --samples 0 --no-load -q "$@" > table ||
    fail "assess $of failed"
  awk '$1 == "mean" { print $3 }' table
}
at_least() { awk "BEGIN { exit !($1 >= $2) }" || fail "BLEU of $3: $1, less than $2"; }
into=de-en,fr-en,ja-en,ru-en from=en-de,en-fr,en-ja,en-ru
at_least "$(bleu "$model" $into)" 20 "translations into English"
at_least "$(bleu "$model" $from)" 15 "translations from English"

# The same lines, whatever else is in a batch, with how many threads, and where the experts lie.
translate() { "$chorus" translate --model "$model" --from de --to en --beam 3 --sentences -q "$@"; }
head -n 40 "$model/sample/test.de" > source
translate < source > whole || fail "translating failed"
for options in "--batch-tokens 1" "--threads 1 --batch-tokens 700" "--memory 10MB"; do
  translate $options < source | cmp -s - whole || fail "translate $options: other lines"
done
tac source | translate | tac | cmp -s - whole || fail "other lines from last to first"
[ "$(sort -u whole | wc -l)" -ge 38 ] || fail "lines that are all the same"
python3 "$tests/server/same_lines.py" "$chorus" "$model" source whole || fail "the server gives other lines"

# What the numbers stand for, in fp32, from which one may train and prune.
cat > run.toml << END
[[data.train]]
files = "$model/sample/test.{lang}"
languages = ["de", "en"]
[train]
init = "$model"
duration = "0u"
END
"$chorus" train run.toml --out run -q || fail "no run begins with models/help-24"
whole=$(bleu run/model $into --beam 1) int4=$(bleu "$model" $into --beam 1)
at_least "$int4" "$whole - 1.5" "products of int8 and int4, where fp32 has $whole"
for language in de fr ja ru en; do tail -n 48 "$model/sample/test.$language" > text.$language; done # assessed are the first 48
prune() { # prune OUT OPTION...
  out=$1
  shift
  "$chorus" prune run/model --keep 0.25 --files "text.{lang}" --directions "$into" --out "$out" -q "$@" > report || fail "prune $* failed"
}
prune random --by random --method drop --no-refit
prune merged --method merge --no-refit
prune fitted
random=$(bleu random $into --beam 1) merged=$(bleu merged $into --beam 1) fitted=$(bleu fitted $into --beam 1)
at_least "$merged" "$random + 3" "a quarter of the experts, merged, where a random quarter has $random"
at_least "$fitted" "$merged - 0.5" "a quarter of the experts, merged and fitted, where merged they have $merged"
at_least "$fitted" "$whole - 4" "a quarter of the experts, merged and fitted, where all have $whole"
echo "BLEU into English: $int4 in int4, $whole in fp32; of a quarter of the experts $random by chance, $merged merged, $fitted fitted"
exit $failed
