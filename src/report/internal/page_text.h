// The files of src/report/page, which the build puts into the program.
#pragma once

#include <string_view>

namespace chorus::inline report {

extern const std::string_view kPageHtml;  // with %STYLE%, %DATA% and %SCRIPT% for the others
extern const std::string_view kPageStyle;
extern const std::string_view kPageScript;

}  // namespace chorus::inline report
