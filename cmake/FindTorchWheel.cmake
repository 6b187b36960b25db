# Finds libtorch inside a PyPI `torch` wheel or an unpacked libtorch, CPU or CUDA build, without running Python and
# without the wheel's own TorchConfig.cmake (which needs the whole CUDA toolkit when the wheel is a CUDA build).
#
#   TORCH_DIR   the folder that holds include/ and lib/ (site-packages/torch); or a virtual environment holding it
#   Torch::Torch, TorchWheel_VERSION, TorchWheel_CUDA (ON when the wheel carries libtorch_cuda)

set(TORCH_DIR "$ENV{TORCH_DIR}" CACHE PATH "libtorch: a site-packages/torch folder, or the virtual environment that holds it")
if(DEFINED ENV{TORCH_DIR})
  set_property(CACHE TORCH_DIR PROPERTY VALUE "$ENV{TORCH_DIR}")  # the last word, also in a build folder set up before
endif()
set(_candidates "${TORCH_DIR}")
file(GLOB _venvs "${TORCH_DIR}/lib/python3*/site-packages/torch" "${CMAKE_CURRENT_SOURCE_DIR}/.venv/lib/python3*/site-packages/torch")
foreach(_dir IN LISTS _candidates _venvs)
  if(_dir AND EXISTS "${_dir}/include/ATen/Tensor.h" AND EXISTS "${_dir}/lib/libtorch_cpu.so")
    get_filename_component(_torch "${_dir}" ABSOLUTE BASE_DIR "${CMAKE_SOURCE_DIR}")
    break()
  endif()
endforeach()
if(NOT _torch)
  message(FATAL_ERROR "chorus: no libtorch under TORCH_DIR='${TORCH_DIR}' or .venv: run `make setup`, or give TORCH_DIR=<site-packages/torch>")
endif()

file(STRINGS "${_torch}/include/torch/headeronly/version.h" _version_lines REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH) ")
if(NOT _version_lines)
  file(STRINGS "${_torch}/include/torch/csrc/api/include/torch/version.h" _version_lines REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH) ")
endif()
string(REGEX REPLACE ".*MAJOR ([0-9]+).*MINOR ([0-9]+).*PATCH ([0-9]+).*" "\\1.\\2.\\3" TorchWheel_VERSION "${_version_lines}")
if(TorchWheel_VERSION VERSION_LESS 2.11 OR TorchWheel_VERSION VERSION_GREATER_EQUAL 2.14)
  message(FATAL_ERROR "chorus: torch ${TorchWheel_VERSION} at ${_torch} is not supported: install torch 2.11 to 2.13 (make setup does), or point TORCH_DIR at one")
endif()

set(TorchWheel_CUDA OFF)
if(EXISTS "${_torch}/lib/libtorch_cuda.so")
  set(TorchWheel_CUDA ON)
endif()
file(GLOB _gomp "${_torch}/lib/libgomp*.so*" "${_torch}/../torch.libs/libgomp*.so*")

if(NOT TARGET Torch::Torch)
  add_library(Torch::Torch INTERFACE IMPORTED)
  # After the system's own headers: the wheel carries a copy of fmt, newer than the library we link.
  target_compile_options(Torch::Torch INTERFACE "SHELL:-idirafter \"${_torch}/include\"" "SHELL:-idirafter \"${_torch}/include/torch/csrc/api/include\"")
  # libtorch is compiled with it; without, classes of its headers (at::RecordFunction) have another layout.
  target_compile_definitions(Torch::Torch INTERFACE $<$<NOT:$<CONFIG:Release>>:NDEBUG>)
  # One OpenMP runtime in the process: the wheel's own, which is GCC's.
  target_compile_options(Torch::Torch INTERFACE $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-fopenmp>)
  target_link_directories(Torch::Torch INTERFACE "${_torch}/lib")
  # The C++ library first: libtorch.so of some CUDA builds exports parts of std::filesystem, which crash when called.
  # libtorch's operators register themselves when the library loads: keep it though no symbol of ours names it.
  target_link_libraries(Torch::Torch INTERFACE -Wl,--no-as-needed stdc++ torch torch_cpu c10)
  if(TorchWheel_CUDA)
    target_link_libraries(Torch::Torch INTERFACE torch_cuda c10_cuda)
  endif()
  target_link_libraries(Torch::Torch INTERFACE -Wl,--as-needed)
  if(_gomp)
    list(GET _gomp 0 _gomp)
    target_link_libraries(Torch::Torch INTERFACE "${_gomp}")
  else()
    target_link_libraries(Torch::Torch INTERFACE gomp)
  endif()
  if(NOT SKBUILD)  # a wheel takes the torch of the environment that it is in
    target_link_options(Torch::Torch INTERFACE "-Wl,-rpath,${_torch}/lib")
  endif()
endif()
set(TorchWheel_DIR "${_torch}")
set(TorchWheel_FOUND TRUE)
if(NOT TorchWheel_FIND_QUIETLY)
  set(_kind CPU)
  if(TorchWheel_CUDA)
    set(_kind CUDA)
  endif()
  message(STATUS "torch ${TorchWheel_VERSION}, ${_kind} build, at ${_torch}")
endif()
