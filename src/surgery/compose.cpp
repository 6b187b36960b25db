#include "surgery/internal/compose.h"

#include <algorithm>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "formats/folder.h"
#include "formats/folder_files.h"
#include "formats/language_detector.h"
#include "io/files.h"
#include "surgery/models.h"

namespace chorus::inline surgery {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kPiece = 1 << 16;  // elements that are computed at a time, where each stands alone

TensorView piece_of(const TensorView& whole, int64_t piece) {
  const size_t size = size_of(whole.dtype), begin = piece * kPiece * size,
               bytes = std::min(kPiece * size, whole.bytes.size() - begin);
  return {whole.dtype, {static_cast<int64_t>(bytes / size)}, whole.bytes.subspan(begin, bytes)};
}

/// Noise, in standard deviations of what it is added to.
void add_noise(at::Tensor& value, double noise, RandomKey key) {
  if (noise == 0) return;
  const double scale = noise * value.std(/*unbiased=*/false).item<double>();
  auto* const x = value.mutable_data_ptr<double>();
  at::parallel_for(0, value.numel(), 1 << 14, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) x[i] += scale * key.normal(static_cast<uint64_t>(i));
  });
}

/// Hidden units of a stored tensor in another order; they lie along the dimension that expert tensor
/// parallelism cuts, in each of its blocks.
at::Tensor reorder_units(const ParameterSpec& spec, const at::Tensor& stored, const at::Tensor& units) {
  if (spec.cut < 0) return stored;
  const int64_t dimension = spec.cut - 1, blocks = spec.cut_blocks;
  const at::Tensor split = stored.unflatten(dimension, at::IntArrayRef({blocks, -1}));
  return split.index_select(dimension + 1, units).flatten(dimension, dimension + 1);
}

class Composer {
 public:
  Composer(std::span<const Source> sources, const Recipe& recipe)
      : sources_(sources), recipe_(recipe), made_(catalogue_of(recipe, sources[0].config.quantization)) {
    for (const Source& source : sources)
      errors_.push_back(read_quantization_errors(source.weights->files().front().path().parent_path()));
  }

  /// Returns the catalogue of the new model, quantized as the sources are.
  [[nodiscard]] const Catalogue& catalogue() const { return made_; }
  /// Returns the stored tensors of the new model. They refer to sources, recipe and this. What is known of quantized
  /// ones goes into `errors`.
  [[nodiscard]] std::vector<Transfer> transfers(QuantizationErrors& errors) const {
    constexpr size_t kNone = std::numeric_limits<size_t>::max();
    std::vector<size_t> layer_of(made_.parameters.size(), kNone), router_of = layer_of;
    const std::vector<SparseLayer> layers = sparse_layers(made_);
    for (size_t l = 0; l < layers.size(); ++l) {
      const FeedForwardIndex& ffn = layers[l].ffn;
      router_of[ffn.router] = l;
      for (const size_t p : {ffn.fc1.weight, ffn.fc1.bias, ffn.fc2.weight, ffn.fc2.bias})
        if (p != kNoParameter) layer_of[p] = l;
    }
    std::vector<Transfer> list;
    size_t from = 0;  // the same parameter in the sources, where a dense model has no routers
    for (size_t p = 0; p < made_.parameters.size(); ++p) {
      const ParameterSpec& spec = made_.parameters[p];
      if (router_of[p] != kNone) {
        list.push_back(router(spec, router_of[p], from));
        from += is_dense() ? 0 : 1;
        continue;
      }
      for (size_t i = 0; i < spec.stored.size(); ++i) {
        const NewExpert expert = layer_of[p] == kNone ? dense(i) : recipe_.experts[layer_of[p]][i];
        at::Tensor added;
        if (layer_of[p] != kNone && p == layers[layer_of[p]].ffn.fc2.weight) added = expert.correction.weight;
        if (layer_of[p] != kNone && p == layers[layer_of[p]].ffn.fc2.bias) added = expert.correction.bias;
        list.push_back(blend(spec, i, from, expert, added));
        const Ingredient& first = expert.of.front();
        const QuantizationErrors& known = errors_[first.source];
        const auto error = known.find(sources_[first.source].catalogue.parameters[from].stored[first.expert]);
        if (error != known.end()) errors[spec.stored[i]] = error->second;
      }
      ++from;
    }
    return list;
  }

 private:
  static Catalogue catalogue_of(const Recipe& recipe, const QuantizationConfig& quantization) {
    ModelConfig config = recipe.config;
    config.quantization = quantization;
    return make_catalogue(config);
  }
  [[nodiscard]] bool is_dense() const { return sources_[0].config.expert_counts().empty(); }
  [[nodiscard]] const TensorView& view(const Ingredient& part, size_t parameter) const {
    return sources_[part.source].tensors[parameter][part.expert];
  }

  /// Slice i of a parameter that is no expert's, written as a NewExpert.
  [[nodiscard]] NewExpert dense(size_t i) const {
    NewExpert expert;
    const size_t count = recipe_.average_dense ? sources_.size() : 1;
    for (size_t s = 0; s < count; ++s) {
      expert.of.push_back(
          {.source = s, .expert = static_cast<int64_t>(i), .weight = 1 / static_cast<double>(count)});
    }
    return expert;
  }

  /// `added`: to the sum; undefined: nothing.
  [[nodiscard]] Transfer blend(const ParameterSpec& spec, size_t i, size_t from, NewExpert expert,
                               const at::Tensor& added) const {
    const Ingredient& first = expert.of.front();
    const DType dtype = sources_[0].tensors[from][0].dtype;
    Transfer transfer = {file_tensor(spec, i, dtype), view(first, from)};
    const bool as_it_is = expert.of.size() == 1 && first.weight == 1 && first.units.empty() &&
                          expert.noise == 0 && !added.defined() && transfer.from.dtype == dtype &&
                          transfer.from.shape == transfer.tensor.shape;
    if (as_it_is) return transfer;
    if (spec.quantization != Quantization::none || dtype == DType::u8) {
      throw UserError(
          "{}: its weights are quantized, and cannot be made into others: take the model that it was made "
          "from, and quantize what becomes of it",
          sources_[first.source].folder.string());
    }
    const bool by_element = expert.noise == 0 && std::ranges::all_of(expert.of, [](const Ingredient& p) {
                              return p.units.empty();
                            });
    const auto elements = static_cast<int64_t>(transfer.from.bytes.size() / size_of(transfer.from.dtype));
    if (by_element) transfer.pieces = (elements + kPiece - 1) / kPiece;
    transfer.make = [this, &spec, i, from, added, pieces = transfer.pieces,
                     expert = std::move(expert)](int64_t piece) {
      at::Tensor sum;
      for (const Ingredient& part : expert.of) {
        const TensorView& whole = view(part, from);
        at::Tensor value = as_tensor(pieces > 1 ? piece_of(whole, piece) : whole);
        if (!part.units.empty()) value = reorder_units(spec, value, at::tensor(part.units));
        value = value.to(at::kDouble).mul_(part.weight);
        sum = sum.defined() ? sum.add_(value) : value;
      }
      add_noise(sum, expert.noise, recipe_.key.derive("noise").derive(spec.stored[i]));
      if (added.defined())
        sum.add_(pieces > 1 ? added.flatten().narrow(0, piece * kPiece, sum.numel()) : added);
      return sum;
    };
    return transfer;
  }

  [[nodiscard]] Transfer router(const ParameterSpec& spec, size_t layer, size_t from) const {
    const DType dtype = is_dense() ? DType::f32 : sources_[0].tensors[from][0].dtype;
    Transfer transfer = {{spec.stored[0], dtype, spec.stored_shape()}, {}};
    if (is_dense()) {
      transfer.make = [this, &spec](int64_t) { return initial_value(spec, recipe_.key.derive("router")); };
      return transfer;
    }
    transfer.make = [this, &spec, layer, from](int64_t) {
      std::vector<at::Tensor> rows;
      for (const NewExpert& expert : recipe_.experts[layer]) {
        at::Tensor row = at::zeros({spec.shape[1]}, at::kDouble);
        for (const Ingredient& part : expert.of) {
          const at::Tensor stored = as_tensor(sources_[part.source].tensors[from][0]);
          row.add_(stored[part.expert].to(at::kDouble), part.weight);
        }
        add_noise(
            row, expert.noise,
            recipe_.key.derive("noise").derive(spec.stored[0]).derive(static_cast<uint64_t>(rows.size())));
        rows.push_back(row);
      }
      return at::stack(rows);
    };
    return transfer;
  }

  std::span<const Source> sources_;
  const Recipe& recipe_;
  Catalogue made_;
  std::vector<QuantizationErrors> errors_;  // of each source
};

}  // namespace

Source open_source(const fs::path& dir) {
  const ModelPlace place = find_model(dir);
  ModelDescription model = describe_model(place.description);
  Source source = {.folder = dir,
                   .config = model.config,
                   .vocabulary = std::move(model.vocabulary),
                   .catalogue = make_catalogue(model.config),
                   .weights = std::make_unique<SafetensorsFolder>(place.weights),
                   .tensors = {}};
  check_tensor_count(source.config, source.weights->names().size(), dir);
  const std::string no_prefix;
  source.tensors = std::move(find_tensors(*source.weights, source.catalogue, {&no_prefix, 1}).front());
  return source;
}

void check_alike(const NamedModel& a, const NamedModel& b, bool experts_may_differ) {
  if (a.vocabulary.hash() != b.vocabulary.hash()) {
    throw UserError("{} and {} have different vocabularies (of {} and {} tokens)", a.name, b.name,
                    a.vocabulary.size(), b.vocabulary.size());
  }
  const auto flat = [&](ModelConfig config) {
    config.directions.clear();
    config.alignment_layer = config.alignment_head = -1;  // chosen afterwards (chorus align)
    if (experts_may_differ && config.moe.experts > 0) {
      config.moe.experts = 2;
      config.layer_experts.clear();
    }
    nlohmann::json json = to_json(config);
    json["chorus"].erase("training");  // the new model was not trained that way
    return json.flatten();
  };
  const nlohmann::json first = flat(a.config), second = flat(b.config);
  const auto value = [](const nlohmann::json& json, const std::string& key) {
    return json.contains(key) ? json[key].dump() : "not there";
  };
  for (const nlohmann::json* keys : {&first, &second}) {
    for (const auto& [key, unused] : keys->items()) {
      if (value(first, key) == value(second, key)) continue;
      std::string name = key.substr(1);
      std::ranges::replace(name, '/', '.');
      throw UserError("{} and {} differ: config.json: {} is {} in one and {} in the other", a.name, b.name,
                      name, value(first, key), value(second, key));
    }
  }
}

void compose(std::span<const Source> sources, const Recipe& recipe, const fs::path& out) {
  check(recipe.config);
  check_absent(out);
  const Composer composer(sources, recipe);
  QuantizationErrors errors;
  std::vector<Transfer> transfers = composer.transfers(errors);
  const ModelConfig& config = recipe.config;
  const QuantizationConfig before = sources[0].config.quantization;
  const Catalogue made = make_catalogue(config);
  check_quantization(config, made);
  if (config.quantization != before) {
    check_not_quantized(sources[0].config, sources[0].folder);
    transfers = quantized(std::move(transfers), composer.catalogue(), made, errors, recipe.importance);
  }
  AtomicFolder whole(out, check_absent);
  write_tensors(whole.temporary() / kWeightsFile, transfers);
  if (!errors.empty()) write_quantization_errors(whole.temporary(), errors);
  copy_language_detector(find_model(sources[0].folder).description, whole.temporary());
  const size_t never_quantized = sources[0].catalogue.encoder.front().self_norm.weight;
  write_description(whole.temporary(), config, sources[0].tensors[never_quantized][0].dtype,
                    sources[0].vocabulary);
  whole.commit();
}

}  // namespace chorus::inline surgery
