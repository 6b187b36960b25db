// chorus inspect: what a model is made of and what it costs.
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "base/text.h"
#include "formats/folder.h"
#include "formats/folder_files.h"
#include "formats/quantize.h"
#include "layout/cost.h"

namespace chorus::inline app {
namespace {

struct InspectArguments {
  std::string folder;
  int64_t length = 32;
  bool tensors = false;
  bool json = false;
};

/// A tensor of the weights' files.
struct TensorReport {
  std::string name, type;
  std::vector<int64_t> shape;  // of the matrix that it stands for
  size_t bytes = 0;
  std::optional<double> error;  // of a quantized one, where it is known (formats/quantize.h)
};

std::vector<TensorReport> tensors_of(const std::filesystem::path& folder, const ModelConfig& config) {
  const SafetensorsFolder weights(folder);
  check_tensor_count(config, weights.names().size(), folder);
  std::map<std::string, const ParameterSpec*> quantized;
  const Catalogue catalogue = make_catalogue(config);
  for (const ParameterSpec& spec : catalogue.parameters)
    if (spec.quantization != Quantization::none)
      for (const std::string& name : spec.stored) quantized[name] = &spec;
  const QuantizationErrors errors = read_quantization_errors(folder);
  std::vector<TensorReport> reports;
  for (const std::string& name : weights.names()) {
    const TensorView view = weights.get(name);
    TensorReport& report = reports.emplace_back(TensorReport{name, "", view.shape, view.bytes.size(), {}});
    const auto found = quantized.find(name);
    report.type =
        found == quantized.end() ? std::string(name_of(view.dtype)) : name_of(found->second->quantization);
    if (found != quantized.end()) report.shape = found->second->stored_shape();
    if (const auto error = errors.find(name); error != errors.end()) report.error = error->second;
  }
  return reports;
}

nlohmann::json to_json(const std::vector<TensorReport>& tensors) {
  nlohmann::json json = nlohmann::json::array();
  for (const TensorReport& t : tensors) {
    json.push_back({{"name", t.name}, {"type", t.type}, {"shape", t.shape}, {"bytes", t.bytes}});
    if (t.error) json.back()["relative_error"] = *t.error;
  }
  return json;
}

/// Prints for each type how many tensors there are, their bytes, and the errors of quantized ones.
void print_types(const std::vector<TensorReport>& tensors) {
  struct Sum {
    int64_t count = 0, known = 0;
    uint64_t bytes = 0;
    double errors = 0;
    const TensorReport* worst = nullptr;
  };
  std::map<std::string, Sum> types;
  for (const TensorReport& t : tensors) {
    Sum& sum = types[t.type];
    ++sum.count;
    sum.bytes += t.bytes;
    sum.errors += t.error.value_or(0);
    sum.known += t.error ? 1 : 0;
    if (t.error && (!sum.worst || *t.error > *sum.worst->error)) sum.worst = &t;
  }
  fmt::print("\nweights on disk\n");
  for (const auto& [type, sum] : types) {
    fmt::print("  {:<5}{:>12}  {}", type, human_bytes(sum.bytes), counted(sum.count, "tensor"));
    if (sum.worst)
      fmt::print(", off by {:.2f} % in the mean, by {:.2f} % at most: {}",
                 100 * sum.errors / static_cast<double>(sum.known), 100 * *sum.worst->error, sum.worst->name);
    fmt::print("\n");
  }
}

void print_tensors(const std::vector<TensorReport>& tensors) {
  fmt::print("\n{:<60}{:>6}{:>16}{:>12}{:>10}\n", "tensor", "type", "shape", "bytes", "off by");
  for (const TensorReport& t : tensors) {
    fmt::print("{:<60}{:>6}{:>16}{:>12}{:>10}\n", t.name, t.type,
               fmt::format("{}", fmt::join(t.shape, " x ")), human_bytes(t.bytes),
               t.error ? fmt::format("{:.2f} %", 100 * *t.error) : "");
  }
}

nlohmann::json to_json(const ParameterCount& p) {
  return {{"embedding", p.embedding}, {"dense", p.dense},   {"router", p.router},
          {"experts", p.experts},     {"total", p.total()}, {"active", p.active()}};
}

nlohmann::json to_json(const ModelDescription& model, const ModelCost& cost,
                       const std::vector<TensorReport>& tensors) {
  nlohmann::json layers = nlohmann::json::array();
  for (const LayerCost& layer : cost.layers) {
    layers.push_back(
        {{"name", layer.name},
         {"sparse", layer.sparse},
         {"parameters", to_json(layer.parameters)},
         {"flops", {{"source_token", layer.source_flops}, {"target_token", layer.target_flops}}}});
  }
  nlohmann::json memory;
  for (const bool bf16 : {false, true}) {
    const ModelMemory bytes = memory_of(cost.parameters, bf16);
    memory[bf16 ? "bf16" : "fp32"] = {{"inference", bytes.inference}, {"training", bytes.training}};
  }
  return {{"config", to_json(model.config)},
          {"languages", model.vocabulary.languages()},
          {"vocabulary",
           {{"kind", model.vocabulary.is_bpe() ? "bpe" : "unigram"},
            {"normalization", model.vocabulary.normalization()},
            {"symbols", model.vocabulary.symbols_in_text()}}},
          {"tensors", to_json(tensors)},
          {"parameters", to_json(cost.parameters)},
          {"layers", layers},
          {"flops",
           {{"length", cost.length},
            {"source_token", cost.source_flops},
            {"target_token", cost.target_flops},
            {"forward", cost.forward_flops()},
            {"training", cost.training_flops()}}},
          {"memory_bytes", memory}};
}

std::string architecture_text(const ModelConfig& c) {
  std::string text =
      fmt::format("{}+{} layers, d_model {}, {}, ffn_dim {}, vocabulary {}, {} positions", c.encoder_layers,
                  c.decoder_layers, c.d_model, counted(c.attention_heads, "head"), c.ffn_dim, c.vocabulary,
                  c.max_positions);
  if (!c.layer_experts.empty()) {
    text += fmt::format("\n           {} experts in the MoE layers, top-{}", fmt::join(c.layer_experts, ", "),
                        c.moe.top_k);
  } else if (!c.expert_counts().empty()) {
    text += fmt::format("\n           {} in every MoE layer, top-{}", counted(c.moe.experts, "expert"),
                        c.moe.top_k);
  }
  return text;
}

void print_text(const ModelDescription& model, const ModelCost& cost) {
  const auto count = [](auto number) { return human_count(static_cast<double>(number)); };
  const ParameterCount& p = cost.parameters;
  fmt::print("model      {}\n", architecture_text(model.config));
  if (const auto& languages = model.vocabulary.languages(); !languages.empty())
    fmt::print("languages  {}: {}\n", languages.size(), join(languages, " "));
  fmt::print("vocabulary {}, normalization {}\n", model.vocabulary.is_bpe() ? "BPE" : "unigram",
             model.vocabulary.normalization().empty() ? "without a name" : model.vocabulary.normalization());
  if (const std::vector<std::string> symbols = model.vocabulary.symbols_in_text(); !symbols.empty())
    fmt::print("symbols    {}: {}\n", symbols.size(), one_line(join(symbols, " ")));
  if (const ModelConfig& c = model.config; c.alignment_layer >= 0)
    fmt::print("alignments decoder layer {}, {}\n", c.alignment_layer,
               c.alignment_head < 0 ? "the mean of its heads" : fmt::format("head {}", c.alignment_head));
  fmt::print("\nparameters {:>8}  of which {} serve one token\n", count(p.total()), count(p.active()));
  for (const auto& [name, elements] : {std::pair{"embedding", p.embedding},
                                       {"dense", p.dense},
                                       {"router", p.router},
                                       {"experts", p.experts}})
    fmt::print("  {:<9}{:>8}  {:5.1f}%\n", name, count(elements),
               100.0 * static_cast<double>(elements) / static_cast<double>(p.total()));
  fmt::print("\n{:<20}{:>7}{:>12}{:>10}{:>18}{:>18}\n", "layer", "kind", "parameters", "active",
             "FLOPs/source tok.", "FLOPs/target tok.");
  for (const LayerCost& layer : cost.layers) {
    fmt::print("{:<20}{:>7}{:>12}{:>10}{:>18}{:>18}\n", layer.name, layer.sparse ? "MoE" : "dense",
               count(layer.parameters.total()), count(layer.parameters.active()), count(layer.source_flops),
               count(layer.target_flops));
  }
  fmt::print("{:<20}{:>7}{:>12}{:>10}{:>18}{:>18}\n", "output", "",
             model.config.tied_output ? "(shared)" : "(own)", "", "", count(cost.output_flops));
  fmt::print("\nFLOPs for a source and a target token, in sentences of {}: forward {}, training {}\n",
             counted(cost.length, "token"), count(cost.forward_flops()), count(cost.training_flops()));
  if (model.config.quantization.any()) return;  // what they take is what they are on disk
  fmt::print("\nmemory, without activations    fp32        bf16\n");
  const ModelMemory fp32 = memory_of(p, false), bf16 = memory_of(p, true);
  fmt::print("  inference            {:>12}{:>12}\n", human_bytes(fp32.inference),
             human_bytes(bf16.inference));
  fmt::print("  training (AdamW)     {:>12}{:>12}\n", human_bytes(fp32.training), human_bytes(bf16.training));
}

void inspect(const InspectArguments& a) {
  const ModelPlace place = find_model(a.folder);
  const ModelDescription model = describe_model(place.description);
  const ModelCost cost = cost_of(model.config, a.length);
  const bool has_weights = std::filesystem::exists(place.weights / kWeightsFile) ||
                           std::filesystem::exists(place.weights / kIndexFile);
  const std::vector<TensorReport> tensors =
      has_weights ? tensors_of(place.weights, model.config) : std::vector<TensorReport>();
  if (a.json) {
    fmt::print("{}\n", to_json(model, cost, a.tensors ? tensors : std::vector<TensorReport>()).dump(2));
    return;
  }
  print_text(model, cost);
  if (!tensors.empty()) print_types(tensors);
  if (a.tensors) print_tensors(tensors);
}

}  // namespace

void add_inspect(CLI::App& app) {
  const auto arguments = std::make_shared<InspectArguments>();
  InspectArguments& a = *arguments;
  CLI::App* command = app.add_subcommand("inspect", "parameters, arithmetic and memory of a model");
  command->add_option("DIR", a.folder, "model folder, run, or checkpoint of a run")
      ->required()
      ->option_text(" ");
  command->add_option("--length", a.length, "sentence length, in tokens, for which attention is counted")
      ->capture_default_str()
      ->check(between<int64_t>(1, 1 << 20))
      ->type_name("N");
  command->add_flag("--tensors", a.tensors,
                    "also each tensor: type, shape, bytes, and what quantizing changed");
  command->add_flag("--json", a.json, "print JSON");
  command->callback([arguments] { inspect(*arguments); });
}

}  // namespace chorus::inline app
