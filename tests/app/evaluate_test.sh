#!/bin/sh
# chorus evaluate: what it prints, what it refuses, and how it says so.
# usage: evaluate_test.sh PATH_OF_CHORUS
. "$(dirname "$0")/../script.sh"

# expect CODE WORDS ARGUMENTS...: the exit code of `chorus evaluate`, words on standard error, and one line there at most.
expect() {
  code=$1 words=$2
  shift 2
  "$chorus" evaluate "$@" > out 2> err
  got=$?
  if [ $got -ne "$code" ] || { [ -n "$words" ] && ! grep -qF -- "$words" err; } || [ "$(wc -l < err)" -gt 1 ] ||
    { [ "$code" -ne 0 ] && [ -s out ]; }; then
    echo "chorus evaluate $*: exit code $got, expected $code and '$words'; it said: $(cat err)"
    failed=1
  fi
}
# says WORDS: the last command's standard output has them.
says() {
  grep -qF -- "$1" out || { echo "no '$1' in: $(cat out)"; failed=1; }
}

printf 'The cat sat on the mat.\nGood morning, everyone!\n' > two
printf 'The cat sat on a mat.\nGood morning everyone!\n' > reference
printf 'The cat sat on a mat.\r\nGood morning everyone!' > windows
printf 'one\ntwo\nthree\n' > three
printf 'fine\nbro\377ken\n' > broken
: > empty
gzip -kc reference > reference.gz
gzip -kc reference | head -c 30 > cut.gz
head -c 17000000 /dev/zero | tr '\0' 'a' > long

expect 0 "" --hypothesis two --reference reference
says "    BLEU|nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0+chorus = "
says "  chrF2|nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:2.6.0+chorus = "
says "chrF2++|nrefs:1|case:mixed|eff:yes|nc:6|nw:2|space:no|version:2.6.0+chorus = "
cp out plain
for same in windows reference.gz; do
  expect 0 "" --hypothesis two --reference $same
  cmp -s out plain || { echo "$same scores otherwise than reference"; failed=1; }
done
expect 0 "" --hypothesis two --reference reference --reference two --metric bleu --json
says '"score": 100.0'
says '"nrefs": "2"'

# Standard input, as one of the texts.
expect 0 "" --hypothesis - --reference reference < two
cmp -s out plain || { echo "- scores otherwise than its file"; failed=1; }
expect 0 "" --hypothesis two --reference - < reference.gz
cmp -s out plain || { echo "--reference - scores otherwise than its file"; failed=1; }
expect 2 "only one of the texts can be -" --hypothesis - --reference - < two
expect 2 "standard input:2: byte 4 (0xff) is not UTF-8" --hypothesis - --reference two < broken

# As sacreBLEU 2.6.0 with -w 4; --confidence --confidence-n 50; --paired-bs.
expect 0 "" --hypothesis two --reference reference --metric chrf --width 4
says "= 78.3001"
expect 0 "" --hypothesis two --reference reference --metric bleu --confidence --resamples 50
says "nrefs:1|bs:50|seed:12345|case"
says "= 37.99 (μ = 36.39 ± 13.76) 83.3"
expect 0 "" --hypothesis two --reference reference --metric bleu,chrf --baseline windows
says "  baseline windows = 100.00 (μ = 100.00 ± 0.00)"
says "  system two       = "
says "bs:1000|seed:12345"
expect 0 "" --hypothesis two --reference reference --metric bleu --baseline windows --json
says '"p_value": null'
expect 2 "two has 2 lines but three has 3" --hypothesis two --reference reference --baseline three

expect 2 "two has 2 lines but three has 3" --hypothesis two --reference three
expect 2 "two has 2 lines but three has 3" --hypothesis two --reference reference --reference three
expect 2 "empty: the file is empty" --hypothesis empty --reference two
expect 2 "empty: the file is empty" --hypothesis two --reference empty
expect 2 "broken:2: byte 4 (0xff) is not UTF-8" --hypothesis broken --reference two
expect 2 "absent" --hypothesis absent --reference two
expect 2 "$folder" --hypothesis two --reference "$folder"
expect 2 "cut.gz" --hypothesis cut.gz --reference two
expect 2 "long:1: a line of more than 256 KiB" --hypothesis long --reference two
expect 2 "no such metric" --hypothesis two --reference two --metric bleu,ter
expect 2 "no tokeniser is called '14a'" --hypothesis two --reference two --tokenize 14a
expect 2 "needs a SentencePiece model" --hypothesis two --reference two --tokenize spm
expect 2 "goes with the tokeniser spm" --hypothesis two --reference two --spm two
expect 2 "two is not a usable SentencePiece model" --hypothesis two --reference two --tokenize spm --spm two
expect 2 "--reference" --hypothesis two
expect 0 "" --help
exit $failed
