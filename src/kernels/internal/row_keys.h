// The keys of dropout inside experts (kernels/experts.h): the same on every device.
#pragma once

#include <cstdint>
#include <span>

#include "base/random.h"
#include "kernels/experts.h"

namespace chorus::inline kernels {

/// keys[i] = that of a sorted row of `expert`, whose token is token[i].
inline void derive_row_keys(const Experts& x, int64_t expert, const int64_t* token,
                            std::span<RandomKey> keys) {
  const auto* const own = x.row_keys.const_data_ptr<int64_t>();
  const auto number = static_cast<uint64_t>(x.first_expert + expert);
  for (size_t i = 0; i < keys.size(); ++i)
    keys[i] = RandomKey(static_cast<uint64_t>(own[token[i]])).derive(number);
}

}  // namespace chorus::inline kernels
