// chorus merge, average, upcycle, grow: new models out of trained ones.
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <fmt/ranges.h>

#include "app/commands.h"
#include "base/log.h"
#include "surgery/models.h"

namespace chorus::inline app {
namespace {

struct SurgeryArguments {
  std::vector<std::filesystem::path> models;
  std::filesystem::path out;
  std::string dense = "average", gates = "after_drop";
  std::vector<int64_t> every = {2};
  UpcycleOptions upcycle;
  GrowOptions grow;
  QuantizationConfig types;
};

void say(const SurgeryArguments& a, const ModelConfig& made) {
  const std::vector<int64_t> counts = made.expert_counts();
  log_info("wrote {}{}", a.out.string(),
           counts.empty() ? "" : fmt::format(": {} experts in its MoE layers", fmt::join(counts, ", ")));
}

struct Command {
  CLI::App* app;
  std::shared_ptr<SurgeryArguments> arguments;
};

Command add(CLI::App& app, const char* name, const char* does, int models) {
  const auto a = std::make_shared<SurgeryArguments>();
  CLI::App* command = app.add_subcommand(name, does);
  command
      ->add_option(models == 1 ? "DIR" : "DIR...", a->models,
                   "model folder, folder of a run, or RUN/checkpoints/NAME")
      ->required()
      ->expected(models, models == 1 ? 1 : 1 << 20)
      ->option_text(" ");
  command->add_option("--out", a->out, "the folder to write, which must not exist yet")
      ->required()
      ->type_name("DIR");
  add_quiet_option(*command);
  return {command, a};
}

}  // namespace

void add_merge(CLI::App& app) {
  const auto [command, a] =
      add(app, "merge", "one model with the experts of several (aggregation of experts)", 2);
  command
      ->add_option("--dense", a->dense,
                   "the weights outside experts: their average, or those of the first model")
      ->check(CLI::IsMember({"average", "first"}))
      ->capture_default_str();
  add_quantize_option(*command, a->types);
  command->callback([given = a] {
    say(*given,
        merge_models(given->models, given->dense == "first" ? DenseWeights::first : DenseWeights::average,
                     given->out, given->types));
  });
}

void add_average(CLI::App& app) {
  const auto [command, a] =
      add(app, "average", "the mean of the weights of several models or checkpoints", 2);
  command->callback([given = a] { say(*given, average_models(given->models, given->out)); });
}

void add_upcycle(CLI::App& app) {
  const auto [command, a] = add(app, "upcycle", "a dense model's feed-forward layers become experts", 1);
  UpcycleOptions& o = a->upcycle;
  command->add_option("--experts", o.experts, "experts per MoE layer")
      ->required()
      ->check(between(1, 65536))
      ->type_name("N");
  command->add_option("--top-k", o.top_k, "how many experts each token is sent to")
      ->check(between(1, 64))
      ->capture_default_str()
      ->type_name("K");
  command
      ->add_option(
          "--every", a->every,
          "every Nth block gets experts (0: none); N,M: every Nth of the encoder, Mth of the decoder")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->expected(1, 2)
      ->check(between(0, 1024))
      ->capture_default_str()
      ->type_name("N[,M]");
  command
      ->add_option("--gates", a->gates,
                   "moe.gate_normalization; where gates sum to 1, only --noise changes what the model says")
      ->check(CLI::IsMember({"none", "before_drop", "after_drop"}))
      ->capture_default_str();
  command->add_option("--noise", o.noise, "noise added to each copy, in standard deviations of its tensor")
      ->check(between(0.0, 10.0))
      ->capture_default_str()
      ->type_name("X");
  command->add_option("--seed", o.seed, "seed of the noise and of the routers")
      ->check(any_seed())
      ->capture_default_str()
      ->type_name("N");
  command->callback([given = a] {
    given->upcycle.encoder_every = given->every.front();
    given->upcycle.decoder_every = given->every.back();
    for (const auto& [name, value] : kGateNormalizations)
      if (name == given->gates) given->upcycle.gates = value;
    say(*given, upcycle_model(given->models.front(), given->upcycle, given->out));
  });
}

void add_grow(CLI::App& app) {
  const auto [command, a] = add(app, "grow", "more experts: copies, with noise, of those of the model", 1);
  GrowOptions& o = a->grow;
  command->add_option("--experts", o.experts, "experts per MoE layer of the new model")
      ->required()
      ->check(between(2, 65536))
      ->type_name("N");
  command
      ->add_option("--noise", o.noise,
                   "noise added to each copy and to its row of the router, in standard deviations")
      ->check(between(0.0, 10.0))
      ->capture_default_str()
      ->type_name("X");
  command->add_option("--seed", o.seed, "seed of the noise")
      ->check(any_seed())
      ->capture_default_str()
      ->type_name("N");
  command->callback([given = a] { say(*given, grow_model(given->models.front(), given->grow, given->out)); });
}

}  // namespace chorus::inline app
