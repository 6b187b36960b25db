// The subcommands: one file each, which parses its arguments, calls the library and prints.
#pragma once

#include <CLI/CLI.hpp>

namespace chorus {

// Each adds one subcommand, whose callback runs it. Errors leave by exception; main() prints them and picks the exit code.

}  // namespace chorus
