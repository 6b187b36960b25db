#include "architecture/format.h"

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "io/json.h"

namespace chorus::inline architecture {

const std::vector<const Architecture*>& architectures() {
  static const std::vector<const Architecture*> all = {&kNllbMoe, &kM2m100, &kMarian, &kT5, &kSwitch};
  return all;
}

const Architecture& architecture_of(Format format) {
  return **std::ranges::find(architectures(), format, [](const Architecture* a) { return a->format; });
}

const Architecture& architecture_of(const nlohmann::json& config) {
  if (!config.is_object()) throw UserError("config.json: not a JSON object");
  const auto type = config.find("model_type");
  const std::string name = type != config.end() && type->is_string() ? type->get<std::string>() : "";
  std::vector<std::string> known;
  for (const Architecture* architecture : architectures()) {
    if (std::ranges::find(architecture->model_types, name) != architecture->model_types.end())
      return *architecture;
    known.push_back(architecture->model_types.front());
  }
  throw UserError("config.json: model_type is {}; this version reads {}", in_quotes(name), join(known, ", "));
}

const Architecture& native_architecture(const ModelConfig& config) {
  return **std::ranges::find_if(architectures(), [&](const Architecture* a) {
    return a->native && a->positions == config.positions && !(a->dense && config.moe.experts > 0);
  });
}

void replace_in(std::string& name,
                std::initializer_list<std::pair<std::string_view, std::string_view>> pairs) {
  for (const auto& [ours, theirs] : pairs)
    if (const size_t at = name.find(ours); at != std::string::npos) name.replace(at, ours.size(), theirs);
}

}  // namespace chorus::inline architecture
