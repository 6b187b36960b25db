// A form as browsers send it when there is a file in it: multipart/form-data (RFC 7578).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace chorus::inline server {

struct FormPart {
  std::string name;
  std::optional<std::string> file_name;  // as it was sent, whatever is in it; none: a field, and no file
  std::string_view data;                 // into the body
};

/// The parts, in order, in linear time. `content_type` is the request's header, which says the boundary. Refusal 400 on
/// a boundary that is none, parts that are cut or have no name, more than 100 of them, and heads of more than 8 KiB.
std::vector<FormPart> read_multipart(std::string_view content_type, std::string_view body);

}  // namespace chorus::inline server
