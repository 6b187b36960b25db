#include "server/kept_documents.h"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include "base/error.h"

namespace chorus::inline server {

std::string KeptDocuments::keep(KeptDocument document, Clock::time_point now) {
  std::string word = random_word();
  const auto shared = std::make_shared<const KeptDocument>(std::move(document));
  const std::scoped_lock lock(mutex_);
  bytes_ += shared->bytes.size();
  kept_.push_back({word, now, shared});
  forget_old(now);
  return word;
}

std::shared_ptr<const KeptDocument> KeptDocuments::find(std::string_view word, Clock::time_point now) {
  const std::scoped_lock lock(mutex_);
  forget_old(now);
  const auto found = std::ranges::find(kept_, word, &Kept::word);
  return found == kept_.end() ? nullptr : found->document;
}

void KeptDocuments::forget_old(Clock::time_point now) {
  const auto beyond = [&] { return kept_.size() > limits_.count || bytes_ > limits_.bytes; };
  while (!kept_.empty() && (now - kept_.front().since > limits_.time || (kept_.size() > 1 && beyond()))) {
    bytes_ -= kept_.front().document->bytes.size();
    kept_.pop_front();
  }
}

std::string random_word() {
  std::array<unsigned char, 16> bytes = {};
  if (::getentropy(bytes.data(), bytes.size()) != 0) throw Error("the system has no random numbers");
  return fmt::format("{:02x}", fmt::join(bytes, ""));
}

}  // namespace chorus::inline server
