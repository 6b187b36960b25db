// chorus_bench: a process that holds one prepared case and runs it when told to, so that bench/run.py can let
// it and a peer take turns. One JSON object per line on standard input, one in answer on standard output:
//
//   {"case": {"work": NAME, ...}}  prepares it            -> {"facts": {...}}   (null: drops all)
//   {"run": N}                     N repetitions          -> {"seconds": S}
//   {"profile": true}              one repetition         -> where its time went: profile.h
//   {"peak": true}                 one repetition         -> {"bytes": B}  highest resident memory beyond
//                                                            that of the process before its first case, and
//                                                            "state_bytes"
//
// A process holds several cases where they have names ("as": NAME beside "case" or "run"); one of the same name, or
// without any, replaces the one before. "isa": "avx2" in a case holds kernels to AVX2.
//
// What goes wrong is answered with {"error": TEXT}. On several ranks (mpirun) rank 0 reads the requests and
// answers; all run, and wait for each other after each repetition.
#include <chrono>
#include <exception>
#include <fstream>
#include <iostream>
#include <map>
#include <string>

#include <ATen/Parallel.h>
#include <ATen/ops/randn.h>

#include "base/process.h"
#include "kernels/cpu.h"
#include "mpi/world.h"
#include "profile.h"
#include "ranks.h"
#include "work.h"

namespace chorus::bench {
namespace {

const std::map<std::string, Prepare*> kWorks = {
    {"moe_layer", moe_layer},
    {"training_step", training_step},
    {"optimizer_phase", optimizer_phase},
    {"translation", translation},
    {"write_weights", write_weights},
    {"write_model", write_model},
    {"dispatch_combine", dispatch_combine},
    {"dispatch_combine_backward", dispatch_combine_backward},
    {"copy", copy},
    {"output_loss", output_loss},
    {"torch_output_loss", torch_output_loss},
    {"adamw", adamw},
    {"product", product},
    {"read_weights", read_weights},
    {"torch_product", torch_product},
    {"operation", operation},
    {"build_store", build_store},
    {"sentencepiece", sentencepiece},
    {"minimum_risk", minimum_risk},
    {"stack_step", stack_step},
    {"exchange", exchange},
    {"bare_exchange", bare_exchange},
    {"experts", experts},
    {"moving", moving},
    {"write_random_model", write_random_model},
    {"larger_than_memory", larger_than_memory},
};

/// A line of /proc/self/status, in bytes.
int64_t status_bytes(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(key + ":")) return std::stoll(line.substr(key.size() + 1)) * 1024;
  }
  throw std::runtime_error("/proc/self/status has no " + key);
}

Json answer(const Json& request, std::map<std::string, Work>& works, int64_t idle_bytes) {
  if (request.contains("case") && request["case"].is_null()) {
    works.clear();
    return {{"facts", nullptr}};
  }
  Work& work = works[request.value("as", "")];
  if (request.contains("case")) {
    const Json& options = request["case"];
    work = {};  // the memory of the case before goes first
    limit_isa(options.contains("isa") && options["isa"] == "avx2" ? Isa::plain : Isa::avx512_bf16);
    work = kWorks.at(options["work"].get<std::string>())(options);
    work.facts["threads"] = at::get_num_threads();
    return {{"facts", work.facts}};
  }
  if (request.contains("run")) {
    ranks().barrier("the start");
    const auto begun = std::chrono::steady_clock::now();
    for (int64_t i = 0; i < request["run"]; ++i) {
      work.run();
      ranks().barrier("a repetition");
    }
    return {{"seconds", std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count()}};
  }
  if (request.contains("profile")) return profile(work.run);
  std::ofstream("/proc/self/clear_refs") << "5";  // the peak starts again from what is resident now
  work.run();
  return {{"bytes", status_bytes("VmHWM") - idle_bytes - work.facts.value("state_bytes", int64_t{0})}};
}

/// Of rank 0's input; empty at its end.
std::string next_line() {
  std::string line;
  if (ranks().rank() == 0) std::getline(std::cin, line);
  return ranks().gather_text(line)[0];
}

}  // namespace
}  // namespace chorus::bench

int main() {
  using namespace chorus::bench;
  chorus::set_up_process();
  std::ofstream("/proc/self/oom_score_adj")
      << "1000";                                // a case too large for the machine ends this process first
  at::randn({64, 64}).mm(at::randn({64, 64}));  // what libtorch sets up at first use
  const int64_t idle_bytes = status_bytes("VmRSS");
  ranks().set_timeout(1e9);  // a side waits for its turn
  std::map<std::string, Work> works;
  for (std::string line = next_line(); !line.empty(); line = next_line()) {
    Json reply;
    try {
      reply = answer(Json::parse(line), works, idle_bytes);
    } catch (const std::exception& error) {
      reply = {{"error", error.what()}};
      if (ranks().size() > 1) std::cerr << reply << std::endl;
      chorus::end_all(1);  // the others wait for what will not come
    }
    if (ranks().rank() == 0) std::cout << reply.dump() << std::endl;
  }
}
