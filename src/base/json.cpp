#include "chorus/base/json.h"

#include <nlohmann/json.hpp>

#include "chorus/base/error.h"
#include "chorus/base/files.h"

namespace chorus {
namespace {

constexpr int kDeepest = 64;
constexpr uintmax_t kLargestFile = 64 << 20;

}  // namespace

nlohmann::json parse_json(std::string_view text, const std::string& where) {
  const auto check_depth = [&where](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
    if (depth > kDeepest) throw UserError("{}: JSON nested deeper than {} levels", where, kDeepest);
    return true;
  };
  try {
    return nlohmann::json::parse(text.begin(), text.end(), check_depth);
  } catch (const nlohmann::json::parse_error& error) {
    throw UserError("{}: not valid JSON (byte {})", where, error.byte);
  } catch (const nlohmann::json::exception&) {  // a number beyond all doubles
    throw UserError("{}: JSON with a number out of range", where);
  }
}

nlohmann::json read_json(const std::filesystem::path& path) {
  std::error_code ignored;  // read_file says it better
  const uintmax_t size = std::filesystem::file_size(path, ignored);
  if (!ignored && size > kLargestFile) {
    throw UserError("{}: {} bytes are too many for a JSON file (at most {})", path.string(), size,
                    kLargestFile);
  }
  return parse_json(read_file(path), path.string());
}

std::string in_quotes(std::string_view text) {
  constexpr size_t kLongest = 80;
  using nlohmann::json;
  const auto dump = [](std::string_view part) {
    return json(part).dump(-1, ' ', true, json::error_handler_t::replace);
  };
  return text.size() <= kLongest ? dump(text) : dump(text.substr(0, kLongest)) + "...";
}

}  // namespace chorus
