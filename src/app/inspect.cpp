// chorus inspect: what a model is made of and what it costs.
#include <memory>
#include <string>

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "base/text.h"
#include "formats/folder.h"
#include "layout/cost.h"

namespace chorus::inline app {
namespace {

struct InspectArguments {
  std::string folder;
  int64_t length = 32;
  bool json = false;
};

nlohmann::json to_json(const ParameterCount& p) {
  return {{"embedding", p.embedding}, {"dense", p.dense},   {"router", p.router},
          {"experts", p.experts},     {"total", p.total()}, {"active", p.active()}};
}

nlohmann::json to_json(const ModelDescription& model, const ModelCost& cost) {
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
  } else if (c.moe.experts > 0) {
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
  fmt::print("\nmemory, without activations    fp32        bf16\n");
  const ModelMemory fp32 = memory_of(p, false), bf16 = memory_of(p, true);
  fmt::print("  inference            {:>12}{:>12}\n", human_bytes(fp32.inference),
             human_bytes(bf16.inference));
  fmt::print("  training (AdamW)     {:>12}{:>12}\n", human_bytes(fp32.training), human_bytes(bf16.training));
}

void inspect(const InspectArguments& a) {
  const ModelDescription model = describe_model(find_model(a.folder).description);
  const ModelCost cost = cost_of(model.config, a.length);
  if (a.json) {
    fmt::print("{}\n", to_json(model, cost).dump(2));
  } else {
    print_text(model, cost);
  }
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
  command->add_flag("--json", a.json, "print JSON");
  command->callback([arguments] { inspect(*arguments); });
}

}  // namespace chorus::inline app
