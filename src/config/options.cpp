#include "config/options.h"

#include <charconv>
#include <cmath>

#include <fmt/format.h>

#include "base/text.h"
#include "io/file_guard.h"

#include "config/internal/option_text.h"
#include "config/internal/toml_text.h"

namespace chorus::inline config {
namespace {

/// Where a value came from, for errors: "run.toml" and a line, or "--set a.b=c" alone.
struct Origin {
  std::string name;
  bool lines = true;

  [[nodiscard]] std::string at(const toml::source_region& region) const {
    return lines ? fmt::format("{}:{}", name, region.begin.line) : name;
  }
};

std::string type_name(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::table:
      return "a table";
    case toml::node_type::array:
      return "a list";
    case toml::node_type::string:
      return "a string";
    case toml::node_type::integer:
      return "a whole number";
    case toml::node_type::floating_point:
      return "a number";
    case toml::node_type::boolean:
      return "true or false";
    default:
      return "a date or time";
  }
}

const Schema::Option* find_option(const Schema& schema, std::string_view name) {
  const size_t dot = name.rfind('.');
  const std::string_view section = dot == std::string_view::npos ? "" : name.substr(0, dot);
  const std::string_view key = dot == std::string_view::npos ? name : name.substr(dot + 1);
  for (const auto& s : schema.sections()) {
    if (s.name != section) continue;
    for (const auto& option : s.options) {
      if (option.key == key) return &option;
    }
  }
  return nullptr;
}

/// Is `name` a section, or the beginning of one ("model" of "model.moe")?
bool is_section(const Schema& schema, std::string_view name) {
  for (const auto& s : schema.sections()) {
    if (s.name == name || (s.name.starts_with(name) && s.name[name.size()] == '.')) return true;
  }
  return false;
}

/// What to say of a name that is neither an option nor a section: the keys of its own section first, then
/// all.
std::string unknown_name(const Schema& schema, std::string_view name, std::string_view prefix) {
  const size_t dot = name.rfind('.');
  const std::string_view section = dot == std::string_view::npos ? "" : name.substr(0, dot);
  const std::string_view key = dot == std::string_view::npos ? name : name.substr(dot + 1);
  std::vector<std::string> keys, names, sections;
  std::string same_key;  // an option of that very name in another section
  for (const auto& s : schema.sections()) {
    if (!s.name.empty()) sections.push_back(s.name);
    for (const auto& option : s.options) {
      names.push_back(full_name(s.name, option.key));
      if (s.name == section) keys.push_back(option.key);
      if (option.key == key && same_key.empty()) same_key = names.back();
    }
  }
  const std::string shown = one_line(full_name(prefix, name));
  if (dot == std::string_view::npos && keys.empty() && same_key.empty()) {
    return fmt::format("unknown section '{}'{}", shown, did_you_mean(name, sections));
  }
  if (!section.empty() && !is_section(schema, section)) {
    const std::string meant = nearest(section, sections);
    if (!meant.empty() && find_option(schema, full_name(meant, key)) != nullptr) {
      return fmt::format("unknown option '{}'; did you mean '{}'?", shown, full_name(meant, key));
    }
  }
  std::string hint = did_you_mean(key, keys);
  if (hint.empty() && !same_key.empty())
    hint = fmt::format("; did you mean '{}'?", full_name(prefix, same_key));
  if (hint.empty()) hint = did_you_mean(name, names);
  if (hint.empty()) hint = did_you_mean(name, sections);
  if (hint.empty() && !keys.empty()) hint = fmt::format("; there are {}", join(keys, ", "));
  return fmt::format("unknown option '{}'{}", shown, hint);
}

/// Puts a TOML value into one option, or says why it cannot be.
class Assignment {
 public:
  Assignment(const Schema::Option& option, std::string name, const toml::node& node, const Origin& origin)
      : option_(option), name_(std::move(name)), node_(node), origin_(origin) {}

  void operator()(int64_t* value) const {
    int64_t number = 0;
    if (const auto* integer = node_.as_integer()) {
      number = integer->get();
    } else if (const auto* real = node_.as_floating_point()) {
      // 5e3 is a whole number to a person; 2^53 bounds what a double holds exactly.
      if (!(std::abs(real->get()) <= 0x1p53 && std::trunc(real->get()) == real->get())) {
        fail(fmt::format("{} is not a whole number", real->get()));
      }
      number = static_cast<int64_t>(real->get());
    } else {
      wrong_type();
    }
    check_range(static_cast<double>(number), fmt::to_string(number));
    *value = number;
  }
  void operator()(double* value) const {
    if (!node_.is_number()) wrong_type();
    const double number = *node_.value<double>();
    if (!std::isfinite(number)) fail("it must be a finite number");
    check_range(number, fmt::to_string(number));
    *value = number;
  }
  void operator()(bool* value) const {
    if (!node_.is_boolean()) wrong_type();
    *value = node_.as_boolean()->get();
  }
  void operator()(std::string* value) const { *value = text(node_); }
  void operator()(std::vector<std::string>* value) const {
    if (!node_.is_array()) wrong_type();
    std::vector<std::string> items;
    for (const toml::node& item : *node_.as_array()) items.push_back(text(item));
    *value = std::move(items);
  }
  void operator()(Duration* value) const {
    Duration duration;
    if (!(node_.is_integer() && node_.as_integer()->get() == 0)) {
      if (node_.is_number())
        fail(R"(say what it counts: "20000u" updates, "5e" epochs, "50Mt" target tokens)");
      try {
        duration = parse_duration(text(node_));
      } catch (const UserError& error) {
        fail(error.what());
      }
    }
    check_range(static_cast<double>(duration.count), to_string(duration));
    *value = duration;
  }
  void operator()(const Schema::Choice& choice) const {
    const std::string name = text(node_);
    for (size_t i = 0; i < choice.names.size(); ++i) {
      if (choice.names[i] == name) return choice.set(i);
    }
    fail(fmt::format("'{}' is not {}{}", one_line(name), type_words(option_.target),
                     did_you_mean(name, choice.names)));
  }
  void operator()(const Schema::List& list) const;

 private:
  [[noreturn]] void fail(std::string_view why) const {
    throw UserError("{}: {}: {}", origin_.at(node_.source()), name_, why);
  }
  [[noreturn]] void wrong_type() const {
    fail(fmt::format("takes {}, not {}", type_words(option_.target), type_name(node_)));
  }
  [[nodiscard]] std::string text(const toml::node& node) const {
    if (!node.is_string()) {
      if (&node == &node_) wrong_type();
      fail(fmt::format("takes {}, and {} is in it", type_words(option_.target), type_name(node)));
    }
    return node.as_string()->get();
  }
  void check_range(double number, const std::string& shown) const {
    const std::string unit = option_.about.unit.empty() ? "" : ", in " + option_.about.unit;
    if (number < option_.about.min) fail(fmt::format("{} is less than {}{}", shown, option_.about.min, unit));
    if (number > option_.about.max) fail(fmt::format("{} is more than {}{}", shown, option_.about.max, unit));
  }

  const Schema::Option& option_;
  std::string name_;
  const toml::node& node_;
  const Origin& origin_;
};

void assign(const Schema::Option& option, std::string name, const toml::node& node, const Origin& origin) {
  std::visit(Assignment(option, std::move(name), node, origin), option.target);
}

/// Reads a table whose options are named `path.key`; in errors `prefix` comes before that.
void read_table(const Schema& schema, const toml::table& table, const std::string& path,
                const std::string& prefix, const Origin& origin) {
  for (const auto& [key, node] : table) {
    const std::string name = full_name(path, key.str());
    // A key with a dot inside quotes is no path.
    const bool plain = key.str().find('.') == std::string_view::npos && !key.empty();
    if (const Schema::Option* option = plain ? find_option(schema, name) : nullptr) {
      assign(*option, full_name(prefix, name), node, origin);
    } else if (plain && is_section(schema, name)) {
      if (!node.is_table()) {
        throw UserError("{}: {} is a section: write [{}] and its options below it", origin.at(key.source()),
                        name, name);
      }
      read_table(schema, *node.as_table(), name, prefix, origin);
    } else {
      throw UserError("{}: {}", origin.at(key.source()), unknown_name(schema, name, prefix));
    }
  }
}

void Assignment::operator()(const Schema::List& list) const {
  const toml::array* items = node_.as_array();
  if (items == nullptr) fail(fmt::format("is a list of tables: write [[{}]], with two brackets", name_));
  for (const toml::node& item : *items) {
    if (!item.is_table())
      fail(fmt::format("takes {}, and {} is in it", type_words(option_.target), type_name(item)));
  }
  list.assign(items->size());
  for (size_t i = 0; i < items->size(); ++i) {
    Schema schema;
    list.describe_item(schema, i);
    read_table(schema, *items->get(i)->as_table(), "", name_, origin_);
  }
}

/// "data.train.0.weight" of "data.train[0].weight".
std::string with_dots(std::string_view name) {
  std::string dots;
  for (const char c : name)
    if (c != ']') dots += c == '[' ? '.' : c;
  return dots;
}

/// `value` of --set as a TOML value: quotes around strings are optional.
std::string complete_value(const Schema::Target& target, std::string_view value) {
  const bool quoted = value.starts_with('"') || value.starts_with('\'');
  if (std::holds_alternative<std::string*>(target) || std::holds_alternative<Duration*>(target) ||
      std::holds_alternative<Schema::Choice>(target)) {
    return quoted ? std::string(value) : toml_quote(value);
  }
  if (std::holds_alternative<std::vector<std::string>*>(target) && value.find_first_of("\"'") == value.npos) {
    if (value.starts_with('[') && value.ends_with(']')) value = trim(value.substr(1, value.size() - 2));
    std::vector<std::string> pieces;
    if (!value.empty()) {
      for (const std::string_view piece : split(value, ',')) pieces.push_back(toml_quote(trim(piece)));
    }
    return fmt::format("[{}]", join(pieces, ", "));
  }
  return std::string(value);
}

void set_option(const Schema& schema, std::string_view name, std::string_view value,
                const std::string& prefix, const Origin& origin) {
  if (const Schema::Option* option = find_option(schema, name)) {
    toml::table table;
    try {
      table = parse_toml(fmt::format("value = {}", complete_value(option->target, value)), origin.name);
    } catch (const UserError&) {
      table.clear();
    }
    // A line end in the value could have smuggled in a second key.
    if (table.size() != 1) {
      throw UserError("{}: {} takes {}", origin.name, full_name(prefix, name), type_words(option->target));
    }
    return assign(*option, full_name(prefix, name), *table.get("value"), origin);
  }
  for (size_t dot = name.find('.'); dot != std::string_view::npos; dot = name.find('.', dot + 1)) {
    const Schema::Option* option = find_option(schema, name.substr(0, dot));
    const auto* list = option == nullptr ? nullptr : std::get_if<Schema::List>(&option->target);
    if (list == nullptr) continue;
    const std::string list_name = full_name(prefix, name.substr(0, dot));
    const std::string_view rest = name.substr(dot + 1);
    const std::string_view number = rest.substr(0, rest.find('.'));
    size_t index = 0;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), index);
    if (error != std::errc() || end != number.data() + number.size() || number.size() == rest.size()) {
      throw UserError("{}: {} is a list of tables: name an item and its option, as in {}[0].option",
                      origin.name, list_name, list_name);
    }
    if (index >= list->size()) {
      throw UserError("{}: {} has {}, counted from 0: there is no item {}", origin.name, list_name,
                      counted(list->size(), "item"), index);
    }
    Schema item;
    list->describe_item(item, index);
    return set_option(item, rest.substr(number.size() + 1), value, fmt::format("{}[{}]", list_name, index),
                      origin);
  }
  if (is_section(schema, name))
    throw UserError("{}: {} is a section: name one option of it", origin.name, name);
  throw UserError("{}: {}", origin.name, unknown_name(schema, name, prefix));
}

}  // namespace

void Schema::section(std::string name, std::string help) {
  for (current_ = 0; current_ < sections_.size(); ++current_) {
    if (sections_[current_].name == name) return;
  }
  sections_.push_back({std::move(name), std::move(help), {}});
}

void Schema::add_option(std::string key, Target target, About about) {
  Section& section = sections_[current_];
  for (const Option& option : section.options) {
    if (option.key == key) throw Error("option {} is described twice", full_name(section.name, key));
  }
  std::string initial = toml_value(target);
  section.options.push_back({std::move(key), std::move(target), std::move(about), std::move(initial)});
}

void Schema::add(std::string key, int64_t& value, About about) {
  add_option(std::move(key), &value, std::move(about));
}
void Schema::add(std::string key, double& value, About about) {
  add_option(std::move(key), &value, std::move(about));
}
void Schema::add(std::string key, bool& value, About about) {
  add_option(std::move(key), &value, std::move(about));
}
void Schema::add(std::string key, std::string& value, About about) {
  add_option(std::move(key), &value, std::move(about));
}
void Schema::add(std::string key, std::vector<std::string>& value, About about) {
  add_option(std::move(key), &value, std::move(about));
}
void Schema::add(std::string key, Duration& value, About about) {
  add_option(std::move(key), &value, std::move(about));
}

void Schema::read_file(const std::filesystem::path& path) {
  read_text(chorus::read_file(path, kMaxOptionBytes), path.string());
}

void Schema::read_text(std::string_view text, std::string_view origin) {
  read_table(*this, parse_toml(text, origin), "", "", {std::string(origin)});
}

void Schema::set(std::string_view assignment) {
  const std::string origin = one_line(fmt::format("--set {}", assignment));
  const size_t equals = assignment.find('=');
  if (equals == std::string_view::npos) throw UserError("{}: write section.key=value", origin);
  set_option(*this, with_dots(trim(assignment.substr(0, equals))), trim(assignment.substr(equals + 1)), "",
             {origin, false});
}

}  // namespace chorus::inline config
