// The interfaces' description, for programs: OpenAPI 3.
#pragma once

#include <string_view>

namespace chorus::inline server {

/// JSON.
std::string_view openapi();

}  // namespace chorus::inline server
