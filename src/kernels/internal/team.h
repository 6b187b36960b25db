// Kernels for devices, written once. A body is a struct of pointers and numbers that does one piece of a kernel's work
// (a row, an expert) with a team of threads:
//
//   template <class Team>
//   CHORUS_DEVICE void operator()(Team& team, int64_t piece) const;
//
// nvcc compiles it for CUDA, where a team is a block of threads (kernels/device/cuda.cu); g++ for the tests' devices,
// where it is one thread of the host, or several beside each other. All threads of a team call its functions together.
// Sums have one order, so a kernel gives the same bits in every run, on one kind of team.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "kernels/bfloat16.h"

#ifdef __CUDACC__
#define CHORUS_DEVICE __device__
#define CHORUS_ON_DEVICE_UNROLLED _Pragma("unroll 8")
#else
#define CHORUS_DEVICE
#define CHORUS_ON_DEVICE_UNROLLED
#endif

namespace chorus::inline kernels {

inline constexpr int kBins = 256;

/// What a body may ask of its team.
struct HostTeam {
  int bins_[kBins] = {};

  [[nodiscard]] static int64_t lane() { return 0; }
  [[nodiscard]] static int64_t lanes() { return 1; }
  /// Returns the sum of all lanes' x, to each of them: float, double, int64_t.
  template <class T>
  static T sum(T x) {
    return x;
  }
  /// The greatest: float, uint64_t.
  template <class T>
  static T max(T x) {
    return x;
  }
  /// The sum of x over the lanes before this one; `all` becomes that over all of them.
  static int64_t before(int64_t x, int64_t& all) {
    all = x;
    return 0;
  }
  /// Counters that the lanes share, zero after clear_bins(); add() may be called by some lanes alone.
  void clear_bins() {
    for (int& bin : bins_) bin = 0;
  }
  void add(int64_t bin) { ++bins_[bin]; }
  /// Returns a bin, once all lanes have added.
  [[nodiscard]] int bin(int64_t i) const { return bins_[i]; }
  static void sync() {}

  // A team is divided into squads, each a team whose lanes wait for each other at little cost; they have a lane, lanes
  // and sum.
  [[nodiscard]] HostTeam& squad() { return *this; }
  [[nodiscard]] static int64_t squad_number() { return 0; }
  [[nodiscard]] static int64_t squads() { return 1; }
};

/// f(i) for i in [0, n), shared out over the lanes.
template <class Team, class F>
CHORUS_DEVICE void for_lanes(const Team& team, int64_t n, const F& f) {
  for (int64_t i = team.lane(); i < n; i += team.lanes()) f(i);
}

/// How many neighbouring elements are worked on at once: a GPU is as slow in reading two bytes as in reading sixteen.
template <int N>
using HowMany = std::integral_constant<int, N>;

/// Neighbouring values, widened.
template <int N>
struct Neighbours {
  float x[N];
};

template <class T, int N>
struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) Pack {
  T x[N];
};

/// Whether Pack<T, N> may lie at each of these, and at all that are N elements on; null may, too.
template <int N, class... T>
CHORUS_DEVICE bool takes_packs(const T*... at) {
  return ((reinterpret_cast<uintptr_t>(at) % alignof(Pack<T, N>) == 0) && ...);
}

template <int N, class T>
CHORUS_DEVICE Neighbours<N> read(const T* from) {
  const auto pack = *reinterpret_cast<const Pack<T, N>*>(from);
  Neighbours<N> values;
  for (int j = 0; j < N; ++j) values.x[j] = widen(pack.x[j]);
  return values;
}

template <int N, class T>
CHORUS_DEVICE void write(T* to, const Neighbours<N>& values) {
  Pack<T, N> pack;
  for (int j = 0; j < N; ++j) pack.x[j] = narrow<T>(values.x[j]);
  *reinterpret_cast<Pack<T, N>*>(to) = pack;
}

/// f(HowMany, i) for runs of HowMany elements from i on: N, and what is left one by one; where `packs` is false all
/// are.
template <int N, class Team, class F>
CHORUS_DEVICE void for_packs(const Team& team, int64_t n, bool packs, const F& f) {
  const int64_t whole = packs ? n / N : 0;
  for_lanes(team, whole, [&](int64_t i) { f(HowMany<N>(), i * N); });
  for_lanes(team, n - whole * N, [&](int64_t i) { f(HowMany<1>(), whole * N + i); });
}

/// A body whose pieces are single elements, each done by one thread: body(i).
template <class Body>
struct Each {
  static constexpr int64_t kPiece = 256;  // many blocks, as there may be few elements
  Body body;
  int64_t count;

  template <class Team>
  CHORUS_DEVICE void operator()(Team& team, int64_t piece) const {
    const int64_t first = piece * kPiece, n = count - first < kPiece ? count - first : kPiece;
    for_lanes(team, n, [&](int64_t i) { body(first + i); });
  }
};

/// A body whose pieces are rows, each done by a squad: body(squad, row).
template <class Body>
struct EachRow {
  static constexpr int64_t kPiece = 8;
  Body body;
  int64_t count;

  template <class Team>
  CHORUS_DEVICE void operator()(Team& team, int64_t piece) const {
    const int64_t first = piece * kPiece, end = count - first < kPiece ? count : first + kPiece;
    auto&& squad = team.squad();
    for (int64_t row = first + team.squad_number(); row < end; row += team.squads()) body(squad, row);
  }
};

/// A float's bits in the order of floats; -0 as 0, and what is no number above all others, but below all ones.
CHORUS_DEVICE inline uint32_t ordered_bits(float x) {
  if (x != x) return 0xFFFFFFFEU;
  const auto bits = std::bit_cast<uint32_t>(x + 0.0F);
  return bits & 0x80000000U ? ~bits : bits | 0x80000000U;
}

}  // namespace chorus::inline kernels
