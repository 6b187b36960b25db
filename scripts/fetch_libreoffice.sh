#!/bin/sh
# Fetches LibreOffice's translated messages, as Debian packages them, and unpacks them without root.
#
#   scripts/fetch_libreoffice.sh OUT LANGUAGE...        e.g.  scripts/fetch_libreoffice.sh data/libreoffice de fr pt-BR zh-CN
#   scripts/fetch_libreoffice.sh --list                 the languages there are
#
# The catalogs are then at OUT/usr/lib/libreoffice/program/resource/LANGUAGE/LC_MESSAGES/*.mo, for
# `chorus corpus gettext --root OUT`. "en" needs no package: it is the language of the messages. What OUT has already is
# not fetched again.
set -eu

fail() {
  echo "fetch_libreoffice: $1" >&2
  exit "${2:-1}"
}

prefix=libreoffice-l10n-
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
  fail "apt-get and dpkg-deb are needed (Debian or a relative of it)"

if [ "${1:-}" = --list ]; then
  apt-cache pkgnames $prefix | sed "s/^$prefix//" | sort | tr '\n' ' '
  echo
  exit 0
fi
[ $# -ge 2 ] || fail "usage: fetch_libreoffice.sh OUT LANGUAGE...  (or --list)" 2
out=$1
shift
mkdir -p "$out/.fetched" 2>/dev/null || fail "cannot make $out"
out=$(cd "$out" && pwd)

packages=
languages=0
for language in "$@"; do
  [ "$language" != en ] || continue
  package=$prefix$(printf %s "$language" | sed 's/@.*//' | tr 'A-Z_' 'a-z-')
  languages=$((languages + 1))
  [ -e "$out/.fetched/$package" ] || packages="$packages $package"
done

if [ -n "$packages" ]; then
  unknown=
  for package in $packages; do
    apt-cache show "$package" >/dev/null 2>&1 || unknown="$unknown ${package#"$prefix"}"
  done
  [ -z "$unknown" ] ||
    fail "no such package for:$unknown (see --list; where apt knows no packages at all, run: apt-get update)" 2
  # shellcheck disable=SC2086  # a list of names without blanks
  bytes=$(apt-cache --no-all-versions show $packages | awk '/^Size:/ {sum += $2} END {print sum}')
  echo "fetching $(echo $packages | wc -w) packages ($prefix*), $((bytes / 1024)) KiB, into $out"

  downloads=$(mktemp -d)
  trap 'rm -rf "$downloads"' EXIT
  # apt's own user fetches where root runs it; it must be able to write here.
  if [ "$(id -u)" = 0 ] && id _apt >/dev/null 2>&1; then chown _apt "$downloads"; fi
  # shellcheck disable=SC2086
  (cd "$downloads" && apt-get -qq download $packages >log 2>&1) ||
    fail "cannot download: $(grep -m1 '^E:' "$downloads/log" || tail -n1 "$downloads/log") (is there a network? else run: apt-get update)"
  for package in $packages; do
    dpkg-deb -x "$downloads/$package"_*.deb "$out" || fail "cannot unpack $package into $out"
    : >"$out/.fetched/$package"
  done
fi
echo "$languages languages with LibreOffice's messages in $out"
