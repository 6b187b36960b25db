// Errors: what a user reads is one line, saying what is wrong, where, and what to do.
//
// The library throws; only main() prints and exits: 2 for UserError, 1 for anything else.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

#include <fmt/format.h>

namespace chorus {

/// A failure that is not the user's mistake: a full disk, a broken invariant, an operator that refused. Exit
/// code 1.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message) : std::runtime_error(message) {}
  template <class... Args>
  requires(sizeof...(Args) > 0) explicit Error(fmt::format_string<Args...> format, Args&&... args)
      : std::runtime_error(fmt::format(format, std::forward<Args>(args)...)) {}
};

/// The user's mistake: a wrong option, a file that is not what it should be, a model of another run. Exit
/// code 2.
class UserError : public Error {
 public:
  using Error::Error;
};

}  // namespace chorus
