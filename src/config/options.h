// The schema of options: one typed description from which come the TOML reader, `--set section.key=value`,
// `--help`, the option reference in docs/, `--dump-config` and "did you mean".
//
// A module describes its own config struct once; the defaults are the struct's own member initialisers:
//
//   struct OptimConfig { double learning_rate = 7e-4; Schedule schedule = Schedule::inverse_sqrt; };
//   void describe(Schema& s, OptimConfig& c) {
//     s.section("optim", "the optimizer and its learning rate");
//     s.add("learning_rate", c.learning_rate, {.help = "peak learning rate", .min = 0});
//     s.add("schedule", c.schedule, {{"inverse_sqrt", Schedule::inverse_sqrt}, ...}, {.help = "..."});
//   }
//
// A file is read strictly: an unknown key, a value of another type, out of range or not among the choices is
// a UserError of one line that begins with `file:line:`. A number may be written as an integer (3), and an
// integer as a number that is whole (5e3). A Schema holds references into the described struct: it lives no
// longer than that struct.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/error.h"

namespace chorus::inline config {

/// How long something lasts, or how often it happens: "20000u" updates, "5e" epochs, "50Mt" target tokens
/// ("k", "M" and "G" multiply by 10^3, 10^6, 10^9). Zero means never.
struct Duration {
  enum class Unit { updates, epochs, tokens };
  int64_t count = 0;
  Unit unit = Unit::updates;
  friend bool operator==(const Duration&, const Duration&) = default;
};
/// UserError unless `text` is a duration; "0" is one. A fraction is fine where it comes out whole ("1.5Mt").
Duration parse_duration(std::string_view text);
std::string to_string(Duration duration);

class Schema {
 public:
  struct About {
    std::string help;       // one line
    std::string unit = {};  // "updates", "target tokens"; empty for none
    // Range of a number or of a duration's count, inclusive.
    double min = -std::numeric_limits<double>::infinity();
    double max = std::numeric_limits<double>::infinity();
  };

  /// Options added from here on are named `name.key`. A section may be opened again to add to it.
  void section(std::string name, std::string help);
  /// Error when the section already has that key.
  void add(std::string key, int64_t& value, About about);
  void add(std::string key, double& value, About about);
  void add(std::string key, bool& value, About about);
  void add(std::string key, std::string& value, About about);
  void add(std::string key, std::vector<std::string>& value, About about);
  void add(std::string key, Duration& value, About about);

  /// One of named choices; in a file it is written as its name.
  template <class Enum>
  void add(std::string key, Enum& value, std::vector<std::pair<std::string, Enum>> names, About about) {
    Choice choice;
    for (const auto& [name, unused] : names) choice.names.push_back(name);
    choice.set = [&value, names](size_t i) { value = names[i].second; };
    choice.get = [&value, names] {
      for (size_t i = 0; i < names.size(); ++i)
        if (names[i].second == value) return i;
      throw Error("a choice has a value without a name");
    };
    add_option(std::move(key), std::move(choice), std::move(about));
  }

  /// A repeated table: `[[section.key]]`. `describe_item(schema, item)` adds the options of one item, without
  /// sections.
  template <class Item>
  void list(std::string key, std::vector<Item>& items, void (*describe_item)(Schema&, Item&), About about) {
    List list;
    list.describe_item = [&items, describe_item](Schema& schema, size_t i) {
      describe_item(schema, items.at(i));
    };
    list.describe_default = [item = std::make_shared<Item>(), describe_item](Schema& schema) {
      describe_item(schema, *item);
    };
    list.size = [&items] { return items.size(); };
    list.assign = [&items](size_t n) { items.assign(n, Item()); };
    add_option(std::move(key), std::move(list), std::move(about));
  }

  /// Reads a TOML file into the described structs; what it does not name stays as it is, a list that it names
  /// is replaced whole. UserError as above, and when the file is missing, unreadable or not TOML.
  void read_file(const std::filesystem::path& path);
  /// Reads the text of such a file; `origin` stands for the path in errors.
  void read_text(std::string_view text, std::string_view origin);
  /// Sets an option by `section.key=value`, value as in TOML with the quotes of strings optional; a list of strings
  /// may be `a,b`. Items of a list that exist are reached by number: `data.sources[0].weight=2`.
  void set(std::string_view assignment);
  /// Returns the options as they now stand: whole TOML that read_file takes back, with comments, of a list's tables
  /// the first's. UserError where it is longer than read_file takes.
  [[nodiscard]] std::string dump() const;
  /// Returns the options as pairs: name ("optim.learning_rate", "data.sources[0].weight") and value as TOML text, in
  /// order.
  [[nodiscard]] std::vector<std::pair<std::string, std::string>> values() const;
  /// Returns help for a terminal: each section, its options, their defaults and one line of help each.
  [[nodiscard]] std::string help() const;
  /// Returns the help as a Markdown page: docs/options.md is this text.
  [[nodiscard]] std::string markdown() const;

  // What the schema is made of.
  struct Choice {
    std::vector<std::string> names;
    std::function<void(size_t)> set;
    std::function<size_t()> get;
  };
  struct List {
    std::function<void(Schema&, size_t)> describe_item;
    std::function<void(Schema&)> describe_default;
    std::function<size_t()> size;
    std::function<void(size_t)> assign;  // so many items, all as they are by default
  };
  using Target = std::variant<int64_t*, double*, bool*, std::string*, std::vector<std::string>*, Duration*,
                              Choice, List>;
  struct Option {
    std::string key;
    Target target;
    About about;
    std::string initial;  // the value when it was added, as TOML
  };
  struct Section {
    std::string name, help;  // the name is empty for options outside any section
    std::vector<Option> options;
  };
  [[nodiscard]] const std::vector<Section>& sections() const { return sections_; }
  /// Returns the sections, and after each one a section for the items of each of its lists, named "[section.key]".
  [[nodiscard]] std::vector<Section> flat_sections() const;

 private:
  void add_option(std::string key, Target target, About about);

  std::vector<Section> sections_ = {{}};
  size_t current_ = 0;
};

/// Returns each option of a configuration that a describe() knows, and its value as TOML.
template <class Config>
std::map<std::string, std::string> option_values(Config config) {
  Schema schema;
  describe(schema, config);
  const auto values = schema.values();
  return {values.begin(), values.end()};
}

/// Returns such a configuration as the text of a run file (Schema::dump()).
template <class Config>
std::string option_text(Config config) {
  Schema schema;
  describe(schema, config);
  return schema.dump();
}

/// What an option takes, its unit and its range: "whole number, in updates, at least 0".
std::string kind_words(const Schema::Option& option);

}  // namespace chorus::inline config
