#!/usr/bin/env bash
# Installs what a machine needs to build chorus; a second call finds everything there and does nothing.
#
#   scripts/setup.sh              compiler, tools, libraries, and libtorch
#   scripts/setup.sh --reference  besides, what only tests need: the Python packages that chorus is compared with, what builds and
#                                 tests our own one, and the tools of scripts/rehearse_hosts.sh
#   scripts/setup.sh --package    besides, what `make package` runs
#   scripts/setup.sh --fuzz       besides, the compiler of `make fuzz`
#
# Packages come from apt (as root or through sudo), torch from the package index that your pip is set to use.
# TORCH_DIR=<site-packages/torch, or the virtual environment that holds it> takes that libtorch and fetches none.
set -euo pipefail
cd "$(dirname "$0")/.."

torch_wanted=2.13.0 # 2.11 to 2.13 work; this one is fetched when there is none
log=build/setup.log
for_tests='ip:iproute2 pgrep:procps python3-config:python3-dev'
for_package='file:file dpkg-shlibdeps:dpkg-dev'
for_fuzz='/usr/lib/llvm-19/lib/clang/19/include/fuzzer/FuzzedDataProvider.h:libclang-rt-19-dev'

# What has to be there, and the Debian package that brings it: commands, headers, Python modules.
commands='c++:g++ cmake:cmake ninja:ninja-build ccache:ccache make:make git:git pkg-config:pkg-config python3:python3
  mpicxx:libopenmpi-dev mpirun:openmpi-bin clang-format:clang-format clang-tidy:clang-tidy'
headers='sentencepiece_trainer.h:libsentencepiece-dev toml++/toml.h:libtomlplusplus-dev CLI/CLI.hpp:libcli11-dev
  nlohmann/json.hpp:nlohmann-json3-dev fmt/format.h:libfmt-dev gtest/gtest.h:libgtest-dev
  gmock/gmock.h:libgmock-dev zstd.h:libzstd-dev zlib.h:zlib1g-dev
  protozero/pbf_reader.hpp:libprotozero-dev xxhash.h:libxxhash-dev liburing.h:liburing-dev
  jemalloc/jemalloc.h:libjemalloc-dev unicode/uchar.h:libicu-dev cld2/public/compact_lang_det.h:libcld2-dev
  boost/beast/http.hpp:libboost1.81-dev'

say() { echo "setup: $*" >&2; }
die() { say "$*"; exit 1; }

# Prints the package of everything that is missing, one per line.
missing() {
  local item have_compiler=yes probe=''
  for item in $commands; do
    command -v "${item%%:*}" >/dev/null || echo "${item##*:}"
  done
  command -v c++ >/dev/null || have_compiler=no
  for item in $headers; do
    if [ $have_compiler = no ]; then
      [ -e "/usr/include/${item%%:*}" ] || [ -e "/usr/local/include/${item%%:*}" ] || echo "${item##*:}"
    else
      probe+=$'#if !__has_include(<'"${item%%:*}"$'>)\nmissing '"${item##*:}"$'\n#endif\n'
    fi
  done
  [ -z "$probe" ] || c++ -std=c++20 -E -P -x c++ - <<<"$probe" | sed -n 's/^missing //; s/ //g; /./p'
  python3 -c 'import venv, ensurepip' 2>/dev/null || echo python3-venv
  [ -e /etc/ssl/certs/ca-certificates.crt ] || [ -e /etc/ssl/cert.pem ] || [ -e /etc/pki/tls/certs/ca-bundle.crt ] ||
    echo ca-certificates
}

# The tools whose age matters.
check_versions() {
  local gcc cmake
  cmake=$(cmake --version | sed -n 's/^cmake version //p')
  [ "$(printf '3.25\n%s\n' "$cmake" | sort -V | head -n 1)" = 3.25 ] ||
    die "cmake $cmake is too old: 3.25 or newer is needed (Debian 12's is)"
  gcc=$(c++ -E -P -x c++ - <<<'__GNUC__ __clang__' | tail -n 1)
  [ "${gcc##* }" = __clang__ ] || return 0
  [ "${gcc%% *}" -ge 12 ] || die "g++ ${gcc%% *} is too old: 12 or newer is needed (Debian 12's is)"
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

install_packages() {
  local packages
  packages=$(missing | sort -u | tr '\n' ' ')
  [ -n "$packages" ] || return 0
  command -v apt-get >/dev/null || die "there is no apt here; please install what is missing (Debian's names): $packages"
  [ "$(id -u)" = 0 ] || command -v sudo >/dev/null ||
    die "neither root nor sudo; run as root: apt-get update && apt-get install --no-install-recommends $packages"
  say "Debian packages to install through apt$([ "$(id -u)" = 0 ] || echo ', with sudo'): $packages"
  # A failed update may leave lists that still serve; whether they do, the installation tells.
  as_root apt-get update >>$log 2>&1 || true
  say "$(LC_ALL=C as_root apt-get install --no-install-recommends --assume-no $packages 2>/dev/null |
    sed -n 's/^Need to get /to fetch: /p' | grep . || echo 'to fetch: see the log')"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install --no-install-recommends -y $packages >>$log 2>&1 || {
    grep -E '^(E|W):' $log | tail -n 4 >&2 || true
    die "apt could not install them (no network, or no such package?); all it said is in $log"
  }
  packages=$(missing | sort -u | tr '\n' ' ')
  [ -z "$packages" ] || die "still missing after apt: $packages (see $log)"
}

# Prints the folder of a whole libtorch under $1: a torch folder itself, or a virtual environment that holds one.
torch_under() {
  local folder
  for folder in "$1" "$1"/lib/python3*/site-packages/torch; do
    if [ -e "$folder/include/ATen/Tensor.h" ] && [ -e "$folder/lib/libtorch_cpu.so" ]; then
      echo "$folder"
      return 0
    fi
  done
  return 1
}

make_venv() {
  .venv/bin/python -c 'import pip' 2>/dev/null && return 0
  say "making a virtual environment in .venv"
  rm -rf .venv
  python3 -m venv .venv >>$log 2>&1 || die "python3 -m venv failed; what it said is in $log"
}

pip_install() {
  .venv/bin/python -m pip install --disable-pip-version-check "$@" >>$log 2>&1 || {
    grep -E '^ERROR' $log | tail -n 2 >&2 || true
    die "pip could not install $* (no network, or not on your package index?); all it said is in $log"
  }
}

install_torch() {
  if [ -n "${TORCH_DIR:-}" ]; then
    torch_under "$TORCH_DIR" >/dev/null ||
      die "TORCH_DIR='$TORCH_DIR' holds no libtorch: give site-packages/torch of a torch 2.11 to 2.13, or its virtual environment"
    return 0
  fi
  # pip writes RECORD last, so an installation that was cut off does not have it.
  if torch_under .venv >/dev/null && compgen -G '.venv/lib/python3*/site-packages/torch-2.1[123].*.dist-info/RECORD' >/dev/null; then
    return 0
  fi
  make_venv
  say "libtorch to fetch with pip into .venv: torch==$torch_wanted and what it needs. The public index serves the CUDA build:"
  say "several GB to download and to keep. Set pip to an index of CPU builds for one of 200 MB, or give TORCH_DIR=<a torch you have>."
  pip_install "torch==$torch_wanted"
  # Of a CUDA build: the headers that NCCL's includes, which torch itself does not bring.
  local cuda
  cuda=$(.venv/bin/python -c 'from importlib.metadata import distributions as d; print(*[x.version for x in d(name="cuda-toolkit")])')
  [ -z "$cuda" ] || pip_install "cuda-toolkit[crt,cccl]==$cuda"
}

install_reference() {
  local requirements=tests/reference/requirements.txt stamp=.venv/installed.txt site
  make_venv
  cmp -s $requirements $stamp && return 0
  say "Python packages to fetch with pip into .venv, for the tests that compare chorus with them: $(grep -v '^#' $requirements | tr '\n' ' ')"
  pip_install -r $requirements
  # Some of them compute with torch: let them see the one we were given.
  if [ -n "${TORCH_DIR:-}" ]; then
    site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    (cd "$(torch_under "$TORCH_DIR")/.." && pwd) >"$site/chorus_torch.pth"
  fi
  cp $requirements $stamp
}

mkdir -p build
: >$log
case "${1:-}" in
  --reference) commands+=" $for_tests" ;;
  --package) commands+=" $for_package" ;;
  --fuzz) commands+=' clang++-19:clang-19 llvm-symbolizer-19:llvm-19' headers+=" $for_fuzz" ;;
esac
install_packages
check_versions
install_torch
case "${1:-}" in
  '' | --fuzz) ;;
  --reference) install_reference ;;
  --package) make_venv ;; # whose pip builds the wheel
  *) die "unknown argument '$1' (--reference, --package and --fuzz are known)" ;;
esac
