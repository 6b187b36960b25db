#!/bin/sh
# chorus translate and score on a model trained here: n-best scores are those of scoring; absurd input stays bounded.
# usage: translate_test.sh PATH_OF_CHORUS
. "$(dirname "$0")/../script.sh"

translate() { "$chorus" translate --model run --threads 1 --from xx --to yy "$@"; }
# refuse WORDS ARGUMENTS...: exit code 2, and one line with the words.
refuse() {
  words=$1
  shift
  echo "alpha" | translate "$@" > out 2> err
  got=$?
  [ $got -eq 2 ] && [ "$(wc -l < err)" -eq 1 ] && grep -qF -- "$words" err ||
    fail "chorus translate $*: exit code $got, expected 2 and '$words'; it said: $(cat err)"
}

# Sentences of three words and their reverse.
awk 'BEGIN { n = split("alpha beta gamma delta epsilon zeta eta theta iota kappa", w, " ")
  for (i = 0; i < 300; i++) {
    a = w[i % n + 1]; b = w[int(i / n) % n + 1]; c = w[i * 7 % n + 1]
    print a, b, c > "train.xx"; print c, b, a > "train.yy" } }'
printf 'Ein\377\n' > prefixes
cat > run.toml << END
threads = 1
[[data.train]]
files = "train.{lang}"
languages = ["xx", "yy"]
directions = ["xx-yy"]
[data]
batch_tokens = 512
max_length = 24
[vocabulary]
size = 290
[model]
d_model = 32
encoder_layers = 1
decoder_layers = 1
attention_heads = 2
ffn_dim = 64
dropout = 0.0
max_positions = 128
[moe]
experts = 4
encoder_every = 1
decoder_every = 0
[optim]
learning_rate = 5e-3
warmup = "20u"
[train]
duration = "0u"
label_smoothing = 0.0
END
"$chorus" train run.toml --out run -q || fail "training to 0 updates"
[ -e run/checkpoints/step-00000000 ] && [ ! -s run/metrics.jsonl ] || fail "0 updates left $(ls run run/checkpoints)"

cp -r run/checkpoints/step-00000000 young
"$chorus" train run.toml --set vocabulary.size=280 --out other -q || fail "training another model to 0 updates"
refuse "--model other: its vocabulary is not that of run" --model other

# Text nobody would translate, by a model that knows nothing: as many lines out, none longer than allowed.
{
  printf '\n  \t \n'
  awk 'BEGIN { for (i = 0; i < 10000; i++) printf "a "; print "" }'
  printf '\360\237\230\200\360\237\221\215\360\237\207\253\360\237\207\267\n\001\002\033[0m\177\n</s> <unk> __yy__\n'
  awk 'BEGIN { for (i = 0; i < 5000; i++) printf "x"; print "" }'
} > absurd
translate --long split --max-length-factor 1 --beam 2 < absurd > out 2> err || fail "absurd input: $(cat err)"
[ "$(wc -l < out)" -eq 7 ] || fail "7 lines became $(wc -l < out)"
[ "$(sed -n 1,2p out)" = "" ] || fail "blank lines became '$(sed -n 1,2p out)'"
[ "$(wc -c < out)" -lt 3000000 ] || fail "absurd input became $(wc -c < out) bytes"
grep -q '⁇' out && fail "<unk> was written"
translate --long refuse --beam 1 < absurd > out 2> err
[ $? -eq 2 ] && grep -q ":3: .* tokens" err || fail "a line too long, not to be split: $(cat err)"
[ "$(wc -l < out)" -eq 2 ] || fail "of the lines before it, $(wc -l < out) were written"

# Bytes that are not UTF-8, as the user chooses; what is there is answered before more comes.
printf 'alpha\nbe\377ta\ngamma\n' > bad
for case in "stop 1 2" "skip 2 0" "blank 3 0" "replace 3 0"; do
  set -- $case
  translate --beam 1 --on-error "$1" < bad > out 2> err
  got=$?
  [ $got -eq "$3" ] && [ "$(wc -l < out)" -eq "$2" ] && grep -q "stdin:2: byte 3 (0xff) is not UTF-8" err ||
    fail "--on-error $1: exit code $got, $(wc -l < out) lines; it said: $(cat err)"
done
refuse "prefixes:1: byte 4 (0xff) is not UTF-8" --prefix-file prefixes
refuse "not in {stop,skip,blank,replace}" --on-error ignore
mkfifo pipe
translate --beam 1 -q < pipe > out &
process=$!
exec 3> pipe
echo "alpha" >&3
until [ -s out ]; do kill -0 $process || break; sleep 0.1; done
[ "$(wc -l < out)" -eq 1 ] || fail "no answer to a line while the pipe is open"
exec 3>&-
wait $process || fail "translating a pipe"

# Languages: what was meant, and what was trained.
echo "alpha" > source
"$chorus" translate --model run --from XX --to yy < source 2> err
[ $? -eq 2 ] && grep -q -- "--from: unknown language 'XX'.*did you mean 'xx'?" err || fail "--from XX: $(cat err)"
echo "alpha" | "$chorus" translate --model run --threads 1 --beam 1 --from yy --to xx > out 2> err || fail "an untrained direction"
grep -q "warning: this model was trained to translate xx-yy, not yy-xx" err || fail "an untrained direction: $(cat err)"
translate --beam 1 < train.xx 2>&1 > out | grep -q "was trained to translate" && fail "a warning of a trained direction"
"$chorus" score --model run --threads 1 --from xx --to yy --source bad --target bad > out 2> err
[ $? -eq 2 ] && [ "$(wc -l < out)" -eq 1 ] && grep -q "bad:2: byte 3" err || fail "score: $(cat out err)"
printf '\342\200\215\n' | tee empty | translate > out
[ "$(od -An -c out | tr -d ' ')" = '\n' ] || fail "a joiner was translated: $(cat out)"
"$chorus" score --model run --threads 1 --from xx --to yy --source empty --target empty 2>&1 > out | grep -q "nothing to translate in 2 lines" ||
  fail "score says nothing of empty lines"
echo "alpha beta" | translate --beam 1 > loop
echo "alpha beta" | translate --beam 1 --no-repeat-ngram 2 > no_loop
cmp -s loop no_loop && fail "--no-repeat-ngram changed nothing in $(cat loop)"
echo "alpha beta" | translate --beam 1 2>&1 > loop | grep -q "1 of 1 translation cut for endless repeats" || fail "a loop was not noticed"
echo "alpha beta" | translate --beam 1 --no-repeat-ngram 3 > no_loop
echo "alpha beta" | translate --beam 1 --guard > guarded 2> err
cmp guarded no_loop && grep -q "and made again" err || fail "--guard: $(cat err)"
echo "alpha beta" | translate --beam 1 --repetition-penalty 3 > penalised
cmp -s loop penalised && fail "--repetition-penalty changed nothing in $(cat loop)"
refuse "--repetition-penalty: '0' is not a number from" --repetition-penalty 0
echo "alpha beta" | translate --beam 1 --allow-unk > out || fail "--allow-unk"
refuse "--no-repeat-ngram: '-1' is not a whole number from" --no-repeat-ngram -1
refuse "n-best of 4" --nbest 4 --beam 3
refuse "not in {split,refuse}" --long crop

refuse "--beam excludes --sample" --sample --beam 2
refuse "--temperature requires --sample" --temperature 2
refuse "--top-p: '0' is not a number from" --sample --top-p 0
refuse "--candidates requires --mbr" --candidates 4
refuse "not in {chrf,bleu}" --mbr comet
refuse "--candidates: '1' is not a whole number from 2" --mbr chrf --candidates 1
refuse "with a --beam of 5 there are not so many" --mbr chrf --candidates 64
refuse "not a whole number" --beam 0x10
refuse "--keep" --keep "$(printf '\377')"
refuse "--beam-groups requires --diversity" --beam-groups 2
refuse "--diversity excludes --sample" --sample --diversity 1
refuse "a beam of 4 cannot be cut into 3 groups" --beam 4 --diversity 1 --beam-groups 3
printf 'alpha\tbeta\nno tab\n' > terms.tsv
refuse "terms.tsv:2: a term is SOURCE<TAB>TARGET" --terms terms.tsv
refuse "no regular expression: U_REGEX_MISMATCHED_PAREN" --keep "("
refuse "--sample excludes --terms" --terms terms.tsv --sample
printf 'alpha\tbeta gamma delta epsilon zeta eta theta iota kappa\n' > terms.tsv
refuse "stdin:1: the translation must contain" --terms terms.tsv --max-length-factor 0 --max-length 4
refuse "--alignment-layer requires --alignments" --alignment-layer 0
refuse "by decoder layer 1: the model has 1 layer" --alignments --alignment-layer 1
refuse "--alignments with --nbest 2: add --json" --alignments --nbest 2
refuse "--scores excludes --json" --json --scores
refuse "5000 tokens" --min-length 5000
refuse "--json excludes --format" --format html --json
refuse "not in {text,html" --format docx
refuse "stdin:1: the translation must have 20 tokens at least, more than the 5 allowed" --min-length 20 --max-length-factor 0 --max-length 5
printf '\nalpha beta gamma delta epsilon zeta\nalpha\n' | translate --min-length 40 --beam 2 --on-error blank > out 2> err
[ "$(sed -n '1p;3p' out)" = "" ] && [ -n "$(sed -n 2p out)" ] && grep -q "1 of 3 lines answered with an empty line" err ||
  fail "--min-length above the longest of one line wrote $(cat out err)"
refuse "--memory = \"much\" is no size" --memory much
refuse "--memory is for one --model" --memory 1GB --model run
refuse "--expert-use is of --memory" --expert-use use.json

# Experts that stay in the file: the same translations and scores.
"$chorus" train run.toml --set model.encoder_layers=3 --set model.ffn_dim=512 --out deep -q || fail "training a deep model to 0 updates"
deep() { "$chorus" translate --model deep --threads 1 --from xx --to yy --max-length 9 "$@" < train.xx; }
deep > whole || fail "translating with all experts in memory"
deep --memory 1TB > out 2> err && cmp -s out whole && ! grep -q "experts fit" err || fail "--memory 1TB: $(cat err)"
deep --memory 100kB > out 2> err && fail "--memory 100kB is enough"
grep -q "a memory of 97.7 KiB is too small for .*model.safetensors: it takes .* at least" err || fail "--memory 100kB: $(cat err)"
deep --memory 1MB > out 2> err || fail "--memory 1MB: $(cat err)"
cmp -s out whole || fail "translations differ with experts in the file"
grep -q "of 12 experts fit in memory" err && grep -q "% of them there or on their way" err || fail "what --memory costs: $(cat err)"
"$chorus" assess --model deep --files "train.{lang}" --languages xx,yy --directions xx-yy --sentences 5 --json -q > use.json || fail "assess --json"
deep --memory 1MB --expert-use use.json > out 2> err && cmp -s out whole || fail "--expert-use: $(cat err)"
"$chorus" prune deep --data "train.{lang}" --directions xx-yy --sentences 5 --keep 1 --json -q --out all > all.json || fail "prune --keep 1"
python3 - << 'END' || fail "prune counts otherwise than assess"
import json
ours, theirs = json.load(open("all.json")), json.load(open("use.json"))
assert ours["languages"] == theirs["languages"] == ["xx", "yy"]
assert len(ours["load"]) == 3
for layer, other in zip(ours["load"], theirs["load"], strict=True):
    assert all(layer[key] == other[key] for key in ("name", "assigned", "by_language")), (layer, other)
END
"$chorus" prune deep --data "train.{lang}" --directions xx-yy --sentences 5 --keep 0.75 --json -q --out fewer > fewer.json || fail "prune --keep 0.75"
"$chorus" translate --model fewer --threads 1 --from xx --to yy --max-length 9 < train.xx > few
"$chorus" translate --model fewer --threads 1 --from xx --to yy --max-length 9 --memory 800kB --expert-use fewer.json < train.xx > out 2> err &&
  cmp -s out few && grep -q "of 9 experts fit in memory" err || fail "--expert-use of what prune wrote: $(cat err)"
deep --memory 1MB --expert-use fewer.json > out 2> err && fail "--expert-use of another model"
grep -q "has no counts of 4 experts: it must be what .chorus assess --json. wrote of this model, or .prune --json. when it made it" err ||
  fail "--expert-use of another model: $(cat err)"
deep --memory 1TB --expert-use nowhere > out 2> err && fail "--expert-use of a file that is not there"
deep --memory 1MB --expert-use run.toml > out 2> err && fail "--expert-use of a run file"
grep -q "not valid JSON" err || fail "--expert-use of a run file: $(cat err)"
"$chorus" score --model deep --from xx --to yy --source train.xx --target train.yy -q > whole || fail "score"
"$chorus" score --model deep --from xx --to yy --source train.xx --target train.yy --memory 1MB -q > out && cmp -s out whole ||
  fail "scores differ with experts in the file"

"$chorus" train run.toml --set train.duration=200u --out run -q || fail "training"
head -40 train.xx > source
for case in "0 2" "1 4" "2 4" "-0.5 3"; do
  penalty=${case% *} beam=${case#* }
  translate --beam $beam --nbest $beam --length-penalty $penalty < source > nbest
  # The sources of the hypotheses, the hypotheses, their scores.
  awk -F ' [|][|][|] ' 'NR == FNR { line[FNR - 1] = $0; next }
    { print line[$1] > "hypothesis_source"; print $2 > "hypothesis"; print $3 > "score" }' source nbest
  "$chorus" score --model run --threads 1 --from xx --to yy --source hypothesis_source --target hypothesis \
    --length-penalty $penalty > rescored || fail "scoring"
  paste score rescored | awk -v beam=$beam -v penalty=$penalty '
    { if (($1 - $2) ^ 2 > 1e-8) other++ }
    # Another number where the model spells a text otherwise than the vocabulary does: seldom once it has learned.
    END { if (NR != 40 * beam || other > NR / 20) {
      print "beam", beam, "penalty", penalty ":", other, "of", NR, "scores are not those of chorus score"; exit 1 } }' ||
    failed=1
done
translate --scores --beam 4 --length-penalty 1 < source > best
translate --beam 4 --nbest 4 --length-penalty 1 < source | awk -F ' [|][|][|] ' '!seen[$1]++ { print $2 "\t" $3 }' > first
cmp -s best first || fail "--scores and the first of --nbest differ"

# An ensemble of a model with itself is the model; with another one it is not.
translate --beam 4 < source > alone
translate --beam 4 --model run < source | cmp - alone || fail "an ensemble of a model with itself is not the model"
translate --beam 4 --scores < source > alone
translate --beam 4 --scores --model young < source | cmp -s - alone && fail "an ensemble of two scores as the first"

# Terms, and text that is kept, are in the translations.
printf 'alpha\tomega psi\nbeta gamma\tgamma beta\n' > terms.tsv
sed 's/ \(b[a-z]*\)/ {\1} http:\/\/x.y\/?q=1/' source > marked
for beam in 1 4; do
  translate --beam $beam --terms terms.tsv < source | paste source - > both
  grep alpha both | grep -qv "omega psi" && fail "a term is not there: $(grep alpha both | grep -v "omega psi")"
  grep -v alpha both | grep -q omega && fail "a term is there without a reason"
  translate --beam $beam --keep '\{[a-z]+\}|http://\S+' < marked > kept
  for what in '{[a-z]*}' 'http://x.y/?q=1'; do
    [ "$(grep -o "$what" marked)" = "$(grep -o "$what" kept)" ] || fail "not kept: $what: $(paste marked kept | head -3)"
  done
done

# Alignments: a link for each word; translations stay as they are.
translate --beam 4 --alignments < source > aligned
awk -F ' [|][|][|] ' '{ n = split($1, words, " "); m = split($2, links, " "); if (n != m) bad++
  for (i = 1; i <= m; i++) { split(links[i], ends, "-"); if (ends[2] != i - 1 || ends[1] < 0 || ends[1] > 2) bad++ } }
  END { exit bad > 0 || NR != 40 }' aligned || fail "--alignments wrote $(head -3 aligned)"
sed 's/ |||.*//' aligned > unaligned
translate --beam 4 < source | cmp - unaligned || fail "--alignments changes translations"

# Shortlists: of all pieces that occur, translations stay as they are; of few, terms are written all the same, and batches do not matter.
"$chorus" shortlist run --out list > table 2> err || fail "shortlist: $(cat err)"
awk '$1 == "xx" || $1 == "yy" { if ($3 > 300 && $4 == "100.00" && $6 == "-") n++ } END { exit n != 2 }' table || fail "the table of a shortlist: $(cat table)"
translate --beam 4 < source > plain
translate --beam 4 --shortlist list < source | cmp - plain || fail "a shortlist of all pieces changes translations"
"$chorus" shortlist run --files "train.{lang}" --held-out "train.{lang}" --top 1 --out short --json > table 2> err || fail "shortlist --top: $(cat err)"
python3 - << 'END' || fail "shortlist --json: $(cat table)"
import json
rows = json.load(open("table"))
assert [row["language"] for row in rows] == ["xx", "yy"]
assert all(row["held_out"] == row["text"] and 0 < row["text"]["covered"] <= row["text"]["tokens"] and row["pieces"] < 290 for row in rows)
END
paste train.xx train.yy > train.tsv
"$chorus" shortlist run --data train.tsv --languages xx,yy --held-out train.tsv --top 1 --out tsv.list --json > by_tsv 2> err || fail "shortlist of TSV files: $(cat err)"
cmp by_tsv table && cmp tsv.list short || fail "the shortlist of a TSV file is another"
printf 'alpha\tomega sigma\n' > terms.tsv
translate --beam 4 --shortlist short --terms terms.tsv < source > listed || fail "--shortlist with --terms"
translate --beam 4 --shortlist short --terms terms.tsv --batch-tokens 1 < source | cmp - listed || fail "with a shortlist lines depend on the batch"
[ "$(grep -c alpha source)" -eq "$(grep -c "omega sigma" listed)" ] || fail "terms with a shortlist: $(head -3 listed)"
"$chorus" shortlist run --out list > out 2> err
[ $? -eq 2 ] && grep -q "list exists; give --force" err || fail "shortlist wrote over a file: $(cat err)"
"$chorus" shortlist other --out other.list > out || fail "shortlist of another model"
refuse "other.list: these lists were made for another vocabulary" --shortlist other.list
"$chorus" shortlist run --files "train.{lang}" --languages xx --out xx.list > out || fail "shortlist of one language"
refuse "xx.list: there is no list for 'yy', only for xx" --shortlist xx.list
head -c 1000 list > cut.list
refuse "cut.list" --shortlist cut.list
refuse "is no shortlist" --shortlist run/checkpoints/step-00000200/model.safetensors

# chorus align: the head that is nearest to what is known, which the model then keeps.
sed 's/.*/0-2 1-1 2-0/' train.yy > gold
align() { "$chorus" align run --data "train.{lang}" --directions xx-yy --threads 1 "$@"; }
align --gold gold --dry-run --json -q > scores.json || fail "align --json"
cp run/model/config.json before.json
align --gold gold -q > table || fail "align"
[ "$(grep -c '[*]' table)" -eq 1 ] && [ "$(wc -l < table)" -eq 2 ] || fail "align wrote $(cat table)"
python3 - << 'END' || fail "align keeps another than the best"
import json
scores = json.load(open("scores.json"))
best = min(scores["scores"], key=lambda one: one["error"])
kept = json.load(open("run/model/config.json"))["chorus"]["alignment"]
assert "alignment" not in json.load(open("before.json"))["chorus"], "--dry-run wrote"
assert scores["best"] == best and len(scores["scores"]) == 3 and best["error"] < 0.3, scores
assert kept == {"layer": best["layer"], "head": best["head"]}, kept
open("head", "w").write(str(best["head"]))
END
"$chorus" inspect run | grep -q "^alignments decoder layer 0" || fail "inspect does not show what align chose"
translate --beam 4 --alignments < source > aligned
translate --beam 4 --alignments --alignment-layer 0 --alignment-head "$(cat head)" < source | cmp - aligned || fail "--alignments takes another head"
# By the words of the text alone. Words stand for one another here, and each order is as frequent as any.
align --json --dry-run -q > by_text.json || fail "align without --gold"
python3 -c 'import json; s = json.load(open("by_text.json"))["best"]; assert s == json.load(open("scores.json"))["best"] or s["error"] < 0.5, s' ||
  fail "align without --gold chose another"
head -2 gold > short
for arguments in "--gold short" "--gold gold --sentences 5" "--gold train.xx"; do
  align $arguments -q > out 2> err
  [ $? -eq 2 ] && [ "$(wc -l < err)" -eq 1 ] || fail "align $arguments: $(cat err)"
done

# The same as JSON, and the log-probabilities of tokens.
translate --beam 4 --nbest 2 < source > nbest
translate --beam 4 --nbest 2 --json < source > nbest.json
"$chorus" score --model run --threads 1 --from xx --to yy --files "train.{lang}" --json | head -40 > score.json
"$chorus" score --model run --threads 1 --from xx --to yy --files "train.{lang}" | head -40 > score
python3 - << 'END' || fail "--json"
import json
nbest = [line.rstrip("\n").split(" ||| ") for line in open("nbest")]
lines = [json.loads(line) for line in open("nbest.json")]
assert [line["source"] for line in lines] == open("source").read().splitlines()
for i, (index, text, score) in enumerate(nbest):
    made = lines[int(index)]["translations"][i % 2]
    assert made["text"] == text and abs(made["score"] - float(score)) < 2e-6, (made, score)
    assert abs(sum(token["log_probability"] for token in made["tokens"]) - made["log_probability"]) < 1e-4, made
for score, line in zip(open("score"), open("score.json"), strict=True):
    pair = json.loads(line)
    assert abs(pair["score"] - float(score)) < 2e-6 and pair["tokens"][-1]["piece"] == "</s>", (score, pair)
END

# Samples are those of their line, seed and number, whatever the batch is; of almost no temperature, the best.
different() { awk -F ' [|][|][|] ' '{ split($2, w, " "); if (!seen[$1, w[1]]++) n++ } END { print n }'; }
[ "$(translate --beam 4 --nbest 4 --diversity 3 < source | different)" -gt "$(translate --beam 4 --nbest 4 < source | different)" ] ||
  fail "--diversity makes n-best lists no different"
translate --sample --nbest 3 --epsilon 0.001 < source > samples
[ "$(wc -l < samples)" -eq 120 ] || fail "3 samples of 40 lines are $(wc -l < samples)"
translate --sample --nbest 3 --epsilon 0.001 --batch-tokens 1 --seed 1 < source | cmp - samples || fail "samples depend on the batch"
translate --sample --nbest 3 --epsilon 0.001 --seed 2 < source | cmp -s - samples && fail "--seed changes nothing"
translate --sample --temperature 0.001 < source > cold
translate --beam 1 < source | cmp - cold || fail "samples at a temperature of almost 0 are not the greedy translations"
translate --sample --epsilon 0.02 --mbr chrf --candidates 16 --scores < source > mbr
awk -F '\t' 'NF != 2 || $2 < 0 || $2 > 100 { exit 1 } END { if (NR != 40) exit 1 }' mbr || fail "--mbr chrf wrote $(head -3 mbr)"
translate --sample --epsilon 0.02 --mbr bleu --candidates 16 < source | cut -f 1 > mbr
translate --beam 4 < source > best
"$chorus" evaluate --hypothesis mbr --reference best --metric chrf | awk '{ exit $3 < 50 }' || fail "--mbr is far from the best"
translate --mbr chrf < source > mbr.beam; translate --mbr chrf --candidates 5 < source | cmp - mbr.beam || fail "--mbr chooses from the beam"
translate --beam 2 --min-length 20 < source | awk 'length($0) < 25 { exit 1 }' || fail "--min-length 20 left short translations"

# A run that goes on keeps what align chose.
cp run/model/config.json before.json
"$chorus" train run.toml --set train.duration=201u --out run -q || fail "going on"
python3 - << 'END' || fail "a run that goes on forgets what align chose"
import json
kept = [json.load(open(name))["chorus"]["alignment"]
        for name in ["before.json", "run/model/config.json", "run/checkpoints/step-00000201/config.json"]]
assert kept[0] == kept[1] == kept[2], kept
END
# Documents: their lines as lines are, their markup around the words.
printf '  %s\r\n\r\n%s' "$(sed -n 1p source)" "$(sed -n 2p source)" > document
translate --sentences < source | sed -n 1,2p > lines
translate --format text < document > out 2> err || fail "--format text: $(cat err)"
printf '  %s\r\n\r\n%s' "$(sed -n 1p lines)" "$(sed -n 2p lines)" | cmp - out || fail "--format text: $(cat out)"
echo '<p class=x>alpha <b>beta</b> gamma</p><pre>alpha</pre>' | translate --format html > out 2> err || fail "--format html: $(cat err)"
grep -q '^<p class=x>.*<b>..*</b>.*</p><pre>alpha</pre>$' out && ! grep -q 'alpha <b>beta</b>' out || fail "--format html: $(cat out)"
echo '<tmx><tu><tuv xml:lang="xx"><seg>alpha <ph/> beta &amp; gamma</seg></tuv></tu></tmx>' | translate --format tmx > out 2> err || fail "--format tmx: $(cat err)"
grep -q '</tuv><tuv xml:lang="yy"><seg>.*<ph/>.*</seg></tuv></tu></tmx>$' out || fail "--format tmx: $(cat out)"
printf '' | translate --format html > out 2> err && [ ! -s out ] && grep -q 'nothing to translate' err || fail "an empty document"
echo '<tmx><tu><tuv xml:lang="zz"><seg>alpha</seg></tuv></tu></tmx>' > other.tmx
translate --format tmx < other.tmx > out 2> err && cmp other.tmx out && grep -q 'nothing to translate from xx' err ||
  fail "a document of another language: $(cat err)"
printf 'alpha beta gamma alpha beta gamma\nalpha\n' > document
translate --format text --long refuse --max-source 4 < document > out 2> err
[ $? -eq 2 ] && grep -q "segment 1: .* tokens.*; --on-error skip leaves it as it is" err || fail "a segment too long: $(cat err)"
translate --format text --long refuse --max-source 4 --on-error skip < document > out 2> err || fail "--format --on-error skip"
sed -n 1p document | cmp - out -n 33 && grep -q "1 of 2 segments left as it is" err || fail "a segment that is skipped: $(cat out err)"

exit $failed
