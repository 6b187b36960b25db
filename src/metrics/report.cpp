#include "metrics/report.h"

#include <algorithm>
#include <string_view>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace chorus::inline metrics {
namespace {

double rounded(double value, int digits) {
  return std::stod(fmt::format("{:.{}f}", value, digits));
}

// "μ = 31.20 ± 1.44"
std::string words(const Confidence& confidence, int digits) {
  return fmt::format("μ = {:.{}f} ± {:.{}f}", confidence.mean, digits, confidence.half_width, digits);
}

// sacreBLEU gives no interval around 0.
bool shows_confidence(const MetricReport& report) {
  return report.confidence && report.confidence->mean > 0;
}

std::string score_text(const MetricReport& report, int digits) {
  std::string text = fmt::format("{:.{}f}", report.score, digits);
  if (shows_confidence(report)) text += fmt::format(" ({})", words(*report.confidence, digits));
  return text;
}

template <class Score>
std::optional<Confidence> confidence_of(const Score& score) {
  return score.resampled.empty() ? std::nullopt : std::optional(confidence(score.resampled));
}

nlohmann::ordered_json to_object(const MetricReport& report, int digits) {
  nlohmann::ordered_json object = {
      {"name", report.name}, {"score", rounded(report.score, digits)}, {"signature", report.signature}};
  if (shows_confidence(report)) {
    object["confidence_mean"] = rounded(report.confidence->mean, digits);
    object["confidence_var"] = rounded(report.confidence->half_width, digits);
    object["confidence"] = words(*report.confidence, digits);
  }
  if (!report.verbose.empty()) object["verbose_score"] = report.verbose;
  std::string_view rest = report.signature;
  while (!rest.empty()) {
    const std::string_view part = rest.substr(0, rest.find('|'));
    rest.remove_prefix(std::min(part.size() + 1, rest.size()));
    const size_t colon = part.find(':');
    object[std::string(part.substr(0, colon))] = part.substr(colon + 1);
  }
  return object;
}

}  // namespace

MetricReport report(const BleuScore& score) {
  const double ratio =
      score.ref_len > 0 ? static_cast<double>(score.sys_len) / static_cast<double>(score.ref_len) : 0;
  return {.name = "BLEU",
          .score = score.score,
          .confidence = confidence_of(score),
          .signature = score.signature,
          .verbose = fmt::format("{:.1f} (BP = {:.3f} ratio = {:.3f} hyp_len = {} ref_len = {})",
                                 fmt::join(score.precisions, "/"), score.brevity_penalty, ratio,
                                 score.sys_len, score.ref_len)};
}

MetricReport report(const ChrfScore& score) {
  return {.name = score.name,
          .score = score.score,
          .confidence = confidence_of(score),
          .signature = score.signature,
          .verbose = ""};
}

std::string to_text(std::span<const MetricReport> reports, int digits) {
  size_t width = 0;
  for (const MetricReport& r : reports) width = std::max(width, r.name.size() + 1 + r.signature.size());
  std::string text;
  for (const MetricReport& r : reports) {
    text += fmt::format("{:>{}} = {}", r.name + "|" + r.signature, width, score_text(r, digits));
    text += (r.verbose.empty() ? "" : " " + r.verbose) + "\n";
  }
  return text;
}

std::string to_json(std::span<const MetricReport> reports, int digits) {
  std::string text;
  for (const MetricReport& r : reports) text += (text.empty() ? "" : ",\n") + to_object(r, digits).dump(1);
  return reports.size() == 1 ? text + "\n" : "[\n" + text + "\n]\n";
}

std::string to_text(std::span<const PairedReport> reports, const SystemNames& names, int digits) {
  const std::string baseline = "baseline " + names.baseline, system = "system " + names.system;
  const size_t width = std::max(baseline.size(), system.size());
  std::string text;
  for (const PairedReport& r : reports) {
    text += fmt::format("{}|{}\n  {:<{}} = {}\n  {:<{}} = {} (p = {:.4f}){}\n", r.system.name,
                        r.system.signature, baseline, width, score_text(r.baseline, digits), system, width,
                        score_text(r.system, digits), r.p_value,
                        r.p_value > 0.05 || r.baseline.score == r.system.score ? "" : "*");
  }
  return text;
}

std::string to_json(std::span<const PairedReport> reports, const SystemNames& names) {
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  json.push_back({{"system", "Baseline: " + names.baseline}});
  json.push_back({{"system", names.system}});
  for (const PairedReport& r : reports) {
    for (const bool baseline : {true, false}) {
      const MetricReport& report = baseline ? r.baseline : r.system;
      const Confidence confidence = report.confidence.value_or(Confidence());
      nlohmann::ordered_json& entry = json[baseline ? 0 : 1][report.name];
      entry = {{"score", report.score},
               {"p_value", nullptr},
               {"mean", confidence.mean},
               {"ci", confidence.half_width},
               {"signature", report.signature}};
      if (!baseline) entry["p_value"] = r.p_value;
    }
  }
  // Paths may hold any bytes.
  return json.dump(4, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace chorus::inline metrics
