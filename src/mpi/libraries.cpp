#include "mpi/libraries.h"

#include <array>

#include <mpi.h>

#include "base/text.h"

namespace chorus::inline mpi {

std::string mpi_library() {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> text = {};
  int length = 0;
  MPI_Get_library_version(text.data(), &length);
  return one_line(trim(text.data()));  // some count the zero at the end too
}

}  // namespace chorus::inline mpi
