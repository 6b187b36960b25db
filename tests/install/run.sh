#!/usr/bin/env bash
# Installs a build into an empty folder, then configures, builds and runs a user's programs, which know only what is installed.
#   run.sh CMAKE BUILD_FOLDER
set -euo pipefail
cmake=$1 build=$2
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
  echo "install test: $*" >&2
  exit 1
}
cp "$here"/CMakeLists.txt "$here"/*.cpp "$work/"
"$cmake" --install "$build" --prefix "$work/prefix" >"$work/log"
"$cmake" -S "$work" -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=Debug -DCMAKE_PREFIX_PATH="$work/prefix"
"$cmake" --build "$work/build"
cd "$work"
"$work/prefix/bin/chorus" --help >help

for i in $(seq 1 200); do
  echo "the number $i is here" >>text.en
  echo "die Zahl $i ist da" >>text.de
done
cat >RUN.toml <<'END'
[[data.train]]
files = "text.{lang}"
directions = ["en-de"]

[data]
batch_tokens = 200

[vocabulary]
size = 300

[model]
d_model = 16
encoder_layers = 1
decoder_layers = 1
attention_heads = 2
ffn_dim = 32

[moe]
experts = 4
encoder_every = 1
decoder_every = 1
END
build/train RUN.toml run 2>train.log || fail "train: $(cat train.log)"
build/train missing.toml other 2>message && fail "a run file that is not there was trained" || [ $? = 2 ]
grep -q missing.toml message || fail "the message does not name the file: $(cat message)"
build/prune run 0.5 'text.{lang}' pruned >left
"$work/prefix/bin/chorus" prune run --keep 0.5 --files 'text.{lang}' --sentences 1000 --out expected -q >report
cmp pruned/model.safetensors expected/model.safetensors || fail "the library and the program prune otherwise"
for model in run pruned; do
  printf 'the number 7 is here\n\nthe number 9 is here\n' >lines
  build/translate $model en de <lines >ours
  "$work/prefix/bin/chorus" translate --model $model --from en --to de -q <lines >theirs
  cmp ours theirs || fail "the library and the program translate otherwise"
done
sed -n 1p lines >source
echo "die Zahl 7 ist da" >target
build/score run en de "$(cat source)" "$(cat target)" >ours
"$work/prefix/bin/chorus" score --model run --from en --to de --source source --target target -q >theirs
awk -v ours="$(cut -d' ' -f1 ours)" -v theirs="$(cat theirs)" 'BEGIN { d = ours - theirs; exit !(d * d < 1e-6) }' ||
  fail "the library scores $(cat ours), the program $(cat theirs)"
grep -q ' 100$' ours || fail "BLEU of a text with itself: $(cat ours)"

for program in translate score; do
  if ldd build/$program | grep -E 'libmpi|sentencepiece_train'; then fail "$program links what only training needs"; fi
done
