// HTTP/1.1 over TCP: connections, their bounds and their ends. What requests mean is the handler's.
//
// One thread reads and writes; the handler's answers may come from any. A connection has one request at a time; while
// one is answered the connection is watched, and a client that leaves abandons what it waits for.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/http_message.h"

namespace chorus::inline server {

struct HttpOptions {
  std::string address = "127.0.0.1";  // IPv4 or IPv6
  uint16_t port = 8080;               // 0: any that is free
  // Names that a request's Host, and Origin where a page asks, may have, besides `address` and those of this machine
  // ("localhost", "127.0.0.1", "::1"), all without port; without this check a web page could reach a server on its
  // reader's machine. With `any_host`: all.
  std::vector<std::string> hosts = {};
  bool any_host = false;
  size_t connections = 256;
  // Of request line and header lines together; a chunk's extension, or the trailers, may have four times as many.
  uint32_t header_bytes = 16 << 10;
  uint64_t body_bytes = 1 << 20;
  // For the bodies of requests until they are answered, and what is made of them, for which `copies` times their size
  // is taken before they are read (of one in chunks that of body_bytes, until it is there); beyond, a request is
  // answered 429.
  uint64_t memory = 256 << 20;
  uint64_t copies = 24;  // a document full of markup, and its translation
  std::function<void(int status)> refused = [](int) {
  };                                           // told of each request that is answered without the handler
  std::chrono::milliseconds idle{60'000};      // until a request begins
  std::chrono::milliseconds transfer{30'000};  // for the rest of a request, and for a reply
};

/// Whether only this machine reaches the address. UserError on one that is none.
bool is_loopback(const std::string& address);

class HttpSession;  // a connection

class HttpServer {
 public:
  /// Listens. UserError on an address that is none, or that it cannot listen on.
  HttpServer(const HttpOptions& options, HttpHandler handler);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  [[nodiscard]] uint16_t port() const;
  /// Serves until stop() has been called and the last connection is closed.
  void run();
  /// Takes no more connections, closes those that are idle, and the others when they have been answered. Threads may
  /// call it.
  void stop();
  /// Calls `act`, on run()'s thread, when the process gets the signal.
  void on_signal(int signal, std::function<void()> act);

 private:
  friend class HttpSession;
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace chorus::inline server
