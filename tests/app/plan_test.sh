#!/bin/sh
# chorus plan and chorus bench machine: what they print, and what train does with the planner.
set -eu
chorus=$1
scripts=$(cd "$(dirname "$0")/../../scripts" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
fail() { echo "plan_test: $1" >&2; exit 1; }

i=0
while [ $i -lt 200 ]; do
  echo "alpha beta gamma $((i % 7)) delta" >>train.xx
  echo "$((i % 7)) zeta eta theta" >>train.yy
  i=$((i + 1))
done
cat >run.toml <<'END'
[[data.train]]
files = "train.{lang}"
languages = ["xx", "yy"]
[data]
batch_tokens = 256
max_length = 32
[vocabulary]
size = 282
[model]
d_model = 64
attention_heads = 4
encoder_layers = 2
decoder_layers = 2
ffn_dim = 256
max_positions = 32
[moe]
experts = 16
[train]
duration = "2u"
END

$chorus plan run.toml --length 16 >plan.txt
grep -q "^optimizer" plan.txt || fail "no optimizer in the plan"
$chorus plan run.toml --length 16 --device-memory 16MiB >plan.txt
grep -q "IT DOES NOT FIT" plan.txt || fail "16 MiB are enough?"
grep -q "it would fit with --set memory.optimizer=host" plan.txt || fail "nothing was proposed"
$chorus plan run.toml --length 16 >sized.txt
$chorus vocab --files "train.{lang}" --size 282 --out named.model -q
$chorus plan run.toml --length 16 --set vocabulary.model=named.model --set vocabulary.size=0 >named.txt
cmp -s sized.txt named.txt || fail "the rows of a vocabulary that is there are not planned with"
$chorus train run.toml --out trained -q
before=$(cksum trained/sentencepiece.bpe.model)
$chorus plan run.toml --run trained --set vocabulary.size=285 >named.txt
[ "$(cksum trained/sentencepiece.bpe.model)" = "$before" ] || fail "plan --run made the vocabulary of a trained run anew"
$chorus train run.toml --out trained -q --set train.duration=4u || fail "a run that was planned does not go on"
! $chorus plan run.toml --skew 1 2>error.txt || fail "--skew of one layer, of two"
grep -q "1 number for 2 MoE layers" error.txt || fail "$(cat error.txt)"
$chorus bench machine --out machine.json --threads 1 >bench.txt
grep -q "FLOP/s" bench.txt || fail "no rate of products"
grep -q "a core's peak, fp32, AVX2" bench.txt || fail "no peak of a core"
grep -q "memory, read " bench.txt || fail "no rate of reading"
$chorus plan run.toml --world 4 --ranks-per-host 2 --device-memory 616MiB --host-memory 1GiB --nvme 4GiB --machine machine.json --forms --search >plan.txt
grep -q "^E+Z-NVMe+M" plan.txt || fail "a form is missing"
grep -q "parallel.ep=" plan.txt || fail "no layout was found"
$chorus plan run.toml --world 4 --ranks-per-host 2 --device-memory 616MiB --host-memory 1GiB --nvme 4GiB --forms --json | "$scripts/plot_forms.py" >forms.svg
grep -q "Largest model on 4 ranks of 616.0 MiB" forms.svg || fail "no picture of the forms: $(head -3 forms.svg)"
grep -q ">E+Z-NVMe+M</text>" forms.svg || fail "a form is missing in the picture"
! $chorus plan run.toml --forms 2>error.txt || fail "--forms without a limit went through"
grep -q -- "--device-memory" error.txt || fail "$(cat error.txt)"
$chorus plan run.toml --world 8 --set parallel.tp=2 >plan.txt
grep -q "no micro-batch for 6 ranks: data.micro_batches is below 4" plan.txt || fail "idle ranks are not said"
sed 's/"ranks_per_host": [0-9]*/"ranks_per_host": 2/' machine.json >two.json
$chorus plan run.toml --world 4 --machine two.json --host-memory 10GB >plan.txt
grep -q "there is .* 4.7 GiB" plan.txt || fail "the machine file's ranks of a host are not its own: $(grep 'there is' plan.txt)"
grep -q "the whole run: 2 updates" plan.txt || fail "no time of the run"
$chorus plan run.toml --world 4 --machine two.json --failures 3h --save 10s --json >plan.json
grep -q '"hosts": 128' plan.json || fail "not 64 times the two hosts"
grep -q '"save_seconds": 10.0' plan.json || fail "--save does not count"
$chorus plan run.toml --machine two.json --failures 3h >plan.txt
grep -q "where a host fails every 3h00m" plan.txt || fail "no goodput"
! $chorus plan run.toml --failures 3h 2>error.txt || fail "--failures without a machine went through"
grep -q "give --machine" error.txt || fail "$(cat error.txt)"
! $chorus plan run.toml --machine two.json --failures 3 2>error.txt || fail "a time without a unit went through"
grep -q "such as 90s" error.txt || fail "$(cat error.txt)"
# By the text of a run, which training finds ready; each stage of a run file.
$chorus plan run.toml --run planned --json 2>log.txt >plan.json
grep -q '"source_tokens"' plan.json || fail "no shape of the text"
[ -f planned/sentencepiece.bpe.model ] || fail "the text was not made ready"
cat run.toml - >stages.toml <<'END'
[[train.stage]]
name = "small"
[[train.stage]]
name = "wide"
set = ["model.ffn_dim=512"]
END
$chorus plan stages.toml >plan.txt
grep -q "^stage small" plan.txt && grep -q "^stage wide" plan.txt || fail "not every stage was planned"
[ "$(grep -c parameters, plan.txt)" = 2 ] || fail "stages: $(cat plan.txt)"
$chorus plan stages.toml --stage wide --device-memory 1GB --host-memory 1GB --nvme 1GB --forms >plan.txt
! grep -q "^stage small" plan.txt || fail "--stage wide planned another"
! $chorus plan stages.toml --device-memory 1GB --forms 2>error.txt || fail "--forms of two stages"
grep -q "with --stage" error.txt || fail "$(cat error.txt)"
$chorus plan run.toml --json --world 2 | grep -q '"fits": true' || fail "no JSON"
! $chorus plan run.toml --search 2>error.txt || fail "--search without a machine went through"
grep -q "give --machine" error.txt || fail "$(cat error.txt)"
! $chorus plan run.toml --machine run.toml 2>error.txt || fail "a run file was taken for a machine"
[ "$(wc -l <error.txt)" = 1 ] || fail "more than a line: $(cat error.txt)"

# train refuses what cannot fit, with what would, and places what is auto.
status=0
$chorus train run.toml --out out --set memory.device_budget=16MiB -q 2>error.txt || status=$?
[ $status = 2 ] || fail "exit code $status: $(cat error.txt)"
grep -q "it fits with --set memory.optimizer=host" error.txt || fail "$(cat error.txt)"
settings=$(sed 's/.*it fits with //' error.txt)
# shellcheck disable=SC2086
$chorus train run.toml --out out --set memory.device_budget=16MiB $settings -q 2>error.txt || fail "what was proposed does not fit: $(cat error.txt)"
$chorus train run.toml --out auto --set memory.device_budget=16MiB --set memory.optimizer=auto --set memory.gradients=auto \
  --set memory.parameters=auto 2>log.txt || fail "auto: $(tail -1 log.txt)"
grep -q "memory: parameters on .*, optimizer on host" log.txt || fail "auto placed nothing"
cmp out/model/model.safetensors auto/model/model.safetensors || fail "placements differ in their result"

# A run that begins with a model is planned with that model's architecture and vocabulary.
sed '/^\[vocabulary\]/,/^experts/d' run.toml >tune.toml
! grep -q d_model tune.toml || fail "the run file still has a model"
$chorus plan run.toml --length 16 >plan.txt
$chorus plan tune.toml --length 16 --set train.init=out >tuned.txt
cmp plan.txt tuned.txt || fail "train.init is planned as another model"
