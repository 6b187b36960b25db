#include "mpi/starter.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <future>
#include <optional>

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"

namespace chorus::inline mpi {

namespace {

constexpr int kNotThere = 127;  // as shells say it

/// A program with a process group of its own, which a terminal's Ctrl-C does not reach, and no standard input. It gets
/// SIGTERM when the calling thread ends.
class Child {
 public:
  /// `standard_error`: where it writes to, besides standard output unless `quiet`.
  Child(const std::vector<std::string>& words, int standard_error, bool quiet) {
    std::vector<char*> arguments;
    arguments.reserve(words.size() + 1);
    for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ < 0) throw Error("cannot start {}: {}", words.front(), std::generic_category().message(errno));
    if (pid_ > 0) {
      ::setpgid(pid_, pid_);
      return;
    }
    ::setpgid(0, 0);
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    const int null = ::open("/dev/null", O_RDWR);
    ::dup2(null, STDIN_FILENO);
    if (quiet) ::dup2(null, STDOUT_FILENO);
    ::dup2(standard_error < 0 ? null : standard_error, STDERR_FILENO);
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::execvp(arguments.front(), arguments.data());
    ::_exit(kNotThere);
  }

  void kill(int signal) const { ::kill(pid_, signal); }
  void kill_group() const { ::kill(-pid_, SIGKILL); }

  /// Its exit code, or 128 and the signal that ended it; none while it runs.
  std::optional<int> ended(bool wait = false) {
    int status = 0;
    if (::waitpid(pid_, &status, wait ? 0 : WNOHANG) != pid_) return std::nullopt;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }

 private:
  pid_t pid_ = 0;
};

/// Within so many seconds with exit code 0.
bool succeeds(const std::vector<std::string>& words, double seconds) {
  Child child(words, -1, true);
  for (const double end = steady_seconds() + seconds; steady_seconds() < end; ::usleep(20000)) {
    if (const std::optional<int> code = child.ended()) return *code == 0;
  }
  child.kill_group();
  child.ended(true);
  return false;
}

/// The signals that are for us alone while we watch.
class BlockedSignals {
 public:
  BlockedSignals() {
    sigset_t set;
    sigemptyset(&set);
    for (const int signal : {SIGINT, SIGTERM, SIGCHLD}) sigaddset(&set, signal);
    ::pthread_sigmask(SIG_BLOCK, &set, &before_);
    fd_ = ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  }
  ~BlockedSignals() {
    ::close(fd_);
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;

  [[nodiscard]] int fd() const { return fd_; }
  /// The next that is pending; 0: there is none.
  [[nodiscard]] int next() const {
    signalfd_siginfo info = {};
    return ::read(fd_, &info, sizeof info) == sizeof info ? static_cast<int>(info.ssi_signo) : 0;
  }

 private:
  sigset_t before_ = {};
  int fd_ = -1;
};

/// Passes on what comes from a pipe, and looks whether a line of it is an error of chorus's.
class ErrorStream {
 public:
  ErrorStream() {
    if (::pipe2(ends_.data(), O_CLOEXEC | O_NONBLOCK) != 0)
      throw Error("cannot make a pipe: {}", std::generic_category().message(errno));
    // The writer's end blocks, as programs expect it of standard error.
    ::fcntl(ends_[1], F_SETFL, ::fcntl(ends_[1], F_GETFL) & ~O_NONBLOCK);
  }
  ~ErrorStream() {
    close_writer();
    ::close(ends_[0]);
  }
  ErrorStream(const ErrorStream&) = delete;
  ErrorStream& operator=(const ErrorStream&) = delete;

  [[nodiscard]] int reader() const { return closed_ ? -1 : ends_[0]; }
  [[nodiscard]] int writer() const { return ends_[1]; }
  void close_writer() {
    if (ends_[1] >= 0) ::close(std::exchange(ends_[1], -1));
  }
  void pass_on() {
    std::array<char, 4096> bytes = {};
    ssize_t n = 0;
    while ((n = ::read(ends_[0], bytes.data(), bytes.size())) > 0) {
      for (ssize_t done = 0; done < n;) {
        const ssize_t written = ::write(STDERR_FILENO, bytes.data() + done, static_cast<size_t>(n - done));
        if (written < 0 && errno != EINTR) break;  // nobody reads it any more
        done += std::max<ssize_t>(written, 0);
      }
      look(std::string_view(bytes.data(), static_cast<size_t>(n)));
    }
    closed_ = n == 0;
  }
  [[nodiscard]] bool told_an_error() const { return told_; }

 private:
  void look(std::string_view bytes) {
    constexpr std::string_view kError = "chorus: error: ";
    for (const char c : bytes) {
      if (c == '\n' || c == '\r') {
        line_.clear();
      } else if (line_.size() < kError.size()) {
        line_ += c;
        told_ |= line_ == kError;
      }
    }
  }

  std::array<int, 2> ends_ = {-1, -1};
  std::string line_;  // its beginning
  bool told_ = false, closed_ = false;
};

}  // namespace

std::vector<Host> parse_hosts(const std::string& text, std::string_view option) {
  std::vector<Host> hosts;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string_view item = std::string_view(text).substr(begin, end - begin);
    const size_t colon = std::min(item.find(':'), item.size());
    Host host = {.name = std::string(item.substr(0, colon))};
    if (colon < item.size()) {
      const auto [stop, error] =
          std::from_chars(item.data() + colon + 1, item.data() + item.size(), host.slots);
      if (error != std::errc() || stop != item.data() + item.size()) host.slots = 0;
    }
    if (host.name.empty() || host.name.front() == '-' || host.slots < 1)
      throw UserError("{} {}: \"{}\" is no host: write names and how many ranks each takes, as in a:4,b:4",
                      option, text, item);
    hosts.push_back(std::move(host));
    begin = end + 1;
  }
  return hosts;
}

int slots_of(std::span<const Host> hosts) {
  int slots = 0;
  for (const Host& host : hosts) slots += host.slots;
  return slots;
}

const char* name_of(Starter starter) {
  return starter == Starter::mpirun ? "mpirun" : "srun";
}

std::vector<std::string> start_line(Starter starter, std::span<const Host> hosts, int ranks,
                                    const std::vector<std::string>& program) {
  std::vector<std::string> words = {name_of(starter), "-n", std::to_string(ranks)};
  if (!hosts.empty()) {
    std::vector<std::string> names;
    for (const Host& host : hosts)
      names.push_back(starter == Starter::mpirun ? fmt::format("{}:{}", host.name, host.slots) : host.name);
    words.insert(words.end(), {starter == Starter::mpirun ? "--host" : "--nodelist",
                               fmt::format("{}", fmt::join(names, ","))});
    if (starter == Starter::srun) words.push_back(fmt::format("--nodes={}", hosts.size()));
  }
  words.insert(words.end(), program.begin(), program.end());
  return words;
}

std::vector<Host> hosts_that_answer(Starter starter, std::span<const Host> hosts, double seconds) {
  std::vector<std::future<bool>> answers;
  for (const Host& host : hosts) {
    answers.push_back(std::async(std::launch::async, [=] {
      return succeeds(start_line(starter, std::span(&host, 1), 1, {"true"}), seconds);
    }));
  }
  std::vector<Host> there;
  for (size_t i = 0; i < hosts.size(); ++i) {
    if (answers[i].get()) there.push_back(hosts[i]);
  }
  return there;
}

Outcome run_and_watch(const std::vector<std::string>& words, double grace) {
  const BlockedSignals signals;
  ErrorStream errors;
  Child child(words, errors.writer(), false);
  errors.close_writer();
  Outcome outcome;
  double last = 0;  // when it must have ended; 0: not yet known
  while (true) {
    std::array<pollfd, 2> ready = {{{.fd = signals.fd(), .events = POLLIN, .revents = 0},
                                    {.fd = errors.reader(), .events = POLLIN, .revents = 0}}};
    ::poll(ready.data(), ready.size(), 1000);
    errors.pass_on();
    while (const int signal = signals.next()) {
      if (signal == SIGCHLD) continue;
      outcome.signal = signal;
      child.kill(signal);
    }
    if (const std::optional<int> code = child.ended()) {
      outcome.code = *code;
      break;
    }
    if (last == 0 && errors.told_an_error()) last = steady_seconds() + grace;
    if (last > 0 && steady_seconds() > last) {
      child.kill_group();
      last = 0;
    }
  }
  errors.pass_on();
  if (outcome.code == kNotThere)
    throw UserError("cannot start {}: is it installed, and in PATH?", words.front());
  return outcome;
}

}  // namespace chorus::inline mpi
