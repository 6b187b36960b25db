#!/bin/sh
# The page of chorus serve in a headless Chromium: a text that is typed, and a document that is chosen, are translated.
# usage: page_test.sh PATH_OF_CHORUS
tests=$(cd "$(dirname "$0")/.." && pwd)
. "$tests/script.sh"

toy_run 4
"$chorus" train run.toml --out run -q || fail "training to 0 updates"
python3 "$tests/server/page.py" "$chorus" run
code=$?
[ $code -eq 77 ] && exit 77
[ $code -eq 0 ] || fail "the page says so"
exit $failed
