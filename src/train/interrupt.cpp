#include "train/internal/interrupt.h"

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <ctime>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "mpi/launcher.h"

namespace chorus::inline train {

namespace {

constexpr int kAnswer = 3;  // seconds in which all ranks say that they were told to end

int living = 0;  // Interrupts

// What the handler sees.
std::atomic<int> noted = 0;
std::atomic<int64_t> noted_at = 0;  // seconds
std::atomic<pid_t> from = 0;        // whose signal is told through the pipe

/// Made once, and open until the process ends, since a handler may still be about to write. {-1, -1}: there is none.
const std::array<int, 2>& pipe_ends() {
  static const std::array<int, 2> ends = [] {
    std::array<int, 2> made = {-1, -1};
    return ::pipe2(made.data(), O_CLOEXEC | O_NONBLOCK) == 0 ? made : std::array{-1, -1};
  }();
  return ends;
}

void tell(char what) {
  if (::write(pipe_ends()[1], &what, 1) < 0) {
    // It is full: something was told.
  }
}

/// The next byte that is told.
char wait_for_word() {
  for (char byte = 0;;) {
    if (::read(pipe_ends()[0], &byte, 1) == 1) return byte;
    pollfd readable = {pipe_ends()[0], POLLIN, 0};
    ::poll(&readable, 1, -1);
  }
}

void note(int signal, siginfo_t* info, void* /*context*/) {
  const int error = errno;
  timespec now = {};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  // `timeout`, and a terminal with a script between, send it twice at once.
  if (noted == 0) {
    noted_at = now.tv_sec;
    noted = signal;
  } else if (now.tv_sec > noted_at + 1) {
    ::_exit(128 + signal);
  }
  if (from > 0 && info->si_pid == from) tell('s');
  errno = error;
}

}  // namespace

Interrupt::Interrupt() {
  if (living++ > 0) return;
  noted = 0;
  if (const pid_t own = launcher(); own > 0 && pipe_ends()[0] >= 0) {
    for (char old = 0; ::read(pipe_ends()[0], &old, 1) == 1;) {
      // Told to one that had ended.
    }
    from = own;
    holder_ = std::thread([this, own] {
      if (wait_for_word() == 'e') return;
      hold_launcher(own, kAnswer + 1);
      if (all_are_told(kAnswer, leaving_)) {
        keep_launcher_held();
      } else if (!leaving_) {
        release_launcher();
      }
    });
  }
  struct sigaction action = {};
  sigemptyset(&action.sa_mask);
  action.sa_sigaction = note;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  ::sigaction(SIGINT, &action, &int_before_);
  ::sigaction(SIGTERM, &action, &term_before_);
}

Interrupt::~Interrupt() {
  if (--living > 0) return;
  ::sigaction(SIGINT, &int_before_, nullptr);
  ::sigaction(SIGTERM, &term_before_, nullptr);
  from = 0;
  if (!holder_.joinable()) return;
  leaving_ = true;
  tell('e');
  holder_.join();
}

int Interrupt::signal() {
  return noted;
}

std::optional<Ending> Interrupt::ending(Group& group) {
  const int64_t signal = group.max(Interrupt::signal());
  if (signal == 0) return std::nullopt;
  return signal == SIGTERM ? Ending::terminated : Ending::interrupted;
}

}  // namespace chorus::inline train
