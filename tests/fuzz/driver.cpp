// Feeds LLVMFuzzerTestOneInput with mutated seeds, for compilers without libFuzzer.
//
//   fuzz_NAME [--seeds DIR] [--runs N] [--seconds T] [--seed S] [--first R]
//
// Input number R is a pure function of (the seeds, S, R); the first are the seeds as they are. When the target
// dies or hangs, R is printed with the line that repeats it. Ends after N inputs or T seconds, whichever is
// first, but not before each seed has had its turn; T = 0, the default, is no limit.
#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <unistd.h>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
extern "C" void __sanitizer_set_death_callback(void (*callback)()) __attribute__((weak));

namespace {

constexpr size_t kMaxSize = size_t{1} << 20;
constexpr unsigned kHangSeconds = 30;

using Bytes = std::string;
using Random = std::mt19937_64;

struct Options {
  std::string seeds;
  uint64_t runs = 10000, seconds = 0, seed = 1, first = 0;
};

size_t below(Random& random, size_t bound) {
  return bound == 0 ? 0 : random() % bound;
}

// Writes a number that parsers trip over, of 1 to 8 bytes in either byte order, or in digits.
void write_extreme(Random& random, Bytes& bytes) {
  constexpr std::array<uint64_t, 14> kNumbers = {0,          1,
                                                 0x7F,       0x80,
                                                 0xFF,       0x7FFF,
                                                 0xFFFF,     0x7FFFFFFF,
                                                 0x80000000, 0xFFFFFFFF,
                                                 INT64_MAX,  uint64_t{1} << 63,
                                                 UINT64_MAX, uint64_t{1} << 61};
  const uint64_t number = kNumbers[below(random, kNumbers.size())] - below(random, 2);
  if (below(random, 3) == 0) {
    const std::string digits = below(random, 2) == 0 ? std::to_string(number) : "-" + std::to_string(number);
    bytes.replace(below(random, bytes.size() + 1), below(random, 4), digits);
    return;
  }
  const size_t width = size_t{1} << below(random, 4);
  if (bytes.size() < width) {
    return;
  }
  const size_t at = below(random, bytes.size() - width + 1);
  const bool big_endian = below(random, 2) == 0;
  for (size_t i = 0; i < width; ++i) {
    bytes[at + i] = static_cast<char>(number >> 8 * (big_endian ? width - 1 - i : i));
  }
}

void mutate(Random& random, Bytes& bytes, const std::vector<Bytes>& seeds) {
  const size_t at = below(random, bytes.size() + 1);
  switch (below(random, 9)) {
    case 0:  // flip a bit
      if (at < bytes.size()) bytes[at] = static_cast<char>(bytes[at] ^ 1 << below(random, 8));
      break;
    case 1:  // set a byte
      if (at < bytes.size()) bytes[at] = static_cast<char>(random());
      break;
    case 2:  // insert some bytes, one value repeated
      bytes.insert(at, 1 + below(random, 16), static_cast<char>(random()));
      break;
    case 3:  // delete some
      bytes.erase(at, 1 + below(random, 16));
      break;
    case 4:  // truncate, seldom
      if (below(random, 4) == 0) bytes.resize(at);
      break;
    case 5: {  // repeat a piece
      const Bytes piece = bytes.substr(at, 1 + below(random, 64));
      bytes.insert(below(random, bytes.size() + 1), piece);
      break;
    }
    case 6: {  // go on as another seed does
      const Bytes& other = seeds[below(random, seeds.size())];
      bytes = bytes.substr(0, at) + other.substr(below(random, other.size() + 1));
      break;
    }
    case 7: {  // a byte with a meaning in text formats
      constexpr std::string_view kSpecial = "\0\n\r\t \"'\\{}[]:,=#\x80\xC0\xED\xF4\xFF";
      bytes.insert(at, 1, kSpecial[below(random, kSpecial.size())]);
      break;
    }
    default:
      write_extreme(random, bytes);
  }
}

Bytes make_input(uint64_t seed, uint64_t run, const std::vector<Bytes>& seeds) {
  std::seed_seq sequence = {seed, seed >> 32, run, run >> 32};
  Random random(sequence);
  Bytes bytes = seeds[run % seeds.size()];
  if (run < seeds.size()) {
    return bytes;  // each seed once as it is
  }
  for (size_t i = 1 + below(random, 8); i > 0; --i) {
    mutate(random, bytes, seeds);
  }
  bytes.resize(std::min(bytes.size(), kMaxSize));
  return bytes;
}

// For the death callback and the signal handlers, which can take no argument.
char repeat_line[512];  // what to type to run the present input again

void report_death() {
  const ssize_t ignored = write(STDERR_FILENO, repeat_line, std::strlen(repeat_line));
  static_cast<void>(ignored);
}

void on_signal(int signal) {
  if (signal == SIGALRM) {
    constexpr std::string_view kHang = "fuzz: an input took too long\n";
    const ssize_t ignored = write(STDERR_FILENO, kHang.data(), kHang.size());
    static_cast<void>(ignored);
  }
  report_death();
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; i += 2) {
    const std::string_view key = argv[i];
    if (i + 1 == argc) {
      std::fprintf(stderr, "fuzz: %s needs a value\n", argv[i]);
      std::exit(2);
    }
    if (key == "--seeds") {
      options.seeds = argv[i + 1];
    } else if (key == "--runs") {
      options.runs = std::strtoull(argv[i + 1], nullptr, 10);
    } else if (key == "--seconds") {
      options.seconds = std::strtoull(argv[i + 1], nullptr, 10);
    } else if (key == "--seed") {
      options.seed = std::strtoull(argv[i + 1], nullptr, 10);
    } else if (key == "--first") {
      options.first = std::strtoull(argv[i + 1], nullptr, 10);
    } else {
      std::fprintf(stderr, "usage: %s [--seeds DIR] [--runs N] [--seconds T] [--seed S] [--first R]\n",
                   argv[0]);
      std::exit(2);
    }
  }
  return options;
}

std::vector<Bytes> read_seeds(const std::string& folder) {
  std::vector<std::filesystem::path> paths;
  if (!folder.empty()) {
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      paths.push_back(entry.path());
    }
  }
  std::sort(paths.begin(), paths.end());
  std::vector<Bytes> seeds;
  for (const auto& path : paths) {
    std::ifstream file(path, std::ios::binary);
    seeds.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  seeds.emplace_back();  // the empty input
  return seeds;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  const std::vector<Bytes> seeds = read_seeds(options.seeds);
  if (__sanitizer_set_death_callback != nullptr) {
    __sanitizer_set_death_callback(report_death);
    for (const int signal : {SIGABRT, SIGALRM}) std::signal(signal, on_signal);
  } else {
    for (const int signal : {SIGABRT, SIGALRM, SIGSEGV, SIGBUS, SIGFPE, SIGILL})
      std::signal(signal, on_signal);
  }
  const auto start = std::chrono::steady_clock::now();
  uint64_t run = options.first;
  for (; run - options.first < options.runs; ++run) {
    if (options.seconds != 0 && run >= seeds.size() &&
        std::chrono::steady_clock::now() - start > std::chrono::seconds(options.seconds)) {
      break;
    }
    std::snprintf(repeat_line, sizeof repeat_line,
                  "fuzz: repeat with: %s%s%s --seed %llu --first %llu --runs 1\n", argv[0],
                  options.seeds.empty() ? "" : " --seeds ", options.seeds.c_str(),
                  static_cast<unsigned long long>(options.seed), static_cast<unsigned long long>(run));
    // A copy of exactly its size, so that a read past the end is seen.
    const Bytes input = make_input(options.seed, run, seeds);
    const std::vector<uint8_t> exact(input.begin(), input.end());
    alarm(kHangSeconds);
    LLVMFuzzerTestOneInput(exact.data(), exact.size());
  }
  alarm(0);
  std::printf("fuzz: %llu inputs from %zu seeds, none was fatal\n",
              static_cast<unsigned long long>(run - options.first), seeds.size());
  return 0;
}
