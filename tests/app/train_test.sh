#!/bin/sh
# chorus train: what it keeps of others' files, of its own where they are damaged, and of a run whose readers leave.
# usage: train_test.sh PATH_OF_CHORUS
. "$(dirname "$0")/../script.sh"

toy_run 0
train() { "$chorus" train run.toml -q --set model.d_model=16 --set model.ffn_dim=16 "$@"; }

# A run file in the folder that a run is to have stays.
mkdir mine
(cat run.toml; echo "# my notes") > mine/run.toml
cp mine/run.toml before.toml
refuse "run.toml is there, and chorus" train mine/run.toml --out mine -q
cmp mine/run.toml before.toml || fail "a run file was overwritten"

train --out dense --set moe.experts=4 --set moe.encoder_every=3 --set moe.decoder_every=3 2> err || fail "experts without a layer: $(cat err)"
grep -q "none has an MoE layer" err || fail "experts without a layer pass silently: $(cat err)"
"$chorus" inspect dense | grep -q "experts in every" && fail "inspect finds experts in a dense model"
refuse "optim.warmup" train run.toml --out none --set optim.schedule=cosine --set train.duration=1e
[ ! -e none ] || fail "a start that failed left $(ls -a none)"

# The record of the best checkpoint, damaged.
train --out run --set train.duration=2u || fail "training"
echo '{"step":999}' > run/checkpoints/best.json
train --out run --set train.duration=6u --set train.checkpoint_every=2 2> err || fail "going on with a damaged best.json: $(cat err)"
[ "$(ls run/checkpoints | grep -c step-)" -le 3 ] || fail "old checkpoints stay: $(ls run/checkpoints)"

# Nobody reads the records any more.
for to in "head -n 1" "cat > /dev/full"; do
  (train --out piped --records --set train.duration=30u --set train.log_every=1 2> err; echo $? > code) | sh -c "$to" > out 2> other
  [ "$(cat code)" -eq 0 ] && [ -e piped/checkpoints/step-00000030/state.json ] || fail "--records to $to: $(cat code err)"
  rm -r piped
done
exit $failed
