#include "data/dataset.h"

#include <algorithm>
#include <bit>
#include <map>
#include <optional>
#include <set>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"
#include "data/batch.h"
#include "data/sources.h"
#include "io/files.h"

namespace chorus::inline data {
namespace {

constexpr int64_t kStretch = 512;  // rows between two counts of a RowSet
constexpr int64_t kWordBits = 64;

// Counts a row with the given cells into `report`; whether it is usable.
bool count_row(PartReport& report, const std::array<CellStatus, 2>& status, int64_t longest,
               int64_t max_length) {
  const auto is = [&](CellStatus wanted) { return status[0] == wanted || status[1] == wanted; };
  ++report.rows;
  if (is(CellStatus::misshapen)) {
    ++report.misshapen;
  } else if (is(CellStatus::invalid_utf8)) {
    ++report.invalid_utf8;
  } else if (is(CellStatus::over_long) || (!is(CellStatus::empty) && longest > max_length)) {
    ++report.too_long;
  } else if (is(CellStatus::empty)) {
    ++report.empty;
  } else {
    ++report.examples;
    return true;
  }
  return false;
}

// "3 empty, 1 too long", or "".
std::string left_out(const PartReport& part) {
  std::vector<std::string> reasons;
  const auto add = [&](int64_t count, const char* what) {
    if (count > 0) reasons.push_back(fmt::format("{} {}", count, what));
  };
  add(part.empty, "empty");
  add(part.invalid_utf8, "not UTF-8");
  add(part.misshapen, "with a wrong number of columns");
  add(part.too_long, "too long");
  return join(reasons, ", ");
}

/// f(), whose UserError gets a label.
template <class F>
auto labelled(const std::string& label, const F& f) {
  try {
    return f();
  } catch (const UserError& error) {
    throw UserError("{}: {}", label, error.what());
  }
}

}  // namespace

void RowSet::append(bool member) {
  if (rows_ % kStretch == 0) before_.push_back(size_);
  if (rows_ % kWordBits == 0) words_.push_back(0);
  if (member) {
    words_.back() |= uint64_t{1} << (rows_ % kWordBits);
    ++size_;
  }
  ++rows_;
}

int64_t RowSet::select(int64_t i) const {
  if (i < 0 || i >= size_) throw Error("there is no example {} among {}", i, size_);
  const auto stretch = std::upper_bound(before_.begin(), before_.end(), i) - before_.begin() - 1;
  int64_t left = i - before_[stretch];
  size_t word = stretch * (kStretch / kWordBits);
  for (int count = 0; (count = std::popcount(words_[word])) <= left; ++word) left -= count;
  uint64_t bits = words_[word];
  for (; left > 0; --left) bits &= bits - 1;
  return static_cast<int64_t>(word) * kWordBits + std::countr_zero(bits);
}

std::vector<std::string> DataReport::lines() const {
  std::vector<std::string> lines;
  PartReport total;
  for (const auto& part : parts) {
    total.rows += part.rows;
    total.examples += part.examples;
    total.invalid_utf8 += part.invalid_utf8;
    total.misshapen += part.misshapen;
    total.too_long += part.too_long;
    total.empty += part.empty;
    total.source_tokens += part.source_tokens;
    total.target_tokens += part.target_tokens;
  }
  const auto add = [&](const std::string& what, const PartReport& part) {
    const std::string reasons = left_out(part);
    lines.push_back(fmt::format("{}: {}, {} source and {} target tokens{}", what,
                                counted(part.examples, "example"),
                                human_count(static_cast<double>(part.source_tokens)),
                                human_count(static_cast<double>(part.target_tokens)),
                                reasons.empty() ? "" : fmt::format("; left out: {}", reasons)));
  };
  add("in all", total);
  for (const auto& part : parts) add(fmt::format("{} {}", part.source, part.direction), part);
  return lines;
}

std::string DataReport::json() const {
  nlohmann::json list = nlohmann::json::array();
  for (const auto& part : parts) {
    list.push_back({{"source", part.source},
                    {"direction", part.direction},
                    {"rows", part.rows},
                    {"examples", part.examples},
                    {"invalid_utf8", part.invalid_utf8},
                    {"misshapen", part.misshapen},
                    {"too_long", part.too_long},
                    {"empty", part.empty},
                    {"source_tokens", part.source_tokens},
                    {"target_tokens", part.target_tokens}});
  }
  return nlohmann::json{{"parts", list}}.dump();
}

DataSet::DataSet(std::span<const SourceConfig> sources, const Vocabulary& vocabulary, const Options& options)
    : vocabulary_(vocabulary),
      max_length_(options.max_length),
      source_sampling_(options.source_sampling),
      target_sampling_(options.target_sampling) {
  if (source_sampling_ > 0 || target_sampling_ > 0) {
    if (vocabulary.is_marian()) {
      throw UserError(
          "data.source_sampling and data.target_sampling: OPUS-MT's vocabularies are two, and none is "
          "sampled");
    }
    sampler_.emplace(vocabulary);
  }
  std::vector<SourceConfig> all;
  for (size_t i = 0; i < sources.size(); ++i) {
    const std::string label = source_label(sources[i], options.list, i);
    for (const SourceConfig& source : find_sources(sources[i], label)) {
      if (sources[i].languages.empty() && options.build.log)
        options.build.log(
            fmt::format("{}: {} has files of {}", label, source.files, join(source.languages, ", ")));
      add_source(source, label, curriculum_name(source, i), options);
      all.push_back(source);
    }
  }
  for (const DenoiseConfig& task : options.denoise) add_task(task, all, options);
}

int32_t DataSet::language(const std::string& name, const std::string& label) const {
  return labelled(label, [&] { return vocabulary_.language(vocabulary_.language_of_label(name)); });
}

PairTags DataSet::tags(const std::string& from, const std::string& to, const std::string& label) const {
  const auto language = [&](const std::string& name) { return vocabulary_.language_of_label(name); };
  return labelled(label, [&] { return vocabulary_.pair_tags(language(from), language(to)); });
}

void DataSet::add_source(const SourceConfig& source, const std::string& label, const std::string& name,
                         const Options& options) {
  const auto pairs = expand_directions(source, label);
  std::vector<int32_t> languages;
  for (const auto& spoken : source.languages) languages.push_back(language(spoken, label));
  const size_t store = stores_.size();
  stores_.push_back(TokenStore::open(source, label, vocabulary_, options.store, options.build));
  std::map<std::pair<size_t, size_t>, size_t> seen;  // language pair -> the part that has counted its rows
  for (const auto& [from, to] : pairs) {
    const std::string &of = source.languages[from], &into = source.languages[to];
    PartReport report{.source = label, .direction = fmt::format("{}-{}", of, into)};
    Part part{.name = name,
              .direction = direction_index({.source = languages[from],
                                            .target = languages[to],
                                            .name = report.direction,
                                            .tags = tags(of, into, label)}),
              .weight = source.weight};
    Columns columns{.store = store, .source = from, .target = to, .rows = rows_.size()};
    if (const auto there = seen.find({to, from}); there != seen.end()) {  // the same rows, the other way
      const std::string direction = report.direction;
      report = report_.parts[there->second];
      report.direction = direction;
      std::swap(report.source_tokens, report.target_tokens);
      part.length_sum = parts_[there->second].length_sum;
      part.longest = parts_[there->second].longest;
      columns.rows = columns_[there->second].rows;
    } else {
      seen[{from, to}] = parts_.size();
      rows_.push_back(usable_rows(columns, options.max_length, report, part));
    }
    add_part(part, columns, report);
  }
}

void DataSet::add_task(const DenoiseConfig& task, std::span<const SourceConfig> sources,
                       const Options& options) {
  const std::string label = fmt::format("data.denoise '{}'", task.name);
  const std::optional<int32_t> tag = vocabulary_.symbol(task_tag(task.name));
  if (!tag || !vocabulary_.symbol(kMask))
    throw UserError("{}: the vocabulary has no {} or no {}", label, kMask, task_tag(task.name));
  tasks_.push_back(task.name);
  denoising_.push_back({.noise = task.noise, .tag = *tag});
  const auto add = [&](size_t store, size_t column, const std::string& name) {
    const int32_t index = language(name, label);
    const Columns columns = {
        .store = store, .source = column, .target = column, .rows = rows_.size(), .task = tasks_.size() - 1};
    PartReport report{.source = label, .direction = fmt::format("{}:{}", task.name, name)};
    Part part{.name = task.name,
              .direction = direction_index({.source = index,
                                            .target = index,
                                            .name = report.direction,
                                            .task = columns.task,
                                            .tags = tags(name, name, label)}),
              .weight = task.weight};
    rows_.push_back(usable_rows(columns, options.max_length, report, part));
    add_part(part, columns, report);
  };
  if (!task.files.empty()) {
    for (const std::string& name : find_languages(task, label)) {
      stores_.push_back(
          TokenStore::open(monolingual_source(task, name), label, vocabulary_, options.store, options.build));
      add(stores_.size() - 1, 0, name);
    }
    return;
  }
  std::set<std::string> missing(task.languages.begin(), task.languages.end());
  for (size_t i = 0; i < sources.size(); ++i) {
    for (size_t column = 0; column < sources[i].languages.size(); ++column) {
      const std::string& name = sources[i].languages[column];
      missing.erase(name);
      if (task.languages.empty() || std::ranges::find(task.languages, name) != task.languages.end())
        add(i, column, name);
    }
  }
  if (!missing.empty() && options.list == "train")
    throw UserError("{}: no data.train has the language '{}': give `files` of it", label, *missing.begin());
}

void DataSet::add_part(const Part& part, const Columns& columns, const PartReport& report) {
  if (report.examples == 0) {
    throw UserError("{}: no usable sentence{} for {} in {}{}", report.source, columns.task > 0 ? "" : " pair",
                    report.direction, counted(report.rows, "row"),
                    report.rows == 0 ? "" : fmt::format(" ({})", left_out(report)));
  }
  parts_.push_back(part);
  parts_.back().examples = report.examples;
  if (sampler_) parts_.back().longest = max_length_;
  columns_.push_back(columns);
  report_.parts.push_back(report);
}

RowSet DataSet::usable_rows(const Columns& columns, int64_t max_length, PartReport& report,
                            Part& part) const {
  const TokenStore& store = stores_[columns.store];
  const auto source = static_cast<int64_t>(columns.source), target = static_cast<int64_t>(columns.target);
  RowSet rows;
  for (int64_t row = 0; row < store.rows(); ++row) {
    const int64_t s = store.length(row, source), t = store.length(row, target),
                  longest = std::max(s + columns.extra(), t) + vocabulary_.tags_and_end();
    const bool usable =
        count_row(report, {store.status(row, source), store.status(row, target)}, longest, max_length);
    rows.append(usable);
    if (!usable) continue;
    report.source_tokens += s + 1;
    report.target_tokens += t + 1;
    part.length_sum += longest;
    part.longest = std::max(part.longest, longest);
  }
  return rows;
}

int32_t DataSet::direction_index(const Direction& direction) {
  for (size_t i = 0; i < directions_.size(); ++i) {
    const Direction& there = directions_[i];
    const bool same = languages().empty()
                          ? there.name == direction.name
                          : there.source == direction.source && there.target == direction.target;
    if (same && there.task == direction.task) return static_cast<int32_t>(i);
  }
  directions_.push_back(direction);
  return static_cast<int32_t>(directions_.size() - 1);
}

std::vector<std::pair<int32_t, int32_t>> DataSet::language_pairs() const {
  std::vector<std::pair<int32_t, int32_t>> pairs;
  for (const Direction& direction : directions_) pairs.emplace_back(direction.source, direction.target);
  return pairs;
}

int64_t DataSet::examples(int32_t direction) const {
  int64_t sum = 0;
  for (const auto& part : parts_) sum += part.direction == direction ? part.examples : 0;
  return sum;
}

uint64_t DataSet::hash() const {
  std::string text = hash_text(vocabulary_.hash());
  for (size_t i = 0; i < parts_.size(); ++i) {
    text +=
        fmt::format("\n{} {} {} {} {}", directions_[parts_[i].direction].name, parts_[i].weight,
                    parts_[i].examples, parts_[i].length_sum, hash_text(stores_[columns_[i].store].hash()));
  }
  if (sampler_) text += fmt::format("\n{} {} {}", source_sampling_, target_sampling_, max_length_);
  for (const auto& [noise, tag] : denoising_)
    text += fmt::format("\n{} {} {} {} {}", tag, noise.mask, noise.span, noise.drop, noise.shuffle);
  return hash_bytes(std::string_view(text));
}

std::vector<int32_t> DataSet::pieces(const Columns& columns, int64_t row, bool of_source,
                                     RandomKey key) const {
  const size_t column = of_source ? columns.source : columns.target;
  std::vector<int32_t> stored = stores_[columns.store].read(row, static_cast<int64_t>(column));
  const double alpha = of_source ? source_sampling_ : target_sampling_;
  if (alpha == 0) return stored;
  std::vector<int32_t> sampled = sampler_->sample(
      stored, alpha, key.derive(of_source ? "pieces of the source" : "pieces of the target"));
  const int64_t length = std::ssize(sampled) + vocabulary_.tags_and_end() + (of_source ? columns.extra() : 0);
  return length <= max_length_ ? sampled : stored;
}

DataSet::Lengths DataSet::lengths(int64_t part, int64_t example, RandomKey key) const {
  const Columns& columns = columns_.at(part);
  const TokenStore& store = stores_[columns.store];
  const int64_t row = rows_[columns.rows].select(example);
  const int64_t around = vocabulary_.tags_and_end();
  const int64_t source = source_sampling_ > 0 ? std::ssize(pieces(columns, row, true, key))
                                              : store.length(row, static_cast<int64_t>(columns.source));
  const int64_t target = target_sampling_ > 0 ? std::ssize(pieces(columns, row, false, key))
                                              : store.length(row, static_cast<int64_t>(columns.target));
  return {.source = source + around + columns.extra(), .target = target + around};
}

SentencePair DataSet::read(int64_t part, int64_t example, RandomKey key) const {
  const Columns& columns = columns_.at(part);
  const int64_t row = rows_[columns.rows].select(example);
  const Direction& direction = directions_[parts_[part].direction];
  const PairTags& tags = direction.tags;
  SentencePair pair = {.source = pieces(columns, row, true, key),
                       .target = pieces(columns, row, false, key),
                       .source_tag = tags.source,
                       .target_tag = tags.target,
                       .before_source_tag = tags.before_source,
                       .direction = parts_[part].direction};
  if (columns.task == 0) return pair;
  const Denoising& task = denoising_[columns.task - 1];
  std::vector<bool> starts_word;
  starts_word.reserve(pair.source.size());
  for (const int32_t id : pair.source) starts_word.push_back(vocabulary_.starts_word(id));
  pair.source = add_noise(pair.source, starts_word, task.noise, *vocabulary_.symbol(kMask), key);
  pair.source.insert(pair.source.begin(), task.tag);
  return pair;
}

}  // namespace chorus::inline data
