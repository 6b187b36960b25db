// Bodies of a device's kernels (kernels/internal/team.h): sums of columns, over many rows in segments first, and then
// over the segments; and products that are added to gradients.
#pragma once

#include "kernels/internal/device_rows.h"
#include "kernels/internal/team.h"

namespace chorus::inline kernels {

/// Columns that are worked on at once, and those of a piece.
inline constexpr int kOfColumns = 4;
inline constexpr int64_t kColumns = 1024;

/// Rows in segments of at most kRows, each of one group. Group e's are numbered from first_of(e) on; numbers may be
/// left out.
struct Segments {
  static constexpr int64_t kRows = 64;
  const int32_t* ends;  // [groups] behind each group's last row; null: there is one group
  int64_t groups, rows;

  [[nodiscard]] CHORUS_DEVICE int64_t begin(int64_t e) const { return e > 0 ? ends[e - 1] : 0; }
  [[nodiscard]] CHORUS_DEVICE int64_t end(int64_t e) const { return ends ? ends[e] : rows; }
  [[nodiscard]] CHORUS_DEVICE int64_t first_of(int64_t e) const { return begin(e) / kRows + e; }
  /// Behind the last one that has rows.
  [[nodiscard]] CHORUS_DEVICE int64_t last_of(int64_t e) const {
    return end(e) > begin(e) ? (end(e) - 1) / kRows + e + 1 : first_of(e);
  }
  [[nodiscard]] int64_t count() const { return rows / kRows + groups; }

  struct Range {
    int64_t begin, end;  // nothing where they are the same, or end is less
  };
  [[nodiscard]] CHORUS_DEVICE Range range(int64_t segment) const {
    int64_t e = 0, behind = groups;  // the last group that begins at the segment or before
    while (behind - e > 1) {
      const int64_t middle = (e + behind) / 2;
      first_of(middle) <= segment ? e = middle : behind = middle;
    }
    const int64_t first = (segment - e) * kRows, from = begin(e), to = end(e);
    return {first > from ? first : from, first + kRows < to ? first + kRows : to};
  }
};

/// use(load(row)) for the rows of a range in their order. Those of a batch are loaded together, as a GPU waits long for
/// each.
template <class Load, class Use>
CHORUS_DEVICE void for_batches(const Segments::Range& range, const Load& load, const Use& use) {
  constexpr int kBatch = 8;
  int64_t row = range.begin;
  for (; row + kBatch <= range.end; row += kBatch) {
    decltype(load(row)) batch[kBatch];
    CHORUS_ON_DEVICE_UNROLLED
    for (int j = 0; j < kBatch; ++j) batch[j] = load(row + j);
    CHORUS_ON_DEVICE_UNROLLED
    for (int j = 0; j < kBatch; ++j) use(batch[j]);
  }
  for (; row < range.end; ++row) use(load(row));
}

/// So many pieces lie beside each other.
[[nodiscard]] CHORUS_DEVICE inline int64_t pieces_of(int64_t width) {
  return (width + kColumns - 1) / kColumns;
}

/// f(HowMany, first column) for the columns of one of the pieces that lie beside each other.
template <class Team, class F>
CHORUS_DEVICE void for_columns(const Team& team, int64_t piece, int64_t width, bool packs, const F& f) {
  const int64_t first = piece * kColumns, n = width - first < kColumns ? width - first : kColumns;
  for_packs<kOfColumns>(team, n, packs && width % kOfColumns == 0,
                        [&](auto count, int64_t i) { f(count, first + i); });
}

/// Piece: columns of a segment. Sums each.
template <class T>
struct SumOfSegment {
  Segments of;
  int64_t width;
  const T* rows;  // [M, m]
  float* sums;    // [segments, m]

  template <class Team>
  CHORUS_DEVICE void operator()(Team& team, int64_t piece) const {
    const int64_t segment = piece / pieces_of(width);
    const Segments::Range range = of.range(segment);
    if (range.begin >= range.end) return;
    for_columns(team, piece % pieces_of(width), width, takes_packs<kOfColumns>(rows, sums),
                [&](auto count, int64_t column) {
                  constexpr int kN = decltype(count)::value;
                  Neighbours<kN> sum = {};
                  for_batches(
                      range, [&](int64_t row) { return read<kN>(rows + row * width + column); },
                      [&](const Neighbours<kN>& x) {
                        for (int l = 0; l < kN; ++l) sum.x[l] += x.x[l];
                      });
                  write(sums + segment * width + column, sum);
                });
  }
};

/// Element: a column of a group. Adds up its segments.
struct SumOfSegments {
  Segments of;
  const float* of_segments;  // [segments, m]
  int64_t width;
  bool overwrite;
  float* sums;  // [groups, m]

  CHORUS_DEVICE void operator()(int64_t i) const {
    const int64_t group = i / width, begin = of.first_of(group), end = of.last_of(group);
    float sum = 0;
    for_batches(
        {begin, end}, [&](int64_t segment) { return of_segments[segment * width + i % width]; },
        [&](float x) { sum += x; });
    sums[i] = overwrite ? sum : sums[i] + sum;
  }
};

/// Piece: kPiece elements. Adds them to what is wider, or overwrites it.
template <class T>
struct AddWidened {
  static constexpr int64_t kPiece = 8192;
  const T* from;
  int64_t count;
  bool overwrite;
  float* to;

  template <class Team>
  CHORUS_DEVICE void operator()(Team& team, int64_t piece) const {
    const int64_t first = piece * kPiece, n = count - first < kPiece ? count - first : kPiece;
    for_packs<kOfRow>(team, n, takes_packs<kOfRow>(from, to), [&](auto packed, int64_t i) {
      constexpr int kN = decltype(packed)::value;
      Neighbours<kN> x = read<kN>(from + first + i);
      if (!overwrite) {
        const Neighbours<kN> sum = read<kN>(to + first + i);
        for (int l = 0; l < kN; ++l) x.x[l] += sum.x[l];
      }
      write(to + first + i, x);
    });
  }
};

}  // namespace chorus::inline kernels
