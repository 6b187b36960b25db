#include "data/line_reader.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "base/again.h"
#include "base/error.h"
#include "base/text.h"

#include "data/internal/text_kind.h"

namespace chorus::inline data {
namespace {

constexpr size_t kBufferBytes = 64 << 10, kHeadBytes = 4 << 10;
constexpr uint64_t kHopeless = uint64_t{256} << 20;  // bytes of a line, after which none is expected

/// What is wrong with a file; LineReader adds where.
struct Damage {
  std::string what;
};

using namespace std::string_view_literals;

// Of a frame that holds no text, as pzstd writes.
constexpr std::string_view kSkippableMagic = "\x50\x2A\x4D\x18"sv;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF"sv;

/// Whether a file is zstd's (RFC 8878, section 3.1); where `so_far`, whether more bytes would have to be seen to know.
bool is_zstd(std::string_view head, bool so_far = false) {
  if (head.empty()) return so_far;
  std::string skippable(head.substr(0, kSkippableMagic.size()));
  skippable[0] = static_cast<char>(skippable[0] & '\xF0');  // 16 kinds of it
  const auto is = [&](std::string_view bytes, std::string_view magic) {
    return so_far ? begins_like(bytes, magic) : bytes.starts_with(magic);
  };
  return is(head, kZstdMagic) || is(skippable, kSkippableMagic);
}

}  // namespace

class LineReader::Source {
 public:
  virtual ~Source() = default;
  /// Up to `size` bytes into `data`; 0 at the end; without `wait` nothing where there are none yet. Throws
  /// Damage.
  virtual std::optional<size_t> read(char* data, size_t size, bool wait) = 0;
};

namespace {

using Source = LineReader::Source;

/// The bytes of a file as they lie on disk.
class PlainSource : public Source {
 public:
  explicit PlainSource(const std::filesystem::path& path)
      // Opened by its name, standard input would be read from the start again, and could not be a socket.
      : fd_(path == "-" || path == "/dev/stdin" ? ::dup(STDIN_FILENO) : again([&] {
          return ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
        })) {
    struct stat about {};
    if (fd_ < 0 || ::fstat(fd_, &about) != 0) {
      const int error = errno;
      if (fd_ >= 0) ::close(fd_);
      if (error == ENOENT) throw UserError("{}: no such file", path.string());
      throw UserError("cannot read {}: {}", path.string(), std::strerror(error));
    }
    if (S_ISDIR(about.st_mode)) {
      ::close(fd_);
      throw UserError("{} is a directory, not a text file", path.string());
    }
    ::posix_fadvise(fd_, 0, 0, POSIX_FADV_SEQUENTIAL);
    // No more than it takes: a line of two characters may be all that comes for now.
    do {
      const size_t got = read_file(head_ + head_size_, sizeof head_ - head_size_);
      if (got == 0) break;
      head_size_ += got;
    } while (begins_like(head(), kGzipMagic) || is_zstd(head(), true) || may_be_no_text(head()));
  }
  PlainSource(const PlainSource&) = delete;
  PlainSource& operator=(const PlainSource&) = delete;
  ~PlainSource() override { ::close(fd_); }

  /// The first bytes, without consuming them.
  [[nodiscard]] std::string_view head() const { return {head_, head_size_}; }

  std::optional<size_t> read(char* data, size_t size, bool wait) override {
    if (head_used_ == head_size_) {
      pollfd input = {.fd = fd_, .events = POLLIN, .revents = 0};
      if (!wait && ::poll(&input, 1, 0) == 0) return std::nullopt;
      return read_file(data, size);
    }
    const size_t count = std::min(size, head_size_ - head_used_);
    std::memcpy(data, head_ + head_used_, count);
    head_used_ += count;
    return count;
  }

 private:
  size_t read_file(char* data, size_t size) const {
    const ssize_t got = again([&] { return ::read(fd_, data, size); });
    if (got < 0) throw Damage{std::strerror(errno)};
    return static_cast<size_t>(got);
  }

  int fd_;
  char head_[kHeadBytes];
  size_t head_size_ = 0, head_used_ = 0;
};

class GzipSource : public Source {
 public:
  explicit GzipSource(std::unique_ptr<Source> file) : file_(std::move(file)), input_(kBufferBytes) {
    constexpr int kGzipWindow = 15 + 16;  // the largest window, and a gzip header
    if (inflateInit2(&stream_, kGzipWindow) != Z_OK) throw Error("zlib cannot start");
  }
  GzipSource(const GzipSource&) = delete;
  GzipSource& operator=(const GzipSource&) = delete;
  ~GzipSource() override { inflateEnd(&stream_); }

  std::optional<size_t> read(char* data, size_t size, bool wait) override {
    stream_.next_out = reinterpret_cast<Bytef*>(data);
    stream_.avail_out = static_cast<uInt>(size);
    while (stream_.avail_out == size) {
      if (stream_.avail_in == 0) {
        const std::optional<size_t> got = file_->read(input_.data(), input_.size(), wait);
        if (!got) return std::nullopt;
        if (*got == 0 && inside_) throw Damage{"the gzip data is truncated"};
        if (*got == 0) return 0;
        stream_.next_in = reinterpret_cast<Bytef*>(input_.data());
        stream_.avail_in = static_cast<uInt>(*got);
      }
      if (!inside_ && !start_member()) continue;
      const int status = inflate(&stream_, Z_NO_FLUSH);
      if (status == Z_STREAM_END) {
        inside_ = false;
      } else if (status != Z_OK && status != Z_BUF_ERROR) {
        throw Damage{
            fmt::format("the gzip data is damaged ({})", stream_.msg != nullptr ? stream_.msg : "unknown")};
      }
    }
    return size - stream_.avail_out;
  }

 private:
  /// Begins the next member; false at the end. Between members there may be zeros (tape padding); anything else must
  /// be another member.
  bool start_member() {
    while (stream_.avail_in > 0 && *stream_.next_in == 0) {
      ++stream_.next_in;
      --stream_.avail_in;
    }
    if (stream_.avail_in == 0) return false;
    if (*stream_.next_in != static_cast<uint8_t>(kGzipMagic[0]))
      throw Damage{"there are other bytes behind the gzip data"};
    inflateReset(&stream_);
    inside_ = true;
    return true;
  }

  std::unique_ptr<Source> file_;
  std::vector<char> input_;
  z_stream stream_{};
  bool inside_ = false;  // a member
};

class ZstdSource : public Source {
 public:
  explicit ZstdSource(std::unique_ptr<Source> file)
      : file_(std::move(file)), input_(kBufferBytes), stream_(ZSTD_createDStream()) {
    if (stream_ == nullptr) throw Error("zstd cannot start");
  }
  ZstdSource(const ZstdSource&) = delete;
  ZstdSource& operator=(const ZstdSource&) = delete;
  ~ZstdSource() override { ZSTD_freeDStream(stream_); }

  std::optional<size_t> read(char* data, size_t size, bool wait) override {
    ZSTD_outBuffer out{data, size, 0};
    while (out.pos == 0) {
      // With input used up the decoder may still hold output: it is asked once more before the file is.
      if (in_.pos == in_.size && !more_) {
        const std::optional<size_t> got = file_->read(input_.data(), input_.size(), wait);
        if (!got) return std::nullopt;
        in_ = {input_.data(), *got, 0};
        if (in_.size == 0) {
          if (inside_) throw Damage{"the zstd data is truncated"};
          return 0;
        }
      }
      const size_t status = ZSTD_decompressStream(stream_, &out, &in_);
      if (ZSTD_isError(status) != 0)
        throw Damage{fmt::format("the zstd data is damaged ({})", ZSTD_getErrorName(status))};
      inside_ = status != 0;
      more_ = inside_ && out.pos == out.size;
    }
    return out.pos;
  }

 private:
  std::unique_ptr<Source> file_;
  std::vector<char> input_;
  ZSTD_DStream* stream_;
  ZSTD_inBuffer in_{nullptr, 0, 0};
  bool inside_ = false;  // a frame
  bool more_ = false;    // output waits in the decoder
};

std::unique_ptr<Source> open_source(const std::filesystem::path& path) {
  auto file = std::make_unique<PlainSource>(path);
  const std::string_view head = file->head();
  refuse_what_is_no_text(head, path);
  if (head.starts_with(kGzipMagic)) return std::make_unique<GzipSource>(std::move(file));
  if (is_zstd(head)) return std::make_unique<ZstdSource>(std::move(file));
  const auto extension = path.extension();
  if (extension == ".gz" || extension == ".zst") {
    throw UserError("{} is called {} but holds no such data", path.string(), extension.string());
  }
  return file;
}

}  // namespace

LineReader::LineReader(std::filesystem::path path, size_t max_bytes)
    : path_(std::move(path)), max_bytes_(max_bytes), buffer_(kBufferBytes) {
  try {
    source_ = open_source(path_);
  } catch (const Damage& damage) {
    throw UserError("cannot read {}: {}", path_.string(), damage.what);
  }
  if (path_ == "-") path_ = "standard input";  // what messages call it
  const auto head = [&] { return std::string_view(buffer_.data(), end_); };
  do {
    if (!fill(true)) break;
  } while (begins_like(head(), kByteOrderMark) || may_be_no_text(head()));
  refuse_what_is_no_text(head(), path_);
  if (head().starts_with(kByteOrderMark)) begin_ = kByteOrderMark.size();
}

LineReader::~LineReader() = default;
LineReader::LineReader(LineReader&&) noexcept = default;
LineReader& LineReader::operator=(LineReader&&) noexcept = default;

bool LineReader::fill(bool wait) {
  if (begin_ == end_) begin_ = end_ = 0;
  try {
    const std::optional<size_t> got = source_->read(buffer_.data() + end_, buffer_.size() - end_, wait);
    end_ += got.value_or(0);
    at_end_ = got && *got == 0;
    return got && *got > 0;
  } catch (const Damage& damage) {
    throw UserError("{}:{}: {}", path_.string(), number_ + (skipping_ ? 0 : 1), damage.what);
  }
}

void LineReader::hold(std::string_view piece) {
  // One byte beyond the limit is held, since it may be the CR of a line that just fits.
  line_.append(piece.substr(0, max_bytes_ + 1 - std::min(line_.size(), max_bytes_ + 1)));
}

bool LineReader::gather(bool wait) {
  if (taken_) {
    line_.clear();
    length_ = 0;
    taken_ = false;
  }
  while (skipping_) {
    const std::string_view rest(buffer_.data() + begin_, end_ - begin_);
    const size_t newline = rest.find('\n');
    begin_ += newline == std::string_view::npos ? rest.size() : newline + 1;
    skipping_ = newline == std::string_view::npos && !at_end_;
    skipped_ += rest.size();
    if (skipping_ && skipped_ > kHopeless)
      throw UserError("{}:{}: a line of more than {}: this is not text with one sentence per line",
                      path_.string(), number_, human_bytes(kHopeless));
    if (skipping_ && !fill(wait) && !at_end_) return false;
  }
  while (!at_end_) {
    const std::string_view rest(buffer_.data() + begin_, end_ - begin_);
    if (rest.find('\n') != std::string_view::npos) return true;
    hold(rest);
    length_ += rest.size();
    begin_ = end_;
    if (length_ > max_bytes_ + 1) return true;  // over-long, whatever comes
    if (!fill(wait) && !at_end_) return false;
  }
  return true;
}

void LineReader::refuse_lone_returns() const {
  throw UserError(
      "{} is one line with {} CR in it; chorus reads lines that end with LF or CRLF: convert it "
      "with tr '\\r' '\\n'",
      path_.string(), returns_);
}

bool LineReader::next() {
  gather(true);
  taken_ = true;
  const std::string_view rest(buffer_.data() + begin_, end_ - begin_);
  if (rest.empty() && length_ == 0) {
    if (number_ == 1 && returns_ > 1) refuse_lone_returns();
    return false;
  }
  const size_t newline = rest.find('\n');
  const std::string_view piece = rest.substr(0, newline);
  begin_ += piece.size() + (newline == std::string_view::npos ? 0 : 1);
  text_ = piece;  // whole in the buffer: no copy
  if (length_ > 0) {
    hold(piece);
    text_ = line_;
  }
  size_t length = length_ + piece.size();
  skipping_ = newline == std::string_view::npos && !at_end_ && length > max_bytes_ + 1;
  skipped_ = 0;
  ++number_;
  if (text_.size() == length && text_.ends_with('\r')) {
    text_.remove_suffix(1);
    --length;
  }
  over_long_ = length > max_bytes_;
  if (number_ == 1) {
    returns_ = std::ranges::count(text_, '\r');
    if (returns_ > 0 && (newline == std::string_view::npos || over_long_)) refuse_lone_returns();
  }
  text_ = text_.substr(0, max_bytes_);
  return true;
}

}  // namespace chorus::inline data
