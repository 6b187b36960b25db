#include "data/batches.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <numeric>
#include <queue>
#include <tuple>
#include <utility>

#include <fmt/ranges.h>

#include "base/error.h"
#include "base/parallel_for.h"
#include "data/curriculum.h"
#include "io/files.h"

namespace chorus::inline data {
namespace {

struct Example {
  int64_t part = 0, index = 0;
  int64_t draw = 0;                // what its noise and pieces are keyed by: its place in the epoch
  int64_t source = 0, target = 0;  // S and T
  [[nodiscard]] int64_t length() const { return std::max(source, target); }
};

using Range = std::pair<size_t, size_t>;  // [begin, end) of sorted examples: one micro-batch

Example find_example(const DataSet& data, int64_t part, int64_t index, int64_t draw, RandomKey noise) {
  const auto lengths = data.lengths(part, index, noise.derive(draw));
  return {.part = part, .index = index, .draw = draw, .source = lengths.source, .target = lengths.target};
}

void sort_by_length(std::vector<Example>& examples) {
  std::stable_sort(examples.begin(), examples.end(), [](const Example& a, const Example& b) {
    return std::tuple(a.length(), a.source, a.target) < std::tuple(b.length(), b.source, b.target);
  });
}

// Cuts sorted examples into stretches of at most `budget` tokens, padding included, and at least one example.
std::vector<Range> cut(const std::vector<Example>& examples, int64_t budget) {
  std::vector<Range> ranges;
  size_t begin = 0;
  for (size_t i = 0; i < examples.size(); ++i) {
    if (i > begin && static_cast<int64_t>(i + 1 - begin) * examples[i].length() > budget) {
      ranges.emplace_back(begin, i);
      begin = i;
    }
  }
  if (begin < examples.size()) ranges.emplace_back(begin, examples.size());
  return ranges;
}

// Halves the ranges of most examples until their number is a multiple of `multiple`, or none can be halved.
void split_to_multiple(std::vector<Range>& ranges, size_t multiple) {
  const auto smaller = [](const Range& a, const Range& b) {
    return std::pair(a.second - a.first, b.first) < std::pair(b.second - b.first, a.first);
  };
  std::priority_queue<Range, std::vector<Range>, decltype(smaller)> queue(smaller, std::move(ranges));
  while (queue.size() % multiple != 0 && queue.top().second - queue.top().first > 1) {
    const auto [begin, end] = queue.top();
    queue.pop();
    const size_t middle = begin + (end - begin + 1) / 2;
    queue.emplace(begin, middle);
    queue.emplace(middle, end);
  }
  ranges.clear();
  for (; !queue.empty(); queue.pop()) ranges.push_back(queue.top());
  std::sort(ranges.begin(), ranges.end());
}

MicroBatch read_batch(const DataSet& data, std::span<const Example> examples, RandomKey noise) {
  std::vector<SentencePair> pairs;
  pairs.reserve(examples.size());
  for (const auto& example : examples)
    pairs.push_back(data.read(example.part, example.index, noise.derive(example.draw)));
  return make_batch(pairs);
}

/// A micro-batch by what its memory grows with.
struct Sized {
  PaddedShape shape;
  std::span<const Example> examples;

  [[nodiscard]] std::array<int64_t, 5> sizes() const {
    const int64_t s = shape.source_length, t = shape.target_length;
    return {shape.rows * s, shape.rows * t, shape.rows * s * s, shape.rows * t * t, shape.rows * s * t};
  }
  [[nodiscard]] bool is_within(const Sized& other) const {
    const auto own = sizes(), theirs = other.sizes();
    return std::ranges::equal(own, theirs, std::less_equal());
  }
};

Sized sized(std::span<const Example> examples) {
  Sized batch = {.shape = {{.rows = std::ssize(examples)}}, .examples = examples};
  for (const Example& example : examples) {
    batch.shape.source_length = std::max(batch.shape.source_length, example.source);
    batch.shape.target_length = std::max(batch.shape.target_length, example.target);
  }
  return batch;
}

/// Keeps those that lie within no other, and of them the largest.
void add_largest(std::vector<Sized>& front, const Sized& batch) {
  constexpr size_t kMost = 24;
  const auto has_room = [&](const Sized& other) { return batch.is_within(other); };
  if (std::ranges::any_of(front, has_room)) return;
  std::erase_if(front, [&](const Sized& other) { return other.is_within(batch); });
  front.push_back(batch);
  if (front.size() <= kMost) return;
  front.erase(std::ranges::min_element(front, {}, [](const Sized& b) {
    const auto sizes = b.sizes();
    return std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
  }));
}

}  // namespace

PaddedShape shape_of(const MicroBatch& batch) {
  return {{.rows = batch.rows, .source_length = batch.source_length, .target_length = batch.target_length},
          std::ranges::count(batch.source, int32_t{kPad}),
          std::ranges::count(batch.target_input, int32_t{kPad})};
}

MicroBatch make_batch(std::span<const SentencePair> pairs) {
  MicroBatch batch;
  batch.rows = static_cast<int64_t>(pairs.size());
  // Of pieces with their tag, if any, and </s>.
  const auto length = [](const std::vector<int32_t>& pieces, int32_t tag) {
    return static_cast<int64_t>(pieces.size()) + (tag == kNoTag ? 1 : kTagAndEnd);
  };
  for (const auto& pair : pairs) {
    const int64_t source = length(pair.source, pair.source_tag) + (pair.before_source_tag == kNoTag ? 0 : 1);
    batch.source_length = std::max(batch.source_length, source);
    batch.target_length = std::max(batch.target_length, length(pair.target, pair.target_tag));
    batch.source_tokens += source;
    batch.target_tokens += static_cast<int64_t>(pair.target.size()) + 1;
    batch.direction.push_back(pair.direction);
  }
  batch.source.assign(batch.rows * batch.source_length, kPad);
  batch.target_input.assign(batch.rows * batch.target_length, kPad);
  batch.target_labels.assign(batch.rows * batch.target_length, kPad);
  for (int64_t row = 0; row < batch.rows; ++row) {
    const auto& pair = pairs[row];
    int32_t* source = &batch.source[row * batch.source_length];
    for (const int32_t tag : {pair.before_source_tag, pair.source_tag})
      if (tag != kNoTag) *source++ = tag;
    *std::copy(pair.source.begin(), pair.source.end(), source) = kEos;
    int32_t* input = &batch.target_input[row * batch.target_length];
    *input++ = kEos;
    int32_t* labels = &batch.target_labels[row * batch.target_length];
    if (pair.target_tag != kNoTag) {
      *input++ = pair.target_tag;
      ++labels;
    }
    std::copy(pair.target.begin(), pair.target.end(), input);
    *std::copy(pair.target.begin(), pair.target.end(), labels) = kEos;
  }
  return batch;
}

struct BatchStream::State {
  struct Order {  // of a phase
    int64_t update = 0;
    Mixing mixing;
    int64_t pools = 1;  // of an epoch
  };
  struct Pool {
    DataPosition of = {.epoch = -1};  // its first batch; `update` is that of its phase
    std::vector<Example> examples;    // by length
    std::vector<Range> batches;       // micro-batches, in the order in which they are served
  };
  struct Prepared {
    std::vector<MicroBatch> batch;
    DataPosition following;
  };

  const DataSet& data;
  BatchOptions options;
  std::vector<Order> orders;
  DataPosition position;  // of the batch that next() returns
  Pool pool;              // touched by the preparing thread alone while `pending` is valid
  std::future<Prepared> pending;

  State(const DataSet& d, const BatchOptions& o) : data(d), options(o) {
    if (o.batch_tokens < 1 || o.micro_batches < 1 || o.pool_batches < 1) {
      throw UserError("data.batch_tokens, data.micro_batches and data.pool_batches must be 1 or more");
    }
    check_room(d, o.batch_tokens);
    const std::vector<Phase> phases = plan_phases(o.curriculum, d.parts());
    for (size_t i = 0; i < phases.size(); ++i) add_order(phases[i], i);
  }

  void add_order(const Phase& phase, size_t number) {
    std::vector<DataSet::Part> parts = data.parts();
    for (size_t i = 0; i < parts.size(); ++i) parts[i].weight = phase.weights[i];
    // Each phase begins cycles of its own through the examples.
    const uint64_t seed =
        number == 0 ? options.seed : RandomKey(options.seed).derive("phase").derive(number).value();
    Order order = {.update = phase.update, .mixing = Mixing(parts, options.temperature, seed)};
    double tokens = 0;  // of an epoch
    for (size_t i = 0; i < parts.size(); ++i) {
      tokens += static_cast<double>(parts[i].length_sum) / static_cast<double>(parts[i].examples) *
                static_cast<double>(order.mixing.draws(static_cast<int64_t>(i)));
    }
    const double pool_tokens = static_cast<double>(options.pool_batches) *
                               static_cast<double>(options.micro_batches) *
                               static_cast<double>(options.batch_tokens);
    order.pools =
        std::clamp<int64_t>(std::llround(std::ceil(tokens / pool_tokens)), 1, order.mixing.draws_per_epoch());
    orders.push_back(std::move(order));
  }

  /// Returns the order of the phase in which an update lies.
  [[nodiscard]] const Order& order_at(int64_t update) const {
    return *std::prev(std::ranges::upper_bound(orders, update, {}, &Order::update));
  }

  static int64_t pool_begin(const Order& order, int64_t number) {
    return static_cast<int64_t>(static_cast<__int128>(order.mixing.draws_per_epoch()) * number / order.pools);
  }

  void load_pool(const DataPosition& at) {
    const Order& order = order_at(at.update);
    const DataPosition wanted = {.epoch = at.epoch, .pool = at.pool, .update = order.update};
    if (pool.of == wanted) return;
    pool.of = {.epoch = -1};  // should reading fail, nothing half-made stays
    const int64_t begin = pool_begin(order, at.pool), end = pool_begin(order, at.pool + 1);
    const RandomKey noise = noise_of(at.epoch);
    pool.examples.resize(end - begin);
    parallel_for(data.is_sampled() ? options.threads : 1, end - begin, [&](int64_t i) {
      const Draw draw = order.mixing.draw(at.epoch, begin + i);
      pool.examples[i] = find_example(data, draw.part, draw.example, begin + i, noise);
    });
    sort_by_length(pool.examples);
    std::vector<Range> ranges = cut(pool.examples, options.batch_tokens);
    split_to_multiple(ranges, static_cast<size_t>(options.micro_batches));
    const RandomKey key = RandomKey(options.seed).derive("batches").derive(at.epoch).derive(at.pool);
    pool.batches.clear();
    for (size_t i = 0; i < ranges.size(); ++i) pool.batches.push_back(ranges[permute(key, i, ranges.size())]);
    pool.of = wanted;
  }

  [[nodiscard]] RandomKey noise_of(int64_t epoch) const {
    return RandomKey(options.seed).derive("noise").derive(epoch);
  }

  // Of the loaded pool.
  [[nodiscard]] int64_t global_batches() const {
    return (static_cast<int64_t>(pool.batches.size()) + options.micro_batches - 1) / options.micro_batches;
  }

  Prepared prepare(const DataPosition& at) {
    load_pool(at);
    Prepared prepared;
    const RandomKey noise = noise_of(at.epoch);
    const int64_t begin = at.batch * options.micro_batches;
    const int64_t end = std::min(begin + options.micro_batches, static_cast<int64_t>(pool.batches.size()));
    for (int64_t i = begin; i < end; ++i) {
      const auto [first, last] = pool.batches[i];
      prepared.batch.push_back(
          read_batch(data, std::span(pool.examples).subspan(first, last - first), noise));
    }
    DataPosition& next = prepared.following = at;
    ++next.update;
    if (++next.batch == global_batches())
      next = {.epoch = at.epoch, .pool = at.pool + 1, .update = next.update};
    const Order& order = order_at(at.update);
    if (next.pool == order.pools || &order_at(next.update) != &order)
      next = {.epoch = at.epoch + 1, .update = next.update};
    return prepared;
  }

  void start() {
    pending = std::async(std::launch::async, [this, at = position] { return prepare(at); });
  }
};

uint64_t hash(const BatchOptions& options) {
  std::string text = fmt::format("{} {} {} {} {}", options.seed, options.temperature, options.batch_tokens,
                                 options.micro_batches, options.pool_batches);
  for (const CurriculumConfig& phase : options.curriculum)
    text += fmt::format("\n{} {}", phase.update, fmt::join(phase.weights, " "));
  return hash_bytes(std::string_view(text));
}

BatchStream::BatchStream(const DataSet& data, const BatchOptions& options)
    : state_(std::make_unique<State>(data, options)) {}
BatchStream::~BatchStream() = default;
BatchStream::BatchStream(BatchStream&&) noexcept = default;

std::vector<MicroBatch> BatchStream::next() {
  if (!state_->pending.valid()) state_->start();
  State::Prepared prepared = state_->pending.get();
  state_->position = prepared.following;
  state_->start();
  return std::move(prepared.batch);
}

DataPosition BatchStream::position() const {
  return state_->position;
}

void BatchStream::seek(const DataPosition& position) {
  if (state_->pending.valid()) state_->pending.wait();
  state_->pending = {};
  const bool within = position.epoch >= 0 && position.pool >= 0 && position.update >= 0 &&
                      position.pool < state_->order_at(position.update).pools && position.batch >= 0;
  if (within) state_->load_pool(position);
  if (!within || position.batch >= state_->global_batches()) {
    throw Error("the data has no batch at epoch {}, pool {}, batch {}", position.epoch, position.pool,
                position.batch);
  }
  state_->position = position;
}

int64_t BatchStream::examples_per_epoch() const {
  return state_->orders.front().mixing.draws_per_epoch();
}

std::vector<PaddedShape> BatchStream::largest() {
  constexpr int64_t kExamples = 1'000'000;
  State& state = *state_;
  std::vector<Sized> front;
  const RandomKey noise = state.noise_of(0);
  for (const State::Order& order : state.orders) {
    int64_t seen = 0;
    for (DataPosition at = {.update = order.update}; at.pool < order.pools && seen < kExamples; ++at.pool) {
      state.load_pool(at);
      seen += static_cast<int64_t>(state.pool.examples.size());
      std::vector<Sized> larger;
      for (const auto& [begin, end] : state.pool.batches) {
        add_largest(larger, sized(std::span(state.pool.examples).subspan(begin, end - begin)));
      }
      for (const Sized& batch : larger) {
        add_largest(front,
                    {.shape = shape_of(read_batch(state.data, batch.examples, noise)), .examples = {}});
      }
    }
  }
  std::vector<PaddedShape> shapes;
  shapes.reserve(front.size());
  for (const Sized& batch : front) shapes.push_back(batch.shape);
  return shapes;
}

void check_room(const DataSet& data, int64_t batch_tokens) {
  for (const auto& part : data.parts()) {
    if (part.longest <= batch_tokens) continue;
    throw UserError(
        "data.batch_tokens = {} has no room for {}, of {} tokens: raise it, or lower data.max_length",
        batch_tokens,
        data.is_sampled() ? "a sentence as long as data.max_length, which sampled pieces may be"
                          : "the longest sentence",
        part.longest);
  }
}

std::vector<MicroBatch> sequential_batches(const DataSet& data, int32_t direction,
                                           const SequentialOptions& options) {
  const int64_t all = data.examples(direction), wanted = options.sentences == 0 ? all : options.sentences;
  const RandomKey choice =
      RandomKey().derive("sentences of an evaluation").derive(data.directions()[direction].name);
  const RandomKey noise = RandomKey().derive("noise of an evaluation");
  int64_t number = 0;  // of an example of the direction
  std::vector<Example> examples;
  for (size_t part = 0; part < data.parts().size(); ++part) {
    if (data.parts()[part].direction != direction) continue;
    for (int64_t i = 0; i < data.parts()[part].examples; ++i, ++number) {
      if (wanted >= all || static_cast<int64_t>(permute(choice, number, all)) < wanted)
        examples.push_back(find_example(data, static_cast<int64_t>(part), i, i, noise));
    }
  }
  sort_by_length(examples);
  std::vector<MicroBatch> batches;
  for (const auto& [begin, end] : cut(examples, options.batch_tokens)) {
    batches.push_back(read_batch(data, std::span(examples).subspan(begin, end - begin), noise));
  }
  return batches;
}

}  // namespace chorus::inline data
