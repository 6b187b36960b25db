#!/bin/sh
# chorus upcycle, grow, average, merge, prune and quantize: what they write is translated with and pruned again, and a model larger
# than the memory that a process may have goes through all of them.
# usage: surgery_test.sh PATH_OF_CHORUS
. "$(dirname "$0")/../script.sh"

run() { "$chorus" "$@" -q || fail "chorus $* failed"; }
translates() { echo "alpha beta" | "$chorus" translate --model "$1" --from xx --to yy -q > line && [ "$(wc -l < line)" -eq 1 ] ||
  fail "no translation by $1"; }

toy_run 0
run train run.toml --out run

# A dense model of 2 MB becomes one of 4, then 256 experts in two layers: 134 MB.
run upcycle run --experts 4 --top-k 2 --noise 0.1 --out four
translates four
# A process takes 60 MB however small the model is; stacks of threads count too.
limit=110000 # KB
(ulimit -s 1024; ulimit -d $limit && "$chorus" --version > out 2>&1) || limit=unlimited # sanitizers reserve more than this
limited() { (ulimit -s 1024; ulimit -d $limit && "$chorus" "$@" -q) || fail "chorus $* under ulimit -d $limit failed"; }
limited grow four --experts 256 --noise 0.1 --out large
size=$(du -k large/model.safetensors | cut -f 1)
[ $limit = unlimited ] || [ "$size" -gt $limit ] || fail "the large model takes $size KB, no more than the $limit of the limit"
limited grow four --experts 256 --noise 0.1 --seed 2 --out other
limited average large other --out mean
limited merge large other --out union
limited prune union --keep 0.25 --by random --out pruned > report
grep -q "^encoder.layers.1 *512 *128 " report || fail "the report of pruning says $(cat report)"
limited prune large --keep 0.5 --by random --method merge --out merged > report
limited prune large --keep 0.5 --method drop --no-refit --data "train.{lang}" --out used > report

# Quantized, which is no more at a time either: what is written takes more than the limit leaves, too.
limited quantize union --experts int8 --out union8
limited merge large other --quantize int8 --out merged8
cmp -s union8/model.safetensors merged8/model.safetensors || fail "merge --quantize writes other weights than quantize of what merge wrote"
limited prune union --keep 0.9 --by random --quantize int8 --out pruned8 > report
limited export union --format nllb-moe --out theirs
rm -rf union mean merged used other merged8 pruned8
limited import theirs --quantize int8 --out imported8
cmp -s union8/model.safetensors imported8/model.safetensors || fail "import --quantize writes other weights than quantize"
rm -rf union8 imported8 theirs

# With text: the same number per layer, and a threshold; one direction, and more files than one.
run prune large --keep 0.25 --by utilization --data "train.{lang}" dev.tsv --directions xx-yy --json --out direction > json
grep -q '"sentences": 200' json || fail "two files of 100 lines are not counted together"
translates direction
run prune direction --keep 0.5 --global --by importance --data "train.{lang}" --out global > report
grep -q "^decoder.layers.1 *64 " report || fail "what was pruned before is not pruned again"
run prune direction --keep 0.5 --global --by importance --files "train.{lang}" --device cpu --out same > report
cmp -s global/model.safetensors same/model.safetensors || fail "--files prunes otherwise than --data"
translates global
"$chorus" inspect global | grep -q "experts in the MoE layers, top-2" || fail "inspect does not show layers of different size"

# Merged and fitted to what the whole model gives, from one direction, quantized or not; or one of both, or neither.
halve() { run prune four --keep 0.5 --data "train.{lang}" --directions xx-yy "$@" > report; }
halve --out fitted
halve --method merge --out same_fitted
halve --method merge --no-refit --out merged
halve --method drop --out dropped_fitted
halve --method drop --no-refit --out dropped
halve --quantize int8 --out fitted8
cmp -s fitted/model.safetensors same_fitted/model.safetensors || fail "with text prune does not merge by itself"
for one in merged dropped_fitted dropped; do
  for other in fitted merged dropped; do
    [ $one = $other ] || ! cmp -s $one/model.safetensors $other/model.safetensors || fail "$one and $other are the same"
  done
  [ "$(wc -c < $one/model.safetensors)" = "$(wc -c < fitted/model.safetensors)" ] || fail "$one and fitted differ in size"
done
translates fitted
translates fitted8
run prune four --keep 0.5 --by random --out chance > report
run prune four --keep 0.5 --by random --method drop --no-refit --data "train.{lang}" --out same_chance > report
cmp -s chance/model.safetensors same_chance/model.safetensors || fail "without text prune does not drop by itself"

# What transformers wrote, in shards.
run export four --format nllb-moe --shard-size 0.001 --out theirs
run import theirs --out imported
run prune imported --keep 0.5 --by importance --data "train.{lang}" --out half > report
translates half
"$chorus" export global --format nllb-moe --out more 2> err && fail "layers of different size were exported"
grep -q "different numbers of experts" err || fail "the export of layers of different size says $(cat err)"

# Quantized: by its own command, and by those that make a model.
run quantize four --data "train.{lang}" --directions xx-yy --sentences 20 --json --out int4 > json
grep -q '"length_ratio"' json || fail "quantize does not say what became of the model"
translates int4
"$chorus" inspect int4 --tensors | grep -q "expert_0.fc1.weight *int4" || fail "inspect does not show what is int4"
run prune int4 --keep 0.5 --by random --out half4 > report
translates half4
"$chorus" prune int4 --keep 0.5 --data "train.{lang}" --out used4 > report 2> err || fail "a quantized model is not pruned by text"
grep -q "int4: quantized experts stay as they are" err || fail "of quantized experts prune says $(cat err)"
run prune int4 --keep 0.5 --data "train.{lang}" --method drop --no-refit --out same4 > report
cmp -s used4/model.safetensors same4/model.safetensors || fail "of a quantized model prune does not drop by itself"
run prune four --keep 0.5 --by random --quantize int4 --out other4 > report
run import theirs --quantize int8 --out imported8
translates imported8
run score --model imported8 --from xx --to yy --source train.xx --target train.yy > scores
run merge four four --quantize int4 --out both4
translates both4
refuse "are quantized" merge int4 int4 --out more
refuse "are quantized" merge int4 int4 --quantize int4 --out more
refuse "are quantized already" quantize int4 --out more
refuse "are quantized already" quantize int4 --data "train.{lang}" --out more
refuse "no weight of the model" quantize run --dense none --out more
"$chorus" inspect half4 | grep -q "off by" || fail "pruned tensors have lost what is known of them"
refuse "are quantized" export int4 --format nllb-moe --out more
refuse "are quantized" average int4 int4 --out more
refuse "nothing is left" quantize four --experts none --dense none --out more
for tsv in dev.tsv -; do
  run quantize four --tsv $tsv --languages xx,yy --json --out by-text < dev.tsv > "said $tsv"
  rm -r by-text
done
cmp "said dev.tsv" "said -" || fail "quantize reads text from a pipe otherwise"
cp -r four aligned
sed -i 's/"chorus": {/"chorus": { "alignment": { "head": 1, "layer": 0 },/' aligned/config.json
rm aligned/chorus.json
run average four aligned --out mean
translates mean
awk 'BEGIN { for (i = 0; i < 200; i++) printf "alpha " }' > long.xx && cp long.xx long.yy
for words in "prune four --keep 0.5" "quantize four"; do
  refuse "direction xx-yy: every pair is longer than the model's 64 positions" $words --files "long.{lang}" --out more
done
{ cat dev.tsv; printf '%s\t%s\n' "$(cat long.xx)" alpha; } > with-long.tsv
"$chorus" quantize four --tsv with-long.tsv --languages xx,yy --out by-text 2>&1 | grep -q "1 of 101 pairs left out" || fail "a pair that is too long"
rm -r by-text
refuse "--languages are those of text" shortlist run --languages xx --out more
refuse "a column for each" shortlist four --tsv dev.tsv --languages xx --out more
refuse "--seed" grow four --experts 8 --seed -1 --out more
refuse "--seed" grow four --experts 8 --seed 0x10 --out more
refuse "name it with --files or --tsv" quantize four --sentences 10 --out more
run train run.toml --out again --set train.init=int4 --set moe.experts=4 --set moe.top_k=2 --set moe.gate_normalization=after_drop
translates again

refuse "is there already" prune large --keep 0.5 --by random --out direction
refuse "needs text" prune large --keep 0.5 --out more
refuse "are quantized, and cannot be merged" prune int4 --keep 0.5 --data "train.{lang}" --method merge --out more
refuse "are about text: name it with --files or --tsv" prune four --by random --directions xx-yy --out more
refuse "--json is about what text shows" quantize four --json --out more
refuse "is a dense model" merge four large run --out more
refuse "no more" grow large --experts 100 --out more
refuse "direction 'xx-zz'" prune four --data "train.{lang}" --directions xx-zz --out more

# A disk with room for a part of it.
(ulimit -f 400; "$chorus" quantize four --out more > out 2> err)
got=$?
[ $got -eq 1 ] && [ "$(wc -l < err)" -eq 1 ] && grep -q "cannot write .*model.safetensors: File too large" err ||
  fail "quantize with no room for all: exit code $got: $(cat err)"
for left in more .chorus-tmp*; do
  [ ! -e "$left" ] || fail "something was written all the same: $left"
done
exit $failed
