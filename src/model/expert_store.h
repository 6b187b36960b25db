// A model larger than memory: its experts lie in its file, and come into slots of memory when tokens choose them.
//
// A slot holds one expert of any layer. Reading goes past the page cache (memory/block_file.h) and on beside computing:
// a layer computes with what is there while the rest comes, and experts that the next MoE layer will probably need are
// read ahead: those that its router would choose if it read the tokens as they are now. What is computed is what it
// would be with all in memory, to the bit.
//
// Which expert makes room: the one used least often of late, of several the one used last. So the decoder's, which are
// used at every step, stay, and of the encoder's, which are used once per batch in the order of the layers, as many
// stay as there is room for.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "memory/block_file.h"
#include "model/transformer.h"
#include "moe/expert_source.h"

namespace chorus::inline model {

/// A weight of one expert in its file.
struct StoredPart {
  size_t parameter = 0;  // index of the stack into the catalogue
  size_t file = 0;       // of ExpertFiles::files
  uint64_t offset = 0, bytes = 0;
  std::optional<uint64_t> checksum;  // XXH3-64
};

/// Where all experts of a model lie.
struct ExpertFiles {
  std::vector<std::unique_ptr<BlockFile>> files;
  std::vector<std::string> names;                                 // of the files, for errors
  std::map<size_t, std::vector<std::vector<StoredPart>>> blocks;  // by ParameterSpec::block: [expert][part]
};

/// Since the model was loaded, or since measure_rate().
struct ExpertTraffic {
  int64_t uses = 0;    // of an expert by a layer that ran
  int64_t hits = 0;    // of them, those that were there, or on their way
  int64_t reads = 0;   // of an expert
  uint64_t bytes = 0;  // read
  double waited = 0;   // seconds that computing waited for reading
};

struct ExpertSlots;  // internal/expert_slots.h

/// Threads may share one.
class ExpertStore final : public ExpertSource {
 public:
  /// Returns the bytes that one expert takes in memory.
  static uint64_t slot_bytes(const ExpertFiles& files);
  /// Returns the fewest slots with which any layer can run.
  static int64_t least_slots(const ExpertFiles& files);

  /// Makes a store for the experts of `model`, whose parameters have the shape of one slice but no memory yet.
  /// `slots`: at least least_slots(). `model` must outlive it, and is not used without it.
  ExpertStore(Transformer& model, ExpertFiles files, int64_t slots);
  ~ExpertStore() override;

  std::unique_ptr<BorrowedExperts> borrow(size_t block, const std::vector<int64_t>& rows) override;
  void expect(size_t block, const std::vector<int64_t>& rows) override;
  /// Begins to read the experts that will be used most, as many as there is room for; they stay until others are used
  /// more. `shares`: of the choices that each expert gets, by block.
  void warm(const std::map<size_t, std::vector<double>>& shares);

  /// Returns bytes per second, as the reading of some experts shows; they stay.
  [[nodiscard]] double measure_rate();

  [[nodiscard]] uint64_t slot_bytes() const;
  [[nodiscard]] int64_t slots() const;
  [[nodiscard]] int64_t experts() const;
  [[nodiscard]] ExpertTraffic traffic() const;

 private:
  class Loan;
  std::unique_ptr<ExpertSlots> slots_;
};

}  // namespace chorus::inline model
