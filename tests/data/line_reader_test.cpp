#include "data/line_reader.h"

#include <array>
#include <vector>

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "base/error.h"
#include "data/text_folder.h"

namespace chorus {
namespace {

using namespace std::string_literals;

std::vector<std::string> lines_of(const std::filesystem::path& path, size_t max_bytes = kMaxLineBytes) {
  std::vector<std::string> lines;
  LineReader reader(path, max_bytes);
  while (reader.next()) {
    lines.emplace_back(reader.text());
    if (reader.over_long()) lines.back() += "...";
    EXPECT_EQ(reader.number(), static_cast<int64_t>(lines.size()));
  }
  EXPECT_FALSE(reader.next());
  return lines;
}

std::string gzip(std::string_view text) {
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, text.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string zstd(std::string_view text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

/// Text that fills the reader's buffer several times with lines of many lengths.
std::string long_text(std::vector<std::string>& lines) {
  std::string text;
  for (int i = 0; i < 3000; ++i) {
    lines.push_back(std::to_string(i) +
                    std::string(static_cast<size_t>(i * 37 % 501), static_cast<char>('a' + i % 26)));
    text += lines.back() + (i % 3 == 0 ? "\r\n" : "\n");
  }
  return text;
}

TEST(LineReader, LineEndsAndByteOrderMark) {
  const TextFolder folder;
  const auto expect = [&](std::string_view bytes, const std::vector<std::string>& lines) {
    EXPECT_EQ(lines_of(folder.file("x", bytes)), lines) << testing::PrintToString(bytes);
  };
  expect("", {});
  expect("\n", {""});
  expect("a", {"a"});
  expect("a\n", {"a"});
  expect("a\n\nb", {"a", "", "b"});
  expect("a\r\nb\r\n", {"a", "b"});
  expect("a\r", {"a"});
  expect("a\rb\n", {"a\rb"});
  expect("\r\r\n", {"\r"});
  expect("\xEF\xBB\xBF", {});
  expect("\xEF\xBB\xBFone\n\xEF\xBB\xBFtwo\n", {"one", "\xEF\xBB\xBFtwo"});
  expect("\xEF\xBB", {"\xEF\xBB"});
  expect("a\0b\nc\n"s, {"a\0b"s, "c"});
  expect("a\n\0\nb\n"s, {"a", "\0"s, "b"});  // not UTF-16
}

TEST(LineReader, OverLongLinesAreConsumedAndMarked) {
  const TextFolder folder;
  EXPECT_EQ(lines_of(folder.file("x", "1234\r\n12345\n1234\n123456\r\n\n1234\r"), 4),
            (std::vector<std::string>{"1234", "1234...", "1234", "1234...", "", "1234"}));
  const std::string big(1000000, 'x');
  EXPECT_EQ(lines_of(folder.file("y", big + "\nend\n" + big), 4),
            (std::vector<std::string>{"xxxx...", "end", "xxxx..."}));
}

TEST(LineReader, LinesWithoutEndEnd) {
  const TextFolder folder;
  const auto path = folder.file("x", "one\n");
  std::filesystem::resize_file(path, uint64_t{1} << 42);  // of holes
  LineReader reader(path);
  EXPECT_TRUE(reader.next());
  EXPECT_EQ(reader.text(), "one");
  EXPECT_TRUE(reader.next());  // at once
  EXPECT_TRUE(reader.over_long());
  EXPECT_EQ(message_of<UserError>([&] { reader.next(); }),
            path.string() + ":2: a line of more than 256.0 MiB: this is not text with one sentence per line");
}

TEST(LineReader, ReadsGzipAndZstdByTheirFirstBytes) {
  const TextFolder folder;
  std::vector<std::string> lines;
  const std::string text = long_text(lines);
  EXPECT_EQ(lines_of(folder.file("plain", text)), lines);
  EXPECT_EQ(lines_of(folder.file("a.gz", gzip(text))), lines);
  EXPECT_EQ(lines_of(folder.file("b.zst", zstd(text))), lines);
  EXPECT_EQ(lines_of(folder.file("named.txt", gzip("\xEF\xBB\xBFone\n"))), std::vector<std::string>{"one"});
  const size_t cut = text.size() / 2;
  EXPECT_EQ(lines_of(folder.file("c.gz", gzip(text.substr(0, cut)) + gzip("") + gzip(text.substr(cut)))),
            lines);
  EXPECT_EQ(lines_of(folder.file("d.zst", zstd(text.substr(0, cut)) + zstd("") + zstd(text.substr(cut)))),
            lines);
  const std::string skipped = "\x5A\x2A\x4D\x18\x03\0\0\0abc"s;
  EXPECT_EQ(lines_of(folder.file(
                "g.zst", skipped + zstd(text.substr(0, cut)) + skipped + zstd(text.substr(cut)) + skipped)),
            lines);
  EXPECT_EQ(lines_of(folder.file("h", skipped)), std::vector<std::string>{});
  EXPECT_EQ(lines_of(folder.file("e.gz", gzip(text) + std::string(600, '\0'))), lines);
  EXPECT_EQ(lines_of(folder.file("f.gz", gzip(""))), std::vector<std::string>{});
}

/// A pipe and the name by which it is read.
class Pipe {
 public:
  Pipe() { EXPECT_EQ(::pipe(ends_.data()), 0); }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  ~Pipe() {
    close();
    ::close(ends_[0]);
  }
  [[nodiscard]] std::string name() const { return "/dev/fd/" + std::to_string(ends_[0]); }
  void send(std::string_view bytes) const {
    EXPECT_EQ(::write(ends_[1], bytes.data(), bytes.size()), std::ssize(bytes));
  }
  void close() {
    if (ends_[1] >= 0) ::close(ends_[1]);
    ends_[1] = -1;
  }

 private:
  std::array<int, 2> ends_{};
};

TEST(LineReader, SaysWhetherALineHasCome) {
  Pipe pipe;
  pipe.send("P");  // a zip archive begins so too
  pipe.send("\n");
  LineReader reader(pipe.name());
  EXPECT_TRUE(reader.ready());
  ASSERT_TRUE(reader.next());
  EXPECT_EQ(reader.text(), "P");
  EXPECT_FALSE(reader.ready());
  pipe.send("one\ntw");
  ASSERT_TRUE(reader.ready() && reader.next());
  EXPECT_EQ(reader.text(), "one");
  EXPECT_FALSE(reader.ready());
  const std::string much(30000, 'o');  // the line outgrows the buffer
  for (int i = 0; i < 2; ++i) {
    pipe.send(much);
    EXPECT_FALSE(reader.ready());
  }
  pipe.send(much);  // and what a line may have
  ASSERT_TRUE(reader.ready() && reader.next());
  EXPECT_EQ(reader.text().size(), kMaxLineBytes);
  EXPECT_TRUE(reader.over_long());
  EXPECT_FALSE(reader.ready());
  pipe.send("\r\n\n");
  ASSERT_TRUE(reader.ready() && reader.next());
  EXPECT_EQ(reader.text(), "");
  EXPECT_FALSE(reader.over_long());
  EXPECT_FALSE(reader.ready());
  pipe.send("last");
  EXPECT_FALSE(reader.ready());
  pipe.close();
  ASSERT_TRUE(reader.ready() && reader.next());
  EXPECT_EQ(reader.text(), "last");
  EXPECT_EQ(reader.number(), 5);
  EXPECT_TRUE(reader.ready());
  EXPECT_FALSE(reader.next());
}

TEST(LineReader, SaysSoOfCompressedTextToo) {
  for (const auto& [first, second] :
       {std::pair{gzip("one\n"), gzip("two\n")}, {zstd("one\n"), zstd("two\n")}}) {
    Pipe pipe;
    pipe.send(first);
    LineReader reader(pipe.name());
    ASSERT_TRUE(reader.ready() && reader.next());
    EXPECT_FALSE(reader.ready());
    pipe.send(second.substr(0, 5));
    EXPECT_FALSE(reader.ready());
    pipe.send(second.substr(5));
    ASSERT_TRUE(reader.ready() && reader.next());
    EXPECT_EQ(reader.text(), "two");
    EXPECT_FALSE(reader.ready());
    pipe.close();
    EXPECT_FALSE(reader.next());
  }
}

TEST(LineReader, EveryTruncationIsRefused) {
  const TextFolder folder;
  std::vector<std::string> lines;
  const std::string text = long_text(lines).substr(0, 3000);
  for (const auto& whole : {gzip(text), zstd(text), "\x50\x2A\x4D\x18\x04\0\0\0abcd"s + zstd(text)}) {
    for (size_t size = 4; size < whole.size(); size += 7) {
      const auto path = folder.file("cut", std::string_view(whole).substr(0, size));
      const std::string message = message_of<UserError>([&] { lines_of(path); });
      EXPECT_NE(message.find("data is truncated"), std::string::npos) << size << ": " << message;
      EXPECT_TRUE(message.starts_with(path.string())) << message;
    }
  }
}

TEST(LineReader, DamageNamesTheLine) {
  const TextFolder folder;
  std::string text;
  for (int i = 0; i < 40000; ++i) text += "line " + std::to_string(i * 7919) + "\n";
  for (std::string whole : {gzip(text), zstd(text)}) {
    whole.resize(whole.size() / 2);
    const auto path = folder.file("cut", whole);
    LineReader reader(path);
    std::string message = message_of<UserError>([&] {
      while (reader.next()) continue;
    });
    EXPECT_EQ(message.find(path.string() + ":" + std::to_string(reader.number() + 1) + ": "), 0U) << message;
    EXPECT_GT(reader.number(), 1000);
  }
  std::string flipped = gzip(text);
  flipped[flipped.size() / 2] ^= 0x10;
  const auto path = folder.file("flipped.gz", flipped);
  EXPECT_NE(message_of<UserError>([&] { lines_of(path); }).find("the gzip data is damaged"),
            std::string::npos);
  EXPECT_NE(message_of<UserError>([&] {
              lines_of(folder.file("tail.gz", gzip("a\n") + "junk"));
            }).find("other bytes"),
            std::string::npos);
}

TEST(LineReader, RefusesWhatIsNoTextFile) {
  const TextFolder folder;
  const auto message = [](const std::filesystem::path& path) {
    return message_of<UserError>([&] { LineReader reader(path); });
  };
  const std::string missing = (folder.path() / "missing").string();
  EXPECT_EQ(message(missing), missing + ": no such file");
  EXPECT_EQ(message(folder.path()), folder.path().string() + " is a directory, not a text file");
  EXPECT_NE(message(folder.file("x.gz", "plain\n")).find("is called .gz but holds no such data"),
            std::string::npos);
  EXPECT_NE(message(folder.file("x.zst", "")).find("is called .zst"), std::string::npos);
  EXPECT_NE(message(folder.file("utf16", "\xFF\xFE\x61\x00"s)).find("is UTF-16"), std::string::npos);
  EXPECT_NE(message(folder.file("xz", "\xFD\x37\x7A\x58\x5A\x00...."s)).find("is xz data"),
            std::string::npos);
  // Its first bytes, what it is, and what to do.
  const std::string utf16 = "D\0o\0g\0s\0 \0r\0u\0n\0.\0\n\0"s;
  const std::string swapped = '\0' + utf16.substr(0, utf16.size() - 1);
  const std::string chinese = "\x00\x4E\x2A\x4E\xBA\x4E\x0A\x00\x00\x4E\x2A\x4E"s;
  std::string tar(600, '\0');
  tar.replace(257, 5, "ustar");
  for (const auto& [bytes, kind, what] :
       {std::tuple{"BZh91AY&SY...."s, "is bzip2 data", "unpack it first"},
        {"BZh9\x17\x72\x45\x38\x50\x90"s, "is bzip2 data", "unpack it first"},
        {"PK\x03\x04...."s, "is a zip archive", "unpack it first"},
        {"7z\xBC\xAF\x27\x1C"s, "is a 7z archive", "unpack it first"},
        {"\x1F\x9D\x90"s, "is data of compress", "unpack it first"},
        {tar, "is a tar archive", "unpack it first"},
        {gzip(tar), "is a tar archive", "unpack it first"},
        {"\xFF\xFE\0\0a\0\0\0"s, "is UTF-32", "iconv -f UTF-32 "},
        {utf16, "is UTF-16LE", "iconv -f UTF-16LE "},
        {swapped, "is UTF-16BE", "iconv -f UTF-16BE "},
        {"a\0b\0c\0"s, "is UTF-16LE", "iconv"},
        {chinese, "is UTF-16LE", "iconv"},
        {gzip("\xFE\xFF" + swapped), "is UTF-16;", "iconv"}}) {
    const std::string said = message(folder.file("other", bytes));
    EXPECT_NE(said.find(kind), std::string::npos) << kind << ": " << said;
    EXPECT_NE(said.find(what), std::string::npos) << said;
  }
  for (const std::string& text :
       {"BZh\n"s, "BZh91AY\n"s, "PK\n"s, "P"s, "7z\n"s, "Rar!\n"s, "Z*M\n"s, "Z"s, "a\0b\nc\n"s, "\0"s})
    EXPECT_FALSE(lines_of(folder.file("text", text)).empty());
  if (::geteuid() != 0) {
    const auto path = folder.file("secret", "x");
    std::filesystem::permissions(path, std::filesystem::perms::none);
    EXPECT_NE(message(path).find("Permission denied"), std::string::npos);
  }
}

TEST(LineReader, NamesAFileOfCrEnds) {
  const TextFolder folder;
  const auto message = [&](const std::string& bytes, size_t most = kMaxLineBytes) {
    return message_of<UserError>([&] { lines_of(folder.file("mac", bytes), most); });
  };
  for (const char* bytes : {"a\rb", "a\rb\r", "a\rb\rc\n", "a\rb\rc\r\n"})
    EXPECT_NE(message(bytes).find("CR in it; chorus reads lines that end with LF"), std::string::npos);
  EXPECT_NE(message("abc\rabc\rabc\nx", 4).find("CR in it"), std::string::npos) << "too long for a line";
  EXPECT_EQ(lines_of(folder.file("some", "50 %\r99 %\r100 %\nnext")).size(), 2U);
}

TEST(LineReader, WaitsForNoMoreThanTheFirstLine) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  ASSERT_EQ(::write(ends[1], "a\n", 2), 2);
  LineReader reader("/dev/fd/" + std::to_string(ends[0]));
  ASSERT_TRUE(reader.next());
  EXPECT_EQ(reader.text(), "a");
  ::close(ends[1]);
  EXPECT_FALSE(reader.next());
  ::close(ends[0]);
}

TEST(LineReader, ALongLineTakesLittleMemory) {
  const TextFolder folder;
  const auto path = folder.file("sparse", "");
  std::filesystem::resize_file(path, 250 << 20);
  rusage before{}, after{};
  getrusage(RUSAGE_SELF, &before);
  LineReader reader(path);
  ASSERT_TRUE(reader.next());
  EXPECT_TRUE(reader.over_long());
  EXPECT_EQ(reader.text().size(), kMaxLineBytes);
  EXPECT_FALSE(reader.next());
  getrusage(RUSAGE_SELF, &after);
  EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 16 << 10);  // KiB
}

}  // namespace
}  // namespace chorus
