// The schema of options: one typed description from which come the TOML reader, `--set section.key=value`, `--help`, the
// option reference in docs/, `--dump-config` and "did you mean".
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
// A Schema holds references into the described struct: it lives no longer than that struct.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace chorus {

/// How long something lasts, or how often it happens: "20000u" updates, "5e" epochs, "50Mt" target tokens ("k", "M" and
/// "G" multiply by 10^3, 10^6, 10^9). Zero means never.
struct Duration {
  enum class Unit { updates, epochs, tokens };
  int64_t count = 0;
  Unit unit = Unit::updates;
  friend bool operator==(const Duration&, const Duration&) = default;
};
Duration parse_duration(std::string_view text);  // throws UserError
std::string to_string(Duration duration);

class Schema {
 public:
  struct About {
    std::string help;                                     // one line
    std::string unit = "";                                // "updates", "target tokens", "bytes"; empty for none
    double min = -std::numeric_limits<double>::infinity();  // range of a number, inclusive
    double max = std::numeric_limits<double>::infinity();
  };

  /// Options added from here on are named `name.key`.
  void section(std::string name, std::string help);
  void add(std::string key, int64_t& value, About about);
  void add(std::string key, double& value, About about);
  void add(std::string key, bool& value, About about);
  void add(std::string key, std::string& value, About about);
  void add(std::string key, std::vector<std::string>& value, About about);
  void add(std::string key, Duration& value, About about);

  /// One of named choices; in a file it is written as its name.
  template <class Enum>
  void add(std::string key, Enum& value, std::vector<std::pair<std::string, Enum>> names, About about) {
    std::vector<std::string> choices;
    for (const auto& [name, unused] : names) choices.push_back(name);
    add_choice(
        std::move(key), std::move(choices), [&value, names](size_t i) { value = names[i].second; },
        [&value, names] {
          size_t i = 0;
          while (names[i].second != value) ++i;
          return i;
        },
        std::move(about));
  }

  /// A repeated table: `[[section.key]]`. `describe(schema, item)` adds the options of one item.
  template <class Item>
  void list(std::string key, std::vector<Item>& items, void (*describe_item)(Schema&, Item&), About about) {
    add_list(
        std::move(key),
        [&items, describe_item](Schema& schema, size_t i) {
          if (i >= items.size()) items.resize(i + 1);
          describe_item(schema, items[i]);
        },
        [&items] { return items.size(); }, [&items](size_t n) { items.resize(n); }, std::move(about));
  }

  /// Reads a TOML file into the described structs. UserError with file and line on a syntax error, an unknown key (with
  /// the nearest known one), a wrong type, a value out of range or not among the choices.
  void read_file(const std::filesystem::path& path);
  /// One `section.key=value`, value as in TOML with the quotes of strings optional.
  void set(std::string_view assignment);
  /// The options as they now stand: whole, commented TOML that read_file takes back.
  [[nodiscard]] std::string dump() const;
  /// For a terminal: a section, its options, their defaults and one line of help each.
  [[nodiscard]] std::string help() const;
  /// The same as a Markdown page: docs/options.md is this text.
  [[nodiscard]] std::string markdown() const;

 private:
  void add_choice(std::string key, std::vector<std::string> names, std::function<void(size_t)> set,
                  std::function<size_t()> get, About about);
  void add_list(std::string key, std::function<void(Schema&, size_t)> describe_item, std::function<size_t()> size,
                std::function<void(size_t)> resize, About about);
};

}  // namespace chorus
