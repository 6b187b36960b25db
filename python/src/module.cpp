// chorus._core: the public face as Python sees it. What is convenient is made of it in python/chorus.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <exception>
#include <filesystem>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <chorus/chorus.h>
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>
#include <unistd.h>

namespace nb = nanobind;
using namespace nb::literals;

namespace {

std::atomic<bool> ending = false;  // the interpreter; of its threads only the main one goes on

bool is_main_thread() {
  return ::gettid() == ::getpid();
}

/// Lets other threads of Python run. One that comes back when the interpreter ends stays away: Python would end it
/// here, and no frame of C++ lets itself be ended.
struct WithoutLock {
  WithoutLock() = default;
  ~WithoutLock() {
    while (ending && !is_main_thread()) ::pause();
    PyEval_RestoreThread(state);
  }
  WithoutLock(const WithoutLock&) = delete;
  WithoutLock& operator=(const WithoutLock&) = delete;

  PyThreadState* state = PyEval_SaveThread();
};
using Unlocked = nb::call_guard<WithoutLock>;
using Texts = std::vector<std::string>;
using Rows = nb::ndarray<nb::numpy, float, nb::ndim<2>>;

/// Lets Python handle Ctrl-C during a long call. Asking costs the interpreter's lock, for which another thread may let
/// us wait, so it is not done at every step; and Python tells the main thread alone.
void look_for_signals() {
  if (!is_main_thread()) return;
  using Clock = std::chrono::steady_clock;
  thread_local Clock::time_point asked = Clock::now();
  if (Clock::now() - asked < std::chrono::milliseconds(50)) return;
  const nb::gil_scoped_acquire locked;
  if (PyErr_CheckSignals() != 0) throw nb::python_error();
  asked = Clock::now();
}

/// The numbers become those of the array; nothing is copied.
Rows to_array(std::vector<float> numbers, size_t columns) {
  auto* const kept = new std::vector<float>(std::move(numbers));
  const nb::capsule owner(kept, [](void* p) noexcept { delete static_cast<std::vector<float>*>(p); });
  return {kept->data(), {kept->size() / columns, columns}, owner};
}

/// The classes of chorus._errors, for as long as the interpreter lives.
struct ErrorClasses {
  nb::object error, mistake;
};

/// Messages may quote names of files, which are bytes.
void raise(const nb::object& type, const char* message) {
  PyObject* const text =
      PyUnicode_DecodeUTF8(message, static_cast<Py_ssize_t>(std::strlen(message)), "replace");
  if (text == nullptr) return;
  PyErr_SetObject(type.ptr(), text);
  Py_DECREF(text);
}

void translate_errors() {
  const nb::object errors = nb::module_::import_("chorus._errors");
  nb::register_exception_translator(
      [](const std::exception_ptr& thrown, void* payload) {
        const auto* classes = static_cast<const ErrorClasses*>(payload);
        try {
          std::rethrow_exception(thrown);
        } catch (const chorus::UserError& error) {
          raise(classes->mistake, error.what());
        } catch (const chorus::Error& error) {
          raise(classes->error, error.what());
        }
      },
      new ErrorClasses{errors.attr("Error"), errors.attr("UserError")});
}

void define_options(nb::module_& m) {
  using Options = chorus::TranslateOptions;
  nb::class_<Options>(m, "Options")
      .def(nb::init<>())
      .def_rw("beam", &Options::beam)
      .def_rw("diversity", &Options::diversity)
      .def_rw("beam_groups", &Options::beam_groups)
      .def_rw("nbest", &Options::nbest)
      .def_rw("length_penalty", &Options::length_penalty)
      .def_rw("max_length_factor", &Options::max_length_factor)
      .def_rw("max_length", &Options::max_length)
      .def_rw("min_length", &Options::min_length)
      .def_rw("no_repeat_ngram", &Options::no_repeat_ngram)
      .def_rw("repetition_penalty", &Options::repetition_penalty)
      .def_rw("guard", &Options::guard)
      .def_rw("sentences", &Options::sentences)
      .def_rw("terms", &Options::terms)
      .def_rw("keep", &Options::keep)
      .def_rw("prefix", &Options::prefix)
      .def_rw("alignment", &Options::alignment)
      .def_rw("shortlist", &Options::shortlist)
      .def(
          "sample",
          [](Options& self, double temperature, int top_k, double top_p, double epsilon, uint64_t seed) {
            self.sample = {
                .temperature = temperature, .top_k = top_k, .top_p = top_p, .epsilon = epsilon, .seed = seed};
          },
          "temperature"_a, "top_k"_a, "top_p"_a, "epsilon"_a, "seed"_a)
      .def(
          "choose_by",
          [](Options& self, const std::string& metric, int candidates) {
            if (metric != "chrf" && metric != "bleu")
              throw chorus::UserError("mbr='{}': choose 'chrf' or 'bleu'", metric);
            self.mbr = {.by = metric == "chrf" ? chorus::MbrChoice::By::chrf : chorus::MbrChoice::By::bleu,
                        .candidates = candidates};
          },
          "metric"_a, "candidates"_a);
}

void define_models(nb::module_& m) {
  nb::class_<chorus::Model>(m, "Model")
      .def(
          "__init__",
          [](chorus::Model* self, const std::filesystem::path& folder, const std::string& device,
             const std::string& precision, uint64_t memory) {
            new (self) chorus::Model(folder, {.device = device, .precision = precision, .memory = memory});
          },
          "folder"_a, "device"_a, "precision"_a, "memory"_a, Unlocked())
      .def_prop_ro("languages", &chorus::Model::languages)
      .def_prop_ro("directions", &chorus::Model::directions)
      .def_prop_ro("parameters", &chorus::Model::parameters);
  using Vocabulary = chorus::ModelVocabulary;
  nb::class_<Vocabulary>(m, "Vocabulary")
      .def(
          "__init__",
          [](Vocabulary* self, const std::filesystem::path& folder) { new (self) Vocabulary(folder); },
          "folder"_a, Unlocked())
      .def(nb::init<const chorus::Model&>(), "model"_a)
      .def("size", &Vocabulary::size)
      .def("languages", &Vocabulary::languages)
      .def("encode", &Vocabulary::encode, "text"_a, "language"_a = "")
      .def(
          "decode", [](const Vocabulary& self, const std::vector<int32_t>& ids) { return self.decode(ids); },
          "ids"_a)
      .def("piece", &Vocabulary::piece, "id"_a)
      .def("tag", &Vocabulary::tag, "language"_a);
}

void define_use(nb::module_& m) {
  using Models = std::vector<chorus::Model>;
  nb::class_<chorus::ScoredToken>(m, "ScoredToken")
      .def_ro("piece", &chorus::ScoredToken::piece)
      .def_ro("log_probability", &chorus::ScoredToken::log_probability);
  nb::class_<chorus::Scored>(m, "Scored")
      .def_ro("text", &chorus::Scored::text)
      .def_ro("score", &chorus::Scored::score)
      .def_ro("log_probability", &chorus::Scored::log_probability)
      .def_ro("ended", &chorus::Scored::ended)
      .def_ro("tokens", &chorus::Scored::tokens)
      .def_ro("alignment", &chorus::Scored::alignment);
  nb::class_<chorus::Translator>(m, "Translator")
      .def(
          "__init__",
          [](chorus::Translator* self, const Models& models, const std::string& source,
             const std::string& target, chorus::TranslateOptions options) {
            options.before_step = look_for_signals;
            new (self) chorus::Translator(models, source, target, options);
          },
          "models"_a, "source"_a, "target"_a, "options"_a, Unlocked())
      .def("nbest", &chorus::Translator::nbest, "texts"_a, "first"_a, Unlocked());
  nb::class_<chorus::Scorer>(m, "Scorer")
      .def(nb::init<const chorus::Model&, const std::string&, const std::string&>(), "model"_a, "source"_a,
           "target"_a)
      .def(
          "score",
          [](const chorus::Scorer& self, const Texts& sources, const Texts& targets) {
            std::vector<std::pair<Texts, std::vector<double>>> scores;
            for (chorus::PairProbability& pair : self.score(sources, targets))
              scores.emplace_back(std::move(pair.pieces), std::move(pair.log_probabilities));
            return scores;
          },
          "sources"_a, "targets"_a, Unlocked());
  nb::class_<chorus::Encoder>(m, "Encoder")
      .def(nb::init<const chorus::Model&, const std::string&, const std::string&>(), "model"_a, "source"_a,
           "target"_a)
      .def(
          "encode",
          [](const chorus::Encoder& self, const Texts& texts) {
            std::vector<chorus::EncodedText> encoded;
            {
              const WithoutLock unlocked;
              encoded = self.encode(texts);
            }
            std::vector<std::tuple<Texts, Rows, std::vector<std::pair<std::string, Rows>>>> made;
            for (chorus::EncodedText& one : encoded) {
              std::vector<std::pair<std::string, Rows>> routers;
              for (chorus::RouterProbabilities& router : one.routers)
                routers.emplace_back(router.layer, to_array(std::move(router.probabilities), router.experts));
              made.emplace_back(std::move(one.tokens), to_array(std::move(one.states), self.width()),
                                std::move(routers));
            }
            return made;
          },
          "texts"_a);
}

}  // namespace

NB_MODULE(_core, m) {
  nb::set_leak_warnings(false);  // of what threads hold that the interpreter has ended
  nb::module_::import_("atexit").attr("register")(nb::cpp_function([] { ending = true; }));
  translate_errors();
  define_options(m);
  define_models(m);
  define_use(m);
  m.def("bleu", &chorus::bleu, "translations"_a, "references"_a, "tokenizer"_a = "13a", Unlocked());
  m.def("chrf", &chorus::chrf, "translations"_a, "references"_a, "word_order"_a = 0, Unlocked());
  m.def("set_threads", &chorus::set_threads, "threads"_a);
  m.def("parse_memory", &chorus::parse_memory, "text"_a);
}
