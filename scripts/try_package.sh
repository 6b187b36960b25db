#!/usr/bin/env bash
# Tries what `make package` made on a bare Debian 12, as root: installs the package there, trains, translates and serves with it as a
# user without rights, removes it, and looks whether anything is left. Two minutes; mmdebstrap makes the system from apt's mirrors.
#
#   scripts/try_package.sh        build/package/chorus_*_amd64.deb
set -euo pipefail
self=$(realpath "$0")
cd "$(dirname "$0")/.."

root=build/package-root
die() { echo "try-package: $*" >&2; exit 1; }

package=$(echo build/package/chorus_*_amd64.deb)
[ -f "$package" ] || die "no $package: run make package"
[ "$(id -u)" = 0 ] || die "only root can"
if [ "${1:-}" != inside ]; then # mounts and processes of the trial end with it
  command -v mmdebstrap >/dev/null || die "there is no mmdebstrap: apt-get install mmdebstrap"
  exec unshare --mount --pid --fork --kill-child "$self" inside
fi

rm -rf --one-file-system $root
mmdebstrap --quiet --variant=minbase bookworm $root
mount -t proc proc $root/proc
mount --rbind /dev $root/dev
cp /etc/resolv.conf $root/etc/
cp "$package" $root/
inside() { chroot $root env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"; }
files() { (cd $root && find usr etc lib var/lib/systemd -xdev | sort); }

inside apt-get update -q
inside useradd --create-home someone
files >$root/before
inside apt-get install -qy --no-install-recommends "/${package##*/}" >build/package-apt.log 2>&1 || die "apt: $(tail -n 5 build/package-apt.log)"
sed -n '/additional disk space/p' build/package-apt.log

cat >$root/home/someone/try.sh <<'END'
set -eu
cd
for i in $(seq 1 200); do
  echo "the number $i is here" >>text.en
  echo "die Zahl $i ist da" >>text.de
done
cat >RUN.toml <<'RUN'
[[data.train]]
files = "text.{lang}"
directions = ["en-de"]
[data]
batch_tokens = 200
[vocabulary]
size = 300
[model]
d_model = 32
encoder_layers = 1
decoder_layers = 1
attention_heads = 2
ffn_dim = 64
[moe]
experts = 4
encoder_every = 1
decoder_every = 1
[train]
duration = "200u"
RUN
set -x
chorus --version
chorus doctor
chorus train RUN.toml --out run -q
echo 'the number 7 is here' | chorus translate --model run --from en --to de | grep .
chorus serve --model run --port 18080 &
for i in $(seq 100); do
  sleep 0.2
  if exec 3<>/dev/tcp/127.0.0.1/18080; then break; fi
done 2>/dev/null
printf 'GET /ready HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3
head -n 1 <&3 | grep ' 200 '
exec 3<&-
kill $!
wait $!
zcat /usr/share/man/man1/chorus-train.1.gz | grep -q 'SH RUN FILE'
bash -n /usr/share/bash-completion/completions/chorus
END
inside su - someone -c "bash try.sh"
rm -r $root/home/someone
mkdir $root/home/someone

inside dpkg -V chorus
inside dpkg -r chorus
inside dpkg --purge chorus
inside apt-get autoremove -qy --purge >>build/package-apt.log 2>&1
files >$root/after
left=$(comm -13 $root/before $root/after)
[ -z "$left" ] || die "left behind by the package or what it depends on: $left"
umount --lazy $root/proc $root/dev
rm -rf --one-file-system $root
echo "try-package: $package works"
