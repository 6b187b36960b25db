#include "chorus/metrics/report.h"

#include <algorithm>
#include <string_view>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace chorus {
namespace {

nlohmann::ordered_json to_object(const MetricReport& report) {
  nlohmann::ordered_json object = {{"name", report.name},
                                   {"score", std::stod(fmt::format("{:.2f}", report.score))},
                                   {"signature", report.signature}};
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
          .signature = score.signature,
          .verbose = fmt::format("{:.1f} (BP = {:.3f} ratio = {:.3f} hyp_len = {} ref_len = {})",
                                 fmt::join(score.precisions, "/"), score.brevity_penalty, ratio,
                                 score.sys_len, score.ref_len)};
}

MetricReport report(const ChrfScore& score) {
  return {.name = score.name, .score = score.score, .signature = score.signature, .verbose = ""};
}

std::string to_text(std::span<const MetricReport> reports) {
  size_t width = 0;
  for (const MetricReport& r : reports) width = std::max(width, r.name.size() + 1 + r.signature.size());
  std::string text;
  for (const MetricReport& r : reports) {
    text += fmt::format("{:>{}} = {:.2f}", r.name + "|" + r.signature, width, r.score);
    text += (r.verbose.empty() ? "" : " " + r.verbose) + "\n";
  }
  return text;
}

std::string to_json(std::span<const MetricReport> reports) {
  std::string text;
  for (const MetricReport& r : reports) text += (text.empty() ? "" : ",\n") + to_object(r).dump(1);
  return reports.size() == 1 ? text + "\n" : "[\n" + text + "\n]\n";
}

}  // namespace chorus
