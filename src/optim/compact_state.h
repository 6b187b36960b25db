// The optimizer's state in fewer bytes, on the CPU (Dettmers et al., "8-bit optimizers via block-wise
// quantization", 2110.02861).
//
//   bf16  moments of 2 bytes
//   fp8   moments of 1 byte, floating point relative to a power of two per kStateBlock elements, which takes
//         a byte too: m with sign, 4 bits of exponent, 3 of mantissa; v with 5 and 3
//
// A number is rounded up or down to one of its two neighbours in the format. Over successive steps it is
// rounded up in the share of steps that its place between the two demands (a Weyl sequence over steps and
// elements, no random numbers). So the mean over steps is right, and small changes of large moments are not
// lost. A number that the format holds exactly stays as it is: unpacked state is packed without loss.
//
// |error| < 2^-7 |x| in bf16. In fp8, M the largest of the block: < 2^-3 |x| for |x| >= 2^-13 M of m and
// 2^-29 M of v, else < 2^-16 M and 2^-32 M; no v > 0 becomes 0; below 2^-90 M counts as 2^-90.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "optim/config.h"

namespace chorus::inline optim {

inline constexpr int64_t kStateBlock = 128;

/// Returns the bytes of the packed state of n weights with two moments and, for three rows, an fp32 master, which
/// stays as it is.
int64_t packed_bytes(StateForm form, int64_t rows, int64_t n);

/// Returns where the chunks of packed state begin of weights whose chunks begin at `cuts` (as Arrays::Cuts).
std::vector<int64_t> packed_cuts(const std::vector<int64_t>& cuts, StateForm form, int64_t rows);

/// Packs state fp32 [2 or 3, n] (m, v, master) into bytes uint8 [packed_bytes()]; contiguous all. `step` is the
/// number of the update. `form` is not fp32.
void pack_state(StateForm form, const at::Tensor& state, int64_t step, const at::Tensor& bytes);
/// Unpacks it. Bytes of zeros are a state of zeros.
void unpack_state(StateForm form, const at::Tensor& bytes, const at::Tensor& state);

}  // namespace chorus::inline optim
