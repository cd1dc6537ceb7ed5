# SPDX-License-Identifier: Apache-2.0
# Options shared by everything in this tree, and one helper per kind of target.
add_library(weft_options INTERFACE)
target_compile_options(weft_options INTERFACE -Wall -Wextra -Wno-missing-field-initializers
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>  # GCC 12 reports std::string concatenation (its bug 105651)
  $<$<CXX_COMPILER_ID:GNU>:--param=ggc-min-heapsize=393216>  # KiB: no garbage collection in files of our size, 5 % of the time
  $<$<BOOL:${WEFT_WARNINGS_AS_ERRORS}>:-Werror>)
if(WEFT_SANITIZE)
  target_compile_options(weft_options INTERFACE -fsanitize=${WEFT_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(weft_options INTERFACE -fsanitize=${WEFT_SANITIZE})
endif()

# weft_optimise(target level): what a Release build optimises this target for, instead of -O3. Only kernels are worth -O3
# (cmake/isa.cmake); it doubles the compile time of code that formats messages, reads options or checks results.
function(weft_optimise target level)
  target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:${level}>)
endfunction()

# weft_sources(file.cc ...): adds files of the current folder to the library.
function(weft_sources)
  list(TRANSFORM ARGN PREPEND "${CMAKE_CURRENT_SOURCE_DIR}/" OUTPUT_VARIABLE files)
  target_sources(weft_internal PRIVATE ${files})
endfunction()

# weft_test_code(target [OPTIMISED]): what tests and the libraries they share have in common. GoogleTest's headers are most of
# what a test file takes to compile: they are compiled once for all. OPTIMISED is for files whose loops make data and compute
# what is expected of it, and for tests that run for seconds.
function(weft_test_code target)
  if("OPTIMISED" IN_LIST ARGN)
    weft_optimise(${target} -O1)
    target_precompile_headers(${target} REUSE_FROM weft_optimised_test_headers)
  else()
    weft_optimise(${target} -O0)
    target_precompile_headers(${target} REUSE_FROM weft_test_headers)
  endif()
endfunction()
function(weft_test_headers name level)
  add_library(${name} OBJECT tests/headers.cc)
  target_link_libraries(${name} PRIVATE weft_options GTest::gtest GTest::gmock fmt::fmt)
  weft_optimise(${name} ${level})
  target_precompile_headers(${name} PRIVATE <gmock/gmock.h> <gtest/gtest.h> <fmt/core.h> <algorithm> <atomic> <chrono>
    <cstdint> <cstring> <functional> <memory> <optional> <random> <span> <string> <thread> <vector>)
endfunction()
if(WEFT_BUILD_TESTS)
  weft_test_headers(weft_test_headers -O0)
  weft_test_headers(weft_optimised_test_headers -O1)
  add_library(weft_test_threads OBJECT tests/share_every_loop.cc)
  target_link_libraries(weft_test_threads PRIVATE weft_options)
  target_include_directories(weft_test_threads PRIVATE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include)
endif()

# weft_test(name [OPTIMISED] [IDLE] LABELS label... SOURCES file.cc ...): one GoogleTest program that sees the library's
# internals. ./dev test has five places for two cores: a test with one busy thread takes two; one with several ranks takes all,
# unless it is IDLE, waiting for deadlines most of the time: then one.
# Internals are hidden in the shared library, so tests link the same objects statically.
function(weft_test name)
  cmake_parse_arguments(arg "OPTIMISED;IDLE" "TIMEOUT" "LABELS;SOURCES;LIBRARIES;ENVIRONMENT" ${ARGN})
  if(NOT arg_LABELS)
    message(FATAL_ERROR "test ${name} has no label")
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  add_executable(${name} ${arg_SOURCES} $<TARGET_OBJECTS:weft_test_threads>)
  target_link_libraries(${name} PRIVATE weft_internal GTest::gtest GTest::gmock GTest::gtest_main ${arg_LIBRARIES})
  if(arg_OPTIMISED)
    weft_test_code(${name} OPTIMISED)
  else()
    weft_test_code(${name})
  endif()
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS "${arg_LABELS}" TIMEOUT ${arg_TIMEOUT} ENVIRONMENT "${arg_ENVIRONMENT}")
  set(places 2)
  if(arg_IDLE)
    set(places 1)
  elseif(arg_LABELS MATCHES "ranks:")
    set(places 5)
  endif()
  set_tests_properties(${name} PROPERTIES PROCESSORS ${places})
endfunction()
