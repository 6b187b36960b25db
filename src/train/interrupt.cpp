#include "train/internal/interrupt.h"

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <ctime>

#include <fcntl.h>
#include <unistd.h>

#include "mpi/launcher.h"

namespace chorus::inline train {

namespace {

constexpr int kAnswer = 3;  // seconds in which all ranks say that they were told to end

// What the handler sees.
std::atomic<int> noted = 0;
std::atomic<int64_t> noted_at = 0;  // seconds
std::atomic<pid_t> from = 0;        // whose signal is told through the pipe
std::atomic<int> pipe_end = -1;

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
  if (from > 0 && info->si_pid == from && ::write(pipe_end, "s", 1) < 0) {
    // Nobody reads any more: it is being ended.
  }
  errno = error;
}

}  // namespace

Interrupt::Interrupt() {
  noted = 0;
  std::array<int, 2> ends = {};
  if (const pid_t own = launcher(); own > 0 && ::pipe2(ends.data(), O_CLOEXEC) == 0) {
    pipe_end = ends[1];
    from = own;
    holder_ = std::thread([this, own, end = ends[0]] {
      char byte = 0;
      if (::read(end, &byte, 1) == 1) {
        hold_launcher(own, kAnswer + 1);
        if (all_are_told(kAnswer, leaving_)) {
          keep_launcher_held();
        } else if (!leaving_) {
          release_launcher();
        }
      }
      ::close(end);
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
  ::sigaction(SIGINT, &int_before_, nullptr);
  ::sigaction(SIGTERM, &term_before_, nullptr);
  from = 0;
  if (!holder_.joinable()) return;
  leaving_ = true;
  ::close(pipe_end.exchange(-1));
  holder_.join();
}

int Interrupt::signal() {
  return noted;
}

}  // namespace chorus::inline train
