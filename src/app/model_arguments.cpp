#include "app/model_arguments.h"

#include <algorithm>
#include <iterator>
#include <span>

#include <fmt/format.h>

#include "app/commands.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "mpi/world.h"

namespace chorus::inline app {

void add_compute_arguments(CLI::App& command, ComputeArguments& a) {
  command
      .add_option("--device", a.device,
                  "where to compute: cpu, cuda, auto (the accelerator that is there, or else the CPU)")
      ->capture_default_str()
      ->type_name("NAME");
  command.add_option("--precision", a.precision, "number format of the arithmetic")
      ->capture_default_str()
      ->type_name("{fp32,bf16}");
  command
      .add_option("--threads", a.threads,
                  "threads to compute with (0: one per core, shared by the ranks of a host)")
      ->check(between(0, 1024))
      ->capture_default_str()
      ->type_name("N");
}

void add_model_arguments(CLI::App& command, ModelArguments& a) {
  command.add_option("--model", a.folder, "model folder, run, or checkpoint of a run")
      ->required()
      ->type_name("DIR");
  command.add_option("--from", a.from, "language of the source, if the model has languages")
      ->type_name("LANG");
  command.add_option("--to", a.to, "language of the target")->type_name("LANG");
  add_compute_arguments(command, a);
  add_quiet_option(command);
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

LoadedModel open_model(const ModelArguments& a, Group& group) {
  const Transformer::Options options = compute_options(a, group);
  const ModelPlace place = find_model(a.folder);
  ModelDescription description = describe_model(place.description);
  for (const auto& [option, language] : {std::pair{"--from", a.from}, {"--to", a.to}}) {
    const std::vector<std::string>& known = description.vocabulary.languages();
    if (known.empty() && !language.empty()) {
      throw UserError(
          "{} {}: this model has no languages; leave it out, and say in the text what is to be done "
          "with it, as the model was trained",
          option, language);
    }
    if (!known.empty() && language.empty())
      throw UserError("{} is missing: this model knows {}", option, join(known, ", "));
    try {
      static_cast<void>(description.vocabulary.tag(language));
    } catch (const UserError& error) {
      throw UserError("{}: {}", option, error.what());
    }
  }
  warn_untrained(description.config, std::vector{fmt::format("{}-{}", a.from, a.to)});
  return load_model(place.weights, std::move(description), options);
}

}  // namespace chorus::inline app
