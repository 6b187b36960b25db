#include "train/interrupt.h"

#include <csignal>

#include <unistd.h>

namespace chorus {

namespace {

volatile std::sig_atomic_t signals = 0;

void note(int /*signal*/) {
  if (signals > 0) _exit(1);
  signals = 1;
}

}  // namespace

Interrupt::Interrupt() {
  signals = 0;
  std::signal(SIGINT, note);
  std::signal(SIGTERM, note);
}

Interrupt::~Interrupt() {
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
}

bool Interrupt::requested() {
  return signals > 0;
}

}  // namespace chorus
