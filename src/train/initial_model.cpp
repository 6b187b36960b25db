#include "train/internal/initial_model.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <numeric>
#include <string_view>
#include <utility>

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "formats/parts.h"
#include "kernels/adamw.h"

namespace chorus::inline train {
namespace fs = std::filesystem;

namespace {

// What decides the shapes of weights.
constexpr auto kShapes = std::to_array<std::string_view>(
    {"model.d_model", "model.encoder_layers", "model.decoder_layers", "model.attention_heads",
     "model.ffn_dim", "model.activation", "moe.experts", "moe.encoder_every", "moe.decoder_every"});

/// Everything of a parameter, in the order of its elements.
LocalPart whole(const ParameterSpec& spec) {
  return {.shape = spec.shape, .rows = spec.elements(), .row_count = spec.elements()};
}

/// The rows of a matrix of the run's vocabulary out of one of the initial vocabulary.
class VocabularyRows {
 public:
  /// Finds where each row comes from.
  VocabularyRows(const Vocabulary& initial, const Vocabulary& own, const VocabularyConfig& config) {
    std::map<std::string, int64_t> known;
    for (int32_t id = 0; id < initial.size(); ++id) known.emplace(initial.name_of(id), id);
    known.erase("");
    std::map<std::string, int64_t> like;  // of each language that is added, the tag of another
    for (const auto& [name, other] : added_languages(config)) {
      if (!other.empty()) like[own.name_of(own.tag(name))] = initial.tag(other);
    }
    for (const std::string& language : initial.languages()) tags_.push_back(initial.tag(language));
    every_.resize(static_cast<size_t>(initial.size()));
    std::iota(every_.begin(), every_.end(), 0);
    for (int32_t id = 0; id < own.size(); ++id) {
      const std::string name = own.name_of(id);
      const auto found = known.find(name);
      const auto copied = like.find(name);
      from_.push_back(found != known.end()               ? found->second
                      : copied != like.end()             ? copied->second
                      : own.is_tag(id) && !tags_.empty() ? kMeanOfTags
                                                         : kMeanOfAll);
      new_ += found == known.end() ? 1 : 0;
    }
  }

  [[nodiscard]] int64_t new_rows() const { return new_; }

  /// Fills part.data from the initial model's matrix [rows, d], parameter part.parameter of `spec`.
  void read(const PartReader& weights, const ParameterSpec& spec, const TensorPart& part) const {
    const int64_t d = spec.shape[1];
    const TensorPart all = {.parameter = part.parameter, .local = whole(spec), .first = 0, .data = {}};
    const auto read_row = [&](int64_t row, int64_t column, const at::Tensor& out) {
      TensorPart piece = all;
      piece.first = row * d + column;
      piece.data = out;
      weights.read(0, piece);
    };
    std::map<int64_t, at::Tensor> means;
    const auto mean_of = [&](int64_t kind) {
      at::Tensor& mean = means[kind];
      if (mean.defined()) return mean;
      const std::vector<int64_t>& rows = kind == kMeanOfTags ? tags_ : every_;
      const at::Tensor row = at::empty({d}, at::kFloat);
      mean = at::zeros({d}, at::kDouble);
      for (const int64_t r : rows) {
        read_row(r, 0, row);
        mean.add_(row);
      }
      mean.div_(static_cast<double>(rows.size()));
      return mean;
    };
    part.local.for_runs(part.first, part.first + part.data.numel(),
                        [&](int64_t first, int64_t held, int64_t count) {
                          for (int64_t done = 0; done < count;) {
                            const int64_t row = (first + done) / d, column = (first + done) % d;
                            const int64_t n = std::min(count - done, d - column), from = from_.at(row);
                            const at::Tensor out = part.data.narrow(0, held - part.first + done, n);
                            from >= 0 ? read_row(from, column, out)
                                      : static_cast<void>(out.copy_(mean_of(from).narrow(0, column, n)));
                            done += n;
                          }
                        });
  }

 private:
  static constexpr int64_t kMeanOfTags = -1, kMeanOfAll = -2;
  std::vector<int64_t> from_;  // of each of the run's rows: a row of the initial model, or one of these
  std::vector<int64_t> tags_, every_;
  int64_t new_ = 0;
};

}  // namespace

InitialModel find_initial_model(const fs::path& path) {
  const ModelPlace place = find_model(path);
  ModelDescription description = describe_model(place.description);
  const QuantizationConfig quantization = std::exchange(description.config.quantization, {});
  return {.weights = place.weights, .quantization = quantization, .description = std::move(description)};
}

ModelConfig model_of(const std::string& init) {
  return find_initial_model(init).description.config;
}

bool decides_shapes(const std::string& option) {
  return std::ranges::find(kShapes, option) != kShapes.end();
}

void check_architecture(const RunConfig& config, const ModelConfig& initial) {
  const std::map<std::string, std::string> before = option_values(initial);
  // Of a model without experts nobody keeps where they would be.
  const bool dense = config.model.expert_counts().empty() && initial.expert_counts().empty();
  for (const auto& [name, value] : option_values(config.model)) {
    if (value == before.at(name) || (dense && name.starts_with("moe."))) continue;
    if (decides_shapes(name)) {
      throw UserError("{} = {}, where the model of train.init, {}, has {}: leave it out", name, value,
                      config.train.init, before.at(name));
    }
    log_info("{} = {}, where the model of train.init has {}", name, value, before.at(name));
  }
}

void load_initial_model(const RunConfig& config, const Catalogue& catalogue, const Vocabulary& vocabulary,
                        Optimizer& optimizer) {
  const InitialModel initial = find_initial_model(config.train.init);
  ModelConfig as_stored = initial.description.config;
  as_stored.quantization = initial.quantization;
  const Catalogue stored = make_catalogue(as_stored);
  const std::string no_prefix;
  const PartReader weights(initial.weights, stored, {&no_prefix, 1});
  const VocabularyRows rows(initial.description.vocabulary, vocabulary, config.vocabulary);
  optimizer.change([&](const Optimizer::Part& part) {
    const size_t p = part.parameter;
    const TensorPart here = {.parameter = p, .local = part.local, .first = part.first, .data = part.master};
    if (p == catalogue.embedding || p == catalogue.output) {
      rows.read(weights, stored.parameters[p], here);
    } else {
      weights.read(0, here);
    }
    if (!std::isfinite(squared_norm(part.master))) {
      throw UserError("{}: {} has weights that are not finite", initial.weights.string(),
                      catalogue.parameters[p].name);
    }
  });
  log_info(
      "the run begins with the weights of {}{}{}", initial.weights.string(),
      initial.quantization.any() ? ", which are quantized, as fp32" : "",
      rows.new_rows() > 0 ? fmt::format("; {} in the embedding", counted(rows.new_rows(), "new row")) : "");
}

}  // namespace chorus::inline train
