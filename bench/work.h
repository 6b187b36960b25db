// What `chorus_bench` can measure: each work is prepared from a case, a JSON object, and then run again and
// again. bench/run.py is the other side; bench/peers/ holds the same for other programs.
#pragma once

#include <functional>

#include <ATen/core/Tensor.h>
#include <nlohmann/json.hpp>

namespace chorus::bench {

using Json = nlohmann::json;

struct Work {
  std::function<void()> run;    // one repetition
  Json facts = Json::object();  // of the case as prepared: what a row says of it, and what the driver
                                // compares between the sides. "state_bytes": what `peak` leaves out; "flops"
                                // of its matrix products.
};

// The cases' keys stand beside each function's definition.
using Prepare = Work(const Json& options);
Prepare moe_layer;                                                                // moe.cpp
Prepare training_step, optimizer_phase, translation, write_weights, write_model;  // model.cpp
Prepare dispatch_combine, dispatch_combine_backward, copy, output_loss, torch_output_loss, adamw, product,
    torch_product, read_weights;                               // kernels.cpp
Prepare operation;                                             // operations.cpp
Prepare write_random_model, larger_than_memory;                // larger.cpp
Prepare build_store, sentencepiece, minimum_risk;              // text.cpp
Prepare stack_step, exchange, bare_exchange, experts, moving;  // ranks.cpp

at::Device device_of(const Json& options);    // "device": "cpu" if it is not there
void wait_for(at::Device device);             // until it has done all that it was told to
at::ScalarType type_of(const Json& options);  // "dtype": "fp32" or "bf16"
double peak_flops(at::ScalarType type);    // all threads', measured, where such numbers are multiplied best
double norm_of(const at::Tensor& tensor);  // for "checks", which both sides of a row must agree on

}  // namespace chorus::bench
