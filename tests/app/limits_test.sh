#!/bin/sh
# Files and options made to hurt: one line, exit code 2 (1 where a file changes in use), little memory and no long wait.
# usage: limits_test.sh PATH_OF_CHORUS
. "$(dirname "$0")/../script.sh"

# What a process may have of memory beyond its libraries, unless a sanitizer reserves more.
limit=1500000 # KB
(ulimit -d $limit && "$chorus" --version > out 2>&1) || limit=unlimited
# expect CODE WORDS ARGUMENTS...: the exit code within twenty seconds, and one short line with the words and nothing that moves a cursor.
expect() {
  code=$1 words=$2
  shift 2
  (ulimit -d $limit; timeout 20 "$chorus" "$@" > out 2> err < /dev/null)
  got=$?
  [ $got -eq "$code" ] && [ "$(wc -l < err)" -eq 1 ] && [ "$(wc -c < err)" -lt 2500 ] && grep -qF -- "$words" err &&
    ! LC_ALL=C grep -q "$(printf '[\001-\010\013-\037\177]')" err ||
    fail "chorus $(echo "$*" | cut -c 1-300): exit code $got, expected $code and '$words'; it said: $(head -c 3000 err)"
}

# Numbers: every option that takes one refuses what is none, or is out of reason.
for option in "translate --beam" "translate --nbest" "translate --max-length" "translate --no-repeat-ngram" \
  "translate --max-length-factor" "translate --length-penalty" "translate --repetition-penalty" "translate --batch-tokens" \
  "translate --max-source" "translate --threads" "score --batch-tokens" "score --length-penalty" "assess --sentences" \
  "assess --beam" "assess --samples" "prune --keep" "prune --sentences" "prune --least" "grow --experts" "grow --noise" \
  "upcycle --experts" "upcycle --top-k" "upcycle --every" "upcycle --noise" "export --shard-size" "plan --world" \
  "plan --ranks-per-host" "plan --length" "plan --skew" "inspect --length" "corpus gettext --valid" \
  "corpus gettext --test" "corpus gettext --max-characters" "bench machine --threads" "vocab --size" "vocab --coverage" \
  "vocab --sentences" "vocab --temperature" "evaluate --width" "evaluate --resamples"; do
  # shellcheck disable=SC2086
  expect 2 "$(echo "$option" | sed 's/.* //')" $option=nan
done
for number in inf -inf -1 1e400 99999999999999999999; do
  expect 2 --keep prune --keep=$number
  expect 2 --beam translate --beam=$number
done
expect 2 --valid corpus gettext --root . --out out --languages en,de --valid 9223372036854775807

# Messages: control sequences and long values, in every place that a user's text goes to.
escape=$(printf 'a\033[2J\nb')
long=$(head -c 100000 /dev/zero | tr '\0' x)
for text in "$escape" "$long"; do
  expect 2 "unknown" "$text"
  expect 2 "unknown option" train "--$text"
  expect 2 "" train "$text"
  expect 2 "" train --dump-config --set "$text"
  expect 2 "" train --dump-config --set "model.d_model=$text"
  expect 2 "" train --dump-config --set "model.$text=1"
  expect 2 "" inspect "$text"
  expect 2 "" vocab --model "$text"
  expect 2 "" evaluate --hypothesis "$text" --reference "$text"
  expect 2 "" evaluate --hypothesis x --reference x --tokenize "$text"
  expect 2 "" plan "$text"
  expect 2 "" corpus report "$text"
  expect 2 "" corpus gettext --root "$text" --languages en,de --out "$text"
  expect 2 "" prune "$text" --out "$text" --by random
  expect 2 "" export "$text" --out "$text" --format "$text"
  expect 2 "" import "$text" --out "$text"
  expect 2 "" translate --model "$text" --from xx --to yy
done

# Run files.
printf 'x = 1\n%sa = 1\n' "$(head -c 120000 /dev/zero | tr '\0' a | sed 's/aa/a./g')" > deep.toml
expect 2 "deep.toml:2: nested deeper than 32 levels" train deep.toml --out run
truncate -s 1T sparse
expect 2 "sparse" train sparse --out run
expect 2 "sparse" vocab --model sparse
expect 2 "sparse" evaluate --hypothesis sparse --reference sparse
expect 2 "sparse" evaluate --hypothesis deep.toml --reference deep.toml --tokenize spm --spm sparse

# Text: what a small file unpacks to.
head -c 100000000 /dev/zero | tr '\0' '\n' | gzip -1 > newlines.gz
expect 2 "newlines.gz:5000001: more than" evaluate --hypothesis newlines.gz --reference newlines.gz

# A mapped file that is cut short while it is in use.
toy_run 4
"$chorus" train run.toml --out run -q || fail "no run"
# Sizes that are each in range.
expect 2 "error" train run.toml --out wide -q --set moe.experts=65536 --set model.encoder_layers=64 \
  --set model.d_model=2 --set model.attention_heads=1 --set model.ffn_dim=1
"$chorus" plan run.toml --set moe.experts=65536 --set model.encoder_layers=1024 > out || fail "no plan of 512 x 65536 experts"
expect 2 "and this machine has" train run.toml --out wide -q --set model.d_model=65536 --set model.ffn_dim=1048576
expect 2 "say what there is with --device-memory" plan run.toml --forms

# Weights of which none is a number.
cp -r run/model nan
header=$((8 + $(od -An -N8 -tu8 nan/model.safetensors)))
size=$(wc -c < nan/model.safetensors)
head -c $header nan/model.safetensors > head
head -c $((size - header)) /dev/zero | tr '\0' '\377' | cat head - > nan/model.safetensors
expect 2 "" prune nan --keep 0.5 --by random --method merge --out out

mkfifo lines
# cut_in_use WORDS BYTES OPTIONS...: of the model only so many bytes are left once a line is translated; the next ends in one line with the words.
cut_in_use() {
  words=$1 left=$2
  shift 2
  cp -r run/model cut
  rm -f out
  "$chorus" translate --model cut --from xx --to yy -q "$@" < lines > out 2> err &
  process=$!
  exec 3> lines
  echo "alpha beta" >&3
  until [ -s out ]; do kill -0 $process || break; sleep 0.1; done
  truncate -s "$left" cut/model.safetensors
  echo "gamma delta" >&3
  exec 3>&-
  wait $process
  got=$?
  [ $got -eq 1 ] && [ "$(wc -l < out)" -eq 1 ] && [ "$(wc -l < err)" -eq 1 ] && grep -q "cut/model.safetensors: $words" err ||
    fail "a model cut short, with '$*': exit code $got: $(cat out err)"
  rm -rf cut
}
cut_in_use "it was cut short" 0
# Experts that are read when they are needed: the decoder's are not there any more, nor is its last norm, which is mapped.
cut_in_use '\(Input/output error; look at the disk\|it was cut short\)' 2700000 --memory 2200kB
exit $failed
