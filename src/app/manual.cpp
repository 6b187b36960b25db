// chorus manual: man pages, made from what --help knows and from the options of the run file.
#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "app/command_tree.h"
#include "app/commands.h"
#include "base/text.h"
#include "io/files.h"

namespace chorus::inline app {
namespace {

/// Text of ours as text of roff: nothing in it is a request, and what a person copies stays as it is.
std::string roff(std::string_view text) {
  std::string out = text.starts_with('.') || text.starts_with('\'') ? "\\&" : "";
  for (const char c : text) {
    switch (c) {
      case '\\':
        out += "\\(rs";
        break;
      case '-':
        out += "\\-";
        break;
      case '\'':
        out += "\\(aq";
        break;
      case '`':
        out += "\\(ga";
        break;
      case '^':
        out += "\\(ha";
        break;
      case '~':
        out += "\\(ti";
        break;
      case '\n':
        out += ' ';
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string bold(std::string_view text) {
  return fmt::format("\\fB{}\\fR", roff(text));
}
std::string italic(std::string_view text) {
  return fmt::format("\\fI{}\\fR", roff(text));
}

/// An indented paragraph below its head, which is roff already.
std::string roff_item(const std::string& head, std::string_view text) {
  return fmt::format(".TP\n{}\n{}\n", head, roff(text));
}

/// "chorus-corpus-report", as the page of "chorus corpus report" is called.
std::string page_name(std::string path) {
  std::ranges::replace(path, ' ', '-');
  return path;
}

std::string synopsis(const CommandNode& node) {
  std::string text = bold(node.path) + " [" + italic("options") + "]";
  if (!node.commands.empty()) text += " " + italic("command");
  for (const Argument& a : node.positionals) {
    std::string name = italic(a.value);
    if (a.repeats && !a.value.ends_with("...")) name += " ...";
    text += a.required ? " " + name : " [" + name + "]";
  }
  return text;
}

/// The help, and in brackets what else is to be known.
std::string explained(const Argument& a) {
  std::vector<std::string> more;
  if (a.required) more.emplace_back("required");
  if (!a.range.empty()) more.push_back(a.range);
  if (!a.initial.empty()) more.push_back("default: " + a.initial);
  return more.empty() ? a.help : fmt::format("{} ({})", a.help, join(more, "; "));
}

std::string arguments_section(const CommandNode& node) {
  std::string page = node.positionals.empty() ? "" : ".SH ARGUMENTS\n";
  for (const Argument& a : node.positionals) page += roff_item(italic(a.value), a.help);
  page += ".SH OPTIONS\n";
  for (const Argument& a : node.options) {
    std::vector<std::string> names;
    for (const std::string& name : a.names) names.push_back(bold(name));
    page += roff_item(join(names, ", ") + (a.value.empty() ? "" : " " + italic(a.value)), explained(a));
  }
  return page;
}

/// Under the names of their groups, where they have such.
std::string commands_section(const CommandNode& node) {
  std::string page = node.commands.empty() ? "" : ".SH COMMANDS\n", group;
  for (const CommandNode& below : node.commands) {
    if (below.group != group) page += fmt::format(".SS {}\n", roff(below.group));
    group = below.group;
    page += roff_item(bold(below.name), below.help);
  }
  return page;
}

std::string run_file_section() {
  RunConfig config;
  Schema schema;
  describe(schema, config);
  std::string page = fmt::format(".SH RUN FILE\n{}\n", roff("The options that --set changes, too."));
  for (const Schema::Section& section : schema.flat_sections()) {
    if (!section.name.empty())
      page += fmt::format(".SS {}\n{}\n", roff(fmt::format("[{}]", section.name)), roff(section.help));
    for (const Schema::Option& option : section.options) {
      page += roff_item(fmt::format("{} = {}", bold(option.key), roff(option.initial)),
                        fmt::format("{} ({})", option.about.help, kind_words(option)));
    }
  }
  return page;
}

std::string see_also(const CommandNode& node) {
  std::vector<std::string> pages;
  if (const size_t last = node.path.rfind(' '); last != std::string::npos)
    pages.push_back(bold(page_name(node.path.substr(0, last))) + "(1)");
  for (const CommandNode& below : node.commands) pages.push_back(bold(page_name(below.path)) + "(1)");
  return fmt::format(".SH SEE ALSO\n{}\n", join(pages, ", "));
}

std::string man_page(const CommandNode& node) {
  std::string title = page_name(node.path);
  for (char& c : title)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  std::string page =
      fmt::format(".TH {} 1 \"\" \"chorus {}\" \"chorus\"\n", roff(title), roff(CHORUS_VERSION));
  page += fmt::format(".SH NAME\n{} \\- {}\n", roff(page_name(node.path)), roff(node.help));
  page += fmt::format(".SH SYNOPSIS\n{}\n", synopsis(node));
  page += commands_section(node) + arguments_section(node);
  if (node.has_settings()) page += run_file_section();
  return page + see_also(node);
}

/// The page of the command and those of all below it, as man looks for them: "chorus-train.1".
void write_man_pages(const CommandNode& node, const std::filesystem::path& folder) {
  write_file_atomically(folder / (page_name(node.path) + ".1"), man_page(node));
  for (const CommandNode& below : node.commands) write_man_pages(below, folder);
}

struct ManualArguments {
  std::vector<std::string> words;
  std::string out;
};

}  // namespace

void add_manual(CLI::App& app) {
  auto a = std::make_shared<ManualArguments>();
  CLI::App* command = app.add_subcommand("manual", "print a man page: chorus manual train | man -l -");
  command->add_option("COMMAND", a->words, "the command; without one, chorus itself")->option_text(" ");
  command
      ->add_option("--out", a->out,
                   "write the page into this folder instead, and those of the commands below: chorus-train.1")
      ->type_name("DIR");
  command->callback([&app, a] {
    const auto [found, path] = find_command(app, a->words);
    const CommandNode node = command_tree(*found, path);
    if (a->out.empty())
      fmt::print("{}", man_page(node));
    else
      write_man_pages(node, a->out);
  });
}

}  // namespace chorus::inline app
