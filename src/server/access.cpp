#include "server/access.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <set>

#include <sys/stat.h>

#include "base/error.h"
#include "base/text.h"
#include "io/files.h"
#include "server/request_fields.h"

namespace chorus::inline server {

namespace {

constexpr size_t kShortestKey = 16, kLongestKey = 128;

int64_t limit_of(std::string_view word, const std::string& where) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc() || end != word.data() + word.size() || value < 0)
    throw UserError("{}: behind the key stand requests and characters a minute, as whole numbers", where);
  return value;
}

/// Compares in the time that the longest key takes, whatever they are.
bool is_same(std::string_view a, std::string_view b) {
  volatile unsigned differ = a.size() == b.size() ? 0 : 1;
  for (size_t i = 0; i < kLongestKey; ++i)
    differ = differ | static_cast<unsigned char>((i < a.size() ? a[i] : 0) ^ (i < b.size() ? b[i] : 0));
  return differ == 0;
}

/// Seconds until `amount` may be taken; 0: now.
template <class State>
double wait_for(State& allowance, int64_t per_minute, int64_t amount, AccessControl::Clock::time_point now) {
  if (per_minute == 0) return 0;
  const auto most = static_cast<double>(per_minute);
  const double passed = std::chrono::duration<double>(now - allowance.at).count();
  allowance.left = std::min(most, allowance.left + std::max(0.0, passed) * most / 60);
  allowance.at = now;
  return std::max(0.0, (static_cast<double>(amount) - allowance.left) * 60 / most);
}

}  // namespace

std::vector<AccessKey> read_keys(const std::filesystem::path& file) {
  std::string text = read_file(file);
  if (text.starts_with("\xEF\xBB\xBF")) text.erase(0, 3);  // a byte order mark
  std::ranges::replace(text, '\t', ' ');
  struct stat status {};
  if (::stat(file.c_str(), &status) == 0 && (status.st_mode & (S_IROTH | S_IWOTH)) != 0)
    throw UserError("{}: others than its owner and group may read it; chmod o-rw it", file.string());
  std::vector<AccessKey> keys;
  std::set<std::string> seen;
  int64_t number = 0;
  for (const std::string_view line : split(text, '\n')) {
    const std::string where = fmt::format("{}:{}", file.string(), ++number);
    std::vector<std::string_view> words;
    for (const std::string_view word : split(trim(line), ' '))
      if (!trim(word).empty()) words.push_back(trim(word));
    if (words.empty() || words.front().starts_with('#')) continue;
    AccessKey key = {.key = std::string(words.front())};
    if (key.key.size() < kShortestKey || key.key.size() > kLongestKey)
      throw UserError("{}: a key has {} to {} characters", where, kShortestKey, kLongestKey);
    if (!seen.insert(key.key).second) throw UserError("{}: this key is there twice", where);
    if (words.size() > 3) throw UserError("{}: a line is KEY REQUESTS CHARACTERS", where);
    if (words.size() > 1) key.requests = limit_of(words[1], where);
    if (words.size() > 2) key.characters = limit_of(words[2], where);
    keys.push_back(std::move(key));
  }
  if (keys.empty()) throw UserError("{}: there is no key in it", file.string());
  return keys;
}

AccessControl::AccessControl(std::vector<AccessKey> keys) {
  for (AccessKey& key : keys) {
    const auto full = [now = Clock::now()](int64_t limit) {
      return Allowance{static_cast<double>(limit), now};
    };
    const Allowance requests = full(key.requests), characters = full(key.characters);
    states_.push_back({std::move(key), requests, characters});
  }
}

void AccessControl::admit(std::string_view key, int64_t characters, Clock::time_point now) {
  if (!needs_key()) return;
  if (key.empty()) throw Refusal(400, "Please contact the server operator to get an API key");
  const std::scoped_lock lock(mutex_);
  KeyState* found = nullptr;
  for (KeyState& state : states_)
    if (is_same(state.key.key, key)) found = &state;
  if (!found || key.size() > kLongestKey) throw Refusal(403, "Invalid API key");
  const AccessKey& limits = found->key;
  if (limits.characters > 0 && characters > limits.characters)
    throw Refusal(400, fmt::format("Invalid request: request ({}) exceeds text limit ({})", characters,
                                   limits.characters));
  const double wait = std::max(wait_for(found->requests, limits.requests, 1, now),
                               wait_for(found->characters, limits.characters, characters, now));
  if (wait > 0) throw Refusal(429, "Slowdown: the limit of this API key", static_cast<int>(std::ceil(wait)));
  found->requests.left -= 1;
  found->characters.left -= static_cast<double>(characters);
}

}  // namespace chorus::inline server
