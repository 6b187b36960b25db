// Any bytes as metrics.jsonl of a run that resumes: refused with a UserError, or of its whole lines those stay that are
// of no later update, byte for byte, and half a line at the end goes.
#include <nlohmann/json.hpp>

#include "fuzz/target.h"
#include "io/metrics_log.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace chorus;
  static const TemporaryFolder folder;
  static const std::filesystem::path path = folder / "metrics.jsonl";
  FuzzInput input(data, size);
  const auto update = static_cast<int64_t>(input.number<uint16_t>());
  put_file(path, input.rest());
  accepted([&] {
    drop_records_after(path, update);
    JsonlWriter writer(path);
    std::string expected;
    for (std::string_view rest = input.rest(); rest.find('\n') != rest.npos;) {
      const std::string_view line = rest.substr(0, rest.find('\n') + 1);
      rest.remove_prefix(line.size());
      const auto record = nlohmann::json::parse(line, nullptr, false);
      const bool drop = record.is_object() && record.contains("update") && record["update"].is_number() &&
                        record["update"].get<double>() > static_cast<double>(update);
      if (!drop) expected += line;
    }
    check(read_file(path) == expected);
  });
  return 0;
}
