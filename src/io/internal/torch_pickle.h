// The part of Python's pickle format in which torch.save writes dictionaries of tensors, and nothing beyond.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "io/safetensors.h"

namespace chorus::inline io {

/// A tensor as a window on a storage, in elements.
struct PickledTensor {
  std::string storage;
  int64_t storage_size = 0;  // elements, as the pickle says
  DType dtype = DType::f32;
  int64_t offset = 0;
  std::vector<int64_t> shape, strides;  // of the same length; not negative
};

/// The tensors of a dictionary of tensors, or of such dictionaries: "outer.inner". Runs nothing: known are
/// dictionaries, texts, whole numbers, tuples and the functions by which torch makes a tensor; any other
/// instruction or name is a UserError naming `path`. Memory is bounded by the program's size.
std::map<std::string, PickledTensor> read_torch_pickle(std::span<const std::byte> program,
                                                       const std::string& path);

}  // namespace chorus::inline io
