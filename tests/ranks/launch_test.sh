#!/bin/sh
# `chorus launch`: a run that lost a rank goes on from its last save; what starting again does not mend is not tried for ever.
# usage: launch_test.sh PATH_OF_CHORUS PATH_OF_MPIRUN
. "$(dirname "$0")/../script.sh"
PATH="$(dirname "$2"):$PATH"
export PATH

awk 'BEGIN { n = split("alpha beta gamma delta epsilon zeta eta theta iota kappa", w, " ")
  for (i = 0; i < 100; i++) { print w[i % n + 1], w[i * 7 % n + 1] > "train.xx"; print w[i * 7 % n + 1] > "train.yy" } }'
cat > run.toml << END
threads = 1
[[data.train]]
files = "train.{lang}"
languages = ["xx", "yy"]
[data]
batch_tokens = 128
micro_batches = 3
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
experts = 6
encoder_every = 1
decoder_every = 0
[train]
duration = "300u"
log_every = 1
checkpoint_every = 5
END

# Killed twice, once after a checkpoint: the weights are those of a run that nobody killed.
"$2" -n 3 "$chorus" train run.toml -q --out whole || fail "an undisturbed run"
"$chorus" launch -n 3 --restarts 2 run.toml --out killed 2> err &
launch=$!
# A process of the run below `launch`, while there is a checkpoint of at least that update.
rank() {
  until ls killed/checkpoints 2> /dev/null | awk -F- -v least="$1" '$2 + 0 >= least { found = 1 } END { exit !found }'; do
    kill -0 $launch 2> /dev/null || return
    sleep 0.05
  done
  pgrep -f "train run.toml --out killed" | while read -r pid; do
    [ "$(cat /proc/"$pid"/comm 2> /dev/null)" = chorus ] && echo "$pid" && break
  done
}
for update in 5 20; do
  victim=$(rank $update)
  [ -n "$victim" ] || { fail "no rank to kill after update $update: $(cat err)"; break; }
  kill -9 "$victim"
  while kill -0 "$victim" 2> /dev/null; do sleep 0.05; done
done
wait $launch || fail "launch after two kills: $(cat err)"
[ "$(grep -c 'restart 1 of 2 on 3 ranks' err)" -eq 2 ] || fail "not two restarts, each the first after a save: $(cat err)"
for file in model optimizer; do
  cmp whole/checkpoints/step-00000300/$file.safetensors killed/checkpoints/step-00000300/$file.safetensors || fail "$file differs"
done

# What nobody can mend: a user's mistake is told once, what goes on failing as often as was asked for.
expect() {
  code=$1 words=$2 times=$3
  shift 3
  "$@" > out 2> err
  got=$?
  [ $got -eq "$code" ] && [ "$(grep -cF -- "$words" err)" -eq "$times" ] || fail "$*: exit code $got, expected $code and '$words'; it said: $(cat err)"
}
expect 2 "is too much for this text" 1 "$chorus" launch -n 2 run.toml --out other --set vocabulary.size=100000
expect 2 "parallel.ep" 1 "$chorus" launch -n 2 run.toml --out other --set parallel.ep=4
expect 2 'no host' 1 "$chorus" launch --host a:0 run.toml --out other
expect 2 'the hosts of --host take 3' 1 "$chorus" launch -n 4 --host a,b:2 run.toml --out other
mkdir broken
printf '#!/bin/sh\necho "a cable is loose" >&2\nexit 1\n' > broken/mpirun
chmod +x broken/mpirun
expect 1 "a cable is loose" 2 env PATH="$PWD/broken" "$chorus" launch -n 2 --restarts 1 run.toml --out other
grep -q "^chorus: error: mpirun ended with exit code 1, 2 times in a row without a new checkpoint" err || fail "$(cat err)"
expect 2 "cannot start mpirun" 1 env PATH=/nowhere "$chorus" launch -n 2 run.toml --out other

# SIGTERM saves and ends; nothing is started again.
"$chorus" launch -n 2 run.toml --out ended --set train.duration=100000u 2> err &
launch=$!
until [ -s ended/metrics.jsonl ]; do kill -0 $launch || break; sleep 0.1; done
kill $launch
wait $launch
got=$?
[ $got -eq 143 ] && grep -q "interrupted; ended is saved" err && ! grep -q restart err || fail "SIGTERM: exit code $got; it said: $(cat err)"

# A host that does not answer is left out, and the run laid out anew; by Slurm's words as well. What plays srun knows hosts a and b, of which
# b has gone after the first start.
mkdir bin
cat > bin/srun << END
#!/bin/sh
echo "\$*" >> started
hosts=
while :; do
  case \$1 in
    -n) ranks=\$2; shift 2 ;;
    --nodelist) hosts=\$2; shift 2 ;;
    --nodes=*) shift ;;
    *) break ;;
  esac
done
case \$hosts in *b*) [ -e gone ] && exit 1 ;; esac
if [ \$hosts = a,b ]; then touch gone; (sleep 4; kill -9 \$(pgrep -f "train run.toml --out hosts")) & fi
exec "$2" -n \$ranks "\$@"
END
chmod +x bin/srun
PATH="$PWD/bin:$PATH" "$chorus" launch --with srun --host a:2,b:4 --restarts 1 run.toml --out hosts --set parallel.ep=2 --set train.duration=400u 2> err ||
  fail "on the host that is left: $(cat err)"
grep -q "restart 1 of 1 on 2 ranks (a)" err || fail "not on a alone: $(cat err)"
grep -q -- "-n 6 --nodelist a,b --nodes=2 .* train run.toml" started || fail "srun's words: $(cat started)"
[ -e hosts/checkpoints/step-00000400/state.json ] || fail "not to the end"
exit $failed
