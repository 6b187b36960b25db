#!/bin/sh
# Text by pattern, from the run file to assess and score, and BLEU by the target language's tokeniser.
# usage: assess_test.sh PATH_OF_CHORUS
. "$(dirname "$0")/../script.sh"

awk 'BEGIN { n = split("alpha beta gamma delta epsilon zeta eta theta iota kappa", w, " ")
  for (i = 0; i < 120; i++) {
    a = w[i % n + 1]; b = w[int(i / n) % n + 1]; c = w[i * 7 % n + 1]
    print a, b, c > "train.en-ja.en"; print c, b, a > "train.en-ja.ja"
    print b, a, c > "train.de-en.de"; print b, c, a > "train.de-en.en"
    if (i < 12) { print a, b, c > "valid.en"; print c, b, a > "valid.ja" } } }'
cp valid.en valid.unknown  # no language of the model
cat > run.toml << END
threads = 1
[[data.train]]
files = "train.{pair}.{lang}"
[[data.valid]]
files = "valid.{lang}"
languages = ["en", "ja"]
[data]
batch_tokens = 256
max_length = 24
[vocabulary]
size = 290
[model]
d_model = 16
encoder_layers = 1
decoder_layers = 1
attention_heads = 2
ffn_dim = 16
max_positions = 32
[moe]
experts = 2
encoder_every = 1
decoder_every = 0
[train]
duration = "2u"
log_every = 1
[validation]
sentences = 5
decode = 3
END
"$chorus" train run.toml --set "data.train[0].weight=2" --out run > log 2>&1 || fail "training: $(cat log)"
grep -q "data.train\[0\] en-ja: 120 examples" log || fail "no pair of files: $(cat log)"
grep -q "data.train\[0\] en-de: 120 examples" log || fail "no second pair of files: $(cat log)"
grep -q 'validation loss.*BLEU [0-9.]* (13a, char)  chrF' log || fail "no tokenisers: $(grep validation log)"
grep -q '^weight = 2.0' run/run.toml || fail "--set data.train[0].weight did nothing"
grep '"kind":"validation"' run/metrics.jsonl > record
grep -qF '"sentences":5' record && ! grep -qF '"sentences":12' record || fail "validation.sentences: $(cat record)"
grep -qF '"name":"encoder.layers.0"' record || fail "no name of a layer in $(cat record)"
grep '"kind":"train"' run/metrics.jsonl | grep -qF '"layers":{"encoder.layers.0":{' || fail "no name of a layer in training"
"$chorus" train run.toml --set validation.tokenize=intl --out other > log 2>&1
grep -q 'BLEU [0-9.]* (intl)  chrF' log || fail "validation.tokenize: $(grep validation log)"

assess() { "$chorus" assess --model run --threads 1 "$@"; }
assess --files "valid.{lang}" --json > json || fail "assess"
grep -q '"tokenize": "char"' json && grep -q '"tokenize": "13a"' json && grep -q '"name": "encoder.layers.0"' json || fail "$(cat json)"
[ "$(grep -c '"copy_bleu"' json)" -eq 2 ] || fail "assess looks at other directions than those of the files: $(cat json)"
assess --files "valid.{lang}" --tsv /dev/null --languages en,ja > /dev/null 2> err || fail "--files and --tsv: $(cat err)"
assess --files "valid.{lang}" --files "train.{pair}.{lang}" --tokenize none --sentences 2 --precision bf16 --device cpu > text
[ "$(grep -c '^[a-z]*-[a-z]*  .* none$' text)" -eq 4 ] || fail "several --files, --tokenize none: $(cat text)"
grep -q "to each expert, encoder.layers.0$" text || fail "no name of a layer in $(cat text)"
# The same beam as translate's.
"$chorus" translate --model run --threads 1 --from en --to ja < valid.en > translated
[ "$(assess --files "valid.{lang}" --directions en-ja --samples 1000000 --json -q | grep -c '"reference"')" -eq 12 ] || fail "samples are shown more than once"
assess --files "valid.{lang}" --directions en-ja --samples 12 | sed -n 's/^chorus  *//p' | sort > assessed
sort translated | cmp -s - assessed || fail "assess translates otherwise than translate"
refuse "no tokeniser is called" assess --model run --files "valid.{lang}" --tokenize 14a
refuse "needs a SentencePiece model" assess --model run --files "valid.{lang}" --tokenize spm
refuse "name the text" assess --model run
refuse "device tpu: choose cpu, auto, or an accelerator" assess --model run --files "valid.{lang}" --device tpu
refuse "and matches none" assess --model run --files "nothing.{lang}"

score() { "$chorus" score --model run --threads 1 --from en --to ja "$@"; }
score --source valid.en --target valid.ja > scores
score --files "valid.{lang}" | cmp -s - scores || fail "score --files"
score --source - --target valid.ja < valid.en | cmp -s - scores || fail "score --source -"
score --files "train.{pair}.{lang}" | head -3 > pairs
[ "$(wc -l < pairs)" -eq 3 ] || fail "score of a pair"
refuse "name the text" score --model run --from en --to ja --source valid.en
exit $failed
