#include "chorus/trainer.h"

#include "config/options.h"
#include "train/stages.h"

namespace chorus::inline face {

struct Trainer::State {
  RunConfig config;
};

Trainer::Trainer(const std::filesystem::path& run_file, const std::vector<std::string>& settings)
    : state_(std::make_unique<State>()) {
  Schema schema;
  describe(schema, state_->config);
  read_run_file(state_->config, schema, run_file, settings);
}

Trainer::~Trainer() = default;
Trainer::Trainer(Trainer&&) noexcept = default;
Trainer& Trainer::operator=(Trainer&&) noexcept = default;

Finish Trainer::train(const std::filesystem::path& folder) {
  switch (train_stages(state_->config, {.folder = folder})) {
    case Ending::done:
      return Finish::done;
    case Ending::out_of_time:
      return Finish::out_of_time;
    case Ending::no_better:
      return Finish::no_better;
    case Ending::interrupted:
    case Ending::terminated:
      break;
  }
  return Finish::interrupted;
}

}  // namespace chorus::inline face
