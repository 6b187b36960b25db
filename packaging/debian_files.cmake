# What the Debian package holds beside the program and its libraries, made where the package is made, from the program itself.
set(root "$ENV{DESTDIR}${CMAKE_INSTALL_PREFIX}")
set(docs "${root}/share/doc/chorus")

function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

# The libraries lie where the program looks, seen from it, so that an unpacked package runs, too.
file(RPATH_SET FILE "${root}/bin/chorus" NEW_RPATH "$ORIGIN/../lib/chorus")
file(GLOB libraries "${root}/lib/chorus/*")
run(${CMAKE_STRIP} --strip-unneeded --remove-section=.comment "${root}/bin/chorus" ${libraries})
set(program "${root}/bin/chorus")
run(${CMAKE_COMMAND} -E env --unset=LD_LIBRARY_PATH "${program}" --version OUTPUT_QUIET)

file(MAKE_DIRECTORY "${root}/share/man/man1" "${docs}")
run(${program} manual --out "${root}/share/man/man1")
file(GLOB pages "${root}/share/man/man1/*.1")
run(gzip -9n ${pages})

foreach(line IN ITEMS bash:bash-completion/completions/chorus zsh:zsh/vendor-completions/_chorus fish:fish/vendor_completions.d/chorus.fish)
  string(REPLACE : ";" line ${line})
  list(GET line 0 shell)
  list(GET line 1 file)
  cmake_path(GET file PARENT_PATH folder)
  file(MAKE_DIRECTORY "${root}/share/${folder}")
  run(${program} completion ${shell} OUTPUT_FILE "${root}/share/${file}")
endforeach()

# Whose it is: ours, and libtorch's, which comes with the licenses of all that it is made of.
file(GLOB wheel "${TorchWheel_DIR}/../torch-${TorchWheel_VERSION}*.dist-info")
file(GLOB_RECURSE licenses RELATIVE "${wheel}" "${wheel}/*LICENSE*" "${wheel}/*NOTICE*")
if(NOT wheel OR NOT licenses)
  message(FATAL_ERROR "chorus: no licenses beside ${TorchWheel_DIR}: a package needs the torch that pip installs, with its torch-${TorchWheel_VERSION}.dist-info")
endif()
list(SORT licenses)
foreach(license IN LISTS licenses)
  file(READ "${wheel}/${license}" text)
  file(APPEND "${docs}/libtorch-licenses" "==== ${license}\n\n${text}\n\n")
endforeach()
file(READ "${CMAKE_SOURCE_DIR}/LICENSE" ours)
file(WRITE "${docs}/copyright" "chorus ${PROJECT_VERSION} is under this license:\n\n${ours}
The libraries in /usr/lib/chorus are those of torch ${TorchWheel_VERSION}, as the project PyTorch publishes it for Python, without their
symbols for debugging. libtorch-licenses.gz in this folder has its license, and those of the software that it contains.
Besides, it contains Intel oneMKL, under the Intel Simplified Software License.\n")
string(TIMESTAMP date "%a, %d %b %Y %H:%M:%S +0000" UTC)
file(WRITE "${docs}/changelog" "chorus (${PROJECT_VERSION}) stable; urgency=medium\n\n  * As CHANGELOG.md.gz in this folder says.\n\n -- ${CPACK_PACKAGE_CONTACT}  ${date}\n")
file(COPY "${CMAKE_SOURCE_DIR}/CHANGELOG.md" DESTINATION "${docs}")
run(gzip -9n "${docs}/changelog" "${docs}/CHANGELOG.md" "${docs}/libtorch-licenses")

# As Debian has them, whatever the umask.
file(CHMOD_RECURSE "${root}/share" "${root}/lib"
  FILE_PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ
  DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
