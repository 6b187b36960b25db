// chorus bench machine: the rates from which the planner computes times.
#include <filesystem>
#include <memory>
#include <string>

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include "app/commands.h"
#include "base/text.h"
#include "io/files.h"
#include "kernels/peak.h"
#include "mpi/world.h"
#include "plan/measure.h"
#include "plan/time.h"

namespace chorus::inline app {
namespace {

struct BenchArguments {
  std::string out;
  std::string folder = ".";
  int64_t threads = 0;
  bool bf16 = false;
};

constexpr double kPeakSeconds = 0.05;
constexpr int64_t kMemoryBytes = int64_t{1} << 28;

void bench_machine(const BenchArguments& a) {
  World world;
  set_threads(a.threads, world.group());
  if (!a.out.empty() && std::filesystem::exists(a.out))
    static_cast<void>(read_machine(a.out));  // what is none is not written over
  const Machine m =
      measure_machine(world.group(), {.compute = a.bf16 ? at::kBFloat16 : at::kFloat, .folder = a.folder});
  if (world.group().rank() != 0) return;
  const auto rate = [](const char* name, double bytes) {
    fmt::print("  {:<36}{:>9}/s\n", name, human_bytes(static_cast<uint64_t>(bytes)));
  };
  fmt::print("{}, one rank of {}{}\n  {:<36}{:>8}FLOP/s\n", m.name, world.group().size(),
             a.bf16 ? ", bf16" : ", fp32", "products", human_count(m.flops));
  for (const Peak& peak : measure_peaks(kPeakSeconds))
    fmt::print("  {:<36}{:>8}{}\n", fmt::format("a core's peak, {}", peak.arithmetic),
               human_count(peak.operations), peak.arithmetic.starts_with("int8") ? "OP/s" : "FLOP/s");
  const MemoryRates memory = measure_memory(kMemoryBytes, at::get_num_threads());
  rate("memory, read", memory.read);
  rate("memory, written", memory.write);
  rate("memory, copied", memory.copy);
  rate("copies, device to host", m.host_link);
  rate("disk, read", m.disk_read);
  rate("disk, written", m.disk_write);
  rate("sent to a rank of the host", m.link);
  rate("sent to another host", m.network);
  fmt::print("  {:<36}{:>9} us\n", "latency", fmt::format("{:.1f}", m.latency * 1e6));
  if (!a.out.empty()) {
    write_file_atomically(a.out, to_json(m).dump(2) + "\n");
    fmt::print("written to {}: chorus plan RUN.toml --machine {}\n", a.out, a.out);
  }
}

}  // namespace

void add_bench(CLI::App& app) {
  CLI::App* command = app.add_subcommand("bench", "measure the machine");
  command->require_subcommand(1);
  auto arguments = std::make_shared<BenchArguments>();
  BenchArguments& a = *arguments;
  CLI::App* machine = command->add_subcommand(
      "machine",
      "rates of processor, memory, disk and links, for `chorus plan --machine`; under mpirun the share of "
      "one rank");
  machine->add_option("--out", a.out, "also write the rates to this file, as JSON")->type_name("FILE");
  machine->add_option("--folder", a.folder, "folder on the disk to measure")
      ->capture_default_str()
      ->type_name("DIR");
  machine
      ->add_option("--threads", a.threads, "threads per rank; 0: the cores divided by the ranks of the host")
      ->check(between(0, 4096))
      ->capture_default_str();
  machine->add_flag("--bf16", a.bf16, "measure matrix products in bf16 instead of fp32");
  machine->callback([arguments] { bench_machine(*arguments); });
}

}  // namespace chorus::inline app
