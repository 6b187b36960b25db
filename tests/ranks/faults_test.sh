#!/bin/sh
# What goes wrong on one rank: one line from one rank says what and where, all end, and a run can go on.
# usage: faults_test.sh PATH_OF_CHORUS PATH_OF_MPIRUN
mpirun=$2
. "$(dirname "$0")/../script.sh"

# refuse CODE WORDS COMMAND...: mpirun's exit code, and one line of an error, with the words.
refuse() {
  code=$1 words=$2
  shift 2
  "$@" > out 2> err
  got=$?
  [ $got -eq "$code" ] && [ "$(grep -c '^chorus: error: ' err)" -eq 1 ] && grep -qF -- "$words" err ||
    fail "$*: exit code $got, expected $code and '$words'; it said: $(cat err)"
}

awk 'BEGIN { n = split("alpha beta gamma delta epsilon zeta eta theta iota kappa", w, " ")
  for (i = 0; i < 100; i++) { print w[i % n + 1], w[i * 7 % n + 1] > "train.xx"; print w[i * 7 % n + 1] > "train.yy" } }'
cat > run.toml << END
threads = 1
[[data.train]]
files = "train.{lang}"
languages = ["xx", "yy"]
[data]
batch_tokens = 128
max_length = 24
[vocabulary]
size = 280
[model]
d_model = 32
encoder_layers = 1
decoder_layers = 1
attention_heads = 2
ffn_dim = 64
max_positions = 32
[moe]
experts = 4
encoder_every = 1
decoder_every = 0
[train]
log_every = 1
checkpoint_every = 4
END
train="$chorus train run.toml -q --set train.duration"
$train=4u --out run || fail "training alone"

# No space on three ranks: one speaks; the checkpoint that was there stays, and the run goes on from it.
cp -r run full
refuse 1 "rank 1: cannot write full/" "$mpirun" -n 1 $train=8u --out full : \
  -n 3 sh -c "ulimit -f 100; exec $train=8u --out full"
[ "$(ls full/checkpoints)" = step-00000004 ] || fail "a full disk left $(ls full/checkpoints)"
"$mpirun" -n 2 $train=8u --out full || fail "going on after a full disk"
[ -e full/checkpoints/step-00000008/state.json ] || fail "no checkpoint after a full disk: $(ls full/checkpoints)"

# damage FILE COMMAND...: runs it in the only checkpoint; its file is named.
damage() {
  file=$1
  shift
  rm -rf damaged
  cp -r run damaged
  (cd damaged/checkpoints/step-00000004 && "$@")
  refuse 2 "damaged/checkpoints/step-00000004/$file" "$mpirun" -n 3 $train=8u --out damaged
}
damage optimizer.safetensors rm optimizer.safetensors
damage model.safetensors truncate -s 1000 model.safetensors
$train=4u --set model.d_model=16 --out other || fail "another run"
damage model.safetensors cp -r ../../../other/checkpoints/step-00000004/. .

# A run that is trained already.
$train=100000u --out busy 2> busy.err &
process=$!
until [ -s busy/metrics.jsonl ]; do kill -0 $process || break; sleep 0.1; done
refuse 2 "rank 0: busy is in use by process $process" "$mpirun" -n 3 $train=100000u --out busy
kill $process
wait $process
got=$?
[ $got -eq 143 ] && grep -q "interrupted; busy is saved" busy.err || fail "SIGTERM: exit code $got; it said: $(cat busy.err)"

# mpirun that is told to end kills its ranks a second later: an update that takes longer ends first, and is saved.
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
  for lang in xx yy; do cat train.$lang >> slow.$lang; done
done
sed 's/train\.{lang}/slow.{lang}/' run.toml > slow.toml
for signal in TERM INT; do
  "$mpirun" -n 2 $chorus train slow.toml -q --out $signal --set train.duration=100000u --set train.checkpoint_every=0 \
    --set data.batch_tokens=20000 --set model.d_model=64 2> $signal.err &
  process=$!
  until [ -s $signal/metrics.jsonl ]; do kill -0 $process || break; sleep 0.1; done
  kill -$signal $process
  wait $process
  grep -q "interrupted; $signal is saved" $signal.err || fail "$signal at mpirun: $(cat $signal.err)"
  [ -e $signal/checkpoints/step-*/state.json ] || fail "$signal at mpirun: no checkpoint"
done

# A rank that is silent is named after one time-out, and all end.
"$mpirun" -n 3 $train=100000u --out silent --set parallel.timeout=5 2> silent.err &
process=$!
until [ -s silent/metrics.jsonl ]; do kill -0 $process || break; sleep 0.1; done
kill -STOP $(pgrep -P $process | sed -n 2p)
wait $process
# Where cores are busy, a rank that waits for it in another place may be named beside it.
grep -Eq "has waited 5 s \(parallel.timeout\) for (rank [012], )*rank [012]: dead" silent.err || fail "a silent rank: $(cat silent.err)"

# Another working directory, locale and time zone: relative paths are rank 0's, and the result is the same.
# (A Turkish "I" and a German comma do harm where anything asks for them.)
mkdir here there locales
cp run.toml train.* here
localedef -i tr_TR -f UTF-8 locales/tr_TR.UTF-8 2> /dev/null
"$mpirun" -n 1 -wdir "$folder/here" env LC_ALL=C TZ=Asia/Tokyo $train=4u --out moved : \
  -n 1 -wdir "$folder/there" env LOCPATH="$folder/locales" LC_ALL=tr_TR.UTF-8 LANG=de_DE.UTF-8 $train=4u --out moved ||
  fail "another working directory and locale"
[ -z "$(ls there)" ] || fail "in the other working directory: $(ls there)"
"$mpirun" -n 2 $train=4u --out home || fail "training on two ranks"
for name in model optimizer; do
  cmp home/checkpoints/step-00000004/$name.safetensors here/moved/checkpoints/step-00000004/$name.safetensors || failed=1
done

# A run folder of its own is no rank's to have.
refuse 2 "rank 1: $folder/there is not the run folder of rank 0" "$mpirun" -n 1 $train=4u --out run : -n 3 $train=4u --out there

# Translating: mpirun's standard input to its standard output; a line that one rank refuses ends all.
translate="$chorus translate --model run --from xx --to yy --threads 1 --beam 2 --max-length-factor 1 --max-length 2"
{ head -30 train.xx; echo; tail -3 train.xx; } > source
$translate < source > alone || fail "translating alone"
"$mpirun" -n 3 $translate < source > together || fail "translating on three ranks"
drawn="$chorus translate --model run --from xx --to yy --threads 1 --sample --nbest 2 --max-length-factor 1 --json"
$drawn < source > drawn_alone 2> /dev/null || fail "sampling alone"
"$mpirun" -n 3 $drawn < source 2> /dev/null | cmp - drawn_alone || fail "samples on three ranks are not those of one"
cmp alone together || failed=1
{ cat source; printf 'bro\377ken\n'; } > broken
refuse 2 "rank 0: /dev/stdin:35: byte 4 (0xff) is not UTF-8" "$mpirun" -n 3 $translate < broken
refuse 2 "rank 0: unknown option '--bean'; did you mean '--beam'?" "$mpirun" -n 4 $translate --bean 3 < source
exit $failed
