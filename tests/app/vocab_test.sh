#!/bin/sh
# chorus vocab: trains, tells, encodes and decodes; mistakes are one line and exit code 2.
# usage: vocab_test.sh PATH_OF_CHORUS
chorus=$1
failed=0
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT

fail() { echo "$*"; failed=1; }
# refuse WORDS ARGUMENTS...: exit code 2, and one line with the words.
refuse() {
  words=$1
  shift
  "$chorus" vocab "$@" > "$folder/out" 2> "$folder/err" < "$folder/in"
  got=$?
  [ $got -eq 2 ] && [ "$(wc -l < "$folder/err")" -eq 1 ] && grep -qF -- "$words" "$folder/err" ||
    fail "chorus vocab $*: exit code $got, expected 2 and '$words'; it said: $(cat "$folder/err")"
}

for i in 1 2 3 4 5 6 7 8 9; do
  echo "the cat number $i sat on the mat" >> "$folder/en"
  echo "die Katze Nummer $i saß auf der Matte" >> "$folder/de"
done
: > "$folder/in"
train="--input en=$folder/en --input de=$folder/de --out $folder/model"

"$chorus" vocab -q $train --size 294 2> "$folder/err" || fail "training failed: $(cat "$folder/err")"
[ -s "$folder/err" ] && fail "quiet training said: $(cat "$folder/err")"
[ "$("$chorus" vocab --model "$folder/model")" = "294 rows, 2 languages: de, en
normalization: nmt_nfkc" ] || fail "wrong summary"
# A place that cannot be written is found before the text is read.
refuse "cannot write $folder/no/model" --input en=$folder/missing --out $folder/no/model
text="die Katze __en__ sat"
back=$(echo "$text" | "$chorus" vocab --model "$folder/model" --encode | "$chorus" vocab --model "$folder/model" --decode)
[ "$back" = "$text" ] || fail "'$text' came back as '$back'"
# 漢 is three bytes, the last of them 0xA2: a line end, 0x0A, is 152 ids before, and no line of its own.
byte=$(echo 漢 | "$chorus" vocab --model "$folder/model" --encode | awk '{print $NF - 152}')
[ "$(echo "$byte $byte" | "$chorus" vocab --model "$folder/model" --decode | wc -l)" -eq 1 ] || fail "bytes spelt lines"

# The same files as one pattern give the same vocabulary; --normalization decides what becomes of text.
cp "$folder/en" "$folder/text.en"
cp "$folder/de" "$folder/text.de"
"$chorus" vocab -q --files "$folder/text.{lang}" --out "$folder/pattern" --size 294 && cmp -s "$folder/model" "$folder/pattern" ||
  fail "--files gives another vocabulary than --input"
"$chorus" vocab -q --files "$folder/text.{lang}" --out "$folder/identity" --size 294 --normalization identity || fail "identity"
for model in model identity; do
  printf 'x² \342\200\213a\302\240b ﬁ\n' | "$chorus" vocab --model "$folder/$model" --encode |
    "$chorus" vocab --model "$folder/$model" --decode > "$folder/$model.text"
done
printf 'x2 a b fi\n' | cmp -s - "$folder/model.text" || fail "nmt_nfkc gave $(cat "$folder/model.text")"
printf 'x² \342\200\213a\302\240b ﬁ\n' | cmp -s - "$folder/identity.text" || fail "identity gave $(cat "$folder/identity.text")"
"$chorus" vocab -q --files "$folder/text.{lang}" --out "$folder/symbols" --size 296 --symbol "<bt>" --symbol '{a,"b"}' || fail "symbols"
"$chorus" vocab --model "$folder/symbols" | grep -qxF '2 symbols: <bt> {a,"b"}' || fail "symbols: $("$chorus" vocab --model "$folder/symbols")"
[ "$(echo '<bt>{a,"b"}' | "$chorus" vocab --model "$folder/symbols" --encode | wc -w)" -eq 3 ] || fail "a symbol was cut"
"$chorus" corpus report --files "$folder/text.{lang}" > "$folder/report" && grep -q "^rows 9, usable 9" "$folder/report" &&
  grep -q "^de: $folder/text.de" "$folder/report" || fail "corpus report: $(cat "$folder/report")"
"$chorus" corpus report --files "en=$folder/en,de=$folder/de" | grep -q "^rows 9, usable 9" || fail "corpus report LANGUAGE=FILE"

refuse "exists; give --force" -q $train --size 294
refuse "set it to" -q $train --force --size 9000
refuse "set it to" -q $train --force --size 262
refuse "give a language and a file" -q --input en --out "$folder/new"
refuse "no name for a language" -q --input "e n=$folder/en" --out "$folder/new"
refuse "$folder/missing" -q --input "en=$folder/missing" --out "$folder/new"
refuse "is a special token" -q --input "en=$folder/en" --out "$folder/new" --symbol "</s>"
refuse "name the file to write" -q --input "en=$folder/en"
refuse 'give --files "train.{lang}"'
refuse "is not a usable SentencePiece model" --model "$folder/en"
refuse "--size excludes --model" --model "$folder/model" --size 300
refuse "--languages excludes --model" --model "$folder/model" --languages en
refuse "--json requires --model" -q --input "en=$folder/en" --out "$folder/new" --json
refuse "--encode excludes --json" --model "$folder/model" --encode --json
refuse "choose one of" --model "$folder/model" --encode --decode
echo "4 five" > "$folder/in"
refuse "line 1: 'five' is no token id" --model "$folder/model" --decode
echo "999" > "$folder/in"
refuse "outside the vocabulary" --model "$folder/model" --decode
[ -e "$folder/new" ] && fail "a refused command wrote a file"
exit $failed
