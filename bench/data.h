// Tensors that bench/run.py writes for both sides of a row.
#pragma once

#include <string>

#include <ATen/core/Tensor.h>

#include "io/safetensors.h"

namespace chorus::bench {

class Tensors {
 public:
  explicit Tensors(const std::string& path) : file_(path) {}
  /// A copy. fp32 or int64.
  [[nodiscard]] at::Tensor get(const std::string& name) const;

 private:
  SafetensorsFile file_;
};

}  // namespace chorus::bench
