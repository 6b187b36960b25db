// What the ranks of a group do together, beyond sending and summing: wait for each other's long work, agree, share out
// texts. All ranks make these calls together.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "comm/group.h"

namespace chorus::inline comm {

/// Runs `work`, which does not use the group, on every rank, and comes back when it is done on all. However long that
/// takes: ranks tell each other that they live, so the time-out counts from the last sign of life of one that is dead
/// or stopped. Where it throws on a rank, that rank throws, and the others wait to be ended.
void side_by_side(Group& group, std::string_view what, const std::function<void()>& work);

/// Runs `work` on rank 0 while the others wait, then on all others, as side_by_side(): where it makes files that they
/// find, and where a mistake should be told once. A rank whose work throws ends all (mpi/world.h: before_last_words).
void first_rank_first(Group& group, std::string_view what, const std::function<void()>& work);

/// UserError unless `text` is the same on all ranks; it names a rank that differs, and `what`.
void check_same_on_ranks(Group& group, std::string_view what, std::string_view text);

/// Deals the texts that rank 0 has (what others give is not looked at) to the ranks: rank r takes r, r + ranks, ... and
/// makes a text of each with `work`. Returns what all have made, in order, on every rank.
std::vector<std::string> deal_to_ranks(
    Group& group, std::span<const std::string> texts,
    const std::function<std::vector<std::string>(std::span<const std::string> own)>& work);

/// Packs texts into one, and unpacks them.
std::string pack(std::span<const std::string> texts);
std::vector<std::string> unpack(std::string_view packed);

}  // namespace chorus::inline comm
