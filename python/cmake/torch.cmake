# SPDX-License-Identifier: Apache-2.0
# WEFT_TORCH: whether the face for PyTorch is built, and weft_torch_headers to build it with. It belongs to one minor version
# of PyTorch, the one in the environment that the package is installed into, which an isolated build finds by its place.
set(WEFT_TORCH_DIR "" CACHE PATH "The folder of the installed package torch; empty: that of this Python's environment")
set(WEFT_TORCH_SUPPORTED 2.13 CACHE INTERNAL "The minor version of PyTorch that this release is made and tested for")
if(NOT WEFT_TORCH_DIR)
  execute_process(COMMAND ${Python_EXECUTABLE} -c "import sysconfig; print(sysconfig.get_path('platlib'))"
    OUTPUT_VARIABLE platlib OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  set(WEFT_TORCH_DIR ${platlib}/torch)
endif()

set(WEFT_TORCH FALSE)
if(NOT EXISTS ${WEFT_TORCH_DIR}/version.py)
  message(STATUS "PyTorch: none in ${WEFT_TORCH_DIR}; weft.torch is not built. Install torch==${WEFT_TORCH_SUPPORTED}.* and then weft again.")
  return()
endif()
file(STRINGS ${WEFT_TORCH_DIR}/version.py line REGEX "^__version__")
string(REGEX MATCH "[0-9]+\\.[0-9]+" version "${line}")
if(NOT version VERSION_EQUAL WEFT_TORCH_SUPPORTED)
  message(FATAL_ERROR "PyTorch in ${WEFT_TORCH_DIR} is ${version}; this weft is for ${WEFT_TORCH_SUPPORTED}. "
    "Install torch==${WEFT_TORCH_SUPPORTED}.*, or point WEFT_TORCH_DIR nowhere to build without it.")
endif()
message(STATUS "PyTorch ${version}: ${WEFT_TORCH_DIR}")
set(WEFT_TORCH TRUE)
file(CONFIGURE OUTPUT built_for.py @ONLY CONTENT [[# SPDX-License-Identifier: Apache-2.0
"""What weft._torch was built for; read before it is loaded, because a wrong PyTorch may not survive that."""

TORCH_VERSION = "@version@"
]])
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/built_for.py DESTINATION weft/torch)

add_library(weft_torch_headers INTERFACE)
target_include_directories(weft_torch_headers SYSTEM INTERFACE
  ${WEFT_TORCH_DIR}/include ${WEFT_TORCH_DIR}/include/torch/csrc/api/include ${Python_INCLUDE_DIRS})
target_compile_definitions(weft_torch_headers INTERFACE WEFT_TORCH_VERSION="${version}")
target_compile_options(weft_torch_headers INTERFACE -Wall -Wextra)
foreach(name c10 torch_cpu torch torch_python)
  target_link_libraries(weft_torch_headers INTERFACE ${WEFT_TORCH_DIR}/lib/lib${name}.so)
endforeach()
