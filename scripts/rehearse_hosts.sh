#!/usr/bin/env bash
# Rehearses training on several hosts, using only one: four network namespaces with a host name each, joined by a switch of limited
# bandwidth, take the hosts' places; Open MPI starts a daemon in each, as it would through ssh, and ranks talk through TCP alone.
#
#   scripts/rehearse_hosts.sh [PATH_OF_CHORUS]     default build/release/chorus; about three minutes on 2 cores
#   scripts/rehearse_hosts.sh PATH_OF_CHORUS train RUN.toml ...
#                                                  that command on the four hosts, and nothing else
#   REHEARSAL_RATE=RATE                            of each host's link, as tc takes it; default 50mbit (0.1 s per update)
#   REHEARSAL_RANKS=N                              of a command, on each host; default 1
#   REHEARSAL_MAP=node                             numbers them host after host in turn; default slot: a host's together
#
#   1. Four hosts, one rank each, train a toy model: losses are those of one process, and the bytes went over the links.
#   2. The same anew; after a checkpoint a rank is killed with SIGKILL: all others end within seconds, with words and a code.
#   3. On two of the hosts the same line goes on from the checkpoint and finishes, with the losses of one process.
#   4. Anew on four; a host's link is cut: its rank is named, and all ranks end.
#   5. A host's link delays frames by 50 ms each way and loses 2 % of them: losses are those of one process.
#   6. Two hosts are cut off from the other two: a rank beyond is named, and all end; on the first two the same line goes on.
#   7. A host's rank is stopped (SIGSTOP): it is named, and all end.
#   8. A host's clock is an hour ahead: nothing changes. (By tests/faults' library, where it was built.)
#   9. A host's scratch disk is full: its rank and the disk are named, and all end.
#  10. chorus launch on four; a host's link is cut: it goes on by itself on ranks of the others.
#
# It needs root, or permission for user namespaces; iproute2, procps, util-linux; and Open MPI. Exit codes: 0 all as it should be, 1
# something was not, 77 the machine does not permit it. Everything happens in namespaces of this process, so when it ends,
# however it ends, no process, interface or mount is left.
set -euo pipefail

hosts=(h0 h1 h2 h3)
net=10.77.0 # hosts are .1 to .4; mpirun runs at the switch, .254
rate=${REHEARSAL_RATE:-50mbit}

say() { printf 'rehearsal: %3d s  %s\n' $SECONDS "$*"; }
skip() { say "skipped: $*"; exit 77; }
fail() { say "FAILED: $*"; exit 1; }

# ---- out here: go inside namespaces of our own -----------------------------------------------------------------------------
if [ "${1:-}" != --inside ]; then
  chorus=$(realpath -e "${1:-$(dirname "$0")/../build/release/chorus}") || fail "no chorus there: build it first"
  for tool in ip tc unshare pgrep mpirun python3; do
    command -v $tool >/dev/null || skip "there is no $tool here (ip and tc are in Debian's iproute2, pgrep in procps)"
  done
  new=(unshare --net --mount --uts --pid --fork --kill-child --mount-proc)
  [ "$(id -u)" = 0 ] || new+=(--map-root-user)
  "${new[@]}" true 2>/dev/null || skip "no permission for namespaces: run it as root, with CAP_SYS_ADMIN and CAP_NET_ADMIN"
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  "${new[@]}" "$0" --inside "$folder" "$chorus" "${@:2}" && code=0 || code=$?
  exit $code
fi

# ---- inside ----------------------------------------------------------------------------------------------------------------
began_in=$PWD
chorus=$3
scripts=$(dirname "$(realpath "$0")")
cd "$2"
shift 3
export TMPDIR=$PWD # for what Open MPI leaves

# The switch, and a cable from it to each host.
lay_cables() {
  mount -t tmpfs none /run && mkdir -p /run/netns # where ip keeps names of namespaces
  hostname switch
  ip link set lo up
  ip link add switch type bridge
  ip link set switch address 02:00:0a:4d:00:fe # its own, or it takes the lowest of its ports', and hosts lose it when that port goes
  ip address add $net.254/24 dev switch
  ip link set switch up
  local i h
  for i in "${!hosts[@]}"; do
    h=${hosts[i]}
    ip netns add "$h"
    ip link add "to-$h" type veth peer name eth0 netns "$h"
    ip link set "to-$h" master switch up
    ip -n "$h" address add $net.$((i + 1))/24 dev eth0
    ip -n "$h" link set eth0 up
    ip -n "$h" link set lo up
    # Both ways: what the host sends, and what the switch sends to it.
    ip netns exec "$h" tc qdisc add dev eth0 root tbf rate "$rate" burst 128kb latency 50ms
    tc qdisc add dev "to-$h" root tbf rate "$rate" burst 128kb latency 50ms
  done
}
set +e
message=$(set -e; lay_cables 2>&1) # after ||, -e would not count
code=$?
set -e
[ $code = 0 ] || skip "no network namespaces with limited links here: $(tail -n 1 <<<"$message")"

# What mpirun calls where it would call ssh: HOST COMMAND...
cat >agent <<'END'
#!/bin/sh
host=$1
shift
exec ip netns exec "$host" unshare --uts sh -c "hostname $host; [ ! -e $TMPDIR/on-$host ] || . $TMPDIR/on-$host; $*"
END
chmod +x agent

# on_hosts NUMBER_OF_HOSTS RANKS_A_HOST ARGUMENTS_OF_CHORUS...
on_hosts() {
  local count=$1 each=$2
  shift 2
  printf "%s slots=$each\n" "${hosts[@]:0:count}" >"$TMPDIR/hostfile"
  OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 mpirun --hostfile "$TMPDIR/hostfile" -n $((count * each)) --map-by "${REHEARSAL_MAP:-slot}" \
    --mca plm_rsh_agent "$TMPDIR/agent" --mca oob_tcp_if_include $net.0/24 --bind-to none \
    --mca pml ob1 --mca btl tcp,vader,self --mca btl_vader_single_copy_mechanism none \
    --mca btl_tcp_if_include $net.0/24 --mca mpi_yield_when_idle 1 "$chorus" "$@"
}

if [ $# -gt 0 ]; then
  cd "$began_in"
  on_hosts ${#hosts[@]} "${REHEARSAL_RANKS:-1}" "$@"
  exit
fi

cat >run.toml <<'END'
threads = 1
[[data.train]]
files = "train.{lang}"
languages = ["xx", "yy"]
[data]
batch_tokens = 384
micro_batches = 4
max_length = 24
[vocabulary]
size = 290
model = "vocabulary.model"
[model]
d_model = 32
encoder_layers = 2
decoder_layers = 2
attention_heads = 4
ffn_dim = 64
max_positions = 32
[moe]
experts = 8
top_k = 2
[optim]
learning_rate = 2e-3
warmup = "5u"
epsilon = 1e-4 # smaller, it would blow up what is rounding alone
[train]
duration = "30u"
log_every = 1
checkpoint_every = 10
END
awk 'BEGIN { n = split("alpha beta gamma delta epsilon zeta eta theta iota kappa", w, " ")
  for (i = 0; i < 400; i++) {
    a = w[i % n + 1]; b = w[int(i / n) % n + 1]; c = w[i * 7 % n + 1]
    print a, b, c > "train.xx"; print c, b, a > "train.yy" } }'

# train_on NUMBER_OF_HOSTS ARGUMENTS...
train_on() {
  on_hosts "$1" 1 train run.toml "${@:2}" --set parallel.ep=2 --set parallel.zero=2 -q
}
ranks() { pgrep -f "^$chorus train"; }
bytes_sent() { ip netns exec "$1" cat /sys/class/net/eth0/statistics/tx_bytes; }

# await_checkpoint FOLDER: of the run that is $job; soon after, in the middle of an update.
await_checkpoint() {
  until [ -e "$1/checkpoints/step-00000010" ]; do
    kill -0 $job 2>/dev/null || fail "the run ended before its first checkpoint: $(cat words)"
    sleep 0.1
  done
  sleep 0.3
}

# start_on_four FOLDER ARGUMENTS...: comes back soon after the first checkpoint; the job is $job.
start_on_four() {
  train_on 4 --out "$@" 2>words &
  job=$!
  await_checkpoint "$1"
}

# await_end SECONDS: until no rank lives, $took seconds.
await_end() {
  local began=$SECONDS
  while ranks >/dev/null; do
    took=$((SECONDS - began))
    [ $took -lt "$1" ] || fail "ranks still run after $took s: $(cat words)"
    sleep 0.1
  done
  took=$((SECONDS - began))
}

# compare ONE RUN [UPDATES]: largest relative difference of the losses that two runs have logged.
compare() {
  python3 - "$1" "$2" "${3:-30}" <<'END'
import json, sys
last = int(sys.argv[3])
runs = [{r["update"]: r["loss"] for r in map(json.loads, open(f"{run}/metrics.jsonl")) if r["kind"] == "train" and r["update"] <= last}
        for run in sys.argv[1:3]]
assert sorted(runs[0]) == sorted(runs[1]) == list(range(1, last + 1)), [sorted(r) for r in runs]
worst = max(abs(runs[0][u] - runs[1][u]) / runs[0][u] for u in runs[0])
print(f"{last} losses, {runs[0][1]:.3f} to {runs[0][last]:.3f}; largest relative difference {worst:.1e}")
sys.exit(worst > 1e-5)
END
}

say "four hosts (${hosts[*]}) on a switch, $rate each way"
"$chorus" train run.toml --out one -q || fail "one process"

say "1. four ranks, one per host, through TCP"
before=()
for h in "${hosts[@]}"; do before+=("$(bytes_sent "$h")"); done
train_on 4 --out four 2>words || fail "$(cat words)"
for i in "${!hosts[@]}"; do
  sent=$(($(bytes_sent "${hosts[i]}") - before[i]))
  say "   ${hosts[i]} sent $((sent / 1000)) kB over its link"
  [ $sent -gt 1000000 ] || fail "that is too little: ranks talked past the network"
done
result=$(compare one four) || fail "the losses differ from one process's: $result"
say "   against one process: $result"

say "2. anew; once there is a checkpoint, kill -9 for the rank of h2"
start_on_four killed
kill -9 "$(comm -12 <(ip netns pids h2 | sort) <(ranks | sort))" || fail "there is no rank on h2"
await_end 20
wait $job && fail "mpirun ended with code 0" || code=$?
line=$(grep 'exited on signal' words) || fail "mpirun said nothing of it: $(cat words)"
say "   all ended in $took s, code $code; mpirun: $line"

say "3. on h0 and h1 alone, the same line"
train_on 2 --out killed 2>words || fail "$(cat words)"
result=$(compare one killed) || fail "the losses differ from one process's: $result"
say "   against one process: $result"

say "4. anew on four, with parallel.timeout = 8; once there is a checkpoint, the link of h3 is cut"
start_on_four cut --set parallel.timeout=8
ip link set to-h3 down
await_end 40
# named RANKS: the line of a time-out that names one of them; or, where there is none, one that itself waits for them in another group.
named() {
  grep -m 1 "^chorus: error: rank [0-3]: .*for .*rank $1" words || grep -m 1 '^chorus: error: rank [0-3]: .* has waited 8 s (parallel.timeout) for rank' words
}
line=$(named 3) || fail "nobody named rank 3: $(cat words)"
say "   all ranks ended in $took s: $line"
# mpirun asks its daemon on a host that is cut off to end, and waits for an answer.
end_mpirun() {
  local mpirun
  if mpirun=$(pgrep -P $job -x mpirun); then
    kill -9 "$mpirun" 2>/dev/null && say "   mpirun itself waited on for the daemon there, and had to be killed"
  fi
  wait $job 2>/dev/null || true
}
end_mpirun
ip link set to-h3 up

say "5. on four; h3's link delays by 50 ms each way and loses 2 % of the frames"
"$scripts/bad_link.py" --plain switch
for h in "${hosts[@]}"; do
  ip netns exec "$h" "$scripts/bad_link.py" --plain eth0
done
ip netns add link # where nobody has an address and answers
ip link add wire netns link type veth peer name plug
ip link set to-h3 netns link
ip link set plug master switch up
ip -n link link set wire up
ip -n link link set to-h3 up
ip netns exec link "$scripts/bad_link.py" wire to-h3 50 2 &
relay=$!
train_on 4 --out slow --set train.duration=6u 2>words || fail "$(cat words)"
result=$(compare one slow 6) || fail "the losses differ from one process's: $result"
say "   against one process: $result"
kill $relay
ip -n link link set to-h3 netns $$
ip link set to-h3 master switch up
ip netns delete link

say "6. anew on four, with parallel.timeout = 8; once there is a checkpoint, h2 and h3 are cut off"
start_on_four parted --set parallel.timeout=8
ip link set to-h2 down
ip link set to-h3 down
await_end 40
line=$(named '[23]') || fail "nobody named rank 2 or 3: $(cat words)"
say "   all ranks ended in $took s: $line"
end_mpirun
ip link set to-h2 up
ip link set to-h3 up
train_on 2 --out parted 2>words || fail "$(cat words)"
result=$(compare one parted) || fail "the losses differ from one process's: $result"
say "   on h0 and h1, the same line; against one process: $result"

say "7. anew on four, with parallel.timeout = 8; once there is a checkpoint, the rank of h2 is stopped"
start_on_four stopped --set parallel.timeout=8
kill -STOP "$(comm -12 <(ip netns pids h2 | sort) <(ranks | sort))" || fail "there is no rank on h2"
await_end 40
line=$(named 2) || fail "nobody named rank 2: $(cat words)"
say "   all ranks ended in $took s: $line"
end_mpirun

library=$(dirname "$chorus")/tests/faults/libfaults.so
if [ -e "$library" ]; then
  say "8. anew on four; the clock of h1 is an hour ahead"
  echo "export LD_PRELOAD=$library CHORUS_FAULT_CLOCK=3600" >on-h1
  train_on 4 --out clocks 2>words || fail "$(cat words)"
  rm on-h1
  result=$(compare one clocks) || fail "the losses differ from one process's: $result"
  say "   against one process: $result"
else
  say "8. left out: there is no $library"
fi

say "9. anew on four; the scratch disk of h2 is full"
mkdir disk
echo "mount -t tmpfs -o size=64k none $TMPDIR/disk" >on-h2
began=$SECONDS
train_on 4 --out full --set memory.optimizer=nvme --set memory.folder="$TMPDIR/disk" 2>words && fail "mpirun ended with code 0" || code=$?
rm on-h2
line=$(grep -m 1 "^chorus: error: rank 2: .*$TMPDIR/disk" words) || fail "nobody named rank 2 and its disk: $(cat words)"
say "   all ended in $((SECONDS - began)) s, code $code: $line"
[ "$(grep -c '^chorus: error:' words)" = 1 ] || fail "more than one line: $(cat words)"
say "10. chorus launch on four, with parallel.timeout = 8; once there is a checkpoint, the link of h3 is cut"
(
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_plm_rsh_agent=$TMPDIR/agent OMPI_MCA_hwloc_base_binding_policy=none
  export OMPI_MCA_oob_tcp_if_include=$net.0/24 OMPI_MCA_btl_tcp_if_include=$net.0/24 OMPI_MCA_pml=ob1 OMPI_MCA_btl=tcp,vader,self
  export OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_mpi_yield_when_idle=1
  exec "$chorus" launch --host h0,h1,h2,h3 --restarts 1 run.toml --out launched --set parallel.ep=2 --set parallel.zero=2 --set parallel.timeout=8
) 2>words &
job=$!
await_checkpoint launched
ip link set to-h3 down
wait $job || fail "launch: code $?; $(cat words)"
line=$(grep -m 1 '^the run ended with exit code .* restart 1 of 1 on 2 ranks (h0, h1, h2)' words) || fail "not started again on two ranks: $(cat words)"
say "   $line"
result=$(compare one launched) || fail "the losses differ from one process's: $result"
say "   against one process: $result"
say "all as it should be, in $SECONDS s"
