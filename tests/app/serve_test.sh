#!/bin/sh
# chorus serve over a socket: LibreTranslate's interface, its PyPI client unchanged, errors, keys, and how it ends.
# usage: serve_test.sh PATH_OF_CHORUS
tests=$(cd "$(dirname "$0")/.." && pwd)
. "$tests/script.sh"

toy_run 4
"$chorus" train run.toml --out run -q || fail "training to 0 updates"
refuse "no address" serve --model run --address example.org
refuse "give the name alone" serve --model run --host example.org:8080
refuse "give the name alone" serve --model run --host http://example.org
refuse "needs keys" serve --model run --address 0.0.0.0
printf 'short\n' > keys && chmod 600 keys
refuse "keys:1: a key has 16 to 128 characters" serve --model run --keys keys

python=python3
[ -x "$tests/../.venv/bin/python" ] && python=$tests/../.venv/bin/python
"$python" "$tests/server/clients.py" "$chorus" run || fail "the clients say so"
exit $failed
