// What failures cost a run: the share of its time that trains, by how often it is saved.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace chorus::inline plan {

/// Hosts fail by themselves, at random moments; a failure of one ends the run, which goes on from its last save.
/// Times are in seconds.
struct Failures {
  double between = 0;  // two failures of one host, in the mean
  double update = 0;   // an update takes
  double save = 0;     // a save holds training up, at least
  double write = 0;    // from then on until it is on disk, beside training; the next save waits for that
  double restart = 0;  // from a failure until training goes on; hosts may fail meanwhile
  int64_t hosts = 1;
};

/// Expected share of the time that is spent on updates that stay, when each `interval`-th update is saved. The time to
/// be through with w seconds without a failure in between, exponentially distributed failures of rate r and their
/// restarts counted, is (exp(r w) - 1) exp(r restart) / r (Daly 2006, equation 20, with restarts that fail too). A save
/// that is not on disk yet costs as much as a restart longer by `write`.
double goodput(const Failures& failures, int64_t interval);

/// The interval, in updates, with the highest goodput.
int64_t best_interval(const Failures& failures);

/// Seconds of "90s", "20min", "3h" or "2d", above 0 and at most ten years; UserError naming the option.
double parse_time(std::string_view text, std::string_view option);

}  // namespace chorus::inline plan
