#include <fmt/format.h>

#include "io/files.h"

// Inlined it uses the AVX2 this is compiled for; the library of the distribution is built for SSE2.
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace chorus::inline io {

uint64_t hash_bytes(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}
uint64_t hash_bytes(std::string_view bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

std::string hash_text(uint64_t hash) {
  return fmt::format("{:016x}", hash);
}

struct Hasher::State {
  XXH3_state_t xxh;
};
Hasher::Hasher() : state_(std::make_unique<State>()) {
  XXH3_64bits_reset(&state_->xxh);
}
Hasher::~Hasher() = default;
void Hasher::update(std::span<const std::byte> bytes) {
  XXH3_64bits_update(&state_->xxh, bytes.data(), bytes.size());
}
uint64_t Hasher::digest() const {
  return XXH3_64bits_digest(&state_->xxh);
}

}  // namespace chorus::inline io
