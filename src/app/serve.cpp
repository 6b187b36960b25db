// chorus serve: translations over HTTP.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <exception>
#include <filesystem>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <unistd.h>

#include "app/commands.h"
#include "app/model_arguments.h"
#include "base/error.h"
#include "base/log.h"
#include "base/message.h"
#include "base/process.h"
#include "comm/group.h"
#include "server/http_server.h"
#include "server/service.h"

namespace chorus::inline app {
namespace {

struct ServeArguments {
  ComputeArguments compute;
  std::vector<std::string> models;
  std::string keys, memory;
  HttpOptions http;
  ServedOptions served;
  ServiceLimits limits;
  double timeout = 60;
};

/// Loads the models. Where they lie is asked anew each time: a run's best model may be another one. Loads on a thread
/// that then ends, and its OpenMP team with it: beside an idle team, the threads that translate would go to sleep
/// after every kernel (libgomp spins only while there are no more threads in teams than processors), and a single
/// request would take three times as long.
std::shared_ptr<const ServedModels> load_models(const ServeArguments& a) {
  const std::vector<std::filesystem::path> folders(a.models.begin(), a.models.end());
  return std::async(std::launch::async,
                    [&] { return std::make_shared<const ServedModels>(folders, a.served); })
      .get();
}

void serve(ServeArguments& a) {
  give_back_memory();
  Group alone;
  const bool local = is_loopback(a.http.address);
  if (!local && a.keys.empty()) {
    throw UserError(
        "--address {}: beyond this machine it needs keys: --keys FILE, whose lines are keys of 16 letters or "
        "more",
        a.http.address);
  }
  constexpr uint64_t kLongestCharacter = 12;  // as it is written: "\ud83d\ude00", "%F0%9F%98%80"
  a.http.body_bytes =
      std::max(a.http.body_bytes, kLongestCharacter * static_cast<uint64_t>(a.limits.characters));
  a.http.memory = std::max(a.http.memory, a.http.copies * a.http.body_bytes);
  for (const std::string& host : a.http.hosts)
    if (host.find_first_of("/[") != host.npos || std::ranges::count(host, ':') == 1)
      throw UserError("--host {}: give the name alone, without scheme, port and brackets", host);
  a.http.any_host = !local && a.http.hosts.empty();
  a.limits.timeout = std::chrono::milliseconds(static_cast<int64_t>(a.timeout * 1000));
  a.served.compute = compute_options(a.compute, alone);
  a.served.memory = memory_limit(a.memory, alone) / a.models.size();
  std::vector<AccessKey> keys;
  if (!a.keys.empty()) keys = read_keys(a.keys);
  ::signal(SIGHUP, SIG_IGN);  // until there is something to load anew
  Service service(load_models(a), std::move(keys), a.limits);
  std::atomic<bool> is_loading = false;
  std::jthread loading;  // beside serving
  a.http.refused = [&](int status) { service.count_refused(status); };
  HttpServer http(a.http, [&](const HttpRequest& request, Answer answer) {
    return service.handle(request, std::move(answer));
  });
  bool ending = false;
  for (const int signal : {SIGINT, SIGTERM}) {
    http.on_signal(signal, [&, signal] {
      if (std::exchange(ending, true)) ::_exit(128 + signal);
      log_info("answering what has come, then ending; once more ends at once");
      service.begin_drain();
      http.stop();
    });
  }
  http.on_signal(SIGHUP, [&] {
    if (is_loading.exchange(true)) {
      log_warning("the models are being loaded already");
      return;
    }
    loading = std::jthread([&] {
      try {
        service.replace(load_models(a));
        log_info("loaded the models anew: they translate what comes from now on");
      } catch (const std::exception& error) {
        log_warning("the models stay as they are: {}", message_line(error.what()));
      }
      is_loading = false;
    });
  });
  const bool bracketed = a.http.address.find(':') != std::string::npos;
  log_info("serving at http://{}:{}", bracketed ? "[" + a.http.address + "]" : a.http.address, http.port());
  http.run();
}

}  // namespace

void add_serve(CLI::App& app) {
  const auto arguments = std::make_shared<ServeArguments>();
  ServeArguments& a = *arguments;
  CLI::App* command =
      app.add_subcommand("serve", "translate over HTTP: a page, and what LibreTranslate and DeepL are asked");
  command
      ->add_option("--model", a.models,
                   "model folder, run, or checkpoint of a run; given several times, each direction is "
                   "translated by the first that has it")
      ->required()
      ->allow_extra_args(false)
      ->type_name("DIR");
  const auto option = [&](const char* name, auto& value, const char* help, const char* type) {
    return command->add_option(name, value, help)->capture_default_str()->type_name(type);
  };
  option("--port", a.http.port, "where to listen (0: any port that is free)", "N")->check(between(0, 65535));
  option("--address", a.http.address,
         "at which of the machine's addresses; 0.0.0.0 is all, which needs --keys", "ADDRESS");
  command
      ->add_option("--keys", a.keys,
                   "file of API keys, one a line: KEY, and after it the most requests and characters a "
                   "minute, if there is a limit")
      ->type_name("FILE");
  command
      ->add_option("--host", a.http.hosts,
                   "name under which clients may ask for this server, besides localhost (repeatable)")
      ->allow_extra_args(false)
      ->type_name("NAME");
  option("--beam", a.served.beam, "hypotheses kept at each step; 1 is greedy", "N")->check(between(1, 1000));
  option("--timeout", a.timeout, "after so many seconds a request is given up, and answered so", "SECONDS")
      ->check(between(0.001, 86400.0));
  option("--characters", a.limits.characters, "most characters of a request", "N")
      ->check(between(1, 1 << 21));
  option("--texts", a.limits.texts, "most texts of a request", "N")->check(between(1, 1 << 20));
  option("--queue", a.limits.batches.waiting_lines,
         "lines that may wait; requests beyond are to ask again later (429)", "N")
      ->check(between(1, 1 << 30));
  option("--connections", a.http.connections, "most connections at a time", "N")->check(between(1, 1 << 16));
  command
      ->add_option("--memory", a.memory,
                   "most memory for the weights, as in 8GB: experts beyond it stay in the model's file, and "
                   "are read when they are needed; auto: what the machine has free")
      ->type_name("SIZE|auto");
  add_compute_arguments(*command, a.compute);
  add_quiet_option(*command);
  command->callback([arguments] { serve(*arguments); });
}

}  // namespace chorus::inline app
