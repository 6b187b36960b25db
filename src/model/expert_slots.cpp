#include "model/internal/expert_slots.h"

#include <algorithm>
#include <new>
#include <span>
#include <tuple>
#include <utility>

#include <ATen/ops/from_blob.h>
#include <sys/mman.h>

#include "base/error.h"
#include "base/text.h"
#include "io/files.h"
#include "io/json.h"

namespace chorus::inline model {

namespace {

constexpr size_t kHugePage = size_t{1} << 21;
constexpr double kFading = 0.8;        // what a use counts for later
constexpr int64_t kAheadAtOnce = 128;  // experts

/// fn(part, its bytes in the expert's slot)
template <class Fn>
void for_parts(const StoredExpert& expert, const Fn& fn) {
  std::byte* slot = expert.slot;
  for (const StoredPart& part : *expert.parts) {
    const PartBlocks blocks(part);
    fn(part, slot + blocks.before);
    slot += blocks.bytes;
  }
}

}  // namespace

ExpertSlots::ExpertSlots(Transformer& transformer, ExpertFiles where, int64_t count)
    : model(transformer), files(std::move(where)), slot_bytes(ExpertStore::slot_bytes(files)), slots(count) {
  const size_t bytes = (slots * slot_bytes + kHugePage - 1) / kHugePage * kHugePage;
  memory_.reset(static_cast<std::byte*>(std::aligned_alloc(kHugePage, bytes)));
  if (!memory_) throw Error("there is no memory for {} of experts", human_bytes(bytes));
  static_cast<void>(::madvise(memory_.get(), bytes, MADV_HUGEPAGE));  // which only makes it faster
  for (int64_t i = slots; i-- > 0;) empty_.push_back(memory_.get() + i * slot_bytes);
  for (const auto& [block, experts] : files.blocks) {
    ExpertLayer& layer = layers[block];
    layer.resize(experts.size());
    for (size_t e = 0; e < experts.size(); ++e) {
      layer[e].number = static_cast<int64_t>(e);
      layer[e].parts = &experts[e];
      for (const StoredPart& part : experts[e]) {
        const ParameterSpec& spec = model.catalogue().parameters[part.parameter];
        const std::vector<int64_t> shape = spec.stored_shape();
        model.parameters()[part.parameter].set_pieces(experts.size(), spec.quantization, shape[0], shape[1]);
      }
    }
  }
}

ExpertSlots::~ExpertSlots() {  // the memory is not to be written to any more
  for (auto& [block, layer] : layers)
    for (const StoredExpert& expert : layer) static_cast<void>(wait_for_disk(expert));
}

std::exception_ptr ExpertSlots::wait_for_disk(const StoredExpert& expert) const {
  std::exception_ptr failed;
  for (size_t i = 0; i < expert.reading.size(); ++i) {
    try {
      files.files[(*expert.parts)[i].file]->wait(expert.reading[i]);
    } catch (const Error&) {
      failed = std::current_exception();
    }
  }
  return failed;
}

void ExpertSlots::check(const StoredExpert& expert) const {
  for_parts(expert, [&](const StoredPart& part, const std::byte* bytes) {
    const ParameterSpec& spec = model.catalogue().parameters[part.parameter];
    const auto damaged = [&](const char* why) {
      throw UserError("{}: damaged: tensor {} {}; restore the file from a copy", files.names[part.file],
                      in_quotes(spec.stored[expert.number]), why);
    };
    if (part.checksum) {
      if (hash_bytes({bytes, part.bytes}) != *part.checksum) damaged("does not agree with its checksum");
    } else if (spec.quantization != Quantization::none) {
      const std::vector<int64_t> shape = spec.stored_shape();
      const at::Tensor blocks = at::from_blob(const_cast<std::byte*>(bytes), spec.file_shape(), at::kByte);
      if (!has_finite_scales({blocks, spec.quantization, shape[0], shape[1]}))
        damaged("has scales that are not finite");
    }
  });
}

void ExpertSlots::begin_reading(StoredExpert& expert) {
  std::byte* slot = empty_.back();
  empty_.pop_back();
  expert.slot = slot;
  expert.failed = nullptr;
  filled_.push_back(&expert);
  ++traffic.reads;
  for (const StoredPart& part : *expert.parts) {
    const PartBlocks blocks(part);
    expert.reading.push_back(
        files.files[part.file]->read(blocks.first, slot, blocks.bytes, blocks.before + part.bytes));
    traffic.bytes += blocks.bytes;
    slot += blocks.bytes;
  }
}

void ExpertSlots::publish(const StoredExpert& expert) {
  for_parts(expert, [&](const StoredPart& part, std::byte* bytes) {
    const ParameterSpec& spec = model.catalogue().parameters[part.parameter];
    model.parameters()[part.parameter].pieces[expert.number] =
        at::from_blob(bytes, spec.file_shape(),
                      spec.quantization == Quantization::none ? model.options().compute : at::kByte);
  });
}

void ExpertSlots::drop(StoredExpert& expert) {
  for (const StoredPart& part : *expert.parts)
    model.parameters()[part.parameter].pieces[expert.number].reset();
  std::erase(filled_, &expert);
  empty_.push_back(std::exchange(expert.slot, nullptr));
}

void ExpertSlots::finish_reading(std::unique_lock<std::mutex>& lock, StoredExpert& expert) {
  while (expert.awaited) changed.wait(lock);
  if (!expert.slot) std::rethrow_exception(expert.failed);
  if (expert.reading.empty()) return;
  expert.awaited = true;
  lock.unlock();
  expert.failed = wait_for_disk(expert);
  try {
    if (!expert.failed) check(expert);
  } catch (const Error&) {
    expert.failed = std::current_exception();
  }
  lock.lock();
  expert.awaited = false;
  expert.reading.clear();
  expert.failed ? drop(expert) : publish(expert);
  changed.notify_all();
  if (expert.failed) std::rethrow_exception(expert.failed);
}

StoredExpert* ExpertSlots::least_worth(bool there) const {
  const auto worth = [](const StoredExpert& expert) {
    return std::tuple(expert.early, expert.uses, -expert.last);
  };
  StoredExpert* least = nullptr;
  for (StoredExpert* const expert : filled_) {
    if (expert->loans == 0 && !expert->awaited && expert->reading.empty() == there &&
        (!least || worth(*expert) < worth(*least)))
      least = expert;
  }
  return least;
}

void ExpertSlots::fetch(std::unique_lock<std::mutex>& lock, StoredExpert& expert) {
  while (!expert.slot && empty_.empty()) {  // another thread may begin to read it, meanwhile
    if (StoredExpert* const least = least_worth(true)) {
      drop(*least);
    } else if (StoredExpert* const coming = least_worth(false)) {
      try {
        finish_reading(lock, *coming);
      } catch (const Error&) {  // who needs it will be told
      }
    } else {
      changed.wait(lock);
    }
  }
  if (!expert.slot) begin_reading(expert);
}

void ExpertSlots::read_ahead() {
  int64_t coming = std::ranges::count_if(filled_, [](const StoredExpert* e) { return !e->reading.empty(); });
  for (; !next.empty() && coming < kAheadAtOnce; next.pop_front()) {
    StoredExpert& expert = *next.front();
    if (expert.slot) continue;
    if (empty_.empty()) {
      StoredExpert* const least = least_worth(true);
      if (!least || least->early || least->uses > expert.uses + 1) return;
      drop(*least);
    }
    begin_reading(expert);
    expert.early = true;
    ++coming;
  }
  for (; !favourites.empty() && !empty_.empty() && coming < kAheadAtOnce; favourites.pop_front()) {
    if (favourites.front()->slot) continue;
    begin_reading(*favourites.front());
    ++coming;
  }
}

void ExpertSlots::fade() {
  for (auto& [block, layer] : layers) {
    for (StoredExpert& expert : layer) expert.uses *= kFading;
  }
}

}  // namespace chorus::inline model
