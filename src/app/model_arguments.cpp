#include "app/model_arguments.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <limits>
#include <span>

#include <fmt/format.h>

#include "app/commands.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "formats/expert_files.h"
#include "memory/usage.h"
#include "mpi/world.h"

namespace chorus::inline app {

void add_compute_arguments(CLI::App& command, ComputeArguments& a) {
  command
      .add_option("--device", a.device,
                  "where to compute: cpu, cuda, auto (the accelerator that is there, or else the CPU)")
      ->capture_default_str()
      ->type_name("NAME");
  command
      .add_option("--precision", a.precision,
                  "number format of the arithmetic; of a quantized model only of the keys and values that "
                  "translating keeps")
      ->capture_default_str()
      ->type_name("{fp32,bf16}");
  command
      .add_option("--threads", a.threads,
                  "threads to compute with (0: one per core, shared by the ranks of a host)")
      ->check(between(0, 1024))
      ->capture_default_str()
      ->type_name("N");
}

namespace {

constexpr const char* kModelHelp = "model folder, run, or checkpoint of a run";

void add_language_arguments(CLI::App& command, ModelArguments& a) {
  command
      .add_option("--from", a.from,
                  "language of the source; needed but where the model has no languages, or is told that of "
                  "the target alone")
      ->type_name("LANG");
  command.add_option("--to", a.to, "language of the target")->type_name("LANG");
  command
      .add_option("--memory", a.memory,
                  "most memory for the weights, of each process, as in 8GB: experts beyond it stay in the "
                  "model's file, and are read when they are needed; auto: what the machine has free")
      ->type_name("SIZE|auto");
  command
      .add_option("--expert-use", a.expert_use,
                  "of --memory: which experts to read first and keep, as `chorus assess --json`, or `chorus "
                  "prune --json` when it made the model, has counted them")
      ->type_name("FILE");
  add_compute_arguments(command, a);
  add_quiet_option(command);
}

}  // namespace

void add_model_arguments(CLI::App& command, ModelArguments& a) {
  command.add_option("--model", a.folder, kModelHelp)->required()->type_name("DIR");
  add_language_arguments(command, a);
}

void add_model_arguments(CLI::App& command, ModelArguments& a, std::vector<std::string>& others) {
  command
      .add_option_function<std::vector<std::string>>(
          "--model",
          [&a, &others](const std::vector<std::string>& folders) {
            a.folder = folders.front();
            others.assign(folders.begin() + 1, folders.end());
          },
          fmt::format("{}; given several times, the models translate together (an ensemble)", kModelHelp))
      ->required()
      ->allow_extra_args(false)
      ->type_name("DIR");
  add_language_arguments(command, a);
}

void warn_untrained(const ModelConfig& model, std::span<const std::string> directions) {
  const std::vector<std::string>& trained = model.directions;
  const auto few = [](std::vector<std::string> names) {
    constexpr size_t kShown = 12;
    const size_t more = names.size() - std::min(kShown, names.size());
    names.resize(names.size() - more);
    return join(names, ", ") + (more > 0 ? fmt::format(" and {} more", more) : "");
  };
  std::vector<std::string> other;
  std::ranges::copy_if(directions, std::back_inserter(other), [&](const std::string& direction) {
    return std::ranges::find(trained, direction) == trained.end();
  });
  if (!trained.empty() && !other.empty())
    log_warning("this model was trained to translate {}, not {}", few(trained), few(other));
}

Transformer::Options compute_options(const ComputeArguments& a, Group& group) {
  Transformer::Options options;
  options.device = own_device(a.device, group);
  if (a.precision == "bf16") {
    options.compute = at::kBFloat16;
  } else if (a.precision != "fp32") {
    throw UserError("--precision {}: choose fp32 or bf16", a.precision);
  }
  set_threads(a.threads, group);
  return options;
}

uint64_t memory_limit(const std::string& argument, const Group& group) {
  return argument.empty() ? std::numeric_limits<uint64_t>::max()
                          : memory_for_weights(argument, "--memory", group.ranks_here());
}

namespace {

void check_languages(const ModelArguments& a, const Vocabulary& vocabulary) {
  for (const auto& [option, language] : {std::pair{"--from", a.from}, {"--to", a.to}}) {
    const std::vector<std::string>& known = vocabulary.languages();
    if (known.empty() && !language.empty()) {
      throw UserError(
          "{} {}: this model has no languages; leave it out, and say in the text what is to be done "
          "with it, as the model was trained",
          option, language);
    }
    const bool is_from = option == std::string_view("--from");
    if (language.empty() &&
        !(is_from ? vocabulary.needs_source_language() : vocabulary.needs_target_language()))
      continue;
    if (!known.empty() && language.empty())
      throw UserError("{} is missing: this model knows {}", option, join(known, ", "));
    try {
      static_cast<void>(vocabulary.tag(language));
    } catch (const UserError& error) {
      throw UserError("{}: {}", option, error.what());
    }
  }
}

/// How much of the model is in memory, and what the rest costs.
void tell_cost(ExpertStore& experts, const Catalogue& catalogue) {
  int64_t encoder = 0;
  for (const LayerIndex& layer : catalogue.encoder)
    if (layer.ffn.sparse) encoder += std::ssize(catalogue.parameters[layer.ffn.fc1.weight].stored);
  const int64_t absent = std::max<int64_t>(experts.experts() - experts.slots(), 0);
  const double rate = experts.measure_rate();
  const double seconds = static_cast<double>(experts.slot_bytes()) / rate;
  log_info(
      "{} of {} experts fit in memory, of {} each; the others are read when they are needed, at {}/s: "
      "{:.0f} ms each, and at most {:.1f} s for all that a batch needs in the encoder",
      experts.experts() - absent, experts.experts(), human_bytes(experts.slot_bytes()),
      human_bytes(static_cast<uint64_t>(rate)), 1e3 * seconds,
      seconds * static_cast<double>(std::min(absent, encoder)));
}

}  // namespace

LoadedModel open_model(const ModelArguments& a, Group& group) {
  return std::move(open_models(a, {}, group).front());
}

std::vector<LoadedModel> open_models(const ModelArguments& a, std::span<const std::string> others,
                                     Group& group) {
  const Transformer::Options options = compute_options(a, group);
  if (!a.memory.empty() && !others.empty()) throw UserError("--memory is for one --model");
  if (a.memory.empty() && !a.expert_use.empty())
    throw UserError("--expert-use is of --memory, which is missing");
  const uint64_t memory = memory_limit(a.memory, group);
  std::vector<std::string> folders = {a.folder};
  folders.insert(folders.end(), others.begin(), others.end());
  std::vector<ModelPlace> places;
  std::vector<ModelDescription> descriptions;
  for (const std::string& folder : folders) {
    places.push_back(find_model(folder));
    descriptions.push_back(describe_model(places.back().description));
    const ModelDescription& description = descriptions.back();
    if (description.vocabulary.hash() != descriptions.front().vocabulary.hash())
      throw UserError("--model {}: its vocabulary is not that of {}, and an ensemble has one", folder,
                      a.folder);
    check_languages(a, description.vocabulary);
    warn_untrained(description.config, std::vector{fmt::format("{}-{}", a.from, a.to)});
  }
  std::vector<LoadedModel> loaded;
  loaded.reserve(places.size());
  for (size_t i = 0; i < places.size(); ++i)
    loaded.push_back(load_model(places[i].weights, std::move(descriptions[i]), options, memory));
  if (ExpertStore* const experts = loaded.front().experts.get())
    tell_cost(*experts, loaded.front().model->catalogue());
  if (!a.expert_use.empty()) {
    const auto use = read_expert_use(a.expert_use, loaded.front().model->catalogue(), a.from, a.to);
    if (loaded.front().experts) loaded.front().experts->warm(use);
  }
  return loaded;
}

void tell_traffic(const LoadedModel& loaded) {
  if (!loaded.experts) return;
  const ExpertTraffic traffic = loaded.experts->traffic();
  log_info(
      "experts: {} uses, {:.1f} % of them there or on their way; {} read, for which computing waited {:.1f} "
      "s",
      traffic.uses,
      100.0 * static_cast<double>(traffic.hits) / static_cast<double>(std::max<int64_t>(traffic.uses, 1)),
      human_bytes(traffic.bytes), traffic.waited);
}

}  // namespace chorus::inline app
