#include "comm/internal/two_level.h"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace chorus::inline comm {

namespace {

size_t bytes_of(std::span<const Piece> pieces) {
  return std::transform_reduce(pieces.begin(), pieces.end(), size_t{0}, std::plus<>(),
                               [](const Piece& piece) { return piece.bytes; });
}

}  // namespace

int ranks_a_host(std::span<const int> host_of_rank) {
  const auto here = static_cast<size_t>(std::ranges::count(host_of_rank, host_of_rank[0]));
  if (here == 1 || here == host_of_rank.size() || host_of_rank.size() % here != 0) return 0;
  for (size_t r = 0; r < host_of_rank.size(); ++r) {
    // The same as the first of its row; rows differ from each other.
    if (host_of_rank[r] != host_of_rank[r / here * here]) return 0;
    if (std::cmp_not_equal(std::ranges::count(host_of_rank, host_of_rank[r]), here)) return 0;
  }
  return static_cast<int>(here);
}

void exchange_in_two_steps(Channel& channel, std::span<const Piece> send, std::span<const Piece> receive,
                           int ranks_a_host) {
  const size_t here = ranks_a_host, hosts = send.size() / here;
  const size_t host = channel.rank() / here, place = channel.rank() % here;
  const auto of_host = [&](std::span<const Piece> pieces, size_t h) {
    return pieces.subspan(h * here, here);
  };

  // What comes from this place of each host: so many bytes for each place here.
  std::vector<uint64_t> own(send.size()), arriving(send.size());
  std::ranges::transform(send, own.begin(), [](const Piece& piece) { return piece.bytes; });
  std::vector<Piece> out(send.size()), in(send.size());
  const size_t row = here * sizeof(uint64_t);
  for (size_t h = 0; h < hosts; ++h) {
    out[h * here + place] = {reinterpret_cast<char*>(own.data() + h * here), row};
    in[h * here + place] = {reinterpret_cast<char*>(arriving.data() + h * here), row};
  }
  channel.exchange(at::kCPU, "all_to_all", out, in);

  // Between hosts: what is for a host lies together. What stays on this one is taken from where it is.
  const auto arriving_from = [&](size_t h) { return std::span(arriving).subspan(h * here, here); };
  const auto total = [](std::span<const uint64_t> bytes) { return std::reduce(bytes.begin(), bytes.end()); };
  std::vector<char> passing(total(arriving) - total(arriving_from(host)));
  std::vector<const char*> next(
      send.size());  // in what arrived: by the place to go to, and the host it is from
  for (size_t h = 0, at = 0; h < hosts; ++h) {
    const bool stays = h == host;
    const size_t bytes = stays ? 0 : total(arriving_from(h));
    out[h * here + place] = {of_host(send, h).front().data, stays ? 0 : bytes_of(of_host(send, h))};
    in[h * here + place] = {passing.data() + at, bytes};
    for (size_t p = 0, begin = at; p < here; ++p) {
      next[p * hosts + h] = stays ? send[h * here + p].data : passing.data() + begin;
      begin += arriving_from(h)[p];
    }
    at += bytes;
  }
  channel.exchange(at::kCPU, "all_to_all", out, in);

  // Inside the host: to each place what is for it, host by host, and from each likewise.
  std::vector<char> leaving(total(arriving)), coming(bytes_of(receive));
  std::ranges::fill(out, Piece());
  std::ranges::fill(in, Piece());
  for (size_t p = 0, to = 0, from = 0; p < here; ++p) {
    const size_t begin = to, first = from;
    for (size_t h = 0; h < hosts; ++h) {
      const size_t bytes = arriving_from(h)[p];
      if (bytes > 0) std::memcpy(leaving.data() + to, next[p * hosts + h], bytes);
      to += bytes;
      from += receive[h * here + p].bytes;
    }
    out[host * here + p] = {leaving.data() + begin, to - begin};
    in[host * here + p] = {coming.data() + first, from - first};
  }
  channel.exchange(at::kCPU, "all_to_all", out, in);
  const char* arrived = coming.data();
  for (size_t p = 0; p < here; ++p) {
    for (size_t h = 0; h < hosts; ++h) {
      const Piece& piece = receive[h * here + p];
      if (piece.bytes > 0) std::memcpy(piece.data, arrived, piece.bytes);
      arrived += piece.bytes;
    }
  }
}

}  // namespace chorus::inline comm
