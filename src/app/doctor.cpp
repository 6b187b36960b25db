// chorus doctor: what the machine has, what chorus will use of it, and what to mend.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <sys/resource.h>
#include <torch/headeronly/version.h>
#include <unistd.h>

#include "app/commands.h"
#include "base/cores.h"
#include "base/error.h"
#include "base/text.h"
#include "kernels/cpu.h"
#include "kernels/device.h"
#include "memory/usage.h"
#include "mpi/libraries.h"
#include "plan/measure.h"

namespace chorus::inline app {
namespace {

namespace fs = std::filesystem;

struct DoctorArguments {
  std::string folder = ".";
  bool json = false;
};

/// A limit of the shell, in bytes or files; infinite where there is none.
struct Limit {
  double now = 0, may_be = 0;
};

struct Findings {
  std::string processor, instructions, kernels;
  int64_t cores = 0;
  double quota = 0;  // in cores; infinite: none
  int threads = 0;
  int64_t memory = 0, free = 0;  // bytes
  std::string huge_pages;        // "madvise"; "" where it is not known
  Limit locked, files;
  bool cuda_build = false;
  std::vector<std::string> gpus;  // that the driver sees
  int accelerators = 0;           // that libtorch sees
  std::string accelerator;        // libtorch's name for their kind
  std::string mpi, mpirun, nccl;
  int64_t space = 0;  // free in the folder, bytes
  std::optional<Machine> rates;
  std::string fault;  // why there are no rates
  std::vector<std::string> remedies;
};

/// What stands behind "NAME :" in a file of /proc, the first time.
std::string entry_of(const fs::path& file, std::string_view name) {
  std::ifstream lines(file);
  for (std::string line; std::getline(lines, line);) {
    const size_t colon = line.find(':');
    if (colon != std::string::npos && trim(std::string_view(line).substr(0, colon)) == name)
      return one_line(trim(std::string_view(line).substr(colon + 1)));
  }
  return "";
}

std::string instruction_sets() {
  std::string text = "AVX2, FMA";  // without which no chorus starts
  if (__builtin_cpu_supports("avx512f")) text += ", AVX-512";
  if (__builtin_cpu_supports("avx512vnni")) text += ", VNNI";
  if (__builtin_cpu_supports("avx512bf16")) text += ", bf16";
  return text;
}

std::string kernels_text() {
  switch (cpu_isa()) {
    case Isa::plain:
      return "AVX2";
    case Isa::avx512:
      return "AVX-512";
    case Isa::avx512_vnni:
      return "AVX-512 with VNNI";
    case Isa::avx512_bf16:
      return "AVX-512 with VNNI and bf16";
  }
  return "";
}

/// "madvise" of "always [madvise] never".
std::string chosen_in(const fs::path& file) {
  std::ifstream words(file);
  for (std::string word; words >> word;)
    if (word.starts_with('[')) return word.substr(1, word.size() - 2);
  return "";
}

Limit limit_of(__rlimit_resource resource) {
  const auto number = [](rlim_t value) {
    return value == RLIM_INFINITY ? HUGE_VAL : static_cast<double>(value);
  };
  rlimit limit{};
  if (::getrlimit(resource, &limit) != 0) return {HUGE_VAL, HUGE_VAL};
  return {number(limit.rlim_cur), number(limit.rlim_max)};
}

std::vector<std::string> gpus_of_driver() {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it("/proc/driver/nvidia/gpus", error), end; !error && it != end;
       it.increment(error))
    names.push_back(entry_of(it->path() / "information", "Model"));
  return names;
}

/// Returns where a program is, as a shell would find it; "": nowhere.
std::string place_of(const std::string& program) {
  const char* path = std::getenv("PATH");
  std::error_code unreadable;
  for (const std::string_view folder : split(path ? path : "", ':')) {
    const fs::path place = fs::path(folder) / program;
    if (!folder.empty() && fs::is_regular_file(place, unreadable) && ::access(place.c_str(), X_OK) == 0)
      return place.string();
  }
  return "";
}

void measure(const DoctorArguments& a, Findings& f) {
  constexpr int64_t kDiskBytes = int64_t{1} << 27, kMemoryBytes = int64_t{1} << 28;
  std::error_code error;
  f.space = static_cast<int64_t>(fs::space(a.folder, error).available);
  if (error) throw UserError("--folder {}: {}", a.folder, error.message());
  Group alone;
  try {
    f.rates =
        measure_machine(alone, {.folder = a.folder, .disk_bytes = kDiskBytes, .memory_bytes = kMemoryBytes});
  } catch (const std::exception& fault) {  // a folder that is full or may not be written
    f.fault = one_line(split(fault.what(), '\n').front());
  }
}

/// What would make chorus faster, or something work that does not.
std::vector<std::string> remedies_of(const Findings& f) {
  constexpr double kFewFiles = 4096, kLittleLocked = 64 << 20, kSlowDisk = 300e6;
  std::vector<std::string> list;
  const auto when = [&](bool is_so, std::string remedy) {
    if (is_so) list.push_back(std::move(remedy));
  };
  const bool unseen = !f.gpus.empty() && f.accelerators == 0, few_files = f.files.now < kFewFiles;
  when(unseen && f.cuda_build,
       "libtorch does not see the GPUs that the driver has: look at CUDA_VISIBLE_DEVICES and at the driver's "
       "version (nvidia-smi)");
  when(unseen && !f.cuda_build,
       "this libtorch is a build for CPUs, so the GPUs are not used: install a CUDA build of torch and build "
       "chorus with it (docs/building.md)");
  when(f.accelerators > 1 && f.nccl.empty(),
       "built without NCCL, several ranks cannot use the GPUs together (docs/building.md)");
  when(f.accelerators > 0 && f.locked.now < kLittleLocked,
       "little memory may be locked, which copies to the GPU need: `ulimit -l unlimited`");
  when(few_files && f.files.may_be < kFewFiles,
       fmt::format("at most {:.0f} files may be open: an administrator can raise that (ulimit -Hn)",
                   f.files.may_be));
  when(few_files && f.files.may_be >= kFewFiles,
       fmt::format("only {:.0f} files may be open, few for many ranks or sources: `ulimit -n {:.0f}`",
                   f.files.now, std::min(f.files.may_be, 65536.0)));
  when(f.huge_pages == "never",
       "huge pages are off, which costs time: as root, echo madvise > "
       "/sys/kernel/mm/transparent_hugepage/enabled");
  when(f.quota < static_cast<double>(f.cores),
       fmt::format("the container may use the time of {:.3g} of {}: raise its CPU quota", f.quota,
                   counted(f.cores, "core")));
  when(f.mpirun.empty(), "there is no mpirun, so one process is all: install openmpi-bin");
  when(!f.fault.empty(), fmt::format("the disk was not measured: {}", f.fault));
  when(f.rates && std::min(f.rates->disk_read, f.rates->disk_write) < kSlowDisk,
       "this disk is slow for memory.* = \"nvme\" and translate --memory: take a folder on an NVMe (--folder "
       "here, "
       "memory.folder in a run)");
  return list;
}

Findings examine(const DoctorArguments& a) {
  Findings f = {.processor = entry_of("/proc/cpuinfo", "model name"),
                .instructions = instruction_sets(),
                .kernels = kernels_text(),
                .quota = cpu_quota(),
                .threads = at::get_num_threads(),
                .memory = machine_memory(),
                .free = free_memory(),
                .huge_pages = chosen_in("/sys/kernel/mm/transparent_hugepage/enabled"),
                .locked = limit_of(RLIMIT_MEMLOCK),
                .files = limit_of(RLIMIT_NOFILE),
                .cuda_build = at::globalContext().hasCUDART(),
                .gpus = gpus_of_driver(),
                .mpi = mpi_library(),
                .mpirun = place_of("mpirun"),
                .nccl = nccl_library()};
  const std::string own = cores();
  f.cores = std::ranges::count(own, '1');
  if (f.processor.empty()) f.processor = "a processor without a name";
  if (!names_host("auto")) {
    f.accelerators = devices_here("auto");
    f.accelerator = c10::DeviceTypeName(device_of_rank("auto", 0, 1).type(), true);
  }
  measure(a, f);
  f.remedies = remedies_of(f);
  return f;
}

nlohmann::json number(double value) {
  return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json();
}

nlohmann::json to_json(const Findings& f, const DoctorArguments& a) {
  nlohmann::json disk = {{"folder", a.folder}, {"free", f.space}};
  if (f.rates) {
    disk["read"] = f.rates->disk_read;
    disk["write"] = f.rates->disk_write;
  }
  return {{"chorus", CHORUS_VERSION},
          {"libtorch", {{"version", TORCH_VERSION}, {"cuda", f.cuda_build}}},
          {"processor",
           {{"name", f.processor},
            {"instructions", f.instructions},
            {"kernels", f.kernels},
            {"cores", f.cores},
            {"quota", number(f.quota)},
            {"threads", f.threads},
            {"flops", f.rates ? nlohmann::json(f.rates->flops) : nlohmann::json()}}},
          {"memory",
           {{"bytes", f.memory},
            {"free", f.free},
            {"huge_pages", f.huge_pages},
            {"copied", f.rates ? nlohmann::json(f.rates->host_link) : nlohmann::json()}}},
          {"limits", {{"locked", number(f.locked.now)}, {"files", number(f.files.now)}}},
          {"gpus", f.gpus},
          {"accelerators", {{"kind", f.accelerator}, {"count", f.accelerators}}},
          {"mpi", {{"library", f.mpi}, {"mpirun", f.mpirun}}},
          {"nccl", f.nccl},
          {"disk", disk},
          {"remedies", f.remedies}};
}

void print(const Findings& f, const DoctorArguments& a) {
  const auto line = [](std::string_view name, const std::string& text) {
    fmt::print("{:<11} {}\n", name, text);
  };
  const auto bytes = [](double value) { return human_bytes(static_cast<uint64_t>(value)); };
  const auto limit = [](double value, const std::string& text) {
    return std::isinf(value) ? "unlimited" : text;
  };
  line("chorus", fmt::format("{}, with libtorch {}, a build for {}", CHORUS_VERSION, TORCH_VERSION,
                             f.cuda_build ? "CUDA" : "CPUs"));
  line("processor", fmt::format("{}; {}{}", f.processor, counted(f.cores, "core"),
                                std::isinf(f.quota) ? "" : fmt::format(", the time of {:.3g}", f.quota)));
  line("", fmt::format("has {}", f.instructions));
  line("", fmt::format("chorus uses kernels for {}, {}", f.kernels, counted(f.threads, "thread")));
  if (f.rates) line("", fmt::format("products in fp32 at {:.1f} GFLOP/s", f.rates->flops * 1e-9));
  line("memory",
       fmt::format("{}, {} free{}", bytes(static_cast<double>(f.memory)), bytes(static_cast<double>(f.free)),
                   f.rates ? fmt::format("; copied at {}/s", bytes(f.rates->host_link)) : ""));
  line("", fmt::format("huge pages: {}", f.huge_pages.empty() ? "not known" : f.huge_pages));
  line("limits", fmt::format("locked memory {}, open files {}", limit(f.locked.now, bytes(f.locked.now)),
                             limit(f.files.now, fmt::format("{:.0f}", f.files.now))));
  line("GPUs", f.gpus.empty() ? "none that an NVIDIA driver sees" : join(f.gpus, ", "));
  line("", f.accelerators == 0 ? "device = \"auto\" takes the CPU"
                               : fmt::format("device = \"auto\" takes {}: {}", f.accelerator,
                                             counted(f.accelerators, "device")));
  line("MPI", fmt::format("{}; {}", split(f.mpi, ',').front(), f.mpirun.empty() ? "no mpirun" : f.mpirun));
  line("NCCL", f.nccl.empty() ? "built without" : f.nccl);
  line("disk", fmt::format("{}: {} free{}", a.folder, bytes(static_cast<double>(f.space)),
                           f.rates ? fmt::format("; read at {}/s, written at {}/s", bytes(f.rates->disk_read),
                                                 bytes(f.rates->disk_write))
                                   : ""));
  fmt::print("\n{}\n", f.remedies.empty() ? "Nothing to mend." : "To mend:");
  for (const std::string& remedy : f.remedies) fmt::print("- {}\n", remedy);
}

void doctor(const DoctorArguments& a) {
  const Findings findings = examine(a);
  if (a.json)
    fmt::print("{}\n", to_json(findings, a).dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
  else
    print(findings, a);
}

}  // namespace

void add_doctor(CLI::App& app) {
  const auto arguments = std::make_shared<DoctorArguments>();
  DoctorArguments& a = *arguments;
  CLI::App* command =
      app.add_subcommand("doctor", "what this machine has, what chorus will use of it, and what to mend");
  command->add_option("--folder", a.folder, "folder on the disk to measure")
      ->capture_default_str()
      ->type_name("DIR");
  command->add_flag("--json", a.json, "print JSON");
  command->callback([arguments] { doctor(*arguments); });
}

}  // namespace chorus::inline app
