#include "config/internal/option_text.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"

namespace chorus::inline config {
namespace {

template <class... Fs>
struct Overloaded : Fs... {
  using Fs::operator()...;
};
template <class... Fs>
Overloaded(Fs...) -> Overloaded<Fs...>;

std::string number_text(double value) {
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".en") == std::string::npos) text += ".0";
  return text;
}

std::string range_words(const Schema::About& about) {
  const bool low = about.min > -std::numeric_limits<double>::infinity();
  const bool high = about.max < std::numeric_limits<double>::infinity();
  if (low && high) return fmt::format("{} to {}", about.min, about.max);
  if (low) return fmt::format("at least {}", about.min);
  if (high) return fmt::format("at most {}", about.max);
  return "";
}

/// `explained`: with comments.
void print_section(const Schema::Section& section, const std::string& path, bool explained,
                   std::string& out) {
  for (const Schema::Option& option : section.options) {
    if (std::holds_alternative<Schema::List>(option.target)) continue;
    if (explained) out += fmt::format("# {} ({})\n", option.about.help, kind_words(option));
    out += fmt::format("{} = {}\n", option.key, toml_value(option.target));
  }
  for (const Schema::Option& option : section.options) {
    const auto* list = std::get_if<Schema::List>(&option.target);
    if (list == nullptr) continue;
    const std::string name = full_name(path, option.key);
    if (explained)
      out += fmt::format("\n# [[{}]]: {}{}\n", name, option.about.help, list->size() == 0 ? " (none)" : "");
    for (size_t i = 0; i < list->size(); ++i) {
      Schema item;
      list->describe_item(item, i);
      out += fmt::format("{}[[{}]]\n", i == 0 ? "" : "\n", name);
      print_section(item.sections().front(), name, explained && i == 0, out);
    }
  }
}

void collect_values(const Schema& schema, const std::string& prefix,
                    std::vector<std::pair<std::string, std::string>>& out) {
  for (const Schema::Section& section : schema.sections()) {
    for (const Schema::Option& option : section.options) {
      const std::string name = full_name(full_name(prefix, section.name), option.key);
      if (const auto* list = std::get_if<Schema::List>(&option.target)) {
        for (size_t i = 0; i < list->size(); ++i) {
          Schema item;
          list->describe_item(item, i);
          collect_values(item, fmt::format("{}[{}]", name, i), out);
        }
      } else {
        out.emplace_back(name, toml_value(option.target));
      }
    }
  }
}

/// Returns the flat sections like Schema::flat_sections(), of options whose names begin with `prefix`.
std::vector<Schema::Section> flat_sections(const Schema& schema, const std::string& prefix) {
  std::vector<Schema::Section> flat;
  for (const Schema::Section& section : schema.sections()) {
    Schema::Section own = section;
    own.name = full_name(prefix, section.name);
    std::erase_if(own.options, [](const auto& o) { return std::holds_alternative<Schema::List>(o.target); });
    if (!own.options.empty()) flat.push_back(own);
    for (const Schema::Option& option : section.options) {
      const auto* list = std::get_if<Schema::List>(&option.target);
      if (list == nullptr) continue;
      Schema item;
      list->describe_default(item);
      const std::string name = full_name(own.name, option.key);
      for (Schema::Section& nested : flat_sections(item, name)) {
        if (nested.name == name) {
          nested.name = fmt::format("[{}]", name);
          nested.help = option.about.help + "; a table for each";
        }
        flat.push_back(std::move(nested));
      }
    }
  }
  return flat;
}

std::string markdown_cell(std::string_view text) {
  std::string cell;
  for (const char c : text) {
    if (c == '|') cell += '\\';
    cell += c;
  }
  return cell;
}

}  // namespace

std::string toml_quote(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
          out += fmt::format("\\u{:04X}", static_cast<unsigned char>(c));
        } else {
          out += c;
        }
    }
  }
  return out + '"';
}

std::string toml_value(const Schema::Target& target) {
  return std::visit(Overloaded{
                        [](const int64_t* value) { return fmt::format("{}", *value); },
                        [](const double* value) { return number_text(*value); },
                        [](const bool* value) { return std::string(*value ? "true" : "false"); },
                        [](const std::string* value) { return toml_quote(*value); },
                        [](const std::vector<std::string>* value) {
                          std::vector<std::string> quoted;
                          for (const std::string& text : *value) quoted.push_back(toml_quote(text));
                          return fmt::format("[{}]", join(quoted, ", "));
                        },
                        [](const Duration* value) { return toml_quote(to_string(*value)); },
                        [](const Schema::Choice& choice) { return toml_quote(choice.names[choice.get()]); },
                        [](const Schema::List&) { return std::string("[]"); },
                    },
                    target);
}

std::string type_words(const Schema::Target& target) {
  return std::visit(
      Overloaded{
          [](const int64_t*) -> std::string { return "a whole number"; },
          [](const double*) -> std::string { return "a number"; },
          [](const bool*) -> std::string { return "true or false"; },
          [](const std::string*) -> std::string { return "a string"; },
          [](const std::vector<std::string>*) -> std::string { return "a list of strings"; },
          [](const Duration*) -> std::string { return "a duration"; },
          [](const Schema::Choice& choice) { return fmt::format("one of {}", join(choice.names, ", ")); },
          [](const Schema::List&) -> std::string { return "a list of tables"; },
      },
      target);
}

std::string full_name(std::string_view section, std::string_view key) {
  if (section.empty()) return std::string(key);
  if (key.empty()) return std::string(section);
  return fmt::format("{}.{}", section, key);
}

std::string kind_words(const Schema::Option& option) {
  std::string words = type_words(option.target);
  for (const std::string_view article : {"a ", "an "}) {
    if (words.starts_with(article)) words.erase(0, article.size());
  }
  if (!option.about.unit.empty()) words += ", in " + option.about.unit;
  const std::string range = range_words(option.about);
  return range.empty() ? words : words + ", " + range;
}

std::string Schema::dump() const {
  std::string out;
  for (const Section& section : sections_) {
    if (section.options.empty()) continue;
    if (!section.name.empty()) {
      if (!out.empty()) out += '\n';
      out += fmt::format("# {}\n[{}]\n", section.help, section.name);
    }
    print_section(section, section.name, true, out);
  }
  if (out.size() > kMaxOptionBytes) {
    throw UserError("all options come to {} of text, more than the {} of a run file: name fewer tables",
                    human_bytes(out.size()), human_bytes(kMaxOptionBytes));
  }
  return out;
}

std::vector<std::pair<std::string, std::string>> Schema::values() const {
  std::vector<std::pair<std::string, std::string>> out;
  collect_values(*this, "", out);
  return out;
}

std::vector<Schema::Section> Schema::flat_sections() const {
  return chorus::flat_sections(*this, "");
}

std::string Schema::help() const {
  constexpr size_t kColumn = 44;
  std::string out;
  for (const Section& section : flat_sections()) {
    if (!section.name.empty()) out += fmt::format("\n[{}]  {}\n", section.name, section.help);
    // An item's options have no full name to give to --set: the item's number is missing.
    const bool item = section.name.starts_with('[');
    for (const Option& option : section.options) {
      const std::string name = item ? option.key : full_name(section.name, option.key);
      std::string left = fmt::format("  {} = {}", name, option.initial);
      if (left.size() + 2 > kColumn) left += fmt::format("\n{:{}}", "", kColumn);
      out += fmt::format("{:<{}}{} ({})\n", left, kColumn, option.about.help, kind_words(option));
    }
  }
  return out;
}

std::string Schema::markdown() const {
  std::string out;
  for (const Section& section : flat_sections()) {
    if (!out.empty()) out += '\n';
    if (!section.name.empty()) out += fmt::format("## `[{}]`\n\n{}\n\n", section.name, section.help);
    out += "| option | takes | default | meaning |\n| --- | --- | --- | --- |\n";
    for (const Option& option : section.options) {
      out += fmt::format("| `{}` | {} | `{}` | {} |\n", option.key, markdown_cell(kind_words(option)),
                         markdown_cell(option.initial), markdown_cell(option.about.help));
    }
  }
  return out;
}

}  // namespace chorus::inline config
