#!/bin/sh
# chorus report: pages of real runs, of stages, and of a run that is being trained; chorus doctor.
# usage: report_test.sh PATH_OF_CHORUS
tests=$(cd "$(dirname "$0")/.." && pwd)
. "$tests/script.sh"

toy_run 2
cat >> run.toml << 'END'
log_every = 1
[[data.valid]]
tsv = "dev.tsv"
languages = ["xx", "yy"]
[validation]
every = 1
sentences = 6
decode = 4
END
"$chorus" train run.toml --set train.duration=2u --out one > log 2>&1 || fail "training: $(cat log)"
"$chorus" train run.toml --set train.duration=2u --set seed=2 --out two > log 2>&1 || fail "training: $(cat log)"
for name in plan.json translations.json; do [ -s one/$name ] || fail "the run has no $name"; done
"$chorus" report one two/ --out page.html 2> err || fail "report: $(cat err)"
grep -q "written to page.html" err || fail "report says not where the page is: $(cat err)"
has() { grep -qF -- "$1" "${2:-page.html}" || fail "the page lacks $1"; }
has '"name":"one"'
has '"name":"two"'
has '"update":[1,2]'
has '"metric":"BLEU"'
has '"direction":"xx-yy"'
has '"names":["xx","yy"]'
has '"name":"seed","values":["1","2"]'
has '"typical":'
[ "$(grep -c 'src=\|href="http\|url(' page.html)" -eq 0 ] || fail "the page names something outside"
"$chorus" report one -q 2> err && [ ! -s err ] && [ -s report.html ] || fail "report -q: $(cat err)"

python3 "$tests/report/page.py" "$chorus" one
code=$?
[ $code -eq 0 ] || [ $code -eq 77 ] || fail "the page in a browser says so"

# Runs with stages; one that has not begun; one of another version; one that is damaged.
cat run.toml - > stages.toml << 'END'
[[train.stage]]
name = "small"
[[train.stage]]
name = "again"
init = ["small"]
END
"$chorus" train stages.toml --set train.duration=1u --out staged > log 2>&1 || fail "stages: $(cat log)"
"$chorus" report staged --out page.html 2> err || fail "report of stages: $(cat err)"
has '"name":"staged/small"'
has '"name":"staged/again"'
mkdir new
: > new/.lock
echo 'no_such = "option"' >> two/run.toml
sed 1q one/metrics.jsonl | cut -c 1-50 > one/metrics.jsonl.half && mv one/metrics.jsonl.half one/metrics.jsonl
"$chorus" report new two one --out page.html 2> err || fail "report of odd runs: $(cat err)"
has 'run.toml is not there'
has 'no_such'
has '1 line of metrics.jsonl is no record'

refuse "nowhere is no run" report nowhere
mkdir empty
refuse "empty is no run" report empty
refuse "1 to 12 runs" report one one one one one one one one one one one one one
refuse "no/such" report one --out no/such/page.html
echo "my notes" > notes.txt
refuse "no page that chorus wrote" report one --out notes.txt
mkfifo pipe
refuse "no regular file" report one --out pipe
ln -s elsewhere.html link.html
refuse "a symbolic link" report one --out link.html
[ "$(cat notes.txt)" = "my notes" ] && [ -p pipe ] && [ -L link.html ] || fail "report replaced what is none of its own"
refuse "notes.txt" bench machine --out notes.txt
mkdir -p odd/metrics.jsonl
refuse "no regular file" report odd

# While it trains; the last page does not load itself again.
"$chorus" train run.toml --set train.duration=100000u --set validation.every=0 --out long > log 2>&1 &
training=$!
until [ -s long/metrics.jsonl ] || ! kill -0 $training 2> err; do sleep 0.1; done
"$chorus" report long --out live.html --follow 2> err &
page=$!
until grep -qF '"reload":10' live.html 2> other; do kill -0 $page 2> other || break; sleep 0.1; done
grep -qF '"running":true' live.html || fail "the page of a run that trains says it does not: $(cat err)"
kill $training
wait $page || fail "report --follow: $(cat err)"
grep -qF '"reload":0' live.html && grep -qF '"running":false' live.html || fail "the last page goes on loading itself"
wait $training

"$chorus" doctor > out 2> err || fail "doctor: $(cat err)"
for word in libtorch processor memory "open files" GPUs MPI disk; do grep -qF "$word" out || fail "doctor lacks $word: $(cat out)"; done
[ "$(wc -l < out)" -le 24 ] || fail "doctor is more than a screen"
"$chorus" doctor --json --folder . > doctor.json || fail "doctor --json"
python3 -c 'import json; d = json.load(open("doctor.json")); assert d["processor"]["threads"] > 0 and d["disk"]["read"] > 0 and d["memory"]["bytes"] > 0, d' || fail "doctor --json"
ln -s loop loop
PATH="$PWD/loop:$PATH" "$chorus" doctor > out 2> err || fail "doctor with a folder in PATH that cannot be read: $(cat err)"
refuse "nowhere" doctor --folder nowhere
exit $failed
