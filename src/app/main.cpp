// The program: finds the subcommand, runs it, and turns what it throws into one line and an exit code.
#include <climits>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <new>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <fmt/format.h>
#include <unistd.h>

#include "app/command_tree.h"
#include "app/commands.h"
#include "base/error.h"
#include "base/log.h"
#include "base/message.h"
#include "base/process.h"
#include "base/text.h"
#include "comm/failure.h"
#include "io/file_guard.h"
#include "io/files.h"
#include "mpi/world.h"

namespace chorus::inline app {
namespace {

struct Purpose {
  const char* name;
  std::vector<void (*)(CLI::App&)> commands;
};

// What `chorus help` lists, in its order: grouped by purpose, one line per command.
const std::vector<Purpose>& purposes() {
  static const std::vector<Purpose> list = {
      {"Data", {add_corpus, add_vocab}},
      {"Training", {add_train, add_launch, add_report, add_plan, add_bench}},
      {"Translating and scoring", {add_translate, add_serve, add_score, add_evaluate, add_assess}},
      {"Models", {add_inspect, add_import, add_export, add_quantize, add_shortlist, add_align, add_lid}},
      {"Experts", {add_prune, add_merge, add_average, add_upcycle, add_grow}},
      {"Help", {add_doctor, add_manual, add_completion}},
  };
  return list;
}

/// "chorus corpus gettext": the command as far as it was given.
const CLI::App& deepest(const CLI::App& app, std::string& path) {
  const std::vector<CLI::App*> parsed = app.get_subcommands();
  if (parsed.empty()) return app;
  path += ' ';
  path += parsed.back()->get_name();
  return deepest(*parsed.back(), path);
}

void add_help(CLI::App& app) {
  auto words = std::make_shared<std::vector<std::string>>();
  CLI::App* help =
      app.add_subcommand("help", "what a command does and which arguments it takes: chorus help train");
  help->group("Help");
  help->add_option("COMMAND", *words, "the command")->option_text(" ");
  help->callback([&app, words] {
    const auto [command, path] = find_command(app, *words);
    // The formatter, and not App::help, which would show the subcommand being run: this one.
    fmt::print("{}", command->get_formatter()->make_help(command, path, CLI::AppFormatMode::Normal));
  });
}

void run(CLI::App& app, int argc, char** argv) {
  app.name("chorus");
  // With no bound, CLI11 takes an argument that happens to be a command's name ("chorus inspect score") for a
  // command.
  app.require_subcommand(0, 1);
  app.set_help_flag("-h,--help", "show this help and exit");
  app.set_version_flag("--version", "chorus " CHORUS_VERSION, "show the version and exit");
  app.get_formatter()->column_width(32);
  app.get_formatter()->label("OPTIONS", "options");
  app.get_formatter()->label("SUBCOMMAND", "command");
  app.get_formatter()->label("REQUIRED", "(required)");
  for (const Purpose& purpose : purposes()) {
    for (const auto add : purpose.commands) {
      const size_t before = app.get_subcommands({}).size();
      add(app);
      for (size_t i = before; i < app.get_subcommands({}).size(); ++i) {
        app.get_subcommands({})[i]->group(purpose.name);
      }
    }
  }
  add_help(app);
  try {
    app.parse(argc, argv);
    if (app.get_subcommands().empty()) throw UserError("name a command; `chorus help` lists them");
  } catch (const CLI::CallForHelp&) {
    fmt::print("{}", app.help());
  } catch (const CLI::CallForVersion& version) {
    fmt::print("{}\n", version.what());
  } catch (const CLI::ParseError& error) {
    std::string path = "chorus";
    const CLI::App& command = deepest(app, path);
    const std::vector<std::string> left = app.remaining(true);
    const std::string what = left.empty() ? error.what() : unknown_argument({&command, path}, left.front());
    const bool hint = what.find("did you mean") != std::string::npos;
    throw UserError("{}{}", what, hint ? "" : fmt::format("; `{} --help` shows what it takes", path));
  }
  flush_stdout();
}

/// Prints the message, and ends the process. Of many processes the first to fail prints, and ends all.
int fail_with(std::string_view message, int exit_code) {
  console().clear_status();
  const std::string line = fmt::format("chorus: error: {}{}\n", before_last_words(), message_line(message));
  std::fputs(line.c_str(), stderr);  // fmt::print would throw where standard error is closed
  end_all(exit_code);
  return exit_code;
}

/// Ends as a program does that does not ignore SIGPIPE: its status tells a shell so, and nothing is printed.
int end_quietly() {
  console().clear_status();
  constexpr int kKilled = 128;
  end_all(kKilled + SIGPIPE);
  std::signal(SIGPIPE, SIG_DFL);
  std::raise(SIGPIPE);
  return kKilled + SIGPIPE;
}

/// The user's when the name is wrong or leads nowhere; else it is the disk's.
int fail_with(const std::filesystem::filesystem_error& error) {
  return fail_with(fmt::format("{}: {}", error.path1().string(), error.code().message()),
                   is_wrong_place(error.code().value()) ? kUserMistake : kFailure);
}

/// What a library threw: its first line, below which it may have put its call stack.
int fail_with(const std::exception& error) {
  const auto* const system = dynamic_cast<const std::system_error*>(&error);
  if (system && system->code() == std::errc::resource_unavailable_try_again) {  // std::thread says no more
    return fail_with(fmt::format("cannot start a thread: {}; allow more (ulimit -u), or take fewer --threads",
                                 system->code().message()),
                     kFailure);
  }
  const std::string_view message = split(trim(error.what()), '\n').front();
  constexpr std::string_view kRefused = "DefaultCPUAllocator: can't allocate memory: you tried to allocate ";
  const size_t at = message.find(kRefused);
  if (at == std::string_view::npos) return fail_with(message, kFailure);
  const std::string_view rest = message.substr(at + kRefused.size());
  return fail_with(fmt::format("out of memory: there are no {} for a tensor", rest.substr(0, rest.find('.'))),
                   kFailure);
}

/// A page of a mapped file is gone: the file was cut short, or its disk failed, while it was in use.
void on_lost_page(int signal, siginfo_t* info, void* /*context*/) {
  const char* const file = mapped_file_at(info->si_addr);
  if (file == nullptr) {
    std::signal(signal, SIG_DFL);  // and the access that is now tried again ends the process
    return;
  }
  const auto put = [](std::string_view text) {
    if (::write(STDERR_FILENO, text.data(), text.size()) < 0) ::_exit(kFailure);
  };
  put("chorus: error: ");
  put(file);
  put(": it was cut short, or its disk failed, while it was in use; start again when it is whole\n");
  ::_exit(kFailure);
}

void watch_mapped_files() {
  struct sigaction action {};
  action.sa_sigaction = on_lost_page;
  action.sa_flags = SA_SIGINFO;
  ::sigaction(SIGBUS, &action, nullptr);
}

/// Prints what is being handled, as one line; its exit code.
int fail_with_current() {
  try {
    throw;
  } catch (const UserError& error) {
    return fail_with(error.what(), kUserMistake);
  } catch (const ClosedPipe&) {
    return end_quietly();
  } catch (const Error& error) {
    return fail_with(error.what(), kFailure);
  } catch (const std::bad_alloc&) {
    return fail_with("out of memory", kFailure);
  } catch (const std::filesystem::filesystem_error& error) {
    return fail_with(error);
  } catch (const std::exception& error) {
    // fmt::print throws its own words when a full buffer cannot be written.
    const auto* system = dynamic_cast<const std::system_error*>(&error);
    if (std::ferror(stdout) != 0 && system && system->code().value() == EPIPE) return end_quietly();
    if (std::ferror(stdout) != 0) return fail_with("cannot write to standard output", kFailure);
    return fail_with(error);
  } catch (...) {
    return fail_with("an exception that is none of std::exception", kFailure);
  }
}

}  // namespace
}  // namespace chorus::inline app

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // their runtimes start later
namespace {

/// Threads of the OpenMP runtime wait for each other by spinning, for so long that a process which shares its
/// cores with others runs several times slower (3.5 times beside two busy compilers on two cores). A short
/// spin costs nothing on an idle machine. The runtime reads the setting while it is loaded: so the program
/// sets it, unless the user has set how to wait, and starts again.
void shorten_waits(int /*argc*/, char** argv, char** environment) {
  std::vector<char*> variables;
  for (char** variable = environment; *variable; ++variable) {
    const std::string_view text = *variable;
    if (text.starts_with("GOMP_SPINCOUNT=") || text.starts_with("OMP_WAIT_POLICY=")) return;
    variables.push_back(*variable);
  }
  char setting[] = "GOMP_SPINCOUNT=2000";
  variables.insert(variables.end(), {setting, nullptr});
  char program[PATH_MAX];  // its own name: started as /proc/self/exe, it would be called "exe"
  const ssize_t length = ::readlink("/proc/self/exe", program, sizeof program - 1);
  if (length < 0) return;
  program[length] = '\0';
  ::execve(program, argv, variables.data());  // where that fails, go on as we are
}

/// What the loader calls before any constructor: those of libtorch take 0.3 s, which are then spent once.
[[gnu::section(".preinit_array"), gnu::used]] void (*const before_constructors)(int, char**,
                                                                                char**) = shorten_waits;
}  // namespace
#endif

int main(int argc, char** argv) {
  chorus::set_up_process();
  // A closed pipe is found when it is written to, in whichever thread; a file over the limit (ulimit -f) is
  // an error like any other.
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  chorus::watch_mapped_files();
  chorus::set_failure_hook([] { ::_exit(chorus::fail_with_current()); });
  try {
    chorus::Group alone;
    chorus::set_threads(0, alone);  // until a command knows better
    CLI::App app("Trains, prunes and runs sparse mixture-of-experts translation models.");
    chorus::run(app, argc, argv);
    return 0;
  } catch (const chorus::ExitCode& code) {
    return code.value;
  } catch (...) {
    return chorus::fail_with_current();
  }
}
