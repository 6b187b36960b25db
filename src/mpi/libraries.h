// What messages between ranks go through.
#pragma once

#include <string>

namespace chorus::inline mpi {

/// "Open MPI v4.1.4, ...": one line. No process need have joined others.
std::string mpi_library();
/// The version of NCCL, "2.27.5"; "" in a chorus that was built without it.
std::string nccl_library();

}  // namespace chorus::inline mpi
