// Text as detectors look at it.
#pragma once

#include <string>
#include <string_view>

namespace chorus::inline detect {

/// The first 64 KiB, with a space for each control character and each ill-formed byte.
std::string plain_text(std::string_view text);

}  // namespace chorus::inline detect
