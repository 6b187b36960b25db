// SIGINT and SIGTERM: the first asks, the second ends the process.
#pragma once

namespace chorus {

/// While one lives, SIGINT and SIGTERM are noted instead of killing; a second signal exits at once with
/// code 1.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;
  [[nodiscard]] static bool requested();
};

}  // namespace chorus
