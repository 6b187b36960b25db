# The Debian package (`make package`): the program with its libtorch, manual pages, completion of shells, and a unit of systemd.
# All of it is the install component `debian`, which nothing else installs.
if(TorchWheel_CUDA)  # NVIDIA's libraries are gigabytes, and not ours to pass on
  install(CODE "message(FATAL_ERROR \"chorus: the package takes a CPU build of torch, and ${TorchWheel_DIR} is one for CUDA: docs/building.md#packages\")"
    COMPONENT debian EXCLUDE_FROM_ALL)
endif()

# Of libtorch what the program links. An OpenMP runtime under its plain name is Debian's libgomp1, too.
install(TARGETS chorus RUNTIME_DEPENDENCY_SET libtorch RUNTIME DESTINATION bin COMPONENT debian EXCLUDE_FROM_ALL)
cmake_path(GET TorchWheel_DIR PARENT_PATH torch_site)
install(RUNTIME_DEPENDENCY_SET libtorch PRE_EXCLUDE_REGEXES "^libgomp\\.so\\.1$" POST_INCLUDE_REGEXES "^${torch_site}/" POST_EXCLUDE_REGEXES ".*"
  LIBRARY DESTINATION lib/chorus COMPONENT debian EXCLUDE_FROM_ALL)
install(FILES packaging/chorus-serve.service DESTINATION lib/systemd/system COMPONENT debian EXCLUDE_FROM_ALL)
install(FILES packaging/lintian-overrides DESTINATION share/lintian/overrides RENAME chorus COMPONENT debian EXCLUDE_FROM_ALL)
set(CPACK_PACKAGE_CONTACT "The chorus authors <chorus@example.org>")
foreach(name IN ITEMS CPACK_PACKAGE_CONTACT PROJECT_VERSION TorchWheel_DIR TorchWheel_VERSION CMAKE_SOURCE_DIR CMAKE_STRIP)
  install(CODE "set(${name} \"${${name}}\")" COMPONENT debian EXCLUDE_FROM_ALL)
endforeach()
install(SCRIPT packaging/debian_files.cmake COMPONENT debian EXCLUDE_FROM_ALL)

set(CPACK_GENERATOR DEB)
set(CPACK_INSTALL_CMAKE_PROJECTS "${CMAKE_BINARY_DIR};chorus;debian;/")
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_THREADS 0)  # as many as there are cores compress
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "train, prune and serve sparse translation models")
set(CPACK_PACKAGE_DESCRIPTION "chorus trains, prunes and runs mixture-of-experts models that translate
between many languages, on CPUs: one program for training, translating,
scoring and measuring, and for serving translations over HTTP.

It brings its own libtorch, in /usr/lib/chorus, and wants an x86-64-v3
processor (AVX2 and FMA).")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "openmpi-bin")  # mpirun, for training by several processes
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS "${TorchWheel_DIR}/lib" "${torch_site}/torch.libs")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
file(GLOB CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${CMAKE_SOURCE_DIR}/packaging/debian/*)
include(CPack)
