// Markup is neither lost nor crossed, whatever the links.
#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "document/document.h"
#include "document/documents.h"

namespace chorus {
namespace {

using Random = std::mt19937;

size_t below(Random& random, size_t bound) {
  return random() % bound;
}

/// Words with elements around some of them, and points between; each tag has a number of its own.
std::string random_html(Random& random, int depth, int& number) {
  std::string html;
  const size_t parts = 1 + below(random, 4);
  for (size_t i = 0; i < parts; ++i) {
    if (below(random, 3) > 0) html += ' ';
    switch (below(random, depth > 3 ? 3 : 5)) {
      case 0:
        html += "<img src=" + std::to_string(number++) + ">";
        break;
      case 1:
      case 2:
        html += "word" + std::to_string(below(random, 10));
        break;
      default: {
        const std::string name = "b" + std::to_string(number++);
        html += "<" + name + ">" + random_html(random, depth + 1, number) + "</" + name + ">";
      }
    }
  }
  return html;
}

/// Its tags in order.
std::vector<std::string> tags_of(const std::string& html) {
  std::vector<std::string> tags;
  for (size_t at = html.find('<'); at != html.npos; at = html.find('<', at + 1))
    tags.push_back(html.substr(at, html.find('>', at) + 1 - at));
  return tags;
}

bool is_well_formed(const std::vector<std::string>& tags) {
  std::vector<std::string> open;
  for (const std::string& tag : tags) {
    if (tag.starts_with("<img")) continue;
    if (tag[1] != '/') {
      open.push_back("</" + tag.substr(1));
      continue;
    }
    if (open.empty() || open.back() != tag) return false;
    open.pop_back();
  }
  return open.empty();
}

TEST(Markup, IsNeitherLostNorCrossedWhateverTheLinks) {
  Random random(7);
  for (int round = 0; round < 3000; ++round) {
    int number = 0;
    const std::string html = "<p>" + random_html(random, 0, number) + " end</p>";
    const Document document(DocumentFormat::html, html);
    ASSERT_EQ(document.segments().size(), 1);
    TranslatedSegment translation;
    const size_t words = below(random, 12);
    for (size_t i = 0; i < words; ++i) {
      translation.text += (i > 0 ? " " : "") + std::string(below(random, 2) == 0 ? "Wort" : "word1") +
                          (below(random, 4) == 0 ? "," : "");
      for (size_t link = below(random, 3); link > 0; --link)
        translation.links.emplace_back(static_cast<int64_t>(below(random, 14)) - 1,
                                       static_cast<int64_t>(below(random, 14)) - 1);
    }
    const std::string written = document.write(std::vector{translation});
    std::vector<std::string> before = tags_of(html), after = tags_of(written);
    EXPECT_TRUE(is_well_formed(after)) << html << "\n" << written;
    std::ranges::sort(before);
    std::ranges::sort(after);
    EXPECT_EQ(before, after) << html << "\n" << written;
    std::string text = written;
    for (const std::string& tag : after) text.erase(text.find(tag), tag.size());
    std::erase(text, ' ');
    std::string wanted = translation.text;
    std::erase(wanted, ' ');
    EXPECT_EQ(text, wanted) << html << "\n" << written;
  }
}

TEST(Markup, DeepAndWideElementsTakeLinearWork) {
  std::string deep = "<p>x ", wide = "<p>";
  for (int i = 0; i < 100'000; ++i) deep += "<b>";
  deep += "word y";
  for (int i = 0; i < 100'000; ++i) deep += "</b>";
  for (int i = 0; i < 100'000; ++i) wide += "<b>w</b> <i></i>";
  for (const std::string& html : {deep, wide, std::string(100'000, '<'), std::string(100'000, '&')}) {
    EXPECT_EQ(unchanged(DocumentFormat::html, html), html);
    const std::string capitals = in_capitals(DocumentFormat::html, html);
    EXPECT_EQ(std::ranges::count(capitals, '>'), std::ranges::count(html, '>'));
  }
}

}  // namespace
}  // namespace chorus
