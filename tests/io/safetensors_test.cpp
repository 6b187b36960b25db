#include "io/safetensors.h"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <numeric>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/json.h"
#include "temporary_folder.h"

namespace chorus {
namespace {
namespace fs = std::filesystem;
using namespace std::string_literals;
using ::testing::IsSubstring;

std::span<const std::byte> bytes_of_text(std::string_view text) {
  return std::as_bytes(std::span(text));
}
std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// A file with this JSON for a head and so many bytes of data.
std::string with_header(std::string_view json, size_t data_bytes) {
  const uint64_t length = json.size();
  std::string file(sizeof length, '\0');
  std::memcpy(file.data(), &length, sizeof length);
  return file.append(json).append(data_bytes, 'd');
}

const std::vector<TensorSpec> kSpecs = {
    {"mask", DType::boolean, {3}},     {"weight", DType::f32, {2, 3}}, {"half", DType::bf16, {5}},
    {"count", DType::i64, {}},         {"none", DType::f32, {0, 4}},   {"b\"\n\u00e9", DType::u8, {1, 1, 1}},
    {"last none", DType::boolean, {0}}};

std::string contents(const TensorSpec& spec) {
  std::string bytes(bytes_of(spec), '\0');
  std::iota(bytes.begin(), bytes.end(), static_cast<char>(spec.name[0]));
  return bytes;
}

/// Writes kSpecs and returns the writer's hash.
uint64_t write_example(const fs::path& path) {
  SafetensorsWriter writer(path, kSpecs, {{"layers", "6"}});
  for (const TensorSpec& spec : kSpecs) writer.write(spec.name, bytes_of_text(contents(spec)));
  writer.commit();
  return writer.hash();
}

TEST(Safetensors, GiveBackWhatWasWritten) {
  const TemporaryFolder folder;
  const uint64_t hash = write_example(folder / "a.safetensors");
  const SafetensorsFile file(folder / "a.safetensors");
  EXPECT_EQ(file.names(), (std::vector<std::string>{"count", "weight", "none", "half", "mask", "b\"\n\u00e9",
                                                    "last none"}));
  for (const TensorSpec& spec : kSpecs) {
    ASSERT_TRUE(file.contains(spec.name));
    const TensorView tensor = file.get(spec.name);
    EXPECT_EQ(tensor.dtype, spec.dtype);
    EXPECT_EQ(tensor.shape, spec.shape);
    EXPECT_EQ(text_of(tensor.bytes), contents(spec));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.bytes.data()) % size_of(spec.dtype), 0U) << spec.name;
  }
  EXPECT_EQ(file.metadata().at("format"), "pt");
  EXPECT_EQ(file.metadata().at("layers"), "6");
  EXPECT_TRUE(file.verify());
  EXPECT_EQ(file.hash(), hash);
  EXPECT_EQ(message_of<UserError>([&] { (void)file.get("wait"); }),
            (folder / "a.safetensors").string() + ": it has no tensor \"wait\"");
}

TEST(Safetensors, PiecesInAnyOrderGiveTheSameFile) {
  const TemporaryFolder folder;
  write_example(folder / "a");
  {
    SafetensorsWriter writer(folder / "b", kSpecs, {{"layers", "6"}});
    for (size_t piece = 0; piece < 24; ++piece) {
      for (auto spec = kSpecs.rbegin(); spec != kSpecs.rend(); ++spec) {
        const std::string bytes = contents(*spec);
        if (piece < bytes.size()) writer.write(spec->name, bytes_of_text(bytes).subspan(piece, 1));
      }
    }
    writer.commit();
  }
  EXPECT_EQ(read_file(folder / "a"), read_file(folder / "b"));
}

TEST(Safetensors, AFileWithoutTensorsIsAFile) {
  const TemporaryFolder folder;
  SafetensorsWriter writer(folder / "a", {});
  writer.commit();
  EXPECT_TRUE(SafetensorsFile(folder / "a").names().empty());
  EXPECT_TRUE(SafetensorsFile(folder / "a").verify());
}

TEST(Safetensors, TheWriterRefusesWhatDoesNotFit) {
  const TemporaryFolder folder;
  const auto write = [&](const std::vector<TensorSpec>& specs) { SafetensorsWriter(folder / "a", specs); };
  message_of<Error>([&] { write({{"a", DType::f32, {1}}, {"a", DType::f32, {1}}}); });
  message_of<Error>([&] { write({{"__metadata__", DType::f32, {1}}}); });
  message_of<Error>([&] { write({{"\xff", DType::f32, {1}}}); });
  message_of<Error>([&] { write({{"a", DType::f32, {-1}}}); });
  message_of<Error>([&] { write({{"a", DType::f32, {INT64_MAX / 2}}}); });
  message_of<Error>([&] { write({{"a", DType::u8, {INT64_MAX}}, {"b", DType::u8, {1}}}); });

  SafetensorsWriter writer(folder / "a", {{"a", DType::u8, {3}}});
  message_of<Error>([&] { writer.write("b", bytes_of_text("x")); });
  message_of<Error>([&] { writer.write("a", bytes_of_text("1234")); });
  writer.write("a", bytes_of_text("12"));
  EXPECT_PRED_FORMAT2(IsSubstring, "\"a\" is not complete", message_of<Error>([&] { writer.commit(); }));
  EXPECT_FALSE(fs::exists(folder / "a"));
  writer.write("a", bytes_of_text("3"));
  writer.commit();
  EXPECT_EQ(text_of(SafetensorsFile(folder / "a").get("a").bytes), "123");
}

TEST(Safetensors, ATruncatedFileIsNeverRead) {
  const TemporaryFolder folder;
  write_example(folder / "a");
  const std::string whole = read_file(folder / "a");
  for (size_t size = 0; size < whole.size(); ++size) {
    const std::string words =
        message_of<UserError>([&] { parse_safetensors(bytes_of_text(whole).first(size), "a.safetensors"); });
    EXPECT_PRED_FORMAT2(IsSubstring, "a.safetensors: damaged", words);
  }
  message_of<UserError>([&] { parse_safetensors(bytes_of_text(whole + "x"), "a.safetensors"); });
}

// Large enough for several threads, which must agree on what is named.
TEST(Safetensors, OfALargeFileTheFirstDamagedTensorIsNamed) {
  const TemporaryFolder folder;
  const fs::path path = folder / "large.safetensors";
  constexpr int64_t kBytes = int64_t{20} << 20;
  const std::vector<TensorSpec> specs = {
      {"whole", DType::u8, {5}}, {"first", DType::u8, {kBytes}}, {"second", DType::u8, {kBytes + 1}}};
  SafetensorsWriter writer(path, specs);
  for (const TensorSpec& spec : specs)
    writer.write(spec.name, bytes_of_text(std::string(spec.shape[0], 'x')));
  writer.commit();
  EXPECT_TRUE(SafetensorsFile(path).verify());
  const auto size = static_cast<int64_t>(fs::file_size(path));
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  for (const auto& [from_end, named] : {std::pair{int64_t{1}, "second"}, {2 * kBytes, "first"}}) {
    file.seekp(size - from_end).put('y').flush();
    EXPECT_PRED_FORMAT2(IsSubstring, "damaged: tensor \"" + std::string(named) + "\"",
                        message_of<UserError>([&] { (void)SafetensorsFile(path).verify(); }));
  }
}

TEST(Safetensors, EveryFlippedBitIsNoticed) {
  const TemporaryFolder folder;
  const fs::path path = folder / "a";
  write_example(path);
  const std::string bytes = read_file(path);
  const size_t key = bytes.find("chorus.xxh3");
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    const auto at = static_cast<std::streamoff>(bit / 8);
    file.seekp(at).put(static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)))).flush();
    try {
      const bool verified = SafetensorsFile(path).verify();
      EXPECT_FALSE(verified) << "bit " << bit;
      // Without its name the entry is a stranger's: the file then counts as one without checksums.
      EXPECT_TRUE(bit / 8 >= key && bit / 8 < key + 11) << "bit " << bit;
    } catch (const UserError& error) {
      EXPECT_PRED_FORMAT2(IsSubstring, path.string(), error.what());
    }
    file.seekp(at).put(bytes[bit / 8]).flush();
  }
  EXPECT_TRUE(SafetensorsFile(path).verify());
}

TEST(Safetensors, DamageIsNamedByTensor) {
  const TemporaryFolder folder;
  write_example(folder / "a");
  std::string bytes = read_file(folder / "a");
  const size_t at = bytes.find(contents(kSpecs[2]));
  ASSERT_NE(at, std::string::npos);
  bytes[at + 1] ^= 4;
  write_file_atomically(folder / "a", bytes);
  EXPECT_PRED_FORMAT2(IsSubstring, "damaged: tensor \"half\"",
                      message_of<UserError>([&] { (void)SafetensorsFile(folder / "a").verify(); }));
}

TEST(Safetensors, ForeignHeadersAreCheckedToTheLast) {
  const auto read = [](const std::string& json, size_t data) {
    return parse_safetensors(bytes_of_text(with_header(json, data)), "f");
  };
  const auto refused = [&](const std::string& json, size_t data, const std::string& words) {
    EXPECT_PRED_FORMAT2(IsSubstring, words, message_of<UserError>([&] { read(json, data); })) << json;
  };
  const auto tensor = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return R"({"t":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
  };
  EXPECT_EQ(read(tensor("F32", "[2]", "[0,8]") + "   ", 8).tensors.at(0).end, 8U + 65U);
  EXPECT_EQ(read(tensor("BOOL", "[]", "[0,1]"), 1).tensors.size(), 1U);
  EXPECT_EQ(read(tensor("F32", "[0,9]", "[0,0]"), 0).tensors.size(), 1U);
  EXPECT_EQ(read("{}", 0).tensors.size(), 0U);

  refused("", 0, "does not begin with {");
  refused("[]", 0, "does not begin with {");
  refused(" {}", 0, "does not begin with {");
  refused("\xef\xbb\xbf{}", 0, "does not begin with {");
  refused("{}x", 0, "not valid JSON");
  refused("{\"\xff\":1}", 0, "not valid JSON");
  refused("{\"a\":1e999}", 0, "not valid JSON");
  refused("{", 0, "not valid JSON (byte 10)");
  refused("{}", 1, "1 bytes after the last tensor");
  refused(R"({"t":1})", 0, "none of its kind belongs");
  refused(R"({"t":[]})", 0, "none of its kind belongs");
  refused(R"({"t":{}})", 0, "must all be there");
  refused(R"({"__metadata__":{"a":1}})", 0, "none of its kind belongs");
  refused(R"({"__metadata__":{"a":{}}})", 0, "none of its kind belongs");
  refused(R"({"__metadata__":{"a":"1","a":"1"}})", 0, "given twice");
  refused(R"({"__metadata__":{},"__metadata__":{}})", 0, "two entries");
  refused(tensor("F33", "[2]", "[0,8]"), 8, "tensor \"t\": unknown dtype \"F33\"");
  refused(tensor("F32", "[2]", "[0,8,9]"), 8, "two numbers");
  refused(tensor("F32", "[2]", "[0]"), 8, "two numbers");
  refused(tensor("F32", "[[2]]", "[0,8]"), 8, "none of its kind belongs");
  refused(tensor("F32", "[-2]", "[0,8]"), 8, "negative dimension");
  refused(tensor("F32", "[2.0]", "[0,8]"), 8, "none of its kind belongs");
  refused(tensor("F32", "[2]", "[-1,7]"), 8, "none of its kind belongs");
  refused(tensor("F32", "[2]", "[0,7]"), 8, "do not span the 8 bytes");
  refused(tensor("F32", "[2]", "[8,0]"), 8, "do not span the 8 bytes");
  refused(tensor("F32", "[3]", "[0,12]"), 8, "cut short");
  refused(tensor("F32", "[2]", "[4,12]"), 12, "a gap");
  refused(tensor("F32", "[1]", "[0,4]"), 8, "4 bytes after");
  refused(tensor("F32", "[18446744073709551615]", "[0,8]"), 8, "too large");
  refused(tensor("F32", "[99999999999999999999]", "[0,8]"), 8, "none of its kind belongs");
  refused(tensor("F32", "[4611686018427387904]", "[0,8]"), 8, "overflows");
  refused(tensor("F32", "[4294967296,4294967296]", "[0,0]"), 0, "overflows");
  refused(tensor("F32", "[0,4294967296,4294967296]", "[0,0]"), 0, "overflows");
  refused(tensor("F32", "[2]", "[9223372036854775800,9223372036854775808]"), 8, "too large");
  refused(R"({"t":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1, "dtype given twice");
  refused(R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}})", 1, "unknown entry \"x\"");
  const std::string u8 = R"({"dtype":"U8","shape":[2],"data_offsets":)";
  refused(R"({"s":)" + u8 + R"([0,2]},"t":)" + u8 + "[1,3]}}", 3, "\"t\": it overlaps");
  refused(R"({"s":)" + u8 + R"([0,2]},"t":)" + u8 + "[0,2]}}", 2, "\"t\": it overlaps");
  refused(std::string(1000000, '{'), 0, "not valid JSON");
  refused("{\"t\":" + std::string(1000000, '['), 0, "none of its kind belongs");

  std::string huge = with_header("{}", 0);
  huge[7] = '\x7f';
  EXPECT_PRED_FORMAT2(IsSubstring, "a header of",
                      message_of<UserError>([&] { parse_safetensors(bytes_of_text(huge), "f"); }));
}

TEST(Safetensors, OneNameTwiceIsRefused) {
  const TemporaryFolder folder;
  const std::string u8 = R"({"dtype":"U8","shape":[1],"data_offsets":)";
  write_file_atomically(folder / "a", with_header(R"({"t":)" + u8 + R"([0,1]},"t":)" + u8 + "[1,2]}}", 2));
  EXPECT_PRED_FORMAT2(IsSubstring, "tensor \"t\" is there twice",
                      message_of<UserError>([&] { SafetensorsFile file(folder / "a"); }));
}

TEST(Safetensors, FilesOfOthersHaveNoChecksums) {
  const TemporaryFolder folder;
  write_file_atomically(folder / "a",
                        with_header(R"({"t":{"dtype":"I8","shape":[2],"data_offsets":[0,2]}})", 2));
  EXPECT_FALSE(SafetensorsFile(folder / "a").verify());
  EXPECT_EQ(text_of(SafetensorsFile(folder / "a").get("t").bytes), "dd");
}

// ---- folders

void write_one(const fs::path& path, const std::string& name) {
  SafetensorsWriter writer(path, {{name, DType::u8, {1}}});
  writer.write(name, bytes_of_text(name.substr(0, 1)));
  writer.commit();
}

TEST(SafetensorsFolder, ReadsOneFileOrShards) {
  const TemporaryFolder folder;
  write_one(folder / "x-1.safetensors", "a");
  write_one(folder / "x-2.safetensors", "b");
  write_file_atomically(folder / "model.safetensors.index.json",
                        R"({"metadata":{},"weight_map":{"b":"x-2.safetensors","a":"x-1.safetensors"}})");
  const SafetensorsFolder shards(folder.path());
  EXPECT_EQ(shards.names(), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(text_of(shards.get("b").bytes), "b");
  EXPECT_TRUE(shards.verify());
  EXPECT_FALSE(shards.contains("c"));
  EXPECT_PRED_FORMAT2(IsSubstring, "has no tensor \"c\"",
                      message_of<UserError>([&] { (void)shards.get("c"); }));

  write_one(folder / "model.safetensors", "c");
  const SafetensorsFolder single(folder.path());
  EXPECT_EQ(single.names(), std::vector<std::string>{"c"});
}

TEST(SafetensorsFolder, NamesWhatIsWrong) {
  const TemporaryFolder folder;
  EXPECT_PRED_FORMAT2(IsSubstring, (folder / "model.safetensors").string() + ": No such file",
                      message_of<UserError>([&] { SafetensorsFolder(folder.path()); }));
  write_one(folder / "x.safetensors", "a");
  const auto refused = [&](const std::string& index, const std::string& words) {
    write_file_atomically(folder / "model.safetensors.index.json", index);
    EXPECT_PRED_FORMAT2(IsSubstring, words, message_of<UserError>([&] { SafetensorsFolder(folder.path()); }));
  };
  refused("", "not valid JSON");
  refused("[]", "weight_map");
  refused(R"({"weight_map":[]})", "weight_map");
  refused(R"({"weight_map":{"a":1}})", "is not a text");
  refused(R"({"weight_map":{"a":"gone.safetensors"}})", "gone.safetensors: No such file");
  refused(R"({"weight_map":{"b":"x.safetensors"}})", "\"x.safetensors\" has no tensor \"b\"");
  for (const char* name : {"../x.safetensors", "/x.safetensors", "y/x.safetensors", "..safetensors", "x", "",
                           "y\\\\x.safetensors", "x\\u0000.safetensors"}) {
    refused(fmt::format(R"({{"weight_map":{{"a":"{}"}}}})", name), "is not the name of a .safetensors file");
  }
}

TEST(Json, IsBounded) {
  EXPECT_PRED_FORMAT2(IsSubstring, "f: JSON nested deeper",
                      message_of<UserError>([] { parse_json(std::string(100000, '['), "f"); }));
  EXPECT_PRED_FORMAT2(IsSubstring, "f: not valid JSON (byte 2)",
                      message_of<UserError>([] { parse_json("{]", "f"); }));
  for (const std::string& text : {"{}x"s, "{} {}"s, "{}\0"s, "{}\0{\"a\":1}"s, "{\"a\\u0000\":1}\0"s, "\0"s})
    EXPECT_PRED_FORMAT2(IsSubstring, "f: not valid JSON (byte ",
                        message_of<UserError>([&] { parse_json(text, "f"); }));
  EXPECT_PRED_FORMAT2(IsSubstring, "f: the key \"b\" is there twice",
                      message_of<UserError>([] { parse_json(R"({"a":{"b":1},"c":[{"b":1,"b":2}]})", "f"); }));
  EXPECT_EQ(parse_json(" {\"a\":{\"b\":1},\"b\":{\"b\":1}}\n", "f")["b"]["b"], 1);
  const auto refused = [](std::string_view text, auto type) {
    return !exactly<decltype(type)>(parse_json(text, "f"));
  };
  for (const char* text : {"4.9", "4.0", "true", "\"4\"", "9223372036854775808", "null", "[4]"})
    EXPECT_TRUE(refused(text, int64_t{})) << text;
  EXPECT_TRUE(refused("2147483648", int32_t{}));
  EXPECT_TRUE(refused("1", bool{}));
  EXPECT_TRUE(refused("true", double{}));
  EXPECT_TRUE(refused("[1, 2.5]", std::vector<int32_t>{}));
  EXPECT_TRUE(refused("[\"a\", 1]", std::vector<std::string>{}));
  EXPECT_EQ(exactly<int64_t>(parse_json("-9223372036854775808", "f")), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(exactly<double>(parse_json("4", "f")), 4);
  message_of<UserError>([] { parse_json("1e999", "f"); });
  EXPECT_EQ(in_quotes("a\n\x1b\"\xff"), R"("a\n\u001b\"\ufffd")");
  EXPECT_LT(in_quotes(std::string(1000000, 'x')).size(), 100U);
}

TEST(SafetensorsWriter, SaysBeforeItWritesWhatDoesNotFit) {
  const TemporaryFolder folder;
  const std::vector<TensorSpec> tensors = {{.name = "large", .shape = {int64_t{1} << 50}}};
  EXPECT_THROW(SafetensorsWriter(folder / "file", tensors), Error);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

}  // namespace
}  // namespace chorus
