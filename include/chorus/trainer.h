// A run file becomes a model.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace chorus::inline face {

/// Why training came back.
enum class Finish {
  done,         // the run has reached train.duration
  out_of_time,  // train.time_limit
  no_better,    // validation.patience
  interrupted,  // SIGINT or SIGTERM: everything is saved, and the same call goes on
};

/// One at a time in a process, from one thread: it takes all cores. It trains in this process alone; for many
/// processes there is `mpirun chorus train`.
class Trainer {
 public:
  /// `settings` go before what the file says: "train.duration=5e". UserError naming the option.
  explicit Trainer(const std::filesystem::path& run_file, const std::vector<std::string>& settings = {});
  ~Trainer();
  Trainer(Trainer&&) noexcept;
  Trainer& operator=(Trainer&&) noexcept;

  /// Begins the run, or goes on with it from its newest checkpoint. `folder` is then a model. UserError on
  /// text or settings that cannot be used; Error when training failed. Handles SIGINT and SIGTERM meanwhile.
  Finish train(const std::filesystem::path& folder);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace chorus::inline face
