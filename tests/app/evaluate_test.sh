#!/bin/sh
# chorus evaluate: what it prints, what it refuses, and how it says so.
# usage: evaluate_test.sh PATH_OF_CHORUS
chorus=$1
failed=0
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 1

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

expect 2 "two has 2 lines but three has 3" --hypothesis two --reference three
expect 2 "two has 2 lines but three has 3" --hypothesis two --reference reference --reference three
expect 2 "empty: the file is empty" --hypothesis empty --reference two
expect 2 "empty: the file is empty" --hypothesis two --reference empty
expect 2 "broken:2: byte 4 (0xff) is not UTF-8" --hypothesis broken --reference two
expect 2 "absent" --hypothesis absent --reference two
expect 2 "$folder" --hypothesis two --reference "$folder"
expect 2 "cut.gz" --hypothesis cut.gz --reference two
expect 2 "long:1: a line of more than 16 MiB" --hypothesis long --reference two
expect 2 "no such metric" --hypothesis two --reference two --metric bleu,ter
expect 2 "no tokeniser is called '14a'" --hypothesis two --reference two --tokenize 14a
expect 2 "needs a SentencePiece model" --hypothesis two --reference two --tokenize spm
expect 2 "goes with the tokeniser spm" --hypothesis two --reference two --spm two
expect 2 "two: not a SentencePiece model" --hypothesis two --reference two --tokenize spm --spm two
expect 2 "--reference" --hypothesis two
expect 0 "" --help
exit $failed
