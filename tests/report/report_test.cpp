#include "report/report.h"

#include <fstream>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "metrics/bleu.h"
#include "metrics/confidence.h"
#include "temporary_folder.h"

#include "report/internal/downsampled.h"
#include "report/internal/run_history.h"

namespace chorus {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

void write(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

std::string train_line(int update, const std::string& more = "") {
  return fmt::format(
             R"({{"kind":"train","update":{},"target_tokens":{},"seconds":{},"loss":{},"skipped":0{}}})",
             update, 100 * update, 0.5 * update, 10.0 / update, more) +
         "\n";
}

/// A page's data, as a browser would find it.
json data_in(const std::string& page) {
  const std::string begin = R"(<script type="application/json" id="data">)";
  const size_t from = page.find(begin) + begin.size();
  return json::parse(page.substr(from, page.find("</script>", from) - from));
}

class ReportOfRuns : public ::testing::Test {
 protected:
  std::filesystem::path run(const std::string& name, const std::string& metrics) {
    write(folder.path() / name / "metrics.jsonl", metrics);
    return folder.path() / name;
  }
  json data_of(const std::vector<std::string>& names) {
    std::vector<RunToReport> runs;
    for (const std::string& name : names) runs.push_back({.name = name, .folder = folder.path() / name});
    Report report(runs);
    report.read();
    page = report.page({});
    return data_in(page);
  }
  TemporaryFolder folder;
  std::string page;
};

TEST_F(ReportOfRuns, HasTheNumbersOfEachRecord) {
  run("a", train_line(10, R"(,"learning_rate":0.001,"memory":{"host_peak":5})") + train_line(20));
  const json a = data_of({"a"})["runs"][0];
  EXPECT_EQ(a["curves"]["update"], json({10, 20}));
  EXPECT_EQ(a["curves"]["tokens"], json({1000, 2000}));
  EXPECT_EQ(a["curves"]["columns"]["loss"]["mean"], json({1, 0.5}));
  EXPECT_EQ(a["curves"]["columns"]["learning_rate"]["mean"], json({0.001, nullptr}));
  EXPECT_EQ(a["curves"]["columns"]["memory/host_peak"]["mean"], json({5, nullptr}));
  EXPECT_FALSE(a["curves"]["columns"]["loss"].contains("least"));
  EXPECT_THAT(a["notes"], IsEmpty());
}

TEST_F(ReportOfRuns, LeavesOutWhatIsNoRecordAndSaysSo) {
  const std::string bad[] = {"not json\n",
                             "\n",
                             "[1,2]\n",
                             "{\"kind\":\"train\"}\n",
                             "{\"kind\":\"train\",\"update\":\"7\"}\n",
                             "{\"kind\":\"other\",\"update\":7}\n",
                             std::string("\0\0\0\n", 4),
                             "{\"kind\":\"train\",\"update\":1e999}\n"};
  std::string metrics = train_line(1);
  for (const std::string& line : bad) metrics += line;
  // Records, with members of other types than a run writes.
  metrics += train_line(2, R"(,"layers":[1],"memory":7,"dropped":"x","tasks":{"a":{"b":{}}})");
  metrics += train_line(
      3, R"(,"layers":{"a":3,"b":{"load":[]},"c":{"load":["x"]},"d":{"load":[0.5,0.5],"dropped":null}})");
  metrics += R"({"kind":"validation","update":3,"directions":[1],"layers":{"a":1},"best":"yes"})"
             "\n";
  metrics +=
      R"({"kind":"validation","update":3,"directions":{"a":1},"languages":[7],"layers":[3,{"name":7,"load":[1],"by_language":[1,2]}]})"
      "\n";
  metrics += train_line(4).substr(0, 20);  // half written
  run("a", metrics);
  const json a = data_of({"a"})["runs"][0];
  EXPECT_EQ(a["curves"]["update"], json({1, 2, 3}));
  EXPECT_THAT(a["notes"][0].get<std::string>(), HasSubstr("8 lines of metrics.jsonl are no record"));
  EXPECT_EQ(a["experts"]["layers"].size(), 1);
  EXPECT_EQ(a["languages"]["layers"].size(), 1);
}

TEST_F(ReportOfRuns, TakesRunsWithoutNumbers) {
  std::filesystem::create_directories(folder.path() / "none");
  run("empty", "");
  const json data = data_of({"none", "empty"});
  for (const json& run : data["runs"]) {
    EXPECT_THAT(run["curves"]["update"], IsEmpty());
    EXPECT_THAT(run["notes"][0].get<std::string>(), HasSubstr("no numbers yet"));
  }
}

TEST_F(ReportOfRuns, SaysWhereALossIsNoNumber) {
  run("a", train_line(1) +
               R"({"kind":"train","update":2,"loss":null,"skipped":3})"
               "\n" +
               train_line(3) +
               R"({"kind":"validation","update":3,"loss":null,"directions":{"en-de":{"loss":null}}})"
               "\n");
  const json a = data_of({"a"})["runs"][0];
  EXPECT_EQ(a["curves"]["columns"]["loss"]["mean"][1], nullptr);
  EXPECT_THAT(a["notes"].dump(), HasSubstr("no finite number in 1 record, the first at update 2"));
  EXPECT_THAT(a["notes"].dump(), HasSubstr("3 updates were skipped"));
  EXPECT_EQ(a["validations"]["rows"][0]["loss"], nullptr);
}

TEST_F(ReportOfRuns, DirectionsHaveAPlaceForEachValidation) {
  const auto validation = [](int update, const std::string& directions) {
    return fmt::format(R"({{"kind":"validation","update":{},"loss":1,"directions":{{{}}}}})", update,
                       directions) +
           "\n";
  };
  const std::string a = R"("a-b":{"loss":2})", b = R"("b-a":{"loss":3})";
  run("a",
      train_line(1) + validation(1, a) + validation(2, a + "," + b) + validation(3, b) + validation(4, b));
  const json directions = data_of({"a"})["runs"][0]["validations"]["directions"];
  EXPECT_EQ(directions["a-b"]["loss"], json({2, 2, nullptr, nullptr}));
  EXPECT_EQ(directions["b-a"]["loss"], json({nullptr, 3, 3, 3}));
}

TEST_F(ReportOfRuns, FollowsAFileThatGrowsAndIsReplaced) {
  const auto path = run("a", train_line(1) + train_line(2).substr(0, 9)) / "metrics.jsonl";
  Report report({{.name = "a", .folder = folder.path() / "a"}});
  const auto updates = [&] { return data_in(report.page({}))["runs"][0]["curves"]["update"]; };
  EXPECT_TRUE(report.read());
  EXPECT_EQ(updates(), json({1}));
  EXPECT_FALSE(report.read());
  std::ofstream(path, std::ios::app) << train_line(2).substr(9) << train_line(3);
  EXPECT_TRUE(report.read());
  EXPECT_EQ(updates(), json({1, 2, 3}));
  // A run that goes on from update 1 renames a shorter file to the old name.
  write(folder.path() / "a" / "new", train_line(1));
  std::filesystem::rename(folder.path() / "a" / "new", path);
  EXPECT_TRUE(report.read());
  EXPECT_EQ(updates(), json({1}));
}

TEST_F(ReportOfRuns, NoTextOfARunLeavesItsPlace) {
  const std::string evil = "</script><script>alert(1)</script><!--%DATA%";
  write(folder.path() / "a" / "translations.json", json({{"update", 1},
                                                         {"directions",
                                                          {{{"name", evil},
                                                            {"tokenize", "13a"},
                                                            {"sources", {evil}},
                                                            {"references", {evil}},
                                                            {"translations", {evil}}}}}})
                                                       .dump());
  run("a",
      R"({"kind":"validation","update":1,"loss":1,"directions":{"</script>":{"loss":1}},"languages":["</script>"],"layers":[{"name":"</script>","load":[1],"by_language":[1]}]})"
      "\n");
  Report report(
      {{.name = evil, .folder = folder.path() / "a", .settings = {{evil, evil, evil}}, .fault = evil}});
  report.read();
  const std::string text = report.page({.version = evil, .made = evil});
  size_t elements = 0;
  for (size_t at = text.find("</script"); at != std::string::npos; at = text.find("</script", at + 1))
    ++elements;
  EXPECT_EQ(elements, 2);  // the page's own
  const json data = data_in(text);
  EXPECT_EQ(data["runs"][0]["name"], evil);
  EXPECT_EQ(data["samples"][0]["source"], evil);
  EXPECT_EQ(data["settings"][0]["values"][0], evil);
}

TEST_F(ReportOfRuns, NeedsNothingFromElsewhere) {
  run("a", train_line(1));
  data_of({"a"});
  EXPECT_THAT(page, HasSubstr("default-src 'none'"));
  for (const char* outside : {"src=", "href=\"http", "url(", "@import"})
    EXPECT_THAT(page, Not(HasSubstr(outside)));
}

TEST(Downsampled, KeepsTheOrderAndEveryNumberOfAMillionRows) {
  struct Sum {
    int64_t first, last, sum;
    void merge(const Sum& next) {
      EXPECT_EQ(next.first, last + 1);
      last = next.last;
      sum += next.sum;
    }
  };
  constexpr int64_t kRows = 1'000'000;
  Downsampled<Sum> rows(100);
  for (int64_t i = 0; i < kRows; ++i) rows.add({i, i, i});
  EXPECT_GE(rows.rows().size(), 50);
  EXPECT_LE(rows.rows().size(), 100);
  int64_t sum = 0;
  for (const Sum& row : rows.rows()) {
    sum += row.sum;
    if (&row != &rows.rows().back()) {
      EXPECT_EQ(row.last - row.first + 1, rows.in_each());
    }
  }
  EXPECT_EQ(sum, kRows * (kRows - 1) / 2);
}

TEST_F(ReportOfRuns, StaysSmallHoweverLongTheRunIs) {
  std::string load = "0.0001";
  for (int e = 1; e < 4096; ++e) load += ",0.0001";
  std::string metrics;
  for (int update = 1; update <= 300; ++update) {
    std::string layers;
    for (const char* name : {"encoder.layers.1", "decoder.layers.1"})
      layers += fmt::format(R"({}"{}":{{"load":[{}],"dropped":0.5}})", layers.empty() ? "" : ",", name, load);
    metrics += train_line(update, R"(,"layers":{)" + layers + "}");
  }
  for (int update = 301; update <= 20000; ++update) metrics += train_line(update);
  metrics += R"({"kind":"train","update":20001,"loss":)" + std::string(size_t{17} << 20, '1') +
             "}\n";  // too long a line
  metrics += train_line(20002);
  run("a", metrics);
  const json a = data_of({"a"})["runs"][0];
  EXPECT_LT(page.size(), size_t{1} << 20);
  EXPECT_LE(a["curves"]["update"].size(), 800);
  EXPECT_EQ(a["curves"]["update"].back(), 20002);
  EXPECT_THAT(a["notes"].dump(), HasSubstr("1 line of metrics.jsonl is no record"));
  const json& loss = a["curves"]["columns"]["loss"];
  EXPECT_EQ(loss["most"][0], 10);  // of the first record
  EXPECT_LT(loss["mean"][0], 10);
  const json& layer = a["experts"]["layers"][0];
  EXPECT_EQ(layer["experts"], 4096);
  EXPECT_EQ(layer["bins"], 128);
  EXPECT_EQ(layer["load"].get<std::string>().size(), 2 * 128 * a["experts"]["updates"].size());
}

TEST_F(ReportOfRuns, StaysSmallWhateverItsNamesAre) {
  std::string metrics;
  for (int update = 1; update <= 1000; ++update) {
    std::string names;
    for (int i = 0; i < 20; ++i) names += fmt::format(R"("number {} {}":1,)", update, i);
    metrics += train_line(update, R"(,"memory":{)" + names + R"("host":1})");
    metrics +=
        fmt::format(R"({{"kind":"validation","update":{},"loss":1,"directions":{{"{}":{{"loss":1}}}}}})",
                    update, std::string(1000, 'x') + std::to_string(update)) +
        "\n";
  }
  run("a", metrics);
  const json a = data_of({"a"})["runs"][0];
  EXPECT_LE(a["curves"]["columns"].size(), 256);
  EXPECT_TRUE(a["curves"]["columns"].contains("loss"));
  EXPECT_TRUE(a["validations"]["directions"].empty());
}

json translations_of(const std::vector<std::string>& hypotheses, const std::vector<std::string>& references) {
  return {{"update", 5},
          {"directions",
           {{{"name", "en-de"},
             {"tokenize", "13a"},
             {"sources", references},
             {"references", references},
             {"translations", hypotheses}}}}};
}

TEST_F(ReportOfRuns, ComparesRunsAsPairedBootstrapDoes) {
  std::vector<std::string> references, half, most;
  for (int i = 0; i < 40; ++i) {
    references.push_back(fmt::format("the {} dogs run over {} green hills today", i, i * 7));
    half.push_back(i % 2 ? references.back() : "nothing of that kind at all");
    most.push_back(i % 8 ? references.back() : "nothing of that kind at all");
  }
  for (const auto& [name, hypotheses] : {std::pair{"half", half}, {"most", most}}) {
    run(name, train_line(1));
    write(folder.path() / name / "translations.json", translations_of(hypotheses, references).dump());
  }
  run("elsewhere", train_line(1));
  write(folder.path() / "elsewhere" / "translations.json", translations_of(half, most).dump());
  run("nothing", train_line(1));
  const json runs = data_of({"half", "most", "elsewhere", "nothing"})["runs"];
  const json& bleu_row = runs[1]["comparisons"][0];
  EXPECT_EQ(bleu_row["metric"], "BLEU");
  EXPECT_EQ(bleu_row["lines"], 40);
  const BleuScore a = bleu(half, references, {.resamples = kResamples}),
                  b = bleu(most, references, {.resamples = kResamples});
  EXPECT_NEAR(bleu_row["baseline"][0].get<double>(), a.score, 1e-3);
  EXPECT_NEAR(bleu_row["other"][0].get<double>(), b.score, 1e-3);
  EXPECT_NEAR(bleu_row["p"].get<double>(), p_value(a.score - b.score, a.resampled, b.resampled), 1e-6);
  EXPECT_LT(bleu_row["p"].get<double>(), 0.01);
  EXPECT_EQ(runs[1]["comparisons"][1]["metric"], "chrF");
  EXPECT_THAT(runs[0]["comparisons"], IsEmpty());
  EXPECT_THAT(runs[2]["comparisons"], IsEmpty());  // other text
  EXPECT_THAT(runs[3]["missing"].get<std::string>(), HasSubstr("kept no translations"));
}

TEST_F(ReportOfRuns, SaysWhatIsWrongWithKeptTranslations) {
  for (
      const char* text :
      {"{", "[]", R"({"update":1})", R"({"update":1,"directions":[{"name":"a"}]})",
       R"({"update":1,"directions":[{"name":"a","tokenize":"13a","sources":["x"],"references":[],"translations":[]}]})",
       R"({"update":1,"directions":[{"name":"a","tokenize":"spm","sources":["x"],"references":["x"],"translations":["x"]}]})"}) {
    run("a", train_line(1));
    write(folder.path() / "a" / "translations.json", text);
    const json a = data_of({"a"})["runs"][0];
    EXPECT_THAT(a["notes"].dump(), HasSubstr("No translations: ")) << text;
    EXPECT_TRUE(a["kept"].is_null()) << text;
    EXPECT_EQ(a["missing"], "") << text;
  }
}

struct Item {
  double weight = 1;
};
TEST(Settings, HaveTheirDefaultsAlsoInLists) {
  int64_t seed = 1;
  std::vector<Item> items;
  Schema schema;
  schema.add("seed", seed, {.help = "a seed"});
  schema.section("data", "data");
  schema.list("train", items,
              +[](Schema& s, Item& item) { s.add("weight", item.weight, {.help = "a weight"}); },
              {.help = "items"});
  schema.read_text("seed = 3\n[[data.train]]\n[[data.train]]\nweight = 2.5\n", "run.toml");
  const std::vector<Setting> settings = settings_of(schema);
  ASSERT_EQ(settings.size(), 3);
  EXPECT_EQ(settings[0].value + " " + settings[0].initial, "3 1");
  EXPECT_EQ(settings[1].value + " " + settings[1].initial, "1.0 1.0");
  EXPECT_EQ(settings[2].name, "data.train[1].weight");
  EXPECT_EQ(settings[2].value + " " + settings[2].initial, "2.5 1.0");
}

TEST(ReportOfTooMany, IsRefused) {
  EXPECT_THROW(Report({}), UserError);
  EXPECT_THROW(Report(std::vector<RunToReport>(kMostRuns + 1)), UserError);
}

}  // namespace
}  // namespace chorus
