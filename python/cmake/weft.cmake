# SPDX-License-Identifier: Apache-2.0
# weft::weft as a static library, and WEFT_TOOL, the command line tool.
find_package(weft CONFIG QUIET)
if(weft_FOUND)
  message(STATUS "weft ${weft_VERSION}, installed: ${weft_DIR}")
  get_target_property(type weft::weft TYPE)
  if(NOT type STREQUAL STATIC_LIBRARY)
    message(FATAL_ERROR "the weft in ${weft_DIR} is a shared library; the Python package needs a static one "
      "(BUILD_SHARED_LIBS=OFF), which it takes in")
  endif()
  find_program(WEFT_TOOL weft HINTS ${weft_DIR}/../../../bin NO_DEFAULT_PATH REQUIRED)
  install(PROGRAMS ${WEFT_TOOL} DESTINATION weft/bin)
else()
  set(library ${CMAKE_CURRENT_SOURCE_DIR}/library)  # in a source distribution
  if(NOT EXISTS ${library})
    cmake_path(GET CMAKE_CURRENT_SOURCE_DIR PARENT_PATH library)  # in a checkout
  endif()
  message(STATUS "weft: from its sources in ${library}; this takes some minutes")
  set(BUILD_SHARED_LIBS OFF)
  set(WEFT_BUILD_TOOLS ON)
  set(WEFT_INSTALL OFF)
  add_subdirectory(${library} weft EXCLUDE_FROM_ALL)
  get_directory_property(weft_VERSION DIRECTORY ${library} DEFINITION weft_VERSION)
  set_target_properties(weft_cli PROPERTIES EXCLUDE_FROM_ALL FALSE)
  install(TARGETS weft_cli RUNTIME DESTINATION weft/bin)
endif()

if(SKBUILD AND NOT weft_VERSION VERSION_EQUAL SKBUILD_PROJECT_VERSION)
  message(FATAL_ERROR "pyproject.toml says version ${SKBUILD_PROJECT_VERSION}, the library is ${weft_VERSION}")
endif()
