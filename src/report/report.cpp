#include "report/report.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"
#include "io/json.h"
#include "io/run_layout.h"

#include "report/internal/growing_lines.h"
#include "report/internal/page_data.h"
#include "report/internal/page_text.h"
#include "report/internal/run_history.h"
#include "report/internal/translations.h"

namespace chorus::inline report {
namespace fs = std::filesystem;

struct Report::Run {
  explicit Run(RunToReport of) : about(std::move(of)), lines(about.folder / kRunMetrics) {}

  /// Whether there was anything new.
  bool read();
  [[nodiscard]] std::vector<std::string> notes() const;

  RunToReport about;
  GrowingLines lines;
  RunHistory history;
  std::optional<KeptTranslations> kept;
  std::string kept_fault;                     // why there is none of use
  std::optional<fs::file_time_type> kept_at;  // when what was read was written
  std::vector<Comparison> comparisons;        // with the first run
};

bool Report::Run::read() {
  const bool longer = lines.read({.start_again = [this] { history = RunHistory(); },
                                  .line = [this](std::string_view line) { history.take(line); },
                                  .too_long = [this] { ++history.damaged; }});
  std::error_code missing;
  const fs::file_time_type at = fs::last_write_time(about.folder / kRunTranslations, missing);
  if (missing || at == kept_at) return longer;
  kept_at = at;
  kept.reset();
  kept_fault.clear();
  try {
    kept = read_translations(about.folder);
  } catch (const UserError& error) {
    kept_fault = error.what();
  }
  return true;
}

std::vector<std::string> Report::Run::notes() const {
  std::vector<std::string> list;
  const auto when = [&](bool is_so, std::string note) {
    if (is_so) list.push_back(std::move(note));
  };
  const RunHistory& h = history;
  when(h.records == 0, "It has written no numbers yet (metrics.jsonl): they come with the first updates.");
  when(h.damaged > 0, fmt::format("{} of metrics.jsonl {} no record and left out.",
                                  counted(h.damaged, "line"), h.damaged == 1 ? "is" : "are"));
  when(h.not_finite > 0, fmt::format("The loss is no finite number in {}, the first at update {:.0f}.",
                                     counted(h.not_finite, "record"), h.first_not_finite));
  when(h.skipped > 0,
       fmt::format("{} skipped: the gradient was not finite.",
                   h.skipped == 1 ? "1 update was" : fmt::format("{:.0f} updates were", h.skipped)));
  when(h.train.in_each() > 1,
       fmt::format(
           "Each point of a curve is the mean of {} records; the band behind it reaches from the least "
           "to the most.",
           h.train.in_each()));
  when(!h.by_language.empty() && h.languages.empty(),
       "A chorus that wrote no names of languages into metrics.jsonl has made it: they have numbers.");
  when(!about.fault.empty(), "No settings: " + about.fault);
  when(!kept_fault.empty(), "No translations: " + kept_fault);
  return list;
}

Report::Report(std::vector<RunToReport> runs) {
  if (runs.empty() || runs.size() > kMostRuns)
    throw UserError("a report is of 1 to {} runs, not of {}: name those to be shown", kMostRuns, runs.size());
  runs_.reserve(runs.size());
  for (RunToReport& run : runs) runs_.push_back(std::make_unique<Run>(std::move(run)));
}

Report::~Report() = default;

bool Report::read() {
  bool any = false;
  std::vector<bool> translated;
  for (const auto& run : runs_) {
    const auto before = run->kept_at;
    any |= run->read();
    translated.push_back(run->kept_at != before);
  }
  const Run& first = *runs_.front();
  for (size_t r = 1; r < runs_.size(); ++r) {
    if (!translated.front() && !translated[r]) continue;
    Run& run = *runs_[r];
    run.comparisons.clear();
    if (first.kept && run.kept) run.comparisons = compare(*first.kept, *run.kept);
  }
  return any;
}

namespace {

/// Tier by tier what RUN/plan.json foresees; null where there is none of use.
nlohmann::json plan_json(const fs::path& run) {
  if (!fs::exists(run / "plan.json")) return nullptr;
  nlohmann::json plan;
  try {
    const nlohmann::json file = read_json(run / "plan.json");
    for (const char* tier : {"device", "host", "nvme"})
      for (const char* of : {"typical", "most"})
        plan[tier][of] = file.at(of).at(tier).at("total").get<int64_t>();
  } catch (const UserError&) {
    return nullptr;
  } catch (const nlohmann::json::exception&) {
    return nullptr;
  }
  return plan;
}

/// Why there are no differences to tell between the first run and another.
std::string missing_of(const RunToReport& run) {
  const auto decode = std::ranges::find(run.settings, "validation.decode", &Setting::name);
  if (decode != run.settings.end() && decode->value == "0") {
    return fmt::format(
        "{} keeps no translations: set validation.decode to the number of sentences of each "
        "direction that validation translates.",
        run.name);
  }
  return fmt::format(
      "{} has kept no translations (translations.json) yet: they come with its first validation.", run.name);
}

/// JSON, in which < stands in strings alone, without it: then no text of a run ends the script element that it is in.
std::string without_tags(std::string_view text) {
  std::string safe;
  safe.reserve(text.size());
  for (const char c : text) {
    if (c == '<')
      safe += "\\u003c";
    else
      safe += c;
  }
  return safe;
}

/// `page` with each %NAME% replaced; nothing in what is put in is looked at again.
std::string filled(std::string_view page, const std::map<std::string_view, std::string_view>& parts) {
  std::string text;
  while (!page.empty()) {
    const size_t begin = page.find('%'), end = page.find('%', begin == page.npos ? begin : begin + 1);
    const auto part = end == page.npos ? parts.end() : parts.find(page.substr(begin + 1, end - begin - 1));
    const size_t plain = part != parts.end() ? begin : std::min(begin, page.size() - 1) + 1;
    text += page.substr(0, plain);
    if (part != parts.end()) text += part->second;
    page.remove_prefix(part != parts.end() ? end + 1 : plain);
  }
  return text;
}

}  // namespace

std::string Report::page(const PageOptions& options) const {
  nlohmann::json data = {{"version", options.version}, {"made", options.made}, {"reload", options.reload}};
  std::vector<RunToReport> abouts;
  std::vector<const KeptTranslations*> kept;
  for (size_t r = 0; r < runs_.size(); ++r) {
    const Run& run = *runs_[r];
    nlohmann::json json = history_json(run.history, runs_.size());
    json["name"] = run.about.name;
    json["running"] = r < options.running.size() && options.running[r];
    json["notes"] = run.notes();
    json["plan"] = plan_json(run.about.folder);
    json["comparisons"] = comparisons_json(run.comparisons);
    json["kept"] = run.kept ? nlohmann::json(run.kept->update) : nlohmann::json();
    json["missing"] = run.kept || !run.kept_fault.empty() ? "" : missing_of(run.about);
    data["runs"].push_back(std::move(json));
    abouts.push_back(run.about);
    kept.push_back(run.kept ? &*run.kept : nullptr);
  }
  data["settings"] = settings_json(abouts);
  data["samples"] = samples_json(kept);
  const std::string text = without_tags(data.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  return filled(kPageHtml, {{"STYLE", kPageStyle}, {"DATA", text}, {"SCRIPT", kPageScript}});
}

}  // namespace chorus::inline report
