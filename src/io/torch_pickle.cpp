#include "io/internal/torch_pickle.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <optional>
#include <set>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "io/json.h"

namespace chorus::inline io {
namespace {

constexpr std::array<std::pair<std::string_view, DType>, 10> kStorages = {
    {{"torch DoubleStorage", DType::f64},
     {"torch FloatStorage", DType::f32},
     {"torch HalfStorage", DType::f16},
     {"torch BFloat16Storage", DType::bf16},
     {"torch LongStorage", DType::i64},
     {"torch IntStorage", DType::i32},
     {"torch ShortStorage", DType::i16},
     {"torch CharStorage", DType::i8},
     {"torch ByteStorage", DType::u8},
     {"torch BoolStorage", DType::boolean}}};
constexpr std::string_view kDictionary = "collections OrderedDict",
                           kTensor = "torch._utils _rebuild_tensor_v2",
                           kParameter = "torch._utils _rebuild_parameter";
constexpr size_t kDeepest = 8, kMostDimensions = 8, kLongestKey = 64, kLongestName = 1024;
// Tensors and storages: a few bytes of the program can say one of them again.
constexpr size_t kMostTensors = 1 << 18;

struct Value {
  // An index into what the reader holds, but of numbers and truths their value. A type's name, a function's
  // and that of a storage are texts.
  enum class Kind : uint8_t { none, truth, number, text, name, storage, tuple, dictionary, tensor, mark };
  Kind kind = Kind::none;
  int64_t number = 0;
};
using Kind = Value::Kind;

struct Dictionary {
  std::vector<std::pair<Value, Value>> items;
};

class Reader {
 public:
  Reader(std::span<const std::byte> program, const std::string& path) : program_(program), path_(path) {}

  std::map<std::string, PickledTensor> run() {
    while (!ended_) step();
    const Value root = pop();
    if (root.kind != Kind::dictionary) throw fail("it holds no dictionary of tensors");
    collect("", root, 0);
    return std::move(found_);
  }

 private:
  [[nodiscard]] UserError fail(const std::string& what) const {
    return UserError("{}: {}; this version reads dictionaries of tensors as torch.save writes them", path_,
                     what);
  }
  [[nodiscard]] UserError damaged() const { return fail("its pickle is damaged"); }

  // ---- the program

  std::span<const std::byte> take(size_t size) {
    if (size > program_.size() - at_) throw damaged();
    const auto bytes = program_.subspan(at_, size);
    at_ += size;
    return bytes;
  }
  template <class Int>
  Int take_number() {
    Int value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  std::string take_text(size_t size) {
    const auto bytes = take(size);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  std::string take_line() {
    const auto rest = program_.subspan(at_);
    const auto end = std::ranges::find(rest, std::byte{'\n'});
    if (end == rest.end()) throw damaged();
    std::string line = take_text(end - rest.begin());
    ++at_;
    return line;
  }

  // ---- the stack

  Value pop() {
    if (stack_.empty() || stack_.back().kind == Kind::mark) throw damaged();
    const Value value = stack_.back();
    stack_.pop_back();
    return value;
  }
  Value pop(Kind kind) {
    const Value value = pop();
    if (value.kind != kind) throw damaged();
    return value;
  }
  void push(Kind kind, int64_t number = 0) { stack_.push_back({kind, number}); }
  template <class T, class Held>
  void push(Kind kind, std::deque<T>& held, Held&& value) {
    held.push_back(std::forward<Held>(value));
    push(kind, static_cast<int64_t>(held.size()) - 1);
  }
  /// What lies above the last mark, which goes too.
  std::vector<Value> pop_to_mark() {
    const auto mark = std::ranges::find(stack_.rbegin(), stack_.rend(), Kind::mark, &Value::kind);
    if (mark == stack_.rend()) throw damaged();
    std::vector<Value> values(mark.base(), stack_.end());
    stack_.erase(mark.base() - 1, stack_.end());
    return values;
  }
  std::vector<Value> pop_count(size_t count) {
    std::vector<Value> values(count);
    for (size_t i = count; i-- > 0;) values[i] = pop();
    return values;
  }
  Dictionary& top_dictionary() {
    if (stack_.empty() || stack_.back().kind != Kind::dictionary) throw damaged();
    return dictionaries_[stack_.back().number];
  }
  [[nodiscard]] const std::string& text(const Value& value, Kind kind = Kind::text) const {
    if (value.kind != kind) throw damaged();
    return texts_[value.number];
  }
  [[nodiscard]] const std::vector<Value>& tuple(const Value& value) const {
    if (value.kind != Kind::tuple) throw damaged();
    return tuples_[value.number];
  }
  [[nodiscard]] std::vector<int64_t> numbers(const Value& value) const {
    std::vector<int64_t> list;
    for (const Value& item : tuple(value)) {
      if (item.kind != Kind::number || item.number < 0) throw damaged();
      list.push_back(item.number);
    }
    if (list.size() > kMostDimensions) throw damaged();
    return list;
  }

  // ---- instructions

  void step() {
    const auto op = static_cast<unsigned char>(take_number<uint8_t>());
    switch (op) {
      case 0x80:  // PROTO
        if (const auto version = take_number<uint8_t>(); version != 2)
          throw fail(fmt::format("its pickle has protocol {}, not 2", version));
        break;
      case '}':
        push(Kind::dictionary, dictionaries_, Dictionary());
        break;
      case '(':
        push(Kind::mark);
        break;
      case ')':
        push(Kind::tuple, tuples_, std::vector<Value>());
        break;
      case 't':
        push(Kind::tuple, tuples_, pop_to_mark());
        break;
      case 0x85:  // TUPLE1 to TUPLE3
      case 0x86:
      case 0x87:
        push(Kind::tuple, tuples_, pop_count(op - 0x84));
        break;
      case 'N':
        push(Kind::none);
        break;
      case 0x88:
      case 0x89:
        push(Kind::truth, op == 0x88 ? 1 : 0);
        break;
      case 'K':
        push(Kind::number, take_number<uint8_t>());
        break;
      case 'M':
        push(Kind::number, take_number<uint16_t>());
        break;
      case 'J':
        push(Kind::number, take_number<int32_t>());
        break;
      case 0x8a:
        push(Kind::number, take_long());
        break;
      case 'X':
        push(Kind::text, texts_, take_text(take_number<uint32_t>()));
        break;
      case 'c':
        push_name();
        break;
      case 'q':
        remember(take_number<uint8_t>());
        break;
      case 'r':
        remember(take_number<uint32_t>());
        break;
      case 'h':
        recall(take_number<uint8_t>());
        break;
      case 'j':
        recall(take_number<uint32_t>());
        break;
      case 'Q':
        push_storage();
        break;
      case 'R':
        call();
        break;
      case 's': {
        std::vector<Value> item = pop_count(2);
        top_dictionary().items.emplace_back(item[0], item[1]);
        break;
      }
      case 'u': {
        const std::vector<Value> items = pop_to_mark();
        if (items.size() % 2 != 0) throw damaged();
        for (size_t i = 0; i < items.size(); i += 2)
          top_dictionary().items.emplace_back(items[i], items[i + 1]);
        break;
      }
      case 'b':  // torch's _metadata: versions of modules
        pop(Kind::dictionary);
        (void)top_dictionary();
        break;
      case '.':
        ended_ = true;
        break;
      default:
        throw fail(
            fmt::format("the instruction 0x{:02x} at byte {} of its pickle is none of theirs", op, at_ - 1));
    }
  }

  /// LONG1: little-endian, of so many bytes, in two's complement.
  int64_t take_long() {
    const auto bytes = take(take_number<uint8_t>());
    if (bytes.size() > sizeof(int64_t)) throw fail("a number too large");
    const bool negative = !bytes.empty() && (bytes.back() & std::byte{0x80}) != std::byte{0};
    int64_t value = negative ? -1 : 0;
    if (!bytes.empty()) std::memcpy(&value, bytes.data(), bytes.size());
    return value;
  }
  void push_name() {
    std::string name = take_line();
    name += ' ' + take_line();
    const bool known =
        name == kDictionary || name == kTensor || name == kParameter ||
        std::ranges::find(kStorages, name, &std::pair<std::string_view, DType>::first) != kStorages.end();
    if (!known) throw fail(fmt::format("its pickle asks for {}", in_quotes(name)));
    push(Kind::name, texts_, std::move(name));
  }
  void remember(uint32_t slot) {
    if (stack_.empty() || stack_.back().kind == Kind::mark) throw damaged();
    memory_[slot] = stack_.back();
  }
  void recall(uint32_t slot) {
    const auto found = memory_.find(slot);
    if (found == memory_.end()) throw damaged();
    stack_.push_back(found->second);
  }
  void push_tensor(Kind kind, PickledTensor tensor) {
    if (tensors_.size() == kMostTensors)
      throw fail(fmt::format("more than {} tensors and storages", kMostTensors));
    push(kind, tensors_, std::move(tensor));
  }
  /// ('storage', type, key, device, elements)
  void push_storage() {
    constexpr size_t kFields = 5;
    const std::vector<Value>& about = tuple(pop());
    if (about.size() != kFields || text(about[0]) != "storage" || about[4].kind != Kind::number ||
        about[4].number < 0)
      throw damaged();
    const auto type =
        std::ranges::find(kStorages, text(about[1], Kind::name), &std::pair<std::string_view, DType>::first);
    if (type == kStorages.end()) throw damaged();
    PickledTensor storage;
    storage.storage = text(about[2]);
    if (storage.storage.size() > kLongestKey) throw damaged();
    storage.storage_size = about[4].number;
    storage.dtype = type->second;
    push_tensor(Kind::storage, std::move(storage));
  }
  void call() {
    const std::vector<Value>& arguments = tuple(pop());
    const std::string& function = text(pop(), Kind::name);
    if (function == kDictionary && arguments.empty()) {
      push(Kind::dictionary, dictionaries_, Dictionary());
    } else if (function == kParameter && !arguments.empty() && arguments[0].kind == Kind::tensor) {
      stack_.push_back(arguments[0]);
    } else if (function == kTensor && arguments.size() >= 4 && arguments[0].kind == Kind::storage &&
               arguments[1].kind == Kind::number && arguments[1].number >= 0) {
      PickledTensor tensor = tensors_[arguments[0].number];
      tensor.offset = arguments[1].number;
      tensor.shape = numbers(arguments[2]);
      tensor.strides = numbers(arguments[3]);
      if (tensor.shape.size() != tensor.strides.size()) throw damaged();
      push_tensor(Kind::tensor, std::move(tensor));
    } else {
      throw damaged();
    }
  }

  // ---- what it says

  void collect(const std::string& prefix, const Value& dictionary, size_t depth) {
    if (depth >= kDeepest || !visited_.insert(dictionary.number).second)
      throw fail("dictionaries inside each other");
    for (const auto& [key, value] : dictionaries_[dictionary.number].items) {
      if (prefix.size() + text(key).size() > kLongestName) throw fail("a name too long");
      const std::string name = prefix + text(key);
      if (value.kind == Kind::dictionary) {
        collect(name + ".", value, depth + 1);
      } else if (value.kind != Kind::tensor) {
        throw fail(fmt::format("{} is no tensor", in_quotes(name)));
      } else if (!found_.emplace(name, tensors_[value.number]).second) {
        throw fail(fmt::format("{} is there twice", in_quotes(name)));
      }
    }
  }

  std::span<const std::byte> program_;
  const std::string& path_;
  size_t at_ = 0;
  bool ended_ = false;
  std::vector<Value> stack_;
  std::unordered_map<uint32_t, Value> memory_;
  std::deque<std::string> texts_;
  std::deque<std::vector<Value>> tuples_;
  std::deque<Dictionary> dictionaries_;
  std::deque<PickledTensor> tensors_;  // and storages
  std::set<int64_t> visited_;
  std::map<std::string, PickledTensor> found_;
};

}  // namespace

std::map<std::string, PickledTensor> read_torch_pickle(std::span<const std::byte> program,
                                                       const std::string& path) {
  return Reader(program, path).run();
}

}  // namespace chorus::inline io
