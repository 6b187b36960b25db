// One page about runs, made of what their folders hold (docs/files.md): HTML that needs nothing besides, neither a
// server nor a network.
//
//   Report report({{.name = "a", .folder = "runs/a", .settings = settings_of(schema)}, ...});
//   report.read();
//   write_file_atomically("report.html", report.page({}));
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "config/options.h"

namespace chorus::inline report {

/// An option of a run, as TOML text.
struct Setting {
  std::string name, value, initial;  // "data.train[0].weight", "2.0", "1.0": the default
};
/// All options of a schema that has read a run's settings.
std::vector<Setting> settings_of(const Schema& schema);

struct RunToReport {
  std::string name;  // what the page calls it
  std::filesystem::path folder;
  std::vector<Setting> settings;
  std::string fault;  // why there are no settings
};

/// At most so many runs are on one page.
inline constexpr size_t kMostRuns = 12;

struct PageOptions {
  int reload = 0;             // seconds after which the page loads itself again; 0: never
  std::vector<bool> running;  // of each run, whether it is being trained; empty: none is
  std::string version;        // chorus's
  std::string made;           // when, for people
};

/// Not for several threads at once.
class Report {
 public:
  /// The runs, the first of which the others are compared with. Nothing is read yet. UserError unless there are
  /// 1 to kMostRuns.
  explicit Report(std::vector<RunToReport> runs);
  ~Report();
  Report(const Report&) = delete;
  Report& operator=(const Report&) = delete;

  /// Reads what the runs have written since the last call; whether there was anything. Files that are missing,
  /// damaged or half written become notes on the page. UserError where a file of a run cannot be read at all.
  bool read();

  /// The page, in UTF-8. Its size, like the memory that reading takes, is bounded however long the runs are.
  [[nodiscard]] std::string page(const PageOptions& options) const;

 private:
  struct Run;
  std::vector<std::unique_ptr<Run>> runs_;
};

}  // namespace chorus::inline report
