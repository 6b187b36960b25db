#!/usr/bin/env bash
# Makes one folder that runs on a machine with an NVIDIA GPU, no network and nothing of ours: the program, its tests,
# chorus_bench, and the libraries that such a machine lacks. libtorch is that machine's own: torch 2.11 for CUDA 13.
#
#   scripts/gpu_kit.sh        build/gpu-kit, and build/gpu-kit.tar.xz
#
# There: tar xf gpu-kit.tar.xz && gpu-kit/gpu_check.sh RESULTS      (gpu-kit/run COMMAND... runs one of its programs)
set -euo pipefail
cd "$(dirname "$0")/.."

torch=torch==2.11.0 nccl=nvidia-nccl-cu13==2.28.9 # what gpu_check.sh's machine has
python=3.12 most=$((60 << 20))                    # bytes, packed
site=build/gpu/site kit=build/gpu-kit jobs=${JOBS:-$(nproc)}

say() { echo "gpu-kit: $*" >&2; }
die() { say "$*"; exit 1; }

# Headers and libraries to build against, without NVIDIA's libraries, which are only wanted where it runs.
fetch() {
  local wheels=build/gpu/wheels
  [ "$(cat $site/complete 2>/dev/null)" != "$torch $nccl" ] || return 0
  say "fetching $torch and $nccl (0.7 GB)"
  rm -rf $site
  mkdir -p $wheels $site
  .venv/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --python-version $python --implementation cp \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_18_x86_64 -d $wheels $torch $nccl
  for wheel in $wheels/*.whl; do
    python3 -m zipfile -e "$wheel" $site
  done
  rm -r $wheels
  echo "$torch $nccl" >$site/complete
}

# The libraries of a program that are neither the C and C++ runtime's nor torch's.
libraries_of() {
  LD_LIBRARY_PATH=$site/torch/lib ldd "$@" 2>/dev/null | awk '$2 == "=>" && $3 ~ /^\// {print $3}' | sort -u |
    grep -vE "/$site/|/cuda[^/]*/|/lib(c|m|rt|dl|pthread|stdc\+\+|gcc_s|gomp|resolv)[.-]|/lib(cuda|cudart|cupti|cu[a-z]*|nv[A-Za-z]*|nccl)[.-]|ld-linux"
}

[ -x .venv/bin/python ] || python3 -m venv .venv || die "python3 -m venv failed"
command -v nvcc >/dev/null || [ -e /usr/local/cuda/include/crt/host_defines.h ] || die "NCCL's header wants CUDA's: put a toolkit of CUDA 13 into /usr/local/cuda"
fetch
say "building against $torch"
TORCH_DIR=$PWD/$site/torch cmake --preset gpu >build/gpu.configure.log 2>&1 || { cat build/gpu.configure.log; exit 1; }
tests=$(cmake --build --preset gpu --target help | sed -n 's/^\(test_[a-z]*\): phony$/\1/p')
cmake --build --preset gpu -j "$jobs" --target chorus chorus_bench $tests

say "packing"
rm -rf $kit
mkdir -p $kit/bin $kit/lib
programs=$(find build/gpu/chorus build/gpu/bench/chorus_bench build/gpu/tests/test_* -maxdepth 0 -type f -perm -u+x)
for program in $programs; do
  strip -o "$kit/bin/$(basename "$program")" "$program"
done
for library in $(libraries_of $programs); do
  strip -o "$kit/lib/$(basename "$library")" "$library"
done
cp scripts/gpu_check.sh scripts/gpu_check.py $kit/
mkdir $kit/peers
cp bench/peers/{gpu,model,memory}.py $kit/peers/
cat >$kit/run <<'RUN'
#!/bin/sh
# Runs a program of this folder with the torch of the python3 at hand: run chorus train ...; run test_kernels
here=$(cd "$(dirname "$0")" && pwd)
torch=${TORCH_LIB:-$(python3 -c 'import importlib.util as u; print(u.find_spec("torch").submodule_search_locations[0] + "/lib")')} || exit 1
program=$1
shift
for folder in "$torch"/../../nvidia/*/lib; do # NCCL's and CUDA's, which torch finds by itself
  torch=$torch:$folder
done
LD_LIBRARY_PATH=$torch:$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} exec "$here/bin/$program" "$@"
RUN
chmod +x $kit/run
tar -C build --sort=name --owner=0 --group=0 -c gpu-kit | xz -T"$jobs" -6 >$kit.tar.xz
size=$(stat -c %s $kit.tar.xz)
say "$kit.tar.xz: $((size >> 20)) MiB, unpacked $(du -sm $kit | cut -f1) MiB"
[ "$size" -le $most ] || die "more than $((most >> 20)) MiB"
