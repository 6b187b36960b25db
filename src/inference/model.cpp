#include "chorus/model.h"

#include <limits>

#include <ATen/Parallel.h>

#include "base/cores.h"
#include "base/error.h"
#include "kernels/device.h"
#include "memory/usage.h"

#include "inference/internal/loaded.h"

namespace chorus::inline face {

Model::Model(const std::filesystem::path& folder, const ModelOptions& options) {
  if (options.precision != "fp32" && options.precision != "bf16")
    throw UserError("a precision of '{}': choose fp32 or bf16", options.precision);
  const ModelPlace place = find_model(folder);
  LoadedModel loaded = load_model(place.weights, describe_model(place.description),
                                  {.device = device_of_rank(options.device, 0, 1),
                                   .compute = options.precision == "bf16" ? at::kBFloat16 : at::kFloat},
                                  options.memory > 0 ? options.memory : std::numeric_limits<uint64_t>::max());
  loaded_ = std::make_shared<Loaded>(
      Loaded{std::move(loaded.model), std::move(loaded.vocabulary), std::move(loaded.experts)});
}

std::vector<std::string> Model::languages() const {
  return loaded_->vocabulary.languages();
}

std::vector<std::string> Model::directions() const {
  return loaded_->transformer->config().directions;
}

int64_t Model::parameters() const {
  const Catalogue& catalogue = loaded_->transformer->catalogue();
  return catalogue.elements(Role::dense) + catalogue.elements(Role::expert);
}

uint64_t parse_memory(const std::string& text) {
  return memory_for_weights(text, "memory");
}

void set_threads(int threads) {
  if (threads < 0 || threads > 1024) throw UserError("{} threads: choose 0 to 1024", threads);
  at::set_num_threads(threads > 0 ? threads : default_threads());
}

}  // namespace chorus::inline face
