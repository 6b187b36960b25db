#include "config/options.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "base/error.h"

namespace chorus {
namespace {

enum class Color { red, green, dark_blue };

struct Source {
  std::string path = "";
  double weight = 1;
  std::vector<std::string> tags = {};
};

void describe(Schema& s, Source& source) {
  s.add("path", source.path, {.help = "the file"});
  s.add("weight", source.weight, {.help = "how often", .min = 0});
  s.add("tags", source.tags, {.help = "language tags"});
}

struct Config {
  int64_t count = 3;
  double rate = 7e-4;
  bool on = true;
  std::string name = "plain";
  std::vector<std::string> words = {"a", "b"};
  Duration length = {20000, Duration::Unit::updates};
  Color color = Color::green;
  std::vector<Source> sources;
  int64_t seed = 1;
};

struct OptionsTest : testing::Test {
  OptionsTest() {
    schema.section("train", "how to train");
    schema.add("count", config.count, {.help = "a count", .unit = "updates", .min = 1, .max = 100});
    schema.add("learning_rate", config.rate, {.help = "a rate", .min = 0});
    schema.add("on", config.on, {.help = "a switch"});
    schema.add("length", config.length, {.help = "how long", .min = 1});
    schema.section("data.text", "what to read");
    schema.add("name", config.name, {.help = "a name | or none"});
    schema.add("words", config.words, {.help = "some words"});
    schema.add("color", config.color,
               {{"red", Color::red}, {"green", Color::green}, {"dark-blue", Color::dark_blue}},
               {.help = "a color"});
    schema.list("sources", config.sources, describe, {.help = "files"});
    schema.section("train", "not this help");
    schema.add("seed", config.seed, {.help = "the seed"});
  }

  std::string error_of(const std::string& text) {
    try {
      schema.read_text(text, "run.toml");
    } catch (const UserError& error) {
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
      return error.what();
    }
    return "";
  }
  std::string set_error(const std::string& assignment) {
    try {
      schema.set(assignment);
    } catch (const UserError& error) {
      return error.what();
    }
    return "";
  }

  Config config;
  Schema schema;
};

TEST_F(OptionsTest, ReadsEveryType) {
  schema.read_text(
      "[train]\ncount = 7\nlearning_rate = 1e-4\non = false\nlength = \"50Mt\"\n"
      "[data.text]\nname = 'x y'\nwords = ['c']\ncolor = \"dark-blue\"\n"
      "[[data.text.sources]]\npath = \"one\"\nweight = 2\n[[data.text.sources]]\npath = \"two\"\ntags = "
      "[\"en\", \"de\"]\n",
      "run.toml");
  EXPECT_EQ(config.count, 7);
  EXPECT_EQ(config.rate, 1e-4);
  EXPECT_FALSE(config.on);
  EXPECT_EQ(config.length, (Duration{50'000'000, Duration::Unit::tokens}));
  EXPECT_EQ(config.name, "x y");
  EXPECT_EQ(config.words, std::vector<std::string>{"c"});
  EXPECT_EQ(config.color, Color::dark_blue);
  ASSERT_EQ(config.sources.size(), 2U);
  EXPECT_EQ(config.sources[0].weight, 2);
  EXPECT_EQ(config.sources[1].path, "two");
  EXPECT_EQ(config.sources[1].weight, 1);
  EXPECT_EQ(config.sources[1].tags, (std::vector<std::string>{"en", "de"}));
  EXPECT_EQ(config.seed, 1);
}

TEST_F(OptionsTest, AListInTheFileReplacesTheOneBefore) {
  config.sources = {{.path = "old", .weight = 9}, {}};
  schema.read_text("[data.text]\nsources = [{path = 'new'}]", "run.toml");
  ASSERT_EQ(config.sources.size(), 1U);
  EXPECT_EQ(config.sources[0].path, "new");
  EXPECT_EQ(config.sources[0].weight, 1);
}

TEST_F(OptionsTest, NumbersMayBeWrittenEitherWayIfTheyComeOutWhole) {
  schema.read_text("train.count = 5e1\ntrain.learning_rate = 3", "run.toml");
  EXPECT_EQ(config.count, 50);
  EXPECT_EQ(config.rate, 3.0);
  EXPECT_EQ(error_of("train.count = 5.5"), "run.toml:1: train.count: 5.5 is not a whole number");
  EXPECT_NE(error_of("train.seed = 1e300"), "");
  EXPECT_NE(error_of("train.seed = nan"), "");
  EXPECT_NE(error_of("train.seed = 99999999999999999999"), "");
  EXPECT_EQ(error_of("train.learning_rate = inf"),
            "run.toml:1: train.learning_rate: it must be a finite number");
  EXPECT_NE(error_of("train.learning_rate = nan"), "");
}

TEST_F(OptionsTest, EmptyFilesByteOrderMarksAndCarriageReturns) {
  EXPECT_EQ(error_of(""), "");
  EXPECT_EQ(error_of("\xEF\xBB\xBF[train]\r\ncount = 9\r\n"), "");
  EXPECT_EQ(config.count, 9);
  EXPECT_EQ(error_of("[train]\r\n\r\nonn = true\r\n"),
            "run.toml:3: unknown option 'train.onn'; did you mean 'on'?");
}

TEST_F(OptionsTest, SyntaxErrorsNameTheLine) {
  EXPECT_TRUE(error_of("[train]\ncount = \n").starts_with("run.toml:2: not TOML: "))
      << error_of("[train]\ncount = \n");
  EXPECT_TRUE(error_of("[train]\ncount = 1\ncount = 2\n").starts_with("run.toml:3: not TOML: "));
  EXPECT_TRUE(error_of("[train]\n[train]\n").starts_with("run.toml:2: not TOML: "));
  EXPECT_TRUE(error_of("[data.text]\nname = \"\xFF\"\n").starts_with("run.toml:2: not TOML: "));
  EXPECT_TRUE(error_of(std::string("a = 1\0", 6)).starts_with("run.toml:1: "));
  EXPECT_TRUE(error_of("[train]\non = yes").starts_with("run.toml:2: not TOML: "));
  EXPECT_NE(error_of("train.count = " + std::string(100000, '[')), "");
}

TEST_F(OptionsTest, MessagesStayOneLineWhateverTheFileHolds) {
  EXPECT_EQ(error_of("[train]\non = fal\n"),
            "run.toml:2: not TOML: Error while parsing boolean: expected 'false', saw 'fal\\x0a'");
  EXPECT_EQ(error_of("\"a\\nb\" = 1"), "run.toml:1: unknown section 'a\\x0ab'");
  EXPECT_NE(error_of("data.text.color = \"a\\nb\"").find("'a\\x0ab' is not one of"), std::string::npos);
  EXPECT_NE(error_of("train.length = \"1\\n\""), "");
  EXPECT_EQ(set_error("a\nb"), "--set a\\x0ab: write section.key=value");
  EXPECT_EQ(set_error("a\nb=1"), "--set a\\x0ab=1: unknown section 'a\\x0ab'");
}

TEST_F(OptionsTest, UnknownNamesGetASuggestion) {
  EXPECT_EQ(error_of("[train]\nlearnig_rate = 1"),
            "run.toml:2: unknown option 'train.learnig_rate'; did you mean 'learning_rate'?");
  EXPECT_EQ(error_of("[trian]\ncount = 1"), "run.toml:1: unknown section 'trian'; did you mean 'train'?");
  EXPECT_EQ(error_of("count = 1"), "run.toml:1: unknown option 'count'; did you mean 'train.count'?");
  EXPECT_EQ(error_of("[data.text]\nseed = 1"),
            "run.toml:2: unknown option 'data.text.seed'; did you mean 'train.seed'?");
  const std::string nothing_alike = error_of("[train]\nzzzzzz = 1");
  EXPECT_TRUE(nothing_alike.starts_with("run.toml:2: unknown option 'train.zzzzzz'; there are count, "))
      << nothing_alike;
  EXPECT_EQ(error_of("[[data.text.sources]]\nwieght = 1"),
            "run.toml:2: unknown option 'data.text.sources.wieght'; did you mean 'weight'?");
  EXPECT_EQ(error_of("[data.tetx]\nname = 'x'"),
            "run.toml:1: unknown option 'data.tetx'; did you mean 'data.text'?");
  EXPECT_NE(error_of("\"train.count\" = 1"), "");
  EXPECT_NE(error_of("\"\" = 1"), "");
}

TEST_F(OptionsTest, WrongTypesAndTables) {
  EXPECT_EQ(error_of("[train]\ncount = \"7\""),
            "run.toml:2: train.count: takes a whole number, not a string");
  EXPECT_EQ(error_of("[train]\non = 1"), "run.toml:2: train.on: takes true or false, not a whole number");
  EXPECT_EQ(error_of("[data.text]\nname = 1979-05-27"),
            "run.toml:2: data.text.name: takes a string, not a date or time");
  EXPECT_EQ(error_of("[data.text]\nwords = \"a\""),
            "run.toml:2: data.text.words: takes a list of strings, not a string");
  EXPECT_EQ(error_of("[data.text]\nwords = [\"a\", 1]"),
            "run.toml:2: data.text.words: takes a list of strings, and a whole number is in it");
  EXPECT_EQ(config.words, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(error_of("[train.count]\nx = 1"), "run.toml:1: train.count: takes a whole number, not a table");
  EXPECT_EQ(error_of("train = 3"), "run.toml:1: train is a section: write [train] and its options below it");
  EXPECT_EQ(error_of("[[train]]"), "run.toml:1: train is a section: write [train] and its options below it");
  EXPECT_EQ(
      error_of("[data.text.sources]\npath = 'x'"),
      "run.toml:1: data.text.sources: is a list of tables: write [[data.text.sources]], with two brackets");
  EXPECT_NE(error_of("[data.text]\nsources = [1]"), "");
}

TEST_F(OptionsTest, RangesAndChoices) {
  EXPECT_EQ(error_of("\n[train]\ncount = 0"), "run.toml:3: train.count: 0 is less than 1, in updates");
  EXPECT_EQ(error_of("[train]\ncount = 101"), "run.toml:2: train.count: 101 is more than 100, in updates");
  EXPECT_EQ(error_of("[train]\nlearning_rate = -1"), "run.toml:2: train.learning_rate: -1 is less than 0");
  EXPECT_EQ(config.count, 3);
  EXPECT_EQ(error_of("[data.text]\ncolor = \"gren\""),
            "run.toml:2: data.text.color: 'gren' is not one of red, green, dark-blue; did you mean 'green'?");
  EXPECT_NE(error_of("[train]\nlength = \"0u\""), "");
  EXPECT_NE(error_of("[train]\nlength = 300").find("say what it counts"), std::string::npos);
  EXPECT_NE(error_of("[[data.text.sources]]\nweight = -1").find("data.text.sources.weight"),
            std::string::npos);
}

TEST_F(OptionsTest, SetTakesStringsWithAndWithoutQuotes) {
  schema.set("data.text.name=with = and \"quotes\" and \\");
  EXPECT_EQ(config.name, "with = and \"quotes\" and \\");
  schema.set("data.text.name=\"a\\tb\"");
  EXPECT_EQ(config.name, "a\tb");
  schema.set("data.text.name=");
  EXPECT_EQ(config.name, "");
  schema.set(" train.count = 1e1 ");
  EXPECT_EQ(config.count, 10);
  schema.set("train.on=false");
  EXPECT_FALSE(config.on);
  schema.set("train.length=5e");
  EXPECT_EQ(config.length, (Duration{5, Duration::Unit::epochs}));
  schema.set("data.text.color=red");
  EXPECT_EQ(config.color, Color::red);
  schema.set("data.text.words=x, y");
  EXPECT_EQ(config.words, (std::vector<std::string>{"x", "y"}));
  schema.set("data.text.words=[\"x,1\"]");
  EXPECT_EQ(config.words, (std::vector<std::string>{"x,1"}));
  schema.set("data.text.words=[z]");
  EXPECT_EQ(config.words, (std::vector<std::string>{"z"}));
  schema.set("data.text.words=[]");
  EXPECT_TRUE(config.words.empty());
  schema.set("data.text.sources=[{path='a'}, {path='b'}]");
  schema.set("data.text.sources.1.weight=4");
  EXPECT_EQ(config.sources[1].weight, 4);
  schema.set("data.text.sources[1].weight=5");
  EXPECT_EQ(config.sources[1].weight, 5);
}

TEST_F(OptionsTest, SetRefusals) {
  EXPECT_EQ(set_error("train.count"), "--set train.count: write section.key=value");
  EXPECT_EQ(set_error("train.cuont=1"),
            "--set train.cuont=1: unknown option 'train.cuont'; did you mean 'count'?");
  EXPECT_EQ(set_error("trian.count=1"),
            "--set trian.count=1: unknown option 'trian.count'; did you mean 'train.count'?");
  EXPECT_EQ(set_error("train.on=yes"), "--set train.on=yes: train.on takes true or false");
  EXPECT_EQ(set_error("train=1"), "--set train=1: train is a section: name one option of it");
  EXPECT_EQ(set_error("train.count=1\nx=2").substr(0, 5), "--set");
  EXPECT_NE(set_error("train.count=").find("a whole number"), std::string::npos);
  EXPECT_NE(set_error("=1"), "");
  EXPECT_NE(set_error("data.text.name=\xFF"), "");
  EXPECT_NE(set_error("data.text.sources.0.weight=1").find("has 0 items"), std::string::npos);
  config.sources.resize(1);
  EXPECT_NE(set_error("data.text.sources.0=1").find("name an item and its option"), std::string::npos);
  EXPECT_NE(set_error("data.text.sources.x.weight=1").find("name an item and its option"), std::string::npos);
  EXPECT_NE(set_error("data.text.sources.-1.weight=1").find("name an item and its option"),
            std::string::npos);
  EXPECT_EQ(set_error("data.text.sources.0.wieght=1"),
            "--set data.text.sources.0.wieght=1: unknown option 'data.text.sources[0].wieght'; did you mean "
            "'weight'?");
  EXPECT_EQ(config.count, 3);
}

TEST_F(OptionsTest, DumpReadsBackToTheSameValues) {
  config.rate = 1.0 / 3;
  config.name = "quote \" back \\ tab \t line \n bell \x07 del \x7F caf\xC3\xA9";
  config.words = {"", "\"", "a,b"};
  config.sources = {{.path = "p", .weight = 1e-30}, {.tags = {"x"}}};
  config.length = {0, Duration::Unit::epochs};
  config.length.count = 1'500'000;
  config.seed = std::numeric_limits<int64_t>::min() + 1;
  const std::string dump = schema.dump();
  const auto values = schema.values();
  {
    Config blank;
    config = blank;
  }
  schema.read_text(dump, "dump");
  EXPECT_EQ(schema.dump(), dump);
  EXPECT_EQ(schema.values(), values);
  EXPECT_EQ(config.rate, 1.0 / 3);
  EXPECT_EQ(config.sources[0].weight, 1e-30);
  EXPECT_NE(dump.find("# a count (whole number, in updates, 1 to 100)\ncount = 3\n"), std::string::npos)
      << dump;
}

TEST_F(OptionsTest, ADumpIsAsLongAsAFileMayBe) {
  // Of many tables the first alone is explained.
  config.sources.resize(5000);
  const std::string dump = schema.dump();
  const size_t first = dump.find("# the file ");
  EXPECT_NE(first, std::string::npos);
  EXPECT_EQ(dump.find("# the file ", first + 1), std::string::npos);
  schema.read_text(dump, "dump");
  EXPECT_EQ(config.sources.size(), 5000U);
  config.sources.resize(50'000);
  EXPECT_THROW(static_cast<void>(schema.dump()), UserError);
}

TEST_F(OptionsTest, ValuesAreFlatAndInOrder) {
  config.sources.resize(1);
  const auto values = schema.values();
  ASSERT_EQ(values.size(), 11U);
  EXPECT_EQ(values[0], (std::pair<std::string, std::string>("train.count", "3")));
  EXPECT_EQ(values[4], (std::pair<std::string, std::string>("train.seed", "1")));
  EXPECT_EQ(values[7], (std::pair<std::string, std::string>("data.text.color", "\"green\"")));
  EXPECT_EQ(values[9], (std::pair<std::string, std::string>("data.text.sources[0].weight", "1.0")));
}

TEST_F(OptionsTest, HelpAndMarkdownNameEveryOptionWithItsDefault) {
  config.count = 50;  // the default is what it was when described
  const std::string help = schema.help();
  EXPECT_NE(help.find("  train.count = 3 "), std::string::npos) << help;
  EXPECT_NE(help.find("[[data.text.sources]]  files"), std::string::npos) << help;
  EXPECT_NE(help.find("  weight = 1.0 "), std::string::npos) << help;
  const std::string page = schema.markdown();
  EXPECT_NE(page.find("| `name` | string | `\"plain\"` | a name \\| or none |\n"), std::string::npos) << page;
  EXPECT_NE(page.find("## `[[data.text.sources]]`"), std::string::npos) << page;
  EXPECT_TRUE(config.sources.empty());
}

TEST_F(OptionsTest, DescribingAKeyTwiceIsAnError) {
  int64_t again = 0;
  EXPECT_THROW(schema.add("seed", again, {}), Error);
}

TEST_F(OptionsTest, NothingReachesTheParserThatItDoesNotSurvive) {
  const auto repeat = [](std::string_view text, int count) {
    std::string out;
    for (int i = 0; i < count; ++i) out += text;
    return out;
  };
  for (const int depth : {40, 60000}) {
    EXPECT_EQ(error_of("\n" + repeat("a.", depth) + "a = 1"), "run.toml:2: nested deeper than 32 levels");
    EXPECT_EQ(error_of("[" + repeat("a . ", depth) + "a]"), "run.toml:1: nested deeper than 32 levels");
    EXPECT_EQ(error_of("a = " + repeat("[", depth)), "run.toml:1: nested deeper than 32 levels");
    EXPECT_EQ(error_of("a = " + repeat("{a.a = ", depth)), "run.toml:1: nested deeper than 32 levels");
    EXPECT_NE(set_error("data.text.words=['a', " + repeat("[", depth)), "");
  }
  EXPECT_EQ(error_of("[=table]]"), "run.toml:1: not TOML: a table header without a name");
  EXPECT_EQ(error_of("\n[[ ]]"), "run.toml:2: not TOML: a table header without a name");
  EXPECT_EQ(error_of("\xD0\xB6 = 1"), "run.toml:1: not TOML: characters beyond ASCII belong in quotes");
  EXPECT_EQ(error_of("train.count = 1\xC2\xA0"),
            "run.toml:1: not TOML: characters beyond ASCII belong in quotes");
  EXPECT_NE(error_of("data.text.name = \"\"\"a\\\n  \xD0\xB6\"\"\""), "");
  // In strings and comments they may be, and dots and brackets too.
  const std::string dots = repeat(".[", 100);
  EXPECT_EQ(error_of("\xEF\xBB\xBF# \xD0\xB6 \" " + dots + "\n[data.text] # '\nname = \"\xD0\xB6\\\"" + dots +
                     "\""),
            "");
  EXPECT_EQ(config.name, "\xD0\xB6\"" + dots);
  const std::string quotes(3, '"'), apostrophes(3, '\'');
  EXPECT_EQ(error_of("data.text.words = ['" + dots + "\\', " + quotes + "\"" + dots + "\n\\\"" + quotes +
                     "\"\", " + apostrophes + dots + apostrophes + "]"),
            "");
  EXPECT_EQ(config.words, (std::vector<std::string>{dots + "\\", "\"" + dots + "\n\"\"\"", dots}));
}

TEST_F(OptionsTest, LongValuesAreCutInMessages) {
  const std::string error = set_error("train.count=" + std::string(100000, 'x') + "\x1B[2J");
  EXPECT_LT(error.size(), 400U);
  EXPECT_EQ(error.find('\x1B'), std::string::npos);
  EXPECT_LT(error_of("[data.text]\ncolor = '" + std::string(100000, 'x') + "'").size(), 400U);
}

TEST_F(OptionsTest, FilesThatCannotBeRead) {
  EXPECT_THROW(schema.read_file("/nonexistent/run.toml"), UserError);
  EXPECT_THROW(schema.read_file(std::filesystem::temp_directory_path()), UserError);
  const std::filesystem::path path = testing::TempDir() + "options_test.toml";
  std::ofstream(path) << "[train]\ncount = 12\n";
  schema.read_file(path);
  EXPECT_EQ(config.count, 12);
  std::ofstream(path) << "";
  schema.read_file(path);
  EXPECT_EQ(config.count, 12);
  std::filesystem::resize_file(path, uint64_t{1} << 40);  // of holes
  EXPECT_THROW(schema.read_file(path), UserError);
  std::filesystem::remove(path);
}

TEST(Duration, ReadsAndWrites) {
  EXPECT_EQ(parse_duration("20000u"), (Duration{20000, Duration::Unit::updates}));
  EXPECT_EQ(parse_duration("5e"), (Duration{5, Duration::Unit::epochs}));
  EXPECT_EQ(parse_duration("1.5Mt"), (Duration{1'500'000, Duration::Unit::tokens}));
  EXPECT_EQ(parse_duration("2Gt"), (Duration{2'000'000'000, Duration::Unit::tokens}));
  EXPECT_EQ(parse_duration("20ku"), parse_duration("20000u"));
  EXPECT_EQ(parse_duration("0"), Duration{});
  EXPECT_EQ(parse_duration("9223372036854775807u").count, std::numeric_limits<int64_t>::max());
  for (const char* text : {"20000u", "5e", "50Mt", "3Gt", "0t", "1500000001t", "0u"}) {
    EXPECT_EQ(to_string(parse_duration(text)), text);
  }
  for (const char* text :
       {"", "u", "5", "5x", "-5u", "5uu", "1.5u", "1..5Mt", ".5Mt", "5 u", "99999999999999999999u",
        "9999999999999Gt", "5Mk", "5k", "0x5u", "1.00000000000000000000u"}) {
    EXPECT_THROW(parse_duration(text), UserError) << text;
  }
}

}  // namespace
}  // namespace chorus
