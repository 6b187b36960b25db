#include "server/http_server.h"

#include <algorithm>
#include <array>
#include <deque>
#include <optional>
#include <set>
#include <sstream>
#include <string_view>
#include <utility>

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <fmt/chrono.h>

#include "base/error.h"
#include "base/text.h"

#include "server/internal/site.h"

namespace chorus::inline server {

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;
using Code = beast::error_code;

asio::ip::address address_of(const std::string& text) {
  Code error;
  asio::ip::address address = asio::ip::make_address(text, error);
  if (error)
    throw UserError("{} is no address to listen on: 127.0.0.1, ::1 or 0.0.0.0 is one", one_line(text));
  return address;
}

/// Returns the reply to a request that could not be read.
HttpReply refusal_of(const Code& error) {
  if (error == http::error::header_limit) return error_reply(431, "The header lines are too long");
  if (error == http::error::body_limit) return error_reply(413, "The body is too long");
  return error_reply(400, "Bad request");
}

}  // namespace

struct HttpServer::State : std::enable_shared_from_this<State> {
  State(const HttpOptions& asked, HttpHandler answers)
      : options(asked), handler(std::move(answers)), acceptor(context), pause(context) {}

  void accept();
  void begin_stop();
  [[nodiscard]] bool serves(std::string_view host) const {
    static constexpr std::string_view kOwn[] = {"localhost", "127.0.0.1", "::1"};
    const auto is_asked = [name = host_of(host)](std::string_view own) { return beast::iequals(own, name); };
    return options.any_host || is_asked(options.address) || std::ranges::any_of(kOwn, is_asked) ||
           std::ranges::any_of(options.hosts, is_asked);
  }

  HttpOptions options;
  HttpHandler handler;
  std::set<HttpSession*> sessions;  // outlives the context, which has them
  uint64_t held = 0;                // bytes of HttpOptions::memory
  bool stopping = false;
  asio::io_context context{1};
  tcp::acceptor acceptor;
  asio::steady_timer pause;
  std::deque<asio::signal_set> signals;
};

/// A connection. It lives as long as something of it is under way.
class HttpSession : public std::enable_shared_from_this<HttpSession> {
 public:
  HttpSession(HttpServer::State& server, tcp::socket socket)
      : server_(server), stream_(std::move(socket)), buffer_(size_t{4} * server.options.header_bytes) {
    server_.sessions.insert(this);
  }
  ~HttpSession() {
    if (waiting_) waiting_->abandon();
    give_back();
    server_.sessions.erase(this);
    if (server_.stopping && server_.sessions.empty()) server_.context.stop();
  }
  HttpSession(const HttpSession&) = delete;
  HttpSession& operator=(const HttpSession&) = delete;

  void read() {
    parser_.emplace();
    parser_->header_limit(server_.options.header_bytes);
    parser_->body_limit(server_.options.body_bytes);
    idle_ = buffer_.size() == 0;
    if (idle_ && server_.stopping) return;
    stream_.expires_after(server_.options.idle);
    http::async_read_header(stream_, buffer_, *parser_,
                            beast::bind_front_handler(&HttpSession::on_header, shared_from_this()));
  }

  void refuse(HttpReply reply) {
    server_.options.refused(reply.status);
    last_ = true;
    write(std::move(reply));
  }
  void refuse(int status, const std::string& what) { refuse(error_reply(status, what)); }

  void close_if_idle() {
    if (idle_) stream_.close();
  }

 private:
  void on_header(Code error, size_t /*bytes*/) {
    if (error == http::error::end_of_stream || error == beast::error::timeout ||
        error == asio::error::operation_aborted || error == asio::error::connection_reset)
      return;
    idle_ = false;
    head_ = !error && parser_->get().method() == http::verb::head;
    if (error) return refuse(refusal_of(error));
    const auto& header = parser_->get();
    // An encoding that is passed over is a length on which a proxy and this server differ.
    const auto encodings = header.count(http::field::transfer_encoding);
    if (encodings > 1 ||
        (encodings == 1 && !beast::iequals(header[http::field::transfer_encoding], "chunked")))
      return refuse(501, "Transfer-Encoding may only be chunked");
    if (encodings > 0 && header.version() < 11) return refuse(400, "HTTP/1.0 has no Transfer-Encoding");
    const auto hosts = header.count(http::field::host);
    if (hosts > 1 || (hosts == 0 && header.version() >= 11)) return refuse(400, "A request names one Host");
    const std::string_view site = parts_of(header.target()).site, host = header[http::field::host];
    if ((hosts == 1 && !server_.serves(host)) || (!site.empty() && !server_.serves(site)))
      return refuse(421, "Unknown Host: chorus serve --host NAME adds one");
    const std::string_view origin = header[http::field::origin];  // the site of the page that asks
    if (!origin.empty() && !server_.serves(origin)) return refuse(403, "A page of another site asks");
    const auto length = parser_->content_length();
    if (!take(length ? *length : parser_->chunked() ? server_.options.body_bytes : 0))
      return refuse(error_reply(429, "Slowdown: too much text is waiting", 1));
    stream_.expires_after(server_.options.transfer);
    if (header.version() >= 11 && beast::iequals(header[http::field::expect], "100-continue") &&
        !parser_->is_done())
      return send_continue();
    read_body();
  }

  /// Memory for a body of so many bytes, if there is some: what was taken for it before is given back.
  bool take(uint64_t bytes) {
    give_back();
    const uint64_t wanted = bytes * server_.options.copies;
    if (wanted > server_.options.memory - server_.held) return false;
    held_bytes_ = wanted;
    server_.held += wanted;
    return true;
  }
  void give_back() { server_.held -= std::exchange(held_bytes_, 0); }

  void send_continue() {
    continue_ = std::make_shared<http::response<http::empty_body>>(http::status::continue_, 11);
    http::async_write(stream_, *continue_, [self = shared_from_this()](Code error, size_t) {
      if (!error) self->read_body();
    });
  }

  void read_body() {
    http::async_read(stream_, buffer_, *parser_,
                     beast::bind_front_handler(&HttpSession::on_read, shared_from_this()));
  }

  void on_read(Code error, size_t /*bytes*/) {
    if (error == beast::error::timeout || error == asio::error::connection_reset ||
        error == http::error::partial_message)
      return;
    if (error) return refuse(refusal_of(error));
    auto& message = parser_->get();
    take(message.body().size());  // of one in chunks: no more than it has
    const std::string_view target = parts_of(message.target()).path;
    const size_t question = target.find('?');
    HttpRequest request = {
        .method = message.method_string(),
        .path = std::string(target.substr(0, question)),
        .query = question == std::string_view::npos ? "" : std::string(target.substr(question + 1)),
        .content_type = message[http::field::content_type],
        .accept = message[http::field::accept],
        .authorization = message[http::field::authorization],
        .site = site_of(message[http::field::host], message["X-Forwarded-Proto"]),
        .body = std::move(message.body())};
    last_ = !message.keep_alive();
    version_ = message.version();
    stream_.expires_never();
    answered_ = false;
    const auto answer = [weak = weak_from_this(), server = server_.weak_from_this()](HttpReply reply) {
      const auto alive = server.lock();
      if (!alive) return;
      asio::post(alive->context, [weak, reply = std::move(reply)]() mutable {
        const auto self = weak.lock();
        if (!self) return;
        reply.more || self->streaming_ ? self->stream(reply) : self->write(std::move(reply));
      });
    };
    waiting_ = server_.handler(std::move(request), answer);
    watch();
  }

  /// Holds the connection while its answer is made, and lets it go when the client does.
  void watch() {
    stream_.socket().async_wait(tcp::socket::wait_read, [self = shared_from_this()](Code error) {
      if (self->answered_) return;
      if (!error) {
        char byte = 0;
        Code peeked;
        self->stream_.socket().non_blocking(true, peeked);
        const size_t there =
            self->stream_.socket().receive(asio::buffer(&byte, 1), tcp::socket::message_peek, peeked);
        const bool left = (peeked && peeked != asio::error::would_block) || (!peeked && there == 0);
        if (!left) {
          // Its next request is there already: nobody can tell any more whether it leaves.
          self->held_ = self;
          return;
        }
      }
      if (self->waiting_) self->waiting_->abandon();
    });
  }

  void write(HttpReply reply) {
    answered_ = true;
    waiting_.reset();
    const auto self = shared_from_this();
    held_.reset();
    Code ignored;
    stream_.socket().cancel(ignored);  // the watch
    last_ = last_ || server_.stopping;
    reply_.emplace(static_cast<http::status>(reply.status), version_);
    set_headers(*reply_, reply);
    reply_->body() = std::move(reply.body);
    reply_->keep_alive(!last_);
    reply_->prepare_payload();
    if (head_) reply_->body().clear();
    stream_.expires_after(server_.options.transfer);
    http::async_write(stream_, *reply_, beast::bind_front_handler(&HttpSession::on_write, self));
  }

  /// A reply in pieces, whose end is that of the connection. The client is still watched.
  void stream(const HttpReply& reply) {
    if (!std::exchange(streaming_, true)) {
      http::response<http::empty_body> head(static_cast<http::status>(reply.status), version_);
      set_headers(head, reply);
      head.keep_alive(false);
      pending_ = (std::ostringstream() << head).str();
    }
    if (!head_) pending_ += reply.body;
    last_ = !reply.more;
    if (last_) answered_ = true;
    if (sending_.empty()) send_pending();
  }

  void send_pending() {
    sending_ = std::exchange(pending_, {});
    stream_.expires_after(server_.options.transfer);
    asio::async_write(stream_, asio::buffer(sending_), [self = shared_from_this()](Code error, size_t) {
      self->sending_.clear();
      if (error) {
        if (self->waiting_) self->waiting_->abandon();
        self->held_.reset();
        return;
      }
      self->stream_.expires_never();
      if (!self->pending_.empty()) return self->send_pending();
      if (self->last_) self->end();
    });
  }

  template <class Reply>
  static void set_headers(Reply& to, const HttpReply& from) {
    to.set(http::field::server, "chorus");
    to.set(http::field::date, fmt::format("{:%a, %d %b %Y %H:%M:%S} GMT", fmt::gmtime(std::time(nullptr))));
    to.set(http::field::content_type, from.type);
    to.set(http::field::cache_control, "no-store");
    to.set("X-Content-Type-Options", "nosniff");
    for (const auto& [name, value] : from.headers) to.set(name, value);
  }

  void on_write(Code error, size_t /*bytes*/) {
    reply_.reset();
    give_back();
    if (error) return;
    last_ ? end() : read();
  }

  void end() {
    // What a client still sends would reset the connection before it has read the reply.
    Code ignored;
    held_.reset();
    give_back();
    stream_.socket().cancel(ignored);  // the watch
    stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
    stream_.expires_after(std::chrono::seconds(2));
    drain();
  }

  void drain() {
    stream_.async_read_some(asio::buffer(waste_), [self = shared_from_this()](Code error, size_t) {
      if (!error) self->drain();
    });
  }

  HttpServer::State& server_;
  beast::tcp_stream stream_;
  beast::flat_buffer buffer_;  // bounds a chunk's extension and the trailers, too
  std::optional<http::request_parser<http::string_body>> parser_;
  std::optional<http::response<http::string_body>> reply_;
  std::shared_ptr<http::response<http::empty_body>> continue_;
  std::shared_ptr<Waiting> waiting_;   // what the request waits for
  std::shared_ptr<HttpSession> held_;  // itself, where nothing else holds it
  std::array<char, 4096> waste_{};
  uint64_t held_bytes_ = 0;  // of HttpOptions::memory
  unsigned version_ = 11;
  bool idle_ = true;   // no byte of a request has come
  bool last_ = false;  // the connection ends with this reply
  bool head_ = false, answered_ = false, streaming_ = false;
  std::string pending_, sending_;  // of a stream
};

void HttpServer::State::accept() {
  acceptor.async_accept([this](Code error, tcp::socket socket) {
    if (stopping) return;
    if (error) {  // no file descriptor is left, say
      pause.expires_after(std::chrono::milliseconds(100));
      pause.async_wait([this](Code) {
        if (!stopping) accept();
      });
      return;
    }
    constexpr size_t kRefusedAtOnce = 64;
    if (sessions.size() < options.connections + kRefusedAtOnce) {
      const auto session = std::make_shared<HttpSession>(*this, std::move(socket));
      sessions.size() > options.connections ? session->refuse(503, "Too many connections") : session->read();
    }
    accept();
  });
}

void HttpServer::State::begin_stop() {
  if (std::exchange(stopping, true)) return;
  Code ignored;
  acceptor.close(ignored);
  if (sessions.empty()) return context.stop();
  for (HttpSession* const session : std::vector(sessions.begin(), sessions.end())) session->close_if_idle();
}

bool is_loopback(const std::string& address) {
  return address_of(address).is_loopback();
}

HttpServer::HttpServer(const HttpOptions& options, HttpHandler handler)
    : state_(std::make_shared<State>(options, std::move(handler))) {
  Code error;
  const asio::ip::address address = address_of(options.address);
  const tcp::endpoint endpoint(address, options.port);
  tcp::acceptor& acceptor = state_->acceptor;
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(tcp::acceptor::max_listen_connections, error);
  if (error)
    throw UserError("cannot listen on {} port {}: {}", options.address, options.port, error.message());
  state_->accept();
}

HttpServer::~HttpServer() = default;

uint16_t HttpServer::port() const {
  return state_->acceptor.local_endpoint().port();
}

void HttpServer::run() {
  state_->context.run();
}

void HttpServer::stop() {
  asio::post(state_->context, [this] { state_->begin_stop(); });
}

void HttpServer::on_signal(int signal, std::function<void()> act) {
  asio::signal_set& set = state_->signals.emplace_back(state_->context, signal);
  const auto wait = std::make_shared<std::function<void()>>();
  *wait = [&set, wait = std::weak_ptr(wait), keep = std::make_shared<std::function<void()>>(std::move(act))] {
    set.async_wait([wait = wait.lock(), keep](Code error, int) {
      if (error) return;
      (*keep)();
      (*wait)();
    });
  };
  (*wait)();
}

}  // namespace chorus::inline server
