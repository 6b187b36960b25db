#include "io/torch_file.h"

#include <cstring>
#include <fstream>

#include <gtest/gtest.h>

#include "base/error.h"
#include "io/torch_save.h"
#include "temporary_folder.h"

namespace chorus {
namespace {
namespace fs = std::filesystem;
using ::testing::IsSubstring;

struct Folder {
  TemporaryFolder folder;
  fs::path path = folder / "pytorch_model.bin";

  [[nodiscard]] TorchFile open(const std::string& bytes) const {
    std::ofstream(path, std::ios::binary) << bytes;
    return TorchFile(path);
  }
  void refused(const std::string& bytes, const std::string& words) const {
    const std::string message = message_of<UserError>([&] { (void)open(bytes); });
    EXPECT_PRED_FORMAT2(IsSubstring, words, message);
    EXPECT_PRED_FORMAT2(IsSubstring, path.string(), message);
  }
};

std::vector<float> floats_of(const TensorView& view) {
  std::vector<float> floats(view.bytes.size() / sizeof(float));
  std::memcpy(floats.data(), view.bytes.data(), view.bytes.size());
  return floats;
}

const std::vector<float> kNumbers = {0, 1, 2, 3, 4, 5};

/// A dictionary of one tensor on a storage of kNumbers.
std::string one_tensor(const SavedTensor& tensor) {
  TorchSave file;
  file.storage("0", bytes_of_floats(kNumbers));
  file.tensor("t", tensor);
  return file.bytes();
}

TEST(TorchFile, ReadsWindowsOnStorages) {
  const Folder folder;
  TorchSave file;
  file.storage("0", bytes_of_floats(kNumbers));
  file.storage("1", "abcd");
  file.storage("2", "");
  file.tensor("whole", {.shape = {2, 3}, .strides = {3, 1}});
  file.tensor("row", {.offset = 3, .shape = {3}, .strides = {1}});
  file.tensor("turned", {.shape = {3, 2}, .strides = {1, 3}});
  file.tensor("column", {.offset = 1, .shape = {2}, .strides = {3}});
  file.tensor("one", {.offset = 5});
  file.tensor("narrow",
              {.type = "BFloat16Storage", .storage = "1", .elements = 2, .shape = {2}, .strides = {1}});
  file.tensor("none", {.storage = "2", .elements = 0, .shape = {0, 3}, .strides = {3, 1}});
  for (const bool zip64 : {false, true}) {
    const TorchFile read = folder.open(file.bytes(zip64));
    EXPECT_EQ(read.names().size(), 7U);
    EXPECT_EQ(floats_of(read.get("whole")), kNumbers);
    EXPECT_EQ(read.get("whole").shape, (std::vector<int64_t>{2, 3}));
    EXPECT_TRUE(read.get("whole").strides.empty());
    EXPECT_EQ(floats_of(read.get("row")), (std::vector<float>{3, 4, 5}));
    EXPECT_EQ(read.get("turned").strides, (std::vector<int64_t>{1, 3}));
    EXPECT_EQ(read.get("turned").bytes.data(), read.get("whole").bytes.data()) << "one storage";
    EXPECT_EQ(floats_of(read.get("column")), (std::vector<float>{1, 2, 3, 4}));
    EXPECT_EQ(floats_of(read.get("one")), std::vector<float>{5});
    EXPECT_EQ(read.get("narrow").dtype, DType::bf16);
    EXPECT_TRUE(read.get("none").bytes.empty());
  }
  EXPECT_PRED_FORMAT2(IsSubstring, "has no tensor \"x\"",
                      message_of<UserError>([&] { (void)TorchFile(folder.path).get("x"); }));
}

TEST(TorchFile, RefusesWindowsBeyondTheirStorage) {
  const Folder folder;
  const int64_t huge = int64_t{1} << 62;
  folder.refused(one_tensor({.shape = {7}, .strides = {1}}), "tensor \"t\": it reaches beyond its storage");
  folder.refused(one_tensor({.offset = 6}), "beyond its storage");
  folder.refused(one_tensor({.offset = huge, .shape = {2}, .strides = {huge}}), "beyond its storage");
  folder.refused(one_tensor({.shape = {2, 3}, .strides = {4, 1}}), "beyond its storage");
  folder.refused(one_tensor({.shape = {1000000000}, .strides = {0}}), "more elements than its storage");
  folder.refused(one_tensor({.shape = {huge, huge}, .strides = {1, 1}}), "its shape overflows");
  folder.refused(one_tensor({.shape = {3, 3}, .strides = {huge, huge}}), "its shape overflows");
  folder.refused(one_tensor({.elements = 7}), "its storage is cut short");
  folder.refused(one_tensor({.elements = huge}), "its storage is cut short");
  folder.refused(one_tensor({.storage = "../0"}), "its storage is missing");
  folder.refused(one_tensor({.shape = {2}, .strides = {1, 1}}), "its pickle is damaged");
}

TEST(TorchFile, RunsNothing) {
  const Folder folder;
  const auto program = [](const std::string& text) {
    TorchSave file;
    return file.bytes_of_program(text);
  };
  folder.refused(program("\x80\x02"
                         "cos\nsystem\nX\x02\0\0\0ls\x85R."s),
                 "its pickle asks for \"os system\"");
  folder.refused(program("\x80\x02"
                         "ctorch\nload\n."s),
                 "its pickle asks for");
  folder.refused(program("\x80\x04\x95."s), "protocol 4");
  folder.refused(program("(i__builtin__\neval\n."), "the instruction 0x69 at byte 1");
  folder.refused(program("\x80\x02K\x01."s), "no dictionary of tensors");
  folder.refused(program("\x80\x02}X\x01\0\0\0aK\x01s."s), "\"a\" is no tensor");
  folder.refused(program("\x80\x02}X\x01\0\0\0a]s."s), "the instruction 0x5d");
  folder.refused(program("\x80\x02}q\0X\x01\0\0\0ah\0s."s), "dictionaries inside each other");
  folder.refused(program("\x80\x02}h\7."s), "its pickle is damaged");
  folder.refused(program("\x80\x02}X\xff\xff\xff\xff."s), "its pickle is damaged");
  folder.refused(program("\x80\x02}\x8a\xff."s), "its pickle is damaged");
  folder.refused(program("\x80\x02}(u"s), "its pickle is damaged");
  for (const char op : "sutbRQ.\x85\x86\x87"s)
    folder.refused(program(std::string(1, op)), "its pickle is damaged");
  EXPECT_TRUE(folder.open(program("\x80\x02}."s)).names().empty());
  // One storage, said again and again in three bytes.
  std::string many =
      "\x80\x02(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0"
      "0X\x03\0\0\0cpuK\x06tq\0"s;
  for (int i = 0; i <= 1 << 18; ++i) many += "h\0Q"s;
  folder.refused(program(many), "more than 262144 tensors and storages");
}

TEST(TorchFile, NamesWhatItIsNot) {
  const Folder folder;
  folder.refused("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."s, "before 1.6");
  folder.refused("", "no zip archive");
  folder.refused("PK\x03\x04", "it has no directory");
  const std::string good = one_tensor({.shape = {6}, .strides = {1}});
  EXPECT_EQ(folder.open(good).names().size(), 1U);
  for (size_t size = 0; size < good.size(); ++size)
    EXPECT_THROW((void)folder.open(good.substr(0, size)), UserError) << size;
  // A bit flipped in the numbers does not agree with the archive's checksum.
  std::string flipped = good;
  flipped[good.find(bytes_of_floats(kNumbers)) + 5] ^= 0x10;
  folder.refused(flipped, "\"archive/data/0\" does not agree with its checksum");
  TorchSave big;
  big.file("byteorder", "big");
  folder.refused(big.bytes_of_program("\x80\x02}."s), "big-endian");
}

TEST(TorchFolder, ReadsShards) {
  const Folder folder;
  (void)folder.open(one_tensor({.shape = {6}, .strides = {1}}));
  EXPECT_EQ(TorchFolder(folder.folder.path()).names(), std::vector<std::string>{"t"});
  fs::rename(folder.path, folder.folder / "pytorch_model-00001-of-00001.bin");
  const fs::path index = folder.folder / "pytorch_model.bin.index.json";
  std::ofstream(index) << (R"({"weight_map":{"t":"pytorch_model-00001-of-00001.bin"}})");
  EXPECT_TRUE(TorchFolder::is_there(folder.folder.path()));
  EXPECT_EQ(floats_of(TorchFolder(folder.folder.path()).get("t")), kNumbers);
  std::ofstream(index) << (R"({"weight_map":{"t":"../x.bin"}})");
  EXPECT_PRED_FORMAT2(IsSubstring, "is not the name of a .bin file",
                      message_of<UserError>([&] { TorchFolder(folder.folder.path()); }));
}

}  // namespace
}  // namespace chorus
