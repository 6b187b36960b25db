// all_to_all between the ranks of several hosts in two steps, so that a rank has one message for each other
// host instead of one for each rank there: to the rank of its own place on that host, which passes the parts
// on to its neighbours. Few large messages for many small ones, for one more copy inside a host.
#pragma once

#include <span>

#include "comm/channel.h"

namespace chorus::inline comm {

/// The ranks on each host, where hosts have equally many, in order: ranks h n .. h n + n - 1 on host h. 0
/// where two steps would save nothing: one host, one rank on each, or another order.
int ranks_a_host(std::span<const int> host_of_rank);

/// Exchanges like Channel::exchange what every rank has for every other; it lies in memory in the order of the ranks,
/// and so does what comes.
void exchange_in_two_steps(Channel& channel, std::span<const Piece> send, std::span<const Piece> receive,
                           int ranks_a_host);

}  // namespace chorus::inline comm
