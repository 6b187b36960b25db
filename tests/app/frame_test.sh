#!/bin/sh
# The frame of the command line: help, version, mistakes, exit codes, a standard output that cannot be written.
# usage: frame_test.sh PATH_OF_CHORUS
chorus=$1
failed=0
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT

# expect CODE WORDS ARGUMENTS...: the exit code, words on standard error, and one line there at most.
expect() {
  code=$1 words=$2
  shift 2
  "$chorus" "$@" > "$folder/out" 2> "$folder/err"
  got=$?
  if [ $got -ne "$code" ] || { [ -n "$words" ] && ! grep -qF -- "$words" "$folder/err"; } ||
    [ "$(wc -l < "$folder/err")" -gt 1 ]; then
    echo "chorus $*: exit code $got, expected $code and '$words'; it said: $(cat "$folder/err")"
    failed=1
  fi
}
# says WORDS: the last command's standard output has them.
says() {
  grep -qF -- "$1" "$folder/out" || { echo "no '$1' in: $(cat "$folder/out")"; failed=1; }
}

expect 2 "chorus: error: name a command"
expect 2 "unknown command 'hepl'; did you mean 'help'?" hepl
expect 2 "unknown command 'zzzzzz'; \`chorus --help\` shows what it takes" zzzzzz
expect 2 "unknown option '--verison'; did you mean '--version'?" --verison
expect 2 "unknown option '--xyz'" help --xyz
expect 2 "--json stands before the command that takes it: chorus translate --json" --json translate
expect 2 "--json stands before the command that takes it: chorus corpus report --json" corpus --json report
expect 2 "unknown command 'zzzzzz'" help zzzzzz
expect 0 "" help
says "Usage: chorus"
expect 0 "" help help
says "Usage: chorus help"
expect 0 "" help --help
says "Usage: chorus help"
expect 0 "" --version
says "chorus "

cannot="chorus: error: cannot write to standard output"
for close in '> /dev/full' '>&-'; do
  eval "\"$chorus\" help $close 2> \"$folder/err\""
  got=$?
  if [ $got -ne 1 ] || ! grep -qF "$cannot" "$folder/err"; then
    echo "chorus help $close: exit code $got: $(cat "$folder/err")"
    failed=1
  fi
done
# A reader that has gone, as `head` does: the subshell waits for it, so that the pipe is closed when chorus writes. It ends
# as by SIGPIPE, without a word, whether it says little or much.
for arguments in help "train --help" "train --dump-config"; do
  { sleep 0.2; "$chorus" $arguments 2> "$folder/err"; echo $? > "$folder/code"; } | true
  if [ "$(cat "$folder/code")" -ne 141 ] || [ -s "$folder/err" ]; then
    echo "$arguments into a closed pipe: exit code $(cat "$folder/code"): $(cat "$folder/err")"
    failed=1
  fi
done
# Standard error closed as well: nothing to say it on, but no abort.
"$chorus" hepl 2>&-
[ $? -eq 2 ] || { echo "closed standard error"; failed=1; }
"$chorus" help > /dev/full 2> /dev/full
[ $? -eq 1 ] || { echo "both full"; failed=1; }
# What the loader holds against the processor.
readelf -n "$chorus" | grep -q "x86 ISA needed:.*x86-64-v3" || { echo "the program does not say which processor it needs"; failed=1; }
exit $failed
