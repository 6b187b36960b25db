#!/bin/sh
# chorus lid: a classifier of languages is trained, measured, kept with a model and carried along.
# usage: lid_test.sh PATH_OF_CHORUS
. "$(dirname "$0")/../script.sh"

toy_run 0
tr abdeghilm mlihgedba < train.yy > yy && mv yy train.yy # other words
"$chorus" train run.toml --out run -q || fail "writing a run"
"$chorus" upcycle run --experts 4 --top-k 2 --out model -q || fail "writing a model"

"$chorus" lid train --data "train.{lang}" --out a.lid -q || fail "lid train"
"$chorus" lid train --files "train.{lang}" --languages xx,yy --out b.lid -q && cmp a.lid b.lid || fail "another classifier of the same text"
refuse "a.lid exists" lid train --data "train.{lang}" --out a.lid
refuse "give --out FILE, or --model DIR" lid train --data "train.{lang}"
refuse "name text with --files or --tsv" lid train --out c.lid
refuse "two languages or more" lid train --data "train.{lang}" --languages xx --out c.lid
[ ! -e c.lid ] || fail "a file is left of what failed"
"$chorus" lid eval a.lid --data "train.{lang}" > table || fail "lid eval"
"$chorus" lid eval a.lid --data "train.{lang}" --json > json || fail "lid eval --json"
python3 - << 'END' || fail "lid eval: $(cat table)"
import json
rows = json.load(open("json"))
assert [row["language"] for row in rows] == ["xx", "yy"]
assert all(row["line"]["classifier"] > 0.95 and row["line"]["cld2"] == 0 for row in rows), rows
END
refuse "is no language classifier" lid eval model/model.safetensors --data "train.{lang}"
cp train.xx train.zz
refuse "does not know 'zz'" lid eval a.lid --data "train.{lang}" --languages xx,zz
head -c 5000 a.lid > cut.lid
refuse "cut.lid" lid eval cut.lid --data "train.{lang}"

# With the model: in its folder and its manifest, and in what is made of it.
refuse "unknown language 'zz'" lid train --data "train.{lang}" --languages xx,zz --model model
"$chorus" lid train --data "train.{lang}" --languages xx,yy --model model -q || fail "lid train --model"
cmp a.lid model/languages.lid && grep -q '"languages.lid"' model/chorus.json || fail "not kept with the model: $(ls model)"
"$chorus" lid eval model --data "train.{lang}" --languages xx,yy | cmp - table || fail "lid eval of a model"
"$chorus" quantize model --experts int8 --dense int8 --out small -q || fail "quantize"
"$chorus" export model --format nllb-moe --out there -q && "$chorus" import there --out back -q || fail "export and import"
"$chorus" prune model --keep 0.5 --by random --out few > out || fail "prune"
for folder in small there back few; do
  cmp a.lid $folder/languages.lid || fail "$folder lost the classifier: $(ls $folder)"
done
grep -q '"languages.lid"' small/chorus.json || fail "the manifest does not name it"
# A run that goes on keeps it, too.
cat >> run.toml << 'END'
[[data.valid]]
files = "train.{lang}"
languages = ["xx", "yy"]
END
"$chorus" train run.toml --out lasting -q --set validation.every=2 --set train.duration=2u || fail "training"
"$chorus" lid train --data "train.{lang}" --languages xx,yy --model lasting -q || fail "lid train --model RUN"
"$chorus" train run.toml --out lasting -q --set validation.every=2 --set train.duration=6u || fail "going on"
cmp a.lid lasting/model/languages.lid && grep -q '"languages.lid"' lasting/model/chorus.json || fail "a run that goes on lost it: $(ls lasting/model)"
printf x >> model/languages.lid
refuse "is not the language classifier that this model was saved with" quantize model --experts int8 --dense int8 --out smaller
exit $failed
