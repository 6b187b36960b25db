#include "kernels/cpu.h"

#include <algorithm>

namespace chorus::inline kernels {

namespace {

Isa detect() {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    if (!__builtin_cpu_supports("avx512vnni")) return Isa::avx512;
    return __builtin_cpu_supports("avx512bf16") ? Isa::avx512_bf16 : Isa::avx512_vnni;
  }
  return Isa::plain;
}

Isa& chosen() {
  static Isa isa = detect();
  return isa;
}

}  // namespace

Isa cpu_isa() {
  return chosen();
}

void limit_isa(Isa most) {
  chosen() = std::min(most, detect());
}

}  // namespace chorus::inline kernels
