#include "memory/config.h"

#include <array>
#include <charconv>
#include <string_view>
#include <utility>

#include "base/error.h"

namespace chorus::inline memory {

bool MemoryConfig::uses(Tier tier) const {
  return parameters == tier || gradients == tier || optimizer == tier || activations == tier ||
         expert_parameters == tier || expert_gradients == tier || expert_optimizer == tier;
}

void describe(Schema& schema, MemoryConfig& config) {
  schema.section(
      "memory",
      "where each kind of state is kept: device, host, or nvme (a file of the run); auto: as near to the "
      "device as the budgets allow");
  const auto add = [&](const char* key, Tier& tier, const char* help) {
    schema.add(
        key, tier,
        {{"device", Tier::device}, {"host", Tier::host}, {"nvme", Tier::nvme}, {"auto", Tier::automatic}},
        {.help = help});
  };
  add("parameters", config.parameters,
      "weights; when not kept on the device, those of a block are there while it runs");
  add("gradients", config.gradients,
      "gradients; when not kept on the device, those of a block leave it once the block has run back");
  add("optimizer", config.optimizer, "moments, and the fp32 masters of bf16 weights");
  add("activations", config.activations,
      "what blocks keep for backward; with train.recompute only their inputs");
  const auto add_expert = [&](const char* key, std::optional<Tier>& tier, const char* help) {
    schema.add(key, tier,
               {{"same", std::optional<Tier>()},
                {"device", std::optional(Tier::device)},
                {"host", std::optional(Tier::host)},
                {"nvme", std::optional(Tier::nvme)},
                {"auto", std::optional(Tier::automatic)}},
               {.help = help});
  };
  add_expert("expert_parameters", config.expert_parameters, "weights of experts");
  add_expert("expert_gradients", config.expert_gradients, "gradients of experts");
  add_expert("expert_optimizer", config.expert_optimizer, "moments and masters of experts");
  schema.add("device_budget", config.device_budget,
             {.help = "most that this process may hold on the device at once, as \"2GiB\"; empty: no limit"});
  schema.add("host_budget", config.host_budget,
             {.help = "what auto may keep on the host before it takes nvme; empty: no limit"});
  schema.add(
      "save_budget", config.save_budget,
      {.help = "most that a process holds in memory of a checkpoint, to write it while training goes on; "
               "training waits until the rest is written, and for all of it if this is empty"});
  schema.add("folder", config.folder,
             {.help = "folder in which the nvme tier's nameless file is made; empty: the run's folder"});
}

int64_t parse_bytes(const std::string& text, std::string_view option) {
  if (text.empty()) return 0;
  constexpr auto kUnits = std::to_array<std::pair<std::string_view, double>>({{"KiB", 0x1p10},
                                                                              {"MiB", 0x1p20},
                                                                              {"GiB", 0x1p30},
                                                                              {"TiB", 0x1p40},
                                                                              {"kB", 1e3},
                                                                              {"MB", 1e6},
                                                                              {"GB", 1e9},
                                                                              {"TB", 1e12}});
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string_view unit(end, text.data() + text.size());
  while (unit.starts_with(' ')) unit.remove_prefix(1);
  for (const auto& [name, factor] : kUnits) {
    if (error == std::errc() && unit == name && number >= 1 / factor && number * factor < 0x1p62)
      return static_cast<int64_t>(number * factor);
  }
  throw UserError("{} = \"{}\" is no size: write a number and MiB, GiB, TiB, MB, GB or TB, as in 40GB",
                  option, text);
}

}  // namespace chorus::inline memory
