#include "kernels/peak.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <thread>
#include <vector>

#include <ATen/ops/full.h>
#include <immintrin.h>

#include "base/clock.h"

namespace chorus::inline kernels {

namespace {

// A round is twelve instructions that do not wait for each other, into registers 0 to 11.
#define CHORUS_TWELVE(each)                                                                           \
  each("0") each("1") each("2") each("3") each("4") each("5") each("6") each("7") each("8") each("9") \
      each("10") each("11")
#define CHORUS_ROUNDS(each)                                                                            \
  asm volatile("1:\n" CHORUS_TWELVE(each) "dec %0\njnz 1b\n"                                           \
               : "+r"(rounds)                                                                          \
               :                                                                                       \
               : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", \
                 "xmm10", "xmm11", "xmm12", "xmm13")

#define CHORUS_FMA_256(r) "vfmadd231ps %%ymm14, %%ymm15, %%ymm" r "\n"
#define CHORUS_FMA_512(r) "vfmadd231ps %%zmm14, %%zmm15, %%zmm" r "\n"
#define CHORUS_BF16_512(r) "vdpbf16ps %%zmm14, %%zmm15, %%zmm" r "\n"
#define CHORUS_VNNI_512(r) "vpdpbusd %%zmm14, %%zmm15, %%zmm" r "\n"
// Without VNNI: the products of bytes, their sums in pairs, and the sums of these.
#define CHORUS_INT8_256(r)                 \
  "vpmaddubsw %%ymm14, %%ymm15, %%ymm12\n" \
  "vpmaddwd %%ymm13, %%ymm12, %%ymm12\n"   \
  "vpaddd %%ymm12, %%ymm" r ", %%ymm" r "\n"

struct Loop {
  std::string_view arithmetic;
  int operations;  // of one of the twelve
  bool (*here)();
  void (*run)(int64_t rounds);
};

// Registers start at zero: numbers that grow, or are not normal, would take longer on some processors.
void clear() {
  asm volatile("vzeroall" ::
                   : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
                     "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

constexpr std::array kLoops = {
    Loop{"fp32, AVX2", 16, [] { return true; }, [](int64_t rounds) { CHORUS_ROUNDS(CHORUS_FMA_256); }},
    Loop{"fp32, AVX-512", 32, [] { return __builtin_cpu_supports("avx512f") != 0; },
         [](int64_t rounds) { CHORUS_ROUNDS(CHORUS_FMA_512); }},
    Loop{"bf16, AVX-512", 64, [] { return __builtin_cpu_supports("avx512bf16") != 0; },
         [](int64_t rounds) { CHORUS_ROUNDS(CHORUS_BF16_512); }},
    Loop{"int8, AVX2", 64, [] { return true; }, [](int64_t rounds) { CHORUS_ROUNDS(CHORUS_INT8_256); }},
    Loop{"int8, AVX-512 VNNI", 128, [] { return __builtin_cpu_supports("avx512vnni") != 0; },
         [](int64_t rounds) { CHORUS_ROUNDS(CHORUS_VNNI_512); }},
};

/// The fastest of some short runs: others may have disturbed the rest.
double rate(const Loop& loop, double seconds) {
  constexpr int64_t kRounds = 2000;
  double best = 0, spent = 0;
  while (spent < seconds) {
    const double began = steady_seconds();
    clear();
    loop.run(kRounds);
    const double took = steady_seconds() - began;
    spent += took;
    best = std::max(best, 12.0 * kRounds * loop.operations / took);
  }
  return best;
}

}  // namespace

std::vector<Peak> measure_peaks(double seconds) {
  std::vector<Peak> peaks;
  for (const Loop& loop : kLoops) {
    if (loop.here()) peaks.push_back({loop.arithmetic, rate(loop, seconds)});
  }
  return peaks;
}

namespace {

// `stop` is behind whole lines. Reading has to end in something that is used.
void read_lines(const char* from, const char* stop) {
  __m256i seen = _mm256_setzero_si256();
  for (; from < stop; from += 64) {
    seen = _mm256_or_si256(seen, _mm256_load_si256(reinterpret_cast<const __m256i*>(from)));
    seen = _mm256_or_si256(seen, _mm256_load_si256(reinterpret_cast<const __m256i*>(from + 32)));
  }
  asm volatile("" : : "x"(seen));
}
void write_lines(char* to, const char* stop) {
  const __m256i value = _mm256_set1_epi8(7);
  for (; to < stop; to += 64) {
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to), value);
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to + 32), value);
  }
  _mm_sfence();
}
void copy_lines(const char* from, char* to, const char* stop) {
  for (; to < stop; to += 64, from += 64) {
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to),
                        _mm256_load_si256(reinterpret_cast<const __m256i*>(from)));
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to + 32),
                        _mm256_load_si256(reinterpret_cast<const __m256i*>(from + 32)));
  }
  _mm_sfence();
}

}  // namespace

MemoryRates measure_memory(int64_t bytes, int threads) {
  constexpr int kPasses = 5;
  const int64_t size = bytes / 64 * 64;
  const at::Tensor from = at::full({threads, size}, 1, at::kByte),
                   to = at::full({threads, size}, 1, at::kByte);
  const auto best = [&](const auto& work) {
    double rate = 0;
    for (int pass = 0; pass < kPasses; ++pass) {
      const double began = steady_seconds();
      std::vector<std::jthread> others;
      for (int t = 1; t < threads; ++t) others.emplace_back([&, t] { work(t); });
      work(0);
      others.clear();  // waits
      rate = std::max(rate, static_cast<double>(size * threads) / (steady_seconds() - began));
    }
    return rate;
  };
  const auto part = [size](const at::Tensor& x, int t) {
    return static_cast<char*>(x.data_ptr()) + t * size;
  };
  return {.read = best([&](int t) { read_lines(part(from, t), part(from, t) + size); }),
          .write = best([&](int t) { write_lines(part(to, t), part(to, t) + size); }),
          .copy = 2 * best([&](int t) { copy_lines(part(from, t), part(to, t), part(to, t) + size); })};
}

bool wide_vectors_pay() {
  constexpr double kSeconds = 2e-4, kWorth = 1.3;
  static const bool pay = kLoops[1].here() && rate(kLoops[1], kSeconds) > kWorth * rate(kLoops[0], kSeconds);
  return pay;
}

}  // namespace chorus::inline kernels
