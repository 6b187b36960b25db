// Any bytes as what a client sends, in pieces parted by 0xFF: each connection ends, and the server goes on.
#include <thread>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz/target.h"
#include "server/http_server.h"
#include "server/request_fields.h"

namespace {

/// Answers what fields a request has.
class Served {
 public:
  Served() : thread_([this] { server_.run(); }) {}
  ~Served() {
    server_.stop();
    thread_.join();
  }
  [[nodiscard]] uint16_t port() const { return server_.port(); }

 private:
  static std::shared_ptr<chorus::Waiting> answer(const chorus::HttpRequest& request,
                                                 const chorus::Answer& take) {
    try {
      const chorus::RequestFields fields(request);
      take({.body = "{\"q\":" + std::to_string(fields.texts("q").texts.size()) + "}"});
    } catch (const chorus::Refusal& refusal) {
      take(chorus::error_reply(refusal.status(), refusal.what()));
    }
    return nullptr;
  }
  chorus::HttpServer server_{{.port = 0, .header_bytes = 2048, .body_bytes = 4096}, answer};
  std::thread thread_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Served served;
  const int connection = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(served.port());
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  chorus::check(::connect(connection, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  const int at_once = 1;
  chorus::check(::setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof at_once) == 0);
  std::string reply;
  bool open = true;  // until it has closed, as what it was sent is too long
  for (chorus::FuzzInput input(data, size); open && !input.rest().empty();) {
    for (std::string_view piece = input.text(); open && !piece.empty();) {
      const ssize_t count = ::send(connection, piece.data(), piece.size(), MSG_NOSIGNAL);
      open = count > 0;
      if (open) piece.remove_prefix(static_cast<size_t>(count));
    }
    std::this_thread::yield();
  }
  ::shutdown(connection, SHUT_WR);
  char room[4096];
  while (true) {
    const ssize_t count = ::recv(connection, room, sizeof room, 0);
    if (count <= 0) break;
    reply.append(room, static_cast<size_t>(count));
  }
  ::close(connection);
  chorus::check(reply.empty() || reply.starts_with("HTTP/1."));
  return 0;
}
