// A training run small enough for a test, and what it leaves.
#pragma once

#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/checkpoint.h"
#include "io/safetensors.h"
#include "train/trainer.h"

namespace chorus {

/// A toy parallel corpus, and a run over it of `updates` small updates.
inline RunConfig toy_run(const std::filesystem::path& folder, int64_t updates) {
  const std::vector<std::string> words = {"alpha", "beta", "gamma", "delta", "epsilon",
                                          "zeta",  "eta",  "theta", "iota",  "kappa"};
  for (const char* list : {"train", "valid"}) {
    std::ofstream xx(folder / (std::string(list) + ".xx")), yy(folder / (std::string(list) + ".yy"));
    const int lines = std::string(list) == "train" ? 300 : 20;
    for (int i = 0; i < lines; ++i) {
      const size_t a = static_cast<size_t>(i) % 10, b = static_cast<size_t>(i / 10) % 10,
                   c = static_cast<size_t>(i * 7) % 10;
      xx << words[a] << ' ' << words[b] << ' ' << words[c] << '\n';
      yy << words[c] << ' ' << words[b] << ' ' << words[a] << (i % 3 == 0 ? " omega" : "") << '\n';
    }
  }
  RunConfig c;
  c.data.train = {{.files = (folder / "train.{lang}").string(), .languages = {"xx", "yy"}}};
  c.data.valid = {{.files = (folder / "valid.{lang}").string(), .languages = {"xx", "yy"}}};
  c.data.batch_tokens = 128;
  c.data.micro_batches = 2;
  c.data.max_length = 24;
  c.data.pool_batches = 4;
  c.vocabulary.size = 290;
  c.vocabulary.model = (folder / "vocabulary.model").string();
  c.model.d_model = 16;
  c.model.encoder_layers = 2;
  c.model.decoder_layers = 2;
  c.model.attention_heads = 2;
  c.model.ffn_dim = 24;
  c.model.max_positions = 32;
  c.model.moe.experts = 4;
  c.model.moe.top_k = 2;
  c.optim.learning_rate = 5e-3;
  c.optim.warmup = {.count = 5};
  c.train.duration = {.count = updates};
  c.train.log_every = 5;
  c.train.checkpoint_every = 3;
  c.validation.every = 10;
  c.threads = 1;
  return c;
}

/// Runs train() in a process of its own, kills it after `milliseconds`, and says whether it had finished by
/// then.
inline bool train_and_kill(const RunConfig& config, const std::filesystem::path& run, int milliseconds) {
  const pid_t child = fork();
  if (child == 0) {
    try {
      train_run(config, {.folder = run});
      _exit(0);
    } catch (const std::exception& e) {
      fprintf(stderr, "%s\n", e.what());
      _exit(1);
    }
  }
  usleep(static_cast<useconds_t>(milliseconds) * 1000);
  kill(child, SIGKILL);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
  return !WIFSIGNALED(status);
}

/// Every tensor of a run's last checkpoint, as bytes, by name; those in parts put together.
inline std::map<std::string, std::string> last_tensors(const std::filesystem::path& run) {
  std::vector<std::string> complaints;
  const auto checkpoint = CheckpointStore(run).latest_valid(complaints);
  EXPECT_TRUE(checkpoint && complaints.empty());
  std::map<std::string, std::string> tensors;
  std::map<std::string, std::map<int64_t, std::string>> parts;  // by where they begin
  for (const auto& entry : std::filesystem::directory_iterator(checkpoint->folder)) {
    if (entry.path().extension() != ".safetensors") continue;
    const SafetensorsFile file(entry.path());
    for (const std::string& name : file.names()) {
      const auto bytes = file.get(name).bytes;
      const size_t at = name.find('@');
      parts[name.substr(0, at)][at == std::string::npos ? 0 : std::stoll(name.substr(at + 1))] =
          std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    }
  }
  for (const auto& [name, pieces] : parts)
    for (const auto& [first, bytes] : pieces) tensors[name] += bytes;
  tensors["step"] = std::to_string(checkpoint->step);
  return tensors;
}

}  // namespace chorus
