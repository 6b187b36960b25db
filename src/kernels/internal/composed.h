// What operations of kernels/composed/ share.
#pragma once

#include <array>
#include <initializer_list>

#include <ATen/core/Tensor.h>

#include "base/random.h"

namespace chorus::inline kernels {

// base/random.h in operators on whole numbers. Keys are int64, the bits of RandomKey::value().

at::Tensor key_on_device(RandomKey key, at::Device device);  // [1]
/// philox()'s words, each in an int64, for keys and counters that broadcast; high: below 2^32.
std::array<at::Tensor, 4> philox_words(const at::Tensor& keys, const at::Tensor& low, int64_t high);
/// RandomKey::derive(number), for keys and numbers that broadcast.
at::Tensor derive_keys(const at::Tensor& keys, const at::Tensor& numbers);
/// RandomKey::uniform(index): fp32.
at::Tensor uniform_numbers(RandomKey key, const at::Tensor& index);

/// Whole numbers of which no two in a row are equal, in the order of fp32 rows [.., n] and, among equal ones, lowest
/// index highest: what topk() returns of them is the same on every device.
at::Tensor ranking(const at::Tensor& rows);

/// Whether libtorch's grouped products take such operands: rows of a multiple of 16 bytes, of a type that it has.
bool can_be_grouped(std::initializer_list<at::Tensor> operands);

}  // namespace chorus::inline kernels
