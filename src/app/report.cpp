// chorus report: a page about runs.
#include "report/report.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/chrono.h>

#include "app/commands.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "io/files.h"
#include "io/folder_use.h"
#include "io/run_layout.h"

namespace chorus::inline app {
namespace {

namespace fs = std::filesystem;

struct PageArguments {
  std::vector<std::string> runs;
  std::string out = "report.html";
  bool follow = false;
};

bool has_begun(const fs::path& folder) {
  return fs::exists(folder / kRunMetrics) || fs::exists(folder / kRunFile);
}

bool is_run(const fs::path& folder) {
  return has_begun(folder) || fs::exists(folder / ".lock");
}

/// A run's own folder, or those of its stages, in the order in which they began.
std::vector<fs::path> runs_in(const fs::path& folder) {
  if (is_run(folder)) return {folder};
  std::vector<std::pair<fs::file_time_type, fs::path>> stages;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (!it->is_directory() || !is_run(it->path())) continue;
    const bool begun = fs::exists(it->path() / "data.train.json");  // which each start writes
    stages.emplace_back(
        begun ? fs::last_write_time(it->path() / "data.train.json") : fs::file_time_type::max(), it->path());
  }
  std::ranges::sort(stages);
  std::vector<fs::path> folders;
  folders.reserve(stages.size());
  for (auto& [unused, path] : stages) folders.push_back(std::move(path));
  if (folders.empty())
    throw UserError("{} is no run: it has no metrics.jsonl; name what `chorus train --out` made",
                    folder.string());
  return folders;
}

RunToReport run_to_report(const fs::path& folder) {
  RunToReport run = {.name = folder.string(), .folder = folder};
  if (!fs::exists(folder / kRunFile)) {
    run.fault = "run.toml is not there; it comes with the first update";
    return run;
  }
  try {
    RunConfig config;
    Schema schema;
    describe(schema, config);
    schema.read_file(folder / kRunFile);
    run.settings = settings_of(schema);
  } catch (const UserError& error) {  // another version's
    run.fault = error.what();
  }
  return run;
}

std::vector<RunToReport> runs_of(const PageArguments& a) {
  std::vector<RunToReport> runs;
  for (const std::string& given : a.runs) {
    for (const fs::path& run : runs_in(without_end_slash(given))) runs.push_back(run_to_report(run));
  }
  return runs;
}

class WrittenPage {
 public:
  /// UserError where there is a file of that name that is no page.
  explicit WrittenPage(const PageArguments& arguments) : arguments_(arguments) {
    constexpr std::string_view kBeginning = "<!doctype html>";
    if (!fs::is_regular_file(arguments_.out) || fs::file_size(arguments_.out) == 0) return;
    std::string beginning(kBeginning.size(), '\0');
    std::ifstream(arguments_.out, std::ios::binary).read(beginning.data(), std::ssize(beginning));
    if (beginning != kBeginning)
      throw UserError("{} is there, and no page that chorus wrote: take another --out", arguments_.out);
  }

  /// Writes the page if there is anything new, or `last`; whether a run is still being trained, or a stage is to
  /// come.
  bool write(bool last) {
    const std::vector<RunToReport> runs = runs_of(arguments_);
    if (!report_ || runs.size() != folders_.size() || !std::ranges::equal(runs, folders_, {}, key_of)) {
      report_ = std::make_unique<Report>(runs);
      folders_.clear();
      folders_.reserve(runs.size());
      for (const RunToReport& run : runs) folders_.push_back(key_of(run));
      is_new_ = true;
    }
    PageOptions options = {.version = CHORUS_VERSION,
                           .made = fmt::format("{:%Y-%m-%d %H:%M:%S} UTC", fmt::gmtime(std::time(nullptr)))};
    bool pending = false;
    for (const RunToReport& run : runs) {
      options.running.push_back(is_in_use(run.folder));
      pending |= !has_begun(run.folder);
    }
    const bool running = std::ranges::find(options.running, true) != options.running.end();
    if (arguments_.follow && !last) options.reload = kReload;
    if (report_->read() || is_new_ || last) write_file_atomically(arguments_.out, report_->page(options));
    is_new_ = false;
    if (running) idle_since_ = steady_seconds();
    return running || (pending && steady_seconds() - idle_since_ < kPatience);
  }

 private:
  static constexpr int kReload = 10;        // seconds
  static constexpr double kPatience = 120;  // seconds between two stages

  /// What makes another report of a run: settings come with its first update.
  static std::string key_of(const RunToReport& run) { return run.folder.string() + '\n' + run.fault; }

  const PageArguments& arguments_;
  std::unique_ptr<Report> report_;
  std::vector<std::string> folders_;
  bool is_new_ = false;
  double idle_since_ = steady_seconds();
};

void make_report(const PageArguments& a) {
  constexpr double kPause = 2;  // seconds; more where a page takes long
  WrittenPage page(a);
  if (a.follow) {
    for (bool told = false;;) {
      const double began = steady_seconds();
      const bool goes_on = page.write(false);
      if (!goes_on) break;
      if (!std::exchange(told, true))
        log_info("{} is written again as the run goes on, until it ends", a.out);
      const double pause = std::max(kPause, 10 * (steady_seconds() - began));
      std::this_thread::sleep_for(std::chrono::duration<double>(pause));
    }
  }
  page.write(true);
  log_info("written to {}", a.out);
}

}  // namespace

void add_report(CLI::App& app) {
  const auto arguments = std::make_shared<PageArguments>();
  PageArguments& a = *arguments;
  CLI::App* command =
      app.add_subcommand("report", "a page about runs: curves, scores, experts, samples, settings");
  command->add_option("DIR", a.runs, "folders of runs; the others are compared with the first")
      ->required()
      ->option_text(" ");
  command->add_option("--out", a.out, "the page, one HTML file that needs nothing else")
      ->capture_default_str()
      ->type_name("FILE");
  command->add_flag("--follow", a.follow, "write it again while a run is being trained, until it ends");
  add_quiet_option(*command);
  command->callback([arguments] { make_report(*arguments); });
}

}  // namespace chorus::inline app
