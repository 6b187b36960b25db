#include "app/form_plot.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "base/text.h"

namespace chorus::inline app {

std::string form_plot(const std::vector<Candidate>& forms, const Cluster& cluster) {
  constexpr int kLeft = 110, kWidth = 560, kRow = 30, kTop = 56;
  double most = 1e9;
  for (const Candidate& c : forms) most = std::max(most, static_cast<double>(c.parameters));
  const double first = 8, last = std::ceil(std::log10(most));  // powers of ten
  const auto x_of = [&](double parameters) {
    return kLeft +
           kWidth * std::clamp((std::log10(std::max(parameters, 1.0)) - first) / (last - first), 0.0, 1.0);
  };
  const int bottom = kTop + kRow * static_cast<int>(forms.size());
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" font-family=\"sans-serif\" "
      "font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
      "<text x=\"{}\" y=\"24\" font-size=\"15\">Largest model on {} of {}</text>\n",
      kLeft + kWidth + 90, bottom + 40, kLeft, counted(cluster.world, "rank"),
      human_bytes(static_cast<uint64_t>(cluster.budgets.device)));
  for (double power = first; power <= last; ++power) {
    const double x = x_of(std::pow(10, power));
    svg += fmt::format(
        "<line x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1}\" y2=\"{2}\" stroke=\"#ccc\"/>"
        "<text x=\"{0:.1f}\" y=\"{3}\" text-anchor=\"middle\">{4}</text>\n",
        x, kTop - 8, bottom, bottom + 20, human_count(std::pow(10, power)));
  }
  for (size_t i = 0; i < forms.size(); ++i) {
    const Candidate& c = forms[i];
    const int y = kTop + kRow * static_cast<int>(i);
    const double x = x_of(static_cast<double>(c.parameters));
    svg += fmt::format(
        "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>"
        "<rect x=\"{}\" y=\"{}\" width=\"{:.1f}\" height=\"20\" fill=\"{}\"/>"
        "<text x=\"{:.1f}\" y=\"{}\">{}</text>\n",
        kLeft - 8, y + 15, c.name, kLeft, y, x - kLeft,
        c.name.find('-') == std::string::npos ? "#4878a8" : "#d08040", x + 6, y + 15,
        c.parameters > 0 ? human_count(static_cast<double>(c.parameters)) : "none");
  }
  return svg + "</svg>\n";
}

}  // namespace chorus::inline app
